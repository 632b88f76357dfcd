"""The folder of results: one JSON file for each finished cell, and nothing computed twice.

    store.json        the format and its version
    cells/HASH.json   configuration and rows of one finished piece of work
    failed/HASH.json  configuration and error of a cell that failed last time

A piece of work is a cell and the iteration counts it was asked for. HASH covers the whole of it and
the version of the numerics, so that rows of code since corrected are not taken for current. Files
are never changed, only added: asking for more iteration counts later adds a file with the new ones.
Each is written under a temporary name, flushed and then renamed, so a reader sees all of it or
nothing, whatever is killed. Reading is strict JSON and never runs anything.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smdtheory.files import canonical, digest, write_atomically

FORMAT = {"format": "smdtheory sweep", "version": 1}
MARKER = "store.json"
CURE = "Name another with --out."
FIELDS = {"cell", "numerics", "steps", "rows", "check"}

Row = dict[str, Any]


@dataclass
class Store:
    """A results folder.

    Attributes:
        folder: where it is.
        rows: finished rows by (key of the cell, T), for the current numerics.
        damaged: files that could not be read and were set aside.
    """

    folder: Path
    numerics: int
    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)

    @staticmethod
    def open(folder: Path, numerics: int, *, create: bool = True) -> Store:
        """Open a folder, making it where it does not exist, and read what is finished.

        Args:
            folder: the results folder.
            numerics: version of the numerics; rows of another one are left alone and not read.
            create: with ``False`` nothing is made, renamed or written.

        Raises:
            ValueError: if the folder is something else's, of another format, or not writable.
        """
        _check_folder(folder)
        store = Store(folder, numerics)
        if create:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / MARKER, json.dumps(FORMAT) + "\n")
                for name in ("cells", "failed"):
                    (folder / name).mkdir(exist_ok=True)
            except OSError as error:
                raise ValueError(
                    f"the output folder must be writable; received {folder}: {error.strerror}. "
                    f"{CURE}"
                ) from error
        store._read(set_aside=create)
        return store

    def _read(self, *, set_aside: bool) -> None:
        for path in sorted((self.folder / "cells").glob("*.json")):
            try:
                cell, numerics, rows = _parse(path)
            except (ValueError, RecursionError):
                self.damaged.append(path)
                if set_aside:
                    os.replace(path, path.with_name(path.name + ".damaged"))
                continue
            if numerics == self.numerics:
                key = self.key(cell)
                self.rows.update({(key, row["steps"]): row for row in rows})

    def key(self, cell: Mapping[str, Any]) -> str:
        """The identity of a cell: its configuration and the version of the numerics."""
        return digest({"cell": cell, "numerics": self.numerics})

    def missing(self, cell: Mapping[str, Any], steps: Iterable[int]) -> tuple[int, ...]:
        """The iteration counts of a cell that have no row yet."""
        key = self.key(cell)
        return tuple(T for T in steps if (key, T) not in self.rows)

    def select(self, cell: Mapping[str, Any], steps: Iterable[int]) -> Iterator[Row]:
        """The finished rows of a cell at these iteration counts."""
        key = self.key(cell)
        return (self.rows[key, T] for T in steps if (key, T) in self.rows)

    def add(self, cell: Mapping[str, Any], rows: list[Row]) -> None:
        """Keep the rows of a finished piece of work, and forget an earlier failure of the cell.

        Raises:
            ValueError: if a number is NaN.
            OSError: if the file cannot be written; what was there before stays.
        """
        work = {"cell": dict(cell), "numerics": self.numerics, "steps": [r["steps"] for r in rows]}
        encoded = [_encode(row) for row in rows]
        document = {**work, "rows": encoded, "check": digest(encoded)}
        write_atomically(self.folder / "cells" / f"{digest(work)}.json", json.dumps(document))
        key = self.key(cell)
        self.rows.update({(key, row["steps"]): row for row in rows})
        (self.folder / "failed" / f"{key}.json").unlink(missing_ok=True)

    def add_failure(self, cell: Mapping[str, Any], error: str) -> None:
        """Record why a cell failed; it is tried again next time."""
        document = {"cell": dict(cell), "numerics": self.numerics, "error": error}
        path = self.folder / "failed" / f"{self.key(cell)}.json"
        write_atomically(path, json.dumps(document, indent=1))


def _check_folder(folder: Path) -> None:
    try:
        if not folder.exists():
            above = next(parent for parent in folder.absolute().parents if parent.exists())
            if not (above.is_dir() and os.access(above, os.W_OK)):
                raise ValueError(f"the output folder must be writable; {above} is not. {CURE}")
            return
        if not folder.is_dir():
            raise ValueError(f"the output must be a folder; {folder} is a file. {CURE}")
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise ValueError(
            f"the output folder must be readable; received {folder}: {error.strerror}. {CURE}"
        ) from error
    if MARKER not in names:
        if names:
            raise ValueError(
                "the output folder must be new, empty or a sweep's own; "
                f"{folder} holds other files ({names[0]!r} is one). {CURE}"
            )
        return
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found = f"something unreadable ({type(error).__name__})"
    if found != FORMAT:
        raise ValueError(
            f"the output folder must hold {canonical(FORMAT)}; {folder / MARKER} says "
            f"{str(found)[:200]}. It comes from another version or program. {CURE}"
        )


def _encode(row: Row) -> Row:
    """Infinities as the strings "inf" and "-inf"; NaN is an error of the code that made the row."""
    out = dict(row)
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            if math.isnan(value):
                raise ValueError(f"{name} must be a number; received NaN at T = {row['steps']}")
            out[name] = str(value)
    return out


def _decode(row: Row) -> Row:
    return {k: float(v) if v in ("inf", "-inf") else v for k, v in row.items()}


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse(path: Path) -> tuple[dict[str, Any], int, list[Row]]:
    """Read one cell's file; ValueError for anything that is not exactly what was written."""
    document = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse)
    if not isinstance(document, dict) or set(document) != FIELDS:
        raise ValueError("not a cell")
    rows, check = document.pop("rows"), document.pop("check")
    if digest(document) != path.stem or digest(rows) != check:
        raise ValueError("the file does not hold what was written")
    plain = (str, int, float, type(None))
    flat = isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(v, plain) for v in row.values()) for row in rows
    )
    if not flat or [row.get("steps") for row in rows] != document["steps"]:
        raise ValueError("the rows are not those of these steps")
    return document["cell"], document["numerics"], [_decode(row) for row in rows]
