r"""One training step after another: what it draws, what it changes, and how that is kept.

Step n draws all its randomness from (seed, n) alone, so that steps n, n + 1, ... depend on those
before them only through the tensors that a checkpoint holds.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from smdtheory.checks import called, instance, real_tensor
from smdtheory.files import digest
from smdtheory.models.configuration import Data, Objective, Settings
from smdtheory.models.denoiser import Denoiser, dim_of
from smdtheory.truth.mixture import GaussianMixture


class DivergedError(ArithmeticError):
    """The loss, its gradient or a parameter is not finite."""


def learning_rate_factor(n: int, steps: int, warmup: int) -> float:
    """What the learning rate of step n = 0..steps − 1 is multiplied by.

    It rises in equal increments over ``warmup`` steps, and then falls along a cosine that would
    reach 0 at n = steps.

    Example:
        >>> [round(learning_rate_factor(n, 8, 4), 3) for n in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if n < warmup:
        return (n + 1) / warmup
    return (1 + math.cos(math.pi * (n - warmup) / (steps - warmup))) / 2


def averaging_weight(n: int, ema: float) -> float:
    """The weight of step n's parameters in the average of steps 0..n, (1 − ema)/(1 − ema^(n+1)).

    With it the average is Σ_i ema^(n−i) θ_i / Σ_i ema^(n−i) from the first step on: the parameters
    that training started from have no part in it.

    Example:
        >>> averaging_weight(0, 0.999), averaging_weight(1, 0.5)
        (1.0, 0.6666666666666666)
    """
    return (1 - ema) / (1 - ema ** (n + 1))


def levels(count: int, log_snr: tuple[float, float], generator: torch.Generator) -> Tensor:
    """γ (count,), float64, log-uniform: one in each of ``count`` equal strata, in random order.

    Args:
        count: how many.
        log_snr: the range of log γ.
        generator: source of randomness; the levels are on its device.

    Example:
        >>> snr = levels(4, (0.0, 4.0), torch.Generator())
        >>> snr.log().floor().sort().values
        tensor([0., 1., 2., 3.], dtype=torch.float64)
    """
    low, high = log_snr
    device = generator.device
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=device)
    place = torch.randperm(count, generator=generator, device=device)
    return torch.exp(low + (high - low) * ((place + shift) / count))


def noised(x_0: Tensor, snr_t: Tensor, generator: torch.Generator) -> Tensor:
    """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, in the dtype of ``x_0``.

    Args:
        x_0: (B, d).
        snr_t: γ_t (B,), float64. ᾱ = 1/(1 + 1/γ) and 1 − ᾱ = 1/(1 + γ), so that nothing cancels.
        generator: source of ε.

    Example:
        >>> noised(torch.ones(2, 1), torch.tensor([1e30, 1e-30]).double(), torch.Generator())[0]
        tensor([1.])
    """
    noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device)
    signal, rest = torch.rsqrt(1 + 1 / snr_t), torch.rsqrt(1 + snr_t)
    return (signal.unsqueeze(-1) * x_0 + rest.unsqueeze(-1) * noise).to(x_0.dtype)


def drawn(data: Data, count: int, generator: torch.Generator, dim: int | None) -> Tensor:
    """x_0 (count, d), where the data have it.

    Args:
        data: a mixture, or a function.
        count: how many.
        generator: source of randomness.
        dim: d, if it is known.

    Raises:
        TypeError: if the function cannot be called, or returns no real numbers.
        ValueError: if they are of another shape, or not finite.

    Example:
        >>> drawn(lambda count, generator: torch.zeros(count, 2), 3, torch.Generator(), 2).shape
        torch.Size([3, 2])
    """
    if isinstance(data, GaussianMixture):
        x_0 = data.sample(count, generator=generator)
    else:
        found = called("data", data, "count, generator", count, generator)
        cure = "data(count, generator) gives x_0 of shape (count, d)."
        x_0 = real_tensor("data", instance("data", found, Tensor, cure))
    if x_0.ndim != 2 or len(x_0) != count or x_0.shape[1] == 0:
        raise ValueError(f"data must have shape ({count}, d); received {tuple(x_0.shape)}")
    if dim not in (None, x_0.shape[1]):
        raise ValueError(
            f"data must have the dimension of the denoiser, d = {dim}; received {tuple(x_0.shape)}"
        )
    return x_0.detach()


class Training:
    """All that changes from step to step: the model, its average, the optimiser, the losses.

    Args:
        denoiser: where training starts; it is copied and left as it is.
        data: where x_0 comes from.
        objective: the loss of a batch.
        settings: the numbers that make the run.
        device: where it runs.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        data: Data,
        objective: Objective,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.model = copy.deepcopy(denoiser).to(device).train()
        self.average = copy.deepcopy(denoiser).to(device).eval()
        self.data = data.to(device) if isinstance(data, GaussianMixture) else data
        self.objective = objective
        self.settings = settings
        self.device = device
        self.generator = torch.Generator(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.losses: list[float] = []
        self.unit = "it", 1  # what a step is in a progress bar: so many of these
        self.rate = 0.0

    def advance(self) -> None:
        """Take one step.

        Raises:
            TypeError: if the data or the loss are not of the kind that is asked for.
            ValueError: if their shapes are not, or the loss does not depend on the parameters.
            DivergedError: if the loss or its gradient is not finite; no parameter has changed.
        """
        n, settings = len(self.losses), self.settings
        self.optimizer.zero_grad()
        value, norm = self.differentiate(n)
        if not math.isfinite(value):
            raise DivergedError(f"the loss of step {n + 1} is {value}")
        if not math.isfinite(norm):
            raise DivergedError(
                f"the gradient of step {n + 1} has norm {norm}, at a loss of {value:.6g}"
            )
        self.rate = settings.learning_rate * learning_rate_factor(
            n, settings.steps, settings.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.step()
        self._update_average(averaging_weight(n, settings.ema))
        self.losses.append(value)

    def differentiate(self, n: int) -> tuple[float, float]:
        """The loss of step n, and the norm of its gradient, which is then clipped."""
        self._seed(n)
        loss = self.loss(*self.batch(self.settings.batch))
        value = float(loss.detach())
        if not math.isfinite(value):
            return value, math.nan
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        return value, float(norm)

    def loss(self, *batch: Any) -> Tensor:
        """The objective on a batch, a scalar with a gradient."""
        arguments = "denoiser, x_0, x_t, snr_t, generator"
        return check_loss(called("objective", self.objective, arguments, self.model, *batch))

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
        """What an objective is given besides the denoiser: x_0, x_t, γ_t, and the generator."""
        x_0 = drawn(self.data, count, self.generator, dim_of(self.model))
        x_0 = x_0.to(self.device, torch.float32)
        snr_t = levels(count, self.settings.log_snr, self.generator)
        return x_0, noised(x_0, snr_t, self.generator), snr_t, self.generator

    def tensors(self) -> dict[str, Tensor]:
        """A copy of everything that the steps to come depend on, and of the losses, by name.

        Raises:
            DivergedError: if a parameter is not finite.
        """
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        found |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise DivergedError(f"step {len(self.losses)} left {name} not finite")
        found["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        return {name: value.detach().cpu().clone().contiguous() for name, value in found.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up what :meth:`tensors` gave."""
        self.losses = tensors["losses"].tolist()
        self.model.load_state_dict(part(tensors, "model."))
        self.average.load_state_dict(part(tensors, "average."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "optimizer.").items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def _seed(self, *n: int) -> None:
        """One seed for what is passed on, others for torch's own generators (dropout uses them).

        A generator on the CPU reads 32 bits of its seed: among 1e5 steps one may repeat another's
        batch, which does no harm.
        """
        sources = [self.generator, torch.default_generator]
        if self.device.type == "cuda":
            sources.append(torch.cuda.default_generators[self.device.index])
        for stream, source in enumerate(sources):
            source.manual_seed(int(digest([self.settings.seed, *n, stream])[:15], 16))

    @torch.no_grad()
    def _update_average(self, weight: float) -> None:
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for mean, parameter in pairs:
            mean.lerp_(parameter, weight)
        for old, new in zip(self.average.buffers(), self.model.buffers(), strict=True):
            old.copy_(new)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name starts with ``prefix``, without it."""
    return {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}


def check_loss(loss: Any) -> Tensor:
    """``loss``, if it is a scalar with a gradient.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it is no scalar, or does not depend on the parameters.
    """
    cure = "objective(denoiser, x_0, x_t, snr_t, generator) gives the mean loss of the batch."
    checked: Tensor = instance("loss", loss, Tensor, cure)
    if checked.shape:
        raise ValueError(f"loss must be a scalar; received shape {tuple(checked.shape)}. {cure}")
    if not checked.requires_grad:
        raise ValueError(
            "loss must depend on the denoiser's parameters; received one without a gradient. "
            "A detach() or no_grad() in the objective is the usual cause."
        )
    return checked
