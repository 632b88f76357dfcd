"""Compute the mixtures of a phase diagram on several workers; what is finished is kept.

The folder is a store (:mod:`smdtheory.store`) in which a cell is one mixture and family; phase.csv
and the figure are made from the rows asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from smdtheory.families import Family
from smdtheory.store.cell import Row
from smdtheory.store.folder import Claim, Store
from smdtheory.sweep.cells import NUMERICS_VERSION
from smdtheory.sweep.engine import run_tasks
from smdtheory.sweep.phase.config import PhaseConfig
from smdtheory.sweep.phase.rows import check_row, mixture_rows
from smdtheory.sweep.pools import pool_of

STEPS = (None,)
"""A cell of a phase diagram has one row, for no T in particular."""


@dataclass(frozen=True)
class Task:
    """One family on one mixture; self-contained."""

    config: PhaseConfig
    modes: int
    ratio: float
    family: Family

    @property
    def cost(self) -> float:
        """Expected time: more modes take longer."""
        return float(self.modes)

    @property
    def shares(self) -> tuple[int, float]:
        """The mixture, whose curves a worker computes once for all families."""
        return self.modes, self.ratio

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything that the row depends on, as plain JSON values."""
        return {
            "error": self.config.error,
            "modes": self.modes,
            "ratio": self.ratio,
            "family": self.family,
            "shape": self.config.shape,
            "schedule": self.config.schedule,
        }

    @property
    def label(self) -> str:
        """A name for people."""
        return f"{self.modes} modes at separation/std {self.ratio:g}, {self.family}"


def work(task: Task) -> list[Row]:
    """The row of a task; what a process of its own computes.

    Example:
        >>> config = PhaseConfig(shape="line")
        >>> work(Task(config, 2, 1.0, "full"))[0]["steps_needed"]
        1
    """
    return mixture_rows(replace(task.config, families=(task.family,)), task.modes, task.ratio)


def compute(
    config: PhaseConfig, *, tell: Callable[[int, int], None] = lambda done, of: None
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of a phase diagram, computing only those that the folder does not hold.

    Args:
        config: what is asked.
        tell: told how many rows are done, and of how many, after each.

    Returns:
        the rows in order, without those that failed; and what failed, with the error of each.

    Raises:
        ValueError: if the folder is another program's, or cannot be written.
        OSError: if it can no longer be written, or a cluster is lost; what is finished stays.
    """
    store = Store.open(config.out, NUMERICS_VERSION, kind="phase", check=check_row)
    wanted = [
        Task(config, modes, ratio, family)
        for modes in config.modes
        for ratio in config.ratios
        for family in config.families
    ]
    tasks = [task for task in wanted if not list(store.select(task.configuration, STEPS))]
    done, failures = len(wanted) - len(tasks), []
    tell(done, len(wanted))

    def advance() -> None:
        nonlocal done
        done += 1
        tell(done, len(wanted))

    def finished(task: Task, rows: list[Row]) -> None:
        try:
            store.add(task.configuration, rows)
        except ValueError as error:  # a worker of another version, on a cluster
            failed(task, error)
        else:
            advance()

    def failed(task: Task, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        store.add_failure(task.configuration, STEPS, text, task.label)
        failures.append((task.label, text))
        advance()

    def claim(task: Task) -> Claim:
        whose = store.claim(task.configuration, STEPS)
        if whose is Claim.DONE:
            advance()
        return whose

    try:
        if tasks:
            with pool_of(config, len(tasks)) as pool:
                run_tasks(tasks, work, pool, finished=finished, failed=failed, claim=claim)
    finally:
        store.close()
    rows = [row for task in wanted for row in store.select(task.configuration, STEPS)]
    return rows, failures
