"""From the description of a mixture, or the user's own, to the mixture itself."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smdtheory.checks import shown
from smdtheory.sweep.spec import DEFAULT_SEPARATION, DEFAULT_STD, RING_RADIUS, MixtureSpec
from smdtheory.truth import presets
from smdtheory.truth.mixture import GaussianMixture

PARAMETERS = ("weights", "means", "covariances")


def build(spec: MixtureSpec) -> GaussianMixture:
    """A preset mixture in R^dim; a shape of fewer dimensions lies in the first ones.

    Example:
        >>> build(MixtureSpec("ring", modes=8, dim=3))
        GaussianMixture(components=8, dim=3)
    """
    std = spec.std or DEFAULT_STD[spec.shape]
    separation = spec.separation or DEFAULT_SEPARATION
    if spec.shape == "random":
        generator = torch.Generator().manual_seed(spec.draw or 0)
        return presets.random(
            spec.modes, spec.dim, separation=separation, std=std, generator=generator
        )
    if spec.shape == "line":
        flat = presets.line(spec.modes, separation, std)
    elif spec.shape == "grid":
        flat = presets.grid(math.isqrt(spec.modes), separation, std)
    else:
        radius = RING_RADIUS
        if spec.separation is not None:
            radius = separation / (2 * math.sin(math.pi / spec.modes))
        flat = presets.ring(spec.modes, radius, std)
    if flat.dim == spec.dim:
        return flat
    means = torch.nn.functional.pad(flat.means, (0, spec.dim - flat.dim))
    return GaussianMixture(flat.weights, means, std**2)


def describe(mixture: GaussianMixture) -> MixtureSpec:
    """The description of a mixture of the user's own: its size and a fingerprint of its numbers.

    Raises:
        TypeError: for anything but a Gaussian mixture.
        ValueError: for a batch of mixtures.

    Example:
        >>> describe(presets.ring(8)).shape
        'custom'
    """
    if not isinstance(mixture, GaussianMixture):
        raise TypeError(f"mixture must be a GaussianMixture or a path; received {shown(mixture)}")
    if mixture.batch_shape:
        raise ValueError(
            "a sweep takes one mixture at a time; received a batch of shape "
            f"{tuple(mixture.batch_shape)}"
        )
    spectral = mixture.spectral
    tensors = [mixture.logits, mixture.means, spectral.eigenvalues, spectral.residual]
    if spectral.basis is not None:
        tensors.append(spectral.basis)
    return _custom(mixture, (tensor.detach().cpu().numpy() for tensor in tensors))


def load(path: Path) -> tuple[GaussianMixture, MixtureSpec]:
    """Read a mixture from a .json or .npz file with weights, means and covariances.

    Raises:
        ValueError: if there is no such file, or it does not describe a mixture.
    """
    readers = {".json": _read_json, ".npz": _read_npz}
    rule = "a mixture file must be .json or .npz with weights, means and covariances"
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{rule}; received {path}. Give it the ending of what it is.")
    try:
        found = reader(path)
        if set(found) != set(PARAMETERS):
            raise ValueError(f"it holds {', '.join(map(str, found)) or 'nothing'}")
        arrays = {name: _array(name, found[name]) for name in PARAMETERS}
        mixture = GaussianMixture(*(torch.from_numpy(arrays[name]) for name in PARAMETERS))
    except OSError as error:
        raise ValueError(f"{rule}; received {path}: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise ValueError(f"{rule}; received {path}: {str(error)[:300]}") from error
    return mixture, _custom(mixture, arrays.values())


UNREADABLE = (ValueError, TypeError, KeyError, EOFError, RecursionError, OverflowError,
              zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What the readers raise on files that are not what they seem."""


def _read_json(path: Path) -> Mapping[str, Any]:
    document = json.loads(path.read_bytes().decode("utf-8"))
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _read_npz(path: Path) -> Mapping[str, Any]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array, not an .npz archive")
    with archive:
        return {name: archive[name] for name in archive.files}


def _array(name: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be an array of real numbers")
    return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)


def _custom(mixture: GaussianMixture, arrays: Iterable[np.ndarray[Any, Any]]) -> MixtureSpec:
    content = hashlib.sha256()
    for array in arrays:
        content.update(repr(array.shape).encode())
        content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return MixtureSpec("custom", mixture.num_components, mixture.dim, content=content.hexdigest())
