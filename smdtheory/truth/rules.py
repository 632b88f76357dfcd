r"""Integration rules for expectations under the components of a mixture (docs/theory.md §9.1).

E_q f = Σ_k w_k E f(m_k + C_k^{1/2} u), u ~ N(0, I), and a rule is a set of points u with weights:

- d = 1: Gauss–Legendre on panels half a standard deviation wide, graded around every narrower
  component, so that components of very different std are all resolved.
- d = 2: the trapezoidal rule on a lattice, ever finer until two lattices agree. Its error falls
  like exp(−2πa/h) when the integrand is analytic in a strip of half-width a.
- d >= 3: scrambled Sobol points mapped to normals; independent scramblings are the replicates
  whose spread is the standard error.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

REACH = 10.0
"""Panels stop at this many standard deviations: the mass beyond is 2e-23, which
still counts where a rare wide component has a variance many times larger."""

LATTICE_REACH = 8.0
"""Lattices stop at this radius: the mass beyond is 1e-14."""

TURN = math.atan((math.sqrt(5) - 1) / 2)
"""Angle of the lattices to the axes. With this slope no short vector of the dual lattice lies near
an axis or a diagonal, along which symmetric mixtures vary."""

PANEL = 0.5
"""Width of a Gauss–Legendre panel in standard deviations."""

SCRAMBLES = 8
"""Independent scramblings of the Sobol points: a standard error with 7 degrees of freedom."""


@lru_cache(maxsize=64)
def gauss_legendre(points: int) -> tuple[Tensor, Tensor]:
    """Nodes in (−1, 1) and weights of the Gauss–Legendre rule."""
    nodes, weights = leggauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def panel_nodes(edges: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """The composite Gauss–Legendre rule on the panels between sorted ``edges`` (..., E).

    Returns:
        nodes and weights, each (..., (E − 1)·points).
    """
    nodes, weights = gauss_legendre(points)
    half = (edges[..., 1:] - edges[..., :-1]).unsqueeze(-1) / 2
    middle = (edges[..., 1:] + edges[..., :-1]).unsqueeze(-1) / 2
    return (middle + half * nodes).flatten(-2), (half * weights).flatten(-2)


def graded_edges(centres: Tensor, scales: Tensor, reach: float = REACH) -> Tensor:
    """Panel edges on [−reach, reach], refined around ``centres`` with their own ``scales``.

    Args:
        centres: (J,) places of other components, in units of this component's std.
        scales: (J,) their std in the same units.
        reach: where the rule ends.

    Returns:
        Sorted edges (E,): steps of :data:`PANEL` everywhere, of ``PANEL·scale`` within ``reach``
        scales of a narrower component, and growing by half from there.
    """
    edges = torch.unique(graded_rows(centres.unsqueeze(0), scales.unsqueeze(0), reach))
    gaps = edges[1:] - edges[:-1]
    apart = torch.cat([gaps.new_tensor([1.0]), gaps]) > 1e-14 * edges.abs()
    distinct: Tensor = edges[apart]
    return distinct


def graded_rows(centres: Tensor, scales: Tensor, reach: float = REACH) -> Tensor:
    """:func:`graded_edges` for many rows at once: sorted edges (N, E), some of them equal.

    Args:
        centres: (N, J).
        scales: (N, J).
        reach: where the rule ends.
    """
    count = math.ceil(reach / PANEL)
    base = PANEL * torch.arange(-count, count + 1, dtype=torch.float64)
    pieces = [base.expand(len(centres), -1)]
    for centre, scale in zip(
        centres.unsqueeze(-1).unbind(1), scales.unsqueeze(-1).unbind(1), strict=True
    ):
        narrow = scale < 0.5
        if not bool(narrow.any()):
            continue
        growth = math.ceil(math.log(2 / float(scale.min())) / math.log(1.5)) + 1
        tail = base[-1] * 1.5 ** torch.arange(1, growth + 1, dtype=torch.float64)
        offsets = torch.cat([-tail.flip(0), base, tail])
        pieces.append(torch.where(narrow, centre + scale * offsets, base[-1]))
    edges = torch.cat(pieces, -1).clamp(float(base[0]), float(base[-1]))
    rows: Tensor = edges.sort(-1).values
    return rows


def normal_weights(u: Tensor, weights: Tensor) -> Tensor:
    """Multiply ``weights`` (n,) by the standard normal density at u (n, d)."""
    norm = math.pow(2 * math.pi, u.shape[-1] / 2)
    return weights * (torch.exp(-0.5 * u.square().sum(-1)) / norm)


@lru_cache(maxsize=64)
def lattice(step: float) -> tuple[Tensor, Tensor]:
    """Points of a square lattice, turned by :data:`TURN`, within :data:`LATTICE_REACH` of 0.

    Returns:
        u (n, 2) and normal weights (n,) whose sum is 1 up to the rule's error.
    """
    count = math.ceil(LATTICE_REACH / step) + 1
    ticks = step * torch.arange(-count, count + 1, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    cos, sin = math.cos(TURN), math.sin(TURN)
    points = grid @ grid.new_tensor([[cos, sin], [-sin, cos]])
    points = points[points.square().sum(-1) <= LATTICE_REACH**2]
    area = points.new_full((len(points),), step**2)
    return points, normal_weights(points, area)


def lattice_error(change: Tensor, before: Tensor, size: Tensor | None = None) -> Tensor:
    """The error of a lattice, from what it and the lattice before it changed, each a step √2 finer.

    An error A e^{−c/h} is raised to the power √2 at each step, but for A: the last change is nearly
    all of the error before. Where it is small by chance the change before it decides: two steps
    square e^{−c/h}, and the power √2 is left of that for an A far below 1, of a rare component.

    Args:
        change: of the averages, absolute.
        before: the same, one lattice earlier.
        size: of the averages, if they are not of order 1.
    """
    unit = torch.ones_like(change) if size is None else torch.where(size > 0, size, 1.0)
    return unit * torch.maximum(change / unit, (before / unit) ** math.sqrt(2))


@lru_cache(maxsize=16)
def sobol_normals(dim: int, points: int, seed: int) -> Tensor:
    """Standard normal points (R, n, d) from R scramblings of Sobol's sequence."""
    draws = []
    for scramble in range(SCRAMBLES):
        engine = torch.quasirandom.SobolEngine(  # type: ignore[no-untyped-call]
            dim, scramble=True, seed=seed + scramble
        )
        uniform = engine.draw(points, dtype=torch.float64)
        half = 2.0**-31  # the engine's grid of 2**-30, centred: no point sits at 0 or 1
        draws.append(torch.special.ndtri(uniform.clamp(half, 1 - half)))
    return torch.stack(draws)
