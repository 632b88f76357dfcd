r"""Averages over x_t of what it tells about x_0 and about the label: one pass over points (§4).

With y = x_t/√ᾱ_t = x_0 + N(0, I/γ), C_k = S_k + I/γ, V_k = S_k (I + γ S_k)⁻¹ and
μ_k = m_k + S_k C_k⁻¹ (y − m_k) (docs/theory.md §3.3),

    C(y) = Cov(x_0 | x_t) = Σ_k r_k V_k + Σ_k r_k (μ_k − μ̄)(μ_k − μ̄)ᵀ.

All differences are taken from the component that a point belongs to, so nothing cancels however
far apart the components are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smdtheory.truth.covariance import covariance_summary
from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.histogram import Histogram, log_grid
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.spectral import SpectralCovariance

SPECTRA = ("isotropic_x", "diagonal", "full")
"""Families whose variances depend on x_t: their distribution is kept, not only its mean."""

REACH = 10.0
"""No point is further from its component than this many std, beyond the √d of a typical point."""

LOG_NEGLIGIBLE = -36.0
"""Components that could add no more than e^−36 = 2e-16 to an average are left out of it."""


@dataclass(frozen=True)
class Moments:
    """Averages over x_t at L levels; R replicates when sampled, R = 1 by quadrature.

    Attributes:
        snr: γ, (L,).
        between: (R, L), E tr Cov(μ_k | x_t): the part of the MMSE that a known label would remove.
        label_entropy: (R, L), E H(r(x_t)).
        excess: (R, L), E‖Cov(x_0|x_t)‖_F² − Σ_k w_k ‖V_k‖_F².
        spectra: for families of :data:`SPECTRA`, weights (R, L, N) on ``grid``: for smooth f,
            Σ_n weights_n f(grid_n) is E Σ_i f(v_i) − Σ_k w_k Σ_i f(V_ki), v_i the variances of x_0
            given x_t that the family can represent, V_ki the eigenvalues of V_k. Where components
            lie far apart the two sums are nearly equal: their difference is what is kept.
        grid: (N,), values of v.
        error: (L,), error of γ·between, label_entropy and γ²·excess, the largest of the three.
    """

    snr: Tensor
    between: Tensor
    label_entropy: Tensor
    excess: Tensor
    spectra: dict[str, Tensor]
    grid: Tensor
    error: Tensor


class Table:
    """Running sums of the averages, filled by :meth:`add`; one replicate.

    Attributes:
        tolerance: lattices are fine enough when the error of the averages is below this, relative
            to averages below 1.

    Args:
        mixture: q(x_0).
        snr: γ, (L,), infinity allowed.
        shared: (m,), variances of further coordinates that are independent of these and of the
            label.
    """

    tolerance = 1e-7

    def __init__(self, mixture: GaussianMixture, snr: Tensor, shared: Tensor) -> None:
        self.mixture, self.snr = mixture, snr
        self.everywhere = torch.arange(len(snr))
        self.beside = shared / (1 + snr.unsqueeze(-1) * shared)  # their variance given x_t, (L, m)
        self.dim = mixture.dim + len(shared)
        levels, log_v = len(snr), _log_variances(mixture, snr, shared)
        self.laws = {
            name: Histogram(log_v, levels) for name in (SPECTRA if self.dim > 1 else SPECTRA[-1:])
        }
        self.grid = torch.exp(log_v)
        self.scalars = torch.zeros(levels, 3, dtype=torch.float64)
        self.share = torch.zeros(levels, mixture.num_components, dtype=torch.float64)
        self.error = torch.zeros(levels, dtype=torch.float64)

    def scale(self) -> Tensor:
        """Factors (L, 3) that make the three averages dimensionless."""
        finite = self._finite()
        return torch.stack([finite, torch.ones_like(finite), finite.square()], -1)

    def _finite(self) -> Tensor:
        """γ, (L,), with 0 in place of infinity."""
        return torch.where(torch.isfinite(self.snr), self.snr, 0.0)

    def clear(self, levels: Tensor) -> None:
        """Forget what has been summed at ``levels``."""
        self.scalars[levels] = 0
        self.share[levels] = 0
        for law in self.laws.values():
            law.clear(levels)

    def add(
        self,
        levels: Tensor,
        components: Tensor,
        u: Tensor,
        weight: Tensor,
        coarse: Tensor | None = None,
    ) -> None:
        """Add points u (n, d) with ``weight`` (n,) of each component at each level.

        With ``coarse`` (L, 3), only the three averages are summed, and there.
        """
        count, dim = u.shape
        components = components[self.mixture.weights[components] > 0]
        if len(levels) == 0 or len(components) == 0:
            return
        level, k = torch.cartesian_prod(levels, components).reshape(-1, 2).unbind(-1)
        order, needed = self._neighbours(level, k)
        K = self.mixture.num_components
        # the widest working array is (anchors, K, d, n), or (anchors, n, d, d) for d > K
        width = K * dim if dim <= 2 else max(K * dim, dim * dim)
        chunk = max(1, min(count, 8 * BLOCK_ELEMENTS // width))
        batch = max(1, 8 * BLOCK_ELEMENTS // (width * chunk))
        for rows in torch.split(torch.arange(len(level)), batch):
            near = order[rows, : int(needed[rows].max())]
            for points, mass in zip(torch.split(u, chunk), torch.split(weight, chunk), strict=True):
                self._add_block(level[rows], k[rows], near, points, mass, coarse)

    def _neighbours(self, level: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Components that matter for averages over component k.

        At u std from m_k its density is e^{−u²/2}, and that of component j, D away, at most
        c e^{−(D − u σ_k)²/(2 σ_j²)} in the same unit; where these cross, at u = D/(σ_k + σ_j),
        the smaller of the two is largest. What j adds to the average is at most that times γD².

        Returns:
            all components, k first, then the nearest, (A, K), and how many of them count, (A,).
        """
        mixture, noise = self.mixture, 1 / self.snr[level].unsqueeze(-1)
        rows = k.unsqueeze(-1)
        std = (mixture.spectral.largest() + noise).sqrt()
        log_det = mixture.spectral.map(lambda v: v + noise.unsqueeze(-1)).log_det()
        norm = mixture.logits - 0.5 * log_det
        distance = (mixture.means[k].unsqueeze(1) - mixture.means).norm(dim=-1)
        crossing = distance / (std.gather(-1, rows) + std)
        bound = (norm - norm.gather(-1, rows)).clamp(min=0) - 0.5 * crossing.square()
        bound = bound + torch.log1p(self._finite()[level, None] * distance.square())
        bound.scatter_(-1, rows, torch.inf)
        return bound.argsort(-1, descending=True), (bound > LOG_NEGLIGIBLE).sum(-1)

    def _add_block(
        self,
        level: Tensor,
        k: Tensor,
        near: Tensor,
        u: Tensor,
        weight: Tensor,
        coarse: Tensor | None,
    ) -> None:
        mass = self.mixture.weights[k].unsqueeze(-1) * weight  # (A, n)
        entropy, within, deviation, resp = self._posterior(level, near, u)
        summary = covariance_summary(within, deviation, resp)
        norms = within.square().flatten(2).sum(-1)  # ‖V_j‖_F², (A, J)
        excess = summary.square - torch.einsum("aj,ajn->an", norms, resp)
        values = torch.stack([summary.between, entropy, excess], -1)
        target = self.scalars if coarse is None else coarse
        target.index_add_(0, level, (mass.unsqueeze(-1) * values).sum(1))
        if coarse is not None:
            return
        share = torch.einsum("an,ajn->aj", mass, resp)
        self.share.index_put_((level.unsqueeze(-1), near), share, accumulate=True)
        finite = torch.isfinite(self.snr[level])
        level, mass = level[finite], mass[finite].unsqueeze(1)
        for name, law in self.laws.items():
            if name == "isotropic_x":
                trace = summary.diagonal[finite].sum(1) + self.beside[level].sum(-1, keepdim=True)
                law.add(level, self.dim * mass, trace.unsqueeze(1) / self.dim)
            else:
                law.add(level, mass, getattr(summary, name)[finite])

    def _posterior(
        self, level: Tensor, near: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Responsibilities and component means at points u (n, d) of A components near[:, 0].

        Returns:
            label entropy (A, n), variances V_j as matrices (A, J, d, d) or as diagonals (A, J, d),
            deviations μ_j − μ̄ (A, J, d, n), responsibilities (A, J, n).
        """
        gamma = self.snr[level][:, None, None]
        noise = 1 / gamma  # (A, 1, 1)
        prior = _pick(self.mixture.spectral, near)
        marginal = prior.map(lambda v: v + noise)  # (A, J, ·)
        own = _first(marginal)
        step = own.apply_columns(torch.sqrt, u.mT[None, None])  # (A, 1, d, n)
        means = self.mixture.means[near]
        offset = (means[:, :1] - means)[..., None]  # m_k − m_j, (A, J, d, 1)
        joint = (self.mixture.logits[near] - 0.5 * marginal.log_det()).unsqueeze(
            -1
        ) - 0.5 * marginal.mahalanobis_columns(offset + step)
        log_resp = torch.log_softmax(joint, 1)
        resp = log_resp.exp()
        entropy = -(resp * log_resp.clamp(min=-800.0)).sum(1)  # r is 0 below e^-745
        mean = _means(prior, noise, step, offset)
        deviation = mean - (mean * resp.unsqueeze(2)).sum(1, keepdim=True)
        posterior = prior.map(lambda v: 1 / (1 / v + gamma))
        aligned = posterior.basis is None or posterior.is_isotropic
        within = posterior.diagonals() if aligned else posterior.matrices()
        return entropy, within, deviation, resp

    def finish(self) -> Moments:
        """The averages."""
        finite = torch.isfinite(self.snr)
        level, share = self.everywhere[finite], self.share[finite]
        gamma = self.snr[finite][:, None, None]
        posterior = self.mixture.spectral.map(lambda v: 1 / (1 / v + gamma))
        known, counts = posterior.spectrum()
        alone = known.flatten(1), (share.unsqueeze(-1) * counts).flatten(1)
        beside = self.beside[finite], share.sum(-1, keepdim=True).expand_as(self.beside[finite])
        together = [torch.cat(pair, -1) for pair in zip(alone, beside, strict=True)]
        for name, law in self.laws.items():
            # `diagonal` and `full` have the coordinates beside as with a known label: they cancel
            values, mass = together if name == "isotropic_x" else alone
            mass = mass * (law.total(level) / mass.sum(-1)).unsqueeze(-1)  # cancels to rounding
            law.add(level, -mass.unsqueeze(-1), values.unsqueeze(-1))
        weights = {name: law.weights().unsqueeze(0) for name, law in self.laws.items()}
        between, label_entropy, excess = self.scalars.mT.unsqueeze(1)
        return Moments(
            self.snr,
            between,
            label_entropy,
            excess,
            {name: weights.get(name, weights["full"]) for name in SPECTRA},
            self.grid,
            self.error,
        )


def _log_variances(mixture: GaussianMixture, snr: Tensor, shared: Tensor) -> Tensor:
    """Grid in log v that covers every variance of x_0 given x_t at the levels ``snr``.

    Component means μ_j at one point are no further apart than the m_j and, where covariances
    differ, as far as the point is from its own component, in units of the widest.
    """
    floor = torch.cat([mixture.spectral.smallest(), shared]).min()
    largest = torch.cat([mixture.spectral.largest(), shared]).max()
    spread = 2 * (mixture.means - mixture.means[:1]).norm(dim=-1).max()
    reach = REACH + math.sqrt(mixture.dim)
    top = torch.where(torch.isfinite(snr), snr, 0.0).max()
    return log_grid(floor / (1 + top * floor), largest + (spread + reach * largest.sqrt()).square())


def _means(prior: SpectralCovariance, noise: Tensor, step: Tensor, offset: Tensor) -> Tensor:
    """μ_j up to a term that all j share, (A, J, d, n), at y = m_k + ``step``, k the first.

    With H = I − S C⁻¹ = C⁻¹/γ, μ_j − μ_k = (H_k − H_j) step − H_j (m_k − m_j), and
    H_k − H_j = γ H_j (S_j − S_k) H_k: nothing cancels, neither for γS → 0 nor for γS → ∞.
    """
    own = _first(prior)
    pull = own.map(lambda v: 1 / (v + noise)).apply_columns(_same, step)
    shrink = prior.map(lambda v: 1 / (1 + v / noise))
    if prior.basis is not None and prior.dim == 2:  # planes that are added beat 2 × 2 products
        matrices, factor = prior.matrices(), shrink.matrices()
        turned = factor @ (matrices - matrices[:, :1])
        mean = turned[..., :1] * pull[:, :, :1] - factor @ offset
        return mean.addcmul_(turned[..., 1:], pull[:, :, 1:])
    change = prior.apply_columns(_same, pull) - own.apply_columns(_same, pull)
    return shrink.apply_columns(_same, change - offset)


def _same(v: Tensor) -> Tensor:
    return v


def _pick(spectral: SpectralCovariance, index: Tensor) -> SpectralCovariance:
    """Components index (A, J) of unbatched covariances."""
    basis = None if spectral.basis is None else spectral.basis[index]
    return SpectralCovariance(
        basis, spectral.eigenvalues[index], spectral.residual[index], spectral.dim
    )


def _first(spectral: SpectralCovariance) -> SpectralCovariance:
    """The first component of each batch element."""
    basis = None if spectral.basis is None else spectral.basis[:, :1]
    return SpectralCovariance(
        basis, spectral.eigenvalues[:, :1], spectral.residual[:, :1], spectral.dim
    )
