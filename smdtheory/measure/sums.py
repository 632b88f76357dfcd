r"""Σ_t M_t of a long chain without measuring each of its steps (docs/theory.md §9.4).

Each round measures the steps t = 1..4, and one step of each stratum of those after them, drawn
uniformly and weighted by how many it stands for: unbiased, and the rounds are the replicates. The
strata are equal in log t, because the errors of narrow modes crowd at the data.
"""

from __future__ import annotations

import torch

from smdtheory.estimate import Estimate
from smdtheory.measure.local import check_pair, checked_samples, local_errors, seed_from
from smdtheory.measure.step import kl_terms
from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth import rules
from smdtheory.truth.mixture import GaussianMixture

ALL = 32
"""Chains of up to so many steps are measured at every step."""

FIRST = 4
"""Steps from the data on that every round measures."""

STRATA = 16
"""Steps measured in one round, besides these."""

ROUNDS = rules.SCRAMBLES
"""Independent replicates: each has a scrambling of Sobol's sequence to itself."""


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
            :data:`FIRST` + :data:`STRATA` steps, in all rounds together, where it is larger.
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
    count = max(1, checked_samples(samples) // ROUNDS)
    draw = torch.Generator().manual_seed(seed_from(generator))
    edges = strata(T)
    parts = len(edges) - 1
    low, high = (torch.tensor(edges[i : i + parts]) for i in (0, 1))
    first = torch.arange(1, FIRST + 1).expand(ROUNDS, FIRST)
    later = low + (torch.rand(ROUNDS, parts, generator=draw) * (high - low)).long()
    t = torch.cat([first, later], 1)
    u = rules.sobol_normals(2 * mixture.dim + 1, t.shape[1] * count, seed_from(draw))
    levels = t.repeat_interleave(count, 1).flatten()
    terms = kl_terms(
        mixture.to("cpu", torch.float64), denoiser, snr[levels], snr[levels - 1],
        u.flatten(0, 1), draw,
    )  # fmt: skip
    means = terms.reshape(*t.shape, count).mean(-1)
    rest = means[:, 1:FIRST].sum(1) + (means[:, FIRST:] * (high - low)).sum(1)
    return Estimate.from_replicates(torch.stack([means[:, 0], rest], 1))


def strata(steps: int) -> list[int]:
    """Where the strata of t = FIRST + 1..T begin, and T + 1: equal in log t, none of them empty.

    Args:
        steps: T >= :data:`FIRST` + :data:`STRATA`.

    Example:
        >>> strata(1000)[:6], strata(1000)[-3:]
        ([5, 7, 10, 14, 19, 26], [516, 719, 1001])
    """
    start, ratio = FIRST + 1, (steps + 1) / (FIRST + 1)
    edges = [start]
    for number in range(1, STRATA):
        wanted = round(start * ratio ** (number / STRATA))
        edges.append(min(max(wanted, edges[-1] + 1), steps + 1 - (STRATA - number)))
    return [*edges, steps + 1]
