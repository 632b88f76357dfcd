"""What the README says can be done, can be done."""

import contextlib
import importlib.util
import io
import re
import subprocess
from pathlib import Path

import pytest

import smdtheory
from smdtheory import FAMILIES, Schedule, measure, models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> str:
    """The one line of the fenced block right under ``<!-- name -->``."""
    blocks = re.findall(rf"^<!-- {name} -->\n```bash\n(.*?)^```$", README, re.M | re.S)
    assert len(blocks) == 1, f"the README must have one command marked {name}"
    lines = blocks[0].splitlines()
    assert len(lines) == 1, f"the command marked {name} must be one line"
    return lines[0]


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table whose heading row is ``heading``."""
    table = README.split(f"{heading}\n", 1)[1].split("\n\n", 1)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]
    ]


EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)


def said_by(example: str) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(example, "README.md", "exec"), {})
    return out.getvalue().splitlines()


def test_training_example_runs_with_fewer_steps():
    assert EXAMPLES[1].count("steps=1000") == 1
    found, floor = said_by(EXAMPLES[1].replace("steps=1000", "steps=20"))
    assert re.match(r"\S+ ± \S+ \(sampling\)$", found)
    assert re.match(r"1\.70097\d* ± \S+ \(quadrature\)$", floor)


def test_example_runs_and_says_what_it_should():
    weights, isotropic, full, error = said_by(EXAMPLES[0])
    assert "[0.5000, 0.5000]" in weights
    assert re.match(r"isotropic \S+ ± \S+ \(quadrature\)$", isotropic)
    assert re.match(r"full \S+ ± \S+ \(quadrature\)$", full)
    sums = [float(line.split()[1]) for line in (isotropic, full)]
    assert 0 < float(error.split()[0]) < sums[1] < sums[0]


@pytest.mark.parametrize("name", ["run", "test"])
def test_commands_set_up_what_they_need_in_one_line(name):
    steps = command(name).split(" && ")
    assert steps[0] == "python3 -m venv .venv"
    assert re.match(r"\.venv/bin/python -m pip install -q -e \S+$", steps[1])
    assert steps[2].startswith(".venv/bin/python -m ")
    assert len(steps) == 3


def test_ci_runs_exactly_the_test_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (extract,) = re.findall(r"^test_command=.*$", script, re.M)
    show = f'{extract}\nprintf %s "$test_command"'
    found = subprocess.run(
        ["bash", "-c", show], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == command("test")
    assert 'bash -c "$test_command"' in script


def test_links_and_files_exist():
    links = re.findall(r"\]\(([^)#\s]+)\)", README)
    local = [link for link in links if "://" not in link]
    assert any(link.endswith(".png") for link in local)
    assert [link for link in local if not (ROOT / link).exists()] == []
    assert [
        path for path in re.findall(r"python (\S+\.py)", README) if not (ROOT / path).exists()
    ] == []


def test_modules_that_are_run_exist():
    modules = set(re.findall(r"python -m (smdtheory(?:\.\w+)*)", README))
    assert modules
    for module in modules:
        found = importlib.util.find_spec(module)
        assert found is not None, module
        if found.submodule_search_locations is not None:  # a package
            assert importlib.util.find_spec(f"{module}.__main__"), module


def test_notation_names_what_there_is():
    table = rows("| paper | code | meaning |")
    names = [name for row in table for name in re.findall(r"`([^`]+)`", row[1])]
    assert len(names) >= len(table)
    known = {*dir(smdtheory), *dir(measure), *dir(models), *dir(Schedule.cosine(2)), "t"}
    assert [name for name in names if name.removeprefix("schedule.") not in known] == []


def test_family_table_has_every_family_in_order():
    table = rows("| family | covariance of p(x_s given x_t) |")
    assert [name for row in table for name in re.findall(r"`([^`]+)`", row[0])] == list(FAMILIES)


def test_figure_table_has_every_notebook_and_every_figure():
    table = rows("| notebook | its question | figures | `python -m smdtheory.figures` | minutes |")
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(table) == len(notebooks)
    for row, path in zip(table, notebooks, strict=True):
        assert f"(notebooks/{path.name})" in row[0]
        assert re.findall(r"\]\(([^)]+)\)", row[2]) == [
            f"figures/{figure.name}"
            for figure in sorted((ROOT / "figures").glob(f"{path.stem}_*.png"))
        ]
        assert row[3] == f"`--only {path.stem[0]}`"
        assert float(row[4]) > 0
