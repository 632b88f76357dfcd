r"""log Σ_k exp(c_k − ½ (x − m_k)ᵀ S_k⁻¹ (x − m_k)) at many points, in blocks of little memory.

Differences x − m_k are taken first, so that a narrow component far from the origin costs no digit.
Where all points lie near the mixture, whitening first loses next to nothing, and is a single matrix
product for all components.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from smdtheory.checks import extremes
from smdtheory.truth.spectral import SpectralCovariance

BLOCK_ELEMENTS = 2**16
"""Numbers per working block (512 KiB in float64): a few of them fit the second-level cache."""

NEAR = 64.0
"""Where x and m_k lie within half as many of the smallest std from 0, x is whitened before m_k is
subtracted: that costs no more than six bits of the distance."""


def log_density(
    constant: Tensor, means: Tensor, spectral: SpectralCovariance, points: Tensor
) -> Tensor:
    """The density of an unbatched mixture.

    Args:
        constant: c_k, (K,): logarithms of the weights and of the normalisations.
        means: m_k, (K, d).
        spectral: S_k.
        points: x, (n, d).

    Returns:
        Shape (n,).

    Example:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> unit = SpectralCovariance.isotropic(one, 1)
        >>> log_density(0 * one, torch.zeros(1, 1).double(), unit, torch.full((1, 1), 2.0).double())
        tensor([-2.], dtype=torch.float64)
    """
    if len(points) == 0:
        return points.new_zeros(0)
    size = max(256, 2 * BLOCK_ELEMENTS // means.numel())
    block_density = _near(constant, means, spectral, points, size)
    if block_density is None:
        block_density = _anywhere(constant, means, spectral)
    return torch.cat([block_density(block) for block in torch.split(points, size)])


BlockDensity = Callable[[Tensor], Tensor]


def _anywhere(constant: Tensor, means: Tensor, spectral: SpectralCovariance) -> BlockDensity:
    """From the differences x − m_k."""

    def density(block: Tensor) -> Tensor:
        columns = block.mT.contiguous() - means.unsqueeze(-1)
        joint = constant.unsqueeze(-1) - 0.5 * spectral.mahalanobis_columns(columns)
        return torch.logsumexp(joint, 0)

    return density


def _near(
    constant: Tensor, means: Tensor, spectral: SpectralCovariance, points: Tensor, size: int
) -> BlockDensity | None:
    """From whitened points, if the covariances are full and the points near enough."""
    if spectral.basis is None or spectral.has_complement:
        return None
    components, dim = means.shape
    centre = means.mean(0)
    largest = max(abs(v) for part in (points, means) for v in extremes(part))
    if 2 * math.sqrt(dim) * largest > NEAR * math.sqrt(float(spectral.eigenvalues.detach().min())):
        return None
    whitener = (math.sqrt(0.5) * spectral.eigenvalues.rsqrt()).unsqueeze(-1) * spectral.basis.mT
    shift = whitener @ (centre - means).unsqueeze(-1)
    rows = torch.cat([whitener, shift], -1)  # for points with a further coordinate 1
    shape = components, dim, -1
    if dim == 2:  # two planes that are apart add up faster
        rows, shape = rows.transpose(0, 1), (dim, components, -1)
    rows = rows.reshape(-1, dim + 1)
    tracked = any(part.requires_grad for part in (constant, rows, points))
    memory = None  # one piece of memory for all blocks, where no gradient asks for each
    if not (tracked and torch.is_grad_enabled()):
        memory = rows.new_empty(len(rows) * min(size, len(points)))

    def density(block: Tensor) -> Tensor:
        out = None if memory is None else memory[: len(rows) * len(block)].view(len(rows), -1)
        product = torch.mm(rows, pad(block - centre, (0, 1), value=1.0).mT, out=out)
        planes = product.view(shape).square_()
        half = planes[0].add_(planes[1]) if dim == 2 else planes.sum(1)
        joint = half.neg_().add_(constant.unsqueeze(-1))
        top = joint.detach().amax(0)  # it cancels: no gradient passes
        return joint.sub_(top).exp_().sum(0).log_().add_(top)

    return density
