"""What the command lines have in common: options, exit statuses, where messages go.

Standard library only until the options are parsed, so that ``--help`` and mistakes are answered at
once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

C = TypeVar("C")

DONE, FAILED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit statuses: done, failed on the way, wrong input, stopped by Ctrl-C, stopped by SIGTERM."""


def parse(config: type[C], module: str, arguments: Sequence[str] | None = None) -> C:
    """The options of ``python -m module``, as the data class that describes them.

    Args:
        config: the data class.
        module: what is run.
        arguments: instead of those of the command line.

    Raises:
        TypeError, ValueError: what the data class says of its values.
        SystemExit: after ``--help``, and for options that there are not.
    """
    import tyro

    return tyro.cli(
        config,
        prog=f"python -m {module}",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )


def guarded(run: Callable[[], int], stopped: str) -> int:
    """The exit status of ``run``, and a message instead of a traceback where a person can act.

    Args:
        run: parses, works, prints, and returns a status.
        stopped: what to say after Ctrl-C.

    Returns:
        :data:`WRONG` after ``ValueError``, ``TypeError``, ``ImportError`` and ``MemoryError``,
        :data:`FAILED` after ``OSError`` and ``ArithmeticError``.

    Example:
        >>> guarded(lambda: DONE, stopped="Nothing is kept.")
        0
    """
    replace_unprintable()
    try:
        return run()
    except (ValueError, TypeError, ImportError, MemoryError) as error:
        return say(f"error: {error}", WRONG)
    except (OSError, ArithmeticError) as error:
        return say(f"error: {error}", FAILED)
    except KeyboardInterrupt:
        return say(f"\nStopped. {stopped}", INTERRUPTED)


def replace_unprintable() -> None:
    """Let a terminal without some character print a question mark, and not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str, status: int) -> int:
    """Print to the error stream, and return the status."""
    print(text, file=sys.stderr, flush=True)
    return status
