"""Theorem 3.2 of the paper: the global error of Gaussian steps is unbounded."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from operator import mul

from smdtheory.measure import local_error
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.cells import GaussianCells
from smdtheory.models.oracle import BestGaussian, ExactSoftMixture
from smdtheory.schedule import Schedule
from smdtheory.theory.claims.finding import Check, Finding, smallest
from smdtheory.theory.global_bounds import fixed_variance_floor
from smdtheory.theory.witness.overall import global_witness, locally_best_floor
from smdtheory.truth.mixture import GaussianMixture

CHAIN = Schedule.cosine
STDS = (1e-2, 1e-3, 1e-4)

FLOORS = (1.0, 10.0, 100.0)
"""N, for a global error that has to pass it."""


def two_modes(std: float) -> GaussianMixture:
    """Two equal modes at distance 2.

    Example:
        >>> two_modes(0.1)
        GaussianMixture(components=2, dim=1)
    """
    return GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std**2)


def fixed_last_variance() -> Finding:
    """Theorem 3.2 with a fixed last variance."""
    chain = CHAIN(3)
    variance = chain.betas[1]
    checks, floors = [], []
    for level in FLOORS:
        found = global_witness(level, chain)
        floors.append(float(found.certificate))
        where = f"N = {level:g}, {found.copies} x d = 1"
        again = fixed_variance_floor(found.base, variance).map(partial(mul, found.copies))
        checks += [
            Check.of(f"certified E, {where}", found.certificate, ">", level),
            Check.of("the same, with h(q_0) by quadrature", again, ">", level),
        ]
    thin = two_modes(STDS[0])
    bound = float(fixed_variance_floor(thin, variance))
    models = {
        "the best Gaussian means": BestGaussian(thin, "fixed_large"),
        "an exact soft mixture": ExactSoftMixture(thin, kernel="forward"),
    }
    for name, model in models.items():
        measured = transferred_error(thin, chain, model)
        what = f"E of {name} with the last variance β_1, std {STDS[0]:g}, above its floor"
        checks.append(Check.of(what, measured, ">", bound))
    return Finding(
        name="fixed-last-variance",
        source="Theorem 3.2",
        claim="Given the schedule and the last variance: for each N some mixture has a global "
        "error E > N, whatever Gaussian denoiser with that last variance.",
        tested="N = 1, 10, 100, cosine schedule, T = 3, the last variance fixed at β_1 before the "
        "mixture; all means and all earlier steps, whatever they are. N = 100 takes two copies "
        "(d = 2) in float64; in exact arithmetic d = 1 is enough.",
        survives="It holds: E >= (d/2) log(2πσ_1²) − h(q_0), which grows without bound as modes "
        "get thin.",
        instead="It is no matter of Gaussian against mixture: the same floor binds a soft mixture "
        "whose last kernel has that variance.",
        if_confirmed="holds in this reading",
        decides="the floor of E over all denoisers whose last step has variance β_1: "
        + ", ".join(
            f"{value:.7g} > {level:g}" for value, level in zip(floors, FLOORS, strict=True)
        ),
        checks=tuple(checks),
        section="§6.11 and §6.13",
    )


def learned_variances() -> Finding:
    """Theorem 3.2 with variances free: the locally best, and the globally best."""
    chain, checks, found = CHAIN(1), [], []
    for std in STDS:
        thin = two_modes(std)
        best = transferred_error(thin, chain, BestGaussian(thin, "full"))
        floor = float(locally_best_floor(1.0, std, chain))
        what = f"E of the locally best full Gaussian, std {std:g}, above its certified floor"
        checks.append(Check.of(what, best, ">", floor))
        found.append(float(best))
    growth = smallest(after - before for before, after in pairwise(found))
    checks.append(Check("its least growth for std / 10", growth, ">", 2.0))
    for steps in (1, 3):
        thin, chain = two_modes(STDS[0]), CHAIN(steps)
        cells, where = GaussianCells(thin), f"std {STDS[0]:g}, T = {steps}"
        outcome, first = (
            transferred_error(thin, chain, cells),
            local_error(thin, chain, cells, 1),
        )
        checks += [
            Check.of(f"E of Gaussian cells, {where}", outcome, "<", 1e-9),
            Check.of(f"their M_1, {where}", first, ">", 100.0),
        ]
    return Finding(
        name="learned-variances",
        source="Theorem 3.2",
        claim="Given d and the schedule: for each N some mixture has a global error E > N, "
        "whatever Gaussian denoiser, its variances learned.",
        tested="d = 1, cosine schedule, two modes at ±1 with std 1e-2, 1e-3 and 1e-4, any mean and "
        "any variance at each x_t (family full): the denoiser that is best at the only step "
        "(T = 1), and one that is not (T = 1 and 3).",
        survives="The E of the locally best Gaussian grows without bound, by log 10 for each "
        "factor of 10 in the std: " + ", ".join(f"{value:.3f}" for value in found) + " nats.",
        instead="The infimum of E over Gaussian steps is 0: cut the x_1-space into cells of mass "
        "w_k and emit N(m_k, S_k) from each. Its M_1 is huge: local errors bound E from above "
        "only.",
        if_confirmed="refuted in this reading",
        decides=f"E of the cells, one Gaussian at each x_t: {abs(float(outcome)):.1g} nats, with "
        f"M_1 = {float(first):.0f}",
        checks=tuple(checks),
        section="§7.1 and §6.13",
    )
