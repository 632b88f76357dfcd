r"""The residual variance τ²(γ) of a trained denoiser, by maximum likelihood.

The squared error and the energy score say where a denoiser's draws should lie, not how wide a
kernel each needs; with the draws fixed, τ² at the knots of its curve maximises

    E log (1/R) Σ_j N(r; r̂(η_j), τ²(γ) I).

For a Gaussian (R = 1) that is E‖r − r̂‖²/d at each level, the best single variance
(docs/theory.md §10.3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdtheory.checks import integer
from smdtheory.models.configuration import Data, check_data, check_range
from smdtheory.models.learned import LEVELS, LearnedDenoiser, LevelCurve
from smdtheory.models.soft_mixture import soft_log_likelihood
from smdtheory.models.training import DivergedError, drawn

ROUNDS = 60
"""Iterations of the quasi-Newton search: far more than the 64 knots need."""

SMOOTHNESS = 300.0
"""Weight of the squared second differences of log τ², which carry the curve over thin data."""


def calibrate(
    denoiser: LearnedDenoiser,
    data: Data,
    *,
    log_snr: tuple[float, float] | None = None,
    samples: int = 4096,
    seed: int = 0,
) -> None:
    """Fit τ²(γ) of ``denoiser`` in place.

    Args:
        denoiser: with a residual variance for each level: a soft mixture, or a Gaussian of kind
            ``level``.
        data: q(x_0), a mixture or ``data(count, generator)`` that returns x_0 (count, d), as in
            :func:`smdtheory.models.fit.fit`; the generator is on the CPU.
        log_snr: least and largest log γ_t, those of training; all levels if absent. Beyond them
            log τ² goes on in a straight line.
        samples: pairs (x_0, x_t), at levels spread evenly over log γ.
        seed: of the draws.

    Raises:
        TypeError: if the denoiser has no such variance, or an argument is of the wrong kind.
        ValueError: for fewer than 1024 samples, levels out of range or order, or data of another
            dimension than the denoiser's.
        DivergedError: if the fit is not finite; the denoiser is left as it was.

    Example:
        >>> from smdtheory import presets
        >>> from smdtheory.models import SoftMixture
        >>> soft = SoftMixture(1, latents=2, width=4, layers=1)
        >>> before = soft(torch.zeros(1, 1), 1.0, 2.0).variance.item()
        >>> calibrate(soft, presets.line(2), samples=1024)
        >>> soft(torch.zeros(1, 1), 1.0, 2.0).variance.item() != before
        True
    """
    curve = getattr(denoiser, "residual", None)
    if not isinstance(curve, LevelCurve):
        raise TypeError(
            f"denoiser must have one residual variance for each level; received "
            f"{type(denoiser).__name__}. Its covariance is learned, or fixed: nothing to calibrate."
        )
    count, seed = integer("samples", samples, low=1024), integer("seed", seed, low=0)
    level, square = _squares(denoiser, check_data(data), log_snr, count, seed)
    values = torch.zeros(len(curve.log_values), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([values], max_iter=ROUNDS, line_search_fn="strong_wolfe")
    below, share = LevelCurve.place(level)

    def loss() -> Tensor:
        search.zero_grad()
        variance = torch.exp(values[below] + share * (values[below + 1] - values[below]))
        bend = values.diff(n=2).square().sum() / count
        value = SMOOTHNESS * bend - soft_log_likelihood(square, variance, denoiser.dim).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    if not (math.isfinite(float(loss().detach())) and bool(torch.isfinite(values).all())):
        raise DivergedError("the residual variance could not be fitted: its likelihood diverged")
    with torch.no_grad():
        curve.log_values.copy_(values)


@torch.no_grad()
def _squares(
    denoiser: LearnedDenoiser,
    data: Data,
    log_snr: tuple[float, float] | None,
    count: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """log γσ² (N,) and ‖r − r̂(η_j)‖² (N, R), on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    low, high = LEVELS
    if log_snr is not None:
        shift = float(denoiser.data_variance.log())
        least, most = check_range(log_snr)
        low, high = max(low, least + shift), min(high, most + shift)
    level = low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    x_0 = drawn(data, count, generator, denoiser.dim).cpu().double()
    snr = level.exp() / denoiser.data_variance.cpu()
    noise = torch.randn(x_0.shape, dtype=torch.float64, generator=generator)
    signal, spread = (1 / (1 + 1 / snr)).sqrt(), (1 / (1 + snr)).sqrt()
    x_t = signal.unsqueeze(-1) * x_0 + spread.unsqueeze(-1) * noise
    eta = denoiser.eta()
    units = denoiser.units(*denoiser.flat(x_t, snr))
    target = torch.split(units.residual(x_0.to(units.guess)), 256)
    squares = [
        (denoiser.draw(part, eta) - r.unsqueeze(1)).square().sum(-1)
        for part, r in zip(units.parts(256), target, strict=True)
    ]
    return level, torch.cat(squares).cpu().double()
