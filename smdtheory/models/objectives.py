r"""What a learned denoiser is trained on.

Each takes (denoiser, x_0, x_t, snr_t, generator) and returns a scalar, in the units of
:mod:`smdtheory.models.learned`, so that every level weighs alike.

- :func:`mse`: E‖r − r̂(η)‖²/d with one η, the paper's bound. Because η is independent of the data it
  equals E‖r − E_η r̂‖²/d + E tr Var_η r̂/d: its minimiser ignores η, and is the posterior mean.
- :func:`likelihood`: −log p(r | x_t), exact for Gaussians and finite mixtures; for a soft mixture
  −log (1/R) Σ_j N(r; r̂(η_j), τ² I), in expectation an upper bound of it that falls as R grows.
- :func:`energy`: E‖r̂(η) − r‖ − ½ E‖r̂(η) − r̂(η′)‖, the energy score, a strictly proper scoring rule
  for laws with a first moment (Gneiting and Raftery 2007). It says nothing about τ²: see
  :func:`smdtheory.models.residual.calibrate`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdtheory.models.configuration import Objective
from smdtheory.models.learned import LearnedDenoiser

LATENTS = 8
"""R, values of η for each point in :func:`likelihood`."""

DRAWS = 4
"""Values of η for each point in :func:`energy`."""

TINY = 1e-12
"""Added to squared distances, whose root has no gradient at 0."""


def mse(
    denoiser: LearnedDenoiser, x_0: Tensor, x_t: Tensor, snr_t: Tensor, generator: torch.Generator
) -> Tensor:
    """The paper's loss: squared error with one η."""
    units = denoiser.units(x_t, snr_t)
    drawn = denoiser.draw(units, _noise(denoiser, len(x_0), 1, generator))
    return (drawn[:, 0] - units.residual(x_0)).square().mean()


def likelihood(
    denoiser: LearnedDenoiser, x_0: Tensor, x_t: Tensor, snr_t: Tensor, generator: torch.Generator
) -> Tensor:
    """Negative log-likelihood of the residual, in nats for each dimension."""
    eta = _noise(denoiser, len(x_0), LATENTS, generator)
    return -denoiser.log_likelihood(x_0, x_t, snr_t, eta).mean() / denoiser.dim


def energy(
    denoiser: LearnedDenoiser, x_0: Tensor, x_t: Tensor, snr_t: Tensor, generator: torch.Generator
) -> Tensor:
    """The energy score of the residual, unbiased for any number of draws."""
    units = denoiser.units(x_t, snr_t)
    drawn = denoiser.draw(units, _noise(denoiser, len(x_0), DRAWS, generator))
    fit = _distance(drawn - units.residual(x_0).unsqueeze(1)).mean()
    first, second = torch.triu_indices(DRAWS, DRAWS, offset=1, device=drawn.device)
    spread = _distance(drawn[:, first] - drawn[:, second]).mean()
    return fit - 0.5 * spread


OBJECTIVES: dict[str, Objective] = {"mse": mse, "likelihood": likelihood, "energy": energy}
"""By name."""


def _distance(gap: Tensor) -> Tensor:
    return (gap.square().sum(-1) + TINY).sqrt()


def _noise(denoiser: LearnedDenoiser, count: int, draws: int, generator: torch.Generator) -> Tensor:
    """η (count, draws, e), from ``generator``'s device to the denoiser's."""
    eta = torch.randn(count, draws, denoiser.noise, generator=generator, device=generator.device)
    return eta.to(denoiser.data_mean.device)
