"""The loop that runs work on workers and survives their dying.

A worker is a ``concurrent.futures.Executor`` that does one thing at a time: a process of this
machine (:mod:`smdtheory.sweep.processes`) or of a Dask cluster (:mod:`smdtheory.sweep.cluster`).
Rules, each found by killing workers:

- A worker has one piece of work at a time, so no more is in flight than there are workers, and it
  is known what a worker was doing when it died.
- What was lost with its worker waits until nothing else is left to do, and then runs again alone:
  so that it is not killed for the memory of its neighbours, and does not kill them. What is lost
  twice has failed.
- Work that raises has failed; the rest goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    wait,
)
from typing import Protocol, TypeVar

from smdtheory.store.folder import Claim
from smdtheory.sweep.queue import Queue, Unit

Task = TypeVar("Task", bound=Unit)
Result = TypeVar("Result")

CAUSE = "want of memory is the usual cause"

HEARTBEAT = 0.5
"""Seconds between two looks at the clock of the progress bar, and at who is there."""


class Pool(Protocol):
    """Workers that come and go."""

    lost: tuple[type[BaseException], ...]
    """Errors which say that a worker died, besides BrokenExecutor."""

    def workers(self) -> Mapping[Hashable, Executor]:
        """Those that are there now, each doing one thing at a time.

        Raises:
            OSError: if it cannot be found out.
        """

    def bury(self, worker: Hashable) -> None:
        """Told that a worker died."""


class LostError(RuntimeError):
    """What failed because its process died, and died again when it ran alone."""


def run_tasks(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    pool: Pool,
    *,
    finished: Callable[[Task, Result], None],
    failed: Callable[[Task, BaseException], None],
    claim: Callable[[Task], Claim] = lambda task: Claim.OURS,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Run ``work(task)`` for every task.

    Args:
        tasks: what to do; the longest is begun first.
        work: a function that a fresh process can import.
        pool: where to.
        finished: told each task and its result, in this process.
        failed: told each task that raised, or that was lost twice.
        claim: asked before a task begins; what is done or another's is not begun here. What is
            another's is asked for again until it is done.
        tick: called at least every :data:`HEARTBEAT` seconds while waiting.

    An exception in this process, KeyboardInterrupt included, passes on and leaves what is in flight
    to the pool.
    """
    queue = Queue(tasks)
    suspects: deque[Task] = deque()
    flying: dict[Future[Result], tuple[Task, Hashable, bool]] = {}

    def begin(worker: Hashable, executor: Executor) -> None:
        """Give a free worker what it should do, if there is anything."""
        theirs: list[Task] = []
        while queue:
            task = queue.take(worker)
            whose = claim(task)
            if whose is Claim.THEIRS:
                theirs.append(task)
            elif whose is Claim.OURS:
                start(task, worker, executor, False)
                break
        queue.put_back(theirs)
        if suspects and not flying:
            start(suspects.popleft(), worker, executor, True)

    def start(task: Task, worker: Hashable, executor: Executor, alone: bool) -> None:
        try:
            flying[executor.submit(work, task)] = task, worker, alone
        except BrokenExecutor:  # it died while it had nothing to do
            bury(worker)
            again(task, alone)

    def bury(worker: Hashable) -> None:
        pool.bury(worker)
        queue.forget(worker)

    def again(task: Task, alone: bool) -> None:
        """What did not end, by nobody's fault, begins again."""
        if alone:
            suspects.appendleft(task)
        else:
            queue.put_back([task])

    def lost(task: Task, worker: Hashable, alone: bool) -> None:
        """What was lost with its worker waits to run alone, or has failed."""
        bury(worker)
        if alone:
            failed(task, LostError(f"its process died, and died again when run alone; {CAUSE}"))
        else:
            suspects.append(task)

    while queue or suspects or flying:
        busy = {worker for _, worker, _ in flying.values()}
        for worker, executor in pool.workers().items():
            if any(alone for _, _, alone in flying.values()):
                break
            if worker not in busy:
                begin(worker, executor)
        if flying:
            wait(flying, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
        elif queue or suspects:
            time.sleep(HEARTBEAT)  # no worker is there, or all that is left is another's
        present = pool.workers()
        for future, (task, worker, alone) in list(flying.items()):
            if worker in present and not future.done():
                continue
            del flying[future]
            if not future.done():
                future.cancel()
                lost(task, worker, alone)
            elif future.cancelled():  # the connection was lost for a moment
                again(task, alone)
            elif (error := future.exception()) is None:
                finished(task, future.result())
            elif isinstance(error, (BrokenExecutor, *pool.lost)):
                lost(task, worker, alone)
            else:
                failed(task, error)
        tick()
