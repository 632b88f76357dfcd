"""The command lines as a person runs them: in a process of their own, or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def ran(module: str, *options: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m module`` with options, in a terminal of 100 columns."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, options)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "100", "PYTHONUTF8": "1"},
    )


def status_here(monkeypatch, main: Callable[[], int], *options: object) -> int:
    """The exit status of ``main`` with options, in this process."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, options)])
    try:
        return main()
    except SystemExit as end:  # the parser's own
        return int(end.code or 0)


def refused(monkeypatch, capsys, tmp_path: Path, main: Callable[[], int], *options: object) -> str:
    """What ``main`` says of wrong options: status 2, no traceback, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert status_here(monkeypatch, main, *options) == 2
    shown = capsys.readouterr()
    message = " ".join((shown.err + shown.out).replace("│", " ").split())
    assert "Traceback" not in message
    assert not list(tmp_path.iterdir())
    return message


def help_of(module: str) -> str:
    """What ``--help`` prints, provided that it imports nothing heavy."""
    program = (
        "import sys, runpy; sys.argv = ['command', '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib', 'sklearn'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
