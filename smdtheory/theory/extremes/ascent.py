r"""How close mixtures come to the caps of §6.3, by ascent in d = 1 (docs/theory.md §6.14).

With γ_t = 1 and γ_s = r (the scale of the data takes up the rest, §2.4) the error is a smooth
function of logits, means and log-variances. Closed forms of the densities of y_t and y_s and of
Cov(x_0|y_t) are averaged by the trapezoidal rule, and the gradient comes by autograd through both.
What the ascent finds are lattices, whose errors :mod:`smdtheory.theory.extremes.lattices` gives
in the limit. Copies carry the share of the cap to every d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from smdtheory.checks import instance, integer, is_list, shown
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family
from smdtheory.theory.bounds import first_order_cap, second_order_cap
from smdtheory.theory.extremes.lattices import check_ratio_family, worst_lattice
from smdtheory.truth.mixture import GaussianMixture

COMPONENTS = 15
"""K of the search."""

ROUNDS = 300
"""Steps of ascent from each start, at most."""

STEPS = 1 / 3, 1 / 6, 1 / 9
"""Steps of the trapezoidal rule, in widths of the narrowest component: search, check, value."""

REACH = 9.0
"""It stops at this many standard deviations of the outermost component."""

SPACINGS = 2.5, 3.5
"""Starts: lattices with these spacings in units of 1/√γ_t, with noise on them."""

LIMITS = (-12.0, 12.0), (-80.0, 80.0), (-16.0, 8.0)
"""Ranges of logits, means and log-variances."""


@dataclass(frozen=True)
class Extreme:
    """The worst mixture found for a family at one ratio.

    Attributes:
        mixture: in units of 1/√γ_t, so that γ_t = 1 and γ_s = r.
        error: its M(s,t), a scalar.
        cap: of the family for every data distribution (§6.3), in nats.
    """

    mixture: GaussianMixture
    error: Estimate
    cap: float

    @property
    def share(self) -> float:
        """M(s,t) over the cap."""
        return float(self.error) / self.cap


def worst_mixture(
    ratio: float,
    family: Family | str,
    *,
    components: int = COMPONENTS,
    generator: torch.Generator | None = None,
) -> Extreme:
    """Gradient ascent for the largest M(s,t) of a family over mixtures in d = 1 (§6.14).

    Args:
        ratio: r = γ_s/γ_t > 1.
        family: any but ``fixed_large``; ``isotropic_x`` and ``diagonal`` are ``full`` in d = 1.
        components: K.
        generator: for the noise on the starts; seeded with 0 if absent.

    Returns:
        The best of several starts. Nothing says that no mixture is worse.

    Raises:
        TypeError: for arguments of the wrong kind.
        ValueError: for r <= 1, K < 1, ``fixed_large`` or an unknown family.

    Example:
        >>> worst_mixture(2.0, "isotropic", components=2).share > 0.2
        True
    """
    name, r = check_ratio_family(family), _ratio(ratio)
    count = integer("components", components, low=1)
    random = torch.Generator().manual_seed(0) if generator is None else generator
    instance("generator", random, torch.Generator, "torch.Generator().manual_seed(0) makes one.")
    cap = float(first_order_cap(1, 1.0, r, name))
    found = [_ascend(_start(spacing, count, random), r, name, cap) for spacing in (*SPACINGS, None)]
    best = max(found, key=lambda each: each[1])[0]
    value, check = (float(_error(best, r, name, step)) for step in STEPS[:0:-1])
    logits, means, log_variances = best.reshape(3, -1)
    mixture = GaussianMixture(
        torch.softmax(logits, 0), means.unsqueeze(-1), log_variances.exp().unsqueeze(-1)
    )
    error = abs(value - check) + 64 * ROUNDING * (1 + abs(value))
    estimate = Estimate(
        torch.tensor(value, dtype=torch.float64),
        torch.tensor(error, dtype=torch.float64),
        "quadrature",
    )
    return Extreme(mixture, estimate, cap)


def worst_cases(
    ratios: Sequence[float],
    families: Sequence[Family | str] = ("fixed_small", "isotropic", "full"),
    *,
    components: int = COMPONENTS,
) -> list[dict[str, float | str]]:
    """Rows of the worst cases found against r = γ_s/γ_t, for :func:`smdtheory.plots.worst_case`.

    Args:
        ratios: r > 1, several.
        families: any but ``fixed_large``.
        components: K of the ascent.

    Returns:
        For each family and ratio: ``arm``, ``ratio``; ``cap`` (§6.3, in nats); ``share``, the M of
        the worst mixture found over the cap, with ``share_error``; ``lattice``, the same for the
        worst lattice in d = 1, the limit of many components; ``ceiling``, the second-order cap
        (§6.4) over the first, at most 1.

    Raises:
        TypeError: for arguments of the wrong kind.
        ValueError: as :func:`worst_mixture`.

    Example:
        >>> worst_cases([4.0], ["full"], components=2)[0]["arm"]
        'full'
    """
    for name, values in (("ratios", ratios), ("families", families)):
        if not is_list(values):
            raise TypeError(f"{name} must be a list; received {shown(values)}")
    rows: list[dict[str, float | str]] = []
    for family in families:
        for ratio in ratios:
            found = worst_mixture(ratio, family, components=components)
            lattice, spacing = worst_lattice(float(ratio), family)
            rows.append(
                {
                    "arm": str(family),
                    "ratio": float(ratio),
                    "cap": found.cap,
                    "share": found.share,
                    "share_error": float(found.error.error) / found.cap,
                    "lattice": float(lattice) / found.cap,
                    "spacing": spacing,
                    "ceiling": min(1.0, float(second_order_cap(1, 1.0, ratio)) / found.cap),
                }
            )
    return rows


def _ratio(ratio: float) -> float:
    if not isinstance(ratio, int | float) or isinstance(ratio, bool):
        raise TypeError(f"ratio must be a number above 1, γ_s/γ_t; received {shown(ratio)}")
    if not 1 < ratio <= 1e6:
        raise ValueError(
            f"ratio must lie above 1 and up to 1e6, γ_s/γ_t; received {shown(ratio)}. Lattices "
            "(worst_lattice) go further."
        )
    return float(ratio)


def _start(spacing: float | None, count: int, generator: torch.Generator) -> Tensor:
    """Logits, means and log-variances in one vector: a lattice with noise, or all at random."""
    noise = torch.randn(3, count, generator=generator, dtype=torch.float64)
    if spacing is None:
        return torch.stack([noise[0], math.sqrt(count) * noise[1], noise[2] - 2]).flatten()
    place = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    logits = -0.5 * (place / (count / 2.5)).square() + 0.05 * noise[0]
    return torch.stack([logits, spacing * place + 0.05 * noise[1], 0.5 * noise[2] - 4]).flatten()


def _ascend(start: Tensor, ratio: float, family: Family, cap: float) -> tuple[Tensor, float]:
    """The end of a quasi-Newton ascent, and M over the cap there."""

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.tensor(values, requires_grad=True)
        share = _error(theta, ratio, family, STEPS[0]) / cap
        (gradient,) = torch.autograd.grad(share, theta)
        return -share.item(), -gradient.numpy()

    count = len(start) // 3
    bounds = [limits for limits in LIMITS for _ in range(count)]
    found = minimize(
        loss, start.numpy(), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": ROUNDS, "maxfun": 2 * ROUNDS},
    )  # fmt: skip
    return torch.as_tensor(found.x, dtype=torch.float64), -float(found.fun)


def _error(theta: Tensor, ratio: float, family: Family, step: float) -> Tensor:
    """M(s,t) at γ_t = 1, γ_s = r, differentiable."""
    logits, means, log_variances = theta.reshape(3, -1)
    log_weights, variances = torch.log_softmax(logits, 0), log_variances.exp()
    _, _, after = _entropy(log_weights, means, variances + 1 / ratio, step)
    joint, y, before = _entropy(log_weights, means, variances + 1, step)
    gain_of_information = after - before + 0.5 * math.log(ratio)
    density = torch.logsumexp(joint, -1)
    share = torch.exp(joint - density.unsqueeze(-1))
    own = variances / (1 + variances)
    centres = means + own * (y.unsqueeze(-1) - means)
    offset = centres - (share * centres).sum(-1, keepdim=True)
    cov = (share * (own + offset.square())).sum(-1)
    mass = density.exp() * (y[1] - y[0])
    if family == "fixed_small":
        gross: Tensor = 0.5 * (ratio - 1) * (mass @ cov)
    elif family == "isotropic":
        gross = 0.5 * torch.log1p((ratio - 1) * (mass @ cov))
    else:
        gross = 0.5 * (mass @ torch.log1p((ratio - 1) * cov))
    error: Tensor = gross - gain_of_information
    return error


def _entropy(
    log_weights: Tensor, means: Tensor, variances: Tensor, step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """log w_k N(y; m_k, v_k) (n, K), the points y (n,), and the entropy of y."""
    with torch.no_grad():
        width = variances.sqrt()
        low, high = (means - REACH * width).min(), (means + REACH * width).max()
        spacing = step * float(width.min())
        y = low + spacing * torch.arange(math.ceil(float(high - low) / spacing) + 1).double()
    square = (y.unsqueeze(-1) - means).square() / variances
    joint = log_weights - 0.5 * (square + torch.log(2 * math.pi * variances))
    density = torch.logsumexp(joint, -1)
    return joint, y, -(density.exp() @ density) * spacing
