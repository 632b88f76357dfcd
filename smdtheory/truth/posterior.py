r"""Closed forms of q(x_t) and of q(x_s | x_t), which is a mixture again (docs/theory.md §3.1).

    q(x_s | x_t) = Σ_k r_k(x_t) N(μ_k(x_t), V_k),
    r_k ∝ w_k N(x_t; √ᾱ_t m_k, C_k^t),                      C_k^t = ᾱ_t S_k + (1 − ᾱ_t) I,
    μ_k = √ᾱ_s m_k + √α_{t|s} C_k^s (C_k^t)⁻¹ (x_t − √ᾱ_t m_k),
    V_k = β_{t|s} C_k^s (C_k^t)⁻¹.

The responsibility r_k uses the component's marginal density at x_t, not its posterior's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import integer
from smdtheory.schedule import Schedule, bridge, check_schedule
from smdtheory.truth import validate
from smdtheory.truth.mixture import GaussianMixture, check_mixture


def marginal_at(mixture: GaussianMixture, snr: Tensor) -> GaussianMixture:
    """q(x_γ) at signal-to-noise ratio γ (any shape, or infinite: the data), batch_shape γ.shape."""
    gamma = torch.as_tensor(snr, dtype=mixture.means.dtype, device=mixture.means.device)
    signal = (1 / (1 + 1 / gamma))[..., None, None]
    noise = (1 / (1 + gamma))[..., None, None]
    logits = mixture.logits.expand(*gamma.shape, mixture.num_components)
    spectral = mixture.spectral.map(lambda v: signal * v + noise)
    return GaussianMixture.from_spectral(logits, signal.sqrt() * mixture.means, spectral)


def posterior_at(
    mixture: GaussianMixture, x_t: Tensor, snr_t: Tensor, snr_s: Tensor
) -> GaussianMixture:
    """q(x_s | x_t) between signal-to-noise ratios γ_s > γ_t, γ_s possibly infinite.

    Args:
        mixture: q(x_0), without batch dimensions.
        x_t: (*B, d).
        snr_t: γ_t, a scalar or broadcastable with ``*B``.
        snr_s: γ_s, likewise.

    Returns:
        A mixture with batch_shape ``*B``.

    Raises:
        ValueError: unless 0 < γ_t < γ_s, or where x_t is so far out that densities overflow.
    """
    like = mixture.means
    gamma_t = torch.as_tensor(snr_t, dtype=like.dtype, device=like.device)
    gamma_s = torch.as_tensor(snr_s, dtype=like.dtype, device=like.device)
    step = bridge(gamma_t, gamma_s)
    q_t = marginal_at(mixture, gamma_t)
    logits = torch.log_softmax(q_t.joint_log_prob(x_t), -1)

    signal_s = (1 / (1 + 1 / gamma_s))[..., None, None]
    noise_s = (1 / (1 + gamma_s))[..., None, None]
    signal_t = (1 / (1 + 1 / gamma_t))[..., None, None]
    noise_t = (1 / (1 + gamma_t))[..., None, None]

    def ratio(v: Tensor) -> Tensor:
        return (signal_s * v + noise_s) / (signal_t * v + noise_t)

    slope = (signal_t / signal_s).sqrt()
    beta = step.beta.to(like)[..., None, None]
    deviation = x_t.unsqueeze(-2) - q_t.means
    means = signal_s.sqrt() * mixture.means + slope * mixture.spectral.apply(ratio, deviation)
    return GaussianMixture.from_spectral(
        logits, means, mixture.spectral.map(lambda v: beta * ratio(v))
    )


def marginal(mixture: GaussianMixture, schedule: Schedule, t: int) -> GaussianMixture:
    """q(x_t) = Σ_k w_k N(√ᾱ_t m_k, ᾱ_t S_k + (1 − ᾱ_t) I), 0 <= t <= T (docs/theory.md §1).

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        t: 0..T.

    Returns:
        A mixture of K components, without batch dimensions.

    Raises:
        TypeError: if t is not an integer, or the other arguments are of the wrong kind.
        ValueError: if t is out of range, or the mixture has batch dimensions.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> marginal(q, Schedule.cosine(10), 10).means.abs().max() < 0.01
        tensor(True)
    """
    check_mixture(mixture)
    level = integer("t", t)
    if not 0 <= level <= check_schedule(schedule).steps:
        raise ValueError(f"t must lie in 0..{schedule.steps}; received {level}")
    return marginal_at(mixture, schedule.snr[level])


def posterior(
    mixture: GaussianMixture, schedule: Schedule, x_t: Any, t: int, s: int | None = None
) -> GaussianMixture:
    """q(x_s | x_t), a mixture with batch_shape ``x_t.shape[:-1]`` (docs/theory.md §3.1).

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        x_t: points (*B, d).
        t: where they are, 1..T.
        s: where to, 0..t−1; t − 1 by default.

    Returns:
        A mixture of K components with batch_shape ``x_t.shape[:-1]``.

    Raises:
        TypeError: if t or s is not an integer, x_t is not made of real numbers, or the other
            arguments are of the wrong kind.
        ValueError: if t, s or the shape of x_t is out of range, x_t is not finite, or the mixture
            has batch dimensions.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> posterior(q, Schedule.cosine(10), [[0.0]], t=5).weights
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    check_mixture(mixture)
    t, s = check_schedule(schedule).check_step(t, s)
    points = validate.check_points("x_t", x_t, mixture.means)
    return posterior_at(mixture, points, schedule.snr[t], schedule.snr[s])
