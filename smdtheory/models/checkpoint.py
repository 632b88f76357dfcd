"""Checkpoints of a training run, complete or absent, in a folder of their own or with other files.

    step-00000500.safetensors   every tensor after 500 steps
    step-00000500.json          the configuration, and the SHA-256 of the file above

The JSON is written last and is what makes a checkpoint: whatever is killed, and whenever, the
folder holds the checkpoint before or the new one. The last two are kept. Reading is strict and
never runs anything; one run at a time may write to a folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from smdtheory.checks import shown
from smdtheory.files import digest, write_atomically

FORMAT = {"format": "smdtheory fit", "version": 1}
FIELDS = {*FORMAT, "step", "seconds", "torch", "configuration", "tensors", "check"}
NAME = re.compile(r"step-(\d{8,})\.(json|safetensors)")
KEPT = 2

Configuration = dict[str, Any]


class DamagedError(ValueError):
    """A checkpoint does not hold what was written."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is known after so many steps.

    Attributes:
        step: how many.
        seconds: how long they took.
        configuration: what the run is; JSON values by name.
        tensors: everything else, by name.
    """

    step: int
    seconds: float
    configuration: Configuration
    tensors: dict[str, Tensor]


def check_path(folder: Any) -> Path:
    """``folder`` as a path.

    Raises:
        TypeError: if it is none.
    """
    try:
        return Path(folder)
    except TypeError as error:
        raise TypeError(f"folder must be a path; received {shown(folder)}") from error


def open_folder(folder: Any) -> Path:
    """The path of a folder that can be written to, made where it does not exist.

    Raises:
        TypeError: if ``folder`` is not a path.
        ValueError: if it cannot be made or written to.
    """
    path = check_path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ValueError(
            f"folder must be one that can be written to; received {path}: {error.strerror}. "
            "Give another."
        ) from error
    return path


def path_of(folder: Path, step: int) -> Path:
    """The JSON file of the checkpoint after ``step`` steps."""
    return folder / f"step-{step:08d}.json"


def steps_in(folder: Path) -> list[int]:
    """After how many steps there are checkpoints, the last one first."""
    found = (NAME.fullmatch(path.name) for path in folder.glob("step-*.json"))
    return sorted({int(match[1]) for match in found if match}, reverse=True)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, and forget those before the one before it.

    Raises:
        OSError: if it cannot be written; the checkpoints that were there stay.
    """
    path = path_of(folder, checkpoint.step)
    data = safetensors.save(checkpoint.tensors)
    document = {
        **FORMAT,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "torch": str(torch.__version__),
        "configuration": checkpoint.configuration,
        "tensors": hashlib.sha256(data).hexdigest(),
    }
    text = json.dumps({**document, "check": digest(document)}, indent=1)
    write_atomically(path.with_suffix(".safetensors"), data)
    write_atomically(path, text + "\n")
    kept = steps_in(folder)[:KEPT]
    for old in sorted(folder.iterdir()):  # of a checkpoint the JSON comes first
        match = NAME.fullmatch(old.name)
        if match and int(match[1]) not in kept:
            old.unlink()


def read(folder: Path, step: int) -> Checkpoint:
    """The checkpoint after ``step`` steps.

    Raises:
        DamagedError: naming the file and the cure, if it is not exactly what was written.
    """
    path = path_of(folder, step)
    try:
        document = _document(path, step)
        path = path.with_suffix(".safetensors")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != document["tensors"]:
            raise ValueError("its SHA-256 is not the one in the JSON file beside it")
        tensors = safetensors.load(data)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        before = [other for other in steps_in(folder) if other < step]
        cure = (
            f"resume='fallback' sets it aside and goes on from step {before[0]}, --resume fallback "
            "in a command that has it; so does any command once it is moved away."
            if before
            else "There is none before it: move it away to train from the beginning."
        )
        raise DamagedError(
            f"a checkpoint must hold exactly what fit wrote; {path} does not: {error}. {cure}"
        ) from error
    return Checkpoint(step, document["seconds"], document["configuration"], tensors)


def latest(
    folder: Path, configuration: Configuration, resume: bool | Literal["fallback"]
) -> Checkpoint | None:
    """The last checkpoint of this configuration; None where there is none at all.

    Args:
        folder: where to look.
        configuration: what the run is; that of the checkpoint must be the same.
        resume: whether there may be one. With "fallback", a last one that is damaged is set aside
            (under the name ``*.damaged``) and the one before it taken.

    Raises:
        DamagedError: if a checkpoint is damaged and there is nothing to fall back to.
        ValueError: if the checkpoint belongs to another configuration, or if there is one where
            there may not be.
    """
    steps = steps_in(folder)
    if steps and resume is False:
        raise ValueError(
            f"with resume=False the folder must hold no checkpoint; {folder} holds one of step "
            f"{steps[0]}. Give another folder, or resume=True to go on from it."
        )
    for place, step in enumerate(steps):
        try:
            found = read(folder, step)
        except DamagedError:
            if resume != "fallback" or step == steps[-1]:
                raise
            continue
        check_same(configuration, found.configuration, path_of(folder, step))
        for damaged in steps[:place]:
            for suffix in (".json", ".safetensors"):
                path = path_of(folder, damaged).with_suffix(suffix)
                if path.exists():
                    os.replace(path, path.with_name(path.name + ".damaged"))
        return found
    return None


def check_same(wanted: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """Compare two configurations, entry by entry.

    Raises:
        ValueError: if they differ, naming the first few entries that do.
    """
    differing = [
        f"{name}: {found.get(name, 'absent')} there, {wanted.get(name, 'absent')} here"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise ValueError(
            f"a checkpoint serves only the configuration it was written for; {path} is of another "
            f"({'; '.join(differing[:4])}{more}). Nothing was changed: give another folder, or "
            "the configuration that is there."
        )


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _document(path: Path, step: int) -> dict[str, Any]:
    document = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse)
    if not isinstance(document, dict) or set(document) != FIELDS:
        raise ValueError("it is not the JSON of a checkpoint")
    check = document.pop("check")
    if digest(document) != check or document["step"] != step:
        raise ValueError("it was changed after it was written")
    if any(document[name] != value for name, value in FORMAT.items()):
        raise ValueError("it is of another version of smdtheory")
    plain = isinstance(document["configuration"], dict) and isinstance(document["seconds"], float)
    if not plain:
        raise ValueError("it is not the JSON of a checkpoint")
    return document
