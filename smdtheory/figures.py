"""The command line ``python -m smdtheory.figures``: every figure anew, or its numbers compared.

A figure is made in one place, the chapter that shows it: this runs the sources of the chapters, and
knows no figure by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smdtheory import options
from smdtheory.command import DONE, FAILED, guarded, parse
from smdtheory.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
CHAPTERS, FIGURES = ROOT / "notebooks", ROOT / "figures"
FAST = Path("runs/figures")
"""Where the figures of the small version go: those of the repository are of the full one."""

RELATIVE, ABSOLUTE = 1e-6, 1e-12
"""How far a number without an interval may be from the one before: a share, or rounding in nats."""


@dataclass(frozen=True)
class FiguresConfig:
    """Every figure of the README and the chapters, as PNG and PDF.

    Runs the chapters of notebooks/ and lists what they drew. Each PNG holds the numbers that it
    shows. About fifteen minutes on two cores; --fast, the small version for trying things out, two.

    Attributes:
        only: Chapters to run, by number. None: all of them.
        fast: The small version of each chapter; its figures go to runs/figures.
        check: Write nothing; compare the numbers with those of the figures that are there. Numbers
            without an interval must agree to 1e-6, others within their intervals.
        out: Folder for the figures, or to compare with. None: figures/ of the repository, or
            runs/figures with --fast.

    Example:
        >>> FiguresConfig(only=2, fast=True).folder.as_posix()
        'runs/figures'
    """

    only: tuple[int, ...] | None = None
    fast: bool = False
    check: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for a chapter that there is not, or figures of the small version in the
                place of the full one's.
        """
        if self.only is not None:
            wanted = options.several("only", self.only)
            known = [path.stem[0] for path in chapters()]
            found = options.choices("only", map(str, wanted), known)
            object.__setattr__(self, "only", tuple(map(int, found)))
        if self.out is not None:
            object.__setattr__(self, "out", options.path("out", self.out))
        if self.fast and self.folder.resolve() == FIGURES.resolve():
            raise ValueError(
                f"figures of the small version must go elsewhere than to {FIGURES}, which holds "
                f"those of the full one. Leave out --fast, or --out."
            )

    @property
    def folder(self) -> Path:
        """Where figures are written, or compared with."""
        return self.out or (FAST if self.fast else FIGURES)

    @property
    def sources(self) -> list[Path]:
        """The chapters to run."""
        return [path for path in chapters() if self.only is None or int(path.stem[0]) in self.only]


def chapters() -> list[Path]:
    """The sources of the chapters, in their order.

    Raises:
        ValueError: if they are not there, as in a package installed without its repository.

    Example:
        >>> chapters()[0].name
        '1_the_posterior_is_a_mixture.py'
    """
    found = sorted(CHAPTERS.glob("[0-9]_*.py"))
    if not found:
        raise ValueError(
            f"figures are drawn by the chapters of the repository; there are none in {CHAPTERS}. "
            "Clone the repository and install it with pip install -e ."
        )
    return found


def draw(chapter: Path, scratch: Path, *, fast: bool) -> list[Path]:
    """Run a chapter from scratch, in a folder of its own, and return the figures that it saved.

    Args:
        chapter: its source.
        scratch: an empty folder, which becomes the repository that the chapter knows.
        fast: its small version.

    Raises:
        ArithmeticError: if the chapter fails; with the end of what it said.
    """
    place = scratch / chapter.parent.name
    place.mkdir()
    shutil.copy(chapter, place)
    shutil.copytree(chapter.parent / "rows", place / "rows")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, chapter.name],
        cwd=place,
        env={**os.environ, "SMDTHEORY_FAST": f"{fast:d}", "MPLBACKEND": "agg", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise ArithmeticError(f"{chapter.name} failed:\n{run.stderr[-2000:]}")
    return sorted((scratch / ("runs/fast" if fast else "figures")).glob("*"))


def differences(new: pd.DataFrame, old: pd.DataFrame) -> list[str]:
    """Where two tables of the numbers of a figure differ, in words.

    A number may have its half-width in the column of its name with ``_error``: then the two
    intervals must meet. Otherwise the numbers must agree to :data:`RELATIVE`. Half-widths are
    estimates themselves, and not compared.

    Example:
        >>> import pandas as pd
        >>> old = pd.DataFrame({"arm": ["full"], "value": [1.0], "value_error": [0.1]})
        >>> differences(old.assign(value=1.15), old)
        []
        >>> differences(old.assign(value=1.5), old)
        ['arm = full: value is 1.5 ± 0.1, was 1 ± 0.1']
    """
    import numpy as np

    if list(new.columns) != list(old.columns):
        return [f"columns are {', '.join(new.columns)}, were {', '.join(old.columns)}"]
    if len(new) != len(old):
        return [f"{len(new)} numbers, were {len(old)}"]
    numeric = [name for name in old.columns if old[name].dtype.kind in "fi"]
    words = [name for name in old.columns if name not in numeric]
    found = [
        f"row {row + 1}: {name} is {new[name][row]}, was {old[name][row]}"
        for name in words
        for row in np.flatnonzero(new[name].fillna("") != old[name].fillna(""))
    ]
    if found:
        return found
    keys = words + [name for name in numeric if old[name].dtype.kind == "i"]
    for name in numeric:
        if name.endswith("_error"):
            continue
        half = [table.get(f"{name}_error", 0.0 * table[name]).fillna(0.0) for table in (new, old)]
        size = np.maximum(new[name].abs(), old[name].abs())
        agree = (new[name] - old[name]).abs() <= ABSOLUTE + RELATIVE * size + half[0] + half[1]
        agree |= new[name].eq(old[name]) | (new[name].isna() & old[name].isna())
        for row in np.flatnonzero(~agree):
            where = " ".join(f"{key} = {old[key][row]}" for key in keys if key != name)
            is_, was = (
                f"{table[name][row]:.9g}" + f" ± {error[row]:.2g}" * bool(error[row])
                for table, error in zip((new, old), half, strict=True)
            )
            found.append(f"{where}: {name} is {is_}, was {was}")
    return found


def compare(drawn: Sequence[Path], folder: Path, chapter: Path) -> list[str]:
    """What differs between the figures of a chapter and those in a folder, a line for each."""
    from smdtheory.plots import read_numbers

    new = {path.name for path in drawn}
    old = {path.name for path in folder.glob(f"{chapter.stem}_*")}
    found = [f"{name}: there is none in {folder}" for name in sorted(new - old)]
    found += [f"{name}: nothing makes it" for name in sorted(old - new)]
    for path in drawn:
        if path.suffix == ".png" and path.name in old:
            rows = differences(read_numbers(path), read_numbers(folder / path.name))
            found += [f"{path.name}: {row}" for row in rows]
    return found


def main() -> int:
    """Parse, run, list; return the exit status.

    0: drawn, or nothing differs. 1: something differs, a chapter failed, or the disk is full.
    2: wrong input, or a folder that cannot be written. 130, 143: stopped by Ctrl-C or SIGTERM.
    """
    return guarded(
        lambda: _run(parse(FiguresConfig, "smdtheory.figures")),
        stopped="Figures of finished chapters are written.",
    )


def _run(config: FiguresConfig) -> int:
    if not config.check:
        options.make_folder(config.folder)
    elif not config.folder.is_dir():
        raise ValueError(
            f"--check compares with the figures of a folder; there is no folder {config.folder}. "
            "Draw them first, without --check, or name another with --out."
        )
    differ = []
    for chapter in config.sources:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            drawn = draw(chapter, Path(scratch), fast=config.fast)
            print(f"{chapter.stem}: {time.perf_counter() - start:.0f} s", flush=True)
            if config.check:
                found = compare(drawn, config.folder, chapter)
                differ += found
                same = f"  {len(drawn) // 2} figures hold the numbers of those in {config.folder}"
                print("\n".join(f"  {line}" for line in found) or same, flush=True)
                continue
            for path in drawn:
                write_atomically(config.folder / path.name, path.read_bytes())
                print(f"  {config.folder / path.name}", flush=True)
    return FAILED if differ else DONE


if __name__ == "__main__":
    sys.exit(main())
