"""The command line as a person meets it: help, mistakes, interruptions, the ending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import help_of, ran

from smdtheory.store.folder import Store
from smdtheory.sweep import __main__, run, run_sweep

QUICK = ["--modes", "3", "--iterations", "1", "4", "--families", "full", "--workers", "1",
         "--no-train"]  # fmt: skip


def command(*options: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return ran("smdtheory.sweep", *options, cwd=cwd)


def test_help_imports_nothing_heavy():
    said = help_of("smdtheory.sweep")
    for flag in ("--modes", "--shape", "--mixture", "--separation", "--std", "--dim", "--schedule",
                 "--iterations", "--families", "--seed", "--workers", "--cluster", "--out",
                 "--dry-run", "--no-figure"):  # fmt: skip
        assert flag in said
    assert "--no-dry-run" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--modes", "0"], ["modes must be a whole number", "received 0", "--modes 8"]),
        (["--modes", "-3"], ["modes must be a whole number", "received -3"]),
        (["--modes", "abc"], ["--modes", "abc", "INT"]),
        (["--modes"], ["modes needs at least one value"]),
        (["--mode", "8"], ["--mode", "Perhaps you meant", "--modes"]),
        (["--iterations", "10", "0"], ["iterations", "received 0"]),
        (["--iterations", "1000000000"], ["from 1 to 1000000; received 1000000000", "10 100"]),
        (["--modes", "100000"], ["modes", "from 1 to 10000; received 100000", "--modes 8"]),
        (["--std", "nan"], ["std must be positive and finite", "nan"]),
        (["--std", "0"], ["std must be positive"]),
        (["--separation", "-1"], ["separation must be positive", "-1"]),
        (["--families", "full", "fancy"], ["fancy", "isotropic_x"]),
        (["--schedule", "cos"], ["cos", "sigmoid"]),
        (["--shape", "ring", "--dim", "1"], ["dim of at least 2", "received 1"]),
        (["--shape", "grid"], ["square number", "received 8", "9"]),
        (["--mixture", "absent.json"], ["absent.json", "No such file"]),
        (["--mixture", "broken.json"], ["broken.json", "weights", "sum to 1"]),
        (["--mixture", "broken.json", "--modes", "3"], ["does not go together with modes"]),
        (["--out", "taken"], ["new, empty or a sweep's own", "--out"]),
        (["--out", "broken.json"], ["is a file", "--out"]),
        (["--out", "broken.json/sub"], ["writable", "--out"]),
    ],
)
def test_mistakes_end_with_status_2_and_a_short_message(tmp_path, options, said):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    mixture = {"weights": [0.5, 0.6], "means": [[0], [1]], "covariances": 1}
    (tmp_path / "broken.json").write_text(json.dumps(mixture))
    before = sorted(tmp_path.rglob("*"))
    done = command(*options, cwd=tmp_path)
    message = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2
    assert not done.stdout
    assert "Traceback" not in message
    assert len(done.stderr.splitlines()) <= 15
    for part in said:
        assert part in message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which one small sweep has run, and what was printed."""
    cwd = tmp_path_factory.mktemp("cwd")
    return cwd, command(*QUICK, cwd=cwd)


def test_a_run_ends_with_table_sentence_and_files(finished):
    cwd, done = finished
    assert done.returncode == 0, done.stderr
    for part in ("ring of 3 modes", "6 rows to compute", "All local errors, Σ M_t",
                 "Global error", "soft mixture"):  # fmt: skip
        assert part in done.stdout
    named = [line.split()[0] for line in done.stdout.split("Written:")[1].split("\n") if line]
    assert len(named) == 5
    for name in named:
        assert (cwd / name).stat().st_size > 0
        assert not name.endswith(".png") or (cwd / name).with_suffix(".pdf").exists()


def test_the_command_and_the_function_give_the_same_rows(finished, tmp_path):
    rows = run_sweep(
        modes=3, iterations=(1, 4), families="full", workers=1, out=tmp_path / "py",
        no_figure=True, no_train=True, progress=False,
    )  # fmt: skip
    table = pd.read_csv(finished[0] / "runs" / "ring" / "rows.csv")
    order, other = ["arm", "steps"], ["seconds", "commit"]  # a commit may come in between
    pd.testing.assert_frame_equal(
        table.drop(columns=other).sort_values(order).reset_index(drop=True),
        rows.drop(columns=other).sort_values(order).reset_index(drop=True),
        check_dtype=False,
    )


def test_dry_run_says_what_is_done_and_writes_nothing(finished):
    cwd, _ = finished
    before = {path: path.stat().st_mtime_ns for path in cwd.rglob("*")}
    done = command(*QUICK, "--iterations", "1", "2", "4", "--dry-run", cwd=cwd)
    assert done.returncode == 0
    assert "6 of 9 rows are there, 3 rows to compute" in done.stdout
    assert done.stdout.count("to compute: T = 2\n") == 3
    assert command("--dry-run", "--modes", "5", cwd=cwd).stdout.count("to compute: T = 1 2") == 12
    assert {path: path.stat().st_mtime_ns for path in cwd.rglob("*")} == before


def test_a_damaged_file_is_named(finished):
    cwd, _ = finished
    path = next((cwd / "runs" / "ring" / "cells").glob("*.json"))
    path.write_text("{")
    done = command(*QUICK, "--no-figure", cwd=cwd)
    assert done.returncode == 0
    assert f"{path.relative_to(cwd)} is damaged" in done.stdout


def run_here(monkeypatch, *options: object) -> int:
    """The command in this process."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["sweep", *map(str, options)])
    try:
        return __main__.main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_failed_cells_end_with_status_1_and_a_summary(tmp_path, monkeypatch, capsys):
    real = run.compute

    def compute(task):
        if task.cell.arm == "full":
            raise ValueError("too wide")
        return real(task)

    monkeypatch.setattr(run, "compute", compute)
    assert run_here(monkeypatch, *QUICK, "--no-figure", "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "1 of 3 cells failed" in said.err
    assert "full: ValueError: too wide" in said.err
    assert "soft_" in said.out


def test_a_full_disk_ends_with_status_1_and_says_what_is_kept(tmp_path, monkeypatch, capsys):
    def full(self, cell, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "add", full)
    assert run_here(monkeypatch, *QUICK, "--no-figure", "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "0 of 6 rows are finished and kept" in said


def alive(group: int) -> list[str]:
    """Processes of a group, without those that only wait to be reaped."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True)
    lines = [line.split() for line in listed.stdout.splitlines()]
    return [stat for pgid, stat in lines if int(pgid) == group and not stat.startswith("Z")]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_keeps_what_is_finished_and_goes_on(
    tmp_path, monkeypatch, capsys, number, status
):
    options = ["--modes", "2", "3", "--iterations", "1", "3", "--workers", "2", "--no-figure",
               "--no-train", "--out", str(tmp_path / "out")]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "smdtheory.sweep", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    cells = tmp_path / "out" / "cells"
    deadline = time.monotonic() + 60
    while not (cells.exists() and any(cells.glob("*.json"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    if number == signal.SIGINT:  # a terminal sends Ctrl-C to the whole group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "Stopped." in errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 5  # multiprocessing's own tracker ends just after its parent
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process.pid)

    kept = {path: path.stat().st_mtime_ns for path in cells.iterdir()}
    assert run_here(monkeypatch, *options, "--dry-run") == 0
    assert f"{2 * len(kept)} of 30 rows are there" in capsys.readouterr().out
    assert run_here(monkeypatch, *options, "--modes", 2, "--workers", 1) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(cells.iterdir())) >= 7


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux can be told to")
def test_a_command_keeps_memory_for_its_next_array():
    def pages_cleared(before: str) -> int:
        work = (
            f"import resource, torch\n{before}\n"
            "for _ in range(2):\n"
            "    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "    for _ in range(20): torch.empty(2**23, dtype=torch.float64).fill_(1.0)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)"
        )
        return int(subprocess.check_output([sys.executable, "-c", work]).split()[-1])

    commands = (
        "from smdtheory.command import guarded; guarded(lambda: 0, stopped='')",
        "import sys, smdtheory.sweep.__main__ as m; sys.argv[1:] = ['--dry-run']; m.main()",
    )
    for command in commands:
        assert pages_cleared(command) < pages_cleared("") / 10, command
