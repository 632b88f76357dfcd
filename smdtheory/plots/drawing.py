"""A figure that holds the numbers it was drawn from: how it is saved, shown and read again."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from smdtheory.plots.style import style

DPI = 200
"""Dots an inch of a PNG; a notebook shows half as many pixels an inch, for sharp screens."""

KEY = "numbers"
"""The text chunk of a PNG that holds the numbers of its figure, as CSV."""

MOST = 25
"""How many places along an axis are kept of what is drawn at hundreds."""


def some(length: int, most: int = MOST) -> NDArray[np.intp]:
    """Up to ``most`` places among ``length``, evenly spread, both ends with them.

    Example:
        >>> some(3).tolist(), len(some(401))
        ([0, 1, 2], 25)
    """
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.intp))


def columns_of(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The columns that were drawn and their half-widths, under the name of what they belong to.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full"], "value": 1.0, "error": 0.1, "seconds": 9})
        >>> list(columns_of(rows, ("arm", "value", "error")))
        ['arm', 'value', 'value_error']
    """
    halves = (f"{name}_error" for name in columns)
    kept = rows[[*columns, *(name for name in halves if name in rows and name not in columns)]]
    return kept.rename(columns={"error": "value_error"}) if "value" in kept else kept


def stacked(parts: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Tables one below the other, each by its columns: arrays of one length, or a single value.

    Example:
        >>> stacked([{"arm": "full", "t": [1, 2], "value": np.array([0.1, 0.2])}])
            arm  t  value
        0  full  1    0.1
        1  full  2    0.2
    """
    return pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True)


class Drawing(Figure):
    """A matplotlib figure with the numbers that it shows.

    Attributes:
        numbers: what is drawn, a row for each point; None if nothing was noted. A column of numbers
            may have its half-widths in the column of that name with ``_error``.
        colors: how many colours its PNG has; None for photographs, which need them all. 128 are
            enough for lines and text on white, and make the file a third as large.

    Example:
        >>> from smdtheory.plots import error_along_chain
        >>> error_along_chain({"full": [0, 0.1, 0.01]}).numbers
            arm  t   value
        0  full  1  0.10
        1  full  2  0.01
    """

    numbers: pd.DataFrame | None = None
    colors: int | None = 128

    def png(self) -> bytes:
        """The figure as a PNG of :data:`DPI` dots an inch, its numbers within.

        Returns:
            The bytes of the file.

        Example:
            >>> Drawing().png()[1:4]
            b'PNG'
        """
        pixels, packed, info = io.BytesIO(), io.BytesIO(), PngInfo()
        if self.numbers is not None:
            info.add_text(KEY, self.numbers.to_csv(index=False, float_format="%.9g"), zip=True)
        with style():
            self.savefig(pixels, format="png", dpi=DPI, facecolor="white")
        image = Image.open(pixels).convert("RGB")
        if self.colors is not None:
            covering, plain = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
            image = image.quantize(self.colors, covering, dither=plain)
        image.save(packed, "png", optimize=True, dpi=(DPI, DPI), pnginfo=info)
        return packed.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, bytes], dict[str, dict[str, int]]]:
        """The figure in a notebook."""
        width, height = (round(inches * DPI / 2) for inches in self.get_size_inches())
        return {"image/png": self.png()}, {"image/png": {"width": width, "height": height}}


def save(fig: Drawing, path_stem: str | Path) -> tuple[Path, Path]:
    """Write ``path_stem.png``, with the numbers that it shows, and ``path_stem.pdf``.

    The same figure gives the same bytes.

    Args:
        fig: what to write.
        path_stem: the path without its ending; missing folders are made.

    Returns:
        The two paths.

    Example:
        >>> import tempfile
        >>> [path.name for path in save(Drawing(), f"{tempfile.mkdtemp()}/new/chain")]
        ['chain.png', 'chain.pdf']
    """
    png, pdf = Path(f"{path_stem}.png"), Path(f"{path_stem}.pdf")
    png.parent.mkdir(parents=True, exist_ok=True)
    png.write_bytes(fig.png())
    with style():
        fig.savefig(pdf, dpi=DPI, metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))
    return png, pdf


def read_numbers(png: str | Path) -> pd.DataFrame:
    """The numbers that a saved figure shows.

    Args:
        png: a file that :func:`save` wrote.

    Returns:
        :attr:`Drawing.numbers`, to nine digits.

    Raises:
        ValueError: if the file holds none.

    Example:
        >>> import tempfile
        >>> from smdtheory.plots import error_along_chain
        >>> fig = error_along_chain({"full": [0, 0.1, 0.01]})
        >>> read_numbers(save(fig, f"{tempfile.mkdtemp()}/chain")[0]).value.tolist()
        [0.1, 0.01]
    """
    with Image.open(png) as image:
        image.load()
        text = getattr(image, "text", {}).get(KEY)
    if text is None:
        raise ValueError(f"a figure must hold its numbers; {png} does not. Draw it anew.")
    return pd.read_csv(io.StringIO(text))
