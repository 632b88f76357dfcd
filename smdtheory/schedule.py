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

ScheduleName = Literal["cosine", "linear", "sigmoid"]
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)

MAX_BETA = 0.999
"""Largest β_t of the cosine, linear and sigmoid schedules, as in Nichol and Dhariwal (2021)."""


@dataclass(frozen=True)
class Bridge:
    """Coefficients of x_s | x_t, x_0 ~ N(``c`` x_0 + ``c_prime`` x_t, ``variance`` I).

    ``variance`` is β̃_{s|t}; ``beta`` is the forward variance β_{t|s} of the same step.
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

    Raises:
        ValueError: unless 0 < γ_t < γ_s.

    Example:
        >>> b = bridge(1.0, float("inf"))
        >>> float(b.c), float(b.c_prime), float(b.variance)
        (1.0, 0.0, 0.0)
    """
    gamma_t = torch.as_tensor(snr_t, dtype=torch.float64)
    gamma_s = torch.as_tensor(snr_s, dtype=torch.float64)
    if not bool(((gamma_t > 0) & (gamma_s > gamma_t) & torch.isfinite(gamma_t)).all()):
        raise ValueError(
            "a backward step needs 0 < snr_t < snr_s with snr_t finite; received "
            f"snr_t={snr_t}, snr_s={snr_s}. The signal-to-noise ratio falls with t: is s < t?"
        )
    removed = torch.where(torch.isinf(gamma_s), 1.0, (gamma_s - gamma_t) / gamma_s)
    noise_s = 1 / (1 + gamma_s)
    beta = removed / (1 + gamma_t)
    c_prime = torch.sqrt((gamma_t + gamma_t * gamma_t) * (1 / gamma_s) * noise_s)
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
        snr = self.snr
        if snr.ndim != 1 or len(snr) < 2:
            raise ValueError(
                "snr must be a list of length T + 1 >= 2, from t = 0 to t = T; "
                f"received shape {tuple(snr.shape)}"
            )
        if not (torch.isinf(snr[0]) and snr[0] > 0):
            raise ValueError(f"snr[0] must be inf (t = 0 is the data); received {float(snr[0])}")
        falls = bool((snr[:-1] > snr[1:]).all())
        if not (falls and bool(torch.isfinite(snr[1:]).all()) and float(snr[-1]) > 0):
            raise ValueError(
                "snr must fall strictly with t and stay positive and finite for t >= 1; received "
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

        Raises:
            ValueError: if ``steps`` is not an integer of at least 1.
        """
        scale = 1000 / _steps(steps)
        beta = torch.linspace(1e-4 * scale, 0.02 * scale, steps, dtype=torch.float64)
        return Schedule.from_betas(beta.clamp(max=MAX_BETA))

    @staticmethod
    def named(name: str, steps: int) -> Schedule:
        """The schedule called "cosine", "linear" or "sigmoid".

        Raises:
            ValueError: for another name, or if ``steps`` is not an integer of at least 1.
        """
        if name not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; received {name!r}")
        make: Callable[[int], Schedule] = getattr(Schedule, name)
        return make(steps)

    def respace(self, times: Sequence[int] | int) -> Schedule:
        """The chain that visits only ``times``: same marginals there, fewer steps.

        Args:
            times: strictly increasing indices in 1..T (a leading 0 is accepted), or the number of
                steps wanted, spread evenly and ending at T.

        Raises:
            ValueError: if they are not.

        Example:
            >>> Schedule.linear(1000).respace(4).steps
            4
        """
        if isinstance(times, int):
            if not 1 <= times <= self.steps:
                raise ValueError(f"times must lie in 1..{self.steps}; received {times}")
            times = [round(self.steps * i / times) for i in range(1, times + 1)]
        index = [int(t) for t in times]
        if index and index[0] == 0:
            index = index[1:]
        rising = all(a < b for a, b in itertools.pairwise(index))
        if not index or index[0] < 1 or index[-1] > self.steps or not rising:
            raise ValueError(
                f"times must be strictly increasing integers in 1..{self.steps}; "
                f"received {list(times)}"
            )
        return Schedule(self.snr[[0, *index]])

    def check_step(self, t: int, s: int | None = None) -> tuple[int, int]:
        """Return (t, s) as integers with 0 <= s < t <= T; s defaults to t − 1.

        Raises:
            TypeError: if t or s is not an integer.
            ValueError: if they are out of range.
        """
        return check_step(self.steps, t, s)

    def __repr__(self) -> str:
        first, last = float(self.snr[1]), float(self.snr[-1])
        return f"Schedule(steps={self.steps}, snr from {first:.4g} to {last:.4g})"


def check_step(steps: int, t: Any, s: Any = None) -> tuple[int, int]:
    """Validate a backward step t → s of a chain of ``steps`` steps; s defaults to t − 1."""
    for name, index in (("t", t), ("s", s)):
        if index is not None and (isinstance(index, bool) or not hasattr(index, "__index__")):
            raise TypeError(f"{name} must be an integer; received {index!r}")
    t = int(t)
    s = t - 1 if s is None else int(s)
    if not 1 <= t <= steps:
        raise ValueError(f"t must lie in 1..{steps} (the schedule has {steps} steps); received {t}")
    if not 0 <= s < t:
        raise ValueError(f"s must lie in 0..t-1 = 0..{t - 1}: a step goes back; received s={s}")
    return t, s


def _steps(steps: Any) -> int:
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(f"steps must be an integer; received {steps!r}")
    if int(steps) < 1:
        raise ValueError(f"steps must be at least 1; received {steps}")
    return int(steps)


def _vector(name: str, values: Any) -> Tensor:
    try:
        vector = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a list of numbers; received {values!r}") from error
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(
            f"{name} must be a non-empty list of numbers; received shape {tuple(vector.shape)}"
        )
    if bool(torch.isnan(vector).any()):
        raise ValueError(f"{name} must not contain NaN; received {vector.tolist()[:5]}")
    return vector


def _from_alpha_bar(steps: int, alpha_bar: Callable[[Tensor], Tensor]) -> Schedule:
    """β_t = min(1 − f(t)/f(t−1), 0.999) for an unnormalised ᾱ = f."""
    level = alpha_bar(torch.linspace(0, 1, _steps(steps) + 1, dtype=torch.float64))
    return Schedule.from_betas((1 - level[1:] / level[:-1]).clamp(max=MAX_BETA))
