"""What a run on images is asked to do, checked at the door.

Standard library only (torch takes seconds to import, ``--help`` must not): the command line is
built from :class:`ImagesConfig`, whose docstrings are its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from smdtheory import options
from smdtheory.files import digest

Stage = Literal["all", "train", "sample", "evaluate", "report"]
Source = Literal["digits", "mixture", "cifar10", "folder"]
Size = Literal["tiny", "small", "base"]
Modulation = Literal["both", "scale_shift", "low_rank", "none"]
Precision = Literal["auto", "no", "bf16"]
Resume = Literal["last", "fallback"]
ImageArm = Literal[
    "fixed_small",
    "fixed_large",
    "gaussian",
    "diagonal",
    "gaussian_wide",
    "soft_no_noise",
    "soft_mse",
    "soft_energy",
    "soft_likelihood",
]

IMAGE_ARMS: tuple[ImageArm, ...] = get_args(ImageArm)
"""Denoisers by name; the first three share one network, and differ in the variance of a step."""

RANGES = {
    "iterations": (1, 1000),
    "steps": (1, 10**7),
    "batch": (1, 10**5),
    "shards": (1, 10**4),
    "every": (1, 10**7),
    "latents": (2, 4096),
    "measured": (32, 2**16),
    "draws": (64, 2**16),
    "longest": (0, 1000),
    "repeats": (1, 100),
    "seed": (0, 2**31 - 1),
    "components": (1, 1000),
    "rank": (1, 1000),
    "size": (2, 1024),
    "channels": (1, 3),
}
"""Smallest and largest values accepted."""


@dataclass(frozen=True)
class ImagesConfig:
    """Do the findings on mixtures carry over to images?

    Trains denoisers of images, each one network for every number of steps: Gaussians, and soft
    mixtures under the paper's squared error, the energy score and the likelihood. Then measures how
    many bits each needs for a held-out image and how far its draws are from the data, and sets that
    beside what theory forecasts. What is trained and measured stays in the output folder: the same
    command does nothing twice.

    Attributes:
        stage: all of it, or one part: train, sample, evaluate, report. It may also be the first
            word of the command.
        data: digits come with scikit-learn; a mixture fitted to them (or to the images in --path)
            has a posterior that is known; cifar10 and folder are read from --path.
        path: Folder of images, or of the CIFAR-10 python batches.
        size: Height and width, where they can be chosen. Default: that of the data.
        channels: 1 (grey) or 3. Default: that of the data.
        components: Components of the fitted mixture.
        rank: Directions of each component in which it has a variance of its own.
        preset: Size of the U-Net: tiny is for CPUs, base is the paper's.
        arms: Denoisers.
        modulation: How the latent of the soft mixtures enters the U-Net.
        iterations: Numbers of backward steps T, all measured with the same network.
        steps: Training steps.
        batch: Images in a training step.
        learning_rate: Of AdamW, at its largest.
        shards: Parts of a batch that are computed one after another, or by several processes: more
            of them need less memory.
        precision: bf16, no, or auto for bf16 on a GPU that has it.
        compiled: Compile the U-Net (torch.compile): slower to start, faster to run.
        every: Training steps between two checkpoints, and between two pictures of samples.
        resume: From which checkpoint training goes on: the last, or the last that can be read.
        latents: R, values of the noise with which a soft mixture is measured.
        measured: Held-out images for the likelihood bound, and draws for local errors.
        draws: Images that are drawn from each denoiser at each T.
        longest: Largest T at which images are drawn.
        repeats: Trainings of each network, for intervals.
        seed: Seed of training and of everything drawn at random.
        device: cpu, cuda or cuda:N.
        out: Folder for results.
    """

    stage: Stage = "all"
    data: Source = "digits"
    path: Path | None = None
    size: int | None = None
    channels: int | None = None
    components: int = 10
    rank: int = 8
    preset: Size = "tiny"
    arms: tuple[ImageArm, ...] = IMAGE_ARMS
    modulation: Modulation = "both"
    iterations: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50, 100, 250, 1000)
    steps: int = 150
    batch: int = 64
    learning_rate: float = 2e-3
    shards: int = 1
    precision: Precision = "auto"
    compiled: bool = False
    every: int = 150
    resume: Resume = "last"
    latents: int = 16
    measured: int = 32
    draws: int = 128
    longest: int = 20
    repeats: int = 1
    seed: int = 0
    device: str = "cpu"
    out: Path = Path("runs/images")

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for values out of range, unknown names, or a missing path.
        """
        put = object.__setattr__
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("size", "channels"):
                continue
            if name == "iterations":
                several = options.several(name, value)
                value = {options.whole(name, one, low, high) for one in several}
                put(self, name, tuple(sorted(value)))
            else:
                put(self, name, options.whole(name, value, low, high))
        for name, allowed in (
            ("stage", get_args(Stage)),
            ("data", get_args(Source)),
            ("preset", get_args(Size)),
            ("modulation", get_args(Modulation)),
            ("precision", get_args(Precision)),
            ("resume", get_args(Resume)),
        ):
            options.choices(name, (getattr(self, name),), allowed)
        arms = options.several("arms", self.arms)
        put(self, "arms", options.choices("arms", arms, IMAGE_ARMS))
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
            raise ValueError(f"learning_rate must lie between 0 and 1; received {rate!r}")
        if self.latents % 2:
            raise ValueError(
                f"latents must be even, for pairs of opposite noise; received {self.latents}"
            )
        if self.stage == "sample" and min(self.iterations) > self.longest:
            raise ValueError(
                "sample draws images at T up to longest; received iterations of at least "
                f"{min(self.iterations)} and longest {self.longest}. Give --longest as large."
            )
        options.device(self.device)
        put(self, "out", options.path("out", self.out))
        if self.path is not None:
            put(self, "path", options.path("path", self.path))
        if self.path is None and self.data in ("cifar10", "folder"):
            raise ValueError(
                f"data {self.data} is read from a folder; received no path. Give --path FOLDER."
            )

    @property
    def training_identity(self) -> str:
        """Tells trainings apart: a hash of all that their results depend on."""
        return digest(self._plain(*TRAINING))[:16]

    @property
    def measuring_identity(self) -> str:
        """Tells apart how trained networks are measured."""
        return digest(self._plain("latents", "measured", "draws", "longest"))[:16]

    def _plain(self, *names: str) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in names}
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


TRAINING = (
    "data",
    "path",
    "size",
    "channels",
    "components",
    "rank",
    "preset",
    "modulation",
    "steps",
    "batch",
    "learning_rate",
    "shards",
    "precision",
    "seed",
)
"""Fields that training depends on."""
