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

    Args:
        value: what JSON can hold.

    Returns:
        One line of text.

    Raises:
        ValueError: for NaN or infinity, which JSON does not have.

    Example:
        >>> canonical({"b": 1, "a": [0.5, None]})
        '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``, in hexadecimal.

    Args:
        value: what JSON can hold.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: as :func:`canonical`.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or is as it was.

    Args:
        path: the file; its folder must exist.
        content: text, written as UTF-8, or bytes.

    Raises:
        OSError: if the folder cannot be written; nothing is left behind.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "rows.csv"
        >>> write_atomically(file, "T,error")
        >>> file.read_text()
        'T,error'
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
