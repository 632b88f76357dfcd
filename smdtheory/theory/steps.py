r"""How many steps keep the sum of local errors below a given error (docs/theory.md §12.1).

Two routes: a search over T, with ΣM_t of each chain from the information curves of the mixture, and
the leading term ΣM_t ≈ C/T^p of §11, which gives T ≈ (C/ε)^(1/p) and is an estimate for small ε.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from smdtheory.checks import positive, shown
from smdtheory.estimate import Estimate
from smdtheory.families import FAMILIES, Family, check_family
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import SCHEDULES, Schedule
from smdtheory.theory.inputs import as_truth
from smdtheory.theory.rates import rate
from smdtheory.truth.curves import DIRECT_LEVELS
from smdtheory.truth.mixture import GaussianMixture

SOFT_MIXTURE = "soft_mixture"
"""The exact soft mixture, which makes no local error at any T (docs/theory.md §7.1)."""

EVERY = 256
"""Each T up to this is looked at."""

WINDOW = 16
"""Beyond, so many T before the one found."""

MOST = 2**13
"""The largest T looked at."""


@dataclass(frozen=True)
class StepsNeeded:
    """The smallest number of steps for an error.

    Attributes:
        family: a Gaussian family, or "soft_mixture".
        error: the error asked for, ε, in nats.
        schedule: name of the schedule.
        steps: the smallest T found with ΣM_t <= ε; ``None`` if there is none up to ``searched``.
        reached: ΣM_t at ``steps``; at ``searched`` if there is none.
        exhaustive: whether every smaller T was looked at. If not, ``steps`` − 1 and the
            :data:`WINDOW` before do not reach ε, nor do the T up to :data:`EVERY`.
        searched: the largest T looked at.
        asymptotic: the T of the leading term, an estimate; ``None`` where errors do not vanish, or
            if it was not asked for.
        note: why there is no T, or no estimate; "" otherwise.
    """

    family: str
    error: float
    schedule: str
    steps: int | None
    reached: Estimate
    exhaustive: bool
    searched: int
    asymptotic: int | None
    note: str = ""


def steps_needed(
    mixture: GaussianMixture,
    error: float,
    family: Family | str,
    schedule: str = "cosine",
    *,
    estimate: bool = True,
) -> StepsNeeded:
    """The smallest T with ΣM_t <= ``error``, by search and by the leading term (§12.1).

    ΣM_t need not fall with every T: grids of different T are not nested (§5.6). So every T up to
    :data:`EVERY` is looked at, and the first that reaches the error is the smallest of all. Beyond,
    T doubles until it does (up to :data:`MOST`), and the crossing is found by bisection: it is the
    smallest T unless ΣM_t dips below the error before it and rises again, which is excluded for the
    :data:`WINDOW` T before it. Errors sampled (d >= 3) are compared by their mean.

    Args:
        mixture: q(x_0).
        error: ε, in nats.
        family: one of :data:`smdtheory.families.FAMILIES`, or "soft_mixture".
        schedule: one of :data:`smdtheory.schedule.SCHEDULES`.
        estimate: whether the leading term is wanted too, which takes as long as the search.

    Returns:
        A :class:`StepsNeeded`. ``fixed_small`` may never get there: its errors do not vanish.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``error`` not a number.
        ValueError: unless ``error`` is positive and finite, for an unknown family or schedule, or a
            mixture with batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> needed = steps_needed(presets.line(2), 0.1, "full")
        >>> needed.steps, needed.exhaustive
        (7, True)
        >>> steps_needed(presets.line(2), 0.1, "soft_mixture").steps
        1
    """
    q, goal = as_truth(mixture), positive("error", error)
    if not isinstance(estimate, bool):
        raise TypeError(f"estimate must be True or False; received {shown(estimate)}")
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise ValueError(
            f"schedule must be one of {', '.join(SCHEDULES)}; received {shown(schedule)}"
        )
    if isinstance(family, str) and family == SOFT_MIXTURE:
        zero = torch.zeros((), dtype=torch.float64)
        exact = Estimate(zero, zero, "closed form")
        return StepsNeeded(SOFT_MIXTURE, goal, schedule, 1, exact, True, 1, 1)
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(
            f"family must be one of {', '.join((*FAMILIES, SOFT_MIXTURE))}; "
            f"received {shown(family)}"
        )
    name = check_family(family)

    def total(T: int) -> Estimate:
        return chain_errors(q, Schedule.named(schedule, T), name).sum()

    steps, searched = search(lambda T: float(total(T)) <= goal)
    asymptotic, note = _estimated(q, goal, name, schedule) if estimate else (None, "")
    if steps is None:
        note = f"ΣM is above {goal:g} at every T looked at, up to {searched}. {note}".rstrip()
    return StepsNeeded(
        family=name,
        error=goal,
        schedule=schedule,
        steps=steps,
        reached=total(steps or searched),
        exhaustive=steps is not None and steps <= EVERY,
        searched=searched,
        asymptotic=asymptotic,
        note=note,
    )


def search(
    enough: Callable[[int], bool], every: int = EVERY, most: int = MOST, window: int = WINDOW
) -> tuple[int | None, int]:
    """The smallest T found that is enough, and the largest T looked at.

    Args:
        enough: whether T steps are.
        every: each T up to this is looked at; beyond, T doubles, and the crossing is bisected.
        most: the largest T.
        window: how many T before the crossing are looked at as well.

    Example:
        >>> search(lambda T: T >= 1000), search(lambda T: T in (3, 4) or T > 9)
        ((1000, 1024), (3, 3))
    """
    for T in range(1, min(every, most) + 1):
        if enough(T):
            return T, T
    low = high = min(every, most)
    while not (high > low and enough(high)):
        if high >= most:
            return None, high
        low, high = high, min(2 * high, most)
    largest = high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    before = range(max(every + 1, high - window), high - 1)
    return next((T for T in before if enough(T)), high), largest


def chain_errors(mixture: GaussianMixture, schedule: Schedule, family: Family) -> Estimate:
    """:func:`smdtheory.measure.best_gaussian_errors` (T+1,), always from the mixture's curves.

    The averages at a few levels would be computed level by level, for each chain anew. Levels below
    γ_T change no error above it, and with some of them the curves are read, which is fast.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for an unknown family, or a mixture with batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> q, chain = presets.line(2), Schedule.cosine(3)
        >>> read = chain_errors(q, chain, "full").value
        >>> bool((read - best_gaussian_errors(q, chain, "full").value).abs().max() < 1e-8)
        True
    """
    missing = DIRECT_LEVELS + 1 - schedule.steps
    if missing <= 0:
        return best_gaussian_errors(mixture, schedule, family)
    share = 1 - 0.01 * torch.arange(1, missing + 1, dtype=torch.float64)
    longer = Schedule(torch.cat([schedule.snr, schedule.snr[-1] * share]))
    return best_gaussian_errors(mixture, longer, family)[: schedule.steps + 1]


def _estimated(
    mixture: GaussianMixture, error: float, family: Family, schedule: str
) -> tuple[int | None, str]:
    """T of the leading term, and why there is none."""
    if family == "fixed_small":
        return None, "fixed_small has no rate: its errors do not vanish as T grows."
    try:
        law = rate(mixture, schedule, family)
    except ValueError as reason:
        return None, f"No estimate: {reason}"
    steps = law.steps(error)
    if math.isinf(steps):
        return None, f"No estimate: float64 holds no T at which the leading term is {error:g}."
    return max(1, math.ceil(steps)), ""
