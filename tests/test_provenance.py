"""Where numbers come from: what is told, and what is not."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from smdtheory.provenance import commit, provenance


@pytest.fixture
def repository(tmp_path):
    """A Git repository in which a package was committed."""

    def git(*words: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "v1")
    return tmp_path, git("rev-parse", "HEAD")


def test_versions_are_those_that_compute_and_no_machine_or_path_is_named():
    found = provenance()
    assert f"torch {version('torch')}" in found["versions"]
    assert found["versions"].startswith(f"python {platform.python_version()}")
    assert found["host"] == f"{platform.system()} {platform.machine()}"
    said = " ".join(str(value) for value in found.values())
    assert platform.node() not in re.split(r"[\s,]+", said)
    assert "/" not in said
    assert "\\" not in said


def test_the_commit_of_a_checkout_and_whether_files_were_changed_since(repository):
    folder, head = repository
    assert re.fullmatch(r"[0-9a-f]{40}", head)
    assert commit(folder / "package") == head
    (folder / "package" / "__init__.py").write_text("x = 1")
    assert commit(folder / "package") == f"{head}-dirty"


def test_a_package_that_git_does_not_keep_has_no_commit(repository, tmp_path, monkeypatch):
    folder, _ = repository
    installed = folder / "venv" / "package"  # inside a repository, but not of it
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert commit(installed) is None
    assert commit(Path("nowhere")) is None
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no git
    assert commit(folder / "package") is None
