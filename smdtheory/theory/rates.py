r"""How the bottleneck fades with T: leading terms and their constants (docs/theory.md §11).

With H = ∇² log q_t and D³ = ∇³ log q_t, components of full rank and β_1 far below their smallest
eigenvalue, M_t is to leading order (§11.2, §11.3)

    fixed_large    ¼ β_t² E‖I + H‖_F²                    isotropic  ¼ β_t² (E‖H‖_F² − (E tr H)²/d)
    isotropic_x    ¼ β_t² E(‖H‖_F² − (tr H)²/d)          diagonal   ¼ β_t² E Σ_{i≠j} H_ij²
    full           β_t³ E‖D³‖² / 12

so that ΣM ~ C/T, and C/T² for `full` and for what equals it. `fixed_small` has no rate: its
variance β̃_t falls short of β_t at the first steps whatever T is (§11.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from smdtheory.checks import positive, shown
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family, check_family
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.theory.inputs import as_truth
from smdtheory.theory.leading import EULER, chain_terms, leading_term
from smdtheory.theory.limits import Limit, limit_of, maker_of
from smdtheory.truth.curves import Curves, curves_of
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.rules import panel_nodes

SHARPEST, FLATTEST = 1e5, 1e-5
"""Constants are integrated from γ = 1e-5/v, v the average variance if above 1, to 1e5/λ, λ the
smallest eigenvalue if below 1. What lies beyond, about 1e-5 of it, is added as a power of γ."""

BEYOND = 0.1
"""Relative error granted to what lies beyond."""

WIDTH, ORDER = 1.0, 8
"""Gauss–Legendre panels in log γ for the constants."""

LONG = (2**12, 2**13, 2**14)
"""T of the chains from which the constant of a schedule given as a function is extrapolated."""

DRIFT = 0.05
"""Two successive extrapolations further apart than this show that T^p ΣM has no limit."""


@dataclass(frozen=True)
class Rate:
    """ΣM ~ C/T^p as T → ∞, an asymptotic statement.

    Attributes:
        family: of the denoiser.
        order: p, 1 or 2.
        constant: C, in nats; 0 for a family that is exact at every T.

    Example:
        >>> Rate("isotropic", 1, Estimate(torch.tensor(4.0), torch.tensor(0.0), "bound")).steps(0.1)
        40.0
    """

    family: Family
    order: int
    constant: Estimate

    def steps(self, error: float) -> float:
        """(C/ε)^{1/p}: the T at which the leading term is ε; an estimate for small ε only.

        Args:
            error: ε, in nats.

        Returns:
            T, not rounded.

        Raises:
            TypeError: if ``error`` is not a number.
            ValueError: if it is not positive and finite.
        """
        return float((float(self.constant) / positive("error", error)) ** (1 / self.order))


def predicted_errors(
    mixture: GaussianMixture, schedule: Schedule, family: Family | str
) -> Estimate:
    """The leading term of each M_t for small steps (docs/theory.md §11.2, §11.3).

    Where the term in β_t² vanishes, as in `isotropic_x` and `diagonal` at d = 1, the family equals
    `full` to that order, and the term is that of `full`. For `fixed_small`, t >= 2, it is that of
    `isotropic` and (d/2)(x − log(1 + x)), x = Δγ mmse(γ_t)/d, which does not become small (§11.5).

    Args:
        mixture: q(x_0).
        schedule: the forward chain, T steps.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        Shape (T+1,), in nats, indexed by t, with entry 0 equal to 0. Its error is numerical; how
        far the leading term is from M_t it does not say.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` not a schedule.
        ValueError: for an unknown family, a mixture with batch dimensions, and d beyond what the
            cumulants are averaged for.

    Example:
        >>> from smdtheory.measure import best_gaussian_errors
        >>> from smdtheory.truth import presets
        >>> q, chain = presets.line(4).standardized(), Schedule.cosine(1600)
        >>> measured = best_gaussian_errors(q, chain, "isotropic").sum()
        >>> round(float(measured) / float(predicted_errors(q, chain, "isotropic").sum()), 4)
        1.0072
    """
    q, name = as_truth(mixture), check_family(family)
    curves = curves_of(q)
    _, value, error = chain_terms(curves, check_schedule(schedule), name)
    value = torch.cat([value.new_zeros(len(value), 1), value], -1)
    error = torch.cat([error.new_zeros(1), error]) + ROUNDING * value.abs().amax(0)
    return curves.estimate(value, error)


def rate(
    mixture: GaussianMixture,
    schedule: str | Callable[[int], Schedule],
    family: Family | str,
) -> Rate:
    """Order and constant of ΣM ~ C/T^p as T → ∞ (docs/theory.md §11.4).

    Args:
        mixture: q(x_0).
        schedule: "cosine", "linear" or "sigmoid", whose limits are known in closed form; or a
            function that makes the schedule of T steps, with T β_t convergent. Its constant is
            extrapolated from long chains.
        family: one of :data:`smdtheory.families.FAMILIES` but ``fixed_small``.

    Returns:
        The order p = 1, or 2 for ``full`` and where the first order vanishes identically, and C.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` neither a name nor a function.
        ValueError: for ``fixed_small``, which has no rate; for an unknown family or schedule, a
            mixture with batch dimensions, d beyond what the cumulants are averaged for, and a
            function whose T^p ΣM does not settle.

    Example:
        >>> from smdtheory.truth import presets
        >>> found = rate(presets.line(4).standardized(), "cosine", "isotropic")
        >>> found.order, round(float(found.constant), 3), round(found.steps(0.01))
        (1, 3.764, 376)
    """
    q, name = as_truth(mixture), check_family(family)
    if name == "fixed_small":
        raise ValueError(
            "family must be one whose error vanishes as T grows; received 'fixed_small', whose sum "
            f"over t >= 2 tends to {0.5 * EULER * q.dim:.4f} nats, d/2 times Euler's constant, for "
            "schedules whose first betas become equal. Use fixed_small_constant, or a family with "
            "a variance of its own."
        )
    if isinstance(schedule, str):
        return _integrated(curves_of(q), limit_of(schedule), name)
    return _extrapolated(q, schedule, name)


def _integrated(curves: Curves, limit: Limit, family: Family) -> Rate:
    """C = ∫_0^1 b^{p+1} F du, F the average at ᾱ(u), as ∫ b^p F/(1 + γ) d log γ (§11.4)."""
    variances, _ = curves.eigenvalues()
    average = float(curves.mixture.total_variance + curves.shared.sum()) / curves.dim
    low = max(FLATTEST / max(average, 1.0), limit.end)
    high = SHARPEST / min(float(variances.min()), 1.0)
    panels = math.ceil(math.log(high / low) / WIDTH)
    edges = torch.linspace(math.log(low), math.log(high), panels + 1, dtype=torch.float64)
    place, weight = panel_nodes(edges, ORDER)
    ends = edges.new_tensor([math.log(low), math.log(low) + 1, math.log(high)])
    gamma, weight = torch.exp(torch.cat([ends, place])), torch.cat([0 * ends, weight])
    speed = limit.speed(gamma)
    term = leading_term(curves, gamma, weight * speed / (1 + gamma), family)
    height = speed**term.order / (1 + gamma)
    density = height * term.value
    beyond = density[:, 2]  # it falls as 1/γ, since F and b tend to constants
    if low > limit.end:
        rise = torch.log(density[:, 1] / density[:, 0])
        beyond = beyond + torch.where(density[:, 0] > 0, density[:, 0] / rise, 0.0)
    value = (weight * density).sum(-1)
    error = (weight * height * term.error).sum() + BEYOND * beyond.abs().amax()
    return Rate(family, term.order, curves.estimate(value + beyond, error + ROUNDING * value[0]))


def _extrapolated(q: GaussianMixture, schedule: Callable[[int], Schedule], family: Family) -> Rate:
    """lim T^p Σ_t of the leading terms, as T doubles twice, less the term in 1/T."""
    make = maker_of(schedule)
    curves, scaled, order, noise = curves_of(q), [], 1, torch.zeros(())
    for length in LONG:
        order, value, error = chain_terms(curves, make(length), family)
        scaled.append(length**order * value.sum(-1))
        noise = length**order * error.sum()
    before, after = 2 * scaled[1] - scaled[0], 2 * scaled[2] - scaled[1]
    drift = (after - before).abs().amax()
    if not float(drift) <= DRIFT * float(after.abs().amax()):
        raise ValueError(
            f"schedule must have a limit of T^{order} ΣM; received {shown(schedule)}, for which it "
            f"is {[float(s.mean()) for s in scaled]} at T = {LONG}. T β_t must converge at each "
            "t/T: a chain whose first or last SNR is fixed does not."
        )
    return Rate(family, order, curves.estimate(after, drift + noise))
