"""Train a denoiser, and go on where a run that was stopped left off, to the last bit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from smdtheory.checks import instance, integer, shown
from smdtheory.models import checkpoint
from smdtheory.models.checkpoint import Checkpoint, Configuration
from smdtheory.models.configuration import Data, Objective, Settings, configuration_of, shapes_of
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.training import DivergedError, Training, part


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


def fit(
    denoiser: Denoiser,
    data: Data,
    objective: Objective,
    *,
    steps: int,
    log_snr: tuple[float, float],
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    warmup: int | None = None,
    ema: float = 0.999,
    clip: float = 1.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    folder: str | os.PathLike[str] | None = None,
    every: int = 500,
    resume: bool | Literal["fallback"] = True,
    progress: bool | None = None,
) -> Fit:
    """Train a copy of ``denoiser``; the one given is left as it is.

    Each step draws x_0, levels γ_t log-uniform over ``log_snr`` (one in each of ``batch`` equal
    strata) and x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, and follows the gradient of the loss with AdamW.

    With a folder, the same call goes on from the last checkpoint there, or returns its result if
    it is finished, and ends with the same bits as a run that was never stopped, on the same device
    and number of threads. "The same" is every argument but ``device``, ``folder``, ``every``,
    ``resume`` and ``progress``: a mixture by its parameters, functions by their names, callable
    objects (a dataclass, a functools.partial) by what they print, a denoiser by its class and the
    shapes of its state. Values inside closures are not seen.

    Ctrl-C ends a run after the step at hand, with a checkpoint; a second one ends it at once.

    Args:
        denoiser: what to train.
        data: a mixture in the scale the chain runs in, or ``data(count, generator)`` that returns
            x_0 (count, d). The generator is on ``device``.
        objective: ``objective(denoiser, x_0, x_t, snr_t, generator)``, the mean loss of a batch.
            x_0 and x_t are (B, d) float32, snr_t is (B,) float64, all on ``device``.
        steps: number of steps.
        log_snr: least and largest log γ_t. Let it cover the chains the denoiser will be used in.
        batch: size of a batch.
        learning_rate: the largest one, reached after ``warmup`` steps; it then falls to 0 along a
            cosine.
        weight_decay: of AdamW.
        warmup: steps in which the learning rate rises; a twentieth of ``steps`` if absent.
        ema: decay of the average of the parameters, per step. The average is that of the
            parameters visited, without those of the start.
        clip: largest norm of the gradient; larger ones are scaled down to it.
        seed: with the number of a step, all that its randomness depends on.
        device: where to train.
        folder: where to keep checkpoints; none are kept if absent. The last two stay.
        every: steps between two checkpoints.
        resume: go on from the last checkpoint. With "fallback", a last one that is damaged is set
            aside and the one before it taken; with ``False``, a folder with checkpoints is
            refused.
        progress: show a progress bar; if absent, where the output is a terminal.

    Returns:
        The averaged denoiser, and the loss of each step.

    Raises:
        TypeError: if an argument, the data or the loss is of the wrong kind.
        ValueError: if one is out of range; or if the last checkpoint in the folder is damaged or
            of another configuration, or the folder cannot be used.
        ArithmeticError: if the loss, its gradient or a parameter is not finite. The checkpoints
            stay as they are.
        KeyboardInterrupt: after Ctrl-C.

    Example:
        >>> from smdtheory import GaussianMixture
        >>> from smdtheory.truth.spectral import SpectralCovariance
        >>> class Constant(Denoiser):
        ...     '''x_0 is N(mean, I), whatever x_t.'''
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = torch.nn.Parameter(torch.zeros(1))
        ...     def x0(self, x_t, snr_t):
        ...         one = torch.ones(1)
        ...         means = self.mean.expand(len(x_t), 1, 1)
        ...         return GaussianMixture.from_spectral(
        ...             one.log(), means, SpectralCovariance.isotropic(one, 1)
        ...         )
        >>> def squared_error(denoiser, x_0, x_t, snr_t, generator):
        ...     return (denoiser.x0(x_t, snr_t).mean - x_0).square().mean()
        >>> data = GaussianMixture([1.0], [[0.5]], 0.01)
        >>> found = fit(
        ...     Constant(), data, squared_error, steps=100, log_snr=(-3, 3), learning_rate=0.1
        ... )
        >>> round(float(found.denoiser.mean.detach()), 1)
        0.5
    """
    settings = Settings(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=integer("steps", steps, low=1) // 20 if warmup is None else warmup,
        ema=ema,
        clip=clip,
        log_snr=log_snr,
        seed=seed,
    )
    configuration = configuration_of(_check_denoiser(denoiser), data, objective, settings)
    every = integer("every", every, low=1)
    if not (isinstance(resume, bool) or resume == "fallback"):
        raise ValueError(f"resume must be True, False or 'fallback'; received {shown(resume)}")
    if not (progress is None or isinstance(progress, bool)):
        raise TypeError(f"progress must be True, False or None; received {shown(progress)}")
    training = Training(denoiser, data, objective, settings, _check_device(device))
    where = None if folder is None else checkpoint.open_folder(folder)
    found = None if where is None else checkpoint.latest(where, configuration, resume)
    if found is not None:
        training.restore(found.tensors)
    seconds = 0.0 if found is None else found.seconds
    try:
        seconds = _run(training, where, configuration, every, seconds, progress)
    except DivergedError as error:
        raise DivergedError(
            f"training must stay finite; {error}. A learning rate too high (here "
            f"{settings.learning_rate:g}) or a level in log_snr at which the objective overflows "
            f"are the usual causes: lower learning_rate or clip, or narrow log_snr. {_left(where)}"
        ) from error
    losses = torch.tensor(training.losses, dtype=torch.float64)
    return Fit(training.average, losses, len(losses), seconds, where)


def load(folder: str | os.PathLike[str], denoiser: Denoiser) -> Denoiser:
    """Put the averaged parameters of the last checkpoint into ``denoiser``.

    What was changed after training is not in it: a residual variance is to be fitted again
    (:func:`smdtheory.models.calibrate`; :func:`smdtheory.models.recipes.train` does both).

    Args:
        folder: of a run, finished or not.
        denoiser: of the shapes that were trained; changed in place.

    Returns:
        ``denoiser``, in evaluation mode.

    Raises:
        TypeError: if ``denoiser`` is not a denoiser or ``folder`` not a path.
        ValueError: if there is no checkpoint, if the last one is damaged, or if its denoiser has
            other shapes.
    """
    denoiser, where = _check_denoiser(denoiser), checkpoint.check_path(folder)
    steps = checkpoint.steps_in(where)
    if not steps:
        raise ValueError(
            f"folder must hold a checkpoint; {where} has none. fit(..., folder=...) makes them."
        )
    found = checkpoint.read(where, steps[0])
    there = {k: v for k, v in found.configuration.items() if k.startswith("denoiser.")}
    checkpoint.check_same(shapes_of(denoiser), there, checkpoint.path_of(where, steps[0]))
    denoiser.load_state_dict(part(found.tensors, "average."))
    return denoiser.eval()


def _run(
    training: Training,
    folder: Path | None,
    configuration: Configuration,
    every: int,
    seconds: float,
    progress: bool | None,
) -> float:
    """Take the steps that are left; return how long all of them took."""
    start = time.perf_counter() - seconds
    steps, done = training.settings.steps, len(training.losses)
    device = training.device
    own = [device.index] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(own),
        torch.enable_grad(),
        _interrupts_held() as interrupts,
        tqdm(
            total=steps,
            initial=done,
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
                tensors = training.tensors()
                seconds = time.perf_counter() - start
                if folder is not None:
                    checkpoint.save(folder, Checkpoint(done, seconds, configuration, tensors))
            text = f"loss {training.losses[-1]:.4g}, learning rate {training.rate:.1e}"
            bar.set_postfix_str(text, refresh=due)
            bar.update()
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


def _check_denoiser(denoiser: Any) -> Denoiser:
    cure = "Derive from smdtheory.models.Denoiser and define x0(x_t, snr_t)."
    found = instance("denoiser", denoiser, Denoiser, cure)
    if not any(parameter.requires_grad for parameter in found.parameters()):
        raise ValueError(
            f"denoiser must have parameters to train; {type(found).__name__} has none that "
            "require a gradient"
        )
    return found


def _check_device(device: Any) -> torch.device:
    try:
        found = torch.empty(0, device=device).device  # names the card where "cuda" does not
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(f"device must be one that is there; received {shown(device)}") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be a CPU or CUDA device; received {shown(device)}")
    return found
