r"""Errors of the best Gaussian of each family: the bottleneck, exactly (docs/theory.md §5).

For a step γ_t → γ_s with Δγ = γ_s − γ_t, the error of the best member of a family depends on the
mixture and on (γ_s, γ_t) alone. With v_i the variances of x_0 given x_t that the family can
represent, V_k the covariance of x_0 given x_t and the label k, and r the responsibilities,

    M(s,t) = ½ E Σ_i log(1 + Δγ v_i) − Σ_k w_k ½ log det(I + Δγ V_k) − [E H(r(x_t)) − E H(r(x_s))]

(§5.1 with §4.2), s = 0 being the limit Δγ → ∞ (§5.4). When Δγ <= γ_t the same number comes
without cancellation from the small-step form (§5.3),

    M^fixed_small = ½ ∫ (γ_s − γ) E‖Cov(x_0|x_γ)‖_F² dγ,   M = M^fixed_small − ½ E Σ_i h(Δγ v_i),

with h(x) = x − log(1 + x). In both, the same expression for a known label, with V_k in place of
Cov(x_0|x_t), is taken off before averaging: components far apart cost no digits either.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smdtheory.checks import instance
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family, check_family
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth.curves import curves_of
from smdtheory.truth.information import (
    INFINITE,
    conditional_entropy,
    excess,
    mutual_information,
)
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.rules import gauss_legendre

SMALL_STEP = 1.0
"""Steps with Δγ <= γ_t use the small-step form, longer ones the difference form."""

SPECTRUM_ERROR = 1e-11
"""Error of sums over the grid in log v, relative to the weights on it."""

STEPS_TOGETHER = 1024
"""Steps of a chain worked through at once."""

STEP_NODES = 8
"""Gauss–Legendre nodes in log γ on a small step: exact to 1e-12 on a width of log 2."""


def best_gaussian_errors(
    mixture: GaussianMixture, schedule: Schedule, family: Family | str
) -> Estimate:
    """M_t, t = 1..T, of the best Gaussian denoiser of a family (docs/theory.md §5.1).

    Args:
        mixture: q(x_0).
        schedule: the forward chain, T steps.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        Shape (T+1,), in nats, indexed by t, with entry 0 equal to 0. ``fixed_small`` has no
        variance at s = 0; there it is given β_1, as ``fixed_large`` is.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` not a schedule.
        ValueError: for an unknown family, or a mixture with batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> q = presets.line(4).standardized()
        >>> round(float(best_gaussian_errors(q, Schedule.cosine(100), "full").sum()), 7)
        0.0054408
    """
    ladder = _Ladder(mixture, check_schedule(schedule), check_family(family))
    every = torch.arange(1, schedule.steps + 1)
    parts = [ladder.steps(t) for t in torch.split(every, STEPS_TOGETHER)]
    value = torch.cat([torch.zeros_like(parts[0][0][:, :1]), *(part[0] for part in parts)], -1)
    error = torch.cat([torch.zeros_like(parts[0][1][:1]), *(part[1] for part in parts)])
    return ladder.curves.estimate(value, error)


def error_table(mixture: GaussianMixture, schedule: Schedule, family: Family | str) -> Estimate:
    """M(s, t) for every pair s < t of a chain's levels (docs/theory.md §5.1).

    Args:
        mixture: q(x_0).
        schedule: the levels, T + 1 of them.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        Shape (T+1, T+1), in nats: entry [s, t] for s < t, NaN elsewhere.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` not a schedule.
        ValueError: for an unknown family, or a mixture with batch dimensions.

    Example:
        >>> from smdtheory.truth import presets
        >>> table = error_table(presets.line(2), Schedule.cosine(5), "full").value
        >>> bool(table[1, 4] >= table[1, 3] + table[3, 4])  # refining a grid never hurts
        True
    """
    ladder = _Ladder(mixture, check_schedule(schedule), check_family(family))
    T = schedule.steps
    value = torch.full((ladder.replicates, T + 1, T + 1), torch.nan, dtype=torch.float64)
    error = torch.full((T + 1, T + 1), torch.nan, dtype=torch.float64)
    for t in range(1, T + 1):
        value[:, :t, t], error[:t, t] = ladder.column(t, torch.arange(t))
    return ladder.curves.estimate(value, error)


def elbo_terms(mixture: GaussianMixture, schedule: Schedule, errors: Estimate) -> Estimate:
    """The terms of the training loss that a denoiser with local errors M_t has (§5.8).

    L_t = E KL(q(x_{t−1}|x_t,x_0) ‖ p) = M_t + I(γ_{t−1}) − I(γ_t) for t >= 2 and
    L_1 = −E log p(x_0|x_1) = M_1 + E h(x_0|x_1): the loss and the error differ by constants of the
    data.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        errors: M_t, shape (T+1,), of any denoiser.

    Returns:
        Shape (T+1,), in nats, entry 0 equal to 0.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if ``errors`` does not have shape (T+1,).

    Example:
        >>> from smdtheory.truth import presets
        >>> q, chain = presets.line(2), Schedule.cosine(5)
        >>> elbo_terms(q, chain, best_gaussian_errors(q, chain, "full")).value.shape
        torch.Size([6])
    """
    levels = check_schedule(schedule).snr
    instance("errors", errors, Estimate, "local_errors and best_gaussian_errors return them.")
    if errors.value.shape != levels.shape:
        raise ValueError(
            f"errors must have shape (T+1,) = {tuple(levels.shape)}; "
            f"received {tuple(errors.value.shape)}"
        )
    information = mutual_information(mixture, levels[1:])
    first = conditional_entropy(mixture, levels[1:2])

    def gain(first: Tensor, information: Tensor) -> Tensor:
        """0, E h(x_0|x_1), I(γ_{t−1}) − I(γ_t) for t >= 2."""
        fall = information[..., :-1] - information[..., 1:]
        return torch.cat([torch.zeros_like(first), first, fall], -1)

    own, start, others = errors.replicates, first.replicates, information.replicates
    if own is not None and start is not None and others is not None and len(own) == len(others):
        return Estimate.from_replicates(own + gain(start, others))  # they may share draws
    spread = information.error
    slack = torch.cat([spread.new_zeros(1), first.error, spread[:-1] + spread[1:]])
    return errors + Estimate(gain(first.value, information.value), slack, information.method)


class _Ladder:
    """Errors of one family on the levels of one schedule."""

    def __init__(self, mixture: GaussianMixture, schedule: Schedule, family: Family) -> None:
        self.curves = curves_of(mixture)
        self.family = family
        self.fixed = family in ("fixed_small", "fixed_large")
        self.snr = schedule.snr
        self.levels = self.curves.at(self.snr[1:], spectra=(family,))
        self.dim = self.curves.dim
        self.within = self.curves.within(self.snr[1:])
        self.mmse = self.curves.mmse(self.levels)
        self.replicates = len(self.mmse)
        entropy = self.levels.label_entropy
        self.entropy = torch.cat([self.curves.at(INFINITE).label_entropy, entropy], -1)
        self.error = torch.cat([self.curves.at(INFINITE).error, self.levels.error])
        self.moved = torch.zeros(len(self.snr) - 1, dtype=torch.float64)
        if family in self.levels.spectra:
            self.moved = self.levels.spectra[family].abs().sum(-1).amax(0)
        self._integrals()

    def _integrals(self) -> None:
        """∫ c dγ and ∫ (γ_{i−1} − γ) c dγ over [γ_i, γ_{i−1}] for the excess c(γ), (R, T+1)."""
        low, high = self.snr[2:], self.snr[1:-1]
        small = (high - low) <= SMALL_STEP * low
        self.area = torch.zeros(self.replicates, len(self.snr), dtype=torch.float64)
        self.moment = torch.zeros_like(self.area)
        if not bool(small.any()):
            return
        nodes, weights = gauss_legendre(STEP_NODES)
        low, high = low[small], high[small]
        half = 0.5 * torch.log(high / low).unsqueeze(-1)
        middle = 0.5 * torch.log(high * low).unsqueeze(-1)
        gamma = torch.exp(middle + half * nodes)
        found = self.curves.at(gamma.flatten(), spectra=()).excess.reshape(
            self.replicates, *gamma.shape
        )
        measure = found * half * weights * gamma
        index = 2 + small.nonzero().flatten()
        self.area[:, index] = measure.sum(-1)
        self.moment[:, index] = (measure * (high.unsqueeze(-1) - gamma)).sum(-1)

    def steps(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """M(t − 1, t) for several t (P,): values (R, P) and numerical errors (P,)."""
        return self._pairs(t, t - 1, self.moment[:, t])

    def column(self, t: int, s: Tensor) -> tuple[Tensor, Tensor]:
        """M(s, t) for one t and all s < t: values (R, t) and numerical errors (t,)."""
        # ∫ (γ_s − γ) c dγ grows with s by Δγ·(area so far) and the step's own
        area = self.area[:, 1 : t + 1].flip(-1).cumsum(-1).flip(-1)  # [i] is the area from t to i
        lift = torch.where(s > 0, self.snr[s], 0.0) - self.snr[1 : t + 1]
        beyond = torch.cat([area[:, 1:], area.new_zeros(self.replicates, 1)], -1)
        growth = lift * beyond + self.moment[:, 1 : t + 1]
        return self._pairs(torch.tensor([t]), s, growth.flip(-1).cumsum(-1).flip(-1))

    def _pairs(self, t: Tensor, s: Tensor, integral: Tensor) -> tuple[Tensor, Tensor]:
        """M(s, t) for s (P,), t (P,) or (1,), integral = ∫ (γ_s − γ) c dγ of the excess (R, P)."""
        gain = self.snr[s] - self.snr[t]
        ratio = gain / self.snr[t]
        small, last = ratio <= SMALL_STEP, s == 0
        value = torch.empty(self.replicates, len(s), dtype=torch.float64)
        for form, here in (
            (self._short, small),
            (self._long, ~small & ~last),
            (self._last, last),
        ):
            if bool(here.any()):
                own = t if len(t) == 1 else t[here]
                value[:, here] = form(own, s[here], gain[here], integral[:, here])
        size = ratio.square().clamp(max=1.0)
        error = size * (self.error[t] + self.error[s] + SPECTRUM_ERROR * self.moved[t - 1])
        scale = torch.where(small, size * self.dim, self.dim + value.abs().amax(0))
        return value, error + ROUNDING * scale

    def _short(self, t: Tensor, s: Tensor, gain: Tensor, integral: Tensor) -> Tensor:
        """§5.3, from the excess."""
        if self.fixed:
            return 0.5 * (integral + self._known(t, gain, excess) + self._larger(t, s, gain))
        return 0.5 * (integral - self._surplus(t, gain, excess))

    def _long(self, t: Tensor, s: Tensor, gain: Tensor, _: Tensor) -> Tensor:
        """§5.1, as a difference of information gains."""
        if self.fixed:
            gross = gain * self.mmse[:, t - 1] + self._larger(t, s, gain)
            surplus = gross - self._known(t, gain, torch.log1p)
        else:
            surplus = self._surplus(t, gain, torch.log1p)
        return 0.5 * surplus - (self.entropy[:, t] - self.entropy[:, s])

    def _last(self, t: Tensor, s: Tensor, _gain: Tensor, _: Tensor) -> Tensor:
        """§5.4: the step to s = 0, cross-entropy minus conditional entropy."""
        unit = self.snr[t]  # any unit of v would do: with this one, log v is moderate
        if self.fixed:
            precision = 1 + unit  # 1/β_{t|0}
            gross = self.mmse[:, t - 1] * precision - self.dim * (1 + torch.log(precision / unit))
            surplus = gross - self._known(t, unit, torch.log)
        else:
            surplus = self._surplus(t, unit, torch.log)
        return 0.5 * surplus - (self.entropy[:, t] - self.entropy[:, s])

    def _larger(self, t: Tensor, s: Tensor, gain: Tensor) -> Tensor:
        """Twice what the variance β_{t|s} costs beyond β̃_{s|t}, (R, P)."""
        if self.family == "fixed_small":
            return gain.new_zeros(1, 1)
        e = gain / (1 + self.snr[s])
        return self.dim * excess(-e) - e * gain * self.mmse[:, t - 1]

    def _known(self, t: Tensor, gain: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Σ_k w_k Σ_i function(gain · V_ki), V_ki the eigenvalues of V_k at t, (P,)."""
        return self.curves.within_sum(function(gain[:, None, None] * self.within[t - 1]))

    def _surplus(self, t: Tensor, gain: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """E Σ_i function(gain · v_i) over the family's variances at t, less _known, (R, P)."""
        if self.family == "isotropic":
            mean = self.mmse[:, t - 1] / self.dim
            return self.dim * function(gain * mean) - self._known(t, gain, function)
        weights = self.levels.spectra[self.family][:, t - 1]
        used = weights.abs().amax((0, 1)) > 0
        values = function(gain.unsqueeze(-1) * self.levels.grid[used])
        if len(t) == 1:
            return weights[:, 0, used] @ values.mT
        return (weights[..., used] * values).sum(-1)
