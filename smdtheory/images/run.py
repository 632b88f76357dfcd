"""A run on images: what is trained, drawn and measured, and what is there already.

    OUT/config.json                  what was asked for
    OUT/TRAINING/NETWORK-0/          checkpoints, pictures of samples, the U-Net for diffusers
    OUT/TRAINING/MEASURING/draws/    images that were drawn, a file for each denoiser and T
    OUT/TRAINING/MEASURING/rows/     numbers, a file for each denoiser, T and repetition
    OUT/rows.csv, table.txt, *.png

TRAINING and MEASURING are hashes of all that the results depend on. Files are complete or absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from smdtheory import options
from smdtheory.estimate import Estimate
from smdtheory.families import Family
from smdtheory.files import canonical, digest, write_atomically
from smdtheory.images.arms import (
    NETWORKS,
    arm_of,
    batch_of,
    draws_of,
    network_of,
    sampler_of,
    train_network,
)
from smdtheory.images.config import ImageArm, ImagesConfig
from smdtheory.images.data import Images
from smdtheory.images.denoisers import ImageGaussian, ImageSoftMixture
from smdtheory.images.evaluate import SCHEDULE, Bench, Row, draw
from smdtheory.images.forecast import forecast_sum
from smdtheory.images.low_rank import fit_low_rank
from smdtheory.images.memory import held_in
from smdtheory.images.parallel import Parallel, processes_for
from smdtheory.images.sources import load_images
from smdtheory.models.learned import LearnedDenoiser
from smdtheory.models.loop import Fit
from smdtheory.models.training import Training
from smdtheory.schedule import Schedule
from smdtheory.truth.mixture import GaussianMixture

HELD_OUT = 16
"""Fewest images for the distances of draws, and for bits."""

NEEDED = {"arm", "steps", "repeat", "nats", "nats_error", "bits", "bits_error"}
"""What every row has."""

PICTURED = 64
"""Images in a picture of samples during training."""

PICTURE_STEPS = 20
"""T of those samples."""


@dataclass
class ImageRun:
    """What a configuration stands for, computed when asked for and kept.

    Attributes:
        config: what was asked for.
        tell: is told what is done, a line each.
        progress: show bars; where the output is a terminal, by default.
    """

    config: ImagesConfig
    tell: Callable[[str], None] = print
    progress: bool | None = None
    fits: dict[tuple[str, int], Fit] = field(default_factory=dict)

    @cached_property
    def images(self) -> Images:
        """The data."""
        config = self.config
        images = load_images(
            config.data,
            path=config.path,
            size=config.size,
            channels=config.channels,
            components=config.components,
            rank=config.rank,
            seed=config.seed,
        )
        if len(images.held_out) < HELD_OUT:
            raise ValueError(
                f"data must leave at least {HELD_OUT} images to measure with; received "
                f"{len(images.held_out)} held out of {len(images.held_out) + len(images.train)}. "
                "Give more images."
            )
        return images

    @cached_property
    def bench(self) -> Bench:
        """What denoisers are measured against."""
        return Bench(self.images, self.config)

    @cached_property
    def first(self) -> bool:
        """Whether this is the process, of several or one, that writes."""
        config = self.config
        parallel = Parallel(config.shards, config.precision, config.compiled, config.device)
        return bool(processes_for(parallel).is_main_process)

    @cached_property
    def folder(self) -> Path:
        """Where all of it is kept."""
        name = digest([self.config.training_identity, draws_of(self.images).fingerprint])[:16]
        return self.config.out / name

    @property
    def measured(self) -> Path:
        """Where draws and rows are kept."""
        return self.folder / self.config.measuring_identity

    @property
    def networks(self) -> list[str]:
        """All networks that the arms need."""
        return [name for name in NETWORKS if name in map(network_of, self.config.arms)]

    def fit(self, name: str, repeat: int) -> Fit:
        """A trained network; trained now, if it was not yet."""
        if (name, repeat) not in self.fits:
            folder = self.folder / f"{name}-{repeat}"
            found = train_network(
                name,
                self.images,
                self.config,
                repeat,
                folder=folder,
                progress=self.progress,
                after=lambda training: self._picture(name, training, folder),
            )
            denoiser = cast("ImageGaussian | ImageSoftMixture", found.denoiser)
            if self.first and not (folder / "unet" / "config.json").is_file():
                denoiser.save_pretrained(folder / "unet")
            self.fits[name, repeat] = found
        return self.fits[name, repeat]

    def train(self) -> None:
        """Train every network that the arms need."""
        for repeat in range(self.config.repeats):
            for name in self.networks:
                found = self.fit(name, repeat)
                seen = found.steps * batch_of(name, self.config)
                self.tell(
                    f"{name}, training {repeat}: {found.steps} steps in {found.seconds:.0f} s, "
                    f"{seen / max(found.seconds, 1e-9):.0f} images/s, "
                    f"loss {float(found.losses[-100:].mean()):.4g}"
                )

    def denoiser(self, arm: ImageArm, repeat: int) -> LearnedDenoiser:
        """The denoiser of an arm."""
        trained = cast("LearnedDenoiser", self.fit(network_of(arm), repeat).denoiser)
        return arm_of(arm, trained, self.images, self.config)

    def drawn(self, arm: ImageArm, repeat: int, steps: int) -> Tensor:
        """Images (n, d) that an arm draws with T = ``steps``."""
        path = self.draws_path(arm, repeat, steps)
        try:
            return safetensors.load_file(path)["images"]
        except (OSError, SafetensorError, KeyError):
            pass
        seed = self.config.seed + 1000 * repeat
        denoiser = sampler_of(arm, self.denoiser(arm, repeat))
        with self._in_memory(denoiser, "draws", f"{self.config.draws} images"):
            found = draw(denoiser, steps, self.config.draws, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, safetensors.save({"images": found}))
        return found

    def draws_path(self, arm: ImageArm, repeat: int, steps: int) -> Path:
        """Where they are kept."""
        return self.measured / "draws" / f"{arm}-{repeat}-{steps}.safetensors"

    def sample(self) -> None:
        """Draw images from every arm at every T up to ``longest``, and save a picture of some."""
        from smdtheory.images.pictures import save_grid

        for repeat, arm, steps in self.cells():
            if steps <= self.config.longest:
                found = self.drawn(arm, repeat, steps)
                path = self.draws_path(arm, repeat, steps).with_suffix(".png")
                save_grid(found[:PICTURED], self.images.shape, path)
        self.tell(f"draws of every arm, and a picture of each: {self.measured / 'draws'}")

    def cells(self) -> Iterator[tuple[int, ImageArm, int]]:
        """Training, arm and T of every row."""
        for repeat in range(self.config.repeats):
            for arm in self.config.arms:
                for steps in self.config.iterations:
                    yield repeat, arm, steps

    def row(self, arm: ImageArm, repeat: int, steps: int) -> Row:
        """What is measured of an arm at T = ``steps``; measured now, if it was not yet."""
        path = self._row_path(arm, repeat, steps)
        known = _row_in(path)
        if known is not None:
            return known
        drawn = self.drawn(arm, repeat, steps) if steps <= self.config.longest else None
        denoiser, config = self.denoiser(arm, repeat), self.config
        size = f"{config.measured} images with {config.latents} latents each"
        with self._in_memory(denoiser, "what is measured", size):
            found = self.bench.row(arm, denoiser, steps, repeat, drawn)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return found

    def evaluate(self) -> pd.DataFrame:
        """All rows."""
        from tqdm import tqdm

        cells = list(self.cells())
        hidden = None if self.progress is None else not self.progress
        with tqdm(cells, disable=hidden, leave=False, unit="row") as bar:
            rows = []
            for repeat, arm, steps in bar:
                bar.set_postfix_str(f"{arm}, T = {steps}")
                rows.append(self.row(arm, repeat, steps))
        return pd.DataFrame(rows)

    @cached_property
    def law(self) -> GaussianMixture:
        """A mixture fitted to the training images, or their law."""
        images, config = self.images, self.config
        if images.mixture is not None:
            return images.mixture
        generator = torch.Generator().manual_seed(config.seed)
        pixels = images.dequantized(images.train, generator)
        return fit_low_rank(pixels, config.components, config.rank, config.seed)

    def forecast(
        self, families: Iterable[Family], counts: Sequence[int]
    ) -> dict[tuple[str, int], Estimate]:
        """ΣM_t of the best Gaussian of each family under :attr:`law`, by family and T."""
        return {(family, T): self._sum(family, T) for family in families for T in counts}

    def _sum(self, family: Family, steps: int) -> Estimate:
        path = self.folder / "forecast" / f"{family}-{steps}.json"
        try:
            value, error = map(float, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            found = forecast_sum(self.law, Schedule.named(SCHEDULE, steps), family)
            value, error = float(found), float(found.error)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps([value, error]))
        numbers = torch.tensor([value, error], dtype=torch.float64)
        return Estimate(numbers[0], numbers[1], "sampling")

    def finished(self) -> pd.DataFrame:
        """The rows that are there, and whole; what is missing is told.

        Raises:
            ValueError: if there are none.
        """
        found = {
            f"{arm}, training {repeat}, T = {steps}": _row_in(self._row_path(arm, repeat, steps))
            for repeat, arm, steps in self.cells()
        }
        rows = [row for row in found.values() if row is not None]
        if not rows:
            raise ValueError(
                f"report needs rows that were measured; there are none in {self.measured}. Run the "
                "same command with evaluate, or with no stage at all."
            )
        lost = [name for name, row in found.items() if row is None]
        if lost:
            self.tell(
                f"{len(lost)} of {len(found)} rows are missing or damaged, {lost[0]} for one; the "
                "same command with evaluate measures them."
            )
        return pd.DataFrame(rows)

    def remember(self) -> None:
        """Write down what was asked for.

        Raises:
            OSError: if the folder cannot be written.
        """
        options.make_folder(self.config.out)
        asked = {**asdict(self.config), "out": None}
        asked["path"] = None if self.config.path is None else str(self.config.path)
        write_atomically(
            self.config.out / "config.json", json.dumps(json.loads(canonical(asked)), indent=1)
        )

    def _in_memory(
        self, denoiser: LearnedDenoiser, what: str, received: str
    ) -> AbstractContextManager[None]:
        """Say which options ask for less memory, where a network is evaluated."""
        return held_in(
            denoiser.data_mean.device,
            what,
            received,
            lambda: (
                "Give fewer --measured, --draws or --latents, or a smaller --preset; what is "
                "finished is kept."
            ),
        )

    def _row_path(self, arm: ImageArm, repeat: int, steps: int) -> Path:
        return self.measured / "rows" / f"{arm}-{repeat}-{steps}.json"

    def _picture(self, name: str, training: Training, folder: Path) -> None:
        """A picture of samples of the averaged network, beside its checkpoint."""
        from smdtheory.images.pictures import save_grid

        steps = len(training.losses)
        denoiser = sampler_of(cast("ImageArm", name), cast("LearnedDenoiser", training.average))
        drawn = draw(denoiser, PICTURE_STEPS, PICTURED, 0)
        save_grid(drawn, self.images.shape, folder / f"samples-{steps:08d}.png")


def _row_in(path: Path) -> Row | None:
    """A row as it was written; None if it is not there, or damaged."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return cast("Row", row) if isinstance(row, dict) and row.keys() >= NEEDED else None
