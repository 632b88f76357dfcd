"""Choosing steps and grids: steps needed against error, and levels of grids beside their sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from smdtheory.plots.drawing import Drawing, columns_of
from smdtheory.plots.frame import (
    canvas,
    check_width,
    finish,
    label_ends,
    numbers,
    one_for_each,
    with_columns,
)
from smdtheory.plots.style import COLUMN, INK, LOOKS, SMALL, looks, style

STEPS = ("arm", "error", "steps_needed", "steps_estimated")
LEVELS = ("grid", "arm", "t", "snr")
SUMS = ("grid", "arm", "M_sum")


@style()
def steps_against_error(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """Steps needed against the error, log-log, and the estimate over what is needed beside it.

    Args:
        rows: one row for each arm and error, with the columns ``arm``, ``error`` (nats),
            ``steps_needed`` (missing where no T looked at is enough) and ``steps_estimated``
            (missing where there is none); others are not used.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, two rows are of the same arm and
            error, or a number is not positive.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full"] * 2, "error": [1.0, 0.1],
        ...                      "steps_needed": [2, 7], "steps_estimated": [3, 8]})
        >>> steps_against_error(rows).axes[1].get_ylabel()
        'estimate / steps needed'
    """
    table = _checked(rows, STEPS, ("arm", "error"), ("error", "steps_needed", "steps_estimated"))
    fig, (left, right) = _pair(width, 0.4 * width if width >= 5 else 0.72 * width)
    ends = []
    for arm, look in looks(_ordered(table)).items():
        own = table[table["arm"] == arm].sort_values("error", ascending=False)
        error, steps, guess = (own[name].to_numpy(dtype=float) for name in STEPS[1:])
        left.plot(error, steps, **look.drawn())
        if np.isfinite(steps).any():
            last = np.flatnonzero(np.isfinite(steps))[-1]
            if error[last] > table["error"].min():  # it gets no further
                left.annotate(
                    look.label, (error[last], steps[last]), (0, 36), textcoords="offset points",
                    size=SMALL, color=INK,
                    arrowprops={"arrowstyle": "-", "color": look.color, "lw": 0.7, "shrinkB": 3},
                )  # fmt: skip
            else:
                ends.append((look, float(error[last]), float(steps[last])))
        if np.isfinite(guess).any() and arm != "soft_mixture":
            right.plot(error, guess / steps, **look.drawn())
    right.axhline(1.0, color=INK, lw=0.6, zorder=0.5)
    ticks = np.unique(table["error"])
    for ax, name in ((left, "steps needed T"), (right, "estimate / steps needed")):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(ticks)
        ax.set_xlim(ticks.max() * 1.25, ticks.min() / 1.25)
        ax.set_xlabel("error allowed, ΣM (nats)")
        ax.set_ylabel(name)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        ax.minorticks_off()
    ratio = (table["steps_estimated"] / table["steps_needed"])[table["arm"] != "soft_mixture"]
    marks = np.array([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
    low, high = float(ratio.min(skipna=True)), float(ratio.max(skipna=True))
    if np.isfinite(low):
        right.set_ylim(min(low, 1) / 1.15, max(high, 1) * 1.15)
        right.set_yticks(marks[(marks >= min(low, 1) / 1.15) & (marks <= max(high, 1) * 1.15)])
    label_ends(left, ends)
    return finish(fig, title, subtitle, numbers=columns_of(table, STEPS))


@style()
def grid_comparison(
    levels: pd.DataFrame,
    sums: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """Where each grid has its levels, and beside it ΣM on it, by family.

    Levels far below where most grids end are counted at the edge, not drawn.

    Args:
        levels: a row for each level of each grid, with the columns ``grid`` (its name), ``arm``
            (the family it is the best for; missing for a grid of no family), ``t`` and ``snr``.
            Grids are drawn from the top in the order of the rows.
        sums: a row for each grid and family, with the columns ``grid``, ``arm`` and ``M_sum``
            (nats).
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, number of steps.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if an argument is no data frame.
        ValueError: if a column is missing, there are no rows, rows are given twice, or a number is
            not positive.

    Example:
        >>> levels = pd.DataFrame({"grid": "cosine", "arm": None, "t": [1, 2], "snr": [9.0, 0.1]})
        >>> sums = pd.DataFrame({"grid": ["cosine"], "arm": ["full"], "M_sum": [0.2]})
        >>> len(grid_comparison(levels, sums).axes)
        2
    """
    places = _checked(levels, LEVELS, ("grid", "arm", "t"), ("snr",))
    table = _checked(sums, SUMS, ("grid", "arm"), ("M_sum",))
    rows = list(dict.fromkeys(zip(places["grid"], _named(places["arm"]), strict=True)))
    names = list(dict.fromkeys(table["grid"]))
    fig, (left, right) = _pair(width, 0.6 + 0.19 * len(rows), 0.6 + 0.19 * len(names))
    known = looks(_ordered(table))
    lowest = float(np.median(places.groupby(["grid"])["snr"].min())) / 10
    for place, (grid, arm) in enumerate(rows):
        own = places[(places["grid"] == grid) & (_named(places["arm"]) == arm)]
        look = LOOKS.get(arm)
        snr = own["snr"].to_numpy(dtype=float)
        left.plot([snr.min(), snr.max()], [place] * 2, color="#D9D9D9", lw=0.7, zorder=0.5)
        left.plot(
            snr, [place] * len(snr), ls="none", marker="|", color=look.color if look else INK,
            ms=7, mew=1.3,
        )  # fmt: skip
        if beyond := int((snr < lowest).sum()):
            left.annotate(
                f"{beyond} more →", (1, place), xycoords=("axes fraction", "data"),
                xytext=(-1, 4.5), textcoords="offset points", ha="right", va="bottom", size=SMALL,
            )  # fmt: skip
    left.set_xscale("log")
    left.set_xlim(2 * float(places["snr"].max()), lowest)
    left.set_yticks(range(len(rows)), [name for name, _ in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.set_xlabel("signal-to-noise ratio γ (data on the left)")
    for place, grid in enumerate(names):
        own = table[table["grid"] == grid]
        right.axhline(place, color="#D9D9D9", lw=0.7, zorder=0.5)
        for arm, value in zip(own["arm"], own["M_sum"], strict=True):
            look = known[arm]
            right.plot(
                value, place, ls="none", marker=look.marker, color=look.color, mfc="white", mew=1.0,
                gid=f"{grid} {arm}",
            )  # fmt: skip
    right.set_xscale("log")
    right.set_yticks(range(len(names)), names)
    right.set_ylim(len(names) - 0.4, -0.6)
    right.set_xlabel("sum of local errors ΣM (nats)")
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter(NullFormatter())
    low, high = float(table["M_sum"].min()), float(table["M_sum"].max())
    marks = np.array([m * 10.0**e for e in range(-6, 4) for m in (1, 2, 5)])
    right.set_xlim(low / 1.3, high * 1.3)
    right.set_xticks(marks[(marks > low / 1.3) & (marks < high * 1.3)])
    for ax in (left, right):
        ax.yaxis.set_ticks_position("none")
        ax.minorticks_off()
        ax.spines["left"].set_visible(False)
    handles = [
        Line2D(
            [], [], ls="none", marker=look.marker, color=look.color, mfc="white", label=look.label
        )
        for look in known.values()
    ]
    noted = pd.concat([columns_of(places, LEVELS), columns_of(table, SUMS)])
    return finish(fig, title, subtitle, handles, numbers=noted)


def _pair(width: float, *heights: float) -> tuple[Drawing, list[Axes]]:
    """Two axes, side by side on a page, one below the other in a column."""
    check_width(width)
    if width >= 5:
        return canvas(width, max(heights), 1, 2)
    first, second = heights[0], heights[-1]
    fig = Drawing(figsize=(width, first + second), layout="constrained")
    return fig, list(fig.subplots(2, 1, height_ratios=[first, second]))


def _named(arms: pd.Series) -> pd.Series:
    """Names, empty where there is none."""
    return arms.astype(object).where(arms.notna(), "")


def _ordered(table: pd.DataFrame) -> list[str]:
    """Arms in the order of the ladder."""
    rank = {name: place for place, name in enumerate(LOOKS)}
    return sorted(table["arm"].unique(), key=lambda arm: (rank.get(arm, len(rank)), arm))


def _checked(
    rows: pd.DataFrame, columns: tuple[str, ...], key: tuple[str, ...], positive: tuple[str, ...]
) -> pd.DataFrame:
    one_for_each(with_columns(rows, columns), *key)
    table = rows.assign(
        **{
            name: numbers(
                f"rows[{name!r}]", rows[name].to_numpy(dtype=float, na_value=np.nan), ("n",)
            )
            for name in positive
        }
    )
    for name in positive:
        if (table[name] <= 0).any():
            raise ValueError(f"{name} must be positive; received {table[name].min()}")
    return table
