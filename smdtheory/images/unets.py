"""Sizes of U-Nets, and the ``diffusers`` U-Net of each size.

The U-Nets are plain ``diffusers.UNet2DModel`` objects, so that weights saved from here are read by
``UNet2DModel.from_pretrained``. ``diffusers`` takes seconds to import and is imported when the
first network is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from smdtheory.checks import integer, is_list, shown
from smdtheory.models.learned import LEVELS

if TYPE_CHECKING:
    from diffusers import UNet2DModel

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

TIMES = 1000.0
"""What the largest log γσ² of :data:`smdtheory.models.learned.LEVELS` is as a time."""

ATTENTION = 16
"""Resolutions above half of this and up to it have attention, and so has the lowest one."""

LEAST = 2
"""Pixels on each side that must be left at the lowest resolution."""


@dataclass(frozen=True)
class Preset:
    """The size of a U-Net and of what modulates it.

    Attributes:
        channels: features at each resolution, the highest first; each is half of that before.
        layers: ResNet blocks at each resolution, on the way down; one more on the way up.
        groups: of every group normalisation; divides all ``channels``.
        time: features of the time embedding.
        latent: dimension ℓ of the latent z at each pixel, and of the noise η by default.
        hidden: features inside the networks that make z and what it tells the U-Net.
    """

    channels: tuple[int, ...]
    layers: int
    groups: int
    time: int
    latent: int
    hidden: int

    def __post_init__(self) -> None:
        rest = [width for width in self.channels if width % self.groups]
        if rest:
            raise ValueError(
                f"channels must be multiples of groups = {self.groups}; received {self.channels}. "
                "Choose a smaller number of groups."
            )


PRESETS = {
    "tiny": Preset((24, 48), layers=1, groups=4, time=48, latent=8, hidden=16),
    "small": Preset((64, 112, 112), layers=2, groups=8, time=128, latent=32, hidden=32),
    "base": Preset((128, 256, 256, 256), layers=2, groups=32, time=256, latent=100, hidden=64),
}
"""``tiny`` for tests on a CPU, ``small``, and ``base``, the size of the paper."""


@dataclass(frozen=True)
class Published:
    """The configuration of the paper's published code, as far as it concerns the networks.

    Attributes:
        shape: of the images.
        preset: width 128, multiplied by 1, 2, 2 and 2.
        batch: images in a training step.
        latent: dimension of z, and of η.
    """

    shape: Shape = (3, 32, 32)
    preset: str = "base"
    batch: int = 128
    latent: int = 100


AUTHORS = Published()
"""What the authors ran."""


def preset_of(preset: str | Preset) -> Preset:
    """A preset by its name, or itself.

    Raises:
        ValueError: for a name that is not known.

    Example:
        >>> preset_of("base").channels
        (128, 256, 256, 256)
    """
    if isinstance(preset, Preset):
        return preset
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(
            f"preset must be one of {', '.join(PRESETS)}, or a Preset; received {shown(preset)}"
        )
    return PRESETS[preset]


def check_shape(shape: Any, preset: str | Preset | None = None) -> Shape:
    """Channels, height and width, that a U-Net of this size can take.

    Args:
        shape: (C, H, W).
        preset: halves the image so many times; any size will do if absent.

    Raises:
        TypeError: if they are not three integers.
        ValueError: if one is below 1, or a side cannot be halved as often as the preset asks for.

    Example:
        >>> check_shape([3, 32, 32], "base")
        (3, 32, 32)
    """
    if not is_list(shape) or len(shape) != 3:
        raise TypeError(
            f"shape must be three integers, (channels, height, width); received {shown(shape)}"
        )
    C, H, W = (integer("shape", size, low=1) for size in shape)
    if preset is not None:
        halvings = len(preset_of(preset).channels) - 1
        step = 2**halvings
        if any(side % step or side < LEAST * step for side in (H, W)):
            fitting = [
                name
                for name, other in PRESETS.items()
                if not any(side % 2 ** (len(other.channels) - 1) for side in (H, W))
                and min(H, W) >= LEAST * 2 ** (len(other.channels) - 1)
            ]
            cure = f"Take the preset {' or '.join(fitting)}, or pad" if fitting else "Pad"
            raise ValueError(
                f"height and width must be multiples of {step}, and at least {LEAST * step}, to be "
                f"halved {halvings} times; received {H} × {W}. {cure} the images."
            )
    return C, H, W


def pixels(x: Tensor, shape: Shape) -> Tensor:
    """Vectors (..., d) as images (..., C, H, W), d = C·H·W: channel by channel, row by row.

    Raises:
        ValueError: if d is another number.

    Example:
        >>> import torch
        >>> pixels(torch.zeros(5, 192), (3, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """
    C, H, W = shape
    if x.shape[-1:] != (C * H * W,):
        raise ValueError(
            f"images of shape {shape} must be vectors of {C * H * W} numbers; received "
            f"{tuple(x.shape)}. x.flatten(-3) makes them."
        )
    return x.reshape(*x.shape[:-1], *shape)


def timestep(level: Tensor) -> Tensor:
    """The time that a U-Net is told, 0..1000, from log γσ² (...,) within LEVELS: linear, rising.

    The fastest of the U-Net's sinusoids then has a period of 0.14 in log γσ², the slowest goes
    through a tenth of a radian from one end to the other.

    Example:
        >>> import torch
        >>> timestep(torch.tensor([-7.0, 16.0]))
        tensor([   0., 1000.])
    """
    low, high = LEVELS
    return (level - low) * (TIMES / (high - low))


def unet_config(shape: Shape, preset: str | Preset, outputs: int) -> dict[str, Any]:
    """The arguments of ``diffusers.UNet2DModel``.

    Time enters every ResNet block by a scale and a shift of the features after its second
    normalisation (Dhariwal and Nichol 2021), for which the blocks project the time embedding; it
    is half as large as usual, so that the projections to twice as many numbers cost the same.

    Args:
        shape: (C, H, W).
        preset: the size.
        outputs: channels of what comes out.

    Example:
        >>> unet_config((3, 32, 32), "base", 3)["down_block_types"][:2]
        ('DownBlock2D', 'AttnDownBlock2D')
    """
    size = preset_of(preset)
    C, H, W = check_shape(shape, size)
    sides = [max(H, W) / 2**number for number in range(len(size.channels))]
    attended = [ATTENTION / 2 < side <= ATTENTION for side in sides]
    return {
        "sample_size": (H, W),
        "in_channels": C,
        "out_channels": outputs,
        "block_out_channels": size.channels,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attended),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attended[::-1]),
        "layers_per_block": size.layers,
        "norm_num_groups": size.groups,
        "attn_norm_num_groups": size.groups,
        "attention_head_dim": None,  # one head
        "resnet_time_scale_shift": "scale_shift",
        "time_embedding_dim": size.time,
    }


def make_unet(shape: Shape, preset: str | Preset, outputs: int) -> UNet2DModel:
    """An untrained U-Net, from torch's random state.

    Args:
        shape: (C, H, W).
        preset: the size.
        outputs: channels of what comes out.

    Raises:
        ImportError: if ``diffusers`` is not installed.
        ValueError: if the preset does not fit the shape.

    Example:
        >>> import torch
        >>> unet = make_unet((1, 8, 8), "tiny", 1)
        >>> unet(torch.zeros(2, 1, 8, 8), torch.tensor([0.0, 500.0])).sample.shape
        torch.Size([2, 1, 8, 8])
    """
    config = unet_config(shape, preset, outputs)
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise ImportError(
            "smdtheory.images needs diffusers, which is not installed. "
            "pip install 'smdtheory[images]' brings it."
        ) from error
    return UNet2DModel(**config)
