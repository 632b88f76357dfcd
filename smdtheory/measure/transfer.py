r"""The global error itself in d = 1, by transfer of densities (docs/theory.md §8.2).

    p_T = N(0, 1),   p_s(x) = ∫ p(x | x_t) p_t(x_t) dx_t,   E = ∫ (q_0 log(q_0/p_0) + p_0 − q_0) dx.

A denoiser's law of x_s at each quadrature node x_t is a sum of Gaussian kernels; p_s is the sum of
them all. Gauss–Legendre panels at each level are short enough for the kernels that land there, and
are divided until the kernels that leave there follow polynomials. The integrand of E is nowhere
negative, so that errors in p_0 count in proportion to p_0 − q_0: an E of 1e-20 is not lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.measure.divergence import pointwise_divergence
from smdtheory.measure.panels import (
    WIDTH,
    OutOfRangeError,
    covering_panels,
    divided,
    panel_rule,
    wanted_parts,
)
from smdtheory.models.denoiser import Denoiser, model_law
from smdtheory.schedule import Schedule
from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import marginal_at

ORDER, COARSE_ORDER = 12, 8
"""Nodes on a panel, and in the second run, which gives the error."""

LAST_WIDTH = 1.0
"""Widest panel at s = 0, in standard deviations of a kernel: log(q_0/p_0), which is integrated
there, has singularities near the line."""

REACHES = (9.0, 36.0)
"""Kernels are cut off at this many standard deviations. The second is for a p_0 that nearly
vanishes where the data are."""

TRUSTED_RATIO, LEAST_RATIO = 1e-12, 1e-280
"""Least p_0/q_0, where the data are, at which what the first reach cuts off cannot matter, and at
which float64 still holds p_0."""

NEGLIGIBLE = 1e-14
"""Nodes with less of the data's mass than this do not count as where the data are."""

LEAST_WEIGHT = 1e-18
"""Components of a law with less weight than this are left out."""

MAX_KERNELS = 10**9
"""Kernel evaluations in one run, about ten seconds of work: beyond, the error is not computed."""

CALL_COST = 2 * 10**5
"""Kernel evaluations that one call of the denoiser counts as. A smooth one is called once or twice
a level, one that jumps twenty times."""


@dataclass(frozen=True)
class _Kernels:
    """Σ_j mass_j N(centre_j, std_j²), each entry (n,)."""

    centre: Tensor
    std: Tensor
    mass: Tensor

    def keep(self, mask: Tensor) -> _Kernels:
        return _Kernels(self.centre[mask], self.std[mask], self.mass[mask])


def transferred_error(mixture: GaussianMixture, schedule: Schedule, denoiser: Denoiser) -> Estimate:
    """KL(q_0 ‖ p_0) in nats for d = 1, p_0 what the sampler draws from (docs/theory.md §8.2).

    Args:
        mixture: q(x_0), d = 1.
        schedule: the chain.
        denoiser: p(x_s | x_t).

    Returns:
        A scalar; its error comes from a second run with fewer nodes, and from mass of p_0 that is
        missing or sits where the denoiser jumps.

    Raises:
        OutOfRangeError: where the chain needs more than :data:`MAX_KERNELS` kernel evaluations or
            :data:`smdtheory.measure.panels.MAX_PANELS` panels, or p_0 falls below
            :data:`LEAST_RATIO` of q_0 where the data are.

    Example:
        >>> from smdtheory.models.oracle import BestGaussian
        >>> from smdtheory.truth import presets
        >>> q = presets.line(2).standardized()
        >>> transferred_error(q, Schedule.cosine(3), BestGaussian(q, "full"))
        0.18298... ± ... (quadrature)
    """
    for reach in REACHES:
        transfer = _Transfer(mixture, schedule, denoiser, reach)
        fine = transfer.run(ORDER)
        if fine.ratio > TRUSTED_RATIO:
            break
    if fine.ratio < LEAST_RATIO:
        raise OutOfRangeError(
            f"the model's density falls below {LEAST_RATIO:.0e} of the data's where the data are"
        )
    coarse = transfer.run(COARSE_ORDER)
    # An error ε of log p_0 costs ∫ (p_0 − q_0) ε: of the order of √(2E) by Pinsker's inequality
    # where p_0 is close to q_0, and of E where it is not.
    slack = 2 * fine.misplaced * (math.sqrt(2 * abs(fine.value)) + abs(fine.value) + fine.misplaced)
    error = abs(fine.value - coarse.value) + slack + fine.doubtful + ROUNDING * abs(fine.value)
    number = torch.tensor([fine.value, error], dtype=torch.float64)
    return Estimate(number[0], number[1], "quadrature")


class _Outcome(NamedTuple):
    """Of one run.

    Attributes:
        value: E.
        misplaced: the mass of p_0 that is missing, or on panels where the denoiser jumps.
        doubtful: the part of E from where the data have next to no mass, and p_0 is not resolved.
        ratio: the least p_0/q_0 where the data are.
    """

    value: float
    misplaced: float
    doubtful: float
    ratio: float


class _Transfer:
    """One chain, cut off at one reach; its panels are chosen in the first run and kept."""

    def __init__(
        self, mixture: GaussianMixture, schedule: Schedule, denoiser: Denoiser, reach: float
    ) -> None:
        self.mixture, self.schedule, self.denoiser = mixture, schedule, denoiser
        self.reach = reach
        self.floor = math.exp(-0.5 * (reach + 1) ** 2)
        self.known: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.cost = 0

    def run(self, order: int) -> _Outcome:
        """Take N(0, 1) from T to 0 with ``order`` nodes on a panel."""
        one, self.cost, misplaced = torch.ones(1, dtype=torch.float64), 0, 0.0
        kernels = _Kernels(0 * one, one, one)
        for t in range(self.schedule.steps, 0, -1):
            nodes, weights, law = self._level(kernels, t, order)
            mass = weights * self._density(kernels, nodes)
            jump = self.known[t][2]
            misplaced += float(mass.reshape(len(jump), order)[jump].sum())
            share = torch.where(law.mass > LEAST_WEIGHT, law.mass, 0.0)
            kernels = _Kernels(*(v.flatten() for v in (law.centre, law.std, mass[:, None] * share)))
        left, right = self._panels(kernels, 0, LAST_WIDTH)
        nodes, weights = (v.flatten() for v in panel_rule(left, right, order))
        log_q = self.mixture.log_prob(nodes.unsqueeze(-1))
        p = self._density(kernels, nodes)
        gap = log_q - torch.log(p)
        held = gap.clamp(max=-math.log(LEAST_RATIO))
        terms = weights * pointwise_divergence(log_q, torch.log(p), held)
        present = weights * log_q.exp() > NEGLIGIBLE
        lost = abs(1 - float((weights * p).sum()))
        doubtful = float(terms[~present & (gap > -math.log(TRUSTED_RATIO))].sum())
        ratio = math.exp(-float(gap[present].max()))
        return _Outcome(float(terms.sum()), misplaced + lost, doubtful, ratio)

    def _level(self, kernels: _Kernels, t: int, order: int) -> tuple[Tensor, Tensor, _Kernels]:
        """Sorted nodes and weights (n,) at level t, and the laws of x_{t−1} there, (n, K)."""
        if t in self.known:
            left, right, _ = self.known[t]
            nodes, weights = panel_rule(left, right, order)
            return nodes.flatten(), weights.flatten(), self._law(nodes.flatten(), t)
        left, right = self._panels(kernels, t, WIDTH)
        finished: list[tuple[Tensor, ...]] = []
        while len(left):
            nodes, weights = panel_rule(left, right, order)
            places = torch.cat([left.unsqueeze(-1), nodes, right.unsqueeze(-1)], -1)
            law = vars(self._law(places.flatten(), t)).values()
            centre, std, mass = (v.reshape(*places.shape, -1) for v in law)
            parts, jump = wanted_parts(centre, std, mass, right - left)
            done = parts == 1
            entries = left, right, jump, nodes, weights, *(v[:, 1:-1] for v in (centre, std, mass))
            finished.append(tuple(v[done] for v in entries))
            left, right = divided(left[~done], right[~done], parts[~done])
        left, right, jump, nodes, weights, *rest = (
            torch.cat(v) for v in zip(*finished, strict=True)
        )
        by_place = left.argsort()
        self.known[t] = left[by_place], right[by_place], jump[by_place]
        nodes, weights = nodes[by_place].flatten(), weights[by_place].flatten()
        return nodes, weights, _Kernels(*(v[by_place].flatten(0, 1) for v in rest))

    def _law(self, nodes: Tensor, t: int) -> _Kernels:
        """p(x_{t−1} | x_t) at nodes (n,): means, stds and weights (n, K)."""
        self._spend(CALL_COST)
        snr = self.schedule.snr
        law = model_law(self.denoiser, nodes.unsqueeze(-1), snr[t], snr[t - 1])
        std = law.spectral.diagonals().squeeze(-1).sqrt()
        if not bool((std > 0).all()):
            raise OutOfRangeError(f"the denoiser has a variance of 0 at t = {t}: no density")
        return _Kernels(law.means.squeeze(-1), std.expand_as(law.logits), law.weights)

    def _panels(self, kernels: _Kernels, s: int, width: float) -> tuple[Tensor, Tensor]:
        """Panels (P,) wherever p_s or q_s has mass."""
        q_s = marginal_at(self.mixture, self.schedule.snr[s])
        used = kernels.keep(kernels.mass > self.floor)
        centre = torch.cat([used.centre, q_s.means[:, 0]])
        std = torch.cat([used.std, q_s.spectral.diagonals()[:, 0].sqrt()])
        return covering_panels(centre, std, self.reach, width)

    def _density(self, kernels: _Kernels, nodes: Tensor) -> Tensor:
        """Σ_j mass_j N(x; centre_j, std_j²) at sorted nodes x, each kernel within its reach."""
        kernels = kernels.keep(kernels.mass > 0)
        reach = self.reach * kernels.std
        first = torch.searchsorted(nodes, kernels.centre - reach)
        count = torch.searchsorted(nodes, kernels.centre + reach) - first
        self._spend(int(count.sum()))
        order = count.argsort()
        height = kernels.mass / (kernels.std * math.sqrt(2 * math.pi))
        density = torch.zeros_like(nodes)
        begin = int((count == 0).sum())
        while begin < len(order):
            span = int(count[order[min(begin + 256, len(order)) - 1]])
            end = min(len(order), begin + max(256, BLOCK_ELEMENTS // span))
            block = order[begin:end]
            span = int(count[block[-1]])
            start = first[block].clamp(max=len(nodes) - span).unsqueeze(-1)
            index = start + torch.arange(span)
            z = (nodes[index] - kernels.centre[block, None]) / kernels.std[block, None]
            values = torch.exp(-0.5 * z.square()) * height[block, None]
            density.index_add_(0, index.flatten(), values.flatten())
            begin = end
        return density

    def _spend(self, evaluations: int) -> None:
        self.cost += evaluations
        if self.cost > MAX_KERNELS:
            raise OutOfRangeError(
                f"the transfer of densities would take more than {MAX_KERNELS:.0e} kernel "
                "evaluations: there are too many steps, or too narrow ones, or the denoiser jumps"
            )
