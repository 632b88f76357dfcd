r"""Averages of second and third derivatives of log q_t, from posterior cumulants (§11.1).

With C = Cov(x_0 | x_t) and κ₃ the third cumulant of x_0 given x_t, a tensor,

    I + (1 − ᾱ) ∇² log q_t = γ C,        (1 − ᾱ)^{3/2} ∇³ log q_t = γ^{3/2} κ₃

(docs/theory.md §11.1), and of the mixture q(x_0 | x_t) both are known in closed form: with r_k, μ_k
and V_k its weights, means and covariances and δ_k = μ_k − μ̄,

    C = Σ_k r_k (V_k + δ_k δ_kᵀ),    κ₃ = Σ_k r_k (δ_k ⊗ δ_k ⊗ δ_k + the three of V_k ⊗ δ_k).

No derivative is taken, neither by differences nor by autograd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING
from smdtheory.truth.curves import Curves
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.moments import MAX_DIM, NEGLIGIBLE, filled
from smdtheory.truth.table import Table

AVERAGES = 6
"""Averages over x_t, in the order of :class:`CumulantTable`."""

MAX_THIRD_DIM = 16
"""Largest d for which the third cumulant is formed, d(d + 1)(d + 2)/6 = 816 numbers a point."""

ALL_AT_ONCE = 2
"""Up to this d the third cumulant, of few numbers, is averaged along with the rest."""

PANEL_WIDTH = 3.0
"""Width of an undivided panel in log γ."""

NODES = 16
"""Chebyshev nodes on a panel: the averages have their nearest poles π away, and 4.4^−16 = 5e-11."""

TOLERANCE = 1e-6
"""A panel is halved until its last coefficients are below this, relative to each average."""

MAX_HALVINGS = 4
"""A panel is halved at most this often; what is left is reported in the error."""


@dataclass(frozen=True)
class Derivatives:
    """Averages over x_t ~ q at L levels, H = ∇² log q_t, D³ = ∇³ log q_t; R replicates.

    Attributes:
        variance: (R, L), E tr Cov(x_0|x_t) / d.
        square: (R, L), E‖H‖_F².
        trace_variance: (R, L), Var(tr H) / d.
        uneven: (R, L), E‖H − (tr H/d) I‖_F².
        off_diagonal: (R, L), E Σ_{i≠j} H_ij².
        from_unit: (R, L), E‖I + H‖_F².
        third: (R, L), E‖D³‖², 0 where it was not asked for.
        error: (L,), numerical error of those of H, the largest.
        third_error: (L,), that of ``third``.
    """

    variance: Tensor
    square: Tensor
    trace_variance: Tensor
    uneven: Tensor
    off_diagonal: Tensor
    from_unit: Tensor
    third: Tensor
    error: Tensor
    third_error: Tensor


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
        self.known, self.growth = _known(mixture, snr), _growth(mixture, snr, shared)

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


def _known(mixture: GaussianMixture, snr: Tensor) -> Tensor:
    """Σ_k w_k tr V_k, (L,)."""
    values, counts = mixture.spectral.spectrum()
    values = 1 / (1 / values + snr[:, None, None])
    return ((values * counts).sum(-1) * mixture.weights).sum(-1)


def _growth(mixture: GaussianMixture, snr: Tensor, shared: Tensor) -> Tensor:
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


class DerivativeCurves:
    """The averages of one mixture as functions of γ, interpolated in log γ (§9.2).

    Args:
        curves: of the mixture.
    """

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self._panels: dict[tuple[bool, int, int], _Panel] = {}

    def at(self, snr: Tensor, *, third: bool, direct: bool = False) -> Derivatives:
        """Averages at finite γ (L,).

        Args:
            snr: γ.
            third: whether E‖D³‖² is wanted.
            direct: compute every level, instead of reading it from panels.

        Raises:
            ValueError: if d is above :data:`MAX_DIM`, or above :data:`MAX_THIRD_DIM` with
                ``third``.
        """
        dim, limit = self.curves.mixture.dim, MAX_THIRD_DIM if third else MAX_DIM
        if dim > limit:
            raise ValueError(
                f"the posterior's {'third cumulant' if third else 'covariance'} is averaged as a "
                f"{'tensor' if third else 'matrix'} up to d = {limit}; received d = {dim} "
                "coordinates that differ between components. Project the mixture on fewer."
            )
        if not direct:
            third = third or dim <= ALL_AT_ONCE  # one pass for all averages
        values, error = self._direct(snr, third) if direct else self._read(snr, third)
        return self._derivatives(snr, values, error)

    def _derivatives(self, snr: Tensor, values: Tensor, error: Tensor) -> Derivatives:
        """From what :meth:`_direct` returns."""
        mixture, shared, dim = self.curves.mixture, self.curves.shared, self.curves.dim
        growth = _growth(mixture, snr, shared)
        unit = (1 + snr) / growth  # H = (A − I)(1 + γ)
        trace, spread, uneven, off, third, from_unit = values.unbind(-1)
        beside = (shared / (1 + snr.unsqueeze(-1) * shared)).sum(-1)
        variance = (trace / (growth * snr) + _known(mixture, snr) + beside) / dim
        spread = unit.square() * spread / dim
        uneven = unit.square() * uneven
        return Derivatives(
            variance=variance,
            square=dim * ((1 + snr) * (snr * variance - 1)).square() + spread + uneven,
            trace_variance=spread,
            uneven=uneven,
            off_diagonal=unit.square() * off,
            from_unit=unit.square() * from_unit,
            third=unit**3 * third,
            error=unit.square() * error,
            third_error=unit**3 * error,
        )

    def _direct(self, snr: Tensor, third: bool) -> tuple[Tensor, Tensor]:
        """Scaled averages (R, L, 6), the second less the first squared, and their error (L,)."""
        mixture, shared = self.curves.mixture, self.curves.shared
        tables = filled(lambda: CumulantTable(mixture, snr, shared, third))
        rounding = ROUNDING * tables[0].growth ** (1.5 if third else 1.0)
        values = torch.stack([t.scalars * t.scale() for t in tables])
        values[..., 1] -= values[..., 0].square()
        return values, tables[0].error + rounding

    def _read(self, snr: Tensor, third: bool) -> tuple[Tensor, Tensor]:
        position = torch.log(snr)
        number = torch.floor(position / PANEL_WIDTH)
        values, error = None, torch.zeros_like(snr)
        for index in torch.unique(number).tolist():
            inside = number == index
            for panel in self._leaves(third, 0, int(index), position[inside]):
                here = inside & (position >= panel.low) & (position < panel.high)
                found = panel.read(position[here])
                if values is None:
                    values = torch.empty(len(found), len(snr), AVERAGES, dtype=torch.float64)
                values[:, here], error[here] = found, panel.error
        if values is None:
            raise ValueError("snr must not be empty; received no level. Give at least one.")
        return values, error

    def _leaves(self, third: bool, depth: int, index: int, position: Tensor) -> list[_Panel]:
        """The undivided panels that hold ``position``, within one panel of width 3/2^depth."""
        width = PANEL_WIDTH / 2**depth
        if not bool(((position >= width * index) & (position < width * (index + 1))).any()):
            return []
        key = third, depth, index
        if key not in self._panels:
            low, high = width * index, width * (index + 1)
            places = low + (high - low) * (_nodes() + 1) / 2
            self._panels[key] = _Panel(low, high, *self._direct(torch.exp(places), third))
        panel = self._panels[key]
        if depth == MAX_HALVINGS or panel.resolved:
            return [panel]
        halves = (2 * index, 2 * index + 1)
        return [p for half in halves for p in self._leaves(third, depth + 1, half, position)]


class _Panel:
    """Averages at the Chebyshev nodes of a panel in log γ."""

    def __init__(self, low: float, high: float, values: Tensor, error: Tensor) -> None:
        self.low, self.high = low, high
        angle = torch.arccos(_nodes())
        order = torch.arange(NODES, dtype=torch.float64)
        rows = torch.cos(order.unsqueeze(-1) * angle) * (2 / NODES)
        rows[0] /= 2
        self.coefficients = torch.einsum("jl,rlm->rjm", rows, values)
        size = values.abs().mean(0).amax(0)
        tail = self.coefficients[:, -2:].mean(0).abs().amax(0)
        noise = max(NEGLIGIBLE, float(error.max()))
        self.resolved = bool((tail <= torch.clamp(TOLERANCE * size, min=noise)).all())
        self.error = float(error.max() + tail.max())

    def read(self, position: Tensor) -> Tensor:
        """Averages (R, n, 6) at places in log γ."""
        place = (2 * (position - self.low) / (self.high - self.low) - 1).clamp(-1, 1)
        order = torch.arange(NODES, dtype=torch.float64)
        basis = torch.cos(torch.arccos(place).unsqueeze(-1) * order)
        return torch.einsum("nj,rjm->rnm", basis, self.coefficients)


def _nodes() -> Tensor:
    angle = (2 * torch.arange(NODES, dtype=torch.float64) + 1) * math.pi / (2 * NODES)
    return torch.cos(angle)


_KNOWN: WeakKeyDictionary[Curves, DerivativeCurves] = WeakKeyDictionary()


def derivatives_of(curves: Curves) -> DerivativeCurves:
    """The averages that go with ``curves``, kept as long as these are.

    Example:
        >>> from smdtheory.truth.curves import curves_of
        >>> one = GaussianMixture([1.0], [[0.0]], 1.0)
        >>> derivatives_of(curves_of(one)).at(torch.ones(1).double(), third=True).third
        tensor([[0.]], dtype=torch.float64)
    """
    if curves not in _KNOWN:
        _KNOWN[curves] = DerivativeCurves(curves)
    return _KNOWN[curves]
