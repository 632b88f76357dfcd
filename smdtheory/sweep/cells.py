"""What a sweep is made of: cells, each a mixture × schedule × arm × seed, and what is left to do.

Standard library only, so that ``--dry-run`` answers at once.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smdtheory.families import FAMILIES, LEARNED, RECIPES_VERSION
from smdtheory.files import digest
from smdtheory.store.cell import Row
from smdtheory.store.folder import Store
from smdtheory.sweep.columns import check_row
from smdtheory.sweep.config import SweepConfig
from smdtheory.sweep.spec import MixtureSpec

if TYPE_CHECKING:
    from smdtheory.truth.mixture import GaussianMixture

NUMERICS_VERSION = 1
"""Raise it with every change that corrects numbers: rows of another version are not reused."""

KEPT_TERMS = 2
TRUNCATED = f"truncated_{KEPT_TERMS}"
SOFT_MIXTURE = "soft_mixture"

ARMS = (*FAMILIES, TRUNCATED, SOFT_MIXTURE, *LEARNED)

SAMPLES = 4096
"""Draws for the global interval, and for each local error that has to be sampled."""


MOST_TRAINED_DIM = 64
"""The networks of the sweep are small, and a full covariance has d² entries."""


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
        """Expected time, in steps of a Gaussian arm (whose local errors are not sampled)."""
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


def make_cells(
    config: SweepConfig, custom: MixtureSpec | None = None
) -> tuple[list[Cell], list[str]]:
    """The cells that a configuration asks for, and notes on those it does not make.

    Example:
        >>> cells, notes = make_cells(SweepConfig(modes=2, families="full", no_train=True))
        >>> [cell.arm for cell in cells]
        ['full', 'soft_mixture']
        >>> notes
        ['ring of 2 modes in d = 2: no truncated_2, which would be the whole mixture']
    """
    cells: list[Cell] = []
    notes: list[str] = []
    mixtures = [custom] if custom else config.mixtures()
    for mixture in mixtures:
        arms = [*config.families, TRUNCATED, SOFT_MIXTURE]
        if mixture.modes <= KEPT_TERMS:
            arms.remove(TRUNCATED)
            notes.append(f"{mixture.label}: no {TRUNCATED}, which would be the whole mixture")
        cells += [
            Cell(mixture, schedule, arm, seed)
            for schedule in config.schedule
            for seed in config.seed
            if mixture.draw in (None, seed)
            for arm in arms
        ]
        if mixture.dim > MOST_TRAINED_DIM and config.trained:
            notes.append(f"{mixture.label}: no networks, which are for d <= {MOST_TRAINED_DIM}")
    for schedule in config.schedule if config.trained else ():
        if counts := beyond_training(schedule, config.iterations):
            notes.append(
                f"{schedule} schedule, T = {' '.join(map(str, counts))}: networks are asked beyond "
                "the levels they were trained on"
            )
    cells += [
        Cell(mixture, schedule, arm, seed, samples, Training(config.budget, repeat, config.device))
        for mixture in mixtures
        if mixture.dim <= MOST_TRAINED_DIM
        for schedule in config.schedule
        for seed in config.seed
        if mixture.draw in (None, seed)
        for arm in config.trained
        for samples in [_learned_samples(arm, config.budget)]
        for repeat in range(config.repeat_count)
    ]
    return cells, notes


def _learned_samples(arm: str, budget: str) -> int:
    """Draws for each step that is measured: each costs a soft mixture R evaluations."""
    if arm in ("soft_energy", "soft_likelihood"):
        return 1024 if budget == "long" else 192
    if budget == "short":
        return SAMPLES // 8 if arm.startswith("soft") else SAMPLES // 2
    return 2 * SAMPLES


@dataclass(frozen=True)
class Plan:
    """A checked configuration, its cells, and what its folder already holds."""

    config: SweepConfig
    cells: list[Cell]
    notes: list[str]
    store: Store
    parameters: bytes | None = None

    @property
    def tasks(self) -> list[Task]:
        """What the store lacks, the longest first."""
        tasks = [
            Task(cell, missing, self.parameters, self._checkpoints(cell))
            for cell in self.cells
            if (missing := self.store.missing(cell.configuration, self.config.iterations))
        ]
        return sorted(tasks, key=lambda task: -task.cost)

    def _checkpoints(self, cell: Cell) -> Path | None:
        if cell.training is None:
            return None
        return self.store.folder.absolute() / "checkpoints" / cell.training_identity

    @property
    def rows(self) -> list[Row]:
        """The finished rows of these cells, in order."""
        return [
            row
            for cell in self.cells
            for row in self.store.select(cell.configuration, self.config.iterations)
        ]


def make_plan(config: SweepConfig, mixture: GaussianMixture | None = None) -> Plan:
    """Check everything that can be checked before computing, and open the folder.

    Args:
        config: what to do; with ``dry_run`` the folder is neither made nor changed.
        mixture: a mixture to use in place of the one that ``config`` describes.

    Raises:
        TypeError: if ``mixture`` is not a Gaussian mixture.
        ValueError: for a mixture file or folder that cannot be used, or two mixtures at once.
    """
    custom, parameters, folder = None, None, config.folder
    if config.trained and config.device != "cpu":
        import torch

        try:
            torch.empty(0, device=config.device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"device must be there; received {config.device}: {str(error).splitlines()[0]}. "
                "Leave it out for the CPU."
            ) from error
    if mixture is not None or config.mixture is not None:
        from smdtheory.sweep import mixtures  # imports torch

        if mixture is not None:
            custom = mixtures.describe(mixture)
            config.check_own_mixture()
            folder = config.out or Path("runs") / f"custom-{custom.identity}"
        elif config.mixture is not None:
            mixture, custom = mixtures.load(config.mixture)
        parameters = pickle.dumps(mixture)  # for this program's own processes, never for a file
    cells, notes = make_cells(config, custom)
    store = Store.open(folder, NUMERICS_VERSION, check=check_row, create=not config.dry_run)
    return Plan(config, cells, notes, store, parameters)
