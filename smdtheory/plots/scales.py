"""Logarithmic axes: which powers of ten to label, and where a zero goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation, NullLocator

from smdtheory.plots.frame import Array
from smdtheory.plots.style import SMALL, Look

ROUNDING = 1e-13
"""Nats. An error up to this is a rounding of float64 sums of order one and is drawn as a zero."""


def powers(low: float, high: float, most: int = 7) -> Array:
    """The exponents k, evenly spaced and no more than ``most``, with 10**k in [low, high].

    Example:
        >>> powers(1e-6, 100, most=5)
        array([-6., -4., -2.,  0.,  2.])
    """
    every = np.arange(np.ceil(np.log10(low) - 1e-9), np.floor(np.log10(high) + 1e-9) + 1)
    return every[:: max(1, -(-len(every) // most))]


def decades(ax: Axes, low: float, high: float) -> None:
    """Make y logarithmic from ``low`` to ``high``, with up to seven powers of 10 or with 1, 2, 5.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> decades(ax, 1e-3, 10)
        >>> ax.get_yticks().tolist()
        [0.001, 0.01, 0.1, 1.0, 10.0]
    """
    ax.set_yscale("log")
    ticks = 10 ** powers(low, high)
    if len(ticks) < 2:
        ticks = np.outer(10 ** powers(low / 10, high), [1, 2, 5]).ravel()
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    else:
        ax.set_yticks(ticks)
        ax.yaxis.set_major_formatter(LogFormatterSciNotation())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(low, high)
    ax.grid(axis="y", color="#E6E6E6", lw=0.5)


def zero_within(bound: float) -> str:
    """What to write for a number whose size is at most ``bound``, or a rounding of numbers near 1.

    Example:
        >>> zero_within(0.0)
        '0 within 2e-16'
    """
    return f"0 within {max(bound, float(np.finfo(np.float64).eps)):.0e}"


def log_axis(ax: Axes, drawn: Sequence[Array], zeros: Sequence[tuple[Look, Array, Array]]) -> None:
    """Fit a logarithmic y axis to what is ``drawn``, and show below it what is zero at every x.

    Args:
        ax: axes; the values are already drawn on them.
        drawn: the finite values that the axis must hold, all positive.
        zeros: a look, the places x, and the values that each zero may hide, in nats.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> log_axis(ax, [np.array([0.1, 1.0])], [(Look("exact", "k", "-", "o"), np.ones(1),
        ...                                        np.array([2e-15]))])
        >>> ax.texts[0].get_text()
        'exact: 0 within 2e-15'
    """
    seen = np.concatenate([*drawn]) if drawn else np.ones(1)
    low, high = float(seen.min()) / 2, float(seen.max()) * 2
    decades(ax, low, high)
    if not zeros:
        return
    each = min(0.13, 0.8 / len(zeros))
    height = each * len(zeros)
    share = height + 0.04
    ax.set_ylim(10 ** ((np.log10(low) - share * np.log10(high)) / (1 - share)), high)
    ax.fill_between([0, 1], 0, height, transform=ax.transAxes, color="#EFEFEF", lw=0, zorder=3)
    for row, (look, x, hidden) in enumerate(zeros):
        y = height - each * (row + 0.73)
        every = max(1, len(x) // 8)
        ax.plot(
            x, np.full(len(x), y), transform=ax.get_xaxis_transform(), markevery=every,
            zorder=4, **look.drawn(),
        )  # fmt: skip
        text = f"{look.label}: {zero_within(float(hidden.max()))}"
        note = ax.text(
            0.02, y + 0.23 * each, text, transform=ax.transAxes, size=SMALL - 0.5, zorder=4
        )
        note.set_in_layout(False)  # or axes and margin, each sized by the other, would shrink away
