r"""The forward chain, told by one decreasing list of signal-to-noise ratios.

With γ = SNR = ᾱ/(1 − ᾱ), a schedule is γ_0 = ∞ > γ_1 > ... > γ_T > 0 and everything else follows:
ᾱ = γ/(1 + γ), 1 − ᾱ = 1/(1 + γ), and between any s < t, with Δγ = γ_s − γ_t
(docs/theory.md §2),

    β_{t|s} = Δγ / (γ_s (1 + γ_t)),     β̃_{s|t} = Δγ / (γ_s (1 + γ_s)).

Written this way nothing cancels, neither near the data (1 − ᾱ of 1e-20) nor near the noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from smdtheory.checks import broadcast, instance, integer, is_list, real_tensor, shown

ScheduleName = Literal["cosine", "linear", "sigmoid"]
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)

MAX_BETA = 0.999
"""Largest β_t of the cosine, linear and sigmoid schedules, as in Nichol and Dhariwal (2021)."""

SNR_RANGE = (1e-100, 1e100)
"""Range of finite signal-to-noise ratios: their squares neither under- nor overflow."""


@dataclass(frozen=True)
class Bridge:
    """Coefficients of x_s | x_t, x_0 ~ N(``c`` x_0 + ``c_prime`` x_t, ``variance`` I).

    ``variance`` is β̃_{s|t}; ``beta`` is the forward variance β_{t|s} of the same step.

    Attributes:
        c: the weight of x_0.
        c_prime: the weight of x_t.
        variance: β̃_{s|t}.
        beta: β_{t|s}, the forward variance of the same step.
    """

    c: Tensor
    c_prime: Tensor
    variance: Tensor
    beta: Tensor


def bridge(snr_t: Tensor | float, snr_s: Tensor | float) -> Bridge:
    """The law of x_s given x_t and x_0 (docs/theory.md §2).

    Args:
        snr_t: γ_t, positive and finite, any shape.
        snr_s: γ_s > γ_t, may be infinite (s = 0), broadcastable with ``snr_t``.

    Returns:
        The coefficients, in float64, each of the shape that the two broadcast to.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: unless 0 < γ_t < γ_s, or if they are outside :data:`SNR_RANGE`.

    Example:
        >>> b = bridge(1.0, float("inf"))
        >>> float(b.c), float(b.c_prime), float(b.variance)
        (1.0, 0.0, 0.0)
    """
    gamma_t = real_tensor("snr_t", snr_t, finite=False).to(torch.float64)
    gamma_s = real_tensor("snr_s", snr_s, finite=False).to(torch.float64)
    broadcast(snr_t=gamma_t.shape, snr_s=gamma_s.shape)
    low, high = SNR_RANGE
    within = (gamma_t >= low) & ((gamma_s <= high) | torch.isinf(gamma_s))
    if not bool((within & (gamma_s > gamma_t)).all()):
        raise ValueError(
            f"a backward step needs {low:.0e} <= snr_t < snr_s <= {high:.0e} (or snr_s = inf, the "
            f"data); received snr_t={shown(snr_t)}, snr_s={shown(snr_s)}. "
            "The signal-to-noise ratio falls with t: is s < t?"
        )
    removed = torch.where(torch.isinf(gamma_s), 1.0, (gamma_s - gamma_t) / gamma_s)
    noise_s = 1 / (1 + gamma_s)
    beta = removed / (1 + gamma_t)
    c_prime = torch.sqrt((1 + 1 / gamma_s) / (1 + 1 / gamma_t)) * ((1 + gamma_t) * noise_s)
    return Bridge(removed / torch.sqrt(1 + 1 / gamma_s), c_prime, removed * noise_s, beta)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A variance-preserving forward chain of T steps.

    Arrays have length T + 1 and are indexed by t: ``snr[0]`` is infinite, ``alphas_bar[0]`` is 1,
    ``betas[0]`` is 0. Build one with :meth:`cosine`, :meth:`linear`, :meth:`sigmoid`,
    :meth:`from_betas` or :meth:`from_snr`.

    Attributes:
        snr: (T+1,) float64, strictly decreasing.

    Example:
        >>> Schedule.cosine(10).respace([2, 5, 10]).steps
        3
    """

    snr: Tensor

    def __post_init__(self) -> None:
        snr = real_tensor("snr", self.snr, finite=False).to("cpu", torch.float64)
        object.__setattr__(self, "snr", snr)
        if snr.ndim != 1 or len(snr) < 2:
            raise ValueError(
                "snr must be a list of length T + 1 >= 2, from t = 0 to t = T; "
                f"received shape {tuple(snr.shape)}"
            )
        if not (torch.isinf(snr[0]) and snr[0] > 0):
            raise ValueError(f"snr[0] must be inf (t = 0 is the data); received {float(snr[0])}")
        falls = bool((snr[:-1] > snr[1:]).all())
        low, high = SNR_RANGE
        if not (falls and float(snr[1]) <= high and float(snr[-1]) >= low):
            raise ValueError(
                f"snr must fall strictly with t within {high:.0e}..{low:.0e} for t >= 1; received "
                f"{[float(v) for v in snr[:5]]}{'...' if len(snr) > 5 else ''}. "
                "A beta too small for float64, or equal neighbours, are the usual cause."
            )

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.snr) - 1

    @property
    def alphas_bar(self) -> Tensor:
        """ᾱ_t, shape (T+1,)."""
        return 1 / (1 + 1 / self.snr)

    @property
    def betas(self) -> Tensor:
        """β_t, shape (T+1,), with ``betas[0] = 0``."""
        beta = bridge(self.snr[1:], self.snr[:-1]).beta
        return torch.cat([beta.new_zeros(1), beta])

    @staticmethod
    def from_snr(snr: Tensor | Sequence[float]) -> Schedule:
        """A schedule from its signal-to-noise ratios, with or without the leading infinity.

        Args:
            snr: γ_1 > ... > γ_T > 0, or γ_0 = ∞ before them.

        Returns:
            A chain of T steps.

        Raises:
            ValueError: unless they fall strictly and are positive.

        Example:
            >>> Schedule.from_snr([10.0, 1.0, 0.1]).steps
            3
        """
        gamma = _vector("snr", snr)
        if not torch.isinf(gamma[0]):
            gamma = torch.cat([gamma.new_full((1,), math.inf), gamma])
        return Schedule(gamma)

    @staticmethod
    def from_betas(betas: Tensor | Sequence[float]) -> Schedule:
        """A schedule from β_1..β_T (a leading ``betas[0] = 0`` is accepted).

        Args:
            betas: (T,), or (T + 1,) with the leading 0.

        Returns:
            A chain of T steps.

        Raises:
            ValueError: unless every β_t lies strictly between 0 and 1.

        Example:
            >>> Schedule.from_betas([0.1, 0.5]).alphas_bar
            tensor([1.0000, 0.9000, 0.4500], dtype=torch.float64)
        """
        beta = _vector("betas", betas)
        if beta[0] == 0:
            beta = beta[1:]
        if len(beta) == 0 or not bool(((beta > 0) & (beta < 1)).all()):
            raise ValueError(
                "each beta must lie strictly between 0 and 1; received "
                f"{[float(b) for b in beta[:5]]}. A beta of 1 destroys the signal: clip at 0.999."
            )
        log_alpha_bar = torch.cumsum(torch.log1p(-beta), 0)
        return Schedule.from_snr(1 / torch.expm1(-log_alpha_bar))

    @staticmethod
    def cosine(steps: int) -> Schedule:
        """β_t = min(1 − f(t)/f(t−1), 0.999), f(t) = cos²((t/T + 0.008)/1.008 · π/2).

        Source: Nichol and Dhariwal (2021), eq. 17.

        Args:
            steps: T.

        Returns:
            A chain of T steps.

        Raises:
            ValueError: if ``steps`` is not an integer of at least 1.
        """
        return _from_alpha_bar(
            steps, lambda u: torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
        )

    @staticmethod
    def sigmoid(steps: int) -> Schedule:
        """ᾱ_t ∝ σ(3) − σ(6t/T − 3), clipped as the cosine schedule is.

        Source: Jabri et al. (2023) with start −3, end 3 and temperature 1.

        Args:
            steps: T.

        Returns:
            A chain of T steps.

        Raises:
            ValueError: if ``steps`` is not an integer of at least 1.
        """
        return _from_alpha_bar(
            steps, lambda u: torch.sigmoid(u.new_tensor(3.0)) - torch.sigmoid(6 * u - 3)
        )

    @staticmethod
    def linear(steps: int) -> Schedule:
        """β from 1e-4·1000/T to 0.02·1000/T in equal increments, clipped at 0.999.

        Source: Ho et al. (2020), rescaled so that the total noise does not depend on T.

        Args:
            steps: T.

        Returns:
            A chain of T steps.

        Raises:
            ValueError: if ``steps`` is not an integer of at least 1.
        """
        count = integer("steps", steps, low=1)
        scale = 1000 / count
        beta = torch.linspace(1e-4 * scale, 0.02 * scale, count, dtype=torch.float64)
        return Schedule.from_betas(beta.clamp(max=MAX_BETA))

    @staticmethod
    def named(name: str, steps: int) -> Schedule:
        """The schedule called "cosine", "linear" or "sigmoid".

        Args:
            name: one of :data:`SCHEDULES`.
            steps: T.

        Returns:
            A chain of T steps.

        Raises:
            ValueError: for another name, or if ``steps`` is not an integer of at least 1.
        """
        if not isinstance(name, str) or name not in SCHEDULES:
            raise ValueError(
                f"name must be one of the schedules {', '.join(SCHEDULES)}; received {shown(name)}"
            )
        make: Callable[[int], Schedule] = getattr(Schedule, name)
        return make(steps)

    def respace(self, times: Sequence[int] | int) -> Schedule:
        """The chain that visits only ``times``: same marginals there, fewer steps.

        Args:
            times: strictly increasing indices in 1..T (a leading 0 is accepted), or the number of
                steps wanted, spread evenly and ending at T.

        Returns:
            A chain with a step for each of ``times``.

        Raises:
            TypeError: if they are not integers.
            ValueError: if they are out of range or do not increase.

        Example:
            >>> Schedule.linear(1000).respace(4).steps
            4
        """
        if is_list(times):
            index = [integer("times", t) for t in times]
        else:
            count = integer("times", times, low=1)
            if count > self.steps:
                raise ValueError(f"times must lie in 1..{self.steps}; received {count}")
            index = [round(self.steps * i / count) for i in range(1, count + 1)]
        if index and index[0] == 0:
            index = index[1:]
        rising = all(a < b for a, b in itertools.pairwise(index))
        if not index or index[0] < 1 or index[-1] > self.steps or not rising:
            raise ValueError(
                f"times must be strictly increasing integers in 1..{self.steps}; "
                f"received {shown(times)}"
            )
        return Schedule(self.snr[[0, *index]])

    def check_step(self, t: int, s: int | None = None) -> tuple[int, int]:
        """Return (t, s) as integers with 0 <= s < t <= T; s defaults to t − 1.

        Args:
            t: 1..T.
            s: 0..t−1.

        Returns:
            The two, s found where it was left out.

        Raises:
            TypeError: if t or s is not an integer.
            ValueError: if they are out of range.
        """
        return check_step(self.steps, t, s)

    def __repr__(self) -> str:
        first, last = float(self.snr[1]), float(self.snr[-1])
        return f"Schedule(steps={self.steps}, snr from {first:.4g} to {last:.4g})"


def check_step(steps: int, t: Any, s: Any = None) -> tuple[int, int]:
    """Validate a backward step t → s of a chain of ``steps`` steps; s defaults to t − 1.

    Args:
        steps: T.
        t: 1..T.
        s: 0..t−1.

    Returns:
        (t, s).

    Raises:
        TypeError: if t or s is not an integer.
        ValueError: if they are out of range.

    Example:
        >>> check_step(10, 3)
        (3, 2)
    """
    t = integer("t", t)
    s = t - 1 if s is None else integer("s", s)
    if not 1 <= t <= steps:
        raise ValueError(f"t must lie in 1..{steps} (the schedule has {steps} steps); received {t}")
    if not 0 <= s < t:
        raise ValueError(f"s must lie in 0..t-1 = 0..{t - 1}: a step goes back; received s={s}")
    return t, s


def check_schedule(schedule: Any) -> Schedule:
    """The schedule itself.

    Args:
        schedule: whatever it is.

    Returns:
        It, known to be a :class:`Schedule`.

    Raises:
        TypeError: if it is not a schedule.

    Example:
        >>> check_schedule(Schedule.cosine(10)).steps
        10
    """
    return instance("schedule", schedule, Schedule, "Schedule.from_snr makes one from a list.")


def _vector(name: str, values: Any) -> Tensor:
    vector = real_tensor(name, values, finite=False).to(torch.float64)
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(
            f"{name} must be a non-empty list of numbers; received shape {tuple(vector.shape)}"
        )
    return vector


def _from_alpha_bar(steps: int, alpha_bar: Callable[[Tensor], Tensor]) -> Schedule:
    """β_t = min(1 − f(t)/f(t−1), 0.999) for an unnormalised ᾱ = f."""
    level = alpha_bar(torch.linspace(0, 1, integer("steps", steps, low=1) + 1, dtype=torch.float64))
    return Schedule.from_betas((1 - level[1:] / level[:-1]).clamp(max=MAX_BETA))
