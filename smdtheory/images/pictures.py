"""Pictures of images: grids of draws, as PNG."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from smdtheory.files import write_atomically
from smdtheory.images.unets import Shape, pixels

SIDE = 32
"""Smaller images are enlarged to about so many pixels on each side, each pixel to a square."""


def grid(x: Tensor, shape: Shape, columns: int | None = None) -> Tensor:
    """Images (n, d) side by side, (H′, W′, C) uint8; what is out of [−1, 1] is black or white.

    Example:
        >>> grid(torch.zeros(4, 64), (1, 8, 8)).shape
        torch.Size([66, 66, 1])
    """
    _, H, W = shape
    scale = max(1, SIDE // max(H, W))
    across = math.ceil(math.sqrt(len(x))) if columns is None else columns
    whole = pixels(x, shape).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    framed = pad(whole, (1, 0, 1, 0), value=1.0)
    blank = (-len(framed)) % across
    framed = torch.cat([framed, torch.ones(blank, *framed.shape[1:])])
    rows = framed.reshape(-1, across, *framed.shape[1:])  # (rows, across, C, h, w)
    page: Tensor = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    levels: Tensor = ((page.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels


def save_grid(x: Tensor, shape: Shape, path: Path, columns: int | None = None) -> None:
    """Write :func:`grid` as a PNG.

    Raises:
        OSError: if it cannot be written.
    """
    page = grid(x, shape, columns).numpy()
    picture = Image.fromarray(page[..., 0] if page.shape[-1] == 1 else page)
    content = io.BytesIO()
    picture.save(content, format="PNG")
    write_atomically(path, content.getvalue())
