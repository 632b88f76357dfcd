"""Every measured number is an :class:`Estimate`: a value, its error, and how it was obtained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.stats import norm
from scipy.stats import t as student_t
from torch import Tensor

from smdtheory.checks import instance, shown

Method = Literal["closed form", "quadrature", "sampling", "bound"]

ROUNDING = 4 * torch.finfo(torch.float64).eps
"""Relative rounding error granted to a sum or difference of float64 numbers."""


@dataclass(frozen=True, repr=False)
class Estimate:
    """A measured quantity of shape ``S``.

    Attributes:
        value: the quantity, shape ``S``, in nats unless its maker says otherwise.
        error: shape ``S``. A standard error where ``method`` is "sampling"; otherwise an estimate
            of the absolute numerical error (never reported as an exact 0 unless it is one).
        method: "closed form", "quadrature", "sampling" or "bound".
        replicates: independent repetitions, shape ``(R, *S)``, where the value was sampled. Sums
            over entries that share draws are formed replicate by replicate, so that their standard
            error is honest.

    Example:
        >>> Estimate.from_replicates(torch.tensor([1.0, 1.2, 0.8, 1.0], dtype=torch.float64))
        1 ± 0.08 (sampling)
    """

    value: Tensor
    error: Tensor
    method: Method
    replicates: Tensor | None = None

    def __post_init__(self) -> None:
        _tensors(value=self.value, error=self.error)
        if self.value.shape != self.error.shape:
            raise ValueError(
                "error must have the shape of value; "
                f"received {tuple(self.error.shape)} and {tuple(self.value.shape)}"
            )

    @staticmethod
    def from_replicates(replicates: Tensor, method: Method = "sampling") -> Estimate:
        """The mean of independent repetitions ``(R, *S)``, R >= 2, with its standard error.

        Args:
            replicates: (R, *S), R >= 2.
            method: how they were obtained.

        Returns:
            Their mean, of shape ``S``, which keeps them.

        Raises:
            TypeError: if they are not a tensor of real numbers.
            ValueError: for fewer than two of them.
        """
        _tensors(replicates=replicates)
        count = replicates.shape[0] if replicates.ndim else 0
        if count < 2:
            raise ValueError(
                "replicates must have shape (R, ...) with R >= 2, for a standard error; "
                f"received shape {tuple(replicates.shape)}"
            )
        error = replicates.std(dim=0) / math.sqrt(count)
        return Estimate(replicates.mean(dim=0), error, method, replicates)

    def map(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """Apply a linear ``function`` that acts on the last dimensions of a tensor.

        With replicates the standard error follows from them; otherwise the function is applied to
        the error as well, which is an upper bound when its coefficients are not negative.

        Args:
            function: from (..., *S) to (..., *S′), linear.

        Returns:
            The estimate of ``function(value)``, of shape ``S′``.
        """
        if self.replicates is not None:
            return Estimate.from_replicates(function(self.replicates), self.method)
        return Estimate(function(self.value), function(self.error), self.method)

    def __getitem__(self, index: Any) -> Estimate:
        index = index if isinstance(index, tuple) else (index,)
        replicates = None if self.replicates is None else self.replicates[(slice(None), *index)]
        return Estimate(self.value[index], self.error[index], self.method, replicates)

    def sum(self) -> Estimate:
        """The sum of all entries.

        Returns:
            A scalar.
        """
        dims = tuple(range(-self.value.ndim, 0))
        return self.map(lambda x: x.sum(dim=dims)) if dims else self

    def __add__(self, other: Estimate) -> Estimate:
        """The sum of two estimates that do not share draws: standard errors add in quadrature.

        Replicates stay where only one of the two was sampled.
        """
        both_sampled = self.method == other.method == "sampling"
        error = torch.hypot(self.error, other.error) if both_sampled else self.error + other.error
        method: Method = self.method
        for name in ("bound", "sampling", "quadrature"):
            if name in (self.method, other.method):
                method = name
                break
        replicates = None
        if method == "sampling" and not both_sampled:
            sampled, exact = (self, other) if self.method == "sampling" else (other, self)
            if sampled.replicates is not None:
                replicates = sampled.replicates + exact.value
        return Estimate(self.value + other.value, error, method, replicates)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper end of the interval for the value.

        Sampled values use Student's t with R - 1 degrees of freedom (the normal law without
        replicates); for the other methods it is value ± error, whatever the level.

        Args:
            level: the probability with which the interval covers a sampled value.

        Returns:
            Two tensors of shape ``S``.

        Raises:
            ValueError: if ``level`` is not between 0 and 1.
        """
        if not isinstance(level, int | float) or not 0 < level < 1:
            raise ValueError(
                f"level must be a number strictly between 0 and 1; received {shown(level)}"
            )
        width = 1.0
        if self.method == "sampling":
            tail = (1 + level) / 2
            width = float(
                norm.ppf(tail)
                if self.replicates is None
                else student_t.ppf(tail, self.replicates.shape[0] - 1)
            )
        return self.value - width * self.error, self.value + width * self.error

    def __float__(self) -> float:
        if self.value.numel() != 1:
            shape = tuple(self.value.shape)
            raise TypeError(f"only a single number converts to float; this has shape {shape}")
        return float(self.value)

    def __repr__(self) -> str:
        if self.value.numel() == 1:
            value, error = float(self.value), float(self.error)
            digits = 6
            if error > 0 and value != 0 and math.isfinite(value):
                spread = math.floor(math.log10(abs(value))) - math.floor(math.log10(error))
                digits = min(12, max(1, spread + 1))
            return f"{value:.{digits}g} ± {error:.1g} ({self.method})"
        return f"Estimate(shape={tuple(self.value.shape)}, method={self.method!r})"


def _tensors(**arguments: Any) -> None:
    """Refuse what is not a tensor of real numbers."""
    for name, value in arguments.items():
        tensor = instance(name, value, Tensor, "torch.as_tensor makes one.")
        if not tensor.is_floating_point() or tensor.is_meta or tensor.layout != torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor of real floating-point numbers; "
                f"received {shown(value)} of dtype {tensor.dtype}"
            )
