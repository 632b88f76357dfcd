"""Where a number comes from: versions, the commit, and what kind of machine.

Kinds only, so that results can be published as they are: no name of a machine, no path.
Standard library only.
"""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy")


@cache
def provenance() -> dict[str, str | None]:
    """Versions, commit and host of this process.

    Returns:
        ``versions`` of Python and the libraries that compute; ``commit``, the hash of the Git
        commit that this package is checked out at, with "-dirty" if files were changed since, or
        ``None`` if it is not a checkout; ``host``, operating system and processor.

    Example:
        >>> list(provenance())
        ['versions', 'commit', 'host']
    """
    found = [f"python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    host = f"{platform.system()} {platform.machine()}"
    return {"versions": ", ".join(found), "commit": commit(Path(__file__).parent), "host": host}


def commit(folder: Path) -> str | None:
    """The commit of a folder's files, if Git keeps them.

    A package installed inside somebody's repository is not of that repository: its files must be
    among those that Git tracks.
    """
    ask = ["git", "-C", str(folder)]
    try:
        for question in (
            ["ls-files", "--error-unmatch", "__init__.py"],
            ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        ):
            answer = subprocess.run(
                [*ask, *question], capture_output=True, text=True, check=True, timeout=10
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
