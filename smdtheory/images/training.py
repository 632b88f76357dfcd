r"""Training in one process or several, in shards that are the same however they are shared out.

The batch of step n is made of S shards, each drawn from (seed, n, shard) alone. A process takes
every P-th of them, P processes in all, adds their gradients up, and the processes take the mean:
training goes the same way, up to rounding, whatever P is, and in one process it is gradient
accumulation. ``accelerate`` knows the processes and takes the means; loops, checkpoints and
averages are those of :mod:`smdtheory.models`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from smdtheory.checks import instance, shown
from smdtheory.images.denoisers import ImageGaussian, ImageSoftMixture
from smdtheory.images.memory import held_in
from smdtheory.images.parallel import Parallel, next_shards, precision_of, processes_for
from smdtheory.models.configuration import Data, Objective, Settings, configuration_of
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.fit import check_denoiser, check_device
from smdtheory.models.loop import Fit, complete
from smdtheory.models.training import Training


class ShardedTraining(Training):
    """A training whose batch is drawn in shards, and whose gradients are a mean over processes.

    Levels are spread evenly over each shard, rather than over the batch.

    Args:
        denoiser: where training starts; in several processes, that of the first.
        data: where x_0 comes from.
        objective: the loss of a shard.
        settings: the numbers that make the run.
        parallel: how.

    Raises:
        ImportError: without ``accelerate``.
        ValueError: if the device is not there; if the shards cannot be shared out evenly, or the
            batch not divided into them.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        data: Data,
        objective: Objective,
        settings: Settings,
        parallel: Parallel,
    ) -> None:
        self.processes, self.shards = processes_for(parallel), parallel.shards
        count = self.processes.num_processes
        if self.shards % count or settings.batch % self.shards:
            fitting = next_shards(settings.batch, count)
            cure = f"Give --shards {fitting}." if fitting else f"Give a batch of {count} or more."
            raise ValueError(
                f"shards must be a multiple of the number of processes, {count}, and divide the "
                f"batch of {settings.batch}; received {self.shards}. {cure}"
            )
        alone = count == 1
        device = check_device(parallel.device) if alone else self.processes.device
        super().__init__(denoiser, data, objective, settings, device)
        self.unit = " images", settings.batch
        self.precision = precision_of(parallel)
        if not alone:
            from accelerate.utils import broadcast

            for tensor in self.model.state_dict().values():
                tensor.copy_(broadcast(tensor))
            self.average.load_state_dict(self.model.state_dict())
        if parallel.compiled and isinstance(self.model, ImageGaussian | ImageSoftMixture):
            # Not the U-Net as a whole: what a latent tells it comes through hooks between these.
            unet: Any = self.model.network.get_submodule("unet")
            for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
                block.compile(dynamic=False)

    def advance(self) -> None:
        """Take one step.

        Raises:
            TypeError, ValueError, DivergedError: as :class:`smdtheory.models.training.Training`.
            MemoryError: if a shard does not fit in memory.
            RuntimeError: if the processes are at different steps.
        """
        batch, shards = self.settings.batch, self.shards

        def cure() -> str:
            more = next_shards(batch, self.processes.num_processes, above=shards)
            if more is None:
                return "Take a smaller network or a GPU with more memory."
            return f"Give --shards {more}, and a new folder: a batch is then done in more parts."

        with held_in(self.device, "a shard", f"{batch // shards} images", cure):
            super().advance()

    def differentiate(self, n: int) -> tuple[float, float]:
        """The loss of step n, and the norm of its gradient, which is then clipped."""
        processes = self.processes
        mine = range(processes.process_index, self.shards, processes.num_processes)
        total = torch.tensor([0.0, n], dtype=torch.float64, device=self.device)
        for shard in mine:
            self._seed(n, shard)
            batch = self.batch(self.settings.batch // self.shards)
            with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
                loss = self.loss(*batch).float() / len(mine)
            total[0] += loss.detach()
            loss.backward()  # type: ignore[no-untyped-call]
        value, step = self._mean(total).tolist()
        if step != n:
            raise RuntimeError(
                f"all processes must be at the same step; received step {n + 1} here and others "
                "elsewhere. Give a folder that every process can read, or one without checkpoints."
            )
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if processes.num_processes > 1:
            parts = [gradient.flatten() for gradient in gradients]
            means = torch.split(self._mean(torch.cat(parts)), [len(part) for part in parts])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        return value, float(norm)

    def _mean(self, tensor: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.processes.num_processes == 1:
            return tensor
        from accelerate.utils import reduce

        mean: Tensor = reduce(tensor, "mean")
        return mean


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
    the last bit. What tells two runs apart is what does there, and the shards and the precision.
    A method such as ``images.draw`` is known by its name alone: give each data set a folder of its
    own.

    Every process reads the folder, and the first one writes to it. A Ctrl-C may reach several
    processes at different steps: what is left is then a checkpoint before it.

    Args:
        denoiser: what to train.
        data: ``data(count, generator)`` gives images (count, d), or a mixture.
        objective: the loss, a mean over images.
        settings: the numbers that make the run.
        parallel: shards, precision, compilation, device; ``Parallel()`` if absent.
        folder: where to keep checkpoints.
        every: steps between two of them.
        resume: go on from the last one.
        progress: show a bar, in the first process.
        after: called with the training after every step that is followed by a checkpoint, in the
            first process; the others wait.

    Returns:
        The averaged denoiser, and the loss of each step, the same in every process.

    Raises:
        TypeError, ValueError, ArithmeticError, KeyboardInterrupt: as for
            :func:`smdtheory.models.fit.fit`; ValueError for shards, a device or a precision that
            do not fit, too.
        ImportError: without ``accelerate``.
        MemoryError: if a shard does not fit in memory.
        RuntimeError: if the processes do not find the same checkpoint.

    Example:
        >>> from smdtheory import GaussianMixture
        >>> from smdtheory.images import untrained_image
        >>> from smdtheory.models.objectives import mse
        >>> settings = Settings(
        ...     steps=2, batch=4, learning_rate=1e-3, weight_decay=0, warmup=0, ema=0.9, clip=1,
        ...     log_snr=(-4, 4), seed=0,
        ... )
        >>> data = GaussianMixture([1.0], [[0.5] * 64], 0.1)
        >>> found = fit_images(untrained_image("level", (1, 8, 8), "tiny"), data, mse, settings)
        >>> found.steps, found.denoiser.dim
        (2, 64)
    """
    cure = "Leave it out for one process and one shard."
    chosen = Parallel() if parallel is None else instance("parallel", parallel, Parallel, cure)
    instance("settings", settings, Settings, "smdtheory.models.configuration has it.")
    if after is not None and not callable(after):
        raise TypeError(f"after must be a function; received {shown(after)}")
    known = configuration_of(check_denoiser(denoiser), data, objective, settings)
    training = ShardedTraining(denoiser, data, objective, settings, chosen)
    first = bool(training.processes.is_main_process)
    return complete(
        training,
        {**known, "shards": training.shards, "precision": training.precision},
        folder=folder,
        every=every,
        resume=resume,
        progress=progress if first else False,
        writes=first,
        after=after,
    )
