r"""Denoisers of images: Gaussians and the soft mixture, with U-Nets for networks.

All else is that of the denoisers on vectors: units (docs/theory.md §10.1), laws of x_0 given x_t,
objectives, residual variances, samplers and measures take flattened images (…, d), d = C·H·W. No
d × d matrix is formed anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import torch as safetensors
from torch import Tensor, nn

from smdtheory.checks import integer, shown
from smdtheory.files import write_atomically
from smdtheory.images.networks import POINTS, ImageNetwork, Kind, soft_networks
from smdtheory.images.unets import Preset, Shape, check_shape, preset_of
from smdtheory.models.checkpoint import open_folder
from smdtheory.models.gaussian import GaussianDenoiser
from smdtheory.models.learned import LearnedDenoiser, Units
from smdtheory.models.recipes import parameters_of
from smdtheory.models.soft_mixture import Kernel, SoftMixture

ImageVariance = Literal["fixed_small", "fixed_large", "level", "diagonal"]

IMAGE_VARIANCES: tuple[ImageVariance, ...] = get_args(ImageVariance)
"""Kinds of covariance that are affordable at d = 3072."""

Arm = Literal["fixed_small", "fixed_large", "level", "diagonal", "wide", "soft", "no_noise"]

ARMS: tuple[Arm, ...] = get_args(Arm)
"""Denoisers of images by name; see :func:`untrained_image`."""

LATENTS = 16
"""R, values of η in the law of an image soft mixture: each is an image in memory."""


class ImageGaussian(GaussianDenoiser):
    """x_0 given x_t is N(μ(x_t, γ_t), P), μ a U-Net.

    Args:
        shape: (C, H, W).
        variance_kind: P as in :class:`smdtheory.models.GaussianDenoiser`: ``fixed_small``,
            ``fixed_large``, ``level`` or ``diagonal``, for which the U-Net has as many channels
            again.
        preset: size of the U-Net.
        mean: of the data, (d,).
        variance: of each coordinate of the data, on average.

    Raises:
        TypeError: if the shape is not three integers.
        ValueError: for an unknown kind or preset, or a preset that does not fit the shape.

    Example:
        >>> denoiser = ImageGaussian((1, 8, 8), "diagonal", preset="tiny")
        >>> denoiser(torch.zeros(2, 64), 1.0, 2.0)
        GaussianMixture(components=1, dim=64, batch_shape=(2,))
    """

    def __init__(
        self,
        shape: Shape,
        variance_kind: ImageVariance = "level",
        *,
        preset: str | Preset = "small",
        mean: Sequence[float] | Tensor | None = None,
        variance: float = 1.0,
    ) -> None:
        if not isinstance(variance_kind, str) or variance_kind not in IMAGE_VARIANCES:
            raise ValueError(
                f"variance_kind must be one of {', '.join(IMAGE_VARIANCES)} for images; received "
                f"{shown(variance_kind)}. GaussianDenoiser has the others, in low dimension."
            )
        C, H, W = check_shape(shape, preset)
        network = ImageNetwork((C, H, W), preset, outputs=2 if variance_kind == "diagonal" else 1)
        super().__init__(C * H * W, variance_kind, mean=mean, variance=variance, network=network)
        self.shape = (C, H, W)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the U-Net alone; see :func:`save_unet`.

        Args:
            folder: made if it is not there.

        Returns:
            The folder.
        """
        return save_unet(self.network, folder)


class ImageSoftMixture(SoftMixture):
    """A U-Net modulated by a latent.

    Args:
        shape: (C, H, W).
        kernel: "fitted", "paper" or "none", as in :class:`smdtheory.models.SoftMixture`.
        modulation: how the latent enters: "both", "scale_shift", "low_rank" or "none"; see
            :mod:`smdtheory.images.networks`.
        preset: size of the U-Net.
        latents: R, values of η in :meth:`x0`.
        latent: ℓ, dimension of z at each pixel; that of the preset if absent.
        noise: dimension of η; ℓ if absent, and 0 leaves the latent without noise, a control.
        mean: of the data, (d,).
        variance: of each coordinate of the data, on average.

    Raises:
        TypeError: if the sizes are not integers.
        ValueError: for an unknown kernel, modulation or preset, sizes below 1, a preset that does
            not fit the shape, or an R that is odd.

    Example:
        >>> denoiser = ImageSoftMixture((1, 8, 8), preset="tiny", latents=4)
        >>> denoiser(torch.zeros(2, 64), 1.0, 2.0)
        GaussianMixture(components=4, dim=64, batch_shape=(2,))
    """

    points = POINTS

    def __init__(
        self,
        shape: Shape,
        kernel: Kernel = "fitted",
        *,
        modulation: Kind = "both",
        preset: str | Preset = "small",
        latents: int = LATENTS,
        latent: int | None = None,
        noise: int | None = None,
        mean: Sequence[float] | Tensor | None = None,
        variance: float = 1.0,
    ) -> None:
        width = preset_of(preset).latent if latent is None else latent
        noise = width if noise is None else noise
        networks = soft_networks(shape, preset, modulation=modulation, latent=width, noise=noise)
        C, H, W = networks[0].shape
        super().__init__(
            C * H * W,
            kernel,
            latents=latents,
            noise=noise,
            mean=mean,
            variance=variance,
            networks=networks,
        )
        self.shape, self.modulation = (C, H, W), modulation

    def draw(self, units: Units, eta: Tensor) -> Tensor:
        """Residuals (B, R, d) that the noise η, (B, R, e) or (R, e), makes of each point.

        Without gradients, :attr:`points` images at most are in the networks together.

        Args:
            units: of B points.
            eta: (B, R, e) or (R, e).

        Returns:
            Shape (B, R, d).
        """
        if torch.is_grad_enabled():
            return super().draw(units, eta)
        count = eta.shape[-2]
        rows, columns = self.together(count), min(count, self.points)
        whole = eta.expand(len(units.inputs), count, -1)
        drawn = []
        for part, noise in zip(units.parts(rows), torch.split(whole, rows), strict=True):
            blocks = torch.split(noise, columns, 1)
            drawn.append(
                torch.cat([super(ImageSoftMixture, self).draw(part, e) for e in blocks], 1)
            )
        return torch.cat(drawn)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the U-Net alone, without what modulates it; see :func:`save_unet`.

        Args:
            folder: made if it is not there.

        Returns:
            The folder.
        """
        return save_unet(self.network, folder)


def save_unet(network: nn.Module, folder: str | os.PathLike[str]) -> Path:
    """Write a U-Net in the format of ``diffusers``: ``config.json`` and safetensors weights.

    ``UNet2DModel.from_pretrained(folder)`` reads it. Called with an image in the units of
    :class:`smdtheory.models.learned.Units` and the time of
    :func:`smdtheory.images.unets.timestep`, it returns the residual's mean, and for ``diagonal``
    raw standard deviations in as many channels again.

    Args:
        network: the ``network`` of a denoiser of images.
        folder: made where it does not exist.

    Returns:
        The folder.

    Raises:
        TypeError: if ``network`` is of another kind, or ``folder`` not a path.
        ValueError: if the folder cannot be made or written to.
        OSError: if there is no space; what is there is whole.
    """
    if not isinstance(network, ImageNetwork):
        raise TypeError(
            f"network must be an ImageNetwork; received {type(network).__name__}. Denoisers of "
            "images have one, as denoiser.network."
        )
    from diffusers.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME

    path, unet = open_folder(folder), network.unet
    weights = {name: tensor.contiguous() for name, tensor in unet.state_dict().items()}
    content = safetensors.save(weights, metadata={"format": "pt"})
    write_atomically(path / SAFETENSORS_WEIGHTS_NAME, content)
    write_atomically(path / CONFIG_NAME, unet.to_json_string())  # last: where it is, all is
    return path


def untrained_image(
    arm: Arm,
    shape: Shape,
    preset: str | Preset = "small",
    mean: Sequence[float] | Tensor | None = None,
    variance: float = 1.0,
    *,
    modulation: Kind = "both",
    latents: int = LATENTS,
    latent: int | None = None,
    noise: int | None = None,
    kernel: Kernel = "fitted",
    seed: int = 0,
) -> LearnedDenoiser:
    """A denoiser of images before training.

    From the same seed all arms but ``wide`` and ``diagonal`` have the same U-Net, and ``diagonal``
    the same but for its last convolution.

    Args:
        arm: a Gaussian whose variance is fixed (``fixed_small``, ``fixed_large``), the best number
            for each level (``level``) or learned for each pixel (``diagonal``); ``wide``, which is
            ``level`` with as many parameters as the soft mixture; ``soft``; or ``no_noise``, the
            soft mixture with η off. To be trained on ``mse``; ``diagonal`` on ``likelihood`` and
            ``soft`` on ``mse``, ``energy`` or ``likelihood``.
        shape: (C, H, W).
        preset: "tiny", "small" or "base".
        mean: of the data, (d,); 0 if absent.
        variance: of each coordinate of the data, on average.
        modulation: of the soft mixtures, and of the one that ``wide`` is as large as.
        latents: R of the soft mixture; ``no_noise`` has 2, which are the same.
        latent: dimension of z; that of the preset if absent.
        noise: dimension of η; that of z if absent.
        kernel: of the soft mixtures.
        seed: of the initial parameters.

    Returns:
        The denoiser, on the CPU.

    Raises:
        TypeError: if the sizes or the seed are not integers.
        ValueError: for an arm, a preset, a modulation or a kernel that is not known, or a preset
            that does not fit the shape.

    Example:
        >>> soft = untrained_image("soft", (1, 8, 8), "tiny")
        >>> wide = untrained_image("wide", (1, 8, 8), "tiny")
        >>> round(parameters_of(wide) / parameters_of(soft), 2)
        1.0
    """
    if not isinstance(arm, str) or arm not in ARMS:
        raise ValueError(f"arm must be one of {', '.join(ARMS)}; received {shown(arm)}")
    units: dict[str, Any] = {"mean": mean, "variance": variance}
    soft: dict[str, Any] = {"modulation": modulation, "latent": latent, "noise": noise}
    if arm == "wide":
        preset = as_large_as_soft(check_shape(shape, preset), preset_of(preset), **soft)
    with torch.random.fork_rng([]):
        torch.manual_seed(integer("seed", seed, low=0))
        if arm in ("soft", "no_noise"):
            if arm == "no_noise":
                soft["noise"], latents = 0, 2
            return ImageSoftMixture(shape, kernel, preset=preset, latents=latents, **soft, **units)
        kind: Any = "level" if arm == "wide" else arm
        return ImageGaussian(shape, kind, preset=preset, **units)


@lru_cache(maxsize=64)
def as_large_as_soft(
    shape: Shape,
    preset: Preset,
    *,
    modulation: Kind = "both",
    latent: int | None = None,
    noise: int | None = None,
) -> Preset:
    """The size of a Gaussian's U-Net with as many parameters as a soft mixture of ``preset``.

    Features are added in steps of ``groups``, at the lowest resolutions first, as long as there is
    room; the features of the time embedding make up the rest. Nothing is allocated.

    Example:
        >>> from smdtheory.images.unets import PRESETS
        >>> as_large_as_soft((1, 8, 8), PRESETS["tiny"]).channels
        (24, 48)
    """
    with torch.device("meta"):
        networks = soft_networks(shape, preset, modulation=modulation, latent=latent, noise=noise)
        wanted = sum(map(parameters_of, networks))

        def count(size: Preset) -> int:
            return parameters_of(ImageNetwork(shape, size))

        found, place = preset, len(preset.channels) - 1
        while place >= 0:
            channels = list(found.channels)
            channels[place] += preset.groups
            larger = replace(found, channels=tuple(channels))
            found, place = (larger, place) if count(larger) <= wanted else (found, place - 1)
        here, more = count(found), count(replace(found, time=found.time + 1))
        # the count is quadratic in ``time``: Newton's steps end at the nearest from below
        while more <= wanted:
            step = max(1, (wanted - here) // (more - here) // 2)
            found = replace(found, time=found.time + step)
            here, more = count(found), count(replace(found, time=found.time + 1))
    return found
