"""The image command as a person meets it: help, mistakes, a run, the same run again."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from commands import help_of, status_here

from smdtheory.images import __main__, run
from smdtheory.images.config import IMAGE_ARMS, ImagesConfig
from smdtheory.images.findings import read_findings
from smdtheory.images.summary import these

QUICK = ["--steps", "2", "--batch", "8", "--every", "1", "--latents", "2", "--measured", "64",
         "--draws", "64", "--iterations", "1", "3", "--longest", "1"]  # fmt: skip


def run_here(monkeypatch, *options: object) -> int:
    return status_here(monkeypatch, __main__.main, *options)


def test_help_imports_nothing_heavy():
    said = help_of("smdtheory.images")
    flags = "data path preset arms modulation iterations steps shards precision repeats device out"
    for flag in flags.split():
        assert f"--{flag}" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "cifar10"], ["--path FOLDER"]),
        (["--data", "folder", "--path", "nowhere"], ["nowhere"]),
        (["--arms", "gausian"], ["gausian"]),
        (["--iterations", "0"], ["from 1 to 1000", "received 0"]),
        (["--latents", "3"], ["even", "received 3"]),
        (["--learning-rate", "nan"], ["learning_rate", "nan"]),
        (["--batch", "10", "--shards", "3"], ["divide the batch of 10", "--shards"]),
        (["--device", "cuda"], ["no GPU", "--device"]),
        (["report"], ["there are none", "evaluate"]),
        (["--data", "mixture", "--size", "7"], ["7"]),
    ],
)
def test_mistakes_end_with_status_2_and_a_cure(monkeypatch, capsys, tmp_path, options, said):
    arms = [] if "--arms" in options else ["--arms", "gaussian"]
    quick = [*QUICK, *arms, "--out", tmp_path, *options[options[0] == "report" :]]
    stage = ["report"] if options[0] == "report" else []
    assert run_here(monkeypatch, *stage, *quick) == 2
    shown = capsys.readouterr().err
    for words in said:
        assert words in shown
    assert "Traceback" not in shown


def test_a_run_is_kept_and_not_repeated(monkeypatch, capsys, tmp_path):
    options = [*QUICK, "--data", "mixture", "--components", "3", "--rank", "2", "--out", tmp_path]
    assert run_here(monkeypatch, *options) == 0
    shown = capsys.readouterr().out
    for words in ("bits per dimension", "Σ M_t", "M_1", "modes covered", "share", "energy distance",
                  "rank correlation", "best full", "training images"):  # fmt: skip
        assert words in shown
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == 2 * len(IMAGE_ARMS)
    assert rows["nats"].notna().all()
    assert rows["energy_distance"].notna().tolist() == (rows["steps"] == 1).tolist()
    for name in (
        "errors.png",
        "errors.pdf",
        "forecast.png",
        "forecast.csv",
        "draws.png",
        "table.txt",
    ):
        assert (tmp_path / name).stat().st_size > 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["steps"] == 2
    (folder,) = tmp_path.glob("*/gaussian-0")
    assert (folder / "samples-00000002.png").is_file()
    assert (folder / "unet" / "config.json").is_file()

    def never(*arguments, **options):
        raise AssertionError("it was there already")

    monkeypatch.setattr(run, "train_network", never)
    monkeypatch.setattr(run, "draw", never)
    monkeypatch.setattr(run, "forecast_sum", never)
    assert run_here(monkeypatch, "report", *options) == 0
    assert pd.read_csv(tmp_path / "rows.csv").equals(rows)


def test_findings_come_back_from_the_folder_as_they_were(monkeypatch, tmp_path):
    options = [*QUICK, "--data", "mixture", "--components", "3", "--rank", "2", "--out", tmp_path]
    arms = ["--arms", "gaussian", "diagonal", "soft_energy"]
    assert run_here(monkeypatch, *options, *arms) == 0
    found = read_findings(tmp_path)
    assert found.dim == 64
    assert found.counts == [1]
    assert list(found.strips) == ["gaussian", "diagonal", "soft_energy", "training images"]
    assert found.strips["gaussian"].dtype == "uint8"
    best = found.means[found.means["arm"] == "best full"]
    assert best["steps"].tolist() == [1, 3]
    assert (best["M_sum"] > 0).all()
    assert set(found.gained["soft"]) == {"soft_energy"}
    again = tmp_path / "again"
    again.mkdir()
    found.save(again)
    for name in ("summary.csv", "forecast.csv", "about.json"):
        assert (again / name).read_text() == (tmp_path / name).read_text()
    for figure in (found.errors(["gaussian", "best full"]), found.forecast(), found.draws()):
        assert len(figure.axes) > 0
    (again / "about.json").write_text("{}")
    with pytest.raises(ValueError, match="findings of the image command must be in"):
        read_findings(again)


def test_numbers_of_steps_in_words():
    counts = [1, 2, 3, 5, 10]
    said = {(1, 2): "T <= 2", (5, 10): "T >= 5", (2, 3): "T = 2 to 3", (1, 3): "T = 1, T = 3"}
    assert {chosen: these(chosen, counts) for chosen in said} == said
    assert (these(counts, counts), these([], counts)) == ("every T", "")


def test_more_arms_and_steps_are_added_to_what_is_there(monkeypatch, tmp_path):
    options = [*QUICK, "--out", tmp_path]
    assert run_here(monkeypatch, *options, "--arms", "gaussian") == 0
    first = pd.read_csv(tmp_path / "rows.csv")
    assert run_here(monkeypatch, *options, "--arms", "gaussian", "fixed_large") == 0
    both = pd.read_csv(tmp_path / "rows.csv")
    assert both["arm"].tolist() == ["gaussian"] * 2 + ["fixed_large"] * 2
    assert both[:2].drop(columns="seconds").equals(first.drop(columns="seconds"))


def test_identities_tell_apart_what_matters():
    one = ImagesConfig()
    assert one.training_identity == ImagesConfig(draws=64, device="cuda").training_identity
    assert one.training_identity != ImagesConfig(batch=32).training_identity
    assert one.measuring_identity != ImagesConfig(draws=64).measuring_identity
