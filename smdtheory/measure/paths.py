r"""Whole chains, drawn from the truth and weighed by the model (docs/theory.md §8.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdtheory.models.denoiser import Denoiser, model_law
from smdtheory.schedule import Schedule
from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.mixture import GaussianMixture


def log_path_ratios(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    x_0: Tensor,
    paths: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log p(x_{0:T})/q(x_{0:T}) on forward paths that start at given points (docs/theory.md §8.3).

    Args:
        mixture: q(x_0).
        schedule: the chain.
        denoiser: p(x_s | x_t).
        x_0: where the paths start, (n, d).
        paths: N, their number from each point.
        generator: source of randomness; torch's global one if absent.

    Returns:
        (n, N). The mean over N of its exponential tends to p(x_0)/q(x_0); its own mean over
        x_0 ~ q is −KL(q(x_{0:T}) ‖ p(x_{0:T})).

    Raises:
        TypeError: if the denoiser returns something else than a mixture at each point.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> q = GaussianMixture([1.0], [[0.0]], 1.0)
        >>> ratios = log_path_ratios(q, Schedule.cosine(3), ExactPosterior(q), q.sample(4), 2)
        >>> bool((ratios.abs() < 1e-9).all())
        True
    """
    rows = max(1, 4 * BLOCK_ELEMENTS // (paths * mixture.num_components * mixture.dim))
    return torch.cat(
        [
            _log_ratios(mixture, schedule, denoiser, x, paths, generator)
            for x in torch.split(x_0, rows)
        ]
    )


def _log_ratios(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    x_0: Tensor,
    paths: int,
    generator: torch.Generator | None,
) -> Tensor:
    """One block of them: log p(x_T) − log q(x_0) + Σ_t log p(x_{t−1}|x_t)/q(x_t|x_{t−1})."""
    snr, beta = schedule.snr, schedule.betas
    x = x_0.unsqueeze(1).expand(-1, paths, -1)
    ratio = -mixture.log_prob(x_0).unsqueeze(-1).expand(-1, paths)
    for t in range(1, schedule.steps + 1):
        noise = torch.randn(x.shape, dtype=torch.float64, generator=generator)
        before, x = x, torch.sqrt(1 - beta[t]) * x + torch.sqrt(beta[t]) * noise
        forward = -0.5 * (noise.square().sum(-1) + mixture.dim * math.log(2 * math.pi * beta[t]))
        ratio = ratio + model_law(denoiser, x, snr[t], snr[t - 1]).log_prob(before) - forward
    return ratio - 0.5 * (x.square().sum(-1) + mixture.dim * math.log(2 * math.pi))
