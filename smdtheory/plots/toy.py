"""Learned denoisers on a grid of modes: samples, errors by iteration count, errors by training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

from smdtheory.plots.drawing import Drawing, columns_of
from smdtheory.plots.frame import Array, finish, not_negative, numbers, wrapped
from smdtheory.plots.steps import checked_rows
from smdtheory.plots.style import COLUMN, PAGE, SMALL, TRUTH, Look, looks, style

SUM = ("arm", "training_steps", "steps", "M_sum", "M_sum_error")
QUALITY = ("modes_covered", "on_a_mode", "energy_distance", "energy_distance_error")
CROWD = 2000
"""Draws of a panel at which a dot has its usual size."""


@style()
def learned_grid(
    rows: pd.DataFrame,
    samples: Mapping[int, Mapping[str, ArrayLike]],
    data: ArrayLike,
    *,
    centres: ArrayLike,
    radius: float,
    watched: int,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """Samples above; below, Σ M_t against T and against training steps, beside the floors.

    On a page the data have a panel of their own; in a column only the circles tell where they are.

    Args:
        rows: one row for each arm, number of training steps and T, with the columns ``arm``,
            ``training_steps`` (missing for what is not trained: a floor), ``steps`` (T), ``M_sum``
            and ``M_sum_error`` in nats and, for what ``samples`` holds, ``modes_covered``,
            ``on_a_mode`` (a share), ``energy_distance`` and ``energy_distance_error``. The arm
            ``data`` may have the last four alone; other columns are not used.
        samples: draws (n, 2) by T and arm; the same arms for each T.
        data: draws of the data (n, 2).
        centres: of the modes, (K, 2).
        radius: of the circle around each mode.
        watched: the T at which errors are drawn against training steps.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, schedule, seed, meaning of the error bars.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column or row is missing, or shapes do not agree.

    Example:
        >>> rows = pd.DataFrame({"arm": ["gaussian", "full"], "training_steps": [10, None],
        ...                      "steps": 2, "M_sum": [1.0, 0.5], "M_sum_error": [0.1, 0.0],
        ...                      "modes_covered": 1, "on_a_mode": 1.0,
        ...                      "energy_distance": 0.0, "energy_distance_error": 0.0})
        >>> fig = learned_grid(rows, {2: {"gaussian": np.zeros((9, 2))}}, np.zeros((9, 2)),
        ...                    centres=np.zeros((1, 2)), radius=0.1, watched=2)
        >>> len(fig.axes)
        3
    """
    learned, floors = _checked(rows)
    longest = learned[learned["training_steps"] == learned["training_steps"].max()]
    counts = sorted(samples)
    if not counts:
        raise ValueError("samples must hold at least one T; received an empty mapping")
    arms = looks(samples[counts[0]])
    known = looks([*dict.fromkeys(learned["arm"]), *dict.fromkeys(floors["arm"])])
    if not 3 <= width <= 20:
        raise ValueError(f"width is in inches and lies between 3 and 20; received {width}")
    narrow = width < 5  # the data have no panel of their own, and notes take more lines
    side = (width - 0.2 * narrow) / (len(counts) + (not narrow))
    above = len(arms) * (side + (0.62 if narrow else 0.3))
    beneath = (0.62 if narrow else 0.32) * width
    fig = Drawing(figsize=(width, above + beneath), layout="constrained")
    outer = fig.add_gridspec(2, 1, height_ratios=[above, beneath])
    shown = pd.concat([longest, rows[rows["arm"] == "data"]])
    places = numbers("centres", centres, ("K", 2))
    _panels(fig, outer[0], arms, samples, None if narrow else data, places, radius, shown)
    below = outer[1].subgridspec(1, 2, wspace=0.04)
    left = fig.add_subplot(below[0])
    right = fig.add_subplot(below[1])
    by_steps = checked_rows(pd.concat([longest, floors]), SUM)
    trained = learned[learned["steps"] == watched].drop(columns="steps")
    if trained.empty:
        raise ValueError(f"rows must hold a trained arm at T = {watched}, which is watched")
    over = checked_rows(trained.rename(columns={"training_steps": "steps"}), ("arm", "steps"))
    for arm, table in by_steps.items():
        _curve(left, known[arm], table, arm in over)
    for arm, table in over.items():
        _curve(right, known[arm], table, True)
    for arm, table in by_steps.items():
        if arm not in over:
            value = table.loc[table["steps"] == watched, "M_sum"]
            if value.empty:
                raise ValueError(f"rows must hold {arm} at T = {watched}, which is watched")
            right.axhline(float(value.iloc[0]), **_thin(known[arm]))
    left.set_ylim(bottom=0)
    left.set_ylabel(f"{'' if narrow else 'sum of local errors '}Σ$_t$ $M_t$ (nats)")
    right.set_ylabel(f"{'' if narrow else 'Σ$_t$ $M_t$ '}at T = {watched} (nats)")
    for ax in (left, right):
        ax.grid(axis="y", color="#E6E6E6", lw=0.5)
    _ticks(left, sorted({int(T) for T in longest["steps"]}))
    _ticks(right, sorted({int(n) for n in trained["training_steps"]}))
    left.set_xlabel("number of steps T")
    steps = "training steps, each point a training of its own"
    right.set_xlabel(wrapped(steps, 8, 0.42 * width))
    handles: list[Artist] = []
    for arm, look in known.items():
        drawn = look.drawn() if arm in over else _thin(look)
        name = look.label if arm in over else f"best {look.label}"
        handles.append(Line2D([], [], **drawn | {"label": name}))
    ring = Line2D([], [], color=TRUTH, lw=0, marker="o", mfc="none", mew=0.5, ms=5,
                  label="two std of a mode")  # fmt: skip
    fig.colors = 32  # thousands of dots: more would double the file
    noted = columns_of(rows, SUM + QUALITY)
    return finish(fig, title, subtitle, [*handles, ring], numbers=noted)


def _checked(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of what is trained, and of floors."""
    if not isinstance(rows, pd.DataFrame):
        raise TypeError(f"rows must be a pandas.DataFrame; received {type(rows).__name__}")
    if missing := [name for name in SUM + QUALITY if name not in rows.columns]:
        raise ValueError(
            f"rows must have the columns {', '.join(SUM + QUALITY)}; missing: {', '.join(missing)}"
        )
    measured = rows[rows["steps"].notna()]
    trained = measured["training_steps"].notna()
    if not trained.any() or trained.all():
        raise ValueError(
            "rows must hold arms that are trained and floors, whose training_steps are missing; "
            f"received {int(trained.sum())} and {int((~trained).sum())} rows"
        )
    return measured[trained], measured[~trained]


def _panels(
    fig: Drawing,
    place: SubplotSpec,
    arms: Mapping[str, Look],
    samples: Mapping[int, Mapping[str, ArrayLike]],
    data: ArrayLike | None,
    centres: Array,
    radius: float,
    rows: pd.DataFrame,
) -> None:
    """A row of samples for each arm and a column for each T; the data, if given, on the left."""
    counts, first = sorted(samples), int(data is not None)
    size = 2 * len(arms), len(counts) + first
    grid = GridSpecFromSubplotSpec(*size, place, wspace=0.03, hspace=0.02)
    if data is not None:
        truth = fig.add_subplot(grid[len(arms) - 1 : len(arms) + 1, 0])
        _cloud(fig, truth, numbers("data", data, ("n", 2)), "#4D4D4D", centres, radius)
        truth.set_title("data")
        if len(found := rows[rows["arm"] == "data"]):
            _note(truth, found.iloc[0], len(centres), "; ")
    for line, (arm, look) in enumerate(arms.items()):
        for column, T in enumerate(counts, first):
            ax = fig.add_subplot(grid[2 * line : 2 * line + 2, column])
            if arm not in samples[T]:
                raise ValueError(f"samples must hold the same arms for each T; T = {T} lacks {arm}")
            points = numbers(f"samples[{T}][{arm!r}]", samples[T][arm], ("n", 2))
            _cloud(fig, ax, points, look.color, centres, radius)
            if line == 0:
                ax.set_title(f"T = {T}")
            if column == first:
                ax.set_ylabel(look.label)
            row = rows[(rows["arm"] == arm) & (rows["steps"] == T)]
            if row.empty:
                raise ValueError(f"rows must hold what samples hold; {arm} at T = {T} is missing")
            _note(ax, row.iloc[0], len(centres), "; " if first else "\n")


def _note(ax: Axes, row: pd.Series, modes: int, between: str) -> None:
    """Write below a panel how good its samples are."""
    covered, share, distance, error = (row[name] for name in QUALITY)
    ax.set_xlabel(
        f"{covered} of {modes} modes{between}{100 * share:.0f} % on one\n"
        f"energy distance{' ' if between == '; ' else between}{distance:.3f} ± {error:.3f}",
        size=SMALL, labelpad=2,
    )  # fmt: skip


def _cloud(fig: Figure, ax: Axes, points: Array, color: str, centres: Array, radius: float) -> None:
    size, reach = 1.6 * (CROWD / max(len(points), CROWD)) ** 0.5, np.abs(centres).max() + 4 * radius
    size *= min(1.0, fig.get_figwidth() / PAGE)
    ax.add_collection(
        PatchCollection([Circle((x, y), radius) for x, y in centres], facecolor="none",
                        edgecolor=TRUTH, linewidth=0.4, zorder=1)
    )  # fmt: skip
    ax.scatter(
        points[:, 0], points[:, 1], s=size, color=color, alpha=0.75, lw=0, rasterized=True, zorder=2
    )
    ax.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(visible=True, color=TRUTH, linewidth=0.4)


def _thin(look: Look) -> dict[str, Any]:
    """A floor: the family's colour and line, without marks."""
    return {"color": look.color, "linestyle": look.line, "linewidth": 1.0, "label": look.label}


def _curve(ax: Axes, look: Look, table: pd.DataFrame, trained: bool) -> None:
    """Draw one arm with its error bars."""
    steps, value, error = (
        numbers(f"rows[{name!r}]", table[name], ("n",))
        for name in ("steps", "M_sum", "M_sum_error")
    )
    ax.plot(steps, value, **look.drawn() if trained else _thin(look))
    ax.errorbar(
        steps, value, not_negative("M_sum_error", error), fmt="none", ecolor=look.color,
        elinewidth=0.8, capsize=1.5, zorder=1.9,
    )  # fmt: skip


def _ticks(ax: Axes, places: list[int]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(places, [str(place) for place in places])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(places[0] / 1.15, places[-1] * 1.15)
