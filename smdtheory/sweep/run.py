"""Run a sweep: what ``python -m smdtheory.sweep`` does, as one function."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from smdtheory.checks import instance
from smdtheory.families import LEARNED, RECIPES_VERSION
from smdtheory.files import write_atomically
from smdtheory.store.cell import Row
from smdtheory.store.folder import Claim
from smdtheory.sweep import report, trained
from smdtheory.sweep.cells import ARMS, NUMERICS_VERSION, SAMPLES, Task
from smdtheory.sweep.columns import NUMBERS, WHOLE
from smdtheory.sweep.compute import compute
from smdtheory.sweep.config import SweepConfig
from smdtheory.sweep.engine import run_tasks
from smdtheory.sweep.plan import Plan, make_plan
from smdtheory.sweep.pools import pool_of
from smdtheory.truth.mixture import GaussianMixture

LOGGED = 120.0
"""Seconds between two lines on the progress, where there is no terminal for a bar."""

KEY = ("arm", "budget", "steps", "M_sum")


@dataclass(frozen=True)
class Outcome:
    """What a sweep leaves.

    Attributes:
        rows: the rows asked for, in order; those of failed cells are missing.
        failures: (cell, error) of each cell that failed.
        files: what was written for people.
    """

    rows: list[Row]
    failures: list[tuple[str, str]]
    files: list[Path]


def run_sweep(
    config: SweepConfig | None = None,
    *,
    mixture: GaussianMixture | Path | str | None = None,
    progress: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Run a sweep and return its rows, one for each cell and iteration count.

    Does what the command does, on the same folder and with the same files, and prints only the
    progress bar.

    Args:
        config: what to do; the default sweep if absent.
        mixture: a mixture of your own, as an object or a file.
        progress: show a progress bar.
        **options: fields of :class:`SweepConfig` that replace those of ``config``.

    Returns:
        A table with the columns of ``rows.csv``; errors in nats.

    Raises:
        TypeError: for options of the wrong kind.
        ValueError: for options out of range, or a file or folder that cannot be used.
        OSError: if the folder can no longer be written, no scheduler answers, or a cluster is
            lost; what is finished stays.

    Warns:
        RuntimeWarning: if cells failed; their rows are missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out:
        ...     rows = run_sweep(
        ...         modes=2, iterations=3, families="full", workers=1, out=out,
        ...         no_train=True, no_figure=True, progress=False,
        ...     )
        >>> list(rows.arm)
        ['full', 'soft_mixture']
    """
    if isinstance(mixture, Path | str):
        options["mixture"] = mixture
        mixture = None
    cure = "Or leave it out, and give its fields as options."
    asked = SweepConfig() if config is None else instance("config", config, SweepConfig, cure)
    plan = make_plan(replace(asked, **options), mixture)
    outcome = execute(plan, progress=progress)
    if outcome.failures:
        first = ": ".join(outcome.failures[0])
        warnings.warn(
            f"{len(outcome.failures)} of {len(plan.cells)} cells failed; the first is {first}",
            RuntimeWarning,
            stacklevel=2,
        )
    return as_table(outcome.rows)


def execute(plan: Plan, *, progress: bool = True) -> Outcome:
    """Compute what is missing, then write rows.csv, config.json, table.txt and the figures.

    Raises:
        OSError: if the folder can no longer be written, no scheduler answers, or a cluster is
            lost; what is finished stays.
    """
    store, folder = plan.store, plan.store.folder
    configuration = {
        "smdtheory": version("smdtheory"),
        "numerics": NUMERICS_VERSION,
        "samples": SAMPLES,
        **plan.config.to_json(),
        "cells": [cell.configuration for cell in plan.cells],
    }
    write_atomically(folder / "config.json", json.dumps(configuration, indent=1) + "\n")
    failures: list[tuple[str, str]] = []
    tasks = plan.tasks
    with _bar(tasks, len(plan.cells), show=progress) as advance:
        training: dict[Path | None, Task] = {}  # who trains what

        def finished(task: Task, rows: list[Row]) -> None:
            training.pop(task.checkpoints, None)
            try:
                store.add(task.cell.configuration, rows)
            except ValueError as error:  # a worker of another version, on a cluster
                failed(task, error)
            else:
                advance(task)

        def failed(task: Task, error: BaseException) -> None:
            training.pop(task.checkpoints, None)
            text = f"{type(error).__name__}: {error}"
            store.add_failure(task.cell.configuration, task.steps, text, task.cell.label)
            failures.append((task.cell.label, text))
            advance(task)

        def claim(task: Task) -> Claim:
            if training.get(task.checkpoints, task) is not task:
                return Claim.THEIRS  # a worker would wait for the other to train the same network
            whose = store.claim(task.cell.configuration, task.steps)
            if whose is Claim.DONE:
                training.pop(task.checkpoints, None)
                advance(task)
            elif whose is Claim.OURS and task.checkpoints is not None:
                training[task.checkpoints] = task
            return whose

        try:
            if tasks:
                with pool_of(plan.config, len(tasks)) as pool:
                    run_tasks(
                        tasks,
                        compute,
                        pool,
                        finished=finished,
                        failed=failed,
                        claim=claim,
                        tick=advance,
                    )
        finally:
            store.close()
    return Outcome(plan.rows, failures, _write(plan))


def as_table(rows: list[Row]) -> pd.DataFrame:
    """Rows as a table in which what does not exist is NaN."""
    table = pd.DataFrame(rows).fillna(float("nan"))
    numbers = [name for name in table.columns if name in NUMBERS]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table


def read_rows(path: Path | str) -> list[Row]:
    r"""The rows of a ``rows.csv``: what :func:`as_table` made a table of, ``None`` for NaN.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it lacks the columns that a row is known by.

    Example:
        >>> import io
        >>> read_rows(io.StringIO("arm,budget,steps,M_sum,latents\nfull,,3,0.5,\n"))
        [{'arm': 'full', 'budget': None, 'steps': 3, 'M_sum': 0.5, 'latents': None}]
    """
    table = pd.read_csv(path, compression=None)  # whatever its name ends in
    if missing := [name for name in KEY if name not in table.columns]:
        raise ValueError(
            f"{path} must be a rows.csv of a sweep; it lacks the columns {', '.join(missing)}"
        )
    whole = [name for name in WHOLE if name in table.columns]
    table = table.astype(dict.fromkeys(whole, "Int64")).astype(object)
    return table.where(table.notna(), None).to_dict("records")  # type: ignore[return-value]


def _write(plan: Plan) -> list[Path]:
    """The files for people, from all rows of the folder, whatever this plan asked for."""
    folder = plan.store.folder
    current = (None, RECIPES_VERSION)
    rows = [row for row in plan.store.rows.values() if row.get("recipes") in current]
    rows.sort(key=_place)
    files = [folder / "rows.csv", folder / "table.txt", folder / "config.json"]
    write_atomically(files[0], as_table(rows).to_csv(index=False))
    write_atomically(files[1], report.everything(rows))
    if not plan.config.no_figure:
        files += _draw(plan, rows)
    return files


def _place(row: Row) -> tuple[Any, ...]:
    """The place of a row among those of its folder."""
    mixture = row["shape"], row["dim"], row["modes"], row["separation"] or 0.0, row["std"] or 0.0
    training = row.get("budget") or "", row.get("repeat") or 0
    return *mixture, *report.group_of(row), ARMS.index(row["arm"]), *training, row["steps"]


def _draw(plan: Plan, rows: list[Row]) -> list[Path]:
    """Up to three figures for each mixture, schedule and seed of the plan, as PNG and PDF."""
    from smdtheory import plots

    folder = plan.store.folder
    names = {
        (cell.mixture.identity, cell.schedule, cell.seed): cell.mixture.name for cell in plan.cells
    }
    files: list[Path] = []
    for group in report.groups(rows):
        row = group[0]
        if report.group_of(row) not in names:
            continue
        name = f"{names[report.group_of(row)]}_{row['schedule']}_seed{row['seed']}"
        said = report.heading(row)
        exact = [row for row in group if row["arm"] not in LEARNED]
        if exact:
            figure = plots.error_against_steps(
                as_table(exact),
                title=report.headline(exact),
                subtitle=f"{said}; bars: one standard or numerical error",
                width=plots.PAGE,
            )
            files += plots.save(figure, folder / f"error_against_steps_{name}")
            figure = plots.global_error_against_steps(
                as_table(exact),
                title="Global error: what the whole chain gets wrong",
                subtitle=said,
                width=plots.PAGE,
            )
            files += plots.save(figure, folder / f"global_error_against_steps_{name}")
        own = plan.config.budget, plan.config.device
        means = [row for row in trained.averaged(group) if (row["budget"], row["device"]) == own]
        if means:
            figure = plots.error_against_steps(
                as_table(trained.beside_floors(group, means)),
                title="Trained networks beside the best that a Gaussian could do",
                subtitle=f"{said}; {plan.config.budget} budget; bars: 95 % interval",
                width=plots.PAGE,
            )
            files += plots.save(figure, folder / f"trained_{plan.config.budget}_{name}")
    return files


@contextmanager
def _bar(tasks: list[Task], cells: int, *, show: bool) -> Iterator[Any]:
    """A progress bar in expected time, so that the time left is right when cells differ in size.

    Where the error output is no terminal, a line every :data:`LOGGED` seconds instead.
    """
    curves: dict[str, float] = {}  # what those of each mixture cost that has none yet
    for task in tasks:
        curves[task.shares] = max(task.shared_cost, curves.get(task.shares, 0.0))
    total = sum(task.own_cost for task in tasks) + sum(curves.values())
    show = show and bool(tasks)
    with tqdm(
        total=round(total),
        disable=None if show else True,  # None: where the output is not a terminal
        bar_format="{percentage:3.0f}%|{bar:30}| {desc} [{elapsed}<{remaining}]",
        leave=False,
        smoothing=0,
    ) as bar:
        done, spent = cells - len(tasks), 0.0
        begun = told = time.monotonic()

        def advance(task: Task | None = None) -> None:
            nonlocal done, spent, told
            if task is not None:
                done += 1
                shared = curves.pop(task.shares, 0.0) if task.shared_cost else 0.0
                spent += task.own_cost + shared
                bar.update(round(spent) - bar.n)
            bar.set_description_str(f"{done}/{cells} cells")
            now = time.monotonic()
            if show and bar.disable and spent and now > told + LOGGED:
                told = now
                left = (now - begun) * (total - spent) / spent / 60
                print(f"{done}/{cells} cells, {left:.0f} minutes left", file=sys.stderr, flush=True)

        advance()
        yield advance
