"""A run on images for people: files, the closing table, what follows from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student_t

from smdtheory.files import write_atomically
from smdtheory.images.config import ImagesConfig
from smdtheory.images.forecast import FAMILY_OF, agreement, compared
from smdtheory.images.run import ImageRun

WIDTH = 100
SIGMAS = 2.0
"""Standard errors in an error bar of one training."""

CONFIDENCE = 0.95
"""Of the intervals over trainings."""

MEASURES = {
    "nats": ("", ""),
    "bits": ("bits per dimension, bound on held-out images", ".3f"),
    "M_sum": ("sum of local errors Σ M_t (nats)", ".3g"),
    "M_1": ("of these the last step alone, M_1 (nats)", ".3g"),
    "latent_share": ("largest share of the posterior variance that the latent carries", ".2g"),
    "energy_distance": ("energy distance of draws to held-out images", ".3g"),
    "sliced_wasserstein": ("sliced Wasserstein distance of draws to held-out images", ".3g"),
    "frechet": ("Fréchet distance in classifier features", ".3g"),
    "modes_covered": ("modes covered by draws", ".0f"),
}
"""Columns of rows, what they are, and how they are printed, if they are."""


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm and T: means over trainings, and half-widths of their error bars.

    With two trainings or more an error bar is a 95 % interval over them; with one it is two
    standard errors over images and draws.
    """
    found = []
    for (arm, steps), group in rows.groupby(["arm", "steps"], sort=False):
        row: dict[str, object] = {"arm": arm, "steps": steps, "repeats": len(group)}
        for name in MEASURES:
            if name not in group or group[name].isna().all():
                continue
            values = group[name].dropna().to_numpy(dtype=float)
            row[name] = values.mean()
            if len(values) > 1:
                quantile = student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
                width = quantile * values.std(ddof=1) / math.sqrt(len(values))
            elif f"{name}_error" in group:
                width = SIGMAS * float(group[f"{name}_error"].iloc[0])
            else:
                width = float("nan")
            row[f"{name}_error"] = width
        found.append(row)
    return pd.DataFrame(found)


def tables(config: ImagesConfig, means: pd.DataFrame) -> str:
    """A block for each quantity, arms by T."""
    counts = sorted(int(T) for T in means["steps"].unique())
    name_width = max(len(arm) for arm in config.arms) + 2
    width = min(10, (WIDTH - name_width) // len(counts))
    lines: list[str] = []
    for name, (title, digits) in MEASURES.items():
        if not title or name not in means or means[name].isna().all():
            continue
        here = [T for T in counts if means.loc[means["steps"] == T, name].notna().any()]
        lines.append(f"── {title} ".ljust(WIDTH, "─"))
        lines.append("T =".ljust(name_width) + "".join(f"{T:>{width}}" for T in here))
        for arm in config.arms:
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


def notes(config: ImagesConfig, means: pd.DataFrame) -> str:
    """What the error bars are, and what the numbers say, in words that follow from them alone."""
    bars = (
        f"95 % over {config.repeats} trainings"
        if config.repeats > 1
        else "two standard errors over images and draws, one training"
    )
    parts = [
        f"Error bars: {bars}. Soft mixtures are measured with R = {config.latents}; chains of more "
        f"than 32 steps at some of them, at random; images are drawn at T <= {config.longest}."
    ]
    for other, (better, worse) in gains(means, "soft_energy").items():
        said = []
        if better:
            said.append(f"fewer bits than {other} at {_these(better)}")
        if worse:
            said.append(f"{'more' if better else f'more bits than {other}'} at {_these(worse)}")
        parts.append(
            f"soft_energy needs {', '.join(said) or f'about as many bits as {other} at every T'}."
        )
    return "\n".join(fill(part, WIDTH) for part in parts)


def gains(means: pd.DataFrame, arm: str) -> dict[str, tuple[list[int], list[int]]]:
    """T at which an arm is clearly better, and clearly worse, than each of the others, in bits."""
    bits = {
        (str(row["arm"]), int(row["steps"])): (float(row["bits"]), float(row["bits_error"]))
        for _, row in means.iterrows()
    }
    found: dict[str, tuple[list[int], list[int]]] = {}
    for other, T in bits:
        if other == arm or (arm, T) not in bits:
            continue
        better, worse = found.setdefault(other, ([], []))
        (theirs, bar), (own, own_bar) = bits[other, T], bits[arm, T]
        if abs(theirs - own) > math.hypot(bar, own_bar):
            (better if theirs > own else worse).append(T)
    return found


def panels(means: pd.DataFrame, dim: int) -> pd.DataFrame:
    """What the figure shows, in the form that it takes."""
    wanted = {
        "bits": "nats above the best denoiser",
        "M_sum": "Σ$_t$ $M_t$ (nats)",
        "energy_distance": "energy distance of draws",
        "frechet": "Fréchet, classifier features",
    }
    if "M_sum" in means and means["M_sum"].notna().any():
        del wanted["bits"]
    parts = []
    for name, label in wanted.items():
        if name not in means or means[name].isna().all():
            continue
        table = means[means[name].notna()]
        value, error = table[name], table[f"{name}_error"]
        if name == "bits":
            scale = dim * math.log(2)
            value, error = scale * (value - value.min()), scale * error
        parts.append(
            pd.DataFrame({
                "panel": label, "arm": table["arm"], "steps": table["steps"],
                "value": value, "error": error.fillna(0.0),
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def write(run: ImageRun, rows: pd.DataFrame) -> list[Path]:
    """rows.csv, table.txt, the figure, and draws of every arm side by side.

    Raises:
        OSError: if the folder can no longer be written.
    """
    from smdtheory import plots
    from smdtheory.images.pictures import grid

    config, out = run.config, run.config.out
    means = summary(rows)
    write_atomically(out / "rows.csv", rows.to_csv(index=False))
    text = "\n".join([heading(run), "", tables(config, means), notes(config, means)])
    write_atomically(out / "table.txt", text + "\n")
    figure = plots.quantities_against_steps(
        panels(means, run.images.dim), title=headline(config, means), subtitle=heading(run)
    )
    files = [out / "rows.csv", out / "table.txt", *plots.save(figure, out / "errors")]
    gained = gain_table(run, means)
    if gained is not None:
        write_atomically(out / "forecast.csv", gained.to_csv(index=False))
        figure = plots.forecast_against_measured(
            gained, title=said_of_forecast(gained), subtitle=heading(run), width=plots.PAGE
        )
        files += [out / "forecast.csv", *plots.save(figure, out / "forecast")]
    drawn = [T for T in config.iterations if config.longest >= T]
    strips: dict[str, np.ndarray] = {}
    for arm in config.arms:
        if drawn and all(run.draws_path(arm, 0, T).is_file() for T in drawn):
            parts = torch.cat([run.drawn(arm, 0, T)[:PICTURED] for T in drawn])
            page = grid(parts, run.images.shape, columns=len(parts)).numpy()
            strips[arm] = page[..., 0] if page.shape[-1] == 1 else page
    if strips:
        figure = plots.draws_by_arm(
            strips, drawn, title="What the denoisers draw", subtitle=heading(run)
        )
        files += plots.save(figure, out / "draws")
    return files


PICTURED = 4
"""Draws of each arm at each T in the picture."""


def gain_table(run: ImageRun, means: pd.DataFrame) -> pd.DataFrame | None:
    """Forecast and measured gains, if a soft mixture and three gains of it are there."""
    counts = {int(T) for T in means.loc[means["arm"] == "soft_energy", "steps"]}
    if not counts or sum(arm in FAMILY_OF for arm in run.config.arms) * len(counts) < 3:
        return None
    return compared(means, run.forecast(sorted(counts)))


def said_of_forecast(gained: pd.DataFrame) -> str:
    """How well theory forecast the gains, in a sentence."""
    found = agreement(gained)
    return (
        f"Rank correlation of forecast and measured gain: {found.correlation:.2f} "
        f"({found.pairs} gains, of which {found.positive} are above 0)"
    )


def heading(run: ImageRun) -> str:
    """What was measured."""
    config, images = run.config, run.images
    return (
        f"{config.data}, {'×'.join(map(str, images.shape))}, U-Net {config.preset}, "
        f"{config.steps} training steps of {config.batch} images, cosine schedule, "
        f"seed {config.seed}"
    )


def headline(config: ImagesConfig, means: pd.DataFrame) -> str:
    """A title for the figure, from the numbers."""
    found = gains(means, "soft_energy").get("gaussian")
    if found is None:
        return "Denoisers of images against the number of steps"
    better, worse = found
    if better and not worse:
        return f"The soft mixture needs fewer bits than the Gaussian at {_these(better)}"
    if worse and not better:
        return f"The soft mixture needs more bits than the Gaussian at {_these(worse)}"
    if better and worse:
        return (
            f"The soft mixture needs fewer bits than the Gaussian at {_these(better)}, "
            f"more at {_these(worse)}"
        )
    return "The soft mixture needs about as many bits as the Gaussian"


def closing(run: ImageRun, rows: pd.DataFrame, files: Sequence[Path]) -> str:
    """The end of a run: tables, sentences, files."""
    means = summary(rows)
    gained = gain_table(run, means)
    forecast = [] if gained is None else [f"{said_of_forecast(gained)}."]
    shown = [str(path) for path in files if path.suffix != ".pdf"]
    return "\n".join([
        "", heading(run), tables(run.config, means), notes(run.config, means), *forecast, "",
        "Written:",
        *(f"  {path}" for path in shown),
    ])  # fmt: skip


def _these(counts: Sequence[int]) -> str:
    words = [str(T) for T in counts]
    return "T = " + (f"{', '.join(words[:-1])} and {words[-1]}" if words[1:] else words[0])
