"""Bounds on the global error, against exact one-dimensional computations of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from strategies import arrays, mixtures, numbers, snr_pairs
from torch import Tensor

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.estimate import Estimate
from smdtheory.measure import best_gaussian_errors
from smdtheory.models.oracle import BestGaussian
from smdtheory.theory import chain_rule_cap, data_processing_floor, fixed_variance_floor
from smdtheory.truth.posterior import marginal_at

PRIOR = GaussianMixture([1.0], [[0.0]], 1.0)
INFINITE = torch.tensor(math.inf, dtype=torch.float64)
NOISE = torch.linspace(-9, 9, 1501, dtype=torch.float64).unsqueeze(-1)  # x_1 from the prior


def relative_entropy(q: GaussianMixture, log_p) -> Tensor:
    """KL(q ‖ p) in d = 1, by the trapezoid on each component."""
    u = torch.linspace(-9, 9, 601, dtype=torch.float64)
    mass = torch.exp(-0.5 * u.square())
    total = torch.zeros((), dtype=torch.float64)
    for weight, mean, variance in zip(
        q.weights, q.means[:, 0], q.spectral.diagonals()[:, 0], strict=True
    ):
        x = (mean + variance.sqrt() * u).unsqueeze(-1)
        total += weight * (mass * (q.log_prob(x) - log_p(x))).sum() / mass.sum()
    return total


def generated(means: Tensor, variances: Tensor):
    """log p_0 of one step from the prior: N(a(x_1), b(x_1)) at the points NOISE."""
    weights = torch.softmax(PRIOR.log_prob(NOISE), 0)
    return GaussianMixture(weights, means, variances).log_prob


def one_step_error(q: GaussianMixture, snr: float, family: str) -> Tensor:
    """The global error of the best Gaussian denoiser of a family at T = 1."""
    law = BestGaussian(q, family)(NOISE, torch.tensor(snr, dtype=torch.float64), INFINITE)
    return relative_entropy(q, generated(law.means.squeeze(-2), law.variance.squeeze(-1)))


@given(mixtures(max_components=3), numbers(-4.0, 3.0))
def test_the_global_error_is_below_the_chain_rule_bound(mixture, log_snr):
    snr = math.exp(log_snr)
    schedule = Schedule.from_snr([snr])
    gap = relative_entropy(marginal_at(mixture, schedule.snr[1]), PRIOR.log_prob)
    prior = Estimate(gap, torch.full_like(gap, 1e-12), "quadrature")
    for family in FAMILIES[:3] + FAMILIES[-1:]:
        errors = best_gaussian_errors(mixture, schedule, family)
        cap = chain_rule_cap(prior, errors)
        assert one_step_error(mixture, snr, family) <= cap.value + cap.error + 1e-8
        assert float(cap) == pytest.approx(float(gap + errors.value[1]), rel=1e-12)


def test_the_chain_rule_bound_is_reached_by_one_gaussian():
    """A denoiser with the wrong variance for a Gaussian: the exact mean, so nothing is lost."""
    q = GaussianMixture([1.0], [[0.0]], 0.5)
    gap = relative_entropy(marginal_at(q, torch.tensor(1e-3).double()), PRIOR.log_prob)
    prior = Estimate(gap, torch.zeros_like(gap), "quadrature")
    errors = best_gaussian_errors(q, Schedule.from_snr([1e-3]), "fixed_large")
    cap = float(chain_rule_cap(prior, errors))
    overall = float(one_step_error(q, 1e-3, "fixed_large"))
    assert overall == pytest.approx(cap, rel=2e-3)


def masses(mixture: GaussianMixture, edges: Tensor) -> Tensor:
    """Masses of the cells between ``edges``, each from its own tail, so that none is lost."""
    ends = torch.tensor([-math.inf, math.inf], dtype=torch.float64)
    z = torch.cat([ends[:1], edges, ends[1:]]) - mixture.means
    z = z / (2 * mixture.spectral.diagonals()).sqrt()
    left, right = z[:, :-1], z[:, 1:]
    flip = left > 0
    low, high = torch.where(flip, -right, left), torch.where(flip, -left, right)
    cells = 0.5 * (torch.special.erfc(-high) - torch.special.erfc(-low))
    return (mixture.weights.unsqueeze(-1) * cells).sum(0)


@given(mixtures(), mixtures(), numbers(-1.5, 0.5), arrays((2,), -3.0, -0.7))
def test_no_partition_sees_more_than_there_is(q, p, start, log_gaps):
    total = relative_entropy(q, p.log_prob)
    edges = start + torch.cat([torch.zeros(1), log_gaps.exp().cumsum(0)])
    coarse = data_processing_floor(masses(q, edges[1:2]), masses(p, edges[1:2]))
    fine = data_processing_floor(masses(q, edges), masses(p, edges))
    assert -1e-12 <= coarse <= fine + 1e-12
    assert fine <= total + 1e-7


def test_a_fine_partition_sees_nearly_all():
    q = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [0.2, 0.1])
    p = GaussianMixture([1.0], [[0.3]], 0.9)
    edges = torch.linspace(-3, 3, 200, dtype=torch.float64)
    total = relative_entropy(q, p.log_prob)
    assert float(data_processing_floor(masses(q, edges), masses(p, edges))) == pytest.approx(
        float(total), rel=1e-3
    )


def test_one_event():
    a, b = 0.2, 0.7
    expected = a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))
    floor = data_processing_floor([a, 1 - a], [b, 1 - b])
    assert float(floor) == pytest.approx(expected, rel=1e-14)
    assert data_processing_floor([0.0, 1.0], [0.5, 0.5]) == pytest.approx(math.log(2))
    assert data_processing_floor([0.5, 0.5], [0.0, 1.0]) == math.inf
    assert data_processing_floor([0.0, 1.0], [0.0, 1.0]) == 0
    tiny = 1e-9
    near = data_processing_floor([0.5, 0.5], [0.5 - tiny, 0.5 + tiny])
    assert float(near) == pytest.approx(2 * tiny**2, rel=0.2)


@given(mixtures(), arrays((4,), -3.0, 3.0), numbers(-4.0, 1.0))
def test_no_choice_of_means_passes_the_floor_of_a_fixed_variance(mixture, coefficients, log_sigma):
    variance = math.exp(2 * log_sigma)
    powers = torch.cat([torch.tanh(NOISE) ** k for k in range(4)], -1)
    means = (powers @ coefficients).unsqueeze(-1)
    overall = relative_entropy(mixture, generated(means, torch.full_like(NOISE, variance)))
    assert overall >= fixed_variance_floor(mixture, variance).value - 1e-7


@given(mixtures(max_components=3), snr_pairs(), numbers(-3.0, 1.0))
def test_the_floor_binds_a_soft_mixture_with_a_fixed_kernel(mixture, pair, log_sigma):
    """z ~ q(x_0|x_1), kernel N(z, σ² I): from the exact q(x_1) it generates q_0 * N(0, σ² I)."""
    variance = math.exp(2 * log_sigma)
    blurred = GaussianMixture.from_spectral(
        mixture.logits, mixture.means, mixture.spectral.map(lambda v: v + variance)
    )
    overall = relative_entropy(mixture, blurred.log_prob)
    assert overall >= fixed_variance_floor(mixture, variance).value - 1e-9


@pytest.mark.parametrize("dim", [1, 4])
def test_the_floor_is_reached_by_narrow_data(dim):
    narrow, wide = 1e-8, 0.3
    q = GaussianMixture([1.0], torch.zeros(1, dim), narrow)
    overall = dim / 2 * (math.log(wide / narrow) + narrow / wide - 1)  # all means at the data
    floor = fixed_variance_floor(q, wide)
    assert floor.method == "closed form"
    assert float(floor) == pytest.approx(overall - dim / 2 * narrow / wide, abs=1e-12)


def test_the_floor_rises_without_bound_as_components_narrow():
    floors = [float(fixed_variance_floor(presets.ring(8, std=s), 0.01)) for s in (1e-2, 1e-4)]
    assert floors[1] - floors[0] == pytest.approx(2 * math.log(100), abs=1e-6)


def test_the_floor_where_the_entropy_is_sampled():
    mixture = presets.random(3, 3, generator=torch.Generator().manual_seed(1))
    floor = fixed_variance_floor(mixture, [0.1, 0.2])
    assert floor.method == "sampling"
    assert floor.value.shape == (2,)
    assert float(floor.value.diff()) == pytest.approx(1.5 * math.log(2), rel=1e-12)
    assert 0 < floor.error[0] < 0.01


GAP = Estimate(torch.tensor(0.1), torch.tensor(0.0), "quadrature")
CHAIN = Estimate(torch.tensor([0.0, 0.1]), torch.zeros(2), "quadrature")
LINE = presets.line(2)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: chain_rule_cap(0.1, CHAIN), TypeError, "prior_gap must be a Estimate|an Estimate"),
        (lambda: chain_rule_cap(CHAIN, CHAIN), ValueError, "prior_gap must be one number"),
        (lambda: chain_rule_cap(GAP, GAP), ValueError, r"must have shape \(T\+1,\)"),
        (lambda: chain_rule_cap(GAP, CHAIN[1:]), ValueError, r"must have shape \(T\+1,\)"),
        (lambda: data_processing_floor([0.5, 0.6], [0.5, 0.5]), ValueError, "q_masses must sum"),
        (lambda: data_processing_floor([0.5, 0.5], [1.5, -0.5]), ValueError, "p_masses must not"),
        (lambda: data_processing_floor([1.0], [0.5, 0.5]), ValueError, "same partition"),
        (lambda: data_processing_floor("ab", [1.0]), TypeError, "q_masses must be"),
        (lambda: fixed_variance_floor(LINE, -1.0), ValueError, "variance must be positive"),
        (lambda: fixed_variance_floor(LINE, "a"), TypeError, "variance must be"),
        (lambda: fixed_variance_floor(3, 1.0), TypeError, "mixture must be"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
