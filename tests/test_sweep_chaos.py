"""Processes killed at random moments: no row is lost, doubled or partial, nothing done twice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos import children, disturb, intact, marks, small_cells, started

pytestmark = pytest.mark.timeout(900)

WORKERS = ["--workers", "2"]


@pytest.mark.parametrize(
    ("count", "kills"),
    [(40, 2), pytest.param(1000, 20, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
@pytest.mark.parametrize("whose", ["worker", "sweep"])
def test_every_cell_is_computed_once_whoever_is_killed(tmp_path, whose, count, kills):
    out = tmp_path / "out"

    def victims(process: subprocess.Popen[str]) -> list[int]:
        return [process.pid] if whose == "sweep" else children(process.pid)

    seen = disturb([*small_cells(count, out), *WORKERS], out, count, victims, kills)
    intact(out, count, seen)
    assert not list((out / "claims").iterdir()) or whose == "sweep"


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_two_sweeps_on_one_folder_share_the_work(tmp_path, count):
    out = tmp_path / "out"
    command = [*small_cells(count, out), "--workers", "1"]
    with started(command) as one, started(command) as two:
        seen: dict[str, tuple[int, int]] = {}
        while one.poll() is None or two.poll() is None:
            seen = marks(out) | seen
            time.sleep(0.02)
        assert (one.returncode, two.returncode) == (0, 0), "".join([*one.said, *two.said])
    intact(out, count, seen)
    written = (out / "rows.csv").read_text().splitlines()
    assert len(written) == count + 1


def test_a_full_disk_stops_the_sweep_and_leaves_what_is_finished(tmp_path):
    out = tmp_path / "out"
    few = [*small_cells(4, out), "--workers", "1"]
    assert subprocess.run(few, capture_output=True).returncode == 0
    before = marks(out)
    more = [*few, "--iterations", "1", "2", "3", "4", "5", "6"]
    code = (
        "import resource, runpy, signal, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "from smdtheory.store.folder import Store\n"
        "add = Store.add\n"
        "def full(self, cell, rows):\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "    add(self, cell, rows)\n"
        "Store.add = full\n"
        "runpy.run_module('smdtheory.sweep', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *more[2:]], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"error: .*File too large.* 4 of 24 rows are finished and kept", done.stderr)
    assert marks(out) == before
    assert not [name for name in os.listdir(out / "cells") if name.endswith(".tmp")]
    assert subprocess.run(more, capture_output=True).returncode == 0
    assert {**marks(out), **before} == marks(out)


def test_a_network_whose_process_is_killed_goes_on_from_its_checkpoint(tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "smdtheory.sweep", "--modes", "2", "--iterations", "1", "--families",
        "full", "--learned", "gaussian_wide", "--no-figure", "--out", str(out), *WORKERS,
    ]  # fmt: skip

    written: dict[Path, set[int]] = {}

    def look() -> int:
        """Each checkpoint and the times at which it was written."""
        for path in out.glob("checkpoints/*/*.json"):
            with contextlib.suppress(FileNotFoundError):  # only the last two are kept
                written.setdefault(path, set()).add(path.stat().st_mtime_ns)
        return len(written)

    with started(command) as process:
        killed = False
        while process.poll() is None:
            if look() and not killed:
                killed = True
                assert len(marks(out)) < 3, "it was finished already"
                for pid in children(process.pid):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        assert process.returncode == 0, "".join(process.said)
    look()
    assert killed
    assert all(len(times) == 1 for times in written.values()), "a checkpoint was made twice"
    assert len(written) > 1
    assert len(marks(out)) == 3
