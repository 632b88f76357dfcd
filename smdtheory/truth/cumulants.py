r"""Averages over x_t of the second and third cumulants of x_0 given x_t (docs/theory.md §11.1).

Of the mixture q(x_0 | x_t) both are known in closed form: with r_k, μ_k and V_k its weights, means
and covariances and δ_k = μ_k − μ̄,

    C = Σ_k r_k (V_k + δ_k δ_kᵀ),    κ₃ = Σ_k r_k (δ_k ⊗ δ_k ⊗ δ_k + the three of V_k ⊗ δ_k).
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.table import Table

AVERAGES = 6
"""Averages over x_t, in the order of :class:`CumulantTable`."""


class CumulantTable(Table):
    """Running sums of six averages over x_t, filled as those of :class:`Table` are.

    With A = γ Cov(x_0|x_t) and a its trace less the average trace that a known label would leave:
    E a, E a², E‖A − (tr A/d) I‖², E Σ_{i≠j} A_ij², γ³ E‖κ₃‖², E‖A − ᾱ I‖². Each is a mean of
    squares (but the first): nothing cancels.

    Args:
        mixture: q(x_0), in the coordinates in which its components differ.
        snr: γ, (L,), finite.
        shared: variances of the other coordinates.
        third: whether κ₃ is wanted; its sum stays 0 otherwise.
    """

    tolerance = 1e-5  # leading terms are estimates; they turn out right to 1e-7

    def __init__(self, mixture: GaussianMixture, snr: Tensor, shared: Tensor, third: bool) -> None:
        super().__init__(mixture, snr, shared)
        self.third = third
        self.laws = {}
        self.scalars = torch.zeros(len(snr), AVERAGES, dtype=torch.float64)
        self.known, self.growth = within_trace(mixture, snr), growth_of(mixture, snr, shared)

    def scale(self) -> Tensor:
        """Factors (L, 6) that keep the averages of order 1 as γ → ∞, where A − I = −1/(γλ)."""
        powers = torch.tensor([1, 2, 2, 2, 3, 2], dtype=torch.float64)
        return self.growth.unsqueeze(-1) ** powers

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
        _, within, deviation, resp = self._posterior(level, near, u)
        gamma = self.snr[level].unsqueeze(-1)
        beside = self.beside[level].unsqueeze(-1)  # (A, m, 1)
        diagonal = within if within.ndim == 3 else within.diagonal(dim1=-2, dim2=-1)
        between, variances, off, third = _cumulants(within, deviation, resp, self.third)
        known = diagonal.sum(-1) - self.known[level].unsqueeze(-1)
        trace = gamma * (between + torch.einsum("aj,ajn->an", known, resp))
        every = gamma.unsqueeze(1) * torch.cat(
            [variances, beside.expand(-1, -1, variances.shape[-1])], 1
        )
        off = gamma.square() * off
        signal = (gamma / (1 + gamma)).unsqueeze(1)
        mean = every.sum(1, keepdim=True) / self.dim
        values = [
            trace,
            trace.square(),
            (every - mean).square().sum(1) + off,
            off,
            gamma**3 * third,
            (every - signal).square().sum(1) + off,
        ]
        target = self.scalars if coarse is None else coarse
        target.index_add_(0, level, (mass.unsqueeze(-1) * torch.stack(values, -1)).sum(1))


def within_trace(mixture: GaussianMixture, snr: Tensor) -> Tensor:
    """Σ_k w_k tr V_k, (L,)."""
    values, counts = mixture.spectral.spectrum()
    values = 1 / (1 / values + snr[:, None, None])
    return ((values * counts).sum(-1) * mixture.weights).sum(-1)


def growth_of(mixture: GaussianMixture, snr: Tensor, shared: Tensor) -> Tensor:
    """1 + γλ, λ the smallest eigenvalue, (L,)."""
    return 1 + snr * torch.cat([mixture.spectral.smallest(), shared]).min()


def _cumulants(
    within: Tensor, deviation: Tensor, resp: Tensor, third: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the posterior mixture at each point, from V_j, δ_j and r_j as in :class:`Table`.

    Returns:
        the trace of the part between components (A, n), variances (A, d, n), the sum of squared
        covariances off the diagonal (A, n), ‖κ₃‖² (A, n).
    """
    dim = deviation.shape[2]
    parts = deviation.unbind(2)
    pulls = [resp * part for part in parts]
    # Σ_j r_j δ_j = 0, so that V_j may be replaced by V_j − V_0: with equal V_j nothing is left
    change = within - within[:, :1]
    skewed = third and bool((change != 0).any())
    inside = _mixed(within, resp)
    moved = [_mixed(change, pull) for pull in pulls] if skewed else []
    between, off, total = (torch.zeros_like(resp[:, 0]) for _ in range(3))
    variances = []
    for i in range(dim):
        for j in range(i, dim):
            pair = pulls[i] * parts[j]
            spread = pair.sum(1)
            entry = spread + inside.get((i, j), 0.0)
            if i == j:
                between = between + spread
                variances.append(entry)
            else:
                off = off + 2 * entry.square()
            for k in range(j, dim) if third else ():
                term = (pair * parts[k]).sum(1)
                if skewed:
                    for a, b, c in ((i, j, k), (i, k, j), (j, k, i)):
                        term = term + moved[c].get((a, b), 0.0)
                total = total + _orders(i, j, k) * term.square()
    return between, torch.stack(variances, 1), off, total


def _mixed(matrices: Tensor, columns: Tensor) -> dict[tuple[int, int], Tensor]:
    """Σ_m matrices[:, m, i, j] columns[:, m], (A, n), i <= j; diagonal matrices as (A, J, d)."""
    dim, diagonal = matrices.shape[2], matrices.ndim == 3
    places = [(i, j) for i in range(dim) for j in range(i, dim) if i == j or not diagonal]
    entries = matrices if diagonal else torch.stack([matrices[..., i, j] for i, j in places], -1)
    return dict(zip(places, torch.einsum("amp,amn->pan", entries, columns), strict=True))


def _orders(i: int, j: int, k: int) -> int:
    """In how many orders three sorted indices can be written."""
    return {1: 1, 2: 3, 3: 6}[len({i, j, k})]
