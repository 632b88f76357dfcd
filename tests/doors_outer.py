"""The public functions of the rooms around the core, an entry for each argument as in ``doors``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from doors import CHAIN, GAP, LINE, PLANE, SOFT, Door
from test_plots import (
    BELL,
    GAINS,
    GAMMA,
    GRID,
    QUANTITIES,
    RATIOS,
    ROWS,
    SNR,
    SQUARE,
    TABLE,
    THIN,
    WORST,
)

from smdtheory import GaussianMixture, Schedule, images, models, plots, presets, sweep, theory, toy
from smdtheory.images.unets import Preset
from smdtheory.models import fit as fitting
from smdtheory.models import objectives
from smdtheory.models.configuration import Settings
from smdtheory.schedule import check_schedule
from smdtheory.theory import claims
from smdtheory.theory.witness import witness

TALL = presets.grid(2)
WITNESS = witness(0.1, CHAIN, "full", steps=1)
NETWORK = models.GaussianDenoiser(1, width=4, layers=1)
PICTURES = (torch.arange(64 * 16).reshape(64, 1, 4, 4) % 7).float() / 3.5 - 1
LEAST = Preset((8, 16), layers=1, groups=4, time=16, latent=4, hidden=8)
ONE_STEP = {"steps": 1, "batch": 8, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup": 0,
            "ema": 0.5, "clip": 1.0, "log_snr": (-1.0, 1.0), "seed": 0}  # fmt: skip
LENGTH = GAP


def around(
    function: Callable[..., Any],
    *skipped: str,
    aliases: dict[str, str] | None = None,
    **arguments: Any,
) -> dict[str, Door]:
    """A door for each argument of a function but the ``skipped``, the others as given.

    Args:
        function: its name is that of the doors.
        skipped: arguments that are left out.
        aliases: what else a message may name, by argument.
        arguments: that do not stay at their defaults.
    """

    def through(name: str) -> Door:
        return lambda value: function(**{**arguments, name: value})

    also = aliases or {}
    return {
        f"{function.__name__}: {', '.join(filter(None, (name, also.get(name))))}": through(name)
        for name in inspect.signature(function).parameters
        if name not in skipped
    }


@functools.wraps(witness)
def built(*arguments: Any, **options: Any) -> GaussianMixture:
    """The mixture: the certificate is NaN, as documented, at each t that was not asked for."""
    return witness(*arguments, **options).base


SAID = ("title", "subtitle", "width", "xlabel", "densities", "gaussians", "panels", "errors")
"""Words and mappings by arm that figures take: Python's own errors do for another kind of object,
and test_plots has what else is refused."""

MIXTURE = {"mixture": LINE, "schedule": CHAIN, "family": "full"}

OUTER: dict[str, Door] = {
    # theory
    **around(theory.best_grid, mixture=LINE, steps=2, family="full", snr_end=0.01),
    **around(theory.compare_grids, mixture=LINE, steps=2, family="full", snr_end=0.01),
    **around(theory.fewest_steps, mixture=LINE, error=0.3, family="full", snr_end=0.01, most=4,
             aliases={"most": "steps"}),
    **around(theory.check_caps, count=50),
    **around(theory.dimension_cap, dim=2, schedule=CHAIN, family="full"),
    **around(theory.fixed_small_constant, schedule=CHAIN, dim=2),
    **around(theory.global_witness, level=0.1, schedule=CHAIN),
    **around(theory.lattice_error, basis=torch.eye(1), ratio=2.0, family="full"),
    **around(theory.worst_lattice, ratio=2.0, family="full"),
    **around(theory.limit_of, name="cosine", aliases={"name": "schedule"}),
    **around(theory.local_caps, **MIXTURE),
    **around(theory.locally_best_floor, half=1.0, std=0.1, schedule=Schedule.cosine(1)),
    **around(theory.measured_exponent, **{**MIXTURE, "schedule": "cosine"}, steps=(4, 6, 8, 12)),
    **around(theory.rate, **{**MIXTURE, "schedule": "cosine"}),
    **around(theory.predicted_errors, **MIXTURE),
    **around(theory.pair_error, near=1.0, far=4.0),
    **around(theory.pair_floor, distance=4.0, thinness=4.0),
    **around(theory.remeasured, found=WITNESS, schedule=CHAIN, family="full"),
    **around(theory.steps_needed, mixture=LINE, error=0.3, family="full"),
    **around(built, level=0.1, schedule=CHAIN, family="full", steps=1, aliases={"steps": "t"}),
    **around(theory.worst_mixture, ratio=2.0, family="full", components=2),
    **around(theory.worst_cases, ratios=(2.0,), families=("full",), components=2,
             aliases={"ratios": "ratio", "families": "family"}),
    **around(theory.negentropy_cap, mixture=LINE, snr_t=1.0, snr_s=2.0, family="full"),
    "audit: names, statement": lambda v: None if v is None else next(iter(claims.audit(v)), None),
    # models
    **around(models.FiniteMixture, dim=1, components=2, width=4, layers=1),
    **around(models.GaussianDenoiser, "network", dim=1, width=4, layers=1),
    **around(models.SoftMixture, "networks", dim=1, latents=4, width=4, layers=1, rank=2),
    **around(models.calibrate, denoiser=SOFT, data=LINE, log_snr=(-1.0, 1.0), samples=1024,
             aliases={"data": "forward, mixture"}),
    **around(
        fitting.fit, denoiser=NETWORK, data=LINE, objective=objectives.mse, steps=1,
        log_snr=(-1.0, 1.0), batch=8, progress=False,
        aliases={"warmup": "steps", "data": "forward, mixture", "objective": "argument"},
    ),
    **around(fitting.load, folder="nowhere", denoiser=NETWORK, aliases={"denoiser": "folder"}),
    **around(fitting.check_denoiser),
    **around(fitting.check_device, aliases={"device": "cuda"}),
    **around(check_schedule),
    # sweep, toy
    **around(sweep.SweepConfig, aliases={"mixture": "path"}),
    **around(sweep.phase_rows, error=0.5, modes=(2,), ratios=(1.0,), families=("full",),
             shape="line"),
    "run_sweep: config": lambda v: None if v is None else sweep.run_sweep(v, modes="none"),
    "run_sweep: mixture, modes": lambda v: None if v is None else sweep.run_sweep(
        mixture=v, modes=3),
    **around(toy.ToyConfig),
    "run_toy: config": lambda v: None if v is None else toy.run_toy(v, steps="none"),
    # images
    **around(images.Images, "mixture", name="made", train=PICTURES, held_out=PICTURES),
    **around(images.ImageGaussian, shape=(1, 4, 4), preset=LEAST),
    **around(images.ImageSoftMixture, shape=(1, 4, 4), preset=LEAST, latents=2),
    **around(images.untrained_image, arm="level", shape=(1, 4, 4), preset=LEAST),
    **around(images.bits_per_dimension, length=LENGTH, dim=2, bin_width=0.1),
    **around(images.code_length, denoiser=models.oracle.ExactPosterior(PLANE), schedule=CHAIN,
             images=torch.zeros(16, 2)),
    **around(images.fit_low_rank, images=PICTURES, components=1, rank=1),
    **around(images.load_images, source="digits"),
    **around(images.fit_images, denoiser=NETWORK, data=LINE, objective=objectives.mse,
             settings=Settings(**ONE_STEP), progress=False,
             aliases={"data": "forward, mixture", "objective": "argument"}),
    # plots: their tables and arrays; see APART
    **around(plots.deviation_against_steps, *SAID, rows=RATIOS),
    **around(plots.error_against_std, *SAID, rows=THIN),
    **around(plots.error_against_steps, *SAID, rows=ROWS),
    **around(plots.error_map, *SAID, "family", table=TABLE, family="full"),
    **around(plots.forecast_against_measured, *SAID, rows=GAINS),
    **around(plots.global_error_against_steps, *SAID, rows=ROWS),
    **around(plots.mmse_staircase, *SAID, "total", "dim", gamma=GAMMA, mmse=1 / (1 + GAMMA),
             snr=SNR, grid_mmse=[0, *(1 / (1 + SNR[1:]))],
             aliases={"gamma": "mmse", "snr": "grid_mmse"}),
    **around(plots.phase_diagram, *SAID, rows=ROWS),
    **around(plots.posterior_against_gaussians, *SAID, x=GRID, posterior=BELL,
             densities={"full": BELL}, aliases={"x": "posterior"}),
    **around(plots.posterior_beside_models, *SAID, x=GRID, y=GRID, posterior=SQUARE,
             densities={"full": SQUARE}, aliases={"x": "posterior", "y": "posterior"}),
    **around(plots.posterior_contours, *SAID, x=GRID, y=GRID, posterior=SQUARE,
             gaussians={"full": ([0, 0], [[1, 0], [0, 1]])},
             aliases={"x": "posterior", "y": "posterior"}),
    **around(plots.quantities_against_steps, *SAID, rows=QUANTITIES),
    **around(plots.steps_against_error, *SAID, rows=ROWS),
    **around(plots.worst_case, *SAID, rows=WORST),
}  # fmt: skip

RESULTS = "a result: made by the package, checked where it is made"
APART: dict[str, str] = {
    **dict.fromkeys(
        ("Bridge", "BestGrid", "Check", "Exponent", "Extreme", "Finding", "GlobalError",
         "GridGain", "Limit", "LocalCap", "Look", "ModeCoverage", "NoWitnessError", "Rate", "Split",
         "StepsNeeded", "Toy", "Witness", "Recipe", "View", "Drawing"), RESULTS),
    **dict.fromkeys(("mse", "likelihood", "energy"), "called by fit, with what fit makes"),
    **dict.fromkeys(("canonical", "digest", "write_atomically"), "what the package keeps on disk"),
    "excess": "elementwise, on tensors that were checked",
    "save": "takes a figure of the room's own",
    **dict.fromkeys(
        ("draws_by_arm", "error_along_chain", "grid_comparison", "learned_grid", "looks"),
        "takes mappings by arm, or tables of several kinds: refusals are in test_plots"),
    "style": "takes nothing",
    "read_numbers": "takes a file that save wrote; refusals are in test_figures",
    "AuditConfig": "the options of a command: test_hostile_commands has them",
    **dict.fromkeys(
        ("main", "headline", "page", "section", "table", "readings"),
        "of the audit's command: takes what the audit found",
    ),
    **dict.fromkeys(("parameters_of", "variance_of"), "of a denoiser or mixture that was checked"),
    "SampledSoftMixture": "of a mixture that is checked as for its neighbours: test_oracle",
    **dict.fromkeys(("explore", "view"), "sliders, and what they show: refusals in test_explore"),
}  # fmt: skip
"""Public names without a door, and why."""
