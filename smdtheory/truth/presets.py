"""Mixtures worth looking at first: a ring, a grid, a line, and random ones."""

from __future__ import annotations

import math
from typing import Any

import torch

from smdtheory.checks import integer
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.validate import check_length


def ring(modes: int, radius: float = 2**0.5, std: float = 0.1) -> GaussianMixture:
    """``modes`` equal isotropic components on a circle in the plane.

    Args:
        modes: K.
        radius: of the circle.
        std: of each component.

    Returns:
        K components, d = 2.

    Raises:
        TypeError: if ``modes`` is not an integer.
        ValueError: if it is below 1, or a size is not positive or beyond 1e-30..1e30.

    Example:
        >>> ring(8)
        GaussianMixture(components=8, dim=2)
    """
    count = _count("modes", modes)
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    means = check_length("radius", radius) * torch.stack([angle.cos(), angle.sin()], -1)
    return _equal(means, std)


def grid(side: int, spacing: float = 2.0, std: float = 0.25) -> GaussianMixture:
    """``side``² equal isotropic components on a square lattice centred at 0.

    The paper's toy is ``grid(7)``.

    Args:
        side: number of components along each side.
        spacing: from each to the next.
        std: of each component.

    Returns:
        ``side``² components, d = 2.

    Raises:
        TypeError: if ``side`` is not an integer.
        ValueError: if it is below 1, or a size is not positive or beyond 1e-30..1e30.

    Example:
        >>> grid(7)
        GaussianMixture(components=49, dim=2)
    """
    count = _count("side", side)
    ticks = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    return _equal(check_length("spacing", spacing) * torch.cartesian_prod(ticks, ticks), std)


def line(modes: int, separation: float = 2.0, std: float = 0.25) -> GaussianMixture:
    """``modes`` equal components on the real line, ``separation`` apart, centred at 0.

    Args:
        modes: K.
        separation: from each mean to the next.
        std: of each component.

    Returns:
        K components, d = 1.

    Raises:
        TypeError: if ``modes`` is not an integer.
        ValueError: if it is below 1, or a size is not positive or beyond 1e-30..1e30.

    Example:
        >>> line(4).means.squeeze()
        tensor([-3., -1.,  1.,  3.], dtype=torch.float64)
    """
    count = _count("modes", modes)
    ticks = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    return _equal(check_length("separation", separation) * ticks.unsqueeze(-1), std)


def random(
    modes: int,
    dim: int,
    *,
    separation: float = 2.0,
    std: float = 0.25,
    generator: torch.Generator | None = None,
) -> GaussianMixture:
    """Random weights, means and full covariances.

    Weights are uniform on the simplex, means N(0, separation² I), covariances Q Λ Qᵀ with a random
    rotation Q and standard deviations log-uniform within a factor 2 of ``std``.

    Args:
        modes: K.
        dim: d.
        separation: std of the means along each axis.
        std: of the components, typically.
        generator: source of randomness; torch's global one if absent.

    Returns:
        K components in R^d.

    Raises:
        TypeError: if ``modes`` or ``dim`` is not an integer.
        ValueError: if it is below 1, or a size is not positive or beyond 1e-30..1e30.

    Example:
        >>> random(6, 3, generator=torch.Generator().manual_seed(0))
        GaussianMixture(components=6, dim=3)
    """
    count, d = _count("modes", modes), _count("dim", dim)
    width, scale = check_length("std", std), check_length("separation", separation)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = -torch.log1p(-draw(count))
    means = scale * normal(count, d)
    rotation, _ = torch.linalg.qr(normal(count, d, d))
    stds = width * 2 ** (2 * draw(count, d) - 1)
    covariances = torch.einsum("kir,kr,kjr->kij", rotation, stds.square(), rotation)
    return GaussianMixture(weights / weights.sum(), means, (covariances + covariances.mT) / 2)


def _equal(means: torch.Tensor, std: float) -> GaussianMixture:
    count = len(means)
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    return GaussianMixture(weights, means, check_length("std", std) ** 2)


def _count(name: str, value: Any) -> int:
    return integer(name, value, low=1)
