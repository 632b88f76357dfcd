"""Options that several command lines have, checked alike. Standard library only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any


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
        raise TypeError(f"device must be a name; received {value!r}")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", value):
        raise ValueError(f"device must be cpu, cuda or cuda:NUMBER; received {value!r:.60}")
    return value


def path(name: str, value: Any) -> Path:
    """A path.

    Raises:
        TypeError: if it is neither text nor a path.
        ValueError: if it is empty.

    Example:
        >>> path("out", "runs/ring").name
        'ring'
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path; received {value!r}")
    if not str(value) or "\0" in str(value):
        raise ValueError(
            f"{name} must be a path; received {str(value)!r}. Leave it out or name one."
        )
    return Path(value)
