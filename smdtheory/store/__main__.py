"""The command line: ``python -m smdtheory.store status FOLDER``, ``... export FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from smdtheory import options
from smdtheory.command import DONE, FAILED, guarded, say
from smdtheory.store.export import export as export_to
from smdtheory.store.survey import lines
from smdtheory.store.survey import survey as survey_of

Folder = Annotated[Path, tyro.conf.Positional]


def status(folder: Folder) -> int:
    """What is done, what failed and why, and which files are damaged.

    The exit status is 1 if something failed or is damaged.

    Args:
        folder: Folder of a sweep.
    """
    found = survey_of(options.path("folder", folder))
    print("\n".join(lines(found)))
    return FAILED if found.failures or found.damaged else DONE


def export(folder: Folder, to: Path | None = None) -> int:
    """Write all finished rows as one table.

    Args:
        folder: Folder of a sweep.
        to: File to write, .csv or (with pyarrow installed) .parquet. None: export.csv in the
            folder.
    """
    found = survey_of(options.path("folder", folder))
    target = found.folder / "export.csv" if to is None else options.path("to", to)
    export_to(found, target)
    print(f"{len(found.rows)} rows written to {target}")
    if left := len(found.failures) + len(found.damaged):
        return say(
            f"{left} cells that failed or whose files are damaged are not in it; "
            f"'python -m smdtheory.store status {found.folder}' names them",
            FAILED,
        )
    return DONE


def main() -> int:
    """Parse, read, print; return the exit status.

    0: done. 1: a cell failed or a file is damaged, or the table could not be written. 2: wrong
    input.
    """
    return guarded(
        lambda: tyro.extras.subcommand_cli_from_dict(
            {"status": status, "export": export},
            prog="python -m smdtheory.store",
            description="Look at a folder of results: what is done, what failed, all as one table.",
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        ),
        stopped="Nothing was written.",
    )


if __name__ == "__main__":
    sys.exit(main())
