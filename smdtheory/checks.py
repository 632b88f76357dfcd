"""What an argument must be, said once: a number, an array, an object, a function.

Every message gives the rule, what was received, and the usual cure. This is the lowest room: it
imports nothing of the package.
"""

from __future__ import annotations

import inspect
import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

MAX_INTEGER = 2**31
"""Counts beyond this are mistakes: no array of such a length fits in memory."""


def shown(value: Any) -> str:
    """``repr(value)`` on one line, cut at 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def integer(name: str, value: Any, low: int | None = None) -> int:
    """A whole number, from ``low`` on if given.

    Raises:
        TypeError: if ``value`` is not an integer; booleans are not.
        ValueError: if it is below ``low``, or beyond :data:`MAX_INTEGER`.

    Example:
        >>> integer("modes", 8, low=1)
        8
    """
    boolean = isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool
    try:
        number = None if boolean else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None:
        raise TypeError(f"{name} must be an integer; received {shown(value)}")
    if low is not None and number < low:
        raise ValueError(f"{name} must be at least {low}; received {number}")
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{name} must be at most {MAX_INTEGER}; received {shown(value)}")
    return number


def positive(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """A positive, finite number within ``low``..``high``.

    Raises:
        TypeError: if ``value`` is not a number; booleans are not.
        ValueError: if it is not positive and finite, or out of range.

    Example:
        >>> positive("std", 0.1)
        0.1
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; received {shown(value)}")
    if not (0 < value < math.inf and low <= value <= high) or value > sys.float_info.max:
        within = f" and lie within {low:g}..{high:g}" if high < math.inf else ""
        raise ValueError(f"{name} must be positive and finite{within}; received {shown(value)}")
    return float(value)


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within ``low``..``high``.

    Raises:
        TypeError: if ``value`` is not a number; booleans are not.
        ValueError: if it is not finite, or out of range.

    Example:
        >>> number("weight_decay", 0, low=0)
        0.0
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; received {shown(value)}")
    if not (low <= value <= high and abs(value) <= sys.float_info.max):
        raise ValueError(
            f"{name} must be finite and lie within {low:g}..{high:g}; received {shown(value)}"
        )
    return float(value)


def real_tensor(name: str, value: Any, *, finite: bool = True) -> Tensor:
    """``value`` as a float64 tensor (a floating tensor keeps its dtype).

    Raises:
        TypeError: if it is not a dense array of real numbers.
        ValueError: if it contains NaN, or infinity where ``finite``.

    Example:
        >>> real_tensor("x", [1, 2])
        tensor([1., 2.], dtype=torch.float64)
    """
    try:
        tensor = value if isinstance(value, Tensor) else _from_array(value)
        if tensor.is_complex() or tensor.dtype == torch.bool or tensor.is_quantized:
            raise TypeError(tensor.dtype)
        if tensor.layout != torch.strided or tensor.is_meta:
            raise TypeError(tensor.layout)
        tensor = tensor if tensor.is_floating_point() else tensor.to(torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(
            f"{name} must be a dense array of real numbers; received {shown(value)}"
        ) from error
    low, high = extremes(tensor)
    if math.isnan(low) or (finite and math.isinf(max(high, -low))):
        rule = "be finite" if finite else "not contain NaN"
        raise ValueError(f"{name} must {rule}; received {shown(value)}")
    return tensor


def extremes(tensor: Tensor) -> tuple[float, float]:
    """The least and the largest entry, both NaN if there is one; 0 and 0 if there are none.

    Example:
        >>> extremes(torch.tensor([3.0, -1.0]))
        (-1.0, 3.0)
    """
    if tensor.numel() == 0:
        return 0.0, 0.0
    low, high = tensor.detach().aminmax()
    return float(low), float(high)


def _from_array(value: Any) -> Tensor:
    """A float64 tensor from nested lists or a numpy array of any memory layout."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(array.dtype)
    return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))


def shape(name: str, value: Any) -> torch.Size:
    """A shape: one whole number or several, none negative.

    Raises:
        TypeError: if they are not integers.
        ValueError: if one is negative, or their product too large for an index.

    Example:
        >>> shape("sample_shape", 5)
        torch.Size([5])
    """
    sizes = [integer(name, size, low=0) for size in (value if is_list(value) else (value,))]
    if math.prod(sizes) >= 2**63:
        raise ValueError(f"{name} must have a product below 2**63; received {shown(value)}")
    return torch.Size(sizes)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether ``value`` is a sequence or a one-dimensional array."""
    if isinstance(value, str | bytes):
        return False
    return isinstance(value, Sequence) or getattr(value, "ndim", None) == 1


def instance(name: str, value: Any, kind: type[T], cure: str) -> T:
    """``value`` itself, if it is an instance of ``kind``.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be a {kind.__name__}; received {shown(value)} of type "
            f"{type(value).__name__}. {cure}"
        )
    return value


def called(name: str, function: Callable[..., T], arguments: str, *values: Any) -> T:
    """``function(*values)``, where the function is itself an argument.

    Args:
        name: of that argument.
        function: it.
        arguments: what it is called with, in words.
        values: what it is called with.

    Raises:
        TypeError: if it cannot be called so. What is raised inside it goes through as it is.

    Example:
        >>> called("schedule", lambda T: 2 * T, "T", 10)
        20
    """
    try:
        return function(*values)
    except TypeError as error:
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None and _takes(function, values):
            raise
        raise TypeError(
            f"{name} must be a function, called as {name}({arguments}); received "
            f"{shown(function)}: {error}"
        ) from error


def _takes(function: Any, values: tuple[Any, ...]) -> bool:
    """Whether so many arguments fit; a module passes them on to its ``forward``."""
    try:
        inspect.signature(getattr(function, "forward", function)).bind(*values)
    except TypeError:
        return False
    except ValueError:  # it does not say what it takes
        return True
    return True


def broadcast(**shapes: torch.Size) -> torch.Size:
    """The common shape of arguments, given by name.

    Raises:
        ValueError: if they do not broadcast.
    """
    try:
        common: torch.Size = torch.broadcast_shapes(*shapes.values())  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        received = " and ".join(str(tuple(size)) for size in shapes.values())
        raise ValueError(
            f"{' and '.join(shapes)} must have shapes that broadcast; received {received}"
        ) from error
    return common
