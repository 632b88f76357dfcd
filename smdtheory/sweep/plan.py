"""What a configuration asks for, and what of it is left to do.

Standard library only, so that ``--dry-run`` answers at once.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smdtheory.store.cell import Row
from smdtheory.store.folder import Store
from smdtheory.sweep.cells import (
    KEPT_TERMS,
    NUMERICS_VERSION,
    SAMPLES,
    SOFT_MIXTURE,
    TRUNCATED,
    Cell,
    Task,
    Training,
    beyond_training,
)
from smdtheory.sweep.columns import check_row
from smdtheory.sweep.config import SweepConfig
from smdtheory.sweep.spec import MixtureSpec

if TYPE_CHECKING:
    from smdtheory.truth.mixture import GaussianMixture

MOST_TRAINED_DIM = 64
"""The networks of the sweep are small, and a full covariance has d² entries."""


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
