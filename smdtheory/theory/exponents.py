r"""The exponent of ΣM in 1/T, measured on chains of several lengths (docs/theory.md §11.6)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import t as student_t
from torch import Tensor

from smdtheory.checks import integer, is_list, shown
from smdtheory.families import Family, check_family
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import Schedule
from smdtheory.theory.inputs import as_truth
from smdtheory.theory.limits import maker_of
from smdtheory.truth.mixture import GaussianMixture

STEPS = (200, 400, 800, 1600, 3200)
"""T of the chains from which exponents are measured."""

CONFIDENCE = 0.95
"""Level of the interval of a measured exponent."""


@dataclass(frozen=True)
class Exponent:
    """A measured exponent p of ΣM ~ C/T^p.

    Attributes:
        value: p of the regression log ΣM = log C − p log T + a/T, whose last term is the next
            order of the theory.
        low: lower end of its 95 % interval (Student's t).
        high: upper end.
        plain: p of the regression without the last term.
        local: log(ΣM at T / ΣM at the next T) / log(ratio of the two T), which tends to p.
        steps: T of the chains.
        sums: ΣM of each, in nats.
    """

    value: float
    low: float
    high: float
    plain: float
    local: tuple[float, ...]
    steps: tuple[int, ...]
    sums: tuple[float, ...]


def measured_exponent(
    mixture: GaussianMixture,
    schedule: str | Callable[[int], Schedule],
    family: Family | str,
    steps: Sequence[int] = STEPS,
) -> Exponent:
    """The exponent of ΣM in 1/T by regression over several T (docs/theory.md §11.6).

    Args:
        mixture: q(x_0).
        schedule: a name, or a function that makes the schedule of T steps.
        family: one of :data:`smdtheory.families.FAMILIES`. For ``fixed_small`` it tends to 0.
        steps: T, at least four, increasing.

    Returns:
        The exponent, its 95 % interval, and what it was measured from.

    Raises:
        TypeError: if ``mixture`` is not a mixture, ``schedule`` neither a name nor a function, or
            ``steps`` not a list of integers.
        ValueError: if ``steps`` are fewer than four, not increasing or below 1, for unknown names,
            and where a sum is 0 within its error, so that no rate can be seen.

    Example:
        >>> from smdtheory.truth import presets
        >>> found = measured_exponent(presets.line(2), "cosine", "full", (100, 200, 400, 800))
        >>> 1.9 < found.value < 2.1
        True
    """
    q, name = as_truth(mixture), check_family(family)
    lengths, make = _lengths(steps), maker_of(schedule)
    sums = [best_gaussian_errors(q, make(length), name).sum() for length in lengths]
    for length, total in zip(lengths, sums, strict=True):
        if float(total) <= 4 * float(total.error):
            raise ValueError(
                "sums must differ from 0 by more than their error, to have a logarithm; received "
                f"{total!r} at T = {length}. Is the family exact for this mixture, or T too large?"
            )
    values = torch.stack([total.value for total in sums])
    size = torch.tensor(lengths, dtype=torch.float64)
    log_size, log_value = torch.log(size), torch.log(values)
    plain, _ = _slope(log_size, log_value, [])
    slope, width = _slope(log_size, log_value, [1 / size])
    local = -torch.diff(log_value) / torch.diff(log_size)
    return Exponent(
        -slope,
        -slope - width,
        -slope + width,
        -plain,
        tuple(local.tolist()),
        lengths,
        tuple(values.tolist()),
    )


def _lengths(steps: Any) -> tuple[int, ...]:
    """Increasing numbers of steps, enough for a regression."""
    if not is_list(steps):
        raise TypeError(f"steps must be a list of integers; received {shown(steps)}")
    lengths = tuple(integer("steps", length, low=1) for length in steps)
    if len(lengths) < 4 or any(a >= b for a, b in itertools.pairwise(lengths)):
        raise ValueError(
            "steps must be at least four numbers of steps, increasing: the regression has three "
            f"coefficients; received {shown(steps)}"
        )
    return lengths


def _slope(x: Tensor, y: Tensor, others: list[Tensor]) -> tuple[float, float]:
    """Least squares of y on 1, x and ``others``: the slope in x, half its 95 % interval."""
    rows = torch.stack([torch.ones_like(x), x, *others], -1)
    inverse = torch.linalg.inv(rows.mT @ rows)
    coefficients = inverse @ rows.mT @ y
    freedom = len(x) - rows.shape[-1]
    variance = (y - rows @ coefficients).square().sum() / freedom
    width = student_t.ppf((1 + CONFIDENCE) / 2, freedom) * torch.sqrt(variance * inverse[1, 1])
    return float(coefficients[1]), float(width)
