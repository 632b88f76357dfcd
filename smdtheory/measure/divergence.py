"""The integrand of a relative entropy, to full relative accuracy (docs/theory.md §9.2)."""

from __future__ import annotations

import torch
from torch import Tensor

SMALL_GAP = 0.1
"""Below this |log q − log p| a series is used; its ten terms leave 1e-17 of the value."""


def pointwise_divergence(log_q: Tensor, log_p: Tensor, gap: Tensor) -> Tensor:
    """q log(q/p) + p − q: nowhere negative.

    Its integral is KL(q ‖ p), because p and q both have mass 1. Where p is close to q it is
    ½ q gap², and no difference of nearly equal numbers has been formed.

    Args:
        log_q: log density of q, any shape.
        log_p: log density of p, same shape; may be −∞.
        gap: log(q/p), same shape: where it is small, better known than as a difference.

    Example:
        >>> zero = torch.zeros(1, dtype=torch.float64)
        >>> pointwise_divergence(zero, zero - 1e-9, zero + 1e-9)
        tensor([5.0000e-19], dtype=torch.float64)
    """
    series = torch.zeros_like(gap)
    for n in range(11, 2, -1):  # Σ_{n>=2} (−gap)^n / n! = ½ gap² (1 − gap · series)
        series = (1 - gap * series) / n
    near = torch.exp(log_q) * (0.5 * gap * gap * (1 - gap * series))
    far = torch.exp(log_q) * (gap - 1) + torch.exp(log_p)
    return torch.where(gap.abs() < SMALL_GAP, near, far)
