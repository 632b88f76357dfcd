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
from smdtheory.images.config import ImageArm, ImagesConfig
from smdtheory.images.forecast import FAMILY_OF, agreement, compared, families_of
from smdtheory.images.run import ImageRun
from smdtheory.measure.sums import ALL

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
        if not title or name not in means or means[name].isna().all():
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


def notes(config: ImagesConfig, means: pd.DataFrame) -> str:
    """What the error bars are, and what the numbers say, in words that follow from them alone."""
    bars = (
        f"95 % over {config.repeats} trainings"
        if config.repeats > 1
        else "two standard errors over images and draws, one training"
    )
    parts = [
        f"Error bars: {bars}. Soft mixtures are measured with R = {config.latents}: in many "
        "dimensions R values of the noise hold much less than it can make. Their draws have new "
        "noise each. Chains of more than 32 steps are measured at some of them, at random; images "
        f"are drawn at T <= {config.longest}."
    ]
    for arm in SOFT:
        said = [sentence for name in SAID for sentence in _compared(means, arm, name)]
        if said:
            parts.append(f"{arm}: {'; '.join(said)}.")
    return "\n".join(fill(part, WIDTH) for part in parts)


SOFT: tuple[ImageArm, ...] = ("soft_likelihood", "soft_energy")
"""Arms whose latent is asked to do something."""

AGAINST: tuple[ImageArm, ...] = ("gaussian", "gaussian_wide", "diagonal")
"""Whom they are compared with."""

SAID = {"bits": "bits", "energy_distance": "energy distance of draws"}
"""Quantities that are compared in words; the smaller the better."""


def _compared(means: pd.DataFrame, arm: str, name: str) -> list[str]:
    counts = sorted(int(T) for T in means.loc[means[name].notna(), "steps"].unique())
    said = []
    for other, (better, worse) in gains(means, arm, name).items():
        parts = [
            f"{word} at {_these(found, counts)}"
            for word, found in (("fewer", better), ("more", worse))
            if found
        ]
        said.append(f"{' and '.join(parts) or 'as much at every T'} than {other}")
    return [f"{SAID[name]} {', '.join(said)}"] if said else []


def gains(
    means: pd.DataFrame, arm: str, name: str = "bits"
) -> dict[str, tuple[list[int], list[int]]]:
    """T at which an arm is clearly better, and clearly worse, than each of :data:`AGAINST`."""
    if name not in means:
        return {}
    known = {
        (str(row["arm"]), int(row["steps"])): (float(row[name]), float(row[f"{name}_error"]))
        for _, row in means[means[name].notna()].iterrows()
    }
    found: dict[str, tuple[list[int], list[int]]] = {}
    for other, T in known:
        if other not in AGAINST or (arm, T) not in known:
            continue
        better, worse = found.setdefault(other, ([], []))
        (theirs, bar), (own, own_bar) = known[other, T], known[arm, T]
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
    text = [heading(run), "", tables(with_floors(run, means)), notes(config, means), baseline(run)]
    write_atomically(out / "table.txt", "\n".join(text) + "\n")
    figure = plots.quantities_against_steps(
        panels(means, run.images.dim), title=headline(means), subtitle=heading(run)
    )
    files = [out / "rows.csv", out / "table.txt", *plots.save(figure, out / "errors")]
    gained = gain_table(run, means)
    if gained is not None:
        write_atomically(out / "forecast.csv", gained.to_csv(index=False))
        figure = plots.forecast_against_measured(
            gained, title=forecast_title(gained), subtitle=heading(run), width=plots.PAGE
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
    """Forecast and measured gains of each of :data:`SOFT`, if there are three or more."""
    found = []
    for soft in SOFT:
        counts = sorted(int(T) for T in means.loc[means["arm"] == soft, "steps"])
        if sum(arm in FAMILY_OF for arm in run.config.arms) * len(counts) >= 3:
            known = run.forecast(families_of(run.config.arms), counts)
            found.append(compared(means, known, soft))
    return pd.concat(found, ignore_index=True) if found else None


def said_of_forecast(gained: pd.DataFrame) -> list[str]:
    """How well theory forecast the gains of each soft mixture, in a sentence."""
    said = []
    for soft, table in gained.groupby("soft", sort=False):
        found = agreement(table)
        said.append(
            f"{soft}: rank correlation {found.correlation:.2f} of forecast and measured gain "
            f"({found.pairs} gains, of which {found.positive} are above 0)"
        )
    return said


def forecast_title(gained: pd.DataFrame) -> str:
    """The same for a figure."""
    parts = [
        f"{agreement(table).correlation:.2f} for {soft}"
        for soft, table in gained.groupby("soft", sort=False)
    ]
    return f"Rank correlation of forecast and measured gain: {', '.join(parts)}"


def with_floors(run: ImageRun, means: pd.DataFrame) -> pd.DataFrame:
    """The same with the least ΣM_t of each Gaussian family, where the law of the data is known."""
    if run.images.mixture is None or "M_sum" not in means:
        return means
    counts, found = sorted(int(T) for T in means["steps"].unique()), []
    for family in ("isotropic", "diagonal", "full"):
        there = [T for T in counts if T <= ALL or family != "full"]  # of long chains it takes long
        for (_, T), least in run.forecast([family], there).items():
            found.append({
                "arm": f"best {family}", "steps": T, "M_sum": float(least),
                "M_sum_error": SIGMAS * float(least.error),
            })  # fmt: skip
    return pd.concat([means, pd.DataFrame(found)], ignore_index=True)


def baseline(run: ImageRun) -> str:
    """How far images of the training set are from the held-out ones, to judge draws by."""
    images, count = run.images, run.config.draws
    own = images.draw(count, torch.Generator().manual_seed(run.config.seed))
    row = run.bench.compared(own)
    said = [
        f"{MEASURES[name][0].split(' of ')[0].split(' in ')[0]} {row[name]:.3g} "
        f"±{SIGMAS * row[f'{name}_error']:.1g}"
        for name in ("energy_distance", "sliced_wasserstein", "frechet")
        if name in row
    ]
    return fill(f"In place of draws, {count} images of the training set: {', '.join(said)}.", WIDTH)


def heading(run: ImageRun) -> str:
    """What was measured."""
    config, images = run.config, run.images
    return (
        f"{config.data}, {'×'.join(map(str, images.shape))}, U-Net {config.preset}, "
        f"{config.steps} training steps of {config.batch} images, cosine schedule, "
        f"seed {config.seed}"
    )


def headline(means: pd.DataFrame) -> str:
    """A title for the figure, from the numbers."""
    counts = sorted(int(T) for T in means["steps"].unique())
    for arm, kind in (("soft_likelihood", "likelihood"), ("soft_energy", "energy score")):
        found = gains(means, arm).get("gaussian")
        if found is None:
            continue
        better, worse = (_these(chosen, counts) for chosen in found)
        fewer = f"fewer bits than the Gaussian at {better}"
        if better and worse:
            said = f"{fewer}, more at {worse}"
        elif worse:
            said = f"more bits than the Gaussian at {worse}"
        else:
            said = fewer if better else "about as many bits as the Gaussian"
        return f"The soft mixture ({kind}) needs {said}"
    return "Denoisers of images against the number of steps"


def closing(run: ImageRun, rows: pd.DataFrame, files: Sequence[Path]) -> str:
    """The end of a run: tables, sentences, files."""
    means = summary(rows)
    gained = gain_table(run, means)
    forecast = [] if gained is None else [f"{line}." for line in said_of_forecast(gained)]
    shown = [str(path) for path in files if path.suffix != ".pdf"]
    return "\n".join([
        "", heading(run), tables(with_floors(run, means)), notes(run.config, means),
        baseline(run), *forecast, "",
        "Written:",
        *(f"  {path}" for path in shown),
    ])  # fmt: skip


def _these(chosen: Sequence[int], counts: Sequence[int]) -> str:
    """Some of the numbers of steps in words.

    Example:
        >>> _these([1, 2, 5], [1, 2, 3, 5, 10]), _these([5, 10], [1, 2, 3, 5, 10])
        ('T <= 2, T = 5', 'T >= 5')
    """
    if list(chosen) == list(counts):
        return "every T"
    runs: list[list[int]] = []
    for place, T in enumerate(counts):
        if T in chosen:
            if runs and place and counts[place - 1] == runs[-1][-1]:
                runs[-1].append(T)
            else:
                runs.append([T])
    said = []
    for run in runs:
        if len(run) == 1:
            said.append(f"T = {run[0]}")
        elif run[0] == counts[0]:
            said.append(f"T <= {run[-1]}")
        elif run[-1] == counts[-1]:
            said.append(f"T >= {run[0]}")
        else:
            said.append(f"T = {run[0]} to {run[-1]}")
    return ", ".join(said)
