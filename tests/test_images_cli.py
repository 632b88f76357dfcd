"""The image command as a person meets it: help, mistakes, a run, the same run again."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import help_of, status_here

from smdtheory.images import __main__, run
from smdtheory.images.config import IMAGE_ARMS, ImagesConfig
from smdtheory.images.findings import read_findings
from smdtheory.images.summary import these
from smdtheory.models import training as training

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
        (["--data", "folder", "--path", "nowhere"], ["nowhere", "does not exist"]),
        (["--data", "folder", "--path", "empty"], ["empty", "no files", "Name another"]),
        (
            ["--data", "folder", "--path", "broken"],
            ["2 files, none of which", "a.png: its content"],
        ),
        (["--data", "folder", "--path", "broken/a.png"], ["a.png", "is a file"]),
        (["--data", "cifar10", "--path", "empty"], ["cifar-10-python.tar.gz", "empty"]),
        (["--data", "cifar10", "--path", "broken"], ["cifar-10-python.tar.gz", "MD5"]),
        (["--out", "broken/a.png"], ["a.png", "--out"]),
        (["--arms", "gausian"], ["gausian"]),
        (["--iterations", "0"], ["from 1 to 1000", "received 0"]),
        (["--latents", "3"], ["even", "received 3"]),
        (["--learning-rate", "nan"], ["learning_rate", "nan"]),
        (["--batch", "10", "--shards", "3"], ["divide the batch of 10", "--shards"]),
        (["--device", "cuda"], ["no GPU", "--device"]),
        (["report"], ["there are none", "evaluate"]),
        (["sample", "--iterations", "3"], ["at least 3 and longest 1", "--longest"]),
        (["--data", "mixture", "--size", "7"], ["7"]),
    ],
)
def test_mistakes_end_with_status_2_and_a_cure(monkeypatch, capsys, tmp_path, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for name in ("a.png", "cifar-10-python.tar.gz"):
        (tmp_path / "broken" / name).write_bytes(b"neither")
    arms = [] if "--arms" in options else ["--arms", "gaussian"]
    stage = [word for word in options[:1] if not word.startswith("-")]
    quick = [*QUICK, *arms, "--out", tmp_path, *options[len(stage) :]]
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


def test_parts_say_where_their_files_are_and_what_is_missing(monkeypatch, capsys, tmp_path):
    options = [*QUICK, "--data", "mixture", "--components", "3", "--rank", "2", "--out", tmp_path]
    both = ["--arms", "gaussian", "diagonal", "soft_energy"]
    assert run_here(monkeypatch, "train", *options, *both) == 0
    (folder,) = tmp_path.glob("*/gaussian-0")
    assert str(folder.parent) in capsys.readouterr().out
    assert run_here(monkeypatch, "sample", *options, *both) == 0
    assert "draws" in capsys.readouterr().out
    assert len(list(folder.parent.glob("*/draws/*-0-1.png"))) == 3
    assert run_here(monkeypatch, "evaluate", *options, *both) == 0
    assert (tmp_path / "forecast.png").is_file()
    assert "missing" not in capsys.readouterr().out
    (row,) = folder.parent.glob("*/rows/gaussian-0-3.json")
    row.write_text("{")
    assert run_here(monkeypatch, "report", *options, "--arms", "gaussian") == 0
    shown = capsys.readouterr().out
    assert "1 of 2 rows are missing or damaged, gaussian, training 0, T = 3 for one" in shown
    assert "quarter" not in shown
    assert not list(tmp_path.glob("forecast.p*"))  # of the command before


def test_findings_come_back_from_the_folder_as_they_were(monkeypatch, tmp_path):
    options = [*QUICK, "--data", "mixture", "--components", "3", "--rank", "2", "--out", tmp_path]
    arms = ["--arms", "gaussian", "diagonal", "soft_energy"]
    assert run_here(monkeypatch, *options, *arms) == 0
    found = read_findings(tmp_path)
    assert found.counts == [1]
    assert list(found.strips) == ["gaussian", "diagonal", "soft_energy", "training images"]
    assert found.strips["gaussian"].dtype == "uint8"
    best = found.means[found.means["arm"] == "best full"]
    assert best["steps"].tolist() == [1, 3]
    assert (best["M_sum"] > 0).all()
    assert set(found.forecasts["soft"]) == {"soft_energy"}
    again = tmp_path / "again"
    again.mkdir()
    found.save(again)
    for name in ("summary.csv", "gains.csv", "forecast.csv", "about.json"):
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


ONE = [*QUICK, "--arms", "gaussian", "--data", "mixture", "--components", "3", "--rank", "2"]


def ends_with(monkeypatch, capsys, out: Path, *options: object) -> str:
    """What the command says when it ends with status 2; nothing half-written is left."""
    capsys.readouterr()
    assert run_here(monkeypatch, *ONE, *options, "--out", out) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.startswith("error: ")
    assert "Traceback" not in shown
    assert not list(out.rglob("*.tmp"))
    return shown


class Trap:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_checkpoints_that_are_not_what_was_written_are_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, options in (("here", []), ("other", ["--learning-rate", "1e-3"])):
        assert run_here(monkeypatch, "train", *ONE, *options, "--out", name) == 0
    (folder,), (other,) = (sorted(Path(name).glob("*/gaussian-0")) for name in ("here", "other"))
    weights, document = (folder / f"step-00000002.{kind}" for kind in ("safetensors", "json"))
    whole = weights.read_bytes()
    for content in (whole[: len(whole) // 2], b"", pickle.dumps(Trap())):
        weights.write_bytes(content)
        said = ends_with(monkeypatch, capsys, Path("here"))
        assert "step-00000002.safetensors does not: its SHA-256" in said
        assert "goes on from step 1" in said
        assert "moved away" in said
    assert not Path("executed").exists()
    for file in other.glob("step-00000002.*"):
        shutil.copy(file, folder)
    said = ends_with(monkeypatch, capsys, Path("here"))
    assert "step-00000002.json is of another (learning_rate: 0.001 there, 0.002 here)" in said
    document.rename("away")
    assert run_here(monkeypatch, "train", *ONE, "--out", "here") == 0
    assert weights.read_bytes() == whole


@pytest.mark.timeout(900)  # six runs
def test_a_disk_that_fills_up_leaves_what_is_finished(monkeypatch, capsys, tmp_path):
    assert run_here(monkeypatch, *ONE, "--out", tmp_path / "whole") == 0
    fsync, room = os.fsync, [0]

    def full(handle: int) -> None:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        fsync(handle)

    out, kept = tmp_path / "full", set()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for room[0] in (0, 2, 9, 3):  # files that each command can still write
            said = ends_with(patched, capsys, out)
            assert "No space left on device" in said
            assert "Make room" in said
            assert kept <= set(out.rglob("*"))
            kept = {path for path in out.rglob("*") if "step-" not in path.name}
    assert any(path.parent.name == "rows" for path in kept)
    assert run_here(monkeypatch, *ONE, "--out", out) == 0
    tables = (
        pd.read_csv(path / "rows.csv").drop(columns="seconds") for path in (out, tmp_path / "whole")
    )
    assert next(tables).equals(next(tables))


ALLOCATOR = RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError(), ALLOCATOR])
def test_memory_that_is_not_there_is_answered_with_options(monkeypatch, capsys, tmp_path, error):
    def full(*arguments, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(training, "check_loss", full)
        said = ends_with(patched, capsys, tmp_path)
    assert "must fit in the memory of cpu; received 8 images, which do not. Give --shards 2" in said
    with monkeypatch.context() as patched:
        patched.setattr(run, "draw", full)
        patched.setattr(run.ImageRun, "_picture", lambda *arguments: None)
        said = ends_with(patched, capsys, tmp_path)
    assert "received 64 images, which do not. Give fewer" in said
    with monkeypatch.context() as patched:
        patched.setattr(run.Bench, "row", full)
        said = ends_with(patched, capsys, tmp_path)
    for words in ("64 images with 2 latents", "--measured", "--latents", "finished is kept"):
        assert words in said
    assert list(tmp_path.glob("*/gaussian-0/step-00000002.json"))
    assert list(tmp_path.rglob("gaussian-0-1.safetensors"))


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch, tmp_path):
    def wrong(*arguments, **options):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(training, "check_loss", wrong)
    with pytest.raises(RuntimeError, match="mat1"):
        run_here(monkeypatch, *ONE, "--out", tmp_path)


def test_rows_that_are_damaged_are_measured_again(monkeypatch, capsys, tmp_path):
    assert run_here(monkeypatch, *ONE, "--out", tmp_path) == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    first, second = sorted(tmp_path.rglob("rows/*.json"))
    first.write_text("[" * 10**5)
    second.write_text("3")
    assert "there are none" in ends_with(monkeypatch, capsys, tmp_path, "--stage", "report")
    assert run_here(monkeypatch, *ONE, "--out", tmp_path) == 0
    again = pd.read_csv(tmp_path / "rows.csv")
    assert again.drop(columns="seconds").equals(rows.drop(columns="seconds"))


def test_identities_tell_apart_what_matters():
    one = ImagesConfig()
    assert one.training_identity == ImagesConfig(draws=64, device="cuda").training_identity
    assert one.training_identity != ImagesConfig(batch=32).training_identity
    assert one.measuring_identity != ImagesConfig(draws=64).measuring_identity
