r"""The local error M_t of any denoiser, and its split into three parts (docs/theory.md §5).

M_t = E_{x_t ~ q} KL(q(x_s|x_t) ‖ p(x_s|x_t)), by nested quadrature or by sampling
(:mod:`smdtheory.measure.step`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from smdtheory.checks import instance, integer, shown
from smdtheory.estimate import Estimate
from smdtheory.measure.ladder import best_gaussian_errors
from smdtheory.measure.step import Step, expectation
from smdtheory.models.denoiser import Denoiser, dim_of
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth import rules
from smdtheory.truth.curves import curves_of
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.moments import sampled

MIN_SAMPLES = 16 * rules.SCRAMBLES
"""Fewest draws that give a standard error worth the name."""

MAX_SAMPLES = 2**24
"""Most draws of one call: they are held in memory together."""


def local_error(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    t: int,
    s: int | None = None,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
    method: Literal["auto", "quadrature", "sampling"] = "auto",
) -> Estimate:
    """M of one step t → s, for any denoiser.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t).
        t: 1..T.
        s: 0..t−1; t − 1 by default.
        samples: pairs (x_s, x_t) in all, where sampled. What happens with a probability far below
            1/samples is not seen, nor is it in the standard error.
        generator: source of randomness; torch's global one if absent.
        method: "quadrature" nests two rules (d <= 2); "sampling" draws scrambled Sobol points;
            "auto" is quadrature for d = 1 and sampling otherwise.

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: if t or s is not an integer, or the arguments are of the wrong kind.
        ValueError: for steps out of range, too few samples, or quadrature with d > 2.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> q = presets.line(3)
        >>> abs(float(local_error(q, Schedule.cosine(5), ExactPosterior(q), 3))) < 1e-12
        True
    """
    t, s = check_schedule(schedule).check_step(t, s)
    check_pair(mixture, denoiser)
    step = Step(mixture, denoiser, schedule.snr[t], schedule.snr[s])
    if not isinstance(method, str) or method not in ("auto", "quadrature", "sampling"):
        raise ValueError(f"method must be auto, quadrature or sampling; received {shown(method)}")
    if method == "quadrature" or (method == "auto" and mixture.dim == 1):
        if sampled(step.q_t):
            raise ValueError(
                "nested quadrature is for d <= 2, and in d = 2 for components of similar size; "
                f"received d = {mixture.dim}. Use sampling."
            )
        return expectation(step.q_t, step.divergence)
    return step.sampled(_samples(samples), seed_from(generator))


def local_errors(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
) -> Estimate:
    """M_t for t = 1..T, by sampling; the steps share draws, so that sums get an honest error.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t).
        samples: pairs (x_s, x_t) for each step.
        generator: source of randomness; torch's global one if absent.

    Returns:
        Shape (T+1,), in nats, indexed by t, with entry 0 equal to 0.

    Raises:
        TypeError: if the arguments are of the wrong kind.
        ValueError: for too few samples.

    Example:
        >>> from smdtheory.models.oracle import TruncatedMixture
        >>> from smdtheory.truth import presets
        >>> q = presets.ring(4)
        >>> local_errors(q, Schedule.cosine(3), TruncatedMixture(q, 2), samples=256).value.shape
        torch.Size([4])
    """
    check_pair(mixture, denoiser)
    count, seed = _samples(samples), seed_from(generator)
    snr = check_schedule(schedule).snr
    steps = [
        Step(mixture, denoiser, snr[t], snr[t - 1]).sampled(count, seed).replicates
        for t in range(1, schedule.steps + 1)
    ]
    found = [step for step in steps if step is not None]
    start = torch.zeros_like(found[0])
    return Estimate.from_replicates(torch.stack([start, *found], -1))


@dataclass(frozen=True)
class Split:
    """The three parts of a Gaussian denoiser's error, which add up to it exactly (§5.7).

    Attributes:
        non_gaussianity: E KL(q ‖ N(μ_q, Σ_q)): what no Gaussian can remove.
        covariance: what the covariance's misfit adds.
        mean: what the error of the mean adds.
    """

    non_gaussianity: Estimate
    covariance: Estimate
    mean: Estimate

    @property
    def total(self) -> Estimate:
        """M, the sum of the three."""
        return self.non_gaussianity + self.covariance + self.mean


def split(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    t: int,
    s: int | None = None,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
) -> Split:
    """Non-Gaussianity, covariance misfit and mean error of a Gaussian denoiser (§5.7).

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t), with one component.
        t: 1..T.
        s: 0..t−1; t − 1 by default.
        samples: draws of x_t in all, where sampled (d >= 3).
        generator: source of randomness; torch's global one if absent.

    Returns:
        The three parts, each a scalar in nats; their sum is M(s,t).

    Raises:
        TypeError: if t or s is not an integer, or the arguments are of the wrong kind.
        ValueError: for steps out of range, or a denoiser that is not Gaussian.

    Example:
        >>> from smdtheory.models.oracle import BestGaussian
        >>> from smdtheory.truth import presets
        >>> q = presets.line(3)
        >>> parts = split(q, Schedule.cosine(5), BestGaussian(q, "isotropic"), 3)
        >>> abs(float(parts.mean)) < 1e-12
        True
    """
    t, s = check_schedule(schedule).check_step(t, s)
    check_pair(mixture, denoiser)
    step = Step(mixture, denoiser, schedule.snr[t], schedule.snr[s])
    levels = schedule.snr[[t]] if s == 0 else schedule.snr[[s, t]]
    floor = best_gaussian_errors(mixture, Schedule.from_snr(levels), "full")[-1]
    seed = seed_from(generator)
    parts = [
        expectation(step.q_t, part, count=_samples(samples), seed=seed)
        for part in (step.covariance_misfit, step.mean_error)
    ]
    return Split(floor, *parts)


def check_pair(mixture: Any, denoiser: Any) -> None:
    """Refuse what is not a single mixture and a denoiser.

    Raises:
        TypeError: if either is of the wrong kind.
        ValueError: if the mixture has batch dimensions, or the dimensions differ.
    """
    curves_of(mixture)
    if not isinstance(denoiser, Denoiser):
        raise TypeError(
            f"denoiser must be a smdtheory.models.Denoiser; received {type(denoiser).__name__}. "
            "Subclass it and define x0(x_t, snr_t)."
        )
    own = dim_of(denoiser)
    if own not in (None, mixture.dim):
        raise ValueError(
            f"denoiser and mixture must have the same dimension; received d = {own} and "
            f"d = {mixture.dim}. Was the denoiser made for another mixture?"
        )


def checked_samples(samples: Any) -> int:
    """A number of draws.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is below :data:`MIN_SAMPLES` or above :data:`MAX_SAMPLES`.
    """
    count = integer("samples", samples, low=MIN_SAMPLES)
    if count > MAX_SAMPLES:
        raise ValueError(
            f"samples must be at most {MAX_SAMPLES}, to fit in memory; received {count}. "
            "Average several calls with generators of different seeds."
        )
    return count


def _samples(samples: Any) -> int:
    """Draws for each replicate."""
    return checked_samples(samples) // rules.SCRAMBLES


def seed_from(generator: torch.Generator | None) -> int:
    """A seed for draws that are made more than once.

    Raises:
        TypeError: if ``generator`` is none.
    """
    if generator is not None:
        instance(
            "generator", generator, torch.Generator, "torch.Generator().manual_seed(0) makes one."
        )
    return int(torch.randint(2**31 - 100, (), generator=generator))
