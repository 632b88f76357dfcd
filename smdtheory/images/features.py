r"""Fréchet distance in classifier features: how far generated images are from a data set.

The classifier is a small convolutional network, trained here on the labels of the data set itself:
nothing is downloaded, and the distance has meaning within one data set, seed and sample size only.
It is not the number that is published under other names with other networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smdtheory.checks import instance, integer, real_tensor
from smdtheory.estimate import Estimate
from smdtheory.images.data import Images
from smdtheory.images.unets import Shape, pixels

FEATURES = 32
"""f, numbers that the last hidden layer gives for each image."""

WIDTHS = (32, 64, 64)
"""Channels of the convolutions; those after the first halve the image, down to :data:`SIDE`."""

LARGE = 16
"""Images with a larger side are halved by the first convolution too."""

SIDE = 2
"""Height and width of what is left of an image, on average, before the last hidden layer."""

STEPS, BATCH, RATE = 300, 64, 3e-3
"""Of the training: steps, images in each, largest learning rate of AdamW."""

BLOCK = 512
"""Images that go through the network together where no gradient is kept."""

GROUPS = 20
"""Of vectors that are left out in turn for a standard error."""


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A classifier of images, and its last hidden layer.

    Attributes:
        body: from images (N, C, H, W) to features (N, f), float32.
        head: from features to one number for each class.
        shape: (C, H, W).
        mean: of each pixel, (C, H, W), subtracted from an image.
        scale: what the pixels are then divided by.
        classes: (L,) int64, the labels that there are.
        accuracy: share of the held-out images whose label is recognised.
    """

    body: nn.Module
    head: nn.Module
    shape: Shape
    mean: Tensor
    scale: float
    classes: Tensor
    accuracy: float = math.nan

    def features(self, x: Tensor) -> Tensor:
        """Features (N, f), float64, on the CPU, of flattened images x (N, d).

        Raises:
            TypeError: if ``x`` is not a tensor of real numbers.
            ValueError: if it has another shape, or is not finite.
        """
        images = torch.split(pixels(_vectors("x", x), self.shape), BLOCK)
        with torch.no_grad():
            return torch.cat([self.body(self.inputs(part)).double() for part in images])

    def labels(self, x: Tensor) -> Tensor:
        """The most probable label (N,) of each of the flattened images x (N, d).

        Raises:
            TypeError, ValueError: as :meth:`features`.
        """
        with torch.no_grad():
            return self.classes[self.head(self.features(x).float()).argmax(-1)]

    def inputs(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in the units of the network."""
        return (images.to(self.mean) - self.mean) / self.scale


def classifier_for(images: Images, seed: int = 0, *, steps: int = STEPS) -> FeatureNetwork:
    """A classifier trained on the labels of a set of images, on the CPU.

    The same arguments give the same network, on one machine to the last bit. That takes seconds,
    and is enough for the digits; CIFAR-10 needs some thousands of steps.

    Args:
        images: with labels of the training and of the held-out images.
        seed: of the initial parameters and of the order of the images.
        steps: of training, with 64 images in each.

    Raises:
        TypeError: if ``images`` are no :class:`smdtheory.images.Images`, or a number is none.
        ValueError: if they have no labels, or those of one class only.

    Example:
        >>> dark = -torch.ones(40, 1, 8, 8)
        >>> both, labels = torch.cat([dark, -dark]), torch.arange(2).repeat_interleave(40)
        >>> network = classifier_for(Images("two", both, both, labels, labels), steps=10)
        >>> network.features(both.flatten(1)).shape, network.accuracy
        (torch.Size([80, 32]), 1.0)
    """
    found = instance("images", images, Images, "load_images gives some.")
    start, count = integer("seed", seed, low=0), integer("steps", steps, low=1)
    if found.train_labels is None or found.held_out_labels is None:
        raise ValueError(
            "images must have labels, for a classifier to learn; received those of "
            f"{found.name!r} without. The digits and CIFAR-10 have them; Images(..., train_labels, "
            "held_out_labels) takes your own."
        )
    classes, targets = torch.unique(found.train_labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"images must have labels of at least 2 classes; received the label {int(classes[0])} "
            "alone. Features that tell nothing apart measure no distance."
        )
    with torch.random.fork_rng([]):
        torch.manual_seed(start)
        body, head = _body(found.shape), nn.Linear(FEATURES, len(classes))
    scale = math.sqrt(found.variance) or 1.0
    mean = found.mean.float().reshape(found.shape)
    network = FeatureNetwork(body, head, found.shape, mean, scale, classes)
    _train(network, found.train, targets, count, start)
    right = network.labels(found.held_out.flatten(1)) == found.held_out_labels
    return replace(network, accuracy=float(right.double().mean()))


def frechet_distance(x_features: Tensor, y_features: Tensor) -> Estimate:
    """Squared 2-Wasserstein distance of two Gaussians with the moments of two samples.

    ‖μ_x − μ_y‖² + tr(S_x + S_y − 2 (S_x S_y)^½), with S the unbiased covariances; in the units of
    the features squared, not in nats. With S = Rᵀ R from a QR decomposition of the centred sample,
    tr (S_x S_y)^½ is the sum of the singular values of R_x R_yᵀ: no matrix is squared, and no small
    eigenvalue loses half of its digits.

    The value is biased upward at order 1/N + 1/M: the means add tr S_x/N + tr S_y/M, and the last
    term, concave in the covariances, adds more. For two samples of one isotropic Gaussian the bias
    is (1 + (f + 1)/4) tr S (1/N + 1/M) to that order, and is all there is. Compare values at equal
    sample sizes only, and beside the value of two samples of the data.

    Args:
        x_features: (N, f), independent rows.
        y_features: (M, f), independent rows, independent of those of ``x_features``.

    Returns:
        The distance, with a jackknife standard error from groups of rows left out in turn. The
        error leaves the bias aside, and is rough where the distance is nothing but bias.

    Raises:
        TypeError: if one is not a tensor of real numbers.
        ValueError: if they are not finite, have other shapes, or fewer than f + 3 rows.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> float(frechet_distance(x, x + 2)), float(frechet_distance(x, 3 * (x - 1.5) + 1.5))
        (4.0, 6.66...)
    """
    x = _vectors("x_features", x_features).double()
    y = _vectors("y_features", y_features).double()
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "x_features and y_features must have the same number of features; received "
            f"{x.shape[1]} and {y.shape[1]}. One network gives both."
        )
    for name, sample in (("x_features", x), ("y_features", y)):
        least = sample.shape[1] + 3
        if len(sample) < least:
            raise ValueError(
                f"{name} must have at least f + 3 = {least} rows, for a covariance of full rank; "
                f"received {len(sample)}. Draw more images."
            )
    first, second = _moments(x), _moments(y)
    left_out = (
        torch.stack([_distance(part, second) for part in _left_out(x)]),
        torch.stack([_distance(first, part) for part in _left_out(y)]),
    )
    variance = sum((len(d) - 1) * d.var(correction=0) for d in left_out)
    return Estimate(_distance(first, second), torch.as_tensor(variance).sqrt(), "sampling")


Moments = tuple[Tensor, Tensor]
"""The mean (f,), and R (f, f) with Rᵀ R the covariance."""


def _moments(x: Tensor) -> Moments:
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / math.sqrt(len(x) - 1), mode="r").R


def _distance(first: Moments, second: Moments) -> Tensor:
    (mean, root), (other_mean, other_root) = first, second
    common = torch.linalg.svdvals(root @ other_root.T).sum()
    spread = root.square().sum() + other_root.square().sum() - 2 * common
    total: Tensor = (mean - other_mean).square().sum() + spread.clamp(min=0)
    return total


def _left_out(x: Tensor) -> list[Moments]:
    """The moments without each group in turn."""
    groups = min(GROUPS, len(x))
    place = torch.arange(len(x)) % groups
    return [_moments(x[place != group]) for group in range(groups)]


def _vectors(name: str, value: Any) -> Tensor:
    """``value``, if it is (N, d), on the CPU."""
    found = real_tensor(name, instance(name, value, Tensor, "torch.as_tensor makes one."))
    if found.ndim != 2 or found.shape[1] == 0:
        raise ValueError(
            f"{name} must have shape (N, d); received {tuple(found.shape)}. x.flatten(1) makes "
            "vectors of images."
        )
    return found.detach().cpu()


def _body(shape: Shape) -> nn.Module:
    """Convolutions, an average over what is left of the image, and one hidden layer."""
    layers: list[nn.Module] = []
    before, side = shape[0], min(shape[1:])
    for place, width in enumerate(WIDTHS):
        halve = side > (SIDE if place else LARGE)
        layers.append(nn.Conv2d(before, width, 3, stride=2 if halve else 1, padding=1))
        layers += [nn.GroupNorm(8, width), nn.SiLU()]
        before, side = width, (side + 1) // 2 if halve else side
    layers += [nn.AdaptiveAvgPool2d(SIDE), nn.Flatten()]
    layers += [nn.Linear(before * SIDE**2, FEATURES), nn.SiLU()]
    return nn.Sequential(*layers)


def _train(network: FeatureNetwork, images: Tensor, targets: Tensor, steps: int, seed: int) -> None:
    """AdamW on the cross-entropy, with a learning rate that falls to 0 in a straight line."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [*network.body.parameters(), *network.head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01)
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / steps)
            index = torch.randint(len(images), (BATCH,), generator=generator)
            scores = network.head(network.body(network.inputs(images[index])))
            optimizer.zero_grad()
            cross_entropy(scores, targets[index]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
