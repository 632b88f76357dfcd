"""Brackets of the best full Gaussian's error at one x_t, and of a mixture's entropy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from numpy.polynomial.hermite_e import hermegauss
from strategies import arrays, hostile_mixtures, hostile_snr_pairs, mixtures, snr_pairs
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from smdtheory import GaussianMixture
from smdtheory.theory import pairwise_bounds, pairwise_entropy_bounds, sandwich
from smdtheory.theory.brackets import log_det_sum, mean_spread
from smdtheory.truth.information import entropy
from smdtheory.truth.posterior import posterior_at
from smdtheory.truth.spectral import SpectralCovariance

NODES = {1: 201, 2: 45}  # Gauss–Hermite nodes along each axis of each component
TOLERANCE = {1: 1e-7, 2: 1e-4}  # their error at scales within a factor of 10


def expectation(law: GaussianMixture, log_ratio) -> Tensor:
    """E_law log_ratio(x), component by component, for each member of the batch."""
    nodes, weights = (torch.from_numpy(part) for part in hermegauss(NODES[law.dim]))
    u = torch.cartesian_prod(*[nodes] * law.dim).reshape(-1, law.dim)
    mass = torch.cartesian_prod(*[weights] * law.dim).reshape(-1, law.dim).prod(-1)
    total = torch.zeros(law.batch_shape, dtype=torch.float64)
    for k in range(law.num_components):
        one = law.component(k)
        step = one.spectral.apply(torch.sqrt, u[:, None, None, :]).squeeze(-2)
        values = log_ratio(one.means.squeeze(-2) + step)  # (n, *B)
        total += law.weights[..., k] * torch.einsum("n,n...->...", mass, values) / mass.sum()
    return total


def divergence(law: GaussianMixture) -> Tensor:
    """KL(law ‖ the Gaussian of its mean and covariance), by quadrature."""
    flat = law.mean.new_zeros(*law.batch_shape, 1)
    spectral = SpectralCovariance.dense(law.covariance_matrix.unsqueeze(-3))
    best = GaussianMixture.from_spectral(flat, law.mean.unsqueeze(-2), spectral)
    return expectation(law, lambda x: law.log_prob(x) - best.log_prob(x))


def check_brackets(mixture: GaussianMixture, x_t: Tensor, pair: tuple[float, float]) -> None:
    gamma_t, gamma_s = torch.tensor(pair, dtype=torch.float64)
    exact = divergence(posterior_at(mixture, x_t, gamma_t, gamma_s))
    lower, upper = sandwich(mixture, x_t, *pair)
    inner, outer = pairwise_bounds(mixture, x_t, *pair)
    slack = TOLERANCE[mixture.dim]
    assert (lower <= inner + 1e-10).all()
    assert (inner <= exact + slack).all()
    assert (exact <= outer + slack).all()
    assert (outer <= upper + 1e-10).all()
    assert (upper >= -1e-10).all()
    assert (upper - lower <= math.log(mixture.num_components) + 1e-10).all()


@given(mixtures(), arrays((5, 1), -6.0, 6.0), snr_pairs(last=True))
def test_the_error_lies_in_its_brackets_on_the_line(mixture, x_t, pair):
    check_brackets(mixture, x_t, pair)


@settings(max_examples=15)  # 45² nodes for each point and component
@given(mixtures(dim=2, max_components=3), arrays((3, 2), -3.0, 3.0), snr_pairs(last=True))
def test_the_error_lies_in_its_brackets_in_the_plane(mixture, x_t, pair):
    check_brackets(mixture, x_t, pair)


def test_components_that_coincide_leave_the_upper_side_exact():
    equal = GaussianMixture([0.2, 0.3, 0.5], torch.zeros(3, 2), 0.3)
    lower, upper = sandwich(equal, [[0.4, -1.0]], 0.5, 2.0)
    entropy_of_labels = -sum(w * math.log(w) for w in (0.2, 0.3, 0.5))
    assert float(upper) == pytest.approx(0, abs=1e-14)
    assert float(lower) == pytest.approx(-entropy_of_labels, abs=1e-14)
    for side in pairwise_bounds(equal, [[0.4, -1.0]], 0.5, 2.0):
        assert float(side) == pytest.approx(0, abs=1e-14)


def test_components_that_do_not_overlap_leave_the_lower_side_exact():
    apart = GaussianMixture([0.2, 0.8], [[-1.0], [1.0]], [1e-8, 4e-8])
    x_t = torch.linspace(-1, 1, 5, dtype=torch.float64).unsqueeze(-1)
    infinity = torch.tensor(math.inf, dtype=torch.float64)
    law = posterior_at(apart, x_t, torch.tensor(0.1, dtype=torch.float64), infinity)
    lower, upper = sandwich(apart, x_t, 0.1, math.inf)
    assert (upper - lower > 0.1).all()
    variance, labels = law.variance.squeeze(-1), torch.special.entr(law.weights).sum(-1)
    within = (law.weights * torch.log(law.spectral.diagonals().squeeze(-1))).sum(-1)
    exact = 0.5 * (torch.log(variance) - within) - labels
    for side in (lower, *pairwise_bounds(apart, x_t, 0.1, math.inf)):
        torch.testing.assert_close(side, exact, rtol=0, atol=1e-10)


def test_pairwise_bounds_are_exact_on_groups_of_equal_components():
    groups = GaussianMixture([0.1, 0.2, 0.3, 0.4], [[-1.0], [-1.0], [1.0], [1.0]], 1e-8)
    merged = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], 1e-8)
    inner, outer = pairwise_bounds(groups, [[0.0]], 1.0, math.inf)
    lower, upper = sandwich(groups, [[0.0]], 1.0, math.inf)
    exact, _ = sandwich(merged, [[0.0]], 1.0, math.inf)
    assert float(outer - inner) == pytest.approx(0, abs=1e-12)
    assert float(inner) == pytest.approx(float(exact), abs=1e-12)
    assert float(inner - lower) > 0.5
    assert float(upper - outer) > 0.5


@given(mixtures())
def test_entropy_lies_between_its_pairwise_bounds(mixture):
    lower, upper = pairwise_entropy_bounds(mixture)
    h = entropy(mixture)
    assert lower <= h.value + h.error + 1e-12
    assert h.value - h.error - 1e-12 <= upper


def test_pairwise_distances_are_those_of_two_gaussians():
    """One formula at a time, against torch's divergence and a Bhattacharyya integral."""
    means = torch.tensor([[0.0, 0.5, -0.3], [1.0, 0.2, 0.4]], dtype=torch.float64)
    factors = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(3)).double()
    covariances = 0.5 * factors @ factors.mT + 0.3 * torch.eye(3)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    p = [MultivariateNormal(m, S) for m, S in zip(means, covariances, strict=True)]
    lower, upper = pairwise_entropy_bounds(GaussianMixture(weights, means, covariances))
    within = sum(w * one.entropy() for w, one in zip(weights, p, strict=True))

    def bound(distance: Tensor) -> Tensor:
        overlap = (weights * torch.exp(-distance)).sum(-1)
        return within - (weights * torch.log(overlap)).sum()

    kl = torch.stack([torch.stack([kl_divergence(a, b) for b in p]) for a in p])
    torch.testing.assert_close(upper, bound(kl))
    middle = MultivariateNormal(means.mean(0), covariances.mean(0))
    at = torch.cartesian_prod(*[torch.linspace(-9, 9, 121, dtype=torch.float64)] * 3)
    at = middle.mean + at @ middle.scale_tril.mT
    cell = (18 / 120) ** 3 * middle.scale_tril.diagonal().prod()
    both = torch.exp(0.5 * (p[0].log_prob(at) + p[1].log_prob(at))).sum() * cell
    off = -torch.log(both)
    torch.testing.assert_close(lower, bound(off * (1 - torch.eye(2))), rtol=1e-7, atol=0)


@given(mixtures(dim=3))
def test_mean_spread_is_the_covariance_of_the_means(mixture):
    rows = mean_spread(mixture.weights, mixture.means)
    deviation = mixture.means - mixture.mean
    covariance = torch.einsum("k,ki,kj->ij", mixture.weights, deviation, deviation)
    torch.testing.assert_close(rows.mT @ rows, covariance, rtol=1e-12, atol=1e-12)
    within = torch.diag(torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64))
    torch.testing.assert_close(
        log_det_sum(within, rows), torch.linalg.slogdet(within + covariance).logabsdet
    )


def test_a_component_without_weight_spreads_nothing():
    means = torch.tensor([[5.0], [0.0], [1.0]], dtype=torch.float64)
    weights = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    rows = mean_spread(weights, means)
    torch.testing.assert_close(rows.mT @ rows, torch.tensor([[0.25]], dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0])
def test_log_det_of_thin_components_far_apart_is_accurate(angle):
    within = 1e-24 * torch.eye(2, dtype=torch.float64)
    axis = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    means = torch.stack([-1e8 * axis, 1e8 * axis])
    rows = mean_spread(torch.full((2,), 0.5, dtype=torch.float64), means)
    exact = math.log(1e-24) + math.log(1e16)
    assert float(log_det_sum(within, rows)) == pytest.approx(exact, rel=1e-13)


@given(hostile_mixtures(dim=2), arrays((2, 2), -6.0, 6.0), hostile_snr_pairs())
def test_brackets_at_hostile_scales_are_ordered_and_never_nan(mixture, x_t, pair):
    lower, upper = sandwich(mixture, x_t, *pair)
    inner, outer = pairwise_bounds(mixture, x_t, *pair)
    slack = 1e-9 * (1 + upper.abs())
    assert (lower <= inner + slack).all()
    assert (inner <= outer + slack).all()
    assert (outer <= upper + slack).all()
    assert (upper >= -slack).all()


LINE = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.1)


@pytest.mark.parametrize("bracket", [sandwich, pairwise_bounds])
@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((LINE, [0.0, 1.0], 1.0, 2.0), ValueError, "last dimension d = 1"),
        ((LINE, [[math.nan]], 1.0, 2.0), ValueError, "finite"),
        ((LINE, [["a"]], 1.0, 2.0), TypeError, "x_t must be"),
        ((LINE, [[0.0]], 2.0, 1.0), ValueError, "snr_t < snr_s"),
        ((LINE, [[0.0]], [1.0], 2.0), ValueError, "one number each"),
        (("q", [[0.0]], 1.0, 2.0), TypeError, "mixture must be a GaussianMixture"),
    ],
)
def test_bad_input_is_refused_with_a_reason(bracket, arguments, kind, message):
    with pytest.raises(kind, match=message):
        bracket(*arguments)


def test_axes_too_far_apart_in_scale_are_refused_not_wrong():
    thin = GaussianMixture.low_rank([1.0], torch.zeros(1, 2), torch.ones(1, 2, 1), [1e-17])
    with pytest.raises(ValueError, match="well enough conditioned"):
        pairwise_entropy_bounds(thin)
