"""Work for an engine: the name of a piece says what becomes of the worker that takes it up.

Imports nothing heavy, since every worker imports this module again.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Piece:
    name: str
    cost: float = 1.0
    shares: str = ""


def work(task: Piece) -> str:
    if task.name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.name == "raise":
        raise ValueError("no")
    if task.name.endswith(".once"):
        mark = Path(task.name)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if task.name == "threads":
        import torch

        return str(torch.get_num_threads())
    if task.name.startswith("pid"):
        return str(os.getpid())
    return task.name.upper()
