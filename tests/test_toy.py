"""The toy: the command as a person meets it, the rows behind the figure, the figure itself."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import help_of, status_here
from matplotlib.text import Text
from numpy.testing import assert_allclose

from smdtheory import Schedule, plots
from smdtheory.measure import best_gaussian_errors
from smdtheory.models import recipes
from smdtheory.models.residual import calibrate
from smdtheory.toy import ToyConfig, __main__, compute, folder, report, run_toy

QUICK = {"steps": (2, 4), "iterations": (1, 3), "panels": (1, 2, 3), "draws": 100, "samples": 128}


@pytest.fixture(scope="module", autouse=True)
def _small_networks():
    def quickly(denoiser, data, log_snr, samples, seed):
        calibrate(denoiser, data, log_snr=log_snr, samples=1024, seed=seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "WIDTH", 4)
        patch.setattr(compute, "LATENTS", 4)
        patch.setattr(recipes, "calibrate", quickly)
        yield


def options(**changes: object) -> list[str]:
    found = []
    for name, value in (QUICK | changes).items():
        found += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return found


def run_here(monkeypatch, *options: object) -> int:
    return status_here(monkeypatch, __main__.main, *options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and its configuration."""
    config = ToyConfig(**QUICK, out=tmp_path_factory.mktemp("toy") / "out")
    return config, run_toy(config, progress=False)


# --- the command ------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    said = help_of("smdtheory.toy")
    for flag in ("--steps", "--iterations", "--panels", "--draws", "--samples", "--seed",
                 "--device", "--out", "--no-figure"):  # fmt: skip
        assert flag in said
    assert "--no-no-figure" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--steps", "0"], "steps must be a whole number from 1 to 1000000; received 0"),
        (["--iterations", "5", "1001"], "iterations .* received 1001. For example: --iterations"),
        (["--iterations"], "iterations needs at least one value"),
        (["--panels", "1", "2", "3", "4", "5"], "panels must be at most 3 .* received 5"),
        (["--draws", "20"], "draws must be a whole number from 100 to 20000; received 20"),
        (["--samples", "20"], "samples .* received 20"),
        (["--seed", "-1"], "seed .* received -1"),
        (["--device", "abacus"], "device must be cpu, cuda or cuda:NUMBER; received 'abacus'"),
        (["--out", "file"], "the output must be a folder; file is a file"),
        (["--out", "file/sub"], "the output folder must be writable"),
        (["--out", "taken"], "taken holds other files .'kept' is one.. Name another with --out"),
    ],
)
def test_mistakes_end_with_status_2_and_a_short_message(tmp_path, monkeypatch, capsys, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "kept").touch()
    before = sorted(tmp_path.rglob("*"))
    assert run_here(monkeypatch, *given) == 2
    shown = capsys.readouterr()
    assert not shown.out
    message = " ".join(shown.err.replace("│", " ").split())
    assert len(shown.err.splitlines()) <= 10
    assert "Traceback" not in message
    assert re.search(said, message), message
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_writes_its_files_and_a_second_one_trains_nothing(
    tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    assert run_here(monkeypatch, *options(out=out)) == 0
    said = capsys.readouterr().out
    for part in ("after 4 training steps", "best full", "energy distance", "After 4 training"):
        assert part in said
    for name in ("rows.csv", "figure.png"):
        assert str(out / name) in said
        assert (out / name).stat().st_size > 0
    assert (out / "figure.pdf").exists()
    trained = {path: path.stat().st_mtime_ns for path in (out / "training").rglob("*")}
    table = (out / "rows.csv").read_text()

    def never(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr(compute, "measure", never)
    assert run_here(monkeypatch, *options(out=out)) == 0
    again = capsys.readouterr().out
    assert "training steps\n" not in again
    assert said.endswith(again)
    assert (out / "rows.csv").read_text() == table
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_other_iteration_counts_reuse_the_training(finished, monkeypatch):
    config, before = finished
    kept = {path: path.stat().st_mtime_ns for path in (config.out / "training").rglob("step-*")}
    after = run_toy(replace(config, iterations=(2,)), progress=False)
    assert kept
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    same = ["arm", "training_steps", "steps", "M_sum"]
    both = before.rows[same].merge(after.rows[same], on=same[:3], suffixes=("", "_again"))
    assert len(both) > 4
    assert_allclose(both["M_sum"], both["M_sum_again"], rtol=0)


def test_a_damaged_result_is_measured_again(finished):
    config, toy = finished
    path = config.out / folder.MEASURED
    path.write_bytes(path.read_bytes()[:100])
    pd.testing.assert_frame_equal(run_toy(config, progress=False).rows, toy.rows)


def test_interrupted_and_failed_runs_have_their_status(tmp_path, monkeypatch, capsys):
    for error, status in ((KeyboardInterrupt, 130), (ArithmeticError, 1), (OSError, 1)):

        def stop(*args, error=error):
            raise error("stopped here")

        monkeypatch.setattr(compute, "measure", stop)
        assert run_here(monkeypatch, "--out", tmp_path / "out") == status
        assert "Traceback" not in capsys.readouterr().err


# --- the configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"steps": "abc"}, TypeError, "steps must be whole numbers; received 'abc'"),
        ({"steps": 2.5}, TypeError, "received 2.5"),
        ({"steps": ()}, ValueError, "steps needs at least one value"),
        ({"panels": True}, TypeError, "panels must be whole numbers; received True"),
        ({"seed": (0, 1)}, TypeError, r"seed must be whole numbers; received \(0, 1\)"),
        ({"device": 3}, TypeError, "device must be a name; received 3"),
        ({"no_figure": "yes"}, TypeError, "no_figure must be True or False; received 'yes'"),
        ({"out": ""}, ValueError, "out must be a path; received ''"),
        ({"out": 3}, TypeError, "out must be a path; received 3"),
    ],
)
def test_bad_configuration_is_refused_with_rule_value_and_cure(changes, kind, message):
    with pytest.raises(kind, match=message):
        ToyConfig(**changes)


def test_counts_are_sorted_and_the_middle_panel_is_watched():
    config = ToyConfig(steps=(30, 10, 30), panels=(20, 2, 5))
    assert (config.steps, config.panels, config.watched) == ((10, 30), (2, 5, 20), 5)
    assert ToyConfig(panels=3).watched == 3


# --- the numbers ------------------------------------------------------------------------------


def test_there_is_a_row_for_everything_drawn(finished):
    config, toy = finished
    errors = toy.rows[toy.rows["steps"].notna()]
    found = set(errors[["arm", "training_steps", "steps"]].fillna(0).itertuples(index=False))
    wanted = {(arm, 4, T) for arm in compute.ARMS for T in (1, 2, 3)}
    wanted |= {(arm, 2, config.watched) for arm in compute.ARMS}
    wanted |= {(family, 0, T) for family in compute.FLOORS for T in (1, 2, 3)}
    assert {tuple(row) for row in found} == wanted
    drawn = toy.rows[toy.rows["draws"].notna()]
    assert sorted(drawn["arm"]) == ["data", *["gaussian"] * 3, *["soft_energy"] * 3]
    assert list(toy.samples) == [1, 2, 3]
    for points in [toy.data, *(x for arms in toy.samples.values() for x in arms.values())]:
        assert points.shape == (100, 2)
        assert np.isfinite(points).all()


@pytest.mark.parametrize("family", compute.FLOORS)
@pytest.mark.parametrize("T", [1, 3])
def test_the_floor_of_the_grid_is_twice_that_of_the_line(family, T):
    plane = best_gaussian_errors(compute.mixture(), Schedule.cosine(T), family).sum()
    line = compute.floor(family, T)
    assert abs(float(plane) - float(line)) <= float(plane.error + line.error) + 1e-9


def test_the_data_are_on_their_modes_as_often_as_two_sigma_says(finished):
    toy = finished[1]
    (row,) = toy.rows[toy.rows["arm"] == "data"].to_dict("records")
    assert abs(row["on_a_mode"] - (1 - np.exp(-2))) < 4 * row["on_a_mode_error"]
    distances = np.linalg.norm(toy.data[:, None] - toy.centres, axis=-1).min(1)
    assert abs((distances < toy.radius).mean() - (1 - np.exp(-2))) < 0.15


def test_the_seed_fixes_all_numbers(finished, tmp_path):
    config, toy = finished
    same = run_toy(replace(config, out=tmp_path / "same"), progress=False)
    other = run_toy(replace(config, seed=1, out=tmp_path / "other"), progress=False)
    pd.testing.assert_frame_equal(same.rows, toy.rows)
    learned = toy.rows["training_steps"].notna()
    assert (other.rows.loc[learned, "M_sum"] != toy.rows.loc[learned, "M_sum"]).all()
    assert not np.array_equal(other.data, toy.data)


# --- the words --------------------------------------------------------------------------------


def rows_with(soft: float, gaussian: float, full: float = 0.5) -> pd.DataFrame:
    """Rows at T = 2 with floors 0.5 and 0.6 and small errors."""
    values = {"gaussian": gaussian, "soft_energy": soft, "isotropic": full + 0.1, "full": full}
    return pd.DataFrame(
        {
            "arm": list(values),
            "training_steps": [4, 4, None, None],
            "steps": 2,
            "M_sum": list(values.values()),
            "M_sum_error": [0.01, 0.01, 0.0, 0.0],
        }
    ).astype({"training_steps": "Int64"})


@pytest.mark.parametrize(
    ("soft", "gaussian", "claim", "said"),
    [
        (0.4, 0.7, "below any Gaussian's at T = 2", "less than those of any Gaussian step at T"),
        (0.49, 0.7, "below the best isotropic's at T = 2", "less than those of the best single"),
        (0.65, 0.7, "below the learned Gaussian's at T = 2", "only to less than the learned"),
        (0.69, 0.7, "not below the learned Gaussian's", "nowhere clearly below the learned"),
    ],
)
def test_words_follow_from_the_numbers(soft, gaussian, claim, said):
    config, rows = ToyConfig(steps=4, iterations=2, panels=2), rows_with(soft, gaussian)
    assert claim in report.headline(config, rows)
    assert said in report.sentence(config, rows)


# --- the figure -------------------------------------------------------------------------------


def drawn(toy, config, **changes):
    given = {"centres": toy.centres, "radius": toy.radius, "watched": config.watched}
    return plots.learned_grid(toy.rows, toy.samples, toy.data, **given | changes)


def test_latents_and_covered_modes_are_explained(finished):
    config, toy = finished
    shown = report.table(config, toy.rows)
    for text in (shown, report.subtitle(config)):
        text = " ".join(text.split())
        assert "overed where at least half of its weight is within 2 std" in text
        assert "128 fixed latents" in text
        assert "a fresh" in text
    assert max(map(len, shown.splitlines())) <= report.WIDTH


def test_the_figure_shows_the_rows(finished):
    config, toy = finished
    fig = drawn(toy, config, width=plots.PAGE)
    by_steps, over = fig.axes[-2:]
    label = plots.LOOKS["soft_energy"].label
    mine = toy.rows[(toy.rows["arm"] == "soft_energy")]
    for ax, chosen, x in (
        (by_steps, mine[mine["training_steps"] == 4].sort_values("steps"), "steps"),
        (over, mine[mine["steps"] == config.watched], "training_steps"),
    ):
        (line,) = [line for line in ax.lines if line.get_label() == label]
        assert_allclose(line.get_xdata(), chosen[x].astype(float))
        assert_allclose(line.get_ydata(), chosen["M_sum"])
    for family in compute.FLOORS:
        floors = toy.rows[(toy.rows["arm"] == family)]
        height = floors.loc[floors["steps"] == config.watched, "M_sum"].iloc[0]
        assert any(np.allclose(line.get_ydata(), height) for line in over.lines)
    panels = [ax for ax in fig.axes if ax.get_aspect() == 1]
    assert len(panels) == 1 + 2 * len(toy.samples)
    assert_allclose(panels[0].collections[1].get_offsets(), toy.data)
    narrow = drawn(toy, config, width=plots.COLUMN)
    assert len([ax for ax in narrow.axes if ax.get_aspect() == 1]) == 2 * len(toy.samples)


@pytest.mark.parametrize("width", [plots.COLUMN, plots.PAGE])
def test_no_text_leaves_the_figure_or_covers_other_text(finished, width, monkeypatch):
    config, toy = finished
    title = "A claim that is long enough to be broken " * 2
    fig = drawn(toy, config, title=title, subtitle="d", width=width)
    boxes = []
    draw = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            boxes.append((self.get_text(), Text.get_window_extent(self, renderer)))
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", record)
    fig.draw_without_rendering()
    assert len(boxes) > 20
    for text, box in boxes:
        assert min(box.x0, box.y0) >= -1, text
        assert max(box.x1 - fig.bbox.x1, box.y1 - fig.bbox.y1) <= 1, text
    for (one, box), (other, another) in itertools.combinations(boxes, 2):
        assert not box.padded(-1.5).overlaps(another.padded(-1.5)), (one, other)


def test_a_figure_of_what_does_not_fit_is_refused(finished):
    config, toy = finished
    for changes, message in (
        ({"watched": 7}, "T = 7"),
        ({"width": 2}, "between 3 and 20"),
        ({"centres": np.zeros(3)}, "centres must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            drawn(toy, config, **changes)
    floors = toy.rows[toy.rows["training_steps"].isna()]
    for rows, message in (
        (toy.rows.drop(columns="M_sum"), "missing: M_sum"),
        (floors, "arms that are trained"),
    ):
        with pytest.raises(ValueError, match=message):
            drawn(replace(toy, rows=rows), config)
    with pytest.raises(TypeError, match="DataFrame"):
        drawn(replace(toy, rows=[]), config)
    with pytest.raises(ValueError, match="at least one T"):
        drawn(replace(toy, samples={}), config)


def test_the_default_fits_the_folder_and_the_page():
    config = ToyConfig()
    assert config.out == Path("runs/toy")
    assert set(config.panels) <= set(config.iterations)
