"""The ladder keeps its relative accuracy down to errors of 1e-10, by a second route (§5.2).

The second route takes entropies of q itself and posterior covariances in numpy's extended
precision, on the trapezoidal rule with 8 to 16 points to a standard deviation: no label entropy, no
panels, no grid of variances, no small-step form. Its differences of entropies are good to 1e-17.
"""

from __future__ import annotations

import math
from functools import cached_property

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors
from smdtheory.truth.information import excess

Real = np.longdouble
Array = NDArray[np.longdouble]

REACH = 9.0  # standard deviations: the mass beyond is 2e-18


class Level:
    """What y = x_0 + N(0, 1/γ) says of x_0, at points of each component, d <= 2."""

    def __init__(self, mixture: GaussianMixture, gamma: float, points: int) -> None:
        self.gamma, self.d, self.points = Real(gamma), mixture.dim, points
        self.w = mixture.weights.numpy().astype(Real)
        self.m = mixture.means.numpy().astype(Real)
        self.S = mixture.spectral.matrices().numpy().astype(Real)
        self.noise = Real(0) if math.isinf(gamma) else 1 / self.gamma
        self.C = self.S + self.noise * np.eye(self.d, dtype=Real)

    def rule(self) -> tuple[Array, Array]:
        n = math.ceil(REACH * self.points)
        ticks = np.arange(-n, n + 1).astype(Real) / self.points
        u = np.stack(np.meshgrid(*[ticks] * self.d, indexing="ij"), -1).reshape(-1, self.d)
        u = u[(u**2).sum(-1) <= REACH**2]
        weight = np.exp(-(u**2).sum(-1) / 2)
        return u, weight / weight.sum()

    @cached_property
    def at_points(self) -> tuple[Real, Array, Array]:
        """h(y), the probability of each point, and the covariance of x_0 there."""
        u, weight = self.rule()
        inverse = np.stack([_inverse(c) for c in self.C])
        log_det = np.log(np.stack([_det(c) for c in self.C]))
        entropy, mass, covariances = Real(0), [], []
        for k, own in enumerate(self.C):
            y = u @ _root(own).T  # from the component's mean
            gap = y + (self.m[k] - self.m)[:, None]
            pull = np.einsum("jna,jab->jnb", gap, inverse)
            joint = np.log(self.w)[:, None] - log_det[:, None] / 2 - (gap * pull).sum(-1) / 2
            top = joint.max(0)
            log_q = top + np.log(np.exp(joint - top).sum(0)) - self.d * np.log(2 * Real(np.pi)) / 2
            entropy -= self.w[k] * (weight * log_q).sum()
            share = np.exp(joint - top)
            share /= share.sum(0)
            mean = np.einsum("jna,jab->jnb", pull, self.S) + (self.m - self.m[k])[:, None]
            spread = mean - (share[..., None] * mean).sum(0)
            known = np.einsum("jab,jbc->jac", self.S, inverse) * self.noise
            between = np.einsum("jn,jna,jnb->nab", share, spread, spread)
            covariances.append(between + np.einsum("jn,jab->nab", share, known))
            mass.append(self.w[k] * weight)
        return entropy, np.concatenate(mass), np.concatenate(covariances)

    @property
    def information(self) -> Real:
        """I(x_0; y)."""
        noise = 2 * Real(np.pi) * np.exp(Real(1)) * self.noise
        return self.at_points[0] - self.d * np.log(noise) / 2

    def average(self, family: str, function: object) -> Real:
        """E Σ_i function(v_i) over the variances of x_0 that the family can represent."""
        _, mass, C = self.at_points
        diagonal = np.stack([C[:, i, i] for i in range(self.d)], -1)
        if family.startswith(("isotropic", "fixed")):
            values = diagonal.mean(-1, keepdims=True)
            if family != "isotropic_x":
                values = (mass[:, None] * values).sum(0, keepdims=True)
                mass = np.ones(1, Real)
            return self.d * (mass[:, None] * function(values)).sum()  # type: ignore[operator]
        if family == "full" and self.d == 2:
            trace, det = diagonal.sum(-1), C[:, 0, 0] * C[:, 1, 1] - C[:, 0, 1] ** 2
            large = trace / 2 + np.sqrt(((C[:, 0, 0] - C[:, 1, 1]) / 2) ** 2 + C[:, 0, 1] ** 2)
            diagonal = np.stack([large, det / large], -1)
        return (mass[:, None] * function(diagonal)).sum()  # type: ignore[operator]


def second_route(later: Level, earlier: Level, family: str) -> float:
    """M(s, t) as cross-entropy minus conditional entropy, s ``earlier``."""
    d, t = later.d, later.gamma
    if math.isinf(earlier.gamma):
        scale = 2 * Real(np.pi) * np.exp(Real(1))
        truth = earlier.at_points[0] - later.information
        if family.startswith("fixed"):
            cross = later.average(family, lambda v: np.log(2 * Real(np.pi) / (1 + t)) + (1 + t) * v)
        else:
            cross = later.average(family, lambda v: np.log(scale * v))
        return float(cross / 2 - truth)
    gain, gap = earlier.information - later.information, earlier.gamma - t
    if family.startswith("fixed"):  # N(·, ratio·β̃) against the mean of N(·, β̃(1 + Δγ v))
        ratio = (1 + earlier.gamma) / (1 + t) if family == "fixed_large" else Real(1)
        trace = later.average(family, lambda v: (1 + gap * v) / ratio)
        return float(d * (np.log(ratio) - 1) / 2 + trace / 2 - gain)
    return float(later.average(family, lambda v: np.log1p(gap * v)) / 2 - gain)


def _det(a: Array) -> Real:
    return a[0, 0] if len(a) == 1 else a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]


def _inverse(a: Array) -> Array:
    if len(a) == 1:
        return 1 / a
    swapped = np.array([[a[1, 1], -a[0, 1]], [-a[1, 0], a[0, 0]]])
    inverse: Array = swapped / _det(a)
    return inverse


def _root(a: Array) -> Array:
    """The lower Cholesky factor."""
    first = np.sqrt(a[0, 0])
    if len(a) == 1:
        return np.array([[first]])
    below = a[1, 0] / first
    return np.array([[first, Real(0)], [below, np.sqrt(a[1, 1] - below**2)]])


def compare(mixture: GaussianMixture, chain: Schedule, times: tuple[int, ...], points: int) -> int:
    """Every family at ``times``; how many of the errors lay between 1e-10 and 1e-8."""
    levels = {
        i: Level(mixture, float(chain.snr[i]), points)
        for i in {j for t in times for j in (t - 1, t)}
    }
    small = 0
    for family in FAMILIES:
        errors = best_gaussian_errors(mixture, chain, family)
        for t in times:
            expected = second_route(levels[t], levels[t - 1], family)
            gap = abs(float(errors.value[t]) - expected)
            if expected >= 1e-10:
                assert gap <= 1e-3 * expected, (family, t, expected)
            assert gap <= float(errors.error[t]) + 1e-3 * expected + 1e-15, (family, t, expected)
            small += 1e-10 <= expected < 1e-8
    return small


LINE, RING = presets.line(4).standardized(), presets.ring(8)


def test_line_in_a_thousand_steps() -> None:
    times = (1, 2, 3, 5, 10, 30, 100, 500, 700, 850, 900, 950)
    assert compare(LINE, Schedule.cosine(1000), times, 12) >= 10


def test_ring_in_a_thousand_steps() -> None:
    # modes 11 std apart: near the data every error is a tiny difference of large numbers
    assert compare(RING, Schedule.cosine(1000), (1, 2, 3, 5, 10, 100, 700, 850), 8) >= 20


@pytest.mark.parametrize("levels", [(1e4, 6e3), (30.0, 3.0, 0.5), (0.1, 0.06, 1e-3)])
def test_error_bars_hold_for_components_of_different_scale(levels: tuple[float, ...]) -> None:
    # a component ten times narrower than its neighbour, which two coarse lattices both miss
    narrow = [[[0.1, 0.02], [0.02, 0.2]], [[0.01, 0.0], [0.0, 0.02]]]
    mixture = GaussianMixture([0.3, 0.7], [[0.0, 0.0], [2.0, 0.0]], narrow)
    chain = Schedule.from_snr(levels)
    compare(mixture, chain, tuple(range(1, chain.steps + 1)), 16)


def test_small_steps_far_from_the_data() -> None:
    # errors of 1e-12 beside information gains of 5e-4: a difference would leave two digits
    chain = Schedule.from_snr([1e-2, 0.9e-2, 0.8e-2])
    for family in FAMILIES:
        errors = best_gaussian_errors(LINE, chain, family)
        later, earlier = (Level(LINE, float(chain.snr[i]), 12) for i in (3, 2))
        expected = second_route(later, earlier, family)
        assert float(errors.value[3]) == pytest.approx(expected, rel=1e-5)


def test_one_component_has_no_full_error_at_all() -> None:
    matrix = torch.tensor([[[2.0, 0.3], [0.3, 0.5]]], dtype=torch.float64)
    mixture = GaussianMixture([1.0], [[0.3, -1.0]], matrix)
    for chain in (Schedule.cosine(20), Schedule.from_snr([1e8, 1.0, 1e-6])):
        assert best_gaussian_errors(mixture, chain, "full").value.abs().max() < 1e-15


def test_excess_is_x_minus_log_to_full_relative_accuracy() -> None:
    """h(x) = x − log(1 + x), from 1e-12 to 1e12 and below 0, by mpmath."""
    sizes = [10.0**power * digit for power in range(-12, 13) for digit in (1, 2, 4.9, 5.1)]
    x = torch.tensor([*sizes, *(-v for v in sizes if v < 1), -0.999], dtype=torch.float64)
    found = excess(x)
    with mpmath.workdps(50):
        wanted = [float(mpmath.mpf(v) - mpmath.log1p(mpmath.mpf(v))) for v in x.tolist()]
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), rtol=2e-14, atol=0)
