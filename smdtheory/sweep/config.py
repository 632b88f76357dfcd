"""What a sweep is asked to do, checked at the door.

Standard library only (torch takes seconds to import, ``--help`` must not): the command line is
built from :class:`SweepConfig`, whose docstrings are its help.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from smdtheory import options
from smdtheory.families import FAMILIES, LEARNED, Family, Learned
from smdtheory.sweep.spec import DEFAULT_DIM, DEFAULT_SEPARATION, DEFAULT_STD, MixtureSpec

Shape = Literal["ring", "grid", "line", "random"]
ScheduleName = Literal["cosine", "linear", "sigmoid"]
Budget = Literal["short", "long"]

DEFAULT_LEARNED: tuple[Learned, ...] = ("gaussian", "soft_mse", "soft_energy", "finite_mixture")
DEFAULT_ITERATIONS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class SweepConfig:
    """How far are Gaussian and soft mixture denoisers from the truth, at any number of iterations?

    On each mixture and schedule, measures every family of Gaussian backward steps at its best,
    the exact soft mixture, and a posterior cut to its two heaviest components; then trains
    networks, each once for every number of iterations, and puts them beside the best they could
    be. Ends with tables, figures and plain sentences. Finished work stays in the output folder:
    the same command computes nothing twice, a longer one only what is new.

    Attributes:
        modes: Number of modes; several values make several mixtures.
        shape: Where the modes stand: on a circle, a square lattice (4, 9, 16, ... modes), a line,
            or anywhere (random weights, means and full covariances).
        mixture: A mixture of your own instead: a .json or .npz file with weights (K,),
            means (K, d) and covariances (K, d, d), (K, d), (K,) or one number; variances, not
            standard deviations.
        separation: Distance of neighbouring modes; for random, the scale of the means. None: 2,
            and for the ring whatever gives it radius 1.414.
        std: Standard deviation of each mode. None: 0.1 for the ring, 0.25 for the other shapes.
        dim: Dimension of the data. A ring or grid lies in the first two coordinates, a line in
            the first. None: 1 for the line, 2 for the other shapes.
        schedule: Noise schedule, or several.
        iterations: Iteration counts T (numbers of backward steps) to measure, in any order.
        families: Gaussian families to measure: variance fixed small or large, best variance for
            each step (isotropic) or each point (isotropic_x), best diagonal or full covariance
            for each point.
        seed: Seed of everything drawn at random, or several.
        no_train: Measure what is known in closed form; train nothing.
        budget: short trains for a minute or two and shows the outline, no accuracy promised; long
            takes about 45 minutes on two cores and gives intervals.
        learned: Networks to train. None: gaussian, soft_mse, soft_energy and finite_mixture, and
            with the long budget gaussian_full, soft_likelihood and the controls gaussian_wide (as
            many parameters as the soft mixture) and soft_no_noise.
        repeats: How often each network is trained, from different seeds. None: once, and three
            times with the long budget.
        device: Where to train and measure networks: cpu, or cuda for one GPU (with one worker).
        workers: Processes to use; with a cluster, the most of its workers. None: one for each
            core, or all workers. 1: this process, which a cell that kills it takes along.
        cluster: Address of a Dask scheduler, as in tcp://10.0.0.1:8786, whose workers compute
            instead of processes of this machine.
        out: Folder for results. None: runs/ and the name of the shape or mixture file, as in
            runs/ring.
        dry_run: List the cells and which of them are done; compute and write nothing.
        no_figure: Make no figures.

    Example:
        >>> SweepConfig(modes=(2, 4), std=0.05).folder.as_posix()
        'runs/ring-std0.05'
    """

    modes: tuple[int, ...] = (8,)
    shape: Shape = "ring"
    mixture: Path | None = None
    separation: float | None = None
    std: float | None = None
    dim: int | None = None
    schedule: tuple[ScheduleName, ...] = ("cosine",)
    iterations: tuple[int, ...] = DEFAULT_ITERATIONS
    families: tuple[Family, ...] = FAMILIES
    seed: tuple[int, ...] = (0,)
    no_train: bool = False
    budget: Budget = "short"
    learned: tuple[Learned, ...] | None = None
    repeats: int | None = None
    device: str = "cpu"
    workers: int | None = None
    cluster: str | None = None
    out: Path | None = None
    dry_run: bool = False
    no_figure: bool = False

    def __post_init__(self) -> None:
        """Check every value, turning a single value into a tuple of one.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for values out of range or that do not go together.
        """

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, least in (("modes", 1), ("iterations", 1), ("seed", 0)):
            put(name, _whole_numbers(name, getattr(self, name), least))
        put("iterations", tuple(sorted(self.iterations)))
        options.choices("shape", (self.shape,), get_args(Shape))
        for name, allowed in (("schedule", get_args(ScheduleName)), ("families", FAMILIES)):
            values = options.several(name, getattr(self, name))
            put(name, options.choices(name, values, allowed))
        for name in ("separation", "std"):
            if getattr(self, name) is not None:
                put(name, options.positive(name, getattr(self, name), cure=DEFAULT))
        options.choices("budget", (self.budget,), get_args(Budget))
        if self.learned is not None:
            put(
                "learned",
                options.choices("learned", options.several("learned", self.learned), LEARNED),
            )
        put("device", options.device(self.device))
        if self.cluster is not None:
            put("cluster", options.cluster(self.cluster))
        for name in ("dim", "workers", "repeats"):
            if getattr(self, name) is not None:
                put(name, _whole_numbers(name, getattr(self, name), 1)[0])
        for name in ("no_train", "dry_run", "no_figure"):
            options.flag(name, getattr(self, name))
        for name in ("mixture", "out"):
            if getattr(self, name) is not None:
                put(name, options.path(name, getattr(self, name)))
        if self.no_train and (self.learned or self.repeats):
            name = "learned" if self.learned else "repeats"
            raise ValueError(
                f"no_train trains nothing and does not go with {name}; received both, "
                f"{name}={getattr(self, name)}. Leave out one or the other."
            )
        self._check_together()

    def _check_together(self) -> None:
        if self.mixture is not None:
            self.check_own_mixture()
            return
        least = 1 if self.shape in ("line", "random") else 2
        if self.dim is not None and self.dim < least:
            raise ValueError(
                f"a {self.shape} needs dim of at least {least}; received {self.dim}. "
                "In one dimension use the line."
            )
        for count in self.modes:
            if self.shape == "grid" and math.isqrt(count) ** 2 != count:
                near = max(1, round(math.sqrt(count)))
                raise ValueError(
                    "a grid needs a square number of modes (1, 4, 9, 16, ...); "
                    f"received {count}. Nearest: {near**2}, which is {near} by {near}."
                )
            if self.shape == "ring" and count == 1 and self.separation is not None:
                raise ValueError(
                    "a ring of 1 mode has no neighbours to separate; received "
                    f"separation={self.separation}. Leave separation out, or use 2 modes or more."
                )

    def check_own_mixture(self) -> None:
        """Check that nothing else says what the mixture is.

        Raises:
            ValueError: if something does.
        """
        default = SweepConfig()
        names = ("modes", "shape", "separation", "std", "dim")
        for name in names:
            if (value := getattr(self, name)) != getattr(default, name):
                raise ValueError(
                    "a mixture of your own says where its modes are and does not go together with "
                    f"{name}; received both, {name}={value}. Leave out one or the other."
                )

    @property
    def folder(self) -> Path:
        """The output folder: ``out``, or runs/ and a name made of the mixture.

        The number of modes is no part of the name, so that more of them extend what is there.
        """
        if self.out is not None:
            return self.out
        if self.mixture is not None:
            return Path("runs") / self.mixture.stem
        parts: list[str] = [self.shape]
        for name, short in (("separation", "sep"), ("std", "std"), ("dim", "dim")):
            if getattr(self, name) is not None:
                parts.append(f"{short}{getattr(self, name):g}")
        return Path("runs") / "-".join(parts)

    @property
    def worker_count(self) -> int:
        """Number of processes: ``workers``, or one for each core this process may use."""
        if self.workers is not None:
            return self.workers
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    @property
    def trained(self) -> tuple[Learned, ...]:
        """The networks to train: those asked for, or those of the budget."""
        if self.no_train:
            return ()
        return self.learned or (LEARNED if self.budget == "long" else DEFAULT_LEARNED)

    @property
    def repeat_count(self) -> int:
        """How often each is trained."""
        return self.repeats or (3 if self.budget == "long" else 1)

    def mixtures(self) -> list[MixtureSpec]:
        """The preset mixtures asked for, one for each number of modes (and seed, if random).

        Returns:
            A specification for each.
        """
        draws: tuple[int | None, ...] = self.seed if self.shape == "random" else (None,)
        separation = self.separation
        if separation is None and self.shape != "ring":
            separation = DEFAULT_SEPARATION
        std = DEFAULT_STD[self.shape] if self.std is None else self.std
        dim = DEFAULT_DIM[self.shape] if self.dim is None else self.dim
        return [
            MixtureSpec(self.shape, count, dim, separation, std, draw)
            for count in self.modes
            for draw in draws
        ]

    def to_json(self) -> dict[str, Any]:
        """Every field as plain JSON values.

        Returns:
            Values by the names of the fields.
        """
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }


MOST = {"modes": 10**4, "iterations": 10**6, "dim": 10**4, "seed": 2**63 - 1, "workers": 10**9,
        "repeats": 1000}  # fmt: skip
"""The largest values accepted. Larger sizes would end in torch, out of memory."""

EXAMPLES = {"modes": "8", "iterations": "10 100", "seed": "0", "dim": "2", "workers": "2",
            "repeats": "3"}  # fmt: skip


DEFAULT = "Leave it out for the default."


def _whole_numbers(name: str, values: Any, least: int) -> tuple[int, ...]:
    found = (
        options.whole(name, value, least, MOST[name], EXAMPLES[name])
        for value in options.several(name, values)
    )
    return tuple(dict.fromkeys(found))
