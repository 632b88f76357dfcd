"""Rows of a run on images, averaged over trainings, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from scipy.stats import t as student_t

from smdtheory.images.config import ImageArm

SIGMAS = 2.0
"""Standard errors in an error bar of one training."""

CONFIDENCE = 0.95
"""Of the intervals over trainings."""

AGAINST: tuple[ImageArm, ...] = ("gaussian", "gaussian_wide", "diagonal")
"""Whom they are compared with."""

QUANTITIES = (
    "nats",
    "bits",
    "M_sum",
    "M_1",
    "latent_share",
    "energy_distance",
    "sliced_wasserstein",
    "frechet",
    "modes_covered",
)
"""Columns of rows that are averaged over trainings."""


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm and T: means over trainings, and half-widths of their error bars.

    With two trainings or more an error bar is a 95 % interval over them; with one it is two
    standard errors over images and draws.
    """
    found = []
    for (arm, steps), group in rows.groupby(["arm", "steps"], sort=False):
        row: dict[str, object] = {"arm": arm, "steps": steps, "repeats": len(group)}
        for name in QUANTITIES:
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


def headline(means: pd.DataFrame) -> str:
    """A title for the figure, from the numbers."""
    counts = sorted(int(T) for T in means["steps"].unique())
    for arm, kind in (("soft_likelihood", "likelihood"), ("soft_energy", "energy score")):
        found = gains(means, arm).get("gaussian")
        if found is None:
            continue
        better, worse = (these(chosen, counts) for chosen in found)
        fewer = f"fewer bits than the Gaussian at {better}"
        if better and worse:
            said = f"{fewer}, more at {worse}"
        elif worse:
            said = f"more bits than the Gaussian at {worse}"
        else:
            said = fewer if better else "about as many bits as the Gaussian"
        return f"The soft mixture ({kind}) needs {said}"
    return "Denoisers of images against the number of steps"


def these(chosen: Sequence[int], counts: Sequence[int]) -> str:
    """Some of the numbers of steps in words.

    Example:
        >>> these([1, 2, 5], [1, 2, 3, 5, 10]), these([5, 10], [1, 2, 3, 5, 10])
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
