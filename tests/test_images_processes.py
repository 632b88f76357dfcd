"""Training on images in two processes: it goes as in one, and the first one alone writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_images_training import STEPS, assert_same, sharded

from smdtheory.models import checkpoint

IN_EACH_PROCESS = """
import pathlib, sys, torch
torch.set_num_threads(1)
import test_images_training as here
from smdtheory.models import checkpoint
out, rank = pathlib.Path({folder!r}), int(sys.argv[1])
written, save = [], checkpoint.save
def recorded(folder, found):
    written.append(found.step)
    save(folder, found)
checkpoint.save = recorded
found = {{"calls": []}}
for arm in ("level", "soft"):
    result = here.run(
        out / arm, arm=arm, denoiser=here.made(arm, seed=rank), progress=True,
        after=lambda training: found["calls"].append(len(training.losses)),
    )
    found[arm] = dict(result.denoiser.state_dict())
    state = here.sharded(arm=arm, denoiser=here.made(arm, seed=rank))
    for _ in range(here.STEPS):
        state.advance()
    found[arm + " state"] = state.tensors()
found["written"] = written
other = here.sharded(seed=1)
other.losses = [1.0] * rank
try:
    other.advance()
except RuntimeError as error:
    found["error"] = str(error)
try:
    here.run(shards=3)
except ValueError as error:
    found["refused"] = str(error)
torch.save(found, out / f"found-{{rank}}.pt")
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found, and what it printed."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    shared = {**os.environ, "PYTHONPATH": path, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    code = IN_EACH_PROCESS.format(folder=str(folder))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], printed
    return [torch.load(folder / f"found-{rank}.pt") for rank in range(2)], printed, folder


@pytest.mark.parametrize("arm", ["level", "soft"])
def test_two_processes_train_as_one(two, arm):
    """Those of the second start elsewhere, and take the parameters of the first."""
    found, _, folder = two
    alone = sharded(arm=arm)
    for _ in range(STEPS):
        alone.advance()
    assert_same(found[0][arm + " state"], alone.tensors(), rtol=1e-4, atol=1e-5)
    assert_same(found[0][arm + " state"], found[1][arm + " state"])
    assert_same(found[0][arm], found[1][arm])
    tensors = checkpoint.read(folder / arm, STEPS).tensors
    assert_same(tensors, found[1][arm + " state"])


def test_of_two_processes_the_first_alone_writes_and_shows_a_bar(two):
    found, printed, _ = two
    assert found[0]["written"] == found[0]["calls"] == [2, 4, 6] * 2
    assert found[1]["written"] == found[1]["calls"] == []
    assert "images/s" in printed[0]
    assert "images/s" not in printed[1]


def test_processes_that_do_not_fit_together_are_refused(two):
    for found in two[0]:
        assert "number of processes, 2, " in found["refused"]
        assert "Give --shards 2" in found["refused"]
        assert "all processes must be at the same step" in found["error"]
