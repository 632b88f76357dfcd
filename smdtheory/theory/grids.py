r"""The step grid with the smallest sum of local errors (docs/theory.md §12.2).

A local error depends on the pair (γ_s, γ_t) alone, so the sum over a grid γ_1 > ... > γ_T is the
length of a path from the data to γ_T through T − 1 other levels: the best grid on a set of
candidate levels is a shortest path with T steps,

    V_1(j) = M[0, j],    V_n(j) = min_{i < j} V_{n−1}(i) + M[i, j],

and is then moved off the candidates, every second level at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import integer, positive, real_tensor
from smdtheory.estimate import Estimate
from smdtheory.families import Family, check_family
from smdtheory.measure import error_table
from smdtheory.schedule import SNR_RANGE, Schedule
from smdtheory.theory.steps import chain_errors
from smdtheory.truth.curves import curves_of
from smdtheory.truth.mixture import GaussianMixture

CANDIDATES = 256
"""Candidate levels, spread evenly over :data:`LOWEST`..:data:`HIGHEST` in log γ; four for each step
where that is more."""

COARSE = 12
"""Candidates between γ_T and the lowest of these, where next to nothing is known of x_0."""

LOWEST = 1e-3
"""γ tr Cov(x_0) at the lowest of the evenly spread candidates."""

HIGHEST = 1e4
"""γ times the smallest variance at the highest: M(0, γ) is of the order of its inverse square."""

SLACK = 1.1
"""Moving levels off the candidates lowers the sum by less than this factor."""

SWEEPS = 20
"""Most rounds in which levels are moved off the candidates."""

SETTLED = 1e-5
"""Rounds end when one lowers the sum by less than this, relative."""

MOST_STEPS = 1024
"""Time and memory of the dynamic program grow with the square of the steps."""


@dataclass(frozen=True)
class BestGrid:
    """The grid with the smallest ΣM among those with as many steps and the same γ_T.

    Attributes:
        family: whose errors are summed.
        schedule: its levels.
        error: ΣM_t, in nats.
    """

    family: Family
    schedule: Schedule
    error: Estimate


def best_grid(
    mixture: GaussianMixture, steps: int, family: Family | str, *, snr_end: float | None = None
) -> BestGrid:
    """The grid of T steps that minimises ΣM_t over all γ_1 > ... > γ_{T−1} > γ_T (§12.2).

    γ_T is given, because ΣM alone would have it as large as possible: a chain that starts close to
    the data makes few errors on its way, and starts wrong. The rest is free. What the numbers
    promise: the optimum over the candidates, exactly, improved from there to a point where no
    single level can be moved to lower the sum.

    Args:
        mixture: q(x_0).
        steps: T, up to :data:`MOST_STEPS`.
        family: one of :data:`smdtheory.families.FAMILIES`.
        snr_end: γ_T. None: that of the cosine schedule with T steps.

    Returns:
        The grid as a schedule, and its ΣM_t.

    Raises:
        TypeError: if ``mixture`` is not a mixture, ``steps`` not an integer, or ``snr_end`` not a
            number.
        ValueError: for an unknown family, steps below 1 or too many, a mixture with batch
            dimensions, or γ_T out of range.

    Example:
        >>> from smdtheory.truth import presets
        >>> q, chain = presets.line(2), Schedule.cosine(4)
        >>> grid = best_grid(q, 4, "full")
        >>> bool(grid.error.value < chain_errors(q, chain, "full").sum().value)
        True
        >>> bool(grid.schedule.snr[-1] == chain.snr[-1])
        True
    """
    T, family, end = check_grid(steps, family, snr_end)
    table = grid_table(mixture, T, family, end)
    _, path = shortest(table.value, T)
    return _polished(mixture, family, table.levels[path])


def fewest_steps(
    mixture: GaussianMixture, error: float, family: Family | str, *, snr_end: float, most: int
) -> BestGrid | None:
    """The best grid with the fewest steps that keeps ΣM_t <= ``error``, if ``most`` are enough.

    Found by bisection: on best grids more steps never cost more, whatever the family (§12.2).

    Args:
        mixture: q(x_0).
        error: in nats.
        family: one of :data:`smdtheory.families.FAMILIES`.
        snr_end: γ_T.
        most: the largest T tried, up to :data:`MOST_STEPS`.

    Returns:
        The grid, or None where more than ``most`` steps are needed.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: as :func:`best_grid` does, and unless ``error`` is positive.

    Example:
        >>> from smdtheory.truth import presets
        >>> fewest_steps(presets.line(2), 0.1, "full", snr_end=1e-4, most=20).schedule.steps
        4
    """
    error = positive("error", error)
    T, family, end = check_grid(most, family, snr_end)
    table = grid_table(mixture, T, family, end)
    paths = shortest_paths(table.value, T)
    near = [n for n, (cost, _) in enumerate(paths) if cost <= SLACK * error]
    sure = [n for n, (cost, _) in enumerate(paths) if cost <= error]
    if not near:
        return None
    low, high = near[0] - 1, (sure[0] if sure else len(paths))  # indices: too few, surely enough
    found = None
    while high - low > 1:
        middle = (low + high) // 2
        grid = _polished(mixture, family, table.levels[paths[middle][1]])
        if float(grid.error) <= error:
            high, found = middle, grid
        else:
            low = middle
    if found is None and sure:
        return _polished(mixture, family, table.levels[paths[high][1]])
    return found


@dataclass(frozen=True)
class Table:
    """Candidate levels (N+1,), γ = ∞ first and γ_T last, and M[s, t] between them (N+1, N+1)."""

    levels: Tensor
    value: Tensor


def grid_table(mixture: GaussianMixture, steps: int, family: Family, snr_end: float) -> Table:
    """The candidates for a grid of up to ``steps`` steps that ends at ``snr_end``."""
    low, high = extent(mixture, snr_end)
    count = max(CANDIDATES, 4 * steps)
    even = torch.linspace(math.log(high), math.log(low), count, dtype=torch.float64)
    if low > snr_end:
        rest = torch.linspace(math.log(low), math.log(snr_end), COARSE + 1, dtype=torch.float64)
        even = torch.cat([even, rest[1:]])
    levels = torch.exp(even)
    levels[-1] = snr_end
    chain = Schedule.from_snr(levels)
    return Table(chain.snr, error_table(mixture, chain, family).value)


def shortest(table: Tensor | Any, steps: int) -> tuple[float, Tensor]:
    """The cheapest path of exactly ``steps`` steps from level 0 to the last one.

    Args:
        table: M[s, t] for s < t, (N+1, N+1); other entries are not used.
        steps: T, at most N.

    Returns:
        Its cost, and the levels it visits, (T+1,), from 0 to N.

    Raises:
        TypeError: if ``table`` is not made of numbers, or ``steps`` not an integer.
        ValueError: for another shape, or more steps than levels.

    Example:
        >>> M = torch.tensor([[0.0, 1.0, 5.0, 9.0], [0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 0]])
        >>> shortest(M, 2)
        (3.0, tensor([0, 1, 3]))
    """
    T = integer("steps", steps, low=1)
    return shortest_paths(table, T)[-1]


def shortest_paths(table: Tensor | Any, steps: int) -> list[tuple[float, Tensor]]:
    """:func:`shortest` for 1, 2, ..., ``steps`` steps."""
    costs = torch.as_tensor(table, dtype=torch.float64)
    if costs.ndim != 2 or costs.shape[0] != costs.shape[1] or len(costs) < 2:
        raise ValueError(
            f"table must be square, with 2 levels or more; received shape {tuple(costs.shape)}"
        )
    if steps > len(costs) - 1:
        raise ValueError(
            f"steps must be at most the number of levels below the data, {len(costs) - 1}; "
            f"received {steps}"
        )
    ahead = torch.ones_like(costs).triu(1).bool()
    real_tensor("table", costs[ahead])
    costs = torch.where(ahead, costs, torch.inf)
    value, before, found = costs[0], [], []
    for count in range(1, steps + 1):
        if count > 1:
            value, origin = (value.unsqueeze(-1) + costs).min(0)
            before.append(origin)
        path = [len(costs) - 1]
        for origin in reversed(before):
            path.append(int(origin[path[-1]]))
        found.append((float(value[-1]), torch.tensor([0, *reversed(path)])))
    return found


def check_grid(steps: Any, family: Family | str, snr_end: Any) -> tuple[int, Family, float]:
    """T, the family and γ_T, checked; γ_T is that of the cosine schedule if not given.

    Raises:
        TypeError: if ``steps`` is not an integer, or ``snr_end`` not a number.
        ValueError: for an unknown family, or numbers out of range.
    """
    T = integer("steps", steps, low=1)
    if T > MOST_STEPS:
        raise ValueError(
            f"steps must be at most {MOST_STEPS} for the best grid, whose search grows with their "
            f"square; received {T}. With more steps the grids differ by a constant factor: take a "
            "schedule."
        )
    if snr_end is None:
        return T, check_family(family), float(Schedule.cosine(T).snr[-1])
    return T, check_family(family), positive("snr_end", snr_end, *SNR_RANGE)


def extent(mixture: GaussianMixture, snr_end: float) -> tuple[float, float]:
    """The lowest and the highest γ of the evenly spread candidates."""
    variances, _ = curves_of(mixture).eigenvalues()
    low = max(snr_end, LOWEST / float(mixture.total_variance))
    high = max(HIGHEST / float(variances.min()), 1e3 * low)
    return low, min(high, SNR_RANGE[1])


def _polished(mixture: GaussianMixture, family: Family, levels: Tensor) -> BestGrid:
    """Move levels 1..T−1 until none can be moved alone to lower the sum.

    A level touches two steps, so every second level moves at once: to the best of where it is, two
    places beside it, and the lowest point of the parabola through the three.
    """

    def local(places: Tensor) -> Tensor:
        """M_t + M_{t+1} for t = 1..T−1, at levels exp(places) (T,)."""
        errors = chain_errors(mixture, Schedule.from_snr(torch.exp(places)), family).value
        return errors[1:-1] + errors[2:]

    place = torch.log(levels[1:])
    free = torch.arange(len(place) - 1)
    width = torch.full((len(free),), 0.02, dtype=torch.float64)
    for _ in range(SWEEPS if len(free) else 0):
        start = float(local(place)[::2].sum())
        lowered = 0.0
        for half in (free[::2], free[1::2]):
            if len(half) == 0:
                continue
            gap = torch.diff(place.neg(), prepend=place.neg()[:1] - 1)
            room = 0.45 * torch.minimum(gap[half], gap[half + 1])
            step = torch.minimum(width[half], room)

            def moved(by: Tensor, half: Tensor = half) -> tuple[Tensor, Tensor]:
                trial = place.clone()
                trial[half] += by
                return trial[half], local(trial)[half]

            here, up, down = moved(torch.zeros_like(step)), moved(step), moved(-step)
            bend = up[1] + down[1] - 2 * here[1]
            slope = down[1] - up[1]
            vertex = torch.where(bend > 0, 0.5 * step * slope / bend, step * slope.sign())
            guess = moved(vertex.clamp(-room, room))
            where = torch.stack([option[0] for option in (here, up, down, guess)])
            cost = torch.stack([option[1] for option in (here, up, down, guess)])
            least, which = cost.min(0)
            place[half] = where.gather(0, which.unsqueeze(0))[0]
            width[half] = torch.where(which == 0, 0.25 * step, step)
            lowered += float((here[1] - least).sum())
        if lowered <= SETTLED * abs(start):
            break
    chain = Schedule.from_snr(torch.cat([torch.exp(place[:-1]), levels[-1:]]))
    return BestGrid(family, chain, chain_errors(mixture, chain, family).sum())
