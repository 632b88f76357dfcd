"""The command line: ``python -m smdtheory.toy --help``."""

from __future__ import annotations

import sys
from pathlib import Path

from smdtheory.toy.config import ToyConfig

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main() -> int:
    """Parse, run, print; return the exit status.

    0: done. 1: training diverged, or the folder could no longer be written. 2: wrong input.
    130: stopped by Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return _run(_parse())
    except (ValueError, TypeError) as error:
        return _say(f"error: {error}", WRONG)
    except (OSError, ArithmeticError) as error:
        return _say(f"error: {error}", FAILED)
    except KeyboardInterrupt:
        return _say("\nStopped. The same command goes on from the last checkpoint.", INTERRUPTED)


def _parse() -> ToyConfig:
    import tyro

    return tyro.cli(
        ToyConfig,
        prog="python -m smdtheory.toy",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )


def _run(config: ToyConfig) -> int:
    from smdtheory.toy import report  # imports torch and pandas
    from smdtheory.toy.run import run_toy

    toy = run_toy(config, tell=lambda text: print(text, flush=True))
    files: list[Path] = report.write(config, toy)
    print(report.closing(config, toy, files))
    return DONE


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
