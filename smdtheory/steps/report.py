"""The answer for people, in 100 columns, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

from smdtheory.families import FAMILIES
from smdtheory.schedule import Schedule
from smdtheory.steps.config import StepsConfig
from smdtheory.steps.data import DataFit
from smdtheory.theory.advice import Option
from smdtheory.theory.spacings import GridGain

WIDTH = 100

OUTPUTS: dict[str, Callable[[int], str]] = {
    "fixed_small": lambda d: "nothing",
    "fixed_large": lambda d: "nothing",
    "isotropic": lambda d: "nothing (1 variance a step)",
    "isotropic_x": lambda d: "1 variance",
    "diagonal": lambda d: f"{d} variance{'s' * (d > 1)}",
    "full": lambda d: f"{d * (d + 1) // 2} number{'s' * (d > 1)}, a covariance",
    "soft_mixture": lambda d: "a latent (exact in theory)",
}
"""What the network has to put out besides the mean."""


def fit_lines(fit: DataFit) -> str:
    """How the mixture was fitted, and how far to trust it."""
    K = fit.mixture.num_components
    rows = f"{fit.rows} rows"
    if fit.rows < fit.total_rows:
        rows += f" drawn from {fit.total_rows}"
    least = fit.bic[K]
    curve = ", ".join(f"{count}: {value - least:+.0f}" for count, value in fit.bic.items())
    text = [
        f"Fitted to {rows}, mean taken off and divided by one number so that each coordinate has "
        f"variance 1 on average; {K} component{'s' * (K > 1)} with {fit.kind} covariances have the "
        f"least BIC. BIC by number of components, less the least: {curve}.",
        f"Held-out rows: {fit.gain:.3g} ± {fit.gain_error:.1g} nats a row more likely than under "
        f"one Gaussian, and {fit.shortfall:+.2g} ± {fit.shortfall_error:.1g} against draws of the "
        "mixture itself (0 if it is right).",
    ]
    if fit.doubts:
        text.append(f"Doubtful: {'; '.join(fit.doubts)}.")
    else:
        text.append("Nothing speaks against the fit; the answer is exact for the fitted mixture.")
    return "\n".join(fill(part, WIDTH) for part in text)


def table_head() -> list[str]:
    """The heading of the table of families."""
    return [
        "─" * WIDTH,
        f"{'':14}{'standard schedule':^33}{'best grid':^20}network puts out,",
        f"{'denoiser':14}{'steps':>8}{'ΣM':>12}{'estimate':>11}  {'steps':>8}{'ΣM':>10}  "
        "besides the mean",
    ]


def table_line(option: Option, dim: int) -> str:
    """One family: steps on the schedule, by the leading term, and on the best grid."""
    needed, grid = option.needed, option.grid
    steps = "–" if needed.steps is None else f"{needed.steps}{'' if needed.exhaustive else '*'}"
    estimate = "–" if needed.asymptotic is None else f"~{needed.asymptotic}"
    best = ("–", "–") if grid is None else (str(grid.schedule.steps), _short(float(grid.error)))
    if option.family == "soft_mixture":
        steps, estimate, best = "1", "–", ("1", "0")
    return (
        f"{option.family:14}{steps:>8}{_short(float(needed.reached)):>12}{estimate:>11}  "
        f"{best[0]:>8}{best[1]:>10}  {OUTPUTS[option.family](dim)}"
    )


def notes(found: Sequence[Option]) -> list[str]:
    """What the signs in the table mean, where they stand."""
    lines = []
    if any(option.needed.asymptotic is not None and option.family in FAMILIES for option in found):
        lines.append(
            "estimate: the leading term C/T^p solved for T, good for small errors only. The soft "
            "mixture's numbers are a theorem (docs/theory.md §7.1); all else is measured."
        )
        lines.append("Best grids end at the last level of the schedule's own steps on their left.")
    if any(option.needed.steps and not option.needed.exhaustive for option in found):
        lines.append("*: found by bisection; not every smaller T was looked at.")
    for option in found:
        if option.needed.steps is None:
            lines.append(f"{option.family}: {option.needed.note}")
    if any(option.needed.reached.method == "sampling" for option in found):
        error = max(float(option.needed.reached.error) for option in found)
        lines.append(f"Sampled (d >= 3): ΣM has a standard error of {error:.1g} nats at most.")
    return [fill(line, WIDTH, subsequent_indent="  ") for line in lines]


def grid_lines(chosen: Option, gains: Sequence[GridGain]) -> list[str]:
    """The standard grids beside the best one, and its levels."""
    assert chosen.grid is not None
    schedule = chosen.grid.schedule
    lines = [f"ΣM of {chosen.family} at {schedule.steps} steps, by grid:"]
    names = {"log_snr": "uniform log SNR", "edm": "EDM, ρ = 7"}
    for row in gains:
        less = f"{100 * row.gain:.0f} % less" if row.gain >= 0.005 else "hardly less"
        lines.append(
            f"  {names.get(row.name, row.name):18}{_short(float(row.error)):>10}   best grid with "
            f"this end {_short(float(row.best.error)):>8}, {less}"
        )
    lines.append(
        "  (uniform log SNR and EDM go to the end of the best grid, the others to their own)"
    )
    levels = "  ".join(f"{float(g):.4g}" for g in schedule.snr[1:])
    text = f"Levels of the best grid, signal-to-noise ratios γ_1 to γ_T: {levels}"
    return [*lines, fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)]


def recommendation(found: Sequence[Option], chosen: Option | None, fit: DataFit | None) -> str:
    """Which denoiser, how many steps, which grid, at what cost, in sentences."""
    soft = (
        "The exact soft mixture needs 1, in theory: what training makes of it, and of finite "
        "mixtures, is what python -m smdtheory.sweep measures."
    )
    if chosen is None:
        return fill(f"No Gaussian family looked at reaches this error. {soft}", WIDTH)
    count, standard = chosen.evaluations, chosen.needed.steps
    where = f"on the {chosen.needed.schedule} schedule"
    if chosen.grid is not None:
        where = "on the best grid above"
    text = (
        f"Take {chosen.family} with {count} step{'s' * (count != 1)} {where}: {count} network "
        f"evaluation{'s' * (count != 1)} a sample"
    )
    if chosen.grid is not None:
        text += f", where the {chosen.needed.schedule} schedule " + (
            f"needs {standard}." if standard else "does not get there."
        )
    else:
        text += "."
    others = [o for o in found if o.family in FAMILIES and o is not chosen and o.evaluations]
    most = max(others, key=lambda o: o.evaluations or 0, default=None)
    if most is not None and (most.evaluations or 0) > (count or 0):
        text += f" {most.family} needs {most.evaluations}."
    text += f" {soft}"
    if fit is not None and fit.doubts:
        text += " The fit is doubtful, and so is this."
    return fill(text, WIDTH)


def to_json(
    config: StepsConfig,
    label: str,
    found: Sequence[Option],
    chosen: Option | None,
    gains: Sequence[GridGain],
    fit: DataFit | None,
) -> dict[str, Any]:
    """The answer as plain JSON values; γ_0 = ∞ is left out of grids."""

    def levels(schedule: Schedule) -> list[float]:
        return [float(g) for g in schedule.snr[1:]]

    given = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    rows = [
        {
            "family": option.family,
            "steps": option.needed.steps,
            "M_sum": float(option.needed.reached),
            "M_sum_error": float(option.needed.reached.error),
            "method": option.needed.reached.method,
            "exhaustive": option.needed.exhaustive,
            "searched": option.needed.searched,
            "steps_asymptotic_estimate": option.needed.asymptotic,
            "note": option.needed.note,
            "grid": option.grid
            and {
                "steps": option.grid.schedule.steps,
                "M_sum": float(option.grid.error),
                "snr": levels(option.grid.schedule),
            },
            "network_evaluations": option.evaluations,
        }
        for option in found
    ]
    return {
        "options": given,
        "mixture": label,
        "families": rows,
        "recommended": chosen and chosen.family,
        "network_evaluations": chosen and chosen.evaluations,
        "grids": [
            {
                "name": row.name,
                "M_sum": float(row.error),
                "best_M_sum": float(row.best.error),
                "gain": row.gain,
                "snr": levels(row.schedule),
            }
            for row in gains
        ],
        "fit": fit
        and {
            "components": fit.mixture.num_components,
            "covariances": fit.kind,
            "rows": fit.rows,
            "bic": {str(count): value for count, value in fit.bic.items()},
            "held_out_gain": fit.gain,
            "held_out_gain_error": fit.gain_error,
            "held_out_shortfall": fit.shortfall,
            "held_out_shortfall_error": fit.shortfall_error,
            "doubts": list(fit.doubts),
        },
    }


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"
