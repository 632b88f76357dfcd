"""Where a configuration says that work runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from smdtheory.sweep.engine import Pool
from smdtheory.sweep.processes import here, processes


class Where(Protocol):
    """What a configuration says of where to compute."""

    @property
    def workers(self) -> int | None:
        """Number of processes asked for."""

    @property
    def worker_count(self) -> int:
        """The same, or one for each core."""

    @property
    def cluster(self) -> str | None:
        """Address of a Dask scheduler."""


def pool_of(where: Where, tasks: int) -> AbstractContextManager[Pool]:
    """The workers that a configuration asks for.

    One process that was asked for is this one; one that is all there is to have is another, so that
    a cell that kills its process does not kill the sweep.

    Args:
        where: the configuration.
        tasks: how much there is to do: no more processes are started.

    Raises:
        ConnectionError: if no scheduler answers, or its workers are of another version.
    """
    if where.cluster is not None:
        from smdtheory.sweep.cluster import connected

        return connected(where.cluster, where.workers)
    return here() if where.workers == 1 else processes(min(where.worker_count, tasks))
