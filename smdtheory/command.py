"""What the command lines have in common: options, exit statuses, where messages go.

Standard library only until the options are parsed, so that ``--help`` and mistakes are answered at
once.
"""

from __future__ import annotations

import ctypes
import io
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, TypeVar

C = TypeVar("C")

DONE, FAILED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit statuses: done, failed on the way, wrong input, stopped by Ctrl-C, stopped by SIGTERM."""


KEPT = 2**30
"""Bytes: smaller blocks that are freed stay with the process, for the next array."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is: what is open is closed, and scratch folders are removed."""


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Raise :class:`Terminated`; a handler of SIGTERM."""
    raise Terminated


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
        stopped: what to say after Ctrl-C or SIGTERM.

    Returns:
        :data:`WRONG` after ``ValueError``, ``TypeError``, ``ImportError`` and ``MemoryError``,
        :data:`FAILED` after ``OSError`` and ``ArithmeticError``, :data:`INTERRUPTED` or
        :data:`TERMINATED` when stopped.

    Example:
        >>> guarded(lambda: DONE, stopped="Nothing is kept.")
        0
    """
    replace_unprintable()
    keep_memory()
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        return run()
    except (ValueError, TypeError, ImportError, MemoryError) as error:
        return say(f"error: {error}", WRONG)
    except (OSError, ArithmeticError) as error:
        return say(f"error: {error}", FAILED)
    except KeyboardInterrupt as stop:
        return say(f"\nStopped. {stopped}", status_of(stop))
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def keep_memory() -> None:
    """Keep freed memory for the next array, where the C library is one that can be told to.

    By default glibc hands large blocks back to the system, which then has to clear every page of
    the next one: a third of the time of a sweep. The largest amount that is in use stays the same.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, KEPT)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def status_of(stop: KeyboardInterrupt) -> int:
    """:data:`TERMINATED` after SIGTERM, :data:`INTERRUPTED` after Ctrl-C.

    Example:
        >>> status_of(Terminated()), status_of(KeyboardInterrupt())
        (143, 130)
    """
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def replace_unprintable() -> None:
    """Let a terminal without some character print a question mark, and not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def printable(text: str) -> str:
    r"""The text itself, or with escapes if it has what a terminal would obey or not show.

    Example:
        >>> printable("red \x1b[31m")
        'red \\x1b[31m'
    """
    return text if text.isprintable() else ascii(text)[1:-1]


def say(text: str, status: int) -> int:
    """Print to the error stream, and return the status."""
    print(text, file=sys.stderr, flush=True)
    return status
