r"""The global error E = KL(q(x_0) ‖ p(x_0)) of the whole backward chain (docs/theory.md §8).

From above by the chain rule, E <= KL(q_T ‖ p_T) + Σ_t M_t, tightened by importance weighting;
from below, with confidence, by data processing on an event; and in d = 1 itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import beta as beta_law
from torch import Tensor

from smdtheory.checks import integer, positive
from smdtheory.estimate import Estimate
from smdtheory.measure import local
from smdtheory.measure.deterministic import ddim_global_error as ddim_global_error
from smdtheory.measure.local import MIN_SAMPLES, check_pair
from smdtheory.measure.prior import prior_gap as prior_gap
from smdtheory.measure.transfer import OutOfRangeError, transferred_error
from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import Schedule, bridge
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.rules import SCRAMBLES

THRESHOLDS = 64
"""Level sets of q_0 among which the event of the lower bound is chosen."""


@dataclass(frozen=True)
class GlobalError:
    """KL(q(x_0) ‖ p(x_0)), in nats.

    Attributes:
        lower: a one-sided lower confidence bound; it has no error bar of its own (error 0).
        upper: the chain-rule or importance-weighted upper bound, with its error.
        value: the error itself in d = 1, else None.
        prior_gap: KL(q_T ‖ N(0, I)), the part of ``upper`` that no denoiser can remove.
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
    local_errors: Estimate | None = None,
    generator: torch.Generator | None = None,
) -> GlobalError:
    """The global error of a denoiser, between bounds, and itself in d = 1 (docs/theory.md §8).

    Args:
        mixture: q(x_0).
        schedule: the chain; sampling starts from N(0, I).
        denoiser: p(x_s | x_t).
        samples: draws of the data and of the model, each.
        importance: N. 1 is the chain rule; more tightens the upper bound, at N times the cost.
        level: confidence of the lower bound.
        local_errors: M_t (T+1,) where known, as from ``best_gaussian_errors``; else sampled.
        generator: source of randomness; torch's global one if absent.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for too few samples, importance < 1, a level outside (0, 1), or errors of
            another shape.

    Example:
        >>> from smdtheory.models.oracle import BestGaussian
        >>> from smdtheory.truth import presets
        >>> q = presets.line(2).standardized()
        >>> found = global_error(q, Schedule.cosine(3), BestGaussian(q, "full"))
        >>> float(found.lower) < float(found.value) < float(found.upper)
        True
    """
    check_pair(mixture, denoiser)
    count = integer("samples", samples, low=MIN_SAMPLES)
    paths = integer("importance", importance, low=1)
    confidence = positive("level", level, high=math.nextafter(1.0, 0.0))
    errors = local_errors
    if errors is not None and errors.value.shape != schedule.snr.shape:
        raise ValueError(
            f"local_errors must have shape (T+1,) = {tuple(schedule.snr.shape)}; "
            f"received {tuple(errors.value.shape)}"
        )
    truth = mixture.to("cpu", torch.float64)
    gap = prior_gap(truth, schedule)
    if paths > 1:
        upper = _weighted(truth, schedule, denoiser, count, paths, generator)
    else:
        if errors is None:
            errors = local.local_errors(
                truth, schedule, denoiser, samples=count, generator=generator
            )
        upper = gap + errors.sum()
    value = None
    if truth.dim == 1:
        try:
            value = transferred_error(truth, schedule, denoiser)
        except OutOfRangeError:
            value = None
    ceiling = float(upper.interval(confidence)[1])
    lower = 0.0
    if ceiling > math.log(1 / (1 - confidence)) / count:  # else no draws could certify it
        drawn = sample_chain(schedule, denoiser, count, truth.dim, generator)
        data = truth.sample((count,), generator=generator)
        lower = _certified(truth, data, drawn, 1 - confidence)
    bound = torch.tensor(lower, dtype=torch.float64)
    return GlobalError(Estimate(bound, torch.zeros_like(bound), "bound"), upper, value, gap)


def sample_chain(
    schedule: Schedule,
    denoiser: Denoiser,
    count: int,
    dim: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws (count, d) of p(x_0): N(0, I) taken back step by step (docs/theory.md §8)."""
    x = torch.randn(count, dim, dtype=torch.float64, generator=generator)
    snr = schedule.snr
    with torch.no_grad():
        for t in range(schedule.steps, 0, -1):
            x = denoiser(x, snr[t], snr[t - 1]).sample(generator=generator).to(x)
    return x


def _weighted(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    count: int,
    paths: int,
    generator: torch.Generator | None,
) -> Estimate:
    """E_q[log q(x_0) − log (1/N) Σ_i p(x_{0:T}^i)/q(x_{1:T}^i|x_0)] (docs/theory.md §8.3)."""
    snr, T = schedule.snr, schedule.steps
    x_0 = mixture.sample((SCRAMBLES, count // SCRAMBLES), generator=generator)
    start = x_0.unsqueeze(2).expand(-1, -1, paths, -1)

    def noise() -> Tensor:
        return torch.randn(start.shape, dtype=torch.float64, generator=generator)

    signal, spread = torch.sqrt(1 / (1 + 1 / snr[T])), torch.sqrt(1 / (1 + snr[T]))
    u = noise()
    x = signal * start + spread * u
    # log p(x_T) − log q(x_T|x_0); the constants (2π)^{d/2} cancel
    weight = 0.5 * (u.square() - x.square()).sum(-1) + mixture.dim * torch.log(spread)
    constant = mixture.dim * math.log(2 * math.pi) / 2
    with torch.no_grad():
        for t in range(T, 0, -1):
            law = denoiser(x, snr[t], snr[t - 1])
            if t == 1:
                weight = weight + law.log_prob(start)
                break
            step, u = bridge(snr[t], snr[t - 1]), noise()
            std = step.variance.sqrt()
            x = step.c * start + step.c_prime * x + std * u
            density = -0.5 * u.square().sum(-1) - mixture.dim * torch.log(std) - constant
            weight = weight + law.log_prob(x) - density
    evidence = torch.logsumexp(weight, -1) - math.log(paths)
    return Estimate.from_replicates((mixture.log_prob(x_0) - evidence).mean(-1))


def _certified(mixture: GaussianMixture, data: Tensor, drawn: Tensor, alpha: float) -> float:
    """Lower confidence bound on KL by one event chosen on the other half (docs/theory.md §8.4)."""
    half = len(data) // 2
    event = _event(mixture, data[:half], drawn[:half], alpha)
    held = (event(data[half:]), event(drawn[half:]))
    hits = [int(inside.sum()) for inside in held]
    return _binary_floor(hits[0], hits[1], len(held[0]), alpha)


def _event(
    mixture: GaussianMixture, data: Tensor, drawn: Tensor, alpha: float
) -> Callable[[Tensor], Tensor]:
    """The event that tells the two samples apart best: a level set of q_0, or a set of modes."""
    best, chosen = -1.0, lambda x: torch.zeros(len(x), dtype=torch.bool)

    def consider(event: Callable[[Tensor], Tensor]) -> None:
        nonlocal best, chosen
        a, b = int(event(data).sum()), int(event(drawn).sum())
        floor = _binary_floor(a, b, len(data), alpha)
        if floor > best:
            best, chosen = floor, event

    pooled = torch.cat([mixture.log_prob(data), mixture.log_prob(drawn)])
    places = torch.linspace(0, 1, THRESHOLDS + 2, dtype=torch.float64)[1:-1]
    for threshold in torch.quantile(pooled, places):
        consider(lambda x, c=threshold: mixture.log_prob(x) > c)  # type: ignore[misc]
    K = mixture.num_components
    shares = [
        torch.bincount(mixture.responsibilities(x).argmax(-1), minlength=K) for x in (data, drawn)
    ]
    order = (shares[0].double() / (shares[1] + 1)).argsort(descending=True)
    for count in range(1, K):
        member = torch.zeros(K, dtype=torch.bool)
        member[order[:count]] = True
        consider(lambda x, m=member: m[mixture.responsibilities(x).argmax(-1)])  # type: ignore[misc]
    return chosen


def _binary_floor(in_q: int, in_p: int, count: int, alpha: float) -> float:
    """The least binary KL that counts allow, each Clopper–Pearson end at level α/2."""
    if in_q < in_p:  # the complement has the same divergence
        in_q, in_p = count - in_q, count - in_p
    q = float(beta_law.ppf(alpha / 2, in_q, count - in_q + 1)) if in_q > 0 else 0.0
    p = float(beta_law.ppf(1 - alpha / 2, in_p + 1, count - in_p)) if in_p < count else 1.0
    if q <= p:
        return 0.0
    tail = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0
    return q * math.log(q / p) + tail
