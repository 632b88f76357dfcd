r"""Mixtures whose local errors pass a given level, each with a certificate (docs/theory.md §6.13).

For t = 1 alone two thin modes do, in every family. For t >= 2 every family is capped in a fixed
dimension (§6.3 to §6.5), so d has to grow: m independent copies of a base have m times its error,
and the product, which has K^m components, is never listed. Certificates are closed forms, or
integrals in one variable with a proved bound on their error
(:mod:`smdtheory.theory.witness.bases`); they come from no measurement. :func:`remeasured` is the
independent route.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from smdtheory.checks import instance, integer, is_list, shown
from smdtheory.estimate import Estimate
from smdtheory.families import Family, check_family
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.theory.bounds import first_order_cap, second_order_cap
from smdtheory.theory.witness.bases import one_gaussian, pairs, two_modes
from smdtheory.theory.witness.certificate import NoWitnessError, Witness, check_level


def witness(
    level: float,
    schedule: Schedule,
    family: Family | str,
    *,
    steps: Literal["all"] | int | Sequence[int] = "all",
    max_dim: int | None = None,
) -> Witness:
    """A mixture with M_t > N for each t asked for, whatever the member of the family (§6.13).

    The paper's Theorem 3.1 with its quantifiers in the order that makes it true: N and the schedule
    first, then the dimension and the mixture.

    Args:
        level: N > 0, in nats; at most 1e12.
        schedule: the forward chain, T steps.
        family: one of :data:`smdtheory.families.FAMILIES`.
        steps: the t asked for: "all", one, or several.
        max_dim: the largest dimension allowed; any by default.

    Returns:
        The witness, with a certificate of shape (T+1,). A witness for ``full`` is one for every
        family (§5.5).

    Raises:
        NoWitnessError: if the caps exclude one in ``max_dim`` dimensions, or if the one found needs
            more of them; the message says which, and the cap.
        TypeError: for arguments of the wrong kind.
        ValueError: for N out of range, an unknown family, or t out of range.

    Example:
        >>> chain = Schedule.cosine(10)
        >>> witness(10.0, chain, "full", steps=1).copies
        1
        >>> witness(1.0, chain, "isotropic").dim
        42
    """
    floor, chain, name = check_level(level), check_schedule(schedule), check_family(family)
    asked = _asked(steps, chain)
    most = None if max_dim is None else integer("max_dim", max_dim, low=1)
    if most is not None:
        _check_caps(floor, chain, name, asked, most)
    if asked == [1]:
        found = two_modes(floor, chain)
    elif name == "full" or most == 1:
        found = pairs(floor, chain, asked)
    else:
        found = one_gaussian(floor, chain, name, asked)
    if most is not None and found.dim > most:
        raise NoWitnessError(
            f"No witness found in d <= {most}: the one built for {name} needs d = {found.dim}, "
            f"{found.copies} copies in d = {found.base.dim}. The caps do not exclude that one "
            "exists. Raise max_dim, or lower N."
        )
    return found


def remeasured(found: Witness, schedule: Schedule, family: Family | str) -> Estimate:
    """The errors M_t of a witness by measurement: copies times those of the base.

    Exact for every family but ``isotropic_x``, where it is a lower bound (§6.13). The independent
    route to a certificate: nothing in :func:`witness` uses it.

    Args:
        found: from :func:`witness`.
        schedule: the forward chain.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        Shape (T+1,), in nats.

    Raises:
        TypeError: for arguments of the wrong kind.
        ValueError: for an unknown family.

    Example:
        >>> chain = Schedule.cosine(10)
        >>> found = witness(1.0, chain, "full", steps=1)
        >>> bool(remeasured(found, chain, "full").value[1] > found.certificate.value[1])
        True
    """
    copies = instance("found", found, Witness, "witness returns one.").copies
    return best_gaussian_errors(found.base, schedule, family).map(lambda value: copies * value)


def dimension_cap(dim: int, schedule: Schedule, family: Family | str) -> Tensor:
    """The least cap on M_t that holds for every data distribution in d dimensions (§6.3 to §6.5).

    Args:
        dim: d.
        schedule: the forward chain.
        family: one of :data:`smdtheory.families.FAMILIES`.

    Returns:
        Shape (T+1,), in nats; 0 at t = 0 and infinite at t = 1.

    Raises:
        TypeError: for arguments of the wrong kind.
        ValueError: for d < 1 or an unknown family.

    Example:
        >>> dimension_cap(1, Schedule.from_snr([4.0, 2.0]), "full")
        tensor([0.0000,    inf, 0.3466], dtype=torch.float64)
    """
    snr = check_schedule(schedule).snr
    cap = first_order_cap(dim, snr[1:], snr[:-1], family)
    if family != "fixed_large":
        cap = torch.minimum(cap, second_order_cap(dim, snr[1:], snr[:-1]))
    return torch.cat([cap.new_zeros(1), cap])


def _asked(steps: Any, schedule: Schedule) -> list[int]:
    """The t asked for, in order."""
    if isinstance(steps, str):
        if steps != "all":
            raise ValueError(f'steps must be "all", one t or a list of t; received {shown(steps)}')
        return list(range(1, schedule.steps + 1))
    every = list(steps) if is_list(steps) else [steps]
    if not every:
        raise ValueError('steps must name at least one t; received none. "all" means t = 1..T.')
    return sorted({schedule.check_step(t, None)[0] for t in every})


def _check_caps(
    level: float, schedule: Schedule, family: Family, asked: list[int], dim: int
) -> None:
    """Refuse what the caps exclude, with the cap."""
    caps = dimension_cap(dim, schedule, family)[asked]
    least = int(caps.argmin())
    if float(caps[least]) <= level:
        raise NoWitnessError(
            f"No mixture in d <= {dim} has M_t > {level:g} at every t asked for: at t = "
            f"{asked[least]} the error of {family} at its best is at most {float(caps[least]):.6g} "
            "nats for every data distribution (docs/theory.md §6.3 to §6.5). Allow a larger "
            "max_dim, or ask for t = 1 alone."
        )
