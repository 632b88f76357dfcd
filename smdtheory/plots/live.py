"""One backward step, redrawn in place: fast enough to follow a slider."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike
from PIL import Image

from smdtheory.plots.frame import numbers
from smdtheory.plots.style import INK, PAGE, SMALL, TRUTH, looks, style

HEIGHT = 2.9
"""Inches."""

DOTS = 80
"""To the inch."""

ERRORS = (1e-6, 10.0)
"""Range of the axis of errors, in nats; what is beyond it stands at its end, with its number."""


class LiveStep:
    """A posterior beside denoisers, and the error of each; :meth:`draw` changes what is drawn.

    Args:
        names: of the denoisers, from the top of the axis of errors down.
        width: inches.

    Attributes:
        figure: which pyplot does not know of.

    Example:
        >>> x = np.linspace(-2, 2, 5)
        >>> view = LiveStep(["full"])
        >>> view.draw(x, np.abs(x), {"full": np.exp(-(x**2))}, {"full": (0.1, 0.0)}, "t = 3")[1:4]
        b'PNG'
    """

    @style()
    def __init__(self, names: Sequence[str], *, width: float = PAGE) -> None:
        self.figure = Figure(figsize=(width, HEIGHT), dpi=DOTS)
        self.density, self.errors = self.figure.subplots(
            1, 2, gridspec_kw={"width_ratios": (3, 2), "wspace": 0.55}
        )
        self.figure.subplots_adjust(left=0.06, right=0.93, bottom=0.16, top=0.84)
        self.heading = self.figure.text(0.06, 0.93, "", size=8)
        (self.truth,) = self.density.plot([], [], color=TRUTH, lw=5, alpha=0.6)
        self.lines, self.dots, self.bars, self.labels = {}, {}, {}, {}
        for row, (name, look) in enumerate(looks(names).items()):
            kind = look.drawn()
            (self.lines[name],) = self.density.plot([], [], **kind | {"marker": ""})
            (self.bars[name],) = self.errors.plot([], [], color=look.color, lw=1)
            (self.dots[name],) = self.errors.plot([], [], **kind | {"linestyle": "", "ms": 5})
            self.labels[name] = self.errors.text(
                1.02, row, "", transform=self.errors.get_yaxis_transform(), va="center", size=SMALL
            )
        self.density.set(xlabel="x at t − 1", ylabel="density", yticks=[])
        self.errors.set(xscale="log", xlim=ERRORS, ylim=(len(names) - 0.5, -0.5))
        self.errors.set_xlabel("M at t (nats)")
        self.errors.set_xticks([1e-6, 1e-4, 1e-2, 1.0], ["1e-6", "1e-4", "0.01", "1"])
        self.errors.xaxis.set_minor_locator(NullLocator())
        self.errors.set_yticks(range(len(names)), [look.label for look in looks(names).values()])
        self.errors.tick_params(axis="y", length=0, colors=INK)
        parts = (self.lines, self.bars, self.dots, self.labels)
        self.moving: list[Artist] = [self.heading, self.truth, self.density.xaxis]
        self.moving += [artist for part in parts for artist in part.values()]
        for artist in self.moving:
            artist.set_animated(True)
        self.canvas = cast(Any, FigureCanvasAgg(self.figure))  # its methods have no types
        self.canvas.draw()  # all the rest, once: it would take most of the time
        self.still = self.canvas.copy_from_bbox(self.figure.bbox)

    def draw(
        self,
        x: ArrayLike,
        posterior: ArrayLike,
        densities: Mapping[str, ArrayLike],
        errors: Mapping[str, tuple[float, float]],
        heading: str,
    ) -> bytes:
        """Draw one step.

        Args:
            x: (n,) places.
            posterior: (n,), the true density there.
            densities: (n,) by denoiser.
            errors: M_t in nats by denoiser, and the half-width of its error bar.
            heading: what is seen.

        Returns:
            A PNG.

        Raises:
            ValueError: if shapes do not agree, or a denoiser is missing.
        """
        places = numbers("x", x, ("n",))
        truth = numbers("posterior", posterior, places.shape)
        if not set(self.lines) == set(densities) == set(errors):
            raise ValueError(
                f"densities and errors must be those of {', '.join(self.lines)}; received "
                f"{', '.join(densities)} and {', '.join(errors)}"
            )
        self.truth.set_data(places, truth)
        low, high = ERRORS
        for row, (name, line) in enumerate(self.lines.items()):
            line.set_data(places, numbers(f"densities[{name!r}]", densities[name], places.shape))
            value, bar = errors[name]
            self.dots[name].set_data([min(max(value, low), high)], [row])
            ends = np.clip([value - bar, value + bar], low, high)
            self.bars[name].set_data(ends, [row, row])
            self.labels[name].set_text(f"{value:.2g}")
        self.density.set_xlim(places[0], places[-1])
        self.density.set_ylim(0, 1.3 * truth.max())
        self.heading.set_text(heading)
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        out = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())).save(out, "png", compress_level=1)
        return out.getvalue()
