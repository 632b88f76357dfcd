"""Theorem 3.1 of the paper: the local errors of Gaussian steps are unbounded.

The order of the quantifiers decides, and each order has a finding of its own; ``single`` has those
for which one Gaussian is enough.
"""

from __future__ import annotations

import math

import torch

from smdtheory.families import FAMILIES, Family
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import Schedule, bridge
from smdtheory.theory.bounds import fixed_variance_cap
from smdtheory.theory.claims.finding import Check, Finding, largest, smallest
from smdtheory.theory.claims.overall import two_modes
from smdtheory.theory.extremes.search import check_caps
from smdtheory.theory.witness.certificate import Witness
from smdtheory.theory.witness.local import dimension_cap, remeasured, witness
from smdtheory.truth import presets
from smdtheory.truth.information import mmse, mutual_information
from smdtheory.truth.mixture import GaussianMixture

LEVELS = (1.0, 10.0, 100.0)
"""N."""

STEPS = 10
"""T."""

MIXTURES = 200
"""How many the audit compares with the caps; :data:`MANY` compares ten thousand."""

MANY = "python -c 'from smdtheory.theory import check_caps; print(check_caps(10_000))'"

FAR_APART = ((1.0, 1e5), (3.0, 1e10))
"""N, and a ratio r of neighbouring levels at which one dimension is enough for it at T = 3."""


def first_step() -> Finding:
    """The first step alone, every family, the schedule and d before the mixture."""
    chain, checks, bounds = Schedule.cosine(STEPS), [], []
    for level in LEVELS:
        found = witness(level, chain, "full", steps=1)
        bounds.append(float(found.certificate.value[1]))
        where = f"N = {level:g}, {found.copies} x d = 1, std {_std(found.base):.1g}"
        checks.append(Check.of(f"certified M_1 of full, {where}", found.certificate[1], ">", level))
        again = remeasured(found, chain, "full")[1]
        checks.append(Check.of("the same, measured", again, ">", bounds[-1]))
        least = smallest(float(remeasured(found, chain, name).value[1]) for name in FAMILIES)
        checks.append(Check(f"least M_1 of all families, N = {level:g}", least, ">", level))
    tenth = witness(LEVELS[1], chain, "full", steps=1)
    thick, thin = (
        float(best_gaussian_errors(mixture, chain, "full").value[1])
        for mixture in (tenth.base, _thinner(tenth.base))
    )
    off = abs(thin - thick - math.log(10))
    checks.append(Check("|growth of M_1 of full for std / 10, less log 10|", off, "<", 0.01))
    return Finding(
        name="first-step",
        source="Theorem 3.1",
        claim="Given d, the schedule and the variances: for each N some mixture has M_1 > N (t = 1 "
        "alone).",
        tested=f"t = 1, cosine schedule, T = {STEPS}, N = 1, 10, 100, every family: first the "
        "schedule and the variances, then N, then two modes with std → 0. N = 100 takes two "
        "copies (d = 2) in float64; in exact arithmetic d = 1 is enough.",
        survives="At t = 1 it holds, in every family and in one dimension: M_1 of two modes grows "
        "like log 1/std even for the best full Gaussian.",
        instead="",
        if_confirmed="holds in this reading",
        decides="a certified lower bound on M_1: "
        + ", ".join(
            f"{value:.7g} > {level:g}" for value, level in zip(bounds, LEVELS, strict=True)
        ),
        checks=tuple(checks),
        section="§6.13",
    )


def later_steps() -> Finding:
    """All steps from t = 2 on, the schedule and d before the mixture."""
    rows = check_caps(MIXTURES)
    above = sum(int(row["violations"]) for row in rows)
    closest = largest(
        float(row["ratio"]) for row in rows if row["cap"] in ("first_order_cap", "second_order_cap")
    )
    checks = [
        Check(f"mixtures above a cap, of {MIXTURES}", above, "<", 0.5, unit=""),
        Check("largest M / cap among them, caps for all data", closest, "<", 1.0, unit=""),
    ]
    chain = Schedule.cosine(STEPS)
    worst = largest(
        fixed_ratio(mixture, chain, scale)
        for mixture in (presets.line(4), presets.ring(8), two_modes(1e-3))
        for scale in (0.01, 1.0, 100.0)
    )
    checks.append(Check("largest M / cap, σ² = β/100, β, 100 β", worst, "<", 1 + 1e-9, unit=""))
    caps = {name: float(dimension_cap(1, chain, name)[2:].min()) for name in FAMILIES}
    for name in ("full", "fixed_small"):
        checks.append(Check(f"least cap, t >= 2, d = 1, {name}", caps[name], "<", LEVELS[0]))
    return Finding(
        name="later-steps",
        source="Theorem 3.1",
        claim="Given d, the schedule and the variances: for each N some mixture has M_t > N for "
        "every t in 1..T (here t >= 2).",
        tested=f"every t >= 2, d and the schedule (and σ_t² > 0) before the mixture: {MIXTURES} "
        "random and adversarial mixtures, d = 1..5, every family, every cap; σ² = β/100, β and "
        f"100 β for three mixtures. Ten thousand: {MANY}.",
        survives="At t = 1 it holds (first-step).",
        instead="For t >= 2 every family is capped, for every distribution of the data: at its "
        "best M_t <= (d/2) log(γ_{t-1}/γ_t), and with a fixed σ_t² there is a cap as well. No "
        "mixture passes it.",
        if_confirmed="refuted in this reading",
        decides=f"the cap: at d = 1, T = {STEPS} the least of t >= 2 is {caps['full']:.3f} nats "
        f"for full; {above} of {MIXTURES} mixtures are above a cap, the closest reaches "
        f"{closest:.4f} of it",
        checks=tuple(checks),
        section="§6.3, §6.4, §6.5 and §6.14",
    )


def growing_dimension() -> Finding:
    """All steps, the dimension after N."""
    chain, checks, needed = Schedule.cosine(STEPS), [], []
    for level in LEVELS[:2]:
        for family in ("isotropic", "full"):
            found = witness(level, chain, family)
            where = f"N = {level:g}, {family}, d = {found.dim}"
            checks += _passed(found, chain, family, where, level)
            if family == "full":
                needed.append(f"{found.copies} copies for N = {level:g}")
    one, few = two_modes(0.3), Schedule.cosine(3)
    both = best_gaussian_errors(_twice(one), few, "full").value
    off = float((both - 2 * best_gaussian_errors(one, few, "full").value).abs().max())
    checks.append(Check("|M_t of 2 copies, listed, less 2 M_t of one|", off, "<", 1e-6))
    return Finding(
        name="growing-dimension",
        source="Theorem 3.1",
        claim="Given the schedule: for each N there are a dimension d and a mixture in it with "
        "M_t > N for every t in 1..T.",
        tested=f"every t in 1..{STEPS}, cosine schedule, N = 1 and 10; then the dimension and the "
        "mixture. isotropic, and full, whose witness is one for every family.",
        survives="If d may grow with N it holds, for every t at once: d independent copies have "
        "at least d times the error.",
        instead="The condition is needed: in a fixed dimension the caps stand.",
        if_confirmed="holds in this reading",
        decides=f"certified least M_t of full: {' and '.join(needed)} of a mixture in d = 1",
        checks=tuple(checks),
        section="§6.13",
    )


def schedule_after() -> Finding:
    """All steps, the schedule after N."""
    checks = []
    for level, ratio in FAR_APART:
        chain = Schedule.from_snr([ratio**2, ratio, 1.0])
        found = witness(level, chain, "full", max_dim=1)
        where = f"N = {level:g}, full, r = {ratio:.0e}, d = 1"
        checks += _passed(found, chain, "full", where, level)
    chain = Schedule.from_snr([1e25, 1.0])
    found = witness(LEVELS[1], chain, "full", steps=2, max_dim=1)
    measured = remeasured(found, chain, "full")[2]
    where = "N = 10, full, r = 1e25, d = 1"
    checks.append(Check.of(f"certified M_2, {where}", found.certificate[2], ">", 10))
    checks.append(Check.of("the same, measured", measured, ">", 10))
    cap = float(dimension_cap(1, chain, "full")[2])
    checks.append(Check("the same / cap ½ log r", float(measured) / cap, "<", 1.0, unit=""))
    return Finding(
        name="schedule-after",
        source="Theorem 3.1",
        claim="Given d: for each N there are a schedule and a mixture with M_t > N for every t in "
        "1..T.",
        tested="d = 1, the family full: N = 1 and 3, then levels γ a factor r = 1e5 and 1e10 apart "
        "(T = 3, every t), then the mixture; N = 10 at t = 2 alone with r = 1e25.",
        survives="If the schedule may depend on N it holds in one dimension: M_t comes as close to "
        "½ log r as 1.02 nats, and r is then free.",
        instead="The condition is needed: for a given schedule the caps stand.",
        if_confirmed="holds in this reading",
        decides=f"certified M_2 of full in d = 1 at levels a factor 1e25 apart: "
        f"{float(found.certificate.value[2]):.2f} > {LEVELS[1]:g}",
        checks=tuple(checks),
        section="§6.13 and §6.14",
    )


def fixed_ratio(mixture: GaussianMixture, schedule: Schedule, scale: float) -> float:
    """The largest M_t / cap over t >= 2 with the exact mean and σ_t² = scale · β_t (§6.5).

    Example:
        >>> round(fixed_ratio(presets.line(4), Schedule.cosine(5), 1.0), 4)
        0.2338
    """
    snr = schedule.snr[1:]
    step = bridge(snr[1:], snr[:-1])
    variance = scale * step.beta
    gained = -mutual_information(mixture, snr).value.diff()
    spread = mixture.dim * step.variance + step.c.square() * mmse(mixture, snr[1:]).value
    wide = mixture.dim * (torch.log(variance / step.variance) - 1)
    errors = 0.5 * (wide + spread / variance) - gained
    cap = fixed_variance_cap(mixture.dim, snr[1:], snr[:-1], variance)
    return float((errors / cap).max())


def _passed(
    found: Witness, chain: Schedule, family: Family | str, where: str, level: float
) -> list[Check]:
    """The certificate at its least t, and the independent measurement there."""
    measured = remeasured(found, chain, family)
    t = int(found.certificate.value[1:].argmin()) + 1
    certified = Check.of(f"certified least M_t, {where}", found.certificate[t], ">", level)
    t = int(measured.value[1:].argmin()) + 1
    return [certified, Check.of("the same, measured", measured[t], ">", level)]


def _twice(mixture: GaussianMixture) -> GaussianMixture:
    """Two independent copies of a mixture in d = 1, all components listed."""
    count, means = mixture.num_components, mixture.means[:, 0]
    first, second = (index.flatten() for index in torch.meshgrid(
        torch.arange(count), torch.arange(count), indexing="ij"
    ))  # fmt: skip
    weights = mixture.weights[first] * mixture.weights[second]
    variances = mixture.spectral.smallest().expand(count)
    return GaussianMixture(
        weights,
        torch.stack([means[first], means[second]], -1),
        torch.stack([variances[first], variances[second]], -1),
    )


def _thinner(mixture: GaussianMixture) -> GaussianMixture:
    """Every std / 10, in d = 1."""
    variances = 0.01 * mixture.spectral.smallest()
    return GaussianMixture(mixture.weights, mixture.means, variances)


def _std(mixture: GaussianMixture) -> float:
    return math.sqrt(float(mixture.spectral.smallest().min()))
