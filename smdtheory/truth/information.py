r"""Entropy, mutual information and MMSE of a mixture along the noise (docs/theory.md §4).

With k the component label, x_t tells about x_0 in two parts (§4.2):

    I(γ) = I(x_0; x_t) = Σ_k w_k ½ log det(I + γ S_k) + H(w) − E H(r(x_t)),

so that only the entropy of the responsibilities is an integral; mmse(γ) = 2 dI/dγ (I-MMSE, §4.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from smdtheory.checks import real_tensor
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.schedule import SNR_RANGE
from smdtheory.truth.curves import Curves, curves_of
from smdtheory.truth.mixture import GaussianMixture

INFINITE = torch.tensor([math.inf], dtype=torch.float64)


def entropy(mixture: GaussianMixture) -> Estimate:
    """h(q) in nats.

    Args:
        mixture: q, without batch dimensions.

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture.
        ValueError: if it has batch dimensions.

    Example:
        >>> entropy(GaussianMixture([1.0], [[0.0]], 1.0))
        1.4189385332 ± 1e-15 (closed form)
    """
    curves = curves_of(mixture)
    variances, counts = curves.eigenvalues()
    per_component = 0.5 * (torch.log(2 * math.pi * math.e * variances) * counts).sum(-1)
    known = (mixture.weights * per_component).sum() + _label_entropy(mixture)
    return _estimate(curves, known - curves.at(INFINITE).label_entropy, INFINITE)[0]


def mutual_information(mixture: GaussianMixture, snr: Tensor | Sequence[float]) -> Estimate:
    """I(x_0; x_t) in nats at finite signal-to-noise ratios γ (L,).

    Args:
        mixture: q(x_0), without batch dimensions.
        snr: γ (L,).

    Returns:
        Shape (L,), in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``snr`` not made of numbers.
        ValueError: unless every γ is positive and finite.

    Example:
        >>> mutual_information(GaussianMixture([1.0], [[0.0]], 1.0), [1.0]).value
        tensor([0.3466], dtype=torch.float64)
    """
    curves, gamma = curves_of(mixture), _levels(snr)
    variances, _ = curves.eigenvalues()
    within = 0.5 * curves.within_sum(torch.log1p(gamma[:, None, None] * variances))
    value = within + _label_entropy(mixture) - curves.at(gamma).label_entropy
    return _estimate(curves, value, gamma)


def mmse(mixture: GaussianMixture, snr: Tensor | Sequence[float]) -> Estimate:
    """E tr Cov(x_0 | x_t) at finite signal-to-noise ratios γ (L,), in squared units of x_0.

    Args:
        mixture: q(x_0), without batch dimensions.
        snr: γ (L,).

    Returns:
        Shape (L,).

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``snr`` not made of numbers.
        ValueError: unless every γ is positive and finite.

    Example:
        >>> mmse(GaussianMixture([1.0], [[0.0]], 1.0), [1.0]).value
        tensor([0.5000], dtype=torch.float64)
    """
    curves, gamma = curves_of(mixture), _levels(snr)
    levels = curves.at(gamma)
    return _estimate(curves, curves.mmse(levels), gamma, 1 / gamma)


def conditional_entropy(mixture: GaussianMixture, snr: Tensor | Sequence[float]) -> Estimate:
    """E h(x_0 | x_t) = h(q_0) − I(γ) in nats at finite signal-to-noise ratios γ (L,).

    Args:
        mixture: q(x_0), without batch dimensions.
        snr: γ (L,).

    Returns:
        Shape (L,), in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``snr`` not made of numbers.
        ValueError: unless every γ is positive and finite.

    Example:
        >>> conditional_entropy(GaussianMixture([1.0], [[0.0]], 1.0), [1.0]).value
        tensor([1.0724], dtype=torch.float64)
    """
    curves, gamma = curves_of(mixture), _levels(snr)
    within = 0.5 * curves.within_sum(torch.log(2 * math.pi * math.e * curves.within(gamma)))
    labels = curves.at(gamma).label_entropy - curves.at(INFINITE).label_entropy
    return _estimate(curves, within + labels, gamma)


def _label_entropy(mixture: GaussianMixture) -> Tensor:
    entropy: Tensor = torch.special.entr(mixture.weights).sum()
    return entropy


def _estimate(curves: Curves, value: Tensor, snr: Tensor, unit: Tensor | float = 1.0) -> Estimate:
    """``value`` (R, L) with the error of the averages at ``snr``, in units of ``unit``."""
    return curves.estimate(value, curves.at(snr).error * unit + ROUNDING * value[0].abs())


def _levels(snr: Tensor | Sequence[float]) -> Tensor:
    gamma = real_tensor("snr", snr, finite=False).to("cpu", torch.float64)
    low, high = SNR_RANGE
    if gamma.ndim != 1 or len(gamma) == 0 or not bool(((gamma >= low) & (gamma <= high)).all()):
        raise ValueError(
            f"snr must be a list of signal-to-noise ratios within {low:.0e}..{high:.0e}; received "
            f"{gamma.flatten()[:5].tolist()} of shape {tuple(gamma.shape)}"
        )
    return gamma


def excess(x: Tensor) -> Tensor:
    """h(x) = x − log(1 + x) for x > −1, infinity allowed, to full relative accuracy.

    Args:
        x: any shape.

    Returns:
        The same shape.

    Example:
        >>> excess(torch.tensor([1e-9, float("inf")], dtype=torch.float64))
        tensor([5.0000e-19,        inf], dtype=torch.float64)
    """
    value = torch.where(torch.isinf(x), x, x - torch.log1p(x))
    small = x.abs() < 0.05  # with y = x/(2 + x): log(1 + x) = 2 artanh y, and x y = x²/(2 + x)
    near = x[small]
    y = near / (2 + near)
    square = y.square()
    series = 1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))
    value[small] = near * y - 2 * y * square * series
    return value
