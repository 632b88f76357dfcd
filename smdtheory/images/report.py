"""A run on images for people: the closing table, what follows from the numbers, files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import pandas as pd

from smdtheory.files import write_atomically
from smdtheory.images.config import ImagesConfig
from smdtheory.images.findings import Findings
from smdtheory.images.forecast import agreement
from smdtheory.images.summary import SOFT, clear

WIDTH = 100

MEASURES = {
    "bits": ("bits per dimension, bound on held-out images", ".3f"),
    "M_sum": ("sum of local errors Σ M_t (nats)", ".3g"),
    "M_1": ("of these the last step alone, M_1 (nats)", ".3g"),
    "latent_share": ("largest share of the posterior variance that the latent carries", ".2g"),
    "energy_distance": ("energy distance of draws to held-out images", ".3g"),
    "sliced_wasserstein": ("sliced Wasserstein distance of draws to held-out images", ".3g"),
    "frechet": ("Fréchet distance in classifier features", ".3g"),
    "modes_covered": ("modes covered by draws", ".1f"),
    "outside": ("share of draws outside every mode", ".2f"),
}
"""Columns of rows, what they are, and how they are printed, if they are."""


def tables(means: pd.DataFrame) -> str:
    """A block for each quantity, arms by T."""
    counts, arms = (
        sorted(int(T) for T in means["steps"].unique()),
        list(dict.fromkeys(means["arm"])),
    )
    name_width = max(len(arm) for arm in arms) + 2
    width = min(10, (WIDTH - name_width) // len(counts))
    lines: list[str] = []
    for name, (title, digits) in MEASURES.items():
        if name not in means or means[name].isna().all():
            continue
        here = [T for T in counts if means.loc[means["steps"] == T, name].notna().any()]
        lines.append(f"── {title} ".ljust(WIDTH, "─"))
        lines.append("T =".ljust(name_width) + "".join(f"{T:>{width}}" for T in here))
        for arm in arms:
            entries, bars = [], []
            for T in here:
                found = means[(means["arm"] == arm) & (means["steps"] == T)]
                value = float(found[name].iloc[0]) if len(found) else math.nan
                bar = float(found[f"{name}_error"].iloc[0]) if len(found) else math.nan
                entries.append("" if math.isnan(value) else format(value, digits))
                bars.append("" if math.isnan(bar) else f"±{bar:.1g}")
            if any(entries):
                lines.append(arm.ljust(name_width) + "".join(f"{e:>{width}}" for e in entries))
            if any(bars):
                lines.append(" " * name_width + "".join(f"{b:>{width}}" for b in bars))
    lines.append("─" * WIDTH)
    return "\n".join(lines)


def notes(config: ImagesConfig, gained: pd.DataFrame) -> str:
    """What the error bars are, and what the numbers say, in words that follow from them alone."""
    bars = (
        f"95 % over {config.repeats} trainings; what is said to be more or less is so within "
        "trainings, by more than such an interval"
        if config.repeats > 1
        else "two standard errors over images and draws, one training"
    )
    parts = [
        f"Error bars: {bars}. Soft mixtures are measured with R = {config.latents}: in many "
        "dimensions R values of the noise hold much less than it can make. Their draws have new "
        "noise each. Chains of more than 32 steps are measured at some of them, at random; images "
        f"are drawn at T <= {config.longest}."
        + " soft_likelihood has a quarter of the batch."
        * ("soft_likelihood" in config.arms)
    ]
    parts += [said for soft in SOFT for name in SAID for said in _compared(gained, name, soft)]
    return "\n".join(fill(part, WIDTH) for part in parts)


SAID = {
    "bits": ("bits", "fewer", "more"),
    "M_sum": ("Σ M_t", "less", "more"),
    "energy_distance": ("energy distance", "less", "more"),
}
"""Quantities that are compared in words, the smaller the better, and the words."""


def _compared(gained: pd.DataFrame, name: str, soft: str) -> list[str]:
    """A sentence on one quantity, if it was measured."""
    what, fewer, more = SAID[name]
    here = gained[(gained["quantity"] == name) & (gained["soft"] == soft)]
    said, alike = [], []
    for arm in here["arm"].unique():
        better, worse = clear(gained, name, soft, arm)
        if better:
            said.append(f"{fewer} than {arm} at {better}" + f", {more} at {worse}" * bool(worse))
        elif worse:
            said.append(f"{more} than {arm} at {worse}")
        else:
            alike.append(arm)
    if alike:
        said.append(f"no clear difference from {', '.join(alike)}")
    return [f"{soft}, {what}: {'; '.join(said)}."] if said else []


def of_forecast(gained: pd.DataFrame) -> list[str]:
    """How well theory forecast the gains of each soft mixture, in a sentence each."""
    said = []
    for soft, table in gained.groupby("soft", sort=False) if len(gained) else ():
        found = agreement(table)
        said.append(
            f"{soft}: rank correlation {found.correlation:.2f} of forecast and measured gain "
            f"({found.pairs} gains, of which {found.positive} are above 0)."
        )
    return said


def text(config: ImagesConfig, found: Findings) -> str:
    """Tables and sentences."""
    parts = [found.about, tables(found.means), notes(config, found.gains)]
    return "\n".join([*parts, *of_forecast(found.forecasts)])


def write(config: ImagesConfig, found: Findings, rows: pd.DataFrame) -> list[Path]:
    """rows.csv, table.txt, what the findings are read from, and figures.

    Raises:
        OSError: if the folder can no longer be written.
    """
    from smdtheory import plots

    out = config.out
    write_atomically(out / "rows.csv", rows.to_csv(index=False))
    write_atomically(out / "table.txt", text(config, found) + "\n")
    files = [out / "rows.csv", out / "table.txt", *found.save(out)]
    figures = {"errors": found.errors()}
    if len(found.forecasts):
        title = "Gains of soft mixtures: rank correlation of forecast and measured " + ", ".join(
            f"{agreement(table).correlation:.2f}"
            for _, table in found.forecasts.groupby("soft", sort=False)
        )
        figures["forecast"] = found.forecast(title)
    if found.strips:
        figures["draws"] = found.draws()
    for name in ("errors", "forecast", "draws"):
        if name in figures:
            files += plots.save(figures[name], out / name)
        else:  # of an earlier command that asked for more
            for ending in (".png", ".pdf"):
                (out / name).with_suffix(ending).unlink(missing_ok=True)
    return files


def closing(config: ImagesConfig, found: Findings, files: Sequence[Path]) -> str:
    """The end of a run: tables, sentences, files."""
    shown = [f"  {path}" for path in files if path.suffix in (".png", ".txt", ".csv")]
    return "\n".join(["", text(config, found), "", "Written:", *shown])
