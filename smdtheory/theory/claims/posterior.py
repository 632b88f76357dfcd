"""Proposition 3.1 of the paper: the backward step of a mixture is a mixture."""

from __future__ import annotations

import torch

from smdtheory.schedule import Schedule
from smdtheory.theory.claims.finding import Check, Finding, largest
from smdtheory.truth import presets
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import marginal, posterior

DRAWS = 50
"""Mixtures tried, and points in each."""

ROUNDING = 1e-9
"""Log densities of these sizes agree to this, if the formulas are right."""


def bayes_residual(mixture: GaussianMixture, schedule: Schedule, t: int, s: int) -> float:
    """The largest |log q(x_s|x_t) − log q(x_t|x_s) − log q(x_s) + log q(x_t)|, docs/theory.md §3.2.

    Over :data:`DRAWS` pairs (x_s, x_t), for 0 <= s < t.

    Example:
        >>> bayes_residual(presets.ring(8), Schedule.cosine(5), 4, 1) < 1e-9
        True
    """
    generator = torch.Generator().manual_seed(0)
    x_s = marginal(mixture, schedule, s).sample((DRAWS,), generator=generator)
    noise = torch.randn(x_s.shape, dtype=x_s.dtype, generator=generator)
    alpha = schedule.alphas_bar[t] / schedule.alphas_bar[s]
    x_t = alpha.sqrt() * x_s + (1 - alpha).sqrt() * noise
    forward = -0.5 * (noise.square() + torch.log(2 * torch.pi * (1 - alpha))).sum(-1)
    backward = posterior(mixture, schedule, x_t, t, s).log_prob(x_s)
    before, after = (marginal(mixture, schedule, u) for u in (s, t))
    return float((backward - forward - before.log_prob(x_s) + after.log_prob(x_t)).abs().max())


def posterior_is_a_mixture() -> Finding:
    """Proposition 3.1."""
    generator = torch.Generator().manual_seed(0)
    chain, found = Schedule.cosine(10), []
    for draw in range(DRAWS):
        mixture = presets.random(1 + draw % 9, 1 + draw % 5, generator=generator)
        for s, t in ((0, 1), (1, 2), (3, 4), (0, 9), (1, 9), (5, 8)):
            found.append(bayes_residual(mixture, chain, t, s))
    worst = largest(found)
    return Finding(
        name="posterior",
        source="Proposition 3.1",
        claim="If q(x_0) is a Gaussian mixture, q(x_{t-1}|x_t) is a Gaussian mixture.",
        tested=f"{DRAWS} random mixtures (K = 1..9, d = 1..5), jumps (t, s) of one and of several "
        f"steps, the last to s = 0 among them, {DRAWS} pairs of points each: Bayes' "
        "rule against the closed form.",
        survives="It holds, for every jump s < t, with components in closed form.",
        instead="",
        if_confirmed="holds",
        decides=f"largest deviation from Bayes' rule in log density: {worst:.1g}",
        checks=(Check("largest deviation from Bayes' rule", worst, "<", ROUNDING),),
        section="§3.1",
    )
