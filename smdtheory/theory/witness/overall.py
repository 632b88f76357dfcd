r"""Mixtures whose global error passes a level, and when there are none (docs/theory.md §6.13).

What can be said depends on the last variance of the Gaussian steps:

    fixed, σ_1²                  E >= (d/2) log(2πσ_1²) − h(q_0), whatever the means are (§6.11)
    that of the locally best     E >= kl(q_0(A) ‖ p_0(A)) by data processing (§6.10), A the points
                                 within k σ of a mode: it too grows without bound as σ → 0
    any                          inf E = 0 for every mixture (§7.1): no witness

Both floors are closed forms for two modes at ±a with std σ.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

from smdtheory.checks import positive, shown
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.theory.witness.certificate import (
    LEAST_VARIANCE,
    SURPLUS,
    NoWitnessError,
    Witness,
    check_level,
)
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.validate import SCALE_RANGE, check_length

BAND = 3.5
"""k: a band of k σ around each mode holds all but 5e-4 of the data."""

BANDS = [0.05 * n for n in range(20, 121)]
"""Values of k among which a floor is the largest."""


def global_witness(
    level: float,
    schedule: Schedule,
    variance: float | Literal["beta", "best", "any"] = "beta",
) -> Witness:
    """A mixture with E = KL(q_0 ‖ p_0) > N (docs/theory.md §6.13).

    Args:
        level: N > 0, in nats; at most 1e12.
        schedule: the forward chain.
        variance: the last variance σ_1² of the denoisers that it holds for: a number, "beta" for
            β_1, with any means and any earlier steps, a soft mixture's too; "best" for the
            ``full`` Gaussian that is best at the step, T = 1 only; "any" for all Gaussian
            denoisers.

    Returns:
        The witness, with a certificate that is one number: a lower bound on E.

    Raises:
        NoWitnessError: for "any", whose infimum is 0; for "best" with T > 1; and where modes would
            have to be thinner than a mixture allows.
        TypeError: for arguments of the wrong kind.
        ValueError: if N or σ_1² is out of range, or for another word.

    Example:
        >>> found = global_witness(10.0, Schedule.cosine(3))
        >>> found.copies, found.certificate
        (1, 10.0000... ± ... (bound))
    """
    floor, chain = check_level(level), check_schedule(schedule)
    if isinstance(variance, str):
        if variance == "any":
            raise NoWitnessError(
                "No mixture has E > 0 for every Gaussian denoiser: cut the x_1-space into cells of "
                "mass w_k and emit N(m_k, S_k) from the k-th, and E = 0 (docs/theory.md §7.1; "
                'smdtheory.models.cells). Fix the last variance, or take variance="best".'
            )
        if variance == "best":
            return _locally_best(floor, chain)
        if variance != "beta":
            raise ValueError(
                'variance must be a number, "beta", "best" or "any"; received ' + shown(variance)
            )
        return _fixed(floor, float(chain.betas[1]))
    return _fixed(floor, positive("variance", variance, *SCALE_RANGE))


def locally_best_floor(half: float, std: float, schedule: Schedule) -> Estimate:
    """E >= this for the ``full`` Gaussian that is best at the only step, T = 1 (§6.13).

    For two equal modes at ±a with std σ. It grows by about log 10 for each factor of 10 in σ.

    Args:
        half: a.
        std: σ.
        schedule: the forward chain, T = 1.

    Returns:
        A scalar, in nats: the largest of the floors over the width of the bands.

    Raises:
        NoWitnessError: if T > 1.
        TypeError: for arguments of the wrong kind.
        ValueError: unless a² and σ² are within the range of a mixture's variances.

    Example:
        >>> locally_best_floor(1.0, 1e-4, Schedule.cosine(1))
        7.6627809... ± ... (bound)
    """
    a, sigma = check_length("half", half), check_length("std", std)
    tau = _only_step(check_schedule(schedule))
    return _known(max(_kl(k, _log_band_mass(k, a, sigma, tau)) for k in BANDS))


def _fixed(level: float, variance: float) -> Witness:
    """½ log(σ_1²/σ²) − ½ − log 2 for each copy: h(q_0) is at most H(w) + ½ log(2πeσ²)."""
    lost = 0.5 + math.log(2)
    reach = 0.5 * math.log(variance / LEAST_VARIANCE) - lost - 2 * SURPLUS
    if reach <= 0:
        raise NoWitnessError(
            f"No witness with variances of {LEAST_VARIANCE:g} or more: the last variance "
            f"{variance:g} is as small as that. Take a larger one."
        )
    copies = max(1, math.ceil(level * (1 + SURPLUS) / reach))
    target = level * (1 + SURPLUS) / copies + SURPLUS
    thin = variance * math.exp(-2 * (target + lost))
    half = math.sqrt(variance)
    return Witness(
        GaussianMixture([0.5, 0.5], [[-half], [half]], thin),
        copies,
        _known(copies * (0.5 * math.log(variance / thin) - lost)),
        "Two modes that are thin against the last variance, whatever the means: closed form.",
    )


def _locally_best(level: float, schedule: Schedule) -> Witness:
    """Bands of k σ around two modes, k fixed, and σ from the mass that p_0 gives them."""
    tau = _only_step(schedule)
    half = tau / math.sqrt(1 + tau)
    inside = math.erf(BAND / math.sqrt(2))
    unit = _log_band_mass(BAND, half, 1.0, tau, thick=0.0)  # for each unit of σ, σ → 0
    reach = -inside * (unit + 0.5 * math.log(LEAST_VARIANCE)) - math.log(2)
    if reach <= 0:
        raise NoWitnessError(
            f"No witness with variances of {LEAST_VARIANCE:g} or more at γ_1 = {1 / tau:g}: x_1 is "
            "as sharp as that. Use a schedule with a smaller γ_1."
        )
    copies = max(1, math.ceil(level * (1 + SURPLUS) / reach))
    target = level * (1 + SURPLUS) / copies + SURPLUS + _entropy(inside)
    std = math.exp(-target / inside - unit)
    std /= 1 + std**2 / tau
    return Witness(
        GaussianMixture([0.5, 0.5], [[-half], [half]], std**2),
        copies,
        _known(copies * _kl(BAND, _log_band_mass(BAND, half, std, tau))),
        "Data processing on narrow bands around two thin modes, for the best full Gaussian: closed "
        "form.",
    )


def _only_step(schedule: Schedule) -> float:
    """τ_1 of a chain with one step."""
    if schedule.steps != 1:
        raise NoWitnessError(
            f"schedule must have T = 1 for the locally best denoiser; received T = "
            f"{schedule.steps}. With more steps what the sampler makes of x_1 has no closed form: "
            "measure.global_error computes E."
        )
    return float(1 / schedule.snr[1])


def _log_band_mass(
    k: float, half: float, std: float, tau: float, thick: float | None = None
) -> float:
    """The log of a bound on p_0(A), A the two bands of half-width k σ: |A| E (2π C(x_1))^(−½)."""
    u = std**2 / tau if thick is None else thick
    width = tau * (1 + u)
    spread = half**2 * (1 + tau) / (2 * width**2)  # log E cosh(L/2), x_1 ~ N(0, 1)
    return math.log(4 * k * std * (1 + u) / (math.sqrt(2 * math.pi) * half)) + spread


def _kl(k: float, log_mass: float) -> float:
    """kl(q_0(A) ‖ p_0(A)) from below, 0 where p_0(A) may exceed q_0(A)."""
    inside, outside = math.erf(k / math.sqrt(2)), math.erfc(k / math.sqrt(2))
    if log_mass >= math.log(inside):
        return 0.0
    rest = math.log1p(-math.exp(log_mass))
    return inside * (math.log(inside) - log_mass) + outside * (math.log(outside) - rest)


def _entropy(inside: float) -> float:
    return -inside * math.log(inside) - (1 - inside) * math.log(1 - inside)


def _known(value: float) -> Estimate:
    number = torch.tensor(value, dtype=torch.float64)
    return Estimate(number, 16 * ROUNDING * (1 + number.abs()), "bound")
