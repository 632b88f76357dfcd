"""Mixtures to set against the caps, some random and some adversarial (docs/theory.md §6.14).

In units of 1/√γ_t. Shapes at the scale of the noise come closest to the caps of large steps, thin
axes beside wide ones to those of a fixed variance; an ascent goes on from the former.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from smdtheory.theory.bounds import first_order_cap
from smdtheory.theory.extremes.many import Many, draw

KINDS = (*("random", "equal", "lattice", "thin") * 2, "lattice", "ascended")
"""By turns. Random covariances; one covariance for all; thin modes on a lattice; axes thin and
wide; the ends of an ascent from a lattice."""

ASCENT, RATE = 25, 0.1
"""Steps of the ascent, and their size."""


def made(
    kind: str, dim: int, size: int, components: int, points: Tensor, generator: torch.Generator
) -> Many:
    """A batch of mixtures of one kind, each with a step.

    Args:
        kind: one of :data:`KINDS`.
        dim: d.
        size: B.
        components: K.
        points: normal draws (R, n, 2d) for the ascent.
        generator: source of randomness.

    Example:
        >>> points = torch.zeros(2, 8, 2).double()
        >>> made("thin", 1, 5, 2, points, torch.Generator().manual_seed(0)).means.shape
        torch.Size([5, 2, 1])
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    K = components
    logs = normal(size, K) * uniform(0, 1.5, size, 1)
    basis = torch.linalg.qr(normal(size, K, dim, dim)).Q
    log10 = uniform(-3, 3, size, 1, 1) + uniform(0, 1, size, 1, 1) * normal(size, K, dim)
    means = 10 ** uniform(-1, 2, size, 1, 1) * normal(size, K, dim)
    last = uniform(0, 1, size) < 0.2
    ratio = torch.where(last, torch.inf, 1 + 10 ** uniform(-1.5, 4, size))
    if kind == "equal":
        basis, log10 = basis[:, :1].expand_as(basis), log10[:, :1].expand_as(log10)
        means = 10 ** uniform(0, 0.9, size, 1, 1) * normal(size, K, dim)
    elif kind in ("lattice", "ascended"):
        turn = torch.linalg.qr(normal(size, 1, dim, dim)).Q
        corners = torch.randint(-1, 2, (size, K, dim), generator=generator).double()
        if dim == 1:
            corners = torch.arange(K, dtype=torch.float64).reshape(1, K, 1).expand(size, K, 1)
        corners = corners + 0.05 * normal(size, K, dim)
        means = torch.einsum("bkd,bzde->bke", corners, turn) * uniform(1.5, 5, size, 1, 1)
        log10 = uniform(-6, -1, size, 1, 1).expand(size, K, dim)
        basis, logs = turn.expand_as(basis), 0.3 * logs
    elif kind == "thin":
        wide = uniform(0, 1, size, 1, dim) < 0.5
        log10 = torch.where(wide, 4.0, -5.0) + 0.3 * normal(size, K, dim)
        basis = basis[:, :1].expand_as(basis)
    many = Many(
        torch.log_softmax(logs, -1), means, 10**log10, basis, ratio, 10 ** uniform(-3, 3, size)
    )
    return _ascended(many, points[:2, :8]) if kind == "ascended" else many


def _ascended(many: Many, points: Tensor) -> Many:
    """The same after gradient ascent of M over a cap: `isotropic`, and every second `full`."""
    start = replace(many, ratio=torch.where(torch.isinf(many.ratio), 3.0, many.ratio))
    logs, means, scales = (
        value.clone().requires_grad_()
        for value in (start.log_weights, start.means, start.variances.log())
    )
    climber = torch.optim.Adam([logs, means, scales], lr=RATE, maximize=True)
    cap = first_order_cap(start.dim, start.snr, start.ratio * start.snr)
    for _ in range(ASCENT):
        here = replace(
            start, log_weights=torch.log_softmax(logs, -1), means=means, variances=scales.exp()
        )
        errors = draw(here, points).errors
        share = errors["isotropic"].mean(0) / cap
        share = torch.cat([share[::2], (errors["full"].mean(0) / cap)[1::2]])
        climber.zero_grad()
        share.sum().backward()  # type: ignore[no-untyped-call]
        climber.step()
    scales = scales.detach().clamp(-14, 14)
    return replace(
        many,
        log_weights=torch.log_softmax(logs.detach(), -1),
        means=means.detach(),
        variances=scales.exp(),
    )
