"""Images to train on and to judge by. Pixels are numbers in [−1, 1], black to white."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import extremes, instance, integer, is_list, positive, real_tensor, shown
from smdtheory.truth.mixture import GaussianMixture, check_mixture

BLOCK = 2048
"""Images whose moments are summed at a time, in float64."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one shape, with d = C · H · W pixels each.

    Attributes:
        name: "digits", "mixture", "cifar10", "folder", or any other for images of your own.
        train: (N, C, H, W) float32 in [−1, 1]; the Gaussian pixels of a mixture exceed that.
        held_out: (M, C, H, W) float32, none of which is trained on.
        train_labels: (N,) int64, or None.
        held_out_labels: (M,) int64, or None.
        bin_width: distance of two neighbouring grey levels; None for continuous pixels.
        mixture: the exact law of the flattened pixels, or None.
        skipped: files that were left out, each with the reason.

    Raises:
        TypeError: if a part is not of its kind.
        ValueError: if shapes do not fit, a pixel is not finite, or one with grey levels is not in
            [−1, 1].

    Example:
        >>> pixels = torch.zeros(4, 1, 8, 8)
        >>> images = Images("black", pixels, pixels[:1], bin_width=2 / 255)
        >>> images.shape, images.dim, images.draw(3, torch.Generator()).shape
        ((1, 8, 8), 64, torch.Size([3, 64]))
    """

    name: str
    train: Tensor
    held_out: Tensor
    train_labels: Tensor | None = None
    held_out_labels: Tensor | None = None
    bin_width: float | None = None
    mixture: GaussianMixture | None = None
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        instance("name", self.name, str, "Any word will do.")
        for part in ("train", "held_out"):
            labels = getattr(self, f"{part}_labels")
            _check_images(part, getattr(self, part), labels, self.bin_width is not None)
        if self.bin_width is not None:
            positive("bin_width", self.bin_width)
        if not isinstance(self.skipped, tuple):
            raise TypeError(f"skipped must be a tuple of texts; received {shown(self.skipped)}")
        if self.train.shape[1:] != self.held_out.shape[1:]:
            raise ValueError(
                "held_out must have images of the shape of train; received "
                f"{tuple(self.held_out.shape[1:])} and {self.shape}"
            )
        if self.mixture is not None and check_mixture(self.mixture).dim != self.dim:
            raise ValueError(f"mixture must have dim {self.dim}; received {self.mixture.dim}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    @property
    def dim(self) -> int:
        """d = C · H · W."""
        return math.prod(self.shape)

    @cached_property
    def mean(self) -> Tensor:
        """The mean of each pixel, (d,) float64: of the training images, or of the mixture."""
        if self.mixture is not None:
            return self.mixture.mean
        blocks = torch.split(self.train.flatten(1), BLOCK)
        return torch.stack([block.double().sum(0) for block in blocks]).sum(0) / len(self.train)

    @cached_property
    def variance(self) -> float:
        """The variance of a pixel about its mean, averaged over the pixels."""
        if self.mixture is not None:
            return float(self.mixture.total_variance) / self.dim
        blocks = torch.split(self.train.flatten(1), BLOCK)
        total = sum(float((block.double() - self.mean).square().sum()) for block in blocks)
        return total / self.train.numel()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Training images (count, d) float32 with replacement; of a mixture, new images.

        Grey levels come with their noise (:meth:`dequantized`): a density that is trained without
        it, and measured with it, is punished where pixels hardly vary.

        Args:
            count: how many.
            generator: source of randomness; the images are on its device.

        Returns:
            Shape (count, d), float32.

        Raises:
            TypeError: if one is not of its kind.
            ValueError: if ``count`` is below 1.
        """
        number = integer("count", count, low=1)
        source = _check_generator(generator)
        if self.mixture is not None:
            mixture = self.mixture
            if mixture.means.device != source.device:
                mixture = mixture.to(source.device)
            return mixture.sample(number, generator=source).float()
        size = (number,)
        index = torch.randint(len(self.train), size, generator=source, device=source.device)
        chosen = self.train.flatten(1)[index.to(self.train.device)].to(source.device)
        return self.dequantized(chosen, source)

    def dequantized(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images plus uniform noise on ± ``bin_width``/2, whose density bounds the likelihood.

        With u uniform, log P(grey levels) >= E_u log p(images + u) + n log ``bin_width`` for n
        pixels, by Jensen's inequality. Continuous images are given back as they are.

        Args:
            images: any shape.
            generator: source of randomness, on the device of the images.

        Returns:
            Images of the same shape.

        Raises:
            TypeError: if one is not of its kind.
        """
        pixels = real_tensor("images", images)
        source = _check_generator(generator)
        if self.bin_width is None:
            return pixels
        uniform = torch.rand(
            pixels.shape, generator=source, dtype=pixels.dtype, device=pixels.device
        )
        return pixels + self.bin_width * (uniform - 0.5)


def _check_images(name: str, images: Any, labels: Any, bounded: bool) -> None:
    pixels = instance(name, images, Tensor, "torch.as_tensor makes one.")
    if pixels.dtype != torch.float32 or pixels.ndim != 4 or 0 in pixels.shape:
        raise ValueError(
            f"{name} must be float32 of shape (N, C, H, W), not empty; received {pixels.dtype} of "
            f"shape {tuple(pixels.shape)}"
        )
    low, high = extremes(pixels)
    limit = 1.0 if bounded else torch.finfo(torch.float32).max
    if not (-limit <= low and high <= limit):
        rule = "lie in [-1, 1]" if bounded else "be finite"
        raise ValueError(f"{name} must {rule}; received pixels from {low:.6g} to {high:.6g}")
    if labels is None:
        return
    classes = instance(f"{name}_labels", labels, Tensor, "torch.as_tensor makes one.")
    if classes.dtype != torch.int64 or not is_list(classes) or len(classes) != len(pixels):
        raise ValueError(
            f"{name}_labels must be int64 of shape ({len(pixels)},); received {classes.dtype} of "
            f"shape {tuple(classes.shape)}"
        )


def _check_generator(generator: Any) -> torch.Generator:
    return instance("generator", generator, torch.Generator, "torch.Generator() makes one.")
