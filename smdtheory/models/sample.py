r"""Draws from a model: N(0, I), taken back along the chain by any denoiser.

The deterministic step (DDIM, docs/theory.md §8.5) needs the mean x̂_0 of the law of x_0 alone:

    x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s)/√(1 − ᾱ_t) (x_t − √ᾱ_t x̂_0) = √ᾱ_s (1 − κ) x̂_0 + c x_t

with κ² = γ_t/γ_s and c² = (1 + γ_t)/(1 + γ_s). From γ none of these cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import instance, integer, real_tensor, shown
from smdtheory.models.denoiser import Denoiser, model_law
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth.mixture import GaussianMixture

BATCH = 4096
"""Points taken back together."""

MAX_NUMBERS = 2**27
"""Most numbers in a result, 1 GiB in float64."""

DTYPES = (torch.float64, torch.float32)

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""x_s from x_t (n, d), γ_t and γ_s."""


def ancestral(
    denoiser: Denoiser,
    schedule: Schedule,
    count: int,
    *,
    dim: int | None = None,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
    trajectory: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> Tensor:
    """Independent draws of p(x_0): x_T ~ N(0, I), then x_{t−1} ~ p(x_{t−1} | x_t).

    Args:
        denoiser: p(x_s | x_t).
        schedule: the chain.
        count: number of draws.
        dim: d; needed where neither ``start`` nor the denoiser, by its ``mixture`` or its ``dim``,
            tells it.
        start: x_T (count, d), instead of draws of N(0, I).
        generator: source of randomness, on ``device``; torch's global one if absent. In the same
            state it gives the same draws, for the same ``batch``.
        trajectory: whether to return every x_t.
        dtype: in which the denoiser gets x_t: float64, or float32 for a network that does not
            convert it. Laws are drawn from in float64 either way.
        device: where x_t is, and the denoiser too.
        batch: points taken back together: beside the result, memory is needed for these only.

    Returns:
        x_0 (count, d), or with ``trajectory`` x_t (T+1, count, d), indexed by t.

    Raises:
        TypeError: if an argument is of the wrong kind, or the denoiser does not return a mixture.
        ValueError: if d is not known, ``start`` does not fit, or the result would be too large.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> ancestral(ExactPosterior(presets.ring(8)), Schedule.cosine(10), 100).shape
        torch.Size([100, 2])
    """

    def step(x_t: Tensor, snr_t: Tensor, snr_s: Tensor) -> Tensor:
        return denoiser.sample(x_t, snr_t, snr_s, generator=generator)

    x_T = _start(denoiser, schedule, count, dim, start, generator, trajectory, dtype, device)
    return _walk(step, schedule, x_T, trajectory, batch)


def ddim(
    denoiser: Denoiser,
    schedule: Schedule,
    count: int,
    *,
    dim: int | None = None,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
    trajectory: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> Tensor:
    """The deterministic sampler: x_T ~ N(0, I), then DDIM steps with the mean of the law of x_0.

    Source: Song, Meng and Ermon (2021), η = 0. Given x_T nothing is random.

    Args:
        denoiser: the law of x_0 given x_t, of which the mean is used.
        schedule: the chain.
        count: number of draws.
        dim: d, as in :func:`ancestral`.
        start: x_T (count, d), instead of draws of N(0, I).
        generator: source of randomness of x_T, on ``device``; torch's global one if absent. In the
            same state it gives the x_T of :func:`ancestral`.
        trajectory: whether to return every x_t.
        dtype: in which the denoiser gets x_t, as in :func:`ancestral`.
        device: where x_t is, and the denoiser too.
        batch: points taken back together; the result does not depend on it.

    Returns:
        x_0 (count, d), or with ``trajectory`` x_t (T+1, count, d), indexed by t.

    Raises:
        TypeError: if an argument is of the wrong kind, or the denoiser does not return a mixture.
        ValueError: if d is not known, ``start`` does not fit, or the result would be too large.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> model, x_T = ExactPosterior(presets.line(2)), torch.tensor([[-1.0], [1.0]])
        >>> ddim(model, Schedule.cosine(10), 2, start=x_T).mT
        tensor([[-1.0631,  1.0631]], dtype=torch.float64)
    """

    def step(x_t: Tensor, snr_t: Tensor, snr_s: Tensor) -> Tensor:
        clean = model_law(denoiser, x_t, snr_t, snr_t.new_tensor(math.inf)).mean
        ratio = snr_t / snr_s
        removed = torch.where(torch.isinf(snr_s), 1.0, (snr_s - snr_t) / snr_s)
        pull = removed / (1 + ratio.sqrt()) / torch.sqrt(1 + 1 / snr_s)
        return pull * clean + torch.sqrt((1 + snr_t) / (1 + snr_s)) * x_t

    x_T = _start(denoiser, schedule, count, dim, start, generator, trajectory, dtype, device)
    return _walk(step, schedule, x_T, trajectory, batch)


def _start(
    denoiser: Denoiser,
    schedule: Schedule,
    count: int,
    dim: int | None,
    start: Tensor | None,
    generator: torch.Generator | None,
    trajectory: bool,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """x_T (count, d), once all arguments are known to be right."""
    instance("denoiser", denoiser, Denoiser, "Subclass it and define x0(x_t, snr_t).")
    if not isinstance(trajectory, bool):
        raise TypeError(f"trajectory must be True or False; received {shown(trajectory)}")
    T, where = check_schedule(schedule).steps, _device(device)
    if generator is not None:
        cure = "torch.Generator().manual_seed(0) makes one."
        source = instance("generator", generator, torch.Generator, cure).device
        if source.type != where.type:
            raise ValueError(f"generator must be on device {where}; received one on {source}")
    if not isinstance(dtype, torch.dtype) or dtype not in DTYPES:
        raise TypeError(f"dtype must be torch.float64 or torch.float32; received {shown(dtype)}")
    given = None if start is None else real_tensor("start", start).detach()
    shape = integer("count", count, low=1), _dimension(denoiser, dim, given)
    levels = T + 1 if trajectory else 1
    if math.prod(shape) * levels > MAX_NUMBERS:
        raise ValueError(
            f"count times d, and times T + 1 for a trajectory, must be at most {MAX_NUMBERS}, to "
            f"fit in memory; received {shape[0]} · {shape[1]} · {levels}. Make several calls."
        )
    if given is None:
        return torch.randn(shape, generator=generator, dtype=dtype, device=where)
    if given.shape != shape:
        raise ValueError(
            f"start must have shape (count, d) = {shape}; received {tuple(given.shape)}"
        )
    return given.to(where, dtype)


def _dimension(denoiser: Denoiser, dim: int | None, start: Tensor | None) -> int:
    """d, from whoever tells it."""
    mixture = getattr(denoiser, "mixture", None)
    known = mixture.dim if isinstance(mixture, GaussianMixture) else None
    if dim is not None:
        wanted = integer("dim", dim, low=1)
        if known not in (None, wanted):
            raise ValueError(f"dim must be d = {known}, as the denoiser says; received {wanted}")
        return wanted
    if known is None:
        known = start.shape[-1] if start is not None and start.ndim else None
    if not known:
        known = getattr(denoiser, "dim", None)
    if known is None:
        raise ValueError(
            f"dim must be given: {type(denoiser).__name__} has neither a mixture nor a dim to "
            "tell d; received None"
        )
    return integer("denoiser.dim", known, low=1)


def _device(device: Any) -> torch.device:
    try:
        where = torch.empty(0, device=device).device
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise TypeError(f"device must be one that is there; received {shown(device)}") from error
    if where.type == "meta":
        raise TypeError("device must hold numbers; received 'meta'")
    return where


def _walk(step: Step, schedule: Schedule, x_T: Tensor, trajectory: bool, batch: int) -> Tensor:
    """From x_T back to x_0, ``batch`` points at a time."""
    rows, snr = integer("batch", batch, low=1), schedule.snr.to(x_T.device)
    path = x_T.new_empty(len(snr) if trajectory else 1, *x_T.shape)
    for points, kept in zip(torch.split(x_T, rows), torch.split(path, rows, 1), strict=True):
        x = points
        for t in range(schedule.steps, -1, -1):
            if t < schedule.steps:
                x = step(x, snr[t + 1], snr[t]).to(x)
            if t < len(path):
                kept[t] = x
    return path if trajectory else path[0]
