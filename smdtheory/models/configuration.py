"""What a training run is: its settings, and the entries by which two runs are told apart."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import instance, integer, is_list, number, positive, shown
from smdtheory.models.denoiser import Denoiser
from smdtheory.schedule import SNR_RANGE
from smdtheory.truth.mixture import GaussianMixture, check_mixture

Data = GaussianMixture | Callable[[int, torch.Generator], Tensor]
Objective = Callable[[Any, Tensor, Tensor, Tensor, torch.Generator], Tensor]

MAX_EMA = 1 - 1e-6
"""A memory longer than a million steps is lost in the rounding of float32."""

MAX_RATE = 1e6
"""Of learning and of weight decay; a product of the two beyond this squared overflows float32."""


@dataclass(frozen=True)
class Settings:
    """The numbers that make a run; see :func:`smdtheory.models.fit.fit`.

    Raises:
        TypeError: if one is of the wrong kind.
        ValueError: if one is out of range.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    warmup: int
    ema: float
    clip: float
    log_snr: tuple[float, float]
    seed: int

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "steps": integer("steps", self.steps, low=1),
            "batch": integer("batch", self.batch, low=1),
            "learning_rate": positive("learning_rate", self.learning_rate, high=MAX_RATE),
            "weight_decay": number("weight_decay", self.weight_decay, low=0, high=MAX_RATE),
            "warmup": integer("warmup", self.warmup, low=0),
            "ema": number("ema", self.ema, low=0, high=MAX_EMA),
            "clip": positive("clip", self.clip),
            "log_snr": check_range(self.log_snr),
            "seed": integer("seed", self.seed, low=0),
        }
        if checked["warmup"] > checked["steps"]:
            raise ValueError(
                f"warmup must be at most steps = {self.steps}; received {self.warmup}. "
                "Leave it out for a twentieth of the steps."
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def configuration_of(
    denoiser: Denoiser, data: Data, objective: Objective, settings: Settings
) -> dict[str, Any]:
    """The run in JSON values: two runs are the same if and only if these are equal.

    Raises:
        TypeError: if ``data`` or ``objective`` cannot be called, and ``data`` is no mixture.
        ValueError: if ``data`` is a mixture with batch dimensions.
    """
    if not callable(objective):
        raise TypeError(
            "objective must be a function of (denoiser, x_0, x_t, snr_t, generator); "
            f"received {shown(objective)}"
        )
    check_data(data)
    return {
        "objective": _name(objective),
        "data": _fingerprint(data) if isinstance(data, GaussianMixture) else _name(data),
        **asdict(settings),
        "log_snr": list(settings.log_snr),
        "denoiser": type(denoiser).__qualname__,
        **shapes_of(denoiser),
    }


def check_data(data: Any) -> Data:
    """Where x_0 comes from.

    Raises:
        TypeError: if it is neither a mixture nor a function.
        ValueError: if it is a mixture with batch dimensions.

    Example:
        >>> check_data(GaussianMixture([1.0], [[0.5]], 0.1))
        GaussianMixture(components=1, dim=1)
    """
    if isinstance(data, GaussianMixture):
        return check_mixture(data)
    if not callable(data):
        raise TypeError(
            "data must be a GaussianMixture or a function of (count, generator); "
            f"received {shown(data)}"
        )
    function: Data = data
    return function


def shapes_of(denoiser: Denoiser) -> dict[str, str]:
    """Type and shape of every tensor of the state, by name.

    Raises:
        TypeError: if there is something in the state that is not a tensor.

    Example:
        >>> class Affine(Denoiser):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = torch.nn.Linear(2, 3, bias=False)
        >>> shapes_of(Affine())
        {'denoiser.net.weight': 'float32 (3, 2)'}
    """
    found = {}
    for name, value in denoiser.state_dict().items():
        tensor = instance(name, value, Tensor, "A checkpoint holds tensors and nothing else.")
        found[f"denoiser.{name}"] = f"{str(tensor.dtype)[6:]} {tuple(tensor.shape)}"
    return found


def _name(function: object) -> str:
    """A function's name, or what an object prints, without its address."""
    name = getattr(function, "__qualname__", None)
    return str(name) if name else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(function))


def _fingerprint(mixture: GaussianMixture) -> str:
    """The mixture in words, and the SHA-256 of its parameters."""
    spectral, content = mixture.spectral, hashlib.sha256()
    for values in (
        mixture.logits,
        mixture.means,
        spectral.basis,
        spectral.eigenvalues,
        spectral.residual,
    ):
        if values is not None:
            content.update(values.detach().cpu().contiguous().numpy().tobytes())
    return f"{mixture!r} {content.hexdigest()}"


def check_range(log_snr: Any) -> tuple[float, float]:
    """A range of log signal-to-noise ratios.

    Raises:
        TypeError: if it is no pair of numbers.
        ValueError: if they are out of range, or not in order.
    """
    if not is_list(log_snr) or len(log_snr) != 2:
        raise TypeError(
            "log_snr must be a pair, the least and the largest log signal-to-noise ratio; "
            f"received {shown(log_snr)}"
        )
    least, largest = (math.log(v) for v in SNR_RANGE)
    low, high = (number("log_snr", value, low=least, high=largest) for value in log_snr)
    if low >= high:
        raise ValueError(f"log_snr must be a pair (low, high) with low < high; received {log_snr}")
    return low, high
