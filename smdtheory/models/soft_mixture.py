r"""The soft mixture: a denoiser modulated by a latent that is drawn anew each time.

It is p(x_0 | x_t) = ∫ N(η; 0, I) N(x_0; μ_{θ ∪ f(z, t)}(x_t, t), τ² I) dη with the latent
z = g(η, x_t, t): a hypernetwork f modulates the denoiser μ. It has no closed-form density; with R
values of η it is a mixture of R components, and that mixture is what is measured. On average over
random η its Kullback-Leibler error falls as R grows (docs/theory.md §10.4).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn

from smdtheory.checks import integer, shown
from smdtheory.models.denoiser import through_bridge
from smdtheory.models.learned import LearnedDenoiser, LevelCurve, Units
from smdtheory.models.networks import Backbone, Hypernetwork, Latent
from smdtheory.schedule import bridge
from smdtheory.truth import rules
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.spectral import SpectralCovariance

Kernel = Literal["fitted", "paper", "none"]

POINTS = 2**13
"""Pairs (x_t, η) that go through the network together: more of them do not fit a cache."""


class SoftMixture(LearnedDenoiser):
    """A denoiser modulated by a latent.

    Args:
        dim: d.
        kernel: "fitted" gives x_0 the residual variance τ²(γ) at every level; "paper" does so at
            s = 0 alone, and elsewhere the kernel has the bridge's own variance β̃; with "none" x_0
            is what the network draws, the law that the energy score trains: it can be sampled, and
            has no density at s = 0.
        latents: R, values of η in :meth:`x0`: quasi-random and antithetic, the same at every x_t.
        width: features of the denoiser.
        layers: its hidden layers.
        rank: dimension of the latent z and of the low-rank maps.
        noise: dimension of η, d by default; 0 leaves the hypernetwork without noise, a control.
        mean: of the data, (d,).
        variance: of each coordinate of the data.
        networks: one's own μ, g and f instead of those of ``width``, ``layers`` and ``rank``. With
            inputs x (B, R, d), noise η (B, R, e) and levels (B, 1) they are called as
            z = g(η, x, level), m = f(z, level) and μ(x, level, m), which is (B, R, d); z and m are
            whatever they agree on.

    Attributes:
        points: most pairs (x_t, η) that go through the networks together.

    Raises:
        TypeError: if the sizes are not integers.
        ValueError: for an unknown kernel, sizes below 1, or an R that is odd or above
            :data:`POINTS`.

    Example:
        >>> denoiser = SoftMixture(2, latents=16, width=16, layers=1)
        >>> denoiser(torch.zeros(5, 2), 1.0, 2.0)
        GaussianMixture(components=16, dim=2, batch_shape=(5,))
    """

    points = POINTS

    def __init__(
        self,
        dim: int,
        kernel: Kernel = "fitted",
        *,
        latents: int = 256,
        width: int = 192,
        layers: int = 4,
        rank: int = 16,
        noise: int | None = None,
        mean: Sequence[float] | Tensor | None = None,
        variance: float = 1.0,
        networks: tuple[nn.Module, nn.Module, nn.Module] | None = None,
    ) -> None:
        super().__init__(integer("dim", dim, low=1), mean=mean, variance=variance)
        self.kernel, self.latents = check_kernel(kernel), check_latents(latents)
        self.noise = dim if noise is None else integer("noise", noise, low=0)
        sizes = {
            "width": integer("width", width, low=1),
            "layers": integer("layers", layers, low=1),
            "rank": integer("rank", rank, low=1),
        }
        if networks is None:
            networks = (
                Backbone(dim, dim, **sizes),
                Latent(self.noise, dim, rank),
                Hypernetwork(rank, **sizes),
            )
        self.network, self.latent, self.hypernetwork = networks
        self.residual = LevelCurve()

    def draw(self, units: Units, eta: Tensor) -> Tensor:
        """Residuals (B, R, d) that the noise η, (B, R, e) or (R, e), makes of each point.

        Args:
            units: of B points, from :meth:`units`.
            eta: (B, R, e) or (R, e).

        Returns:
            Shape (B, R, d).
        """
        x, level = units.repeated(eta.shape[-2])
        return self.respond(x, level, self.latent(eta.expand(*x.shape[:-1], -1), x, level))

    def respond(self, x: Tensor, level: Tensor, z: Tensor) -> Tensor:
        """Residuals (B, R, d) at inputs (B, R, d) and levels (B, 1), with latents z (B, R, r).

        Args:
            x: (B, R, d).
            level: (B, 1).
            z: (B, R, r).

        Returns:
            Shape (B, R, d).
        """
        out: Tensor = self.network(x, level, self.hypernetwork(z, level))
        return out

    def with_latents(self, latents: int) -> Self:
        """The same denoiser, its parameters shared, with another R in :meth:`x0`.

        The values of η of the smaller R are among those of the larger.

        Args:
            latents: R, even.

        Returns:
            Another denoiser; this one stays as it is.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is below 2, odd, or above :data:`POINTS`.
        """
        other = copy.copy(self)
        other.latents = check_latents(latents)
        return other

    def with_kernel(self, kernel: Kernel) -> Self:
        """The same denoiser, its parameters shared, with another kernel.

        Args:
            kernel: "fitted" or "paper".

        Returns:
            Another denoiser; this one stays as it is.

        Raises:
            ValueError: for another kernel.
        """
        other = copy.copy(self)
        other.kernel = check_kernel(kernel)
        return other

    def together(self, latents: int) -> int:
        """How many x_t go through the networks together, each with so many values of η.

        Args:
            latents: R.

        Returns:
            At least 1.
        """
        return max(1, self.points // latents)

    def eta(self) -> Tensor:
        """Quasi-random antithetic noise (R, e), float32, the same at every call.

        Returns:
            Shape (R, e), on the device of the denoiser.
        """
        device = self.data_mean.device
        if self.noise == 0:
            return torch.zeros(self.latents, 0, device=device)
        half = rules.sobol_normals(self.noise, self.latents // 2, seed=0)[0].float().to(device)
        return torch.cat([half, -half])

    def log_likelihood(self, x_0: Tensor, x_t: Tensor, snr_t: Tensor, eta: Tensor) -> Tensor:
        """log (1/R) Σ_j N(r; r̂(η_j), τ² I) of the residuals r of x_0 (B, d), in nats, (B,).

        Args:
            x_0: (B, d).
            x_t: (B, d).
            snr_t: (B,).
            eta: (B, R, e).

        Returns:
            Shape (B,), in nats.
        """
        units = self.units(x_t, snr_t)
        gap = units.residual(x_0).unsqueeze(1) - self.draw(units, eta)
        return soft_log_likelihood(gap.square().sum(-1), self.residual(units.level), self.dim)

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """R components of equal weight; see :meth:`Denoiser.x0`."""
        points, snr = self.flat(x_t, snr_t)
        units = self.units(points, snr)
        eta = self.eta()
        drawn = [self.draw(part, eta) for part in units.parts(self.together(self.latents))]
        return self.law(units, torch.cat(drawn), x_t.shape[:-1])

    def law(self, units: Units, drawn: Tensor, batch: torch.Size) -> GaussianMixture:
        """A mixture with batch_shape ``batch`` and a component for each residual (N, R, d).

        Args:
            units: of N points.
            drawn: (N, R, d).
            batch: of N elements.

        Returns:
            A mixture of R components.
        """
        means = units.guess.unsqueeze(1) + units.spread.unsqueeze(1) * drawn.double()
        shape = (*batch, drawn.shape[1])
        variance = units.spread.squeeze(-1).square() * self.residual(units.level).double()
        spectral = SpectralCovariance.isotropic(variance.reshape(*batch, 1).expand(shape), self.dim)
        return GaussianMixture.from_spectral(
            means.new_zeros(shape), means.reshape(*shape, self.dim), spectral
        )

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), R components; see :meth:`Denoiser.forward`.

        Raises:
            ValueError: at s = 0 without a kernel, where there is no density; and as there.
        """
        if self.kernel == "none" and bool(torch.isinf(torch.as_tensor(snr_s)).any()):
            raise ValueError(
                "x_0 has a density only under a kernel; received kernel 'none' and an infinite "
                "snr_s. with_kernel('fitted') has one."
            )
        return self.step(super().forward(x_t, snr_t, snr_s), snr_t, snr_s)

    def sample(
        self,
        x_t: Tensor,
        snr_t: Tensor,
        snr_s: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A draw of x_s for each x_t, from a fresh η each, whatever R; see :meth:`Denoiser.sample`.

        This is the continuous mixture: the R components of :meth:`forward` stand for it.
        """
        points, snr = self.flat(x_t, snr_t)
        units, device = self.units(points, snr), points.device
        eta = torch.randn(len(points), 1, self.noise, generator=generator, device=device)
        with torch.no_grad():
            noise = torch.split(eta, self.points)
            parts = units.parts(self.points)
            drawn = [self.draw(*pair) for pair in zip(parts, noise, strict=True)]
            law = self.law(units, torch.cat(drawn), x_t.shape[:-1])
            step = self.step(through_bridge(law, x_t, bridge(snr_t, snr_s)), snr_t, snr_s)
        return step.sample(generator=generator)

    def step(
        self, law: GaussianMixture, snr_t: Tensor | float, snr_s: Tensor | float
    ) -> GaussianMixture:
        """The fitted step ``law`` with the variance that ``kernel`` asks for.

        Args:
            law: p(x_s | x_t) with the fitted variance.
            snr_t: γ_t.
            snr_s: γ_s.

        Returns:
            A mixture of the same means and weights.
        """
        if self.kernel == "fitted":
            return law
        kernel = bridge(snr_t, snr_s).variance.to(law.means).unsqueeze(-1)
        if self.kernel == "none":
            variance = kernel.expand(law.spectral.residual.shape)
        else:
            variance = torch.where(kernel > 0, kernel, law.spectral.residual)
        spectral = SpectralCovariance.isotropic(variance, self.dim)
        return GaussianMixture.from_spectral(law.logits, law.means, spectral)


def check_kernel(kernel: Any) -> Kernel:
    """The kernel.

    Raises:
        ValueError: if it is none of "fitted", "paper" and "none".

    Example:
        >>> check_kernel("paper")
        'paper'
    """
    if not isinstance(kernel, str) or kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be 'fitted', 'paper' or 'none'; received {shown(kernel)}")
    return cast(Kernel, kernel)


def check_latents(latents: Any) -> int:
    """R: even, and at most :data:`POINTS`.

    Raises:
        TypeError: if it is not an integer.
        ValueError: otherwise.

    Example:
        >>> check_latents(64)
        64
    """
    count = integer("latents", latents, low=2)
    if count % 2 or count > POINTS:
        raise ValueError(
            f"latents must be even, for antithetic pairs, and at most {POINTS}; received {count}"
        )
    return count


def soft_log_likelihood(square: Tensor, variance: Tensor, dim: int) -> Tensor:
    """log (1/R) Σ_j N(·; ·, τ² I) from squared distances (B, R) and τ² (B,), shape (B,)."""
    exponent = -0.5 * square / variance.unsqueeze(-1)
    norm = 0.5 * dim * torch.log(2 * math.pi * variance)
    return torch.logsumexp(exponent, -1) - math.log(square.shape[-1]) - norm
