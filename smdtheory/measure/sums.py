r"""Σ_t M_t of a long chain without measuring each of its steps (docs/theory.md §9.4).

M_1 is measured on its own. The steps t = 2..T are cut into strata of about equal length in log γ,
and each round measures one step of each, drawn uniformly and weighted by how many it stands for:
unbiased, and the rounds are the replicates.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from smdtheory.estimate import Estimate
from smdtheory.measure.local import check_pair, checked_samples, local_errors, seed_from
from smdtheory.measure.step import Step
from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth import rules
from smdtheory.truth.mixture import GaussianMixture

ALL = 32
"""Chains of up to so many steps are measured at every step."""

STRATA = 8
"""Steps measured in one round, besides the last."""

ROUNDS = 8
"""Independent replicates."""


def summed_errors(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
) -> Estimate:
    """M_1 and Σ_{t≥2} M_t, for any denoiser.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t).
        samples: pairs (x_s, x_t) for each step where T is at most :data:`ALL`; for each of
            :data:`STRATA` + 1 steps, in all rounds together, where it is larger.
        generator: source of randomness; torch's global one if absent.

    Returns:
        Shape (2,), in nats, with replicates.

    Raises:
        TypeError: if the arguments are of the wrong kind.
        ValueError: for too few samples.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> q = presets.ring(4)
        >>> errors = summed_errors(q, Schedule.cosine(200), ExactPosterior(q), samples=512)
        >>> bool((errors.value.abs() < 1e-9).all())
        True
    """
    check_pair(mixture, denoiser)
    snr, T = check_schedule(schedule).snr, schedule.steps
    if T <= ALL:
        errors = local_errors(mixture, schedule, denoiser, samples=samples, generator=generator)
        return errors.map(lambda e: torch.stack([e[..., 1], e[..., 2:].sum(-1)], -1))
    count = max(1, checked_samples(samples) // (ROUNDS * rules.SCRAMBLES))
    draw = torch.Generator().manual_seed(seed_from(generator))
    edges = strata(snr)

    def step(t: int) -> Tensor:
        seed = seed_from(draw)
        return Step(mixture, denoiser, snr[t], snr[t - 1]).sampled(count, seed).value

    rounds = []
    for _ in range(ROUNDS):
        rest = torch.zeros((), dtype=torch.float64)
        for low, high in pairwise(edges):
            t = int(torch.randint(low, high, (), generator=draw))
            rest = rest + (high - low) * step(t)
        rounds.append(torch.stack([step(1), rest]))
    return Estimate.from_replicates(torch.stack(rounds))


def strata(snr: Tensor) -> list[int]:
    """Where the strata of t = 2..T begin, and T + 1.

    They are equal in the mean of t/T and of the share of log γ_1 − log γ_T that is passed, so that
    none holds nearly all steps, nor nearly all of log γ.

    Args:
        snr: γ_0..γ_T, T > :data:`STRATA`.

    Example:
        >>> strata(Schedule.cosine(1000).snr)[:3]
        [2, 62, 228]
    """
    T = len(snr) - 1
    level = snr[1:].log()
    place = 0.5 * (level[0] - level) / (level[0] - level[-1])
    place = place + 0.5 * torch.arange(T, dtype=torch.float64) / (T - 1)
    wanted = torch.arange(1, STRATA, dtype=torch.float64) / STRATA
    inner = [int(t) + 1 for t in torch.searchsorted(place, wanted)]
    edges = [2]
    for number, t in enumerate(inner):
        edges.append(min(max(t, edges[-1] + 1), T + 1 - (STRATA - 1 - number)))
    return [*edges, T + 1]
