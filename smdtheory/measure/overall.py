r"""The global error E = KL(q(x_0) ‖ p(x_0)) of the whole backward chain (docs/theory.md §8).

- From above, the chain rule: E <= KL(q_T ‖ p_T) + Σ_t M_t (§6.9). With N forward paths from each
  x_0, and W the ratio p(x_{0:T})/q(x_{0:T}) of a path, the bound comes down to U_N (§8.3),

      U_N = E[−log (1/N) Σ_n W_n] = U_1 − E[log (1/N) Σ_n W_n − (1/N) Σ_n log W_n],

  the second form being the one that is computed: U_1 is known exactly or nearly so, and what is
  taken off is nowhere negative.
- From below, with confidence: data processing on an event chosen from independent draws (§8.4).
- In d = 1 the number itself, by transfer of densities (§8.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from smdtheory.checks import instance, integer, shown
from smdtheory.estimate import Estimate
from smdtheory.measure import local
from smdtheory.measure.events import lower_confidence_bound
from smdtheory.measure.panels import OutOfRangeError
from smdtheory.measure.paths import log_path_ratios
from smdtheory.measure.prior import prior_gap
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.sample import ancestral
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth.mixture import GaussianMixture

MIN_SAMPLES = local.MIN_SAMPLES
"""Fewest draws, as for local errors."""

DATA_DRAWS = 4
"""Draws of the data for each draw of the model: they cost next to nothing."""


@dataclass(frozen=True)
class GlobalError:
    """What is known of KL(q(x_0) ‖ p(x_0)), in nats; each a scalar.

    Attributes:
        lower: a one-sided lower confidence bound, at the level asked for. It says "at least", and
            so has no error bar: ``lower.error`` is 0. It is 0 where the draws do not tell p from q.
        upper: an upper bound with its error; a standard error if it had to be sampled.
        value: the number itself, in d = 1 and where the transfer of densities is within range (ten
            seconds of work, and p nowhere below 1e-280 of q); None otherwise.
        prior_gap: KL(q(x_T) ‖ N(0, I)), the part of ``upper`` that no denoiser can remove.
    """

    lower: Estimate
    upper: Estimate
    value: Estimate | None
    prior_gap: Estimate


def global_error(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    *,
    samples: int = 4096,
    importance: int = 1,
    level: float = 0.99,
    exact: bool | Literal["auto"] = "auto",
    local_errors: Estimate | None = None,
    generator: torch.Generator | None = None,
) -> GlobalError:
    """KL(q(x_0) ‖ p(x_0)) of the chain that starts at N(0, I): itself (d = 1), and two bounds.

    Args:
        mixture: q(x_0).
        schedule: the chain.
        denoiser: p(x_s | x_t).
        samples: draws of the model for the lower bound, points x_0 for the importance-weighted
            upper bound, and draws for each local error that has to be sampled.
        importance: N, the number of paths from each x_0; 1 is the chain rule. The cost grows as
            ``samples``·N·T.
        level: confidence of the lower bound. Where ``samples``/2 independent draws could not tell p
            from q even if E were as large as the upper bound (E·samples/2 < log 1/(1 − level)),
            none are made and the bound is 0.
        exact: whether to compute the error itself in d = 1. "auto" does so where it is in range.
        local_errors: M_t (T+1,), t = 0..T, where known, as from ``best_gaussian_errors``; they are
            sampled otherwise.
        generator: source of randomness; torch's global one if absent.

    Returns:
        The two bounds, the error itself where it is computed, and the prior gap, in nats.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for too few samples, N < 1, a level not between 0 and 1, local errors that do
            not fit the schedule, or ``exact=True`` where the error is out of range or d > 1.

    Example:
        >>> from smdtheory.models.oracle import BestGaussian
        >>> from smdtheory.truth import presets
        >>> q = presets.line(2).standardized()
        >>> found = global_error(q, Schedule.cosine(3), BestGaussian(q, "full"))
        >>> float(found.lower) < float(found.value) < float(found.upper)
        True
    """
    local.check_pair(mixture, denoiser)
    check_schedule(schedule)
    count = local.checked_samples(samples)
    paths = integer("importance", importance, low=1)
    risk = _risk(level)
    if generator is not None:
        cure = "torch.Generator().manual_seed(0) makes one."
        instance("generator", generator, torch.Generator, cure)
    mixture = mixture.to("cpu", torch.float64)
    value = _value(mixture, schedule, denoiser, exact)
    errors = _errors(mixture, schedule, denoiser, count, local_errors, generator)
    gap = prior_gap(mixture, schedule)
    upper = gap + errors.sum()
    if paths > 1:
        x_0 = mixture.sample(count, generator=generator)
        ratios = log_path_ratios(mixture, schedule, denoiser, x_0, paths, generator)
        evidence = ratios.logsumexp(-1) - math.log(paths)
        upper = upper + Estimate.from_replicates(ratios.mean(-1) - evidence)
    ceiling = min(float(e.interval(1 - risk)[1]) for e in (upper, value) if e is not None)
    lower = 0.0
    if ceiling * count / 2 >= math.log(1 / risk):
        dim = mixture.dim
        drawn = ancestral(denoiser, schedule, count, dim=dim, generator=generator, batch=count)
        data = mixture.sample(DATA_DRAWS * count, generator=generator)
        lower = lower_confidence_bound(mixture, data, drawn, 1 - risk)
    bound = torch.tensor(lower, dtype=torch.float64)
    return GlobalError(Estimate(bound, torch.zeros_like(bound), "bound"), upper, value, gap)


def _value(
    mixture: GaussianMixture, schedule: Schedule, denoiser: Denoiser, exact: object
) -> Estimate | None:
    if not (isinstance(exact, bool) or (isinstance(exact, str) and exact == "auto")):
        raise ValueError(f"exact must be True, False or 'auto'; received {shown(exact)}")
    if exact is False or (exact == "auto" and mixture.dim > 1):
        return None
    if mixture.dim > 1:
        raise ValueError(
            f"the global error itself is computed in d = 1 only; received d = {mixture.dim}. "
            "Leave exact at 'auto' and use the bounds."
        )
    try:
        return transferred_error(mixture, schedule, denoiser)
    except OutOfRangeError as error:
        if exact is True:
            raise ValueError(f"{error}. Leave exact at 'auto' and use the bounds.") from error
        return None


def _errors(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    count: int,
    given: Estimate | None,
    generator: torch.Generator | None,
) -> Estimate:
    """The local errors: those given, or sampled ones."""
    if given is None:
        return local.local_errors(mixture, schedule, denoiser, samples=count, generator=generator)
    cure = "best_gaussian_errors and local_errors make one."
    errors = instance("local_errors", given, Estimate, cure)
    if errors.value.shape != schedule.snr.shape:
        raise ValueError(
            f"local_errors must have shape (T+1,) = {tuple(schedule.snr.shape)}, one for each t; "
            f"received {tuple(errors.value.shape)}. Were they made with another schedule?"
        )
    return errors


def _risk(level: object) -> float:
    """δ = 1 − level."""
    if not isinstance(level, int | float) or isinstance(level, bool):
        raise TypeError(f"level must be a number; received {shown(level)}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1; received {level}. Try 0.99.")
    return 1 - level
