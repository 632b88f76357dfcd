r"""What every learned denoiser shares: units in which its network sees and predicts.

With data of mean m and variance σ² in each coordinate, the best linear guess of x_0 from x_t is
m + √ᾱ σ² g (x_t − √ᾱ m), g = 1/(ᾱ σ² + 1 − ᾱ), and what it misses has variance
κ² = σ² (1 − ᾱ) g. A network is given the unit-variance input √g (x_t − √ᾱ m) and predicts the
law of the residual r = (x_0 − guess)/κ, which has unit variance at every level: neither the data
nor the noise dominates (docs/theory.md §10.1). Networks are float32; their laws are promoted to
float64 at this door.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from smdtheory.checks import positive, real_tensor
from smdtheory.models.denoiser import Denoiser
from smdtheory.truth.validate import check_points

LEVELS = (-7.0, 16.0)
"""Range of log γσ² that networks distinguish: before it x_t says next to nothing of x_0, and after
it the last step of a cosine chain of 1000 has long been passed, for data of variance 100 too."""


@dataclass
class Units:
    """x_0 = ``guess`` + ``spread`` · r at each of B points, and the input of the network.

    Attributes:
        inputs: (B, d) float32, of unit variance.
        level: (B,) float32, log γσ².
        guess: (B, d) float64.
        spread: κ, (B, 1) float64.
    """

    inputs: Tensor
    level: Tensor
    guess: Tensor
    spread: Tensor

    def parts(self, size: int) -> Iterator[Units]:
        """Blocks of ``size`` points."""
        fields = (self.inputs, self.level, self.guess, self.spread)
        for block in zip(*(torch.split(field, size) for field in fields), strict=True):
            yield Units(*block)

    def repeated(self, count: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, R, d), the same R = ``count`` times, and levels (B, 1)."""
        return self.inputs.unsqueeze(1).expand(-1, count, -1), self.level.unsqueeze(1)

    def residual(self, x_0: Tensor) -> Tensor:
        """r (B, d) float32 of points x_0 (B, d)."""
        return ((x_0 - self.guess) / self.spread).float()


class LearnedDenoiser(Denoiser):
    """A denoiser whose law of x_0 given x_t comes from a network.

    Args:
        dim: d.
        mean: of the data, (d,); 0 by default.
        variance: of each coordinate of the data, on average; 1 by default.
    """

    data_mean: Tensor
    data_variance: Tensor
    noise: int = 0

    def __init__(
        self, dim: int, *, mean: Sequence[float] | Tensor | None = None, variance: float = 1.0
    ) -> None:
        super().__init__()
        self.dim = dim
        centre = torch.zeros(dim) if mean is None else real_tensor("mean", mean)
        if centre.shape != (dim,):
            raise ValueError(f"mean must have shape ({dim},); received {tuple(centre.shape)}")
        self.register_buffer("data_mean", centre.double())
        self.register_buffer(
            "data_variance", torch.tensor(positive("variance", variance), dtype=torch.float64)
        )

    def units(self, x_t: Tensor, snr_t: Tensor) -> Units:
        """Units at points x_t (B, d) and levels γ_t (B,)."""
        gamma = snr_t.double()
        signal, noise = 1 / (1 + 1 / gamma), 1 / (1 + gamma)
        gain = 1 / (signal * self.data_variance + noise)
        centred = x_t.double() - signal.sqrt().unsqueeze(-1) * self.data_mean
        inputs = gain.sqrt().unsqueeze(-1) * centred
        slope = (signal.sqrt() * self.data_variance * gain).unsqueeze(-1)
        spread = (self.data_variance * noise * gain).sqrt().unsqueeze(-1)
        level = (gamma * self.data_variance).log().clamp(*LEVELS).float()
        return Units(inputs.float(), level, self.data_mean + slope * centred, spread)

    def draw(self, units: Units, eta: Tensor) -> Tensor:
        """Residuals (B, R, d) that the noise η (B, R, e), e = ``noise``, makes of each point.

        Raises:
            TypeError: for a denoiser that is trained by its likelihood alone.
        """
        raise TypeError(
            f"mse and energy need a denoiser that draws; received {type(self).__name__}. "
            "Train it with likelihood."
        )

    def eta(self) -> Tensor:
        """The values of η, (R, e), that :meth:`x0` uses at every point; one, empty, by default."""
        return torch.zeros(1, self.noise, device=self.data_mean.device)

    def log_likelihood(self, x_0: Tensor, x_t: Tensor, snr_t: Tensor, eta: Tensor) -> Tensor:
        """log p(r | x_t) of the residuals r of x_0 (B, d), in nats, (B,); η (B, R, e).

        Raises:
            TypeError: for a denoiser that has none.
            ValueError: for a fixed variance, under which x_0 has no density of its own.
        """
        raise TypeError(
            f"likelihood needs a denoiser with a density of x_0; received {type(self).__name__}. "
            "Define log_likelihood, or train it with mse or energy."
        )

    def flat(self, x_t: Tensor, snr_t: Any) -> tuple[Tensor, Tensor]:
        """x_t (*B, d) and γ_t as points (N, d) and levels (N,), where the denoiser is.

        Raises:
            ValueError: if the points are not d-dimensional, or not finite.
        """
        points = check_points("x_t", x_t, self.data_mean)
        snr = torch.as_tensor(snr_t, device=points.device).expand(points.shape[:-1])
        return points.reshape(-1, self.dim), snr.reshape(-1)


KNOTS = 64
"""Knots of a :class:`LevelCurve` over :data:`LEVELS`, about a third of a unit apart."""

SMALLEST = 1e-6
"""Smallest variance of a residual: no network in float32 is more accurate."""


class LevelCurve(nn.Module):
    """A positive function of the level: its logarithm is linear in log γ between knots.

    It starts at 1, the variance of the residual where nothing is known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_values = nn.Parameter(torch.zeros(KNOTS))

    def forward(self, level: Tensor) -> Tensor:
        """From log γ (...,) to (...,), never below :data:`SMALLEST`."""
        below, share = self.place(level)
        left, right = self.log_values[below], self.log_values[below + 1]
        return torch.exp(left + share * (right - left)).clamp(min=SMALLEST)

    @staticmethod
    def place(level: Tensor) -> tuple[Tensor, Tensor]:
        """The knot on the left of each level, and how far to the next it is, in 0..1."""
        low, high = LEVELS
        position = (level.clamp(low, high) - low) / (high - low) * (KNOTS - 1)
        below = position.long().clamp(max=KNOTS - 2)
        return below, position - below


def positive_std(raw: Tensor) -> Tensor:
    """Standard deviations from unbounded numbers: 1 at 0, never below √ :data:`SMALLEST`."""
    std: Tensor = softplus(raw + math.log(math.e - 1)) + math.sqrt(SMALLEST)
    return std


def cholesky_factor(raw: Tensor, dim: int) -> Tensor:
    """Lower triangular (..., d, d) with a positive diagonal, from (..., d(d+1)/2) numbers."""
    rows, columns = torch.tril_indices(dim, dim, device=raw.device)
    factor = raw.new_zeros(*raw.shape[:-1], dim, dim)
    factor[..., rows, columns] = raw
    diagonal = positive_std(factor.diagonal(dim1=-2, dim2=-1))
    full: Tensor = factor.tril(-1) + torch.diag_embed(diagonal)
    return full


def normal_log_density(gap: Tensor, factor: Tensor) -> Tensor:
    """log N(gap; 0, L Lᵀ) for gap (..., d) and Cholesky factors L (..., d, d), shape (...,)."""
    white = torch.linalg.solve_triangular(factor, gap.unsqueeze(-1), upper=False).squeeze(-1)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    square: Tensor = white.square().sum(-1)
    return -0.5 * (square + gap.shape[-1] * math.log(2 * math.pi)) - log_det


def diagonal_log_density(gap: Tensor, std: Tensor) -> Tensor:
    """log N(gap; 0, diag(std²)) for gap and standard deviations (..., d), shape (...,)."""
    square: Tensor = (gap / std).square().sum(-1)
    return -0.5 * (square + gap.shape[-1] * math.log(2 * math.pi)) - std.log().sum(-1)
