r"""The truth dressed as a denoiser: what each family could learn at best (docs/theory.md §5, §7).

These models are built from the mixture itself, so that every path a learned denoiser takes can be
run on one whose error is known in advance.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from smdtheory.families import Family, check_family
from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import bridge
from smdtheory.truth.curves import curves_of
from smdtheory.truth.information import mmse
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import posterior_at
from smdtheory.truth.spectral import SpectralCovariance

INFINITE = torch.tensor(math.inf, dtype=torch.float64)


class _Oracle(Denoiser):
    """A denoiser made from a mixture without batch dimensions."""

    def __init__(self, mixture: GaussianMixture) -> None:
        super().__init__()
        curves_of(mixture)  # says what is wrong with an unsuitable mixture
        self.mixture = mixture

    def posterior(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """q(x_0 | x_t)."""
        return posterior_at(self.mixture, x_t, snr_t, INFINITE)


class ExactPosterior(_Oracle):
    """q(x_s | x_t) itself: its error is 0.

    Args:
        mixture: q(x_0).

    Raises:
        TypeError: if ``mixture`` is not a mixture.
        ValueError: if it has batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> ExactPosterior(presets.ring(8))(torch.zeros(3, 2).double(), 1.0, 2.0)
        GaussianMixture(components=8, dim=2, batch_shape=(3,))
    """

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """q(x_0 | x_t), K components."""
        return self.posterior(x_t, snr_t)


class BestGaussian(_Oracle):
    """The best Gaussian step of a family: the exact mean, and the best covariance (§5.1).

    Args:
        mixture: q(x_0).
        family: one of :data:`smdtheory.families.FAMILIES`. The covariance of x_s given x_t is
            c² P + β̃ I with P = 0 (``fixed_small``), mmse/d I (``isotropic``), tr C/d I
            (``isotropic_x``), diag C (``diagonal``) or C = Cov(x_0|x_t) (``full``); it is β_{t|s} I
            for ``fixed_large``, and at s = 0 for ``fixed_small`` too.

    Raises:
        TypeError: if ``mixture`` is not a mixture.
        ValueError: for an unknown family, or a mixture with batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> BestGaussian(presets.ring(8), "full")(torch.zeros(3, 2).double(), 1.0, 2.0)
        GaussianMixture(components=1, dim=2, batch_shape=(3,))
    """

    def __init__(self, mixture: GaussianMixture, family: Family | str) -> None:
        super().__init__(mixture)
        self.family = check_family(family)
        self._mmse: dict[float, float] = {}

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """N(E[x_0|x_t], P), one component."""
        law = self.posterior(x_t, snr_t)
        return _one(law.mean, self._covariance(law, snr_t))

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), one component; see :meth:`Denoiser.forward`."""
        last = bool(torch.isinf(torch.as_tensor(snr_s)).all())
        fixed = self.family == "fixed_large" or (self.family == "fixed_small" and last)
        step = super().forward(x_t, snr_t, snr_s)
        if not fixed:
            return step
        beta = bridge(snr_t, snr_s).beta.to(x_t).expand(x_t.shape[:-1])
        return _one(
            step.means.squeeze(-2), SpectralCovariance.isotropic(beta.unsqueeze(-1), x_t.shape[-1])
        )

    def _covariance(self, law: GaussianMixture, snr_t: Tensor) -> SpectralCovariance:
        d = law.dim
        if self.family == "full":
            return SpectralCovariance.dense(law.covariance_matrix.unsqueeze(-3))
        if self.family == "diagonal":
            return SpectralCovariance.diagonal(law.variance.unsqueeze(-2))
        if self.family == "isotropic_x":
            return SpectralCovariance.isotropic((law.total_variance / d).unsqueeze(-1), d)
        if self.family == "isotropic":
            variance = self._mean_error(snr_t).to(law.means) / d
        else:
            variance = law.means.new_zeros(())
        return SpectralCovariance.isotropic(variance.expand(law.batch_shape).unsqueeze(-1), d)

    def _mean_error(self, snr_t: Tensor) -> Tensor:
        """mmse(γ_t), computed once for each level."""
        wanted = sorted(set(snr_t.flatten().tolist()))
        missing = [gamma for gamma in wanted if gamma not in self._mmse]
        if missing:
            found = mmse(self.mixture.to("cpu", torch.float64), missing).value.tolist()
            self._mmse.update(zip(missing, found, strict=True))
        values = [self._mmse[gamma] for gamma in snr_t.flatten().tolist()]
        return torch.tensor(values, dtype=torch.float64).reshape(snr_t.shape)


class ExactSoftMixture(_Oracle):
    """A continuous mixture with latent z ~ q(x_0|x_t) and kernel N(x_s; c z + c′ x_t, σ² I) (§7.1).

    With σ² = β̃ it is q(x_s|x_t) itself. With any larger σ² it is not (§7.2).

    Args:
        mixture: q(x_0).
        kernel: "posterior" for σ² = β̃_{s|t}, "forward" for σ² = β_{t|s}, or a factor: σ² is that
            many times β̃. At s = 0, where β̃ = 0, "forward" gives β_{t|0} and a factor gives 0.

    Raises:
        TypeError: if ``mixture`` is not a mixture.
        ValueError: for a kernel that is neither of these, or a factor that is not positive.

    Example:
        >>> from smdtheory.truth import presets
        >>> ExactSoftMixture(presets.ring(8), "forward")(torch.zeros(3, 2).double(), 1.0, 2.0)
        GaussianMixture(components=8, dim=2, batch_shape=(3,))
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        kernel: Literal["posterior", "forward"] | float = "posterior",
    ) -> None:
        super().__init__(mixture)
        valid = (
            kernel in ("posterior", "forward")
            if isinstance(kernel, str)
            else not isinstance(kernel, bool) and math.isfinite(kernel) and kernel > 0
        )
        if not valid:
            raise ValueError(
                "kernel must be 'posterior' (β̃), 'forward' (β) or a positive factor of β̃; "
                f"received {kernel!r}"
            )
        self.kernel = kernel

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """The law of the latent z: q(x_0 | x_t), K components."""
        return self.posterior(x_t, snr_t)

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), K components; see :meth:`Denoiser.forward`."""
        law = super().forward(x_t, snr_t, snr_s)
        if self.kernel == "posterior":
            return law
        step = bridge(snr_t, snr_s)
        wanted = step.beta if self.kernel == "forward" else float(self.kernel) * step.variance
        extra = (wanted - step.variance).to(law.means)[..., None, None]
        return GaussianMixture.from_spectral(
            law.logits, law.means, law.spectral.map(lambda v: v + extra)
        )


class TruncatedMixture(_Oracle):
    """What is left of the exact posterior with K′ < K components (§7.3).

    Args:
        mixture: q(x_0).
        keep: K′ >= 1. Capped at K.
        rest: "merge" keeps the K′ − 1 components most responsible for x_t and replaces the others
            by one Gaussian of the same mass, mean and covariance, so that K′ = 1 is the best full
            Gaussian; "drop" keeps the K′ most responsible and drops the others.

    Raises:
        TypeError: if ``mixture`` is not a mixture or ``keep`` not an integer.
        ValueError: if ``keep`` < 1, or for another ``rest``.

    Example:
        >>> from smdtheory.truth import presets
        >>> TruncatedMixture(presets.ring(8), 2)(torch.zeros(3, 2).double(), 1.0, 2.0)
        GaussianMixture(components=2, dim=2, batch_shape=(3,))
    """

    def __init__(
        self, mixture: GaussianMixture, keep: int, rest: Literal["merge", "drop"] = "merge"
    ) -> None:
        super().__init__(mixture)
        if isinstance(keep, bool) or not hasattr(keep, "__index__"):
            raise TypeError(f"keep must be an integer; received {keep!r}")
        if keep < 1:
            raise ValueError(f"keep must be at least 1 component; received {keep}")
        if rest not in ("merge", "drop"):
            raise ValueError(f"rest must be 'merge' or 'drop'; received {rest!r}")
        self.keep = min(int(keep), mixture.num_components)
        self.rest = rest

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """K′ components."""
        law = self.posterior(x_t, snr_t)
        if self.keep == law.num_components:
            return law
        order = law.logits.argsort(dim=-1, descending=True)
        count = self.keep if self.rest == "drop" else self.keep - 1
        kept, others = order[..., :count], order[..., count:]
        logits, means = law.logits.gather(-1, kept), _rows(law.means, kept)
        matrices = law.spectral.matrices()
        covariances = _matrices(matrices, kept)
        if self.rest == "merge":
            weights = torch.softmax(law.logits.gather(-1, others), -1)
            centres = _rows(law.means, others)
            mean = (weights.unsqueeze(-1) * centres).sum(-2)
            spread = centres - mean.unsqueeze(-2)
            within = (weights[..., None, None] * _matrices(matrices, others)).sum(-3)
            merged = within + torch.einsum("...k,...ki,...kj->...ij", weights, spread, spread)
            mass = torch.logsumexp(law.logits.gather(-1, others), -1, keepdim=True)
            logits = torch.cat([logits, mass], -1)
            means = torch.cat([means, mean.unsqueeze(-2)], -2)
            covariances = torch.cat([covariances, merged.unsqueeze(-3)], -3)
        return GaussianMixture.from_spectral(logits, means, SpectralCovariance.dense(covariances))


def _one(mean: Tensor, spectral: SpectralCovariance) -> GaussianMixture:
    return GaussianMixture.from_spectral(
        mean.new_zeros(*mean.shape[:-1], 1), mean.unsqueeze(-2), spectral
    )


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """values (*B, K, d) at index (*B, m): (*B, m, d)."""
    return values.gather(-2, index.unsqueeze(-1).expand(*index.shape, values.shape[-1]))


def _matrices(values: Tensor, index: Tensor) -> Tensor:
    """values (..., K, d, d), broadcast over *B, at index (*B, m): (*B, m, d, d)."""
    d = values.shape[-1]
    full = values.expand(*index.shape[:-1], *values.shape[-3:])
    return full.gather(-3, index[..., None, None].expand(*index.shape, d, d))
