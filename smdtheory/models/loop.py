"""The steps of a training one after another: checkpoints, the bar, Ctrl-C, what is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from smdtheory.checks import called, integer, shown
from smdtheory.models import checkpoint
from smdtheory.models.checkpoint import Checkpoint, Configuration
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.training import DivergedError, Training


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained denoiser.

    Attributes:
        denoiser: a copy with the averaged parameters, in evaluation mode, where it was trained.
        losses: (steps,) float64, the loss of each step.
        steps: how many were taken.
        seconds: how long they took, those before it was stopped included.
        folder: where the checkpoints are, if anywhere.
    """

    denoiser: Denoiser
    losses: Tensor
    steps: int
    seconds: float
    folder: Path | None

    def after(self, opening: Fit) -> Fit:
        """This run with the steps, losses and time of the one that it started from."""
        return replace(
            self,
            losses=torch.cat([opening.losses, self.losses]),
            steps=opening.steps + self.steps,
            seconds=opening.seconds + self.seconds,
        )


def complete(
    training: Training,
    configuration: Configuration,
    *,
    folder: str | os.PathLike[str] | None,
    every: int,
    resume: bool | Literal["fallback"],
    progress: bool | None,
    writes: bool = True,
    after: Callable[[Training], None] | None = None,
) -> Fit:
    """Take the steps of a training that are left after the last checkpoint in ``folder``.

    Args:
        training: before its first step.
        configuration: what the run is; only a checkpoint of the same is gone on from.
        folder: as in :func:`smdtheory.models.fit.fit`, and so are ``every``, ``resume`` and
            ``progress``.
        every: steps between two checkpoints.
        resume: whether to go on from a checkpoint.
        progress: whether to show a bar.
        writes: whether this process writes the checkpoints; of several, one does.
        after: called after every step that is followed by a checkpoint, in the process that
            writes.

    Raises:
        TypeError, ValueError, ArithmeticError, KeyboardInterrupt: as
            :func:`smdtheory.models.fit.fit`.
    """
    every = integer("every", every, low=1)
    if not (isinstance(resume, bool) or (isinstance(resume, str) and resume == "fallback")):
        raise ValueError(f"resume must be True, False or 'fallback'; received {shown(resume)}")
    if not (progress is None or isinstance(progress, bool)):
        raise TypeError(f"progress must be True, False or None; received {shown(progress)}")
    where = None if folder is None else checkpoint.open_folder(folder)
    found = None if where is None else checkpoint.latest(where, configuration, resume)
    if found is not None:
        training.restore(found.tensors)
    seconds = 0.0 if found is None else found.seconds

    def keep(done: int, seconds: float) -> None:
        tensors = training.tensors()
        if writes and where is not None:
            checkpoint.save(where, Checkpoint(done, seconds, configuration, tensors))
        if writes and after is not None:
            called("after", after, "training", training)

    try:
        seconds = _run(training, keep, every, seconds, progress, where)
    except DivergedError as error:
        raise DivergedError(
            f"training must stay finite; {error}. A learning rate too high (here "
            f"{training.settings.learning_rate:g}) or a level in log_snr at which the objective "
            "overflows are the usual causes: lower learning_rate or clip, or narrow log_snr. "
            f"{_left(where)}"
        ) from error
    losses = torch.tensor(training.losses, dtype=torch.float64)
    return Fit(training.average, losses, len(losses), seconds, where)


def _run(
    training: Training,
    keep: Callable[[int, float], None],
    every: int,
    seconds: float,
    progress: bool | None,
    folder: Path | None,
) -> float:
    """Take the steps that are left, and keep what is due; return how long all of them took."""
    start = time.perf_counter() - seconds
    steps, done = training.settings.steps, len(training.losses)
    device, (unit, size) = training.device, training.unit
    own = [device.index] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(own),
        torch.enable_grad(),
        _interrupts_held() as interrupts,
        tqdm(
            total=steps * size,
            initial=done * size,
            unit=unit,
            disable=None if progress is None else not progress,
            leave=False,
        ) as bar,
    ):
        while done < steps:
            training.advance()
            done += 1
            stop = bool(interrupts)
            due = stop or done == steps or done % every == 0
            if due:
                seconds = time.perf_counter() - start
                keep(done, seconds)
            text = f"loss {training.losses[-1]:.4g}, learning rate {training.rate:.1e}"
            bar.set_postfix_str(text, refresh=due)
            bar.update(size)
            if stop:
                raise KeyboardInterrupt(f"stopped after step {done} of {steps}. {_left(folder)}")
    return seconds


@contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Collect a Ctrl-C, so that no step is cut in two; a second one is not held.

    Only Python's own handling is replaced: a program that has its own, or ignores them, keeps it.
    """
    received: list[int] = []
    usual = signal.default_int_handler
    own = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is usual
    )

    def hold(signum: int, frame: Any) -> None:
        received.append(signum)
        signal.signal(signal.SIGINT, usual)

    if own:
        signal.signal(signal.SIGINT, hold)
    try:
        yield received
    finally:
        if own:
            signal.signal(signal.SIGINT, usual)


def _left(folder: Path | None) -> str:
    """What is left of a run that ended early, in words."""
    if folder is None:
        return "Nothing was kept: with a folder, checkpoints are."
    steps = checkpoint.steps_in(folder)
    if not steps:
        return f"There is no checkpoint yet in {folder}."
    return f"The last checkpoint, of step {steps[0]}, is {checkpoint.path_of(folder, steps[0])}."
