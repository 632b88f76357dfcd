"""The integrand of a relative entropy, to full relative accuracy (docs/theory.md §9.2)."""

from __future__ import annotations

import torch
from torch import Tensor

SMALL_GAP = 0.1
"""Below this |log q − log p| a series is used; its ten terms leave 1e-17 of the value."""


def pointwise_divergence(log_q: Tensor, gap: Tensor) -> Tensor:
    """q log(q/p) + p − q, from log q and gap = log q − log p: nowhere negative.

    Its integral is KL(q ‖ p), because p and q both have mass 1; where p is close to q it is
    ½ q gap², and no difference of nearly equal numbers has been formed.

    Args:
        log_q: log density of q, any shape.
        gap: log(q/p), same shape.

    Example:
        >>> pointwise_divergence(torch.zeros(1).double(), torch.tensor([1e-9]).double())
        tensor([5.0000e-19], dtype=torch.float64)
    """
    series = torch.zeros_like(gap)
    for n in range(11, 1, -1):  # Σ_{n>=2} (−gap)^n / n!
        series = (1 - gap * series) / n if n > 2 else gap * gap * (1 - gap * series) / 2
    direct = torch.exp(log_q) * (gap - 1) + torch.exp(log_q - gap)
    return torch.where(gap.abs() < SMALL_GAP, torch.exp(log_q) * series, direct)
