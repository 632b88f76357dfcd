"""One form for isotropic, diagonal, full and low-rank-plus-isotropic covariances.

S_k = U_k diag(λ_k) U_kᵀ + ρ_k (I − U_k U_kᵀ), U_k of shape (d, r). A noise level only moves the
eigenvalues, a S_k + b I has a λ_k + b and a ρ_k + b in the same basis: one eigendecomposition
serves the whole chain, and nothing ever costs d² when r is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SpectralCovariance:
    """Covariances of K components, with batch dimensions ``*B`` that broadcast.

    Attributes:
        basis: orthonormal columns (*B, K, d, r), or None for the coordinate axes (then r = d).
        eigenvalues: (*B, K, r), the variances along the basis.
        residual: (*B, K), the variance on the orthogonal complement; unused when r = d.
        dim: d.
    """

    basis: Tensor | None
    eigenvalues: Tensor
    residual: Tensor
    dim: int

    @staticmethod
    def isotropic(variances: Tensor, dim: int) -> SpectralCovariance:
        """variances (*B, K) times the identity."""
        empty = variances.new_zeros(*variances.shape, 0)
        basis = variances.new_zeros(variances.shape[-1], dim, 0)
        return SpectralCovariance(basis, empty, variances, dim)

    @staticmethod
    def diagonal(variances: Tensor) -> SpectralCovariance:
        """variances (*B, K, d) along the coordinate axes."""
        return SpectralCovariance(
            None, variances, variances.new_zeros(variances.shape[:-1]), variances.shape[-1]
        )

    @staticmethod
    def dense(matrices: Tensor) -> SpectralCovariance:
        """Symmetric positive definite matrices (*B, K, d, d)."""
        if matrices.shape[-1] == 1:
            return SpectralCovariance.diagonal(matrices[..., 0])
        eigenvalues, basis = torch.linalg.eigh(matrices)
        zero = eigenvalues.new_zeros(eigenvalues.shape[:-1])
        return SpectralCovariance(basis, eigenvalues, zero, matrices.shape[-1])

    @property
    def rank(self) -> int:
        """r, the number of explicit eigenvalues."""
        return self.eigenvalues.shape[-1]

    @property
    def has_complement(self) -> bool:
        """Whether r < d, so that ``residual`` counts."""
        return self.rank < self.dim

    @property
    def is_isotropic(self) -> bool:
        """Whether r = 0: each covariance is a multiple of the identity."""
        return self.rank == 0

    def map(self, function: Callable[[Tensor], Tensor]) -> SpectralCovariance:
        """f(S_k): the same basis, ``function`` applied to every eigenvalue (*B, K, ·)."""
        residual = function(self.residual.unsqueeze(-1)).squeeze(-1)
        return SpectralCovariance(self.basis, function(self.eigenvalues), residual, self.dim)

    def sum(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """tr f(S_k), shape (*B, K)."""
        total = function(self.eigenvalues).sum(-1)
        if self.has_complement:
            total = total + (self.dim - self.rank) * function(self.residual)
        return total

    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (*B, K, m) and how often each occurs (m,): a residual occurs d − r times."""
        counts = self.eigenvalues.new_ones(self.rank)
        if not self.has_complement:
            return self.eigenvalues, counts
        values = torch.cat([self.eigenvalues, self.residual.unsqueeze(-1)], -1)
        return values, torch.cat([counts, counts.new_tensor([self.dim - self.rank])])

    def log_det(self) -> Tensor:
        """log det S_k, shape (*B, K)."""
        return self.sum(torch.log)

    def trace(self) -> Tensor:
        """tr S_k, shape (*B, K)."""
        return self.sum(lambda v: v)

    def smallest(self) -> Tensor:
        """The smallest eigenvalue of each S_k, shape (*B, K)."""
        return self._extreme(torch.amin, torch.minimum)

    def largest(self) -> Tensor:
        """The largest eigenvalue of each S_k, shape (*B, K)."""
        return self._extreme(torch.amax, torch.maximum)

    def _extreme(
        self, within: Callable[..., Tensor], between: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        if self.is_isotropic:
            return self.residual
        value = within(self.eigenvalues, dim=-1)
        return between(value, self.residual) if self.has_complement else value

    def project(self, vectors: Tensor) -> Tensor:
        """Coordinates Uᵀx of vectors (..., K, d) in each component's basis: (..., K, r)."""
        if self.basis is None:
            return vectors
        return torch.einsum("...kd,...kdr->...kr", vectors, self.basis)

    def _lift(self, coordinates: Tensor) -> Tensor:
        if self.basis is None:
            return coordinates
        return torch.einsum("...kr,...kdr->...kd", coordinates, self.basis)

    def apply(self, function: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        """f(S_k) x for vectors (..., K, d), without forming a matrix.

        ``function`` receives eigenvalues (*B, K, ·), as in :meth:`map`, and may add dimensions.
        """
        if self.is_isotropic:
            return function(self.residual.unsqueeze(-1)) * vectors
        along = self.project(vectors)
        image = self._lift(function(self.eigenvalues) * along)
        if self.has_complement:
            across = vectors - self._lift(along)
            image = image + function(self.residual.unsqueeze(-1)) * across
        return image

    def mahalanobis(self, vectors: Tensor) -> Tensor:
        """xᵀ S_k⁻¹ x for vectors (..., K, d), shape (..., K)."""
        if self.is_isotropic:
            return vectors.square().sum(-1) / self.residual
        along = self.project(vectors)
        value = (along.square() / self.eigenvalues).sum(-1)
        if self.has_complement:
            value = value + (vectors - self._lift(along)).square().sum(-1) / self.residual
        return value

    def diagonals(self) -> Tensor:
        """The diagonal of each S_k, shape (*B, K, d)."""
        if self.basis is None:
            return self.eigenvalues
        if not self.has_complement:
            return torch.einsum("...kdr,...kr->...kd", self.basis.square(), self.eigenvalues)
        excess = self.eigenvalues - self.residual.unsqueeze(-1)
        along = torch.einsum("...kdr,...kr->...kd", self.basis.square(), excess)
        return along + self.residual.unsqueeze(-1)

    def matrices(self) -> Tensor:
        """Each S_k as a matrix, shape (*B, K, d, d)."""
        if self.basis is None:
            return torch.diag_embed(self.eigenvalues)
        if not self.has_complement:
            return torch.einsum(
                "...kir,...kr,...kjr->...kij", self.basis, self.eigenvalues, self.basis
            )
        excess = self.eigenvalues - self.residual.unsqueeze(-1)
        low = torch.einsum("...kir,...kr,...kjr->...kij", self.basis, excess, self.basis)
        eye = torch.eye(self.dim, dtype=low.dtype, device=low.device)
        return low + self.residual[..., None, None] * eye

    def mahalanobis_columns(self, columns: Tensor) -> Tensor:
        """:meth:`mahalanobis` for columns (*B, K, d, n), shape (*B, K, n).

        The long dimension comes last, so that every operation runs along contiguous memory: one
        matrix product per component, which is what density evaluations spend their time on.
        """
        if self.is_isotropic:
            return _sum_squares(columns) / self.residual.unsqueeze(-1)
        if self.basis is None:
            return torch.einsum("...kdn,...kd->...kn", columns.square(), 1 / self.eigenvalues)
        whitener = (self.basis * self.eigenvalues.rsqrt().unsqueeze(-2)).mT
        value = _sum_squares(whitener @ columns)
        if self.has_complement:
            across = columns - self.basis @ (self.basis.mT @ columns)
            value = value + _sum_squares(across) / self.residual.unsqueeze(-1)
        return value

    def apply_columns(self, function: Callable[[Tensor], Tensor], columns: Tensor) -> Tensor:
        """:meth:`apply` for columns (*B, K, d, n)."""
        if self.is_isotropic:
            return function(self.residual.unsqueeze(-1)).unsqueeze(-1) * columns
        if self.basis is None:
            return function(self.eigenvalues).unsqueeze(-1) * columns
        along = self.basis.mT @ columns
        image = self.basis @ (function(self.eigenvalues).unsqueeze(-1) * along)
        if self.has_complement:
            across = columns - self.basis @ along
            image = image + function(self.residual.unsqueeze(-1)).unsqueeze(-1) * across
        return image

    def select(self, keep: Tensor) -> SpectralCovariance:
        """The components ``keep`` (indices or mask over K) of unbatched covariances."""
        basis = None if self.basis is None else self.basis[keep]
        return SpectralCovariance(basis, self.eigenvalues[keep], self.residual[keep], self.dim)

    def to(self, *args: object, **kwargs: object) -> SpectralCovariance:
        """Move or convert every tensor, as ``torch.Tensor.to`` does."""
        basis = None if self.basis is None else self.basis.to(*args, **kwargs)  # type: ignore[call-overload]
        return SpectralCovariance(
            basis,
            self.eigenvalues.to(*args, **kwargs),  # type: ignore[call-overload]
            self.residual.to(*args, **kwargs),  # type: ignore[call-overload]
            self.dim,
        )


def _sum_squares(columns: Tensor) -> Tensor:
    """Sum of squares over the second to last dimension: two planes added beat a reduction."""
    if columns.shape[-2] == 2:
        first, second = columns.unbind(-2)
        return torch.addcmul(first.square(), second, second)
    return columns.square().sum(-2)
