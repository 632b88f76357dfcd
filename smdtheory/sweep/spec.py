"""The numbers that fix a mixture, standard library only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from smdtheory.files import digest

DEFAULT_STD: dict[str, float] = {"ring": 0.1, "grid": 0.25, "line": 0.25, "random": 0.25}
DEFAULT_DIM: dict[str, int] = {"ring": 2, "grid": 2, "line": 1, "random": 2}
DEFAULT_SEPARATION = 2.0
RING_RADIUS = 2**0.5


@dataclass(frozen=True)
class MixtureSpec:
    """The numbers that fix one mixture, without building it.

    Attributes:
        shape: "ring", "grid", "line", "random", or "custom" for a mixture of the user's own.
        modes: number of components.
        dim: dimension d.
        separation: distance of neighbouring modes, for "random" the scale of the means (``None``:
            the ring of radius √2, or custom).
        std: standard deviation of each component (``None``: custom).
        draw: seed of the draw, for "random" alone.
        content: fingerprint of the parameters, for "custom" alone.
    """

    shape: str
    modes: int
    dim: int
    separation: float | None = None
    std: float | None = None
    draw: int | None = None
    content: str | None = None

    @property
    def neighbours(self) -> float | None:
        """The distance of neighbouring modes as a number, where there is one."""
        if self.shape == "ring" and self.separation is None and self.modes > 1:
            return 2 * RING_RADIUS * math.sin(math.pi / self.modes)
        return self.separation

    @property
    def identity(self) -> str:
        """A short name for programs: 12 digits of a hash of all of it."""
        return digest(asdict(self))[:12]

    @property
    def name(self) -> str:
        """A name for files, no two mixtures' the same: it says what is not the default.

        The draw is left out, being the seed of the sweep.

        Example:
            >>> from smdtheory.sweep import SweepConfig
            >>> [spec.name for spec in SweepConfig(modes=(3, 8), std=0.3).mixtures()]
            ['ring-3-std0.3', 'ring-8-std0.3']
        """
        parts = [self.shape, str(self.modes)]
        if self.shape == "custom":
            return "-".join([*parts, self.identity])
        separation = None if self.shape == "ring" else DEFAULT_SEPARATION
        for short, value, default in (
            ("sep", self.separation, separation),
            ("std", self.std, DEFAULT_STD[self.shape]),
            ("dim", self.dim, DEFAULT_DIM[self.shape]),
        ):
            if value != default:
                parts.append(f"{short}{value}".removesuffix(".0"))
        return "-".join(parts)

    @property
    def label(self) -> str:
        """A name for people."""
        if self.shape == "custom":
            return f"your mixture of {self.modes} components in d = {self.dim}"
        plural = "mode" if self.modes == 1 else "modes"
        draw = "" if self.draw is None else f", draw {self.draw}"
        return f"{self.shape} of {self.modes} {plural} in d = {self.dim}{draw}"
