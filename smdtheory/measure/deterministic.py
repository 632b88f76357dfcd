r"""The global error of the deterministic sampler, DDIM, with the exact score, d = 1 (§8.5).

In y = x_t/√ᾱ_t and τ = 1/γ a step is y_s = x̂ + κ (y − x̂) with x̂ = E[x_0 | x_t], κ = √(τ_s/τ_t),
and slope κ + (1 − κ) γ_t Var(x_0 | x_t) > 0. So the sampler is an increasing map F of x_T to x_0.
Drawn back through F, the data have density q̃(z) = q_0(F(z)) F′(z) beside φ = N(0, 1), and

    E = KL(q_0 ‖ p_0) = ∫ (q̃ log(q̃/φ) + φ − q̃) dz.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.measure.divergence import pointwise_divergence
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth.mixture import GaussianMixture, check_mixture
from smdtheory.truth.rules import REACH, gauss_legendre

ORDER, COARSE_ORDER = 10, 7
"""Gauss–Legendre nodes on a panel, and on the same panel for its error."""

PANEL = 0.5
"""Width of the first panels in z, where φ has mass."""

TOLERANCE, RELATIVE_TOLERANCE = 1e-14, 1e-12
"""A panel is halved until the two orders agree on it to this, absolute plus relative."""

MAX_PANELS = 1024
"""More panels than this in one round mean that rounding, which a steep F magnifies, is all that the
orders differ by: it is then left in the error."""


def ddim_global_error(mixture: GaussianMixture, schedule: Schedule) -> Estimate:
    """KL(q_0 ‖ p_0) of DDIM with the exact score, in nats, d = 1 (docs/theory.md §8.5).

    Every step of it is a point mass at each x_t, so that its local errors are infinite; the global
    error is finite. Source of the sampler: Song, Meng and Ermon (2021), η = 0.

    Args:
        mixture: q(x_0), d = 1.
        schedule: the chain.

    Returns:
        A scalar, by quadrature.

    Raises:
        TypeError: if the arguments are not a mixture and a schedule.
        ValueError: if d is not 1, or the mixture has batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> ddim_global_error(presets.line(4).standardized(), Schedule.cosine(100))
        0.00218078... ± ... (quadrature)
    """
    check_mixture(mixture)
    check_schedule(schedule)
    if mixture.dim != 1:
        raise ValueError(
            f"the deterministic sampler is followed in d = 1 only; received d = {mixture.dim}. "
            "Take the mixture of one coordinate: its means[:, :1] and variances[:, :1]."
        )
    flow = _Flow(mixture.to("cpu", torch.float64), schedule)
    value, error, mass = flow.integrals()
    lost = abs(float(mass) - 1)
    error = error + lost * (torch.sqrt(2 * value.abs()) + value.abs()) + ROUNDING * value.abs()
    return Estimate(value, error, "quadrature")


class _Flow:
    """The map F from x_T to x_0."""

    def __init__(self, mixture: GaussianMixture, schedule: Schedule) -> None:
        self.mixture, self.snr = mixture, schedule.snr
        self.means = mixture.means[:, 0]
        self.variances = mixture.spectral.diagonals()[:, 0]

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """F(z) and log F′(z), any shape."""
        gamma = self.snr[1:].flip(0)
        y = z * torch.sqrt(1 + 1 / gamma[0])
        log_slope = torch.full_like(z, 0.5 * math.log1p(1 / float(gamma[0])))
        ratios = torch.cat([gamma[:-1] / gamma[1:], torch.zeros(1, dtype=torch.float64)]).sqrt()
        for level, kappa in zip(gamma.tolist(), ratios.tolist(), strict=True):
            mean, variance = self._posterior(y, level)
            y = mean + kappa * (y - mean)
            log_slope = log_slope + torch.log(kappa + (1 - kappa) * level * variance)
        return y, log_slope

    def _posterior(self, y: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_0 given y = x_0 + N(0, 1/γ)."""
        total = self.variances + 1 / gamma
        deviation = y.unsqueeze(-1) - self.means
        joint = self.mixture.logits - 0.5 * (torch.log(total) + deviation.square() / total)
        weights = torch.softmax(joint, -1)
        centres = self.means + self.variances / total * deviation
        mean = (weights * centres).sum(-1)
        spread = (centres - mean.unsqueeze(-1)).square()
        within = self.variances / (1 + gamma * self.variances)
        return mean, (weights * (within + spread)).sum(-1)

    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """E, its error, and the mass of q̃."""
        edges = self._edges()
        left, right = edges[:-1], edges[1:]
        image = self(edges)[0]
        low, high = image[:-1], image[1:]
        totals = torch.zeros(3, dtype=torch.float64)
        while len(left):
            fine, mass = self._rule(left, right, ORDER)
            coarse, _ = self._rule(left, right, COARSE_ORDER)
            change = (fine - coarse).abs()
            goal = TOLERANCE + RELATIVE_TOLERANCE * totals[0].abs()
            done = (change <= goal) & ~self._leaps(low, high)
            if len(left) > MAX_PANELS:
                done = torch.ones_like(done)
            totals = totals + torch.stack([v[done].sum() for v in (fine, change, mass)])
            left, right, low, high = (v[~done] for v in (left, right, low, high))
            middle = 0.5 * (left + right)
            image = self(middle)[0]
            left, right = torch.cat([left, middle]), torch.cat([middle, right])
            low, high = torch.cat([low, image]), torch.cat([image, high])
        return totals[0], totals[1], totals[2]

    def _edges(self) -> Tensor:
        """First edges in z, as far out as φ or q̃ has mass."""
        reach = REACH * self.variances.sqrt()
        bottom, top = (self.means - reach).min(), (self.means + reach).max()
        count = math.ceil(REACH / PANEL)
        edges = PANEL * torch.arange(-count, count + 1, dtype=torch.float64)
        while float(self(edges[-1:])[0]) < top:
            edges = torch.cat([edges, 2 * edges[-1:]])
        while float(self(edges[:1])[0]) > bottom:
            edges = torch.cat([2 * edges[:1], edges])
        return edges

    def _leaps(self, low: Tensor, high: Tensor) -> Tensor:
        """Whether a panel's image (low, high) passes through a mode in more than one std of it."""
        std = self.variances.sqrt()
        touches = (high.unsqueeze(-1) > self.means - REACH * std) & (
            low.unsqueeze(-1) < self.means + REACH * std
        )
        return (touches & ((high - low).unsqueeze(-1) > std)).any(-1)

    def _rule(self, left: Tensor, right: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """The integrals of E and of q̃ over each panel."""
        nodes, weights = gauss_legendre(order)
        half = 0.5 * (right - left).unsqueeze(-1)
        z = 0.5 * (left + right).unsqueeze(-1) + half * nodes
        x, log_slope = self(z)
        log_q = self.mixture.log_prob(x.unsqueeze(-1)) + log_slope
        log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
        integrand = pointwise_divergence(log_q, log_normal, log_q - log_normal)
        mass = (half * weights * log_q.exp()).sum(-1)
        return (half * weights * integrand).sum(-1), mass
