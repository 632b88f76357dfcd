"""Every public name is documented: what goes in, what comes out, what is refused, and an example.

The examples themselves are run as doctests; the pages are made of these docstrings (.ci/run).
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import smdtheory
from smdtheory import checks

ROOT = Path(__file__).parents[1]


def walk(module: ModuleType, seen: set[str]) -> Iterator[tuple[str, Any]]:
    """Functions and classes behind the names in ``__all__``, or else those that a module makes."""
    seen.add(module.__name__)
    own = [name for name, value in vars(module).items() if made_in(value, module.__name__)]
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            if value.__name__ not in seen:
                yield from walk(value, seen)
        elif isinstance(value, FunctionType | type):
            yield f"{module.__name__}.{name}", value


def made_in(value: Any, module: str) -> bool:
    public = getattr(value, "__name__", "_")[0] != "_"
    return public and getattr(value, "__module__", None) == module


def public() -> dict[str, Any]:
    """Each function and class once, by the shortest of its names."""
    found: dict[int, tuple[str, Any]] = {}
    for name, value in walk(smdtheory, set()):
        if id(value) not in found or len(name) < len(found[id(value)][0]):
            found[id(value)] = (name, value)
    return dict(sorted(found.values(), key=lambda pair: pair[0]))


PUBLIC = public()
FUNCTIONS = {name: value for name, value in PUBLIC.items() if isinstance(value, FunctionType)}
CLASSES = {name: value for name, value in PUBLIC.items() if isinstance(value, type)}


def methods() -> dict[str, tuple[type, FunctionType]]:
    """Public methods that a class defines itself; properties are documented like attributes."""
    found = {}
    for name, owner in CLASSES.items():
        for own, value in vars(owner).items():
            method = getattr(value, "__func__", value)
            written = isinstance(method, FunctionType) and method.__module__ == owner.__module__
            if own[0] != "_" and written:
                found[f"{name}.{own}"] = (owner, method)
    return found


METHODS = methods()
REFUSE = {
    name
    for name, value in vars(checks).items()
    if isinstance(value, FunctionType) and "raise " in inspect.getsource(value)
}
"""Functions that every room calls to refuse what does not fit."""


def signature(function: Any) -> tuple[list[str], Any]:
    """The names of what it takes, and what it returns."""
    found = inspect.signature(function)
    return [name for name in found.parameters if name != "self"], found.return_annotation


def validates(function: FunctionType) -> bool:
    """Whether it raises, or calls what refuses an argument."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {getattr(call, "attr", getattr(call, "id", "")).lstrip("_") for call in calls}
    checked = any(name in REFUSE or name.startswith("check_") for name in names)
    return checked or any(isinstance(node, ast.Raise) for node in ast.walk(tree))


def lacks(function: FunctionType, doc: str) -> list[str]:
    """Sections that ``doc`` should have and has not."""
    names, result = signature(function)
    wanted = {
        r"\S": True,
        r"^Args:$": bool(names),
        r"^(Returns|Yields):$": result not in (None, "None", inspect.Signature.empty),
        r"^Raises:$": validates(function),
    }
    return [rule for rule, here in wanted.items() if here and not re.search(rule, doc, re.M)]


def above(owner: type, name: str) -> str:
    """What the class says that first had the method: an override need not say it again."""
    bases = [base for base in owner.__mro__[1:] if base.__module__.startswith("smdtheory")]
    said = [inspect.getdoc(vars(base)[name]) or "" for base in bases if name in vars(base)]
    return "\n".join(said)


def shown(name: str, owner: type) -> bool:
    """Whether an example has ``owner``: its own, or that of a function that returns it."""
    if ">>>" in (owner.__doc__ or ""):
        return True
    makers = [f for f in FUNCTIONS.values() if re.search(rf"\b{name}\b", str(signature(f)[1]))]
    return any(">>>" in (maker.__doc__ or "") for maker in makers)


def test_the_walk_finds_what_the_readme_uses():
    for name in ("GaussianMixture", "measure.local_error", "models.oracle.BestGaussian"):
        assert f"smdtheory.{name}" in PUBLIC
    assert len(FUNCTIONS) > 100
    assert "smdtheory.GaussianMixture.log_prob" in METHODS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_they_take_return_and_refuse(name):
    function = FUNCTIONS[name]
    doc = inspect.getdoc(function) or ""
    assert lacks(function, doc) == []
    assert ">>>" in doc or function.__name__ == "main"  # its example is the command line


@pytest.mark.parametrize("name", METHODS)
def test_methods_say_what_they_take_return_and_refuse(name):
    owner, method = METHODS[name]
    own = inspect.getdoc(method) or ""
    assert own
    assert lacks(method, f"{own}\n{above(owner, method.__name__)}") == []
    assert ">>>" in own or shown(owner.__name__, owner)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_say_what_they_are_made_of_and_show_one(name):
    owner = CLASSES[name]
    doc = inspect.getdoc(owner) or ""
    assert doc
    if issubclass(owner, Exception):
        return
    if "__init__" in vars(owner):
        assert re.search(r"^(Args|Attributes):$", doc, re.M)
    assert shown(owner.__name__, owner)


def test_every_argument_is_explained():
    missing = []
    for name, function in FUNCTIONS.items():
        section = re.search(r"^Args:\n((?:    .*\n|\n)*)", f"{inspect.getdoc(function)}\n", re.M)
        said = re.findall(r"^    \*{0,2}(\w+):", section[1], re.M) if section else []
        missing += [f"{name}({arg})" for arg in signature(function)[0] if arg not in said]
    assert missing == []


def test_the_landing_page_has_every_room():
    rooms = re.findall(r"^- ``smdtheory\.(\w+)``:", smdtheory.__doc__ or "", re.M)
    packages = [path.parent.name for path in (ROOT / "smdtheory").glob("*/__init__.py")]
    assert {*packages, "audit"} <= set(rooms)
    for room in rooms:
        assert importlib.import_module(f"smdtheory.{room}").__doc__
        assert room in smdtheory.__all__, f"{room} has no page"


def test_the_command_for_the_pages_is_the_one_that_is_checked():
    command = "python -m pdoc --math -d google -o site smdtheory"
    for path in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        assert command in (ROOT / path).read_text(encoding="utf-8"), path
    assert "site/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
