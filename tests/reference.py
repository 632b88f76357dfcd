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
    """log q(x) and the responsibilities of a mixture with variances along the axes, in 50 digits."""
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
