"""Training on images on a GPU: images a second, memory, share of the device's matrix peak.

``python tests/benchmarks/gpu.py`` measures a Gaussian U-Net and the soft mixture with each way of
modulating it, side by side in one run, bf16; needs the ``images`` extra and an idle GPU. The peak
is that of one large matrix product, measured in the same run. ``--preset base --latent 100`` is the
configuration of the paper's authors; ``--device cpu --preset tiny --size 8 --channels 1`` tries the
script out. ``--accounting`` needs no GPU: it adds up the bytes of a training step in float32,
without computing it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from smdtheory.images.arms import NETWORKS
from smdtheory.images.denoisers import untrained_image
from smdtheory.images.unets import AUTHORS
from smdtheory.models import objectives
from smdtheory.models.learned import LearnedDenoiser

ROUNDS, STEPS = 5, 10
"""Rounds in which the networks take turns, and training steps of a network in each."""

PRODUCT = 8192
"""Rows and columns of the matrices whose product is the peak; 512 on a CPU."""

ARMS = ("gaussian", "scale_shift", "low_rank", "both")
"""A Gaussian, and soft mixtures by their modulation."""


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        preset: size of the U-Net.
        size: height and width.
        channels: of an image.
        batch: images in a step; a quarter of them for soft mixtures under the likelihood.
        latent: dimension of the latent; that of the preset if absent.
        objective: of the soft mixtures.
        device: cuda or cpu.
        accounting: add up bytes instead, of the authors' configuration.
    """

    preset: Literal["tiny", "small", "base"] = "small"
    size: int = 32
    channels: int = 3
    batch: int = 128
    latent: int | None = None
    objective: Literal["mse", "energy", "likelihood"] = "mse"
    device: str = "cuda"
    accounting: bool = False


class Trainer:
    """A network, its optimiser, and a batch of noise."""

    def __init__(self, arm: str, options: Options) -> None:
        shape = (options.channels, options.size, options.size)
        soft = arm != "gaussian"
        chosen = {"modulation": arm, "latent": options.latent} if soft else {}
        made = untrained_image("soft" if soft else "level", shape, options.preset, **chosen)
        self.model: LearnedDenoiser = made.to(options.device)
        kind = NETWORKS[f"soft_{options.objective}" if soft else "gaussian"]
        self.objective, self.batch = kind.objective, max(1, options.batch // kind.parts)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.device = torch.device(options.device)
        self.x_0 = torch.randn(self.batch, self.model.dim, device=self.device)
        self.snr = torch.ones(self.batch, dtype=torch.float64, device=self.device)
        self.generator = torch.Generator(self.device).manual_seed(0)

    def step(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.objective(self.model, self.x_0, self.x_0, self.snr, self.generator)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()


def seconds(function: Callable[[], object], times: int, device: torch.device) -> float:
    """Of one call, on average; work that was sent to a GPU is waited for."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        function()
    wait(device)
    return (time.perf_counter() - start) / times


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_of_products(device: torch.device) -> float:
    """Operations a second of a bf16 matrix product."""
    n = PRODUCT if device.type == "cuda" else 512
    left, right = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds(lambda: left @ right, 3, device)
    return 2 * n**3 / min(seconds(lambda: left @ right, 10, device) for _ in range(5))


def measure(options: Options) -> list[dict[str, object]]:
    """A row for each network."""
    device = torch.device(options.device)
    best, rows = peak_of_products(device), []
    rounds = ROUNDS if device.type == "cuda" else 2
    trainers = {arm: Trainer(arm, options) for arm in ARMS}
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    peaks: dict[str, float] = {}
    for arm, trainer in trainers.items():  # warm up, and count
        trainer.step()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            trainer.step()
            wait(device)
            state = 16 * sum(p.numel() for p in trainer.model.parameters())
            peaks[arm] = torch.cuda.max_memory_allocated(device) - before + state
    for _ in range(rounds):
        for arm, trainer in trainers.items():
            times[arm].append(seconds(trainer.step, STEPS if device.type == "cuda" else 2, device))
    speed = trainers["gaussian"].batch / statistics.median(times["gaussian"])
    for arm, trainer in trainers.items():
        with FlopCounterMode(display=False) as counter:
            trainer.step()
        taken = statistics.median(times[arm])
        rows.append({
            "network": arm,
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "images a second": trainer.batch / taken,
            "speed beside gaussian": trainer.batch / taken / speed,
            "peak memory (GiB)": peaks[arm] / 2**30 if arm in peaks else None,
            "share of the peak": counter.get_total_flops() / taken / best,
        })  # fmt: skip
    return rows


def account(batch: int, objective: str) -> float:
    """GiB of the largest moment of the second training step of the authors' soft mixture."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode():
        model = untrained_image("soft", AUTHORS.shape, AUTHORS.preset, latent=AUTHORS.latent)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=False)
        tracker = MemTracker()
        tracker.track_external(model, optimiser)
        with tracker:
            for _ in range(2):  # the optimiser has its state from the first on
                x_0, snr = torch.randn(batch, model.dim), torch.ones(batch, dtype=torch.float64)
                score = objectives.OBJECTIVES[objective]
                score(model, x_0, x_0, snr, torch.Generator()).backward()
                optimiser.step()
                optimiser.zero_grad()
                tracker.reset_mod_stats()
    (found,) = tracker.get_tracker_snapshot("peak").values()
    average = 4 * sum(p.numel() for p in model.parameters())
    return (found["Total"] + average) / 2**30


def main() -> None:
    options = tyro.cli(Options)
    if options.accounting:
        print(
            f"soft mixture, {AUTHORS.shape}, preset {AUTHORS.preset}, latent {AUTHORS.latent}, "
            f"both modulations, batch {AUTHORS.batch}, float32, with optimiser and average:"
        )
        for objective, shards in (("mse", 1), ("energy", 1), ("energy", 4)):
            gib = account(AUTHORS.batch // shards, objective)
            print(f"  {objective}, {shards} shard{'s' * (shards > 1)}: {gib:.1f} GiB", flush=True)
        return
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    about = {"device": name, "torch": torch.__version__, **asdict(options)}
    print(json.dumps({"about": about, "rows": measure(options)}, indent=1))


if __name__ == "__main__":
    main()
