"""What a mixture's parameters must satisfy, said once and said clearly.

Every message gives the rule, what was received, and the usual cure.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smdtheory.truth.spectral import SpectralCovariance

WEIGHT_TOLERANCE = 1e-6
"""Weights may miss a sum of 1 by this much; they are then normalised exactly."""

SYMMETRY_TOLERANCE = 1e-10
"""Largest asymmetry of a covariance matrix, relative to its largest entry."""

MAX_CONDITION = 1e12
"""Beyond this condition number the entries of a float64 matrix no longer fix its eigenvalues."""

SCALE_RANGE = (1e-60, 1e60)
"""Range of variances and squared distances: products of two stay far from under- and overflow."""


def as_tensor(name: str, value: Any) -> Tensor:
    """``value`` as a float64 tensor (a floating tensor keeps its dtype).

    Raises:
        TypeError: if it is not made of real numbers.
        ValueError: if it contains NaN or infinity.
    """
    try:
        tensor = torch.as_tensor(value)
        if not tensor.is_floating_point():
            if tensor.is_complex() or tensor.dtype == torch.bool:
                raise TypeError(tensor.dtype)
            tensor = tensor.to(torch.float64)
        elif not isinstance(value, Tensor):
            tensor = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be an array of real numbers; received {value!r}") from error
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} must be finite; received NaN or infinity")
    return tensor


def check_points(name: str, x: Any, dim: int, like: Tensor) -> Tensor:
    """Points (..., d) with the dtype and device of ``like``.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if the last dimension is not d, or a coordinate is NaN or infinite.
    """
    tensor = as_tensor(name, x).to(like)
    if tensor.ndim == 0 or tensor.shape[-1] != dim:
        raise ValueError(
            f"{name} must have last dimension d = {dim}; received shape {tuple(tensor.shape)}"
            + (". For d = 1 write x[..., None]." if dim == 1 else "")
        )
    return tensor


def check_weights(weights: Any) -> Tensor:
    """Positive weights (K,) that sum to 1 within :data:`WEIGHT_TOLERANCE`, normalised exactly."""
    tensor = as_tensor("weights", weights)
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
    tensor = as_tensor("means", means)
    if tensor.ndim != 2 or tensor.shape[0] != components or tensor.shape[1] == 0:
        raise ValueError(
            f"means must have shape (K, d) with K = {components} (one row for each weight); "
            f"received {tuple(tensor.shape)}"
            + (". For d = 1 write means[:, None]." if tensor.ndim == 1 else "")
        )
    return tensor


def check_covariances(covariances: Any, means: Tensor) -> SpectralCovariance:
    """Covariances as (K, d, d), as variances (K, d), or as isotropic variances (K,) or a number."""
    tensor = as_tensor("covariances", covariances).to(means)
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
                f"covariances must be symmetric; component {k} differs from its transpose by "
                f"{float(asymmetry[k]):.3g}. Pass (S + S.mT) / 2 if that is rounding."
            )
        spectral = SpectralCovariance.dense((tensor + tensor.mT) / 2)
    else:
        raise ValueError(
            f"covariances must have shape (K, d, d), (K, d) (variances), (K,) or () (isotropic "
            f"variances) with K = {components}, d = {dim}; received {shape}"
        )
    return check_spectral(spectral)


def check_low_rank(factors: Any, noise: Any, means: Tensor) -> SpectralCovariance:
    """S_k = F_k F_kᵀ + noise_k I from factors (K, d, r), r <= d, and noise (K,)."""
    factor = as_tensor("factors", factors).to(means)
    residual = as_tensor("noise", noise).to(means)
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
    residual = residual.expand(components)
    basis, singular, _ = torch.linalg.svd(factor, full_matrices=False)
    eigenvalues = singular.square() + residual.unsqueeze(-1)
    return check_spectral(SpectralCovariance(basis, eigenvalues, residual, dim))


def check_spectral(spectral: SpectralCovariance) -> SpectralCovariance:
    """Positive eigenvalues within :data:`SCALE_RANGE`; matrices within :data:`MAX_CONDITION`."""
    smallest, largest = spectral.smallest(), spectral.largest()
    low, high = SCALE_RANGE
    for k, (least, most) in enumerate(zip(smallest.tolist(), largest.tolist(), strict=True)):
        dense = spectral.basis is not None and 0 < spectral.rank == spectral.dim
        if least <= 0 or (dense and least * MAX_CONDITION < most):
            kind = "positive definite" if spectral.dim > 1 else "positive"
            cure = (
                f"Eigenvalues more than {MAX_CONDITION:.0e} apart are lost in the entries of a "
                "float64 matrix: use variances (K, d) or GaussianMixture.low_rank."
                if least > 0
                else "Add a small multiple of the identity, if a component has collapsed."
            )
            raise ValueError(
                f"covariances must be {kind}; component {k} has eigenvalues from {least:.3g} to "
                f"{most:.3g}. {cure}"
            )
        if least < low or most > high:
            raise ValueError(
                f"variances must lie within {low:.0e}..{high:.0e}; component {k} has "
                f"{least:.3g}..{most:.3g}. Rescale the data."
            )
    return spectral


def check_spread(means: Tensor) -> None:
    """Squared distances between means stay within :data:`SCALE_RANGE`."""
    if float(means.abs().max()) ** 2 * means.shape[1] > SCALE_RANGE[1]:
        raise ValueError(
            f"means must be below {SCALE_RANGE[1] ** 0.5:.0e} in size; received "
            f"{float(means.abs().max()):.3g}. Rescale the data."
        )


def _short(tensor: Tensor) -> str:
    values = [float(f"{v:.4g}") for v in tensor.flatten()[:6].tolist()]
    return f"{values}{'...' if tensor.numel() > 6 else ''}"
