"""Every cap of docs/theory.md §6 along a chain, and the smallest of them at each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family, check_family
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.theory.bounds import (
    eigenvalue_cap,
    equal_covariance_cap,
    equal_covariances,
    first_order_cap,
    second_order_cap,
)
from smdtheory.theory.inputs import as_truth
from smdtheory.theory.negentropy import negentropy_cap
from smdtheory.truth.mixture import GaussianMixture

CONFIDENCE = 0.99
"""Caps are compared by the upper ends of their intervals at this level."""


@dataclass(frozen=True)
class LocalCap:
    """The smallest cap on each M_t.

    Attributes:
        cap: (T+1,), in nats, entry 0 equal to 0.
        source: T + 1 names of the functions the caps come from, entry 0 empty.
    """

    cap: Estimate
    source: tuple[str, ...]


def local_caps(
    mixture: GaussianMixture, schedule: Schedule, family: Family | str
) -> dict[str, Estimate]:
    """Every cap that applies to a family's M_t, by the name of its function (§6.3 to §6.8).

    ``fixed_small`` is given the variance β_1 at s = 0, as ``fixed_large`` is, so that its last
    step has the negentropy cap of that family.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        Each of shape (T+1,), in nats, entry 0 equal to 0; infinite where a cap does not apply.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` not a schedule.
        ValueError: if ``mixture`` has batch dimensions, or for an unknown family.

    Example:
        >>> from smdtheory.truth import presets
        >>> list(local_caps(presets.line(4), Schedule.cosine(10), "fixed_large"))
        ['first_order_cap', 'negentropy_cap']
    """
    q, name = as_truth(mixture), check_family(family)
    snr = check_schedule(schedule).snr
    step = snr[1:], snr[:-1]
    caps = {"first_order_cap": _known(first_order_cap(q.dim, *step, name))}
    if name != "fixed_large":
        caps["second_order_cap"] = _known(second_order_cap(q.dim, *step))
    if name == "fixed_small":
        last = negentropy_cap(q, snr[1:2], snr[:1], "fixed_large")
        caps["negentropy_cap"] = _padded(last, len(snr))
        return caps
    caps["negentropy_cap"] = _padded(negentropy_cap(q, *step, name), len(snr))
    if name != "fixed_large":
        caps["eigenvalue_cap"] = _known(eigenvalue_cap(q, *step))
    if name == "full" and equal_covariances(q):
        caps["equal_covariance_cap"] = _known(equal_covariance_cap(q, *step))
    return caps


def local_cap(mixture: GaussianMixture, schedule: Schedule, family: Family | str) -> LocalCap:
    """The smallest of :func:`local_caps` at each t (docs/theory.md §6.3 to §6.8).

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        The caps (T+1,), in nats, and where each comes from.

    Raises:
        TypeError: as :func:`local_caps`.
        ValueError: as :func:`local_caps`.

    Example:
        >>> from smdtheory.truth import presets
        >>> local_cap(presets.line(4), Schedule.cosine(100), "full").source[1]
        'negentropy_cap'
    """
    caps = local_caps(mixture, schedule, family)
    names, parts = list(caps), list(caps.values())
    best = torch.stack([part.interval(CONFIDENCE)[1] for part in parts]).argmin(0)
    value, error = (
        torch.stack([getattr(part, field) for part in parts]).gather(0, best[None])[0]
        for field in ("value", "error")
    )
    source = ("", *(names[i] for i in best[1:].tolist()))
    return LocalCap(Estimate(value, error, "bound"), source)


def _known(steps: Tensor) -> Estimate:
    """A closed form at t = 1..T as an estimate (T+1,)."""
    value = torch.cat([steps.new_zeros(1), steps])
    error = torch.where(torch.isinf(value), 0.0, ROUNDING * value.abs())
    return Estimate(value, error, "closed form")


def _padded(steps: Estimate, length: int) -> Estimate:
    """An estimate at t = 1, 2, ... with 0 at t = 0 and infinity where nothing is known."""

    def pad(values: Tensor, beyond: float) -> Tensor:
        end = values.new_full((*values.shape[:-1], length - 1 - values.shape[-1]), beyond)
        return torch.cat([torch.zeros_like(values[..., :1]), values, end], -1)

    replicates = None if steps.replicates is None else pad(steps.replicates, torch.inf)
    return Estimate(pad(steps.value, torch.inf), pad(steps.error, 0.0), steps.method, replicates)
