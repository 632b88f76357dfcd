"""The command line: ``python -m smdtheory.sweep --help``."""

from __future__ import annotations

import signal
import sys

from smdtheory.command import (
    DONE,
    FAILED,
    WRONG,
    keep_memory,
    parse,
    replace_unprintable,
    say,
    status_of,
    terminate,
)
from smdtheory.sweep.config import SweepConfig
from smdtheory.sweep.plan import Plan, make_plan


def main() -> int:
    """Parse, run, print; return the exit status.

    0: done. 1: a cell failed, the folder could no longer be written, or a cluster was lost.
    2: wrong input. 130, 143: stopped by Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, terminate)
    replace_unprintable()
    keep_memory()
    plan = None
    try:
        try:
            plan = make_plan(parse(SweepConfig, "smdtheory.sweep"))
        except (ValueError, TypeError) as error:
            return say(f"error: {error}", WRONG)
        return _run(plan)
    except OSError as error:
        return say(f"error: {str(error).removesuffix('.')}. {_kept(plan)}", FAILED)
    except KeyboardInterrupt as stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        return say(f"\nStopped. {_kept(plan)}", status_of(stop))


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
        return say(report.failures(outcome.failures, len(plan.cells)), FAILED)
    return DONE


def _kept(plan: Plan | None) -> str:
    if plan is None:
        return "Nothing had been computed."
    rows, wanted = len(plan.rows), len(plan.cells) * len(plan.config.iterations)
    return (
        f"{rows} of {wanted} rows are finished and kept in {plan.store.folder}; "
        "the same command goes on from there."
    )


if __name__ == "__main__":
    sys.exit(main())
