"""CIFAR-10 from local files, checked before they are read, and read without executing anything.

The batches are pickles, and a pickle can ask for any function to be called. Here whatever it asks
for is written down instead: the arrays are put together from these notes, as plain bytes.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
TEST = "test_batch"

CHECKSUMS = {
    ARCHIVE: "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    TEST: "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the official files."""

MOST_BYTES = 2**26
"""A batch of 10000 images has 31 MB."""

SHAPE = (3, 32, 32)

RULE = "path must lead to the python version of CIFAR-10"

INSTRUCTIONS = (
    f"Download {ARCHIVE} (170 MB) from https://www.cs.toronto.edu/~kriz/cifar.html and give the "
    f"path of the archive, of the folder {FOLDER} in it, or of the folder that either lies in. "
    "Nothing is downloaded for you."
)


@dataclass(frozen=True, eq=False)
class Cifar:
    """CIFAR-10 as it is on disk.

    Attributes:
        train: (50000, 3, 32, 32) uint8.
        train_labels: (50000,) int64, 0..9.
        test: (10000, 3, 32, 32) uint8.
        test_labels: (10000,) int64.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def is_cifar10(path: Path) -> bool:
    """Whether a path looks like CIFAR-10: an archive, or a folder with the archive or its files.

    Example:
        >>> is_cifar10(Path("nowhere"))
        False
    """
    if path.is_file():
        return path.name.endswith((".tar.gz", ".tgz"))
    files = any((path / name).is_file() for name in (ARCHIVE, "data_batch_1"))
    return files or (path / FOLDER).is_dir()


def read_cifar10(path: Path | None, _checksums: Mapping[str, str] | None = None) -> Cifar:
    """The images and labels of the official archive.

    Args:
        path: the archive, the folder cifar-10-batches-py, or the folder that either lies in.

    Raises:
        ValueError: with instructions if they are not there; if a file is not the official one, by
            its MD5; or if it holds anything but images and labels.
    """
    expected = CHECKSUMS if _checksums is None else _checksums
    if path is None or not is_cifar10(path):
        raise ValueError(f"{RULE}; received {path}. {INSTRUCTIONS}")
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    archive = path if path.is_file() else path / ARCHIVE
    batches = {}
    try:
        unpacked = folder != path or (folder / "data_batch_1").is_file()
        files = _from_folder(folder) if unpacked else _from_archive(archive, expected)
        for name, content in files:
            _check_md5(name, hashlib.md5(content, usedforsecurity=False).hexdigest(), expected)
            batches[name] = read_batch(content, name)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{RULE}; received {path}: {reason}. {INSTRUCTIONS}") from error
    missing = [name for name in expected if name != ARCHIVE and name not in batches]
    if missing:
        raise ValueError(f"{RULE}; received {path}, without {', '.join(missing)}. {INSTRUCTIONS}")
    train = [batches[name] for name in sorted(batches) if name != TEST]
    pixels, labels = (torch.cat(parts) for parts in zip(*train, strict=True))
    return Cifar(pixels, labels, *batches[TEST])


def _from_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in CHECKSUMS:
        file = folder / name
        if name != ARCHIVE and file.is_file():
            _check_size(name, file.stat().st_size)
            yield name, file.read_bytes()


def _from_archive(archive: Path, expected: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The batches in the archive, which is read in memory and unpacked nowhere."""
    wanted = {f"{FOLDER}/{name}": name for name in CHECKSUMS}
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        _check_md5(ARCHIVE, found.hexdigest(), expected)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None and member.name in wanted:
                    _check_size(member.name, member.size)
                    yield wanted[member.name], content.read()


def _check_md5(name: str, found: str, expected: Mapping[str, str]) -> None:
    if found != expected[name]:
        raise ValueError(
            f"{name} must be the official file, MD5 {expected[name]}; received one of MD5 {found}, "
            f"and did not read it. {INSTRUCTIONS}"
        )


def _check_size(name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(
            f"{name} must have at most {MOST_BYTES} bytes; received {size}. {INSTRUCTIONS}"
        )


# --- pickles, read as data ---------------------------------------------------------------------


class _Note:
    """A call that a pickle asks for, written down and not made."""

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Finds a note for each name that an array of bytes needs, and nothing for any other."""

    NAMES = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encoder()
        if (module, name) in self.NAMES:
            return _Note
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")


def _encoder() -> Callable[[str, str], bytes]:
    """A new function each time, so that a pickle that writes to it changes nothing else."""

    def encode(text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r:.40}")
        return text.encode("latin1")

    return encode


def read_batch(content: bytes, name: str = "batch") -> tuple[Tensor, Tensor]:
    """The images (n, 3, 32, 32) uint8 and labels (n,) int64 of one batch.

    Args:
        content: of the file: a pickled dictionary of ``data`` (n, 3072), uint8, and ``labels``.
        name: for messages.

    Raises:
        ValueError: if it is anything else. Nothing in it is executed.

    Example:
        >>> read_batch(pickle.dumps(print))
        Traceback (most recent call last):
        ...
        ValueError: batch must be a CIFAR-10 batch, ...: it asks for builtins.print, ...
    """
    try:
        entries = _Reader(io.BytesIO(content), encoding="bytes").load()
        images, labels = _array(entries[b"data"]), entries[b"labels"]
        integers = [label for label in labels if type(label) is int and 0 <= label <= 9]
        if type(labels) is not list or not len(labels) == len(integers) == len(images) > 0:
            raise ValueError("its labels are not one number 0..9 for each image")
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(
            f"{name} must be a CIFAR-10 batch, a dictionary of images and labels; received "
            f"something else, of which nothing was executed: {str(error) or repr(error):.200}"
        ) from error
    return images, torch.tensor(integers)


def _array(note: Any) -> Tensor:
    """The array that a note describes, by numpy's format: version, shape, dtype, order, bytes."""
    if type(note) is not _Note:
        raise ValueError("its data are not an array")
    _, shape, dtype, fortran, content = note.state
    if type(dtype) is not _Note or dtype.arguments[0] not in ("u1", b"u1"):
        raise ValueError("its data are not bytes")
    if type(content) is not bytes or shape != (len(content) // 3072, 3072):
        raise ValueError("its data do not have shape (n, 3072)")
    array = np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(array.copy(order="C").reshape(-1, *SHAPE))
