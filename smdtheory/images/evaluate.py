r"""What is measured of a denoiser of images at T steps: one row of numbers, each with its error.

On every set: the bound on −log p of held-out images (:mod:`smdtheory.images.likelihood`), and how
far draws are from them: energy distance, sliced Wasserstein distance, and, where there are labels,
Fréchet distance in the features of a classifier. On a ``mixture``, whose posterior is known, also
the local errors M_1 and Σ_{t≥2} M_t, and the modes that the draws cover.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from smdtheory.estimate import Estimate
from smdtheory.files import digest
from smdtheory.images.config import ImageArm, ImagesConfig
from smdtheory.images.data import Images
from smdtheory.images.features import FeatureNetwork, classifier_for, frechet_distance
from smdtheory.images.likelihood import bits_per_dimension, code_length
from smdtheory.measure.samples import energy_distance, mode_coverage, sliced_wasserstein
from smdtheory.measure.sums import summed_errors
from smdtheory.models.learned import LearnedDenoiser
from smdtheory.models.sample import ancestral
from smdtheory.models.soft_mixture import SoftMixture
from smdtheory.models.training import noised
from smdtheory.schedule import Schedule

Row = dict[str, Any]

SCHEDULE = "cosine"

SHARE_LATENTS = 8
"""Values of η at each image, for that share."""

SHARE_LEVELS = 3
"""Steps, evenly spaced, at which the share of the latent is measured."""

SHARE_IMAGES = 32
"""Held-out images that it is measured on, at most."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What all denoisers are measured against.

    Attributes:
        images: the data.
        config: how much is measured.
    """

    images: Images
    config: ImagesConfig

    def held_out(self, repeat: int) -> Tensor:
        """Images (N, d) for likelihoods, with the noise of their grey levels.

        Each training has its own, so that intervals over trainings hold the choice of images.
        """
        generator = torch.Generator().manual_seed(self.config.seed + 1000 * repeat)
        order = torch.randperm(len(self.images.held_out), generator=generator)
        chosen = self.images.held_out[order[: self.config.measured]]
        return self.images.dequantized(chosen, generator).flatten(1)

    @cached_property
    def reference(self) -> Tensor:
        """All held-out images (N, d) with the noise of their grey levels, to set draws beside."""
        generator = torch.Generator().manual_seed(self.config.seed)
        return self.images.dequantized(self.images.held_out, generator).flatten(1).double()

    @cached_property
    def classifier(self) -> FeatureNetwork | None:
        """Trained on the labels, if there are any."""
        labels = self.images.train_labels
        return None if labels is None else classifier_for(self.images, seed=self.config.seed)

    def row(
        self,
        arm: ImageArm,
        denoiser: LearnedDenoiser,
        steps: int,
        repeat: int,
        drawn: Tensor | None,
    ) -> Row:
        """All that is measured at T = ``steps``."""
        begin, config, images = time.perf_counter(), self.config, self.images
        chain = Schedule.named(SCHEDULE, steps)
        seed = int(digest([config.seed, repeat, steps])[:12], 16) % 2**31
        generator = torch.Generator(denoiser.data_mean.device).manual_seed(seed)
        host = torch.Generator().manual_seed(seed)
        found: dict[str, Estimate | None] = {}
        held_out = self.held_out(repeat)
        length = code_length(denoiser, chain, held_out.to(generator.device), generator=generator)
        found["nats"] = length
        found["bits"] = bits_per_dimension(length, images.dim, images.bin_width)
        if images.mixture is not None:
            mixture = images.mixture.to(generator.device)
            errors = summed_errors(
                mixture, chain, denoiser, samples=max(128, config.measured), generator=host
            )
            found["M_1"], found["M_rest"], found["M_sum"] = errors[0], errors[1], errors.sum()
        if isinstance(denoiser, SoftMixture) and denoiser.noise:
            places = torch.linspace(1, steps, min(SHARE_LEVELS, steps)).round().long()
            levels, few = chain.snr[places], held_out[:SHARE_IMAGES]
            shares = [carried(denoiser, few, snr, generator) for snr in levels]
            found["latent_share"] = max(shares, key=float)
        row: Row = {
            "data": config.data,
            "shape": "×".join(map(str, images.shape)),
            "preset": config.preset,
            "arm": arm,
            "repeat": repeat,
            "steps": steps,
        }
        for name, estimate in found.items():
            row[name] = None if estimate is None else float(estimate.value)
            row[f"{name}_error"] = None if estimate is None else float(estimate.error)
        if drawn is not None:
            row |= self.compared(drawn, host)
        row["device"] = str(denoiser.data_mean.device)
        row["seconds"] = time.perf_counter() - begin
        return row

    def compared(self, drawn: Tensor, generator: torch.Generator) -> Row:
        """How far draws (n, d) are from the held-out images; some of it in random directions."""
        x, y = drawn.double().cpu(), self.reference
        found: dict[str, Estimate] = {
            "energy_distance": energy_distance(x, y),
            "sliced_wasserstein": sliced_wasserstein(x, y, generator=generator),
        }
        if self.classifier is not None:
            count = min(len(x), len(y))
            features = self.classifier.features
            found["frechet"] = frechet_distance(features(x[:count]), features(y[:count]))
        row: Row = {}
        for name, estimate in found.items():
            row[name], row[f"{name}_error"] = float(estimate.value), float(estimate.error)
        if self.images.mixture is not None:
            coverage = mode_coverage(self.images.mixture, x)
            row["modes_covered"] = coverage.covered
            row["outside"] = float(coverage.outside)
        return row


@torch.no_grad()
def carried(
    denoiser: SoftMixture, images: Tensor, snr: Tensor, generator: torch.Generator
) -> Estimate:
    """E tr Var_η x̂_0 / E ‖x_0 − E_η x̂_0‖² at one level: the share that the latent carries.

    The denominator stands for the variance of q(x_0|x_t), which it is if E_η x̂_0 is its mean; on
    mixtures :func:`smdtheory.measure.latent.latent_share` has that variance itself.

    Args:
        denoiser: a soft mixture.
        images: held-out images (N, d).
        snr: γ.
        generator: source of randomness, where the denoiser is.
    """
    x_0 = images.to(generator.device).double()
    gamma = snr.to(x_0).expand(len(x_0))
    units = denoiser.units(noised(x_0, gamma, generator), gamma)
    shape = (len(x_0), SHARE_LATENTS, denoiser.noise)
    eta = torch.randn(shape, generator=generator, device=generator.device)
    drawn = denoiser.draw(units, eta).double()
    spread = drawn.var(1).sum(-1)
    miss = (drawn.mean(1) - units.residual(x_0)).square().sum(-1) - spread / SHARE_LATENTS
    groups = (
        torch.stack(v.chunk(8)) for v in (spread[: len(x_0) // 8 * 8], miss[: len(x_0) // 8 * 8])
    )
    top, bottom = (group.mean(-1).cpu() for group in groups)
    ratio = top.mean() / bottom.mean()  # of means: a mean of ratios is biased upwards
    return Estimate.from_replicates(ratio + (top - ratio * bottom) / bottom.mean())


def draw(denoiser: LearnedDenoiser, steps: int, count: int, seed: int) -> Tensor:
    """Images (count, d) after T = ``steps`` ancestral steps, on the CPU."""
    device = denoiser.data_mean.device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        found = ancestral(
            denoiser, Schedule.named(SCHEDULE, steps), count, generator=generator,
            device=device, batch=256,
        )  # fmt: skip
    return found.float().cpu()
