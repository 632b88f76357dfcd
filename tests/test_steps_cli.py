"""The advisor as a person meets it: help, mistakes, good data and hostile data, the answer."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import help_of, ran, refused, status_here

from smdtheory import presets
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import Schedule
from smdtheory.steps import __main__
from smdtheory.steps.config import StepsConfig
from smdtheory.steps.data import check_samples, fit_samples, read_samples

LINE = ["--shape", "line", "--modes", "2"]


def command(*options: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return ran("smdtheory.steps", *options, cwd=cwd)


def run_here(monkeypatch, *options: object) -> int:
    return status_here(monkeypatch, __main__.main, *options)


def test_help_imports_nothing_heavy():
    said = help_of("smdtheory.steps")
    for flag in ("--error", "--modes", "--shape", "--mixture", "--data", "--separation", "--std",
                 "--dim", "--schedule", "--families", "--seed", "--out"):  # fmt: skip
        assert flag in said


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("cwd")
    done = command(*LINE, "--families", "isotropic", "full", "--out", "new/a.json", cwd=cwd)
    return cwd, done


def test_the_answer_fits_the_terminal_and_says_what_is_an_estimate(answered):
    _, done = answered
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    for part in ("line of 2 modes", "ΣM <= 0.1 nats", "EDM", "uniform log SNR", "Take ",
                 "network evaluations a sample", "Written: new/a.json"):  # fmt: skip
        assert part in done.stdout
    if "~" in done.stdout:
        assert "estimate: the leading term" in done.stdout


def test_the_json_holds_what_can_be_checked(answered):
    answer = json.loads((answered[0] / "new" / "a.json").read_text())
    mixture = presets.line(2)
    rows = {row["family"]: row for row in answer["families"]}
    assert list(rows) == ["isotropic", "full", "soft_mixture"]
    assert rows["soft_mixture"]["steps"] == 1
    for name in ("isotropic", "full"):
        row = rows[name]
        sums = [
            float(best_gaussian_errors(mixture, Schedule.cosine(T), name).sum())
            for T in (row["steps"] - 1, row["steps"])
        ]
        assert sums[1] <= 0.1 < sums[0]
        assert row["M_sum"] == pytest.approx(sums[1], abs=1e-8)
        grid = Schedule.from_snr(row["grid"]["snr"])
        assert grid.steps == row["grid"]["steps"] == row["network_evaluations"] <= row["steps"]
        own = float(best_gaussian_errors(mixture, grid, name).sum())
        assert own == pytest.approx(row["grid"]["M_sum"], abs=1e-8)
        assert own <= 0.1
    assert answer["recommended"] in rows
    assert {row["name"] for row in answer["grids"]} == {
        "linear", "cosine", "sigmoid", "log_snr", "edm",
    }  # fmt: skip
    assert all(0 <= row["gain"] < 1 for row in answer["grids"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--error", "0"], ["error must be positive", "received 0"]),
        (["--error", "-0.1"], ["error must be positive", "-0.1"]),
        (["--error", "nan"], ["error must be positive and finite", "nan"]),
        (["--error", "much"], ["--error", "much"]),
        (["--modes", "0"], ["modes must be a whole number", "received 0"]),
        (["--std", "-1"], ["std must be positive"]),
        (["--shape", "grid", "--modes", "8"], ["square number"]),
        (["--families", "soft_mixture"], ["soft_mixture"]),
        (["--schedule", "cos"], ["cos"]),
        (["--mixture", "absent.json"], ["absent.json", "No such file"]),
        (["--data", "absent.npy"], ["absent.npy", "No such file"]),
        (["--data", "rows.txt"], [".npy or .csv", "rows.txt"]),
        (["--data", "rows.csv", "--modes", "3"], ["does not go together with modes"]),
        (["--data", "rows.csv", "--mixture", "m.json"], ["do not go together"]),
        (["--out", "answer.txt"], ["out must be a .json file"]),
    ],
)
def test_mistakes_end_with_status_2_and_a_short_message(
    tmp_path, monkeypatch, capsys, options, said
):
    message = refused(monkeypatch, capsys, tmp_path, __main__.main, *options)
    for part in said:
        assert part in message


def test_an_error_out_of_reach_ends_with_status_1(monkeypatch, capsys):
    # the fixed variance is wrong at the data: on short grids nothing helps
    assert run_here(monkeypatch, *LINE, "--families", "fixed_small", "--error", "0.001") == 1
    said = capsys.readouterr().out
    assert "No Gaussian family looked at reaches this error" in said
    assert "do not vanish" in said


def test_ctrl_c_ends_with_status_130(monkeypatch, capsys):
    def stop(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_run", stop)
    assert run_here(monkeypatch, *LINE) == 130
    assert "Stopped" in capsys.readouterr().err


# --- data -------------------------------------------------------------------------------------


def drawn(rows: int = 800) -> np.ndarray:
    return presets.ring(4).sample((rows,), generator=torch.Generator().manual_seed(1)).numpy()


def test_a_fit_finds_the_modes_that_were_drawn_and_says_so():
    fit = fit_samples(5 * drawn() + 3)
    assert fit.mixture.num_components == 4
    assert min(fit.bic, key=fit.bic.__getitem__) == 4
    assert float(fit.mixture.total_variance) == pytest.approx(2.0, rel=1e-6)
    # the ring, in units in which tr Cov = d: modes √2 from the middle
    radius = fit.mixture.means.norm(dim=-1)
    torch.testing.assert_close(radius, torch.full_like(radius, 2**0.5), rtol=0.05, atol=0)
    assert fit.gain > 4 * fit.gain_error
    assert abs(fit.shortfall) < 4 * fit.shortfall_error
    assert fit.doubts == ()


def test_one_gaussian_is_one_component():
    fit = fit_samples(np.random.default_rng(0).normal(size=(500, 2)) @ np.diag([1.0, 3.0]))
    assert fit.mixture.num_components == 1
    assert fit.doubts == ()


@pytest.mark.parametrize(
    ("samples", "doubt"),
    [
        (np.random.default_rng(0).integers(0, 3, (300, 2)), "repeat"),
        (np.random.default_rng(0).integers(0, 3, (300, 2)), "narrow as the fit allows"),
        (np.random.default_rng(0).standard_cauchy(1000), "hardly more likely|smallest component"),
    ],
)
def test_a_doubtful_fit_is_called_doubtful(samples, doubt):
    import re

    assert any(re.search(doubt, sentence) for sentence in fit_samples(samples).doubts)


@pytest.mark.parametrize("name", ["rows.npy", "rows.csv", "named.csv"])
def test_files_are_read_as_they_were_written(tmp_path, name):
    rows = drawn(60)
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, rows)
    else:
        header = "x,y" if name == "named.csv" else ""
        np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.18e")
    np.testing.assert_array_equal(read_samples(path), rows)


def hostile(path: Path, kind: str) -> Path:
    rows = drawn(60)
    if kind == "pickle":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps([1, 2]))
    elif kind == "archive":
        with path.open("wb") as file:
            np.savez(file, a=rows)
    elif kind in ARRAYS:
        np.save(path, ARRAYS[kind](rows))
    else:
        path.write_bytes(TEXTS[kind])
    return path


ARRAYS = {
    "complex": lambda rows: rows + 1j,
    "boolean": lambda rows: rows > 0,
    "words": lambda rows: np.array([["a", "b"]] * 60),
    "nan": lambda rows: np.where(np.arange(60)[:, None] == 7, np.nan, rows),
    "infinite": lambda rows: np.where(np.arange(60)[:, None] == 7, np.inf, rows),
    "huge": lambda rows: rows * 1e200,
    "images": lambda rows: np.zeros((60, 8, 8)),
    "few": lambda rows: rows[:10],
    "none": lambda rows: rows[:0],
    "wide": lambda rows: np.random.default_rng(0).normal(size=(2000, 65)),
    "constant": lambda rows: np.concatenate([rows, np.full((60, 1), 3.0)], 1),
    "scalar": lambda rows: np.array(3.0),
}
TEXTS = {
    "empty": b"",
    "header only": b"x,y\n",
    "text": b"x,y\n1,2\n3,four\n",
    "ragged": b"1,2\n3\n4,5\n",
    "not utf-8": b"\xff\xfe1,2\n",
    "cut off": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_",
}


@pytest.mark.parametrize(
    ("kind", "ending", "said"),
    [
        ("pickle", "npy", "allow_pickle"),
        ("bare pickle", "npy", "must be a .npy or .csv"),
        ("archive", "npy", "archive"),
        ("complex", "npy", "real numbers"),
        ("boolean", "npy", "real numbers"),
        ("words", "npy", "real numbers"),
        ("nan", "npy", "NaN or infinity in row 7"),
        ("infinite", "npy", "NaN or infinity in row 7"),
        ("huge", "npy", "moderate size"),
        ("images", "npy", "flattened"),
        ("few", "npy", "at least 50 rows"),
        ("none", "npy", "at least 50 rows"),
        ("wide", "npy", "from 1 to 64 columns"),
        ("constant", "npy", "column 2"),
        ("scalar", "npy", "shape"),
        ("empty", "csv", "no rows"),
        ("empty", "npy", "must be a .npy or .csv"),
        ("header only", "csv", "no rows"),
        ("text", "csv", "four"),
        ("ragged", "csv", "must be a .npy or .csv"),
        ("not utf-8", "csv", "must be a .npy or .csv"),
        ("cut off", "npy", "must be a .npy or .csv"),
    ],
)
def test_hostile_files_are_named(tmp_path, monkeypatch, capsys, kind, ending, said):
    path = hostile(tmp_path / f"rows.{ending}", kind)
    assert run_here(monkeypatch, "--data", path) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert len(shown.err) < 600
    assert not shown.out


def test_a_folder_is_no_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "rows.npy").mkdir()
    assert run_here(monkeypatch, "--data", tmp_path / "rows.npy") == 2
    assert "directory" in capsys.readouterr().err


def test_without_scikit_learn_the_cure_is_named(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "rows.npy", drawn(60))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    assert run_here(monkeypatch, "--data", tmp_path / "rows.npy") == 2
    assert "pip install 'smdtheory[data]'" in capsys.readouterr().err


def test_data_are_answered_with_the_quality_of_the_fit(tmp_path, monkeypatch, capsys):
    rows = np.random.default_rng(0).normal(size=(400, 1)) * 0.1
    rows[::2] += 1
    np.save(tmp_path / "rows.npy", rows)
    out = tmp_path / "answer.json"
    options = ["--data", tmp_path / "rows.npy", "--families", "full", "--out", out]
    assert run_here(monkeypatch, *options) == 0
    said = capsys.readouterr().out
    for part in ("rows.npy, 2 components in d = 1", "least BIC", "Held-out rows", "Take full"):
        assert part in said
    assert max(len(line) for line in said.splitlines()) <= 100
    answer = json.loads(out.read_text())
    assert answer["fit"]["components"] == 2
    assert answer["fit"]["doubts"] == []


def test_samples_of_other_kinds_are_refused():
    with pytest.raises(TypeError, match="real numbers"):
        check_samples([["a"]] * 60)
    with pytest.raises(TypeError, match="error must be a number"):
        StepsConfig(error="0.1")
    with pytest.raises(ValueError, match="families needs at least one"):
        StepsConfig(families=())
