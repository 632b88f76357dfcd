"""What a run on images found: all that its tables, sentences and figures are made of.

The command leaves it in its output folder, as summary.csv, gains.csv, forecast.csv, draws.npz and
about.json; :func:`read_findings` takes it from there, without the networks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from smdtheory.files import write_atomically
from smdtheory.images.arms import batch_of
from smdtheory.images.forecast import FAMILY_OF, compared, families_of
from smdtheory.images.run import ImageRun
from smdtheory.images.summary import SIGMAS, SOFT, gains, headline, panels, summary
from smdtheory.measure.sums import ALL

if TYPE_CHECKING:
    from smdtheory.plots import Drawing

PICTURED = 4
"""Draws of each arm at each T in the picture."""

DATA = "training images"
"""In place of draws: what images of the data score, to judge draws by."""


@dataclass(frozen=True)
class Findings:
    """Numbers of a run, averaged over trainings, and some of its draws.

    Attributes:
        about: what was measured, in a line.
        means: a row for each arm and T: means over trainings, and half-widths of their error bars
            in columns that end in ``_error``. Where the law of the data is known, rows of arms
            named ``best FAMILY`` have the least ΣM_t of a Gaussian family.
        gains: of :func:`smdtheory.images.summary.gains`.
        forecasts: forecast and measured gains of the soft mixtures in nats, or no rows.
        counts: T at which images were drawn.
        strips: for each arm pixels (h, w) or (h, w, 3), groups of draws side by side, one for each
            of ``counts``.
    """

    about: str
    means: pd.DataFrame
    gains: pd.DataFrame
    forecasts: pd.DataFrame
    counts: list[int] = field(default_factory=list)
    strips: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path) -> list[Path]:
        """Write all of it.

        Raises:
            OSError: if the folder can no longer be written.
        """
        from io import BytesIO

        packed = BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **self.strips)
        about = {"about": self.about, "counts": self.counts}
        contents: dict[str, str | bytes] = {
            "summary.csv": self.means.to_csv(index=False),
            "gains.csv": self.gains.to_csv(index=False),
            "forecast.csv": self.forecasts.to_csv(index=False) if len(self.forecasts) else "",
            "draws.npz": packed.getvalue(),
            "about.json": json.dumps(about, ensure_ascii=False),
        }
        for name, content in contents.items():
            write_atomically(folder / name, content)
        return [folder / name for name in contents]

    def errors(
        self,
        arms: Sequence[str] | None = None,
        title: str | None = None,
        width: float | None = None,
        quantities: Sequence[str] | None = None,
    ) -> Drawing:
        """Quantities against T, for some arms or all; across a page if ``width`` is absent."""
        from smdtheory import plots

        table = self.means if arms is None else self.means[self.means["arm"].isin(arms)]
        return plots.quantities_against_steps(
            panels(table, quantities),
            title=title or headline(self.gains),
            subtitle=self.about,
            width=width or plots.PAGE,
        )

    def forecast(self, title: str | None = None, width: float | None = None) -> Drawing:
        """Forecast against measured gains."""
        from smdtheory import plots

        return plots.forecast_against_measured(
            self.forecasts, title=title, subtitle=self.about, width=width or plots.PAGE
        )

    def draws(
        self,
        arms: Sequence[str] | None = None,
        title: str = "What the denoisers draw",
        width: float | None = None,
        counts: Sequence[int] | None = None,
    ) -> Drawing:
        """Draws of some arms or all, a row for each, at some of :attr:`counts` or all."""
        from smdtheory import plots

        chosen = list(self.counts if counts is None else counts)
        strips = {}
        for arm in self.strips if arms is None else arms:
            groups = np.split(self.strips[arm], len(self.counts), axis=1)
            strips[arm] = np.concatenate([groups[self.counts.index(T)] for T in chosen], 1)
        return plots.draws_by_arm(
            strips, chosen, title=title, subtitle=self.about, width=width or plots.PAGE
        )


def read_findings(folder: str | os.PathLike[str]) -> Findings:
    """What :meth:`Findings.save` wrote.

    Raises:
        ValueError: if a file is not there, or is something else.
    """
    path = Path(folder)
    try:
        about = json.loads((path / "about.json").read_text(encoding="utf-8"))
        forecasts = (path / "forecast.csv").read_text(encoding="utf-8").strip()
        with np.load(path / "draws.npz", allow_pickle=False) as packed:
            strips = {arm: packed[arm] for arm in packed.files}
        return Findings(
            str(about["about"]),
            pd.read_csv(path / "summary.csv"),
            pd.read_csv(path / "gains.csv"),
            pd.read_csv(path / "forecast.csv") if forecasts else pd.DataFrame(),
            [int(T) for T in about["counts"]],
            strips,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"findings of the image command must be in {path}: summary.csv, gains.csv, "
            f"forecast.csv, draws.npz and about.json; received: {error}"
        ) from error


def findings_of(run: ImageRun, rows: pd.DataFrame) -> Findings:
    """What a run found, from its rows."""
    config, images = run.config, run.images
    means = summary(rows)
    counts = [T for T in config.iterations if config.longest >= T]
    trained = f"{config.steps} training steps of {config.batch} images"
    if "soft_likelihood" in config.arms:
        trained += f" ({batch_of('soft_likelihood', config)} for soft_likelihood)"
    trained += f", {config.repeats} training{'s' * (config.repeats > 1)}"
    return Findings(
        f"{config.data}, {'×'.join(map(str, images.shape))}, U-Net {config.preset}, "
        f"{trained}, cosine schedule, seed {config.seed}",
        pd.concat([means, *_references(run, means)], ignore_index=True),
        gains(rows),
        _forecasts(run, rows),
        counts,
        _strips(run, counts),
    )


def _forecasts(run: ImageRun, rows: pd.DataFrame) -> pd.DataFrame:
    """Forecast and measured gains of each of :data:`SOFT` of which there are three or more."""
    found = []
    within = gains(rows, ["nats"], list(FAMILY_OF))
    for soft in SOFT:
        counts = sorted({int(T) for T in rows.loc[rows["arm"] == soft, "steps"]})
        if sum(arm in FAMILY_OF for arm in run.config.arms) * len(counts) >= 3:
            known = run.forecast(families_of(run.config.arms), counts)
            found.append(compared(within[within["soft"] == soft], known))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _references(run: ImageRun, means: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of what is not trained: the best Gaussians where they are known, and the data."""
    counts, found = sorted(int(T) for T in means["steps"].unique()), []
    if run.images.mixture is not None:
        for family in ("isotropic", "diagonal", "full"):
            there = [T for T in counts if family != "full" or T <= ALL]  # long chains take long
            for (_, T), least in run.forecast([family], there).items():
                row: dict[str, Any] = {"arm": f"best {family}", "steps": T}
                found.append(
                    row | {"M_sum": float(least), "M_sum_error": SIGMAS * float(least.error)}
                )
    if "energy_distance" in means:
        config = run.config
        generator = torch.Generator().manual_seed(config.seed)
        row = run.bench.compared(run.images.draw(config.draws, generator), generator)
        row |= {name: SIGMAS * value for name, value in row.items() if name.endswith("_error")}
        found += [{"arm": DATA, "steps": T, **row} for T in counts if config.longest >= T]
    return [pd.DataFrame(found)] if found else []


def _strips(run: ImageRun, counts: Sequence[int]) -> dict[str, np.ndarray]:
    """Pixels of a few draws at each T, and of the data."""
    from smdtheory.images.pictures import grid

    config, images = run.config, run.images
    parts: dict[str, Tensor] = {
        arm: torch.cat([run.drawn(arm, 0, T)[:PICTURED] for T in counts])
        for arm in config.arms
        if counts and all(run.draws_path(arm, 0, T).is_file() for T in counts)
    }
    if parts:
        generator = torch.Generator().manual_seed(config.seed)
        parts[DATA] = images.draw(PICTURED * len(counts), generator)
    pages = {
        arm: grid(part.float(), images.shape, columns=len(part)).numpy()
        for arm, part in parts.items()
    }
    return {arm: page[..., 0] if page.shape[-1] == 1 else page for arm, page in pages.items()}
