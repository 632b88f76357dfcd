"""Rows of learned denoisers as text: beside the best they could be, and what they show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from textwrap import fill
from typing import Any

from smdtheory.families import FAMILIES, FLOORS, LEARNED, Learned
from smdtheory.store.cell import Row
from smdtheory.sweep.cells import MEASURED_STEPS, beyond_training

WIDTH = 100
NAME, ENTRY = 17, 7
"""Characters of a name and of an entry, one of which is a gap: eleven T fill the width."""

LEVEL = 0.95
"""Of the intervals over trainings; where there was one, over its draws."""

REPLICATES = 8
"""Of the draws of one training (:mod:`smdtheory.measure`)."""

QUANTITIES = ("M_1", "M_rest", "M_sum")

FLOOR_NAMES = {
    "isotropic": "best isotropic",
    "full": "best full",
}


def averaged(rows: Iterable[Row]) -> list[Row]:
    """One row for each budget, device, arm and T: the mean over trainings, its error and interval.

    ``M_sum_error`` is the standard error and ``M_sum_interval`` the half-width of the interval of
    level :data:`LEVEL`: over the trainings, of which each was measured with draws of its own, or
    over the draws where there is but one. Likewise for M_1 and M_rest.

    Example:
        >>> base = {"arm": "gaussian", "budget": "long", "steps": 3, "latent_share": None,
        ...         "device": "cpu", "recipes": 1}
        >>> rows = [
        ...     base | dict.fromkeys(QUANTITIES, mean) for mean in (1.0, 3.0)
        ... ]
        >>> row, = averaged(rows)
        >>> row["M_sum"], row["M_sum_error"], row["repeats"]
        (2.0, 1.0, 2)
    """
    from scipy.stats import t as student  # seconds to import, and --dry-run has no need of it

    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["arm"] in LEARNED:
            key = row["budget"], row["device"], row["recipes"], row["arm"], row["steps"]
            groups.setdefault(key, []).append(row)
    found = []
    for same in groups.values():
        merged: Row = {**same[0], "repeats": len(same)}
        for name in QUANTITIES:
            values = [row[name] for row in same]
            merged[name] = statistics.fmean(values)
            if len(same) > 1:
                error, free = statistics.stdev(values) / math.sqrt(len(same)), len(same) - 1
            else:
                error, free = same[0][f"{name}_error"], REPLICATES - 1
            merged[f"{name}_error"] = error
            merged[f"{name}_interval"] = error * float(student.ppf((1 + LEVEL) / 2, free))
        shares = [row["latent_share"] for row in same if row["latent_share"] is not None]
        merged["latent_share"] = max(shares, default=None)
        found.append(merged)
    return found


def beside_floors(rows: list[Row], means: list[Row]) -> list[Row]:
    """Averaged rows and those of their floors, with the half-width of the interval as error."""
    wanted = {FLOORS[row["arm"]] for row in means} | {"full"}
    drawn = [row | {"M_sum_error": row["M_sum_interval"]} for row in means]
    return [row for row in rows if row["arm"] in wanted] + drawn


def section(rows: list[Row], blocks: int = 2) -> str:
    """Tables and sentence of one group's learned rows, by budget and device; empty without any."""
    parts = []
    means = averaged(rows)
    for budget, device in dict.fromkeys((row["budget"], row["device"]) for row in means):
        own = [row for row in means if (row["budget"], row["device"]) == (budget, device)]
        counts = {row["repeats"] for row in own}
        times = "one training" if counts == {1} else f"mean of {max(counts)} trainings"
        over = "draws" if counts == {1} else "trainings"
        where = "" if device == "cpu" else f" on {device}"
        title = f"{budget} budget{where}, {times}; ±: 95 % over {over}"
        parts.append(table(rows, own, "M_sum", f"Trained networks, Σ M_t (nats): {title} "))
        if blocks > 1:
            parts.append(table(rows, own, "M_1", "of these the last step alone, M_1 (nats) "))
            parts.append(table(rows, own, "M_rest", "and all steps before it, Σ_{t≥2} M_t (nats) "))
        parts.append(_notes(own))
        parts.append(sentence(rows, own))
    return "\n".join(parts)


def table(rows: list[Row], means: list[Row], name: str, title: str) -> str:
    """A line for each learned denoiser, below the best of what it is to be compared with.

    For a Gaussian that is what it cannot pass; a soft mixture under the squared error could, and
    stands there because its objective asks for no more (docs/theory.md §10.2).
    """
    steps = sorted({row["steps"] for row in means})
    floors = {(row["arm"], row["steps"]): row for row in rows if row["arm"] in FAMILIES}
    cell = {(row["arm"], row["steps"]): row for row in means}
    lines = [f"── {title}".ljust(WIDTH, "─"), _line("T =", map(str, steps))]
    for floor in ("isotropic", "full", None):
        arms = [arm for arm in LEARNED if FLOORS[arm] == floor]
        arms = [arm for arm in arms if any((arm, T) in cell for T in steps)]
        if not arms:
            continue
        if floor is None:
            lines.append(_line("exact", ("0" for _ in steps)))
        else:
            have = [floors.get((floor, T)) for T in steps]
            lines.append(_line(FLOOR_NAMES[floor], (_value(row, name) for row in have)))
        for arm in arms:
            have = [cell.get((arm, T)) for T in steps]
            lines.append(_line(f"  {arm}", (_value(row, name) for row in have)))
            lines.append(_line("", (_half(row, name) for row in have)))
    return "\n".join([*lines, "─" * WIDTH])


def _line(start: str, entries: Iterable[str]) -> str:
    return start.ljust(NAME) + "".join(entry.rjust(ENTRY) for entry in entries)


def _value(row: Row | None, name: str) -> str:
    """Three digits, fewer where the error leaves fewer, in six characters."""
    if row is None:
        return "–"
    value, error = row[name], row[f"{name}_error"]
    if abs(value) + error < 1e-12:
        return "0"
    digits = 3
    if error > 0 and abs(value) > error:
        digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 1
    elif error > 0:
        digits = 1
    return _compact(value, min(3, max(1, digits)))


def _half(row: Row | None, name: str) -> str:
    return "" if row is None else "±" + _compact(row[f"{name}_interval"], 1)


def _compact(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 < size < 5 and (size >= -2 or digits + 1 - size <= 6):
        text = f"{value:.{max(0, digits - 1 - size)}f}"
        if len(text) <= ENTRY - 1:
            return text
    for places in range(min(digits, 2) - 1, -1, -1):
        mantissa, exponent = f"{value:.{places}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
        if len(text) < ENTRY:
            break
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _notes(means: list[Row]) -> str:
    latents = {row["arm"]: row["latents"] for row in means if row["latents"]}
    shares: dict[str, float] = {}
    for row in means:
        if row["latent_share"] is not None and row["arm"] != "soft_no_noise":
            shares[row["arm"]] = max(shares.get(row["arm"], 0.0), row["latent_share"])
    parts = []
    counted = [f"R = {latents[arm]} for {arm}" for arm in shares]
    if counted:
        parts.append(
            f"A soft mixture is measured with R values of its noise: {', '.join(counted)}."
        )
        told = [f"{_percent(share)} in {arm}" for arm, share in shares.items()]
        parts.append(
            f"Largest share of the posterior variance that the latent carries: {', '.join(told)}."
        )
    if max(row["steps"] for row in means) > MEASURED_STEPS:
        parts.append(
            f"Chains of more than {MEASURED_STEPS} steps are measured at some of them, at random."
        )
    if beyond := beyond_training(means[0]["schedule"], sorted({row["steps"] for row in means})):
        parts.append(
            f"At T = {', '.join(map(str, beyond))} networks are asked beyond the levels they were "
            "trained on."
        )
    return fill(" ".join(parts), WIDTH)


def sentence(rows: list[Row], means: list[Row]) -> str:
    """What the learned rows show at one T, in words that follow from the numbers alone."""
    full = {row["steps"]: row for row in rows if row["arm"] == "full"}
    steps = sorted({row["steps"] for row in means})
    at = [T for T in steps if T in full and T > 1] or steps
    T = min(at, key=lambda T: (abs(math.log(T / 5)), T))
    cell = {row["arm"]: row for row in means if row["steps"] == T}
    best = full.get(T)
    parts = []

    def said(arm: Learned) -> str:
        row = cell[arm]
        return f"{_value(row, 'M_sum')} ± {_compact(row['M_sum_interval'], 1)}"

    if "gaussian" in cell:
        parts.append(f"the learned Gaussian makes {said('gaussian')} nats")
    soft: dict[Learned, str] = {
        "soft_mse": "the paper's squared error",
        "soft_energy": "the energy score",
        "soft_likelihood": "the likelihood",
    }
    for number, arm in enumerate(arm for arm in soft if arm in cell):
        start = "" if number else "the soft mixture "
        parts.append(f"{start}under {soft[arm]} {said(arm)}")
    if "finite_mixture" in cell:
        parts.append(f"a finite mixture {said('finite_mixture')}")
    if not parts:
        return ""
    text = f"At T = {T} {', '.join(parts)}"
    if best is not None:
        text += f"; no Gaussian can make less than {_value(best, 'M_sum')}"
    return fill(text + ".", WIDTH)
