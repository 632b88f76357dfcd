r"""Leading terms of the local errors for small steps (docs/theory.md §11.2, §11.3, §11.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import digamma
from torch import Tensor

from smdtheory.checks import integer
from smdtheory.families import Family
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth.curves import Curves
from smdtheory.truth.derivatives import derivatives_of
from smdtheory.truth.information import excess

VANISHES = 1e-18
"""A term in β² below this, relative to that of E‖H‖_F², is rounding of a term that is 0. (One as
small as that would matter from T = 1e17 on.)"""

EULER = 0.5772156649015329
"""Euler's constant γ = lim Σ_{n<=N} 1/n − log N."""


def fixed_small_constant(schedule: Schedule, dim: int) -> float:
    """Σ_{t>=2} M_t of `fixed_small` from the first two betas of a chain (docs/theory.md §11.5).

    (d/2) k(c), k(c) = γ_Euler (1 + 1/c) − (1 − 1/c) ψ(1 + c) + log(1 + c) with ψ the digamma
    function, where β_t grows linearly from the start, as 2t − 1 + c: k tends to γ_Euler for equal
    betas (c = ∞) and is 2 γ_Euler + π²/6 for c = 0. It holds for any mixture with β_1 far below
    its smallest eigenvalue, and as T → ∞.

    Args:
        schedule: the forward chain, T >= 2.
        dim: d.

    Returns:
        The sum, in nats.

    Raises:
        TypeError: if ``schedule`` is not a schedule, or ``dim`` not an integer.
        ValueError: if ``dim`` is below 1, T is 1, or the betas fall from the first to the second.

    Example:
        >>> round(fixed_small_constant(Schedule.from_betas([1e-9] * 10), 1), 4)
        0.2886
    """
    count = integer("dim", dim, low=1)
    snr = check_schedule(schedule).snr
    if len(snr) < 3:
        raise ValueError("schedule must have T >= 2 steps: the sum is over t >= 2; received T = 1")
    ratio = float(snr[1] / snr[2])  # 2(2 + c)/(1 + c)
    if ratio < 2 - 1e-6:
        raise ValueError(
            "the first betas must not fall (γ_1/γ_2 >= 2); received "
            f"γ_1/γ_2 = {ratio:.6g}. For such a chain use predicted_errors."
        )
    if ratio - 2 < 1e-6:
        return 0.5 * count * EULER
    c = (4 - ratio) / (ratio - 2)
    if abs(c) < 1e-6:
        return 0.5 * count * (2 * EULER + math.pi**2 / 6)
    k = EULER * (1 + 1 / c) - (1 - 1 / c) * float(digamma(1 + c)) + math.log1p(c)
    return 0.5 * count * k


@dataclass(frozen=True)
class Leading:
    """The leading term at each of L levels: ``value``·β^{order + 1}.

    Attributes:
        order: 1, or 2 where the term in β² is 0.
        value: (R, L), ¼ of an average of H, or 1/12 of E‖D³‖².
        error: (L,), its numerical error.
        variance: (R, L), E tr Cov(x_0|x_t) / d.
    """

    order: int
    value: Tensor
    error: Tensor
    variance: Tensor


def leading_term(curves: Curves, snr: Tensor, weight: Tensor, family: Family) -> Leading:
    """The leading term of a family's M_t (§11.2, §11.3); of ``isotropic``, for ``fixed_small``.

    Args:
        curves: of the mixture.
        snr: γ, (L,), finite.
        weight: (L,), what the averages of H are weighted with to tell whether they vanish.
        family: of the denoiser.

    Raises:
        ValueError: if d is beyond what the cumulants are averaged for.
    """
    averages = derivatives_of(curves)
    if family != "full":
        found = averages.at(snr, third=False)
        second = {
            "fixed_small": found.uneven + found.trace_variance,
            "isotropic": found.uneven + found.trace_variance,
            "fixed_large": found.from_unit,
            "isotropic_x": found.uneven,
            "diagonal": found.off_diagonal,
        }[family]
        share = (weight * second).sum(-1) / (weight * found.square).sum(-1)
        if family == "fixed_small" or float(share.max()) > VANISHES:
            return Leading(1, second / 4, found.error / 4, found.variance)
    found = averages.at(snr, third=True)
    return Leading(2, found.third / 12, found.third_error / 12, found.variance)


def chain_terms(curves: Curves, chain: Schedule, family: Family) -> tuple[int, Tensor, Tensor]:
    """The leading term of each M_t, t = 1..T: order, values (R, T), numerical errors (T,).

    Raises:
        ValueError: if d is beyond what the cumulants are averaged for.
    """
    snr, beta = chain.snr[1:], chain.betas[1:]
    term = leading_term(curves, snr, beta.square(), family)
    power = beta ** (term.order + 1)
    value, error = power * term.value, power * term.error
    if family == "fixed_small":
        last = leading_term(curves, snr[:1], beta[:1].square(), "fixed_large")
        gain = (chain.snr[1:-1] - snr[1:]) * term.variance[:, 1:]
        value = torch.cat(
            [
                beta[:1] ** (last.order + 1) * last.value,
                value[:, 1:] + 0.5 * curves.dim * excess(gain),
            ],
            -1,
        )
    return term.order, value, error
