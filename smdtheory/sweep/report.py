"""Rows as text for people: what is about to happen, the closing table, and what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from textwrap import fill

from smdtheory.families import FAMILIES, LEARNED
from smdtheory.store.cell import Row
from smdtheory.sweep import trained
from smdtheory.sweep.cells import SOFT_MIXTURE
from smdtheory.sweep.plan import Plan

WIDTH = 100
ENTRY = 11
"""Characters of an entry; eight arms and T fill the width."""

SMALL = 0.01
"""Nats. The sentence says from which T on the errors add up to less than this."""

ZERO = 1e-9
"""Nats. A sum of local errors below this is called no error."""

ROUNDING = 1e-12
"""Nats. What is below this is the rounding of sums of order one, and is shown as 0."""

BLOCKS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("All local errors, Σ M_t", lambda row: number(row, "M_sum")),
    ("of these the last step alone, M_1", lambda row: number(row, "M_1")),
    ("and all steps before it, Σ_{t≥2} M_t", lambda row: number(row, "M_rest")),
    ("Global error, KL(data ‖ samples): value, or from–to", lambda row: interval(row)),
)

CHOICE = {
    "full": "the best full covariance at each point",
    "diagonal": "the best diagonal covariance at each point",
    "isotropic_x": "the best single variance at each point",
    "isotropic": "the best single variance for each step",
    "fixed_large": "the larger fixed variance",
    "fixed_small": "the smaller fixed variance",
}


def opening(plan: Plan) -> str:
    """What is about to happen."""
    mixtures = "; ".join(dict.fromkeys(cell.mixture.label for cell in plan.cells))
    steps = " ".join(map(str, plan.config.iterations))
    wanted, done = len(plan.cells) * len(plan.config.iterations), len(plan.rows)
    state = "nothing left to compute" if done == wanted else f"{wanted - done} rows to compute"
    lines = [
        f"{mixtures}: {len(plan.cells)} cells, T = {steps}",
        f"{plan.store.folder}: {done} of {wanted} rows are there, {state}",
        *(f"note: {note}" for note in plan.notes),
    ]
    fate = "would be" if plan.config.dry_run else "is"
    lines += [
        f"note: {path} is damaged ({why}); it {fate} set aside and computed again"
        for path, why in plan.store.damaged.items()
    ]
    lines += [
        f"note: {path}: {why}; it stays, and its rows are computed again if that does not change"
        for path, why in plan.store.unread.items()
    ]
    return "\n".join(lines)


def listing(plan: Plan) -> str:
    """The cells of a dry run and which rows of each are done."""
    lines = []
    width = max(len(cell.label) for cell in plan.cells)
    for cell in plan.cells:
        missing = plan.store.missing(cell.configuration, plan.config.iterations)
        todo = f"to compute: T = {' '.join(map(str, missing))}" if missing else "done"
        lines.append(f"  {cell.label:<{width}}  {todo}")
    return "\n".join([*lines, "Dry run: nothing was computed or written."])


def closing(rows: list[Row], files: list[Path]) -> str:
    """The end of a run: table, sentence, files. Several groups show their sums alone."""
    found = groups(rows)
    parts = [section(group, len(BLOCKS) if len(found) == 1 else 1) for group in found]
    if len(found) > 1:
        parts.append("M_1, the steps before it and the global error are in table.txt.")
    shown = [f"  {path}" for path in files if path.suffix != ".pdf"]
    shown = [line + " (and .pdf)" if line.endswith(".png") else line for line in shown]
    parts.append("\n".join(["Written:", *shown]))
    return "\n\n".join(parts)


def everything(rows: list[Row]) -> str:
    """All blocks of all groups, for a file; what no run has finished is a dash."""
    return "\n\n".join(section(group, gap="–") for group in groups(rows)) + "\n"


def failures(failed: list[tuple[str, str]], cells: int) -> str:
    """Which cells failed and why."""
    lines = [f"{len(failed)} of {cells} cells failed; the same command tries them again:"]
    return "\n".join([*lines, *(f"  {cell}: {error}" for cell, error in failed)])


def group_of(row: Row) -> tuple[str, str, int]:
    """What the rows of a group share: mixture, schedule and seed."""
    return row["mixture_id"], row["schedule"], row["seed"]


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of the same mixture, schedule and seed, in the order in which they come."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault(group_of(row), []).append(row)
    return list(found.values())


def section(rows: list[Row], blocks: int = len(BLOCKS), gap: str = "failed") -> str:
    """Heading, tables, how the numbers were obtained, and the sentences, for one group."""
    exact = [row for row in rows if row["arm"] not in LEARNED]
    parts = [heading(rows[0])]
    if exact:
        parts += [table(exact, blocks, gap), fill(methods(exact, blocks), WIDTH), ""]
        parts += [fill(sentence(exact), WIDTH)]
    if len(exact) < len(rows):
        parts += ["", trained.section(rows, blocks)]
    return "\n".join(parts)


def heading(row: Row) -> str:
    """What the rows of a group have in common."""
    parts = [f"{row['shape']} of {row['modes']} mode{'s' * (row['modes'] != 1)}"]
    if row["shape"] == "custom":
        parts = [f"your mixture of {row['modes']} components ({row['mixture_id']})"]
    if row["separation"] is not None:
        parts.append(f"{row['separation']:.3g} apart")
    if row["std"] is not None:
        parts.append(f"std {row['std']:g}")
    return ", ".join([*parts, f"d = {row['dim']}, {row['schedule']} schedule, seed {row['seed']}"])


def table(rows: list[Row], blocks: int = len(BLOCKS), gap: str = "failed") -> str:
    """One group's rows as blocks with a line for each T and a column for each arm.

    Args:
        rows: rows of one group.
        blocks: how many of the blocks to show, from the sum on.
        gap: what stands where an arm has no row.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    steps = sorted({row["steps"] for row in rows})
    cell = {(row["arm"], row["steps"]): row for row in rows}
    first = max(4, *(len(str(T)) for T in steps))

    def line(start: str, entries: Iterable[str]) -> str:
        return start.rjust(first) + "".join(entry.rjust(ENTRY + 1) for entry in entries)

    names = [_in_two(arm) for arm in arms]
    head = [line("", (top for top, _ in names)), line("T", (low for _, low in names))]
    lines = []
    for title, show in BLOCKS[:blocks]:
        lines += [f"── {title} (nats) ".ljust(len(head[0]), "─"), *head]
        lines += [
            line(str(T), (show(cell[arm, T]) if (arm, T) in cell else gap for arm in arms))
            for T in steps
        ]
    return "\n".join([*lines, "─" * len(head[0])])


def methods(rows: list[Row], blocks: int = len(BLOCKS)) -> str:
    """How the numbers of one group were obtained."""
    arms: dict[str, list[str]] = {}
    for row in rows:
        arms.setdefault(row["M_sum_method"], []).append(row["arm"])
    parts = [f"{how} ({', '.join(dict.fromkeys(names))})" for how, names in arms.items()]
    text = f"Local errors: {'; '.join(parts)}."
    bounded = any(row["global_value"] is None for row in rows)
    if blocks == len(BLOCKS) and bounded:
        text += " Global error: from a 99 % lower confidence bound to an upper bound (chain rule)."
    most, least = (choose(row["samples"] for row in rows) for choose in (max, min))
    fewer = "" if most == least else f", {least} at the largest T"
    return f"{text} What is sampled: {most} draws{fewer}."


def number(row: Row, name: str) -> str:
    """A value to as many digits as its error leaves it, four at most."""
    value, error = row[name], row[f"{name}_error"]
    if abs(value) + error < ROUNDING:
        return "0"
    if not math.isfinite(value):
        return f"{value:g}"
    if abs(value) <= 2 * error:
        return f"<{_short(abs(value) + 2 * error, 1, ROUND_CEILING)}"
    digits = 4
    if error > 0:
        spread = math.floor(math.log10(abs(value))) - math.floor(math.log10(error))
        digits = min(digits, max(1, spread + 1))
    return _short(value, digits)


def interval(row: Row) -> str:
    """The value where it is known, or else lower bound–upper bound, each rounded outwards."""
    if row["global_value"] is not None:
        return number(row, "global_value")
    low, high = max(0.0, row["global_lower"]), row["global_upper"]
    if high == 0:
        return "0"
    for digits, least in ((3, "1e-3"), (2, "1e-3"), (1, "1e-2")):
        ends = (
            _short(low, digits, ROUND_FLOOR, least),
            _short(high, digits, ROUND_CEILING, least),
        )
        text = "–".join(ends)
        if len(text) <= ENTRY:
            break
    return text


def _short(value: float, digits: int, rounding: str = ROUND_HALF_EVEN, least: str = "1e-3") -> str:
    """``digits`` significant digits; with an exponent where the value is below ``least``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exact = Decimal(value)
    rounded = exact.quantize(Decimal((0, (1,), min(0, exact.adjusted() - digits + 1))), rounding)
    if rounded == 0 or abs(rounded) >= Decimal(least):
        return f"{rounded:f}"
    mantissa, exponent = f"{rounded:.{min(digits, 3) - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _in_two(arm: str) -> tuple[str, str]:
    """A column's name on two lines: fixed_ over small."""
    head, underscore, tail = arm.partition("_")
    return (head + underscore, tail) if tail else ("", head)


def headline(rows: list[Row]) -> str:
    """A title for the figure of one group: the best Gaussian at its first and last T.

    Without the full covariance at both it is the best of those measured.
    """
    best = _best_gaussians(rows)
    if not best:
        return "No Gaussian family has finished"
    ends = [best[T] for T in dict.fromkeys((min(best), max(best)))]
    said = ", ".join(f"{number(row, 'M_sum')} nats at T = {row['steps']}" for row in ends)
    subject = "denoiser" if all(row["arm"] == "full" for row in ends) else "measured"
    return f"Local errors of the best Gaussian {subject}: {said}"


def sentence(rows: list[Row]) -> str:
    """What one group's rows show, in words that follow from the numbers alone."""
    by_family = {
        family: {row["steps"]: row for row in rows if row["arm"] == family} for family in FAMILIES
    }
    best = _best_gaussians(rows)
    if not best:
        return "No Gaussian family has finished: there is nothing to compare."
    worst = max(best.values(), key=lambda row: float(row["M_sum"]))
    family, size = worst["arm"], number(worst, "M_sum")
    if worst["M_sum"] < SMALL:
        amount = "no error" if worst["M_sum"] < ZERO else f"errors of at most {size} nats in all"
        text = f"Gaussian steps are enough here: {CHOICE[family]} makes {amount} at any T measured"
    else:
        all_gaussians = set(by_family["full"]) == set(best)
        subject = (
            "However it is trained, a denoiser with Gaussian steps makes"
            if all_gaussians
            else "The best of the Gaussian families measured still makes"
        )
        text = (
            f"{subject} local errors of at least {size} nats in all at T = {worst['steps']}; "
            f"with {CHOICE[family]} {_from_when(by_family[family])}"
        )
        if family != "isotropic" and by_family["isotropic"]:
            text += f", with {CHOICE['isotropic']} {_from_when(by_family['isotropic'])}"
    soft = [float(row["M_sum"]) for row in rows if row["arm"] == SOFT_MIXTURE]
    if soft and max(soft) < ZERO:
        text += "; the exact soft mixture makes none at any T"
    return text + "."


def _best_gaussians(rows: list[Row]) -> dict[int, Row]:
    """For each T the Gaussian family whose local errors add up to least (docs/theory.md §5.5).

    From isotropic on, each family contains the one before it; the two fixed ones do not compare.
    """
    fixed = ("fixed_small", "fixed_large")
    best: dict[int, Row] = {}
    for row in sorted(
        (row for row in rows if row["arm"] in FAMILIES),
        key=lambda row: (-FAMILIES.index(row["arm"]) * (row["arm"] not in fixed), row["M_sum"]),
    ):
        best.setdefault(row["steps"], row)
    return best


def _from_when(rows: dict[int, Row]) -> str:
    """From which T on, among those measured, the local errors add up to less than SMALL."""
    above = [T for T, row in rows.items() if row["M_sum"] >= SMALL]
    below = [T for T in rows if max(above, default=0) < T]
    if below:
        return f"they stay below {SMALL:g} from T = {min(below)} on"
    return f"they are still {number(rows[max(rows)], 'M_sum')} at T = {max(rows)}"
