r"""What a learned denoiser is trained on.

Each takes (denoiser, x_0, x_t, snr_t, generator) and returns a scalar, in the units of
:mod:`smdtheory.models.learned`, so that every level weighs alike (docs/theory.md §10.2 to §10.5).

- :func:`mse`: E‖r − r̂(η)‖²/d with one η, the paper's bound. Because η is independent of the data it
  equals E‖r − E_η r̂‖²/d + E tr Var_η r̂/d: its minimiser ignores η, and is the posterior mean.
- :func:`likelihood`: −log p(r | x_t), exact for Gaussians and finite mixtures; for a soft mixture
  −log (1/R) Σ_j N(r; r̂(η_j), τ² I), in expectation an upper bound of it, the η_j being spread
  evenly by a randomly shifted Sobol set: with them a small R meets every mode.
- :func:`energy`: E ρ(r̂(η) − r) − ½ E ρ(r̂(η) − r̂(η′)), ρ(v) = (‖v‖² + c²)^(1/4), the energy score
  with exponent ½ (Gneiting and Raftery 2007, §5), smoothed at the scale c. For laws with a moment
  of order ½ it is strictly proper, −ρ being conditionally strictly positive definite
  (Micchelli 1986).
  It says nothing about τ²: see :func:`smdtheory.models.residual.calibrate`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from smdtheory.models.configuration import Objective
from smdtheory.models.learned import LearnedDenoiser

LATENTS = 128
"""R, values of η for each point in :func:`likelihood`. Where R is small a mode of weight below 1/R
is often met by no η at all, and training gives it more weight than it has."""

DRAWS = 4
"""Values of η for each point in :func:`energy`."""

EXPONENT = 0.5
"""Of the distance in :func:`energy`. The smaller it is the more do short distances count, and with
them what lies between two modes: at 1 more of it is left there (docs/theory.md §10.3)."""

GRID = 2**30
"""Sobol's points are multiples of 1/GRID, and so are their shifts."""

SMOOTHING = 1e-3
"""c², added to squared distances, whose power has no gradient at 0."""


def mse(
    denoiser: LearnedDenoiser, x_0: Tensor, x_t: Tensor, snr_t: Tensor, generator: torch.Generator
) -> Tensor:
    """The paper's loss: squared error with one η.

    Args:
        denoiser: what is trained.
        x_0: (B, d).
        x_t: (B, d).
        snr_t: (B,).
        generator: source of η.

    Returns:
        A scalar, of x_0 in units of its spread given the level.

    Example:
        >>> from smdtheory.models import SoftMixture
        >>> generator, x = torch.Generator().manual_seed(0), torch.ones(8, 2)
        >>> loss = mse(SoftMixture(2, width=4, layers=1), x, x, torch.ones(8), generator)
        >>> loss.shape, loss.requires_grad
        (torch.Size([]), True)
    """
    units = denoiser.units(x_t, snr_t)
    drawn = denoiser.draw(units, _noise(denoiser, len(x_0), 1, generator))
    return (drawn[:, 0] - units.residual(x_0)).square().mean()


def likelihood(
    denoiser: LearnedDenoiser,
    x_0: Tensor,
    x_t: Tensor,
    snr_t: Tensor,
    generator: torch.Generator,
    latents: int | None = None,
) -> Tensor:
    """Negative log-likelihood of the residual, in nats for each dimension.

    Args:
        denoiser: what is trained.
        x_0: (B, d).
        x_t: (B, d).
        snr_t: (B,).
        generator: source of η.
        latents: R; :data:`LATENTS` if absent.

    Returns:
        A scalar.

    Example:
        >>> from smdtheory.models import SoftMixture
        >>> generator, x = torch.Generator().manual_seed(0), torch.ones(8, 2)
        >>> loss = likelihood(SoftMixture(2, width=4, layers=1), x, x, torch.ones(8), generator)
        >>> loss.shape, loss.requires_grad
        (torch.Size([]), True)
    """
    eta = _spread_noise(denoiser, len(x_0), LATENTS if latents is None else latents, generator)
    return -denoiser.log_likelihood(x_0, x_t, snr_t, eta).mean() / denoiser.dim


def energy(
    denoiser: LearnedDenoiser, x_0: Tensor, x_t: Tensor, snr_t: Tensor, generator: torch.Generator
) -> Tensor:
    """The energy score of the residual, unbiased for any number of draws.

    Args:
        denoiser: what is trained.
        x_0: (B, d).
        x_t: (B, d).
        snr_t: (B,).
        generator: source of η.

    Returns:
        A scalar, of √x_0 in units of its spread given the level.

    Example:
        >>> from smdtheory.models import SoftMixture
        >>> generator, x = torch.Generator().manual_seed(0), torch.ones(8, 2)
        >>> loss = energy(SoftMixture(2, width=4, layers=1), x, x, torch.ones(8), generator)
        >>> loss.shape, loss.requires_grad
        (torch.Size([]), True)
    """
    units = denoiser.units(x_t, snr_t)
    drawn = denoiser.draw(units, _noise(denoiser, len(x_0), DRAWS, generator))
    fit = _distance(drawn - units.residual(x_0).unsqueeze(1)).mean()
    first, second = torch.triu_indices(DRAWS, DRAWS, offset=1, device=drawn.device)
    spread = _distance(drawn[:, first] - drawn[:, second]).mean()
    return fit - 0.5 * spread


OBJECTIVES: dict[str, Objective] = {"mse": mse, "likelihood": likelihood, "energy": energy}
"""By name."""


def _distance(gap: Tensor) -> Tensor:
    return (gap.square().sum(-1) + SMOOTHING) ** (EXPONENT / 2)


def _noise(denoiser: LearnedDenoiser, count: int, draws: int, generator: torch.Generator) -> Tensor:
    """η (count, draws, e), from ``generator``'s device to the denoiser's."""
    eta = torch.randn(count, draws, denoiser.noise, generator=generator, device=generator.device)
    return eta.to(denoiser.data_mean.device)


def _spread_noise(
    denoiser: LearnedDenoiser, count: int, draws: int, generator: torch.Generator
) -> Tensor:
    """η (count, draws, e), each N(0, I): a Sobol set, shifted at random for each of ``count``."""
    if denoiser.noise == 0:
        return _noise(denoiser, count, draws, generator)
    size = (count, 1, denoiser.noise)
    shift = torch.randint(GRID, size, generator=generator, device=generator.device)
    number = _sobol(denoiser.noise, draws).to(shift.device).add(shift).remainder(GRID)
    eta: Tensor = torch.special.ndtri((number.double() + 0.5) / GRID)  # never of 0 or 1
    return eta.float().to(denoiser.data_mean.device)


@lru_cache(maxsize=8)
def _sobol(dim: int, draws: int) -> Tensor:
    """The first ``draws`` points of Sobol's sequence in units of 1/:data:`GRID`, (draws, e)."""
    engine = torch.quasirandom.SobolEngine(dim)  # type: ignore[no-untyped-call]
    return (engine.draw(draws, dtype=torch.float64) * GRID).long()
