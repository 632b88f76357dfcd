r"""Training in one process or several, in shards that are the same however they are shared out.

The batch of step n is made of S shards, each drawn from (seed, n, shard) alone. A process takes
every P-th of them, P processes in all, adds their gradients up, and the processes take the mean:
training goes the same way, up to rounding, whatever P is, and in one process it is gradient
accumulation. ``accelerate`` provides devices, mixed precision and the exchange of gradients; loops,
checkpoints and averages are those of :mod:`smdtheory.models`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from smdtheory.checks import integer
from smdtheory.images.denoisers import ImageGaussian, ImageSoftMixture
from smdtheory.models.configuration import Data, Objective, Settings, configuration_of
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.loop import Fit, complete
from smdtheory.models.training import Training, check_loss

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["auto", "no", "bf16"]


@dataclass(frozen=True)
class Parallel:
    """How a step is computed; beside ``shards`` and ``precision`` it has no part in the result.

    Attributes:
        shards: S, parts of a batch with random numbers of their own; a multiple of the number of
            processes. More of them need less memory.
        precision: "bf16", "no", or "auto" for bf16 on a GPU that has it.
        compiled: compile the U-Net (torch.compile).
        device: "cpu", "cuda" or "cuda:N"; in several processes each has its own card.
    """

    shards: int = 1
    precision: Precision = "auto"
    compiled: bool = False
    device: str = "cpu"


class ShardedTraining(Training):
    """A training whose batch is drawn in shards, with gradients exchanged by ``accelerate``.

    Args:
        denoiser: where training starts.
        data: where x_0 comes from.
        objective: the loss of a shard.
        settings: the numbers that make the run.
        parallel: how.
        accelerator: from :func:`accelerator_for`.

    Raises:
        ValueError: if the shards cannot be shared out evenly, or the batch not divided into them.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        data: Data,
        objective: Objective,
        settings: Settings,
        parallel: Parallel,
        accelerator: Accelerator,
    ) -> None:
        super().__init__(denoiser, data, objective, settings, accelerator.device)
        self.unit = " images", settings.batch
        self.accelerator, self.shards = accelerator, integer("shards", parallel.shards, low=1)
        processes = accelerator.num_processes
        if self.shards % processes:
            raise ValueError(
                f"shards must be a multiple of the number of processes, {processes}; received "
                f"{self.shards}. Give --shards {processes * math.ceil(self.shards / processes)}."
            )
        if settings.batch % self.shards:
            raise ValueError(
                f"batch must be a multiple of shards = {self.shards}; received {settings.batch}"
            )
        if parallel.compiled and isinstance(self.model, ImageGaussian | ImageSoftMixture):
            self.model.network.get_submodule("unet").compile()
        self.mean_loss = accelerator.prepare_model(MeanLoss(self.model, objective))

    def differentiate(self, n: int) -> tuple[float, float]:
        """The loss of step n, and the norm of its gradient, which is then clipped."""
        accelerator = self.accelerator
        mine = range(accelerator.process_index, self.shards, accelerator.num_processes)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for shard in mine:
            self._seed(n, shard)
            last = shard == mine[-1]
            with nullcontext() if last else accelerator.no_sync(self.mean_loss):
                with accelerator.autocast():
                    loss = self.mean_loss(*self.batch(self.settings.batch // self.shards))
                total += loss.detach() / len(mine)
                (loss / len(mine)).backward()
        value = float(accelerator.reduce(total, "mean"))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        return value, float(norm)


class MeanLoss(nn.Module):
    """The loss of a shard as a module, so that its gradients can be exchanged."""

    def __init__(self, denoiser: Denoiser, objective: Objective) -> None:
        super().__init__()
        self.denoiser, self.objective = denoiser, objective

    def forward(
        self, x_0: Tensor, x_t: Tensor, snr_t: Tensor, generator: torch.Generator
    ) -> Tensor:
        """A scalar in float32."""
        return check_loss(self.objective(self.denoiser, x_0, x_t, snr_t, generator)).float()


def accelerator_for(parallel: Parallel) -> Accelerator:
    """The devices, and the processes that `accelerate launch` has started, if it has.

    Raises:
        ImportError: without ``accelerate``.
        ValueError: for a GPU that is not there, or bf16 where the device does not have it.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError(
            "training on images needs accelerate, which is not installed: "
            "pip install 'smdtheory[images]'"
        ) from error
    cuda = parallel.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise ValueError(
            f"device must be one that is there; received {parallel.device}, and torch "
            f"{torch.__version__} sees no GPU. Leave --device out to train on the CPU."
        )
    able = cuda and torch.cuda.is_bf16_supported()
    if parallel.precision == "bf16" and cuda and not able:
        raise ValueError("precision must be no or auto; received bf16, which this GPU has not")
    precision = parallel.precision
    if precision == "auto":
        precision = "bf16" if able else "no"
    if cuda and ":" in parallel.device and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(parallel.device)
    return Accelerator(cpu=not cuda, mixed_precision=precision)


def fit_images(
    denoiser: Denoiser,
    data: Data,
    objective: Objective,
    settings: Settings,
    *,
    parallel: Parallel | None = None,
    folder: str | os.PathLike[str] | None = None,
    every: int = 500,
    resume: bool | Literal["fallback"] = True,
    progress: bool | None = None,
    after: Callable[[Training], None] | None = None,
) -> Fit:
    """Train a copy of a denoiser of images, in as many processes as were started.

    As :func:`smdtheory.models.fit.fit`: a stopped run goes on from its checkpoint, on one CPU to
    the last bit.

    Args:
        denoiser: what to train.
        data: ``data(count, generator)`` gives images (count, d), or a mixture.
        objective: the loss, a mean over images.
        settings: the numbers that make the run.
        parallel: shards, precision, device.
        folder: where to keep checkpoints.
        every: steps between two of them.
        resume: go on from the last one.
        progress: show a bar.
        after: called with the training after every step that is followed by a checkpoint.

    Raises:
        TypeError, ValueError, ArithmeticError, KeyboardInterrupt: as for
            :func:`smdtheory.models.fit.fit`.
        ImportError: without ``accelerate``.
        MemoryError: if a shard does not fit in the memory of the GPU.
    """
    chosen = parallel or Parallel()
    accelerator = accelerator_for(chosen)
    configuration: dict[str, Any] = {
        **configuration_of(denoiser, data, objective, settings),
        "shards": chosen.shards,
        "precision": accelerator.mixed_precision,
    }
    training = ShardedTraining(denoiser, data, objective, settings, chosen, accelerator)
    main = accelerator.is_main_process
    try:
        return complete(
            training,
            configuration,
            folder=folder,
            every=every,
            resume=resume,
            progress=progress if main else False,
            writes=main,
            after=after,
        )
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"a shard must fit in memory; {settings.batch // chosen.shards} images do not. Give "
            f"--shards {2 * chosen.shards}: the batch is then computed in smaller parts."
        ) from error
