"""How a training step is computed: shards, processes, precision, device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch

from smdtheory import options
from smdtheory.checks import integer

if TYPE_CHECKING:
    from accelerate import PartialState

Precision = Literal["auto", "no", "bf16"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Parallel:
    """How a step is computed; beside ``shards`` and ``precision`` it has no part in the result.

    Attributes:
        shards: S, parts of a batch with random numbers of their own; a multiple of the number of
            processes that divides the batch. More of them need less memory.
        precision: of the networks in training: "no" for float32, "bf16", or "auto" for bf16 on a
            GPU that has it. Parameters, their average and the laws of x_0 never are in bf16.
        compiled: compile the blocks of the U-Net (torch.compile).
        device: "cpu", "cuda" or "cuda:N"; in several processes each has its own card.

    Raises:
        TypeError: if one is not of its kind.
        ValueError: if one is out of range or not known.

    Example:
        >>> Parallel(shards=2)
        Parallel(shards=2, precision='auto', compiled=False, device='cpu')
    """

    shards: int = 1
    precision: Precision = "auto"
    compiled: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        integer("shards", self.shards, low=1)
        options.choices("precision", [self.precision], PRECISIONS)
        options.flag("compiled", self.compiled)
        options.device(self.device)


def next_shards(batch: int, processes: int, above: int = 0) -> int | None:
    """The least number of shards that divides a batch and is a multiple of ``processes``.

    Args:
        batch: images in it.
        processes: how many.
        above: it is to be larger than this.

    Example:
        >>> next_shards(12, 2), next_shards(12, 2, above=6), next_shards(13, 2)
        (2, 12, None)
    """
    first = processes * (above // processes + 1)
    fitting = (shards for shards in range(first, batch + 1, processes) if batch % shards == 0)
    return next(fitting, None)


def processes_for(parallel: Parallel) -> PartialState:
    """The processes that `accelerate launch` or `torchrun` has started: one if none has.

    On CPUs take `torchrun --nproc_per_node`: `accelerate launch --cpu` starts one process, however
    many are asked for, unless it is given MPI.

    Raises:
        ImportError: without ``accelerate``.
        ValueError: for a GPU that is not there, or if the processes were set up for another kind
            of device.
    """
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ImportError(
            "training on images needs accelerate, which is not installed: "
            "pip install 'smdtheory[images]'"
        ) from error
    kind = parallel.device.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device must be one that is there; received {parallel.device}, and torch "
            f"{torch.__version__} sees no GPU. Leave --device out to train on the CPU."
        )
    found = PartialState(cpu=kind == "cpu")
    if found.num_processes > 1 and found.device.type != kind:
        raise ValueError(
            f"device must be that of the processes, {found.device.type}; received "
            f"{parallel.device}. Start them again for another kind of device."
        )
    return found


def precision_of(parallel: Parallel) -> Literal["no", "bf16"]:
    """What "auto" means on a device, or what was asked for.

    Raises:
        ValueError: for bf16 on a GPU that does not have it.

    Example:
        >>> precision_of(Parallel()), precision_of(Parallel(precision="bf16"))
        ('no', 'bf16')
    """
    cuda = parallel.device.startswith("cuda")
    able = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    if parallel.precision == "auto":
        return "bf16" if able else "no"
    if parallel.precision == "bf16" and cuda and not able:
        raise ValueError(
            "precision must be one that the GPU has; received bf16, which this one would only "
            "emulate. Give --precision no."
        )
    return parallel.precision
