"""Options that several command lines have, checked alike. Standard library only."""

from __future__ import annotations

import math
import operator
import os
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any

SHOWN = 60
"""Characters of a value in a message."""

MOST_CHARACTERS = 1000
"""Of a path. Systems end at 4096 or before, Python's making of folders at a thousand of them."""


def choices(name: str, values: Iterable[Any], allowed: Iterable[str]) -> tuple[str, ...]:
    """Names out of those that there are, each once.

    Raises:
        ValueError: if one is not; the message has the nearest.

    Example:
        >>> choices("shape", ["ring", "grid", "ring"], ["ring", "grid", "line"])
        ('ring', 'grid')
    """
    known, found = tuple(allowed), tuple(values)
    for value in found:
        if not isinstance(value, str) or value not in known:
            near = get_close_matches(str(value), known, n=1)
            hint = f" Perhaps you meant {near[0]!r}." if near else ""
            raise ValueError(
                f"{name} must be among {', '.join(known)}; received {_shown(value)}.{hint}"
            )
    return tuple(dict.fromkeys(found))


def several(name: str, values: Any) -> tuple[Any, ...]:
    """A tuple; a single value counts as a tuple of one.

    Raises:
        ValueError: if there is none.

    Example:
        >>> several("modes", 8), several("families", "full"), several("modes", range(2))
        ((8,), ('full',), (0, 1))
    """
    try:
        found = (values,) if isinstance(values, str) else tuple(values)
    except TypeError:  # not iterable, or an array of no dimension
        found = (values,)
    if not found:
        raise ValueError(
            f"{name} needs at least one value; received none. Leave it out or add one."
        )
    return found


def whole(name: str, value: Any, low: int, high: int, example: str = "") -> int:
    """A whole number within ``low``..``high``.

    Raises:
        TypeError: if it is no whole number; booleans are not.
        ValueError: if it is out of range; the message has the example.

    Example:
        >>> whole("modes", 8, 1, 10)
        8
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None:
        raise TypeError(f"{name} must be whole numbers; received {_shown(value)}")
    if not low <= number <= high:
        raise ValueError(
            f"{name} must be a whole number from {low} to {high}; received {_shown(number)}."
            + (f" For example: --{name} {example}" if example else "")
        )
    return number


def positive(
    name: str, value: Any, most: float = math.inf, cure: str = "", *, least: float = 0.0
) -> float:
    """A positive, finite number, from ``least`` up to ``most``.

    Raises:
        TypeError: if it is no number; booleans are not.
        ValueError: if it is not positive and finite, or out of range.

    Example:
        >>> positive("std", 2)
        2.0
    """
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real:
        raise TypeError(f"{name} must be a number; received {_shown(value)}")
    if not (0 < value <= min(most, sys.float_info.max) and value >= least):
        limit = "" if math.isinf(most) else f", up to {most:g}"
        limit += f", at least {least:g}" if least else ""
        raise ValueError(
            f"{name} must be positive and finite{limit}; received {_shown(value)}."
            + (f" {cure}" if cure else "")
        )
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        TypeError: if it is neither.

    Example:
        >>> flag("no_figure", True)
        True
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; received {_shown(value)}")
    return value


def device(value: Any) -> str:
    """The name of a device.

    Raises:
        TypeError: if it is no text.
        ValueError: if it is neither cpu nor cuda.

    Example:
        >>> device("cuda:1")
        'cuda:1'
    """
    if not isinstance(value, str):
        raise TypeError(f"device must be a name; received {_shown(value)}")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", value):
        raise ValueError(f"device must be cpu, cuda or cuda:NUMBER; received {_shown(value)}")
    return value


def cluster(value: Any) -> str:
    """The address of a Dask scheduler.

    Raises:
        TypeError: if it is no text.
        ValueError: if it cannot be an address, or Dask is not installed.

    Example:
        >>> cluster("tcp://10.0.0.1:8786")
        'tcp://10.0.0.1:8786'
    """
    if not isinstance(value, str):
        raise TypeError(f"cluster must be an address; received {_shown(value)}")
    if not re.fullmatch(r"([a-z]+://)?[\w.\[\]:%-]+:\d{1,5}", value):
        raise ValueError(
            f"cluster must be the address of a Dask scheduler; received {_shown(value)}. For "
            "example: --cluster tcp://10.0.0.1:8786"
        )
    if find_spec("distributed") is None:
        raise ValueError(
            "cluster needs Dask, which is not installed. Install it with: "
            "python -m pip install 'dask[distributed]'"
        )
    return value


def path(name: str, value: Any) -> Path:
    """A path.

    Raises:
        TypeError: if it is neither text nor a path.
        ValueError: if it is empty, or so long that no system takes it.

    Example:
        >>> path("out", "runs/ring").name
        'ring'
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path; received {_shown(value)}")
    if not str(value) or "\0" in str(value) or len(str(value)) > MOST_CHARACTERS:
        raise ValueError(
            f"{name} must be a path; received {_shown(str(value))}. Leave it out or name one, of "
            f"{MOST_CHARACTERS} characters at most."
        )
    return Path(value)


def make_folder(folder: Path) -> None:
    """Make a folder for output, if it is not there.

    Raises:
        ValueError: if it is a file, or cannot be written.

    Example:
        >>> make_folder(Path("."))
    """
    cure = "Name another with --out."
    try:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"the output must be a folder; {folder} is a file. {cure}")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"the output folder must be writable; received {folder}: {error.strerror}. {cure}"
        ) from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"the output folder must be writable; {folder} is not. {cure}")


def _shown(value: Any) -> str:
    """``repr(value)`` on one line, cut short."""
    return " ".join(repr(value).split())[:SHOWN]
