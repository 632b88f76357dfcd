"""Train, draw and measure, or take what is there: ``python -m smdtheory.toy`` as one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from smdtheory.checks import instance
from smdtheory.toy import compute, folder
from smdtheory.toy.compute import Points
from smdtheory.toy.config import ToyConfig

WHOLE = ("training_steps", "steps", "modes_covered", "draws")
"""Columns of whole numbers."""


@dataclass(frozen=True, eq=False)
class Toy:
    """What the toy leaves, in the units of the standardised grid (variance 1 a coordinate).

    Attributes:
        rows: one row for each arm, number of training steps and T, with the columns ``arm``,
            ``training_steps``, ``steps`` (T), ``M_sum`` and ``M_sum_error`` (nats) and ``method``;
            where samples were drawn also ``energy_distance`` to the data, ``modes_covered``,
            ``on_a_mode``, their errors and ``draws``. What was not measured is missing. The arm
            ``data`` is a second draw of the data.
        samples: draws (n, 2) by T and arm.
        data: draws of the data, (n, 2).
        centres: of the modes, (49, 2).
        radius: two standard deviations of a mode: a draw within it is on the mode.
    """

    rows: pd.DataFrame
    samples: dict[int, dict[str, Points]]
    data: Points
    centres: Points
    radius: float


def run_toy(
    config: ToyConfig | None = None,
    *,
    progress: bool | None = None,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> Toy:
    """Train both denoisers and measure them, or take from the folder what is there.

    Args:
        config: what to do; the default if absent.
        progress: show progress bars; if absent, where the output is a terminal.
        tell: is told in words what comes next.
        **options: fields of :class:`ToyConfig` that replace those of ``config``.

    Returns:
        Rows and samples.

    Raises:
        TypeError: for options of the wrong kind.
        ValueError: for options out of range, or a folder that cannot be used.
        ArithmeticError: if training diverges.
        OSError: if the folder can no longer be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out:
        ...     toy = run_toy(steps=2, iterations=1, panels=1, draws=100, samples=128, out=out)
        >>> list(toy.rows.arm)
        ['gaussian', 'soft_energy', 'isotropic', 'full', 'data']
    """
    cure = "Or leave it out, and give its fields as options."
    asked = ToyConfig() if config is None else instance("config", config, ToyConfig, cure)
    chosen = replace(asked, **options)
    folder.claim(chosen)
    found = folder.load(chosen)
    if found is None:
        found = compute.measure(chosen, progress, tell or (lambda text: None))
        folder.save(chosen, *found)
    rows, points = found
    q = compute.mixture()
    return Toy(
        pd.DataFrame(rows).astype(dict.fromkeys(WHOLE, "Int64")),
        {T: {arm: points[f"{arm} {T}"] for arm in compute.ARMS} for T in chosen.panels},
        points["data"],
        q.means.numpy(),
        compute.RADII * float(q.spectral.smallest()[0].sqrt()),
    )
