r"""What x_t tells about x_0 and about the component label, averaged over x_t ~ q (§4).

At each signal-to-noise ratio γ, with y = x_t/√ᾱ_t = x_0 + N(0, I/γ), C_k = S_k + I/γ,
V_k = S_k (I + γ S_k)⁻¹ and μ_k = m_k + S_k C_k⁻¹ (y − m_k) (docs/theory.md §3.3),

    C(y) = Cov(x_0 | x_t) = Σ_k r_k V_k + Σ_k r_k (μ_k − μ̄)(μ_k − μ̄)ᵀ.

All differences are taken from the component that a point belongs to, so nothing cancels however
far apart the components are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING
from smdtheory.truth import rules
from smdtheory.truth.covariance import covariance_summary
from smdtheory.truth.mixture import BLOCK_ELEMENTS, GaussianMixture
from smdtheory.truth.spectral import SpectralCovariance

BIN = 0.03
"""Spacing of the grid in log v; six-point interpolation on it is accurate to 4e-12."""

STENCIL = 6
"""Points of the local Lagrange interpolation in log v."""

MAX_SCALE_RATIO = 100.0
"""In d = 2, components whose variances differ by more than this are sampled: a lattice fitted to
the wide one could miss the narrow one altogether."""

LATTICE_STEPS = tuple(0.8 / 2 ** (n / 2) for n in range(9))
"""Lattice steps tried in d = 2, in standard deviations: 0.8 is exact to 1e-13 for one Gaussian,
and each of the others, down to 0.05, has twice the points of the one before."""

LATTICE_TOLERANCE = 1e-7
"""The lattice is fine enough when it agrees to this with the one before, which is reported as its
error: a shorter step by √2 raises an error to about the power √2."""

GOLDEN_ANGLE = 2.399963
"""Radians between the orientations of successive lattices."""

SAMPLED_POINTS = 4096
"""Sobol points of one scrambling, over all components."""

MAX_DIM = 128
"""Largest d for which the posterior covariance is formed as a matrix at every point."""

SPECTRA = ("isotropic_x", "diagonal", "full")
"""Families whose variances depend on x_t: their distribution is kept, not only its mean."""


@dataclass(frozen=True)
class Moments:
    """Averages over x_t at L levels; R replicates when sampled, R = 1 by quadrature.

    Attributes:
        snr: γ, (L,).
        between: (R, L), E tr Cov(μ_k | x_t): the part of the MMSE that a known label would remove.
        label_entropy: (R, L), E H(r(x_t)).
        square: (R, L), E‖Cov(x_0|x_t)‖_F².
        spectra: for each family of :data:`SPECTRA`, weights (R, L, N) on ``grid``: for smooth f,
            Σ_n weights_n f(grid_n) is E Σ_i f(v_i), v_i the variances of x_0 given x_t that the
            family can represent.
        grid: (N,), values of v.
        error: (L,), error of γ·between, label_entropy and γ²·square, the largest of the three.
    """

    snr: Tensor
    between: Tensor
    label_entropy: Tensor
    square: Tensor
    spectra: dict[str, Tensor]
    grid: Tensor
    error: Tensor


def sampled(mixture: GaussianMixture) -> bool:
    """Whether expectations are taken by sampling (d >= 3, or very unequal scales in d = 2)."""
    if mixture.dim <= 1 or mixture.num_components == 1:
        return False
    smallest, largest = mixture.spectral.smallest(), mixture.spectral.largest()
    ratio = float(largest.max() / smallest.min())
    return mixture.dim >= 3 or ratio > MAX_SCALE_RATIO


def log_grid(mixture: GaussianMixture, snr: Tensor, shared: Tensor) -> Tensor:
    """Grid in log v that covers every variance of x_0 given x_t at the levels ``snr``."""
    floor = torch.cat([mixture.spectral.smallest(), shared]).min()
    spread = mixture.means - mixture.means[:1]
    largest = torch.cat([mixture.spectral.largest(), shared]).max()
    ceiling = largest + 4 * spread.square().sum(-1).max()
    top = snr[torch.isfinite(snr)].max() if bool(torch.isfinite(snr).any()) else snr.new_zeros(())
    low = torch.log(floor / (1 + top * floor)) - 4 * BIN
    high = torch.log(ceiling) + 4 * BIN
    first, last = int(torch.floor(low / BIN)), int(torch.ceil(high / BIN))
    return BIN * torch.arange(first, last + 1, dtype=torch.float64)


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
    table = _Table(mixture, snr, beside, rules.SCRAMBLES if sampled(mixture) else 1)
    if mixture.num_components == 1:
        origin = torch.zeros(1, 1, mixture.dim, dtype=torch.float64)
        table.add(torch.arange(len(snr)), torch.zeros(1), origin, torch.ones(1, 1))
        return table.finish()
    if sampled(mixture):
        share = max(64, 2 ** int(math.log2(SAMPLED_POINTS / mixture.num_components)))
        _sample(table, points or share, seed)
    elif mixture.dim == 1:
        _graded(table)
    else:
        _lattices(table)
    return table.finish()


def _graded(table: _Table) -> None:
    """d = 1: panels, with a rule of lower order beside it for the error."""
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
            for order, coarse in ((10, False), (7, True)):
                u, weight = rules.panel_nodes(edges, order)
                u = u.unsqueeze(-1)
                weight = rules.normal_weights(u, weight)
                table.add(levels, torch.tensor([k]), u[None], weight[None], coarse=coarse)


def _lattices(table: _Table) -> None:
    """d = 2: a finer lattice at each level until the averages agree.

    Each lattice is turned by another angle, so that two of them do not agree by the symmetry of
    the mixture.
    """
    components = torch.arange(table.mixture.num_components)
    levels = torch.arange(len(table.snr))
    for number, step in enumerate(LATTICE_STEPS):
        before = table.scalars[0, levels].clone()
        table.clear(levels)
        u, weight = rules.lattice(step, number * GOLDEN_ANGLE)
        table.add(levels, components, u[None], weight[None])
        change = ((table.scalars[0, levels] - before).abs() * table.scale(levels)).amax(-1)
        if number == 0:
            continue
        table.error[levels] = change + ROUNDING * table.mixture.num_components
        levels = levels[change > LATTICE_TOLERANCE]
        if len(levels) == 0:
            break


def _sample(table: _Table, points: int, seed: int) -> None:
    """d >= 3: the same scrambled Sobol points at every level and component."""
    normals = rules.sobol_normals(table.mixture.dim, points, seed)
    weight = torch.full(normals.shape[:2], 1 / points, dtype=torch.float64)
    components = torch.arange(table.mixture.num_components)
    table.add(torch.arange(len(table.snr)), components, normals, weight)


class _Table:
    """Running sums of the averages, filled by :meth:`add`."""

    def __init__(
        self, mixture: GaussianMixture, snr: Tensor, shared: Tensor, replicates: int
    ) -> None:
        self.mixture, self.snr = mixture, snr
        self.log_v = log_grid(mixture, snr, shared)
        self.beside = shared / (1 + snr.unsqueeze(-1) * shared)  # their variance given x_t, (L, m)
        self.dim = mixture.dim + len(shared)
        levels, size = len(snr), len(self.log_v)
        self.scalars = torch.zeros(replicates, levels, 3, dtype=torch.float64)
        self.coarse = torch.zeros(replicates, levels, 3, dtype=torch.float64)
        self.names = SPECTRA if self.dim > 1 else SPECTRA[-1:]
        self.weights = {
            name: torch.zeros(replicates, levels, size, dtype=torch.float64) for name in self.names
        }
        self.error = torch.zeros(levels, dtype=torch.float64)
        self.used_coarse = False

    def scale(self, levels: Tensor) -> Tensor:
        """Factors (·, 3) that make the three averages dimensionless."""
        gamma = self.snr[levels]
        finite = torch.where(torch.isfinite(gamma), gamma, 0.0)
        return torch.stack([finite, torch.ones_like(gamma), finite.square()], -1)

    def clear(self, levels: Tensor) -> None:
        """Forget what has been summed at ``levels``."""
        self.scalars[:, levels] = 0
        for weights in self.weights.values():
            weights[:, levels] = 0

    def add(
        self,
        levels: Tensor,
        components: Tensor,
        u: Tensor,
        weight: Tensor,
        *,
        coarse: bool = False,
    ) -> None:
        """Add points u (R, n, d) with ``weight`` (R, n) of each component at each level."""
        replicates, count, dim = u.shape
        anchors = torch.cartesian_prod(levels, components.to(levels)).reshape(-1, 2)
        K = self.mixture.num_components
        # the widest working array is (anchors, K, d, n), or (anchors, n, d, d) for d > K
        width = K * dim if dim <= 2 else max(K * dim, dim * dim)
        chunk = max(1, min(count, 8 * BLOCK_ELEMENTS // width))
        batch = max(1, 8 * BLOCK_ELEMENTS // (width * chunk))
        for r in range(replicates):
            for pairs in torch.split(anchors, batch):
                for points, mass in zip(
                    torch.split(u[r], chunk), torch.split(weight[r], chunk), strict=True
                ):
                    self._add_block(r, pairs[:, 0], pairs[:, 1], points, mass, coarse)
        self.used_coarse |= coarse

    def _add_block(
        self, r: int, level: Tensor, k: Tensor, u: Tensor, weight: Tensor, coarse: bool
    ) -> None:
        mass = self.mixture.weights[k].unsqueeze(-1) * weight  # (A, n)
        entropy, within, deviation, resp = self._posterior(level, k, u)
        summary = covariance_summary(within, deviation, resp)
        beside = self.beside[level]  # (A, m)
        square = summary.square + beside.square().sum(-1, keepdim=True)
        values = torch.stack([summary.between, entropy, square], -1)
        target = self.coarse if coarse else self.scalars
        target[r].index_add_(0, level, (mass.unsqueeze(-1) * values).sum(1))
        if not coarse:
            trace = summary.diagonal.sum(1) + beside.sum(-1, keepdim=True)
            variances = {
                "isotropic_x": (trace / self.dim).unsqueeze(1),
                "diagonal": summary.diagonal,
                "full": summary.full,
            }
            for name in self.names:
                self._deposit(self.weights[name][r], level, mass, variances[name])

    def _posterior(
        self, level: Tensor, k: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Responsibilities and component means at points u (n, d) of A (level, component) pairs.

        Returns:
            label entropy (A, n), variances V_k as matrices (A, K, d, d) or as diagonals (A, K, d),
            deviations μ_k − μ̄ (A, K, d, n), responsibilities (A, K, n).
        """
        mixture = self.mixture
        noise = (1 / self.snr[level])[:, None, None]  # (A, 1, 1)
        gamma = self.snr[level][:, None, None]
        marginal = mixture.spectral.map(lambda v: v + noise)  # (A, K, ·)
        own = _pick(marginal, k)
        step = own.apply_columns(torch.sqrt, u.mT[None, None])[:, 0]  # (A, d, n)
        offset = (mixture.means[k].unsqueeze(1) - mixture.means)[..., None]  # m_k − m_j
        diff = offset + step.unsqueeze(1)  # y − m_j, (A, K, d, n)
        joint = (mixture.logits - 0.5 * marginal.log_det()).unsqueeze(
            -1
        ) - 0.5 * marginal.mahalanobis_columns(diff)
        log_resp = torch.log_softmax(joint, 1)
        resp = log_resp.exp()
        entropy = -(resp * log_resp.clamp(min=-800.0)).sum(1)  # r is 0 below e^-745
        mean = self._means(k, noise, step, offset)
        centre = torch.einsum("akdn,akn->adn", mean, resp)
        deviation = mean - centre.unsqueeze(1)
        posterior = mixture.spectral.map(lambda v: 1 / (1 / v + gamma))
        aligned = posterior.basis is None or posterior.is_isotropic
        within = posterior.diagonals() if aligned else posterior.matrices()
        return entropy, within, deviation, resp

    def _means(self, k: Tensor, noise: Tensor, step: Tensor, offset: Tensor) -> Tensor:
        """μ_j up to a term that all j share, (A, K, d, n), at y = m_k + ``step``.

        With H = I − S C⁻¹ = C⁻¹/γ, μ_j − μ_k = (H_k − H_j) step − H_j (m_k − m_j), and
        H_k − H_j = γ H_j (S_j − S_k) H_k: nothing cancels, neither for γS → 0 nor for γS → ∞.
        """
        prior = self.mixture.spectral.map(lambda v: v.expand(len(k), *v.shape))
        own = _pick(prior, k)
        pull = own.map(lambda v: 1 / (v + noise)).apply_columns(_same, step.unsqueeze(1))
        change = prior.apply_columns(_same, pull) - own.apply_columns(_same, pull)
        return prior.map(lambda v: 1 / (1 + v / noise)).apply_columns(_same, change - offset)

    def _deposit(self, target: Tensor, level: Tensor, mass: Tensor, values: Tensor) -> None:
        """Spread ``mass`` (A, n) at ``values`` (A, m, n) over the grid in log v."""
        finite = torch.isfinite(self.snr[level])
        if not bool(finite.any()):
            return
        level, mass, values = level[finite], mass[finite], values[finite]
        place = (torch.log(values) - self.log_v[0]) / BIN
        left = place.floor().clamp(STENCIL // 2 - 1, len(self.log_v) - STENCIL // 2 - 1)
        fraction = place - left
        start = left.long() - (STENCIL // 2 - 1) + (level * len(self.log_v))[:, None, None]
        flat = target.view(-1)
        mass = mass.unsqueeze(1)
        nodes = range(1 - STENCIL // 2, 1 + STENCIL // 2)
        for i, node in enumerate(nodes):
            weight = mass
            for other in nodes:
                if other != node:
                    weight = weight * ((fraction - other) / (node - other))
            flat.index_add_(0, (start + i).flatten(), weight.expand_as(place).flatten())

    def finish(self) -> Moments:
        """The averages as :class:`Moments`."""
        if self.used_coarse:
            change = (self.scalars - self.coarse)[0].abs() * self.scale(torch.arange(len(self.snr)))
            self.error = change.amax(-1)
        if self.dim > 1:
            self.weights["isotropic_x"] *= self.dim
            everywhere, one = torch.arange(len(self.snr)), torch.ones(len(self.snr), 1)
            for name in ("diagonal", "full"):
                for target in self.weights[name]:
                    self._deposit(target, everywhere, one.double(), self.beside.unsqueeze(-1))
        spectra = {name: self.weights[name if name in self.weights else "full"] for name in SPECTRA}
        return Moments(
            self.snr,
            self.scalars[..., 0],
            self.scalars[..., 1],
            self.scalars[..., 2],
            spectra,
            torch.exp(self.log_v),
            self.error,
        )


def _same(v: Tensor) -> Tensor:
    return v


def _pick(spectral: SpectralCovariance, k: Tensor) -> SpectralCovariance:
    """Component k[a] of batch element a, as one component with batch (A,)."""
    rows = torch.arange(len(k))
    basis = None if spectral.basis is None else spectral.basis[k].unsqueeze(1)
    return SpectralCovariance(
        basis,
        spectral.eigenvalues[rows, k].unsqueeze(1),
        spectral.residual[rows, k].unsqueeze(1),
        spectral.dim,
    )
