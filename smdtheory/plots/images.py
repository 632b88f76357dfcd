"""Denoisers of images: quantities against the number of steps, and forecasts against facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from smdtheory.plots.drawing import Drawing, columns_of, some, stacked
from smdtheory.plots.frame import (
    by_arm,
    canvas,
    column_numbers,
    finish,
    not_negative,
    one_for_each,
    with_columns,
)
from smdtheory.plots.scales import decades
from smdtheory.plots.steps import steps_axis
from smdtheory.plots.style import COLUMN, INK, PAGE, SMALL, looks, style

PANELS = ("panel", "arm", "steps", "value", "error")
NEAR = 3.0
"""Values within this factor of one another are drawn on a linear axis."""

FORECAST = ("soft", "arm", "steps", "forecast", "measured", "measured_error")


@style()
def quantities_against_steps(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = PAGE,
) -> Drawing:
    """Quantities against T, a panel for each and a line for each arm.

    Vertical axes are logarithmic unless all values are within a factor of :data:`NEAR`. What is not
    positive is left out; an error bar that reaches 0 ends at the edge.

    Args:
        rows: one row for each panel, arm and T, with the columns ``panel`` (the name of its
            vertical axis, with the unit), ``arm``, ``steps``, ``value`` and ``error`` (half-width
            of the error bar); others are not used.
        title: the claim, above the axes.
        subtitle: what was measured.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing, there are no rows, two rows are of the same panel, arm
            and T, a T is not positive, or a panel has no positive value.

    Example:
        >>> rows = pd.DataFrame({"panel": "error (nats)", "arm": "gaussian", "steps": [2, 20],
        ...                      "value": [3.0, 0.5], "error": 0.1})
        >>> quantities_against_steps(rows).axes[0].get_yscale()
        'log'
    """
    counts, errors = column_numbers(with_columns(rows, PANELS), "steps", "error")
    not_negative("error", errors[np.isfinite(errors)])
    if not (counts > 0).all():
        raise ValueError(f"steps must be positive; received {counts.min()}")
    one_for_each(rows, "panel", "arm", "steps")
    arms = looks(by_arm(rows, "steps"))
    panels = list(dict.fromkeys(rows["panel"]))
    columns = min(len(panels), 3 if width >= 5 else 1)
    count = -(-len(panels) // columns)
    fig, axes = canvas(width, count * min(2.6, 0.8 * width / columns), count, columns)
    for ax, panel in zip(axes, panels, strict=False):
        here = rows[rows["panel"] == panel]
        own = by_arm(here, "steps")
        steps_axis(ax, own)
        (every,) = column_numbers(here, "value")
        if not (every > 0).any():
            raise ValueError(f"a panel must have a positive value; received none for {panel!r}")
        for arm, table in own.items():
            steps, value, error = column_numbers(table, "steps", "value", "error")
            shown = np.where(value > 0, value, np.nan)
            look = arms[arm]
            ax.plot(steps, shown, **look.drawn())
            down = np.minimum(error, 0.9 * shown)
            ax.errorbar(
                steps, shown, np.stack([down, error]), fmt="none", ecolor=look.color,
                elinewidth=0.8, capsize=1.5, zorder=1.9,
            )  # fmt: skip
        low, high = float(every[every > 0].min()), float(np.nanmax(every))
        if high > NEAR * low:
            decades(ax, low / 1.6, high * 1.6)
        else:
            ax.grid(axis="y", color="#E6E6E6", lw=0.5)
        ax.set_ylabel(panel)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    handles: list[Artist] = [Line2D([], [], **look.drawn()) for look in arms.values()]
    noted = columns_of(rows, PANELS)
    return finish(fig, title, subtitle, handles, numbers=noted)


@style()
def draws_by_arm(
    strips: Mapping[str, ArrayLike],
    steps: Sequence[int],
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = PAGE,
) -> Drawing:
    """Images that denoisers draw, a row for each, from few steps on the left to many on the right.

    Args:
        strips: for each denoiser pixels (h, w) or (h, w, 3) in 0..255, groups of equal width side
            by side, one for each T.
        steps: T of each group.
        title: the claim, above the axes.
        subtitle: what was drawn.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if there are no strips or no steps, or a strip has another shape.

    Example:
        >>> strip = np.zeros((32, 128), dtype=np.uint8)
        >>> len(draws_by_arm({"gaussian": strip, "soft_energy": strip}, [1, 10]).axes)
        2
    """
    if not strips or not steps:
        raise ValueError("draws need at least one denoiser and one T; received none")
    arrays = {arm: np.asarray(strip) for arm, strip in strips.items()}
    for arm, array in arrays.items():
        if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
            raise ValueError(
                f"strips[{arm!r}] must have shape (h, w) or (h, w, 3); received {array.shape}"
            )
    tall = max(array.shape[0] / array.shape[1] for array in arrays.values())
    fig, axes = canvas(width, len(arrays) * (0.84 * width * tall + 0.05), len(arrays), 1)
    for ax, (arm, array) in zip(axes, arrays.items(), strict=True):
        ax.imshow(array, cmap="gray", vmin=0, vmax=255, aspect="equal", interpolation="nearest")
        group = array.shape[1] / len(steps)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_ylabel(looks([arm])[arm].label, rotation=0, ha="right", va="center", size=SMALL)
        for spine in ax.spines.values():
            spine.set_visible(False)
        for place in range(1, len(steps)):
            ax.axvline(place * group - 0.5, color="white", lw=2.5)
    axes[-1].set_xticks([group * (place + 0.5) for place in range(len(steps))])
    axes[-1].set_xticklabels([f"T = {T}" for T in steps])
    if any(array.ndim == 3 for array in arrays.values()):
        fig.colors = None
    noted = [
        {"arm": arm, "value": array.ravel()[some(array.size)]} for arm, array in arrays.items()
    ]
    return finish(fig, title, subtitle, numbers=stacked(noted))


@style()
def forecast_against_measured(
    rows: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """What theory forecasts against what was measured, a panel for each soft mixture.

    A line for each Gaussian that it gains on, a marker for each T. Both axes are linear up to 1 and
    logarithmic beyond, on both sides of 0.

    Args:
        rows: with the columns ``soft`` (whose gain it is), ``arm``, ``steps``, ``forecast``,
            ``measured`` and ``measured_error`` (half-width of the error bar), in nats; others are
            not used.
        title: the claim, above the axes.
        subtitle: what was measured.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing or there are no rows.

    Example:
        >>> rows = pd.DataFrame({"soft": "soft_energy", "arm": "gaussian", "steps": [2, 20],
        ...                      "forecast": [3.0, 0.5], "measured": [2.5, 0.6],
        ...                      "measured_error": 0.1})
        >>> forecast_against_measured(rows).axes[0].get_xlabel()
        'gain forecast by theory (nats)'
    """
    forecasts, gains, bars = column_numbers(
        with_columns(rows, FORECAST), "forecast", "measured", "measured_error"
    )
    softs, known = list(dict.fromkeys(rows["soft"])), looks(by_arm(rows, "steps"))
    columns = len(softs) if width >= 5 else 1
    count = -(-len(softs) // columns)
    side = 0.8 * width / columns if len(softs) > 1 or width < 5 else 0.55 * width
    fig, axes = canvas(width, count * side, count, columns)
    right, top = 1.4 * float(forecasts.max()), 1.4 * float((gains + bars).max())
    bottom = min(float((gains - bars).min()), 0.0)
    ends = np.array([bottom, max(right, top)])
    for ax, soft in zip(axes, softs, strict=True):
        ax.plot(ends, ends, color=INK, lw=0.6, zorder=1)
        ax.axhline(0, color="#BFBFBF", lw=0.5, zorder=0.9)
        for arm, table in by_arm(rows[rows["soft"] == soft], "steps").items():
            x, y, bar = column_numbers(table, "forecast", "measured", "measured_error")
            look = known[arm]
            ax.plot(x, y, **{**look.drawn(), "linewidth": 0.7})
            ax.errorbar(
                x, y, bar, fmt="none", ecolor=look.color, elinewidth=0.8, capsize=1.5, zorder=1.9
            )
        ax.set_xscale("symlog", linthresh=1)
        ax.set_yscale("symlog", linthresh=1)
        ax.set_xlim(min(0.0, 1.4 * float(forecasts.min())), right)
        ax.set_ylim(1.4 * bottom, max(top, 1.0))
        ax.set_xlabel("gain forecast by theory (nats)")
        ax.set_ylabel("gain measured (nats)")
        ax.set_title(looks([soft])[soft].label, fontsize=SMALL, loc="left")
    handles: list[Artist] = [Line2D([], [], **look.drawn()) for look in known.values()]
    noted = columns_of(rows, FORECAST)
    return finish(fig, title, subtitle, handles, numbers=noted)
