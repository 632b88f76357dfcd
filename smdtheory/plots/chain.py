"""Errors along one chain: by t, for every pair (s, t), and as an area under the MMSE curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from smdtheory.plots.drawing import Drawing, some, stacked
from smdtheory.plots.frame import (
    Array,
    canvas,
    chain_numbers,
    finish,
    label_ends,
    not_negative,
    numbers,
)
from smdtheory.plots.scales import ROUNDING, log_axis, powers
from smdtheory.plots.style import COLUMN, INK, looks, style

DEPTH = 1e8
"""The map of M[s, t] has one colour for every error below its largest divided by this."""
SHADES = "#F9DDA4", "#F6C667"
"""Fillings of even and odd steps under the staircase."""


def checked_snr(snr: ArrayLike, length: int | None = None) -> Array:
    """The SNR of a chain, (T + 1,): infinite at t = 0, then positive and strictly falling.

    Raises:
        ValueError: if it is not, or is not of the given length.

    Example:
        >>> checked_snr([float("inf"), 2.0, 0.1])
        array([inf, 2. , 0.1])
    """
    array = numbers("snr", snr, ("T + 1" if length is None else length,))
    if len(array) < 2 or array[0] != np.inf or not (np.diff(array[1:]) < 0).all():
        raise ValueError(f"snr must start with inf and fall strictly; received {array}")
    if not (np.isfinite(array[1:]) & (array[1:] > 0)).all():
        raise ValueError(f"snr[1:] must be positive and finite; received {array}")
    return array


@style()
def error_along_chain(
    errors: Mapping[str, ArrayLike],
    *,
    uncertainty: Mapping[str, ArrayLike] | None = None,
    snr: ArrayLike | None = None,
    ylabel: str = "local error $M_t$ (nats)",
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """Local error M_t against t, or against the SNR at t: one line for each denoiser, log scale.

    A line stops where M_t is within its uncertainty or within rounding of zero; a denoiser for
    which this is so at every t is drawn in the strip below the axis.

    Args:
        errors: M_t in nats by denoiser, each (T + 1,) and indexed by t; entry 0 is not drawn.
        uncertainty: half-widths of the bands in nats, of the same shapes, for any of them.
        snr: (T + 1,); when given it is the horizontal axis, and the chain runs left to right.
        ylabel: name of the vertical axis, for another quantity than M_t.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, schedule, seed, meaning of the bands.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if shapes do not agree.

    Example:
        >>> fig = error_along_chain({"isotropic": [0, 0.2, 0.1], "full": [0, 0.1, 0.01]})
        >>> fig.axes[0].get_yscale()
        'log'
    """
    values = chain_numbers(errors, "errors")
    length = len(next(iter(values.values())))
    bands = chain_numbers(uncertainty, "uncertainty") if uncertainty else {}
    if unknown := sorted(set(bands) - set(values)):
        raise ValueError(f"uncertainty names denoisers that errors lacks: {', '.join(unknown)}")
    x = np.arange(length, dtype=float) if snr is None else checked_snr(snr, length)
    fig, (ax,) = canvas(width, 0.62 * width if width < 5 else 0.45 * width)
    ends, zeros, drawn, noted = [], [], [], []
    for rank, (name, look) in enumerate(looks(values).items()):
        value = values[name][1:]
        label = f"uncertainty[{name!r}]"
        error = not_negative(label, numbers(label, bands.get(name, np.zeros(length)), (length,)))[
            1:
        ]
        half = {"value_error": error} if name in bands else {}
        noted.append({"arm": name, "t": np.arange(1, length), "value": value} | half)
        finite = np.isfinite(value)
        clear = finite & (value > np.maximum(error, ROUNDING))
        if not clear.any():
            zeros.append((look, x[1:][finite], (np.abs(value) + error)[finite]))
            continue
        every = max(1, length // 8)
        shown = np.where(clear, value, np.nan)
        ax.plot(x[1:], shown, markevery=(rank * every // 8, every), **look.drawn())
        low = np.maximum(value - error, np.finfo(np.float64).tiny)
        ax.fill_between(x[1:], low, value + error, color=look.color, alpha=0.2, lw=0)
        last = np.flatnonzero(clear)[-1 if snr is None else 0]
        ends.append((look, x[1:][last], value[last]))
        drawn.append(value[clear])
    if snr is not None:
        ax.set_xscale("log")
    ax.set_xlabel("t" if snr is None else "signal-to-noise ratio at t")
    ax.set_ylabel(ylabel)
    log_axis(ax, drawn, zeros)
    label_ends(ax, ends)
    return finish(fig, title, subtitle, numbers=stacked(noted))


@style()
def error_map(
    table: ArrayLike,
    *,
    family: str,
    snr: ArrayLike | None = None,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """The error M[s, t] of one jump from t to s, for every pair, in colour on a log scale.

    Args:
        table: (T + 1, T + 1) in nats, row s, column t; nan where s >= t.
        family: the denoiser, named beside the colours.
        snr: (T + 1,); when given both axes are log SNR, and s = 0 (infinite SNR) is a strip on top.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if the table is not square, or holds no positive number.

    Example:
        >>> table = np.full((3, 3), np.nan)
        >>> table[0, 1], table[0, 2], table[1, 2] = 0.1, 0.5, 0.2
        >>> error_map(table, family="full").axes[0].get_xlabel()
        't (from)'
    """
    square = numbers("table", table, ("T + 1", "T + 1"))
    size = len(square)
    values = np.ma.masked_invalid(numbers("table", square, (size, size)))
    positive = values[values > 0]
    if positive.count() == 0:
        raise ValueError("table must hold a positive error for some s < t; received none")
    high = float(positive.max())
    low = max(float(positive.min()), high / DEPTH)
    fig, (ax,) = canvas(width, 0.8 * width if width < 5 else 0.62 * width)
    x, y = np.arange(1.0, size), np.arange(0.0, size - 1)
    edges = np.arange(-0.5, size)
    if snr is not None:
        ax.set(xscale="log", yscale="log")
        x, y, edges = _snr_cells(checked_snr(snr, size))
        ticks = powers(edges[-1], y[1] if len(y) > 1 else y[0], 5)
        ax.set_yticks([*10**ticks, y[0]], [*(f"$10^{{{k:.0f}}}$" for k in ticks), "∞"])
        ax.set_xticks(10 ** powers(edges[-1], edges[1], 6))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_locator(NullLocator())
        ax.axhline(edges[1], color="white", lw=1.5)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    shown = values[:-1, 1:].clip(low, None)
    mesh = ax.pcolormesh(
        edges[1:], edges[:-1], shown, norm=LogNorm(low, max(high, 1.01 * low)), cmap="viridis",
        rasterized=True,
    )  # fmt: skip
    levels = 10 ** powers(low, high, 12)
    if len(levels) and size > 3:
        first = 0 if snr is None else 1
        ax.contour(x, y[first:], shown[first:], levels, colors="white", linewidths=0.5)
    ax.set_xlabel("t (from)" if snr is None else "SNR at t (from)")
    ax.set_ylabel("s (to)" if snr is None else "SNR at s (to)")
    below = "min" if float(values.min()) < low else "neither"
    bar = fig.colorbar(mesh, ax=ax, aspect=25, pad=0.02, extend=below, extendfrac=0.03)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label(f"$M[s, t]$ (nats), {looks([family])[family].label}")
    kept = some(size)
    s, t = (index.ravel() for index in np.meshgrid(kept, kept, indexing="ij"))
    noted = {"s": s[s < t], "t": t[s < t], "value": square[s[s < t], t[s < t]]}
    return finish(fig, title, subtitle, numbers=stacked([noted]))


def _snr_cells(snr: Array) -> tuple[Array, Array, Array]:
    """Centres of columns t = 1..T and of rows s = 0..T - 1, and the T + 2 edges, in SNR.

    Edges are midpoints of log SNR; s = 0 has a strip of its own above SNR_1.
    """
    logs = np.log(snr[1:])
    steps = -np.diff(logs) if len(logs) > 1 else np.ones(1)
    top = logs[0] + steps[0] / 2
    strip = max(steps[0], 0.05 * (top - logs[-1]))
    edges = [top + strip, top, *(logs[1:] + logs[:-1]) / 2, logs[-1] - steps[-1] / 2]
    return snr[1:], np.exp(np.concatenate([[top + strip / 2], logs[:-1]])), np.exp(edges)


@style()
def mmse_staircase(
    gamma: ArrayLike,
    mmse: ArrayLike,
    *,
    snr: ArrayLike,
    grid_mmse: ArrayLike,
    total: float | None = None,
    dim: int | None = None,
    scale: Literal["log", "linear"] = "log",
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """The ``fixed_small`` error as the area between a staircase and the MMSE curve below it.

    Step t holds mmse(SNR_t) from SNR_t to SNR_{t-1}, and twice M_t^fixed_small is the area left
    above the curve (docs/theory.md §5.9). Over log SNR the height is γ · mmse(γ), because
    ∫ mmse dγ = ∫ γ mmse d log γ: areas stay what they are and stairs become teeth. The last jump,
    t = 1, has no end in SNR and is not drawn.

    Args:
        gamma: (n,) SNR, strictly increasing, dense between the grid's levels.
        mmse: (n,) MMSE at ``gamma``.
        snr: (T + 1,) the chain's SNR by t, infinite at 0.
        grid_mmse: (T + 1,) MMSE at ``snr``; entry 0 is not used.
        total: Σ_{t >= 2} M_t^fixed_small in nats, to be written into the figure.
        dim: d; when given, the bound mmse(γ) <= d/γ is drawn.
        scale: "log" for γ · mmse over log SNR, "linear" for mmse over SNR.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if shapes do not agree, or ``gamma`` does not increase, or T = 1.

    Example:
        >>> gamma = np.geomspace(0.1, 2, 50)
        >>> snr = np.array([np.inf, 2.0, 0.5, 0.1])
        >>> fig = mmse_staircase(gamma, 1 / (1 + gamma), snr=snr, grid_mmse=1 / (1 + snr))
        >>> fig.axes[0].get_ylabel()
        'γ · mmse(γ), area in nats'
    """
    if not isinstance(scale, str) or scale not in ("log", "linear"):
        raise ValueError(f"scale must be 'log' or 'linear'; received {scale!r:.60}")
    x = numbers("gamma", gamma, ("n",))
    curve = numbers("mmse", mmse, x.shape)
    levels = checked_snr(snr)
    held = numbers("grid_mmse", grid_mmse, (len(levels),))
    if len(levels) < 3:
        raise ValueError(
            "snr must have T >= 2: the jump to t = 0 has no end in SNR; received T = 1"
        )
    if not (x[0] >= 0 and (np.diff(x) > 0).all()):
        raise ValueError("gamma must not be negative and must strictly increase; this one does not")
    fig, (ax,) = canvas(width, 0.62 * width if width < 5 else 0.45 * width)

    def area(g: Array) -> Array:
        return g if scale == "log" else np.ones_like(g)

    stairs = []
    for t in range(len(levels) - 1, 1, -1):
        inside = x[(x > levels[t]) & (x < levels[t - 1])]
        g = np.concatenate([levels[[t]], inside, levels[[t - 1]]])
        below = np.concatenate([held[[t]], curve[np.isin(x, inside)], held[[t - 1]]]) * area(g)
        above = held[t] * area(g)
        ax.fill_between(g, below, above, color=SHADES[t % 2], lw=0)
        stairs.append((np.append(g, g[-1]), np.append(above, below[-1])))
    steps = [np.concatenate(part) for part in zip(*stairs, strict=True)]
    (stair,) = ax.plot(*steps, color="#8A5A00", lw=0.9, label="staircase (fixed small)")
    (line,) = ax.plot(x, curve * area(x), color=INK, lw=1.5, label="mmse(γ)")
    handles: list[Artist] = [line]
    if dim is not None:
        with np.errstate(divide="ignore"):
            handles += ax.plot(x, dim / x * area(x), color=INK, lw=0.8, ls=":", label="bound d/γ")
    worth = "" if total is None else f" = {2 * total:.3g} nats"
    handles += [stair, Patch(facecolor=SHADES[1], label=f"area: 2 Σ$_{{t≥2}}$ $M_t${worth}")]
    if scale == "log":
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(0, 1.06 * max(steps[1].max(), (curve * area(x)).max()))
    ax.set_xlabel("signal-to-noise ratio γ")
    height = "γ · mmse(γ)" if scale == "log" else "mmse(γ)"
    ax.set_ylabel(f"{height}, area in nats")
    kept = some(len(x))
    noted: list[dict[str, object]] = [
        {"of": "mmse", "snr": x[kept], "value": curve[kept]},
        {"of": "mmse on the grid", "snr": levels[1:], "value": held[1:]},
        {"of": "total", "value": [] if total is None else [total]},
    ]
    return finish(fig, title, subtitle, handles, numbers=stacked(noted))
