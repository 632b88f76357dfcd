"""What happens to errors as the modes get thin: errors against their standard deviation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from smdtheory.plots.drawing import Drawing, columns_of
from smdtheory.plots.frame import (
    Array,
    by_arm,
    canvas,
    column_numbers,
    finish,
    not_negative,
    one_for_each,
    with_columns,
)
from smdtheory.plots.scales import decades, powers
from smdtheory.plots.style import COLUMN, looks, style

COLUMNS = ("panel", "arm", "std", "value", "error")

SPAN = 1e3
"""A panel without zeros is logarithmic if its largest value is this many times its least."""


@style()
def error_against_std(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """Errors against the std of the modes, thin modes to the right; one panel for each quantity.

    Over log std an error that grows like log 1/std is a straight line, which is why a panel is
    linear unless its values are all above their errors and span more than three powers of ten.

    Args:
        rows: one row for each panel, arm and std, with the columns ``panel`` (the name of its
            vertical axis, with the unit), ``arm``, ``std``, ``value`` and ``error`` (half-width of
            the error bar); others are not used.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, two rows are of the same panel, arm
            and std, or a std is not positive.

    Example:
        >>> rows = pd.DataFrame({"panel": "$M_1$ (nats)", "arm": "full", "std": [0.1, 0.01],
        ...                      "value": [0.5, 2.5], "error": 0.0})
        >>> error_against_std(rows).axes[0].get_yscale()
        'linear'
    """
    stds, errors = column_numbers(with_columns(rows, COLUMNS), "std", "error")
    not_negative("error", errors)
    if not (stds > 0).all():
        raise ValueError(f"std must be positive; received {stds.min()}")
    one_for_each(rows, "panel", "arm", "std")
    arms = looks(by_arm(rows, "std"))
    panels = list(dict.fromkeys(rows["panel"]))
    side_by_side = width >= 5 or len(panels) == 1
    columns = len(panels) if side_by_side else 1
    count = 1 if side_by_side else len(panels)
    height = 0.72 * width / columns
    fig, axes = canvas(width, count * min(height, 2.6), count, columns)
    for ax, panel in zip(axes, panels, strict=True):
        here = rows[rows["panel"] == panel]
        own = by_arm(here, "std")
        for arm, table in own.items():
            std, value, error = column_numbers(table, "std", "value", "error")
            drawn = arms[arm].drawn()
            ax.plot(std, value, **drawn)
            ax.errorbar(
                std, value, error, fmt="none", ecolor=drawn["color"], elinewidth=0.8, capsize=1.5,
                zorder=1.9,
            )  # fmt: skip
        ax.set_ylabel(panel)
        _axes(ax, stds, *column_numbers(here, "value", "error"))
    handles: list[Artist] = [Line2D([], [], **look.drawn()) for look in arms.values()]
    noted = columns_of(rows, COLUMNS)
    return finish(fig, title, subtitle, handles, numbers=noted)


def _axes(ax: Axes, stds: Array, value: Array, error: Array) -> None:
    ax.set_xscale("log")
    ax.set_xlim(1.6 * stds.max(), stds.min() / 1.6)
    ax.set_xticks(10 ** powers(stds.min(), stds.max(), 5))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("std of a mode")
    low, high = float(np.nanmin(value)), float(np.nanmax(value))
    if (value > error).all() and high > SPAN * low:
        decades(ax, low / 2, 2 * high)
    else:
        room = max(high, 0.0) - min(low, 0.0) or 1.0
        ax.set_ylim(min(low, 0.0) - 0.04 * room, max(high, 0.0) + 0.08 * room)
        ax.grid(axis="y", color="#E6E6E6", lw=0.5)
