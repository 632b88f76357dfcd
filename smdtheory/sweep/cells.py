"""What a sweep is made of: cells, each a mixture × schedule × arm × seed, and what is left to do.

Standard library only, so that ``--dry-run`` answers at once.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smdtheory.families import FAMILIES
from smdtheory.sweep.config import MixtureSpec, SweepConfig
from smdtheory.sweep.store import Row, Store

if TYPE_CHECKING:
    from smdtheory.truth.mixture import GaussianMixture

NUMERICS_VERSION = 1
"""Raise it with every change that corrects numbers: rows of another version are not reused."""

KEPT_TERMS = 2
TRUNCATED = f"truncated_{KEPT_TERMS}"
SOFT_MIXTURE = "soft_mixture"

ARMS = (*FAMILIES, TRUNCATED, SOFT_MIXTURE)

SAMPLES = 4096
"""Draws for the global interval, and for each local error that has to be sampled."""


@dataclass(frozen=True)
class Cell:
    """One arm on one mixture and schedule with one seed; it has a row for every T.

    Attributes:
        mixture: the mixture.
        schedule: "cosine", "linear" or "sigmoid".
        arm: a Gaussian family, ``soft_mixture`` or ``truncated_2``.
        seed: seed of what is drawn at random.
        samples: number of draws.
    """

    mixture: MixtureSpec
    schedule: str
    arm: str
    seed: int
    samples: int = SAMPLES

    def draws(self, steps: int) -> int:
        """Number of draws at T = ``steps``: fewer for each where the steps are many and small."""
        return max(SAMPLES // 8, min(self.samples, 32 * self.samples // steps))

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything that the cell's numbers depend on, as plain JSON values."""
        return asdict(self)

    @property
    def label(self) -> str:
        """A name for people."""
        return f"{self.mixture.label}, {self.schedule}, seed {self.seed}, {self.arm}"


@dataclass(frozen=True)
class Task:
    """A cell and the iteration counts still to be measured.

    ``parameters`` carries a mixture of the user's own to the process that works on it.
    """

    cell: Cell
    steps: tuple[int, ...]
    parameters: bytes | None = None

    @property
    def cost(self) -> float:
        """Expected time, in steps of a Gaussian arm (whose local errors are not sampled)."""
        each = 1.0 if self.cell.arm in FAMILIES else SAMPLED_STEP
        return each * sum(T + STEPS_PER_ROW for T in self.steps)


SAMPLED_STEP = 4.0
"""What a step costs whose local error is sampled, in steps whose error is not."""

STEPS_PER_ROW = 50
"""What a row costs besides its T steps, in steps."""


def make_cells(
    config: SweepConfig, custom: MixtureSpec | None = None
) -> tuple[list[Cell], list[str]]:
    """The cells that a configuration asks for, and notes on those it does not make.

    Example:
        >>> cells, notes = make_cells(SweepConfig(modes=(2,), families=("full",)))
        >>> [cell.arm for cell in cells]
        ['full', 'soft_mixture']
        >>> notes
        ['ring of 2 modes in d = 2: no truncated_2, which would be the whole mixture']
    """
    cells: list[Cell] = []
    notes: list[str] = []
    for mixture in [custom] if custom else config.mixtures():
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
    return cells, notes


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
            Task(cell, missing, self.parameters)
            for cell in self.cells
            if (missing := self.store.missing(cell.configuration, self.config.iterations))
        ]
        return sorted(tasks, key=lambda task: -task.cost)

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
    store = Store.open(folder, NUMERICS_VERSION, create=not config.dry_run)
    return Plan(config, cells, notes, store, parameters)
