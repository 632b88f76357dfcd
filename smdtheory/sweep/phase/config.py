"""What the phase diagram is asked, checked at the door. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from smdtheory import options
from smdtheory.families import FAMILIES, Family
from smdtheory.sweep.config import ScheduleName, SweepConfig

PhaseShape = Literal["ring", "grid", "line"]

MODES = (2, 4, 8, 16)
RATIOS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

LEAST_RATIO, MOST_RATIO = 1e-4, 1e4
"""Below, the modes are one; beyond, they are points."""


@dataclass(frozen=True)
class PhaseConfig:
    """How many steps does each family need, by separation of the modes and by their number?

    For each mixture and each family of Gaussian backward steps: the smallest number of steps T
    whose local errors add up to the error or less. Mixtures are standardized (mean 0, variance 1
    on average), so that nothing but the number of modes and their separation in standard
    deviations differs. Ends with a table, phase.csv and a figure. Finished work stays in the
    output folder: the same command computes nothing twice.

    Attributes:
        error: Error in nats that the local errors of all steps may add up to.
        modes: Numbers of modes, a panel for each.
        ratios: Separation of neighbouring modes over their standard deviation.
        families: Gaussian families to consider.
        shape: Where the modes stand: on a circle, a square lattice (4, 9, 16, ... modes) or a
            line.
        schedule: Noise schedule to count steps on.
        workers: Processes to use; with a cluster, the most of its workers. None: one for each
            core, or all workers. 1: this process, which a mixture that kills it takes along.
        cluster: Address of a Dask scheduler, as in tcp://10.0.0.1:8786, whose workers compute
            instead of processes of this machine.
        out: Folder for results.
        no_figure: Make no figure.

    Example:
        >>> PhaseConfig(modes=2, ratios=(8, 4)).ratios
        (4.0, 8.0)
    """

    error: float = 0.1
    modes: tuple[int, ...] = MODES
    ratios: tuple[float, ...] = RATIOS
    families: tuple[Family, ...] = FAMILIES
    shape: PhaseShape = "ring"
    schedule: ScheduleName = "cosine"
    workers: int | None = None
    cluster: str | None = None
    out: Path = Path("runs/phase")
    no_figure: bool = False

    def __post_init__(self) -> None:
        """Check every value, turning a single value into a tuple of one.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for values out of range or that do not go together.
        """

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("error", options.positive("error", self.error))
        options.choices("shape", (self.shape,), get_args(PhaseShape))
        ratios = options.several("ratios", self.ratios)
        found = {options.positive("ratios", r, MOST_RATIO, least=LEAST_RATIO) for r in ratios}
        put("ratios", tuple(sorted(found)))
        sweep = SweepConfig(
            modes=self.modes,
            shape=self.shape,
            schedule=(self.schedule,),
            families=self.families,
            workers=self.workers,
            cluster=self.cluster,
        )
        if min(sweep.modes) < 2:
            raise ValueError(
                "modes must be 2 or more: a single mode has no neighbours to be apart from; "
                f"received {min(sweep.modes)}"
            )
        put("modes", tuple(sorted(sweep.modes)))
        put("families", tuple(name for name in FAMILIES if name in sweep.families))
        put("workers", sweep.workers)
        put("out", options.path("out", self.out))
        options.flag("no_figure", self.no_figure)

    @property
    def worker_count(self) -> int:
        """Number of processes: ``workers``, or one for each core this process may use."""
        return SweepConfig(workers=self.workers).worker_count
