"""The notebooks run, tell what they computed, and keep to the rules.

Make one anew, with its figures, by

    jupytext --to ipynb notebooks/NAME.py
    jupyter nbconvert --to notebook --inplace --execute notebooks/NAME.ipynb \\
        --ExecutePreprocessor.record_timing=False
"""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import jupytext
import nbformat
import pytest
from PIL import Image

from smdtheory.figures import draw
from smdtheory.plots import COLUMN, read_numbers
from smdtheory.toy.config import ToyConfig
from smdtheory.toy.folder import load

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
FIGURES = sorted((ROOT / "figures").iterdir())
MAX_OUTPUTS = 300_000
"""Characters of all outputs of a notebook, of which figures are the largest."""

every_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def executed(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def code_cells(source: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in executed(source).cells if cell.cell_type == "code"]


def prose(source: Path) -> str:
    cells = executed(source).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_there_are_notebooks():
    assert [path.stem[0] for path in SOURCES] == [str(i + 1) for i in range(len(SOURCES))] != []
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == [
        path.stem for path in SOURCES
    ]


@every_notebook
def test_runs_in_fast_mode_and_draws_the_figures_there_are(source, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    drawn = draw(source, tmp_path, fast=True)
    assert [path.name for path in drawn] == [
        path.name for path in FIGURES if path.name.startswith(source.stem)
    ]
    for path in drawn:
        assert path.suffix == ".pdf" or not read_numbers(path).empty
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks", "runs"]


@every_notebook
def test_executed_notebook_has_the_cells_of_its_source(source):
    wanted = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    found = [(cell.cell_type, cell.source) for cell in executed(source).cells]
    assert found == wanted, "the .ipynb is older than the .py; see the top of this file"


@every_notebook
def test_was_executed_once_in_order_and_without_complaint(source):
    cells = code_cells(source)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", output.evalue
            assert output.get("name") != "stderr", output.text
    assert len(json.dumps([cell.outputs for cell in cells])) < MAX_OUTPUTS


@every_notebook
def test_shows_every_figure_it_saves(source):
    shown = sum("image/png" in out.get("data", {}) for c in code_cells(source) for out in c.outputs)
    saved = [p for p in FIGURES if p.name.startswith(source.stem) and p.suffix == ".png"]
    assert shown == len(saved) > 0


@every_notebook
def test_defines_nothing(source):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    tree = ast.parse(source.read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, kinds)] == []


@every_notebook
def test_opens_with_how_long_it_takes_and_the_fast_switch(source):
    opening = " ".join(executed(source).cells[0].source.split())
    assert opening.startswith(f"# {source.stem[0]}. ")
    assert "It takes about" in opening
    assert "`SMDTHEORY_FAST=1`" in opening


@every_notebook
def test_links_and_sections_exist(source):
    text = prose(source)
    links = re.findall(r"\]\(([^)#\s]+)\)", text)
    assert links
    assert [link for link in links if not (source.parent / link).exists()] == []
    theory = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (\d+(?:\.\d+)?) ", theory, flags=re.MULTILINE))
    assert set(re.findall(r"§(\d+(?:\.\d+)?)", text)) <= headings


@pytest.mark.parametrize("path", [p for p in FIGURES if p.suffix == ".png"], ids=lambda p: p.stem)
def test_a_figure_fits_one_column_and_holds_its_numbers(path):
    with Image.open(path) as image:
        assert image.width == round(image.info["dpi"][0] * COLUMN)
    assert not read_numbers(path).empty


def test_the_stored_toy_is_that_of_the_notebook():
    """Were it another, the notebook would train for minutes."""
    (line,) = re.findall(r"ToyConfig\(.*\)", SOURCES[2].read_text(encoding="utf-8"))
    config = eval(line, {"ToyConfig": ToyConfig, "Path": Path})
    assert load(replace(config, out=ROOT / "notebooks" / config.out)) is not None


def test_every_figure_belongs_to_a_notebook_and_comes_as_png_and_pdf():
    stems = {path.stem for path in FIGURES}
    assert [stem for stem in stems if not stem.startswith(tuple(p.stem for p in SOURCES))] == []
    assert [path.name for path in FIGURES] == sorted(
        f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")
    )
