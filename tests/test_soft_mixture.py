"""What a soft mixture can represent, and what a wrong kernel costs it (docs/theory.md §7)."""

import math

import pytest
import torch
from hypothesis import given, settings
from strategies import mixtures, snr_pairs
from torch import Tensor

from smdtheory import GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors, local_error, split
from smdtheory.models import Denoiser
from smdtheory.models.oracle import BestGaussian, ExactSoftMixture, TruncatedMixture
from smdtheory.schedule import bridge
from smdtheory.truth.posterior import marginal_at, posterior_at

NESTED = settings(max_examples=10)  # nested quadrature in each


class Narrower(Denoiser):
    """A soft mixture with kernel variance σ²: its latent has what is left of each V_k, if anything.

    The law of x_s is that of a latent N(μ_k, V_k − σ² I) smoothed by N(0, σ² I).
    """

    def __init__(self, mixture: GaussianMixture, kernel: float) -> None:
        super().__init__()
        self.mixture, self.kernel = mixture, kernel

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        law = posterior_at(self.mixture, x_t, number(float(snr_t)), number(float(snr_s)))
        latent = law.spectral.map(lambda v: (v - self.kernel).clamp(min=0.0))
        return GaussianMixture.from_spectral(
            law.logits, law.means, latent.map(lambda v: v + self.kernel)
        )


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def widest_exact_kernel(mixture: GaussianMixture, snr_t: float, snr_s: float) -> float:
    """min_k λ_min(V_k), from the smallest eigenvalue of the data's covariances."""
    smallest = float(mixture.spectral.smallest().min())
    if math.isinf(snr_s):
        return smallest / (1 + snr_t * smallest)
    variance = float(bridge(snr_t, snr_s).variance)
    return variance * (1 + snr_s * smallest) / (1 + snr_t * smallest)


@given(mixtures(dim=2), snr_pairs(last=True))
def test_the_widest_exact_kernel_is_the_smallest_posterior_variance(mixture, pair):
    x = marginal_at(mixture, number(pair[0])).sample(3)
    law = posterior_at(mixture, x, number(pair[0]), number(pair[1]))
    found = float(law.spectral.smallest().min())
    assert found == pytest.approx(widest_exact_kernel(mixture, *pair), rel=1e-9)
    if math.isfinite(pair[1]):
        step = bridge(*pair)
        assert float(step.variance) <= found * (1 + 1e-12)
        # the forward variance fits under it if and only if the data are nowhere narrower than 1
        smallest = float(mixture.spectral.smallest().min())
        if abs(smallest - 1) > 1e-6:
            assert (float(step.beta) <= found) == (smallest >= 1)


@pytest.mark.parametrize("last", [False, True])
def test_kernels_up_to_the_widest_are_exact_and_no_further(last):
    mixture = GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [[0.05], [0.3]])
    chain = Schedule.from_snr([2.0] if last else [20.0, 2.0])
    limit = widest_exact_kernel(mixture, 2.0, math.inf if last else 20.0)

    def error(kernel: float) -> float:
        return float(local_error(mixture, chain, Narrower(mixture, kernel), chain.steps).value)

    for share in (0.2, 0.9, 1 - 1e-9):
        assert abs(error(share * limit)) < 1e-10
    assert error(1.1 * limit) > 1e-4
    assert error(1.5 * limit) > error(1.1 * limit)


@NESTED
@given(mixtures(max_components=3), snr_pairs())
def test_a_wrong_kernel_costs_no_more_than_its_components(mixture, pair):
    chain = Schedule.from_snr([pair[1], pair[0]])
    variance = float(bridge(*pair).variance)
    own = posterior_at(mixture, number(0.0).unsqueeze(0), *map(number, pair)).spectral.diagonals()
    for factor in (0.5, 2.0, 5.0):
        ratio = (factor - 1) * variance / own[..., 0]
        cap = float((mixture.weights * 0.5 * (torch.log1p(ratio) - ratio / (1 + ratio))).sum())
        found = local_error(mixture, chain, ExactSoftMixture(mixture, factor), 2)
        assert -1e-10 <= float(found.value) <= cap + 20 * float(found.error) + 1e-10


def test_modes_far_apart_pay_the_whole_price_of_a_wrong_kernel():
    mixture, chain = presets.line(3, separation=40.0), Schedule.from_snr([30.0, 10.0])
    own = posterior_at(mixture, number(0.0).unsqueeze(0), number(10.0), number(30.0))
    ratio = bridge(10.0, 30.0).variance / own.spectral.diagonals()
    price = float((0.5 * (torch.log1p(ratio) - ratio / (1 + ratio))).mean())
    found = local_error(mixture, chain, ExactSoftMixture(mixture, 2.0), 2)
    assert float(found.value) == pytest.approx(price, rel=1e-8)
    assert price > 0.01


@pytest.mark.parametrize("family", ["fixed_large", "isotropic", "isotropic_x", "diagonal", "full"])
def test_the_three_parts_add_up_in_the_plane(family):
    mixture = GaussianMixture([0.3, 0.7], [[0.0, 0.0], [1.0, 0.6]], [[0.2, 0.05], [0.1, 0.1]])
    chain = Schedule.from_snr([6.0, 1.5])
    model = BestGaussian(mixture, family)
    parts = split(mixture, chain, model, 2)
    whole = best_gaussian_errors(mixture, chain, family).value[2]
    assert float(parts.total) == pytest.approx(float(whole), abs=2e-7)
    assert abs(float(parts.mean)) < 1e-12
    assert (abs(float(parts.covariance)) < 1e-12) == (family == "full")


@NESTED
@given(mixtures(min_components=3), snr_pairs(last=True))
def test_a_truncated_mixture_is_no_worse_than_one_gaussian_for_its_rest(mixture, pair):
    # M <= E[ρ KL(q_rest ‖ N_rest)] <= E[ρ H(r_rest / ρ) + ρ (½ log det − Σ ½ log det)], and K' = 2
    # is never above this cap by the sandwich, averaged over draws of x_t by the same rule as M
    snr_t, snr_s = pair
    chain = Schedule.from_snr([snr_t] if math.isinf(snr_s) else [snr_s, snr_t])
    found = local_error(mixture, chain, TruncatedMixture(mixture, 2), chain.steps)
    generator = torch.Generator().manual_seed(0)
    x = marginal_at(mixture, number(snr_t)).sample(20_000, generator=generator)
    law = posterior_at(mixture, x, number(snr_t), number(snr_s))
    share = law.weights
    rest = share.scatter(-1, share.argmax(-1, keepdim=True), 0.0)
    mass = rest.sum(-1).clamp(min=1e-300)
    inner, variance = rest / mass.unsqueeze(-1), law.spectral.diagonals()[..., 0]
    mean = (inner * law.means[..., 0]).sum(-1, keepdim=True)
    total = (inner * (variance + (law.means[..., 0] - mean).square())).sum(-1)
    cap = mass * 0.5 * (torch.log(total) - (inner * torch.log(variance)).sum(-1))
    slack = 5 * float(cap.std()) / math.sqrt(len(cap))
    assert float(found.value) <= float(cap.mean()) + slack + 20 * float(found.error) + 1e-9
