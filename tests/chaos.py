"""Sweeps whose processes are killed at random moments, and what must hold of their folders.

Imports nothing heavy.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from smdtheory.store.survey import Survey, survey

PATIENCE = 3000
"""Seconds after which a test that waits gives up."""


def small_cells(count: int, out: Path) -> list[str]:
    """The command of a sweep of ``count`` cells that take milliseconds each."""
    return [
        sys.executable, "-m", "smdtheory.sweep", "--shape", "line", "--modes", "1",
        "--iterations", "1", "--families", "full", "--no-train", "--no-figure",
        "--seed", *map(str, range(count // 2)), "--out", str(out),
    ]  # fmt: skip


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that is running, and is not afterwards."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    said: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)  # type: ignore[arg-type]
    reader.start()
    process.said = said  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Cluster:
    """A Dask scheduler and workers, each a process of its own, on this machine."""

    def __init__(self, workers: int, *options: str) -> None:
        dask = [sys.executable, "-m", "distributed.cli.dask_"]
        self._scheduler = started(
            [*dask[:2], dask[2] + "scheduler", "--host", "127.0.0.1", "--port", "0",
             "--dashboard-address", "127.0.0.1:0"]
        )  # fmt: skip
        self.scheduler = self._scheduler.__enter__()
        self.address = self._address()
        self._nannies = [
            started(
                [*dask[:2], dask[2] + "worker", self.address, "--nthreads", "1",
                 "--dashboard-address", "127.0.0.1:0", *options]
            )
            for _ in range(workers)
        ]  # fmt: skip
        self.nannies = [nanny.__enter__() for nanny in self._nannies]
        for nanny in self.nannies:
            said(nanny, r"Registered to:\s+(tcp://\S+)")

    def _address(self) -> str:
        return said(self.scheduler, r"Scheduler at:\s+(tcp://\S+)")

    def pids(self) -> list[int]:
        """The processes that work."""
        return [pid for nanny in self.nannies for pid in children(nanny.pid)]

    def close(self) -> None:
        """End all of them."""
        for pid in self.pids():
            kill(pid)
        for process in [*self._nannies, self._scheduler]:
            process.__exit__(None, None, None)


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """What follows in the output of a process, once it is there."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if found := re.search(pattern, "".join(process.said)):  # type: ignore[attr-defined]
            return found[1]
        time.sleep(0.05)
    raise TimeoutError("".join(process.said))  # type: ignore[attr-defined]


def children(pid: int) -> list[int]:
    """The spawned processes of a process that work for it."""
    try:
        below = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in below if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def kill(pid: int) -> bool:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def marks(out: Path) -> dict[str, tuple[int, int]]:
    """For each file of a finished cell what changes when it is written again."""
    try:
        paths = list((out / "cells").glob("*.json"))
    except FileNotFoundError:
        return {}
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def disturb(
    command: list[str],
    out: Path,
    count: int,
    victims: Callable[[subprocess.Popen[str]], list[int]],
    kills: int,
    seed: int = 0,
) -> dict[str, tuple[int, int]]:
    """Run a sweep to its end, killing one of ``victims`` at ``kills`` random moments.

    Whenever the sweep itself ends before everything is done, it is started again.

    Returns:
        the marks of every finished file when it was first seen.
    """
    draw = random.Random(seed)
    moments = sorted(draw.sample(range(1, int(0.9 * count)), kills))
    seen: dict[str, tuple[int, int]] = {}
    deadline = time.monotonic() + PATIENCE
    status: int | None = None
    while status != 0:
        with started(command) as process:
            while process.poll() is None:
                assert time.monotonic() < deadline, "".join(process.said)
                seen = marks(out) | seen
                if moments and len(seen) >= moments[0]:
                    time.sleep(draw.random() * 0.05)
                    found = victims(process)
                    if found and kill(draw.choice(found)):
                        moments.pop(0)
                time.sleep(0.02)
            status = process.returncode
            assert status in (0, 1, -signal.SIGKILL), "".join(process.said)
    assert not moments, f"{len(moments)} of {kills} kills came too late"
    return seen


def intact(out: Path, count: int, seen: dict[str, tuple[int, int]]) -> Survey:
    """Every cell is there once, whole, and was written once."""
    found = survey(out)
    assert found.cells == len(found.rows) == count
    assert not found.damaged
    assert not found.failures
    after = marks(out)
    assert len(after) == count
    assert all(after[name] == mark for name, mark in seen.items())
    assert len(seen) > count // 2, "too few cells were seen before the end for this to say much"
    return found
