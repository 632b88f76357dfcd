"""The sweep as a function: rows, resuming, extending, failing, and what is left in the folder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from smdtheory import GaussianMixture, presets
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import Schedule
from smdtheory.store.folder import Claim
from smdtheory.sweep import SweepConfig, cells, mixtures, run, run_sweep
from smdtheory.sweep.compute import compute
from smdtheory.sweep.plan import make_cells, make_plan

QUICK = {"modes": 3, "iterations": (1, 4), "families": ("isotropic", "full"),
         "no_train": True, "no_figure": True}  # fmt: skip
TIMES = ["seconds", "commit"]  # a commit may come between two runs
PARAMETERS = {"weights": [0.25, 0.75], "means": [[0.0, 0.0], [2.0, 1.0]], "covariances": [0.1, 0.2]}


def sweep(out: Path, **options) -> pd.DataFrame:
    return run_sweep(**{**QUICK, "workers": 1, "out": out, "progress": False, **options})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "cells").iterdir()}


def test_rows_hold_what_the_measures_say(tmp_path):
    rows = sweep(tmp_path, modes=4)
    assert list(rows.arm.unique()) == ["isotropic", "full", "truncated_2", "soft_mixture"]
    assert list(rows.steps) == [1, 4] * 4
    errors = best_gaussian_errors(presets.ring(4), Schedule.cosine(4), "isotropic")
    row = rows[(rows.arm == "isotropic") & (rows.steps == 4)].iloc[0]
    assert float(errors.value[1]) == row.M_1
    assert row.M_rest == pytest.approx(float(errors.value[2:].sum()), rel=1e-12)
    assert row.M_sum == pytest.approx(row.M_1 + row.M_rest, rel=1e-9)
    assert (rows.M_rest[rows.steps == 1] == 0).all()
    assert (rows.global_lower <= rows.global_upper).all()
    assert (rows.M_sum[rows.arm == "soft_mixture"].abs() < 1e-9).all()


def test_one_dimension_gives_the_global_error_itself(tmp_path):
    rows = sweep(tmp_path, shape="line", modes=2, iterations=2)
    assert rows.dim.eq(1).all()
    assert rows.global_value.notna().all()


def test_everything_is_written_and_reads_back(tmp_path):
    rows = sweep(tmp_path, no_figure=False)
    figures = ("error_against_steps", "global_error_against_steps")
    drawn = {
        f"{name}_ring-3_cosine_seed0.{ending}" for name in figures for ending in ("png", "pdf")
    }
    folders = {"cells", "failed", "claims"}
    expected = {"store.json", "config.json", "rows.csv", "table.txt"} | folders | drawn
    assert set(os.listdir(tmp_path)) == expected
    table = pd.read_csv(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(
        table.sort_values(["arm", "steps"]).reset_index(drop=True),
        rows.sort_values(["arm", "steps"]).reset_index(drop=True),
        check_dtype=False,
    )
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["modes"] == [3]
    assert len(saved["cells"]) == 4
    pdf = tmp_path / "error_against_steps_ring-3_cosine_seed0.pdf"
    assert pdf.read_bytes().startswith(b"%PDF")


def test_again_computes_nothing(tmp_path, monkeypatch):
    rows, before = sweep(tmp_path), files(tmp_path)
    monkeypatch.setattr(run, "compute", None)
    pd.testing.assert_frame_equal(sweep(tmp_path), rows)
    assert files(tmp_path) == before


def test_more_computes_only_what_is_new_and_equals_all_at_once(tmp_path, monkeypatch):
    sweep(tmp_path / "a", families="full")
    asked = []

    def counting(task):
        asked.append((task.cell.arm, task.cell.schedule, task.steps))
        return compute(task)

    monkeypatch.setattr(run, "compute", counting)
    more = {"families": ("full", "diagonal"), "iterations": (1, 2, 4)}
    extended = sweep(tmp_path / "a", **more)
    assert sorted(asked) == [
        ("diagonal", "cosine", (1, 2, 4)),
        ("full", "cosine", (2,)),
        ("soft_mixture", "cosine", (2,)),
        ("truncated_2", "cosine", (2,)),
    ]
    whole = sweep(tmp_path / "b", **more)
    pd.testing.assert_frame_equal(extended.drop(columns=TIMES), whole.drop(columns=TIMES))


def test_fewer_returns_what_is_asked_and_keeps_the_rest(tmp_path):
    sweep(tmp_path)
    assert list(sweep(tmp_path, iterations=4).steps) == [4] * 4
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 8


def pictures(folder: Path) -> dict[str, bytes]:
    """The main figures' names, without what is common to all, and their bytes."""
    start = "error_against_steps_"
    found = {path.stem.removeprefix(start): path for path in folder.glob(f"{start}*.png")}
    return {name: path.read_bytes() for name, path in found.items()}


def test_no_mixtures_figure_replaces_anothers(tmp_path):
    sweep(tmp_path, no_figure=False)
    first = pictures(tmp_path)
    assert list(first) == ["ring-3_cosine_seed0"]
    sweep(tmp_path, no_figure=False, std=0.3)
    assert set(pictures(tmp_path)) == {*first, "ring-3-std0.3_cosine_seed0"}
    own = [GaussianMixture(**{**PARAMETERS, "covariances": value}) for value in (0.1, 0.2)]
    for mixture in own:
        sweep(tmp_path, no_figure=False, mixture=mixture, modes=8)
    names = {f"custom-2-{mixtures.describe(mixture).identity}_cosine_seed0" for mixture in own}
    assert len(names) == 2
    after = pictures(tmp_path)
    assert set(after) == {*first, "ring-3-std0.3_cosine_seed0", *names}
    assert len(set(after.values())) == 4
    assert after.items() >= first.items()


def test_fewer_leaves_the_fuller_figures_and_table(tmp_path):
    def shown():
        table = (tmp_path / "table.txt").read_bytes()
        return table, {path.name: path.read_bytes() for path in tmp_path.glob("*.p*")}

    sweep(tmp_path, no_figure=False)
    before = shown()
    assert len(before[1]) == 4
    for fewer in ({"iterations": 4}, {"families": "full"}, {"iterations": 1, "families": "full"}):
        sweep(tmp_path, no_figure=False, **fewer)
        assert shown() == before
        saved = json.loads((tmp_path / "config.json").read_text())
        assert saved["iterations"] == ([fewer["iterations"]] if "iterations" in fewer else [1, 4])
    sweep(tmp_path, seed=1)
    both = (tmp_path / "table.txt").read_text()
    assert both.startswith(before[0].decode().rstrip())
    assert "seed 1" in both


def test_figures_and_table_do_not_depend_on_the_order_of_the_runs(tmp_path):
    parts = [{"families": "full", "iterations": 4}, {"families": "isotropic", "iterations": 1}]
    for folder, order in (("a", parts), ("b", parts[::-1])):
        for part in order:
            sweep(tmp_path / folder, no_figure=False, **part)
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b")
    table = (tmp_path / "a" / "table.txt").read_text()
    assert table == (tmp_path / "b" / "table.txt").read_text()
    head = next(line for line in table.splitlines() if line.lstrip().startswith("T "))
    assert head.split() == ["T", "isotropic", "full", "2", "mixture"]
    assert "–\n" not in table.replace(" ", "")
    assert "failed" not in table


def test_a_mixture_of_ones_own_from_file_and_object_with_one_worker_and_two(tmp_path):
    path = tmp_path / "blobs.json"
    path.write_text(json.dumps(PARAMETERS))
    own = {"modes": 8, "iterations": 3}
    one = sweep(tmp_path / "a", mixture=path, **own)
    two = sweep(tmp_path / "b", mixture=path, workers=2, **own)
    pd.testing.assert_frame_equal(one.drop(columns=TIMES), two.drop(columns=TIMES))
    assert set(one["shape"]) == {"custom"}
    built = sweep(tmp_path / "c", mixture=GaussianMixture(**PARAMETERS), **own)
    different = [*TIMES, "mixture_id"]
    pd.testing.assert_frame_equal(one.drop(columns=different), built.drop(columns=different))


def failing(task):
    if task.cell.arm == "isotropic":
        raise ArithmeticError("T = 1: M_1 came out as NaN")
    return compute(task)


def dying(task):
    if task.cell.arm == "isotropic":
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(task)


def ageing(task):
    rows = compute(task)
    if task.cell.arm == "isotropic":
        rows[0]["numerics"] += 1
    return rows


@pytest.mark.parametrize(
    ("bad", "workers", "reason"),
    [
        (failing, 1, "came out as NaN"),
        (dying, 2, "process died"),
        (ageing, 1, "a row of numerics 2 stands among those of numerics 1"),
    ],
)
def test_a_failing_cell_is_recorded_the_others_go_on_and_it_is_tried_again(
    tmp_path, monkeypatch, bad, workers, reason
):
    options = {"modes": 2, "families": "isotropic", "iterations": 2}
    with monkeypatch.context() as patch:
        patch.setattr(run, "compute", bad)
        with pytest.warns(RuntimeWarning, match=f"(?s)1 of 2 cells failed.*isotropic.*{reason}"):
            rows = sweep(tmp_path, workers=workers, **options)
    assert list(rows.arm) == ["soft_mixture"]
    (record,) = (tmp_path / "failed").iterdir()
    assert reason in json.loads(record.read_text())["error"]
    assert "No Gaussian family has finished" in (tmp_path / "table.txt").read_text()
    assert list(sweep(tmp_path, **options).arm) == ["isotropic", "soft_mixture"]
    assert not list((tmp_path / "failed").iterdir())


def test_a_damaged_cell_is_computed_again(tmp_path):
    rows = sweep(tmp_path)
    path = next((tmp_path / "cells").iterdir())
    before = path.read_bytes()
    path.write_bytes(before[:100])
    again = sweep(tmp_path)
    pd.testing.assert_frame_equal(again.drop(columns=TIMES), rows.drop(columns=TIMES))
    assert path.with_name(path.name + ".damaged").read_bytes() == before[:100]
    assert path.exists()


def test_cost_grows_with_the_steps_and_long_cells_start_first(tmp_path):
    (cell, *_), _ = make_cells(SweepConfig(modes=2))
    assert 0 < cells.Task(cell, (1, 2)).cost < cells.Task(cell, (1, 1000)).cost
    sweep(tmp_path, iterations=1, families="full")
    plan = make_plan(SweepConfig(**QUICK, out=tmp_path))
    assert [task.cost for task in plan.tasks] == sorted((t.cost for t in plan.tasks), reverse=True)


def test_mixtures_whose_curves_take_longest_come_first(tmp_path):
    plan = make_plan(SweepConfig(modes=(3, 9, 6), iterations=(1, 2), no_train=True, out=tmp_path))
    assert list(dict.fromkeys(task.cell.mixture.modes for task in plan.tasks)) == [9, 6, 3]
    assert plan.tasks[0].cell.arm == "truncated_2"


def test_two_cells_that_train_one_network_do_not_begin_together(tmp_path, monkeypatch):
    said = []

    def run_tasks(tasks, work, pool, *, finished, failed, claim, tick):
        one, two = (task for task in tasks if task.cell.training is not None)
        said.extend([claim(one), claim(two)])
        failed(one, ValueError("no"))
        said.append(claim(two))

    monkeypatch.setattr(run, "run_tasks", run_tasks)
    options = {"no_train": False, "learned": "gaussian", "schedule": ("cosine", "linear")}
    with pytest.warns(RuntimeWarning, match="failed"):
        sweep(tmp_path, iterations=1, **options)
    assert said == [Claim.OURS, Claim.THEIRS, Claim.OURS]


def test_another_seed_draws_anew_and_the_same_seed_the_same(tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        rows = sweep(tmp_path / str(number), iterations=3, families="full", seed=seed)
        found.append(rows.M_sum[rows.arm == "truncated_2"].item())
    assert found[0] == found[1] != found[2]


def test_where_there_is_no_terminal_lines_tell_the_time_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "LOGGED", 0.0)
    rows = sweep(tmp_path, modes=(2, 3), progress=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    cells = rows.groupby(["modes", "arm"]).ngroups
    assert said[-1] == f"{cells}/{cells} cells, 0 minutes left"
    assert len(said) >= cells
