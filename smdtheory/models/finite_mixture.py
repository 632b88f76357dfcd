"""A mixture-density denoiser: a network that names the components of its Gaussian mixture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smdtheory.checks import integer
from smdtheory.models.learned import LearnedDenoiser, Units, cholesky_factor, normal_log_density
from smdtheory.models.networks import Backbone
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.spectral import SpectralCovariance


class FiniteMixture(LearnedDenoiser):
    """K′ Gaussian components, their weights, means and covariances from a network.

    Args:
        dim: d.
        components: K′.
        width: features of the network.
        layers: its hidden layers.
        mean: of the data, (d,).
        variance: of each coordinate of the data.

    Raises:
        TypeError: if the sizes are not integers.
        ValueError: for sizes below 1.

    Example:
        >>> denoiser = FiniteMixture(2, 3, width=16, layers=1)
        >>> denoiser(torch.zeros(5, 2), 1.0, 2.0)
        GaussianMixture(components=3, dim=2, batch_shape=(5,))
    """

    def __init__(
        self,
        dim: int,
        components: int = 8,
        *,
        width: int = 192,
        layers: int = 4,
        mean: Sequence[float] | Tensor | None = None,
        variance: float = 1.0,
    ) -> None:
        super().__init__(integer("dim", dim, low=1), mean=mean, variance=variance)
        self.components = integer("components", components, low=1)
        places, factors = self.components * (1 + dim), self.components * (dim * (dim + 1) // 2)
        self.network = Backbone(
            dim,
            places + factors,
            affine=places,
            width=integer("width", width, low=1),
            layers=integer("layers", layers, low=1),
        )

    def predict(self, units: Units) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (B, K′), means (B, K′, d), Cholesky factors (B, K′, d, d) of the residual.

        Args:
            units: of B points, from :meth:`units`.

        Returns:
            The three tensors.
        """
        raw, K = self.network(units.inputs, units.level), self.components
        logits, means, factors = raw.tensor_split((K, K * (1 + self.dim)), -1)
        parts = (part.unflatten(-1, (K, -1)) for part in (means, factors))
        means, factors = parts
        return torch.log_softmax(logits, -1), means, cholesky_factor(factors, self.dim)

    def log_likelihood(self, x_0: Tensor, x_t: Tensor, snr_t: Tensor, eta: Tensor) -> Tensor:
        """log p(r | x_t) of the residuals r of x_0 (B, d), in nats, (B,): exact.

        Args:
            x_0: (B, d).
            x_t: (B, d).
            snr_t: (B,).
            eta: not used.

        Returns:
            Shape (B,), in nats.
        """
        units = self.units(x_t, snr_t)
        log_weights, means, factors = self.predict(units)
        gap = units.residual(x_0).unsqueeze(1) - means
        return torch.logsumexp(log_weights + normal_log_density(gap, factors), -1)

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """K′ components; see :meth:`Denoiser.x0`."""
        points, snr = self.flat(x_t, snr_t)
        units = self.units(points, snr)
        log_weights, means, factors = (v.double() for v in self.predict(units))
        batch, K = x_t.shape[:-1], self.components
        centres = units.guess.unsqueeze(1) + units.spread.unsqueeze(1) * means
        scaled = units.spread[..., None, None] * factors
        matrices = (scaled @ scaled.mT).reshape(*batch, K, self.dim, self.dim)
        return GaussianMixture.from_spectral(
            log_weights.reshape(*batch, K),
            centres.reshape(*batch, K, self.dim),
            SpectralCovariance.dense(matrices),
        )
