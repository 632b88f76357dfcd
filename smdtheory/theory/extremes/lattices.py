r"""Errors of a lattice: the laws that come closest to the caps of §6.3 (docs/theory.md §6.14).

x_0 is spread evenly over the points of a lattice B Z^d, the limit of ever more equal, ever thinner
modes. Seen from the point that it is, x_t is that point and N(0, I) in units of the noise, and the
posterior has weights exp(−|y − √γ B n|²/2): one Gaussian average gives mmse, Cov and what is open
about the point, h(√γ B) = E H(x_0 | x_t). With r = γ_s/γ_t and B in units of 1/√γ_t,

    M(s,t) = G(r − 1) − [h(B) − h(√r B)],

G of §5.1. As r grows h(√r B) → 0, while G grows like the cap: the error of ``isotropic`` and
``full`` falls short of it by a constant.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from smdtheory.checks import real_tensor, shown
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family, check_family

Lattice = Literal["line", "square", "hexagonal"]

LATTICES: dict[str, list[list[float]]] = {
    "line": [[1.0]],
    "square": [[1.0, 0.0], [0.0, 1.0]],
    "hexagonal": [[1.0, 0.0], [0.5, 3**0.5 / 2]],
}
"""Rows span the lattice."""

REACH = 9.0
"""Averages over N(0, I) stop at this many standard deviations; 2e-19 of the mass lies beyond."""

NODES = {1: 0.05, 2: 0.18}
"""Step of the trapezoidal rule in each direction, by d."""

COARSER = 1.4
"""The rule to compare with, and to search with, has steps longer by this factor."""

MOST_RATIO = 1e200
"""The largest finite γ_s/γ_t: squares of points of the lattice stay in range."""

SPACINGS = 1.0, 6.0
"""Range of the search for the spacing, in units of 1/√γ_t."""


def lattice_error(basis: Tensor, ratio: float, family: Family | str) -> Estimate:
    """M(s,t) of x_0 spread evenly over a lattice, by r = γ_s/γ_t (docs/theory.md §6.14).

    Args:
        basis: rows that span it, (d, d) with d <= 2, in units of 1/√γ_t.
        ratio: r > 1, up to :data:`MOST_RATIO`; infinite for h(√r B) = 0 and G less (d/2) log r,
            the shortfall with its sign turned.
        family: any but ``fixed_large``, whose error is no function of r alone.

    Returns:
        A scalar, in nats. Its error is the difference to a coarser rule.

    Raises:
        TypeError: for arguments of the wrong kind.
        ValueError: for r out of range, a basis of another shape or rank, ``fixed_large`` or an
            unknown family, and infinite r with ``fixed_small``.

    Example:
        >>> lattice_error(3.8 * torch.eye(1).double(), 2.0, "isotropic")
        0.1114721... ± ... (quadrature)
    """
    name, rows = check_ratio_family(family), real_tensor("basis", basis).to(torch.float64)
    if rows.ndim != 2 or rows.shape[0] != rows.shape[1] or not 1 <= len(rows) <= 2:
        raise ValueError(f"basis must have shape (d, d), d <= 2; received {tuple(rows.shape)}")
    if float(torch.linalg.det(rows).abs()) < 1e-9:
        raise ValueError(
            "basis must have linearly independent rows, in units of 1/√γ_t; received "
            f"{shown(basis)}"
        )
    known = isinstance(ratio, int | float) and not isinstance(ratio, bool)
    if not (known and (1 < ratio <= MOST_RATIO or ratio == math.inf)):
        raise ValueError(
            f"ratio must be a number above 1, γ_s/γ_t, up to {MOST_RATIO:g} or infinite; received "
            f"{shown(ratio)}"
        )
    if math.isinf(ratio) and name == "fixed_small":
        raise ValueError(
            f"ratio must be finite for fixed_small, whose G grows like r; received {shown(ratio)}"
        )
    fine, coarse = (_error(rows, float(ratio), name, NODES[len(rows)] * f) for f in (1.0, COARSER))
    return Estimate(fine, (fine - coarse).abs() + 16 * ROUNDING, "quadrature")


def worst_lattice(
    ratio: float, family: Family | str, lattice: Lattice = "line"
) -> tuple[Estimate, float]:
    """The largest M(s,t) over the spacings of a lattice, and that spacing in units of 1/√γ_t.

    Args:
        ratio: r > 1, or infinite as in :func:`lattice_error`.
        family: any but ``fixed_large``.
        lattice: one of :data:`LATTICES`; its shortest vector is the spacing.

    Returns:
        The error in nats, and the spacing.

    Raises:
        TypeError: as :func:`lattice_error`.
        ValueError: as :func:`lattice_error`, and for an unknown lattice.

    Example:
        >>> error, spacing = worst_lattice(2.0, "isotropic")
        >>> round(float(error) / (0.5 * math.log(2.0)), 3)  # of the cap
        0.322
    """
    if not isinstance(lattice, str) or lattice not in LATTICES:
        raise ValueError(f"lattice must be one of {', '.join(LATTICES)}; received {shown(lattice)}")
    basis = torch.tensor(LATTICES[lattice], dtype=torch.float64)
    lattice_error(basis, ratio, family)  # says what is wrong with the arguments
    name, step = check_family(family), COARSER * NODES[len(basis)]
    found = minimize_scalar(
        lambda spacing: -float(_error(spacing * basis, float(ratio), name, step)),
        bounds=SPACINGS,
        method="bounded",
        options={"xatol": 1e-4},
    )
    spacing = float(np.asarray(found.x))
    return lattice_error(spacing * basis, ratio, family), spacing


def check_ratio_family(family: Family | str) -> Family:
    """The family, if its error is a function of γ_s/γ_t up to the scale of the data.

    Raises:
        ValueError: for ``fixed_large`` or an unknown family.

    Example:
        >>> check_ratio_family("full")
        'full'
    """
    name = check_family(family)
    if name == "fixed_large":
        raise ValueError(
            "family must have a cap that depends on r = γ_s/γ_t alone; received 'fixed_large', "
            "whose cap depends on γ_t as well (docs/theory.md §6.5). Use fixed_variance_cap."
        )
    return name


def _error(basis: Tensor, ratio: float, family: Family, step: float) -> Tensor:
    d, limit = len(basis), math.isinf(ratio)
    weights, cov, open_now = _posterior(basis, step)
    gain = ratio - 1
    known = torch.tensor(0.0, dtype=torch.float64)
    if not limit:
        after, _, entropy = _posterior(math.sqrt(ratio) * basis, step)
        known = after @ entropy
    trace = torch.einsum("nii->n", cov) / d
    if family == "fixed_small":
        gross = 0.5 * d * gain * (weights @ trace)
    elif family == "isotropic":
        gross = 0.5 * d * _log(weights @ trace, gain, limit)
    elif family == "isotropic_x":
        gross = 0.5 * d * (weights @ _log(trace, gain, limit))
    elif family == "diagonal":
        gross = 0.5 * (weights @ _log(torch.einsum("nii->ni", cov), gain, limit).sum(-1))
    else:
        gross = 0.5 * (weights @ _log(torch.linalg.eigvalsh(cov), gain, limit).sum(-1))
    return gross - (weights @ open_now - known)


def _log(variance: Tensor, gain: float, limit: bool) -> Tensor:
    """log(1 + Δγ v), or its limit less log r."""
    return torch.log(variance) if limit else torch.log1p(gain * variance)


def _posterior(basis: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (n,) of points y of N(0, I), and Cov(x_0|y) (n, d, d) and H(x_0|y) (n,) at each."""
    d = len(basis)
    axis = step * torch.arange(-math.ceil(REACH / step), math.ceil(REACH / step) + 1).double()
    y = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    weights = (step / math.sqrt(2 * math.pi)) ** d * torch.exp(-0.5 * y.square().sum(-1))
    y, weights = y[weights > 1e-19], weights[weights > 1e-19]
    points = _points(basis, 2 * REACH)
    cov, entropy = [], []
    for part in torch.split(y, 4096):
        logits = part @ points.mT - 0.5 * points.square().sum(-1)
        share = torch.softmax(logits, -1)
        mean = share @ points
        second = torch.einsum("np,pi,pj->nij", share, points, points)
        cov.append(second - mean.unsqueeze(-1) * mean.unsqueeze(-2))
        entropy.append(torch.special.entr(share).sum(-1))
    return weights, torch.cat(cov), torch.cat(entropy)


def _points(basis: Tensor, radius: float) -> Tensor:
    """The points of the lattice within ``radius``, and the nearest neighbours of 0 anyway."""
    inverse = torch.linalg.inv(basis)
    reach = [max(1, math.ceil(radius * float(inverse[:, i].norm()))) for i in range(len(basis))]
    index = torch.tensor(list(itertools.product(*[range(-n, n + 1) for n in reach]))).double()
    points = index @ basis
    close = (points.norm(dim=-1) <= radius) | (index.abs().amax(-1) <= 1)
    return points[close]
