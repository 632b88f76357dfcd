"""The toy for people: files, the closing table, and what follows from the numbers."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import fill

import pandas as pd

from smdtheory.files import write_atomically
from smdtheory.toy.compute import ARMS, FLOORS, LATENTS, RADII, SIDE, SPACING, STD
from smdtheory.toy.config import ToyConfig
from smdtheory.toy.run import Toy

WIDTH = 100
CLEAR = 2.0
"""Standard errors by which a number must lie below another to be called smaller."""

NAMES = {
    "gaussian": "learned Gaussian",
    "soft_energy": "soft mixture",
    "isotropic": "best isotropic",
    "full": "best full",
    "data": "data again",
}
MODES = SIDE**2
COVERED = f"at least half of its weight is within {RADII} std"


def write(config: ToyConfig, toy: Toy) -> list[Path]:
    """Write rows.csv and, if wanted, the figure as PNG and PDF.

    Raises:
        OSError: if the folder can no longer be written.
    """
    files = [config.out / "rows.csv"]
    write_atomically(files[0], toy.rows.to_csv(index=False))
    if not config.no_figure:
        from smdtheory import plots

        figure = plots.learned_grid(
            toy.rows,
            toy.samples,
            toy.data,
            centres=toy.centres,
            radius=toy.radius,
            watched=config.watched,
            title=headline(config, toy.rows),
            subtitle=subtitle(config),
            width=plots.PAGE,
        )
        files += plots.save(figure, config.out / "figure")
    return files


def closing(config: ToyConfig, toy: Toy, files: list[Path]) -> str:
    """The end of a run: table, sentence, files."""
    parts = [table(config, toy.rows), fill(sentence(config, toy.rows), WIDTH)]
    shown = [f"  {path}" for path in files if path.suffix != ".pdf"]
    shown = [line + " (and .pdf)" if line.endswith(".png") else line for line in shown]
    return "\n\n".join(["", *parts, "\n".join(["Written:", *shown])])


def subtitle(config: ToyConfig) -> str:
    """What was measured, and how."""
    return (
        f"{SIDE} × {SIDE} grid, mode std 1/{SPACING / STD:g} of their distance, standardised, "
        f"d = 2; cosine schedule; {config.steps[-1]} training steps unless said otherwise, "
        f"seed {config.seed}; errors of the soft mixture with {LATENTS} fixed latents; "
        f"{config.draws} draws a panel, each with a fresh latent; a mode is covered where "
        f"{COVERED}; bars: one standard error"
    )


def table(config: ToyConfig, rows: pd.DataFrame) -> str:
    """Three blocks: errors by T, errors by training steps, and samples."""
    arms = (*ARMS, *FLOORS)
    errors = {
        (str(row["arm"]), _key(row["training_steps"]), int(row["steps"])): row
        for _, row in rows[rows["steps"].notna()].iterrows()
    }
    longest = config.steps[-1]

    def line(start: object, entries: list[str]) -> str:
        return f"{start!s:>8}" + "".join(f"{entry:>18}" for entry in entries)

    def error(arm: str, count: int, T: int) -> str:
        row = errors[arm, count if arm in ARMS else None, T]
        return f"{row['M_sum']:.3f}" + (f" ± {row['M_sum_error']:.3f}" if arm in ARMS else "")

    def block(title: str) -> str:
        return f"── {title} ".ljust(8 + 18 * len(arms), "─")

    heads = [NAMES[arm] for arm in arms]
    lines = [block(f"Σ M_t (nats) after {longest} training steps"), line("T", heads)]
    lines += [
        line(T, [error(arm, longest, T) for arm in arms])
        for T in sorted({*config.iterations, *config.panels})
    ]
    lines += [block(f"Σ M_t (nats) at T = {config.watched}"), line("trained", heads)]
    lines += [line(n, [error(arm, n, config.watched) for arm in arms]) for n in config.steps]
    measures = ["modes covered", f"within {RADII} std", "energy distance"]
    lines += [block("Samples"), line("T", ["", *measures])]
    drawn = rows[rows["draws"].notna()].sort_values("steps", kind="stable", na_position="last")
    for _, row in drawn.iterrows():
        entries = [
            NAMES[str(row["arm"])],
            f"{row['modes_covered']} of {MODES}",
            f"{100 * row['on_a_mode']:.0f} %",
            f"{row['energy_distance']:.4f} ± {row['energy_distance_error']:.4f}",
        ]
        lines.append(line("" if pd.isna(row["steps"]) else row["steps"], entries))
    note = (
        f"A mode is covered where {COVERED}. Errors of the soft mixture are those of {LATENTS} "
        "fixed latents; each of its samples has a fresh one."
    )
    return "\n".join([*lines, fill(note, WIDTH)])


def headline(config: ToyConfig, rows: pd.DataFrame) -> str:
    """A title for the figure: where the soft mixture is clearly below what."""
    below, start = _below(config, rows), "The learned soft mixture's errors "
    if below["full"]:
        return start + f"lie below any Gaussian's at {_these(below['full'])}"
    if below["isotropic"]:
        return start + f"lie below the best isotropic's at {_these(below['isotropic'])}"
    if below["gaussian"]:
        return start + f"lie below the learned Gaussian's at {_these(below['gaussian'])}"
    return start + "are not below the learned Gaussian's"


def sentence(config: ToyConfig, rows: pd.DataFrame) -> str:
    """What the numbers show, in words that follow from them alone."""
    below, values = _below(config, rows), _longest(config, rows)
    start = f"After {config.steps[-1]} training steps "
    reached = below["full"]
    if not any(below.values()):
        return start + "the soft mixture's errors are nowhere clearly below the learned Gaussian's."
    if reached:
        T = reached[0]
        text = (
            f"the learned soft mixture's errors add up to less than those of any Gaussian step at "
            f"{_these(reached)} ({values['soft_energy', T][0]:.2f} against at least "
            f"{values['full', T][0]:.2f} nats at T = {T})"
        )
    else:
        text = "the learned soft mixture is nowhere clearly below the best of all Gaussians"
    more = [T for T in below["isotropic"] if T not in reached]
    if more:
        text += f", at {_these(more)} to less than those of the best single variance"
    least = [T for T in below["gaussian"] if T not in (*reached, *more)]
    if least:
        text += f", at {_these(least)} only to less than the learned Gaussian's"
    rest = [T for T in _counts(rows) if not any(T in found for found in below.values())]
    if rest:
        text += f", and at {_these(rest)} to no less than the learned Gaussian's"
    return start + text + "."


def _key(value: object) -> int | None:
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]


def _counts(rows: pd.DataFrame) -> list[int]:
    return sorted({int(T) for T in rows.loc[rows["arm"] == FLOORS[0], "steps"]})


def _longest(config: ToyConfig, rows: pd.DataFrame) -> dict[tuple[str, int], tuple[float, float]]:
    """Σ M_t and its error by arm and T, of the longest training."""
    chosen = rows["training_steps"].isna() | (rows["training_steps"] == config.steps[-1])
    found = rows[chosen & rows["steps"].notna()]
    return {
        (str(row["arm"]), int(row["steps"])): (float(row["M_sum"]), float(row["M_sum_error"]))
        for _, row in found.iterrows()
    }


def _below(config: ToyConfig, rows: pd.DataFrame) -> dict[str, list[int]]:
    """The T at which the soft mixture is clearly below each of the others."""
    values = _longest(config, rows)

    def clear(T: int, other: str) -> bool:
        (soft, error), (value, more) = values["soft_energy", T], values[other, T]
        return soft + CLEAR * math.hypot(error, more) < value

    return {
        other: [T for T in _counts(rows) if clear(T, other)]
        for other in ("full", "isotropic", "gaussian")
    }


def _these(counts: list[int]) -> str:
    """T = 1, 2 and 5."""
    words = [str(T) for T in counts]
    return "T = " + (" and ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0])
