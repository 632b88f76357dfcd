"""The phase diagram for people: a table in 100 columns, phase.csv and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import pandas as pd

from smdtheory.files import write_atomically
from smdtheory.store.cell import Row
from smdtheory.sweep.phase.config import PhaseConfig

WIDTH = 100
NAMES = 22
"""Characters for the number of modes and the family."""

WHOLE = ("modes", "dim", "steps_needed", "searched")


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table; numbers of steps that do not exist are missing.

    Example:
        >>> as_table([{"modes": 2, "steps_needed": None}]).steps_needed.isna().all()
        np.True_
    """
    table = pd.DataFrame(list(rows))
    whole = [name for name in WHOLE if name in table.columns]
    return table.astype(dict.fromkeys(whole, "Int64"))


def read_rows(path: Path | str) -> pd.DataFrame:
    r"""A phase.csv as the table it was written from.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no phase.csv.

    Example:
        >>> import io
        >>> read_rows(io.StringIO("arm,modes,ratio,steps_needed\nfull,2,8,7\n")).steps_needed[0]
        np.int64(7)
    """
    table = pd.read_csv(path)
    if missing := [n for n in ("arm", "modes", "ratio", "steps_needed") if n not in table.columns]:
        raise ValueError(f"{path} must be a phase.csv; it lacks the columns {', '.join(missing)}")
    return table.astype(dict.fromkeys([n for n in WHOLE if n in table.columns], "Int64"))


def said(config: PhaseConfig) -> str:
    """What was measured."""
    dim = "d = 1" if config.shape == "line" else "d = 2"
    return (
        f"smallest T with ΣM ≤ {config.error:g} nats; {config.shape}, {dim}, standardized, "
        f"{config.schedule} schedule"
    )


def lines(config: PhaseConfig, rows: Sequence[Row]) -> list[str]:
    """The table: a line for each number of modes and family, a column for each ratio."""
    entry = max(6, min(9, (WIDTH - NAMES) // len(config.ratios)))
    per_block = max(1, (WIDTH - NAMES) // entry)
    found = {(row["modes"], row["arm"], row["ratio"]): row for row in rows}
    out = []
    for start in range(0, len(config.ratios), per_block):
        ratios = config.ratios[start : start + per_block]
        out += ["─" * WIDTH, f"{'separation / std':<{NAMES}}" + "".join(
            f"{f'{ratio:g}':>{entry}}" for ratio in ratios
        )]  # fmt: skip
        for modes in config.modes:
            out.append("─" * WIDTH)
            for number, family in enumerate(config.families):
                name = f"{modes} modes" if number == 0 else ""
                entries = (_entry(found.get((modes, family, ratio))) for ratio in ratios)
                out.append(
                    f"{name:<{NAMES - 12}}{family:<12}"
                    + "".join(f"{text:>{entry}}" for text in entries)
                )
    out.append("─" * WIDTH)
    missing = [row for row in rows if row["steps_needed"] is None]
    if missing:
        most = max(row["searched"] for row in missing)
        out.append(f"–: no T looked at is enough, up to {most}.")
    if any(row["steps_needed"] and not row["exhaustive"] for row in rows):
        out.append("*: found by bisection; not every smaller T was looked at.")
    return out


def sentence(config: PhaseConfig, rows: Sequence[Row]) -> str:
    """The fewest and the most steps of each family."""
    text = []
    for family in config.families:
        own = [row["steps_needed"] for row in rows if row["arm"] == family]
        reached = [steps for steps in own if steps is not None]
        if not reached:
            text.append(f"{family} never gets there")
            continue
        few, many = min(reached), max(reached)
        said = f"{family} {few}" if few == many else f"{family} {few} to {many}"
        text.append(said + " where it gets there" * (len(reached) < len(own)))
    return fill(f"Steps for ΣM <= {config.error:g} nats: {'; '.join(text)}.", WIDTH)


def write(config: PhaseConfig, rows: Sequence[Row]) -> list[Path]:
    """phase.csv and the figure.

    Raises:
        OSError: if the folder cannot be written.
    """
    table, files = as_table(rows), [config.out / "phase.csv"]
    write_atomically(files[0], table.to_csv(index=False))
    if not config.no_figure:
        from smdtheory import plots

        figure = plots.phase_diagram(
            table, title="How many steps each Gaussian family needs", subtitle=said(config)
        )
        files += plots.save(figure, config.out / "phase")
    return files


def _entry(row: Row | None) -> str:
    """Steps needed; * if found by bisection, – if there are none, blank if not computed."""
    if row is None:
        return ""
    if row["steps_needed"] is None:
        return "–"
    return f"{row['steps_needed']}{'' if row['exhaustive'] else '*'}"
