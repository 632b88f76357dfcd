"""Draws of a model, step by step or by DDIM: laws known in closed form, and plain definitions."""

import math

import mpmath
import pytest
import torch
from chains import LINE, RING, UNEQUAL, linear_chain, one, seeded
from test_deterministic import deterministic_by_hand

from smdtheory import GaussianMixture, Schedule, marginal
from smdtheory.measure import energy_distance
from smdtheory.measure.deterministic import _Flow
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.oracle import BestGaussian, ExactPosterior, ExactSoftMixture
from smdtheory.models.sample import ancestral, ddim
from smdtheory.truth import presets
from smdtheory.truth.spectral import SpectralCovariance

CHAIN = Schedule.cosine(20)
Z = 4.0
"""Standard errors that a draw may be off: by chance once in 16,000 comparisons, and seeds are
fixed."""


def variance_error(variance, count):
    """Standard error of a Gaussian sample's variance."""
    return variance * math.sqrt(2 / count)


def assert_moments(x, mean, variance):
    """The mean and the variance of Gaussian draws (n, 1)."""
    assert abs(float(x.mean()) - mean) < Z * math.sqrt(variance / len(x))
    assert abs(float(x.var()) - variance) < Z * variance_error(variance, len(x))


# The law of what is drawn


@pytest.mark.parametrize(
    "mixture", [LINE, UNEQUAL, RING, presets.random(4, 3, generator=seeded(1)).standardized()]
)
def test_the_exact_chain_draws_the_data(mixture):
    draw = seeded(3)
    x = ancestral(ExactPosterior(mixture), CHAIN, 4000, generator=draw)
    data = mixture.sample(4000, generator=draw)
    found = energy_distance(x, data)
    assert abs(float(found)) < 3 * float(found.error)
    assert float(found.error) < 0.01
    mean_error = (mixture.variance / len(x)).sqrt()
    assert bool(((x.mean(0) - mixture.mean).abs() < Z * mean_error).all())
    squares = (data - mixture.mean).square()
    error = squares.std(0) / math.sqrt(len(x))
    spread = (x - mixture.mean).square().mean(0)
    assert bool(((spread - mixture.variance).abs() < Z * error).all())


def test_the_energy_distance_tells_a_model_that_is_wrong():
    """So that the test above says something."""
    draw = seeded(4)
    data = RING.sample(4000, generator=draw)
    for family in ("fixed_large", "full"):
        x = ancestral(BestGaussian(RING, family), Schedule.cosine(3), 4000, generator=draw)
        found = energy_distance(x, data)
        assert float(found) > 4 * float(found.error)


def test_the_soft_mixture_and_the_posterior_draw_the_same():
    x, y = (
        ancestral(model, CHAIN, 500, generator=seeded(5))
        for model in (ExactPosterior(RING), ExactSoftMixture(RING, "posterior"))
    )
    torch.testing.assert_close(x, y, rtol=0, atol=0)
    same = ancestral(ExactSoftMixture(RING, 1.0), CHAIN, 500, generator=seeded(5))
    torch.testing.assert_close(same, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 15])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.3), (0.8, 0.01), (-2.0, 3.0)])
def test_chains_of_one_gaussian_have_their_closed_forms(mean, variance, steps):
    """In y = x/√ᾱ, τ = 1/γ an exact step is, for data N(m, v), y_s − m = a (y_t − m) + noise with

    a = (v + τ_s)/(v + τ_t) and noise (v + τ_s)(1 − a): if y_t has variance v + τ_t + e, y_s has
    v + τ_s + a² e, so that only the start's misfit is left, times the product of all a². A DDIM
    step has the slope (v + √(τ_s τ_t))/(v + τ_t) and no noise.
    """
    data, schedule = one(mean, variance), Schedule.cosine(steps)
    tau = [0.0, *(1 / schedule.snr[1:]).tolist()]
    exact = variance / (variance + tau[-1])
    flow = math.prod(
        (variance + math.sqrt(tau[t - 1] * tau[t])) / (variance + tau[t])
        for t in range(1, steps + 1)
    )
    start = 1 + tau[-1]  # the variance of y_T; its mean is 0
    model, draw = ExactPosterior(data), seeded(steps)
    x = ancestral(model, schedule, 20_000, generator=draw)
    assert_moments(x, mean * (1 - exact), variance + exact**2 * (start - variance - tau[-1]))
    x = ddim(model, schedule, 20_000, generator=draw)
    assert_moments(x, mean * (1 - flow), flow**2 * start)
    x = ancestral(BestGaussian(data, "fixed_large"), schedule, 20_000, generator=draw)
    assert_moments(x, *linear_chain(mean, variance, schedule))


def test_a_trajectory_has_the_marginals_of_the_data_at_every_t():
    x = ancestral(ExactPosterior(LINE), CHAIN, 20_000, generator=seeded(7), trajectory=True)
    assert x.shape == (21, 20_000, 1)
    for t in range(21):
        law = marginal(LINE, CHAIN, t)
        edges = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
        std = law.spectral.diagonals().sqrt()
        below = law.weights * torch.special.ndtr((edges[:, None] - law.means[:, 0]) / std[:, 0])
        wanted = below.sum(-1)
        found = (x[t] < edges).double().mean(0)
        assert bool(((found - wanted).abs() < Z * (wanted * (1 - wanted) / 20_000).sqrt()).all()), t


# DDIM is a map


@pytest.mark.parametrize("mixture", [LINE, UNEQUAL])
@pytest.mark.parametrize("schedule", [Schedule.cosine(1), CHAIN, Schedule.linear(100)])
def test_ddim_is_the_map_of_the_definition_and_of_the_global_error(mixture, schedule):
    start = torch.linspace(-4, 4, 101, dtype=torch.float64)
    found = ddim(ExactPosterior(mixture), schedule, 101, start=start[:, None]).squeeze(-1)
    by_hand = torch.from_numpy(deterministic_by_hand(mixture, schedule, start.numpy()))
    torch.testing.assert_close(found, by_hand, rtol=1e-8, atol=1e-8)
    image, _ = _Flow(mixture, schedule)(start)
    torch.testing.assert_close(found, image, rtol=1e-11, atol=1e-11)


def test_ddim_uses_the_mean_alone():
    start = RING.sample(50, generator=seeded(8))
    exact = ddim(ExactPosterior(RING), CHAIN, 50, start=start)
    for family in ("fixed_small", "fixed_large", "isotropic_x", "full"):
        found = ddim(BestGaussian(RING, family), CHAIN, 50, start=start)
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)


def test_ddim_loses_nothing_where_there_is_no_noise_or_no_signal():
    """With γ from 1e18 to 1e-18, against y_s = m + slope (y_t − m), exact for one Gaussian."""
    schedule = Schedule.from_snr([1e18, 1e18 * (1 - 1e-10), 1.0, 1e-18, 1e-18 * (1 - 1e-10)])
    tau = [0.0, *(1 / schedule.snr[1:]).tolist()]
    variance, x = 0.5, torch.tensor([[0.7]], dtype=torch.float64)
    path = ddim(ExactPosterior(one(0.0, variance)), schedule, 1, start=x, trajectory=True)
    y = 0.7 * math.sqrt(1 + tau[-1])
    for t in range(5, 0, -1):
        y *= (variance + math.sqrt(tau[t - 1] * tau[t])) / (variance + tau[t])
        assert float(path[t - 1]) == pytest.approx(y / math.sqrt(1 + tau[t - 1]), rel=1e-12)


def test_the_pull_of_a_short_step_keeps_its_digits():
    """From x_t = 0 a step leads to √ᾱ_s (1 − √(γ_t/γ_s)) x̂_0, here 1e-10 of x̂_0 and less."""
    for gamma in (1e-18, 1.0):
        schedule = Schedule.from_snr([gamma, gamma * (1 - 1e-10)])
        at_s, at_t = (mpmath.mpf(float(v)) for v in schedule.snr[1:])
        with mpmath.workdps(50):
            clean = 0.8 / (1 + 0.5 * at_t)  # the data are N(0.8, 0.5)
            wanted = mpmath.sqrt(at_s / (1 + at_s)) * (1 - mpmath.sqrt(at_t / at_s)) * clean
        zero = torch.zeros(1, 1)
        path = ddim(ExactPosterior(one(0.8, 0.5)), schedule, 1, start=zero, trajectory=True)
        assert float(path[1]) == pytest.approx(float(wanted), rel=1e-13, abs=0)


# Determinism, blocks, starts


@pytest.mark.parametrize("sampler", [ancestral, ddim])
def test_the_generator_decides(sampler):
    model = ExactPosterior(RING)
    x = sampler(model, CHAIN, 50, generator=seeded(1))
    assert torch.equal(x, sampler(model, CHAIN, 50, generator=seeded(1)))
    assert not torch.equal(x, sampler(model, CHAIN, 50, generator=seeded(2)))
    torch.manual_seed(3)
    x = sampler(model, CHAIN, 50)
    torch.manual_seed(3)
    assert torch.equal(x, sampler(model, CHAIN, 50))
    assert x.dtype == torch.float64
    assert not x.requires_grad


@pytest.mark.parametrize("sampler", [ancestral, ddim])
def test_a_trajectory_begins_at_the_start_and_ends_at_the_draws(sampler):
    model, start = ExactPosterior(RING), torch.randn(10, 2, generator=seeded(6)).double()
    path = sampler(model, CHAIN, 10, start=start, generator=seeded(1), trajectory=True, batch=3)
    end = sampler(model, CHAIN, 10, start=start, generator=seeded(1), batch=3)
    assert path.shape == (21, 10, 2)
    assert torch.equal(path[20], start)
    assert torch.equal(path[0], end)
    assert not torch.equal(path[1], end)


def test_both_samplers_start_at_the_same_draws_and_blocks_change_nothing_of_ddim():
    model = ExactPosterior(RING)
    paths = [
        sampler(model, CHAIN, 10, generator=seeded(1), trajectory=True, batch=batch)
        for sampler in (ancestral, ddim)
        for batch in (4, 10)
    ]
    for path in paths[1:]:
        assert torch.equal(path[20], paths[0][20])
    torch.testing.assert_close(paths[2], paths[3], rtol=1e-12, atol=1e-12)


def test_no_more_points_than_a_batch_are_seen_at_once():
    seen = []

    class Watched(ExactPosterior):
        def x0(self, x_t, snr_t):
            seen.append(len(x_t))
            return super().x0(x_t, snr_t)

    for sampler in (ancestral, ddim):
        assert sampler(Watched(RING), Schedule.cosine(2), 10, batch=4).shape == (10, 2)
    assert seen == [4, 4, 4, 4, 2, 2] * 2


# Networks


class Network(Denoiser):
    """A float32 network for the mean, with a fixed variance."""

    def __init__(self, converts):
        super().__init__()
        self.layer, self.converts = torch.nn.Linear(2, 2), converts

    def x0(self, x_t, snr_t):
        means = self.layer(x_t.float() if self.converts else x_t)
        variances = torch.full((*means.shape[:-1], 1), 0.1)
        spectral = SpectralCovariance.isotropic(variances, 2)
        return GaussianMixture.from_spectral(torch.zeros(1), means.unsqueeze(-2), spectral)


@pytest.mark.parametrize("sampler", [ancestral, ddim])
def test_networks_in_single_precision(sampler):
    network = Network(converts=True)
    x = sampler(network, CHAIN, 20, dim=2, generator=seeded(0))
    assert x.dtype == torch.float64
    assert not x.requires_grad
    start = torch.zeros(20, 2, requires_grad=True)
    x = sampler(Network(converts=False), CHAIN, 20, start=start, dtype=torch.float32)
    assert x.dtype == torch.float32
    assert x.shape == (20, 2)
    assert not x.requires_grad


def test_d_is_known_from_the_mixture_or_the_denoiser_or_asked_for():
    network = Network(converts=True)
    with pytest.raises(ValueError, match="dim must be given: Network has neither a mixture"):
        ancestral(network, CHAIN, 3)
    network.dim = 2
    assert ddim(network, CHAIN, 3).shape == (3, 2)
    with pytest.raises(ValueError, match="dim must be d = 2.*received 3"):
        ancestral(ExactPosterior(RING), CHAIN, 3, dim=3)


@pytest.mark.parametrize("sampler", [ancestral, ddim])
@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"start": torch.zeros(4, 2)}, ValueError, r"start must have shape .* = \(3, 2\)"),
        ({"start": torch.zeros(2)}, ValueError, "start must have shape"),
        ({"start": torch.full((3, 2), math.nan)}, ValueError, "start must be finite"),
        ({"count": 0}, ValueError, "count must be at least 1"),
        ({"count": 2**30}, ValueError, "count times d.*Make several calls"),
        ({"count": 2**25, "trajectory": True}, ValueError, "T \\+ 1 for a trajectory"),
        ({"batch": 0}, ValueError, "batch"),
        ({"trajectory": 1}, TypeError, "trajectory must be True or False"),
        ({"dtype": torch.float16}, TypeError, "dtype must be torch.float64 or torch.float32"),
        ({"device": "meta"}, TypeError, "device"),
        ({"device": "moon"}, TypeError, "device must be one that is there"),
        ({"generator": 3}, TypeError, "generator must be a Generator"),
        ({"schedule": 10}, TypeError, "schedule"),
        ({"denoiser": RING}, TypeError, "denoiser must be a Denoiser"),
    ],
)
def test_bad_arguments_are_named(sampler, changes, error, text):
    arguments = {"denoiser": ExactPosterior(RING), "schedule": CHAIN, "count": 3, **changes}
    with pytest.raises(error, match=text):
        sampler(**arguments)


def test_a_denoiser_that_returns_something_else_is_named():
    class Wrong(ExactPosterior):
        def forward(self, x_t, snr_t, snr_s):
            return x_t

    for sampler in (ancestral, ddim):
        with pytest.raises(TypeError, match="must return a GaussianMixture"):
            sampler(Wrong(RING), CHAIN, 3)
