"""Theorem 3.2 of the paper: the global error of Gaussian steps is unbounded."""

from __future__ import annotations

from smdtheory.measure import local_error
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.cells import GaussianCells
from smdtheory.models.oracle import BestGaussian, ExactSoftMixture
from smdtheory.schedule import Schedule
from smdtheory.theory.claims.finding import Check, Finding
from smdtheory.theory.outcome import fixed_variance_floor
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
    checks = []
    for floor in FLOORS:
        std = 10.0 ** -(2 + floor / 4)
        thin = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], std**2)
        bound = fixed_variance_floor(thin, variance)
        checks.append(Check.of(f"floor of E, two modes in d = 2, std {std:.1g}", bound, ">", floor))
    thin = two_modes(STDS[0])
    soft = ExactSoftMixture(thin, kernel="forward")
    measured = transferred_error(thin, chain, soft)
    bound = fixed_variance_floor(thin, variance)
    checks.append(
        Check.of(
            f"E of a soft mixture with the same last variance, std {STDS[0]:g}, and its floor",
            measured,
            ">",
            float(bound),
        )
    )
    return Finding(
        name="fixed-last-variance",
        source="Theorem 3.2",
        claim="For each N some mixture has a global error E > N, whatever Gaussian denoiser.",
        tested="d = 1 and 2, cosine schedule, T = 3, the last variance fixed at β_1 before the mixture; "
        "all means and all earlier steps, whatever they are.",
        survives="It holds: E >= (d/2) log(2πσ_1²) − h(q_0), which grows without bound as modes get "
        "thin.",
        instead="It is no matter of Gaussian against mixture: the same floor binds a soft mixture "
        "whose last kernel has that variance.",
        if_confirmed="holds",
        decides="the floor of E over all denoisers whose last step has variance β_1",
        checks=tuple(checks),
        section="§6.11",
    )


def learned_variances() -> Finding:
    """Theorem 3.2 with variances free: the locally best, and the globally best."""
    chain, checks, last = CHAIN(1), [], 0.0
    for std in STDS:
        thin = two_modes(std)
        best = transferred_error(thin, chain, BestGaussian(thin, "full"))
        checks.append(Check.of(f"E of the locally best full Gaussian, std {std:g}", best, ">", last + 1))
        last = float(best)
    for steps in (1, 3):
        thin, chain = two_modes(STDS[0]), CHAIN(steps)
        cells = GaussianCells(thin)
        where = f"std {STDS[0]:g}, T = {steps}"
        checks += [
            Check.of(f"E of Gaussian cells, {where}", transferred_error(thin, chain, cells), "<", 1e-9),
            Check.of(f"their M_1, {where}", local_error(thin, chain, cells, 1), ">", 100.0),
        ]
    return Finding(
        name="learned-variances",
        source="Theorem 3.2",
        claim="For each N some mixture has a global error E > N, whatever Gaussian denoiser.",
        tested="d = 1, cosine schedule, two modes at ±1 with std → 0, any mean and any variance at "
        "each x_t (family full): the denoiser that is best at every step, and one that is not.",
        survives="The E of the locally best Gaussian grows without bound, by log 10 for each factor "
        "of 10 in the std.",
        instead="The infimum of E over Gaussian steps is 0: cut the x_1-space into cells of mass "
        "w_k and emit N(m_k, S_k) from each. Its M_1 is huge: local errors bound E from above only.",
        if_confirmed="refuted as stated",
        decides="E of the cells, a denoiser with one Gaussian at each x_t",
        checks=tuple(checks),
        section="§7.1",
    )
