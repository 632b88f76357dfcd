r"""Named learned denoisers and how each is trained: what the sweep, the toy and the notebooks run.

One network serves every schedule and every number of steps: it is trained at levels spread evenly
from where x_t says next to nothing of x_0, log γσ² = −7, to the last step of a chain of 1000.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from smdtheory.checks import integer, shown
from smdtheory.families import LEARNED, Learned
from smdtheory.models import objectives, soft_mixture
from smdtheory.models.configuration import Objective
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.finite_mixture import FiniteMixture
from smdtheory.models.fit import fit
from smdtheory.models.gaussian import GaussianDenoiser
from smdtheory.models.learned import LearnedDenoiser
from smdtheory.models.loop import Fit
from smdtheory.models.residual import calibrate
from smdtheory.models.soft_mixture import SoftMixture
from smdtheory.truth.mixture import GaussianMixture, check_mixture

TRAINED = (-7.0, 10.5)
"""From log γσ² to log γ: from where x_t is noise to the last step of a cosine chain of 1000."""

CALIBRATION = 2**20
"""Network evaluations for a residual variance, within 4096 to 16 384 draws."""

WIDTH = 128
"""Features of every network but that of ``gaussian_wide``."""

Budget = Literal["short", "long"]


@dataclass(frozen=True)
class Recipe:
    """A learned denoiser by name.

    Attributes:
        make: (dim, mean=..., variance=...) to an untrained denoiser.
        objective: what it is trained on.
        calibrated: whether its residual variance is fitted afterwards.
        short: training steps where only the outline matters.
        long: training steps where numbers are to be compared.
        learning_rate: the largest.
        batch: draws in a step.
        opening: the recipe that it is trained by first, and for how many steps, short and long.

    Example:
        >>> RECIPES["soft_mse"].objective.__name__, RECIPES["soft_mse"].long
        ('mse', 8000)
    """

    make: Callable[..., LearnedDenoiser]
    objective: Objective
    calibrated: bool
    short: int
    long: int
    learning_rate: float = 3e-3
    batch: int = 256
    opening: tuple[Learned, int, int] | None = None


def _gaussian(dim: int, **units: Any) -> LearnedDenoiser:
    return GaussianDenoiser(dim, "level", width=WIDTH, **units)


def _full(dim: int, **units: Any) -> LearnedDenoiser:
    return GaussianDenoiser(dim, "full", width=WIDTH, **units)


def _soft(dim: int, **units: Any) -> LearnedDenoiser:
    return SoftMixture(dim, width=WIDTH, **units)


def _no_noise(dim: int, **units: Any) -> LearnedDenoiser:
    return SoftMixture(dim, width=WIDTH, noise=0, latents=2, **units)


def _finite(dim: int, **units: Any) -> LearnedDenoiser:
    return FiniteMixture(dim, 8, width=WIDTH, **units)


def _wide(dim: int, **units: Any) -> LearnedDenoiser:
    """The narrowest Gaussian with no fewer parameters than the soft mixture."""
    wanted, width = parameters_of(_soft(dim)), WIDTH
    while parameters_of(GaussianDenoiser(dim, "level", width=width)) < wanted:
        width += 1
    return GaussianDenoiser(dim, "level", width=width, **units)


RECIPES: dict[str, Recipe] = dict(
    zip(
        LEARNED,
        (
            Recipe(_gaussian, objectives.mse, True, 2000, 8000, batch=512),
            Recipe(_full, objectives.likelihood, False, 2000, 10_000),
            Recipe(_soft, objectives.mse, True, 1000, 8000),
            Recipe(_soft, objectives.energy, True, 2000, 14_000),
            # likelihood alone does not leave the collapse of §10.4, so the energy score goes first
            Recipe(
                _soft, objectives.likelihood, True, 500, 3000, 5e-4, 32, ("soft_energy", 2000, 5000)
            ),
            Recipe(_finite, objectives.likelihood, False, 2500, 10_000, 4e-3),
            Recipe(_wide, objectives.mse, True, 1000, 8000),
            Recipe(_no_noise, objectives.mse, True, 1000, 8000),
        ),
        strict=True,
    )
)
"""By the names of :data:`smdtheory.families.LEARNED`."""


def parameters_of(denoiser: torch.nn.Module) -> int:
    """How many numbers are trained.

    Args:
        denoiser: any module.

    Returns:
        The number.

    Example:
        >>> parameters_of(torch.nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in denoiser.parameters())


def variance_of(mixture: GaussianMixture) -> float:
    """σ², the average variance of the coordinates.

    Args:
        mixture: q(x_0).

    Returns:
        tr Cov/d.

    Example:
        >>> from smdtheory.truth import presets
        >>> round(variance_of(presets.ring(8)), 4)
        1.01
    """
    return float(mixture.variance.mean())


def untrained(name: str, mixture: GaussianMixture, *, seed: int = 0) -> LearnedDenoiser:
    """A learned denoiser before training, in the units of ``mixture``.

    Args:
        name: one of :data:`smdtheory.families.LEARNED`.
        mixture: the data; its mean and the average variance of its coordinates are all that is
            taken from it.
        seed: of the initial parameters.

    Returns:
        The denoiser, on the CPU.

    Raises:
        TypeError: if ``mixture`` is no mixture or ``seed`` no integer.
        ValueError: for a name that is not known.

    Example:
        >>> from smdtheory.truth import presets
        >>> untrained("finite_mixture", presets.ring(8)).components
        8
    """
    recipe, q = _recipe(name), check_mixture(mixture)
    with torch.random.fork_rng([]):
        torch.manual_seed(integer("seed", seed, low=0))
        return recipe.make(q.dim, mean=q.mean, variance=variance_of(q))


def train(
    name: str,
    mixture: GaussianMixture,
    *,
    steps: int | None = None,
    budget: Budget = "short",
    seed: int = 0,
    latents: int | None = None,
    device: torch.device | str = "cpu",
    folder: str | os.PathLike[str] | None = None,
    resume: bool | Literal["fallback"] = True,
    progress: bool | None = None,
) -> Fit:
    """Train a learned denoiser as its recipe says, and fit its residual variance where it has one.

    The residual variance depends on R and is no part of the checkpoints: to have a finished
    denoiser again, make the same call, which trains nothing.

    Args:
        name: one of :data:`smdtheory.families.LEARNED`.
        mixture: the data.
        steps: of training, and of the opening where there is one; those of ``budget`` if absent.
        budget: "short", or "long" for numbers that are to be compared.
        seed: of the initial parameters and of all that training draws.
        latents: R of a soft mixture, for which its residual variance is fitted; its own if absent.
            The others have none.
        device: where to train.
        folder: where to keep checkpoints: the same call goes on from there.
        resume: as in :func:`smdtheory.models.fit.fit`.
        progress: show a progress bar; if absent, where the output is a terminal.

    Returns:
        The trained denoiser and the loss of each step, those of an opening included.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for a name or budget that is not known, or a folder that cannot be used.
        ArithmeticError: if training diverges.

    Example:
        >>> from smdtheory.truth import presets
        >>> train("gaussian", presets.ring(8), steps=2, progress=False).steps
        2
    """
    recipe = _recipe(name)
    if not isinstance(budget, str) or budget not in ("short", "long"):
        raise ValueError(f"budget must be 'short' or 'long'; received {shown(budget)}")
    if latents is not None:
        soft_mixture.check_latents(latents)
    log_snr = (TRAINED[0] - math.log(variance_of(check_mixture(mixture))), TRAINED[1])
    start: Denoiser = untrained(name, mixture, seed=seed)
    opening: Fit | None = None
    if recipe.opening is not None:
        first, *counts = recipe.opening
        opening = train(
            first,
            mixture,
            steps=counts[budget == "long"] if steps is None else steps,
            seed=seed,
            latents=objectives.LATENTS,
            device=device,
            folder=None if folder is None else Path(folder) / "opening",
            resume=resume,
            progress=progress,
        )
        start = opening.denoiser
    run = fit(
        start,
        mixture,
        recipe.objective,
        steps=getattr(recipe, budget) if steps is None else steps,
        log_snr=log_snr,
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        seed=seed,
        device=device,
        folder=folder,
        resume=resume,
        progress=progress,
    )
    denoiser = run.denoiser
    if latents is not None and isinstance(denoiser, soft_mixture.SoftMixture) and denoiser.noise:
        denoiser.latents = latents
    if recipe.calibrated and isinstance(denoiser, LearnedDenoiser):
        samples = min(max(4096, CALIBRATION // len(denoiser.eta())), 16_384)
        calibrate(denoiser, mixture, log_snr=log_snr, samples=samples, seed=seed)
    return run if opening is None else run.after(opening)


def _recipe(name: Any) -> Recipe:
    if not isinstance(name, str) or name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}; received {shown(name)}")
    return RECIPES[name]
