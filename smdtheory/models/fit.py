"""Train a denoiser, and go on where a run that was stopped left off, to the last bit."""

from __future__ import annotations

import os
from typing import Any, Literal

import torch

from smdtheory.checks import instance, integer, shown
from smdtheory.models import checkpoint
from smdtheory.models.configuration import Data, Objective, Settings, configuration_of, shapes_of
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.loop import Fit, complete
from smdtheory.models.training import Training, part


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
    configuration = configuration_of(check_denoiser(denoiser), data, objective, settings)
    training = Training(denoiser, data, objective, settings, check_device(device))
    return complete(
        training, configuration, folder=folder, every=every, resume=resume, progress=progress
    )


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

    Example:
        >>> import tempfile
        >>> from smdtheory import presets
        >>> from smdtheory.models import GaussianDenoiser, objectives
        >>> new, folder = GaussianDenoiser(1, width=4, layers=1), tempfile.mkdtemp()
        >>> options = {"steps": 2, "log_snr": (-4.0, 4.0), "folder": folder, "progress": False}
        >>> run = fit(new, presets.line(2), objectives.mse, **options)
        >>> again = load(folder, GaussianDenoiser(1, width=4, layers=1))
        >>> x_t = torch.zeros(1, 1)
        >>> again(x_t, 1.0, 2.0).mean.equal(run.denoiser(x_t, 1.0, 2.0).mean)
        True
    """
    denoiser, where = check_denoiser(denoiser), checkpoint.check_path(folder)
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


def check_denoiser(denoiser: Any) -> Denoiser:
    """``denoiser``, if it can be trained.

    Args:
        denoiser: whatever it is.

    Returns:
        It, known to have parameters.

    Raises:
        TypeError: if it is not a denoiser.
        ValueError: if it has no parameters to train.

    Example:
        >>> from smdtheory.models import SoftMixture
        >>> type(check_denoiser(SoftMixture(1, width=4, layers=1))).__name__
        'SoftMixture'
    """
    cure = "Derive from smdtheory.models.Denoiser and define x0(x_t, snr_t)."
    found = instance("denoiser", denoiser, Denoiser, cure)
    if not any(parameter.requires_grad for parameter in found.parameters()):
        raise ValueError(
            f"denoiser must have parameters to train; {type(found).__name__} has none that "
            "require a gradient"
        )
    return found


def check_device(device: Any) -> torch.device:
    """The device of that name.

    Args:
        device: a name or a device.

    Returns:
        The device, with its number where it has one.

    Raises:
        ValueError: if it is not there, or neither a CPU nor a CUDA device.

    Example:
        >>> check_device("cpu")
        device(type='cpu')
    """
    try:
        found = torch.empty(0, device=device).device  # names the card where "cuda" does not
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"device must be one that is there; received {shown(device)}") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be a CPU or CUDA device; received {shown(device)}")
    return found
