"""Images to train on and to judge by: digits, CIFAR-10, a folder, or a mixture fitted to one.

Pixels are numbers in [−1, 1], black to white. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from smdtheory.checks import extremes, instance, integer, is_list, real_tensor
from smdtheory.images.cifar import is_cifar10, read_cifar10
from smdtheory.images.folder import read_folder
from smdtheory.images.low_rank import fit_low_rank
from smdtheory.options import choices
from smdtheory.options import path as check_path
from smdtheory.truth.mixture import GaussianMixture, check_mixture

Source = Literal["digits", "mixture", "cifar10", "folder"]

SOURCES = ("digits", "mixture", "cifar10", "folder")

HELD_OUT = 0.2
"""Share of the digits, and of a folder's images, that are held out."""

DRAWN = (1000, 1000)
"""Images of a mixture that are drawn for training and held out; `draw` draws new ones."""

GREYS = (0.299, 0.587, 0.114)
"""What red, green and blue count for in grey (ITU-R BT.601), as in Pillow."""

DARKEST = 0.25
"""Tinted digits have red, green and blue light from this share to all of their grey."""

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
        for part in ("train", "held_out"):
            labels = getattr(self, f"{part}_labels")
            _check_images(part, getattr(self, part), labels, self.bin_width is not None)
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

        Args:
            count: how many.
            generator: source of randomness; the images are on its device.

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
        return self.train.flatten(1)[index.to(self.train.device)].to(source.device)

    def dequantized(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images plus uniform noise on ± ``bin_width``/2, whose density bounds the likelihood.

        With u uniform, log P(grey levels) >= E_u log p(images + u) + n log ``bin_width`` for n
        pixels, by Jensen's inequality. Continuous images are given back as they are.

        Args:
            images: any shape.
            generator: source of randomness, on the device of the images.

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


def load_images(
    source: Source,
    *,
    path: str | os.PathLike[str] | None = None,
    size: int | None = None,
    channels: int | None = None,
    components: int = 10,
    rank: int = 8,
    seed: int = 0,
) -> Images:
    """Images by the name of their source.

    - ``digits``: the 1797 digits of 8 × 8 pixels and 17 grey levels that come with scikit-learn.
    - ``cifar10``: the standard CIFAR-10 batches, 32 × 32 in colour, with their own split.
    - ``folder``: images of a folder and the folders in it, 32 × 32 in colour by default.
    - ``mixture``: draws from a low-rank mixture fitted to the training images of another source
      (:func:`fit_low_rank`), so that the exact posterior is known: the digits without ``path``,
      otherwise CIFAR-10 if that is what it leads to, or a folder. They are resized bilinearly; the
      digits in colour are each given a random tint.

    Args:
        source: one of these.
        path: of CIFAR-10 or the folder.
        size: height and width; 8 to 32 for a mixture, 2 to 1024 for a folder.
        channels: 1 (grey) or 3 (red, green, blue).
        components: of a mixture, at most; other sources do not use it.
        rank: of its factors, likewise.
        seed: of the split of digits and of a folder, of the fit, the tints and the draws.

    Raises:
        ImportError: for digits without scikit-learn.
        TypeError: if an argument is not of its kind.
        ValueError: for an unknown source, a size that it does not have, or files that are not
            there or cannot be read.

    Example:
        >>> images = load_images("digits")
        >>> images.shape, len(images.train), len(images.held_out), images.bin_width
        ((1, 8, 8), 1437, 360, 0.125)
        >>> load_images("mixture", components=4, rank=2).mixture
        GaussianMixture(components=4, dim=64)
    """
    (kind,) = choices("source", [source], SOURCES)
    where = None if path is None else check_path("path", path)
    start = integer("seed", seed, low=0)
    if kind == "mixture":
        return _mixture(where, size, channels, components, rank, start)
    return _read(kind, where, size, channels, start)


def _read(kind: str, path: Path | None, size: Any, channels: Any, seed: int) -> Images:
    """Images of a source that is no mixture."""
    if kind == "digits":
        if path is not None:
            raise ValueError(
                f"path must be left out for digits, which come with scikit-learn; received {path}"
            )
        _only("digits", size, channels, 8, 1)
        return _digits(seed)
    if kind == "cifar10":
        _only("cifar10", size, channels, 32, 3)
        found = read_cifar10(path)
        return Images(
            "cifar10",
            _units(found.train),
            _units(found.test),
            found.train_labels,
            found.test_labels,
            bin_width=2 / 255,
        )
    if path is None:
        raise ValueError("path must be a folder of images for source 'folder'; received none")
    side = 32 if size is None else _between("size", size, 2, 1024)
    return _folder(path, side, 3 if channels is None else _channels(channels), seed)


def _digits(seed: int) -> Images:
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed: "
            "pip install 'smdtheory[images]'"
        ) from error
    levels, digits = load_digits(return_X_y=True)
    pixels = torch.from_numpy(np.asarray(levels, np.float32).reshape(-1, 1, 8, 8)) / 8 - 1
    labels = torch.from_numpy(np.asarray(digits, np.int64))
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=digits, random_state=seed
    )
    return Images(
        "digits", pixels[train], pixels[held_out], labels[train], labels[held_out], bin_width=2 / 16
    )


def _folder(path: Path, size: int, channels: int, seed: int) -> Images:
    """Held out are images by the hash of their name: others that come or go change nothing."""
    pixels, names, skipped = read_folder(path, size, channels)
    if len(names) < 2:
        raise ValueError(
            f"path must hold at least 2 images, one to train on and one to hold out; received "
            f"{path}, where 1 can be read"
        )
    place = torch.tensor([_place(name, seed) for name in names], dtype=torch.float64)
    held_out = place < HELD_OUT
    held_out[place.argmin()], held_out[place.argmax()] = True, False
    return Images(
        "folder",
        _units(pixels[~held_out]),
        _units(pixels[held_out]),
        bin_width=2 / 255,
        skipped=skipped,
    )


def _place(name: str, seed: int) -> float:
    """A number in [0, 1) that looks random, from a file's name and the seed."""
    text = os.fsencode(f"{seed} {name}")
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48


def _mixture(
    path: Path | None, size: Any, channels: Any, components: Any, rank: Any, seed: int
) -> Images:
    side = None if size is None else _between("size", size, 8, 32)
    colours = None if channels is None else _channels(channels)
    if path is None:
        base = _read("digits", None, None, None, seed)
        side, colours = side or 8, colours or 1
        pixels = _tinted(base.train, seed) if colours == 3 else base.train
    elif is_cifar10(path):
        base = _read("cifar10", path, None, None, seed)
        side, colours = side or 32, colours or 3
        grey = torch.tensor(GREYS).reshape(1, 3, 1, 1)
        pixels = base.train if colours == 3 else (base.train * grey).sum(1, keepdim=True)
    else:
        base = _read("folder", path, side, colours, seed)
        pixels, (colours, side, _) = base.train, base.shape
    if pixels.shape[-1] != side:
        pixels = interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    mixture = fit_low_rank(pixels, components, rank, seed)
    generator = torch.Generator().manual_seed(seed)
    train, held_out = (
        mixture.sample(count, generator=generator).float().reshape(count, colours, side, side)
        for count in DRAWN
    )
    return Images("mixture", train, held_out, mixture=mixture, skipped=base.skipped)


def _tinted(grey: Tensor, seed: int) -> Tensor:
    """Grey images (N, 1, H, W) in light of a random colour each, (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    colour = DARKEST + (1 - DARKEST) * torch.rand(len(grey), 3, 1, 1, generator=generator)
    return colour * (grey + 1) - 1


def _units(pixels: Tensor) -> Tensor:
    """Bytes as float32 numbers in [−1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


def _only(source: str, size: Any, channels: Any, side: int, colours: int) -> None:
    """Refuse a size or channels that a source does not have."""
    for name, value, only in (("size", size, side), ("channels", channels, colours)):
        if value is not None and integer(name, value) != only:
            raise ValueError(
                f"{name} must be {only} for {source}; received {value}. Source 'mixture' takes "
                "any size from 8 to 32 and 1 or 3 channels."
            )


def _between(name: str, value: Any, low: int, high: int) -> int:
    number = integer(name, value)
    if not low <= number <= high:
        raise ValueError(f"{name} must be from {low} to {high}; received {number}")
    return number


def _channels(value: Any) -> int:
    number = integer("channels", value)
    if number not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (red, green, blue); received {number}")
    return number


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
