"""What the advisor is asked, checked at the door. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smdtheory import options
from smdtheory.families import FAMILIES, Family
from smdtheory.sweep.config import ScheduleName, Shape, SweepConfig
from smdtheory.sweep.spec import MixtureSpec


@dataclass(frozen=True)
class StepsConfig:
    """How many steps does a diffusion model need for a given error, and with which denoiser?

    For each family of Gaussian backward steps: the smallest number of steps T whose local errors
    add up to the error or less, on a standard noise schedule and on the best grid of levels; then
    a recommendation, and what the best grid saves over the standard ones. For a preset mixture
    (modes, shape, ...), one of your own, or one fitted to your data. A minute or less for d <= 2,
    where everything is quadrature; minutes in higher dimensions, where it is sampled.

    Attributes:
        error: Error in nats that the local errors of all steps may add up to.
        modes: Number of modes.
        shape: Where the modes stand: on a circle, a square lattice (4, 9, 16, ... modes), a line,
            or anywhere (random weights, means and full covariances).
        mixture: A mixture of your own instead: a .json or .npz file with weights (K,),
            means (K, d) and covariances (K, d, d), (K, d), (K,) or one number; variances, not
            standard deviations.
        data: Samples of your own instead: a .npy or .csv file, a row for each, shape (n, d). A
            mixture is fitted to them (needs scikit-learn).
        separation: Distance of neighbouring modes; for random, the scale of the means. None: 2,
            and for the ring whatever gives it radius 1.414.
        std: Standard deviation of each mode. None: 0.1 for the ring, 0.25 for the other shapes.
        dim: Dimension of the data. A ring or grid lies in the first two coordinates, a line in
            the first. None: 1 for the line, 2 for the other shapes.
        schedule: Noise schedule to count steps on.
        families: Gaussian families to consider.
        seed: Seed of the random shape, and of the fit.
        out: File for the answer as JSON, the best grid included. None: the terminal alone.

    Example:
        >>> StepsConfig(error=0.01, modes=4).spec.label
        'ring of 4 modes in d = 2'
    """

    error: float = 0.1
    modes: int = 8
    shape: Shape = "ring"
    mixture: Path | None = None
    data: Path | None = None
    separation: float | None = None
    std: float | None = None
    dim: int | None = None
    schedule: ScheduleName = "cosine"
    families: tuple[Family, ...] = FAMILIES
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for values out of range or that do not go together.
        """
        options.positive(
            "error",
            self.error,
            cure="No Gaussian family reaches 0 nats, unless the data are one Gaussian.",
        )
        for name in ("data", "out"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, options.path(name, getattr(self, name)))
        if self.out is not None and self.out.suffix.lower() != ".json":
            raise ValueError(f"out must be a .json file; received {self.out}")
        sweep = self._sweep()
        if self.data is not None:
            if self.mixture is not None:
                raise ValueError(
                    "data and mixture do not go together: a mixture is fitted to the data; "
                    "received both. Leave out one or the other."
                )
            _only("data of your own say", sweep.check_own_mixture)
        object.__setattr__(self, "families", sweep.families)
        object.__setattr__(self, "mixture", sweep.mixture)

    def _sweep(self) -> SweepConfig:
        """The options that a sweep has too, checked as it checks them."""
        return SweepConfig(
            modes=(self.modes,),
            shape=self.shape,
            mixture=self.mixture,
            separation=self.separation,
            std=self.std,
            dim=self.dim,
            schedule=(self.schedule,),
            families=self.families,
            seed=(self.seed,),
        )

    @property
    def spec(self) -> MixtureSpec:
        """The description of the preset mixture."""
        return self._sweep().mixtures()[0]


def _only(start: str, check: Callable[[], None]) -> None:
    """Run a check of the sweep's, in words that name what was received here."""
    try:
        check()
    except ValueError as error:
        raise ValueError(str(error).replace("a mixture of your own says", start)) from None
