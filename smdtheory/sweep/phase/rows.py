"""Rows of the phase diagram: steps needed, by number of modes and by separation over std."""

from __future__ import annotations

from collections.abc import Iterable

from smdtheory.families import FAMILIES, Family
from smdtheory.sweep.config import Shape, SweepConfig
from smdtheory.sweep.mixtures import build
from smdtheory.sweep.store import Row
from smdtheory.theory.steps import steps_needed

MODES = (2, 4, 8, 16)
RATIOS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def phase_rows(
    error: float = 0.1,
    *,
    modes: Iterable[int] = MODES,
    ratios: Iterable[float] = RATIOS,
    families: Iterable[Family] = FAMILIES,
    shape: Shape = "ring",
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
        One row for each: ``shape``, ``modes``, ``dim``, ``ratio``, ``schedule``, ``arm``,
        ``error``, ``steps_needed`` (``None`` if no T looked at reaches it), ``exhaustive``,
        ``steps_estimated`` (the leading term's), ``M_sum`` and ``M_sum_error`` there, ``searched``.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for numbers out of range, or an unknown shape, family or schedule.

    Example:
        >>> rows = phase_rows(modes=[2], ratios=[1, 8], families=["full"], shape="line")
        >>> [(row["ratio"], row["steps_needed"]) for row in rows]
        [(1.0, 1), (8.0, 7)]
    """
    if shape not in ("ring", "grid", "line"):
        raise ValueError(f"shape must be ring, grid or line; received {shape!r:.60}")
    rows: list[Row] = []
    names, steps_apart = tuple(families), tuple(ratios)
    for count in modes:
        for ratio in steps_apart:
            config = SweepConfig(
                modes=(count,), shape=shape, separation=1.0, std=1.0 / _ratio(ratio)
            )
            (spec,) = config.mixtures()
            mixture = build(spec).standardized()
            for family in names:
                found = steps_needed(mixture, error, family, schedule)
                rows.append(
                    {
                        "shape": shape,
                        "modes": spec.modes,
                        "dim": spec.dim,
                        "ratio": float(ratio),
                        "schedule": schedule,
                        "arm": family,
                        "error": found.error,
                        "steps_needed": found.steps,
                        "exhaustive": found.exhaustive,
                        "steps_estimated": found.asymptotic,
                        "M_sum": float(found.reached),
                        "M_sum_error": float(found.reached.error),
                        "searched": found.searched,
                    }
                )
    return rows


def _ratio(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"ratios must be numbers; received {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"ratios must be positive and finite; received {value:g}")
    return float(value)
