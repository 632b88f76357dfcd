"""Whatever is typed after a command: an answer, or status 2 and a message that says what is wrong.

Options are parsed and checked, files are read and folders opened; what would be computed is left
out.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import status_here

from smdtheory import audit
from smdtheory.images import __main__ as images_command
from smdtheory.images.config import ImagesConfig
from smdtheory.images.run import ImageRun
from smdtheory.steps import __main__ as steps_command
from smdtheory.steps.config import StepsConfig
from smdtheory.steps.data import read_samples
from smdtheory.sweep import __main__ as sweep_command
from smdtheory.sweep.config import SweepConfig
from smdtheory.sweep.phase import __main__ as phase_command
from smdtheory.sweep.phase import run as phase_run
from smdtheory.sweep.phase.config import PhaseConfig
from smdtheory.theory import claims
from smdtheory.toy import __main__ as toy_command
from smdtheory.toy import folder as toy_folder
from smdtheory.toy.config import ToyConfig

WORDS = [
    "", " ", "-", "--", "nan", "-inf", "inf", "-1", "0", "00", "1e400", "1e-400", "-0.0", "1e308",
    "9" * 20, "-" + "9" * 20, "9" * 5000, "1.5", "1_0", "0x10", "８", "½", "ü", "🙂", "\u202e",
    "a\nb", "\udcff", "\0", "None", "none", "True", "[]", "{}", "(1,)", "1,2", "a" * 5000,
    "b" * 300, "a/" * 2000, "/", "/dev/null", "/dev/full", "/proc/self/nothing", "..", ".", "~",
    "-h", "--help", "--out", "missing.json", "missing.npz", "missing.npy",
    "missing.csv", "missing/deep/x.json",
]  # fmt: skip
"""What no option wants, and some that a few do."""

GOOD = {
    "modes": "8", "shape": "line", "separation": "2.0", "std": "0.1", "dim": "2", "error": "0.5",
    "schedule": "linear", "iterations": "5", "families": "full", "seed": "1", "learned": "gaussian",
    "repeats": "1", "device": "cpu", "workers": "1", "ratios": "4", "only": "bridge", "steps": "3",
    "panels": "2", "draws": "200", "samples": "256", "data": "good.csv", "mixture": "good.json",
    "rows": "rows.csv", "stage": "report", "arms": "gaussian", "batch": "8", "budget": "long",
    "path": "pictures", "out": "fresh", "preset": "tiny", "size": "8",
}  # fmt: skip


def files() -> dict[str, bytes]:
    """Files of every kind that a command reads, whole and damaged, by name."""
    mixture = {"weights": [0.5, 0.5], "means": [[-1.0], [1.0]], "covariances": 0.25}
    whole = json.dumps(mixture)
    rng = np.random.default_rng(0)

    def packed(**arrays: Any) -> bytes:
        content = io.BytesIO()
        np.savez(content, **arrays)
        return content.getvalue()

    def saved(array: Any) -> bytes:
        content = io.BytesIO()
        np.save(content, array)
        return content.getvalue()

    def table(rows: np.ndarray) -> bytes:
        return "\n".join(",".join(map(str, row)) for row in rows).encode()

    data = rng.normal(size=(80, 2))
    arrays = {name: np.array(value) for name, value in mixture.items()}
    objects = np.array([{"a": 1}], dtype=object)
    return {
        "good.json": whole.encode(),
        "cut.json": whole[:30].encode(),
        "empty.json": b"",
        "list.json": b"[1, 2]",
        "deep.json": b"[" * 100_000,
        "nan.json": json.dumps({**mixture, "covariances": float("nan")}).encode(),
        "huge.json": whole.replace("0.25", "1" + "0" * 400).encode(),
        "text.json": json.dumps({**mixture, "means": "ab"}).encode(),
        "ragged.json": json.dumps({**mixture, "means": [[1], [1, 2]]}).encode(),
        "extra.json": json.dumps({**mixture, "std": 1}).encode(),
        "latin.json": "{\"weights\": \"é\"}".encode("latin-1"),
        "bytes.json": bytes(range(256)),
        "good.npz": packed(**arrays),
        "cut.npz": packed(**arrays)[:-40],
        "object.npz": packed(**{**arrays, "means": objects}),
        "array.npz": saved(data),
        "bytes.npz": bytes(range(256)),
        "good.npy": saved(data),
        "cut.npy": saved(data)[:-40],
        "object.npy": saved(objects),
        "complex.npy": saved(data + 1j),
        "cube.npy": saved(np.zeros((60, 2, 2))),
        "constant.npy": saved(np.ones((60, 2))),
        "none.npy": saved(np.zeros((0, 2))),
        "bytes.npy": bytes(range(256)),
        "good.csv": b"x,y\n" + table(data),
        "empty.csv": b"",
        "words.csv": b"a,b\nc,d\n" * 60,
        "ragged.csv": b"1,2\n3\n" * 40,
        "nan.csv": table(np.where(data > 2, np.nan, data)),
        "huge.csv": table(np.sign(data) * 1e308),
        "few.csv": table(data[:3]),
        "wide.csv": table(rng.normal(size=(60, 100))),
        "bytes.csv": bytes(range(256)) * 8,
        "rows.csv": b"mixture,arm,steps,M_sum\nring,full,3,0.5\n",
        "good.txt": table(data),
        "pictures/a.png": b"neither",
        "pictures/cifar-10-python.tar.gz": b"neither",
    }  # fmt: skip


FILES = files()


@dataclass(frozen=True)
class Command:
    """A command line, and what of it is not run."""

    main: Callable[[], int]
    config: type
    stub: Callable[[pytest.MonkeyPatch], None]


def nothing(*arguments: Any, **options: Any) -> int:
    return 0


def read_only(config: StepsConfig) -> int:
    if config.data is not None:
        read_samples(config.data)
    else:
        steps_command._mixture(config)
    return 0


def claimed(config: ToyConfig) -> int:
    toy_folder.claim(config)
    toy_folder.load(config)
    return 0


def opened(config: ImagesConfig) -> int:
    run = ImageRun(config, tell=nothing, progress=False)
    _ = run.first
    if config.data in ("cifar10", "folder"):
        _ = run.images
    run.remember()
    return 0


COMMANDS = {
    "sweep": Command(
        sweep_command.main, SweepConfig, lambda patch: patch.setattr(sweep_command, "_run", nothing)
    ),
    "sweep.phase": Command(
        phase_command.main,
        PhaseConfig,
        lambda patch: patch.setattr(phase_run, "run_tasks", nothing),
    ),
    "audit": Command(
        audit.main,
        audit.AuditConfig,
        lambda patch: patch.setattr(claims, "audit", lambda *a: iter(()), raising=False),
    ),
    "steps": Command(
        steps_command.main,
        StepsConfig,
        lambda patch: patch.setattr(steps_command, "_alone", read_only),
    ),
    "toy": Command(
        toy_command.main, ToyConfig, lambda patch: patch.setattr(toy_command, "_run", claimed)
    ),
    "images": Command(
        images_command.main,
        ImagesConfig,
        lambda patch: patch.setattr(images_command, "_run", opened),
    ),
}


def typed(command: Command, draw: random.Random) -> list[str]:
    """Up to three options with words that may be anything, most often wrong."""
    line: list[str] = []
    for field in draw.sample(fields(command.config), draw.randint(1, 3)):
        flag = "--" + field.name.replace("_", "-")
        line += [flag] if draw.random() < 0.98 else [flag + draw.choice(WORDS)]
        for _ in range(draw.choice((0, 1, 1, 1, 1, 2))):
            known = [GOOD[field.name]] if field.name in GOOD else []
            pools = ([*WORDS], [*FILES], known * 3)
            line.append(draw.choice(draw.choice([pool for pool in pools if pool])))
    if draw.random() < 0.05:
        line.append(draw.choice(WORDS))
    return line


OTHERWISE = ("Unrecognized", "folder", "statement", "path")
"""What messages name in place of an option: --out is the folder, --only has the statements."""


def try_out(name: str, count: int, seed: int, patch: Any, capsys: Any, folder: Path) -> None:
    command, draw = COMMANDS[name], random.Random(f"{name} {seed}")
    patch.chdir(folder)
    patch.setenv("COLUMNS", "100")
    for file, content in FILES.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    command.stub(patch)
    for _ in range(count):
        line = typed(command, draw)
        try:
            status = status_here(patch, command.main, *line)
        except Exception as error:
            raise AssertionError(f"{name} {line!r:.300} ends in a traceback") from error
        shown = capsys.readouterr()
        said = f"{name} {line!r:.300}: status {status}, {shown.err!r:.1500}"
        assert status in (0, 2), said
        if status == 2:
            assert shown.err.strip(), said
            assert "Traceback" not in shown.err, said
            assert not shown.err.startswith("error:") or len(shown.err) < 1500, said
            words = shown.err.replace("-", "_")
            typed_words = [word.strip("-").replace("-", "_")[:20] for word in line if len(word) > 2]
            assert any(word in words for word in (*typed_words, *OTHERWISE)), said
        for file, content in FILES.items():
            if not (folder / file).is_file():
                (folder / file).write_bytes(content)
    assert all((folder / file).read_bytes() == content for file, content in FILES.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_few_lines_end_with_an_answer_or_a_message(name, monkeypatch, capsys, tmp_path):
    try_out(name, 50, 0, monkeypatch, capsys, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_ends_otherwise(name, monkeypatch, capsys, tmp_path):
    try_out(name, 2000, 1, monkeypatch, capsys, tmp_path)
