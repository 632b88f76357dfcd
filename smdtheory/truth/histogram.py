r"""Laws of positive variances, kept so that any smooth function of them can be averaged later.

A mass at v becomes weights on the points of a fixed grid in log v, those of six-point Lagrange
interpolation: Σ_n weights_n f(grid_n) is then mass·f(v) for smooth f (docs/theory.md §9.2). What is
stored while masses arrive are their moments about the middle of the bin; the interpolation itself
is linear in them and comes once, at the end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BIN = 0.03
"""Spacing of the grid in log v; six-point interpolation on it is accurate to 4e-12."""

STENCIL = 6
"""Points of the local Lagrange interpolation in log v."""


def log_grid(lowest: Tensor, highest: Tensor) -> Tensor:
    """Multiples of :data:`BIN` that cover log v from ``lowest`` to ``highest``, with a margin."""
    first = math.floor(float(torch.log(lowest)) / BIN) - 4
    last = math.ceil(float(torch.log(highest)) / BIN) + 4
    return BIN * torch.arange(first, last + 1, dtype=torch.float64)


class Histogram:
    """Masses at variances, one law for each of L levels.

    Args:
        log_v: (N,), from :func:`log_grid`.
        levels: L.
    """

    def __init__(self, log_v: Tensor, levels: int) -> None:
        self.log_v = log_v
        self.moments = torch.zeros(STENCIL, levels, len(log_v), dtype=torch.float64)

    def add(self, level: Tensor, mass: Tensor, values: Tensor) -> None:
        """Add ``mass`` at ``values`` (A, m, n), which broadcast, to the laws ``level`` (A,)."""
        place = (torch.log(values) - self.log_v[0]) / BIN
        left = place.floor()
        offset = place - left - 0.5
        index = (left.long() + (level * len(self.log_v))[:, None, None]).flatten()
        power = mass.expand_as(place)
        for moment in self.moments:
            moment.view(-1).index_add_(0, index, power.flatten())
            power = power * offset

    def clear(self, levels: Tensor) -> None:
        """Forget the laws ``levels``."""
        self.moments[:, levels] = 0

    def total(self, levels: Tensor) -> Tensor:
        """The mass of each of the laws ``levels``."""
        return self.moments[0, levels].sum(-1)

    def weights(self) -> Tensor:
        """Weights on the grid, (L, N)."""
        before = STENCIL // 2 - 1
        places = torch.arange(-before, STENCIL - before, dtype=torch.float64) - 0.5
        vandermonde = places ** torch.arange(STENCIL, dtype=torch.float64).unsqueeze(-1)
        spread = torch.einsum("sp,pln->sln", torch.linalg.inv(vandermonde), self.moments)
        return sum(
            (part.roll(shift - before, -1) for shift, part in enumerate(spread)),
            torch.zeros_like(spread[0]),
        )
