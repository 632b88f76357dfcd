"""What a visitor of a results folder is told, and the table that is made of it."""

from __future__ import annotations

import csv
import importlib.util
import json
import time

import pytest
from commands import help_of, refused, status_here

from smdtheory.store import __main__
from smdtheory.store.cell import Work
from smdtheory.store.folder import Store
from smdtheory.store.survey import lines, survey

CELL = {"mixture": {"shape": "ring", "modes": 8, "dim": 2}, "schedule": "cosine", "arm": "full"}


def row(seed: int, steps: int = 1, **more):
    words = {f"word{n}": "sampling with scrambled Sobol points" for n in range(12)}
    numbers = {f"number{n}": seed + n / 7 for n in range(30)}
    return {"seed": seed, "steps": steps, "arm": "full", "gap": None, **words, **numbers, **more}


@pytest.fixture
def folder(tmp_path):
    """Three rows of two cells, a failed cell, a damaged file, and a row of older numerics."""
    Store.open(tmp_path, 1).add(CELL, [row(0)])
    store = Store.open(tmp_path, 2)
    store.add({**CELL, "seed": 10}, [row(10, 1, up=float("inf")), row(10, 2, up=0.1)])
    store.add({**CELL, "seed": 9}, [row(9)])
    store.add_failure({**CELL, "seed": 8}, (1,), "ArithmeticError: NaN", "ring of 8, seed 8")
    (tmp_path / "cells" / "0.json").write_text("{")
    asked = {"numerics": 2, "iterations": [1, 2], "cells": [{**CELL, "seed": n} for n in (9, 10)]}
    (tmp_path / "config.json").write_text(json.dumps(asked))
    return tmp_path


def here(monkeypatch, *options):
    return status_here(monkeypatch, __main__.main, *options)


def test_help_imports_nothing_heavy():
    said = help_of("smdtheory.store")
    assert "status" in said
    assert "export" in said


def test_status_says_what_is_done_what_failed_and_why(folder, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert here(monkeypatch, "status", folder) == 1
    said = capsys.readouterr().out
    for part in (
        "done     3 rows of 2 cells, numerics 2",
        "asked    4 rows by the last command, 1 are left",
        "older    1 rows of numerics 1",
        "failed   1\n    ring of 8, seed 8: ArithmeticError: NaN",
        "damaged  1\n    cells/0.json: it is not JSON",
        "tries again",
    ):
        assert part in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_status_of_a_folder_in_order_is_0(folder, monkeypatch, capsys):
    store = Store.open(folder, 2)
    store.add({**CELL, "seed": 8}, [row(8)])
    store.add({**CELL, "seed": 9}, [row(9, 2)])
    assert here(monkeypatch, "status", folder) == 1
    assert "cells/0.json.damaged: a run has set it aside" in capsys.readouterr().out
    (folder / "cells" / "0.json.damaged").unlink()
    assert here(monkeypatch, "status", folder) == 0
    said = capsys.readouterr().out
    assert "all of them are there" in said
    assert "tries again" not in said


def test_what_was_damaged_and_is_there_again_is_not_damaged(folder):
    (path,) = (path for path in (folder / "cells").iterdir() if path.stem != "0"
               and json.loads(path.read_text())["cell"].get("seed") == 9)  # fmt: skip
    path.write_text("{")
    store = Store.open(folder, 2)
    assert path.with_name(path.name + ".damaged") in survey(folder).damaged
    store.add({**CELL, "seed": 9}, [row(9)])
    assert [path.name for path in survey(folder).damaged] == ["0.json.damaged"]


def test_a_failure_of_newer_numerics_hides_no_row(folder):
    Store.open(folder, 3).add_failure({**CELL, "seed": 7}, (1,), "no", "seed 7")
    found = survey(folder)
    assert (found.numerics, len(found.rows)) == (2, 3)
    assert {failure.label for failure in found.failures} == {"ring of 8, seed 8", "seed 7"}


@pytest.mark.parametrize("text", ["{", "[]", "[" * 3000, '{"cells": [1], "numerics": 1}', "\x00"])
def test_status_does_without_what_was_asked(folder, text):
    (folder / "config.json").write_text(text)
    assert survey(folder).asked is None


def test_many_failures_are_counted(tmp_path):
    store = Store.open(tmp_path, 1)
    for seed in range(30):
        store.add_failure({**CELL, "seed": seed}, (1,), "no")
    said = lines(survey(tmp_path))
    assert "    and 10 more" in said
    assert len(said) < 30


def test_export_makes_a_table_of_the_newest_rows_each_once(folder, monkeypatch, capsys):
    Store.open(folder, 2).add({**CELL, "seed": 9}, [row(9), row(9, 2)])  # T = 1 again
    assert here(monkeypatch, "export", folder) == 1
    said = capsys.readouterr()
    assert "4 rows written to" in said.out
    assert "2 cells that failed or whose files are damaged are not in it" in said.err
    with (folder / "export.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(r["seed"], r["steps"]) for r in table] == [
        ("9", "1"),
        ("9", "2"),
        ("10", "1"),
        ("10", "2"),
    ]
    assert [r["up"] for r in table] == ["", "", "inf", "0.1"]
    assert float(table[2]["number3"]) == 10 + 3 / 7
    assert table[0]["gap"] == ""
    first = (folder / "export.csv").read_bytes()
    assert here(monkeypatch, "export", folder, "--to", folder / "again.csv") == 1
    assert (folder / "again.csv").read_bytes() == first


def test_parquet_where_pyarrow_is_and_a_cure_where_it_is_not(folder, monkeypatch, capsys):
    to = folder / "rows.parquet"
    if importlib.util.find_spec("pyarrow"):
        import pyarrow.parquet

        assert here(monkeypatch, "export", folder, "--to", to) == 1
        table = pyarrow.parquet.read_table(to).to_pylist()
        assert [r["seed"] for r in table] == [9, 10, 10]
        assert [r["up"] for r in table] == [None, float("inf"), 0.1]
        to.unlink()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert here(monkeypatch, "export", folder, "--to", to) == 2
    assert "Parquet needs pyarrow, which is not installed" in capsys.readouterr().err
    assert not to.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], ["status", "export"]),
        (["status"], ["PATH"]),
        (["status", "nothere"], ["must hold results", "Name that of a sweep"]),
        (["export", "nothere"], ["must hold results"]),
        (["stats", "x"], ["stats"]),
    ],
)
def test_mistakes_end_with_status_2(tmp_path, monkeypatch, capsys, options, said):
    message = refused(monkeypatch, capsys, tmp_path, __main__.main, *options)
    for part in said:
        assert part in message


def test_a_table_of_another_kind_is_refused_and_a_full_disk_told(folder, monkeypatch, capsys):
    assert here(monkeypatch, "export", folder, "--to", folder / "rows.xlsx") == 2
    assert "must end in .csv or .parquet" in capsys.readouterr().err
    assert here(monkeypatch, "export", folder, "--to", folder / "no" / "rows.csv") == 2
    said = capsys.readouterr().err
    assert "must be in a folder that exists" in said
    assert str(folder / "no") in said
    assert ".tmp" not in said

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smdtheory.store.export.write_atomically", full)
    assert here(monkeypatch, "export", folder) == 1
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_large_folder_is_read_and_exported_in_no_time(tmp_path, count, monkeypatch):
    Store.open(tmp_path, 1)
    for seed in range(count):
        work = Work({**CELL, "seed": seed}, 1, [row(seed)])
        (tmp_path / "cells" / f"{work.name}.json").write_text(work.text())
    begin = time.process_time()
    assert len(Store.open(tmp_path, 1).rows) == count
    assert here(monkeypatch, "status", tmp_path) == 0
    assert here(monkeypatch, "export", tmp_path) == 0
    used = time.process_time() - begin
    print(f"{count} cells: opened, status and exported in {used:.2f} s of processor time")
    assert used < 10 * count / 10_000 + 1
