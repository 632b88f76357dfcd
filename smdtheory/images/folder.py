"""Images from a folder, all of one size, and a reason for each file that is left out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from smdtheory.command import printable

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm"),
}
"""Formats that are read, and the endings of their files."""

ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)

MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
"""Pillow's names of pixels of 8 bits a channel or fewer."""

MOST_PIXELS = 2**26
"""An image of more is not decoded: a small file can ask for any amount of memory."""


def read_folder(
    path: Path, size: int, channels: int
) -> tuple[Tensor, tuple[str, ...], tuple[str, ...]]:
    """All images in a folder and the folders in it, in the order of their names.

    Each is turned upright by its EXIF data, laid on white where it is transparent, resized
    bilinearly until its shorter side is ``size``, and cropped to the middle. Of an animation the
    first frame counts. Links to folders are not followed.

    Args:
        path: the folder.
        size: height and width.
        channels: 1, grey, or 3.

    Returns:
        Pixels (N, channels, size, size) uint8, the N names relative to the folder, and one text
        for each file that was left out, its name and the reason.

    Raises:
        ValueError: if there is no such folder, or no image in it can be read.
    """
    rule = f"path must be a folder of images ({' '.join(ENDINGS)})"
    if not path.is_dir():
        kind = "is a file" if path.is_file() else "does not exist"
        raise ValueError(f"{rule}; received {path}, which {kind}")
    pixels, names, skipped = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for name, reason in _files(path):
            if reason is None:
                try:
                    pixels.append(_read(path / name, size, channels))
                    names.append(name)
                except Exception as error:  # a damaged image raises anything
                    reason = _reason(error)
            if reason is not None:
                skipped.append(printable(f"{name}: {reason}"))
    if not pixels:
        received = f"{len(skipped)} files, none of which can be read" if skipped else "no files"
        shown = "".join(f"\n  {line}" for line in skipped[:5])
        raise ValueError(f"{rule}; received {path}, with {received}. Name another.{shown}")
    return torch.from_numpy(np.stack(pixels)), tuple(names), tuple(skipped)


def _files(path: Path) -> Iterator[tuple[str, str | None]]:
    """Every file below a folder, by its relative name, with a reason if it is no image."""
    unread: list[OSError] = []
    found: list[tuple[str, str | None]] = []
    for folder, _, names in os.walk(path, onerror=unread.append):
        for name in names:
            file = Path(folder, name)
            reason = None
            if not name.lower().endswith(ENDINGS):
                reason = "its ending is not that of an image"
            elif not file.is_file():
                reason = "it is not a regular file"
            found.append((file.relative_to(path).as_posix(), reason))
    for error in unread:
        name = Path(error.filename).relative_to(path).as_posix()
        found.append((name, f"the folder cannot be read: {error.strerror}"))
    return iter(sorted(found, key=lambda entry: entry[0]))


def _read(path: Path, size: int, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image, (channels, size, size)."""
    with Image.open(path, formats=tuple(FORMATS)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it has {image.width} × {image.height} pixels, too many to decode")
        if image.mode not in MODES:
            raise ValueError(f"its pixels, {image.mode}, have more than 8 bits a channel")
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            clear = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        plain = upright.convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(plain, (size, size), method=Image.Resampling.BILINEAR)
    return np.asarray(fitted, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"its content is none of {', '.join(FORMATS)}"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
