r"""Averages of second and third derivatives of log q_t, from posterior cumulants (§11.1).

With C = Cov(x_0 | x_t) and κ₃ the third cumulant of x_0 given x_t, a tensor,

    I + (1 − ᾱ) ∇² log q_t = γ C,        (1 − ᾱ)^{3/2} ∇³ log q_t = γ^{3/2} κ₃

(docs/theory.md §11.1): no derivative is taken, neither by differences nor by autograd. The averages
over x_t are those of :mod:`smdtheory.truth.cumulants`, interpolated in log γ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING
from smdtheory.truth.cumulants import AVERAGES, CumulantTable, growth_of, within_trace
from smdtheory.truth.curves import Curves
from smdtheory.truth.interpolation import Panels, Span, chebyshev_angles
from smdtheory.truth.moments import MAX_DIM, NEGLIGIBLE, filled

MAX_THIRD_DIM = 16
"""Largest d for which the third cumulant is formed, d(d + 1)(d + 2)/6 = 816 numbers a point."""

ALL_AT_ONCE = 2
"""Up to this d the third cumulant, of few numbers, is averaged along with the rest."""

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


class DerivativeCurves:
    """The averages of one mixture as functions of γ, interpolated in log γ (§9.2).

    Args:
        curves: of the mixture.
    """

    def __init__(self, curves: Curves) -> None:
        self.mixture, self.shared, self.dim = curves.mixture, curves.shared, curves.dim
        self._panels = {
            third: Panels(partial(self._computed, third), MAX_HALVINGS) for third in (False, True)
        }

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
        dim, limit = self.mixture.dim, MAX_THIRD_DIM if third else MAX_DIM
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
        dim, shared = self.dim, self.shared
        growth = growth_of(self.mixture, snr, shared)
        unit = (1 + snr) / growth  # H = (A − I)(1 + γ)
        trace, spread, uneven, off, third, from_unit = values.unbind(-1)
        beside = (shared / (1 + snr.unsqueeze(-1) * shared)).sum(-1)
        variance = (trace / (growth * snr) + within_trace(self.mixture, snr) + beside) / dim
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
        tables = filled(lambda: CumulantTable(self.mixture, snr, self.shared, third))
        rounding = ROUNDING * tables[0].growth ** (1.5 if third else 1.0)
        values = torch.stack([t.scalars * t.scale() for t in tables])
        values[..., 1] -= values[..., 0].square()
        return values, tables[0].error + rounding

    def _read(self, snr: Tensor, third: bool) -> tuple[Tensor, Tensor]:
        """The same, from panels."""
        position = torch.log(snr)
        panels = self._panels[third].at(position)
        if not panels:
            raise ValueError("snr must not be empty; received no level. Give at least one.")
        values = torch.empty(len(panels[0].coefficients), len(snr), AVERAGES, dtype=torch.float64)
        error = torch.zeros_like(snr)
        for panel in panels:
            here = panel.span.holds(position)
            values[:, here], error[here] = panel.read(position[here]), panel.error
        return values, error

    def _computed(self, third: bool, spans: list[Span]) -> list[_Panel]:
        """Panels, one pass for each."""
        nodes = torch.cos(chebyshev_angles(NODES))
        places = [span.low + span.width * (nodes + 1) / 2 for span in spans]
        return [
            _Panel(span, *self._direct(torch.exp(place), third))
            for span, place in zip(spans, places, strict=True)
        ]


class _Panel:
    """Averages at the Chebyshev nodes of a panel in log γ."""

    def __init__(self, span: Span, values: Tensor, error: Tensor) -> None:
        self.span = span
        angle = torch.arccos(torch.cos(chebyshev_angles(NODES)))
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
        place = (2 * (position - self.span.low) / self.span.width - 1).clamp(-1, 1)
        order = torch.arange(NODES, dtype=torch.float64)
        basis = torch.cos(torch.arccos(place).unsqueeze(-1) * order)
        return torch.einsum("nj,rjm->rnm", basis, self.coefficients)


_KNOWN: WeakKeyDictionary[Curves, DerivativeCurves] = WeakKeyDictionary()


def derivatives_of(curves: Curves) -> DerivativeCurves:
    """The averages that go with ``curves``, kept as long as these are.

    Example:
        >>> from smdtheory import GaussianMixture
        >>> from smdtheory.truth.curves import curves_of
        >>> one = GaussianMixture([1.0], [[0.0]], 1.0)
        >>> derivatives_of(curves_of(one)).at(torch.ones(1).double(), third=True).third
        tensor([[0.]], dtype=torch.float64)
    """
    if curves not in _KNOWN:
        _KNOWN[curves] = DerivativeCurves(curves)
    return _KNOWN[curves]
