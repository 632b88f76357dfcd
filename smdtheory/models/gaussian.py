r"""Learned Gaussian denoisers: a network's mean, and six ways to choose the covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from smdtheory.checks import integer, shown
from smdtheory.models.denoiser import with_fixed_variance
from smdtheory.models.learned import (
    LearnedDenoiser,
    LevelCurve,
    Units,
    cholesky_factor,
    diagonal_log_density,
    normal_log_density,
    positive_std,
)
from smdtheory.models.networks import Backbone
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.spectral import SpectralCovariance

Variance = Literal["fixed_small", "fixed_large", "level", "isotropic", "diagonal", "full"]

VARIANCES: tuple[Variance, ...] = get_args(Variance)

FIXED = ("fixed_small", "fixed_large")
"""Kinds whose variance the schedule sets."""


class GaussianDenoiser(LearnedDenoiser):
    """x_0 given x_t is N(μ(x_t, γ_t), P), μ a network.

    Args:
        dim: d.
        variance_kind: P is 0 (``fixed_small``: the step then has variance β̃, and β_1 at s = 0),
            irrelevant (``fixed_large``: the step has variance β_{t|s}), τ²(γ) I with the best
            τ² for each level (``level``), or learned at each x_t: a multiple of I (``isotropic``),
            a diagonal (``diagonal``), or a matrix by its Cholesky factor (``full``).
        width: features of the network.
        layers: hidden layers.
        mean: of the data, (d,).
        variance: of each coordinate of the data.
        network: one's own instead of that of ``width`` and ``layers``. Called as
            ``network(inputs, level)`` with (B, d) and (B,), it returns the mean of the residual and
            after it, in the same row, one raw number for ``isotropic``, d for ``diagonal`` and
            d (d + 1)/2 for ``full``: (B, d + how many).

    Raises:
        TypeError: if the sizes are not integers.
        ValueError: for an unknown kind, or sizes below 1.

    Example:
        >>> import torch
        >>> denoiser = GaussianDenoiser(2, "full", width=16, layers=1)
        >>> denoiser(torch.zeros(5, 2), 1.0, 2.0)
        GaussianMixture(components=1, dim=2, batch_shape=(5,))
    """

    def __init__(
        self,
        dim: int,
        variance_kind: Variance = "level",
        *,
        width: int = 192,
        layers: int = 4,
        mean: Sequence[float] | Tensor | None = None,
        variance: float = 1.0,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__(integer("dim", dim, low=1), mean=mean, variance=variance)
        if not isinstance(variance_kind, str) or variance_kind not in VARIANCES:
            raise ValueError(
                f"variance_kind must be one of {', '.join(VARIANCES)}; received "
                f"{shown(variance_kind)}"
            )
        self.variance_kind = variance_kind
        spread = {"isotropic": 1, "diagonal": dim, "full": dim * (dim + 1) // 2}
        sizes = {
            "width": integer("width", width, low=1),
            "layers": integer("layers", layers, low=1),
        }
        self.network = Backbone(dim, dim, **sizes) if network is None else network
        shape = spread.get(variance_kind, 0) if network is None else 0
        self.spread = Backbone(dim, shape, affine=0, **sizes) if shape else None
        self.residual = LevelCurve() if variance_kind == "level" else None

    def predict(self, units: Units) -> tuple[Tensor, Tensor | None]:
        """Mean (B, d) of the residual, and what its covariance is made of.

        That is the Cholesky factor (B, d, d) for ``full``, None for a fixed variance, and standard
        deviations (B, d) for the others: only ``full`` ever forms a matrix.

        Args:
            units: of B points, from :meth:`units`.

        Returns:
            The two.
        """
        told = self.network(units.inputs, units.level)
        mean, raw = told[:, : self.dim], told[:, self.dim :]
        if self.variance_kind in FIXED:
            return mean, None
        if self.residual is not None:
            return mean, self.residual(units.level).sqrt().unsqueeze(-1).expand_as(mean)
        if self.spread is not None:
            raw = self.spread(units.inputs, units.level)
        if self.variance_kind == "full":
            return mean, cholesky_factor(raw, self.dim)
        return mean, positive_std(raw).expand_as(mean)

    def log_likelihood(self, x_0: Tensor, x_t: Tensor, snr_t: Tensor, eta: Tensor) -> Tensor:
        """log p(r | x_t) of the residuals r of x_0 (B, d), in nats, (B,).

        Args:
            x_0: (B, d).
            x_t: (B, d).
            snr_t: (B,).
            eta: not used.

        Returns:
            Shape (B,), in nats.

        Raises:
            ValueError: for a fixed variance, under which x_0 has no density of its own.
        """
        units = self.units(x_t, snr_t)
        mean, spread = self.predict(units)
        if spread is None:
            raise ValueError(
                f"likelihood needs a learned variance; received variance_kind="
                f"{self.variance_kind!r}. Train the mean with mse."
            )
        density = normal_log_density if self.variance_kind == "full" else diagonal_log_density
        return density(units.residual(x_0) - mean, spread)

    def draw(self, units: Units, eta: Tensor) -> Tensor:
        """The mean, whatever the noise η (B, R, e): residuals (B, R, d).

        Args:
            units: of B points, from :meth:`units`.
            eta: (B, R, e).

        Returns:
            Shape (B, R, d), the same for every r.
        """
        mean, _ = self.predict(units)
        return mean.unsqueeze(1).expand(-1, eta.shape[-2], -1)

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """N(μ, P), one component; see :meth:`Denoiser.x0`."""
        points, snr = self.flat(x_t, snr_t)
        units = self.units(points, snr)
        mean, spread = self.predict(units)
        centre = (units.guess + units.spread * mean.double()).reshape(*x_t.shape[:-1], 1, self.dim)
        if spread is None:
            zero = centre.new_zeros(*centre.shape[:-1])
            return _one(centre, SpectralCovariance.isotropic(zero, self.dim))
        if self.variance_kind == "full":
            scaled = units.spread.unsqueeze(-1) * spread.double()
            matrices = (scaled @ scaled.mT).reshape(*centre.shape, self.dim)
            return _one(centre, SpectralCovariance.dense(matrices))
        variances = (units.spread * spread.double()).square().reshape(centre.shape)
        return _one(centre, SpectralCovariance.diagonal(variances))

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), one component; see :meth:`Denoiser.forward`."""
        law = super().forward(x_t, snr_t, snr_s)
        if self.variance_kind not in FIXED:
            return law
        return with_fixed_variance(law, snr_t, snr_s, large=self.variance_kind == "fixed_large")


def _one(means: Tensor, spectral: SpectralCovariance) -> GaussianMixture:
    """One component with ``means`` (*B, 1, d)."""
    return GaussianMixture.from_spectral(means.new_zeros(means.shape[:-1]), means, spectral)
