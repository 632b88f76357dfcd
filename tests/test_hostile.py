"""Whatever is passed to a public function: a documented error, or a result without NaN."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import re
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from doors import CHAIN, CORE, ERRORS, FLAT, GAUSSIAN, LINE, ORACLE, PLANE
from doors_outer import APART, OUTER
from hypothesis import given, settings
from hypothesis import strategies as st

from smdtheory import GaussianMixture, marginal, posterior
from smdtheory.families import FAMILIES
from smdtheory.measure import best_gaussian_errors
from smdtheory.models.oracle import BestGaussian, TruncatedMixture
from smdtheory.truth.information import conditional_entropy, entropy, mmse, mutual_information

DOORS = CORE | OUTER

ROOMS = ["", ".truth", ".models", ".measure", ".theory", ".theory.claims", ".sweep", ".toy",
         ".images", ".plots"]  # fmt: skip
"""Packages with public names."""


@pytest.fixture(autouse=True, scope="module")
def _elsewhere(tmp_path_factory):
    """Some words are names of folders, and taken for them."""
    with contextlib.chdir(tmp_path_factory.mktemp("written")):
        yield


def public() -> Iterator[str]:
    """Names of the functions and classes of every room, those of its public modules included."""
    for room in ROOMS:
        package = importlib.import_module("smdtheory" + room)
        for name in package.__all__:
            found = getattr(package, name)
            if not isinstance(found, types.ModuleType):
                yield from [name] if callable(found) else []
            elif found.__name__.removeprefix("smdtheory") not in ROOMS:
                yield from (
                    own
                    for own, value in vars(found).items()
                    if not own.startswith("_")
                    and callable(value)
                    and getattr(value, "__module__", None) == found.__name__
                )


def test_every_public_function_has_a_door_or_a_reason():
    behind = {re.split(r"[: ]", door)[0] for door in DOORS}
    assert set(public()) - behind == set(APART)


# What is passed

KINDS: list[Any] = [
    None,
    True,
    False,
    "abc",
    "",
    b"x",
    1j,
    object(),
    float,
    len,
    Ellipsis,
    {},
    {"a": 1},
    set(),
    [],
    [[]],
    [[1, 2], [3]],
    ["a"],
    [None],
    range(3),
    math.nan,
    math.inf,
    -math.inf,
    0,
    -1,
    0.5,
    -0.0,
    10**20,
    10**400,
    1e308,
    -1e308,
    5e-324,
    torch.tensor(math.nan),
    torch.tensor([]),
    torch.tensor([True]),
    torch.tensor([1j]),
    torch.zeros(2, 3, 4, 5),
    torch.zeros(0, 1),
    torch.zeros(1, 0),
    torch.eye(2).to_sparse(),
    torch.zeros(2, device="meta"),
    torch.float32,
    torch.int64,
    torch.device("cpu"),
    torch.Generator(),
    np.array(["a"]),
    np.array([None]),
    np.array([1], dtype="datetime64[s]"),
    np.array([], dtype=np.float32),
    np.float64("nan"),
    np.int64(3),
    np.zeros(3)[::-1],
    np.zeros((2, 2)),
    LINE,
    PLANE,
    LINE.expand((2,)),
    CHAIN,
    GAUSSIAN,
    ORACLE,
    ERRORS,
    FLAT,
    *FAMILIES,
    "cosine",
    "merge",
    "quadrature",
]

EXTREMES = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.5, math.nan, math.inf, -math.inf]
    + [
        sign * 10.0**power
        for power in (-320, -300, -100, -60, -30, -12, 8, 30, 60, 101, 300)
        for sign in (1, -1)
    ]
)
FLAT_SHAPES = [(), (1,), (2,), (3,), (4,), (5,), (1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (0, 2)]
DEEP_SHAPES = [(1, 3), (2, 1, 1), (1, 2, 2), (1, 3, 1), (1, 3, 3), (2, 3, 2), (4, 2, 3)]
SHAPES = st.sampled_from(FLAT_SHAPES) | st.sampled_from(DEEP_SHAPES)
DTYPES = st.sampled_from(["float64", "float32", "float16", "int64", "uint8", "complex128", "bool"])


@st.composite
def hostile_arrays(draw: st.DrawFn) -> Any:
    """Numbers of any size in arrays of any small shape, dtype and kind."""
    shape, dtype = draw(SHAPES), draw(DTYPES)
    numbers = EXTREMES if draw(st.booleans()) else st.floats(-3, 3)
    flat = draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = np.array(flat, dtype=np.float64).reshape(shape).astype(dtype)
    kind = draw(st.sampled_from(["tensor", "array", "list", "readonly", "reversed"]))
    if kind == "tensor":
        return torch.from_numpy(array.copy())
    if kind == "readonly":
        array.setflags(write=False)
    if kind == "reversed" and array.ndim:
        array = array[::-1]
    return array.tolist() if kind == "list" else array


# What comes back


def tensors(result: Any) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, GaussianMixture):
        yield from (result.logits, result.means, result.spectral.eigenvalues)
        yield result.spectral.residual
    elif isinstance(result, list | tuple):
        for part in result:
            yield from tensors(part)
    elif dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            yield from tensors(getattr(result, field.name))


def attempt(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """The result, or the message of a documented error; any other error goes through."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return call(), None
    except (TypeError, ValueError) as error:
        return None, str(error)


def check(door: str, value: Any) -> None:
    """A documented error that names the argument and shows the value, or no NaN."""
    result, message = attempt(lambda: DOORS[door](value))
    if message is None:
        for tensor in tensors(result):
            assert not bool(torch.isnan(tensor).any()), result
        return
    names = door.split(": ")[1].split(", ")
    assert any(re.search(rf"\b{name}\b", message) for name in names), message
    # torch says "argument 'generator' must be torch.Generator, not str"
    assert door in OUTER or "received" in message or ", not " in message, message
    assert len(message) < 600, message


SHARE = 16
"""Of the kinds, a door gets one in so many in an ordinary run, the next door the next ones."""


@pytest.mark.parametrize("door", DOORS)
def test_no_kind_of_object_gets_through(door):
    for value in KINDS[list(DOORS).index(door) % SHARE :: SHARE]:
        check(door, value)


# few examples: hundreds of doors, and what is drawn is the same for all
@pytest.mark.parametrize("door", CORE)
@settings(max_examples=3)
@given(hostile_arrays())
def test_no_array_gets_through(door, value):
    check(door, value)


@pytest.mark.slow
@pytest.mark.parametrize("door", CORE)
@settings(max_examples=20)
@given(hostile_arrays())
def test_no_array_at_all_gets_through(door, array):
    check(door, array)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_no_kind_at_all_gets_through(door):
    for value in KINDS:
        check(door, value)


# Mixtures of hostile numbers, used in every way

SIZES = st.sampled_from([0.0] + [10.0**power for power in (-35, -28, -12, -6, 0, 6, 8, 28, 35)])
WILD = st.one_of(SIZES, SIZES, SIZES, EXTREMES | st.floats())


@st.composite
def wild_arguments(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Weights, means and covariances whose shapes fit and whose numbers may be anything.

    Most lie within the accepted range or just beyond, so that many mixtures are built.
    """
    K, d = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    wild = draw(st.sampled_from([SIZES, SIZES, WILD]))

    def some(*shape: int, of: st.SearchStrategy[float] = wild) -> np.ndarray:
        count = math.prod(shape)
        return np.array(draw(st.lists(of, min_size=count, max_size=count))).reshape(shape)

    weights = some(K, of=st.floats(0, 1))
    weights = weights / weights.sum() if weights.sum() > 0 else weights
    shape = draw(st.sampled_from([(), (K,), (K, d), (K, d, d)]))
    with np.errstate(all="ignore"):
        covariances = np.abs(some(*shape)) ** 2
        if len(shape) == 3:
            factor = some(*shape, of=st.floats(-1, 1))
            covariances = np.square(draw(wild)) * factor @ factor.swapaxes(1, 2)
    return weights, some(K, d) * draw(st.sampled_from([-1, 1])), covariances


USES: dict[str, Callable[[GaussianMixture], Any]] = {
    "log_prob": lambda q: q.log_prob(q.means),
    "log_prob far out": lambda q: q.log_prob(1e90 * torch.ones(q.dim).double()),
    "score": lambda q: q.score(q.means + 1),
    "responsibilities": lambda q: q.responsibilities(q.means),
    "sample": lambda q: q.sample(3),
    "moments": lambda q: (q.mean, q.variance, q.covariance_matrix, q.total_variance),
    "standardized": lambda q: q.standardized(),
    "single precision": lambda q: q.to(torch.float32).log_prob(torch.zeros(q.dim)),
    "marginal": lambda q: marginal(q, CHAIN, 2),
    "posterior": lambda q: posterior(q, CHAIN, q.means, 3, 0),
    "posterior density": lambda q: posterior(q, CHAIN, q.means, 3, 1).log_prob(q.means),
    "entropy": entropy,
    "mmse": lambda q: mmse(q, [1e-30, 1.0, 1e30]),
    "mutual_information": lambda q: mutual_information(q, [1e-30, 1.0, 1e30]),
    "conditional_entropy": lambda q: conditional_entropy(q, [1e-30, 1.0, 1e30]),
    **{
        family: lambda q, family=family: best_gaussian_errors(q, CHAIN, family)
        for family in FAMILIES
    },
    "truncated": lambda q: TruncatedMixture(q, 1)(q.means, 1.0, math.inf),
    "best Gaussian": lambda q: BestGaussian(q, "full")(q.means, 1.0, 2.0).log_prob(q.means),
}


@settings(max_examples=150)  # most draws are refused by the constructor
@given(wild_arguments())
def test_a_mixture_of_wild_numbers_is_refused_or_computes(arguments):
    mixture, message = attempt(lambda: GaussianMixture(*arguments))
    if message is not None:
        assert "received" in message
        return
    for name, use in USES.items():
        result, message = attempt(lambda use=use: use(mixture))
        assert message is None or "received" in message, (name, message)
        for tensor in tensors(result):
            assert not bool(torch.isnan(tensor).any()), (name, result)
