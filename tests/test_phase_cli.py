"""The command of the phase diagram: files, table, status, and nothing computed twice."""

import json

import pandas as pd
import pytest
from commands import refused, status_here

from smdtheory.sweep import phase_rows
from smdtheory.sweep.phase import __main__, report, run
from smdtheory.sweep.phase.config import PhaseConfig

SMALL = ["--shape", "line", "--modes", "3", "2", "--ratios", "8", "1", "--families", "full",
         "isotropic", "--workers", "1", "--error", "0.2"]  # fmt: skip
SAME = {"modes": (2, 3), "ratios": (1, 8), "families": ("full", "isotropic"), "shape": "line"}


def run_here(monkeypatch, *options):
    return status_here(monkeypatch, __main__.main, *options)


def untimed(rows):
    return [{**row, "seconds": None, "commit": None} for row in rows]  # one may come between


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("phase") / "new"
    with pytest.MonkeyPatch.context() as patch:
        assert run_here(patch, *SMALL, "--out", out) == 0
    return out


def test_the_file_holds_the_rows_of_the_function(folder):
    table = report.read_rows(folder / "phase.csv")
    rows = report.as_table(phase_rows(0.2, **SAME))
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), rows.drop(columns="seconds"))
    assert list(table["arm"][:2]) == ["isotropic", "full"]
    for name in ("phase.png", "phase.pdf"):
        assert (folder / name).stat().st_size > 5000


def test_nothing_is_computed_twice_and_what_is_new_is_added(folder, monkeypatch, capsys):
    monkeypatch.setattr(run, "mixture_rows", None)
    assert run_here(monkeypatch, *SMALL, "--out", folder) == 0
    said = capsys.readouterr().out
    assert max(len(line) for line in said.splitlines()) <= 100
    for part in (
        "2 modes",
        "3 modes",
        "isotropic",
        "Steps for ΣM <= 0.2 nats",
        "phase.csv, phase.png",
    ):
        assert part in said
    monkeypatch.undo()
    seen = []

    def watched(config, modes, ratio):
        seen.append((modes, ratio, config.families))
        return mixture_rows(config, modes, ratio)

    mixture_rows = run.mixture_rows
    monkeypatch.setattr(run, "mixture_rows", watched)
    more = PhaseConfig(**{**SAME, "ratios": (1, 4, 8)}, error=0.2, workers=1, out=folder)
    rows, failures = run.compute(more)
    assert seen == [(m, 4.0, (family,)) for m in (3, 2) for family in ("isotropic", "full")]
    assert len(rows) == 12
    assert failures == []
    assert untimed(rows) == untimed(phase_rows(0.2, **{**SAME, "ratios": (1, 4, 8)}))


def test_a_damaged_row_is_computed_again(folder):
    config = PhaseConfig(**SAME, error=0.2, workers=1, out=folder)
    before, _ = run.compute(config)
    paths = sorted((folder / "cells").iterdir())
    paths[0].write_text("{")
    document = json.loads(paths[1].read_text())
    document["rows"][0]["steps_needed"] = 1000
    paths[1].write_text(json.dumps(document))
    assert untimed(run.compute(config)[0]) == untimed(before)


def test_processes_give_the_same_rows(tmp_path):
    config = PhaseConfig(**SAME, error=0.2, workers=2, out=tmp_path)
    seen = []
    rows, _ = run.compute(config, tell=lambda done, of: seen.append((done, of)))
    assert untimed(rows) == untimed(phase_rows(0.2, **SAME))
    assert seen == [(n, 8) for n in range(9)]


def test_what_is_finished_is_kept_when_stopped_and_a_failure_is_told(tmp_path, monkeypatch, capsys):
    def stop(config, modes, ratio):
        if modes == 2:
            raise KeyboardInterrupt
        return mixture_rows(config, modes, ratio)

    mixture_rows = run.mixture_rows
    monkeypatch.setattr(run, "mixture_rows", stop)
    assert run_here(monkeypatch, *SMALL, "--out", tmp_path) == 130
    assert "goes on from what is finished" in capsys.readouterr().err
    assert len(list((tmp_path / "cells").iterdir())) == 4

    def fail(config, modes, ratio):
        raise ArithmeticError("no")

    monkeypatch.setattr(run, "mixture_rows", fail)
    assert run_here(monkeypatch, *SMALL, "--out", tmp_path, "--no-figure") == 1
    said = capsys.readouterr()
    assert "4 cells failed; the first is 2 modes at separation/std 1, isotropic: Arith" in said.err
    assert "3 modes" in said.out
    assert not (tmp_path / "phase.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--error", "0"], ["error must be positive and finite", "received 0"]),
        (["--error", "nan"], ["error must be positive"]),
        (["--modes", "1"], ["modes must be 2 or more", "received 1"]),
        (["--modes", "0"], ["modes must be a whole number"]),
        (["--shape", "grid", "--modes", "8"], ["square number"]),
        (["--shape", "random"], ["random"]),
        (["--ratios", "-1"], ["ratios must be positive"]),
        (["--ratios", "1e9"], ["ratios must be positive and finite, up to 10000"]),
        (["--families", "soft_mixture"], ["soft_mixture"]),
        (["--workers", "0"], ["workers must be a whole number"]),
    ],
)
def test_mistakes_end_with_status_2_and_a_short_message(
    tmp_path, monkeypatch, capsys, options, said
):
    message = refused(monkeypatch, capsys, tmp_path, __main__.main, *options)
    for part in said:
        assert part in message


def test_a_file_of_something_else_is_no_phase_diagram(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns arm"):
        report.read_rows(tmp_path / "a.csv")


def test_the_table_shows_what_is_missing_and_what_was_bisected():
    config = PhaseConfig(modes=2, ratios=tuple(range(1, 20)), families=("fixed_small", "full"))
    rows = [
        {"modes": 2, "ratio": float(ratio), "arm": arm, "searched": 8192,
         "steps_needed": None if arm == "fixed_small" else 300 + ratio, "exhaustive": False}
        for ratio in range(1, 20)
        for arm in config.families
    ]  # fmt: skip
    text = "\n".join(report.lines(config, rows))
    assert max(len(line) for line in text.splitlines()) <= 100
    for part in ("301*", "319*", "–: no T looked at is enough, up to 8192", "found by bisection"):
        assert part in text
    assert "fixed_small never gets there" in report.sentence(config, rows)
    assert "full 301 to 319" in report.sentence(config, rows)
