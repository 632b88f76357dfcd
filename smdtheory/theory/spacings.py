r"""Standard step grids, and what the best one saves over each (docs/theory.md §12.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import integer, positive
from smdtheory.estimate import Estimate
from smdtheory.families import Family
from smdtheory.schedule import SNR_RANGE, Schedule
from smdtheory.theory.grids import BestGrid, best_grid, check_grid, extent
from smdtheory.theory.steps import chain_errors
from smdtheory.truth.mixture import GaussianMixture

RHO = 7.0
"""Exponent of the spacing of Karras et al. (2022)."""

STARTS = 64
"""First levels tried, evenly spread in log γ, before the best of them is refined."""


@dataclass(frozen=True)
class GridGain:
    """A standard grid beside the best one with the same γ_T and as many steps.

    Attributes:
        name: "linear", "cosine", "sigmoid", "log_snr" or "edm".
        schedule: the standard grid.
        error: its ΣM_t, in nats.
        best: the best grid.
    """

    name: str
    schedule: Schedule
    error: Estimate
    best: BestGrid

    @property
    def gain(self) -> float:
        """The share of the standard grid's error that the best one saves; 0 where there is none."""
        own = float(self.error)
        return 1 - float(self.best.error) / own if own > 0 else 0.0


def compare_grids(
    mixture: GaussianMixture, steps: int, family: Family | str, *, snr_end: float | None = None
) -> tuple[GridGain, ...]:
    """Each standard grid beside the best one (docs/theory.md §12.3).

    Linear, cosine and sigmoid are as :class:`Schedule` has them. ``log_snr`` is uniform in log γ
    and ``edm`` uniform in γ^(−1/(2ρ)), ρ = 7 (Karras et al. 2022); both end at ``snr_end``, and
    their first level is the one that suits them best. Each is compared with the best grid that has
    its own γ_T: what is gained is gained by the levels between the data and that end.

    Args:
        mixture: q(x_0).
        steps: T.
        family: one of :data:`smdtheory.families.FAMILIES`.
        snr_end: γ_T of the last two. None: that of the cosine schedule with T steps.

    Returns:
        A row for each standard grid.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: as :func:`best_grid` does.

    Example:
        >>> from smdtheory.truth import presets
        >>> [row.name for row in compare_grids(presets.line(2), 3, "isotropic")]
        ['linear', 'cosine', 'sigmoid', 'log_snr', 'edm']
    """
    T, family, end = check_grid(steps, family, snr_end)
    grids = {name: Schedule.named(name, T) for name in ("linear", "cosine", "sigmoid")}
    top = float(extent(mixture, end)[1])
    for name, spacing in (("log_snr", uniform_log_snr), ("edm", edm)):
        grids[name] = _best_start(mixture, family, T, end, top, spacing)
    found: dict[float, BestGrid] = {}
    rows = []
    for name, schedule in grids.items():
        last = float(schedule.snr[-1])
        if last not in found:
            found[last] = best_grid(mixture, T, family, snr_end=last)
        own = chain_errors(mixture, schedule, family).sum()
        rows.append(GridGain(name, schedule, own, found[last]))
    return tuple(rows)


def uniform_log_snr(steps: int, snr_first: float, snr_end: float) -> Schedule:
    """T levels from γ_1 to γ_T, evenly spaced in log γ.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: unless γ_1 > γ_T > 0 (equal for one step).

    Example:
        >>> uniform_log_snr(3, 100.0, 0.01).snr.tolist()[1:]
        [100.0..., 1.0..., 0.01]
    """
    return _spaced(steps, snr_first, snr_end, torch.log, torch.exp)


def edm(steps: int, snr_first: float, snr_end: float) -> Schedule:
    """T levels from γ_1 to γ_T, evenly spaced in σ^(1/ρ), where σ = γ^(−1/2) and ρ = 7.

    Source: Karras et al. (2022), eq. 5; σ is the noise of the y-form (docs/theory.md §2.1).

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: unless γ_1 > γ_T > 0 (equal for one step).

    Example:
        >>> edm(3, 1.0, 1e-14).snr.round(decimals=4)  # σ^(1/7) = 1, 5.5, 10
        tensor([inf, 1., 0., 0.], dtype=torch.float64)
    """
    power = 1 / (2 * RHO)
    return _spaced(steps, snr_first, snr_end, lambda g: g**-power, lambda u: u ** (-1 / power))


def _best_start(
    mixture: GaussianMixture,
    family: Family,
    steps: int,
    snr_end: float,
    snr_top: float,
    spacing: Callable[[int, float, float], Schedule],
) -> Schedule:
    """The spacing with the first level γ_1 that gives it the smallest sum."""
    if steps == 1:
        return Schedule.from_snr([snr_end])

    def total(place: float) -> float:
        chain = spacing(steps, math.exp(place), snr_end)
        return float(chain_errors(mixture, chain, family).sum())

    low, high = math.log(snr_end), math.log(snr_top)
    width = (high - low) / STARTS
    best = min((low + width * i for i in range(1, STARTS + 1)), key=total)
    while width > 1e-4:
        width /= 2
        best = min(
            (best, best - width, best + width), key=lambda p: total(p) if p > low else math.inf
        )
    return spacing(steps, math.exp(best), snr_end)


def _spaced(
    steps: Any,
    snr_first: Any,
    snr_end: Any,
    there: Callable[[Tensor], Tensor],
    back: Callable[[Tensor], Tensor],
) -> Schedule:
    T = integer("steps", steps, low=1)
    first = positive("snr_first", snr_first, *SNR_RANGE)
    end = positive("snr_end", snr_end, *SNR_RANGE)
    if not (first > end or (T == 1 and first == end)):
        raise ValueError(
            "snr_first must be above snr_end: the signal-to-noise ratio falls with t; received "
            f"{first:g} and {end:g}"
        )
    ends = there(torch.tensor([first, end], dtype=torch.float64))
    share = torch.linspace(0, 1, T, dtype=torch.float64) if T > 1 else torch.ones(1).double()
    levels = back(ends[0] + share * (ends[1] - ends[0]))
    levels[-1] = end
    return Schedule.from_snr(levels)
