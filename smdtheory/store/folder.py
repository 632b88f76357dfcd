"""A folder of results, as the program that computes them sees it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from smdtheory.files import canonical, write_atomically
from smdtheory.store.cell import (
    Failure,
    Row,
    UnreadError,
    Work,
    content,
    key_of,
    name_of,
    read_failure,
    read_work,
)
from smdtheory.store.claims import Claims

KINDS = ("sweep", "phase")
VERSION = 2
"""Of the format: rows of version 1 did not say where they come from."""

MARKER = "store.json"
CURE = "Name another with --out."

STALE = 3600.0
"""Seconds after which a temporary file is what a killed writer left."""

Steps = TypeVar("Steps", int, int | None)

Check = Callable[[Mapping[str, Any], Row], None]


class Claim(Enum):
    """Whose a piece of work is: ours to do, another program's at this moment, or done by one."""

    OURS = "ours"
    THEIRS = "theirs"
    DONE = "done"


@dataclass
class Store:
    """A results folder.

    Attributes:
        folder: where it is.
        numerics: version of the numerics.
        check: raises ValueError for a row that this program would not have written.
        rows: finished rows by (key of the cell, T), for the current numerics.
        damaged: files that do not hold what was written, and why; set aside if the folder is ours
            to change.
        unread: files that could not be read at that moment, and why; they stay where they are.
    """

    folder: Path
    numerics: int
    check: Check = lambda cell, row: None
    rows: dict[tuple[str, int | None], Row] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)
    unread: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._claims = Claims(self.folder / "claims")

    @staticmethod
    def open(
        folder: Path,
        numerics: int,
        *,
        kind: str = "sweep",
        check: Check | None = None,
        create: bool = True,
    ) -> Store:
        """Open a folder, making it where it does not exist, and read what is finished.

        Args:
            folder: the results folder.
            numerics: version of the numerics; rows of another one are left alone and not read.
            kind: of :data:`KINDS`, the program whose folder it is.
            check: told each cell and row that is read; raises ValueError for what is strange.
            create: with ``False`` nothing is made, renamed or written.

        Raises:
            ValueError: if the folder is something else's, of another format, or not writable.
        """
        check_folder(folder, (kind,))
        store = Store(folder, numerics) if check is None else Store(folder, numerics, check)
        if create:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / MARKER, json.dumps(format_of(kind)) + "\n")
                for name in ("cells", "failed", "claims"):
                    (folder / name).mkdir(exist_ok=True)
                for part in (folder, folder / "cells", folder / "failed"):
                    _sweep_out(part)
            except OSError as error:
                raise ValueError(
                    f"the output folder must be writable; received {folder}: {error.strerror}. "
                    f"{CURE}"
                ) from error
        for path in files_in(folder / "cells"):
            store._take(path, set_aside=create)
        for path in files_in(folder / "failed"):
            with store._trusting(path, set_aside=create):
                read_failure(path)
        return store

    def _take(self, path: Path, *, set_aside: bool) -> bool:
        """Take the rows of one file for known, or put it aside; whether it could be taken."""
        with self._trusting(path, set_aside=set_aside):
            work = read_work(path)
            if work.numerics == self.numerics:
                self._verify(work)
                self._know(work)
            return True
        return False

    @contextmanager
    def _trusting(self, path: Path, *, set_aside: bool) -> Iterator[None]:
        """Read a file, and tell of it or set it aside if that raises ValueError."""
        try:
            yield
            self.unread.pop(path, None)
        except UnreadError as error:
            self.unread[path] = str(error)
        except ValueError as error:
            if not os.path.lexists(path):
                return  # another program on this folder has set it aside
            self.damaged[path] = str(error)
            if set_aside:
                with suppress(OSError):
                    os.replace(path, path.with_name(path.name + ".damaged"))

    def _verify(self, work: Work) -> None:
        for row in work.rows:
            self.check(work.cell, row)
            if row.get("numerics", self.numerics) != self.numerics:
                raise ValueError(
                    f"a row of numerics {row['numerics']!a:.20} stands among those of numerics "
                    f"{self.numerics}"
                )

    def _know(self, work: Work) -> None:
        self.rows.update({(work.key, row.get("steps")): row for row in work.rows})

    def key(self, cell: Mapping[str, Any]) -> str:
        """The identity of a cell: its configuration and the version of the numerics."""
        return key_of(cell, self.numerics)

    def missing(self, cell: Mapping[str, Any], steps: Iterable[Steps]) -> tuple[Steps, ...]:
        """The iteration counts of a cell that have no row yet."""
        key = self.key(cell)
        return tuple(T for T in steps if (key, T) not in self.rows)

    def select(self, cell: Mapping[str, Any], steps: Iterable[int | None]) -> Iterator[Row]:
        """The finished rows of a cell at these iteration counts."""
        key = self.key(cell)
        return (self.rows[key, T] for T in steps if (key, T) in self.rows)

    def claim(self, cell: Mapping[str, Any], steps: Iterable[int | None]) -> Claim:
        """Ask for a piece of work, which another program on this folder may be at.

        Raises:
            OSError: if the folder cannot be written.
        """
        name = name_of(cell, self.numerics, list(steps))
        if not self._claims.take(name):
            return Claim.THEIRS
        path = self.folder / "cells" / f"{name}.json"
        if path.exists() and self._take(path, set_aside=True):
            self._claims.drop(name)
            return Claim.DONE
        return Claim.OURS

    def add(self, cell: Mapping[str, Any], rows: list[Row]) -> None:
        """Keep the rows of a finished piece of work, and forget an earlier failure to make them.

        Raises:
            ValueError: if a number is NaN, or a row is not what it should be.
            OSError: if the file cannot be written; what was there before stays.
        """
        work = Work(cell, self.numerics, rows)
        self._verify(work)
        write_atomically(self.folder / "cells" / f"{work.name}.json", work.text())
        self._know(work)
        path = self._record(work.key)
        if not self.missing(cell, _failed_at(path)):
            path.unlink(missing_ok=True)
        self._claims.drop(work.name)

    def add_failure(
        self, cell: Mapping[str, Any], steps: Iterable[int | None], error: str, label: str = ""
    ) -> None:
        """Record why a cell failed; it is tried again next time.

        Raises:
            OSError: if the record cannot be written.
        """
        steps = list(steps)
        path = self._record(self.key(cell))
        failed = dict.fromkeys([*self.missing(cell, _failed_at(path)), *steps])
        write_atomically(path, Failure(cell, self.numerics, list(failed), label, error).text())
        self._claims.drop(name_of(cell, self.numerics, steps))

    def _record(self, key: str) -> Path:
        """Where the failure of a cell is recorded."""
        return self.folder / "failed" / f"{key}.json"

    def close(self) -> None:
        """Give up what this program has claimed and not finished."""
        self._claims.drop_all()


def _failed_at(record: Path) -> list[int | None]:
    """The iteration counts at which a cell failed, as far as its record says."""
    try:
        return read_failure(record).steps
    except ValueError:  # as a rule, because there is none
        return []


def format_of(kind: str) -> dict[str, Any]:
    """What the marker of a folder says."""
    return {"format": f"smdtheory {kind}", "version": VERSION}


def files_in(folder: Path) -> list[Path]:
    """The JSON files of a folder by name; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in names]


def check_folder(folder: Path, kinds: Iterable[str] = KINDS, cure: str = CURE) -> None:
    """Refuse a folder that holds anything but a store of one of these kinds.

    Args:
        folder: the folder; it need not exist.
        kinds: of :data:`KINDS`.
        cure: the end of the message.

    Raises:
        ValueError: if it does, or cannot be read or written.
    """
    try:
        if not folder.exists():
            above = next(parent for parent in folder.absolute().parents if parent.exists())
            if not (above.is_dir() and os.access(above, os.W_OK)):
                raise ValueError(f"the output folder must be writable; {above} is not. {cure}")
            return
        if not folder.is_dir():
            raise ValueError(f"the output must be a folder; {folder} is a file. {cure}")
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise ValueError(
            f"the output folder must be readable; received {folder}: {error.strerror}. {cure}"
        ) from error
    if MARKER not in names:
        if names:
            raise ValueError(
                "the output folder must be new, empty or a sweep's own; "
                f"{folder} holds other files ({min(names)!r} is one). {cure}"
            )
        return
    allowed = [format_of(kind) for kind in kinds]
    try:
        found = json.loads(content(folder / MARKER))
    except (OSError, ValueError, RecursionError) as error:
        found = f"something unreadable ({type(error).__name__})"
    if found not in allowed:
        raise ValueError(
            f"the output folder must hold {' or '.join(map(canonical, allowed))}; "
            f"{folder / MARKER} says {str(found)[:200]!a}. It comes from another version or "
            f"program. {cure}"
        )


def _sweep_out(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                with suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                        os.unlink(entry)
