r"""The named schedules as T → ∞: β_t = b(t/T)/T (docs/theory.md §11.4).

With ᾱ(u) = exp(−∫_0^u b), each limit is told by b as a function of τ = 1/γ: cosine, linear and
sigmoid have it in closed form. It stays positive as τ → 0, so that β_1 ~ b(0)/T: the first steps
are small and equal in the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import called, shown
from smdtheory.schedule import SCHEDULES, Schedule, ScheduleName, check_schedule


@dataclass(frozen=True)
class Limit:
    """A schedule as T → ∞.

    Attributes:
        speed: b as a function of γ, any shape.
        end: γ at u = 1, 0 where the chain ends in pure noise.
    """

    speed: Callable[[Tensor], Tensor]
    end: float


def _cosine(gamma: Tensor) -> Tensor:
    """(π/1.008) tan θ with cos² θ = ᾱ cos² θ_0, so tan² θ = tan² θ_0 + τ/cos² θ_0."""
    start = math.tan(0.008 / 1.008 * math.pi / 2) ** 2
    return math.pi / 1.008 * torch.sqrt(start + (1 + start) / gamma)


def _linear(gamma: Tensor) -> Tensor:
    """b = 0.1 + 19.9 u, and −log ᾱ = ∫ b gives b² = 0.1² + 2 · 19.9 · log(1 + τ)."""
    return torch.sqrt(0.1**2 + 2 * 19.9 * torch.log1p(1 / gamma))


def _sigmoid(gamma: Tensor) -> Tensor:
    """6 σ (1 − σ)/(σ(3) − σ) with σ = σ(6u − 3), which falls short of σ(3) by ᾱ (σ(3) − σ(−3))."""
    low = 1 / (1 + math.exp(3))
    height = 1 - 2 * low
    sigma = low + height / (1 + gamma)
    return 6 * sigma * (1 - sigma) * (1 + 1 / gamma) / height


LIMITS: dict[ScheduleName, Limit] = {
    "cosine": Limit(_cosine, 0.0),
    "linear": Limit(_linear, 1 / math.expm1(0.1 + 19.9 / 2)),
    "sigmoid": Limit(_sigmoid, 0.0),
}


def limit_of(name: str) -> Limit:
    """The limit of a named schedule (docs/theory.md §11.4).

    Args:
        name: "cosine", "linear" or "sigmoid".

    Returns:
        Its speed, and γ at its end.

    Raises:
        ValueError: for another name.

    Example:
        >>> limit_of("linear").speed(torch.tensor(torch.inf, dtype=torch.float64))
        tensor(0.1000, dtype=torch.float64)
    """
    for known, limit in LIMITS.items():
        if isinstance(name, str) and name == known:
            return limit
    raise ValueError(
        f"schedule must be one of {', '.join(SCHEDULES)}, or a function that makes the schedule of "
        f"T steps; received {shown(name)}"
    )


def maker_of(schedule: Any) -> Callable[[int], Schedule]:
    """The function that makes the schedule of T steps, from its name or from itself.

    Raises:
        TypeError: for anything else; and, when it is called, for a function that takes no T or
            makes no schedule.
        ValueError: for another name.

    Example:
        >>> maker_of("cosine")(10).steps
        10
    """
    if isinstance(schedule, str):
        limit_of(schedule)
        named: Callable[[int], Schedule] = getattr(Schedule, schedule)
        return named
    if not callable(schedule):
        raise TypeError(
            "schedule must be a name or a function that makes the schedule of T steps; received "
            f"{shown(schedule)}. Schedule.cosine is such a function, Schedule.cosine(100) is not."
        )
    return lambda steps: check_schedule(called("schedule", schedule, "T", steps))
