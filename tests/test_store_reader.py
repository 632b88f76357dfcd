"""The store's reader under files that nobody of ours has written."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import time
from errno import EACCES, EIO, EMFILE
from pathlib import Path

import pytest

from smdtheory.files import digest
from smdtheory.store import cell as cells
from smdtheory.store import claims
from smdtheory.store.cell import Failure, Work, read_failure, read_work
from smdtheory.store.claims import Claims
from smdtheory.store.folder import Claim, Store
from smdtheory.store.survey import lines, survey
from smdtheory.sweep import SweepConfig, columns
from smdtheory.sweep.compute import compute
from smdtheory.sweep.plan import make_cells
from smdtheory.sweep.report import everything
from smdtheory.sweep.run import Task

CELL = {"mixture": {"shape": "ring", "modes": 8}, "arm": "full", "seed": 0}
ROW = {"steps": 1, "arm": "full", "M_sum": 0.25, "note": None, "up": float("inf")}


def written(folder: Path, *, cell=CELL, row=ROW) -> Path:
    store = Store.open(folder, 1)
    store.add(cell, [row])
    return folder / "cells" / f"{Work(cell, 1, [row]).name}.json"


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def mutated(draw: random.Random, content: bytes, trap: Path) -> bytes:
    """One of the ways in which a file goes wrong."""
    place = draw.randrange(len(content))
    pieces = [b"NaN", b"1e999", b"-Infinity", b'{"a":', b"[" * 3000, b"\x00", b"\xff", b"\\ud800",
              b"true", b"null", b'"', b"}", b"9" * 5000, b"__import__('os')"]  # fmt: skip
    match draw.randrange(7):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        case 2:
            return content[:place] + draw.choice(pieces) + content[place:]
        case 3:
            end = draw.randrange(place, len(content)) + 1
            return content[:place] + content[end:]
        case 4:
            return pickle.dumps(Trap(trap), protocol=draw.randrange(6))
        case 5:
            return draw.randbytes(draw.randrange(300))
        case _:
            numbers = list(re.finditer(rb"\d+", content))
            number = draw.choice(numbers)
            return content[: number.start()] + draw.choice(pieces) + content[number.end() :]


def test_whatever_happens_to_a_file_its_rows_are_the_same_or_it_is_set_aside(tmp_path):
    trap = tmp_path / "executed"
    path = written(tmp_path / "store")
    content, name = path.read_bytes(), path.name
    draw = random.Random(0)
    aside = 0
    for _ in range(2000):
        path.write_bytes(mutated(draw, content, trap))
        store = Store.open(tmp_path / "store", 1)
        if store.damaged:
            aside += 1
            assert list(store.damaged) == [path]
            assert store.damaged[path]
            assert not store.rows
            assert not path.exists()
            assert os.listdir(path.parent) == [f"{name}.damaged"]
            path.with_name(f"{name}.damaged").unlink()
        else:
            assert list(store.rows.values()) == [ROW]
    assert aside > 1900
    assert not trap.exists()


def no_file(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(cells.MOST_BYTES + 1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (no_file, "cannot be read: Is a directory|not a regular file"),
        (pipe, "not a regular file"),
        (endless, "not a regular file"),
        (dangling, "cannot be read: No such file"),
        (huge, "more than"),
    ],
)
def test_what_is_no_file_is_named_and_set_aside_at_once(tmp_path, change, why):
    path = written(tmp_path)
    change(path)
    looked = Store.open(tmp_path, 1, create=False)
    assert re.search(why, looked.damaged[path])
    assert os.path.lexists(path)
    assert re.search(why, survey(tmp_path).damaged[path])
    Store.open(tmp_path, 1)
    assert not os.path.lexists(path)
    assert written(tmp_path) == path


@pytest.mark.parametrize("number", [EMFILE, EIO, EACCES])
def test_what_cannot_be_read_at_this_moment_stays_where_it_is(tmp_path, monkeypatch, number):
    path = written(tmp_path)
    store = Store.open(tmp_path, 1)
    store.add_failure({"arm": "x"}, (1,), "no")
    (record,) = (tmp_path / "failed").iterdir()
    read = cells.content

    def fails(where):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cells, "content", fails)
    store = Store.open(tmp_path, 1)
    why = f"it cannot be read: {os.strerror(number)}"
    assert store.unread == survey(tmp_path).damaged == {path: why, record: why}
    assert not store.damaged
    assert path.exists()
    assert record.exists()
    assert store.missing(CELL, (1,)) == (1,)
    assert store.claim(CELL, (1,)) is Claim.OURS  # to be computed again
    assert path.exists()
    store.close()
    monkeypatch.setattr(cells, "content", read)
    assert store.claim(CELL, (1,)) is Claim.DONE
    assert list(store.rows.values()) == [ROW]
    assert list(store.unread) == [record]


@pytest.mark.timeout(60)
def test_no_descriptor_is_left_open_by_a_folder_in_the_place_of_a_file(tmp_path):
    with pytest.raises(ValueError, match="not a regular file"):
        cells.content(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(ValueError, match="not a regular file"):
            cells.content(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_depth_of_nesting_escapes_the_reader(tmp_path):
    Store.open(tmp_path, 1)
    path, record = (tmp_path / part / f"{'0' * 64}.json" for part in ("cells", "failed"))
    for depth in (10, *range(850, 1000)):  # at some, json reads what it cannot write
        cell = '{"a": ' * depth + "1" + "}" * depth
        path.write_text(f'{{"cell": {cell}, "numerics": 1, "steps": [], "rows": [], "check": ""}}')
        record.write_text(f'{{"cell": {cell}, "numerics": 1, "label": "", "error": ""}}')
        assert {path, record} <= set(survey(tmp_path).damaged)
        assert path in Store.open(tmp_path, 1).damaged
    path = forged(tmp_path, json.loads('{"a": ' * 100 + "1" + "}" * 100), [])
    assert Store.open(tmp_path, 1).damaged[path] == "it is nested too deeply"


@pytest.mark.timeout(60)
def test_a_marker_that_is_no_file_is_refused_at_once(tmp_path):
    written(tmp_path)
    (tmp_path / "store.json").unlink()
    os.mkfifo(tmp_path / "store.json")
    for look in (lambda: Store.open(tmp_path, 1), lambda: survey(tmp_path)):
        with pytest.raises(ValueError, match="something unreadable"):
            look()


def forged(folder: Path, cell, rows, numerics=1) -> Path:
    """A file whose every check holds."""
    Store.open(folder, 1)
    work = {"cell": cell, "numerics": numerics, "steps": [row.get("steps") for row in rows]}
    path = folder / "cells" / f"{digest(work)}.json"
    path.write_text(json.dumps({**work, "rows": rows, "check": digest(rows)}))
    return path


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\ud800", "\u202e", "\x00"])
def test_a_text_that_a_terminal_would_obey_is_not_taken(tmp_path, text):
    path = forged(tmp_path, CELL, [{"steps": 1, "arm": text}])
    store = Store.open(tmp_path, 1, create=False)
    assert "cannot be shown" in store.damaged[path]
    assert all(line.isprintable() for line in lines(survey(tmp_path)))


@pytest.mark.parametrize("numerics", [True, 1.0, "1", None])
def test_numerics_are_a_whole_number(tmp_path, numerics):
    path = forged(tmp_path, CELL, [ROW | {"up": "inf"}], numerics)
    assert "not of the right kind" in Store.open(tmp_path, 1).damaged[path]


@pytest.fixture(scope="module")
def real():
    """A cell of a sweep and its row."""
    (cell, *_), _ = make_cells(SweepConfig(modes=2, families="full", no_train=True))
    (row,) = compute(Task(cell, (1,)))
    return json.loads(json.dumps(cell.configuration)), row


def test_the_columns_are_those_that_are_computed(real):
    cell, row = real
    columns.check_row(cell, row)
    assert set(row) == columns.COLUMNS
    for name in columns.MEASURED:
        assert (row[name] is None) == (row[f"{name}_method"] is None)
        assert (row[name] is None) == (row[f"{name}_error"] is None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"arm": "soft_mixture"}, "arm is 'soft_mixture' in a row of a cell with 'full'"),
        ({"arm": None}, "arm is None, which is not of the right kind"),
        ({"M_sum": "0"}, "M_sum is '0', which is not of the right kind"),
        ({"steps": True}, "steps is True, which is not of the right kind"),
        ({"seed": 1}, "seed is 1 in a row of a cell with 0"),
        ({"extra": 1}, "extra is one"),
        ({"device": "gpu"}, "device is 'gpu' in a row of a cell with None"),
    ],
)
def test_a_row_that_no_sweep_would_write_is_set_aside(tmp_path, real, change, why):
    cell, row = real
    path = forged(tmp_path, cell, [row | change])
    store = Store.open(tmp_path, 1, check=columns.check_row)
    assert why in store.damaged[path]
    assert not store.rows
    assert everything([]) == "\n"
    with pytest.raises(ValueError, match=re.escape(why)):
        store.add(cell, [row | change])


def test_a_row_must_have_all_its_columns(real):
    cell, row = real
    for name in row:
        with pytest.raises(ValueError, match=f"{name} is one"):
            columns.check_row(cell, {key: value for key, value in row.items() if key != name})


@pytest.mark.parametrize("cell", [{}, {"mixture": 3}, {"mixture": {}, "training": "x"}])
def test_a_cell_that_no_sweep_has_is_set_aside(tmp_path, real, cell):
    forged(tmp_path, cell, [real[1]])
    assert Store.open(tmp_path, 1, check=columns.check_row).damaged


def test_a_record_of_a_failure_is_read_as_strictly(tmp_path):
    store = Store.open(tmp_path, 1)
    store.add_failure(CELL, (1,), "ValueError: \x1b[31mno", "the cell")
    (path,) = (tmp_path / "failed").iterdir()
    assert read_failure(path) == Failure(CELL, 1, [1], "the cell", "ValueError: \x1b[31mno")
    text = path.read_text()
    for change in ('"x"', "[" * 3000, text.replace('"seed": 0', '"seed": 1'),
                   text.replace('"the cell"', "3"), text[:50]):  # fmt: skip
        path.write_text(change)
        found = survey(tmp_path)
        assert not found.failures
        assert list(found.damaged) == [path]
        assert list(Store.open(tmp_path, 1).damaged) == [path]
        assert not path.exists()
        assert not survey(tmp_path).damaged  # nothing of worth is lost


def test_two_programs_that_find_the_same_damage_do_not_stumble(tmp_path, monkeypatch):
    path = written(tmp_path)
    path.write_text("{")
    read = read_work

    def first_another(where):
        os.replace(path, path.with_name(path.name + ".damaged"))
        return read(where)

    monkeypatch.setattr("smdtheory.store.folder.read_work", first_another)
    store = Store.open(tmp_path, 1)
    assert not store.damaged
    assert not store.rows


def test_work_is_claimed_by_one_and_given_up_when_it_is_done(tmp_path):
    one, two = Store.open(tmp_path, 1), Store.open(tmp_path, 1)
    assert one.claim(CELL, (1,)) is Claim.OURS
    assert one.claim(CELL, (1,)) is Claim.OURS
    assert two.claim(CELL, (1,)) is Claim.THEIRS
    assert two.claim(CELL, (2,)) is Claim.OURS
    one.add(CELL, [ROW])
    assert two.claim(CELL, (1,)) is Claim.DONE
    assert list(two.select(CELL, (1,))) == [ROW]
    one.add_failure(CELL, (3,), "no")
    assert two.claim(CELL, (3,)) is Claim.OURS
    two.close()
    assert not list((tmp_path / "claims").iterdir())
    assert one.claim(CELL, (3,)) is Claim.OURS


def test_a_claim_on_a_lock_file_that_is_unlinked_meanwhile_is_made_anew(tmp_path, monkeypatch):
    one, two, three = (Claims(tmp_path) for _ in range(3))
    assert one.take("cell")
    flock = claims.fcntl.flock

    def late(descriptor, how):  # what two has opened, one gives up and three takes
        monkeypatch.setattr(claims.fcntl, "flock", flock)
        one.drop("cell")
        assert three.take("cell")
        flock(descriptor, how)

    monkeypatch.setattr(claims.fcntl, "flock", late)
    assert not two.take("cell")
    three.drop("cell")
    assert two.take("cell")


@pytest.mark.parametrize("name", ["rows.csv", "cells/0.json", "failed/0.json"])
def test_what_a_killed_writer_left_is_swept_out_in_time(tmp_path, name):
    written(tmp_path)
    path = tmp_path / name
    old, new = (path.with_name(f".{path.name}.{n}.tmp") for n in "ab")
    for file in (old, new):
        file.write_text("{")
    os.utime(old, (time.time() - 7200,) * 2)
    store = Store.open(tmp_path, 1)
    assert not old.exists()
    assert new.exists()
    assert not store.damaged


def test_a_row_of_other_numerics_than_its_file_is_set_aside(tmp_path):
    path = forged(tmp_path, CELL, [{"steps": 1, "numerics": 2}])
    assert "numerics 2 stands among those of numerics 1" in Store.open(tmp_path, 1).damaged[path]
