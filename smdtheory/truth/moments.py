r"""Rules that average over x_t ~ q what it tells about x_0 and about the label (§4, §9.1).

In d = 1 panels, in d = 2 lattices, in d >= 3 scrambled Sobol points; what is averaged is said in
:mod:`smdtheory.truth.table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING
from smdtheory.truth import rules
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.table import SPECTRA, Moments, Table

AnyTable = TypeVar("AnyTable", bound=Table)

MAX_SCALE_RATIO = 100.0
"""In d = 2, components whose variances differ by more than this are sampled: a lattice fitted to
the wide one could miss the narrow one altogether."""

LATTICE_STEPS = tuple(0.8 / 2 ** (n / 2) for n in range(9))
"""Lattice steps tried in d = 2, in standard deviations: 0.8 is exact to 1e-13 for one Gaussian,
and each of the others, down to 0.05, has twice the points of the one before."""

NEGLIGIBLE = 1e-14
"""No average is refined beyond this."""

SAMPLED_POINTS = 4096
"""Sobol points of one scrambling, over all components."""

MAX_DIM = 128
"""Largest d for which the posterior covariance is formed as a matrix at every point."""


def sampled(mixture: GaussianMixture) -> bool:
    """Whether expectations are taken by sampling (d >= 3, or very unequal scales in d = 2)."""
    if mixture.dim <= 1 or mixture.num_components == 1:
        return False
    smallest, largest = mixture.spectral.smallest(), mixture.spectral.largest()
    ratio = float(largest.max() / smallest.min())
    return mixture.dim >= 3 or ratio > MAX_SCALE_RATIO


def moments(
    mixture: GaussianMixture,
    snr: Tensor,
    *,
    points: int | None = None,
    seed: int = 0,
    shared: Tensor | None = None,
) -> Moments:
    """Averages over x_t ~ q at signal-to-noise ratios ``snr`` (L,), infinity allowed.

    Args:
        mixture: q(x_0), standardised in scale or not.
        snr: γ, (L,).
        points: Sobol points for each component and scrambling, where sampled; by default
            :data:`SAMPLED_POINTS` are shared among the components.
        seed: of the scramblings.
        shared: variances of further coordinates that are independent of these and of the label.

    Raises:
        ValueError: if d > :data:`MAX_DIM`.
    """
    if mixture.dim > MAX_DIM:
        raise ValueError(
            f"the posterior covariance is averaged as a matrix up to d = {MAX_DIM}; received "
            f"d = {mixture.dim} coordinates that differ between components. Use local_error with "
            "samples, or project the mixture on fewer dimensions."
        )
    beside = torch.zeros(0, dtype=torch.float64) if shared is None else shared
    tables = filled(lambda: Table(mixture, snr, beside), points=points, seed=seed)
    return _joined([table.finish() for table in tables])


def filled(
    make: Callable[[], AnyTable], *, points: int | None = None, seed: int = 0
) -> list[AnyTable]:
    """Tables to which the points of their mixture's rule have been added, one each replicate.

    Args:
        make: makes an empty table.
        points: as in :func:`moments`.
        seed: of the scramblings.
    """
    table = make()
    mixture = table.mixture
    if sampled(mixture):
        share = max(64, 2 ** int(math.log2(SAMPLED_POINTS / mixture.num_components)))
        normals = rules.sobol_normals(mixture.dim, points or share, seed)
        tables = [table, *(make() for _ in normals[1:])]
        for one, u in zip(tables, normals, strict=True):
            _sampled(one, u)
        return tables
    if mixture.num_components == 1:
        origin = torch.zeros(1, mixture.dim, dtype=torch.float64)
        table.add(table.everywhere, torch.arange(1), origin, origin.new_ones(1))
    elif mixture.dim == 1:
        _graded(table)
    else:
        _lattices(table)
    return [table]


def _graded(table: Table) -> None:
    """d = 1: panels, with a rule of lower order beside it for the error."""
    coarse = torch.zeros_like(table.scalars)
    std = (
        table.mixture.spectral.map(lambda v: v).diagonals()[:, 0] + 1 / table.snr[:, None]
    ).sqrt()
    plain = rules.graded_edges(torch.zeros(0), torch.zeros(0))
    means = table.mixture.means[:, 0]
    for k in range(table.mixture.num_components):
        ratio = std / std[:, k : k + 1]
        shift = (means - means[k]) / std[:, k : k + 1]
        alone = ((ratio >= 0.5) | (shift.abs() > 2 * rules.REACH)).all(-1)
        groups = [(alone.nonzero().flatten(), plain)]
        for level in (~alone).nonzero().flatten().tolist():
            groups.append((torch.tensor([level]), rules.graded_edges(shift[level], ratio[level])))
        for levels, edges in groups:
            for order, target in ((10, None), (7, coarse)):
                u, weight = rules.panel_nodes(edges, order)
                u = u.unsqueeze(-1)
                table.add(levels, torch.tensor([k]), u, rules.normal_weights(u, weight), target)
    table.error = ((table.scalars - coarse).abs() * table.scale()).amax(-1)


def _lattices(table: Table) -> None:
    """d = 2: a finer lattice at each level until the averages agree."""
    components = torch.arange(table.mixture.num_components)
    levels = table.everywhere
    table.error[:] = torch.inf  # becomes the change in the averages from lattice to lattice
    for number, step in enumerate(LATTICE_STEPS):
        before, change_before = table.scalars[levels].clone(), table.error[levels]
        table.clear(levels)
        u, weight = rules.lattice(step)
        table.add(levels, components, u, weight)
        if number == 0:
            continue
        scale = table.scale()[levels]
        size = (table.scalars[levels].abs() * scale).amax(-1).clamp(max=1)
        change = ((table.scalars[levels] - before).abs() * scale).amax(-1)
        table.error[levels] = change
        error = rules.lattice_error(change, change_before)
        done = error <= table.tolerance * size + NEGLIGIBLE
        table.error[levels[done]] = error[done] + ROUNDING * table.mixture.num_components
        levels = levels[~done]
        if len(levels) == 0:
            break


def _sampled(table: Table, u: Tensor) -> None:
    """d >= 3: the Sobol points u (n, d) of one scrambling, the same at every level."""
    components = torch.arange(table.mixture.num_components)
    table.add(table.everywhere, components, u, u.new_full((len(u),), 1 / len(u)))


def _joined(parts: list[Moments]) -> Moments:
    """Replicates side by side."""
    if len(parts) == 1:
        return parts[0]
    return Moments(
        parts[0].snr,
        torch.cat([part.between for part in parts]),
        torch.cat([part.label_entropy for part in parts]),
        torch.cat([part.excess for part in parts]),
        {name: torch.cat([part.spectra[name] for part in parts]) for name in SPECTRA},
        parts[0].grid,
        parts[0].error,
    )
