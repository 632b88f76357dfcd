"""A witness: a mixture, its copies, and the certificate that its errors pass a level (§6.13)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import positive
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.validate import SCALE_RANGE

LEAST_VARIANCE = SCALE_RANGE[0]
"""The thinnest component that a mixture may have."""

MOST_NATS = 1e12
"""The highest level: more copies than reach it are no whole number in float64."""

SURPLUS = 1e-6
"""Amount, relative and absolute, by which a certificate that may be chosen passes N."""


class NoWitnessError(ValueError):
    """There is no witness under the conditions asked for; the message gives the reason."""


@dataclass(frozen=True)
class Witness:
    """A mixture whose errors pass N, as a base and a number of independent copies of it.

    Attributes:
        base: a mixture q.
        copies: m; the witness is the product of m copies of q, in m times the dimension. Its K^m
            components are never listed.
        certificate: a lower bound for the witness: on M_t, (T+1,), with NaN at the t that were not
            asked for, or on the global error, a scalar. ``value`` − ``error`` is above N.
        argument: what it rests on.
    """

    base: GaussianMixture
    copies: int
    certificate: Estimate
    argument: str

    @property
    def dim(self) -> int:
        """The dimension of the witness."""
        return self.base.dim * self.copies


def check_level(level: Any) -> float:
    """N, in nats.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not positive, or above :data:`MOST_NATS`.

    Example:
        >>> check_level(10)
        10.0
    """
    return positive("level", level, high=MOST_NATS)


def copies_needed(level: float, least: float) -> int:
    """The number of copies that carry a certified ``least`` above ``level``.

    Raises:
        NoWitnessError: if ``least`` is not positive.

    Example:
        >>> copies_needed(1.0, 0.25)
        5
    """
    if not least > 0:
        raise NoWitnessError(
            f"No witness found: the least certified M_t of the base is {least:g} nats, so that no "
            "number of copies passes N. Two neighbouring levels of the schedule are nearly equal "
            "there; ask for other t, or use fewer steps."
        )
    return math.floor(level / (least * (1 - 2 * ROUNDING))) + 1


def along_chain(steps: int, asked: list[int], value: Tensor, error: Tensor) -> Estimate:
    """Lower bounds at the t asked for as an estimate (T+1,), NaN elsewhere and 0 at t = 0.

    Example:
        >>> along_chain(2, [2], torch.ones(1).double(), torch.zeros(1).double()).value
        tensor([0., nan, 1.], dtype=torch.float64)
    """
    full = torch.full((2, steps + 1), torch.nan, dtype=torch.float64)
    full[:, 0] = 0
    full[:, asked] = torch.stack([value, error])
    return Estimate(full[0], full[1], "bound")
