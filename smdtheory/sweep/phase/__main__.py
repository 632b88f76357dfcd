"""The command line: ``python -m smdtheory.sweep.phase --help``."""

from __future__ import annotations

import sys

from smdtheory import options
from smdtheory.command import DONE, FAILED, guarded, parse, say
from smdtheory.sweep.phase.config import PhaseConfig


def main() -> int:
    """Parse, compute, print; return the exit status.

    0: done. 1: a mixture failed, or the disk is full. 2: wrong input, or a folder that cannot be
    written.
    130, 143: stopped by Ctrl-C or SIGTERM.
    """
    return guarded(
        lambda: _run(parse(PhaseConfig, "smdtheory.sweep.phase")),
        stopped="The same command goes on from what is finished.",
    )


def _run(config: PhaseConfig) -> int:
    from tqdm import tqdm

    from smdtheory.sweep.phase import report  # imports torch and pandas
    from smdtheory.sweep.phase.run import compute

    options.make_folder(config.out)
    print(report.said(config), flush=True)
    with tqdm(
        total=len(config.modes) * len(config.ratios) * len(config.families),
        disable=None,  # where the output is not a terminal
        bar_format="{percentage:3.0f}%|{bar:30}| {n}/{total} cells [{elapsed}]",
        leave=False,
    ) as bar:

        def tell(done: int, of: int) -> None:
            bar.n = done
            bar.refresh()

        rows, failures = compute(config, tell=tell)
    if rows:
        print("\n".join(report.lines(config, rows)))
        print(report.sentence(config, rows))
        names = ", ".join(path.name for path in report.write(config, rows))
        print(f"Written to {config.out}: {names}")
    if failures:
        where, why = failures[0]
        return say(f"error: {len(failures)} cells failed; the first is {where}: {why}", FAILED)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
