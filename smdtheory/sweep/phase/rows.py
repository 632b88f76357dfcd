"""Rows of the phase diagram: steps needed, by number of modes and by separation over std."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from smdtheory.families import FAMILIES, Family
from smdtheory.provenance import provenance
from smdtheory.store.cell import Row
from smdtheory.sweep.cells import NUMERICS_VERSION
from smdtheory.sweep.config import SweepConfig
from smdtheory.sweep.mixtures import build
from smdtheory.sweep.phase.config import MODES, RATIOS, PhaseConfig, PhaseShape
from smdtheory.theory.steps import steps_needed


def phase_rows(
    error: float = 0.1,
    *,
    modes: Iterable[int] = MODES,
    ratios: Iterable[float] = RATIOS,
    families: Iterable[Family] = FAMILIES,
    shape: PhaseShape = "ring",
    schedule: str = "cosine",
) -> list[Row]:
    """The smallest T with ΣM_t <= ``error`` for each mixture and family (docs/theory.md §12.1).

    Mixtures are those of a sweep, with neighbours ``ratio`` standard deviations apart, standardized
    (mean 0, tr Cov = d), so that nothing but the number of modes and the ratio differs.

    Args:
        error: in nats.
        modes: numbers of modes, 2 or more.
        ratios: separation of neighbours over the standard deviation of a mode.
        families: of :data:`smdtheory.families.FAMILIES`.
        shape: "ring", "grid" or "line".
        schedule: one of :data:`smdtheory.schedule.SCHEDULES`.

    Returns:
        One row for each, by modes, ratio and family: ``shape``, ``modes``, ``dim``, ``ratio``,
        ``schedule``, ``arm``, ``error``, ``steps_needed`` (``None`` if no T looked at reaches it),
        ``exhaustive``, ``M_sum``, ``M_sum_error`` and ``M_sum_method`` there, ``searched``, the
        ``seconds`` it took, and where it comes from (:mod:`smdtheory.provenance`).

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for numbers out of range, or an unknown shape, family or schedule.

    Example:
        >>> rows = phase_rows(modes=[2], ratios=[1, 8], families=["full"], shape="line")
        >>> [(row["ratio"], row["steps_needed"]) for row in rows]
        [(1.0, 1), (8.0, 7)]
    """
    config = PhaseConfig(
        error=error,
        modes=modes,  # type: ignore[arg-type]  # made a tuple there, as the rest
        ratios=ratios,  # type: ignore[arg-type]
        families=families,  # type: ignore[arg-type]
        shape=shape,
        schedule=schedule,  # type: ignore[arg-type]
    )
    return [
        row
        for count in config.modes
        for ratio in config.ratios
        for row in mixture_rows(config, count, ratio)
    ]


def mixture_rows(config: PhaseConfig, modes: int, ratio: float) -> list[Row]:
    """The rows of one mixture, one for each family.

    Example:
        >>> config = PhaseConfig(families=("full",), shape="line")
        >>> [row["steps_needed"] for row in mixture_rows(config, 2, 8.0)]
        [7]
    """
    apart = SweepConfig(modes=(modes,), shape=config.shape, separation=1.0, std=1.0 / ratio)
    (spec,) = apart.mixtures()
    mixture = build(spec).standardized()
    rows: list[Row] = []
    for family in config.families:
        begin = time.perf_counter()
        found = steps_needed(mixture, config.error, family, config.schedule, estimate=False)
        rows.append(
            {
                "shape": config.shape,
                "modes": spec.modes,
                "dim": spec.dim,
                "ratio": ratio,
                "schedule": config.schedule,
                "arm": family,
                "error": found.error,
                "steps_needed": found.steps,
                "exhaustive": found.exhaustive,
                "M_sum": float(found.reached),
                "M_sum_error": float(found.reached.error),
                "M_sum_method": found.reached.method,
                "searched": found.searched,
                "seconds": round(time.perf_counter() - begin, 4),
                "version": version("smdtheory"),
                **provenance(),
                "numerics": NUMERICS_VERSION,
            }
        )
    return rows


TEXT = {"shape", "schedule", "arm", "M_sum_method", "version", "versions", "commit", "host"}
WHOLE = {"modes", "dim", "steps_needed", "searched", "numerics"}
REAL = {"ratio", "error", "M_sum", "M_sum_error", "seconds"}


def check_row(cell: Mapping[str, Any], row: Row) -> None:
    """Refuse a row that no phase diagram of this version would have written for this cell.

    Raises:
        ValueError: if it is not one.
    """
    if row.keys() != TEXT | WHOLE | REAL | {"exhaustive"}:
        raise ValueError("a row has other columns than those of a phase diagram")
    for name, value in row.items():
        kind = str if name in TEXT else int if name in WHOLE else bool
        kinds = (int, float) if name in REAL else (kind,)
        if type(value) not in kinds and not (value is None and name in ("steps_needed", "commit")):
            raise ValueError(f"{name} is {value!a:.40}, which is not of the right kind")
    if any(row["arm" if name == "family" else name] != value for name, value in cell.items()):
        raise ValueError("a row is not that of its cell")
