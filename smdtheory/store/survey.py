"""A folder of results as a visitor sees it: what is done, what failed and why, what is damaged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from smdtheory.command import printable
from smdtheory.store.cell import (
    Failure,
    Row,
    content,
    key_of,
    read_failure,
    read_work,
)
from smdtheory.store.folder import MARKER, check_folder, files_in

T = TypeVar("T")

SHOWN = 20
"""Failures, and damaged files, that are named; the others are counted."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        folder: where it is.
        numerics: the newest version of the numerics that made rows, or failed where there are none;
            ``None`` if it holds nothing.
        rows: rows of that version by (key of the cell, T).
        cells: how many cells these are of.
        older: rows of each other version.
        failures: cells that failed last time, of that version or a newer one.
        damaged: files that cannot be read, or could not and are not made anew, and why.
        asked: of the rows that the last command asked for, how many are there, and how many it
            asked for; ``None`` if that is not known.
    """

    folder: Path
    numerics: int | None
    rows: dict[tuple[str, int | None], Row]
    cells: int
    older: dict[int, int]
    failures: list[Failure]
    damaged: dict[Path, str]
    asked: tuple[int, int] | None


def survey(folder: Path) -> Survey:
    """Read a folder, changing nothing.

    Raises:
        ValueError: if it is not a folder of results.
    """
    cure = "Name that of a sweep."
    if not (folder / MARKER).exists():
        raise ValueError(f"the folder must hold results; {folder} does not. {cure}")
    check_folder(folder, cure=cure)
    aside = sorted((folder / "cells").glob("*.damaged"))
    lost = [path for path in aside if not path.with_suffix("").exists()]
    damaged = dict.fromkeys(lost, "a run has set it aside")
    works = _all(folder / "cells", read_work, damaged)
    failures = _all(folder / "failed", read_failure, damaged)
    numerics = max((made.numerics for made in works or failures), default=None)
    older: Counter[int] = Counter()
    rows: dict[tuple[str, int | None], Row] = {}
    for work in works:
        if work.numerics == numerics:
            rows.update({(work.key, row.get("steps")): row for row in work.rows})
        else:
            older[work.numerics] += len(work.rows)
    return Survey(
        folder=folder,
        numerics=numerics,
        rows=rows,
        cells=len({key for key, _ in rows}),
        older=dict(sorted(older.items())),
        failures=[fail for fail in failures if numerics is None or fail.numerics >= numerics],
        damaged=damaged,
        asked=_asked(folder, rows),
    )


def _all(folder: Path, read: Callable[[Path], T], damaged: dict[Path, str]) -> list[T]:
    """What the files of a folder hold; those that cannot be read go to ``damaged``."""
    found = []
    for path in files_in(folder):
        try:
            found.append(read(path))
        except ValueError as error:
            damaged[path] = str(error)
    return found


def _asked(folder: Path, rows: dict[tuple[str, int | None], Row]) -> tuple[int, int] | None:
    """What config.json says was asked for last, if it says so."""
    try:
        document = json.loads(content(folder / "config.json"))
        keys = [key_of(cell, document["numerics"]) for cell in document["cells"]]
        wanted = [(key, steps) for key in keys for steps in document["iterations"]]
        return sum(place in rows for place in wanted), len(wanted)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def lines(found: Survey) -> list[str]:
    """The survey in words."""
    rows = "1 row" if len(found.rows) == 1 else f"{len(found.rows)} rows"
    cells = "1 cell" if found.cells == 1 else f"{found.cells} cells"
    said = [f"{found.folder}", f"  done     {rows} of {cells}"]
    if found.numerics is not None:
        said[-1] += f", numerics {found.numerics}"
    if found.asked is not None:
        there, wanted = found.asked
        left = "all of them are there" if there == wanted else f"{wanted - there} are left"
        said.append(f"  asked    {wanted} rows by the last command, {left}")
    for numerics, count in found.older.items():
        said.append(f"  older    {count} rows of numerics {numerics}, which nothing reads")
    said.append(f"  failed   {len(found.failures)}")
    said += _some([f"{fail.label or fail.key}: {fail.error}" for fail in found.failures])
    said.append(f"  damaged  {len(found.damaged)}")
    said += _some(
        [f"{path.relative_to(found.folder)}: {why}" for path, why in found.damaged.items()]
    )
    if found.failures or found.damaged:
        said.append("The command that made the folder tries again what failed or is damaged.")
    return [printable(line) for line in said]


def _some(entries: list[str]) -> list[str]:
    shown = [f"    {entry}" for entry in entries[:SHOWN]]
    return shown + [f"    and {len(entries) - SHOWN} more"] * (len(entries) > SHOWN)
