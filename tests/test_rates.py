"""Rates: cumulants against automatic differentiation, leading terms against what is measured.

Bands are two-sided: the deviation of the leading term is a/T up to the order after, so that
doubling T halves it, and the distance of that ratio from 2 halves in turn (docs/theory.md §11).
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import line_rule
from strategies import mixtures, numbers
from torch.func import hessian, jacfwd, vmap

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors
from smdtheory.theory import (
    fixed_small_constant,
    limit_of,
    measured_exponent,
    predicted_errors,
    rate,
    rates,
)
from smdtheory.theory.leading import EULER
from smdtheory.truth.cumulants import CumulantTable
from smdtheory.truth.curves import curves_of
from smdtheory.truth.derivatives import MAX_THIRD_DIM, derivatives_of
from smdtheory.truth.posterior import marginal_at

LINE = presets.line(4).standardized()
RING = presets.ring(8)
GRID = presets.grid(2).standardized()
TILTED = GaussianMixture(
    [0.5, 0.3, 0.2],
    [[-1.0, 0.0], [1.0, 0.5], [0.0, 1.0]],
    [[[0.2, 0.05], [0.05, 0.1]], [[0.1, -0.02], [-0.02, 0.15]], [[0.3, 0.0], [0.0, 0.2]]],
)
ONE = GaussianMixture([1.0], [[0.3, -0.2]], [[[0.5, 0.2], [0.2, 0.3]]])
NOTHING = torch.zeros(0, dtype=torch.float64)


def log_density(mixture: GaussianMixture, snr: float):
    """log q_t of one point, written out."""
    law = marginal_at(mixture, torch.tensor(snr, dtype=torch.float64))
    precision = torch.linalg.inv(law.spectral.matrices())
    constant = mixture.weights.log() + 0.5 * torch.linalg.slogdet(precision).logabsdet

    def value(x: torch.Tensor) -> torch.Tensor:
        offset = x - law.means
        quadratic = torch.einsum("ki,kij,kj->k", offset, precision, offset)
        return torch.logsumexp(constant - 0.5 * quadratic, 0)

    return value


# Cumulants


def at_one_point(mixture: GaussianMixture, snr: float, k: int, u: torch.Tensor) -> torch.Tensor:
    """What the table adds up, at the one point x = m_k + C_k^{1/2} u."""
    gamma = torch.tensor([snr], dtype=torch.float64)
    table = CumulantTable(mixture, gamma, NOTHING, True)
    table.add(table.everywhere, torch.tensor([k]), u.unsqueeze(0), torch.ones(1).double())
    return table.scalars[0] / mixture.weights[k]


def by_differentiation(mixture: GaussianMixture, snr: float, x: torch.Tensor) -> list[float]:
    f, d = log_density(mixture, snr), mixture.dim
    h, third = hessian(f)(x), jacfwd(hessian(f))(x)
    noise, eye = 1 / (1 + snr), torch.eye(d, dtype=torch.float64)
    even = h - h.trace() / d * eye
    known = mixture.spectral.map(lambda v: 1 / (1 / v + snr)).trace() @ mixture.weights
    trace = d + noise * h.trace() - snr * known
    return [
        float(trace),
        float(trace**2),
        noise**2 * float(even.square().sum()),
        noise**2 * float((h - torch.diag(h.diagonal())).square().sum()),
        noise**3 * float(third.square().sum()),
        noise**2 * float((h + eye).square().sum()),
    ]


@pytest.mark.parametrize("dim", [1, 2, 3])
@settings(max_examples=15)  # differentiating thrice in d = 3 takes a tenth of a second
@given(data=st.data())
def test_posterior_cumulants_are_derivatives_of_the_log_density(dim, data):
    mixture = data.draw(mixtures(dim))
    snr = math.exp(data.draw(numbers(-3.0, 3.0)))
    k = data.draw(st.integers(0, mixture.num_components - 1))
    u = torch.tensor([data.draw(numbers(-3.0, 3.0)) for _ in range(dim)], dtype=torch.float64)
    law = marginal_at(mixture, torch.tensor(snr, dtype=torch.float64)).component(k)
    x = law.means[0] + law.spectral.apply(torch.sqrt, u.unsqueeze(0))[0]
    expected = by_differentiation(mixture, snr, x)
    found = at_one_point(mixture, snr, k, u).tolist()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("snr", [0.05, 1.0, 30.0, 1000.0])
def test_averages_on_the_line_against_integration_by_panels(snr):
    law = marginal_at(LINE, torch.tensor(snr, dtype=torch.float64))
    stds = law.spectral.diagonals().sqrt().flatten().tolist()
    nodes, weights = line_rule(law.means.flatten().tolist(), stds)
    x = torch.from_numpy(nodes).unsqueeze(-1)
    f = log_density(LINE, snr)
    mass = law.log_prob(x).exp() * torch.from_numpy(weights)
    h = vmap(hessian(f))(x).flatten()
    third = vmap(jacfwd(hessian(f)))(x).flatten()
    level = torch.tensor([snr], dtype=torch.float64)
    found = derivatives_of(curves_of(LINE)).at(level, third=True, direct=True)
    mean = float(mass @ h)
    expected = {
        "square": mass @ h.square(),
        "trace_variance": mass @ (h - mean).square(),
        "from_unit": mass @ (1 + h).square(),
        "third": mass @ third.square(),
        "uneven": torch.zeros(()),
        "off_diagonal": torch.zeros(()),
    }
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(float(value), rel=1e-6), name


def test_panels_agree_with_levels_computed_one_by_one():
    levels = torch.logspace(-3, 4, 40, dtype=torch.float64)
    for mixture in (LINE, GRID):
        averages = derivatives_of(curves_of(mixture))
        read, direct = (averages.at(levels, third=True, direct=d) for d in (False, True))
        for name in ("trace_variance", "uneven", "from_unit", "third", "variance"):
            torch.testing.assert_close(
                getattr(read, name), getattr(direct, name), rtol=1e-5, atol=1e-8
            )


def test_shared_coordinates_count():
    # a coordinate beside, alike in both components, is set aside by the curves
    apart = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.0]], [[0.2, 0.7], [0.3, 0.7]])
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    matrices = torch.einsum("ij,kj,lj->kil", turn, apart.spectral.diagonals(), turn)
    turned = GaussianMixture([0.4, 0.6], apart.means @ turn.mT, (matrices + matrices.mT) / 2)
    chain = Schedule.cosine(50)
    assert len(curves_of(apart).shared) == 1
    for family in ("fixed_small", "fixed_large", "isotropic", "isotropic_x", "full"):
        both = [predicted_errors(q, chain, family).value for q in (apart, turned)]
        torch.testing.assert_close(*both, rtol=1e-5, atol=1e-12)


# Known closed forms


def test_one_gaussian():
    chain = Schedule.cosine(400)
    assert float(predicted_errors(ONE, chain, "full").sum()) == 0
    alphas_bar, beta = chain.alphas_bar[1:, None], chain.betas[1:]
    lam = torch.linalg.eigvalsh(ONE.covariance_matrix)
    h = -1 / (alphas_bar * lam + 1 - alphas_bar)
    spread = (h - h.mean(-1, keepdim=True)).square().sum(-1)
    for family in ("isotropic", "isotropic_x"):
        found = predicted_errors(ONE, chain, family).value[1:]
        torch.testing.assert_close(found, beta.square() * spread / 4, rtol=1e-6, atol=1e-20)
    # §6.12: the error itself, in closed form
    gain, within = chain.snr[1:-1] - chain.snr[2:], 1 / (1 / lam + chain.snr[2:, None])
    exact = torch.log1p(gain * within.mean(-1)) - torch.log1p(gain[:, None] * within).mean(-1)
    ratio = float(exact.sum()) / float(predicted_errors(ONE, chain, "isotropic").value[2:].sum())
    assert 0.01 < ratio - 1 < 0.025
    assert float(rate(ONE, "cosine", "full").constant) == 0
    assert rate(ONE, "cosine", "full").steps(0.1) == 0


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_white_data_has_no_error_in_any_family_with_a_rate(family):
    white = GaussianMixture([1.0], torch.zeros(1, 2), 1.0)
    assert float(rate(white, "cosine", family).constant) < 1e-12
    assert float(predicted_errors(white, Schedule.cosine(100), family).sum()) < 1e-12


# Measured over predicted


@cache
def ratio(name: str, family: str, steps: int) -> float:
    mixture, chain = {"line": LINE, "ring": RING}[name], Schedule.cosine(steps)
    measured = best_gaussian_errors(mixture, chain, family).sum()
    return float(measured) / float(predicted_errors(mixture, chain, family).sum())


@pytest.mark.parametrize(
    ("name", "family", "expected", "most"),
    [
        ("line", "isotropic", 1.0072, 0.02),
        ("line", "full", 0.9817, 0.02),
        ("ring", "isotropic", 1.0063, 0.05),
        ("ring", "full", 0.9764, 0.05),
    ],
)
def test_leading_terms_are_what_is_measured(name, family, expected, most):
    off = [ratio(name, family, steps) - 1 for steps in (400, 800, 1600)]
    assert abs(off[2]) < most
    assert off[2] == pytest.approx(expected - 1, abs=1e-4)
    halving = [a / b for a, b in itertools.pairwise(off)]
    assert 1.75 < halving[0] < 2.05
    assert 1.85 < halving[1] < 2.03
    # 2 + c/T: closer to 2 by about one half
    assert 0.3 < (halving[1] - 2) / (halving[0] - 2) < 0.75


@pytest.mark.parametrize("family", FAMILIES)
def test_leading_terms_in_the_plane_and_the_tilted_mixture(family):
    off = []
    for steps in (200, 400, 800):
        chain = Schedule.sigmoid(steps)
        measured = best_gaussian_errors(TILTED, chain, family).sum()
        off.append(float(measured) / float(predicted_errors(TILTED, chain, family).sum()) - 1)
    assert abs(off[-1]) < 0.02
    assert abs(off[0]) > abs(off[1]) > abs(off[2])


@pytest.mark.parametrize("family", ["isotropic", "isotropic_x", "diagonal", "full"])
def test_three_dimensions_by_sampling(family):
    mixture = presets.random(2, 3, std=0.6, generator=torch.Generator().manual_seed(0))
    off = []
    for ratio in (1.08, 1.04):  # a few short steps at γ = 1, of which the first is left out
        chain = Schedule.from_snr([ratio**2, ratio, 1.0])
        predicted = predicted_errors(mixture, chain, family)[2:].sum()
        assert predicted.method == "sampling"
        measured = best_gaussian_errors(mixture, chain, family)[2:].sum()
        noise = 4 * float(predicted.error / predicted.value + measured.error / measured.value)
        off.append(float(measured) / float(predicted) - 1)
        assert noise < 0.1
        assert abs(off[-1]) < 0.15 + noise
    assert abs(off[1] - 0.5 * off[0]) < 0.01 + noise


# Constants


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid"])
def test_limits_of_schedules(name):
    steps = 100_000
    chain = Schedule.named(name, steps)
    t = torch.arange(steps // 20, steps - steps // 20, 997)
    middle = (chain.snr[t] * chain.snr[t - 1]).sqrt()
    speed = limit_of(name).speed(middle)
    torch.testing.assert_close(steps * chain.betas[t], speed, rtol=1e-3, atol=0)
    first = limit_of(name).speed(torch.tensor(math.inf).double())
    assert float(steps * chain.betas[1]) == pytest.approx(float(first), rel=2e-2)
    if name == "linear":
        assert limit_of(name).end == pytest.approx(float(chain.snr[-1]), rel=1e-3)
    else:
        assert limit_of(name).end == 0


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid"])
@pytest.mark.parametrize(
    ("mixture", "family", "order"),
    [
        (LINE, "fixed_large", 1),
        (LINE, "isotropic", 1),
        (LINE, "isotropic_x", 2),
        (LINE, "diagonal", 2),
        (LINE, "full", 2),
        (TILTED, "isotropic_x", 1),
        (TILTED, "diagonal", 1),
        (TILTED, "full", 2),
        (GRID, "isotropic_x", 1),
        (GRID, "diagonal", 2),  # its coordinates are independent
    ],
)
def test_constants_by_integration_and_by_extrapolation(mixture, family, order, name):
    integrated = rate(mixture, name, family)
    extrapolated = rate(mixture, getattr(Schedule, name), family)
    assert integrated.order == extrapolated.order == order
    gap = float(integrated.constant) - float(extrapolated.constant)
    assert abs(gap) < float(integrated.constant.error + extrapolated.constant.error)
    assert abs(gap) < 2e-5 * float(integrated.constant)


def test_constants_of_the_line():
    # T ΣM of `isotropic` at T = 1600 is 3.77, of which 0.2 % is the next order
    found = rate(LINE, "cosine", "isotropic")
    total = float(best_gaussian_errors(LINE, Schedule.cosine(1600), "isotropic").sum())
    assert float(found.constant) == pytest.approx(3.76361, abs=1e-5)
    assert 1.001 < 1600 * total / float(found.constant) < 1.0012
    assert found.steps(total) == pytest.approx(1600, rel=2e-3)
    assert rate(LINE, "cosine", "full").steps(1e-6) == pytest.approx(math.sqrt(77.2856e6), rel=1e-5)


@pytest.mark.parametrize("name", ["cosine", "sigmoid"])
def test_what_lies_below_the_flattest_level_is_made_up_for(name, monkeypatch):
    line = presets.line(4).standardized()
    known = rates.rate(line, name, "isotropic").constant
    monkeypatch.setattr(rates, "FLATTEST", 0.3)
    found = rates.rate(line, name, "isotropic").constant
    assert abs(float(found) - float(known)) < float(found.error) + float(known.error)
    assert float(found.error) < 1.5e-4 * float(found)  # what lies below is 3e-4 of it


def test_a_chain_of_fixed_ends_has_no_rate():
    def between(steps: int) -> Schedule:
        return Schedule.from_snr(torch.logspace(2, -2, steps, dtype=torch.float64))

    with pytest.raises(ValueError, match="limit of T"):
        rate(LINE, between, "isotropic")


# Exponents


@pytest.mark.parametrize(
    ("mixture", "orders"),
    [
        (LINE, {"fixed_large": 1, "isotropic": 1, "isotropic_x": 2, "diagonal": 2, "full": 2}),
        (TILTED, {"fixed_large": 1, "isotropic": 1, "isotropic_x": 1, "diagonal": 1, "full": 2}),
        (GRID, {"fixed_large": 1, "isotropic": 1, "isotropic_x": 1, "diagonal": 2, "full": 2}),
    ],
    ids=["line", "tilted", "grid"],
)
def test_exponents(mixture, orders):
    # of the tilted mixture the error bar of full is a third of ΣM at T = 3200
    steps = (200, 400, 800, 1600) if mixture is TILTED else (400, 800, 1600, 3200)
    for family, order in orders.items():
        found = measured_exponent(mixture, "cosine", family, steps)
        # after the regression on 1/T what is left of the slope is of order 1/T² at the shortest T
        assert abs(found.value - order) < 0.01
        assert found.low - 1e-3 < order < found.high + 1e-3
        away = [abs(p - order) for p in found.local]
        assert all(b < a < 0.2 for a, b in itertools.pairwise(away))
        for a, b in itertools.pairwise(away):
            assert b / a == pytest.approx(0.5, abs=0.12)


def test_fixed_small_has_an_exponent_that_tends_to_zero():
    found = measured_exponent(LINE, Schedule.linear, "fixed_small", (1000, 2000, 4000, 8000))
    assert 0 < found.local[2] < found.local[1] < found.local[0] < 0.4
    assert found.sums[-1] > 0.2886


# The constant of fixed_small


def test_fixed_small_of_equal_betas():
    chain = Schedule.from_betas([1e-8] * 300)
    assert fixed_small_constant(chain, 3) == pytest.approx(1.5 * EULER, rel=1e-5)
    predicted = predicted_errors(TILTED, chain, "fixed_small")
    measured = best_gaussian_errors(TILTED, chain, "fixed_small")
    torch.testing.assert_close(predicted.value[2:], measured.value[2:], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("c", [-0.5, 0.0, 1.0, 7.0, 1e4])
def test_fixed_small_of_growing_betas(c):
    growth = 2 * torch.arange(1, 200_001, dtype=torch.float64) - 1 + c
    chain = Schedule.from_betas(1e-7 * growth[:2] / growth[1])
    total = torch.cumsum(growth, 0)
    x = growth[1:] / total[:-1]
    # the terms after N add 2/N: x is 2/n there, and x − log(1 + x) is 2/n²
    after = 2 / len(x) if c < 100 else 0.5 * float(growth[-1] / total[-1])
    expected = 0.5 * (float((x - torch.log1p(x)).sum()) + after)
    assert fixed_small_constant(chain, 1) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("mixture", "total", "early"), [(LINE, 0.3822, 0.4092), (RING, 0.7493, 0.8183)]
)
def test_fixed_small_of_the_cosine_schedule(mixture, total, early):
    chain = Schedule.cosine(1000)
    measured = float(best_gaussian_errors(mixture, chain, "fixed_small").value[2:].sum())
    predicted = float(predicted_errors(mixture, chain, "fixed_small").value[2:].sum())
    assert measured == pytest.approx(total, abs=5e-5)
    assert predicted == pytest.approx(measured, rel=2e-4)
    assert fixed_small_constant(chain, mixture.dim) == pytest.approx(early, abs=1e-4)


def test_fixed_small_of_longer_chains_comes_nearer_to_its_limit():
    off = []
    for steps in (1000, 3000, 9000):
        chain = Schedule.cosine(steps)
        measured = float(best_gaussian_errors(LINE, chain, "fixed_small").value[2:].sum())
        off.append(measured / fixed_small_constant(chain, 1) - 1)
    assert off[0] < off[1] < off[2] < 0
    assert abs(off[2]) < 0.02


# Bad input

BATCHED = LINE.expand((2,))
HIGH = GaussianMixture(
    [0.5, 0.5], torch.stack([torch.zeros(MAX_THIRD_DIM + 1), torch.ones(MAX_THIRD_DIM + 1)]), 1.0
)
CHAIN = Schedule.cosine(4)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: predicted_errors("line", CHAIN, "full"), TypeError, "mixture must be a"),
        (lambda: predicted_errors(BATCHED, CHAIN, "full"), ValueError, "batch dimensions"),
        (lambda: predicted_errors(LINE, 100, "full"), TypeError, "schedule must be a Schedule"),
        (lambda: predicted_errors(LINE, CHAIN, "best"), ValueError, "family must be one of"),
        (lambda: predicted_errors(HIGH, CHAIN, "full"), ValueError, "up to d = 16"),
        (lambda: rate(LINE, "cosine", "fixed_small"), ValueError, "0.2886 nats"),
        (lambda: rate(RING, "cosine", "fixed_small"), ValueError, "0.5772 nats"),
        (lambda: rate(LINE, "cosine", "soft"), ValueError, "family must be one of"),
        (lambda: rate(LINE, "karras", "full"), ValueError, "schedule must be one of cosine"),
        (lambda: rate(LINE, CHAIN, "full"), TypeError, "Schedule.cosine is such a function"),
        (lambda: rate(LINE, lambda steps: steps, "full"), TypeError, "must be a Schedule"),
        (
            lambda: rate(LINE, len, "full"),
            TypeError,
            r"called as schedule\(T\); received <built-in",
        ),
        (lambda: rate(BATCHED, "cosine", "full"), ValueError, "batch dimensions"),
        (lambda: rate(HIGH, "cosine", "full"), ValueError, "Project the mixture"),
        (lambda: rate(LINE, "cosine", "full").steps(0), ValueError, "error must be positive"),
        (lambda: rate(LINE, "cosine", "full").steps(math.nan), ValueError, "error must be"),
        (lambda: rate(LINE, "cosine", "full").steps("0.1"), TypeError, "error must be a number"),
        (lambda: measured_exponent(LINE, "cosine", "full", (10, 20, 40)), ValueError, "four"),
        (lambda: measured_exponent(LINE, "cosine", "full", (9, 9, 20, 40)), ValueError, "incr"),
        (lambda: measured_exponent(LINE, "cosine", "full", 100), TypeError, "list of integers"),
        (lambda: measured_exponent(LINE, "cosine", "full", (1.5, 2, 3, 4)), TypeError, "integer"),
        (lambda: measured_exponent(LINE, "cosine", "full", (0, 1, 2, 3)), ValueError, "least 1"),
        (lambda: measured_exponent(LINE, "best", "full"), ValueError, "schedule must be one of"),
        (
            lambda: measured_exponent(ONE, "cosine", "full", (5, 10, 20, 40)),
            ValueError,
            "differ from 0",
        ),
        (lambda: fixed_small_constant(CHAIN, 0), ValueError, "dim must be at least 1"),
        (lambda: fixed_small_constant(CHAIN, 1.5), TypeError, "dim must be an integer"),
        (lambda: fixed_small_constant(Schedule.cosine(1), 1), ValueError, "T >= 2"),
        (lambda: fixed_small_constant(Schedule.from_betas([0.2, 0.1]), 1), ValueError, "not fall"),
        (lambda: fixed_small_constant("cosine", 1), TypeError, "schedule must be a Schedule"),
        (lambda: limit_of(3), ValueError, "schedule must be one of"),
    ],
)
def test_bad_input_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
