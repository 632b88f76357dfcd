"""The folder of the toy: whose it is, and what has been measured for which configuration.

    toy.json       says that the folder is the toy's
    training/      checkpoints (:mod:`smdtheory.models.checkpoint`)
    measured.npz   rows and points of the last configuration
    rows.csv, figure.png, figure.pdf

Asked for the same configuration again, the toy takes what measured.npz holds.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from importlib.metadata import version
from typing import Any

import numpy as np

from smdtheory import options
from smdtheory.families import RECIPES_VERSION
from smdtheory.files import canonical, digest, write_atomically
from smdtheory.toy.config import ToyConfig

FORMAT = {"format": "smdtheory toy", "version": 1}
MARKER, MEASURED = "toy.json", "measured.npz"
CURE = "Name another with --out."

NUMERICS_VERSION = 1
"""Raise it when a number may come out differently: what was measured before is not reused."""


def claim(config: ToyConfig) -> None:
    """Make the folder the toy's own.

    Raises:
        ValueError: if it is a file, holds other things, or cannot be written.
    """
    folder = config.out
    try:
        options.make_folder(folder)
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
        if names and MARKER not in names:
            raise ValueError(
                f"the output folder must be new, empty or the toy's own; {folder} holds other "
                f"files ({min(names)!r} is one). {CURE}"
            )
        write_atomically(folder / MARKER, canonical(FORMAT) + "\n")
    except OSError as error:
        raise ValueError(
            f"the output folder must be writable; received {folder}: {error.strerror}. {CURE}"
        ) from error


def _key(config: ToyConfig) -> str:
    numerics = {
        "numerics": NUMERICS_VERSION,
        "recipes": RECIPES_VERSION,
        "smdtheory": version("smdtheory"),
    }
    return digest(config.identity | numerics)


def load(config: ToyConfig) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
    """Rows and points, if the last run was of this configuration; whatever is damaged is not."""
    try:
        with np.load(config.out / MEASURED, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = str(arrays.pop("rows"))
        if str(arrays.pop("key")) != _key(config):
            return None
        return json.loads(text), arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save(config: ToyConfig, rows: list[dict[str, Any]], points: dict[str, Any]) -> None:
    """Keep rows and points for the next call.

    Raises:
        OSError: if the file cannot be written; the one before stays.
    """
    content = io.BytesIO()
    words: dict[str, Any] = {"rows": json.dumps(rows), "key": _key(config)}
    np.savez_compressed(content, **words, **points)
    write_atomically(config.out / MEASURED, content.getvalue())
