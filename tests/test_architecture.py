"""The fences between the rooms, held by reading every import, wherever it stands.

checks, command, families, files, options, provenance <- store <- estimate, schedule <- truth <-
models <- measure <- theory <- sweep, images, toy <- figures, audit, steps, explore. The plots stand
apart.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smdtheory

PACKAGE = Path(smdtheory.__file__).parent
REPOSITORY = PACKAGE.parent

LAYERS = [
    {"checks", "command", "families", "files", "options", "provenance"},
    {"store"},
    {"estimate", "schedule"},
    {"truth"},
    {"models"},
    {"measure"},
    {"theory"},
    {"sweep", "images", "toy"},
    {"figures", "audit", "steps", "explore"},
]
"""Rooms from the lowest on: each imports from its own layer's room and from the layers below."""

APART = {"plots"}
"""Draws what it is given: imports no other room, and only the outermost layers import it."""

STATEMENTS = {"exponents", "witness.local", "steps", "grids", "claims"}
"""Rooms of theory/ that are no bounds, and may measure what they predict."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def stubs() -> dict[str, dict[str, str]]:
    """Public names of each lazy package, and the module that each really comes from."""
    table: dict[str, dict[str, str]] = {}
    for path in sorted(PACKAGE.rglob("*.pyi")):
        package = ".".join(path.parent.relative_to(REPOSITORY).parts)
        names = table.setdefault(package, {})
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                source = ".".join(part for part in (package, node.module) if part)
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    names[alias.asname or alias.name] = inner if inner in MODULES else source
    return table


STUBS = stubs()


def imports(module: str) -> set[str]:
    """Modules of the package that ``module`` imports anywhere, lazy public names followed."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = node.module or ""
            if node.level:
                source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(
                    inner if inner in MODULES else STUBS.get(source, {}).get(alias.name, source)
                )
    return {name for name in found if name == "smdtheory" or name.startswith("smdtheory.")}


GRAPH = {module: imports(module) for module in MODULES}


def room(module: str) -> str:
    """The first part below the package; empty for the package itself."""
    return ([*module.split("."), ""])[1]


def layer(module: str) -> int:
    (number,) = [n for n, rooms in enumerate(LAYERS) if room(module) in rooms]
    return number


def test_the_reader_of_imports_sees_all_kinds(tmp_path):
    kinds = {
        "import smdtheory.truth.posterior": "smdtheory.truth.posterior",
        "import smdtheory.truth.posterior as p": "smdtheory.truth.posterior",
        "from smdtheory.truth import posterior as p": "smdtheory.truth.posterior",
        "from smdtheory import posterior": "smdtheory.truth.posterior",
        "from smdtheory import GaussianMixture": "smdtheory.truth.mixture",
        "from smdtheory.truth import information": "smdtheory.truth.information",
        "from smdtheory.truth.posterior import posterior_at": "smdtheory.truth.posterior",
        "def f():\n    from smdtheory.truth import information": "smdtheory.truth.information",
        "from ..truth.posterior import posterior_at": "smdtheory.truth.posterior",
        "from ..truth import posterior": "smdtheory.truth.posterior",
        "from . import oracle": "smdtheory.models.oracle",
    }
    file = tmp_path / "made_up.py"
    MODULES["smdtheory.models.made_up"] = file
    try:
        for line, expected in kinds.items():
            file.write_text(line + "\n")
            assert imports("smdtheory.models.made_up") == {expected}, line
    finally:
        del MODULES["smdtheory.models.made_up"]


def test_every_room_has_its_place():
    known = set().union(*LAYERS) | APART | {""}
    assert {room(module) for module in MODULES} <= known


JUDGES = {"smdtheory.images.evaluate", "smdtheory.images.forecast"}
"""Rooms of images/ that know the answer: nothing that is trained imports them."""


def test_nothing_that_learns_imports_the_answer():
    answer = {"smdtheory.truth.posterior", "smdtheory.truth.information"}
    for module in MODULES:
        learns = room(module) == "models" and module != "smdtheory.models.oracle"
        looks = room(module) == "images" and module not in JUDGES
        if learns or looks:
            assert not GRAPH[module] & answer, module
        if module in {f"smdtheory.images.{name}" for name in ("training", "denoisers", "networks")}:
            assert not GRAPH[module] & JUDGES, module


def test_no_bound_is_computed_from_what_it_bounds():
    for module, found in GRAPH.items():
        if room(module) == "theory" and not any(
            f"{module}.".startswith(f"smdtheory.theory.{name}.") for name in STATEMENTS
        ):
            assert "measure" not in {room(name) for name in found}, module
        if room(module) == "measure":
            assert "theory" not in {room(name) for name in found}, module


def test_no_picture_triggers_a_computation():
    for module, found in GRAPH.items():
        if room(module) == "plots":
            assert {room(name) for name in found} <= {"plots"}, module
        elif "plots" in {room(name) for name in found}:
            assert module == "smdtheory" or layer(module) >= layer("smdtheory.sweep"), module


def test_arrows_go_one_way():
    for module, found in GRAPH.items():
        if room(module) in APART | {""}:
            continue
        for name in found:
            if room(name) in APART:
                continue
            assert room(name), f"{module} imports the whole package"
            below = layer(name) < layer(module) or room(name) == room(module)
            assert below, f"{module} imports {name}"


def test_there_are_no_cycles():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            # a package's __init__ only says where its names are; its stub is followed by name
            for name in sorted(GRAPH.get(module, ())):
                if name in MODULES and MODULES[name].name != "__init__.py":
                    visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("package", STUBS)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert STUBS[package]
    for name, source in STUBS[package].items():
        assert getattr(module, name) is not None
        assert name in dir(module)
        if source in MODULES:
            importlib.import_module(source)
    with pytest.raises(AttributeError):
        module.no_such_name  # noqa: B018


def in_a_fresh_process(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    return result.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "smdtheory",
        "smdtheory.families",
        "smdtheory.files",
        "smdtheory.provenance",
        "smdtheory.store.__main__",
        "smdtheory.truth",
        "smdtheory.sweep.config",
        "smdtheory.toy.config",
    ],
)
def test_names_and_configurations_come_without_torch(module):
    code = f"import sys, {module}; print({{'torch', 'pandas', 'matplotlib'}} & set(sys.modules))"
    assert in_a_fresh_process(code) == "set()"


def test_importing_everything_changes_nothing_of_others():
    code = """
import importlib, warnings, numpy, torch, matplotlib
warnings.simplefilter("error")
def state():
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(),
            torch.is_grad_enabled(), numpy.geterr(), str(sorted(matplotlib.rcParams.items())),
            torch.distributions.Distribution._validate_args)
before = state()
for name in NAMES:
    importlib.import_module(name)
print(state() == before)
"""
    names = [name for name in MODULES if not name.endswith("__main__")]
    assert in_a_fresh_process(code.replace("NAMES", repr(names))) == "True"


# The repository speaks of itself only

TEXT = {".py", ".pyi", ".md", ".toml", ".cff", ".ipynb", ".yml", ".yaml", ".cfg", ".txt", ""}
SKIPPED = {"__pycache__", "build", "dist", "runs", "figures"}


def texts() -> list[Path]:
    """Files of the repository that people read."""
    found = []
    for path in REPOSITORY.rglob("*"):
        parts = path.relative_to(REPOSITORY).parts
        hidden = any(part.startswith(".") and part not in (".ci", ".gitignore") for part in parts)
        generated = any(part in SKIPPED or part.endswith(".egg-info") for part in parts)
        if path.is_file() and path.suffix in TEXT and not (hidden or generated):
            found.append(path)
    return found


def test_no_file_names_a_machine_or_papers_outside_the_repository():
    slash = "/"
    forbidden = [slash + name + slash for name in ("work", "tmp", "root", "home", "Users")]
    forbidden += [name + ".md" for name in ("THEORY", "DESIGN", "DECISIONS", "CONTRACT")]
    read = texts()
    assert len(read) > len(MODULES)
    for path in read:
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":  # a picture is written in letters, any of them
            content = re.sub(r'"image/png": "[^"]*"', "", content)
        for word in forbidden:
            assert word not in content, f"{path.relative_to(REPOSITORY)} says {word}"


def test_the_map_of_a_room_names_every_file():
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            said = ast.get_docstring(ast.parse(path.read_text())) or ""
            parts = {module for module in MODULES if module.rpartition(".")[0] == name}
            for part in (module.rpartition(".")[2] for module in parts):
                known = re.search(rf"``([^`]* )?(smdtheory\.)?{part}``|\b{part}\.py\b", said)
                assert known or part == "__main__", f"the map of {name} lacks {part}"


def lines_of_code(text: str) -> int:
    """Lines without docstrings, so that a room is not divided because it is explained."""
    count, documented = len(text.splitlines()), (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first = node.body[0]
            count -= (first.end_lineno or first.lineno) - first.lineno + 1
    return count


def test_lines_of_code_leave_out_docstrings_alone():
    text = '"""A room.\n\nThree lines."""\nx = """a\nb"""\ndef f():\n    """F."""\n    return x\n'
    assert len(text.splitlines()) - lines_of_code(text) == 4


def test_every_room_is_small_enough_to_hold_in_the_head():
    for name, path in MODULES.items():
        assert not name.endswith("utils"), name
        assert lines_of_code(path.read_text()) <= 300, name


def test_sections_that_are_cited_exist():
    theory = (REPOSITORY / "docs" / "theory.md").read_text(encoding="utf-8")
    headings = [line for line in theory.splitlines() if line.startswith("#")]
    known = {line.split()[1] for line in headings if line.split()[1][0].isdigit()}
    for path in [*MODULES.values(), *(REPOSITORY / "tests").glob("*.py")]:
        for section in re.findall(r"§(\d+(?:\.\d+)?)", path.read_text(encoding="utf-8")):
            assert section in known, f"{path.name} cites §{section}"


def test_every_module_and_public_function_is_documented():
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), name
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            assert not public or ast.get_docstring(node), f"{name}.{node.name}"
