r"""Caps on the local error that need no integral (docs/theory.md §6.3 to §6.6, §6.8).

All are functions of the step (γ_t, γ_s) and of d or a few numbers of the mixture. With r = γ_s/γ_t,
β̃ and β of the step's bridge, λ the smallest eigenvalue of any component and v = tr Cov(x_0)/d:

    isotropic and below     M <= (d/2) log r                                        §6.3
    fixed_small             M <= (d/2) (r − 1)                                      §6.3
                            M <= (d(d+2)/2) (r − 1 − log r)                         §6.4
    fixed variance σ²       M <= (d/2) [log(σ²/β̃) + β_{t|s}/(α_{t|s} σ²) − 1]       §6.5
    isotropic and below     M <= (d/2) log(1 + g(λ) (v − λ)/(1 + γ_t v))            §6.6
    full, equal S_k         M <= (m/2) log(1 + g(λ)/γ_t),  m = min(d, K − 1)        §6.8

with g(λ) = Δγ/(1 + γ_s λ), which is 1/λ at s = 0: §6.6 and §6.8 in one fraction, so that they keep
their relative accuracy on small steps. "Below" are isotropic_x, diagonal and full. The first three
rows hold for every data distribution; at s = 0 the first four are infinite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdtheory.checks import broadcast, integer
from smdtheory.families import Family, check_family
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.theory.inputs import as_step, as_truth, as_variance
from smdtheory.truth.information import excess
from smdtheory.truth.mixture import GaussianMixture

EQUALITY_TOLERANCE = 1e-12
"""Covariances are equal when their entries differ by at most this, relative to the largest."""


def first_order_cap(
    dim: int,
    snr_t: float | Tensor,
    snr_s: float | Tensor,
    family: Family | str = "isotropic",
) -> Tensor:
    """A cap on M(s,t) that holds for every data distribution (docs/theory.md §6.3, §6.5).

    (d/2) log r for ``isotropic`` and the families below it, (d/2)(r − 1) for ``fixed_small``, and
    :func:`fixed_variance_cap` at σ² = β_{t|s} for ``fixed_large``.

    Args:
        dim: d.
        snr_t: γ_t, any shape.
        snr_s: γ_s > γ_t, broadcastable with ``snr_t``.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        The broadcast shape, in nats; infinite at s = 0.

    Raises:
        TypeError: for a d that is not an integer, or ratios that are not real numbers.
        ValueError: for d < 1, an unknown family, or unless 0 < γ_t < γ_s.

    Example:
        >>> first_order_cap(2, 1.0, [2.0, float("inf")])
        tensor([0.6931,    inf], dtype=torch.float64)
    """
    d = integer("dim", dim, low=1)
    gamma_t, gamma_s, step = as_step(snr_t, snr_s)
    name = check_family(family)
    if name == "fixed_large":
        return fixed_variance_cap(d, gamma_t, gamma_s, step.beta)
    rise = (gamma_s - gamma_t) / gamma_t
    return d / 2 * (rise if name == "fixed_small" else torch.log1p(rise))


def first_order_sum(dim: int, schedule: Schedule) -> Tensor:
    """Σ_{t>=2} M_t^isotropic <= (d/2) log(γ_1/γ_T), for every data distribution (§6.3).

    Args:
        dim: d.
        schedule: the forward chain.

    Returns:
        A scalar, in nats; 0 when T = 1.

    Raises:
        TypeError: for a d that is not an integer, or if ``schedule`` is not a schedule.
        ValueError: for d < 1.

    Example:
        >>> first_order_sum(2, Schedule.from_snr([8.0, 2.0, 1.0]))
        tensor(2.0794, dtype=torch.float64)
    """
    snr = check_schedule(schedule).snr
    return integer("dim", dim, low=1) / 2 * torch.log(snr[1] / snr[-1])


def second_order_cap(dim: int, snr_t: float | Tensor, snr_s: float | Tensor) -> Tensor:
    """M^fixed_small(s,t) <= (d(d+2)/2)(r − 1 − log r), for every data distribution (§6.4).

    By the order of the ladder it holds for ``isotropic`` and the families below it as well. On
    small steps it is smaller than :func:`first_order_cap`: the error is of second order.

    Args:
        dim: d.
        snr_t: γ_t, any shape.
        snr_s: γ_s > γ_t, broadcastable with ``snr_t``.

    Returns:
        The broadcast shape, in nats; infinite at s = 0.

    Raises:
        TypeError: for a d that is not an integer, or ratios that are not real numbers.
        ValueError: for d < 1, or unless 0 < γ_t < γ_s.

    Example:
        >>> second_order_cap(1, 1.0, 2.0)
        tensor(0.4603, dtype=torch.float64)
    """
    d = integer("dim", dim, low=1)
    gamma_t, gamma_s, _ = as_step(snr_t, snr_s)
    return d * (d + 2) / 2 * excess((gamma_s - gamma_t) / gamma_t)


def fixed_variance_cap(
    dim: int, snr_t: float | Tensor, snr_s: float | Tensor, variance: float | Tensor
) -> Tensor:
    """A cap on the error of N(E[x_s|x_t], σ² I), for every data distribution (§6.5).

    M^σ(s,t) <= (d/2) [log(σ²/β̃_{s|t}) + β_{t|s}/(α_{t|s} σ²) − 1]. It is least, (d/2) log r, at
    σ² = β_{t|s}/α_{t|s}.

    Args:
        dim: d.
        snr_t: γ_t, any shape.
        snr_s: γ_s > γ_t, broadcastable.
        variance: σ², of x_s in the variance-preserving chain, broadcastable.

    Returns:
        The broadcast shape, in nats; infinite at s = 0.

    Raises:
        TypeError: for a d that is not an integer, or other input that is not real numbers.
        ValueError: for d < 1, unless 0 < γ_t < γ_s, or unless σ² is positive and finite.

    Example:
        >>> fixed_variance_cap(1, 1.0, 2.0, [0.1, 0.25, 1.0])
        tensor([0.9113, 0.3694, 0.5625], dtype=torch.float64)
    """
    d = integer("dim", dim, low=1)
    gamma_t, gamma_s, step = as_step(snr_t, snr_s)
    sigma2 = as_variance(variance)
    broadcast(snr_t=gamma_t.shape, variance=sigma2.shape)
    removed = step.beta * (1 + gamma_t)  # Δγ/γ_s, which is 1 at s = 0
    loose = removed / (gamma_t * (1 + 1 / gamma_s))  # β_{t|s}/α_{t|s}
    return d / 2 * (torch.log(sigma2 / step.variance) + loose / sigma2 - 1)


def eigenvalue_cap(
    mixture: GaussianMixture,
    snr_t: float | Tensor,
    snr_s: float | Tensor,
    *,
    sharp: bool = True,
) -> Tensor:
    """A cap on M^isotropic(s,t) by the smallest eigenvalue λ of any component (§6.6).

    With v = tr Cov(x_0)/d, (d/2) log[(v + 1/γ_s)(λ + 1/γ_t) / ((v + 1/γ_t)(λ + 1/γ_s))], or the
    weaker (d/2) log[(λ + 1/γ_t)/(λ + 1/γ_s)], which is its limit for large v. Both hold for the
    families below ``isotropic`` too.

    Args:
        mixture: q(x_0).
        snr_t: γ_t, any shape.
        snr_s: γ_s > γ_t, broadcastable with ``snr_t``, infinite for s = 0.
        sharp: the first form (default), or the second.

    Returns:
        The broadcast shape, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or the ratios are not real numbers.
        ValueError: if ``mixture`` has batch dimensions, or unless 0 < γ_t < γ_s.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> eigenvalue_cap(q, 1.0, [2.0, float("inf")])
        tensor([0.1298, 0.5108], dtype=torch.float64)
    """
    q = as_truth(mixture)
    gamma_t, gamma_s, _ = as_step(snr_t, snr_s)
    least, v = _smallest(q), q.total_variance / q.dim
    room = (v - least) / (1 + gamma_t * v) if sharp else 1 / gamma_t
    return q.dim / 2 * torch.log1p(_reach(gamma_t, gamma_s, least) * room)


def eigenvalue_sum(mixture: GaussianMixture, schedule: Schedule | None = None) -> Tensor:
    """Σ_{t>=1} M_t^isotropic <= (d/2) log[(v/λ)(1 + γ_T λ)/(1 + γ_T v)] <= (d/2) log(v/λ) (§6.6).

    Args:
        mixture: q(x_0).
        schedule: the forward chain; without it, the second form, which holds for every chain.

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` not a schedule.
        ValueError: if ``mixture`` has batch dimensions.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> eigenvalue_sum(q)
        tensor(0.8047, dtype=torch.float64)
    """
    if schedule is not None:
        return eigenvalue_cap(mixture, check_schedule(schedule).snr[-1], torch.inf)
    q = as_truth(mixture)
    return q.dim / 2 * torch.log(q.total_variance / q.dim / _smallest(q))


def equal_covariance_cap(
    mixture: GaussianMixture,
    snr_t: float | Tensor,
    snr_s: float | Tensor,
    *,
    sharp: bool = True,
) -> Tensor:
    """A cap on M^full(s,t) when all components have one covariance S (docs/theory.md §6.8).

    With m = min(d, K − 1) and λ the smallest eigenvalue of S,
    (m/2) log[(λ + 1/γ_t)/(λ + 1/γ_s)] <= (m/2) log r. Two modes of equal shape cost at most
    ½ log r a step in any dimension.

    Args:
        mixture: q(x_0), K components.
        snr_t: γ_t, any shape.
        snr_s: γ_s > γ_t, broadcastable with ``snr_t``, infinite for s = 0.
        sharp: the first form (default), or the second, which is infinite at s = 0.

    Returns:
        The broadcast shape, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or the ratios are not real numbers.
        ValueError: if the covariances differ, ``mixture`` has batch dimensions, or unless
            0 < γ_t < γ_s.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], 0.25)
        >>> equal_covariance_cap(q, 1.0, [2.0, float("inf")])
        tensor([0.2554, 0.8047], dtype=torch.float64)
    """
    q = as_truth(mixture)
    gamma_t, gamma_s, _ = as_step(snr_t, snr_s)
    if not equal_covariances(q):
        raise ValueError(
            "equal_covariance_cap needs one covariance shared by all components; received "
            "components that differ. Use eigenvalue_cap or negentropy_cap."
        )
    m = min(q.dim, q.num_components - 1)
    if m == 0:
        return torch.zeros_like(gamma_t)
    floor = _smallest(q) if sharp else gamma_t.new_zeros(())
    return m / 2 * torch.log1p(_reach(gamma_t, gamma_s, floor) / gamma_t)


def equal_covariances(mixture: GaussianMixture) -> bool:
    """Whether all components have one covariance, to within :data:`EQUALITY_TOLERANCE`."""
    spectral = mixture.spectral
    aligned = spectral.basis is None or spectral.is_isotropic
    forms = spectral.diagonals() if aligned else spectral.matrices()
    largest = forms.abs().amax()
    return bool(((forms - forms[:1]).abs() <= EQUALITY_TOLERANCE * largest).all())


def _smallest(mixture: GaussianMixture) -> Tensor:
    """λ, the smallest eigenvalue of any component."""
    return mixture.spectral.smallest().min()


def _reach(gamma_t: Tensor, gamma_s: Tensor, floor: Tensor) -> Tensor:
    """g(λ) = Δγ/(1 + γ_s λ), and its limit 1/λ at γ_s = ∞."""
    finite = torch.where(torch.isinf(gamma_s), gamma_t, gamma_s)
    return torch.where(torch.isinf(gamma_s), 1 / floor, (finite - gamma_t) / (1 + finite * floor))
