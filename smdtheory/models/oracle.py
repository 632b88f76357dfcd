r"""The truth dressed as a denoiser: what each family could learn at best (docs/theory.md §5, §7).

These models are built from the mixture itself, so that every path a learned denoiser takes can be
run on one whose error is known in advance.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from smdtheory.checks import integer, positive, shown
from smdtheory.families import Family, check_family
from smdtheory.models.denoiser import Denoiser, with_fixed_variance
from smdtheory.schedule import bridge
from smdtheory.truth.curves import curves_of
from smdtheory.truth.mixture import GaussianMixture, check_mixture
from smdtheory.truth.posterior import posterior_at
from smdtheory.truth.rules import sobol_normals
from smdtheory.truth.spectral import SpectralCovariance
from smdtheory.truth.validate import MAX_CONDITION, check_points

INFINITE = torch.tensor(math.inf, dtype=torch.float64)


class _Oracle(Denoiser):
    """A denoiser made from a mixture without batch dimensions."""

    def __init__(self, mixture: GaussianMixture) -> None:
        super().__init__()
        curves_of(mixture)  # says what is wrong with an unsuitable mixture
        self.mixture = mixture

    def posterior(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """q(x_0 | x_t)."""
        points = check_points("x_t", x_t, self.mixture.means)
        return posterior_at(self.mixture, points, snr_t, INFINITE)


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

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """N(E[x_0|x_t], P), one component."""
        law = self.posterior(x_t, snr_t)
        if self.family == "full":
            roots = law.spectral.map(torch.sqrt).matrices()
            mean, frame, variances = _pooled(law.logits, law.means, roots)
            return _one(mean, _spectral(frame.unsqueeze(-3), variances.unsqueeze(-2)))
        return _one(law.mean, self._covariance(law, snr_t))

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), one component; see :meth:`Denoiser.forward`."""
        law = super().forward(x_t, snr_t, snr_s)
        if self.family not in ("fixed_small", "fixed_large"):
            return law
        return with_fixed_variance(law, snr_t, snr_s, large=self.family == "fixed_large")

    def _covariance(self, law: GaussianMixture, snr_t: Tensor) -> SpectralCovariance:
        d = law.dim
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
        """mmse(γ_t) from the mixture's interpolated curve: a chain asks for one level at a time."""
        curves = curves_of(self.mixture)
        wanted, place = torch.unique(snr_t.flatten().to("cpu", torch.float64), return_inverse=True)
        found = curves.mmse(curves.at(wanted, direct=False)).mean(0)
        return found[place].reshape(snr_t.shape)


class ExactSoftMixture(_Oracle):
    """A continuous mixture with latent z ~ q(x_0|x_t) and kernel N(x_s; c z + c′ x_t, σ² I) (§7.1).

    With σ² = β̃ it is q(x_s|x_t) itself. With any larger σ² it is not (§7.2).

    Args:
        mixture: q(x_0).
        kernel: "posterior" for σ² = β̃_{s|t}, "forward" for σ² = β_{t|s}, or a factor: σ² is that
            many times β̃. At s = 0, where β̃ = 0, "forward" gives β_{t|0} and a factor gives 0.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``kernel`` neither a name nor a number.
        ValueError: for another name, or a factor that is not positive.

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
        if isinstance(kernel, str) and kernel not in ("posterior", "forward"):
            raise ValueError(
                "kernel must be 'posterior' (β̃), 'forward' (β) or a positive factor of β̃; "
                f"received {kernel!r}"
            )
        self.kernel = kernel if isinstance(kernel, str) else positive("kernel", kernel)

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


class SampledSoftMixture(_Oracle):
    """The soft mixture whose latent is the posterior, known by R of its values alone (§7.1).

    z_1..z_R are quasi-random points of q(x_0|x_t), from the same normals at every x_t; the kernel
    around each is N(c z + c′ x_t, β̃ I), with β_{t|0} in place of β̃ at s = 0, where that is 0. With
    R → ∞ it is q(x_s|x_t) for s >= 1.

    Args:
        mixture: q(x_0).
        latents: R.

    Raises:
        TypeError: if ``mixture`` is not a mixture or ``latents`` not an integer.
        ValueError: if the mixture has batch dimensions, or R is below 1.

    Example:
        >>> from smdtheory.truth import presets
        >>> SampledSoftMixture(presets.ring(8), 16)(torch.zeros(3, 2).double(), 1.0, 2.0)
        GaussianMixture(components=16, dim=2, batch_shape=(3,))
    """

    def __init__(self, mixture: GaussianMixture, latents: int) -> None:
        super().__init__(mixture)
        count = integer("latents", latents, low=1)
        self.register_buffer("normals", sobol_normals(mixture.dim + 1, count, seed=0)[0])

    normals: Tensor

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """R points z, each of variance 0."""
        law = self.posterior(x_t, snr_t)
        edges = law.weights.cumsum(-1)[..., None, :-1]
        index = (torch.special.ndtr(self.normals[:, :1]) > edges).sum(-1)
        roots = _matrices(law.spectral.map(torch.sqrt).matrices(), index)
        means = _rows(law.means, index) + (roots @ self.normals[:, 1:, None]).squeeze(-1)
        zero = means.new_zeros(means.shape[:-1])
        return GaussianMixture.from_spectral(
            zero, means, SpectralCovariance.isotropic(zero, law.dim)
        )

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), R components; see :meth:`Denoiser.forward`."""
        law = super().forward(x_t, snr_t, snr_s)
        return with_fixed_variance(law, snr_t, snr_s, large=False)


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
        super().__init__(_possible(mixture))
        if not isinstance(rest, str) or rest not in ("merge", "drop"):
            raise ValueError(f"rest must be 'merge' or 'drop'; received {shown(rest)}")
        self.keep = min(integer("keep", keep, low=1), self.mixture.num_components)
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
        roots = law.spectral.map(torch.sqrt).matrices()
        root, axes = torch.linalg.eigh(roots)
        axes, variances = _matrices(axes, kept), _rows(root.square().expand_as(law.means), kept)
        if self.rest == "merge":
            beyond = law.logits.gather(-1, others)
            mean, frame, pooled = _pooled(
                beyond, _rows(law.means, others), _matrices(roots, others)
            )
            logits = torch.cat([logits, torch.logsumexp(beyond, -1, keepdim=True)], -1)
            means = torch.cat([means, mean.unsqueeze(-2)], -2)
            axes = torch.cat([axes, frame.unsqueeze(-3)], -3)
            variances = torch.cat([variances, pooled.unsqueeze(-2)], -2)
        return GaussianMixture.from_spectral(logits, means, _spectral(axes, variances))


def _one(mean: Tensor, spectral: SpectralCovariance) -> GaussianMixture:
    return GaussianMixture.from_spectral(
        mean.new_zeros(*mean.shape[:-1], 1), mean.unsqueeze(-2), spectral
    )


def _possible(mixture: GaussianMixture) -> GaussianMixture:
    """The components whose weight is not 0: the others have no law to merge."""
    alive = torch.isfinite(check_mixture(mixture).logits)
    return GaussianMixture.from_spectral(
        mixture.logits[alive], mixture.means[alive], mixture.spectral.select(alive)
    )


def _pooled(logits: Tensor, means: Tensor, roots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of Σ_k w_k N(mean_k, root_k root_kᵀ) the mean, and its covariance's basis and eigenvalues.

    Where the eigenvalues are too far apart for the entries of a matrix to hold them, they come
    from the singular values of a factor of it, which need only the square root of that range.
    """
    weights = torch.softmax(logits, -1)
    mean = (weights.unsqueeze(-1) * means).sum(-2)
    spread = means - mean.unsqueeze(-2)
    within = torch.einsum("...k,...kij->...ij", weights, roots @ roots.mT)
    between = torch.einsum("...k,...ki,...kj->...ij", weights, spread, spread)
    eigenvalues, basis = torch.linalg.eigh(within + between)
    if bool((eigenvalues[..., 0] * MAX_CONDITION < eigenvalues[..., -1]).any()):
        scale = weights.sqrt().unsqueeze(-1)
        columns = (scale.unsqueeze(-1) * roots).movedim(-3, -2).flatten(-2)
        basis, singular, _ = torch.linalg.svd(
            torch.cat([(scale * spread).mT, columns], -1), full_matrices=False
        )
        eigenvalues = singular.square()
    return mean, basis, eigenvalues


def _spectral(basis: Tensor, eigenvalues: Tensor) -> SpectralCovariance:
    residual = eigenvalues.new_zeros(eigenvalues.shape[:-1])
    return SpectralCovariance(basis, eigenvalues, residual, basis.shape[-2])


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """values (*B, K, d) at index (*B, m): (*B, m, d)."""
    return values.gather(-2, index.unsqueeze(-1).expand(*index.shape, values.shape[-1]))


def _matrices(values: Tensor, index: Tensor) -> Tensor:
    """values (..., K, d, d), broadcast over *B, at index (*B, m): (*B, m, d, d)."""
    d = values.shape[-1]
    full = values.expand(*index.shape[:-1], *values.shape[-3:])
    return full.gather(-3, index[..., None, None].expand(*index.shape, d, d))
