r"""Two equal modes of one width: the error of the best Gaussian, with a proved error bound (§6.13).

For modes at ±a in d = 1 with variance σ², let δ_γ = 2a/√(σ² + 1/γ) be their distance at the level γ
in units of their width there. With L = δ_t²/2 + δ_t z, z standard normal, ρ = 1/(1 + e^{−L}) and
B(δ) the mean of the binary entropy H(ρ),

    M^full(s,t) = ½ E log(1 + (δ_s² − δ_t²) ρ(1 − ρ)) − [B(δ_t) − B(δ_s)],   s >= 0.

Both integrands are analytic and bounded for |Im L| <= π/2, so the trapezoidal rule has an error
that is bounded, not estimated. In d = 1 ``isotropic_x`` and ``diagonal`` are ``full``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from smdtheory.checks import broadcast, positive, shown
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.theory.inputs import double

REACH = 10.0
"""The trapezoidal rule stops at this many standard deviations; 2e-23 of the mass lies beyond."""

STEP = 0.02
"""Its step: the bound on its error is below 2e-16 for distances up to :data:`FAR`."""

STEPS = (1e-4, 1.0)
"""Range of the step: shorter ones take memory and no error away."""

FAR = 12.0
"""Modes farther apart than this, in widths, are told apart but for 1e-8: B counts as 0 there."""


def pair_error(near: float | Tensor, far: float | Tensor, *, step: float = STEP) -> Estimate:
    """A lower bound on M^full(s,t) of two equal modes of one width (docs/theory.md §6.13).

    It is M itself, to within ``error``, where δ_s <= :data:`FAR`; beyond, it leaves out the term
    B(δ_s) >= 0, and where δ_t > :data:`FAR` as well it is 0.

    Args:
        near: δ_t, the distance of the modes at the noisier level in units of their width there,
            any shape; at least 0.
        far: δ_s > δ_t, the same at the other level, broadcastable; 2a/σ for s = 0.
        step: of the trapezoidal rule in z.

    Returns:
        The broadcast shape, in nats. ``error`` bounds the error of quadrature, which is proved,
        and allows for rounding.

    Raises:
        TypeError: for distances or a step that are not real numbers.
        ValueError: unless 0 <= δ_t < δ_s and the step is within :data:`STEPS`.

    Example:
        >>> pair_error(1.5, 3.0)
        0.034629388... ± ... (bound)
    """
    low, high = double("near", near), double("far", far)
    size = broadcast(near=low.shape, far=high.shape)
    low, high = low.expand(size), high.expand(size)
    if not bool(((low >= 0) & (low < high)).all()):
        raise ValueError(
            "near and far must be distances with 0 <= near < far: noise brings modes together; "
            f"received {low.flatten()[:3].tolist()} and {high.flatten()[:3].tolist()}"
        )
    width = positive("step", step, *STEPS)
    apart = low > FAR
    low = torch.where(apart, 0.0, low)  # not used there
    gain = (high - low) * (high + low)
    spread, error = _mean(
        low,
        width,
        lambda one, other: 0.5 * torch.log1p(gain.unsqueeze(-1) * one * other),
        0.5 * torch.minimum(gain / 2, torch.log1p(gain / 2) + math.pi / 2),
        0.5 * torch.log1p(gain / 4),
    )
    before, before_error = _label_entropy(low, width)
    after, after_error = _label_entropy(high, width)
    value = spread - before + after
    error = error + before_error + after_error + ROUNDING * (1 + spread)
    return Estimate(
        torch.where(apart, 0.0, value).clone(), torch.where(apart, 0.0, error).clone(), "bound"
    )


def pair_floor(distance: float | Tensor, thinness: float | Tensor) -> Tensor:
    """A lower bound on M^full(0,t) of two equal modes, in closed form (docs/theory.md §6.13).

    log(δ/(4√u)) − ½ √(δ⁴/4 + δ²) with u = σ²γ_t. It grows by log 10 for each factor of 10 in the
    std.

    Args:
        distance: δ = δ_t.
        thinness: u.

    Returns:
        The broadcast shape, in nats. Where it is negative it says nothing.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: unless they are positive and finite.

    Example:
        >>> pair_floor(1.3, 1e-12)
        tensor(11.9163, dtype=torch.float64)
    """
    delta, u = double("distance", distance), double("thinness", thinness)
    for name, value in (("distance", delta), ("thinness", u)):
        if not bool(((value > 0) & torch.isfinite(value)).all()):
            raise ValueError(f"{name} must be positive and finite; received {shown(value)}")
    half = 0.5 * delta.square()
    return torch.log(delta / 4) - 0.5 * torch.log(u) - 0.5 * (half.square() + 2 * half).sqrt()


def _label_entropy(distance: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """B(δ), 0 beyond FAR, and a bound on the error of its quadrature."""
    known = distance <= FAR
    delta = torch.where(known, distance, 0.0)

    def entropy(one: Tensor, other: Tensor) -> Tensor:
        found: Tensor = torch.special.entr(one) + torch.special.entr(other)
        return found

    full = torch.full_like(delta, math.pi), torch.full_like(delta, math.log(2))
    value, error = _mean(delta, step, entropy, *full)
    return torch.where(known, value, 0.0), torch.where(known, error, 0.0)


def _mean(
    delta: Tensor,
    step: float,
    function: Callable[[Tensor, Tensor], Tensor],
    strip: Tensor,
    line: Tensor,
) -> tuple[Tensor, Tensor]:
    """E f(ρ, 1 − ρ) by the trapezoidal rule, and a bound on its error.

    ``strip`` bounds |f| for |Im L| <= π/2, ``line`` on the real axis.
    """
    count = math.ceil(REACH / step)
    z = step * torch.arange(-count, count + 1, dtype=torch.float64)
    logit = 0.5 * delta.unsqueeze(-1).square() + delta.unsqueeze(-1) * z
    weights = step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z.square())
    value = (function(torch.sigmoid(logit), torch.sigmoid(-logit)) * weights).sum(-1)
    height = torch.clamp(0.5 * math.pi / delta, max=2.0)
    lattice = (
        2 * strip * torch.exp(0.5 * height.square()) / torch.expm1(2 * math.pi * height / step)
    )
    tail = 2 * line * math.erfc((REACH - step) / math.sqrt(2))
    return value, lattice + tail
