r"""Networks of the learned denoisers: a backbone, and a hypernetwork that modulates it.

All act on vectors. Time enters as log γ, by a scale and shift of the features of every layer, and
by an affine map of x: the components of a true posterior have means that are affine in x_t, with
coefficients that depend on γ_t alone. The latent z enters through a :class:`Modulation` in two
ways: feature-wise scale and shift once more, and low-rank-plus-identity maps
A = v vᵀ + softplus(s) I after the first layer and before the last, with v linear in z
(docs/theory.md §10.6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

FREQUENCIES = 8
"""Frequencies of the features of log γ, the lowest with a period of :data:`PERIOD`."""

PERIOD = 40.0
"""In log γ: longer than any range of noise levels that is trained on."""

LEVEL_HIDDEN = 64
"""Features between log γ and what it tells a backbone."""


class LevelFeatures(nn.Module):
    """Features of log γ: itself, and sines and cosines of eight octaves below it."""

    size = 2 * FREQUENCIES + 1

    def forward(self, level: Tensor) -> Tensor:
        """From log γ (...,) to (..., :attr:`size`)."""
        octave = 2 ** torch.arange(FREQUENCIES, dtype=level.dtype, device=level.device)
        phase = (2 * math.pi / PERIOD) * octave * level.unsqueeze(-1)
        slow = level.unsqueeze(-1) / PERIOD * 4
        return torch.cat([slow, phase.sin(), phase.cos()], -1)


@dataclass
class Modulation:
    """What a hypernetwork tells a backbone of L layers and width W.

    Attributes:
        scale: (..., L, W), by how much more than 1 each feature is multiplied.
        shift: (..., L, W), what is added to it.
        first: (..., n, r), the vectors v of the maps after the first layer.
        last: (..., n, r), the same before the last layer.
    """

    scale: Tensor
    shift: Tensor
    first: Tensor
    last: Tensor


class LowRankPlusIdentity(nn.Module):
    """h + W_out A_n ⋯ A_1 W_in h with A_l = v_l v_lᵀ + softplus(s_l) I, never formed as matrices.

    Args:
        width: of h.
        rank: r, the dimension in which the A_l act.
        maps: n, how many follow each other.
    """

    def __init__(self, width: int, rank: int, maps: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, rank, bias=False)
        self.leave = nn.Linear(rank, width, bias=False)
        self.diagonal = nn.Parameter(torch.zeros(maps))
        nn.init.zeros_(self.leave.weight)

    def forward(self, h: Tensor, vectors: Tensor) -> Tensor:
        """h (..., W), vectors v (..., n, r), broadcastable; the shape of h."""
        r = self.enter(h)
        for v, s in zip(vectors.unbind(-2), softplus(self.diagonal), strict=True):
            r = low_rank_plus_identity(r, v, s)
        out: Tensor = h + self.leave(r)
        return out


def low_rank_plus_identity(r: Tensor, v: Tensor, s: Tensor) -> Tensor:
    """(v vᵀ + s I) r for r and v (..., n), without the matrix.

    Example:
        >>> v, r = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])
        >>> low_rank_plus_identity(r, v, torch.tensor(0.5))
        tensor([3.5000, 6.5000])
    """
    return s * r + v * (v * r).sum(-1, keepdim=True)


class Backbone(nn.Module):
    """A residual network in x and log γ, that may be modulated.

    Args:
        inputs: dimension of what goes in.
        outputs: dimension of what comes out.
        width: W, features of each layer.
        layers: L, hidden layers.
        affine: how many of the outputs, from the first on, have an affine map of x; the others
            have an offset that depends on log γ. All of them, if absent.
        rank: r of the low-rank maps; 0 for none.
        maps: n of them at each of the two places.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 192,
        layers: int = 4,
        affine: int | None = None,
        rank: int = 0,
        maps: int = 2,
    ) -> None:
        super().__init__()
        self.rest = 0 if affine is None else outputs - affine
        slopes = (outputs - self.rest) * inputs
        self.sizes = [width] * (2 * layers + 2) + [slopes, outputs]
        self.level = nn.Sequential(
            LevelFeatures(),
            nn.Linear(LevelFeatures.size, LEVEL_HIDDEN),
            nn.SiLU(),
            nn.Linear(LEVEL_HIDDEN, sum(self.sizes)),
        )
        for parameter in self.level[-1].parameters():
            nn.init.zeros_(parameter[-(slopes + outputs) :])
        self.enter = nn.Linear(inputs, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.leave = nn.Linear(width, outputs)
        self.first = LowRankPlusIdentity(width, rank, maps) if rank else None
        self.last = LowRankPlusIdentity(width, rank, maps) if rank else None

    def forward(self, x: Tensor, level: Tensor, modulation: Modulation | None = None) -> Tensor:
        """From x (..., inputs) and log γ (...,), broadcastable, to (..., outputs)."""
        *told, slope, offset = self.level(level).split(self.sizes, -1)
        scales, shifts = told[0::2], told[1::2]
        h = torch.addcmul(shifts[0], self.enter(x), 1 + scales[0])
        if modulation is not None and self.first is not None:
            h = self.first(h, modulation.first)
        for number, layer in enumerate(self.hidden):
            scale, shift = 1 + scales[number + 1], shifts[number + 1]
            if modulation is not None:
                scale = scale + modulation.scale[..., number, :]
                shift = shift + modulation.shift[..., number, :]
            h = h + torch.addcmul(shift, layer(silu(h)), scale)
        if modulation is not None and self.last is not None:
            h = self.last(h, modulation.last)
        affine = (slope.unflatten(-1, (-1, x.shape[-1])) @ x.unsqueeze(-1)).squeeze(-1)
        out: Tensor = self.leave(silu(h)) + offset + nn.functional.pad(affine, (0, self.rest))
        return out


class Hypernetwork(nn.Module):
    """f: from a latent z and log γ to the modulation of a backbone.

    Args:
        latent: dimension of z.
        width: W of the backbone.
        layers: L of the backbone.
        rank: r of its low-rank maps.
        maps: n of its low-rank maps.
        hidden: features of its own hidden layer.
    """

    def __init__(
        self, latent: int, *, width: int, layers: int, rank: int, maps: int = 2, hidden: int = 32
    ) -> None:
        super().__init__()
        self.layers, self.width, self.rank, self.maps = layers, width, rank, maps
        self.features = LevelFeatures()
        self.enter = nn.Linear(latent + LevelFeatures.size, hidden)
        self.leave = nn.Linear(hidden, 2 * layers * width)
        self.vectors = nn.Linear(latent, 2 * maps * rank)

    def forward(self, z: Tensor, level: Tensor) -> Modulation:
        """From z (..., latent) and log γ (...,), broadcastable."""
        told = self.features(level).expand(*z.shape[:-1], -1)
        h = silu(self.enter(torch.cat([z, told], -1)))
        both = self.leave(h).unflatten(-1, (2, self.layers, self.width))
        vectors = self.vectors(z).unflatten(-1, (2, self.maps, self.rank))
        scale, shift = both.unbind(-3)
        first, last = vectors.unbind(-3)
        return Modulation(scale, shift, first, last)


class Latent(nn.Module):
    """g: from noise η, x and log γ to the latent z.

    Args:
        noise: dimension of η.
        inputs: dimension of x.
        latent: dimension of z.
        hidden: features of its hidden layers.
    """

    def __init__(self, noise: int, inputs: int, latent: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.features = LevelFeatures()
        self.enter = nn.Linear(noise + inputs + LevelFeatures.size, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, latent)

    def forward(self, eta: Tensor, x: Tensor, level: Tensor) -> Tensor:
        """η (..., noise), x (..., inputs) and log γ (...,), broadcastable; z (..., latent)."""
        told = self.features(level).expand(*x.shape[:-1], -1)
        h = silu(self.enter(torch.cat([eta, x, told], -1)))
        out: Tensor = self.leave(silu(h + self.hidden(h)))
        return out
