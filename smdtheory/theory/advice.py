r"""Which denoiser, with how many steps on which grid: the answers of §12 side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smdtheory.families import FAMILIES, Family
from smdtheory.schedule import Schedule
from smdtheory.theory.grids import BestGrid, fewest_steps
from smdtheory.theory.steps import SOFT_MIXTURE, StepsNeeded, steps_needed
from smdtheory.truth.mixture import GaussianMixture

LONGEST = 256
"""Best grids are sought up to this many steps."""

MARGIN = 1.1
"""The simplest family with at most so many times the fewest steps is the one to take."""


@dataclass(frozen=True)
class Option:
    """What one family needs.

    Attributes:
        needed: on the standard schedule.
        grid: the best grid with the fewest steps that reaches the error, ending at the same γ_T as
            the standard chain; ``None`` if it would need more than :data:`LONGEST`.
    """

    needed: StepsNeeded
    grid: BestGrid | None

    @property
    def family(self) -> str:
        """A Gaussian family, or "soft_mixture"."""
        return self.needed.family

    @property
    def evaluations(self) -> int | None:
        """Network evaluations for one sample: one for each step, on the better of the grids."""
        if self.grid is not None:
            return self.grid.schedule.steps
        return self.needed.steps


def options(
    mixture: GaussianMixture,
    error: float,
    families: Sequence[Family] = FAMILIES,
    schedule: str = "cosine",
) -> Iterator[Option]:
    """What each family needs for ΣM_t <= ``error``, and last the exact soft mixture.

    Args:
        mixture: q(x_0).
        error: in nats.
        families: of :data:`smdtheory.families.FAMILIES`.
        schedule: the standard one to compare with.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: as :func:`smdtheory.theory.steps_needed` does.

    Example:
        >>> from smdtheory.truth import presets
        >>> [(option.family, option.needed.steps, option.evaluations)
        ...  for option in options(presets.line(2), 0.1, ["full"])]
        [('full', 7, 4), ('soft_mixture', 1, 1)]
    """
    for family in families:
        needed = steps_needed(mixture, error, family, schedule)
        last = float(Schedule.named(schedule, needed.steps or LONGEST).snr[-1])
        most = min(LONGEST, needed.steps or LONGEST)
        grid = fewest_steps(mixture, error, family, snr_end=last, most=most)
        yield Option(needed, grid)
    yield Option(steps_needed(mixture, error, SOFT_MIXTURE, schedule), None)


def choose(found: Sequence[Option]) -> Option | None:
    """The simplest Gaussian family that needs hardly more steps than any other.

    Example:
        >>> from smdtheory.truth import presets
        >>> one = presets.line(1)  # a Gaussian in d = 1
        >>> choose(list(options(one, 0.1, ["isotropic", "full"]))).family
        'isotropic'
    """
    counts: dict[str, int] = {
        option.family: option.evaluations
        for option in found
        if option.family in FAMILIES and option.evaluations is not None
    }
    if not counts:
        return None
    most = MARGIN * min(counts.values())
    name = next(name for name in FAMILIES if name in counts and counts[name] <= most)
    return next(option for option in found if option.family == name)
