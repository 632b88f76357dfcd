"""The columns of a sweep's rows: what a row must hold to be one. Standard library only.

Every number X that was measured has X_error and X_method beside it, and every row says where it
comes from (:mod:`smdtheory.provenance`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smdtheory.store.cell import Row

MEASURED = (
    "M_1", "M_rest", "M_sum", "global_lower", "global_upper", "global_value", "prior_gap",
    "latent_share",
)  # fmt: skip
"""Numbers with an error and a method."""

TEXT = {
    "shape", "schedule", "arm", "budget", "device", "version", "versions", "commit", "host",
    "mixture_id", *(f"{name}_method" for name in MEASURED),
}  # fmt: skip
"""Columns that hold words."""

WHOLE = ("modes", "dim", "seed", "repeat", "steps", "latents", "parameters", "train_steps",
         "recipes", "samples", "numerics")  # fmt: skip
"""Whole numbers; in a table with gaps they have become floats."""

REAL = {
    "separation", "std", "train_seconds", "train_loss", "seconds",
    *(f"{name}{end}" for name in MEASURED for end in ("", "_error")),
}  # fmt: skip

NUMBERS = {*WHOLE} | REAL

COLUMNS = TEXT | NUMBERS

PRESENT = {
    "shape", "modes", "dim", "seed", "schedule", "arm", "steps", "samples", "seconds", "version",
    "versions", "host", "numerics", "mixture_id",
    *(f"{name}{end}" for name in ("M_1", "M_rest", "M_sum") for end in ("", "_error", "_method")),
}  # fmt: skip
"""Columns in which every row has a value."""


def check_row(cell: Mapping[str, Any], row: Row) -> None:
    """Refuse a row that no sweep of this version would have written for this cell.

    A row that is read from a file may have been written by anyone.

    Raises:
        ValueError: for columns that are missing or strange, values of the wrong kind, or a row
            that is another cell's.
    """
    if row.keys() != COLUMNS:
        odd = min(row.keys() ^ COLUMNS)
        raise ValueError(f"a row has other columns than those of a sweep ({odd} is one)")
    for name, value in row.items():
        kind: type | tuple[type, ...] = (float, int)
        if name in TEXT:
            kind = str
        elif name in WHOLE:
            kind = int
        absent = value is None and name not in PRESENT
        if not absent and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"{name} is {value!a:.40}, which is not of the right kind")
    mixture = cell.get("mixture")
    training = cell.get("training") or {}
    if not isinstance(mixture, dict) or not isinstance(training, dict):
        raise ValueError("the cell is not one of a sweep")
    same = {name: mixture.get(name) for name in ("shape", "modes", "dim", "std")}
    same |= {name: cell.get(name) for name in ("schedule", "arm", "seed")}
    same |= {name: training.get(name) for name in ("budget", "repeat", "device", "recipes")}
    for name, value in same.items():
        if row[name] != value:
            raise ValueError(f"{name} is {row[name]!a:.40} in a row of a cell with {value!a:.40}")
