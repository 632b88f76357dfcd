"""Where the bottleneck bites: steps needed against separation over std, by number of modes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from smdtheory.plots.drawing import Drawing, columns_of
from smdtheory.plots.frame import canvas, finish, numbers, one_for_each, with_columns
from smdtheory.plots.style import COLUMN, SMALL, looks, style

COLUMNS = ("arm", "modes", "ratio", "steps_needed", "searched")


@style()
def phase_diagram(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """Steps needed for an error, log-log; a panel for each number of modes, a line for each family.

    A family that does not get there is drawn as a triangle at the top edge, where its line ends.

    Args:
        rows: one row for each arm, number of modes and ratio, with the columns ``arm``, ``modes``,
            ``ratio`` (separation over std), ``steps_needed`` (missing where no T looked at is
            enough) and ``searched`` (the largest T looked at); others are not used.
        title: the claim, above the axes.
        subtitle: what was measured: shape, d, error, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, two rows are of the same arm, modes
            and ratio, or a ratio or number of steps is not positive.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full"] * 2, "modes": 2, "ratio": [1.0, 8.0],
        ...                      "steps_needed": [1, 7], "searched": 8})
        >>> phase_diagram(rows).axes[0].get_yscale()
        'log'
    """
    table = _checked(rows)
    panels = sorted(table["modes"].unique())
    arms = looks(dict.fromkeys(table["arm"]))
    columns = min(len(panels), 4 if width >= 5 else 2)
    count = -(-len(panels) // columns)
    fig, axes = canvas(width, count * min(2.3, 1.1 * width / columns), count, columns, share=True)
    seen = table["steps_needed"].to_numpy(dtype=float)
    high = 3.0 * float(np.nanmax(seen, initial=1.0))
    for ax, modes in zip(axes, panels, strict=False):
        for arm, look in arms.items():
            own = table[(table["modes"] == modes) & (table["arm"] == arm)].sort_values("ratio")
            ratio = own["ratio"].to_numpy(dtype=float)
            steps = own["steps_needed"].to_numpy(dtype=float)
            ax.plot(ratio, steps, **look.drawn())
            never = ratio[np.isnan(steps)]
            ax.plot(
                never, np.full(len(never), high / 1.35), ls="none", marker=look.marker,
                color=look.color, mfc=look.color, gid=f"never {arm}",
            )  # fmt: skip
        ax.set_title(f"{modes} mode{'s' * int(modes != 1)}", loc="left")
    for place, ax in enumerate(axes):
        ax.set_visible(place < len(panels))
        _axes(ax, table["ratio"].to_numpy(dtype=float), high)
        bottom = place + columns >= len(panels)
        ax.set_xlabel("separation / std" if bottom else "")
        ax.tick_params(labelbottom=bottom)
        ax.set_ylabel("" if place % columns else "steps needed T")
    handles: list[Artist] = []
    for look in arms.values():
        handles.append(Line2D([], [], **look.drawn()))
    if np.isnan(seen).any():
        looked = int(table.loc[table["steps_needed"].isna(), "searched"].max())
        note = f"filled, at the top: not within {looked} steps"
        handles.append(Line2D([], [], ls="none", marker="v", color="#7F7F7F", label=note))
    noted = columns_of(table, COLUMNS)
    return finish(fig, title, subtitle, handles, numbers=noted)


def _axes(ax: Axes, ratios: np.ndarray, high: float) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylim(0.8, high)
    ticks = np.unique(2.0 ** np.round(np.log2(ratios)))
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=SMALL)
    ax.grid(axis="y", color="#E6E6E6", lw=0.5)


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    cure = "select one shape, schedule and error first"
    one_for_each(with_columns(rows, COLUMNS), "arm", "modes", "ratio", cure=cure)
    table = rows.assign(
        **{
            name: numbers(f"rows[{name!r}]", rows[name], ("n",))
            for name in ("ratio", "steps_needed")
        }
    )
    if not (table["ratio"] > 0).all() or (table["steps_needed"] <= 0).any():
        raise ValueError("ratio and steps_needed must be positive where they are not missing")
    return table
