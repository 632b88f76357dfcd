"""What docs/how-to.md and docs/sharp-bits.md show is what happens."""

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
HOW_TO = (DOCS / "how-to.md").read_text(encoding="utf-8")
SHARP = (DOCS / "sharp-bits.md").read_text(encoding="utf-8")

EXAMPLES = {
    f"{number} {code.split('import ', 1)[1].split()[0]}": (code, output)
    for number, (code, output) in enumerate(
        re.findall(r"^```python\n(.*?)^```\n```\n(.*?)^```$", HOW_TO, re.M | re.S)
    )
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_every_block_of_the_how_to_says_what_it_prints():
    assert len(EXAMPLES) == HOW_TO.count("```python") >= 6


@pytest.mark.parametrize("name", EXAMPLES)
def test_how_to_runs_and_says_what_it_should(name, tmp_path, monkeypatch):
    code, wanted = EXAMPLES[name]
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "how-to.md", "exec"), {"__name__": "how_to"})
    assert doctest.OutputChecker().check_output(wanted, out.getvalue(), FLAGS), out.getvalue()


def test_sharp_bits_are_as_they_are_shown():
    text = re.sub(r"^```.*$", "", SHARP, flags=re.M)  # a fence is no output
    test = doctest.DocTestParser().get_doctest(text, {}, "sharp-bits", "sharp-bits.md", 0)
    assert len(test.examples) > 20
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0, out.getvalue()


@pytest.mark.parametrize("page", ["how-to.md", "sharp-bits.md"])
def test_links_exist(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", (DOCS / page).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []
