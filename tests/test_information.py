"""Entropy, mutual information and MMSE (docs/theory.md §4), by quadrature and by sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import Line, exact_line_averages, product
from strategies import LOG_SNR, arrays, hostile_mixtures, mixtures, numbers
from torch.testing import assert_close

from smdtheory import GaussianMixture, presets
from smdtheory.truth.curves import Curves, curves_of
from smdtheory.truth.information import conditional_entropy, entropy, mmse, mutual_information
from smdtheory.truth.moments import MAX_DIM, moments
from smdtheory.truth.rules import SCRAMBLES
from smdtheory.truth.table import Moments

# d = 2 integrates on up to nine lattices for each component and level: a tenth of a second each
PLANAR = settings(max_examples=8)

LEVELS = numbers(*LOG_SNR).map(math.exp)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(estimate, expected, slack: float = 1e-12) -> None:
    """An estimate is within its own error of the truth, and that error is small."""
    truth = torch.as_tensor(expected, dtype=torch.float64)
    gap = (estimate.value - truth).abs()
    assert bool((gap <= estimate.error + slack * (1 + truth.abs())).all()), (estimate, truth)
    assert bool((estimate.error <= 1e-6 * (1 + truth.abs())).all()), estimate


def squares(curves: Curves, levels: Moments) -> torch.Tensor:
    """E‖Cov(x_0|x_t)‖²_F, (R, L): what is kept of it, and what a known label leaves."""
    return levels.excess + curves.within_sum(curves.within(levels.snr).square())


def square(mixture: GaussianMixture, gamma: float) -> float:
    """E‖Cov(x_0|x_t)‖²_F."""
    curves = curves_of(mixture)
    return float(squares(curves, curves.at(tensor(gamma))).mean())


def total(curves: Curves, levels: Moments, family: str, function) -> torch.Tensor:
    """E Σ_i function(v_i) at one level, (R,): what is kept of it, and what a known label leaves."""
    kept = levels.spectra[family][:, 0] @ function(levels.grid)
    return kept + curves.within_sum(function(curves.within(levels.snr)))


# Against an independent integral


@given(mixtures(1), LEVELS)
def test_on_the_line_all_agree_with_a_plain_integral(mixture, gamma):
    line = Line.of(mixture)
    close(entropy(mixture), line.entropy())
    close(mutual_information(mixture, [gamma]), [line.information(gamma)])
    close(conditional_entropy(mixture, [gamma]), [line.entropy() - line.information(gamma)])
    found = mmse(mixture, [gamma])
    close(found, [line.mmse(gamma)])
    # the errors above are absolute; an MMSE is known to relative accuracy as well
    assert float(found.value) == pytest.approx(line.mmse(gamma), rel=1e-8)
    assert square(mixture, gamma) == pytest.approx(line.mmse(gamma, power=2), rel=1e-6, abs=1e-12)


@st.composite
def coordinates(draw, count: int) -> list[Line]:
    """Independent coordinates, mixtures of one or two components with variances within 100."""
    return [Line.of(draw(mixtures(1, max_components=2))) for _ in range(count)]


NARROW_IN_WIDE = Line(np.array([0.0759, 0.9241]), np.zeros(2), np.array([0.3246, 2.117]))
"""Beside a Gaussian, turned: varies in one direction only, where a lattice may be good or bad."""


@PLANAR
@given(coordinates(2), LEVELS, st.sampled_from(["axes", "turned"]))
@example([Line(np.ones(1), np.zeros(1), np.ones(1)), NARROW_IN_WIDE], 1.0, "turned")
def test_independent_coordinates_add_up(parts, gamma, form):
    weights, means, variances = (torch.from_numpy(array) for array in product(*parts))
    covariances = torch.diag_embed(variances)
    if form == "turned":
        turn = torch.linalg.matrix_exp(tensor(0, 0.7, -0.7, 0).reshape(2, 2))
        means, covariances = means @ turn.mT, turn @ covariances @ turn.mT
        covariances = (covariances + covariances.mT) / 2
    plane = GaussianMixture(weights, means, variances if form == "axes" else covariances)
    close(entropy(plane), sum(part.entropy() for part in parts))
    close(mutual_information(plane, [gamma]), [sum(part.information(gamma) for part in parts)])
    close(mmse(plane, [gamma]), [sum(part.mmse(gamma) for part in parts)])
    # ‖C‖² of a diagonal C: the coordinates' squares add up
    expected = sum(part.mmse(gamma, power=2) for part in parts)
    assert square(plane, gamma) == pytest.approx(expected, rel=1e-5, abs=1e-7)


# Identities


def derivative(function, gamma: float, h: float = 0.02) -> float:
    """d/d log γ by a five-point rule, whose error is of order h⁴."""
    left2, left, right, right2 = (
        float(function(gamma * math.exp(step * h))) for step in (-2, -1, 1, 2)
    )
    return (left2 - 8 * left + 8 * right - right2) / (12 * h)


@given(mixtures(1), LEVELS)
def test_information_grows_at_half_the_mmse(mixture, gamma):
    slope = derivative(lambda snr: mutual_information(mixture, [snr]).value, gamma)
    expected = 0.5 * gamma * float(mmse(mixture, [gamma]).value)
    assert slope == pytest.approx(expected, rel=1e-6, abs=1e-6)


@PLANAR
@given(mixtures(2, max_components=3), LEVELS)
def test_information_grows_at_half_the_mmse_in_the_plane(mixture, gamma):
    slope = derivative(lambda snr: mutual_information(mixture, [snr]).value, gamma)
    expected = 0.5 * gamma * float(mmse(mixture, [gamma]).value)
    assert slope == pytest.approx(expected, rel=1e-5, abs=2e-5)


@given(mixtures(1), LEVELS)
def test_the_mmse_falls_at_the_mean_squared_norm(mixture, gamma):
    slope = derivative(lambda snr: mmse(mixture, [snr]).value, gamma)
    # divided by γ: derivatives in log γ; values fall like 1/γ
    scale = 1 / gamma
    assert slope / scale == pytest.approx(
        -gamma * square(mixture, gamma) / scale, rel=1e-5, abs=1e-5
    )


@PLANAR
@given(mixtures(2, max_components=3), LEVELS)
def test_the_mmse_falls_at_the_mean_squared_norm_in_the_plane(mixture, gamma):
    slope = derivative(lambda snr: mmse(mixture, [snr]).value, gamma)
    assert slope * gamma == pytest.approx(-(gamma**2) * square(mixture, gamma), rel=1e-4, abs=1e-4)


@given(mixtures(1), LEVELS)
def test_bounds_that_hold_for_every_law(mixture, gamma):
    found = float(mmse(mixture, [gamma]).value)
    variance = float(mixture.variance)
    assert 0 < found <= min(1 / gamma, variance / (1 + gamma * variance)) * (1 + 1e-9)
    information = float(mutual_information(mixture, [gamma]).value)
    assert 0 < information <= 0.5 * math.log1p(gamma * variance) + 1e-9
    total = float(entropy(mixture).value)
    assert total <= 0.5 * math.log(2 * math.pi * math.e * variance) + 1e-9
    assert float(conditional_entropy(mixture, [gamma]).value) == pytest.approx(
        total - information, abs=1e-8
    )


# Closed forms


@given(mixtures(3, max_components=1), LEVELS)
def test_one_component_is_a_gaussian_channel(mixture, gamma):
    variances = mixture.spectral.eigenvalues[0]
    found = entropy(mixture)
    assert found.method == "closed form"
    close(found, 0.5 * torch.log(2 * math.pi * math.e * variances).sum())
    close(mutual_information(mixture, [gamma]), [0.5 * torch.log1p(gamma * variances).sum()])
    close(mmse(mixture, [gamma]), [(variances / (1 + gamma * variances)).sum()])
    assert square(mixture, gamma) == pytest.approx(
        float((variances / (1 + gamma * variances)).square().sum()), rel=1e-12
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_components_far_apart_add_the_entropy_of_the_label(dim):
    weights = tensor(0.2, 0.5, 0.3)
    variances = tensor(0.5, 1.0, 2.0)
    means = 1e4 * torch.arange(3, dtype=torch.float64)[:, None] * torch.ones(dim).double()
    mixture = GaussianMixture(weights, means, variances)
    label = float(torch.special.entr(weights).sum())
    own = 0.5 * dim * (weights * torch.log(2 * math.pi * math.e * variances)).sum()
    close(entropy(mixture), own + label)
    gamma = 3.0
    known = (weights * torch.log1p(gamma * variances)).sum() * dim / 2
    close(mutual_information(mixture, [gamma]), [known + label])
    close(mmse(mixture, [gamma]), [dim * (weights * variances / (1 + gamma * variances)).sum()])


def test_equal_components_are_one():
    twins = GaussianMixture([0.3, 0.7], [[1.0, 2.0]] * 2, [[0.5, 2.0]] * 2)
    close(entropy(twins), entropy(twins.component(0)).value)
    close(mmse(twins, [0.7]), mmse(twins.component(0), [0.7]).value)


# Invariances


@given(mixtures(1), LEVELS, numbers(-20.0, 20.0), numbers(-3.0, 3.0), numbers(0.01, 0.99))
def test_moving_scaling_and_splitting(mixture, gamma, shift, log_scale, share):
    a = math.exp(log_scale)
    weights, means = mixture.weights, mixture.means
    variances = mixture.spectral.diagonals()
    other = GaussianMixture(
        torch.cat([weights[:1] * share, weights[:1] * (1 - share), weights[1:]]).flip(0),
        torch.cat([means[:1], means]).flip(0) * a + shift,
        torch.cat([variances[:1], variances]).flip(0) * a**2,
    )
    # both sides are quadratures, with errors of their own
    slack = 1e-8
    close(entropy(other), entropy(mixture).value + log_scale, slack)
    moved = [gamma / a**2]
    close(mutual_information(other, moved), mutual_information(mixture, [gamma]).value, slack)
    ratio = float(mmse(other, moved).value) / (a**2 * float(mmse(mixture, [gamma]).value))
    assert ratio == pytest.approx(1, abs=1e-7)


@PLANAR
@given(mixtures(2, max_components=3), LEVELS, numbers(-math.pi, math.pi), arrays((2,), -9.0, 9.0))
def test_turning_and_moving_in_the_plane(mixture, gamma, angle, shift):
    turn = torch.linalg.matrix_exp(tensor(0, angle, -angle, 0).reshape(2, 2))
    matrices = turn @ mixture.spectral.matrices() @ turn.mT
    other = GaussianMixture(
        mixture.weights, mixture.means @ turn.mT + shift, (matrices + matrices.mT) / 2
    )
    slack = 2e-7  # what the lattices of both sides promise
    close(entropy(other), entropy(mixture).value, slack)
    close(mutual_information(other, [gamma]), mutual_information(mixture, [gamma]).value, slack)
    close(mmse(other, [gamma]), mmse(mixture, [gamma]).value, slack * (1 + 1 / gamma))


def test_a_component_of_weight_0_changes_nothing():
    q = presets.line(2)
    padded = GaussianMixture([0.5, 0.0, 0.5], [[-1.0], [0.3], [1.0]], 0.0625)
    close(entropy(padded), entropy(q).value)
    close(mmse(padded, [2.0]), mmse(q, [2.0]).value)


# Coordinates that all components share


def test_shared_coordinates_add_their_closed_form():
    flat = GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [[0.3], [0.5]])
    extra = torch.tensor([0.2, 3.0], dtype=torch.float64)
    wide = GaussianMixture(
        [0.4, 0.6],
        [[7.0, -1.0, 0.5], [7.0, 1.0, 0.5]],
        [[0.2, 0.3, 3.0], [0.2, 0.5, 3.0]],
    )
    gamma = [0.1, 1.0, 10.0]
    assert curves_of(wide).mixture.dim == 1
    close(entropy(wide), entropy(flat).value + 0.5 * torch.log(2 * math.pi * math.e * extra).sum())
    rest = (extra / (1 + tensor(*gamma)[:, None] * extra)).sum(1)
    close(mmse(wide, gamma), mmse(flat, gamma).value + rest)
    rest = 0.5 * torch.log1p(tensor(*gamma)[:, None] * extra).sum(1)
    close(mutual_information(wide, gamma), mutual_information(flat, gamma).value + rest)
    # the same mixture said with matrices, of which no coordinate is set aside
    matrices = GaussianMixture(wide.weights, wide.means, wide.spectral.matrices())
    assert curves_of(matrices).mixture.dim == 3
    # and in d = 2, where both are quadratures
    plane = GaussianMixture([0.4, 0.6], [[7.0, -1.0], [7.0, 1.0]], [[0.2, 0.3], [0.2, 0.5]])
    dense = GaussianMixture(plane.weights, plane.means, plane.spectral.matrices())
    close(mmse(dense, gamma), mmse(plane, gamma).value, 1e-7)
    assert square(dense, 1.0) == pytest.approx(square(plane, 1.0), rel=1e-6)


# Panels


@pytest.mark.parametrize(
    ("mixture", "span"),
    [(presets.line(4).standardized(), 4), (presets.ring(3, std=0.5), 1)],
    ids=["line", "ring"],
)
def test_panels_agree_with_levels_computed_one_by_one(mixture, span):
    snr = torch.logspace(-span, span, 17, dtype=torch.float64)
    curves = Curves(mixture)
    fine, fast = curves.at(snr, direct=True), curves.at(snr, direct=False)
    slack = fine.error + fast.error
    assert float(slack.max()) < 1e-6
    for name, power in (("between", 1), ("label_entropy", 0), ("excess", 2)):
        gap = (getattr(fine, name) - getattr(fast, name))[0].abs() * snr**power
        assert bool((gap <= slack).all()), name
    for name, weights in fine.spectra.items():
        for function in (torch.log, torch.log1p):
            mine = (weights @ function(fine.grid))[0]
            other = (fast.spectra[name] @ function(fast.grid))[0]
            assert_close(mine, other, rtol=0, atol=1e-7)


def test_levels_at_infinity_leave_the_others_alone():
    for mixture in (presets.line(3), presets.ring(3, std=0.4)):
        both = moments(mixture, tensor(math.inf, 1.0))
        alone = moments(mixture, tensor(1.0))
        for name in ("between", "label_entropy", "excess"):
            assert_close(getattr(both, name)[:, 1], getattr(alone, name)[:, 0], rtol=1e-12, atol=0)
        assert float(both.excess[0, 0]) == 0


@given(mixtures(1), LEVELS)
def test_spectra_integrate_functions_of_the_posterior_variance(mixture, gamma):
    curves = curves_of(mixture)
    found = curves.at(tensor(gamma))
    y, mass = Line.of(mixture).rule(1 / gamma)
    line = Line.of(mixture)
    variance = line.posterior_variance(y, gamma)
    for function, peer in ((torch.log, np.log), (lambda v: torch.log1p(gamma * v), None)):
        values = peer(variance) if peer else np.log1p(gamma * variance)
        expected = line.average(values, y, mass, 1 / gamma)
        value = float(total(curves, found, "full", function))
        assert value == pytest.approx(expected, abs=1e-8)
    assert float(total(curves, found, "full", torch.ones_like)) == pytest.approx(1, abs=1e-13)
    whole = float(total(curves, found, "full", lambda v: v))
    assert whole == pytest.approx(line.mmse(gamma), rel=1e-8)


# Sampling, d >= 3


def turned(flat: GaussianMixture, extra: list[float]) -> GaussianMixture:
    """``flat`` beside independent Gaussian coordinates, turned so that nothing can be set aside."""
    d = flat.dim + len(extra)
    generator = torch.Generator().manual_seed(d)
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    K = flat.num_components
    means = torch.cat([flat.means, torch.ones(K, len(extra)).double()], 1)
    variances = torch.zeros(K, d, d, dtype=torch.float64)
    variances[:, : flat.dim, : flat.dim] = flat.spectral.matrices()
    variances[:, flat.dim :, flat.dim :] = torch.diag(torch.tensor(extra, dtype=torch.float64))
    matrices = turn @ variances @ turn.mT
    return GaussianMixture(flat.weights, means @ turn.mT, (matrices + matrices.mT) / 2)


LINE = GaussianMixture([0.3, 0.5, 0.2], [[-1.0], [0.2], [1.5]], [[0.1], [0.3], [0.05]])
PLANE = presets.ring(4, radius=1.0, std=0.4)


@pytest.mark.parametrize("flat", [LINE, PLANE], ids=["line", "ring"])
@pytest.mark.parametrize("extra", [[0.7], [0.7, 0.2, 1.3]], ids=["one more", "three more"])
def test_sampling_agrees_with_quadrature_within_standard_errors(flat, extra):
    deep = turned(flat, extra + [0.5] * (2 - flat.dim))
    rest = tensor(*extra, *[0.5] * (2 - flat.dim))
    gamma = [0.1, 1.0, 10.0]
    snr = tensor(*gamma)[:, None]
    scores = []
    for found, expected in (
        (
            entropy(deep),
            entropy(flat).value + 0.5 * torch.log(2 * math.pi * math.e * rest).sum(),
        ),
        (
            mutual_information(deep, gamma),
            mutual_information(flat, gamma).value + 0.5 * torch.log1p(snr * rest).sum(1),
        ),
        (mmse(deep, gamma), mmse(flat, gamma).value + (rest / (1 + snr * rest)).sum(1)),
    ):
        assert found.method == "sampling"
        assert found.replicates.shape[0] == SCRAMBLES
        # 4,096 Sobol points in all for each replicate: better than 1/√n of plain draws
        assert float((found.error / (1 + expected.abs())).max()) < 5e-3
        scores.append(((found.value - expected) / found.error).flatten())
    # Student's t with 7 degrees of freedom: beyond 5.4 once in a thousand, seven scores a case
    assert float(torch.cat(scores).abs().max()) < 6


def test_sampled_squares_and_spectra_agree_too():
    deep = turned(LINE, [0.7, 0.5])
    curves = curves_of(deep)
    found = curves.at(tensor(1.0))
    rest = tensor(0.7, 0.5) / (1 + tensor(0.7, 0.5))
    y, mass = Line.of(LINE).rule(1.0)
    line = Line.of(LINE)
    variance = line.posterior_variance(y, 1.0)
    for values, expected in (
        (squares(curves, found)[:, 0], line.mmse(1.0, power=2) + float(rest.square().sum())),
        (
            total(curves, found, "full", torch.log),
            line.average(np.log(variance), y, mass, 1.0) + float(rest.log().sum()),
        ),
        (
            total(curves, found, "isotropic_x", torch.log),
            3 * line.average(np.log((variance + float(rest.sum())) / 3), y, mass, 1.0),
        ),
    ):
        error = float(values.std()) / math.sqrt(SCRAMBLES)
        assert float(values.mean()) == pytest.approx(expected, abs=6 * error + 1e-9)


def two_scales(gamma: float) -> float:
    """The MMSE of ½ N(0, 4 I) + ½ N((1, 0), 1e-6 I), on a plain grid of the noisy plane."""
    ticks, step = np.linspace(-25, 25, 1501, retstep=True)
    y = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    means, variances = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([4.0, 1e-6])
    noisy = variances + 1 / gamma
    gap = y[:, None] - means
    density = 0.5 * np.exp(-0.5 * (gap**2).sum(-1) / noisy) / (2 * np.pi * noisy)
    total = density.sum(1)
    share = density / total[:, None]
    mean = means + (variances / noisy)[:, None] * gap
    centre = (share[..., None] * mean).sum(1, keepdims=True)
    known = 2 * variances / (1 + gamma * variances)
    spread = (share * (known + ((mean - centre) ** 2).sum(-1))).sum(1)
    return float((spread * total).sum() * step**2)


def test_components_of_very_different_scale_in_the_plane_are_sampled():
    # a wide and a narrow component: a lattice fitted to one would miss the other
    plane = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], [4.0, 1e-6])
    found = mmse(plane, [1.0])
    assert found.method == "sampling"
    assert float(found.value) == pytest.approx(two_scales(1.0), abs=6 * float(found.error))


def test_sampling_is_reproducible_and_its_dimension_bounded():
    deep = turned(LINE, [0.7, 0.5])
    again = moments(deep, tensor(1.0))
    assert torch.equal(again.between, moments(deep, tensor(1.0)).between)
    assert not torch.equal(again.between, moments(deep, tensor(1.0), seed=100).between)
    K, d = 2, MAX_DIM + 1
    wide = GaussianMixture.low_rank(
        [0.5, 0.5], torch.eye(d)[:K], torch.ones(K, d, 1) / d, [0.1, 0.2]
    )
    with pytest.raises(ValueError, match=f"up to d = {MAX_DIM}; received d = {d}"):
        mmse(wide, [1.0])


# Stability: separations 1e-6..1e8, std 1e-12..1e6


# 6 examples and 3 given: each takes some 5,000 evaluations in 50 digits, half a second
@settings(max_examples=6)
@given(hostile_mixtures(1, max_components=2), numbers(-3.0, 3.0), st.booleans())
@example(  # γ S of 1e31: μ_k − m would lose what is left of the posterior variance
    GaussianMixture([0.4, 0.6], [[-5.3e-5], [-2.7e-3]], [[7.7e8], [1.04e10]]), 13.0, False
)
@example(GaussianMixture([0.3, 0.7], [[0.0], [3e-12]], [[1e-24], [4e-24]]), 0.5, False)
@example(GaussianMixture([0.5, 0.5], [[1e8], [-1e8]], [[1e-24], [1e12]]), 0.0, True)
def test_averages_keep_their_digits_at_every_scale(mixture, log_ratio, wide):
    # γ near the scale of the widest or of the narrowest component
    spectral = mixture.spectral
    scale = spectral.largest().max() if wide else spectral.smallest().min()
    gamma = float(10**log_ratio / scale)
    weights, means = mixture.weights.tolist(), mixture.means[:, 0].tolist()
    variances = spectral.diagonals()[:, 0].tolist()
    label, variance, squared = exact_line_averages(weights, means, variances, gamma)
    curves = curves_of(mixture)
    levels = curves.at(tensor(gamma))
    assert float(levels.label_entropy) == pytest.approx(label, rel=1e-4, abs=1e-6)
    assert float(mmse(mixture, [gamma]).value) == pytest.approx(variance, rel=1e-5)
    assert float(squares(curves, levels)) == pytest.approx(squared, rel=1e-4)


@settings(max_examples=15)  # d = 2, but isotropic: cheap lattices
@given(numbers(-12.0, 6.0), numbers(-6.0, 8.0), numbers(-4.0, 4.0), numbers(0.1, 0.9))
def test_two_equal_modes_at_every_scale(log_std, log_separation, log_ratio, share):
    std, separation = 10**log_std, 10**log_separation
    gamma = 10**log_ratio / std**2
    noise = 1 / gamma
    # in units of the noisy components' std all depends on their distance alone
    distance = separation / math.sqrt(std**2 + noise)
    unit = Line(np.array([share, 1 - share]), np.array([0.0, min(distance, 60.0)]), np.ones(2))
    label_known = -share * math.log(share) - (1 - share) * math.log1p(-share)
    y, mass = unit.rule()
    joint = unit.joint(y)
    shares = np.exp(joint - joint.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    ambiguity = unit.average(shares[:, 0] * shares[:, 1], y, mass)
    kept = noise / (std**2 + noise)  # 1 − S C⁻¹
    between = (kept * separation) ** 2 * ambiguity
    for dim in (1, 2):
        means = torch.zeros(2, dim, dtype=torch.float64)
        means[1] = separation / math.sqrt(dim)
        pair = GaussianMixture([share, 1 - share], means, std**2)
        expected = between + dim * std**2 * kept
        assert float(mmse(pair, [gamma]).value) == pytest.approx(expected, rel=1e-6)
        own = 0.5 * dim * math.log(2 * math.pi * math.e) + dim * math.log(std)
        h = float(entropy(pair).value)
        assert own - 1e-9 * abs(own) <= h <= own + label_known + 1e-9 * (1 + abs(own))
        if separation > 60 * std:
            assert h == pytest.approx(own + label_known, rel=1e-12)
        information = float(mutual_information(pair, [gamma]).value)
        # h(y) in those units: exact where the modes are not so far apart that the label is known
        total = unit.entropy() - 0.5 * math.log(2 * math.pi * math.e)
        expected = total + 0.5 * dim * math.log1p(gamma * std**2)
        assert information == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(hostile_mixtures(2, max_components=2), st.floats(-12, 24))
@settings(max_examples=10)  # components of unequal scale are sampled: a fifth of a second each
def test_nothing_is_nan_in_the_plane_at_any_scale(mixture, log_gamma):
    gamma = [10**log_gamma]
    for found in (
        entropy(mixture),
        mmse(mixture, gamma),
        mutual_information(mixture, gamma),
        conditional_entropy(mixture, gamma),
    ):
        assert bool(torch.isfinite(found.value).all())
        assert bool(torch.isfinite(found.error).all())
    found = float(mmse(mixture, gamma).value)
    ceiling = min(2 / gamma[0], float(mixture.total_variance))
    assert 0 < found <= ceiling * (1 + 1e-6) + 6 * float(mmse(mixture, gamma).error)


@pytest.mark.parametrize("snr", [[0.0], [-1.0], [math.inf], [math.nan], [], 1.0, [[1.0]]])
def test_levels_out_of_range_are_refused(snr):
    for function in (mmse, mutual_information, conditional_entropy):
        with pytest.raises(ValueError, match=r"snr must .* received"):
            function(presets.line(2), snr)
