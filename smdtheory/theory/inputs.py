"""What the bounds accept, said once: a mixture, a backward step, levels, a variance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import broadcast, real_tensor
from smdtheory.schedule import SNR_RANGE, Bridge, bridge
from smdtheory.truth.mixture import GaussianMixture, check_mixture


def as_truth(mixture: Any) -> GaussianMixture:
    """The mixture in float64 on the CPU.

    Raises:
        TypeError: if it is not a mixture.
        ValueError: if it has batch dimensions.
    """
    return check_mixture(mixture).to("cpu", torch.float64)


def as_step(snr_t: Any, snr_s: Any) -> tuple[Tensor, Tensor, Bridge]:
    """γ_t and γ_s in float64, expanded to one shape, and the bridge between them.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if they do not broadcast, or unless 0 < γ_t < γ_s <= ∞.
    """
    gamma_t, gamma_s = double("snr_t", snr_t), double("snr_s", snr_s)
    step = bridge(gamma_t, gamma_s)
    size = broadcast(snr_t=gamma_t.shape, snr_s=gamma_s.shape)
    return gamma_t.expand(size), gamma_s.expand(size), step


def as_levels(snr: Any) -> Tensor:
    """Signal-to-noise ratios in float64, positive and possibly infinite.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if one is out of range.
    """
    gamma = double("snr", snr)
    low, high = SNR_RANGE
    if not bool(((gamma >= low) & ((gamma <= high) | torch.isinf(gamma))).all()):
        raise ValueError(
            f"snr must lie within {low:.0e}..{high:.0e} or be inf, the data; received "
            f"{gamma.flatten()[:5].tolist()}"
        )
    return gamma


def as_variance(variance: Any) -> Tensor:
    """Variances in float64, positive and finite.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if one is not positive and finite.
    """
    sigma2 = double("variance", variance)
    if not bool(((sigma2 > 0) & torch.isfinite(sigma2)).all()):
        raise ValueError(
            "variance must be positive and finite (a variance, not its logarithm); received "
            f"{sigma2.flatten()[:5].tolist()}"
        )
    return sigma2


def double(name: str, value: Any) -> Tensor:
    """Real numbers, infinity and NaN among them, in float64 on the CPU."""
    return real_tensor(name, value, finite=False).to("cpu", torch.float64)
