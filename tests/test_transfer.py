"""The global error itself in d = 1: closed forms, an even grid, and what is out of range."""

import math

import numpy as np
import pytest
import torch
from chains import LINE, UNEQUAL, gaussian_kl, linear_chain, one
from reference import line_rule

from smdtheory import GaussianMixture, Schedule
from smdtheory.measure import global_error, prior_gap
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.oracle import (
    BestGaussian,
    ExactPosterior,
    ExactSoftMixture,
    TruncatedMixture,
)
from smdtheory.truth import presets
from smdtheory.truth.spectral import SpectralCovariance


@pytest.mark.parametrize("steps", [1, 3, 10, 60])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.3), (1.7, 0.05), (-0.4, 4.0)])
def test_a_linear_chain_has_its_closed_form(mean, variance, steps):
    mixture, schedule = one(mean, variance), Schedule.cosine(steps)
    found = transferred_error(mixture, schedule, BestGaussian(mixture, "fixed_large"))
    wanted = gaussian_kl(mean, variance, *linear_chain(mean, variance, schedule))
    assert float(found) == pytest.approx(wanted, rel=1e-7, abs=1e-12)
    assert abs(float(found) - wanted) <= float(found.error) + 1e-9 * wanted


def transferred_on_a_grid(mixture, schedule, denoiser):
    """E by the trapezoidal rule on one even grid."""
    x = torch.linspace(-10, 10, 1001, dtype=torch.float64)
    step = x[1] - x[0]
    p = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    for t in range(schedule.steps, 0, -1):
        law = denoiser(x.unsqueeze(-1), schedule.snr[t], schedule.snr[t - 1])
        kernel = torch.exp(law.log_prob(x[:, None, None].expand(-1, len(x), 1)))
        p = step * kernel @ p
    log_q = mixture.log_prob(x.unsqueeze(-1))
    held = log_q > -100
    return float(step * (log_q.exp() * (log_q - p.log()))[held].sum())


@pytest.mark.parametrize("make", [ExactPosterior, lambda q: BestGaussian(q, "full")])
@pytest.mark.parametrize("mixture", [LINE, UNEQUAL])
def test_transfer_agrees_with_an_even_grid(mixture, make):
    schedule = Schedule.from_snr([20.0, 4.0, 1.0, 0.3])
    found = transferred_error(mixture, schedule, make(mixture))
    wanted = transferred_on_a_grid(mixture, schedule, make(mixture))
    assert float(found) == pytest.approx(wanted, abs=1e-6)
    assert float(found.error) < 1e-6


def test_transfer_finds_the_jumps_of_a_truncated_mixture():
    """With T = 1 the even grid can be so fine that the jumps do not matter."""
    schedule, denoiser = Schedule.from_snr([2.0]), TruncatedMixture(LINE, 2)
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    y = torch.linspace(-3, 3, 301, dtype=torch.float64)
    law = denoiser(x.unsqueeze(-1), schedule.snr[1], schedule.snr[0])
    kernel = torch.exp(law.log_prob(y[:, None, None].expand(-1, len(x), 1)))
    log_p = torch.log(kernel @ one(0.0, 1.0).log_prob(x.unsqueeze(-1)).exp() * 18 / 20_000)
    log_q = LINE.log_prob(y.unsqueeze(-1))
    wanted = float((log_q.exp() * (log_q - log_p)).sum() * 6 / 300)
    found = transferred_error(LINE, schedule, denoiser)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    assert abs(float(found) - wanted) < float(found.error) + 1e-4 * wanted
    assert float(found.error) < 1e-4 * wanted


class Jump(Denoiser):
    """x_0 is N(−a, v) where x_t is below 0.3 and N(a, v) elsewhere."""

    def __init__(self, size, variance):
        super().__init__()
        self.size, self.variance = size, variance

    def x0(self, x_t, snr_t):
        means = torch.where(x_t > 0.3, self.size, -self.size).unsqueeze(-2)
        variances = torch.full_like(means[..., 0], self.variance)
        spectral = SpectralCovariance.isotropic(variances, 1)
        return GaussianMixture.from_spectral(torch.zeros_like(means[..., 0]), means, spectral)


@pytest.mark.parametrize("size", [0.03, 0.3, 2.0])
def test_a_jump_has_its_closed_form(size):
    """In one step p_0 is a mixture of two Gaussians, with the prior's masses of the two sides."""
    share = 0.5 * math.erfc(0.3 / math.sqrt(2))
    model = GaussianMixture([1 - share, share], [[-size], [size]], 0.09)
    found = transferred_error(LINE, Schedule.from_snr([1.0]), Jump(size, 0.09))
    x, weight = line_rule(LINE.means[:, 0].tolist(), [float(LINE.spectral.residual[0]) ** 0.5] * 4)
    log_q, log_p = (law.log_prob(x[:, None]).numpy() for law in (LINE, model))
    wanted = float(weight @ (np.exp(log_q) * (log_q - log_p)))
    assert abs(float(found) - wanted) < float(found.error)
    assert float(found) == pytest.approx(wanted, rel=1e-6)
    assert float(found.error) < 1e-5 * wanted


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_the_exact_posterior_loses_no_more_than_the_prior_gap(steps):
    schedule = Schedule.cosine(steps)
    found = transferred_error(UNEQUAL, schedule, ExactPosterior(UNEQUAL))
    gap = float(prior_gap(UNEQUAL, schedule))
    assert 0 < float(found) < gap + float(found.error)
    assert float(found.error) < 1e-12


def test_a_model_of_other_data_is_measured_in_its_far_tail():
    """The exact chain of N(0, 1) ends at N(0, 1), whatever the data are: E = mean²/2."""
    for mean, rel in ((3.0, 1e-9), (20.0, 1e-6)):
        found = transferred_error(one(mean, 1.0), Schedule.cosine(3), ExactPosterior(one(0.0, 1.0)))
        assert float(found) == pytest.approx(mean**2 / 2, rel=rel)


def test_narrow_modes_cost_their_negative_entropy():
    """A wide last kernel sees modes as points: E grows by log 1e4 where they are 1e4 narrower."""
    schedule = Schedule.cosine(2)
    found = []
    for std in (1e-4, 1e-8):
        mixture = presets.line(2, std=std)
        found.append(transferred_error(mixture, schedule, ExactSoftMixture(mixture, "forward")))
    assert float(found[1]) - float(found[0]) == pytest.approx(math.log(1e4), abs=1e-6)
    assert all(float(f.error) < 1e-7 for f in found)


def test_what_is_out_of_range_is_said():
    far = one(60.0, 1.0), Schedule.cosine(3), ExactPosterior(one(0.0, 1.0))
    tiny = LINE, Schedule.from_snr([1e12, (1 - 1e-9) * 1e12, 0.01]), BestGaussian(LINE, "full")
    for case, reason in ((far, "density falls below"), (tiny, "more than 10000 panels")):
        with pytest.raises(ValueError, match=reason):
            global_error(*case, exact=True, samples=128)
    assert global_error(*tiny, samples=128).value is None
