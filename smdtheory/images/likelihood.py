r"""How many nats a denoiser needs for an image: the bound on −log p(x_0) along a chain.

    L(x_0) = KL(q(x_T|x_0) ‖ N(0, I)) + Σ_{t≥2} E KL(q(x_{t−1}|x_t, x_0) ‖ p(x_{t−1}|x_t))
             − E log p(x_0|x_1)  >=  −log p(x_0)        (Ho, Jain and Abbeel 2020, eq. 5).

It holds for every law p(x_{t−1}|x_t) with a density, mixtures too. Against a Gaussian the terms
are closed forms; against a mixture log q − log p is averaged over two draws of x_{t−1}
mirrored at their mean, in which what is linear in the noise cancels. On average over x_0 ~ q,
L = h(q_0) + Σ_t M_t + KL(q(x_T) ‖ N(0, I)) (docs/theory.md §5.8): of two denoisers the difference
of their L is the difference of their ΣM.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from smdtheory.checks import extremes, instance, integer, positive
from smdtheory.estimate import Estimate
from smdtheory.measure.local import seed_from
from smdtheory.measure.sums import ALL, FIRST, strata
from smdtheory.models.denoiser import Denoiser, dim_of, model_law
from smdtheory.models.training import noised
from smdtheory.schedule import Schedule, bridge, check_schedule

REPLICATES = 8
"""Groups of images, measured apart: their spread gives the standard error."""


def code_length(
    denoiser: Denoiser,
    schedule: Schedule,
    images: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Estimate:
    """The mean of L over images, in nats for an image.

    Args:
        denoiser: p(x_s | x_t).
        schedule: the chain.
        images: x_0 (N, d), N at least 8; of grey levels, with uniform noise of their distance
            (:meth:`smdtheory.images.Images.dequantized`).
        generator: source of randomness; torch's global one if absent.

    Returns:
        A scalar. Chains of more than 32 steps are measured at some of them, at random. The standard
        error is that over images, which are taken as draws of q.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for fewer than 8 images, or of another dimension than the denoiser's.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> q, chain = presets.ring(4), Schedule.cosine(5)
        >>> x_0 = q.sample(4096, generator=torch.Generator().manual_seed(0))
        >>> found = code_length(ExactPosterior(q), chain, x_0)
        >>> bool(abs(found.value + q.log_prob(x_0).mean()) < 4 * found.error)
        True
    """
    snr, T = check_schedule(schedule).snr, schedule.steps
    instance("denoiser", denoiser, Denoiser, "smdtheory.models has several.")
    instance("images", images, Tensor, "torch.as_tensor makes one.")
    if images.ndim != 2 or len(images) < REPLICATES or not images.is_floating_point():
        raise ValueError(
            f"images must be real numbers of shape (N, d) with N >= {REPLICATES}; received "
            f"{images.dtype} of shape {tuple(images.shape)}"
        )
    if dim_of(denoiser) not in (None, images.shape[1]):
        raise ValueError(
            f"denoiser must have the dimension of the images, d = {images.shape[1]}; received one "
            f"of d = {dim_of(denoiser)}. Was it made for other images?"
        )
    extreme = extremes(images)
    if not all(map(math.isfinite, extreme)):
        raise ValueError(f"images must be finite; received pixels from {extreme}")
    draw = torch.Generator(images.device).manual_seed(seed_from(generator))
    size = len(images) // REPLICATES
    x_0, snr = images[: REPLICATES * size].double(), snr.to(images.device)
    signal, noise = 1 / (1 + 1 / snr[-1]), 1 / (1 + snr[-1])
    length = 0.5 * (signal * x_0.square() + noise - 1 - torch.log(noise)).sum(-1)
    for steps, weight in _measured(T, draw):
        t = steps.repeat_interleave(size)
        length = length + weight * _term(denoiser, x_0, snr[t], snr[t - 1], draw)
    return Estimate.from_replicates(length.reshape(REPLICATES, size).mean(1).cpu())


def _measured(steps: int, generator: torch.Generator) -> list[tuple[Tensor, int]]:
    """Steps t to measure, one for each replicate, and how many they stand for."""

    def drawn(low: int, high: int) -> Tensor:
        device = generator.device
        return torch.randint(low, high, (REPLICATES,), generator=generator, device=device)

    edges = [*range(1, FIRST + 1), *strata(steps)] if steps > ALL else range(1, steps + 2)
    return [(drawn(low, high), high - low) for low, high in pairwise(edges)]


def bits_per_dimension(length: Estimate, dim: int, bin_width: float | None) -> Estimate:
    """A code length in bits for each dimension.

    Args:
        length: in nats for an image.
        dim: d.
        bin_width: w, the distance of neighbouring grey levels: with it the bits are those of the
            grey levels; without, those of a density, which may be negative.

    Returns:
        Bits, of the shape of ``length``.

    Raises:
        TypeError: if one is not of its kind.
        ValueError: if ``dim`` is below 1, or the width not positive and finite.

    Example:
        >>> uniform = Estimate(torch.tensor(0.0), torch.tensor(0.0), "closed form")
        >>> float(bits_per_dimension(uniform, 64, 1 / 16))  # 16 equal levels on [0, 1]
        4.0
    """
    nats = instance("length", length, Estimate, "code_length gives one.")
    count = integer("dim", dim, low=1)
    shift = 0.0 if bin_width is None else math.log2(positive("bin_width", bin_width))
    return nats.map(lambda value: value / (count * math.log(2)) - shift)


@torch.no_grad()
def _term(
    denoiser: Denoiser,
    x_0: Tensor,
    snr_t: Tensor,
    snr_s: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """One term of L at each image, (N,), from γ_t to γ_s, (N,); γ_s is infinite for all or none."""
    x_t = noised(x_0, snr_t, generator)
    law = model_law(denoiser, x_t, snr_t, snr_s)
    if torch.isinf(snr_s).all():
        return -law.log_prob(x_0)
    step = bridge(snr_t, snr_s)
    c, c_prime, variance = (v.to(x_0).unsqueeze(-1) for v in (step.c, step.c_prime, step.variance))
    mean = c * x_0 + c_prime * x_t
    basis = law.spectral.basis
    if law.num_components == 1 and (basis is None or basis.shape[-1] == 0):  # along the axes
        ratio = variance / law.variance
        square = (mean - law.mean).square() / law.variance
        return 0.5 * (ratio + square - 1 - torch.log(ratio)).sum(-1)
    unit = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device)
    entropy = 0.5 * x_0.shape[-1] * torch.log(2 * math.pi * variance.squeeze(-1))
    log_q = -0.5 * unit.square().sum(-1) - entropy
    both = (law.log_prob(mean + sign * variance.sqrt() * unit) for sign in (1, -1))
    return log_q - 0.5 * sum(both)
