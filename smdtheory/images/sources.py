"""Where images come from: digits, CIFAR-10, a folder, or a mixture fitted to one of them.

Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from smdtheory.checks import integer
from smdtheory.images.cifar import is_cifar10, read_cifar10
from smdtheory.images.config import Source
from smdtheory.images.data import Images
from smdtheory.images.folder import read_folder
from smdtheory.images.low_rank import fit_low_rank
from smdtheory.options import choices
from smdtheory.options import path as check_path

SOURCES = get_args(Source)

HELD_OUT = 0.2
"""Share of the digits, and of a folder's images, that are held out."""

DRAWN = (1000, 1000)
"""Images of a mixture that are drawn for training and held out; `draw` draws new ones."""

GREYS = (0.299, 0.587, 0.114)
"""What red, green and blue count for in grey (ITU-R BT.601), as in Pillow."""

DARKEST = 0.25
"""Tinted digits have red, green and blue light from this share to all of their grey."""


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

    Returns:
        Training and held-out images, and what is known of them.

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
