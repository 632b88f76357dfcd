"""The work on one cell: measure it at each iteration count. Runs in a worker."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from smdtheory.estimate import Estimate
from smdtheory.families import FAMILIES
from smdtheory.files import digest
from smdtheory.measure import (
    GlobalError,
    best_gaussian_errors,
    global_error,
    latent_share,
    local_errors,
    prior_gap,
    summed_errors,
)
from smdtheory.models import SoftMixture, oracle
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.loop import Fit
from smdtheory.models.recipes import parameters_of, train
from smdtheory.provenance import provenance
from smdtheory.schedule import Schedule
from smdtheory.store.cell import Row
from smdtheory.sweep.cells import (
    KEPT_TERMS,
    MEASURED_STEPS,
    NUMERICS_VERSION,
    SOFT_MIXTURE,
    Cell,
    Task,
)
from smdtheory.sweep.mixtures import build
from smdtheory.sweep.spec import MixtureSpec
from smdtheory.truth.mixture import GaussianMixture

try:
    import fcntl
except ImportError:  # not on Windows: two cells may then train the same network, to the same end
    fcntl = None  # type: ignore[assignment]

SHARE_EFFORT = {"short": (8, 256, 8), "long": (MEASURED_STEPS, 512, 16)}
"""For the share of the posterior variance that a latent carries, by budget: levels of long chains,
draws of x_t at each, and of η at each x_t."""

LAST = 100
"""Training steps over which the last loss is averaged."""


def compute(task: Task) -> list[Row]:
    """The rows of a cell, one for each iteration count of the task.

    A row depends on its cell and T alone: neither the other counts nor the process matter.

    Raises:
        ArithmeticError: if a number comes out as NaN.
    """
    mixture = _mixture(task.cell.mixture, task.parameters)
    if task.cell.training is None:
        return [measure(task.cell, mixture, T) for T in task.steps]
    with alone(task.checkpoints):
        trained = learn(task.cell, mixture, task.checkpoints)
    return [measure_learned(task.cell, mixture, trained, T) for T in task.steps]


@lru_cache(maxsize=4)
def _mixture(spec: MixtureSpec, parameters: bytes | None) -> GaussianMixture:
    """One object for each mixture of a process, so that curves cached on it are shared."""
    if parameters is None:
        return build(spec)
    mixture: GaussianMixture = pickle.loads(parameters)  # made by this program, for this process
    return mixture


def measure(cell: Cell, mixture: GaussianMixture, steps: int) -> Row:
    """One row: local errors, global interval and prior gap of a cell at T = ``steps``, in nats."""
    begin = time.perf_counter()
    schedule, draws = Schedule.named(cell.schedule, steps), cell.draws(steps)
    generator = torch.Generator().manual_seed(seed_of(cell.seed, steps))
    denoiser = _denoiser(cell.arm, mixture)
    if cell.arm in FAMILIES:
        errors = best_gaussian_errors(mixture, schedule, cell.arm)
    else:
        errors = local_errors(mixture, schedule, denoiser, samples=draws, generator=generator)
    whole = global_error(
        mixture, schedule, denoiser, samples=draws, local_errors=errors, generator=generator
    )
    ends = errors.map(lambda e: torch.stack([e[..., 1], e[..., 2:].sum(-1)], -1))
    return _row(cell, steps, ends, begin, whole=whole, gap=whole.prior_gap)


def learn(cell: Cell, mixture: GaussianMixture, folder: Path | None) -> Fit:
    """Train the network of a cell, or take it from its checkpoints."""
    training = cell.training
    assert training is not None
    return train(
        cell.arm,
        mixture,
        budget="long" if training.budget == "long" else "short",
        seed=seed_of(cell.seed, training.repeat) % 2**31,
        latents=cell.latents,
        device=training.device,
        folder=folder,
        resume="fallback",
        progress=False,
    )


def measure_learned(cell: Cell, mixture: GaussianMixture, run: Fit, steps: int) -> Row:
    """One row: local errors of a learned denoiser at T = ``steps``, in nats; no global error."""
    begin, training = time.perf_counter(), cell.training
    assert training is not None
    schedule, draws = Schedule.named(cell.schedule, steps), cell.draws(steps)
    seed = seed_of(cell.training_identity, cell.schedule, steps)
    generator = torch.Generator().manual_seed(seed)
    ends = summed_errors(mixture, schedule, run.denoiser, samples=draws, generator=generator)
    share = None
    soft = run.denoiser if isinstance(run.denoiser, SoftMixture) else None
    if soft is not None:
        levels, samples, latents = SHARE_EFFORT[training.budget]
        chain = Schedule.from_snr(schedule.snr[1 :: max(1, steps // levels)])
        shares = latent_share(
            mixture, chain, soft, samples=samples, latents=latents, generator=generator
        )
        share = shares[int(shares.value.argmax())]
    return _row(
        cell,
        steps,
        ends,
        begin,
        gap=prior_gap(mixture, schedule),
        share=share,
        latents=None if soft is None else soft.latents,
        run=run,
    )


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Let no other process train in ``folder``: what two cells share is trained by the first."""
    if folder is None or fcntl is None:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as file:  # given up when this process ends, too
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def seed_of(*values: int | str) -> int:
    """A seed for each list of values.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1) != seed_of(1, 0)
        True
    """
    return int(digest(list(values))[:15], 16)


def _row(
    cell: Cell,
    steps: int,
    ends: Estimate,
    begin: float,
    *,
    gap: Estimate,
    whole: GlobalError | None = None,
    share: Estimate | None = None,
    latents: int | None = None,
    run: Fit | None = None,
) -> Row:
    """A row from M_1 and Σ_{t≥2} M_t, and whatever else was measured.

    Raises:
        ArithmeticError: if a number is NaN.
    """
    spec, training = cell.mixture, cell.training
    row: Row = {
        "shape": spec.shape,
        "modes": spec.modes,
        "dim": spec.dim,
        "separation": spec.neighbours,
        "std": spec.std,
        "seed": cell.seed,
        "schedule": cell.schedule,
        "arm": cell.arm,
        "budget": None if training is None else training.budget,
        "repeat": None if training is None else training.repeat,
        "steps": steps,
        **_numbers("M_1", ends[0]),
        **_numbers("M_rest", ends[1]),
        **_numbers("M_sum", ends.sum()),
        **_numbers("global_lower", getattr(whole, "lower", None)),
        **_numbers("global_upper", getattr(whole, "upper", None)),
        **_numbers("global_value", getattr(whole, "value", None)),
        **_numbers("prior_gap", gap),
        **_numbers("latent_share", share),
        "latents": latents,
        "parameters": run and parameters_of(run.denoiser),
        "train_steps": run and run.steps,
        "train_seconds": run and round(run.seconds, 1),
        "train_loss": run and float(run.losses[-LAST:].mean()),
        "device": training and training.device,
        "recipes": training and training.recipes,
        "samples": cell.draws(steps),
        "seconds": round(time.perf_counter() - begin, 4),
        "version": version("smdtheory"),
        **provenance(),
        "numerics": NUMERICS_VERSION,
        "mixture_id": spec.identity,
    }
    broken = [k for k, v in row.items() if isinstance(v, float) and math.isnan(v)]
    if broken:
        raise ArithmeticError(f"T = {steps}: {', '.join(broken)} came out as NaN")
    return row


def _denoiser(arm: str, mixture: GaussianMixture) -> Denoiser:
    if arm in FAMILIES:
        return oracle.BestGaussian(mixture, arm)
    if arm == SOFT_MIXTURE:
        return oracle.ExactSoftMixture(mixture)
    return oracle.TruncatedMixture(mixture, keep=KEPT_TERMS)


def _numbers(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """A value, its error and its method; absent where there is no such number."""
    if estimate is None:
        return {name: None, f"{name}_error": None, f"{name}_method": None}
    return {
        name: float(estimate.value),
        f"{name}_error": float(estimate.error),
        f"{name}_method": estimate.method,
    }
