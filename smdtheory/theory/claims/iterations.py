"""Claims on the number of steps, and on guarantees that assume a small score error."""

from __future__ import annotations

from smdtheory.measure import best_gaussian_errors, error_table
from smdtheory.schedule import Schedule
from smdtheory.theory.claims.finding import Check, Finding
from smdtheory.theory.rates import predicted_errors
from smdtheory.truth import presets

LONGEST = 1600
"""T at which rates are measured."""


def few_iterations() -> Finding:
    """The bottleneck is worst at few iterations."""
    line = presets.line(4).standardized()
    chain = Schedule.cosine(40)
    checks = []
    for family in ("isotropic", "full"):
        table = error_table(line, chain, family).value
        saved = table[:, None, :] - table[:, :, None] - table  # [r, s, t]
        least = float(saved[~saved.isnan()].min())
        checks.append(Check(f"least saving by a refinement, {family}", least, ">", -1e-10))
    sums = {
        steps: best_gaussian_errors(line, Schedule.linear(steps), "isotropic").sum()
        for steps in (4, 10)
    }
    rise = sums[10].value - sums[4].value
    checks.append(
        Check("ΣM at T = 10 less ΣM at T = 4, isotropic, linear schedule", float(rise), ">", 0.0,
              error=float(sums[4].error + sums[10].error))
    )  # fmt: skip
    for family, relation, limit in (("isotropic", "<", 0.01), ("full", "<", 0.01)):
        total = best_gaussian_errors(line, Schedule.cosine(LONGEST), family).sum()
        checks.append(Check.of(f"ΣM of {family}, T = {LONGEST}", total, relation, limit))  # type: ignore[arg-type]
    small = best_gaussian_errors(line, Schedule.cosine(LONGEST), "fixed_small").sum()
    checks.append(Check.of(f"ΣM of fixed_small, T = {LONGEST}", small, ">", 0.2))
    return Finding(
        name="few-iterations",
        source="the abstract",
        claim="The bottleneck is worst when there are few iterations.",
        tested="4 modes, d = 1: every triple r < s < t of a cosine chain of 40 levels; ΣM of the "
        f"linear schedule at T = 4 and 10; ΣM at T = {LONGEST}.",
        survives="Refining a grid never hurts, for any family with a best variance, so the single "
        "jump is the worst grid of all; and ΣM vanishes as T grows if the variance is at its best.",
        instead="Grids of different T are no refinements of each other: ΣM may rise with T. With "
        "the variance fixed at β̃ (fixed_small) it does not vanish at all.",
        if_confirmed="holds with a condition",
        decides="the saving by one more level, and ΣM at large T",
        checks=tuple(checks),
        section="§5.6 and §11",
    )


def guarantees() -> Finding:
    """Existing guarantees assume too much."""
    line = presets.line(4).standardized()
    checks = []
    for family in ("isotropic", "full"):
        for steps in (10, 100):
            errors = best_gaussian_errors(line, Schedule.cosine(steps), family)
            least = errors[int(errors.value[1:].argmin()) + 1]
            checks.append(Check.of(f"least M_t of {family}, T = {steps}", least, ">", 0.0))
        chain = Schedule.cosine(LONGEST)
        measured = best_gaussian_errors(line, chain, family).sum()
        predicted = predicted_errors(line, chain, family).sum()
        off = abs(float(measured) / float(predicted) - 1)
        name = f"|measured/predicted − 1| of ΣM, {family}, T = {LONGEST}"
        checks.append(Check(name, off, "<", 0.02, unit=""))
    return Finding(
        name="guarantees",
        source="the abstract",
        claim="An assumption of existing guarantees, that the score error is bounded, is too strong.",
        tested="4 modes, d = 1, cosine schedule, the exact score (its error is 0), every t.",
        survives="With the exact score every M_t is positive at finite T: a small score error does "
        "not bound the local errors.",
        instead="The assumption is consistent: score error is one part, M_t of the exact score the "
        "other, and that one vanishes at known rates, ΣM ~ C/T (isotropic) and C/T² (full).",
        if_confirmed="holds with a condition",
        decides="M_t with the exact score, and its rate",
        checks=tuple(checks),
        section="§11",
    )
