r"""What witnesses are copies of, with proved lower bounds on M_t (docs/theory.md §6.13).

- ``two_modes``, for t = 1: the std from a closed form. Every family.
- ``pairs``: pairs of thin modes, one pair for each scale that the chain passes, far from one
  another. If ε bounds what x_t leaves open about the pair, M^full(s,t) >= Σ_j w_j M(pair j) − ε;
  the weights that make the least M_t largest are those of a matrix game. Every family.
- ``one_gaussian``: a thin and a wide axis, turned by 45° for ``diagonal``; closed form. Every
  family but ``full``, and far fewer copies.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family
from smdtheory.schedule import Schedule
from smdtheory.theory.witness.certificate import (
    LEAST_VARIANCE,
    SURPLUS,
    NoWitnessError,
    Witness,
    along_chain,
    copies_needed,
)
from smdtheory.theory.witness.pairs import pair_error, pair_floor
from smdtheory.truth.information import excess
from smdtheory.truth.mixture import GaussianMixture

DISTANCE = 1.3
"""δ_1 of the two modes of a witness for t = 1: near the best for :func:`pair_floor`."""

THIN, WIDE = 1e-4, 1e6
"""Std of thin modes in units of 1/√γ_1, and variance of a wide axis in units of 1/γ_T."""

SCALES = 1.08
"""Neighbouring scales among which pairs are chosen differ by this factor."""

FARTHEST = 8.0
"""The largest of them, as a distance in widths at T."""

GAP = 20.0
"""Distance between pairs, in widths at T; they overlap by e^{−GAP²/8}, about 2e-22."""

LEAST_WEIGHT = 1e-6
"""Pairs with less weight are left out."""


def two_modes(level: float, schedule: Schedule) -> Witness:
    """M_1 > N by two modes that get thin; copies only where they would get too thin for float64.

    Args:
        level: N.
        schedule: the forward chain.

    Raises:
        NoWitnessError: if x_1 is nearly as sharp as the thinnest mode.

    Example:
        >>> two_modes(10.0, Schedule.cosine(10)).certificate.value[1]
        tensor(10.0000, dtype=torch.float64)
    """
    snr = float(schedule.snr[1])
    start = float(pair_floor(DISTANCE, 1.0))
    reach = start - 0.5 * math.log(LEAST_VARIANCE * snr) - 2 * SURPLUS
    if reach <= 0:
        raise NoWitnessError(
            f"No witness with variances of {LEAST_VARIANCE:g} or more: at γ_1 = {snr:g} x_1 is as "
            "sharp as that. Use a schedule with a smaller γ_1."
        )
    copies = max(1, math.ceil(level * (1 + SURPLUS) / reach))
    target = level * (1 + SURPLUS) / copies + SURPLUS
    variance = math.exp(2 * (start - target)) / snr
    half = 0.5 * DISTANCE * math.sqrt(variance + 1 / snr)
    base = GaussianMixture([0.5, 0.5], [[-half], [half]], variance)
    value = float(copies) * pair_floor(DISTANCE, variance * snr).reshape(1)
    error = ROUNDING * (value + 4.0 * copies)
    return Witness(
        base,
        copies,
        along_chain(schedule.steps, [1], value, error),
        "Two modes that get thin: a closed form for the family full, and so for every family.",
    )


def pairs(level: float, schedule: Schedule, asked: list[int]) -> Witness:
    """M_t > N at several t, for every family, by pairs of thin modes in d = 1.

    Args:
        level: N.
        schedule: the forward chain.
        asked: the t, in order.

    Raises:
        NoWitnessError: if some step is so short that nothing positive is certified, or the levels
            are so far apart that float64 cannot hold the pairs.

    Example:
        >>> pairs(1.0, Schedule.cosine(3), [1, 2, 3]).copies
        4
    """
    snr, t = schedule.snr, torch.tensor(asked)
    variance = THIN**2 / float(snr[1])
    low, high = (float(snr[index]) ** -0.5 for index in (asked[0], asked[-1]))
    count = math.ceil(math.log(FARTHEST * high / low) / math.log(SCALES)) + 1
    halves = 0.5 * low * SCALES ** torch.arange(count, dtype=torch.float64)
    share = _game(_errors(halves, variance, snr, t, step=0.1).value)
    kept = share > LEAST_WEIGHT
    weights = share[kept] / share[kept].sum()
    width = math.sqrt(variance + high**2)
    means = _apart(halves[kept], GAP * width)
    base = GaussianMixture(weights.repeat_interleave(2) / 2, means.unsqueeze(-1), variance)
    held = 0.5 * (means[1::2] - means[::2])
    if not bool((held > 0).all()):
        closest = 2 * float(halves[kept][0])
        raise NoWitnessError(
            f"No witness with all of these t: modes {closest:.0e} apart cannot stand "
            f"{GAP * width:.0e} from others in float64. Ask for fewer t, or take levels of "
            "signal-to-noise ratio that are less far apart."
        )
    found = _errors(held, variance, snr, t)
    value = found.value @ weights - _overlap(means, width)
    error = found.error @ weights + ROUNDING * (1 + value.abs())
    copies = copies_needed(level, float((value - error).min()))
    return Witness(
        base,
        copies,
        along_chain(schedule.steps, asked, float(copies) * value, float(copies) * error),
        "Pairs of thin modes at the scales that the chain passes, far from one another: integrals "
        "in one variable with a proved error, for the family full, and so for every family.",
    )


def one_gaussian(level: float, schedule: Schedule, family: Family, asked: list[int]) -> Witness:
    """M_t > N at several t, for every family but ``full``, by one Gaussian in d = 2.

    Args:
        level: N.
        schedule: the forward chain.
        family: any but ``full``, which makes no error on one Gaussian.
        asked: the t, in order.

    Raises:
        NoWitnessError: for ``full``, and if some step is so short that nothing is certified.

    Example:
        >>> one_gaussian(1.0, Schedule.cosine(3), "diagonal", [1, 2, 3]).base
        GaussianMixture(components=1, dim=2)
    """
    if family == "full":
        raise NoWitnessError("No single Gaussian is a witness for full: its steps are Gaussian.")
    snr, t = schedule.snr, torch.tensor(asked)
    thin, wide = THIN**2 / float(snr[1]), WIDE / float(snr[-1])
    axis = [(wide / 2) ** 0.5] * 2 if family == "diagonal" else [0.0, wide**0.5]
    base = GaussianMixture.low_rank([1.0], [[0.0, 0.0]], [[[axis[0]], [axis[1]]]], [thin])
    axes = torch.tensor([thin, thin + wide], dtype=torch.float64)
    value = gaussian_error(axes, snr[t], snr[t - 1], family)
    error = ROUNDING * (4 + value + math.log(wide / thin))
    copies = copies_needed(level, float((value - error).min()))
    return Witness(
        base,
        copies,
        along_chain(schedule.steps, asked, float(copies) * value, float(copies) * error),
        f"One Gaussian with a thin and a wide axis, in closed form: {family} errs without a second "
        "mode.",
    )


def gaussian_error(axes: Tensor, snr_t: Tensor, snr_s: Tensor, family: Family) -> Tensor:
    """M(s,t) of one Gaussian, in closed form (docs/theory.md §5.1, §5.4, §6.12).

    Args:
        axes: variances along its axes, (2,); for ``diagonal`` the axes are turned by 45° against
            the coordinates.
        snr_t: γ_t, (P,).
        snr_s: γ_s > γ_t, (P,), infinite for s = 0.
        family: any but ``full``.

    Returns:
        (P,), in nats.

    Example:
        >>> one, two = torch.ones(1).double(), torch.tensor([1e-9, 1e9]).double()
        >>> gaussian_error(two, one, 4 * one, "isotropic")  # log[(r + 1)/2] − ½ log r
        tensor([0.2231], dtype=torch.float64)
    """
    last = torch.isinf(snr_s)
    variances = axes / (1 + snr_t.unsqueeze(-1) * axes)
    gain = torch.where(last, 0.0, snr_s) - snr_t
    scaled = torch.where(last, 1 + snr_t, gain).unsqueeze(-1) * variances
    if family in ("fixed_small", "fixed_large"):
        end = 0.5 * (scaled - 1 - torch.log(scaled)).sum(-1)  # variance 1/(1 + γ_1) at s = 0
        value = 0.5 * excess(scaled).sum(-1)
        if family == "fixed_large":
            e = gain / (1 + torch.where(last, 0.0, snr_s))
            e = torch.where(last, 0.0, e)
            value = value + excess(-e) - 0.5 * e * scaled.sum(-1)
        return torch.where(last, end, value)
    end = torch.log(scaled.mean(-1)) - 0.5 * torch.log(scaled).sum(-1)
    value = torch.log1p(scaled.mean(-1)) - 0.5 * torch.log1p(scaled).sum(-1)
    return torch.where(last, end, value)


def _errors(halves: Tensor, variance: float, snr: Tensor, t: Tensor, **options: float) -> Estimate:
    """M_t of each pair at each t, (t, pairs), from below."""
    distances = 2 * halves / (variance + 1 / snr.unsqueeze(-1)).sqrt()
    return pair_error(distances[t], distances[t - 1], **options)


def _game(gains: Tensor) -> Tensor:
    """The mixed strategy (pairs) with the largest least gain over t, gains (t, pairs)."""
    rows, columns = gains.shape
    scale = gains.amax(1).min()
    solved = linprog(
        np.append(np.zeros(columns), -1.0),
        A_ub=np.column_stack([-(gains / scale).numpy(), np.ones(rows)]),
        b_ub=np.zeros(rows),
        A_eq=np.append(np.ones(columns), 0.0)[None],
        b_eq=np.ones(1),
    )
    if solved.x is None:
        raise NoWitnessError(f"No weights were found for the pairs: {solved.message}")
    return torch.as_tensor(solved.x[:-1], dtype=torch.float64)


def _apart(halves: Tensor, gap: float) -> Tensor:
    """Means of pairs with ``gap`` between neighbouring pairs, (2 · pairs,), in order."""
    lengths = 2 * halves + gap
    centres = lengths.cumsum(0) - 0.5 * (lengths + lengths.sum())
    return torch.stack([centres - halves, centres + halves], -1).flatten()


def _overlap(means: Tensor, width: float) -> float:
    """A bound on E H(pair | x_t) at every level up to the width at T."""
    gaps = means[2::2] - means[1:-1:2]
    if not len(gaps):
        return 0.0
    return 2 * len(gaps) * math.exp(-((float(gaps.min()) / width) ** 2) / 8)
