"""What the toy trains, draws and measures.

The grid is a line of 7 modes in each of two independent coordinates, and so is every posterior.
Entropies of independent coordinates add, and their best variances are equal here: the floor of the
grid is twice that of the line, by quadrature in one dimension instead of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smdtheory.estimate import Estimate
from smdtheory.families import RECIPES_VERSION, Family
from smdtheory.files import digest
from smdtheory.measure import (
    best_gaussian_errors,
    energy_distance,
    local_errors,
    mode_coverage,
)
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.recipes import train
from smdtheory.models.sample import ancestral
from smdtheory.schedule import Schedule
from smdtheory.toy.config import ToyConfig
from smdtheory.truth import presets
from smdtheory.truth.mixture import GaussianMixture

SIDE, SPACING, STD = 7, 2.0, 0.25
"""Modes along each coordinate, how far apart, and how wide: an eighth of the distance."""

ARMS = ("gaussian", "soft_energy")
"""What is trained."""

FLOORS: tuple[Family, ...] = ("isotropic", "full")
"""The families whose best is measured with them: the one of ``gaussian``, and the largest."""

LATENTS = 128
"""R of the soft mixture where its errors are measured."""

CHEAPER = 16
"""How many more draws a Gaussian gets, which evaluates its network once for each."""

RADII = 2
"""A draw within so many standard deviations of a mode is on it: 86 % of the data."""

Points = NDArray[np.float64]
Row = dict[str, Any]


def mixture() -> GaussianMixture:
    """The grid, standardised: mean 0 and variance 1 in each coordinate.

    Example:
        >>> mixture()
        GaussianMixture(components=49, dim=2)
    """
    return presets.grid(SIDE, SPACING, STD).standardized()


def floor(family: Family, steps: int) -> Estimate:
    """Σ_t M_t of the best Gaussian of a family on the grid in T = ``steps`` iterations, in nats.

    Example:
        >>> floor("full", 2)
        1.55961148... ± ... (quadrature)
    """
    line = presets.line(SIDE, SPACING, STD).standardized()
    return best_gaussian_errors(line, Schedule.cosine(steps), family).sum().map(lambda v: 2 * v)


def measure(
    config: ToyConfig, progress: bool | None, tell: Callable[[str], None]
) -> tuple[list[Row], dict[str, Points]]:
    """Rows, and points by name: ``data``, and the samples of each arm and T."""
    q, rows, points = mixture(), [], {}
    data, again = (_draw_data(q, config, place) for place in (0, 1))
    points["data"] = data.numpy()
    for arm in ARMS:
        for count in config.steps:
            tell(f"{arm}: {count} training steps")
            denoiser = learned(arm, q, count, config, progress)
            longest = count == config.steps[-1]
            wanted = {*config.iterations, *config.panels} if longest else {}
            for T in sorted({config.watched, *wanted}):
                row = _error_row(arm, count, T, _local(arm, q, denoiser, T, config))
                if longest and T in config.panels:
                    x = ancestral(
                        denoiser, Schedule.cosine(T), config.draws, generator=_seeded(config, 2, T)
                    )
                    points[f"{arm} {T}"] = x.numpy()
                    row |= _sample_columns(q, x, data)
                rows.append(row)
    for family in FLOORS:
        for T in sorted({*config.iterations, *config.panels}):
            rows.append(_error_row(family, None, T, floor(family, T)))
    rows.append(Row(arm="data") | _sample_columns(q, again, data))
    return rows, points


def learned(
    arm: str, q: GaussianMixture, steps: int, config: ToyConfig, progress: bool | None
) -> Denoiser:
    """A trained denoiser, from its checkpoints where there are some; a soft one with R latents."""
    folder = config.out / "training" / f"{arm}-{steps}-seed{config.seed}-recipes{RECIPES_VERSION}"
    run = train(
        arm, q, steps=steps, seed=config.seed, latents=LATENTS, device=config.device,
        folder=folder, resume="fallback", progress=progress,
    )  # fmt: skip
    return run.denoiser.to("cpu")


def _local(
    arm: str, q: GaussianMixture, denoiser: Denoiser, steps: int, config: ToyConfig
) -> Estimate:
    """Σ_t M_t of a learned denoiser, on the same draws for all numbers of training steps."""
    samples = config.samples * (1 if arm == "soft_energy" else CHEAPER)
    schedule, generator = Schedule.cosine(steps), _seeded(config, 3, steps)
    return local_errors(q, schedule, denoiser, samples=samples, generator=generator).sum()


def _seeded(config: ToyConfig, *place: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(digest([config.seed, *place])[:15], 16))


def _draw_data(q: GaussianMixture, config: ToyConfig, place: int) -> torch.Tensor:
    return q.sample(config.draws, generator=_seeded(config, place))


def _error_row(arm: str, training_steps: int | None, steps: int, errors: Estimate) -> Row:
    return {
        "arm": arm,
        "training_steps": math.nan if training_steps is None else training_steps,
        "steps": steps,
        "M_sum": float(errors),
        "M_sum_error": float(errors.error),
        "method": errors.method,
    }


def _sample_columns(q: GaussianMixture, x: torch.Tensor, data: torch.Tensor) -> Row:
    distance = energy_distance(x, data)
    found = mode_coverage(q, x, ball=1 - math.exp(-(RADII**2) / 2))
    return {
        "energy_distance": float(distance),
        "energy_distance_error": float(distance.error),
        "modes_covered": found.covered,
        "on_a_mode": 1 - float(found.outside),
        "on_a_mode_error": float(found.outside.error),
        "draws": len(x),
    }
