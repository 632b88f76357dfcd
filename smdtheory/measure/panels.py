r"""Quadrature panels on the line for a density that Gaussian kernels make and unmake (§8.2, §9.1).

Kernels land on a level and kernels leave it. Panels are at most a few standard deviations of the
narrowest kernel that lands there wide, and are halved until the mean, the standard deviation and
the weight of the kernels that leave there follow polynomials.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdtheory.truth.rules import gauss_legendre

WIDTH = 4.0
"""Panels are at most this many standard deviations of a kernel wide: 12 nodes then integrate a
Gaussian to 5e-13, 8 nodes to 9e-8."""

TAIL, EDGE_TAIL = 1e-4, 1e-3
"""Of a kernel's mean, in its standard deviations, and of its log standard deviation and relative
weight, on a panel that need not be divided: the largest of the last Legendre coefficients, and the
largest miss at the ends of the panel of the polynomial through its nodes. Without the second, a
jump between an end and the node next to it would not be seen."""

MIN_WIDTH = 1e-6
"""A panel this short, in standard deviations, is not divided: a jump of the denoiser is there."""

MAX_STRETCH = math.log(2)
"""A kernel's std may change by this factor on a panel."""

MAX_PARTS = 8
"""A panel is cut into at most so many parts at once."""

NEGLIGIBLE_WEIGHT = 1e-16
"""Kernels of less weight than this all over a panel are not looked at."""

MAX_PANELS = 10**4
"""Panels at one level, twenty times what a thousand steps need."""


class OutOfRangeError(Exception):
    """Why a density cannot be transferred."""


def covering_panels(
    centre: Tensor, std: Tensor, reach: float, width: float
) -> tuple[Tensor, Tensor]:
    """Panels that cover centre ± reach·std of all kernels, as fine as the narrowest one there asks.

    Args:
        centre: (n,).
        std: (n,), positive.
        reach: in standard deviations.
        width: of a panel, in standard deviations of any kernel that reaches it.

    Returns:
        Left and right ends (P,), sorted.

    Raises:
        OutOfRangeError: if they would be more than :data:`MAX_PANELS`.

    Example:
        >>> zero, one = torch.zeros(1).double(), torch.ones(1).double()
        >>> covering_panels(zero, one, 2.0, 2.0)
        (tensor([-2.,  0.], dtype=torch.float64), tensor([0., 2.], dtype=torch.float64))
    """
    half_octave = torch.floor(2 * torch.log2(std))
    covers = [
        (2 ** (float(o) / 2), *_union(centre[half_octave == o], std[half_octave == o], reach))
        for o in torch.unique(half_octave)
    ]
    places = torch.unique(torch.cat([v for _, *ends in covers for v in ends]))
    left, right = places[:-1], places[1:]
    middle = 0.5 * (left + right)
    scale = torch.full_like(middle, math.inf)
    for size, starts, ends in reversed(covers):  # the narrowest has the last word
        index = torch.searchsorted(starts, middle, right=True) - 1
        covered = (index >= 0) & (middle < ends[index.clamp(min=0)])
        scale[covered] = size
    inside = torch.isfinite(scale)
    left, right, scale = left[inside], right[inside], scale[inside]
    return divided(left, right, torch.ceil((right - left) / (width * scale)))


def _union(centre: Tensor, std: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """The disjoint sorted intervals whose union is that of centre ± reach·std."""
    start, by_start = torch.sort(centre - reach * std)
    end = torch.cummax((centre + reach * std)[by_start], 0).values
    fresh = torch.cat([torch.ones(1, dtype=torch.bool), start[1:] > end[:-1]])
    last = torch.cat([fresh[1:], torch.ones(1, dtype=torch.bool)])
    return start[fresh], end[last]


def divided(left: Tensor, right: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Each panel (P,) in so many equal parts, (P,).

    Raises:
        OutOfRangeError: if they would be more than :data:`MAX_PANELS`.

    Example:
        >>> zero, one = torch.zeros(1).double(), torch.ones(1).double()
        >>> divided(zero, one, 2 * one)[1]
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    if float(parts.sum()) > MAX_PANELS:
        raise OutOfRangeError(
            f"the transfer of densities would take more than {MAX_PANELS} panels: a step is very "
            "narrow for the range that it covers, or the denoiser is not smooth"
        )
    parts = parts.long()
    owner = torch.repeat_interleave(torch.arange(len(left)), parts)
    position = torch.arange(len(owner)) - (torch.cumsum(parts, 0) - parts)[owner]
    step = ((right - left) / parts)[owner]
    start = left[owner] + position * step
    end = torch.where(position + 1 == parts[owner], right[owner], start + step)
    return start, end


def wanted_parts(
    centre: Tensor, std: Tensor, weight: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """In how many parts to divide each panel, given the kernels that leave from its nodes.

    Args:
        centre: means (P, 1 + order + 1, K) at the left end, the nodes and the right end.
        std: standard deviations, same shape.
        weight: weights, same shape.
        width: of the panels, (P,).

    Returns:
        The number of parts, (P,), and whether a panel that is left whole holds a jump, (P,).

    Example:
        >>> nodes, _ = panel_rule(torch.zeros(1).double(), torch.ones(1).double(), 12)
        >>> smooth = torch.cat([torch.zeros(1, 1), nodes, torch.ones(1, 1)], 1).unsqueeze(-1)
        >>> unit = torch.ones_like(smooth)
        >>> wanted_parts(10 * smooth, unit, unit, torch.ones(1).double())
        (tensor([3.], dtype=torch.float64), tensor([False]))
    """
    largest = weight.amax(1)
    used = (largest > NEGLIGIBLE_WEIGHT).unsqueeze(1)
    narrowest = std.amin(1)
    share = weight / largest.clamp(min=NEGLIGIBLE_WEIGHT).unsqueeze(1)
    values = torch.stack([centre / narrowest.unsqueeze(1), torch.log(std), share])
    values = torch.where(used, values, 0.0)
    drift, stretch, _ = (values.amax(2) - values.amin(2)).amax(-1)
    need = torch.ceil(torch.maximum(drift / WIDTH, stretch / MAX_STRETCH)).clamp(1, MAX_PARTS)
    parts = torch.maximum(need, 1 + _is_rough(values).double())
    short = width < MIN_WIDTH * torch.where(used[:, 0], narrowest, math.inf).amin(-1)
    return torch.where(short, 1.0, parts), short & (parts > 1)


def _is_rough(values: Tensor) -> Tensor:
    """Whether some of (3, P, 1 + order + 1, K) do not follow polynomials on their panel, (P,)."""
    order = values.shape[2] - 2
    nodes, weights = gauss_legendre(order)
    degrees = torch.arange(order, dtype=torch.float64)
    rows = torch.stack([torch.special.legendre_polynomial_p(nodes, n) for n in degrees])
    rows = rows * weights * (degrees + 0.5).unsqueeze(-1)
    signs = 1 - 2 * (degrees % 2)  # P_n(−1), and P_n(1) = 1
    ends = torch.stack([signs @ rows, rows.sum(0)])
    inside, outside = values[:, :, 1:-1], values[:, :, [0, -1]]
    tail = torch.einsum("nx,vpxk->vpnk", rows[-3:], inside).abs().amax((0, 2, 3))
    miss = (torch.einsum("ex,vpxk->vpek", ends, inside) - outside).abs().amax((0, 2, 3))
    return (tail > TAIL) | (miss > EDGE_TAIL)


def panel_rule(left: Tensor, right: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre nodes and weights (P, order) of panels (P,).

    Example:
        >>> nodes, weights = panel_rule(torch.zeros(1).double(), torch.ones(1).double(), 3)
        >>> round(6 * float((weights * nodes**5).sum()), 12)
        1.0
    """
    nodes, weights = gauss_legendre(order)
    half = 0.5 * (right - left).unsqueeze(-1)
    return 0.5 * (left + right).unsqueeze(-1) + half * nodes, half * weights
