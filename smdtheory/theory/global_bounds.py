r"""Bounds on the global error E = KL(q_0 ‖ p_0) (docs/theory.md §6.9 to §6.11)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import instance
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.theory.inputs import as_truth, as_variance
from smdtheory.truth import validate
from smdtheory.truth.information import entropy
from smdtheory.truth.mixture import GaussianMixture


def chain_rule_cap(prior_gap: Estimate, local_errors: Estimate) -> Estimate:
    """E <= KL(q_T ‖ p_T) + Σ_t M_t (docs/theory.md §6.9).

    Args:
        prior_gap: KL(q_T ‖ p_T), a scalar.
        local_errors: M_t of any denoiser, (T+1,) with entry 0 equal to 0.

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: if one of them is not an estimate.
        ValueError: for other shapes, or if entry 0 is not 0.

    Example:
        >>> known = lambda x: Estimate(torch.tensor(x), torch.zeros(torch.tensor(x).shape), "bound")
        >>> chain_rule_cap(known(0.25), known([0.0, 0.5, 0.25]))
        1 ± 0 (bound)
    """
    for name, estimate in (("prior_gap", prior_gap), ("local_errors", local_errors)):
        instance(name, estimate, Estimate, "smdtheory.measure returns them.")
    if prior_gap.value.ndim:
        shape = tuple(prior_gap.value.shape)
        raise ValueError(f"prior_gap must be one number; received shape {shape}")
    errors = local_errors.value
    if errors.ndim != 1 or len(errors) < 2 or float(errors[0]) != 0:
        raise ValueError(
            "local_errors must have shape (T+1,), indexed by t, with entry 0 equal to 0; received "
            f"shape {tuple(errors.shape)} and {errors.flatten()[:3].tolist()}"
        )
    return prior_gap + local_errors.sum()


def data_processing_floor(q_masses: Any, p_masses: Any) -> Tensor:
    """E >= Σ_i q_0(A_i) log(q_0(A_i)/p_0(A_i)) on any partition A_1, ..., A_n (§6.10).

    For one event A pass [q_0(A), 1 − q_0(A)] and [p_0(A), 1 − p_0(A)]. The masses must be exact:
    with masses estimated from samples this is biased upward, and no bound; with p_0(A) rounded to
    0 it is infinite.

    Args:
        q_masses: (n,), not negative, summing to 1.
        p_masses: (n,), likewise.

    Returns:
        A scalar, in nats; infinite if p_0 misses a cell of q_0.

    Raises:
        TypeError: for masses that are not real numbers.
        ValueError: for masses that are negative, do not sum to 1, or do not match in number.

    Example:
        >>> data_processing_floor([0.5, 0.5], [0.9, 0.1])
        tensor(0.5108, dtype=torch.float64)
    """
    q, p = _masses("q_masses", q_masses), _masses("p_masses", p_masses)
    if len(q) != len(p):
        raise ValueError(
            f"q_masses and p_masses must be of the same partition; received {len(q)} and "
            f"{len(p)} cells"
        )
    positive = q > 0
    relative = torch.where(positive, q * torch.log(torch.where(positive, q, 1.0) / p), 0.0)
    return (relative - q + p).sum()  # terms that are not negative: no cancellation


def fixed_variance_floor(mixture: GaussianMixture, variance: float | Tensor) -> Estimate:
    """E >= (d/2) log(2πσ_1²) − h(q_0) if every p(x_0|x_1) has variance σ_1² (§6.11).

    Whatever the means are and whatever came before. It binds every mixture, finite or continuous,
    of Gaussians with covariance σ_1² I or larger, a soft mixture with that last kernel included.
    Where it is negative it says nothing.

    Args:
        mixture: q(x_0).
        variance: σ_1², any shape.

    Returns:
        The shape of ``variance``, in nats. Its error is that of h(q_0).

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``variance`` not made of real numbers.
        ValueError: if ``mixture`` has batch dimensions, or unless σ_1² is positive and finite.

    Example:
        >>> fixed_variance_floor(GaussianMixture([1.0], [[0.0]], 1e-6), 0.01)
        4.10517... ± ... (closed form)
    """
    q = as_truth(mixture)
    height = 0.5 * q.dim * torch.log(2 * math.pi * as_variance(variance))
    h = entropy(q)
    if h.replicates is not None:
        levels = h.replicates.reshape(-1, *[1] * height.ndim)
        return Estimate.from_replicates(height - levels)
    value = height - h.value
    return Estimate(value, h.error + ROUNDING * (height.abs() + h.value.abs()), h.method)


def _masses(name: str, masses: Any) -> Tensor:
    """The masses of a partition, under the rules that weights obey."""
    try:
        checked = validate.check_weights(masses)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("weights", name)) from None
    return checked.to(torch.float64)
