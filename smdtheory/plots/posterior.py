"""The bottleneck as a picture: a posterior of many modes, and the Gaussians that replace it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Patch
from numpy.typing import ArrayLike

from smdtheory.plots.drawing import Drawing, some, stacked
from smdtheory.plots.frame import canvas, finish, numbers, wrapped
from smdtheory.plots.style import COLUMN, SMALL, TRUTH, Look, looks, style

LEVELS = 0.01, 0.05, 0.15, 0.4, 0.7, 1.0
"""Contours of a density in d = 2, as shares of its peak."""
COARSE = 9
"""Places along each coordinate at which a density in d = 2 is noted."""
NO_BREAK = "\N{NO-BREAK SPACE}"
GREYS = LinearSegmentedColormap.from_list("truth", ["#E2E2E2", "#6F6F6F"])


def _small_multiples(
    count: int,
    known: Mapping[str, Look],
    panels: Sequence[str] | None,
    errors: Mapping[str, ArrayLike] | None,
    size: tuple[float, float],
    labels: tuple[str, str],
) -> tuple[Drawing, list[Axes]]:
    """``count`` panels of (width, aspect), headed by their errors; only outer axes have labels."""
    width, aspect = size
    if panels is not None and len(panels) != count:
        raise ValueError(f"panels must hold {count} headings, one a panel; received {len(panels)}")
    if unknown := sorted(set(errors or {}) - set(known)):
        raise ValueError(f"errors names denoisers that are not drawn: {', '.join(unknown)}")
    table = {
        known[name].label: numbers(f"errors[{name!r}]", value, (count,), stack=True)
        for name, value in (errors or {}).items()
    }
    columns = min(count, 3 if width >= 5 else 2)
    rows = -(-count // columns)
    headings = []
    for place in range(count):
        pairs = (f"{label} {_two_digits(value[place])}" for label, value in table.items())
        words = ", ".join(pair.replace(" ", NO_BREAK) for pair in pairs)
        note = wrapped(f"KL: {words} nats", SMALL, width / columns - 0.45) if words else ""
        headings.append("\n".join(filter(None, [panels[place] if panels else "", note])))
    lines = max(heading.count("\n") + bool(heading) for heading in headings)
    height = min(2.6, aspect * width / columns) + 0.12 * lines
    fig, axes = canvas(width, rows * height, rows, columns, share=True)
    for place, ax in enumerate(axes):
        ax.set_visible(place < count)
        bottom, first = place + columns >= count, place % columns == 0
        ax.tick_params(labelbottom=bottom, labelleft=first)
        ax.set(xlabel=labels[0] if bottom else "", ylabel=labels[1] if first else "")
    for ax, heading in zip(axes, headings, strict=False):
        ax.set_title(heading, loc="left", size=SMALL)
    return fig, axes[:count]


def _divergences(errors: Mapping[str, ArrayLike] | None, count: int) -> list[dict[str, Any]]:
    """The numbers written above the panels."""
    return [
        {"panel": range(count), "arm": name, "of": "KL", "value": np.reshape(value, count)}
        for name, value in (errors or {}).items()
    ]


def _two_digits(value: float) -> str:
    """Two significant digits, the last of them also where it is 0, as in 0.70."""
    return f"{value:#.2g}".removesuffix(".")


def _handles(known: Mapping[str, Look]) -> list[Artist]:
    truth = Patch(facecolor=TRUTH, alpha=0.5, label="posterior $q(x_s|x_t)$")
    return [truth, *(Line2D([], [], **look.drawn()) for look in known.values())]


@style()
def posterior_against_gaussians(
    x: ArrayLike,
    posterior: ArrayLike,
    densities: Mapping[str, ArrayLike],
    *,
    panels: Sequence[str] | None = None,
    errors: Mapping[str, ArrayLike] | None = None,
    xlabel: str = "$x_s$",
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """The density q(x_s | x_t) in d = 1 and those of denoisers; one panel for each x_t.

    Args:
        x: (n,) places.
        posterior: (n,) or (P, n), the true density at ``x`` for each of P panels.
        densities: the same by denoiser: the best Gaussians, a soft mixture.
        panels: P headings, such as "x_t = 0.3".
        errors: KL divergences in nats by denoiser, (P,), written into the panels.
        xlabel: name of the horizontal axis.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, t, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if shapes do not agree.

    Example:
        >>> x = np.linspace(-2, 2, 5)
        >>> fig = posterior_against_gaussians(x, np.abs(x), {"full": np.exp(-(x**2))})
        >>> len(fig.axes)
        1
    """
    places = numbers("x", x, ("n",))
    truth = numbers("posterior", posterior, ("P", len(places)), stack=True)
    count = len(truth)
    known = looks(densities)
    curves = {
        name: numbers(f"densities[{name!r}]", value, truth.shape, stack=True)
        for name, value in densities.items()
    }
    fig, axes = _small_multiples(count, known, panels, errors, (width, 0.75), (xlabel, "density"))
    peak = max(truth.max(), *(curve.max() for curve in curves.values()), 0.0)
    for place, ax in enumerate(axes):
        ax.fill_between(places, truth[place], color=TRUTH, alpha=0.35, lw=0)
        ax.plot(places, truth[place], color=TRUTH, lw=1.0, label="truth")
        for rank, (name, look) in enumerate(known.items()):
            curve = curves[name][place]
            seen = np.flatnonzero(curve > 0.03 * peak)
            every = max(1, len(seen) // 5)
            marks = seen[rank * every // len(known) :: every].tolist()
            ax.plot(places, curve, markevery=marks, **look.drawn() | {"markersize": 3.0})
    axes[0].set_xlim(places[0], places[-1])
    axes[0].set_ylim(0, 1.05 * peak)
    kept = some(len(places))
    noted = [
        {"panel": place, "arm": name, "x": places[kept], "value": table[place][kept]}
        for name, table in {"posterior": truth, **curves}.items()
        for place in range(count)
    ]
    noted += _divergences(errors, count)
    return finish(fig, title, subtitle, _handles(known), numbers=stacked(noted))


@style()
def posterior_contours(
    x: ArrayLike,
    y: ArrayLike,
    posterior: ArrayLike,
    gaussians: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    panels: Sequence[str] | None = None,
    errors: Mapping[str, ArrayLike] | None = None,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """The density q(x_s | x_t) in d = 2 as contours, with Gaussians as 1- and 2-sigma ellipses.

    Contours lie at the shares :data:`LEVELS` of each panel's peak.

    Args:
        x: (n,) places along the first coordinate.
        y: (m,) places along the second.
        posterior: (m, n) or (P, m, n), the true density: rows follow ``y``, columns ``x``.
        gaussians: mean (2,) or (P, 2) and covariance (2, 2) or (P, 2, 2) by denoiser.
        panels: P headings, such as the values of x_t.
        errors: KL divergences in nats by denoiser, (P,), written into the panels.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, t, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if shapes do not agree or a covariance is not positive definite.

    Example:
        >>> x = np.linspace(-2, 2, 9)
        >>> density = np.exp(-(x[:, None] ** 2 + x**2) / 2)
        >>> fig = posterior_contours(x, x, density, {"full": ([0, 0], [[1, 0], [0, 1]])})
        >>> len(fig.axes[0].patches)
        2
    """
    across, up = numbers("x", x, ("n",)), numbers("y", y, ("m",))
    truth = numbers("posterior", posterior, ("P", len(up), len(across)), stack=True)
    count = len(truth)
    known = looks(gaussians)
    moments = {}
    for name, (mean, covariance) in gaussians.items():
        centre = numbers(f"mean of {name}", mean, (count, 2), stack=True)
        spread = numbers(f"covariance of {name}", covariance, (count, 2, 2), stack=True)
        variances, axes_of = np.linalg.eigh(spread)
        if not (variances > 0).all():
            raise ValueError(f"covariance of {name} must be positive definite; received {spread}")
        moments[name] = centre, variances, axes_of
    labels = "first coordinate of $x_s$", "second coordinate"
    fig, axes = _small_multiples(count, known, panels, errors, (width, 1.0), labels)
    fig.set_layout_engine("compressed")
    for place, ax in enumerate(axes):
        density = truth[place]
        ax.contourf(across, up, density, density.max() * np.array(LEVELS), cmap=GREYS)
        for name, look in known.items():
            centre, variances, axes_of = (part[place] for part in moments[name])
            angle = np.degrees(np.arctan2(axes_of[1, 1], axes_of[0, 1]))
            for sigmas in (1, 2):
                size = 2 * sigmas * np.sqrt(variances[::-1])
                ax.add_patch(
                    Ellipse(
                        tuple(centre), *size, angle=angle, fill=False, edgecolor=look.color,
                        linestyle=look.line, linewidth=look.thickness / sigmas**0.5,
                    )
                )  # fmt: skip
            ax.plot(*centre[:, None], **look.drawn())
        ax.set_aspect("equal")
        ax.set(xlim=across[[0, -1]], ylim=up[[0, -1]])
    noted = [
        {"panel": place, "arm": name, "of": of, "value": part[place].ravel()}
        for name, (centre, variances, axes_of) in moments.items()
        for of, part in (("mean", centre), ("variance along the axes", variances))
        for place in range(count)
    ]
    noted += _divergences(errors, count)
    return finish(fig, title, subtitle, _handles(known), numbers=stacked(noted))


@style()
def posterior_beside_models(
    x: ArrayLike,
    y: ArrayLike,
    posterior: ArrayLike,
    densities: Mapping[str, ArrayLike],
    *,
    panels: Sequence[str] | None = None,
    errors: Mapping[str, ArrayLike] | None = None,
    title: str | None = None,
    subtitle: str | None = None,
    width: float = COLUMN,
) -> Drawing:
    """The density of a posterior in d = 2 and those of denoisers, of any shape, side by side.

    A column of panels for each x_t: the posterior on top, then the denoisers, over the outline of
    the posterior. Contours lie at the shares :data:`LEVELS` of each panel's own peak.

    Args:
        x: (n,) places along the first coordinate.
        y: (m,) places along the second.
        posterior: (m, n) or (P, m, n), the true density: rows follow ``y``, columns ``x``.
        densities: the same by denoiser.
        panels: P headings of the columns, such as the values of x_t.
        errors: KL divergences in nats by denoiser, (P,), written above the panels.
        title: the claim, above the axes.
        subtitle: what was measured: mixture, d, T, t, schedule.
        width: inches.

    Returns:
        The figure, which pyplot does not know of.

    Raises:
        ValueError: if shapes do not agree, or a density is nowhere positive.

    Example:
        >>> x = np.linspace(-2, 2, 9)
        >>> density = np.exp(-(x[:, None] ** 2 + x**2) / 2)
        >>> fig = posterior_beside_models(x, x, density, {"soft_energy": density})
        >>> len(fig.axes)
        2
    """
    across, up = numbers("x", x, ("n",)), numbers("y", y, ("m",))
    truth = numbers("posterior", posterior, ("P", len(up), len(across)), stack=True)
    count, known = len(truth), looks(densities)
    maps = {
        name: numbers(f"densities[{name!r}]", value, truth.shape, stack=True)
        for name, value in densities.items()
    }
    for name, table in {"posterior": truth, **maps}.items():
        if not (table.max(axis=(1, 2)) > 0).all():
            raise ValueError(f"the density of {name} must be positive somewhere in every panel")
    if panels is not None and len(panels) != count:
        raise ValueError(f"panels must hold {count} headings, one a column; received {len(panels)}")
    if unknown := sorted(set(errors or {}) - set(known)):
        raise ValueError(f"errors names denoisers that are not drawn: {', '.join(unknown)}")
    notes = {
        name: numbers(f"errors[{name!r}]", value, (count,), stack=True)
        for name, value in (errors or {}).items()
    }
    side = min((width - 0.55) / count, 1.7)  # what ticks and names leave
    lines = 1 + len(known)
    height = lines * (side + 0.22 if notes else side + 0.06) + 0.3
    fig, axes = canvas(width, height, lines, count, share=True)
    fig.set_layout_engine("compressed")
    for line, name in enumerate(["", *known]):
        label = known[name].label if name else "posterior"
        axes[line * count].set_ylabel(wrapped(label, SMALL, side), size=SMALL)
        for place in range(count):
            ax, levels = axes[line * count + place], truth[place].max() * np.array(LEVELS)
            if not name:
                ax.contourf(across, up, truth[place], levels, cmap=GREYS)
                ax.set_title(panels[place] if panels else "", size=SMALL)
            else:
                ax.contour(across, up, truth[place], levels[2:3], colors=TRUTH, linewidths=0.5)
                density, shades = maps[name][place], _shades(known[name].color)
                ax.contourf(across, up, density, density.max() * np.array(LEVELS), cmap=shades)
                if name in notes:
                    ax.set_title(f"KL {_two_digits(notes[name][place])} nats", size=SMALL)
            ax.set_aspect("equal")
            ax.set(xlim=across[[0, -1]], ylim=up[[0, -1]])
            ax.locator_params(nbins=3)
    kept = np.ix_(some(len(up), COARSE), some(len(across), COARSE))
    noted = [
        {"panel": place, "arm": "posterior", "of": "density", "value": truth[place][kept].ravel()}
        for place in range(count)
    ]
    for part in _divergences(errors, count):  # learned: they hold to the two digits shown
        digit = 10 ** np.floor(np.log10(np.abs(part["value"]) + np.finfo(float).tiny) - 1)
        noted.append(part | {"value_error": digit / 2})
    return finish(fig, title, subtitle, numbers=stacked(noted))


def _shades(color: str) -> LinearSegmentedColormap:
    """From a light tint to ``color``, see-through enough to show outlines beneath."""
    light, full = np.array(to_rgb("white")) * 0.75 + 0.25 * np.array(to_rgb(color)), to_rgb(color)
    return LinearSegmentedColormap.from_list(color, [(*light, 0.6), (*full, 0.9)])
