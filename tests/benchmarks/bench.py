"""Speed and memory, side by side with scikit-learn and torch: ``python tests/benchmarks/bench.py``.

Prints ratios measured in one run; run it on an idle machine. Needs the ``test`` extra. Parts can be
named: ``bench.py density memory ladder monte_carlo table posterior training low_rank images
sweep workers pages overhead explore``.
"""

from __future__ import annotations

import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.explore import view
from smdtheory.measure import best_gaussian_errors, error_table
from smdtheory.models.configuration import Settings
from smdtheory.models.networks import LowRankPlusIdentity, low_rank_plus_identity
from smdtheory.models.objectives import DRAWS
from smdtheory.models.oracle import BestGaussian
from smdtheory.models.recipes import RECIPES, TRAINED, WIDTH, parameters_of, untrained
from smdtheory.models.training import Training
from smdtheory.plots.live import LiveStep
from smdtheory.truth.posterior import marginal_at, posterior_at

BATCH = 256
"""Draws in a training step, the same for every network."""

SIZES = ((100_000, 8, 2), (20_000, 49, 2), (5_000, 16, 32), (2_000, 10, 256))


def medians(*functions: Callable[[], object], turns: int = 5, calls: int = 10) -> list[float]:
    """Median times in seconds of functions that take turns, each called ``calls`` times in a row.

    The first half of a turn is not counted: it waits for another library's threads to sleep.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(turns):
        for function, measured in zip(functions, times, strict=True):
            for call in range(calls):
                start = time.perf_counter()
                function()
                if call >= calls // 2:
                    measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in times]


def peak() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def density() -> None:
    """log_prob against scikit-learn's score_samples and torch's MixtureSameFamily."""
    print("log_prob, float64, full covariances (ms; in brackets, how many times ours)")
    print(f"{'N, K, d':>18} {'ours':>8} {'scikit-learn':>18} {'torch':>18} {'product alone':>16}")
    ratios: tuple[list[float], list[float]] = ([], [])
    for N, K, d in SIZES:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int, generator: torch.Generator = generator) -> torch.Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator)

        x, means, factors = normal(N, d), normal(K, d), normal(K, d, d)
        matrices = factors @ factors.mT + 0.1 * d * torch.eye(d, dtype=torch.float64)
        matrices = (matrices + matrices.mT) / 2
        weights = torch.full((K,), 1 / K, dtype=torch.float64)
        ours = GaussianMixture(weights, means, matrices)
        theirs = SklearnMixture(K)
        theirs.weights_, theirs.means_ = weights.numpy(), means.numpy()
        theirs.covariances_ = matrices.numpy()
        theirs.precisions_cholesky_ = _compute_precision_cholesky(matrices.numpy(), "full")
        peer = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, matrices))
        array, product = x.numpy(), factors.reshape(K * d, d)
        difference = ours.log_prob(x) - torch.from_numpy(theirs.score_samples(array))
        assert difference.abs().max() < 1e-9
        a, b, c, m = medians(
            lambda q=ours, x=x: q.log_prob(x),
            lambda q=theirs, x=array: q.score_samples(x),
            lambda q=peer, x=x: q.log_prob(x),
            lambda w=product, x=x: w @ x.mT,
        )
        ratios[0].append(b / a)
        ratios[1].append(c / a)
        print(
            f"{f'{N}, {K}, {d}':>18} {1e3 * a:8.2f} {1e3 * b:10.2f} ({b / a:4.1f}×) "
            f"{1e3 * c:10.2f} ({c / a:4.1f}×) {1e3 * m:16.2f}"
        )
    print(f"geometric mean: {_mean(ratios[0]):.1f} × scikit-learn, {_mean(ratios[1]):.1f} × torch")


def memory() -> None:
    """Memory of log_prob above inputs and outputs, N = 4 million."""
    mixture = presets.ring(8)
    x = torch.zeros(4_000_000, 2, dtype=torch.float64)
    mixture.log_prob(x[:1000])
    before = peak()
    result = mixture.log_prob(x)
    size = result.numel() * 8 / 2**20
    print(f"log_prob of 4,000,000 points: {peak() - before - size:.0f} MB above input and output")


def ladder() -> None:
    """best_gaussian_errors, all families, K = 8, d = 2, T = 1000, nothing cached."""
    mixture, chain = presets.ring(8), Schedule.cosine(1000)
    start = time.perf_counter()
    for family in FAMILIES:
        best_gaussian_errors(mixture, chain, family)
    print(f"best_gaussian_errors, six families, K = 8, d = 2, T = 1000: {_since(start):.2f} s")


def monte_carlo() -> None:
    """Nested Monte Carlo at equal error, on one step of a chain of 10."""
    mixture, chain, t = presets.ring(8), Schedule.cosine(10), 5
    start = time.perf_counter()
    exact = best_gaussian_errors(mixture, chain, "full")[t]
    ours = _since(start)
    generator = torch.Generator().manual_seed(0)
    snr_t, snr_s = chain.snr[t], chain.snr[t - 1]
    model = BestGaussian(mixture, "full")
    start = time.perf_counter()
    means = []
    for _ in range(40):  # x_t outside, x_s | x_t inside
        x_t = marginal_at(mixture, snr_t).sample(250, generator=generator)
        truth, law = posterior_at(mixture, x_t, snr_t, snr_s), model(x_t, snr_t, snr_s)
        x_s = truth.sample(400, generator=generator)
        means.append((truth.log_prob(x_s) - law.log_prob(x_s)).mean())
    nested = _since(start)
    sample = torch.stack(means)
    error = float(sample.std()) / math.sqrt(len(sample))
    factor = (error / float(exact.error)) ** 2
    z = (float(sample.mean()) - float(exact.value)) / error
    print(
        f"one M_t, K = 8, d = 2: quadrature {float(exact.value):.8f} ± {float(exact.error):.0e} in "
        f"{ours:.2f} s for all ten;\n  nested Monte Carlo ± {error:.0e} in {nested:.2f} s "
        f"({z:+.1f} standard errors off), so at equal error, by 1/√n,\n"
        f"  {nested * factor:.1e} s: {nested * factor / ours:.1e} times longer; "
        f"at an error of 1e-6 still {nested * (error / 1e-6) ** 2 / ours:.1e} times"
    )


def table() -> None:
    """error_table with 1,000 levels, each family, curves computed once."""
    mixture, chain = presets.ring(8), Schedule.cosine(1000)
    for family in FAMILIES:
        start = time.perf_counter()
        error_table(mixture, chain, family)
        print(f"error_table, 1000 levels, {family}: {_since(start):.2f} s")


def posterior() -> None:
    """d = 3072, K = 10, rank 32: posterior mean, diagonal and trace for 1,000 points."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(10, 3072, generator=generator)
    factors = torch.randn(10, 3072, 32, generator=generator)
    mixture = GaussianMixture.low_rank([0.1] * 10, means, factors, [0.1] * 10)
    x = torch.randn(1000, 3072, dtype=torch.float64, generator=generator)
    before, start = peak(), time.perf_counter()
    for block in x.split(128):
        law = posterior_at(mixture, block, torch.tensor(0.5), torch.tensor(2.0))
        _ = law.mean, law.variance.sum(-1)
    print(
        f"posterior moments, d = 3072, K = 10, rank 32, 1000 points: {_since(start):.2f} s, "
        f"{peak() - before:.0f} MB more"
    )


def training() -> None:
    """Training steps of the recipes at equal width and equal batch."""
    mixture = presets.ring(8)
    runs = {"gaussian": 1, "soft_mse": 1, "soft_energy": DRAWS}
    steps = []
    for name in runs:
        recipe = RECIPES[name]
        settings = Settings(
            steps=10_000,
            batch=BATCH,
            learning_rate=recipe.learning_rate,
            weight_decay=0.0,
            warmup=100,
            ema=0.999,
            clip=1.0,
            log_snr=TRAINED,
            seed=0,
        )
        made = untrained(name, mixture)
        steps.append(Training(made, mixture, recipe.objective, settings, torch.device("cpu")))
    times = medians(*(run.advance for run in steps), turns=6, calls=10)
    print(f"training, ring of 8, width {WIDTH}, batches of {BATCH}:")
    for run, seconds, (name, evaluations) in zip(steps, times, runs.items(), strict=True):
        print(
            f"  {name:>12} {1 / seconds:6.0f} steps/s, {times[0] / seconds:.2f} × gaussian's "
            f"({evaluations} network evaluation{'s' * (evaluations > 1)} per x_t, "
            f"{parameters_of(run.model):,} parameters)"
        )
    print("  wanted: soft_mse at least 0.50 × gaussian, the same objective at the same width")


def low_rank() -> None:
    """The low-rank-plus-identity layer against its matrices, forwards and backwards."""
    batch, positions, rank, width, maps = 32, 16 * 16, 100, WIDTH, 2
    torch.manual_seed(0)
    layer = LowRankPlusIdentity(width, rank, maps)
    torch.nn.init.normal_(layer.leave.weight, std=rank**-0.5)
    h = torch.randn(batch, positions, width)
    r = torch.randn(batch, positions, rank, requires_grad=True)
    # of length 1, as s is about: else the products drown one of the two terms
    vectors = (torch.randn(batch, positions, maps, rank) / rank**0.5).requires_grad_()
    eye = torch.eye(rank)

    def as_matrix(r: torch.Tensor, v: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        matrix = v.unsqueeze(-1) * v.unsqueeze(-2) + s * eye
        return (matrix @ r.unsqueeze(-1)).squeeze(-1)

    def one(apply: Callable[..., torch.Tensor]) -> torch.Tensor:
        s = torch.nn.functional.softplus(layer.diagonal[0])
        return apply(r, vectors[..., 0, :], s)

    def whole(apply: Callable[..., torch.Tensor]) -> torch.Tensor:
        inside = layer.enter(h)
        s = torch.nn.functional.softplus(layer.diagonal)
        for v, scale in zip(vectors.unbind(-2), s, strict=True):
            inside = apply(inside, v, scale)
        return h + layer.leave(inside)

    leaves = {"map": [r, vectors, layer.diagonal], "layer": [vectors, *layer.parameters()]}
    pairs = {
        "map": (lambda: one(low_rank_plus_identity), lambda: one(as_matrix)),
        "layer": (lambda: layer(h, vectors), lambda: whole(as_matrix)),
    }
    size = batch * positions * rank**2 * 4 / 2**20
    print(
        f"low rank plus identity, batch {batch}, 16 × 16 positions, latent {rank}, float32, "
        f"forwards and backwards\n(each matrix form takes {size:.0f} MiB for every A)"
    )
    for name, forms in pairs.items():
        found = []
        for form in forms:
            out = form()
            found.append([out, *torch.autograd.grad(out.square().mean(), leaves[name])])
        gaps = [
            float((a - b).detach().norm() / b.detach().norm())
            for a, b in zip(*found, strict=True)
            if bool(b.any())
        ]
        worst = max(gaps)
        assert worst < 1e-5, f"the two forms of the {name} differ by {worst:.1e}"
        del found
        a, b = medians(
            *(
                lambda form=form, of=leaves[name]: torch.autograd.grad(form().square().mean(), of)
                for form in forms
            ),
            turns=3,
            calls=4,
        )
        what = "one A r" if name == "map" else f"the layer, {maps} maps at width {width}"
        print(
            f"  {what}: {1e3 * a:.1f} ms, as a matrix {1e3 * b:.0f} ms: {b / a:.0f} times longer; "
            f"values and gradients agree to {worst:.0e}"
        )
    print("  wanted: 20 times")


def images() -> None:
    """Training steps on images: a U-Net, and the same one with each way of modulating it."""
    from smdtheory.images.denoisers import untrained_image
    from smdtheory.images.networks import MODULATIONS
    from smdtheory.models import objectives

    shape, batch = (1, 8, 8), 32
    settings = Settings(
        steps=10_000,
        batch=batch,
        learning_rate=1e-3,
        weight_decay=0.0,
        warmup=100,
        ema=0.999,
        clip=1.0,
        log_snr=TRAINED,
        seed=0,
    )
    arms = {"gaussian": untrained_image("level", shape, "tiny")}
    for kind in MODULATIONS:
        arms[f"soft, {kind}"] = untrained_image("soft", shape, "tiny", modulation=kind)
    arms["soft_energy, both"] = untrained_image("soft", shape, "tiny")
    runs = [
        Training(
            made,
            lambda count, generator: torch.randn(count, math.prod(shape), generator=generator),
            objectives.energy if name.startswith("soft_energy") else objectives.mse,
            settings,
            torch.device("cpu"),
        )
        for name, made in arms.items()
    ]
    times = medians(*(run.advance for run in runs), turns=20, calls=2)
    print(f"training on images {shape}, preset tiny, batches of {batch}:")
    for name, run, seconds in zip(arms, runs, times, strict=True):
        print(
            f"  {name:>17} {batch / seconds:6.0f} images/s, {seconds / times[0]:.2f} × the time of "
            f"gaussian ({parameters_of(run.model):,} parameters)"
        )
    print(f"  soft_energy puts {DRAWS} images through the network for each that is counted")


def sweep() -> None:
    """The default sweep, cold, with and without training, and its help."""
    command = [sys.executable, "-m", "smdtheory.sweep"]
    start = time.perf_counter()
    subprocess.run([*command, "--help"], check=True, capture_output=True)
    print(f"--help: {_since(start):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("without training", ["--no-train"]), ("default", [])):
            start = time.perf_counter()
            whole = [*command, "--modes", "8", *options, "--out", f"{folder}/{name}"]
            subprocess.run(whole, check=True, capture_output=True)
            print(f"sweep, {name}, cold: {_since(start):.1f} s")


def workers() -> None:
    """A sweep of 200 analytic cells, cold, with one worker and with two."""
    command = [sys.executable, "-m", "smdtheory.sweep", "--no-train", "--no-figure"]
    command += ["--iterations", "1", "2", "5", "--modes", *map(str, range(3, 28))]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 2):
            options = ["--workers", str(count), "--out", f"{folder}/{count}"]
            start = time.perf_counter()
            subprocess.run([*command, *options], check=True, capture_output=True)
            times.append(_since(start))
            assert len(list(Path(folder, str(count), "cells").iterdir())) == 200
    print(
        f"200 analytic cells: one worker {times[0]:.1f} s, two {times[1]:.1f} s: "
        f"{times[0] / times[1]:.2f} times faster (wanted: 1.8)"
    )


def pages() -> None:
    """Analytic cells with freed memory kept for the next array, and handed back to the system."""
    options = ["--no-train", "--no-figure", "--workers", "1", "--modes", "16", "27"]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for place, change in enumerate(
            ("", "smdtheory.sweep.__main__.keep_memory = lambda: None; ")
        ):
            run = (
                "import sys, smdtheory.sweep.__main__; from smdtheory.sweep.__main__ import main; "
            )
            run += f"{change}sys.exit(main())"
            options_here = [*options, "--iterations", "1", "2", "5", "--out", f"{folder}/{place}"]
            start = _spent_by_children()
            subprocess.run(
                [sys.executable, "-c", run, *options_here], check=True, capture_output=True
            )
            times.append(_spent_by_children() - start)
    print(
        f"16 analytic cells, memory kept: {times[0]:.1f} s of processor time, "
        f"handed back {times[1]:.1f} s: "
        f"{times[1] / times[0]:.2f} times faster"
    )


@dataclass(frozen=True)
class Nothing:
    """A cell that takes no time."""

    number: int
    cost: float = 1.0
    shares: str = ""


def nothing(task: Nothing) -> list[dict[str, object]]:
    """The row of such a cell, as long as a real one."""
    words = {f"word{n}": "quadrature" for n in range(15)}
    return [{"steps": 1, **words, **{f"number{n}": task.number / 7 for n in range(30)}}]


def overhead() -> None:
    """What a cell costs besides its computation: sending it to a process, and keeping its row."""
    import bench  # by its name, so that the process finds it

    from smdtheory.store.folder import Store
    from smdtheory.sweep.engine import run_tasks
    from smdtheory.sweep.processes import processes

    count = 1000
    begun: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, processes(1) as pool:
        store = Store.open(Path(folder) / "store", 1)

        def finished(task: Nothing, rows: list[dict[str, object]]) -> None:
            store.add({"number": task.number}, rows)
            if not begun:  # the process is there
                begun.append((time.perf_counter(), time.process_time()))

        run_tasks(
            [bench.Nothing(number) for number in range(count + 1)],
            bench.nothing,
            pool,
            finished=finished,
            failed=lambda task, error: sys.exit(str(error)),
            claim=lambda task: store.claim({"number": task.number}, (1,)),
        )
        wall, own = time.perf_counter() - begun[0][0], time.process_time() - begun[0][1]
    print(
        f"a cell costs {1e3 * wall / count:.2f} ms besides its computation, "
        f"{1e3 * own / count:.2f} ms of them processor time (wanted: 10)"
    )


def explore() -> None:
    """A move of a slider: what is computed, and the picture."""
    print("explore, a move (ms; to be below 100):")
    for modes, steps, t in ((2, 10, 3), (2, 1000, 300), (6, 10, 3), (6, 1000, 300)):
        seen = view(2.0, 0.25, modes, steps, t)
        figure = LiveStep(list(seen.densities))
        parts: tuple[list[float], list[float]] = ([], [])
        for move in range(15):
            start = time.perf_counter()
            seen = view(2.0 + 0.01 * move, 0.25, modes, steps, t)
            middle = time.perf_counter()
            figure.draw(seen.x, seen.posterior, seen.densities, seen.errors, seen.heading)
            for times, span in zip(parts, (middle - start, _since(middle)), strict=True):
                times.append(1000 * span)
        first, second = (statistics.median(times[3:]) for times in parts)
        print(
            f"  {modes} modes, T = {steps:4}: {first + second:4.0f}  "
            f"({first:.0f} numbers, {second:.0f} picture)"
        )


def _spent_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _since(start: float) -> float:
    return time.perf_counter() - start


def _mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


PARTS = (density, memory, ladder, monte_carlo, table, posterior, training, low_rank, images, sweep,
         workers, pages, overhead, explore)  # fmt: skip

if __name__ == "__main__":
    names = sys.argv[1:] or [part.__name__ for part in PARTS]
    unknown = set(names) - {part.__name__ for part in PARTS}
    if unknown:
        sys.exit(f"parts are {', '.join(p.__name__ for p in PARTS)}; received {', '.join(unknown)}")
    if len(names) == 1:
        {part.__name__: part for part in PARTS}[names[0]]()
    else:  # each part in a process of its own: nothing cached, its own peak of memory
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
        for name in names:
            subprocess.run([sys.executable, __file__, name], check=True)
