"""The results folder: complete or absent, never half; read strictly; foreign folders left alone."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from smdtheory.files import canonical, digest, write_atomically
from smdtheory.store.cell import Row
from smdtheory.store.folder import MARKER, Store, format_of
from smdtheory.store.survey import survey

CELL = {"mixture": {"shape": "ring", "modes": 8}, "arm": "full", "seed": 0}


def rows(*steps: int) -> list[Row]:
    return [{"steps": T, "arm": "full", "M_sum": 1 / T, "global_value": None} for T in steps]


def only_file(folder: Path) -> Path:
    (path,) = (folder / "cells").glob("*.json")
    return path


def test_what_is_written_is_read_back(tmp_path):
    store = Store.open(tmp_path / "new" / "folder", 1)
    store.add(CELL, rows(1, 10))
    again = Store.open(tmp_path / "new" / "folder", 1)
    assert again.rows == store.rows
    assert list(again.select(CELL, (1, 5, 10))) == rows(1, 10)
    assert again.missing(CELL, (1, 5, 10)) == (5,)


def test_more_iteration_counts_add_a_file_and_change_none(tmp_path):
    store = Store.open(tmp_path, 1)
    store.add(CELL, rows(1))
    first = only_file(tmp_path)
    before = first.read_bytes()
    store.add(CELL, rows(2))
    assert first.read_bytes() == before
    assert len(list((tmp_path / "cells").iterdir())) == 2
    assert not Store.open(tmp_path, 1).missing(CELL, (1, 2))


def test_rows_of_other_numerics_or_cells_are_not_taken_for_current(tmp_path):
    Store.open(tmp_path, 1).add(CELL, rows(1))
    assert Store.open(tmp_path, 2).missing(CELL, (1,)) == (1,)
    assert Store.open(tmp_path, 1).missing({**CELL, "seed": 1}, (1,)) == (1,)
    assert not Store.open(tmp_path, 1).damaged


def test_infinity_survives_as_strict_json_and_nan_is_refused(tmp_path):
    store = Store.open(tmp_path, 1)
    store.add(CELL, [{"steps": 1, "up": float("inf"), "down": float("-inf")}])
    text = only_file(tmp_path).read_text()
    assert "Infinity" not in text
    (row,) = Store.open(tmp_path, 1).rows.values()
    assert row == {"steps": 1, "up": float("inf"), "down": float("-inf")}
    with pytest.raises(ValueError, match="M_sum must be a number; received NaN at T = 2"):
        store.add(CELL, [{"steps": 2, "M_sum": float("nan")}])


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_truncated_file_is_named_set_aside_and_its_rows_are_missing_again(tmp_path, cut):
    Store.open(tmp_path, 1).add(CELL, rows(1))
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    looked = Store.open(tmp_path, 1, create=False)
    assert list(looked.damaged) == [path]
    assert path.exists()
    store = Store.open(tmp_path, 1)
    assert list(store.damaged) == [path]
    assert store.missing(CELL, (1,)) == (1,)
    assert path.with_name(path.name + ".damaged").exists()
    assert not Store.open(tmp_path, 1).damaged


class Trap:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace('"M_sum": 1.0', '"M_sum": 1.5'), id="digit"),
        pytest.param(lambda text: text.replace('"M_sum": 1.0', '"M_sum": NaN'), id="nan"),
        pytest.param(lambda text: text.replace('"seed": 0', '"seed": 1'), id="other cell"),
        pytest.param(lambda text: "[" * 100_000, id="deep"),
        pytest.param(lambda text: "[]", id="list"),
        pytest.param(lambda text: "\udcff", id="not utf-8"),
        pytest.param(lambda text: pickle.dumps(Trap()).decode("latin-1"), id="pickle"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_set_aside(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    Store.open(tmp_path, 1).add(CELL, rows(1))
    path = only_file(tmp_path)
    text = path.read_text()
    changed = change(text)
    assert changed != text
    path.write_bytes(changed.encode("utf-8", "surrogateescape"))
    assert list(Store.open(tmp_path, 1).damaged) == [path]
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("hostile", [[{"steps": [1]}], [[1]], {"steps": 1}, [{"steps": 2}], "x"])
def test_a_forged_check_does_not_let_strange_rows_in(tmp_path, hostile):
    store = Store.open(tmp_path, 1)
    work = {"cell": CELL, "numerics": 1, "steps": [1]}
    path = tmp_path / "cells" / f"{digest(work)}.json"
    path.write_text(json.dumps({**work, "rows": hostile, "check": digest(hostile)}))
    again = Store.open(tmp_path, 1)
    assert list(again.damaged) == [path]
    assert again.rows == store.rows == {}


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.json"]


def test_success_clears_an_earlier_failure(tmp_path):
    store = Store.open(tmp_path, 1)
    store.add_failure(CELL, (1,), "ValueError: no")
    (path,) = (tmp_path / "failed").iterdir()
    assert json.loads(path.read_text())["error"] == "ValueError: no"
    store.add(CELL, rows(1))
    assert not list((tmp_path / "failed").iterdir())


def test_a_failure_is_forgotten_only_when_what_failed_is_done(tmp_path):
    store = Store.open(tmp_path, 1)
    store.add_failure(CELL, (1000,), "MemoryError: ")
    store.add(CELL, rows(1))
    assert [failure.steps for failure in survey(tmp_path).failures] == [[1000]]
    store.add_failure(CELL, (2, 1000, 3), "ValueError: no")
    store.add_failure(CELL, (3, 4), "ValueError: again")
    (failure,) = survey(tmp_path).failures
    assert (failure.steps, failure.error) == ([1000, 2, 3, 4], "ValueError: again")
    store.add(CELL, rows(2, 1000))
    assert survey(tmp_path).failures
    store.add(CELL, rows(3, 4))
    assert not list((tmp_path / "failed").iterdir())


def test_a_record_that_does_not_say_its_steps_is_forgotten_by_any_success(tmp_path):
    store = Store.open(tmp_path, 1)
    store.add_failure(CELL, (1000,), "ValueError: no")
    (path,) = (tmp_path / "failed").iterdir()
    record = json.loads(path.read_text())
    del record["steps"]
    path.write_text(json.dumps(record))
    assert [failure.error for failure in survey(tmp_path).failures] == ["ValueError: no"]
    store.add(CELL, rows(1))
    assert not path.exists()


def foreign(folder: Path) -> Path:
    (folder / "thesis.tex").write_text("do not touch")
    return folder


def older(folder: Path) -> Path:
    (folder / MARKER).write_text(json.dumps({**format_of("sweep"), "version": 0}))
    return folder


def unreadable(folder: Path) -> Path:
    (folder / MARKER).write_text("{")
    return folder


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


def under_a_file(folder: Path) -> Path:
    return a_file(folder) / "sub" / "folder"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (foreign, "must be new, empty or a sweep's own; .*'thesis.tex'"),
        (older, "must hold .*version.*0"),
        (unreadable, "must hold .*unreadable"),
        (a_file, "must be a folder; .* is a file"),
        (under_a_file, "must be writable"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_folder_that_is_not_ours_is_refused_and_left_as_it_was(tmp_path, make, message, create):
    folder = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"(?s){message}.*--out"):
        Store.open(folder, 1, create=create)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unwritable_folder_is_refused(tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ValueError, match=r"must be writable; .*Permission denied.*--out"):
        Store.open(tmp_path / "out", 1)


def test_looking_makes_nothing(tmp_path):
    assert Store.open(tmp_path / "out", 1, create=False).rows == {}
    assert not (tmp_path / "out").exists()


def test_canonical_text_does_not_depend_on_order():
    assert canonical({"a": 1, "b": [None, 0.1]}) == canonical({"b": [None, 0.1], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))
