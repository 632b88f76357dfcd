r"""Gaussian steps whose local errors are large and whose global error is 0 (docs/theory.md §7.1).

Every step before the last forgets where it is and draws from N(0, I). The last one cuts R^d by the
first coordinate of x_1 into K slabs of mass w_k under N(0, I), and emits N(m_k, S_k) from the k-th.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import bridge
from smdtheory.truth.mixture import GaussianMixture, check_mixture
from smdtheory.truth.spectral import SpectralCovariance


class GaussianCells(Denoiser):
    """One Gaussian at every x_t, of the ``full`` family, and samples that follow q(x_0) exactly.

    Started at N(0, I), whatever the schedule. Its local errors are far from 0: M_t > 0 does not
    imply E > 0.

    Args:
        mixture: q(x_0), without batch dimensions.

    Raises:
        TypeError: if ``mixture`` is not a mixture.
        ValueError: if it has batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> cells = GaussianCells(presets.line(2))  # modes at -1 and 1
        >>> cells(torch.tensor([[-0.3], [0.2]]).double(), 1.0, torch.inf).mean
        tensor([[-1.],
                [ 1.]], dtype=torch.float64)
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        super().__init__()
        self.mixture = check_mixture(mixture)
        masses = self.mixture.weights.cumsum(-1)[:-1].clamp(max=1.0)
        self.edges = torch.special.ndtri(masses)

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), one component."""
        bridge(snr_t, snr_s)  # says what is wrong with the levels
        q, batch = self.mixture, x_t.shape[:-1]
        if not math.isinf(float(snr_s)):
            one = x_t.new_ones((*batch, 1))
            spectral = SpectralCovariance.isotropic(one, q.dim)
            return GaussianMixture.from_spectral(
                one.log(), x_t.new_zeros(*batch, 1, q.dim), spectral
            )
        cell = torch.searchsorted(self.edges, x_t[..., 0].contiguous())
        means = q.means[cell].unsqueeze(-2)
        spectral = q.spectral.select(cell.unsqueeze(-1))
        return GaussianMixture.from_spectral(x_t.new_zeros(*batch, 1), means, spectral)
