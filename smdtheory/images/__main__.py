"""The command line: ``python -m smdtheory.images --help``."""

from __future__ import annotations

import sys
from typing import get_args

from smdtheory.command import DONE, guarded, parse
from smdtheory.images.config import ImagesConfig, Stage


def main() -> int:
    """Parse, run, print; return the exit status.

    0: done. 1: training diverged. 2: wrong input, or something that is not there: a file, a GPU,
    memory, space on the disk. 130, 143: stopped by Ctrl-C or SIGTERM.
    """
    arguments = sys.argv[1:]
    if arguments and arguments[0] in get_args(Stage):
        arguments = ["--stage", *arguments]
    return guarded(
        lambda: _with_space(parse(ImagesConfig, "smdtheory.images", arguments)),
        stopped="What is finished is kept; the same command goes on from there.",
    )


def _with_space(config: ImagesConfig) -> int:
    try:
        return _run(config)
    except OSError as error:
        raise ValueError(
            f"files must be readable, and the disk have room; received {error}. Make room, or name "
            "another folder with --out. What is finished is kept: the same command goes on from it."
        ) from error


def _run(config: ImagesConfig) -> int:
    from smdtheory.images import report  # imports torch and pandas
    from smdtheory.images.findings import findings_of
    from smdtheory.images.run import ImageRun

    run = ImageRun(config, tell=lambda text: print(text, flush=True))
    if not run.first:  # of several processes, started by accelerate launch: they only train
        run.tell = lambda text: None
        run.train()
        return DONE
    shape = "×".join(map(str, run.images.shape))
    run.tell(f"{config.data}, {shape}, {len(run.images.train)} images to train on")
    for reason in run.images.skipped:
        run.tell(f"left out: {reason}")
    run.remember()
    if config.stage in ("all", "train"):
        run.train()
    if config.stage == "train":
        run.tell(f"networks, their checkpoints and pictures of samples: {run.folder}")
    if config.stage == "sample":
        run.sample()
    if config.stage in ("all", "evaluate"):
        run.evaluate()
    if config.stage in ("all", "evaluate", "report"):
        rows = run.finished()
        found = findings_of(run, rows)
        print(report.closing(config, found, report.write(config, found, rows)))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
