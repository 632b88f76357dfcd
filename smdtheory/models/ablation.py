r"""A soft mixture with its latent taken away, or given to the wrong x_t.

If the latent matters, both have a larger error than the soft mixture. Neither is trained: τ² stays
what it was with the latent in place, so that part of the excess is the price of a kernel that has
become too narrow. What another denoiser could do is told by training it with ``noise=0``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdtheory.checks import instance
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.soft_mixture import SoftMixture
from smdtheory.truth.mixture import GaussianMixture

SEED = 0
"""Of the permutations."""


class _Changed(Denoiser):
    """A soft mixture whose latents are not its own."""

    def __init__(self, denoiser: SoftMixture) -> None:
        super().__init__()
        self.denoiser = instance("denoiser", denoiser, SoftMixture, "No other has a latent.")

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), with the kernel of the soft mixture; see :meth:`Denoiser.forward`."""
        return self.denoiser.step(super().forward(x_t, snr_t, snr_s), snr_t, snr_s)


class WithoutLatent(_Changed):
    """A soft mixture with η = 0: one component at each x_t, a Gaussian.

    Args:
        denoiser: the soft mixture; its parameters are shared.

    Raises:
        TypeError: if it is not a soft mixture.

    Example:
        >>> soft = SoftMixture(2, latents=16, width=16, layers=1)
        >>> WithoutLatent(soft)(torch.zeros(5, 2), 1.0, 2.0)
        GaussianMixture(components=1, dim=2, batch_shape=(5,))
    """

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """N(μ(x_t; z), τ² I) with z = g(0, x_t, t); see :meth:`Denoiser.x0`."""
        soft = self.denoiser
        units = soft.units(*soft.flat(x_t, snr_t))
        eta = units.inputs.new_zeros(1, soft.noise)
        drawn = torch.cat([soft.draw(part, eta) for part in units.parts(soft.points)])
        return soft.law(units, drawn, x_t.shape[:-1])


class ShuffledLatent(_Changed):
    """A soft mixture in which each latent was made for another x_t of the batch.

    For each η the latents g(η, x_t, t) are permuted over the batch, for each η differently: their
    law is kept, what they know of x_t is lost. The points should be draws of x_t at one level, as
    they are in :func:`smdtheory.measure.local_errors`.

    Args:
        denoiser: the soft mixture; its parameters are shared.

    Raises:
        TypeError: if it is not a soft mixture.

    Example:
        >>> soft = SoftMixture(2, latents=16, width=16, layers=1)
        >>> ShuffledLatent(soft)(torch.randn(5, 2), 1.0, 2.0)
        GaussianMixture(components=16, dim=2, batch_shape=(5,))
    """

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """R components of equal weight; see :meth:`Denoiser.x0`.

        Raises:
            ValueError: for a single point.
        """
        soft = self.denoiser
        units = soft.units(*soft.flat(x_t, snr_t))
        eta, size = soft.eta(), soft.together(soft.latents)
        other = others(len(units.inputs), soft.latents).to(units.inputs.device)
        drawn = []
        for part, rows in zip(units.parts(size), torch.split(other, size), strict=True):
            z = soft.latent(eta.expand(*rows.shape, -1), units.inputs[rows], units.level[rows])
            drawn.append(soft.respond(*part.repeated(soft.latents), z))
        return soft.law(units, torch.cat(drawn), x_t.shape[:-1])


def others(points: int, columns: int) -> Tensor:
    """Numbers (N, R) of points: each column is a permutation that leaves none in its place.

    The points stand in a random circle, and column j looks j + 1 of them ahead.

    Raises:
        ValueError: for fewer than two points.

    Example:
        >>> others(2, 3).tolist()
        [[1, 1, 1], [0, 0, 0]]
    """
    if points < 2:
        raise ValueError(
            f"x_t must be at least two points, to take latents from each other; received {points}"
        )
    circle = torch.randperm(points, generator=torch.Generator().manual_seed(SEED))
    ahead = 1 + torch.arange(columns) % (points - 1)
    place = (torch.arange(points).unsqueeze(-1) + ahead) % points
    return circle[place][circle.argsort()]
