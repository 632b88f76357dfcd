"""Compute the mixtures of a phase diagram on several processes; what is finished is kept.

In the folder, ``cells/HASH.json`` holds one finished row, HASH covering what was asked and the
version of the numerics; phase.csv and the figure are made from the rows asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smdtheory.families import Family
from smdtheory.files import digest, write_atomically
from smdtheory.sweep.cells import NUMERICS_VERSION
from smdtheory.sweep.engine import run_tasks
from smdtheory.sweep.phase.config import PhaseConfig
from smdtheory.sweep.phase.rows import mixture_rows
from smdtheory.sweep.store import Row

CELLS = "cells"


@dataclass(frozen=True)
class Task:
    """One mixture and the families still to be computed; self-contained."""

    config: PhaseConfig
    modes: int
    ratio: float


def work(task: Task) -> list[Row]:
    """The rows of a task; what a process of its own computes.

    Example:
        >>> config = PhaseConfig(families=("full",), shape="line")
        >>> work(Task(config, 2, 1.0))[0]["steps_needed"]
        1
    """
    return mixture_rows(task.config, task.modes, task.ratio)


def compute(
    config: PhaseConfig, *, tell: Callable[[int, int], None] = lambda done, of: None
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of a phase diagram, computing only those that the folder does not hold.

    Args:
        config: what is asked.
        tell: told how many mixtures are done, and of how many, after each.

    Returns:
        the rows in order, without those that failed; and what failed, with the error of each.

    Raises:
        OSError: if the folder cannot be written; what is finished stays.
    """
    (config.out / CELLS).mkdir(parents=True, exist_ok=True)
    places = [(modes, ratio) for modes in config.modes for ratio in config.ratios]
    known: dict[tuple[int, float], dict[Family, Row]] = {}
    tasks = []
    for modes, ratio in places:
        known[modes, ratio] = {
            family: row
            for family in config.families
            if (row := _read(_path(config, modes, ratio, family))) is not None
        }
        rest = tuple(family for family in config.families if family not in known[modes, ratio])
        if rest:
            tasks.append(Task(replace(config, families=rest), modes, ratio))
    tasks.sort(key=lambda task: -task.modes)  # the longest first
    done, failures = len(places) - len(tasks), []
    tell(done, len(places))

    def finished(task: Task, rows: list[Row]) -> None:
        nonlocal done
        for row in rows:
            path = _path(config, task.modes, task.ratio, row["arm"])
            write_atomically(path, json.dumps({"row": row, "check": digest(row)}))
            known[task.modes, task.ratio][row["arm"]] = row
        done += 1
        tell(done, len(places))

    def failed(task: Task, error: BaseException) -> None:
        where = f"{task.modes} modes at separation/std {task.ratio:g}"
        failures.append((where, f"{type(error).__name__}: {error}"))

    if tasks:
        workers = min(config.worker_count, len(tasks))
        run_tasks(tasks, work, workers, finished=finished, failed=failed)
    rows = [
        known[place][family]
        for place in places
        for family in config.families
        if family in known[place]
    ]
    return rows, failures


def _path(config: PhaseConfig, modes: int, ratio: float, family: Family) -> Path:
    """Where the row of one mixture and family is kept."""
    asked = {
        "numerics": NUMERICS_VERSION,
        "error": config.error,
        "modes": modes,
        "ratio": ratio,
        "family": family,
        "shape": config.shape,
        "schedule": config.schedule,
    }
    return config.out / CELLS / f"{digest(asked)}.json"


def _read(path: Path) -> Row | None:
    """A row as it was written; ``None`` if it is not there, or damaged."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        row: Row = document["row"]
        return row if digest(row) == document["check"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
