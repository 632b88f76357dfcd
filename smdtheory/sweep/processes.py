"""Where work runs: in this process, or in processes of this machine.

Rules, each found by killing workers: processes are spawned, not forked (a fork after torch has
computed hangs); each is a pool of its own, so that one that dies takes no other with it and the
work it was at is known; each computes with one thread; none outlives the program that started it,
however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from smdtheory.command import keep_memory


class Here:
    """The pool that works here and now. A program that the work ends is ended."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self) -> None:
        self._executor = _Here()

    def workers(self) -> Mapping[Hashable, Executor]:
        """This process."""
        return {0: self._executor}

    def bury(self, worker: Hashable) -> None:
        """Nothing: who is told is alive."""


class _Here(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # what a worker would send back
            future.set_exception(error)
        return future


@contextmanager
def here() -> Iterator[Here]:
    """A pool that works in this process, with one thread as the workers have."""
    with one_thread():
        yield Here()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: work comes in small pieces, and threads wait for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Processes:
    """A pool of spawned processes; one that dies is replaced.

    Args:
        size: how many.
        alive: the end of a pipe whose other end closes when they are to end.
    """

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, size: int, alive: Connection) -> None:
        self._alive = alive
        self._executors: dict[Hashable, Executor] = {n: self._new() for n in range(size)}

    def _new(self) -> Executor:
        return _Spawned(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._alive,),
        )

    def workers(self) -> Mapping[Hashable, Executor]:
        """All of them, by number; a process starts with its first work."""
        return {**self._executors}

    def bury(self, worker: Hashable) -> None:
        """Replace one that died."""
        self._executors[worker].shutdown()
        self._executors[worker] = self._new()

    def shutdown(self) -> None:
        """Wait for all to end."""
        for executor in self._executors.values():  # asked not to wait first, it never waits
            executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def processes(size: int) -> Iterator[Processes]:
    """Spawned processes that live no longer than this block, or than this process."""
    alive, owner = multiprocessing.get_context("spawn").Pipe(duplex=False)
    pool = Processes(size, alive)
    try:
        yield pool
    except BaseException:
        owner.close()  # ends every worker at once, whatever it is doing
        raise
    finally:
        pool.shutdown()
        owner.close()
        alive.close()


class _Spawned(ProcessPoolExecutor):
    """Starts its process (on submission) so that it ignores Ctrl-C and the caller's script."""

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
    keep_memory()
    threading.Thread(target=_end_with_owner, args=(alive,), daemon=True).start()
    for library in ("OMP", "MKL", "OPENBLAS"):  # read when torch is imported, with the first work
        os.environ[f"{library}_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with_owner(alive: Connection) -> None:
    """The other end of the pipe closes when its owner is done or dies, however it dies."""
    alive.poll(None)
    os._exit(1)
