"""Training: what it finds, that it can be stopped anywhere, and that nothing damaged is read."""

from __future__ import annotations

import functools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smdtheory import GaussianMixture
from smdtheory.models import Denoiser, checkpoint
from smdtheory.models.configuration import Settings
from smdtheory.models.fit import fit, load
from smdtheory.models.loop import Fit
from smdtheory.models.training import Training, learning_rate_factor, levels, noised
from smdtheory.truth.spectral import SpectralCovariance

STEPS, EVERY = 20, 5
MEAN, VARIANCE = 0.5, 0.3
DATA = GaussianMixture([1.0], [[MEAN]], VARIANCE)


def unit(means: torch.Tensor) -> GaussianMixture:
    """N(mean, I) for each row of means (B, d)."""
    one = means.new_ones(1)
    spectral = SpectralCovariance.isotropic(one, means.shape[-1])
    return GaussianMixture.from_spectral(one.log(), means.unsqueeze(-2), spectral)


class Linear(Denoiser):
    """The posterior mean of a Gaussian whose mean and variance are to be found."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(1))
        self.log_variance = torch.nn.Parameter(torch.zeros(1))

    def x0(self, x_t, snr_t):
        signal, variance = torch.sqrt(snr_t / (1 + snr_t)).to(x_t), self.log_variance.exp()
        slope = (signal * variance / (signal**2 * variance + 1 - signal**2)).unsqueeze(-1)
        return unit(self.mean + slope * (x_t - signal.unsqueeze(-1) * self.mean))


class Net(Denoiser):
    """All that a checkpoint must keep: buffers, dropout, a frozen and a shared parameter."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(2, width)
        self.norm = torch.nn.BatchNorm1d(width)
        self.drop = torch.nn.Dropout(0.2)
        self.last = torch.nn.Linear(width, 1)
        self.first.bias.requires_grad_(False)
        self.shared = self.last.weight
        self.never_used = torch.nn.Parameter(torch.ones(1))

    def x0(self, x_t, snr_t):
        features = torch.cat([x_t, snr_t.log().unsqueeze(-1).to(x_t)], -1)
        return unit(self.last(self.drop(torch.relu(self.norm(self.first(features))))))


def squared_error(denoiser, x_0, x_t, snr_t, generator):
    assert x_0.dtype == x_t.dtype == torch.float32
    assert snr_t.dtype == torch.float64
    weight = torch.rand(len(x_0), 1, generator=generator)
    return (weight * (denoiser.x0(x_t, snr_t).mean - x_0).square()).mean()


def other_error(*args):
    return squared_error(*args)


@dataclass(frozen=True)
class Scaled:
    factor: float

    def __call__(self, *args):
        return self.factor * squared_error(*args)


class At:
    """The objective, with something happening once, during step ``step`` (from 1 on)."""

    def __init__(self, step, happening):
        self.__qualname__ = squared_error.__qualname__
        self.left, self.happening = step, happening

    def __call__(self, *args):
        self.left -= 1
        loss = squared_error(*args)
        if self.left == 0:
            found = self.happening()
            return loss if found is None else loss * found
        return loss


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def run(folder=None, objective=squared_error, **changes) -> Fit:
    given = {"denoiser": None, "data": DATA, "steps": STEPS, "batch": 16, "every": EVERY}
    given |= {"log_snr": (-4.0, 4.0), "learning_rate": 0.01, "weight_decay": 0.1, "warmup": 4}
    given |= {"folder": folder, **changes}
    denoiser = given.pop("denoiser") or Net()
    return fit(denoiser, given.pop("data"), objective, **given)


def settings(**changes) -> Settings:
    given = {"steps": STEPS, "batch": 16, "learning_rate": 0.01, "weight_decay": 0.0, "warmup": 4}
    given |= {"ema": 0.5, "clip": 1.0, "log_snr": (-4.0, 4.0), "seed": 0}
    return Settings(**{**given, **changes})


def training(**changes) -> Training:
    return Training(Net(), DATA, squared_error, settings(**changes), torch.device("cpu"))


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.fixture(autouse=True)
def _usual_ctrl_c():
    """Workers of pytest-xdist ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, torch.Tensor]:
    """Every tensor at the end of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return checkpoint.read(folder, STEPS).tensors


def assert_ends_as(folder: Path, whole: dict[str, torch.Tensor], result: Fit) -> None:
    assert_same_bits(checkpoint.read(folder, STEPS).tensors, whole)
    assert torch.equal(result.losses, whole["losses"])
    for name, value in result.denoiser.state_dict().items():
        assert torch.equal(value, whole[f"average.{name}"])


# What training finds


@pytest.mark.parametrize("callable_data", [False, True])
def test_a_gaussian_is_recovered(callable_data):
    def draw(count, generator):
        noise = torch.randn(count, 1, generator=generator, dtype=torch.float64)
        return MEAN + math.sqrt(VARIANCE) * noise

    data = draw if callable_data else DATA
    size = {"steps": 300, "batch": 4096, "log_snr": (-3.0, 3.0), "learning_rate": 0.05}
    result = fit(Linear(), data, squared_error, ema=0.98, **size)
    # E[x_0|x_t] of N(m, v) has slope √ᾱ v/(ᾱ v + 1 − ᾱ). Over eight seeds the v found here has a
    # standard deviation of 0.5 % and the m found one of 0.001. The relative error of a slope is at
    # most that of v: 2.5 % and 0.01 are five standard deviations and more.
    for snr in (0.1, 1.0, 10.0):
        level = torch.full((2,), snr, dtype=torch.float64)
        points = torch.tensor([[0.0], [1.0]])
        low, high = result.denoiser.x0(points, level).mean.detach().flatten().tolist()
        alpha_bar = snr / (1 + snr)
        slope = math.sqrt(alpha_bar) * VARIANCE / (alpha_bar * VARIANCE + 1 - alpha_bar)
        assert high - low == pytest.approx(slope, rel=0.025)
        assert low == pytest.approx(MEAN * (1 - slope * math.sqrt(alpha_bar)), abs=0.01)
    assert result.losses.shape == (300,)
    assert result.losses[-100:].mean() < result.losses[:20].mean()
    assert result.steps == 300
    assert result.folder is None


def test_the_denoiser_given_and_the_callers_randomness_are_left_alone():
    denoiser = Net().eval()
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = run(denoiser=denoiser)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_bits(dict(denoiser.state_dict()), before)
    assert not denoiser.training
    assert not first.denoiser.training
    torch.rand(3)
    assert torch.equal(run().losses, first.losses)
    assert not torch.equal(run(seed=1).losses, first.losses)


def test_the_average_is_that_of_the_parameters_visited():
    ema, visited = 0.7, []
    state = training(ema=ema)
    for n in range(6):
        state.advance()
        visited.append(state.model.first.weight.detach().double())
        weights = [ema ** (n - i) for i in range(n + 1)]
        by_hand = sum(w * v for w, v in zip(weights, visited, strict=True)) / sum(weights)
        torch.testing.assert_close(state.average.first.weight.double(), by_hand, rtol=1e-5, atol=0)
    assert torch.equal(state.average.norm.running_mean, state.model.norm.running_mean)


def test_the_learning_rate_rises_and_falls_and_is_the_one_used():
    state = training(learning_rate=0.01)
    rates, changes = [], []
    for _ in range(STEPS):
        before = state.model.last.bias.detach().clone()
        state.advance()
        rates.append(state.rate)
        changes.append(float((state.model.last.bias - before).abs().detach()))
    by_hand = [0.0025, 0.005, 0.0075]
    by_hand += [0.01 * math.cos(math.pi * n / 32) ** 2 for n in (0, *range(16))]
    assert rates == pytest.approx(by_hand, rel=1e-12)
    assert rates[-1] < 1e-4
    assert changes[0] == pytest.approx(rates[0], rel=1e-3)  # Adam's first step has its full size
    assert all(c < 3 * r for c, r in zip(changes, rates, strict=True))
    assert [learning_rate_factor(n, 3, 3) for n in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert learning_rate_factor(0, 1, 0) == 1


def test_gradients_are_clipped():
    state = training(clip=1e-3)
    for _ in range(3):
        state.advance()
        gradients = [p.grad.norm() for p in state.model.parameters() if p.grad is not None]
        assert float(torch.stack(gradients).norm()) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("count", [1, 2, 256])
def test_levels_have_one_in_each_stratum(count):
    generator = torch.Generator().manual_seed(0)
    drawn = [levels(count, (-3.0, 5.0), generator) for _ in range(200)]
    places = torch.stack([(snr.log() + 3) / 8 * count for snr in drawn])
    assert torch.equal(places.floor().sort(-1).values, torch.arange(count).double().expand(200, -1))
    offsets = places - places.floor()
    assert float(offsets.std(-1, correction=0).max()) < 1e-9  # one lattice in each batch
    assert abs(float(offsets[:, 0].mean()) - 0.5) < 5 * math.sqrt(1 / 12 / 200)
    assert float(offsets.min()) < 0.05
    assert float(offsets.max()) > 0.95
    if count == 256:
        assert not torch.equal(places[0].argsort(), places[1].argsort())


def test_noise_is_exact_at_both_ends():
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.full((10_000, 1), 3.0)
    for snr in (1e-30, 0.25, 1.0, 4.0, 1e20):
        level = torch.full((10_000,), snr, dtype=torch.float64)
        rest = 1 / math.sqrt(1 + snr)
        zero = noised(torch.zeros_like(x_0), level, generator)
        assert zero.dtype == torch.float32
        assert float(zero.std()) == pytest.approx(rest, rel=0.04)  # 5 standard errors
        signal = math.sqrt(snr / (1 + snr))
        assert float(noised(x_0, level, generator).mean()) == pytest.approx(
            3 * signal, abs=0.05 * rest + 1e-6
        )


# Stopping and going on


@pytest.mark.parametrize("step", [1, EVERY, 7, STEPS])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path, whole, step):
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {step} of {STEPS}"):
        run(tmp_path, At(step, interrupt))
    assert checkpoint.steps_in(tmp_path)[0] == step
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_ends_as(tmp_path, whole, run(tmp_path))


IN_ANOTHER_PROCESS = """
import os, pathlib, signal, torch, test_fit
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = pathlib.Path({folder!r})
try:
    test_fit.run(folder, test_fit.At(7, lambda: os.kill(os.getpid(), signal.SIGINT)))
except KeyboardInterrupt:
    assert test_fit.checkpoint.steps_in(folder) == [7, 5]
    test_fit.run(folder, test_fit.At(6, lambda: os._exit(33)))  # its step 13
"""


def test_a_run_in_another_process_that_was_interrupted_and_killed_ends_with_the_same_bits(
    tmp_path, whole
):
    code = IN_ANOTHER_PROCESS.format(folder=str(tmp_path))
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": here}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 33, done.stderr.decode()
    assert checkpoint.steps_in(tmp_path) == [10, 7]
    assert_ends_as(tmp_path, whole, run(tmp_path))


def test_a_second_ctrl_c_is_not_held(tmp_path):
    def twice():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, At(7, twice))
    assert checkpoint.steps_in(tmp_path) == [5]


def test_a_programs_own_handling_of_ctrl_c_is_kept(tmp_path):
    received = []
    signal.signal(signal.SIGINT, lambda *_: received.append(1))
    assert run(tmp_path, At(7, interrupt)).steps == STEPS
    assert received == [1]


def test_ctrl_c_without_a_folder_says_that_nothing_was_kept():
    with pytest.raises(KeyboardInterrupt, match="Nothing was kept"):
        run(None, At(2, interrupt))


def test_a_finished_run_is_read_and_not_repeated(tmp_path):
    first = run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = everything(tmp_path)
    again = run(tmp_path, At(1, lambda: pytest.fail("a step was taken")), every=1, progress=False)
    assert everything(tmp_path) == before
    assert torch.equal(again.losses, first.losses)
    assert again.seconds == first.seconds > 0
    assert again.folder == tmp_path


def test_the_last_two_checkpoints_stay_and_no_other_file_is_touched(tmp_path):
    mine = ["step-1.json", "step-00000003.json.damaged", "notes.txt"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / "step-00000099.safetensors").write_text("left by a run killed between two files")
    run(tmp_path / "." / "sub" / "..")
    names = [f"step-000000{n}.{kind}" for n in (15, 20) for kind in ("json", "safetensors")]
    assert sorted(os.listdir(tmp_path)) == sorted([*mine, *names, "sub"])


# Damage


def last(folder: Path, kind: str) -> Path:
    return folder / f"step-000000{STEPS}.{kind}"


class Trap:
    def __reduce__(self):
        return os.system, ("touch executed",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def edited(path: Path) -> None:
    text = path.read_text()
    assert '"seed": 0' in text
    path.write_text(text.replace('"seed": 0', '"seed": 1'))


DAMAGE = [
    *[("json", change) for change in (cut, empty, flip, pickled, deep, edited)],
    *[("safetensors", change) for change in (cut, empty, flip, pickled, Path.unlink)],
]


@pytest.mark.parametrize(("kind", "change"), DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken_when_asked(
    tmp_path, monkeypatch, whole, kind, change
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    run(folder)
    change(last(folder, kind))
    if change is cut and kind == "json":  # its last byte is the end of the line
        cut(last(folder, kind))
    before = everything(folder)
    message = f"(?s){last(folder, kind).name} does not.*fallback.* goes on from step 15"
    with pytest.raises(ValueError, match=message):
        run(folder)
    with pytest.raises(ValueError, match=message):
        load(folder, Net())
    assert everything(folder) == before
    taken = At(STEPS, lambda: pytest.fail("it began at the beginning"))
    assert_ends_as(folder, whole, run(folder, taken, resume="fallback"))
    assert last(folder, "json").with_name(last(folder, "json").name + ".damaged").exists()
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_that_is_whole_is_not_set_aside(tmp_path):
    run(tmp_path)
    before = everything(tmp_path)
    run(tmp_path, resume="fallback")
    assert everything(tmp_path) == before


def test_with_no_whole_checkpoint_the_cure_is_to_begin_again(tmp_path):
    run(tmp_path)
    for step in (15, 20):
        flip(tmp_path / f"step-000000{step}.safetensors")
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"00000015.safetensors .*none before it: move it away"):
        run(tmp_path, resume="fallback")
    assert everything(tmp_path) == before


def forge(folder: Path, **changes) -> None:
    path = last(folder, "json")
    document = {**json.loads(path.read_text()), **changes}
    document.pop("check")
    path.write_text(json.dumps({**document, "check": checkpoint.digest(document)}))


@pytest.mark.parametrize("changes", [{"version": 2}, {"configuration": []}, {"seconds": "1"}])
def test_a_forged_check_does_not_let_strange_values_in(tmp_path, changes):
    run(tmp_path)
    forge(tmp_path, **changes)
    with pytest.raises(ValueError, match="does not: it is"):
        run(tmp_path)


@pytest.mark.parametrize("call", range(1, 5))
def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path, monkeypatch, whole, call):
    """Of the first two checkpoints each of the four files in turn."""
    count, fsync = 0, os.fsync

    def full(descriptor):
        nonlocal count
        count += 1
        assert len(list(tmp_path.glob("step-*"))) == count - 1  # none under its name before this
        if count == call:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    monkeypatch.undo()
    assert checkpoint.steps_in(tmp_path) == ([] if call < 3 else [5])
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert_ends_as(tmp_path, whole, run(tmp_path))


# Another configuration


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"objective": other_error}, "objective: squared_error there, other_error here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"batch": 17}, "batch: 16 there, 17 here"),
        ({"steps": 21}, "steps: 20 there, 21 here"),
        ({"learning_rate": 0.02}, "learning_rate: 0.01 there, 0.02 here"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"warmup": 5}, "warmup"),
        ({"ema": 0.5}, "ema"),
        ({"clip": 2.0}, "clip"),
        ({"log_snr": (-4, 4.5)}, r"log_snr: \[-4.0, 4.0\] there, \[-4.0, 4.5\] here"),
        ({"data": GaussianMixture([1.0], [[MEAN]], 0.31)}, "data: GaussianMixture"),
        ({"data": lambda count, generator: torch.zeros(count, 1)}, "data: .*lambda"),
        ({"denoiser": Net(5)}, r"denoiser.first.weight: float32 \(4, 2\) there, float32 \(5, 2\)"),
        ({"denoiser": Linear()}, "denoiser: Net there, Linear here; .*absent.* and 10 more"),
    ],
)
def test_another_configuration_is_refused_and_nothing_changed(tmp_path, changes, named):
    run(tmp_path)
    before = everything(tmp_path)
    for resume in (True, "fallback"):
        with pytest.raises(ValueError, match=f"{named}.*Nothing was changed"):
            run(tmp_path, **changes, resume=resume)
    assert everything(tmp_path) == before


def test_objects_are_told_apart_by_their_options_and_not_by_their_address(tmp_path):
    run(tmp_path / "scaled", Scaled(2.0))
    run(tmp_path / "scaled", Scaled(2.0))
    with pytest.raises(ValueError, match=r"Scaled\(factor=2.0\) there, Scaled\(factor=3.0\) here"):
        run(tmp_path / "scaled", Scaled(3.0))

    def make():  # a function of the same name, somewhere else in memory
        def zeros(count, generator, dim):
            return torch.zeros(count, dim)

        return functools.partial(zeros, dim=1)

    run(tmp_path / "partial", data=make())
    run(tmp_path / "partial", data=make())


def test_resume_false_refuses_a_folder_with_checkpoints(tmp_path):
    run(tmp_path, resume=False)
    with pytest.raises(ValueError, match="resume=False the folder must hold no .* step 20"):
        run(tmp_path, resume=False)


# What must stop it


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, bad, folder):
    where = tmp_path / "folder" if folder else None
    left = "last checkpoint, of step 5, is .*step-00000005.json" if folder else "Nothing was kept"
    message = f"(?s)loss of step 7 is {bad}. .*lower learning_rate or clip.*{left}"
    with pytest.raises(ArithmeticError, match=message):
        run(where, At(7, lambda: bad))
    if where:
        assert checkpoint.steps_in(where) == [5]


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    def cusp(denoiser, *args):
        return squared_error(denoiser, *args) + (0 * denoiser.never_used).sqrt().sum()

    with pytest.raises(
        ArithmeticError, match="gradient of step 1 has norm (inf|nan), at a loss of"
    ):
        run(tmp_path, cusp)
    assert not os.listdir(tmp_path)


def test_parameters_that_are_not_finite_are_not_kept(tmp_path):
    def poisoned(denoiser, *args):
        with torch.no_grad():
            denoiser.never_used.fill_(math.inf)
        return squared_error(denoiser, *args)

    with pytest.raises(ArithmeticError, match="step 5 left never_used not finite.*no checkpoint"):
        run(tmp_path, poisoned)
    assert not os.listdir(tmp_path)


def test_an_error_of_the_objective_passes_as_it_is():
    with pytest.raises(ZeroDivisionError, match="^division by zero$"):
        run(None, At(2, lambda: 1 / 0))
    with pytest.raises(TypeError, match="^unsupported operand"):
        run(None, At(2, lambda: 1 + "a"))


@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        (lambda *_: 1.0, TypeError, "loss must be a Tensor; received 1.0"),
        (lambda d, x_0, *_: x_0.sum(), ValueError, "loss must depend .*detach"),
        (lambda d, x_0, *_: d.never_used * x_0, ValueError, r"scalar; received shape \(16, 1\)"),
    ],
)
def test_a_loss_of_the_wrong_kind_is_refused(objective, error, message):
    with pytest.raises(error, match=message):
        run(None, objective)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (lambda count, _: [[0.0]] * count, TypeError, "data must be a Tensor"),
        (lambda count, _: torch.zeros(count), ValueError, r"must have shape \(16, d\)"),
        (lambda count, _: torch.zeros(count - 1, 1), ValueError, r"received \(15, 1\)"),
        (lambda count, _: torch.full((count, 1), math.nan), ValueError, "data must be finite"),
        (DATA.expand((2,)), ValueError, "batch dimensions"),
        (3, TypeError, "data must be a GaussianMixture or a function"),
        (lambda count: torch.zeros(count, 1), TypeError, r"called as data\(count, generator\)"),
        (float, TypeError, r"called as data\(count, generator\); received <class 'float'>"),
    ],
)
def test_data_of_the_wrong_kind_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        run(None, data=data)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"denoiser": torch.nn.Linear(1, 1)}, TypeError, "denoiser must be a Denoiser"),
        ({"denoiser": Denoiser()}, ValueError, "must have parameters to train; Denoiser has none"),
        ({"objective": 3}, TypeError, "objective must be a function"),
        ({"objective": lambda loss: loss}, TypeError, r"objective\(denoiser, x_0, .*takes 1"),
        ({"objective": Denoiser()}, TypeError, r"called as objective\(denoiser, x_0, .*takes 4"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 2.0, "warmup": None}, TypeError, "steps must be an integer"),
        ({"batch": True}, TypeError, "batch must be an integer"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": 1e39}, ValueError, "learning_rate must be .*within 0..1e.06"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be .*within 0..1e.06"),
        ({"weight_decay": math.nan}, ValueError, "weight_decay must be finite"),
        ({"warmup": 21}, ValueError, "warmup must be at most steps = 20; received 21"),
        ({"ema": 1.0}, ValueError, "ema must be .* within 0..0.999999"),
        ({"clip": math.inf}, ValueError, "clip must be positive and finite"),
        ({"log_snr": (4, -4)}, ValueError, "low < high"),
        ({"log_snr": (-300, 4)}, ValueError, "log_snr must be .*within -230"),
        ({"log_snr": 4}, TypeError, "log_snr must be a pair"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"device": "quantum"}, ValueError, "device must be one that is there"),
        ({"device": 10**20}, ValueError, "device must be one that is there"),
        ({"device": "meta"}, ValueError, "device must be a CPU or CUDA device"),
        ({"folder": 3}, TypeError, "folder must be a path"),
        ({"folder": __file__}, ValueError, "folder must be one that can be written to"),
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"resume": "previous"}, ValueError, "resume must be True, False or 'fallback'"),
        ({"progress": 1}, TypeError, "progress must be"),
    ],
)
def test_bad_arguments_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        run(**changes)


def test_a_state_that_is_not_made_of_tensors_is_refused():
    class Odd(Net):
        def get_extra_state(self):
            return {"a": 1}

    with pytest.raises(TypeError, match="_extra_state must be a Tensor"):
        run(denoiser=Odd())


# What is read back


def test_load_gives_the_averaged_parameters(tmp_path):
    result = run(tmp_path)
    denoiser = Net()
    assert load(str(tmp_path), denoiser) is denoiser
    assert not denoiser.training
    assert_same_bits(dict(denoiser.state_dict()), dict(result.denoiser.state_dict()))
    latest = load_file(last(tmp_path, "safetensors"))["model.first.weight"]
    assert not torch.equal(denoiser.first.weight, latest)


def test_load_refuses_other_shapes_and_empty_folders(tmp_path):
    with pytest.raises(ValueError, match="must hold a checkpoint; .* has none"):
        load(tmp_path / "none", Net())
    run(tmp_path)
    other = Net(5)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"first.weight: float32 \(4, 2\) there, .*\(5, 2\) here"):
        load(tmp_path, other)
    assert_same_bits(dict(other.state_dict()), before)


def test_the_json_says_what_the_run_was(tmp_path):
    run(tmp_path)
    document = json.loads(last(tmp_path, "json").read_text())
    assert document["step"] == STEPS
    assert document["configuration"]["objective"] == "squared_error"
    assert document["configuration"]["denoiser.last.bias"] == "float32 (1,)"


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_the_progress_bar_is_for_terminals_and_those_who_ask(capsys, progress, shown):
    run(progress=progress)
    said = capsys.readouterr().err
    assert ("loss" in said and "learning rate" in said) is shown
