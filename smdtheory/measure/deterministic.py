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

MAX_ROUNDS = 128
"""Halvings of a panel at most: more than from the widest to the spacing of float64 near 1."""

MAX_DOUBLINGS = 256
"""The panels reach at most to 2 to this power in z."""

MASS_TOLERANCE = 1e-6
"""The mass of q̃ is 1, and of it no more than this may lie where F is too steep for float64."""

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
        ValueError: if d is not 1, or the mixture has batch dimensions; or if more than
            :data:`MASS_TOLERANCE` of the data's mass is out of reach in float64, as with modes that
            are very narrow beside their distance and the schedule's first noise: each step narrows
            them too much, and mass of one then comes from where the map leaps to the next.

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
    value, error, mass, steep = (float(v) for v in flow.integrals())
    lost = max(steep, abs(mass - 1))
    error += lost * (math.sqrt(2 * abs(value)) + abs(value)) + ROUNDING * abs(value)
    if not (lost <= MASS_TOLERANCE and error <= max(abs(value), MASS_TOLERANCE)):
        std, means = flow.variances.sqrt(), flow.means
        raise ValueError(
            "the modes must be wide enough, beside their distance, for float64 to follow the "
            f"sampler's map through all but {MASS_TOLERANCE:.0e} of the data's mass; received a "
            f"least std of {float(std.min()):.3g} with means within {float(means.min()):.3g}.."
            f"{float(means.max()):.3g} and {schedule.steps} steps. Take wider modes, nearer "
            "together, or a schedule that ends at a higher snr[1]."
        )
    found, bar = torch.tensor([value, error], dtype=torch.float64)
    return Estimate(found, bar, "quadrature")


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

    def integrals(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """E, its error, the mass of q̃, and the mass of q_0 where F is too steep to follow."""
        edges = self._edges()
        left, right = edges[:-1], edges[1:]
        image = self(edges)[0]
        low, high = image[:-1], image[1:]
        totals = torch.zeros(4, dtype=torch.float64)
        totals[3] = self._steep(left, right, low, high)
        if totals[3] > MASS_TOLERANCE:
            return totals[0], totals[1], totals[2], totals[3]
        totals[3] = 0
        for last in [False] * (MAX_ROUNDS - 1) + [True]:
            middle = 0.5 * (left + right)
            fine, coarse, mass, image = self._rules(left, right, middle)
            change = (fine - coarse).abs()
            leaps = self._leaps(low, high)
            goal = TOLERANCE + RELATIVE_TOLERANCE * totals[0].abs()
            stuck = (middle <= left) | (middle >= right)
            stuck |= leaps & ((image <= low) | (image >= high))
            if last or len(left) > MAX_PANELS:
                stuck = torch.ones_like(stuck)
            steep = torch.where(leaps & stuck, self._masses(low, high), 0.0)
            done = ((change <= goal) & ~leaps) | stuck
            totals = totals + torch.stack([v[done].sum() for v in (fine, change, mass, steep)])
            left, right, low, high, middle, image = (
                v[~done] for v in (left, right, low, high, middle, image)
            )
            if not len(left) or not totals[3] <= MASS_TOLERANCE:
                break
            left, right = torch.cat([left, middle]), torch.cat([middle, right])
            low, high = torch.cat([low, image]), torch.cat([image, high])
        return totals[0], totals[1], totals[2], totals[3]

    def _steep(self, left: Tensor, right: Tensor, low: Tensor, high: Tensor) -> float:
        """The mass of q_0 where F is too steep, from the ends of panels alone: soon known."""
        steep = 0.0
        for _ in range(MAX_ROUNDS):
            leaps = self._leaps(low, high)
            left, right, low, high = (v[leaps] for v in (left, right, low, high))
            middle = 0.5 * (left + right)
            image = self(middle)[0]
            stuck = (middle <= left) | (middle >= right) | (image <= low) | (image >= high)
            steep += float(self._masses(low[stuck], high[stuck]).sum())
            left, right, low, high, middle, image = (
                v[~stuck] for v in (left, right, low, high, middle, image)
            )
            if not len(left) or not steep <= MASS_TOLERANCE or len(left) > MAX_PANELS:
                break
            left, right = torch.cat([left, middle]), torch.cat([middle, right])
            low, high = torch.cat([low, image]), torch.cat([image, high])
        return steep

    def _edges(self) -> Tensor:
        """First edges in z, as far out as φ or q̃ has mass."""
        reach = REACH * self.variances.sqrt()
        bottom, top = (self.means - reach).min(), (self.means + reach).max()
        count = math.ceil(REACH / PANEL)
        edges = PANEL * torch.arange(-count, count + 1, dtype=torch.float64)
        far = edges[-1] * 2.0 ** torch.arange(MAX_DOUBLINGS, dtype=torch.float64)
        above, below = self(torch.stack([far, -far]))[0]
        right = far[1 : 1 + int((above < top).cumprod(0).sum())]
        left = -far[1 : 1 + int((below > bottom).cumprod(0).sum())].flip(0)
        return torch.cat([left, edges, right])

    def _leaps(self, low: Tensor, high: Tensor) -> Tensor:
        """Whether a panel's image (low, high) passes through a mode in more than one std of it."""
        std = self.variances.sqrt()
        touches = (high.unsqueeze(-1) > self.means - REACH * std) & (
            low.unsqueeze(-1) < self.means + REACH * std
        )
        return (touches & ((high - low).unsqueeze(-1) > std)).any(-1)

    def _masses(self, low: Tensor, high: Tensor) -> Tensor:
        """The mass of q_0 between low and high, without cancellation in the tails."""
        std = self.variances.sqrt()
        a = (low.unsqueeze(-1) - self.means) / std
        b = (high.unsqueeze(-1) - self.means) / std
        flip = a + b > 0
        a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
        between = torch.special.ndtr(b) - torch.special.ndtr(a)
        masses: Tensor = (self.mixture.weights * between).sum(-1)
        return masses

    def _rules(self, left: Tensor, right: Tensor, middle: Tensor) -> tuple[Tensor, ...]:
        """On each panel: E by the fine and the coarse rule, the mass of q̃, and F(middle)."""
        (nodes, weights), (others, coarse) = (gauss_legendre(n) for n in (ORDER, COARSE_ORDER))
        half = 0.5 * (right - left).unsqueeze(-1)
        places = torch.cat([nodes, others, nodes.new_zeros(1)])
        z = middle.unsqueeze(-1) + half * places
        x, log_slope = self(z)
        log_q = self.mixture.log_prob(x.unsqueeze(-1)) + log_slope
        log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
        integrand = pointwise_divergence(log_q, log_normal, log_q - log_normal)
        first, second = integrand[:, :ORDER], integrand[:, ORDER:-1]
        mass = (half * weights * log_q[:, :ORDER].exp()).sum(-1)
        return (half * weights * first).sum(-1), (half * coarse * second).sum(-1), mass, x[:, -1]
