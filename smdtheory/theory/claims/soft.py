"""Theorem 4.1 of the paper, that a soft mixture has no error, and the loss that is to find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from smdtheory.measure import latent_share, local_error, prior_gap
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.oracle import ExactSoftMixture
from smdtheory.models.recipes import train
from smdtheory.models.soft_mixture import SoftMixture
from smdtheory.schedule import Schedule, bridge
from smdtheory.theory.claims.finding import Check, Finding
from smdtheory.truth import presets
from smdtheory.truth.mixture import GaussianMixture

EXACT = 1e-9
"""An error of 0, computed by quadrature, is below this."""

ZERO = 1e-12
"""A global error by transfer of densities above this is not 0: its own error is below 1e-18."""

LONG = "python -m smdtheory.sweep --modes 8 --budget long"


def widest_exact_kernel(mixture: GaussianMixture, snr_t: float, snr_s: float) -> float:
    """min_k λ_min(V_k): the largest kernel variance with which M(s,t) = 0 (docs/theory.md §7.1).

    Args:
        mixture: q(x_0).
        snr_t: γ_t.
        snr_s: γ_s > γ_t, infinite for s = 0.

    Returns:
        A variance of x_s.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> widest_exact_kernel(q, 1.0, float("inf"))
        0.2
    """
    floor = float(mixture.spectral.smallest().min())
    if snr_s == float("inf"):
        return floor / (1 + snr_t * floor)
    return float(bridge(snr_t, snr_s).variance) * (1 + snr_s * floor) / (1 + snr_t * floor)


def exact_soft_mixture() -> Finding:
    """Theorem 4.1, local errors."""
    chain, line = Schedule.cosine(10), presets.line(4).standardized()
    snr = chain.snr.tolist()
    checks = []
    exact = ExactSoftMixture(line)
    worst = max(abs(float(local_error(line, chain, exact, t))) for t in (1, 2, 5, 10))
    checks.append(Check("largest M_t, t = 1, 2, 5, 10, kernel variance β̃", worst, "<", EXACT))
    wide = ExactSoftMixture(line, kernel="forward")
    for t in (1, 5):
        found = local_error(line, chain, wide, t)
        checks.append(Check.of(f"M_{t} of the same latent, kernel variance β", found, ">", 0.01))
    t = 5
    beta = float(bridge(snr[t], snr[t - 1]).beta)
    for scale, relation in ((line, "<"), (_wider(line), ">")):
        least = float(scale.spectral.smallest().min())
        share = widest_exact_kernel(scale, snr[t], snr[t - 1]) / beta
        name = f"widest exact kernel / β at t = {t}, smallest eigenvalue {least:.2g}"
        checks.append(Check(name, share, relation, 1.0, unit=""))  # type: ignore[arg-type]
    last = widest_exact_kernel(line, snr[1], float("inf"))
    least = float(line.spectral.smallest().min())
    checks.append(
        Check("widest exact kernel of the last step / eigenvalue", last / least, "<", 1.0, unit="")
    )
    return Finding(
        name="exact-soft-mixture",
        source="Theorem 4.1",
        claim="On any Gaussian mixture a soft mixture attains M_t = 0 for every t.",
        tested="4 modes, d = 1, cosine schedule, T = 10, by nested quadrature; the "
        "threshold in closed form, for any mixture and step.",
        survives="It holds with the latent z ~ q(x_0|x_t) and kernel variance β̃, at every T.",
        instead="M(s,t) = 0 can be had if and only if the kernel variance is at most "
        "min_k λ_min(V_k). With β it fails as soon as one eigenvalue of one component is below 1, "
        "and the last step needs a kernel narrower than every component.",
        if_confirmed="holds with a condition",
        decides="min_k λ_min(V_k) against the variance of the kernel",
        checks=tuple(checks),
        section="§7.1",
    )


def exact_samples() -> Finding:
    """Theorem 4.1, the global error."""
    line = presets.line(4).standardized()
    checks = []
    for steps, name in ((1, "one level, γ_T = 1"), (3, "γ_T = 0.1")):
        chain = Schedule.from_snr([1.0] if steps == 1 else [10.0, 1.0, 0.1])
        gap = prior_gap(line, chain)
        found = transferred_error(line, chain, ExactSoftMixture(line))
        checks += [
            Check.of(f"E of the exact soft mixture from N(0, I), {name}", found, ">", ZERO),
            Check.of(f"the same, and the prior gap, {name}", found, "<", float(gap) + EXACT),
        ]
    return Finding(
        name="exact-samples",
        source="Theorem 4.1",
        claim="On any Gaussian mixture a soft mixture attains the global error E = 0.",
        tested="4 modes, d = 1, the exact soft mixture started from N(0, I) at two levels γ_T.",
        survives="Given M_t = 0 for every t, E is at most the prior gap KL(q(x_T) ‖ N(0, I)), "
        "which a long enough chain makes as small as one likes.",
        instead="E = 0 if and only if the sampler starts at q(x_T) itself; from N(0, I) at any "
        "finite γ_T it is not 0, unless the data are N(0, I).",
        if_confirmed="holds with a condition",
        decides="E of the exact soft mixture that starts at N(0, I)",
        checks=tuple(checks),
        section="§7.1",
    )


def paper_loss(rows: Sequence[Mapping[str, Any]] | None = None) -> Finding:
    """The squared error averaged over η, docs/theory.md §10.2.

    Args:
        rows: of a long sweep (:data:`LONG`), for the share and the errors after long training.
            Without them only what is trained here is judged.
    """
    line, chain = presets.line(4).standardized(), Schedule.cosine(10)
    generator = torch.Generator().manual_seed(0)
    checks = []
    for name, relation, limit in (("soft_mse", "<", 0.01), ("soft_energy", ">", 0.5)):
        trained = train(name, line, steps=STEPS, latents=16, progress=False).denoiser
        model = cast("SoftMixture", trained)
        share = latent_share(line, chain, model, generator=generator)
        where = int(share.value[1:].argmax() if relation == "<" else share.value[1:].argmin()) + 1
        side = "largest" if relation == "<" else "smallest"
        what = f"{side} share of posterior variance that η carries, {name}, {STEPS} steps here"
        checks.append(Check.of(what, share[where], relation, limit, ""))  # type: ignore[arg-type]
    checks += _stored(rows) if rows else []
    return Finding(
        name="paper-loss",
        source="the training loss",
        claim="The squared error, averaged over the latent's noise η, trains the soft mixture.",
        tested="the minimiser over all functions of (x_t, η), by an identity; 4 modes in d = 1 and "
        f"T = 10, trained here for {STEPS} steps"
        + ("; a ring of 8, trained long, from stored rows." if rows else "."),
        survives="The network can hold the exact law: under a proper score the same network uses "
        "its latent, and passes below every Gaussian.",
        instead="E|y − f(x,η)|² = E|y − E_η f|² + E Var_η f: the minimiser ignores η, and at the "
        "optimum the soft mixture is the Gaussian denoiser.",
        if_confirmed="refuted as stated",
        decides="the share of the posterior variance that η carries after training",
        checks=tuple(checks),
        section="§10.2",
        stored=LONG if rows else None,
    )


STEPS = 400
"""Training steps of the two networks that are trained for the audit itself."""


def _stored(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Long training: the share, and the errors beside those of the Gaussian network.

    Raises:
        ValueError: for rows of something else.
    """
    few = [row for row in rows if row["steps"] in (3, 5, 10, 20)]
    for arm in ("gaussian", "soft_mse", "soft_energy", "full"):
        if {row["steps"] for row in few if row["arm"] == arm} != {3, 5, 10, 20}:
            raise ValueError(
                f"rows must be those of {LONG}; received none of {arm} at T = 3, 5, 10 and 20. "
                "Run it, and pass the rows.csv of its folder."
            )

    def mean(arm: str, steps: int, column: str) -> float:
        found = [float(r[column]) for r in few if r["arm"] == arm and r["steps"] == steps]
        return sum(found) / len(found)

    share = max(float(r["latent_share"]) for r in few if r["arm"] == "soft_mse")
    checks = [Check("largest share, soft_mse, ring of 8, long training", share, "<", 0.01, unit="")]
    for steps in (3, 20):
        ratio = mean("soft_mse", steps, "M_sum") / mean("gaussian", steps, "M_sum")
        name = f"ΣM of soft_mse / gaussian, T = {steps}, long training"
        checks.append(Check(name, ratio, ">", 0.95, unit=""))
    ratio = mean("soft_energy", 3, "M_sum") / mean("full", 3, "M_sum")
    name = "ΣM of soft_energy / best full Gaussian, T = 3, long training"
    checks.append(Check(name, ratio, "<", 0.25, unit=""))
    return checks


def _wider(mixture: GaussianMixture) -> GaussianMixture:
    """Each component widened to a smallest eigenvalue above 1."""
    return GaussianMixture(mixture.weights, mixture.means, 1.5)
