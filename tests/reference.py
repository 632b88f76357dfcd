"""Independent routes to what the library computes: textbook formulas, line integrals, 50 digits.

Nothing here calls the library, so that an agreement says something.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import mpmath
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIGITS = 50
"""Decimal digits of the exact route: 1e8/1e-12 squared is 1e40."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def line_rule(means: Sequence[float], stds: Sequence[float], reach: float = 10.0) -> list[Array]:
    """Points and weights on the real line that resolve every Gaussian given by mean and std.

    Gauss–Legendre with 12 nodes on panels that are nowhere wider than half a std of a component
    within ``reach`` of it: exact to rounding for what varies on the components' own scale.
    """
    ticks = np.arange(-2 * reach, 2 * reach + 1) / 2
    edges = np.unique(np.concatenate([m + s * ticks for m, s in zip(means, stds, strict=True)]))
    half = np.diff(edges)[:, None] / 2
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    return [(middle + half * NODES).ravel(), (half * WEIGHTS).ravel()]


def log_normal(x: Array, mean: Array, variance: Array) -> Array:
    """log N(x; mean, variance) in d = 1."""
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))


def log_sum(values: Array) -> Array:
    """log Σ exp over the last dimension."""
    top = values.max(-1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(-1, keepdims=True)))[..., 0]


@dataclass
class Line:
    """A mixture on the real line and its noisy observation y = x_0 + N(0, 1/γ), by integration."""

    weights: Array
    means: Array
    variances: Array

    @staticmethod
    def of(mixture: object) -> Line:
        """From any object with weights, means and a covariance for each component."""
        spectral = mixture.spectral  # type: ignore[attr-defined]
        return Line(
            mixture.weights.numpy(),  # type: ignore[attr-defined]
            mixture.means[:, 0].numpy(),  # type: ignore[attr-defined]
            spectral.diagonals()[:, 0].numpy(),
        )

    def rule(self, noise: float = 0.0) -> list[Array]:
        """:func:`line_rule` for the components seen through noise of variance ``noise``."""
        return line_rule(self.means, np.sqrt(self.variances + noise))

    def joint(self, y: Array, noise: float = 0.0) -> Array:
        """log w_k N(y; m_k, S_k + noise), shape (n, K)."""
        spread = log_normal(y[:, None], self.means, self.variances + noise)
        return np.log(self.weights) + spread

    def average(self, values: Array, y: Array, weight: Array, noise: float = 0.0) -> float:
        """E f(y), f given at the points of a rule."""
        return float((weight * np.exp(log_sum(self.joint(y, noise))) * values).sum())

    def entropy(self, noise: float = 0.0) -> float:
        """h(y) in nats."""
        y, weight = self.rule(noise)
        return self.average(-log_sum(self.joint(y, noise)), y, weight, noise)

    def posterior_variance(self, y: Array, gamma: float) -> Array:
        """Var(x_0 | y): the textbook law of total variance."""
        joint = self.joint(y, 1 / gamma)
        share = np.exp(joint - log_sum(joint)[:, None])
        variance = self.variances / (1 + gamma * self.variances)
        mean = self.means + gamma * variance * (y[:, None] - self.means)
        centre = (share * mean).sum(1, keepdims=True)
        return (share * (variance + (mean - centre) ** 2)).sum(1)

    def mmse(self, gamma: float, power: int = 1) -> float:
        """E Var(x_0 | y)^power."""
        y, weight = self.rule(1 / gamma)
        return self.average(self.posterior_variance(y, gamma) ** power, y, weight, 1 / gamma)

    def information(self, gamma: float) -> float:
        """I(x_0; y) = h(y) − h(noise)."""
        return self.entropy(1 / gamma) - 0.5 * np.log(2 * np.pi * np.e / gamma)


def exact_log_prob(
    weights: Sequence[float],
    means: Sequence[Sequence[float]],
    variances: Sequence[Sequence[float]],
    x: Sequence[float],
) -> tuple[float, list[float]]:
    """log q(x) and responsibilities of a mixture with variances along the axes, in 50 digits."""
    with mpmath.workdps(DIGITS):
        joint = []
        for w, mean, variance in zip(weights, means, variances, strict=True):
            total = mpmath.log(mpmath.mpf(w)) if w else mpmath.mpf("-inf")
            for m, v, at in zip(mean, variance, x, strict=True):
                gap = mpmath.mpf(at) - mpmath.mpf(m)
                total -= (gap**2 / mpmath.mpf(v) + mpmath.log(2 * mpmath.pi * mpmath.mpf(v))) / 2
            joint.append(total)
        top = max(joint)
        mass = mpmath.fsum(mpmath.exp(value - top) for value in joint)
        shares = [float(mpmath.exp(value - top) / mass) for value in joint]
        return float(top + mpmath.log(mass)), shares


def exact_bridge(gamma_t: float, gamma_s: float) -> dict[str, float]:
    """c, c′, β̃ and β of a step from the textbook's ᾱ formulas, in 50 digits or more."""
    with mpmath.workdps(4 * DIGITS):
        level_t = mpmath.mpf(gamma_t) / (1 + mpmath.mpf(gamma_t))
        finite = not np.isinf(gamma_s)
        level_s = mpmath.mpf(gamma_s) / (1 + mpmath.mpf(gamma_s)) if finite else mpmath.mpf(1)
        alpha = level_t / level_s
        beta = 1 - alpha
        return {
            "c": float(mpmath.sqrt(level_s) * beta / (1 - level_t)),
            "c_prime": float(mpmath.sqrt(alpha) * (1 - level_s) / (1 - level_t)),
            "variance": float(beta * (1 - level_s) / (1 - level_t)),
            "beta": float(beta),
        }


def product(*parts: Line) -> tuple[Array, Array, Array]:
    """Weights, means and variances of independent coordinates, each a mixture on the line."""
    weights, means, variances = [], [], []
    for labels in itertools.product(*(range(len(part.weights)) for part in parts)):
        picked = list(zip(parts, labels, strict=True))
        weights.append(np.prod([part.weights[k] for part, k in picked]))
        means.append([part.means[k] for part, k in picked])
        variances.append([part.variances[k] for part, k in picked])
    return np.array(weights), np.array(means), np.array(variances)


def exact_line_averages(
    weights: Sequence[float], means: Sequence[float], variances: Sequence[float], gamma: float
) -> tuple[float, float, float]:
    """E H(r), E Var(x_0|y) and E Var(x_0|y)² for a mixture on the real line, in 50 digits.

    Gauss–Legendre with 12 nodes between places a few std of each component apart: good to 1e-6 of
    the largest value at any scale and separation, where float64 positions would not do.
    """
    with mpmath.workdps(DIGITS):
        mpf, noise = mpmath.mpf, 1 / mpmath.mpf(gamma)
        m, v = [mpf(x) for x in means], [mpf(x) for x in variances]
        w = [mpf(x) / mpmath.fsum(weights) for x in weights]
        std = [mpmath.sqrt(value + noise) for value in v]
        known = [value * noise / (value + noise) for value in v]
        total = [mpf(0)] * 3
        for k, own in enumerate(std):
            marks = {
                (m[j] + side * mpf(place) * std[j] - m[k]) / own
                for j in range(len(w))
                for place in PLACES
                for side in (-1, 1)
            }
            edges = sorted({mark for mark in marks if abs(mark) <= PLACES[-1]})
            for low, high in itertools.pairwise(edges):
                for node, mass in zip(NODES, WEIGHTS, strict=True):
                    u = (low + high) / 2 + (high - low) / 2 * mpf(float(node))
                    share = w[k] * (high - low) / 2 * mpf(float(mass)) * mpmath.npdf(u)
                    values = _point(w, m, v, std, known, m[k] + own * u)
                    total = [a + share * b for a, b in zip(total, values, strict=True)]
        return float(total[0]), float(total[1]), float(total[2])


PLACES = (0.0, 0.6, 1.2, 1.8, 2.5, 3.3, 4.3, 5.5, 7.0, 9.0)


def _point(w, m, v, std, known, y):  # type: ignore[no-untyped-def]
    """H(r), Var(x_0|y) and its square at y, in the digits of the caller."""
    joint = [mpmath.log(a / s) - ((y - b) / s) ** 2 / 2 for a, b, s in zip(w, m, std, strict=True)]
    top = max(joint)
    shares = [mpmath.exp(value - top) for value in joint]
    mass = mpmath.fsum(shares)
    shares = [value / mass for value in shares]
    surprise = [top + mpmath.log(mass) - value for value in joint]
    entropy = mpmath.fsum(r * s for r, s in zip(shares, surprise, strict=True))
    mean = [b + (a / s**2) * (y - b) for a, b, s in zip(v, m, std, strict=True)]
    centre = mpmath.fsum(r * mu for r, mu in zip(shares, mean, strict=True))
    spread = (r * (c + (mu - centre) ** 2) for r, c, mu in zip(shares, known, mean, strict=True))
    variance = mpmath.fsum(spread)
    return entropy, variance, variance**2
