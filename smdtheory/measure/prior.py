r"""The prior gap KL(q(x_T) ‖ N(0, I)): what the sampler loses before its first step (§8.1).

With φ the standard normal density and L = log q_T/φ, the gap is the mean of

    2 [q_T L + φ − q_T] / (q_T + φ)

under the mixture ½ q_T + ½ φ: nowhere negative, nowhere large, and of second order in L, so that a
gap of 1e-20 keeps its relative accuracy. L itself is formed without cancellation from

    log (N(x; a, I + D)/φ(x)) = ½ [δᵀ D (I + D)⁻¹ δ + 2 aᵀx − |a|² − log det(I + D)],   δ = x − a.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.measure.divergence import pointwise_divergence
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth import rules
from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.mixture import GaussianMixture, check_mixture
from smdtheory.truth.moments import LATTICE_STEPS, MAX_SCALE_RATIO
from smdtheory.truth.posterior import marginal_at
from smdtheory.truth.spectral import SpectralCovariance

TOLERANCE = 1e-6
"""Relative change between lattices at which the finer one is accepted (d = 2)."""

POINTS = 2048
"""Sobol points for each component and scrambling, where sampled."""

SEED = 0
"""Of the scramblings."""


def prior_gap(mixture: GaussianMixture, schedule: Schedule) -> Estimate:
    """KL(q(x_T) ‖ N(0, I)) in nats (docs/theory.md §8.1).

    In closed form for one component; by quadrature for d <= 2, by sampling for more dimensions or
    components of very unequal size.

    Args:
        mixture: q(x_0), in the scale in which the chain runs.
        schedule: the forward chain.

    Returns:
        A scalar. It is positive unless q_0 = N(0, I).

    Raises:
        TypeError: if the arguments are not a mixture and a schedule.
        ValueError: if the mixture has batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> prior_gap(presets.line(2), Schedule.cosine(3))
        5.93128...e-11 ± ... (quadrature)
    """
    mixture = check_mixture(mixture).to("cpu", torch.float64)
    contrast = _Contrast(mixture, check_schedule(schedule).snr[-1])
    if mixture.num_components == 1:
        value = contrast.one_component()
        return Estimate(value, ROUNDING * value, "closed form")
    if mixture.dim == 1:
        fine, coarse = (contrast.graded(order) for order in (10, 7))
        return Estimate(fine, (fine - coarse).abs() + ROUNDING * fine, "quadrature")
    if mixture.dim == 2 and contrast.scale_ratio() <= MAX_SCALE_RATIO:
        return contrast.lattices()
    normals = rules.sobol_normals(mixture.dim, POINTS, SEED)
    weights = torch.full((POINTS,), 1 / POINTS, dtype=torch.float64)
    return Estimate.from_replicates(torch.stack([contrast.mean(u, weights) for u in normals]))


class _Contrast:
    """q_T beside φ. The components of ½ q_T + ½ φ are those of q_T, and N(0, I) as the last."""

    def __init__(self, mixture: GaussianMixture, snr: Tensor) -> None:
        q = marginal_at(mixture, snr)
        self.logits, self.centres, self.spectral = q.logits, q.means, q.spectral
        signal = 1 / (1 + 1 / snr)
        self.excess = mixture.spectral.map(lambda v: signal * (v - 1))  # D_k
        self.squares = self.centres.square().sum(-1)
        self.dim = mixture.dim

    def one_component(self) -> Tensor:
        """The gap of a single Gaussian."""
        misfit = self.excess.sum(  # D − log(1 + D)
            lambda v: pointwise_divergence(torch.zeros_like(v), torch.log1p(v), -torch.log1p(v))
        )
        return 0.5 * (self.squares + misfit).squeeze(0)

    def scale_ratio(self) -> float:
        """Largest over smallest variance of q_T and φ."""
        largest = self.spectral.largest().max().clamp(min=1.0)
        return float(largest / self.spectral.smallest().min().clamp(max=1.0))

    def graded(self, order: int) -> Tensor:
        """d = 1: panels, graded around narrower components."""
        std = torch.cat([self.spectral.diagonals()[:, 0].sqrt(), torch.ones(1).double()])
        centres = torch.cat([self.centres[:, 0], torch.zeros(1).double()])
        total = torch.zeros((), dtype=torch.float64)
        for k in range(len(std)):
            edges = rules.graded_edges((centres - centres[k]) / std[k], std / std[k])
            u, weights = rules.panel_nodes(edges, order)
            u = u.unsqueeze(-1)
            total = total + self._under(k, u, rules.normal_weights(u, weights))
        return total

    def lattices(self) -> Estimate:
        """d = 2: lattices, each finer than the one before, until two agree."""
        value = change = torch.full((), torch.inf, dtype=torch.float64)
        for step in LATTICE_STEPS:
            before, previous, value = change, value, self.mean(*rules.lattice(step))
            change = (value - previous).abs()
            error = rules.lattice_error(change, before, value)
            if float(error) <= TOLERANCE * float(value):
                break
        return Estimate(value, error + ROUNDING * value, "quadrature")

    def mean(self, u: Tensor, weights: Tensor) -> Tensor:
        """The gap, by one rule for a standard normal: points u (n, d) with ``weights`` (n,)."""
        parts = [self._under(k, u, weights) for k in range(len(self.centres) + 1)]
        return torch.stack(parts).sum()

    def _under(self, k: int, u: Tensor, weights: Tensor) -> Tensor:
        """What component k of ½ q_T + ½ φ contributes."""
        rows = max(1, BLOCK_ELEMENTS // (len(self.centres) * self.dim))
        total = torch.zeros((), dtype=torch.float64)
        for points, mass in zip(torch.split(u, rows), torch.split(weights, rows), strict=True):
            if k < len(self.centres):
                step = _component(self.spectral, k).apply(torch.sqrt, points.unsqueeze(-2))
                points = self.centres[k] + step.squeeze(-2)
            gap = self._log_ratio(points)
            share = pointwise_divergence(logsigmoid(gap), logsigmoid(-gap), gap)
            total = total + (mass * share).sum()
        share_of_k = self.logits[k].exp() if k < len(self.centres) else 1.0
        return total * share_of_k

    def _log_ratio(self, x: Tensor) -> Tensor:
        """log q_T/φ at points (n, d)."""
        delta = x.unsqueeze(-2) - self.centres
        stretch = (self.excess.apply(lambda v: v / (1 + v), delta) * delta).sum(-1)
        shift = 2 * x @ self.centres.mT - self.squares
        ratio = 0.5 * (stretch + shift - self.excess.sum(torch.log1p))  # (n, K)
        near = torch.log1p((self.logits.exp() * torch.expm1(ratio.clamp(max=1.0))).sum(-1))
        far = torch.logsumexp(self.logits + ratio, -1)
        return torch.where(ratio.abs().amax(-1) < 1, near, far)


def _component(spectral: SpectralCovariance, k: int) -> SpectralCovariance:
    return spectral.select(torch.tensor([k]))
