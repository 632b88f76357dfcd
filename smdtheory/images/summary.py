"""Rows of a run on images, averaged over trainings, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from smdtheory.images.config import ImageArm

SIGMAS = 2.0
"""Standard errors in an error bar of one training."""

CONFIDENCE = 0.95
"""Of the intervals over trainings."""

SOFT: tuple[ImageArm, ...] = ("soft_likelihood", "soft_energy")
"""Arms whose latent is asked to do something."""

AGAINST: tuple[ImageArm, ...] = ("gaussian", "gaussian_wide", "diagonal")
"""Whom they are compared with."""

COMPARED = ("bits", "M_sum", "energy_distance", "sliced_wasserstein", "frechet")
"""Columns of rows in which they are compared; the smaller the better."""

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
    "outside",
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
            alone = group[f"{name}_error"].iloc[0] if f"{name}_error" in group else math.nan
            row[f"{name}_error"] = _interval(values, SIGMAS * float(alone))
        found.append(row)
    return pd.DataFrame(found)


def gains(
    rows: pd.DataFrame,
    quantities: Sequence[str] = COMPARED,
    arms: Sequence[str] = AGAINST,
) -> pd.DataFrame:
    """By how much each soft mixture is below each Gaussian, where both were measured.

    Differences are taken within a training, whose arms share the seed, the noise and the held-out
    images; their error bars are those of :func:`summary`.

    Args:
        rows: one for each arm, T and training.
        quantities: columns of them; the smaller the better.
        arms: the Gaussians.

    Returns:
        The columns ``quantity``, ``soft``, ``arm``, ``steps``, ``gain`` and ``gain_error``.

    Example:
        >>> rows = pd.DataFrame({"arm": ["gaussian", "soft_energy"] * 2, "repeat": [0, 0, 1, 1],
        ...                      "steps": 3, "bits": [5.0, 4.0, 7.0, 5.9], "bits_error": 1.0})
        >>> gains(rows, ["bits"]).round(2).to_numpy().tolist()
        [['bits', 'soft_energy', 'gaussian', 3, 1.05, 0.64]]
    """
    found = []
    for name in quantities:
        if name not in rows:
            continue
        columns = [name, f"{name}_error"]
        known = rows[rows[name].notna()].set_index(["arm", "steps", "repeat"])[columns].sort_index()
        for soft in SOFT:
            for arm in arms:
                for T in sorted(set(rows["steps"])):
                    if (soft, T) not in known.index or (arm, T) not in known.index:
                        continue
                    own, theirs = known.loc[(soft, T)], known.loc[(arm, T)]
                    both = (theirs[name] - own[name]).dropna()
                    bars = own[f"{name}_error"].iloc[0], theirs[f"{name}_error"].iloc[0]
                    found.append({
                        "quantity": name, "soft": soft, "arm": arm, "steps": T,
                        "gain": both.mean(),
                        "gain_error": _interval(both.to_numpy(), SIGMAS * math.hypot(*bars)),
                    })  # fmt: skip
    columns = ["quantity", "soft", "arm", "steps", "gain", "gain_error"]
    return pd.DataFrame(found, columns=columns)


def by_steps(gained: pd.DataFrame, most: int = 1000) -> pd.DataFrame:
    """Gains as a table for people: a row for each pair, a column for each T up to ``most``.

    A star marks those that are clear: larger than their error bar.

    Example:
        >>> gained = pd.DataFrame({"quantity": "bits", "soft": "soft_energy", "arm": "gaussian",
        ...                        "steps": [1, 2], "gain": [1.05, -2], "gain_error": [0.64, 3]})
        >>> by_steps(gained).to_numpy().tolist()
        [['1.05 ± 0.64 *', '-2 ± 3']]
    """
    here = gained[gained["steps"] <= most]
    said = [
        f"{gain:.3g} ± {bar:.2g}" + " *" * (abs(gain) > bar)
        for gain, bar in zip(here["gain"], here["gain_error"], strict=True)
    ]
    table = here.assign(said=said).set_index(["quantity", "soft", "arm", "steps"])["said"].unstack()
    return table.reindex(here.set_index(["quantity", "soft", "arm"]).index.unique())


def clear(gained: pd.DataFrame, quantity: str, soft: str, arm: str) -> tuple[str, str]:
    """T at which a gain is clear, and at which a loss is, in words.

    Args:
        gained: of :func:`gains`.
        quantity: of them.
        soft: whose gain it is.
        arm: on whom.
    """
    here = gained[(gained["quantity"] == quantity) & (gained["soft"] == soft)]
    here = here[here["arm"] == arm].sort_values("steps")
    counts = here["steps"].tolist()
    better, worse = (
        here.loc[sign * here["gain"] > here["gain_error"], "steps"].tolist() for sign in (1, -1)
    )
    return these(better, counts), these(worse, counts)


def _interval(values: np.ndarray, alone: float) -> float:
    """Half-width of the error bar of a mean over trainings; ``alone`` if there is one training."""
    if len(values) < 2:
        return alone
    quantile = student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(quantile * values.std(ddof=1) / math.sqrt(len(values)))


def panels(means: pd.DataFrame, quantities: Sequence[str] | None = None) -> pd.DataFrame:
    """What the figure shows, in the form that it takes; of some quantities, or all there are."""
    wanted = {
        "bits": "bits per dimension",
        "M_sum": "Σ$_t$ $M_t$ (nats)",
        "energy_distance": "energy distance of draws",
        "sliced_wasserstein": "sliced Wasserstein distance",
        "frechet": "Fréchet, classifier features",
    }
    if quantities is None:
        del wanted["sliced_wasserstein"]
    else:
        wanted = {name: label for name, label in wanted.items() if name in quantities}
    if "bits" in wanted and "M_sum" in means and means["M_sum"].notna().any():
        del wanted["bits"]
    parts = []
    for name, label in wanted.items():
        if name not in means or means[name].isna().all():
            continue
        table = means[means[name].notna()]
        parts.append(
            pd.DataFrame({
                "panel": label, "arm": table["arm"], "steps": table["steps"],
                "value": table[name], "error": table[f"{name}_error"].fillna(0.0),
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def headline(gained: pd.DataFrame) -> str:
    """A title for the figure, from the numbers."""
    for arm, kind in (("soft_likelihood", "likelihood"), ("soft_energy", "energy score")):
        if not ((gained["quantity"] == "bits") & (gained["soft"] == arm)).any():
            continue
        better, worse = clear(gained, "bits", arm, "gaussian")
        fewer = f"fewer bits than the Gaussian at {better}"
        if better and worse:
            said = f"{fewer}, more at {worse}"
        elif worse:
            said = f"more bits than the Gaussian at {worse}"
        else:
            said = fewer if better else ""
        if not said:
            return f"No clear difference in bits: the soft mixture ({kind}) and the Gaussian"
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
