"""The loop that runs work on any ``concurrent.futures`` executor and survives dying workers.

Rules, each found by killing workers: processes are spawned, not forked (a fork after torch has
computed hangs); no more work is in flight than there are workers; when a pool breaks, what was in
flight runs again one piece at a time in a pool of its own, so that only work that dies alone is
called failed; each worker computes with one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Opener = Callable[[int], AbstractContextManager[Executor]]

HEARTBEAT = 0.5
"""Seconds between two looks at the clock of the progress bar."""


def run_tasks(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    workers: int,
    *,
    finished: Callable[[Task, Result], None],
    failed: Callable[[Task, BaseException], None],
    tick: Callable[[], None] = lambda: None,
    open_pool: Opener | None = None,
) -> None:
    """Run ``work(task)`` for every task, in order of arrival, on at most ``workers`` processes.

    Args:
        tasks: what to do.
        work: a function that a fresh process can import.
        workers: number of processes; with 1 the work runs in this one.
        finished: told each task and its result, in this process.
        failed: told each task that raised, or that ended its process twice.
        tick: called at least every :data:`HEARTBEAT` seconds while waiting.
        open_pool: makes an executor of a given size; local processes by default.

    An exception in this process, KeyboardInterrupt included, ends the workers and passes on.
    """
    opener = open_pool or (in_process if workers == 1 else processes)
    queue = deque(tasks)

    def drive(pending: deque[Task], size: int) -> list[Task]:
        """Run ``pending`` down; return what was in flight if the pool breaks on the way."""
        flying: dict[Future[Result], Task] = {}
        lost: list[Task] = []
        with opener(size) as pool:
            while (pending and not lost) or flying:
                while pending and not lost and len(flying) < size:
                    task = pending.popleft()
                    try:
                        flying[pool.submit(work, task)] = task
                    except BrokenExecutor:
                        lost.append(task)
                done, _ = wait(flying, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
                for future in done:
                    task = flying.pop(future)
                    error = future.exception()
                    if error is None:
                        finished(task, future.result())
                    elif isinstance(error, BrokenExecutor):
                        lost.append(task)
                    else:
                        failed(task, error)
                tick()
        return lost

    while queue:
        for task in drive(queue, workers):
            if drive(deque([task]), 1):
                failed(task, RuntimeError("its process died, and died again when run alone"))


@contextmanager
def in_process(size: int) -> Iterator[Executor]:
    """An executor that works here and now, with one thread as the workers have."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield _Here()
    finally:
        torch.set_num_threads(threads)


class _Here(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # what a worker would send back
            future.set_exception(error)
        return future


@contextmanager
def processes(size: int) -> Iterator[Executor]:
    """A pool of spawned processes that live no longer than this block, or than this process."""
    alive, owner = multiprocessing.get_context("spawn").Pipe(duplex=False)
    pool = _Spawned(
        size,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(alive,),
    )
    try:
        yield pool
    except BaseException:
        owner.close()  # ends every worker at once, whatever it is doing
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        owner.close()
        alive.close()


class _Spawned(ProcessPoolExecutor):
    """Starts its processes (on submission) so that they ignore Ctrl-C and the caller's script."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with _signals_held(), _no_main():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C reaches a terminal's every process: children inherit this mask and leave it to us."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _no_main() -> Iterator[None]:
    """Hide the caller's script: spawning would run it again in every process.

    Work is importable without it, and a script that calls a sweep needs no ``__main__`` guard.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _start_worker(alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_owner, args=(alive,), daemon=True).start()
    for library in ("OMP", "MKL", "OPENBLAS"):  # read when torch is imported, with the first work
        os.environ[f"{library}_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with_owner(alive: Connection) -> None:
    """The other end of the pipe closes when its owner is done or dies, however it dies."""
    alive.poll(None)
    os._exit(1)
