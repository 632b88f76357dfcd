"""``python -m smdtheory.figures``: figures anew, and their numbers compared."""

import shutil
import signal
import tempfile

import numpy as np
import pandas as pd
import pytest
from commands import help_of, ran, refused, status_here

from smdtheory import figures, plots
from smdtheory.figures import FIGURES, FiguresConfig, chapters, compare, differences

OLD = pd.DataFrame(
    {"arm": ["full", "isotropic", None], "t": [1, 2, 3], "value": [1.0, np.nan, 0.0],
     "value_error": [0.1, 0.0, np.nan], "exact": [1e-3, 5.0, 0.0]}
)  # fmt: skip
CHAPTER = chapters()[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"value": [1.19, np.nan, 0.0]}, []),
        ({"value": [1.21, np.nan, 0.0]}, ["arm = full t = 1: value is 1.21 ± 0.1, was 1 ± 0.1"]),
        ({"value": [1.0, 0.0, 0.0]}, ["arm = isotropic t = 2: value is 0, was nan"]),
        ({"value_error": [0.2, 0.0, 0.0]}, []),
        ({"exact": [1e-3 + 0.9e-9, 5 - 4e-6, 1e-13]}, []),
        ({"exact": [1e-3 + 1.1e-9, 5.0, 0.0]},
         ["arm = full t = 1: exact is 0.0010000011, was 0.001"]),
        ({"exact": [1e-3, 5.0, 2e-12]}, ["arm = nan t = 3: exact is 2e-12, was 0"]),
        ({"arm": ["full", "diagonal", None]}, ["row 2: arm is diagonal, was isotropic"]),
        ({"t": [1, 2, 4]}, ["arm = nan: t is 4, was 3"]),
    ],
)  # fmt: skip
def test_numbers_agree_within_their_intervals_or_to_a_millionth(change, said):
    old = OLD.assign(arm=OLD["arm"].astype("object").where(OLD["arm"].notna(), np.nan))
    assert differences(old.assign(**change), old) == said


def test_other_tables_are_other():
    assert differences(OLD[:2], OLD) == ["2 numbers, were 3"]
    (said,) = differences(OLD.drop(columns="exact"), OLD)
    assert said.startswith("columns are arm, t, value, value_error, were arm,")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with the figures of the small version of one chapter, and what was printed."""
    cwd = tmp_path_factory.mktemp("cwd")
    done = ran("smdtheory.figures", "--fast", "--only", 1, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "runs" / "figures", done.stdout


def test_it_lists_what_it_wrote(drawn):
    folder, said = drawn
    head, *listed = said.splitlines()
    assert head.startswith(f"{CHAPTER.stem}: ")
    names = sorted(path.name for path in folder.iterdir())
    assert [line.strip() for line in listed] == [f"runs/figures/{name}" for name in names]
    assert names == sorted(path.name for path in FIGURES.glob(f"{CHAPTER.stem}_*"))


def test_a_check_says_what_differs_and_writes_nothing(drawn, tmp_path, monkeypatch, capsys):
    folder, _ = drawn
    monkeypatch.setattr(figures, "draw", lambda *_, **__: sorted(folder.iterdir()))
    there = shutil.copytree(folder, tmp_path / "there")
    check = ("--fast", "--check", "--only", 1, "--out", there)
    assert status_here(monkeypatch, figures.main, *check) == 0
    assert "6 figures hold the numbers" in capsys.readouterr().out

    where, split = (f"{CHAPTER.stem}_{name}" for name in ("where", "split"))
    figure = plots.error_along_chain({"full": [0, 0.1]})
    plots.save(figure, there / split)
    (there / f"{where}.pdf").unlink()
    plots.save(figure, there / f"{CHAPTER.stem}_orphan")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in there.iterdir())
    assert status_here(monkeypatch, figures.main, *check) == 1
    said = capsys.readouterr().out
    assert f"{where}.pdf: there is none" in said
    assert f"{CHAPTER.stem}_orphan.png: nothing makes it" in said
    assert f"{split}.png: columns" in said or f"{split}.png: " in said
    assert said.count(".png: ") == 2
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in there.iterdir())


def test_a_figure_without_numbers_is_named(drawn, tmp_path):
    folder, _ = drawn
    there = shutil.copytree(folder, tmp_path / "there")
    plots.save(plots.Drawing(), there / f"{CHAPTER.stem}_where")
    with pytest.raises(ValueError, match=r"where\.png does not"):
        compare(sorted(folder.iterdir()), there, CHAPTER)


def test_a_chapter_that_fails_ends_with_status_1(tmp_path, monkeypatch, capsys):
    chapter = tmp_path / "notebooks" / "1_broken.py"
    (chapter.parent / "rows").mkdir(parents=True)
    chapter.write_text("raise RuntimeError('broken chain')")
    monkeypatch.setattr(figures, "CHAPTERS", chapter.parent)
    assert status_here(monkeypatch, figures.main, "--fast", "--out", tmp_path / "out") == 1
    assert "broken chain" in capsys.readouterr().err


def test_sigterm_ends_with_status_143_and_leaves_no_scratch(tmp_path, monkeypatch, capsys):
    chapter, scratch = tmp_path / "notebooks" / "1_endless.py", tmp_path / "scratch"
    (chapter.parent / "rows").mkdir(parents=True)
    scratch.mkdir()
    chapter.write_text(
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
    )
    monkeypatch.setattr(figures, "CHAPTERS", chapter.parent)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def unheard(*_):
        pytest.fail("SIGTERM is not handled")

    before = signal.signal(signal.SIGTERM, unheard)
    try:
        assert status_here(monkeypatch, figures.main, "--out", tmp_path / "out") == 143
        assert signal.getsignal(signal.SIGTERM) is unheard
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "Stopped. Figures of finished" in capsys.readouterr().err
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "9"], ["only must be among 1, 2", "'9'"]),
        (["--only"], ["only needs at least one value"]),
        (["--fast", "--out", FIGURES], ["small version", "--out"]),
        (["--check", "--out", "nowhere"], ["there is no folder nowhere", "--out"]),
        (["--check", "--fast"], ["there is no folder runs/figures", "without --check"]),
    ],
)
def test_wrong_options_are_refused(tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: pytest.fail("drawn before refused"))
    message = refused(monkeypatch, capsys, tmp_path, figures.main, *options)
    for part in said:
        assert part in message


def test_the_small_version_never_goes_where_the_full_one_is():
    assert FiguresConfig().folder == FIGURES
    assert FiguresConfig(fast=True).folder != FIGURES
    with pytest.raises(ValueError, match="small version"):
        FiguresConfig(fast=True, out=FIGURES.parent / "docs" / ".." / "figures")


def test_help_is_light():
    assert "--check" in help_of("smdtheory.figures")
