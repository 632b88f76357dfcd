r"""Does the latent of a soft mixture matter?

Three answers: the share of the posterior variance that it carries; the error with R values of η, as
R grows; and the error without it, or with one that belongs to another x_t, which is what
:func:`smdtheory.measure.local_errors` says of :mod:`smdtheory.models.ablation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import instance, integer, is_list, shown
from smdtheory.estimate import Estimate
from smdtheory.measure.local import checked_samples, local_errors, seed_from
from smdtheory.models.soft_mixture import POINTS, SoftMixture, check_latents
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth import rules
from smdtheory.truth.curves import curves_of
from smdtheory.truth.information import mmse
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import marginal_at


def latent_share(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: SoftMixture,
    *,
    samples: int = 2048,
    latents: int = 64,
    generator: torch.Generator | None = None,
) -> Estimate:
    """E tr Var_η x̂_0(x_t, η) / E tr Cov(x_0|x_t), the variance that the latent carries.

    It is 0 for a denoiser that ignores η, and 1 for one whose x̂_0 are draws of q(x_0|x_t); what is
    missing is left to the residual variance τ². It says how much the draws vary, not whether they
    vary rightly, and may exceed 1.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: a soft mixture.
        samples: draws of x_t at each t, in all.
        latents: independent draws of η at each x_t. Their sample variance is unbiased, so that
            more of them lower the standard error only.
        generator: source of randomness; torch's global one if absent.

    Returns:
        Shape (T+1,), dimensionless, indexed by t, with entry 0 equal to 0: at t = 0 there is
        nothing to guess. The steps share draws.

    Raises:
        TypeError: if the arguments are of the wrong kind.
        ValueError: for too few samples or latents.

    Example:
        >>> from smdtheory.truth import presets
        >>> q, soft = presets.ring(4), SoftMixture(2, width=16, layers=1)
        >>> latent_share(q, Schedule.cosine(3), soft, samples=128).value.shape
        torch.Size([4])
    """
    curves_of(mixture)
    snr = check_schedule(schedule).snr[1:]
    soft = _soft(denoiser)
    count = checked_samples(samples) // rules.SCRAMBLES
    draws = integer("latents", latents, low=2)
    if draws > POINTS:
        raise ValueError(f"latents must be at most {POINTS}; received {draws}")
    seed = seed_from(generator)
    carried = torch.stack([_carried(mixture, soft, gamma, count, draws, seed) for gamma in snr], -1)
    truth = mmse(mixture, snr)
    share = carried / (truth.value if truth.replicates is None else truth.replicates)
    return Estimate.from_replicates(torch.nn.functional.pad(share, (1, 0)))


def error_by_latents(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: SoftMixture,
    counts: Sequence[int] = (16, 32, 64, 128, 256),
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
) -> tuple[list[int], Estimate]:
    """Σ M_t of a soft mixture with R values of η, for several R.

    With random η it falls as R grows, on average, by Jensen's inequality; the values of η that
    :meth:`SoftMixture.x0` uses are spread evenly instead, and those of the smaller R are among
    those of the larger.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: a soft mixture; its own R plays no part.
        counts: values of R, each even.
        samples: pairs (x_s, x_t) for each step.
        generator: source of randomness; torch's global one if absent.

    Returns:
        The counts, and an estimate of shape (len(counts),) in nats. All counts share draws, and
        differences formed from the replicates have an honest standard error.

    Raises:
        TypeError: if the arguments are of the wrong kind.
        ValueError: for no counts, odd ones, or too few samples.

    Example:
        >>> from smdtheory.truth import presets
        >>> q, soft = presets.ring(4), SoftMixture(2, width=16, layers=1)
        >>> counts, errors = error_by_latents(q, Schedule.cosine(3), soft, (4, 8), samples=128)
        >>> drop = errors.map(lambda value: value[..., 0] - value[..., 1])
        >>> drop.replicates.shape
        torch.Size([8])
    """
    soft = _soft(denoiser)
    if not is_list(counts) or len(counts) == 0:
        raise ValueError(
            f"counts must be a list of at least one number of latents; received {shown(counts)}"
        )
    sizes = [check_latents(count) for count in counts]
    seed = seed_from(generator)
    totals = [
        local_errors(
            mixture,
            schedule,
            soft.with_latents(size),
            samples=samples,
            generator=torch.Generator().manual_seed(seed),
        ).sum()
        for size in sizes
    ]
    found = [total.replicates for total in totals if total.replicates is not None]
    return sizes, Estimate.from_replicates(torch.stack(found, -1))


@torch.no_grad()
def _carried(
    mixture: GaussianMixture,
    denoiser: SoftMixture,
    snr: Tensor,
    count: int,
    latents: int,
    seed: int,
) -> Tensor:
    """E tr Var_η x̂_0(x_t, η) from ``count`` draws of x_t in each replicate, (R,)."""
    generator = torch.Generator().manual_seed(seed)
    law = marginal_at(mixture.to("cpu", torch.float64), snr)
    x_t = law.sample(rules.SCRAMBLES * count, generator=generator)
    variances = []
    for part in denoiser.units(*denoiser.flat(x_t, snr)).parts(denoiser.together(latents)):
        shape = (len(part.inputs), latents, denoiser.noise)
        eta = torch.randn(shape, generator=generator).to(part.inputs)
        drawn = denoiser.draw(part, eta).double()
        variances.append((part.spread.square() * drawn.var(1)).sum(-1))
    return torch.cat(variances).cpu().reshape(rules.SCRAMBLES, count).mean(-1)


def _soft(denoiser: Any) -> SoftMixture:
    return instance("denoiser", denoiser, SoftMixture, "No other has a latent.")
