"""What is left to do, and which of it a free worker should take.

The longest first, so that no long cell is left to the end while the other workers idle. But cells
that share a mixture share its curves, which a worker computes once and keeps: so among cells within
a factor :data:`NEARBY` of the longest, a worker takes one whose mixture it has already, or else one
whose mixture nobody has.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

NEARBY = 8.0
"""Cells this many times shorter than the longest may go before it."""

WINDOW = 256
"""How many cells are looked at: a choice takes microseconds, however many there are."""


class Unit(Protocol):
    """A piece of work."""

    @property
    def cost(self) -> float:
        """Expected time, in any unit."""

    @property
    def shares(self) -> Hashable:
        """What a worker keeps of it: other work that shares it goes faster there."""


Task = TypeVar("Task", bound=Unit)


class Queue(Generic[Task]):
    """Work to be done.

    Args:
        tasks: in any order.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Piece:
        ...     cost: float
        ...     shares: str
        >>> queue = Queue([Piece(1, "a"), Piece(3, "b"), Piece(2, "a"), Piece(1, "b")])
        >>> [(piece.cost, piece.shares) for piece in (queue.take(0), queue.take(1), queue.take(0))]
        [(3, 'b'), (2, 'a'), (1, 'b')]
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = sorted(tasks, key=lambda task: -task.cost)
        self._holders: dict[Hashable, set[Hashable]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, worker: Hashable) -> Task:
        """Remove and return what this worker should do next.

        Raises:
            IndexError: if nothing is left.
        """
        least = self._tasks[0].cost / NEARBY
        best, rank = 0, 2
        for place, task in enumerate(islice(self._tasks, WINDOW)):
            if task.cost < least or rank == 0:
                break
            holders = self._holders.get(task.shares)
            here = 1 if not holders else 0 if worker in holders else 2
            if here < rank:
                best, rank = place, here
        task = self._tasks.pop(best)
        self._holders.setdefault(task.shares, set()).add(worker)
        return task

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Return what was taken and not done."""
        for task in tasks:
            insort(self._tasks, task, key=lambda task: -task.cost)

    def forget(self, worker: Hashable) -> None:
        """A worker is gone, and with it what it kept."""
        for holders in self._holders.values():
            holders.discard(worker)
