r"""Networks of the denoisers of images: a U-Net, and what a latent tells it.

They are called as those on vectors (:mod:`smdtheory.models.networks`), with flattened images. The
latent z is an image itself, a vector of ℓ numbers at each pixel, and enters in two ways
(docs/theory.md §10.6), through hooks that exist for the length of a call, so that the U-Net is an
unmodified ``diffusers.UNet2DModel``:

- ``scale_shift``: a vector f(z, t) is added to the time embedding, from which every ResNet block
  computes a scale and a shift of each of its features.
- ``low_rank``: after the first convolution and before the last, the features h of each pixel
  become h + W_out A_n ⋯ A_1 W_in h, A_i = v_i v_iᵀ + softplus(s_i) I, with v_i linear in that
  pixel's z. No A_i is ever formed.

Both start as no change at all: an untrained soft mixture is the untrained Gaussian's network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from smdtheory.checks import integer, shown
from smdtheory.images.unets import (
    Preset,
    Shape,
    check_shape,
    make_unet,
    pixels,
    preset_of,
    timestep,
)
from smdtheory.models.networks import LevelFeatures, LowRankPlusIdentity

Kind = Literal["both", "scale_shift", "low_rank", "none"]

MODULATIONS: tuple[Kind, ...] = get_args(Kind)
"""How a latent enters; ``none`` leaves it out, to be timed."""

MAPS = 2
"""n, low-rank-plus-identity maps at each of the two places, as the authors published."""

POINTS = 256
"""Images that go through a network together where no gradient is kept."""


@dataclass
class ImageModulation:
    """What a latent tells a U-Net, for each of ``*B`` images; a part that is left out is None.

    Attributes:
        embedding: (*B, e), added to the time embedding of e features.
        first: (*B, H, W, n, ℓ), the vectors v of the maps after the first convolution.
        last: (*B, H, W, n, ℓ), the same before the last convolution.
    """

    embedding: Tensor | None
    first: Tensor | None
    last: Tensor | None

    def flat(self, batch: torch.Size) -> ImageModulation:
        """The same with one batch dimension instead of ``batch``."""
        parts = (self.embedding, self.first, self.last)
        return ImageModulation(
            *(
                None
                if part is None
                else part.expand(*batch, *part.shape[len(batch) :]).flatten(0, len(batch) - 1)
                for part in parts
            )
        )


class ImageNetwork(nn.Module):
    """A U-Net on flattened images and log γσ², that may be modulated.

    Args:
        shape: (C, H, W), d = C·H·W.
        preset: the size.
        outputs: images that come out for each that goes in.
        rank: ℓ of the low-rank maps; 0 for none.

    Attributes:
        unet: the ``diffusers.UNet2DModel``.

    Raises:
        TypeError: if the shape is not three integers.
        ValueError: for a preset that is not known or does not fit the shape.

    Example:
        >>> network = ImageNetwork((1, 8, 8), "tiny")
        >>> network(torch.zeros(5, 64), torch.zeros(5)).shape
        torch.Size([5, 64])
    """

    def __init__(
        self, shape: Shape, preset: str | Preset = "small", *, outputs: int = 1, rank: int = 0
    ) -> None:
        super().__init__()
        size = preset_of(preset)
        self.shape = check_shape(shape, size)
        self.outputs = integer("outputs", outputs, low=1)
        self.unet = make_unet(self.shape, size, self.outputs * self.shape[0])
        width = size.channels[0]
        self.first = LowRankPlusIdentity(width, rank, MAPS) if rank else None
        self.last = LowRankPlusIdentity(width, rank, MAPS) if rank else None

    def forward(
        self, x: Tensor, level: Tensor, modulation: ImageModulation | None = None
    ) -> Tensor:
        """From x (*B, d) and log γσ² (*B,), broadcastable, to (*B, outputs·d)."""
        batch = x.shape[:-1]
        images = pixels(x.reshape(-1, x.shape[-1]), self.shape)
        times = timestep(level.expand(batch).reshape(-1))
        if len(images) == 0:  # attention takes no empty batch
            return x.new_zeros(*batch, self.outputs * x.shape[-1])
        if modulation is None:
            size = len(images) if torch.is_grad_enabled() else POINTS
            blocks = zip(torch.split(images, size), torch.split(times, size), strict=True)
            out = torch.cat([self.unet(*block).sample for block in blocks])
        else:
            with self.modulated(modulation.flat(batch)):
                out = self.unet(images, times).sample
        return out.float().reshape(*batch, -1)

    @contextmanager
    def modulated(self, modulation: ImageModulation) -> Iterator[None]:
        """The U-Net with what ``modulation`` (one batch dimension) tells it, for a while.

        The hooks sit on the time embedding and on the first and last convolution, outside the
        blocks whose activations gradient checkpointing may compute twice.
        """
        unet, handles = self.unet, []
        if modulation.embedding is not None:
            hook = partial(_added, modulation.embedding)
            handles.append(unet.time_embedding.register_forward_hook(hook))
        if self.first is not None and modulation.first is not None:
            hook = partial(_mapped, self.first, modulation.first)
            handles.append(unet.conv_in.register_forward_hook(hook))
        if self.last is not None and modulation.last is not None:
            before = partial(_mapped_before, self.last, modulation.last)
            handles.append(unet.conv_out.register_forward_pre_hook(before))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class ImageLatent(nn.Module):
    """g: from noise η, an image x and log γσ² to the latent z, ℓ numbers at each pixel.

    η has no place in the image. It is turned into an image of the lowest resolution of the U-Net,
    of which each pixel is then repeated: so that neighbours can move together, and places apart
    from each other differently.

    Args:
        noise: dimension of η; with 0 the latent depends on x and the level alone.
        shape: (C, H, W) of x.
        latent: ℓ.
        hidden: features of its hidden layers.
        coarse: height and width of the lowest resolution; they divide H and W.
    """

    def __init__(
        self, noise: int, shape: Shape, latent: int, *, hidden: int, coarse: tuple[int, int]
    ) -> None:
        super().__init__()
        self.shape, self.hidden, self.coarse = shape, hidden, coarse
        self.features = LevelFeatures()
        self.image = nn.Conv2d(shape[0], hidden, 3, padding=1)
        self.level = nn.Linear(LevelFeatures.size, hidden)
        self.noise = nn.Linear(noise, hidden * coarse[0] * coarse[1]) if noise else None
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.leave = nn.Conv2d(hidden, latent, 1)

    def forward(self, eta: Tensor, x: Tensor, level: Tensor) -> Tensor:
        """η (*B, noise), x (*B, d) and log γσ² (*B,), broadcastable; z (*B, H, W, ℓ)."""
        batch = x.shape[:-1]
        told = self.level(self.features(level.expand(batch).reshape(-1)))
        h = self.image(pixels(x.reshape(-1, x.shape[-1]), self.shape)) + told[..., None, None]
        if self.noise is not None:
            _, H, W = self.shape
            height, width = self.coarse
            noise = self.noise(eta.expand(*batch, -1).reshape(len(h), eta.shape[-1]))
            noise = noise.view(-1, self.hidden, height, 1, width, 1)
            fine = noise.expand(-1, -1, -1, H // height, -1, W // width)
            h = h + fine.reshape(h.shape)
        h = silu(h)
        z: Tensor = self.leave(silu(h + self.mix(h))).permute(0, 2, 3, 1)
        return z.reshape(*batch, *z.shape[1:])


class ImageHypernetwork(nn.Module):
    """f: from a latent z and log γσ² to the modulation of a U-Net.

    Args:
        latent: ℓ.
        embedding: e, features of the U-Net's time embedding; 0 for no ``scale_shift``.
        rank: ℓ of the low-rank maps; 0 for none.
        hidden: features of its own hidden layer.
    """

    def __init__(self, latent: int, *, embedding: int, rank: int, hidden: int) -> None:
        super().__init__()
        self.rank = rank
        self.features = LevelFeatures()
        self.enter = nn.Linear(latent + LevelFeatures.size, hidden) if embedding else None
        self.leave = nn.Linear(hidden, embedding) if embedding else None
        self.vectors = nn.Linear(latent, 2 * MAPS * rank) if rank else None
        if self.leave is not None:
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)

    def forward(self, z: Tensor, level: Tensor) -> ImageModulation:
        """From z (*B, H, W, ℓ), of which ``scale_shift`` sees the mean, and log γσ² (*B,)."""
        embedding, first, last = None, None, None
        if self.enter is not None and self.leave is not None:
            mean = z.mean((-3, -2))
            told = self.features(level).expand(*mean.shape[:-1], -1)
            embedding = self.leave(silu(self.enter(torch.cat([mean, told], -1))))
        if self.vectors is not None:
            vectors = self.vectors(z).unflatten(-1, (2, MAPS, self.rank))
            first, last = vectors.unbind(-3)
        return ImageModulation(embedding, first, last)


class Absent(nn.Module):
    """In place of g and f where no latent enters: whatever it is called with, it says None."""

    def forward(self, *arguments: Any) -> None:
        """None."""


def soft_networks(
    shape: Shape,
    preset: str | Preset,
    *,
    modulation: Kind = "both",
    latent: int | None = None,
    noise: int | None = None,
) -> tuple[ImageNetwork, nn.Module, nn.Module]:
    """The networks μ, g and f of a soft mixture of images, from torch's random state.

    The U-Net of μ is made first: from the same state it is the U-Net of the Gaussian.

    Args:
        shape: (C, H, W).
        preset: the size.
        modulation: how the latent enters; see :data:`MODULATIONS`.
        latent: ℓ; that of the preset if absent.
        noise: dimension of η; ℓ if absent, and 0 leaves the latent without noise.

    Raises:
        TypeError: if ``latent`` or ``noise`` is no integer.
        ValueError: for a modulation or a preset that is not known, or sizes that do not fit.

    Example:
        >>> network, latent, hypernetwork = soft_networks((1, 8, 8), "tiny", noise=3)
        >>> x, level = torch.zeros(5, 64), torch.zeros(5)
        >>> z = latent(torch.zeros(5, 3), x, level)
        >>> z.shape, network(x, level, hypernetwork(z, level)).shape
        (torch.Size([5, 8, 8, 8]), torch.Size([5, 64]))
    """
    if not isinstance(modulation, str) or modulation not in MODULATIONS:
        raise ValueError(
            f"modulation must be one of {', '.join(MODULATIONS)}; received {shown(modulation)}"
        )
    size = preset_of(preset)
    width = size.latent if latent is None else integer("latent", latent, low=1)
    numbers = width if noise is None else integer("noise", noise, low=0)
    rank = width if modulation in ("both", "low_rank") else 0
    network = ImageNetwork(shape, size, rank=rank)
    if modulation == "none":
        return network, Absent(), Absent()
    halved = 2 ** (len(size.channels) - 1)
    _, H, W = network.shape
    g = ImageLatent(
        numbers, network.shape, width, hidden=size.hidden, coarse=(H // halved, W // halved)
    )
    embedding = size.time if modulation in ("both", "scale_shift") else 0
    f = ImageHypernetwork(width, embedding=embedding, rank=rank, hidden=size.hidden)
    return network, g, f


def _added(told: Tensor, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output + told


def _mapped(
    layer: Callable[[Tensor, Tensor], Tensor],
    vectors: Tensor,
    module: nn.Module,
    inputs: Any,
    output: Tensor,
) -> Tensor:
    """The features (N, C, H, W) of each pixel, by the maps of its own vectors (N, H, W, n, ℓ)."""
    return layer(output.permute(0, 2, 3, 1), vectors).permute(0, 3, 1, 2)


def _mapped_before(
    layer: Callable[[Tensor, Tensor], Tensor],
    vectors: Tensor,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
) -> tuple[Tensor]:
    return (_mapped(layer, vectors, module, None, inputs[0]),)
