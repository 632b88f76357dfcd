"""One backward step under sliders, in a notebook: ``from smdtheory.explore import explore``.

Modes on a line, a cosine chain of T steps, and its step from t to t − 1 as seen from the point x_t
midway between two modes, where a Gaussian has most to say and least to say it with. Everything
shown is computed anew at each move: the posterior, the best Gaussian of each family, a soft mixture
of a few latents (:class:`smdtheory.models.oracle.SampledSoftMixture`), and M_t of them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smdtheory import GaussianMixture, Schedule, options, posterior, presets
from smdtheory.families import Family
from smdtheory.measure import best_gaussian_errors, local_error
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.oracle import BestGaussian, SampledSoftMixture
from smdtheory.plots.live import LiveStep
from smdtheory.truth.information import mmse

FAMILIES: tuple[Family, ...] = ("fixed_small", "fixed_large", "isotropic", "full")
"""Those that differ in d = 1, where ``isotropic_x`` and ``diagonal`` are ``full``."""

LATENTS = 16
"""R of the soft mixture."""

SOFT = f"soft, {LATENTS} latents"

STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Values of T."""

SEPARATION, STD, MODES = (0.1, 6.0), (0.01, 1.0), (1, 6)
"""The ends of the sliders."""

PLACES = 300
"""Points at which densities are drawn."""

REACH = 4.0
"""How far, in standard deviations of the widest denoiser."""

DRAWS = 512
"""For M_t of the soft mixture, which is sampled, with the same draws at each move."""


@dataclass(frozen=True)
class View:
    """What is seen at one setting of the sliders.

    Attributes:
        x: (n,) places x_{t−1}.
        posterior: (n,), q(x_{t−1} | x_t) there.
        densities: (n,) by denoiser.
        errors: M_t in nats by denoiser, and its error: numerical, or 2 standard errors.
        heading: the setting in words.
    """

    x: Tensor
    posterior: Tensor
    densities: dict[str, Tensor]
    errors: dict[str, tuple[float, float]]
    heading: str


def view(separation: float, std: float, modes: int, steps: int, t: int) -> View:
    """One step of a cosine chain on modes on a line.

    Args:
        separation: of neighbouring modes.
        std: of each mode.
        modes: K.
        steps: T.
        t: 1..T; the step goes to t − 1.

    Returns:
        All that is drawn.

    Raises:
        TypeError: if K, T or t is not an integer.
        ValueError: if a number is out of range.

    Example:
        >>> seen = view(separation=2.0, std=0.25, modes=2, steps=10, t=5)
        >>> seen.errors["full"][0] < seen.errors["fixed_small"][0]
        True
    """
    q, chain = presets.line(modes, separation, std), Schedule.cosine(steps)
    t, s = chain.check_step(t)
    middle = 0.0 if modes % 2 == 0 or modes == 1 else separation / 2
    x_t = (chain.alphas_bar[t].sqrt() * middle).reshape(1)
    levels = chain.snr[max(s, 1) : t + 1]
    arms: dict[str, Denoiser] = {family: BestGaussian(q, family) for family in FAMILIES}
    arms["isotropic"] = _Isotropic(q, levels)
    arms[SOFT] = SampledSoftMixture(q, LATENTS)
    laws = {name: arm(x_t, chain.snr[t], chain.snr[s]) for name, arm in arms.items()}
    truth = posterior(q, chain, x_t, t)
    far = REACH * max(float(law.variance.sqrt()) for law in laws.values())
    x = float(truth.mean) + torch.linspace(-far, far, PLACES, dtype=torch.float64)
    return View(
        x,
        _density(truth, x),
        {name: _density(law, x) for name, law in laws.items()},
        _errors(q, chain, t, levels, arms[SOFT]),
        f"{modes} modes {separation:g} apart, std {std:.2g}; cosine, T = {steps}, t = {t}; seen "
        f"from x = {float(x_t):.2g}; grey: the posterior",
    )


class _Isotropic(BestGaussian):
    """``isotropic`` at the last of a few levels: without the curve that serves a whole chain."""

    def __init__(self, mixture: GaussianMixture, levels: Tensor) -> None:
        super().__init__(mixture, "isotropic")
        self.levels = levels

    def _mean_error(self, snr_t: Tensor) -> Tensor:
        return mmse(self.mixture, self.levels).value[-1]


def _density(law: GaussianMixture, x: Tensor) -> Tensor:
    return law.log_prob(x.unsqueeze(-1)).exp()


def _errors(
    q: GaussianMixture, chain: Schedule, t: int, levels: Tensor, soft: Denoiser
) -> dict[str, tuple[float, float]]:
    """M_t depends on two levels alone, so a chain of these two gives it."""
    pair = Schedule.from_snr(levels)
    found = {f: best_gaussian_errors(q, pair, f)[len(levels)] for f in FAMILIES}
    errors: dict[str, tuple[float, float]] = {
        name: (float(e.value), float(e.error)) for name, e in found.items()
    }
    generator = torch.Generator().manual_seed(0)
    drawn = local_error(q, chain, soft, t, samples=DRAWS, generator=generator, method="sampling")
    errors[SOFT] = float(drawn.value), 2 * float(drawn.error)
    return errors


def explore(
    *, separation: float = 2.0, std: float = 0.25, modes: int = 2, steps: int = 10, t: int = 3
) -> Any:
    """Sliders for :func:`view`, in a notebook.

    Args:
        separation: where each slider starts, here within :data:`SEPARATION`.
        std: likewise, within :data:`STD`.
        modes: likewise, within :data:`MODES`.
        steps: likewise, one of :data:`STEPS`.
        t: likewise, 1..T.

    Returns:
        A widget; its picture is redrawn at every move.

    Raises:
        ImportError: without ``ipywidgets``, which comes with Jupyter.
        TypeError: for what is no number, or not a whole one.
        ValueError: if a slider cannot start there.

    Example:
        >>> box = explore(modes=3)
        >>> [slider.description for slider in box.children[0].children]
        ['separation', 'std', 'modes', 'T', 't']
    """
    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise ImportError(
            "explore needs ipywidgets, which comes with Jupyter: pip install 'smdtheory[notebooks]'"
        ) from error
    if steps not in STEPS:
        raise ValueError(f"steps must be one of {', '.join(map(str, STEPS))}; received {steps!r}")
    separation, std = _within("separation", separation, SEPARATION), _within("std", std, STD)
    modes = options.whole("modes", modes, *MODES)
    first = view(separation, std, modes, steps, t)
    low, high = map(math.log10, STD)
    sliders = {
        "separation": widgets.FloatSlider(
            separation, min=SEPARATION[0], max=SEPARATION[1], step=0.1
        ),
        "std": widgets.FloatLogSlider(std, min=low, max=high, step=0.05),
        "modes": widgets.IntSlider(modes, min=MODES[0], max=MODES[1]),
        "steps": widgets.SelectionSlider(options=STEPS, value=steps),
        "t": widgets.IntSlider(t, min=1, max=steps),
    }
    for name, slider in sliders.items():
        slider.description = {"steps": "T"}.get(name, name)
    figure = LiveStep(list(first.densities))
    picture = widgets.Image(format="png")

    def show(seen: View) -> None:
        picture.value = figure.draw(
            seen.x, seen.posterior, seen.densities, seen.errors, seen.heading
        )

    def move(change: Any) -> None:
        count = sliders["steps"].value
        if sliders["t"].max != count:  # the same place in the chain, which moves t and comes here
            share, sliders["t"].max = sliders["t"].value / sliders["t"].max, count
            place = max(1, math.ceil(share * count))
            if sliders["t"].value != place:
                sliders["t"].value = place
                return
        show(view(**{name: slider.value for name, slider in sliders.items()}))

    for slider in sliders.values():
        slider.observe(move, "value")
    show(first)
    return widgets.VBox([widgets.VBox(list(sliders.values())), picture])


def _within(name: str, value: float, ends: tuple[float, float]) -> float:
    """A start that its slider can have: a slider moves others to its end, without a word."""
    low, high = ends
    if not low <= options.positive(name, value) <= high:
        raise ValueError(
            f"{name} must be within {low:g} and {high:g}, the ends of its slider; received "
            f"{value!r}. For other values call view."
        )
    return float(value)
