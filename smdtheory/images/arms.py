"""The denoisers that are compared on images: how each is trained, and what else it needs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from smdtheory.images.config import ImageArm, ImagesConfig
from smdtheory.images.data import Images
from smdtheory.images.denoisers import Arm, untrained_image
from smdtheory.images.parallel import Parallel
from smdtheory.images.training import fit_images
from smdtheory.models import calibrate, objectives
from smdtheory.models.configuration import Objective, Settings
from smdtheory.models.learned import LearnedDenoiser
from smdtheory.models.loop import Fit
from smdtheory.models.recipes import TRAINED
from smdtheory.models.soft_mixture import Kernel, SoftMixture
from smdtheory.models.training import Training

CALIBRATION = 1024
"""Draws for which the residual variances are fitted."""

LIKELIHOOD_LATENTS = 16
"""R, values of η for each image under the likelihood: each goes through the network."""


@dataclass(frozen=True)
class Trained:
    """A network by name.

    Attributes:
        made: the untrained denoiser, of :func:`smdtheory.images.untrained_image`.
        objective: what it is trained on.
        calibrated: whether its residual variance is fitted afterwards.
        kernel: with which a soft mixture is sampled. The energy score trains the law of what the
            network draws, to which the residual variance fitted to R values of η would add.
        parts: into how many parts the batch is divided, of which a step takes one.
    """

    made: Arm
    objective: Objective
    calibrated: bool = True
    kernel: Kernel = "fitted"
    parts: int = 1


NETWORKS = {
    "gaussian": Trained("level", objectives.mse),
    "diagonal": Trained("diagonal", objectives.likelihood, calibrated=False),
    "gaussian_wide": Trained("wide", objectives.mse),
    "soft_no_noise": Trained("no_noise", objectives.mse),
    "soft_mse": Trained("soft", objectives.mse),
    "soft_energy": Trained("soft", objectives.energy, kernel="none"),
    "soft_likelihood": Trained(
        "soft", partial(objectives.likelihood, latents=LIKELIHOOD_LATENTS), parts=4
    ),
}
"""All that is trained. In a step as many images go through the network for ``soft_likelihood`` as
for ``soft_energy``, which has four values of η for each. ``fixed_small`` and ``fixed_large`` have
the network of ``gaussian``: the mean is the same, the variance of a step is not learned."""


def network_of(arm: ImageArm) -> str:
    """The network that an arm rests on.

    Example:
        >>> network_of("fixed_large"), network_of("soft_mse")
        ('gaussian', 'soft_mse')
    """
    return "gaussian" if arm in ("fixed_small", "fixed_large") else arm


def log_snr_of(images: Images) -> tuple[float, float]:
    """The range of log γ that networks are trained on: up to the last step of T = 1000."""
    return TRAINED[0] - math.log(images.variance), TRAINED[1]


def batch_of(name: str, config: ImagesConfig) -> int:
    """Images in a step of one of :data:`NETWORKS`: of a part of the batch, whole shards.

    Example:
        >>> batch_of("soft_energy", ImagesConfig()), batch_of("soft_likelihood", ImagesConfig())
        (64, 16)
    """
    parts = NETWORKS[name].parts
    if parts == 1:
        return config.batch
    return config.shards * max(1, config.batch // (parts * config.shards))


def train_network(
    name: str,
    images: Images,
    config: ImagesConfig,
    repeat: int,
    *,
    folder: Path | None,
    progress: bool | None = None,
    after: Callable[[Training], None] | None = None,
) -> Fit:
    """Train one of :data:`NETWORKS`, or take it from its checkpoints, and fit its variance."""
    kind, seed = NETWORKS[name], config.seed + 1000 * repeat
    start = _untrained(kind.made, images, config, seed)
    run = fit_images(
        start,
        draws_of(images),
        kind.objective,
        Settings(
            steps=config.steps,
            batch=batch_of(name, config),
            learning_rate=config.learning_rate,
            weight_decay=0.0,
            warmup=config.steps // 20,
            ema=min(0.999, 1 - 5 / max(config.steps, 10)),  # the last fifth or so
            clip=1.0,
            log_snr=log_snr_of(images),
            seed=seed,
        ),
        parallel=Parallel(config.shards, config.precision, config.compiled, config.device),
        folder=folder,
        every=config.every,
        resume="fallback" if config.resume == "fallback" else True,
        progress=progress,
        after=after,
    )
    if kind.calibrated:
        calibrate(
            cast("LearnedDenoiser", run.denoiser),
            images.draw if images.mixture is None else images.mixture,
            log_snr=log_snr_of(images),
            samples=CALIBRATION,
            seed=seed,
        )
    return run


def arm_of(
    arm: ImageArm, trained: LearnedDenoiser, images: Images, config: ImagesConfig
) -> LearnedDenoiser:
    """The denoiser of an arm, from the network that it rests on."""
    if arm not in ("fixed_small", "fixed_large"):
        return trained
    fixed = _untrained(arm, images, config, 0)
    fixed.load_state_dict(
        {name: v for name, v in trained.state_dict().items() if not name.startswith("residual.")}
    )
    return fixed.to(trained.data_mean.device).eval()


def sampler_of(arm: ImageArm, denoiser: LearnedDenoiser) -> LearnedDenoiser:
    """The denoiser of an arm with the kernel that it is sampled with."""
    if isinstance(denoiser, SoftMixture):
        return denoiser.with_kernel(NETWORKS[network_of(arm)].kernel)
    return denoiser


@dataclass(frozen=True)
class Draws:
    """Where training takes its images from; it prints what they are, so that a checkpoint knows."""

    fingerprint: str
    images: Images = field(repr=False)

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Images (count, d)."""
        return self.images.draw(count, generator)


def draws_of(images: Images) -> Draws:
    """The training images, with a hash of all of them."""
    content = hashlib.sha256(images.train.numpy().tobytes())
    if images.mixture is not None:
        content.update(images.mixture.means.numpy().tobytes())
    return Draws(content.hexdigest()[:16], images)


def _untrained(made: Arm, images: Images, config: ImagesConfig, seed: int) -> LearnedDenoiser:
    return untrained_image(
        made,
        images.shape,
        config.preset,
        images.mean,
        images.variance,
        modulation=config.modulation,
        latents=config.latents,
        seed=seed,
    )
