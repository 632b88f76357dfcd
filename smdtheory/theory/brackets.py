r"""At one x_t: the error of the best full Gaussian, from both sides (docs/theory.md §6.1, §6.2).

With μ, Σ the mean and covariance of q(x_s|x_t), the error at x_t is the spread between and within
the components, less what x_s tells about the component it came from:

    KL(q(x_s|x_t) ‖ N(μ, Σ)) = A − I(x_s; k | x_t),    A = ½ log det Σ − Σ_k r_k ½ log det V_k.

Every bracket of that information is a bracket of the error: 0 and H(r) give the sandwich, pairwise
distances between the components a tighter one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from smdtheory.theory.inputs import as_step, as_truth
from smdtheory.truth import validate
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import posterior_at


def sandwich(
    mixture: GaussianMixture, x_t: Any, snr_t: float | Tensor, snr_s: float | Tensor
) -> tuple[Tensor, Tensor]:
    """A − H(r) <= KL(q(x_s|x_t) ‖ N(μ, Σ)) <= A at each x_t (docs/theory.md §6.1).

    The two sides differ by the entropy H(r) of the responsibilities, at most log K. The upper one
    is exact when all components coincide, the lower one when none of them overlap.

    Args:
        mixture: q(x_0), K components.
        x_t: points (*B, d).
        snr_t: γ_t, one number.
        snr_s: γ_s > γ_t, one number, infinite for s = 0.

    Returns:
        lower and upper, each of shape ``*B``, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or the rest not made of real numbers.
        ValueError: unless 0 < γ_t < γ_s, or if x_t has another last dimension than d, is not
            finite, or is so far out that densities overflow.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.01)
        >>> lower, upper = sandwich(q, [[0.0]], 1.0, float("inf"))
        >>> bool(lower <= upper), float(upper - lower)  # H(r) at the middle
        (True, 0.693147...)
    """
    law = _posterior(mixture, x_t, snr_t, snr_s)
    spread = _spread(law)
    return spread - torch.special.entr(law.weights).sum(-1), spread


def pairwise_bounds(
    mixture: GaussianMixture, x_t: Any, snr_t: float | Tensor, snr_s: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Bounds on KL(q(x_s|x_t) ‖ N(μ, Σ)) by pairwise distances, at each x_t (docs/theory.md §6.2).

    They lie inside :func:`sandwich`, and are exact when the components fall into groups that
    coincide within a group and do not overlap between groups. Memory grows like K² d for each
    point.

    Source: the mixture entropy bounds of Kolchinsky and Tracey (2017); the upper bound on the
    error uses the Bhattacharyya distance, the lower one relative entropy.

    Args:
        mixture: q(x_0), K components.
        x_t: points (*B, d).
        snr_t: γ_t, one number.
        snr_s: γ_s > γ_t, one number, infinite for s = 0.

    Returns:
        lower and upper, each of shape ``*B``, in nats.

    Raises:
        TypeError: as :func:`sandwich`.
        ValueError: as :func:`sandwich`.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.01)
        >>> lower, upper = pairwise_bounds(q, [[0.0]], 1.0, float("inf"))
        >>> bool(upper - lower < 1e-12)  # two components that do not overlap
        True
    """
    law = _posterior(mixture, x_t, snr_t, snr_s)
    spread = _spread(law)
    least, most = _label_information(law)
    return spread - most, spread - least


def pairwise_entropy_bounds(mixture: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Bounds on the entropy h(q) by pairwise distances (docs/theory.md §6.2).

    Source: Kolchinsky and Tracey (2017).

    Args:
        mixture: q, K components.

    Returns:
        lower and upper, scalars, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture.
        ValueError: if it has batch dimensions.

    Example:
        >>> pairwise_entropy_bounds(GaussianMixture([1.0], [[0.0]], 1.0))
        (tensor(1.4189, dtype=torch.float64), tensor(1.4189, dtype=torch.float64))
    """
    q = as_truth(mixture)
    each = 0.5 * (q.dim * math.log(2 * math.pi * math.e) + q.spectral.log_det())
    within = (q.weights * each).sum(-1)
    least, most = _label_information(q)
    return within + least, within + most


def log_det_sum(within: Tensor, between: Tensor) -> Tensor:
    """log det(W + BᵀB) for W (..., d, d) positive definite and B (..., m, d).

    As log det W + log det(I + L⁻¹BᵀB L⁻ᵀ), W = L Lᵀ, the second from a triangular factor of I on
    top of B L⁻ᵀ or of its transpose, whichever is smaller: thin components far apart add nothing
    to one another, so nothing cancels.

    Raises:
        ValueError: if W is too ill conditioned for its Cholesky factor to exist in float64.
    """
    factor = _cholesky(within)
    tall = torch.linalg.solve_triangular(factor, between.mT, upper=False).mT
    tall = tall if tall.shape[-1] <= tall.shape[-2] else tall.mT
    eye = torch.eye(tall.shape[-1], dtype=tall.dtype).expand(*tall.shape[:-2], -1, -1)
    triangle: Tensor = torch.linalg.qr(torch.cat([eye, tall], -2), mode="r").R
    return _log_det(factor) + _log_det(triangle)


def mean_spread(weights: Tensor, means: Tensor) -> Tensor:
    """B (..., K − 1, d) with BᵀB = Σ_k w_k (m_k − m̄)(m_k − m̄)ᵀ, from (..., K) and (..., K, d).

    Row k is √(w_k W_{k−1}/W_k) times m_k less the mean of the components before it, W_k being their
    weight with it: one row for each component but the first, so that the rank is right.
    """
    shift = means - means[..., :1, :]
    mass = weights.cumsum(-1)
    before = mass[..., :-1]
    moment = (weights.unsqueeze(-1) * shift).cumsum(-2)[..., :-1, :]
    centre = moment / torch.where(before > 0, before, 1.0).unsqueeze(-1)
    after = torch.where(mass > 0, mass, 1.0)[..., 1:]
    scale = (weights[..., 1:] * (before / after)).sqrt()
    return scale.unsqueeze(-1) * (shift[..., 1:, :] - centre)


def _posterior(mixture: GaussianMixture, x_t: Any, snr_t: Any, snr_s: Any) -> GaussianMixture:
    """q(x_s|x_t), batch_shape ``*B``, with covariances (K, d, d) that do not depend on x_t."""
    q = as_truth(mixture)
    gamma_t, gamma_s, _ = as_step(snr_t, snr_s)
    if gamma_t.ndim:
        raise ValueError(
            "snr_t and snr_s must be one number each, the same for every x_t; received shape "
            f"{tuple(gamma_t.shape)}. Loop over the steps."
        )
    return posterior_at(q, validate.check_points("x_t", x_t, q.means), gamma_t, gamma_s)


def _spread(law: GaussianMixture) -> Tensor:
    """A = ½ log det Σ − Σ_k r_k ½ log det V_k, shape ``*B``."""
    share = law.weights
    within = torch.einsum("...k,kij->...ij", share, law.spectral.matrices())
    each = (share * law.spectral.log_det()).sum(-1)
    return 0.5 * (log_det_sum(within, mean_spread(share, law.means)) - each)


def _label_information(law: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Bounds on I(x; k) for covariances (K, d, d) shared by the batch, each of shape ``*B``.

    −Σ_i w_i log Σ_j w_j e^{−D_ij} with D the Bhattacharyya distance, then relative entropy.
    """
    cov, log_det = law.spectral.matrices(), law.spectral.log_det()
    own = _cholesky(cov)
    inverse = _inverse(own)
    middle = _cholesky(0.5 * (cov.unsqueeze(0) + cov.unsqueeze(1)))
    gap = law.means.unsqueeze(-2) - law.means.unsqueeze(-3)  # (*B, i, j, d)

    across = torch.einsum("ijab,...ijb->...ija", _inverse(middle), gap).square().sum(-1)
    unlike = _log_det(middle) - 0.5 * (log_det.unsqueeze(0) + log_det.unsqueeze(1))
    bhattacharyya = across / 8 + unlike / 2

    against = torch.einsum("jab,...ijb->...ija", inverse, gap).square().sum(-1)
    trace = torch.einsum("jab,ibc->ijac", inverse, own).square().sum((-2, -1))
    divergence = 0.5 * (trace - law.dim + against + log_det.unsqueeze(0) - log_det.unsqueeze(1))

    def information(distance: Tensor) -> Tensor:
        overlap = torch.logsumexp(law.logits.unsqueeze(-2) - distance, -1)
        return -(law.weights * overlap).sum(-1)

    return information(bhattacharyya), information(divergence)


def _cholesky(matrix: Tensor) -> Tensor:
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool((info != 0).any()):
        raise ValueError(
            "covariances must be well enough conditioned for a Cholesky factor in float64; "
            "received one with axes more than about 1e8 apart in std. Drop the thin axes, or "
            "rescale the coordinates."
        )
    return factor


def _inverse(factor: Tensor) -> Tensor:
    """L⁻¹ of lower triangular L (..., d, d)."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype).expand_as(factor)
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse


def _log_det(factor: Tensor) -> Tensor:
    """log det L Lᵀ of triangular L (..., d, d)."""
    return 2 * factor.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
