"""Errors against the number of steps T: local ones, the global one, and predictions of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from smdtheory.plots.drawing import Drawing, columns_of
from smdtheory.plots.frame import (
    by_arm,
    canvas,
    column_numbers,
    finish,
    label_ends,
    not_negative,
    one_for_each,
    with_columns,
)
from smdtheory.plots.scales import ROUNDING, decades, log_axis, zero_within
from smdtheory.plots.style import COLUMN, INK, SMALL, TRUTH, looks, style

SUM = ("arm", "steps", "M_sum", "M_sum_error")
GLOBAL = ("global_lower", "global_upper")
RATIO = ("mixture", "arm", "steps", "ratio", "ratio_error")
QUANTITIES = {
    "M_sum": "sum of local errors Σ$_t$ $M_t$ (nats)",
    "global_value": "global error KL($q_0$‖$p_0$) (nats)",
}
"""What can be drawn against the number of steps, and the name of its axis."""


def checked_rows(rows: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """The rows of each arm in order of steps, arms in the order of the ladder.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, an arm has two rows for one T, or
            some T is not positive.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full", "isotropic"], "steps": [2, 2]})
        >>> list(checked_rows(rows, ("arm", "steps")))
        ['isotropic', 'full']
    """
    (counts,) = column_numbers(with_columns(rows, columns), "steps")
    one_for_each(rows, "arm", "steps", cure="select one mixture, schedule and seed first")
    if not (counts > 0).all():
        raise ValueError(f"steps must be positive; received {counts.min()}")
    return by_arm(rows, "steps")


def steps_axis(ax: Axes, arms: dict[str, pd.DataFrame]) -> None:
    """A logarithmic axis of T, with ticks that can be read where the range is short."""
    steps = np.concatenate([table["steps"] for table in arms.values()])
    ax.set_xscale("log")
    ax.set_xlim(steps.min() / 1.25, steps.max() * 1.25)
    if steps.max() < 50 * steps.min():  # too few powers of ten to read by: label what was measured
        ax.set_xticks(np.unique(steps))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("number of steps T")


GLOBAL_RANGE = 1e-7
"""What is this far below the largest global error is named, not drawn: one arm without error would
flatten all the others."""


@style()
def error_against_steps(
    rows: pd.DataFrame,
    *,
    quantity: Literal["M_sum", "global_value"] = "M_sum",
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """ΣM_t, or the global error, against T by arm, log-log, with error bars.

    A value within its error of zero, or within rounding, is drawn in the strip below the axis if it
    is so at every T, and otherwise as an arrow from its upper end. An arm with no finite value is
    left out.

    Args:
        rows: one row for each arm and T, with the columns ``arm``, ``steps``, ``M_sum`` and
            ``M_sum_error`` (half-width of the error bar), in nats; others are not used.
        quantity: the column to draw, ``global_value`` instead of ``M_sum``; its error bar is the
            column of that name with ``_error``.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, schedule, seed, meaning of the error bars.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if a column is missing, an arm has more than one row for a T, or the quantity is
            another one.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full"] * 2, "steps": [10, 100],
        ...                      "M_sum": [1e-1, 1e-3], "M_sum_error": [0.0, 0.0]})
        >>> error_against_steps(rows).axes[0].get_xscale()
        'log'
    """
    if not isinstance(quantity, str) or quantity not in QUANTITIES:
        raise ValueError(
            f"quantity must be one of {', '.join(QUANTITIES)}; received {quantity!r:.60}"
        )
    arms = checked_rows(rows, ("arm", "steps", quantity, f"{quantity}_error"))
    fig, (ax,) = canvas(width, (0.45 if width >= 5 else 0.72) * width)
    steps_axis(ax, arms)
    ends, zeros, drawn = [], [], []
    for look, table in zip(looks(arms).values(), arms.values(), strict=True):
        steps, value, error = column_numbers(table, "steps", quantity, f"{quantity}_error")
        finite = np.isfinite(value)
        not_negative(f"{quantity}_error", error[finite])
        clear = finite & (value > np.maximum(error, ROUNDING))
        if not finite.any():
            continue
        if not clear.any():
            zeros.append((look, steps[finite], (np.abs(value) + error)[finite]))
            continue
        shown = np.where(clear, value, np.where(finite, np.abs(value) + error, np.nan))
        ax.plot(steps, shown, **look.drawn())
        ax.errorbar(
            steps, shown, np.where(clear, error, 0.6 * shown), fmt="none", uplims=~clear & finite,
            ecolor=look.color, elinewidth=0.8, capsize=1.5, zorder=1.9,
        )  # fmt: skip
        last = np.flatnonzero(finite)[-1]
        ends.append((look, float(steps[last]), float(shown[last])))
        drawn.append(shown[finite])
    ax.set_ylabel(QUANTITIES[quantity])
    log_axis(ax, drawn, zeros)
    label_ends(ax, ends)
    noted = columns_of(rows, ("arm", "steps", quantity, f"{quantity}_error"))
    return finish(fig, title, subtitle, numbers=noted)


@style()
def global_error_against_steps(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """The interval that holds the global error against T, log-log; one panel for each arm.

    The band runs from ``global_lower`` to ``global_upper``; where its lower end is zero or within
    rounding it runs off the axis, and a panel with nothing else says so. ΣM_t is drawn with it:
    ΣM_t and the prior gap together bound the global error (docs/theory.md §6.9).

    Args:
        rows: one row for each arm and T, with the columns of :func:`error_against_steps`,
            ``global_lower`` and ``global_upper``, in nats.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, schedule, seed, level of the interval.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if a column is missing, or an arm has more than one row for a T.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full"] * 2, "steps": [10, 100],
        ...                      "M_sum": [1e-1, 1e-3], "M_sum_error": [0.0, 0.0],
        ...                      "global_lower": [0.0, 0.0], "global_upper": [5e-2, 1e-3]})
        >>> len(global_error_against_steps(rows).axes)
        1
    """
    arms = checked_rows(rows, SUM + GLOBAL)
    names = (*GLOBAL, "M_sum")
    seen = np.concatenate(
        [part for table in arms.values() for part in column_numbers(table, *names)]
    )
    seen = seen[np.isfinite(seen) & (seen > ROUNDING)]
    seen = seen if seen.size else np.ones(1)
    high = float(seen.max()) * 2
    low = float(seen[seen > high * GLOBAL_RANGE].min()) / 2
    columns = min(len(arms), 4 if width >= 5 else 2)
    count = -(-len(arms) // columns)
    fig, axes = canvas(width, count * min(2.0, 0.85 * width / columns), count, columns, share=True)
    for ax, look, table in zip(axes, looks(arms).values(), arms.values(), strict=False):
        steps, lower, upper, total = column_numbers(table, "steps", *names)
        start = np.maximum(lower, low / 10)
        ax.fill_between(steps, start, upper, color=look.color, alpha=0.3, lw=0)
        for end in (lower, upper):
            ax.plot(steps, np.where(end > ROUNDING, end, np.nan), color=look.color, lw=0.8)
        total = np.where(total > ROUNDING, total, np.nan)
        ax.plot(steps, total, **look.drawn() | {"linewidth": 1.0})
        ax.set_title(look.label, loc="left")
        worst = upper[np.isfinite(upper)].max(initial=-np.inf)
        if 0 <= worst <= max(low, ROUNDING):
            ax.text(0.05, 0.05, zero_within(worst), transform=ax.transAxes, size=SMALL)
    for place, ax in enumerate(axes):
        steps_axis(ax, arms)
        decades(ax, low, high)
        bottom = place + columns >= len(arms)
        ax.set_xlabel("steps T" if bottom else "")
        ax.tick_params(labelbottom=bottom)
        ax.set_ylabel("" if place % columns else "error (nats)")
        ax.set_visible(place < len(arms))
    handles: list[Artist] = [
        Patch(facecolor=TRUTH, alpha=0.5, label="interval of the global error"),
        Line2D([], [], color=INK, lw=1.0, ls="--", marker="o", mfc="white", label="Σ$_t$ $M_t$"),
    ]
    return finish(fig, title, subtitle, handles, numbers=columns_of(rows, SUM + GLOBAL))


@style()
def deviation_against_steps(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """|measured / predicted − 1| against T by family, log-log; one panel for each mixture.

    Open markers: measured above predicted. Filled ones: below. The thin line falls like 1/T.

    Args:
        rows: one row for each mixture, arm and T, with the columns ``mixture`` (name of the panel),
            ``arm``, ``steps``, ``ratio`` (measured over predicted) and ``ratio_error`` (half-width
            of the error bar); others are not used.
        title: the claim, above the axes.
        subtitle: what was measured: d, schedule, which prediction.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, or a mixture has more than one row
            for an arm and T.

    Example:
        >>> rows = pd.DataFrame({"mixture": "4 modes", "arm": "full", "steps": [10, 100],
        ...                      "ratio": [0.8, 0.98], "ratio_error": 0.0})
        >>> deviation_against_steps(rows).axes[0].get_yscale()
        'log'
    """
    ratio, error = column_numbers(with_columns(rows, RATIO), "ratio", "ratio_error")
    not_negative("ratio_error", error)
    off = np.abs(ratio - 1)
    positive = off[np.isfinite(off) & (off > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    panels = {name: checked_rows(own, RATIO) for name, own in rows.groupby("mixture", sort=False)}
    arms = looks(by_arm(rows, "steps"))
    columns = len(panels) if width >= 5 else 1
    count = -(-len(panels) // columns)
    tall = min(2.6, 0.72 * width / columns)
    fig, axes = canvas(width, count * tall, count, columns, share=True)
    for place, (ax, (name, tables)) in enumerate(zip(axes, panels.items(), strict=True)):
        for arm, table in tables.items():
            steps, ratio, error = column_numbers(table, "steps", "ratio", "ratio_error")
            off = np.where(ratio == 1, np.nan, np.abs(ratio - 1))
            drawn = arms[arm].drawn() | {"marker": ""}
            ax.plot(steps, off, **drawn)
            for above, fill in ((True, "white"), (False, drawn["color"])):
                ax.errorbar(
                    steps, np.where((ratio > 1) == above, off, np.nan), error, mfc=fill,
                    fmt=arms[arm].marker, color=drawn["color"], elinewidth=0.8, capsize=1.5,
                )  # fmt: skip
        steps_axis(ax, tables)
        decades(ax, float(low) / 2, 2 * float(high))
        ends = np.array(ax.get_xlim())
        ax.plot(ends, 1.5 * high * ends[0] / ends, color=TRUTH, lw=0.8, zorder=1)
        ax.set_title(str(name), loc="left")
        ax.set_ylabel("" if place % columns else "|measured / predicted − 1|")
        bottom = place + columns >= len(panels)
        ax.set_xlabel("number of steps T" if bottom else "")
        ax.tick_params(labelbottom=bottom)
    handles: list[Artist] = []
    for look in arms.values():
        handles.append(Line2D([], [], **look.drawn() | {"marker": ""}))
    for label, fill in (("measured is above", "white"), ("below", INK)):
        handles.append(Line2D([], [], ls="", marker="o", color=INK, mfc=fill, label=label))
    handles.append(Line2D([], [], color=TRUTH, lw=0.8, label="1/T"))
    return finish(fig, title, subtitle, handles, numbers=columns_of(rows, RATIO))
