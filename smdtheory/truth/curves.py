r"""The averages of :mod:`smdtheory.truth.moments` as functions of the signal-to-noise ratio.

They are analytic in log γ, so a few panels of Chebyshev nodes, halved where they must be, give
every level of every schedule (:mod:`smdtheory.truth.interpolation`). A handful of levels is
computed directly.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smdtheory.estimate import Estimate
from smdtheory.truth.histogram import BIN
from smdtheory.truth.interpolation import Panels, Span, chebyshev_angles
from smdtheory.truth.mixture import GaussianMixture, check_mixture
from smdtheory.truth.moments import NEGLIGIBLE, moments, sampled
from smdtheory.truth.spectral import SpectralCovariance
from smdtheory.truth.table import SPECTRA, Moments

NODES = 24
"""Chebyshev nodes on a panel."""

NOISE = 1e-3
"""A level's error, a difference of two rules, is this many times the noise of the finer one: what
panels cannot resolve."""

MAX_HALVINGS = 6
"""A panel is halved at most this often; what is left is reported in the error."""

TOLERANCE = 1e-8
"""Panels are halved until their last Chebyshev coefficients are below this, relative to averages
below 1."""

SAMPLED_TOLERANCE = 1e-5
"""The same, absolute, where the averages are sampled: far below their standard error."""

DIRECT_LEVELS = 16
"""Up to this many levels are computed directly, without panels."""

CACHED_MIXTURES = 16
"""Curves kept in memory, most recently used last."""


class Curves:
    """The information curves of one mixture; made by :func:`curves_of`.

    Attributes:
        mixture: q(x_0) in the coordinates in which its components differ.
        shared: variances of the other coordinates, which every component shares and which are
            independent of everything else.
        dim: d of the original mixture.
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture, self.shared = _split_shared(mixture)
        self.dim = mixture.dim
        self.sampled = sampled(self.mixture)
        self._panels = Panels(self._computed, MAX_HALVINGS)
        self._recent: OrderedDict[bytes, Moments] = OrderedDict()
        self._precision = float(self.mixture.dim / self.mixture.total_variance)

    def at(
        self, snr: Tensor, *, direct: bool | None = None, spectra: Sequence[str] = SPECTRA
    ) -> Moments:
        """Averages at the finite or infinite levels ``snr`` (L,).

        Args:
            snr: γ > 0.
            direct: compute each level (True) or interpolate (False); by default direct for up to
                :data:`DIRECT_LEVELS` levels, and always at γ = ∞.
            spectra: of :data:`SPECTRA`, those wanted: hundreds of numbers for each level, so that
                reading one that nobody looks at takes longer than all the rest.
        """
        if direct is None:
            direct = len(snr) <= DIRECT_LEVELS
        names = [name for name in SPECTRA if direct or name in spectra]
        key = snr.numpy().tobytes() + repr((direct, names)).encode()
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        result = self._direct(snr) if direct else self._interpolated(snr, names)
        self._recent[key] = result
        if len(self._recent) > CACHED_MIXTURES:
            self._recent.popitem(last=False)
        return result

    def within(self, snr: Tensor) -> Tensor:
        """Variances of x_0 given x_t and the label, (L, K, d'), with their weights in ``counts``.

        Each of the d variances λ/(1 + γλ) of component k appears; a low-rank residual appears once,
        counted d − r times.
        """
        values, _ = self.eigenvalues()
        return 1 / (1 / values + snr[:, None, None])

    def within_sum(self, values: Tensor) -> Tensor:
        """Σ_k w_k Σ_i values[..., k, i] over what :meth:`within` returns, (L,)."""
        _, counts = self.eigenvalues()
        return ((values * counts).sum(-1) * self.mixture.weights).sum(-1)

    def eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Variances of x_0 given the label, (K, d'), and how often each of the d' counts, (d',)."""
        values, counts = self.mixture.spectral.spectrum()
        beside = self.shared.expand(len(values), -1)
        return torch.cat([values, beside], -1), torch.cat([counts, torch.ones_like(self.shared)])

    def mmse(self, levels: Moments) -> Tensor:
        """E tr Cov(x_0|x_t), (R, L)."""
        return levels.between + self.within_sum(self.within(levels.snr))

    def estimate(self, value: Tensor, error: Tensor) -> Estimate:
        """Averages (R, ...), or what was made of them, with their numerical error (...).

        Returns:
            Shape (...); where the averages are sampled their replicates say the error.
        """
        if self.sampled:
            return Estimate.from_replicates(value)
        known = self.mixture.num_components == 1
        return Estimate(value[0], error, "closed form" if known else "quadrature")

    def _direct(self, snr: Tensor) -> Moments:
        return moments(self.mixture, snr, shared=self.shared)

    def _interpolated(self, snr: Tensor, names: Sequence[str]) -> Moments:
        position = torch.log(snr)
        leaves = self._panels.at(position)
        first = min(leaf.first_bin for leaf in leaves)
        last = max(leaf.first_bin + len(leaf.levels.grid) for leaf in leaves)
        replicates, count = leaves[0].levels.between.shape[0], len(snr)

        def empty(*shape: int) -> Tensor:
            return torch.zeros(replicates, count, *shape, dtype=torch.float64)

        between, entropy, excess = empty(), empty(), empty()
        spectra = {name: empty(last - first) for name in names}
        error = torch.zeros(count, dtype=torch.float64)
        for leaf in leaves:
            inside = leaf.span.holds(position)
            weights = leaf.interpolation(position[inside])
            here, node = self._rate(snr[inside]), self._rate(leaf.levels.snr)
            between[:, inside] = (leaf.levels.between * node) @ weights.mT / here
            entropy[:, inside] = leaf.levels.label_entropy @ weights.mT
            excess[:, inside] = (leaf.levels.excess * node.square()) @ weights.mT / here.square()
            shift = leaf.first_bin - first
            bins = slice(shift, shift + len(leaf.levels.grid))
            for name, target in spectra.items():
                target[:, inside, bins] = weights @ leaf.levels.spectra[name]
            error[inside] = leaf.tail + leaf.levels.error.max()
        grid = torch.exp(BIN * torch.arange(first, last, dtype=torch.float64))
        return Moments(snr, between, entropy, excess, spectra, grid, error)

    def _rate(self, snr: Tensor) -> Tensor:
        """γ + d/tr Cov: the averages times this vary little from panel to panel."""
        return snr + self._precision

    def _computed(self, spans: list[Span]) -> list[_Panel]:
        """Panels, all their levels in one pass."""
        reference = torch.cos(chebyshev_angles(NODES))
        places = [span.width * (span.index + (reference + 1) / 2) for span in spans]
        levels = self._direct(torch.exp(torch.cat(places)))
        panels = []
        for number, span in enumerate(spans):
            part = _trimmed(levels, slice(number * NODES, (number + 1) * NODES))
            tail, size = _tail(part, self._rate(part.snr))
            noise = max(NEGLIGIBLE, NOISE * float(part.error.max()))
            goal = SAMPLED_TOLERANCE if self.sampled else max(noise, TOLERANCE * min(1.0, size))
            panels.append(_Panel(span, part, tail, resolved=tail <= goal))
        return panels


@dataclass
class _Panel:
    span: Span
    levels: Moments
    tail: float
    resolved: bool

    @property
    def first_bin(self) -> int:
        return round(math.log(float(self.levels.grid[0])) / BIN)

    def interpolation(self, position: Tensor) -> Tensor:
        """Barycentric weights (n, NODES) of the panel's nodes for places in log γ."""
        angle = chebyshev_angles(NODES)
        nodes = self.span.low + self.span.width * (torch.cos(angle) + 1) / 2
        sign = 1 - 2 * (torch.arange(NODES) % 2)
        distance = position.unsqueeze(-1) - nodes
        hit = distance == 0
        terms = sign * torch.sin(angle) / torch.where(hit, 1.0, distance)
        terms = torch.where(hit.any(-1, keepdim=True), hit.double(), terms)
        return terms / terms.sum(-1, keepdim=True)


def _trimmed(levels: Moments, rows: slice) -> Moments:
    """The rows of one panel, and of the grid only what they use."""
    used = torch.stack([w[:, rows].abs().sum((0, 1)) for w in levels.spectra.values()]).sum(0) > 0
    places = used.nonzero().flatten()
    bins = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)
    return Moments(
        levels.snr[rows],
        levels.between[:, rows],
        levels.label_entropy[:, rows],
        levels.excess[:, rows],
        {name: w[:, rows, bins].clone() for name, w in levels.spectra.items()},
        levels.grid[bins],
        levels.error[rows],
    )


def _tail(levels: Moments, rate: Tensor) -> tuple[float, float]:
    """Largest of the last two Chebyshev coefficients of the panel's averages, and of the averages.

    Both dimensionless.
    """
    middle = torch.exp(torch.log(levels.snr).mean())
    growth = torch.log1p(middle * levels.grid)
    curves = torch.stack(
        [
            (rate * levels.between).mean(0),
            levels.label_entropy.mean(0),
            (rate.square() * levels.excess).mean(0),
            *((w @ growth).mean(0) for w in levels.spectra.values()),
        ]
    )
    order = torch.arange(NODES - 2, NODES, dtype=torch.float64)
    cosines = torch.cos(order.unsqueeze(-1) * chebyshev_angles(NODES))
    coefficients = (2 / NODES) * curves @ cosines.mT
    return float(coefficients.abs().max()), float(curves.abs().max())


def _split_shared(mixture: GaussianMixture) -> tuple[GaussianMixture, Tensor]:
    """Set aside axes along which all components agree and are independent of the others."""
    spectral, K = mixture.spectral, mixture.num_components
    keep_all = mixture, torch.zeros(0, dtype=torch.float64)
    if K == 1 or not (spectral.is_isotropic or spectral.basis is None):
        return keep_all
    variances = spectral.diagonals()
    same = (mixture.means == mixture.means[:1]).all(0) & (variances == variances[:1]).all(0)
    if not bool(same.any()):
        return keep_all
    if bool(same.all()):
        same[0] = False
    if spectral.is_isotropic:
        rest = SpectralCovariance.isotropic(spectral.residual, int((~same).sum()))
    else:
        rest = SpectralCovariance.diagonal(variances[:, ~same])
    active = GaussianMixture.from_spectral(mixture.logits, mixture.means[:, ~same], rest)
    return active, variances[0, same].clone()


_KNOWN: OrderedDict[bytes, Curves] = OrderedDict()


def curves_of(mixture: GaussianMixture) -> Curves:
    """The curves of a mixture, computed once for each content and kept.

    Raises:
        TypeError: if ``mixture`` is not a :class:`GaussianMixture`.
        ValueError: if it has batch dimensions.
    """
    mixture = check_mixture(mixture).to("cpu", torch.float64)
    spectral = mixture.spectral
    parts = [mixture.logits, mixture.means, spectral.eigenvalues, spectral.residual]
    if spectral.basis is not None:
        parts.append(spectral.basis)
    header = repr([tuple(p.shape) for p in parts]).encode()
    key = header + b"".join(p.detach().contiguous().numpy().tobytes() for p in parts)
    if key not in _KNOWN:
        _KNOWN[key] = Curves(mixture)
        if len(_KNOWN) > CACHED_MIXTURES:
            _KNOWN.popitem(last=False)
    _KNOWN.move_to_end(key)
    return _KNOWN[key]
