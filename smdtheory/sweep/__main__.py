"""The command line: ``python -m smdtheory.sweep --help``."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

from smdtheory.sweep.cells import Plan, make_plan
from smdtheory.sweep.config import SweepConfig

DONE, FAILED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


def main() -> int:
    """Parse, run, print; return the exit status.

    0: done. 1: a cell failed, or the folder could no longer be written. 2: wrong input.
    130, 143: stopped by Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    plan = None
    try:
        try:
            plan = make_plan(_parse())
        except (ValueError, TypeError) as error:
            return _say(f"error: {error}", WRONG)
        return _run(plan)
    except OSError as error:
        return _say(f"error: {error}. {_kept(plan)}", FAILED)
    except KeyboardInterrupt as stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        return _say(
            f"\nStopped. {_kept(plan)}", TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        )


def _parse() -> SweepConfig:
    import tyro

    return tyro.cli(
        SweepConfig,
        prog="python -m smdtheory.sweep",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )


def _run(plan: Plan) -> int:
    from smdtheory.sweep import report

    print(report.opening(plan), flush=True)
    if plan.config.dry_run:
        print(report.listing(plan))
        return DONE
    from smdtheory.sweep.run import execute  # imports torch and pandas

    outcome = execute(plan)
    print(report.closing(outcome.rows, outcome.files))
    if outcome.failures:
        return _say(report.failures(outcome.failures, len(plan.cells)), FAILED)
    return DONE


def _kept(plan: Plan | None) -> str:
    if plan is None:
        return "Nothing had been computed."
    rows, wanted = len(plan.rows), len(plan.cells) * len(plan.config.iterations)
    return (
        f"{rows} of {wanted} rows are finished and kept in {plan.store.folder}; "
        "the same command goes on from there."
    )


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return status


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
