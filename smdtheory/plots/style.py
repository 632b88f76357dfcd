"""The looks of the denoisers, and the settings of every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib as mpl
import seaborn as sns

Dash = tuple[float, tuple[float, ...]] | Literal["-"]

COLUMN = 3.3
"""Width of one text column, in inches."""
PAGE = 7.0
"""Width of two text columns, in inches."""
SMALL = 7.0
"""Size of tick labels, legends and notes, in points; the rest is 8."""


@dataclass(frozen=True)
class Look:
    """How one denoiser is drawn.

    Attributes:
        label: its name in words.
        color: one of Okabe and Ito.
        line: dashes, as matplotlib has them.
        marker: as matplotlib has it.
        thickness: of the line, in points.

    Example:
        >>> LOOKS["full"].label
        'full'
    """

    label: str
    color: str
    line: Dash
    marker: str
    thickness: float = 1.4  # points; where families coincide, the thicker shows beneath the thinner

    def drawn(self) -> dict[str, Any]:
        """Keywords for ``Axes.plot``.

        Returns:
            Label, colour, line and marker by the names that matplotlib has for them.

        Example:
            >>> LOOKS["full"].drawn()["marker"]
            'P'
        """
        return {
            "label": self.label,
            "color": self.color,
            "linestyle": self.line,
            "linewidth": self.thickness,
            "marker": self.marker,
            "markerfacecolor": "white",
            "markeredgewidth": 1.0,
        }


LOOKS: dict[str, Look] = {
    "fixed_small": Look("fixed small", "#E69F00", (0, (1, 1.2)), "v"),
    "fixed_large": Look("fixed large", "#D55E00", (0, (4, 1.2, 1, 1.2, 1, 1.2)), "^"),
    "isotropic": Look("isotropic", "#0072B2", (0, (7, 1.5)), "o"),
    "isotropic_x": Look("isotropic per x", "#56B4E9", (0, (4, 1.2, 1, 1.2)), "s", 2.6),
    "diagonal": Look("diagonal", "#009E73", (0, (2.5, 1.2)), "D", 1.9),
    "full": Look("full", "#000000", "-", "P", 1.1),
    "soft_mixture": Look("exact soft mixture", "#CC79A7", (0, (9, 1.5, 3, 1.5)), "*"),
    "truncated": Look("truncated", "#7F7F7F", (0, (1, 2.5)), "X"),
    "gaussian": Look("learned Gaussian", "#0072B2", (0, (1, 1.2)), "s"),
    "gaussian_full": Look("learned full", "#000000", (0, (1, 1.2)), "D"),
    "soft_mse": Look("soft, squared error", "#D55E00", (0, (4, 1.2, 1, 1.2)), "v"),
    "soft_energy": Look("soft, energy score", "#CC79A7", "-", "*", 1.8),
    "soft_likelihood": Look("soft, likelihood", "#8A4B2A", (0, (9, 1.5, 3, 1.5)), "p", 1.8),
    "finite_mixture": Look("finite mixture", "#009E73", (0, (7, 1.5)), "^"),
    "gaussian_wide": Look("wider Gaussian", "#56B4E9", (0, (1, 2.5)), "X"),
    "soft_no_noise": Look("soft without noise", "#7F7F7F", (0, (2.5, 1.2)), "h"),
}
COLORS: dict[str, str] = {name: look.color for name, look in LOOKS.items()}
TRUTH = "#8C8C8C"
"""Colour of q itself."""
INK = "#262626"
"""Colour of text and axes."""
_OTHERS: tuple[tuple[str, Dash, str], ...] = (
    ("#5B4B8A", (0, (5, 2)), "<"),
    ("#8A4B2A", (0, (1, 1.8)), ">"),
    ("#4D4D4D", (0, (6, 2, 1, 2)), "h"),
    ("#2F6F6F", (0, (3, 1)), "p"),
)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each name: its own or a spare one.

    ``truncated_K`` has that of ``truncated``, and ``best FAMILY`` that of the family.

    Args:
        names: of families, learned denoisers, or whatever is drawn.

    Returns:
        A look for each name, in the same order.

    Example:
        >>> looks(["full", "truncated_2", "my model"])["truncated_2"].label
        'truncated to 2'
    """
    found, spare = {}, 0
    for name in names:
        kind, _, count = name.rpartition("_")
        if name in LOOKS:
            found[name] = LOOKS[name]
        elif name.startswith("best ") and name[5:] in LOOKS:
            found[name] = replace(LOOKS[name[5:]], label=f"best {LOOKS[name[5:]].label}")
        elif kind == "truncated":
            base = LOOKS[kind]
            found[name] = replace(base, label=f"{base.label} to {count}")
        else:
            found[name] = Look(name, *_OTHERS[spare % len(_OTHERS)])
            spare += 1
    return found


@contextmanager
def style() -> Iterator[None]:
    """The settings all figures are drawn with; the caller's come back on leaving.

    Returns:
        A context manager, and a decorator.

    Example:
        >>> before = mpl.rcParams["font.size"]
        >>> with style():
        ...     inside = mpl.rcParams["font.size"]
        >>> inside, mpl.rcParams["font.size"] == before
        (8.0, True)
    """
    changes: Any = {  # the type that matplotlib asks for differs between its versions
        **sns.axes_style("ticks"),
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "dejavusans",
        "font.size": 8.0,
        "axes.labelsize": 8.0,
        "axes.titlesize": 8.0,
        "axes.edgecolor": INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.3,
        "lines.markersize": 4.0,
        "hatch.linewidth": 0.4,
        "legend.frameon": False,
        "savefig.bbox": None,
        "pdf.fonttype": 42,
        "pdf.compression": 6,
    }
    with mpl.rc_context(changes):
        yield
