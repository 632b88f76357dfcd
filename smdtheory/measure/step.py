r"""One backward step of the truth and of a denoiser side by side, and averages over it.

M by sampling, with ρ = p/q, is (docs/theory.md §9.1)

    E_q[−log ρ + (ρ − 1) 1{ρ <= e}] + P_p(ρ > e) − P_q(ρ > e),

because ρ − 1 has mean 0 under q and E_q[ρ 1{ρ > e}] = P_p(ρ > e). Where p is close to q this is
the mean of ρ − 1 − log ρ, whose terms are small and not negative; and where p reaches far beyond q
no term is heavy-tailed, since what q never visits is counted by draws of p.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.models.denoiser import Denoiser, model_law
from smdtheory.truth import rules
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.moments import sampled
from smdtheory.truth.posterior import marginal_at, posterior_at

MAX_LOG_RATIO = 1.0
"""Draws of q with log p/q above this are counted by draws of p instead."""

PANEL_NODES = (5, 8)
"""Gauss–Legendre nodes on a panel, d = 1: what the second adds is the error."""

LATTICE_STEPS = (0.56, 0.4, 0.28, 0.2, 0.14)
"""Of the lattices, d = 2, in std: finer until two of them agree."""

TOLERANCE = 1e-7
"""Relative change between rules at which the finer one is accepted."""

NESTED_ELEMENTS = 2**22
"""Pairs (x_t, x_s) times components in one block of nested quadrature."""


class Step:
    """One backward step of q and of p."""

    def __init__(
        self, mixture: GaussianMixture, denoiser: Denoiser, snr_t: Tensor, snr_s: Tensor
    ) -> None:
        self.mixture, self.dim = mixture.to("cpu", torch.float64), mixture.dim
        self.denoiser, self.snr_t, self.snr_s = denoiser, snr_t, snr_s
        self.q_t = marginal_at(self.mixture, snr_t)

    def truth(self, x_t: Tensor) -> GaussianMixture:
        """q(x_s | x_t) at points x_t (*B, d)."""
        return posterior_at(self.mixture, x_t, self.snr_t, self.snr_s)

    def model(self, x_t: Tensor) -> GaussianMixture:
        """p(x_s | x_t) at points x_t (*B, d)."""
        return model_law(self.denoiser, x_t, self.snr_t, self.snr_s).to("cpu", torch.float64)

    def sampled(self, count: int, seed: int) -> Estimate:
        """M from ``count`` scrambled Sobol draws of (x_s, x_t) for each replicate."""
        draws = rules.sobol_normals(2 * self.dim + 1, count, seed)
        u = draws.reshape(-1, draws.shape[-1])
        generator = torch.Generator().manual_seed(seed)
        terms = kl_terms(self.mixture, self.denoiser, self.snr_t, self.snr_s, u, generator)
        return Estimate.from_replicates(terms.reshape(len(draws), -1).mean(-1))

    def divergence(self, x_t: Tensor, level: int) -> Tensor:
        """KL(q(·|x_t) ‖ p(·|x_t)) at each x_t (N, d), by a rule in x_s of fineness ``level``."""
        K, d = self.mixture.num_components, self.mixture.dim
        values = []
        rows = NESTED_ELEMENTS // (_size(d, level) * K * K)
        for block in torch.split(x_t, max(1, rows)):
            truth, model = self.truth(block), self.model(block)
            total = torch.zeros(len(block), dtype=torch.float64)
            for k in range(K):
                u, weight = _rule_of(truth, k, level)  # (n, N or 1, d) and (n, N or 1)
                one = truth.component(k)
                step = one.spectral.apply(torch.sqrt, u.unsqueeze(-2)).squeeze(-2)
                x_s = one.means.squeeze(-2) + step
                gap = truth.log_prob(x_s) - model.log_prob(x_s)
                total = total + truth.weights[:, k] * (weight * gap).sum(0)
            values.append(total)
        return torch.cat(values)

    def covariance_misfit(self, x_t: Tensor, level: int = 0) -> Tensor:
        """½ [tr(Σ_p⁻¹ Σ_q) − d + log det Σ_p − log det Σ_q] at each x_t (N, d)."""
        truth, model = self._gaussians(x_t)
        matrix = truth.covariance_matrix
        columns = model.spectral.apply(torch.reciprocal, matrix.mT)
        ratio = columns.diagonal(dim1=-2, dim2=-1).sum(-1)
        log_det: Tensor = model.spectral.log_det().squeeze(-1) - torch.logdet(matrix)
        return 0.5 * (ratio - self.mixture.dim + log_det)

    def mean_error(self, x_t: Tensor, level: int = 0) -> Tensor:
        """½ (μ_q − μ_p)ᵀ Σ_p⁻¹ (μ_q − μ_p) at each x_t (N, d)."""
        truth, model = self._gaussians(x_t)
        gap = truth.mean.unsqueeze(-2) - model.means
        square: Tensor = model.spectral.mahalanobis(gap).squeeze(-1)
        return 0.5 * square

    def _gaussians(self, x_t: Tensor) -> tuple[GaussianMixture, GaussianMixture]:
        truth, model = self.truth(x_t), self.model(x_t)
        if model.num_components != 1:
            raise ValueError(
                "the split is for Gaussian denoisers, with one component; received "
                f"{model.num_components} components. Use local_error."
            )
        return truth, model


def kl_terms(
    mixture: GaussianMixture,
    denoiser: Denoiser,
    snr_t: Tensor,
    snr_s: Tensor,
    u: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Terms (n,) whose mean is M, from a draw (x_s, x_t) of q and one of p for each row.

    Args:
        mixture: q(x_0), float64 on the CPU.
        denoiser: p(x_s | x_t).
        snr_t: γ_t, a scalar or one for each row.
        snr_s: γ_s, likewise.
        u: normals (n, 2d + 1) that (x_s, x_t) are made of.
        generator: source of the draws of p, on the CPU.
    """
    d, whole = mixture.dim, len(u)
    x_s = _transport(mixture, u[:, 0], u[:, 1 : 1 + d], snr_s)
    slope, noise = (v.unsqueeze(-1) for v in _forward(snr_t, snr_s))
    x_t = slope * x_s + noise * u[:, 1 + d :]
    size = max(1, NESTED_ELEMENTS // (mixture.num_components * d))
    found = []
    for block in range(0, whole, size):
        rows = slice(block, block + size)
        levels = [snr if snr.ndim == 0 else snr[rows] for snr in (snr_t, snr_s)]
        truth = posterior_at(mixture, x_t[rows], *levels)
        model = model_law(denoiser, x_t[rows], *levels).to("cpu", torch.float64)
        log_ratio = model.log_prob(x_s[rows]) - truth.log_prob(x_s[rows])
        near = log_ratio <= MAX_LOG_RATIO
        surplus = torch.where(near, torch.expm1(log_ratio.clamp(max=MAX_LOG_RATIO)), -1.0)
        x_p = model.sample(generator=generator)
        beyond = model.log_prob(x_p) - truth.log_prob(x_p) > MAX_LOG_RATIO
        found.append(surplus - log_ratio + beyond.double())
    return torch.cat(found)


def _transport(
    mixture: GaussianMixture, label: Tensor, u: Tensor, snr: Tensor | None = None
) -> Tensor:
    """Points from a normal score for the component (n,) and normals (n, d).

    They are of the mixture, or of its marginal at γ, a scalar or one for each point.
    """
    edges = torch.cumsum(mixture.weights, 0)[:-1]
    index = torch.searchsorted(edges, torch.special.ndtr(label))
    x = torch.empty_like(u)
    for k in range(mixture.num_components):
        rows = index == k
        one = mixture.component(k)
        if snr is not None:
            one = marginal_at(one, snr if snr.ndim == 0 else snr[rows])
        step = one.spectral.apply(torch.sqrt, u[rows].unsqueeze(-2))
        x[rows] = (one.means + step).squeeze(-2)
    return x


def _forward(snr_t: Tensor, snr_s: Tensor) -> tuple[Tensor, Tensor]:
    """√α_{t|s} and √β_{t|s} of x_t = √α x_s + √β ε."""
    removed = torch.where(torch.isinf(snr_s), 1.0, (snr_s - snr_t) / snr_s)
    beta = removed / (1 + snr_t)
    alpha = snr_t / (1 + snr_t) * (1 + 1 / snr_s)
    return alpha.sqrt(), beta.sqrt()


def _rule_of(q: GaussianMixture, k: int, level: int) -> tuple[Tensor, Tensor]:
    """Points u (n, *B, d) and weights (n, *B) for component k of laws q, d <= 2.

    In units of the component: in d = 1 graded around every narrower one, in d = 2 a lattice that
    all laws share. The finer the higher ``level`` is.
    """
    if q.dim == 2:
        u, weight = rules.lattice(LATTICE_STEPS[level])
        shape = (len(u), *(1 for _ in q.batch_shape))
        return u.reshape(*shape, 2), weight.reshape(shape)
    std = q.spectral.diagonals()[..., 0].sqrt().expand(*q.batch_shape, q.num_components)
    own, centre = std[..., k : k + 1], q.means[..., k : k + 1, 0]
    edges = rules.graded_rows(
        ((q.means[..., 0] - centre) / own).reshape(-1, q.num_components),
        (std / own).reshape(-1, q.num_components),
    )
    u, weight = rules.panel_nodes(edges, PANEL_NODES[level])
    u = u.mT.reshape(-1, *q.batch_shape, 1)
    return u, rules.normal_weights(u, weight.mT.reshape(u.shape[:-1]))


def _size(dim: int, level: int) -> int:
    """About how many points such a rule has."""
    return len(rules.lattice(LATTICE_STEPS[level])[0]) if dim == 2 else 1000


def expectation(
    q_t: GaussianMixture,
    function: Callable[[Tensor, int], Tensor],
    *,
    count: int = 1024,
    seed: int = 0,
) -> Estimate:
    """E f(x_t): by Sobol draws where :func:`sampled` says so, else by rules ever finer."""
    if sampled(q_t):
        draws = rules.sobol_normals(q_t.dim + 1, count, seed)
        points = [_transport(q_t, u[:, 0], u[:, 1:]) for u in draws]
        return Estimate.from_replicates(torch.stack([function(x, 0).mean() for x in points]))
    levels = len(PANEL_NODES) if q_t.dim == 1 else len(LATTICE_STEPS)
    previous = change = error = torch.full((), torch.inf, dtype=torch.float64)
    for level in range(levels):
        total = torch.zeros((), dtype=torch.float64)
        for k in range(q_t.num_components):
            u, weight = _rule_of(q_t, k, level)
            one = q_t.component(k)
            x = one.means + one.spectral.apply(torch.sqrt, u.unsqueeze(-2)).squeeze(-2)
            total = total + q_t.weights[k] * (weight * function(x, level)).sum()
        before, change, previous = change, (total - previous).abs(), total
        size = total.abs()
        error = rules.lattice_error(change, before, size) if q_t.dim == 2 else change
        if float(error) <= TOLERANCE * float(size):
            break
    return Estimate(previous, error + ROUNDING * (1 + previous.abs()), "quadrature")
