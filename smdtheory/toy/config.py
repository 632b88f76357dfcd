"""What the toy is asked to do, checked at the door.

Standard library only (torch takes seconds to import, ``--help`` must not): the command line is
built from :class:`ToyConfig`, whose docstrings are its help.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smdtheory import options

RANGES = {
    "steps": (1, 10**6),
    "iterations": (1, 1000),
    "panels": (1, 1000),
    "draws": (100, 20_000),
    "samples": (128, 2**16),
    "seed": (0, 2**31 - 1),
}
"""Smallest and largest values accepted."""

EXAMPLES = {
    "steps": "500 2000",
    "iterations": "2 5 20",
    "panels": "2 5 20",
    "draws": "2000",
    "samples": "512",
    "seed": "0",
}

MOST_PANELS = 3
"""Columns of samples that a page holds."""


@dataclass(frozen=True)
class ToyConfig:
    """A learned Gaussian denoiser and a learned soft mixture on a 7 × 7 grid of Gaussians.

    Trains both, draws samples, measures how far each backward step is from the truth, and sets
    that beside the least any Gaussian step can reach. Ends with a table, a figure and one plain
    sentence. What is trained and measured stays in the output folder: the same command does
    nothing twice.

    Attributes:
        steps: Training steps, each number a training of its own from the same start; samples and
            errors at all iteration counts are those of the longest.
        iterations: Iteration counts T (numbers of backward steps) at which errors are measured.
        panels: Iteration counts for which samples are drawn, three at most. The middle one is also
            where errors are measured over training.
        draws: Samples of each panel.
        samples: Draws for the error of each step of the soft mixture, which evaluates its network
            128 times for each; the Gaussian, which is cheap, gets sixteen times as many.
        seed: Seed of training and of everything drawn at random.
        device: Where to train: cpu or cuda.
        out: Folder for results.
        no_figure: Make no figure.

    Example:
        >>> ToyConfig(steps=(500, 100), panels=5).steps
        (100, 500)
    """

    steps: tuple[int, ...] = (250, 1000, 4000)
    iterations: tuple[int, ...] = (1, 2, 3, 5, 10, 20)
    panels: tuple[int, ...] = (2, 5, 20)
    draws: int = 2000
    samples: int = 768
    seed: int = 0
    device: str = "cpu"
    out: Path = Path("runs/toy")
    no_figure: bool = False

    def __post_init__(self) -> None:
        """Check every value, turning a single value into a tuple of one.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for values out of range.
        """

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name in ("steps", "iterations", "panels"):
            put(name, _several(name, getattr(self, name)))
        for name in ("draws", "samples", "seed"):
            put(name, _whole(name, getattr(self, name)))
        if len(self.panels) > MOST_PANELS:
            raise ValueError(
                f"panels must be at most {MOST_PANELS} iteration counts, to fit a page; received "
                f"{len(self.panels)}. For example: --panels {EXAMPLES['panels']}"
            )
        put("device", options.device(self.device))
        options.flag("no_figure", self.no_figure)
        put("out", options.path("out", self.out))

    @property
    def watched(self) -> int:
        """The T at which errors are measured over training: the middle one of ``panels``."""
        return self.panels[len(self.panels) // 2]

    @property
    def identity(self) -> dict[str, Any]:
        """Every field that the numbers depend on, as plain JSON values."""
        found = asdict(self)
        for name in ("out", "no_figure"):
            del found[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _several(name: str, values: Any) -> tuple[int, ...]:
    """Whole numbers in increasing order, each once; a single value counts as a tuple of one."""
    return tuple(sorted({_whole(name, value) for value in options.several(name, values)}))


def _whole(name: str, value: Any) -> int:
    return options.whole(name, value, *RANGES[name], EXAMPLES[name])
