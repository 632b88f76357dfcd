"""How close the worst mixtures come to the caps, against the size of the step."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from smdtheory.plots.drawing import Drawing, columns_of
from smdtheory.plots.frame import (
    by_arm,
    canvas,
    column_numbers,
    finish,
    label_ends,
    not_negative,
    with_columns,
)
from smdtheory.plots.style import COLUMN, INK, SMALL, looks, style

COLUMNS = ("arm", "ratio", "share", "share_error", "lattice", "ceiling")


@style()
def worst_case(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """M over its cap for the worst mixtures found, against r = SNR_s/SNR_t, by family.

    Markers are mixtures found by ascent, lines the worst lattices, the limit of many components.
    Shaded is what the second-order cap excludes, for the family with the lowest such ceiling.

    Args:
        rows: one row for each arm and ratio, with the columns ``arm``, ``ratio``, ``share`` and
            ``share_error`` (half-width of the error bar), ``lattice`` and ``ceiling``, all but the
            first two as parts of the cap; others are not used.
        title: the claim, above the axes.
        subtitle: what was measured: d, number of components, search.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, or a ratio is not above 1.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full"] * 2, "ratio": [2.0, 100.0], "share": [0.14, 0.7],
        ...                      "share_error": [0.0, 0.0], "lattice": [0.15, 0.75],
        ...                      "ceiling": [1.0, 1.0]})
        >>> worst_case(rows).axes[0].get_xscale()
        'log'
    """
    (ratios,) = column_numbers(with_columns(rows, COLUMNS), "ratio")
    if not (ratios > 1).all():
        raise ValueError(f"ratio must be above 1 everywhere; received {ratios.min()}")
    arms = by_arm(rows, "ratio")
    fig, (ax,) = canvas(width, (0.45 if width >= 5 else 0.72) * width)
    ax.set_xscale("log")
    ax.axhline(1, color=INK, lw=0.8)
    ax.text(0.02, 1.015, "the cap", transform=ax.get_yaxis_transform(), size=SMALL, va="bottom")
    ends, lowest, whose = [], None, ""
    for look, table in zip(looks(arms).values(), arms.values(), strict=True):
        ratio, share, error, lattice, ceiling = column_numbers(table, *COLUMNS[1:])
        not_negative("share_error", error)
        line = look.drawn() | {"marker": ""}
        ax.plot(ratio, lattice, **line)
        ax.errorbar(
            ratio, share, error, fmt=look.marker, color=look.color, mfc="white", mew=1.0,
            elinewidth=0.8, capsize=1.5,
        )  # fmt: skip
        ends.append((look, float(ratio[-1]), float(lattice[-1])))
        if lowest is None or ceiling.sum() < lowest[1].sum():
            lowest, whose = (ratio, ceiling), look.label
    if lowest is not None:
        ax.fill_between(lowest[0], lowest[1], 1.0, color="#D9D9D9", lw=0, zorder=0)
    ax.set_ylim(0, 1.12)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("step r = SNR$_s$ / SNR$_t$")
    ax.set_ylabel("largest error found / cap")
    label_ends(ax, ends)
    handles: list[Artist] = [
        Line2D([], [], color=INK, marker="o", mfc="white", ls="", label="mixture, by ascent"),
        Line2D([], [], color=INK, lw=1.2, label="lattice"),
        Patch(facecolor="#D9D9D9", label=f"excluded for {whose},\nsecond order"),
    ]
    noted = columns_of(rows, COLUMNS)
    return finish(fig, title, subtitle, handles, numbers=noted)
