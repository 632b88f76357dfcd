"""The command line: ``python -m smdtheory.steps --help``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smdtheory import options
from smdtheory.command import DONE, FAILED, guarded, parse
from smdtheory.files import write_atomically
from smdtheory.steps.config import StepsConfig

if TYPE_CHECKING:
    from smdtheory.steps.data import DataFit
    from smdtheory.theory.spacings import GridGain
    from smdtheory.truth.mixture import GaussianMixture


def main() -> int:
    """Parse, compute, print; return the exit status.

    0: answered. 1: no family reaches the error, or the file could not be written. 2: wrong input.
    130, 143: stopped by Ctrl-C or SIGTERM.
    """
    return guarded(
        lambda: _alone(parse(StepsConfig, "smdtheory.steps")),
        stopped="Nothing is written before the end.",
    )


def _alone(config: StepsConfig) -> int:
    from smdtheory.sweep.processes import one_thread

    with one_thread():
        return _run(config)


def _run(config: StepsConfig) -> int:
    if config.out is not None:
        options.make_folder(config.out.parent)
    mixture, label, fit = _mixture(config)
    from smdtheory.steps import report
    from smdtheory.theory.advice import choose
    from smdtheory.theory.advice import options as options_of
    from smdtheory.theory.spacings import compare_grids

    print(f"{label}, {config.schedule} schedule: steps for ΣM <= {config.error:g} nats", flush=True)
    if fit is not None:
        print(report.fit_lines(fit))
    found = []
    for line in report.table_head():
        print(line)
    for option in options_of(mixture, config.error, config.families, config.schedule):
        print(report.table_line(option, mixture.dim), flush=True)
        found.append(option)
    print("─" * report.WIDTH)
    print("\n".join(report.notes(found)), end="\n\n")
    chosen = choose(found)
    gains: Sequence[GridGain] = ()
    if chosen is not None and chosen.grid is not None:
        grid = chosen.grid
        gains = compare_grids(
            mixture, grid.schedule.steps, grid.family, snr_end=float(grid.schedule.snr[-1])
        )
        print("\n".join(report.grid_lines(chosen, gains)), end="\n\n")
    print(report.recommendation(found, chosen, fit))
    if config.out is not None:
        answer = report.to_json(config, label, found, chosen, gains, fit)
        write_atomically(config.out, json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
        print(f"Written: {config.out}")
    return DONE if chosen is not None else FAILED


def _mixture(config: StepsConfig) -> tuple[GaussianMixture, str, DataFit | None]:
    """The mixture, a name for people, and the fit if it was fitted."""
    from smdtheory.sweep import mixtures

    if config.data is not None:
        from smdtheory.steps.data import fit_samples, read_samples

        fit = fit_samples(read_samples(config.data), config.seed)
        K, d = fit.mixture.num_components, fit.mixture.dim
        plural = "s" * (K > 1)
        return fit.mixture, f"{config.data.name}, {K} component{plural} in d = {d}", fit
    if config.mixture is not None:
        mixture, spec = mixtures.load(config.mixture)
        return mixture, spec.label, None
    return mixtures.build(config.spec), config.spec.label, None


if __name__ == "__main__":
    sys.exit(main())
