"""Who works on what, so that two programs on one folder share the work and do nothing twice.

A claim is a lock on a file, which the system takes back when the program ends, however it ends.
Where there are no such locks (Windows, some network file systems) every claim succeeds: two
programs may then compute the same work, and write the same file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Claims:
    """Claims that this program holds.

    Args:
        folder: where the lock files are.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     one, other = Claims(Path(folder)), Claims(Path(folder))
        ...     print(one.take("cell"), other.take("cell"))
        ...     one.drop("cell")
        ...     other.take("cell")
        True False
        True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Whether the work of this name is ours to do.

        Raises:
            OSError: if the lock file cannot be made.
        """
        if fcntl is None or name in self._held:
            return True
        path = self._path(name)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:  # no locks on this file system
                pass
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    self._held[name] = descriptor
                    return True
            os.close(descriptor)  # who held it has unlinked it: it keeps nobody else out

    def drop(self, name: str) -> None:
        """Give up a claim, once its outcome is written."""
        if name in self._held:
            with suppress(OSError):
                self._path(name).unlink()
            os.close(self._held.pop(name))

    def drop_all(self) -> None:
        """Give up whatever is held."""
        for name in list(self._held):
            self.drop(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.lock"
