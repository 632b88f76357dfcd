r"""Low-rank Gaussian mixtures fitted to images: mixtures of probabilistic principal components.

Each covariance is F Fᵀ + σ² I, whose maximum of the likelihood is known in closed form: the largest
eigenvalues of the (weighted) sample covariance, and the average of the others. The EM algorithm
alternates it with the responsibilities (docs/theory.md §13.1).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.sparse.linalg import svds
from torch import Tensor
from torch.nn.functional import one_hot

from smdtheory.checks import integer, real_tensor
from smdtheory.truth.mixture import GaussianMixture

NOISE_FLOOR = 1e-3
"""Least σ², as a share of the average variance of a pixel over all images."""

MOST_ROWS = 20_000
"""Of more images, so many are drawn."""

STARTS = 4
"""k-means runs so often; the least distortion starts the EM algorithm."""

ROUNDS = 100
TOLERANCE = 1e-4
"""The EM algorithm ends when a round gains less, in nats an image, or after :data:`ROUNDS`."""

FLAT = 1e-12
"""Directions in which all images vary by less than this share of the largest variance are left out
of the computations: :data:`NOISE_FLOOR` is far above it."""

LARGE = 2048
"""If there are more images and more pixels than this, no direction is looked for and left out."""

NOTHING = 1e-12
"""Images of a smaller responsibility are left out of a component."""

DENSE = 512
"""A component of more images and more pixels than this gets its leading eigenvalues alone, by
Lanczos iteration, to machine precision."""


def fit_low_rank(images: Any, components: int, rank: int, seed: int = 0) -> GaussianMixture:
    """A mixture with S_k = F_k F_kᵀ + σ_k² I of largest likelihood, as far as EM finds it.

    It starts at k-means. Every variance is at least σ_k² >= :data:`NOISE_FLOOR` times the average
    variance of a pixel, so that the mixture is well conditioned. A component that comes to rest on
    fewer than ``rank`` + 2 images is dropped: the mixture may have fewer than asked for.

    Args:
        images: (N, ...), flattened to (N, d). Of more than :data:`MOST_ROWS`, so many are drawn.
        components: K, at most.
        rank: r, the number of columns of F_k, from 1 to d − 1.
        seed: of k-means and of that draw. The same seed gives the same mixture on the same machine.

    Returns:
        At most K components in R^d, without batch dimensions.

    Raises:
        TypeError: if the images are not real numbers, or a number is not an integer.
        ValueError: for NaN or infinity, fewer than K (r + 2) different images, or a number out of
            range.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> truth = GaussianMixture.low_rank([1.0], torch.zeros(1, 9), torch.ones(1, 9, 1), [0.5])
        >>> fit = fit_low_rank(truth.sample(2000, generator=generator), components=1, rank=1)
        >>> [round(v, 1) for v in (float(fit.spectral.largest()), float(fit.spectral.smallest()))]
        [9.8, 0.5]
    """
    rows = real_tensor("images", images)
    if rows.ndim < 2 or math.prod(rows.shape[1:]) < 2:
        raise ValueError(
            "images must have shape (N, ...) with at least 2 pixels each; received "
            f"{tuple(rows.shape)}"
        )
    rows = rows.detach().flatten(1).to("cpu", torch.float64)
    dim = rows.shape[1]
    count, columns = integer("components", components, low=1), integer("rank", rank, low=1)
    if columns >= dim:
        raise ValueError(f"rank must be below the number of pixels, {dim}; received {columns}")
    random = np.random.default_rng(integer("seed", seed, low=0))
    if len(rows) > MOST_ROWS:
        rows = rows[torch.from_numpy(random.permutation(len(rows))[:MOST_ROWS])]
    least = count * (columns + 2)
    different = len({row.tobytes() for row in rows.numpy()})
    if different < least:
        raise ValueError(
            f"images must be at least components · (rank + 2) = {least} different ones; received "
            f"{different}. Ask for fewer components or a lower rank."
        )
    variance = float((rows - rows.mean(0)).square().mean())
    if not 1e-50 < variance < 1e50:
        raise ValueError(
            f"images must vary by numbers of moderate size; received a variance of {variance:.3g}. "
            "Pixels in [-1, 1] are usual."
        )
    center = rows.mean(0)
    points, directions = _directions(rows - center)
    columns = min(columns, points.shape[1])
    parts = _maximize(
        points, _clusters(points, count, random), columns, NOISE_FLOOR * variance, dim
    )
    return GaussianMixture.low_rank(
        parts.weights,
        center + parts.means @ directions.mT,
        directions @ parts.factors,
        parts.noise,
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    """K components in the D directions in which images vary, σ² I in all d of them.

    ``weights`` (K,), ``means`` (K, D), ``factors`` (K, D, r), ``noise`` (K,).
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    noise: Tensor

    def joint(self, points: Tensor, dim: int) -> Tensor:
        """log w_k + log N(x; m_k, S_k) in R^d at coordinates (N, D), shape (N, K)."""
        inside = GaussianMixture.low_rank(self.weights, self.means, self.factors, self.noise)
        count = range(inside.num_components)
        density = torch.stack([inside.component(k).log_prob(points) for k in count], 1)
        flat = dim - points.shape[1]
        return inside.logits + density - 0.5 * flat * torch.log(2 * math.pi * self.noise)


def _directions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (N, D) of centred rows (N, d) along orthonormal directions (d, D), D <= d."""
    count, dim = rows.shape
    if min(count, dim) > LARGE:
        return rows, torch.eye(dim, dtype=rows.dtype)
    gram = rows.mT @ rows if dim <= count else rows @ rows.mT
    variances, vectors = torch.linalg.eigh(gram)
    vectors = vectors[:, variances > FLAT * variances[-1]]
    directions, _ = torch.linalg.qr(vectors if dim <= count else rows.mT @ vectors)
    return rows @ directions, directions


def _maximize(points: Tensor, share: Tensor, rank: int, floor: float, dim: int) -> _Parts:
    """The EM algorithm from responsibilities (N, K) on, with coordinates (N, D)."""
    before, known = -math.inf, 0
    for _ in range(ROUNDS):
        parts = _components(points, share, rank, floor, dim)
        joint = parts.joint(points, dim)
        reached, count = float(torch.logsumexp(joint, 1).mean()), len(parts.weights)
        if count == known and reached - before < TOLERANCE:
            break
        before, known = reached, count
        share = torch.softmax(joint, 1)
    return parts


def _clusters(rows: Tensor, count: int, random: np.random.Generator) -> Tensor:
    """Memberships 0 or 1, (N, K), of the best of several runs of k-means from k-means++ starts."""
    array = rows.numpy()
    best, least = np.zeros(len(array), dtype=np.int64), math.inf
    for _ in range(STARTS if count > 1 else 0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty cluster, which is dropped
            centres, labels = kmeans2(array, count, iter=20, minit="++", seed=random)
        distortion = float(np.square(array - centres[labels]).sum())
        if distortion < least:
            best, least = labels.astype(np.int64), distortion
    return one_hot(torch.from_numpy(best), count).double()


def _components(points: Tensor, share: Tensor, rank: int, floor: float, dim: int) -> _Parts:
    """The components of largest likelihood for responsibilities ``share`` (N, K)."""
    rests_on = share.sum(0)
    kept = torch.nonzero(rests_on >= rank + 2).squeeze(1)
    found = [principal(points, share[:, k], rank, floor, dim) for k in kept.tolist()]
    means, factors, noise = zip(*found, strict=True)
    weights = rests_on[kept] / rests_on[kept].sum()
    return _Parts(
        weights, torch.stack(means), torch.stack(factors), torch.tensor(noise, dtype=torch.float64)
    )


def principal(
    points: Tensor, share: Tensor, rank: int, floor: float, dim: int
) -> tuple[Tensor, Tensor, float]:
    """Mean, factors and noise of one component, of largest likelihood given σ² >= ``floor``.

    Args:
        points: (N, D) float64, coordinates along the directions that are not constant.
        share: (N,), the weight of each row; at least ``rank`` + 1 of them above :data:`NOTHING`.
        rank: r <= D.
        floor: least σ².
        dim: d >= D, r < d, the number of all directions.

    Returns:
        The mean (D,), the factors (D, r) and σ².

    Example:
        >>> square = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]]).double()
        >>> mean, factors, noise = principal(square, torch.ones(4).double(), 1, 1e-3, 2)
        >>> factors @ factors.mT + noise * torch.eye(2)
        tensor([[2.0000, 0.0000],
                [0.0000, 0.5000]], dtype=torch.float64)
    """
    chosen = share > NOTHING
    points, share = points[chosen], share[chosen] / share[chosen].sum()
    mean = share @ points
    scaled = share.sqrt().unsqueeze(1) * (points - mean)  # scaledᵀ scaled is the covariance
    if min(scaled.shape) <= max(DENSE, rank + 1):
        _, singular, directions = torch.linalg.svd(scaled, full_matrices=False)
    else:
        start = np.ones(min(scaled.shape))
        _, values, vectors = svds(scaled.numpy(), rank, v0=start)
        order = np.argsort(-values)
        singular = torch.from_numpy(values[order].copy())
        directions = torch.from_numpy(vectors[order].copy())
    eigenvalues = singular[:rank].square()
    rest = float(scaled.square().sum() - eigenvalues.sum()) / (dim - rank)
    noise = max(rest, floor)
    lengths = (eigenvalues - noise).clamp(min=0).sqrt()  # negative only where the floor is reached
    return mean, directions[:rank].mT * lengths, noise
