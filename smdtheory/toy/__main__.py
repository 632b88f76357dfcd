"""The command line: ``python -m smdtheory.toy --help``."""

from __future__ import annotations

import sys
from pathlib import Path

from smdtheory.command import DONE, guarded, parse
from smdtheory.toy.config import ToyConfig


def main() -> int:
    """Parse, run, print; return the exit status.

    0: done. 1: training diverged, or the folder could no longer be written. 2: wrong input.
    130, 143: stopped by Ctrl-C or SIGTERM.
    """
    return guarded(
        lambda: _run(parse(ToyConfig, "smdtheory.toy")),
        stopped="The same command goes on from the last checkpoint.",
    )


def _run(config: ToyConfig) -> int:
    from smdtheory.toy import report  # imports torch and pandas
    from smdtheory.toy.run import run_toy

    toy = run_toy(config, tell=lambda text: print(text, flush=True))
    files: list[Path] = report.write(config, toy)
    print(report.closing(config, toy, files))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
