"""What a mixture's parameters must satisfy, said once and said clearly.

Every message gives the rule, what was received, and the usual cure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import broadcast, extremes, instance, positive, real_tensor, shown
from smdtheory.truth.spectral import SpectralCovariance

WEIGHT_TOLERANCE = 1e-6
"""Weights may miss a sum of 1 by this much; they are then normalised exactly."""

SYMMETRY_TOLERANCE = 1e-10
"""Largest asymmetry of a covariance matrix, relative to its largest entry."""

MAX_CONDITION = 1e12
"""Largest condition number of a matrix: rounding of its entries moves the smallest eigenvalue by
2e-4 there. With low-rank factors the same happens at the square of it, because x enters through
U Uᵀx, whose rounding is relative to the square root of the largest eigenvalue."""

SCALE_RANGE = (1e-60, 1e60)
"""Range of variances and squared distances: products of two stay far from under- and overflow."""


def check_length(name: str, value: Any) -> float:
    """A positive number whose square is within :data:`SCALE_RANGE`.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is out of range.

    Example:
        >>> check_length("std", 0.1)
        0.1
    """
    low, high = SCALE_RANGE
    return positive(name, value, low**0.5, high**0.5)


def check_points(name: str, x: Any, means: Tensor) -> Tensor:
    """Points (*S, *B, d) for a mixture with ``means`` (*B, K, d): same dtype, same device.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if their shape does not fit, or a coordinate is NaN, infinite or so large that
            its square could overflow.
    """
    dim = means.shape[-1]
    tensor = real_tensor(name, x).to(means)
    if tensor.ndim == 0 or tensor.shape[-1] != dim:
        raise ValueError(
            f"{name} must have last dimension d = {dim}; received shape {tuple(tensor.shape)}"
            + (". For d = 1 write x[..., None]." if dim == 1 else "")
        )
    if means.ndim > 2:
        broadcast(**{name: tensor.shape[:-1], "batch_shape": means.shape[:-2]})
    return _bounded(name, tensor, torch.finfo(tensor.dtype).max ** (1 / 3))


def check_weights(weights: Any) -> Tensor:
    """Positive weights (K,) that sum to 1 within :data:`WEIGHT_TOLERANCE`, normalised exactly."""
    tensor = real_tensor("weights", weights)
    if tensor.ndim != 1 or len(tensor) == 0:
        raise ValueError(f"weights must have shape (K,), K >= 1; received {tuple(tensor.shape)}")
    if bool((tensor < 0).any()):
        raise ValueError(f"weights must not be negative; received {_short(tensor)}")
    total = float(tensor.sum())
    if abs(total - 1) > WEIGHT_TOLERANCE:
        raise ValueError(
            f"weights must sum to 1 within {WEIGHT_TOLERANCE}; received a sum of {total:.8g}. "
            "Divide them by their sum if they are counts."
        )
    return tensor / tensor.sum()


def check_means(means: Any, components: int) -> Tensor:
    """Means (K, d) with d >= 1."""
    tensor = real_tensor("means", means)
    if tensor.ndim != 2 or tensor.shape[0] != components or tensor.shape[1] == 0:
        raise ValueError(
            f"means must have shape (K, d) with K = {components} (one row for each weight); "
            f"received {tuple(tensor.shape)}"
            + (". For d = 1 write means[:, None]." if tensor.ndim == 1 else "")
        )
    return tensor


def check_covariances(covariances: Any, means: Tensor) -> SpectralCovariance:
    """Covariances as (K, d, d), as variances (K, d), or as isotropic variances (K,) or a number."""
    tensor = _bounded(
        "covariances", real_tensor("covariances", covariances).to(means), SCALE_RANGE[1]
    )
    components, dim = means.shape
    shape = tuple(tensor.shape)
    if shape in {(), (components,)}:
        spectral = SpectralCovariance.isotropic(tensor.expand(components), dim)
    elif shape == (components, dim):
        spectral = SpectralCovariance.diagonal(tensor)
    elif shape == (components, dim, dim):
        asymmetry = (tensor - tensor.mT).abs().amax((1, 2))
        bad = asymmetry > SYMMETRY_TOLERANCE * tensor.abs().amax((1, 2))
        if bool(bad.any()):
            k = int(bad.nonzero()[0])
            raise ValueError(
                f"covariances must be symmetric; received a component {k} that differs from its "
                f"transpose by {float(asymmetry[k]):.3g}. Pass (S + S.mT) / 2 if that is rounding."
            )
        spectral = SpectralCovariance.dense((tensor + tensor.mT) / 2)
    else:
        raise ValueError(
            f"covariances must have shape (K, d, d), (K, d) (variances), (K,) or () (isotropic "
            f"variances) with K = {components}, d = {dim}; received {shape}"
        )
    return check_spectral(spectral)


def check_fitted(weights: Any, means: Any, covariances: Any, kind: Any) -> Tensor:
    """The covariances of a mixture that scikit-learn fitted, for :func:`check_covariances`.

    Args:
        weights: (K,).
        means: (K, d).
        covariances: (K, d, d), (d, d), (K, d) or (K,), by ``kind``.
        kind: ``full``, ``tied``, ``diag`` or ``spherical``.

    Raises:
        TypeError: for input that is not real numbers.
        ValueError: for another kind, or shapes that do not fit each other.
    """
    components, dim = check_means(means, len(check_weights(weights))).shape
    tensor = real_tensor("covariances", covariances)
    shapes = {
        "full": (components, dim, dim),
        "tied": (dim, dim),
        "diag": (components, dim),
        "spherical": (components,),
    }
    if not isinstance(kind, str) or kind not in shapes:
        raise ValueError(
            f"fitted must have a covariance_type of {', '.join(shapes)}; received {shown(kind)}"
        )
    if tensor.shape != shapes[kind]:
        raise ValueError(
            f"fitted must have means (K, d) and covariances of one K and d, {shapes[kind]} for "
            f"{kind!r} and means {(components, dim)}; received covariances {tuple(tensor.shape)}"
        )
    return tensor.expand(components, dim, dim) if kind == "tied" else tensor


def check_low_rank(factors: Any, noise: Any, means: Tensor) -> SpectralCovariance:
    """S_k = F_k F_kᵀ + noise_k I from factors (K, d, r), r <= d, and noise (K,)."""
    factor = _bounded("factors", real_tensor("factors", factors).to(means), SCALE_RANGE[1] ** 0.5)
    residual = real_tensor("noise", noise).to(means)
    components, dim = means.shape
    if factor.ndim != 3 or factor.shape[:2] != (components, dim) or factor.shape[2] > dim:
        raise ValueError(
            f"factors must have shape (K, d, r) with K = {components}, d = {dim}, r <= d; "
            f"received {tuple(factor.shape)}"
        )
    if residual.shape not in {torch.Size([]), torch.Size([components])}:
        raise ValueError(
            f"noise must have shape (K,) with K = {components}; received {tuple(residual.shape)}"
        )
    if not bool((residual > 0).all()):
        raise ValueError(f"noise must be positive variances; received {_short(residual)}")
    residual = residual.expand(components)
    basis, singular, _ = torch.linalg.svd(factor, full_matrices=False)
    eigenvalues = singular.square() + residual.unsqueeze(-1)
    return check_spectral(SpectralCovariance(basis, eigenvalues, residual, dim))


def check_spectral(spectral: SpectralCovariance) -> SpectralCovariance:
    """Positive eigenvalues within :data:`SCALE_RANGE` and, off the axes, of each other."""
    smallest, largest = spectral.smallest(), spectral.largest()
    low, high = SCALE_RANGE
    limit, lost = math.inf, ""
    if spectral.basis is not None and not spectral.is_isotropic:
        dense = not spectral.has_complement
        limit = MAX_CONDITION if dense else MAX_CONDITION**2
        lost = "a float64 matrix's entries" if dense else "coordinates along the factors"
    for k, (least, most) in enumerate(zip(smallest.tolist(), largest.tolist(), strict=True)):
        received = f"received eigenvalues from {least:.3g} to {most:.3g} in component {k}"
        if not least > 0:
            kind = "positive definite" if spectral.dim > 1 else "positive"
            raise ValueError(
                f"covariances must be {kind}; {received}. "
                "Add a small multiple of the identity, if a component has collapsed."
            )
        if least * limit < most:
            raise ValueError(
                f"covariances must have eigenvalues within {limit:.0e} of each other; {received}. "
                f"The rest is lost in the rounding of {lost}: use variances (K, d)."
            )
        if not (low <= least and most <= high):
            raise ValueError(
                f"covariances must have variances within {low:.0e}..{high:.0e}; {received}. "
                "Rescale the data."
            )
    return spectral


def check_spread(means: Tensor) -> None:
    """Squared distances between means stay within :data:`SCALE_RANGE`."""
    _bounded("means", means, (SCALE_RANGE[1] / means.shape[1]) ** 0.5)


def check_conversion(before: SpectralCovariance, after: SpectralCovariance) -> None:
    """Another dtype holds every variance."""
    dtype = after.residual.dtype
    least = torch.finfo(dtype).tiny
    if bool((before.smallest() > 0).all()) and not bool((after.smallest() >= least).all()):
        raise ValueError(
            f"dtype must hold every variance; received {dtype}, in which "
            f"{float(before.smallest().min()):.3g} is below the least number of full precision, "
            f"{least:.3g}. Rescale the data, with standardized()."
        )


def check_parts(logits: Any, means: Any, spectral: Any) -> tuple[Tensor, Tensor]:
    """Log weights (*B, K) and means (*B, K, d) that fit together and with the covariances."""
    logits, means = real_tensor("logits", logits, finite=False), real_tensor("means", means)
    cure = "GaussianMixture(weights, means, covariances) takes plain arrays."
    instance("spectral", spectral, SpectralCovariance, cure)
    *batch, components, dim = means.shape if means.ndim > 1 else (0, 0)
    inner, outer = tuple(spectral.eigenvalues.shape[-2:]), spectral.eigenvalues.shape[:-2]
    fit = (
        0 not in (components, dim) and inner == (components, spectral.rank) and dim == spectral.dim
    )
    if not fit or not extends(outer, batch) or not extends(logits.shape, means.shape[:-1]):
        raise ValueError(
            "logits, means and spectral must have shapes (*B, K), (*B, K, d) and (*B, K, r); "
            f"received {tuple(logits.shape)}, {tuple(means.shape)} and "
            f"{tuple(spectral.eigenvalues.shape)} in d = {spectral.dim}"
        )
    if not bool(torch.isfinite(torch.logsumexp(logits, -1)).all()):
        raise ValueError(
            "logits must be below inf, and one of them above -inf in every mixture; received "
            f"{shown(logits)}"
        )
    if not bool(torch.isfinite(spectral.trace()).all()):
        raise ValueError("spectral must be finite; received NaN or infinity")
    return logits, means


def extends(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether ``small`` broadcasts to ``large``."""
    pairs = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(a in (1, b) for a, b in pairs)


def _bounded(name: str, tensor: Tensor, limit: float) -> Tensor:
    low, high = extremes(tensor)
    if max(high, -low) > limit:
        raise ValueError(
            f"{name} must be below {limit:.0e} in size; received up to "
            f"{max(high, -low):.3g}. Rescale the data."
        )
    return tensor


def _short(tensor: Tensor) -> str:
    values = [float(f"{v:.4g}") for v in tensor.flatten()[:6].tolist()]
    return f"{values}{'...' if tensor.numel() > 6 else ''}"
