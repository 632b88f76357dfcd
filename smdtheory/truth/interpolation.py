r"""Panels in log γ on which averages are read from Chebyshev nodes (docs/theory.md §9.2).

Panels of one width cover the line, and each is halved until its average is resolved. Which those
are is found here; what is averaged, and when it is resolved, whoever makes the panels says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

WIDTH = 3.0
"""Of an undivided panel, in log γ."""


@dataclass(frozen=True, order=True)
class Span:
    """Where a panel lies: the ``index``-th from 0 of those that are :data:`WIDTH`/2^depth wide."""

    depth: int
    index: int

    @property
    def width(self) -> float:
        """Of the panel."""
        return WIDTH * 0.5**self.depth

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.width * self.index

    @property
    def high(self) -> float:
        """Its upper end, which is the next panel's."""
        return self.width * (self.index + 1)

    def holds(self, position: Tensor) -> Tensor:
        """Which of the places lie in it."""
        return (position >= self.low) & (position < self.high)

    def halves(self) -> tuple[Span, Span]:
        """The two panels that it can be divided into."""
        return Span(self.depth + 1, 2 * self.index), Span(self.depth + 1, 2 * self.index + 1)


class Panel(Protocol):
    """An average on one panel."""

    span: Span
    resolved: bool


P = TypeVar("P", bound=Panel)


class Panels(Generic[P]):
    """The panels of an average, each made when it is first needed.

    Args:
        make: makes several panels.
        halvings: a panel is halved at most this often, resolved or not.
    """

    def __init__(self, make: Callable[[list[Span]], list[P]], halvings: int) -> None:
        self._make, self._halvings = make, halvings
        self._made: dict[Span, P] = {}

    def at(self, position: Tensor) -> list[P]:
        """The undivided panels that hold these places in log γ, (n,)."""
        wanted = {Span(0, int(i)) for i in torch.unique(torch.floor(position / WIDTH)).tolist()}
        found: list[P] = []
        while wanted:
            if new := sorted(wanted - self._made.keys()):
                self._made.update(zip(new, self._make(new), strict=True))
            halves: set[Span] = set()
            for panel in (self._made[span] for span in wanted):
                if panel.resolved or panel.span.depth == self._halvings:
                    found.append(panel)
                else:
                    halves.update(panel.span.halves())
            wanted = {half for half in halves if bool(half.holds(position).any())}
        return found


def chebyshev_angles(count: int) -> Tensor:
    """Angles whose cosines are the Chebyshev nodes in (−1, 1), from the largest node on.

    Example:
        >>> chebyshev_angles(2).cos()
        tensor([ 0.7071, -0.7071], dtype=torch.float64)
    """
    return (2 * torch.arange(count, dtype=torch.float64) + 1) * math.pi / (2 * count)
