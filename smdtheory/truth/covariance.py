r"""Cov(x_0 | x_t) = Σ_k r_k V_k + Σ_k r_k (μ_k − μ̄)(μ_k − μ̄)ᵀ at many points (docs/theory.md §3.3).

What the families need of it: its diagonal, its eigenvalues, its squared Frobenius norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Summary:
    """At each of n points of A batches.

    Attributes:
        between: (A, n), the trace of the part between components.
        square: (A, n), the squared Frobenius norm.
        diagonal: (A, d, n), the diagonal.
        full: (A, d, n), the eigenvalues.
    """

    between: Tensor
    square: Tensor
    diagonal: Tensor
    full: Tensor


def covariance_summary(within: Tensor, deviation: Tensor, resp: Tensor) -> Summary:
    """Summarise the posterior covariance.

    Args:
        within: V_k as matrices (A, K, d, d) or as diagonals (A, K, d).
        deviation: μ_k − μ̄, (A, K, d, n).
        resp: r_k, (A, K, n).
    """
    return (_small if deviation.shape[2] <= 2 else _general)(within, deviation, resp)


def _small(within: Tensor, deviation: Tensor, resp: Tensor) -> Summary:
    """d <= 2: variances in closed form, each a sum of terms that are not negative."""
    if deviation.shape[2] == 1:
        values = within.flatten(2)  # (A, K, 1)
        variance = (resp * (values + deviation[:, :, 0].square())).sum(1)
        between = (resp * deviation[:, :, 0].square()).sum(1)
        stacked = variance.unsqueeze(1)
        return Summary(between, variance.square(), stacked, stacked)
    if within.ndim == 3:
        wa, wb = torch.einsum("aki,akn->ian", within, resp)
        wc = torch.zeros_like(wa)
    else:
        wa, wb, wc = torch.einsum(
            "aki,akn->ian",
            torch.stack([within[..., 0, 0], within[..., 1, 1], within[..., 0, 1]], -1),
            resp,
        )
    dx, dy = deviation[:, :, 0], deviation[:, :, 1]
    rx, ry = resp * dx, resp * dy
    ba, bb, bc = (rx * dx).sum(1), (ry * dy).sum(1), (rx * dy).sum(1)
    # det of the between part as pivot times residual variance: relative accuracy when nearly rank 1
    tall = bb > ba
    pivot = torch.where(tall, bb, ba)
    slope = bc / torch.where(pivot > 0, pivot, 1.0)
    first = torch.where(tall.unsqueeze(1), dy, dx)
    second = torch.where(tall.unsqueeze(1), dx, dy)
    rest = (resp * (second - slope.unsqueeze(1) * first).square()).sum(1)
    det = (wa * wb - wc.square()) + pivot * rest + wa * bb + wb * ba - 2 * wc * bc
    a, b, c = wa + ba, wb + bb, wc + bc
    trace = a + b
    large = trace / 2 + torch.sqrt(((a - b) / 2).square() + c.square())
    square = a.square() + b.square() + 2 * c.square()
    both = torch.stack([large, det / large], 1)
    return Summary(ba + bb, square, torch.stack([a, b], 1), both)


def _general(within: Tensor, deviation: Tensor, resp: Tensor) -> Summary:
    """Any d: the matrix at every point, and its eigenvalues."""
    weighted = deviation * resp.sqrt().unsqueeze(2)
    matrix = torch.einsum("akin,akjn->anij", weighted, weighted)
    between = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    if within.ndim == 3:
        matrix = matrix + torch.diag_embed(torch.einsum("aki,akn->ani", within, resp))
    else:
        matrix = matrix + torch.einsum("akij,akn->anij", within, resp)
    full = torch.linalg.eigvalsh(matrix)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    return Summary(between, matrix.square().sum((-2, -1)), diagonal.mT, full.mT)
