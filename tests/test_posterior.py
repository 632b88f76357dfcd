"""The laws of the exact backward step q(x_s | x_t) (docs/theory.md §3)."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import DIGITS, exact_bridge, exact_log_prob, line_rule
from strategies import arrays, hostile_mixtures, hostile_snr_pairs, mixtures, numbers, snr_pairs
from torch.testing import assert_close

from smdtheory import GaussianMixture, Schedule, marginal, posterior, presets
from smdtheory.schedule import bridge
from smdtheory.truth.posterior import marginal_at, posterior_at


def chain_through(*snr: float) -> Schedule:
    """A chain whose last levels are ``snr``, from the least noisy (∞ for the data) on."""
    return Schedule.from_snr([gamma for gamma in snr if gamma != math.inf])


def step_of(mixture, x_t, gamma_t, gamma_s) -> GaussianMixture:
    """q(x_s | x_t) by the public door: the last step of the chain through the two levels."""
    chain = chain_through(gamma_s, gamma_t)
    return posterior(mixture, chain, x_t, chain.steps)


def level_of(mixture, gamma) -> GaussianMixture:
    """q(x_γ) by the public door."""
    if gamma == math.inf:
        return marginal(mixture, Schedule.cosine(2), 0)
    return marginal(mixture, chain_through(gamma), 1)


@st.composite
def steps(draw, dims=(1, 2, 3), points: int = 3, last: bool = True):
    """A mixture, points x_t within a few std of a component, and a step (γ_t, γ_s)."""
    mixture = draw(mixtures(draw(st.sampled_from(dims))))
    gamma_t, gamma_s = draw(snr_pairs(last=last))
    q_t = level_of(mixture, gamma_t)
    k = draw(st.integers(0, mixture.num_components - 1))
    noise = draw(arrays((points, mixture.dim), -3.0, 3.0))
    x_t = q_t.means[k] + noise * q_t.spectral.largest()[k].sqrt()
    return mixture, x_t, gamma_t, gamma_s


def forward_log_prob(x_t, x_s, gamma_t, gamma_s):
    """log N(x_t; √α x_s, β I), the chain's own definition."""
    beta = exact_bridge(gamma_t, gamma_s)["beta"]
    gap = x_t - math.sqrt(1 - beta) * x_s
    d = x_t.shape[-1]
    return -0.5 * (gap.square().sum(-1) / beta + d * math.log(2 * math.pi * beta))


# Laws


@given(steps(), st.data())
def test_bayes_holds_pointwise(case, data):
    mixture, x_t, gamma_t, gamma_s = case
    law = step_of(mixture, x_t, gamma_t, gamma_s)
    k = data.draw(st.integers(0, mixture.num_components - 1))
    noise = data.draw(arrays(tuple(x_t.shape), -4.0, 4.0))
    x_s = law.means[:, k] + noise * law.spectral.largest()[k].sqrt()
    right = (
        forward_log_prob(x_t, x_s, gamma_t, gamma_s)
        + level_of(mixture, gamma_s).log_prob(x_s)
        - level_of(mixture, gamma_t).log_prob(x_t)
    )
    # terms of size |x|²/β, β >= 1e-4, cancel
    assert_close(law.log_prob(x_s), right, rtol=1e-9, atol=1e-9)


@st.composite
def triples(draw):
    """γ_t < γ_s < γ_r, the last one infinite now and then."""
    gamma_t, gamma_s = draw(snr_pairs())
    step = math.exp(math.exp(draw(numbers(-4.0, 1.5))))
    return gamma_t, gamma_s, draw(st.sampled_from([math.inf, gamma_s * step]))


FINE, FINE_WEIGHTS = line_rule([0.0], [0.04], reach=250.0)
"""Panels of 0.02 on (−10, 10), for expectations under a standard normal."""


@given(mixtures(1), triples(), arrays((2,), -3.0, 3.0))
def test_two_steps_back_are_one(mixture, levels, noise):
    gamma_t, gamma_s, gamma_r = levels
    q_t = level_of(mixture, gamma_t)
    x_t = (q_t.mean + noise[0] * q_t.variance.sqrt())[None]
    jump = step_of(mixture, x_t, gamma_t, gamma_r)
    x_r = jump.means[:, 0] + noise[1] * jump.spectral.largest()[0].sqrt()
    # Chapman–Kolmogorov. In units of q(x_s | x_t, k), q(x_r | x_s) is no narrower than
    # 1/√(1 + γ_s/γ_t) >= 1/40, which the panels resolve
    first = step_of(mixture, x_t, gamma_t, gamma_s)
    stds = first.spectral.diagonals()[:, 0].sqrt()
    x_s = first.means[0] + stds[:, None] * torch.from_numpy(FINE)
    second = step_of(mixture, x_s[..., None], gamma_s, gamma_r).log_prob(x_r).exp()
    normal = torch.from_numpy(FINE_WEIGHTS * np.exp(-0.5 * FINE**2) / math.sqrt(2 * math.pi))
    two = (first.weights[0] * (second @ normal)).sum()
    # what lies beyond 10 std is left out: 1e-23 of the mass
    assert_close(two, jump.log_prob(x_r).exp()[0], rtol=1e-10, atol=1e-18)


@given(steps(dims=(1,), points=1))
def test_the_posterior_integrates_to_one(case):
    mixture, x_t, gamma_t, gamma_s = case
    law = step_of(mixture, x_t, gamma_t, gamma_s)
    means, variances = law.means[0, :, 0], law.spectral.diagonals()[:, 0]
    y, weight = line_rule(means.tolist(), variances.sqrt().tolist())
    mass = weight * law.log_prob(torch.tensor(y)[:, None, None]).exp()[:, 0].numpy()
    assert mass.sum() == pytest.approx(1, abs=1e-11)
    mean = float(law.mean)
    assert (mass * y).sum() == pytest.approx(mean, abs=1e-10)
    assert (mass * (y - mean) ** 2).sum() == pytest.approx(float(law.variance), rel=1e-9)


@given(steps(last=False))
def test_tweedie(case):
    mixture, x_t, gamma_t, _ = case
    level = 1 / (1 + 1 / gamma_t)
    mean = math.sqrt(level) * step_of(mixture, x_t, gamma_t, math.inf).mean
    right = x_t + (1 - level) * level_of(mixture, gamma_t).score(x_t)
    assert_close(mean, right, rtol=1e-10, atol=1e-10)


@given(steps(last=False))
def test_second_order_tweedie(case):
    mixture, x_t, gamma_t, _ = case
    q_t, level = level_of(mixture, gamma_t), 1 / (1 + 1 / gamma_t)
    hessian = torch.autograd.functional.jacobian(q_t.score, x_t[0], vectorize=False)
    eye = torch.eye(mixture.dim, dtype=torch.float64)
    covariance = step_of(mixture, x_t, gamma_t, math.inf).covariance_matrix[0]
    right = (1 - level) * (eye + (1 - level) * hessian)
    # the right side is a difference of terms of size 1 − ᾱ
    assert_close(level * covariance, right, rtol=1e-9, atol=1e-10)


@given(hostile_mixtures(2), hostile_snr_pairs())
def test_component_variances_lie_between_the_bridge_and_the_flat_prior(mixture, pair):
    gamma_t, gamma_s = pair
    law = posterior_at(mixture, mixture.means[0], gamma_t, gamma_s)
    step = bridge(gamma_t, gamma_s)
    values = law.spectral.eigenvalues
    assert bool((values >= step.variance * (1 - 1e-14)).all())
    # α = 1 − β loses digits where γ_s ≫ γ_t; ᾱ_t/ᾱ_s does not
    alpha = (1 + 1 / gamma_s) / (1 + 1 / gamma_t)
    ceiling = float(step.beta) / alpha
    assert bool((values <= ceiling * (1 + 1e-13)).all())
    assert bool((law.spectral.smallest() > 0).all())


@given(steps())
def test_moments_follow_from_those_of_the_clean_point(case):
    mixture, x_t, gamma_t, gamma_s = case
    clean = step_of(mixture, x_t, gamma_t, math.inf)
    law = step_of(mixture, x_t, gamma_t, gamma_s)
    step = exact_bridge(gamma_t, gamma_s)
    eye = torch.eye(mixture.dim, dtype=torch.float64)
    expected = step["c"] * clean.mean + step["c_prime"] * x_t
    assert_close(law.mean, expected, rtol=1e-12, atol=1e-12)
    expected = step["c"] ** 2 * clean.covariance_matrix + step["variance"] * eye
    assert_close(law.covariance_matrix, expected, rtol=1e-10, atol=1e-13)
    expected = step["c"] ** 2 * clean.spectral.matrices() + step["variance"] * eye
    assert_close(law.spectral.matrices(), expected, rtol=1e-10, atol=1e-14)
    assert_close(law.weights, clean.weights, rtol=1e-13, atol=0)


@given(steps(dims=(2,), points=1))
def test_one_component_is_gaussian_conditioning(case):
    mixture, x_t, gamma_t, gamma_s = case
    one = mixture.component(0)
    law = step_of(one, x_t, gamma_t, gamma_s)
    assert law.num_components == 1
    # condition the joint Gaussian of (x_s, x_t) by its block matrix
    beta = exact_bridge(gamma_t, gamma_s)["beta"]
    slope, q_s = math.sqrt(1 - beta), level_of(one, gamma_s)
    cov_s, mean_s = q_s.covariance_matrix, q_s.mean
    cov_t = (1 - beta) * cov_s + beta * torch.eye(2, dtype=torch.float64)
    gain = slope * cov_s @ torch.linalg.inv(cov_t)
    assert_close(law.mean[0], mean_s + gain @ (x_t[0] - slope * mean_s), rtol=1e-9, atol=1e-9)
    assert_close(law.covariance_matrix[0], cov_s - slope * gain @ cov_s, rtol=1e-8, atol=1e-10)


@given(steps(last=True))
def test_the_marginal_is_the_mixture_pushed_forward(case):
    mixture, x_t, gamma_t, gamma_s = case
    q_t = level_of(mixture, gamma_t)
    level = gamma_t / (1 + gamma_t)
    eye = torch.eye(mixture.dim, dtype=torch.float64)
    direct = GaussianMixture(
        mixture.weights,
        math.sqrt(level) * mixture.means,
        level * mixture.spectral.matrices() + (1 - level) * eye,
    )
    assert_close(q_t.log_prob(x_t), direct.log_prob(x_t), rtol=1e-10, atol=1e-10)
    # and from the marginal at s, one forward step on
    beta, q_s = exact_bridge(gamma_t, gamma_s)["beta"], level_of(mixture, gamma_s)
    pushed = GaussianMixture(
        q_s.weights,
        math.sqrt(1 - beta) * q_s.means,
        (1 - beta) * q_s.spectral.matrices() + beta * eye,
    )
    assert_close(q_t.log_prob(x_t), pushed.log_prob(x_t), rtol=1e-9, atol=1e-9)


def test_the_marginal_at_0_is_the_mixture():
    q = presets.ring(3)
    assert torch.equal(marginal(q, Schedule.cosine(4), 0).means, q.means)
    assert torch.equal(marginal(q, Schedule.cosine(4), 0).spectral.residual, q.spectral.residual)


# Invariances


@given(steps(), st.data())
def test_the_posterior_moves_with_the_mixture(case, data):
    mixture, x_t, gamma_t, gamma_s = case
    d, level_t = mixture.dim, gamma_t / (1 + gamma_t)
    level_s = 1 / (1 + 1 / gamma_s)
    shift = data.draw(arrays((d,), -3.0, 3.0))
    generator = data.draw(arrays((d, d), -math.pi, math.pi))
    turn = torch.linalg.matrix_exp(generator - generator.mT)
    matrices = turn @ mixture.spectral.matrices() @ turn.mT
    other = GaussianMixture(
        mixture.weights, mixture.means @ turn.mT + shift, (matrices + matrices.mT) / 2
    )
    law = step_of(mixture, x_t, gamma_t, gamma_s)
    moved = step_of(other, x_t @ turn.mT + math.sqrt(level_t) * shift, gamma_t, gamma_s)
    expected = law.means @ turn.mT + math.sqrt(level_s) * shift
    assert_close(moved.means, expected, rtol=1e-9, atol=1e-9)
    assert_close(moved.weights, law.weights, rtol=1e-8, atol=1e-10)
    expected = turn @ law.spectral.matrices() @ turn.mT
    assert_close(moved.spectral.matrices(), expected, rtol=1e-9, atol=1e-11)


@given(steps(), numbers(0.0, 1.0), st.randoms(use_true_random=False))
def test_neither_order_nor_splitting_of_components_matters(case, share, random):
    mixture, x_t, gamma_t, gamma_s = case
    weights = torch.cat([mixture.weights[:1] * share, mixture.weights])
    weights[1] -= weights[0]
    index = [0, *range(mixture.num_components)]
    order = list(range(len(index)))
    random.shuffle(order)
    rows = [index[n] for n in order]
    other = GaussianMixture(
        weights.clamp(min=0)[order], mixture.means[rows], mixture.spectral.matrices()[rows]
    )
    law = step_of(mixture, x_t, gamma_t, gamma_s)
    same = step_of(other, x_t, gamma_t, gamma_s)
    assert_close(same.mean, law.mean, rtol=1e-10, atol=1e-10)
    assert_close(same.covariance_matrix, law.covariance_matrix, rtol=1e-9, atol=1e-12)
    x_s = law.mean
    assert_close(same.log_prob(x_s), law.log_prob(x_s), rtol=1e-9, atol=1e-9)


@given(steps(last=False))
def test_two_schedules_through_the_same_pair_agree(case):
    mixture, x_t, gamma_t, gamma_s = case
    short = step_of(mixture, x_t, gamma_t, gamma_s)
    between = math.sqrt(gamma_s * gamma_t)
    chain = Schedule.from_snr([9 * gamma_s, gamma_s, between, gamma_t, gamma_t / 7])
    long = posterior(mixture, chain, x_t, 4, 2)
    for name in ("logits", "means"):
        assert_close(getattr(long, name), getattr(short, name), rtol=0, atol=0)


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
def test_every_form_of_a_covariance_has_the_same_posterior(dim):
    generator = torch.Generator().manual_seed(dim)
    means = 2 * torch.randn(3, dim, generator=generator, dtype=torch.float64)
    factors = torch.randn(3, dim, 1, generator=generator, dtype=torch.float64)
    noise = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    weights, eye = [0.2, 0.3, 0.5], torch.eye(dim, dtype=torch.float64)
    x_t = torch.randn(5, dim, generator=generator, dtype=torch.float64)
    same = [
        [
            GaussianMixture(weights, means, noise),
            GaussianMixture(weights, means, noise[:, None].expand(3, dim)),
            GaussianMixture(weights, means, noise[:, None, None] * eye),
            GaussianMixture.low_rank(weights, means, torch.zeros(3, dim, 0), noise),
        ],
        [
            GaussianMixture.low_rank(weights, means, factors, noise),
            GaussianMixture(weights, means, factors @ factors.mT + noise[:, None, None] * eye),
        ],
    ]
    for gamma_t, gamma_s in ((0.3, 2.0), (2.0, math.inf)):
        for first, *others in same:
            law = step_of(first, x_t, gamma_t, gamma_s)
            for other in others:
                found = step_of(other, x_t, gamma_t, gamma_s)
                assert_close(found.weights, law.weights, rtol=1e-10, atol=1e-13)
                assert_close(found.means, law.means, rtol=1e-10, atol=1e-12)
                assert_close(
                    found.spectral.matrices(), law.spectral.matrices(), rtol=1e-10, atol=1e-13
                )


# Shapes and blocks


def test_shapes_follow_the_points():
    q, chain = presets.ring(3), Schedule.cosine(5)
    assert posterior(q, chain, torch.zeros(4, 7, 2), 3).batch_shape == (4, 7)
    assert posterior(q, chain, [0.0, 0.0], 3).batch_shape == ()
    assert posterior(q, chain, torch.zeros(0, 2), 3).mean.shape == (0, 2)
    default, told = (posterior(q, chain, [0.1, 0.2], 3, s) for s in (None, 2))
    assert torch.equal(default.means, told.means)


def test_levels_may_differ_from_point_to_point():
    q = presets.ring(3)
    x_t = torch.tensor([[0.3, 0.1], [1.0, -1.0]], dtype=torch.float64)
    gamma_t, gamma_s = torch.tensor([0.5, 2.0]).double(), torch.tensor([3.0, math.inf]).double()
    together = posterior_at(q, x_t, gamma_t, gamma_s)
    for n in range(2):
        alone = posterior_at(q, x_t[n], gamma_t[n], gamma_s[n])
        assert_close(together.means[n], alone.means, rtol=1e-14, atol=0)
        assert_close(together.weights[n], alone.weights, rtol=1e-14, atol=0)
        assert_close(together.variance[n], alone.variance, rtol=1e-13, atol=0)
    levels = marginal_at(q, gamma_s)
    assert levels.batch_shape == (2,)
    assert_close(levels.variance[0], marginal_at(q, gamma_s[0]).variance)


@pytest.mark.parametrize(("t", "s"), [(0, None), (6, None), (3, 3), (3, 4), (3, -1)])
def test_steps_out_of_range_are_refused(t, s):
    with pytest.raises(ValueError, match=r"must lie in"):
        posterior(presets.ring(3), Schedule.cosine(5), [0.0, 0.0], t, s)


# Stability: the right number at separations 1e-6..1e8 and std 1e-12..1e6


def exact_posterior(mixture: GaussianMixture, x_t, gamma_t: float, gamma_s: float):
    """Weights, means and variances of q(x_s | x_t) for d = 1, in 50 digits or more."""
    with mpmath.workdps(4 * DIGITS):
        mpf = mpmath.mpf
        level_t = mpf(gamma_t) / (1 + mpf(gamma_t))
        level_s = mpf(gamma_s) / (1 + mpf(gamma_s)) if gamma_s < math.inf else mpf(1)
        beta = 1 - level_t / level_s
        means, variances, shifted, spread = [], [], [], []
        for m, v in zip(mixture.means[:, 0], mixture.spectral.diagonals()[:, 0], strict=True):
            m, v = mpf(float(m)), mpf(float(v))
            cov_s, cov_t = level_s * v + 1 - level_s, level_t * v + 1 - level_t
            gap = mpf(float(x_t)) - mpmath.sqrt(level_t) * m
            slope = mpmath.sqrt(level_t / level_s) * cov_s / cov_t
            means.append(mpmath.sqrt(level_s) * m + slope * gap)
            variances.append(float(beta * cov_s / cov_t))
            shifted.append([mpmath.sqrt(level_t) * m])
            spread.append([cov_t])
        weights = mixture.weights.tolist()
        _, shares = exact_log_prob(weights, shifted, spread, [float(x_t)])
        return shares, [float(m) for m in means], variances


# 100 examples: the scales span 14 and 18 decades, the ratios 24
@settings(max_examples=100)
@given(hostile_mixtures(1), hostile_snr_pairs(), st.integers(0, 2), numbers(-6.0, 6.0))
def test_the_posterior_keeps_its_digits_at_every_scale(mixture, pair, k, noise):
    gamma_t, gamma_s = pair
    q_t = marginal_at(mixture, gamma_t)
    k = k % mixture.num_components
    x_t = q_t.means[k] + noise * q_t.spectral.diagonals()[k].sqrt()
    law = posterior_at(mixture, x_t, gamma_t, gamma_s)
    shares, means, variances = exact_posterior(mixture, x_t, gamma_t, gamma_s)
    # γ_s − γ_t carries the rounding of γ_s, up to 1e9 times its share on the shortest steps: but
    # both routes start from the same two floats, so only the last operations round
    assert law.spectral.diagonals()[:, 0].tolist() == pytest.approx(variances, rel=1e-13, abs=0)
    # a mean is one float: no digits below the rounding of the largest term of its sum
    size = float(mixture.means.abs().max() + x_t.abs() * 1e-2)
    size = max(size, max(abs(m) for m in means))
    assert law.means[:, 0].tolist() == pytest.approx(means, rel=1e-13, abs=1e-14 * size)
    # √ᾱ m is rounded before it is subtracted from x_t: the share of the distance in std that it
    # moves is eps |m| / std, which only matters where a component is narrower than that
    rounding = 4e-16 * q_t.means.abs() / q_t.spectral.diagonals().sqrt()
    distance = (x_t - q_t.means).abs() / q_t.spectral.diagonals().sqrt()
    live = torch.tensor(shares) > 1e-300
    slack = float((rounding * (1 + distance))[live].max())
    assert law.weights.tolist() == pytest.approx(shares, abs=1e-12 + 2 * slack)
    assert bool(torch.isfinite(law.log_prob(law.means)).all())
