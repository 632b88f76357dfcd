r"""Gaussian mixtures, q(x) = Σ_k w_k N(x; m_k, S_k), as torch distributions.

Densities are computed in log space from differences x − m_k, never from x and m_k separately, so
that a component of std 1e-12 next to another 1e8 away costs no digit (docs/theory.md §3.1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from smdtheory.checks import instance, shape, shown
from smdtheory.truth import validate
from smdtheory.truth.density import log_density
from smdtheory.truth.spectral import SpectralCovariance


class GaussianMixture(Distribution):
    """A mixture of K Gaussians in R^d.

    Args:
        weights: (K,), not negative, summing to 1 within 1e-6.
        means: (K, d).
        covariances: matrices (K, d, d), or variances (K, d), or isotropic variances (K,) or a
            single number. Variances, never standard deviations. Everything
            is held in float64; see :meth:`to`.

    Raises:
        TypeError: for input that is not real numbers.
        ValueError: for weights, shapes or covariances that break these rules.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> q.log_prob([[0.0]])
        tensor([-2.2258], dtype=torch.float64)
    """

    has_rsample = False

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        weight = validate.check_weights(weights)
        mean = validate.check_means(means, len(weight))
        mean = mean.to(torch.float64)
        weight = weight.to(mean)
        validate.check_spread(mean)
        spectral = validate.check_covariances(covariances, mean)
        self._set(weight.log(), mean, spectral)

    def _set(self, logits: Tensor, means: Tensor, spectral: SpectralCovariance) -> None:
        self.logits = torch.log_softmax(logits, -1)
        self.means = means
        self.spectral = spectral
        super().__init__(means.shape[:-2], means.shape[-1:], validate_args=False)

    @staticmethod
    def low_rank(weights: Any, means: Any, factors: Any, noise: Any) -> GaussianMixture:
        """A mixture with S_k = F_k F_kᵀ + noise_k I.

        Args:
            weights: (K,).
            means: (K, d).
            factors: (K, d, r), r <= d.
            noise: (K,) positive variances.

        Returns:
            K components in d dimensions, without batch dimensions.

        Raises:
            TypeError: for input that is not real numbers.
            ValueError: for shapes that do not fit, or noise that is not positive.

        Example:
            >>> q = GaussianMixture.low_rank([1.0], torch.zeros(1, 3), torch.ones(1, 3, 1), [0.5])
            >>> q.variance
            tensor([1.5000, 1.5000, 1.5000], dtype=torch.float64)
        """
        weight = validate.check_weights(weights)
        mean = validate.check_means(means, len(weight)).to(torch.float64)
        validate.check_spread(mean)
        spectral = validate.check_low_rank(factors, noise, mean)
        return GaussianMixture.from_spectral(weight.to(mean).log(), mean, spectral)

    @staticmethod
    def from_sklearn(fitted: Any) -> GaussianMixture:
        """The mixture of a fitted ``sklearn.mixture.GaussianMixture``, any covariance type.

        Args:
            fitted: after its ``fit``.

        Returns:
            The same K components, in float64.

        Raises:
            TypeError: if ``fitted`` has not been fitted or is no Gaussian mixture.
            ValueError: if its parameters make no mixture.

        Example:
            >>> from sklearn.mixture import GaussianMixture as Fitted
            >>> from smdtheory.truth import presets
            >>> points = presets.ring(3).sample(300, generator=torch.Generator().manual_seed(0))
            >>> GaussianMixture.from_sklearn(Fitted(3, random_state=0).fit(points.numpy()))
            GaussianMixture(components=3, dim=2)
        """
        try:
            weights, means = fitted.weights_, fitted.means_
            covariances, kind = fitted.covariances_, fitted.covariance_type
        except AttributeError as error:
            raise TypeError(
                "fitted must be a fitted sklearn.mixture.GaussianMixture; received "
                f"{type(fitted).__name__}. Call .fit(data) first."
            ) from error
        covariances = validate.check_fitted(weights, means, covariances, kind)
        return GaussianMixture(weights, means, covariances)

    @staticmethod
    def from_spectral(
        logits: Tensor, means: Tensor, spectral: SpectralCovariance
    ) -> GaussianMixture:
        """A batch of mixtures; the spectral part broadcasts over the batch, never expanded.

        Args:
            logits: (*B, K), or what broadcasts to it: log weights up to a constant.
            means: (*B, K, d).
            spectral: covariances with batch dimensions that broadcast with ``*B``.

        Returns:
            Mixtures with batch_shape ``*B``.

        Raises:
            TypeError: if the arguments are not tensors and a :class:`SpectralCovariance`.
            ValueError: if shapes do not fit, a mean or variance is not finite, or no weight is
                positive.

        Example:
            >>> spectral = SpectralCovariance.isotropic(torch.ones(2), 3)
            >>> GaussianMixture.from_spectral(torch.zeros(2), torch.zeros(5, 2, 3), spectral)
            GaussianMixture(components=2, dim=3, batch_shape=(5,))
        """
        logits, means = validate.check_parts(logits, means, spectral)
        mixture = GaussianMixture.__new__(GaussianMixture)
        mixture._set(logits.expand(means.shape[:-1]), means, spectral)
        return mixture

    @property
    def num_components(self) -> int:
        """K."""
        return self.means.shape[-2]

    @property
    def dim(self) -> int:
        """d."""
        return self.means.shape[-1]

    @property
    def weights(self) -> Tensor:
        """w, shape (*B, K)."""
        return self.logits.exp()

    @property
    def mean(self) -> Tensor:
        """E x, shape (*B, d)."""
        return (self.weights.unsqueeze(-1) * self.means).sum(-2)

    def _deviations(self) -> Tensor:
        """m_k − E x, (*B, K, d), from the differences between means: nothing else is rounded."""
        heaviest = self.logits.argmax(-1)[..., None, None].expand(*self.batch_shape, 1, self.dim)
        gap = self.means - self.means.gather(-2, heaviest)
        return gap - (self.weights.unsqueeze(-1) * gap).sum(-2, keepdim=True)

    @property
    def variance(self) -> Tensor:
        """The diagonal of Cov x, shape (*B, d)."""
        weights = self.weights.unsqueeze(-1)
        spread = self._deviations()
        return (weights * (self.spectral.diagonals() + spread.square())).sum(-2)

    @property
    def covariance_matrix(self) -> Tensor:
        """Cov x, shape (*B, d, d)."""
        weights = self.weights
        spread = self._deviations()
        within = (weights[..., None, None] * self.spectral.matrices()).sum(-3)
        return within + torch.einsum("...k,...ki,...kj->...ij", weights, spread, spread)

    @property
    def total_variance(self) -> Tensor:
        """tr Cov x, shape (*B,), without forming a matrix."""
        spread = self._deviations()
        within = (self.weights * self.spectral.trace()).sum(-1)
        return within + (self.weights * spread.square().sum(-1)).sum(-1)

    def component_log_prob(self, x: Tensor) -> Tensor:
        """log w_k + log N(x; m_k, S_k) for points (*S, *B, d), shape (*S, *B, K).

        Args:
            x: points (*S, *B, d).

        Returns:
            Shape (*S, *B, K), in nats.
        """
        quadratic = self.spectral.mahalanobis(x.unsqueeze(-2) - self.means)
        return self._constant() - 0.5 * quadratic

    def _log_norm(self) -> Tensor:
        log_two_pi = torch.log(self.means.new_tensor(2 * torch.pi))
        return -0.5 * (self.spectral.log_det() + self.dim * log_two_pi)

    def _constant(self) -> Tensor:
        """log w_k + log N(m_k; m_k, S_k), shape (*B, K)."""
        return self.logits + self._log_norm()

    def log_prob(self, value: Any) -> Tensor:
        """log q(x) in nats for points (*S, *B, d), shape (*S, *B).

        Args:
            value: points (*S, *B, d).

        Returns:
            Shape (*S, *B), in nats.

        Raises:
            TypeError: if x is not made of real numbers.
            ValueError: if its last dimension is not d, or it contains NaN or infinity.
        """
        x = validate.check_points("x", value, self.means)
        if self.means.ndim > 2:
            return torch.logsumexp(self.component_log_prob(x), -1)
        points = x.reshape(-1, self.dim)
        if len(points) == 0:
            return x.new_zeros(x.shape[:-1])
        density = log_density(self._constant(), self.means, self.spectral, points)
        return density.reshape(x.shape[:-1])

    def responsibilities(self, x: Any) -> Tensor:
        """r_k(x) = P(component k | x) for points (*S, *B, d), shape (*S, *B, K).

        Args:
            x: points (*S, *B, d).

        Returns:
            Shape (*S, *B, K), of sum 1 over K.

        Raises:
            TypeError: if x is not made of real numbers.
            ValueError: as :meth:`log_prob`, and where x is so far out that its squared distance to
                every component overflows.
        """
        points = validate.check_points("x", x, self.means)
        return torch.softmax(self.joint_log_prob(points), -1)

    def joint_log_prob(self, x: Tensor) -> Tensor:
        """:meth:`component_log_prob`, refusing points at which every component underflows.

        Args:
            x: points (*S, *B, d).

        Returns:
            Shape (*S, *B, K), in nats.

        Raises:
            ValueError: where the squared distance to every component overflows.
        """
        joint = self.component_log_prob(x)
        if not bool(torch.isfinite(joint.amax(-1)).all()):
            raise ValueError(
                "x must be near enough to the mixture for its squared distance in units of the "
                f"components' std to stay below 1e308; received points up to "
                f"{float(x.abs().max()):.3g} in size"
            )
        return joint

    def score(self, x: Any) -> Tensor:
        """∇ log q(x) for points (*S, *B, d), same shape.

        Args:
            x: points (*S, *B, d).

        Returns:
            Shape (*S, *B, d), per unit of x.

        Raises:
            TypeError: if x is not made of real numbers.
            ValueError: as :meth:`responsibilities`.
        """
        points = validate.check_points("x", x, self.means)
        weights = torch.softmax(self.joint_log_prob(points), -1).unsqueeze(-1)
        pull = self.spectral.apply(torch.reciprocal, self.means - points.unsqueeze(-2))
        return (weights * pull).sum(-2)

    def sample(self, sample_shape: Any = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws, shape (*sample_shape, *B, d).

        Args:
            sample_shape: a shape, or a number of draws.
            generator: source of randomness; torch's global one if absent.

        Returns:
            Shape (*sample_shape, *B, d), without gradients.

        Raises:
            TypeError: if ``sample_shape`` is not made of integers, or ``generator`` is none.
            ValueError: if one of them is negative.
        """
        size = shape("sample_shape", sample_shape)
        count = size.numel()
        weights = self.weights.reshape(-1, self.num_components)
        drawn = max(count, 1)  # torch.multinomial cannot draw nothing
        index = torch.multinomial(weights, drawn, replacement=True, generator=generator).mT
        index = index[:count].reshape(count, *self.batch_shape)
        noise = torch.randn(
            (count, *self.batch_shape, self.dim),
            generator=generator,
            dtype=self.means.dtype,
            device=self.means.device,
        )
        draws = torch.zeros_like(noise)
        for k in range(self.num_components):
            one = self.component(k)
            chosen = one.means + one.spectral.apply(torch.sqrt, noise.unsqueeze(-2))
            draws = torch.where((index == k).unsqueeze(-1), chosen.squeeze(-2), draws)
        return draws.reshape(*size, *self.batch_shape, self.dim)

    def component(self, k: int) -> GaussianMixture:
        """The k-th Gaussian alone, as a mixture of one component.

        Args:
            k: 0..K−1.

        Returns:
            N(m_k, S_k), with the same batch dimensions.
        """
        part, spectral = slice(k, k + 1), self.spectral
        basis = None if spectral.basis is None else spectral.basis[..., part, :, :]
        one = SpectralCovariance(
            basis, spectral.eigenvalues[..., part, :], spectral.residual[..., part], self.dim
        )
        return GaussianMixture.from_spectral(
            torch.zeros_like(self.logits[..., part]), self.means[..., part, :], one
        )

    def standardized(self) -> GaussianMixture:
        """The mixture of (x − E x)/a, with ONE scalar a such that tr Cov = d.

        Returns:
            A mixture with mean 0 and tr Cov = d.

        Example:
            >>> q = GaussianMixture([0.5, 0.5], [[0.0], [4.0]], 0.25).standardized()
            >>> q.mean, q.variance
            (tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
        """
        scale = torch.sqrt(self.total_variance / self.dim)[..., None, None]
        means = self._deviations() / scale
        return GaussianMixture.from_spectral(
            self.logits, means, self.spectral.map(lambda v: v / scale.square())
        )

    def to(self, *args: Any, **kwargs: Any) -> GaussianMixture:
        """The same mixture on another device or in another dtype, as ``torch.Tensor.to``.

        Args:
            *args: a device, a dtype, or both.
            **kwargs: ``device`` and ``dtype``.

        Returns:
            A mixture; this one stays as it is.

        Raises:
            TypeError: for anything but a device that is there and a floating dtype.
            ValueError: if the dtype cannot hold the variances.
        """
        try:
            logits, means = self.logits.to(*args, **kwargs), self.means.to(*args, **kwargs)
            spectral = self.spectral.to(*args, **kwargs)
            if means.is_meta or not means.is_floating_point():
                raise TypeError(means.dtype)
        except (RuntimeError, TypeError, ValueError) as error:
            raise TypeError(
                f"to takes a device that is there or a floating dtype; received {shown(args)}"
            ) from error
        validate.check_conversion(self.spectral, spectral)
        return GaussianMixture.from_spectral(logits, means, spectral)

    def expand(self, batch_shape: Any, _instance: GaussianMixture | None = None) -> GaussianMixture:
        """The mixture with batch dimensions ``batch_shape``; the spectral part is shared.

        Args:
            batch_shape: what the present batch dimensions broadcast to.

        Returns:
            A mixture with that batch_shape.

        Raises:
            TypeError: if ``batch_shape`` is not made of integers.
            ValueError: if the present batch dimensions do not expand to it.
        """
        size = shape("batch_shape", batch_shape)
        if not validate.extends(self.batch_shape, size):
            raise ValueError(
                f"batch_shape must extend {tuple(self.batch_shape)}; received {tuple(size)}"
            )
        return GaussianMixture.from_spectral(
            self.logits.expand(*size, self.num_components),
            self.means.expand(*size, self.num_components, self.dim),
            self.spectral,
        )

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """What torch.distributions asks every distribution to declare."""
        return {"logits": constraints.real_vector}

    @property
    def support(self) -> constraints.Constraint:
        """R^d."""
        return constraints.real_vector

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"GaussianMixture(components={self.num_components}, dim={self.dim}{batch})"


def check_mixture(mixture: Any) -> GaussianMixture:
    """The mixture itself.

    Raises:
        TypeError: if it is not a mixture.
        ValueError: if it has batch dimensions.
    """
    cure = "GaussianMixture(weights, means, covariances) makes one."
    checked = instance("mixture", mixture, GaussianMixture, cure)
    if checked.batch_shape:
        raise ValueError(
            f"mixture must not have batch dimensions; received {tuple(checked.batch_shape)}. "
            "Loop over the mixtures."
        )
    return checked
