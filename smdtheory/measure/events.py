r"""A lower confidence bound of KL(q ‖ p) from draws of both (docs/theory.md §8.4).

For any event A, KL(q ‖ p) >= kl(q(A) ‖ p(A)). The event is chosen on one half of the draws, where
an estimate of q/p is large; on the other half one-sided Clopper–Pearson limits give
q(A) >= a and p(A) <= b together with probability 1 − δ, and then KL(q ‖ p) >= kl(a ‖ b).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import beta
from torch import Tensor

from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.mixture import GaussianMixture

LEVELS = 32
"""Levels of log q that space is cut into, all components together."""

SHELLS = (1, 2, 4, 8, 16)
"""Numbers of shells around its mean that the cell of each component is cut into."""

Array = NDArray[Any]


def lower_confidence_bound(
    mixture: GaussianMixture, from_q: Tensor, from_p: Tensor, level: float = 0.99
) -> float:
    """A number that KL(q ‖ p) is at least, with probability ``level``.

    Space is cut into cells, by components and shells or by levels of log q. A quarter of the draws
    orders the cells by how much more often q falls there than p, another quarter says which of
    these cuttings to use and how many of its cells to unite; the rest is used for the bound.

    Args:
        mixture: q. It decides which events are looked at, and nothing else.
        from_q: independent draws of q, (n, d).
        from_p: independent draws of p, (m, d).
        level: 1 − δ.

    Returns:
        The bound in nats; 0 where the draws do not tell p from q.

    Example:
        >>> from smdtheory.truth import presets
        >>> q, p = presets.line(2), presets.line(4)  # log 2, nearly, is KL(q ‖ p)
        >>> draw = torch.Generator().manual_seed(0)
        >>> x, y = (law.sample(4096, generator=draw) for law in (q, p))
        >>> 0.6 < lower_confidence_bound(q, x, y) < 0.7
        True
    """
    q_rank, q_look, q_test = _shares(_view(mixture, from_q))
    p_rank, p_look, p_test = _shares(_view(mixture, from_p))
    sizes = len(q_test), len(p_test)
    best, event = 0.0, None
    for cells, partition in _partitions(mixture.num_components, np.concatenate([q_rank, p_rank])):
        place = _by_ratio(cells, partition(q_rank), partition(p_rank))
        inside = [
            np.cumsum(np.bincount(place[partition(view)], minlength=len(place)))
            for view in (q_look, p_look)
        ]
        q_inside, p_inside = (n * size / n[-1] for n, size in zip(inside, sizes, strict=True))
        bounds = _bound(q_inside, p_inside, sizes, 1 - level)
        if bounds.max() > best:
            best, event = float(bounds.max()), (partition, place, int(bounds.argmax()))
    if event is None:
        return 0.0
    partition, place, last = event
    q_count, p_count = (
        np.atleast_1d(np.sum(place[partition(view)] <= last)) for view in (q_test, p_test)
    )
    return float(_bound(q_count, p_count, sizes, 1 - level)[0])


def _view(mixture: GaussianMixture, x: Tensor) -> Array:
    """What events are made of: most responsible component, its Mahalanobis distance², log q."""
    rows = max(1, BLOCK_ELEMENTS // (mixture.num_components * mixture.dim))
    columns = []
    for block in torch.split(x, rows):
        joint = mixture.component_log_prob(block)
        label = joint.argmax(-1, keepdim=True)
        distance = mixture.spectral.mahalanobis(block.unsqueeze(-2) - mixture.means)
        log_q = joint.logsumexp(-1, keepdim=True)
        columns.append(torch.cat([label.to(log_q), distance.gather(-1, label), log_q], -1))
    view: Array = torch.cat(columns).numpy()
    return view


def _shares(view: Array) -> tuple[Array, Array, Array]:
    """A quarter, a quarter and a half."""
    quarter = len(view) // 4
    return view[:quarter], view[quarter : 2 * quarter], view[2 * quarter :]


def _partitions(components: int, view: Array) -> Iterator[tuple[int, Callable[[Array], Array]]]:
    """Numbers of cells, and functions from views (n, 3) to the cell of each point.

    Edges are quantiles of ``view``.
    """

    def edges(column: int, parts: int) -> Array:
        places = np.arange(1, parts) / parts
        return np.quantile(view[:, column], places, method="inverted_cdf")

    levels = edges(2, LEVELS)
    yield LEVELS, lambda v: np.searchsorted(levels, v[:, 2])
    for shells in SHELLS:
        radii = edges(1, shells)
        yield components * shells, partial(_shell, radii)


def _shell(radii: Array, view: Array) -> Array:
    cell: Array = view[:, 0].astype(int) * (len(radii) + 1) + np.searchsorted(radii, view[:, 1])
    return cell


def _by_ratio(cells: int, of_q: Array, of_p: Array) -> Array:
    """The place of each cell when they are sorted by falling q/p; half a draw is added to each."""
    q_count, p_count = (np.bincount(c, minlength=cells) + 0.5 for c in (of_q, of_p))
    return np.argsort(np.argsort(-q_count / p_count))


def _bound(q_inside: Array, p_inside: Array, sizes: tuple[int, int], risk: float) -> Array:
    """kl(a ‖ b) of the Clopper–Pearson limits a of q(A), from below, and b of p(A), from above."""
    n, m = sizes
    low = np.where(q_inside > 0, beta.ppf(risk / 2, q_inside, n - q_inside + 1), 0.0)
    high = np.where(p_inside < m, beta.ppf(1 - risk / 2, p_inside + 1, m - p_inside), 1.0)
    divergence = rel_entr(low, high) + rel_entr(1 - low, 1 - high)
    return np.where(low > high, divergence, 0.0)
