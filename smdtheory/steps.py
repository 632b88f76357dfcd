"""The command line ``python -m smdtheory.steps``: how many steps, with which denoiser and grid.

For a preset mixture, one of the user's own, or one fitted to the user's data.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from smdtheory import options
from smdtheory.families import FAMILIES, Family
from smdtheory.files import write_atomically
from smdtheory.sweep.config import ScheduleName, Shape, SweepConfig

if TYPE_CHECKING:
    from smdtheory.sweep.data import DataFit
    from smdtheory.theory.advice import Option
    from smdtheory.theory.grids import GridGain
    from smdtheory.truth.mixture import GaussianMixture

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
WIDTH = 100

OUTPUTS: dict[str, Callable[[int], str]] = {
    "fixed_small": lambda d: "nothing",
    "fixed_large": lambda d: "nothing",
    "isotropic": lambda d: "nothing (one variance a step, fitted)",
    "isotropic_x": lambda d: "1 variance",
    "diagonal": lambda d: f"{d} variance{'s' * (d > 1)}",
    "full": lambda d: f"{d * (d + 1) // 2} number{'s' * (d > 1)}, a covariance",
    "soft_mixture": lambda d: "a latent (exact in theory)",
}
"""What the network has to put out besides the mean."""


@dataclass(frozen=True)
class StepsConfig:
    """How many steps does a diffusion model need for a given error, and with which denoiser?

    For each family of Gaussian backward steps: the smallest number of steps T whose local errors
    add up to the error or less, on a standard noise schedule and on the best grid of levels; then
    a recommendation, and what the best grid saves over the standard ones. For a preset mixture
    (modes, shape, ...), one of your own, or one fitted to your data. Half a minute for d <= 2, where
    everything is quadrature; minutes in higher dimensions, where it is sampled.

    Attributes:
        error: Error in nats that the local errors of all steps may add up to.
        modes: Number of modes.
        shape: Where the modes stand: on a circle, a square lattice (4, 9, 16, ... modes), a line,
            or anywhere (random weights, means and full covariances).
        mixture: A mixture of your own instead: a .json or .npz file with weights (K,),
            means (K, d) and covariances (K, d, d), (K, d), (K,) or one number; variances, not
            standard deviations.
        data: Samples of your own instead: a .npy or .csv file, a row for each, shape (n, d). A
            mixture is fitted to them (needs scikit-learn).
        separation: Distance of neighbouring modes; for random, the scale of the means. None: 2,
            and for the ring whatever gives it radius 1.414.
        std: Standard deviation of each mode. None: 0.1 for the ring, 0.25 for the other shapes.
        dim: Dimension of the data. A ring or grid lies in the first two coordinates, a line in
            the first. None: 1 for the line, 2 for the other shapes.
        schedule: Noise schedule to count steps on.
        families: Gaussian families to consider.
        seed: Seed of the random shape, and of the fit.
        out: File for the answer as JSON, the best grid included. None: the terminal alone.

    Example:
        >>> StepsConfig(error=0.01, modes=4).spec.label
        'ring of 4 modes in d = 2'
    """

    error: float = 0.1
    modes: int = 8
    shape: Shape = "ring"
    mixture: Path | None = None
    data: Path | None = None
    separation: float | None = None
    std: float | None = None
    dim: int | None = None
    schedule: ScheduleName = "cosine"
    families: tuple[Family, ...] = FAMILIES
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for values out of range or that do not go together.
        """
        if isinstance(self.error, bool) or not isinstance(self.error, int | float):
            raise TypeError(f"error must be a number; received {self.error!r}")
        if not (math.isfinite(self.error) and self.error > 0):
            raise ValueError(
                f"error must be positive and finite, in nats; received {self.error:g}. No Gaussian "
                "family reaches 0, unless the data are one Gaussian."
            )
        for name in ("data", "out"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, options.path(name, getattr(self, name)))
        if self.out is not None and self.out.suffix.lower() != ".json":
            raise ValueError(f"out must be a .json file; received {self.out}")
        sweep = self._sweep()
        if self.data is not None:
            if self.mixture is not None:
                raise ValueError(
                    "data and mixture do not go together: a mixture is fitted to the data; received "
                    "both. Leave out one or the other."
                )
            _only("data of your own say", sweep.check_own_mixture)
        object.__setattr__(self, "families", sweep.families)
        object.__setattr__(self, "mixture", sweep.mixture)

    def _sweep(self) -> SweepConfig:
        """The options that a sweep has too, checked as it checks them."""
        return SweepConfig(
            modes=(self.modes,),
            shape=self.shape,
            mixture=self.mixture,
            separation=self.separation,
            std=self.std,
            dim=self.dim,
            schedule=(self.schedule,),
            families=self.families,
            seed=(self.seed,),
        )

    @property
    def spec(self) -> Any:
        """The description of the preset mixture."""
        return self._sweep().mixtures()[0]


def main() -> int:
    """Parse, compute, print; return the exit status.

    0: answered. 1: no family reaches the error, or the file could not be written. 2: wrong input.
    130: stopped by Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return _run(_parse())
    except (ValueError, TypeError, ImportError) as error:
        return _say(f"error: {error}", WRONG)
    except OSError as error:
        return _say(f"error: {error}", FAILED)
    except KeyboardInterrupt:
        return _say("\nStopped; nothing is written before the end.", INTERRUPTED)


def _parse() -> StepsConfig:
    import tyro

    return tyro.cli(
        StepsConfig,
        prog="python -m smdtheory.steps",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )


def _run(config: StepsConfig) -> int:
    mixture, label, fit = _mixture(config)
    from smdtheory.theory.advice import choose
    from smdtheory.theory.advice import options as options_of
    from smdtheory.theory.grids import compare_grids

    print(f"{label}, {config.schedule} schedule: steps for ΣM <= {config.error:g} nats", flush=True)
    if fit is not None:
        print(fit_lines(fit))
    found = []
    for line in table_head():
        print(line)
    for option in options_of(mixture, config.error, config.families, config.schedule):
        print(table_line(option, mixture.dim), flush=True)
        found.append(option)
    print("─" * WIDTH)
    print("\n".join(notes(found)), end="\n\n")
    chosen = choose(found)
    gains: Sequence[GridGain] = ()
    if chosen is not None and chosen.grid is not None:
        grid = chosen.grid
        gains = compare_grids(
            mixture, grid.schedule.steps, grid.family, snr_end=float(grid.schedule.snr[-1])
        )
        print("\n".join(grid_lines(chosen, gains)), end="\n\n")
    print(recommendation(found, chosen, fit))
    if config.out is not None:
        answer = to_json(config, label, found, chosen, gains, fit)
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(config.out, json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
        print(f"Written: {config.out}")
    return DONE if chosen is not None else FAILED


def _mixture(config: StepsConfig) -> tuple[GaussianMixture, str, DataFit | None]:
    """The mixture, a name for people, and the fit if it was fitted."""
    from smdtheory.sweep import mixtures

    if config.data is not None:
        from smdtheory.sweep.data import fit_samples, read_samples

        fit = fit_samples(read_samples(config.data), config.seed)
        K, d = fit.mixture.num_components, fit.mixture.dim
        plural = "s" * (K > 1)
        return fit.mixture, f"{config.data.name}, {K} component{plural} in d = {d}", fit
    if config.mixture is not None:
        mixture, spec = mixtures.load(config.mixture)
        return mixture, spec.label, None
    return mixtures.build(config.spec), config.spec.label, None


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
            "estimate: the leading term C/T^p solved for T, good for small errors only; the rest is "
            "measured."
        )
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
        lines.append(
            f"  {names.get(row.name, row.name):18}{_short(float(row.error)):>10}   best grid with "
            f"this end {_short(float(row.best.error)):>8}, {100 * row.gain:.0f} % less"
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

    def levels(schedule: Any) -> list[float]:
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


def _only(start: str, check: Callable[[], None]) -> None:
    """Run a check of the sweep's, in words that name what was received here."""
    try:
        check()
    except ValueError as error:
        raise ValueError(str(error).replace("a mixture of your own says", start)) from None


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
