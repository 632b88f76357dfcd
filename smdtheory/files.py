"""Files that are whole or absent, and text that is equal where values are.

Standard library only, so that a command line can name its results without importing torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: for NaN or infinity, which JSON does not have.

    Example:
        >>> canonical({"b": 1, "a": [0.5, None]})
        '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or is as it was.

    Raises:
        OSError: if the folder cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")  # two hosts share pids
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
