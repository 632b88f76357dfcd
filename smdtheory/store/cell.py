"""One file of the store: what is written into it, and reading it without trusting it."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smdtheory.files import digest

Row = dict[str, Any]

MOST_BYTES = 2**25
"""A file of more is not read: ten thousand rows take a third of it."""

MOST_LEVELS = 32
"""Of lists and objects in the configuration of a cell, which has four."""

TOO_DEEP = "it is nested too deeply"

PLAIN = (str, int, float, type(None))
WORK = {"cell", "numerics", "steps", "rows", "check"}
FAILURE = {"cell", "numerics", "label", "error"}


class UnreadError(ValueError):
    """A file was not read, for a reason that may pass: nothing is known of its content."""


@dataclass(frozen=True)
class Work:
    """A finished piece of work.

    Attributes:
        cell: the configuration of the cell.
        numerics: version of the numerics that computed it.
        rows: a row for each iteration count, of which ``row["steps"]`` is the number.

    Example:
        >>> work = Work({"arm": "full"}, 1, [{"steps": 3, "M_sum": 0.5}])
        >>> len(work.name), work.key == Work({"arm": "full"}, 1, []).key
        (64, True)
    """

    cell: Mapping[str, Any]
    numerics: int
    rows: list[Row]

    @property
    def key(self) -> str:
        """The identity of the cell."""
        return key_of(self.cell, self.numerics)

    @property
    def name(self) -> str:
        """The identity of the work: that of the cell with the iteration counts."""
        return name_of(self.cell, self.numerics, [row.get("steps") for row in self.rows])

    def text(self) -> str:
        """The content of its file.

        Raises:
            ValueError: if a number is NaN.
        """
        rows = [_encoded(row) for row in self.rows]
        document = {
            "cell": dict(self.cell),
            "numerics": self.numerics,
            "steps": [row.get("steps") for row in self.rows],
            "rows": rows,
            "check": digest(rows),
        }
        return json.dumps(document)


@dataclass(frozen=True)
class Failure:
    """Why a cell failed last time.

    Attributes:
        cell: the configuration of the cell.
        numerics: version of the numerics.
        steps: the iteration counts that failed and have not succeeded since; empty in older
            records, which did not say.
        label: the cell's name for people.
        error: the error.
    """

    cell: Mapping[str, Any]
    numerics: int
    steps: list[int | None]
    label: str
    error: str

    @property
    def key(self) -> str:
        """The identity of the cell."""
        return key_of(self.cell, self.numerics)

    def text(self) -> str:
        """The content of its file."""
        return json.dumps({**vars(self), "cell": dict(self.cell)}, indent=1)


def key_of(cell: Mapping[str, Any], numerics: int) -> str:
    """The identity of a cell: its configuration and the version of the numerics."""
    return digest({"cell": cell, "numerics": numerics})


def name_of(cell: Mapping[str, Any], numerics: int, steps: list[int | None]) -> str:
    """The identity of a piece of work."""
    return digest({"cell": cell, "numerics": numerics, "steps": steps})


@contextmanager
def _strictly() -> Iterator[None]:
    """Whatever reading a file may raise, as a ValueError that says why."""
    try:
        yield
    except FileNotFoundError as error:  # or a link to nowhere
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except OSError as error:
        raise UnreadError(f"it cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error


@_strictly()
def read_work(path: Path) -> Work:
    """Read the file of a finished piece of work.

    Raises:
        UnreadError: if it cannot be read at this moment.
        ValueError: for anything that is not exactly what was written, with the reason.
    """
    document = _document(path, WORK)
    rows, check = document.pop("rows"), document.pop("check")
    if digest(document) != path.stem or digest(rows) != check:
        raise ValueError("it does not hold what was written")
    flat = isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(value, PLAIN) for value in row.values())
        for row in rows
    )
    if not flat or [row.get("steps") for row in rows] != document["steps"]:
        raise ValueError("its rows are not those of its iteration counts")
    for row in rows:
        for text in (*row, *row.values()):
            if isinstance(text, str) and not text.isprintable():
                raise ValueError(f"it holds a text that cannot be shown, {text!a:.40}")
    return Work(document["cell"], document["numerics"], [_decoded(row) for row in rows])


@_strictly()
def read_failure(path: Path) -> Failure:
    """Read the record of a failure.

    Raises:
        UnreadError: if it cannot be read at this moment.
        ValueError: for anything that is not exactly what was written, with the reason.
    """
    document = {"steps": [], **_document(path, FAILURE, optional={"steps"})}
    steps = document["steps"]
    if not isinstance(steps, list) or any(type(T) not in (int, type(None)) for T in steps):
        raise ValueError("its steps are not iteration counts")
    if not (isinstance(document["label"], str) and isinstance(document["error"], str)):
        raise ValueError("its label and error are not texts")
    failure = Failure(**document)
    if failure.key != path.stem:
        raise ValueError("it does not hold what was written")
    return failure


def _document(path: Path, fields: set[str], optional: Set[str] = frozenset()) -> dict[str, Any]:
    """The JSON object in a file, with these fields and a cell and numerics of the right kind."""
    document = json.loads(content(path).decode("utf-8"), parse_constant=_refuse)
    if not isinstance(document, dict) or set(document) - optional != fields:
        raise ValueError("it does not have the fields of a cell")
    if not isinstance(document["cell"], dict) or type(document["numerics"]) is not int:
        raise ValueError("its cell or numerics are not of the right kind")
    if not _shallow(document["cell"], MOST_LEVELS):
        raise ValueError(TOO_DEEP)  # whoever takes its identity would meet the end of the stack
    return document


def _shallow(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in at most so many levels."""
    if not isinstance(value, list | dict):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_shallow(each, levels - 1) for each in inner)


def content(path: Path) -> bytes:
    """The bytes of a regular file; a pipe or a device could be read for ever.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no regular file, or a very large one.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a regular file")
        if about.st_size > MOST_BYTES:
            raise ValueError(f"it has {about.st_size} bytes, more than {MOST_BYTES}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_BYTES)
    finally:
        os.close(descriptor)


def _encoded(row: Row) -> Row:
    """Infinities as the strings "inf" and "-inf"; NaN is an error of the code that made the row."""
    out = dict(row)
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            if math.isnan(value):
                raise ValueError(f"{name} must be a number; received NaN at T = {row.get('steps')}")
            out[name] = str(value)
    return out


def _decoded(row: Row) -> Row:
    return {k: float(v) if v in ("inf", "-inf") else v for k, v in row.items()}


def _refuse(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is not JSON")
