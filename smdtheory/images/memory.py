"""Memory that is not there: one error for all the ways of saying so, with an option that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

ALLOCATOR = "can't allocate memory"
"""In what torch says on a CPU; it is a plain RuntimeError there."""


@contextmanager
def held_in(device: object, what: str, received: str, cure: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory into a message.

    Args:
        device: whose memory.
        what: must fit.
        received: how much of it there is.
        cure: what to do, worked out if it comes to that.

    Raises:
        MemoryError: in place of torch's and numpy's errors.

    Example:
        >>> with held_in("cpu", "a batch", "8 images", lambda: "Take fewer."):
        ...     raise torch.OutOfMemoryError
        Traceback (most recent call last):
        MemoryError: a batch must fit in the memory of cpu; received 8 images, which do not. Take...
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError) or ALLOCATOR in str(error)
        if not full:
            raise
        raise MemoryError(
            f"{what} must fit in the memory of {device}; received {received}, which do not. "
            f"{cure()}"
        ) from error
