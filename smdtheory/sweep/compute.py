"""The work on one cell: measure it at each iteration count. Runs in a worker."""

from __future__ import annotations

import math
import pickle
import time
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch

from smdtheory.estimate import Estimate
from smdtheory.families import FAMILIES
from smdtheory.files import digest
from smdtheory.measure import best_gaussian_errors, global_error, local_errors
from smdtheory.models import oracle
from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import Schedule
from smdtheory.sweep.cells import KEPT_TERMS, NUMERICS_VERSION, SOFT_MIXTURE, Cell, Task
from smdtheory.sweep.config import MixtureSpec
from smdtheory.sweep.mixtures import build
from smdtheory.sweep.store import Row
from smdtheory.truth.mixture import GaussianMixture


def compute(task: Task) -> list[Row]:
    """The rows of a cell, one for each iteration count of the task.

    A row depends on its cell and T alone: neither the other counts nor the process matter.

    Raises:
        ArithmeticError: if a number comes out as NaN.
    """
    mixture = _mixture(task.cell.mixture, task.parameters)
    return [measure(task.cell, mixture, T) for T in task.steps]


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
    seed = int(digest([cell.seed, steps])[:15], 16)
    generator = torch.Generator().manual_seed(seed)
    denoiser = _denoiser(cell.arm, mixture)
    if cell.arm in FAMILIES:
        errors = best_gaussian_errors(mixture, schedule, cell.arm)
    else:
        errors = local_errors(mixture, schedule, denoiser, samples=draws, generator=generator)
    whole = global_error(
        mixture, schedule, denoiser, samples=draws, local_errors=errors, generator=generator
    )
    spec = cell.mixture
    row: Row = {
        "shape": spec.shape,
        "modes": spec.modes,
        "dim": spec.dim,
        "separation": spec.neighbours,
        "std": spec.std,
        "seed": cell.seed,
        "schedule": cell.schedule,
        "arm": cell.arm,
        "steps": steps,
        **_numbers("M_1", errors[1]),
        **_numbers("M_rest", errors[2:].sum()),
        **_numbers("M_sum", errors.sum()),
        "method": errors.method,
        **_numbers("global_lower", whole.lower),
        **_numbers("global_upper", whole.upper),
        **_numbers("global_value", whole.value),
        "global_method": (whole.value or whole.upper).method,
        **_numbers("prior_gap", whole.prior_gap),
        "samples": draws,
        "seconds": round(time.perf_counter() - begin, 4),
        "version": version("smdtheory"),
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
    """A value and its error; both absent where there is no such number."""
    if estimate is None:
        return {name: None, f"{name}_error": None}
    return {name: float(estimate.value), f"{name}_error": float(estimate.error)}
