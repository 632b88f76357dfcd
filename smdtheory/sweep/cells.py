"""What a sweep is made of: cells, each a mixture × schedule × arm × seed, and what they cost.

Standard library only, so that ``--dry-run`` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smdtheory.families import FAMILIES, LEARNED, RECIPES_VERSION
from smdtheory.files import digest
from smdtheory.sweep.spec import MixtureSpec

NUMERICS_VERSION = 1
"""Raise it with every change that corrects numbers: rows of another version are not reused."""

KEPT_TERMS = 2
TRUNCATED = f"truncated_{KEPT_TERMS}"
SOFT_MIXTURE = "soft_mixture"

ARMS = (*FAMILIES, TRUNCATED, SOFT_MIXTURE, *LEARNED)

SAMPLES = 4096
"""Draws for the global interval, and for each local error that has to be sampled."""


@dataclass(frozen=True)
class Training:
    """How the network of a cell is trained and measured.

    Attributes:
        budget: "short" or "long".
        repeat: number of the training, 0, 1, ...; each has a seed of its own.
        device: where.
        recipes: version of the recipes.
    """

    budget: str
    repeat: int
    device: str
    recipes: int = RECIPES_VERSION


@dataclass(frozen=True)
class Cell:
    """One arm on one mixture and schedule with one seed; it has a row for every T.

    Attributes:
        mixture: the mixture.
        schedule: "cosine", "linear" or "sigmoid".
        arm: a Gaussian family, ``soft_mixture``, ``truncated_2`` or a learned denoiser.
        seed: seed of what is drawn at random.
        samples: number of draws.
        training: of a learned denoiser.
    """

    mixture: MixtureSpec
    schedule: str
    arm: str
    seed: int
    samples: int = SAMPLES
    training: Training | None = None

    def draws(self, steps: int) -> int:
        """Number of draws at T = ``steps``: fewer for each where the steps are many and small."""
        if self.training is not None:
            return self.samples if steps <= MEASURED_STEPS else max(128, self.samples // 2)
        return max(SAMPLES // 8, min(self.samples, 32 * self.samples // steps))

    @property
    def training_identity(self) -> str:
        """What one training serves: a network knows nothing of the schedule, nor of the draws."""
        identity = (
            self.mixture.identity,
            self.arm,
            self.seed,
            self.training and asdict(self.training),
        )
        return digest(identity)[:24]

    @property
    def latents(self) -> int:
        """R, of the soft mixtures; with ``mse`` they ignore η, and few do."""
        if self.arm == "soft_mse":
            return 8
        return 256 if self.training is not None and self.training.budget == "long" else 128

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything that the cell's numbers depend on, as plain JSON values."""
        found = asdict(self)
        if self.training is None:
            del found["training"]
        return found

    @property
    def label(self) -> str:
        """A name for people."""
        again = ""
        if self.training is not None:
            again = f", {self.training.budget} training {self.training.repeat}"
        return f"{self.mixture.label}, {self.schedule}, seed {self.seed}, {self.arm}{again}"


@dataclass(frozen=True)
class Task:
    """A cell and the iteration counts still to be measured.

    ``parameters`` carries a mixture of the user's own to the process that works on it, and
    ``checkpoints`` is the folder where training is kept.
    """

    cell: Cell
    steps: tuple[int, ...]
    parameters: bytes | None = None
    checkpoints: Path | None = None

    @property
    def shares(self) -> str:
        """The mixture, whose curves a worker computes once for all its cells."""
        return self.cell.mixture.identity

    @property
    def cost(self) -> float:
        """Expected time where nothing is known of the mixture, in the unit of :attr:`own_cost`."""
        return self.own_cost + self.shared_cost

    @property
    def shared_cost(self) -> float:
        """Of this the curves of the mixture, which the next of its cells need not compute."""
        if self.cell.training is not None or self.cell.mixture.dim > 2:
            return 0.0  # there they are not needed, or sampled at once
        return STEPS_PER_MODE * self.cell.mixture.modes

    @property
    def own_cost(self) -> float:
        """The rest, in steps of a Gaussian arm (whose local errors are not sampled)."""
        training = self.cell.training
        if training is None:
            each = 1.0 if self.cell.arm in FAMILIES else SAMPLED_STEP
            return each * sum(T + STEPS_PER_ROW for T in self.steps)
        train, measure = SECONDS[training.budget][self.cell.arm]
        measured = sum(min(T, MEASURED_STEPS // 2) for T in self.steps)
        return STEPS_PER_SECOND * (train + measure * measured)


SAMPLED_STEP = 4.0
"""What a step costs whose local error is sampled, in steps whose error is not."""

STEPS_PER_ROW = 50
"""What a row costs besides its T steps, in steps."""

STEPS_PER_MODE = 450
"""What the curves of a mixture cost for each of its modes, in steps."""

STEPS_PER_SECOND = 500
"""On one core."""

MEASURED_STEPS = 32
"""Longer chains are measured at some of their steps, for a learned denoiser."""

SECONDS: dict[str, dict[str, tuple[float, float]]] = {
    "short": {
        "gaussian": (25, 0.05),
        "gaussian_full": (20, 0.1),
        "soft_mse": (15, 0.1),
        "soft_energy": (60, 0.3),
        "soft_likelihood": (90, 0.4),
        "finite_mixture": (24, 0.1),
        "gaussian_wide": (10, 0.1),
        "soft_no_noise": (12, 0.1),
    },
    "long": {
        "gaussian": (50, 0.1),
        "gaussian_full": (80, 0.1),
        "soft_mse": (60, 0.2),
        "soft_energy": (250, 1.5),
        "soft_likelihood": (400, 1.5),
        "finite_mixture": (80, 0.1),
        "gaussian_wide": (40, 0.1),
        "soft_no_noise": (60, 0.1),
    },
}
"""On one core, to train and to measure one step: for the progress bar, and to begin with the
longest."""


TRAINED_STEPS = 1000
"""No schedule of so many steps passes the levels that networks are trained on."""


def beyond_training(schedule: str, iterations: Iterable[int]) -> list[int]:
    """The iteration counts whose last step starts beyond the levels networks are trained on.

    Example:
        >>> beyond_training("cosine", (1000, 2000))
        [2000]
    """
    counts = [T for T in iterations if T > TRAINED_STEPS]
    if not counts:
        return []
    from smdtheory.models.recipes import TRAINED  # imports torch
    from smdtheory.schedule import Schedule

    return [T for T in counts if float(Schedule.named(schedule, T).snr[1].log()) > TRAINED[1]]
