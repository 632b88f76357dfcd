r"""What draws say about a distribution whose density is not at hand.

Energy distance: U = 2 mean |x_i − y_j| − mean |x_i − x_k| − mean |y_j − y_l| over i ≠ k, j ≠ l has
the mean 2 E|X − Y| − E|X − X′| − E|Y − Y′| and, by Hoeffding's decomposition, the variance F + S. F
comes from the means of the distances to each single point and vanishes where both laws agree; then
S is all there is, with V the mean squares of the doubly centred distances,

    S = 2 V_xx/(n (n − 1)) + 4 V_xy/(n m) + 2 V_yy/(m (m − 1)).

The jackknife has the mean F + 2 S and the V have unbiased estimates: the variance is the jackknife
less S, and at least S. Where both laws agree, the jackknife alone makes the error too large by √2.

Wasserstein distance on a line: W_p^p is a cost of transport in the order of size, and to first
order the mean over the points of its dual potentials φ(x) and ψ(y), whose variances are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor

from smdtheory.checks import extremes, integer, positive, real_tensor
from smdtheory.estimate import Estimate
from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.mixture import GaussianMixture, check_mixture

MIN_POINTS, MAX_SIZE = 16, 1e100
"""Fewest points that give a standard error worth the name; largest coordinate."""

MAX_ORDER, MAX_DIRECTIONS = 8.0, 2**16
"""Highest order of a Wasserstein distance, and most directions of one call."""

DISTANCES = 2**22
"""Distances, or projections, held in memory together."""


def energy_distance(x: Tensor, y: Tensor) -> Estimate:
    """The squared energy distance 2 E|X − Y| − E|X − X′| − E|Y − Y′| of two laws, from draws.

    It is 0 where they agree, positive elsewhere, and the estimate is unbiased: near 0 it may be
    negative, and its error is up to half too large. Takes n log n operations in d = 1 and n² d
    otherwise, in little memory. Source: Székely and Rizzo (2013).

    Args:
        x: independent draws of one law, (n, d).
        y: independent draws of the other, (m, d).

    Returns:
        A scalar, in the units of the points.

    Raises:
        TypeError: if they are not arrays of real numbers.
        ValueError: for fewer than :data:`MIN_POINTS` points, NaN, or shapes that do not fit.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(2, 1000, 2, generator=draw)
        >>> abs(float(energy_distance(x, y))) < 0.01 < float(energy_distance(x, y + 1))
        True
    """
    x, y, scale = _pair(x, y)
    n, m = len(x), len(y)
    to_x, to_y = _sorted_sums(x, y) if x.shape[1] == 1 else _pairwise_sums(x, y)
    between = to_y[:n].sum() / (n * m)
    value = 2 * between - to_x[:n].sum() / (n * (n - 1)) - to_y[n:].sum() / (m * (m - 1))
    pull_x = 2 * (to_y[:n] / m - to_x[:n] / (n - 2))
    pull_y = 2 * (to_x[n:] / n - to_y[n:] / (m - 2))
    jackknife = pull_x.var() / n + pull_y.var() / m
    spread_x, spread_y = ((z - z.mean(0)).square().sum() for z in (x, y))
    apart = n * m * (x.mean(0) - y.mean(0)).square().sum()
    second = (
        2 * _within(to_x[:n], 2 * n * spread_x) / (n * (n - 1))
        + 2 * _within(to_y[n:], 2 * m * spread_y) / (m * (m - 1))
        + 4 * _between(to_y[:n], to_x[n:], m * spread_x + n * spread_y + apart) / (n * m)
    )
    error = torch.maximum(jackknife - second, second).sqrt()
    return Estimate((scale * value).cpu(), (scale * error).cpu(), "sampling")


def sliced_wasserstein(
    x: Tensor,
    y: Tensor,
    *,
    order: float = 2.0,
    directions: int = 128,
    generator: torch.Generator | None = None,
) -> Estimate:
    """SW_p = (E_θ W_p(θᵀX, θᵀY)^p)^{1/p} over uniform unit vectors θ, from draws.

    W_p is exact for the points, through their quantile functions, whatever their numbers. Samples
    lie farther apart than their laws do, and the standard error, over directions and points, does
    not hold this bias: to judge a small value, compute it for two samples of one law as well.

    Args:
        x: independent draws of one law, (n, d).
        y: independent draws of the other, (m, d).
        order: p, from 1 to :data:`MAX_ORDER`.
        directions: number of random θ; in d = 1 there is only one, and W_p itself is returned.
        generator: source of randomness, on the CPU; torch's global one if absent.

    Returns:
        A scalar, in the units of the points.

    Raises:
        TypeError: if they are not arrays of real numbers, or the other arguments no numbers.
        ValueError: for too few points, NaN, shapes that do not fit, or a number out of range.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> x = torch.randn(1000, 2, generator=draw)
        >>> sliced_wasserstein(x, x + 3, generator=draw)  # 3: the shift's length over √d
        2.9 ± 0.1 (sampling)
    """
    x, y, scale = _pair(x, y)
    p = positive("order", order, low=1.0, high=MAX_ORDER)
    count = integer("directions", directions, low=2)
    if count > MAX_DIRECTIONS:
        raise ValueError(f"directions must be at most {MAX_DIRECTIONS}; received {count}")
    (n, d), m = x.shape, len(y)
    theta = torch.ones(1, 1, dtype=torch.float64)
    if d > 1:
        theta = torch.randn(count, d, dtype=torch.float64, generator=generator)
        theta = theta / theta.norm(dim=1, keepdim=True)
    ends = torch.cat([m * torch.arange(1, n + 1), n * torch.arange(1, m + 1)])
    ends = torch.unique(ends).to(x.device)  # where a quantile function jumps, times n m
    widths = ends.diff(prepend=ends.new_zeros(1)).to(torch.float64) / (n * m)
    costs, phi, psi = [], torch.zeros_like(x[:, 0]), torch.zeros_like(y[:, 0])
    for block in torch.split(theta.to(x.device), max(1, DISTANCES // (n + m))):
        (u, u_order), (v, v_order) = ((block @ z.mT).sort(dim=1) for z in (x, y))
        gaps = (u[:, (ends - 1) // m] - v[:, (ends - 1) // n]).abs()
        costs.append(gaps.pow(p) @ widths)
        phi.index_add_(0, u_order.flatten(), _potential(u, v, p).flatten())
        psi.index_add_(0, v_order.flatten(), _potential(v, u, p).flatten())
    cost = torch.cat(costs)
    variance = (phi / len(cost)).var() / n + (psi / len(cost)).var() / m
    if d > 1:
        variance = variance + cost.var() / count
    power = cost.mean()
    value = power.pow(1 / p)
    error = torch.where(power > 0, variance.sqrt() * value / (p * power), 0.0)
    return Estimate((scale * value).cpu(), (scale * error).cpu(), "sampling")


@dataclass(frozen=True)
class ModeCoverage:
    """Where draws fall among the components of a mixture.

    Attributes:
        mass: fraction of the draws that belong to each component, (K,).
        outside: fraction that belong to none.
        covered: number of components, of weight above 0, with at least ``share`` of it.
    """

    mass: Estimate
    outside: Estimate
    covered: int


def mode_coverage(
    mixture: GaussianMixture, samples: Tensor, *, ball: float = 0.9999, share: float = 0.5
) -> ModeCoverage:
    """Which modes of ``mixture`` draws of a model reach, and how many reach none.

    A draw belongs to its most responsible component, if it is in that component's ball: the
    ellipsoid of equal density around its mean that holds a fraction ``ball`` of its mass.
    Otherwise it is outside, even if it is in another's. Where components are well apart, draws of
    the mixture itself have mass w_k·ball; where they overlap, not even these.

    Args:
        mixture: q, whose components are the modes.
        samples: independent draws of the model, (n, d).
        ball: strictly between 0 and 1.
        share: in (0, 1].

    Returns:
        Fractions with binomial standard errors √(f (1 − f)/n), in which f has one more draw inside
        and one more outside, so that a mode never seen has not the error 0.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for too few points, NaN, a shape that does not fit, or a number out of range.

    Example:
        >>> from smdtheory.truth import presets
        >>> q = presets.ring(8)
        >>> mode_coverage(q, q.sample(2000)).covered
        8
    """
    q = check_mixture(mixture).to("cpu", torch.float64)
    x = _points("samples", samples).cpu()
    if x.shape[1] != q.dim:
        raise ValueError(f"samples must have d = {q.dim} columns; received {x.shape[1]}")
    part = positive("share", share, high=1.0)
    if positive("ball", ball, high=1.0) == 1:
        raise ValueError("ball must lie strictly between 0 and 1; received 1. Try 0.9999.")
    radius = float(chi2.ppf(ball, q.dim))
    counts = torch.zeros(q.num_components + 1, dtype=torch.float64)
    for block in torch.split(x, max(1, 16 * BLOCK_ELEMENTS // (q.num_components * q.dim))):
        distances = q.spectral.mahalanobis(block.unsqueeze(-2) - q.means)
        label = q.component_log_prob(block).argmax(-1)
        near = distances.gather(-1, label.unsqueeze(-1)).squeeze(-1) <= radius
        label = torch.where(near, label, q.num_components)
        counts += torch.bincount(label, minlength=len(counts))
    n = len(x)
    value, padded = counts / n, (counts + 1) / (n + 2)
    found = Estimate(value, (padded * (1 - padded) / n).sqrt(), "sampling")
    mass = found[:-1]
    reached = (mass.value >= part * q.weights) & (q.weights > 0)
    return ModeCoverage(mass, found[-1], int(reached.sum()))


def _pairwise_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Of every point of x and y together, the sums of its distances to all x and to all y."""
    points, n = torch.cat([x, y]), len(x)
    member = points.new_zeros(len(points), 2)
    member[:n, 0], member[n:, 1] = 1.0, 1.0
    sums, rows = torch.zeros_like(member), max(1, DISTANCES // len(points))
    for first in range(0, len(points), rows):  # each pair once, but for those within a block
        last = first + rows
        distances = torch.cdist(
            points[first:last], points[first:], compute_mode="donot_use_mm_for_euclid_dist"
        )
        sums[first:last] += distances @ member[first:]
        sums[last:] += distances[:, rows:].mT @ member[first:last]
    return sums[:, 0], sums[:, 1]


def _sorted_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`_pairwise_sums` on the line, where they are differences of partial sums."""
    points, found = torch.cat([x, y]).flatten(), []
    for group in (x, y):
        ordered = group.flatten().sort().values
        partial = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
        below = torch.searchsorted(ordered, points)
        found.append(points * (2 * below - len(group)) + partial[-1] - 2 * partial[below])
    return found[0], found[1]


def _within(sums: Tensor, squares: Tensor) -> Tensor:
    """V_xx, unbiased, from the sums of the distances from each point and of all their squares."""
    n = len(sums)
    pairs, total = sums.square().sum() / (n - 2), sums.sum().square() / ((n - 1) * (n - 2))
    value: Tensor = (squares - 2 * pairs + total) / (n * (n - 3))
    return value.clamp(min=0)


def _between(rows: Tensor, columns: Tensor, squares: Tensor) -> Tensor:
    """V_xy, likewise."""
    n, m = len(rows), len(columns)
    total = rows.sum().square() / (n * m)
    centred = squares - rows.square().sum() / m - columns.square().sum() / n + total
    value: Tensor = centred / ((n - 1) * (m - 1))
    return value.clamp(min=0)


def _potential(u: Tensor, v: Tensor, p: float) -> Tensor:
    """Dual potential φ of |u − v|^p at sorted points u (L, n), against sorted v (L, m).

    From one u to the next φ grows by what the v where its mass ends costs more; where the mass of
    a v ends as well, by the average over this v and the next.
    """
    n, m = u.shape[1], v.shape[1]
    ends = m * torch.arange(1, n, device=u.device)
    rise = torch.zeros_like(u)
    for partner in (v[:, (ends - 1) // n], v[:, ends // n]):
        rise[:, 1:] += 0.5 * ((u[:, 1:] - partner).abs() ** p - (u[:, :-1] - partner).abs() ** p)
    return rise.cumsum(1)


def _pair(x: Any, y: Any) -> tuple[Tensor, Tensor, float]:
    """Both sets of points, centred together and divided by their largest coordinate."""
    x, y = _points("x", x), _points("y", y)
    c, d = x.shape[1], y.shape[1]
    if c != d:
        raise ValueError(f"x and y must have as many columns, d; received {c} and {d}")
    y = y.to(x.device)
    centre = 0.5 * (x.mean(0) + y.mean(0))
    x, y = x - centre, y - centre
    scale = max(abs(v) for part in (x, y) for v in extremes(part)) or 1.0
    return x / scale, y / scale, scale


def _points(name: str, value: Any) -> Tensor:
    """Points (n, d) in float64."""
    points = real_tensor(name, value).detach().to(torch.float64)
    if points.ndim != 2 or points.shape[1] == 0 or len(points) < MIN_POINTS:
        raise ValueError(
            f"{name} must have shape (n, d), n >= {MIN_POINTS}; received {tuple(points.shape)}"
            + (f". For d = 1 write {name}[:, None]." if points.ndim == 1 else "")
        )
    low, high = extremes(points)
    if max(high, -low) > MAX_SIZE:
        size = max(high, -low)
        raise ValueError(f"{name} must be below {MAX_SIZE:.0e} in size; received up to {size:.3g}")
    return points
