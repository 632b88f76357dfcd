"""Training on images: shards, processes, precision, and stopping anywhere."""

from __future__ import annotations

import math
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch

from smdtheory import GaussianMixture
from smdtheory.images import fit_images, untrained_image
from smdtheory.images import training as module
from smdtheory.images.parallel import Parallel
from smdtheory.images.training import ShardedTraining
from smdtheory.images.unets import Preset
from smdtheory.models import checkpoint, objectives
from smdtheory.models.configuration import Settings
from smdtheory.models.fit import fit
from smdtheory.models.training import DivergedError, Training

SHAPE = (1, 4, 4)
LEAST = Preset((8, 16), layers=1, groups=4, time=16, latent=4, hidden=8)
STEPS, EVERY = 6, 2
DATA = GaussianMixture([0.5, 0.5], [[-1.0] * 16, [1.0] * 16], 0.3)


def settings(**changes) -> Settings:
    given = {"steps": STEPS, "batch": 8, "learning_rate": 3e-3, "weight_decay": 0.1, "warmup": 2}
    given |= {"ema": 0.9, "clip": 1.0, "log_snr": (-4.0, 4.0), "seed": 0}
    return Settings(**{**given, **changes})


def made(arm: str = "level", seed: int = 0):
    return untrained_image(arm, SHAPE, LEAST, seed=seed)


def run(folder=None, objective=objectives.mse, *, arm="level", shards=2, **changes):
    """A short training; what :class:`Parallel` and :class:`Settings` do not take is passed on."""
    parallel = {k: changes.pop(k) for k in ("precision", "compiled", "device") if k in changes}
    passed = {k: changes.pop(k) for k in ("resume", "progress", "after") if k in changes}
    parallel = Parallel(shards=shards, **parallel)
    return fit_images(
        changes.pop("denoiser", None) or made(arm),
        DATA,
        objective,
        settings(**changes),
        parallel=parallel,
        folder=folder,
        every=EVERY,
        **passed,
    )


def sharded(objective=objectives.mse, *, arm="level", denoiser=None, shards=2, **changes):
    chosen = Parallel(shards=shards)
    return ShardedTraining(denoiser or made(arm), DATA, objective, settings(**changes), chosen)


class At:
    """The squared error, with something happening once: at the ``call``-th call, from 1 on."""

    def __init__(self, call, happening):
        self.__qualname__ = objectives.mse.__qualname__
        self.left, self.happening = call, happening

    def __call__(self, *args):
        self.left -= 1
        loss = objectives.mse(*args)
        found = self.happening() if self.left == 0 else None
        return loss if found is None else loss * found


def assert_same(a, b, **tolerance) -> None:
    """Equal to the last bit, or within a tolerance."""
    assert a.keys() == b.keys()
    for name in a:
        if tolerance:
            torch.testing.assert_close(a[name], b[name], **tolerance, msg=lambda m, n=name: n + m)
        else:
            assert torch.equal(a[name], b[name]), name


@pytest.fixture(autouse=True)
def _usual_ctrl_c():
    """Workers of pytest-xdist ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Shards


def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_shards():
    state = sharded(shards=4, clip=1e9)
    value, norm = state.differentiate(3)
    found = {n: p.grad.clone() for n, p in state.model.named_parameters() if p.grad is not None}
    losses = []
    for shard in range(4):
        state._seed(3, shard)
        losses.append(objectives.mse(state.model, *state.batch(2)))
    names = dict(state.model.named_parameters())
    wanted = torch.autograd.grad(
        torch.stack(losses).mean(), list(names.values()), allow_unused=True
    )
    by_name = {n: g for n, g in zip(names, wanted, strict=True) if g is not None}
    assert_same(found, by_name, rtol=1e-4, atol=1e-6)
    assert "residual.log_values" not in found  # the squared error does not reach it
    values = [float(loss.detach()) for loss in losses]
    assert value == pytest.approx(sum(values) / 4, rel=1e-6)
    assert norm == pytest.approx(float(torch.stack([g.norm() for g in by_name.values()]).norm()))
    assert len(set(values)) == 4


def test_gradients_are_clipped_and_shards_draw_anew_at_each_step():
    state = sharded(clip=1e-3)
    values = [state.differentiate(n)[0] for n in (0, 1, 0)]
    gradients = [p.grad.norm() for p in state.model.parameters() if p.grad is not None]
    assert float(torch.stack(gradients).norm()) == pytest.approx(1e-3, rel=1e-2)
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize("objective", ["mse", "likelihood"])
def test_one_shard_with_the_random_numbers_of_fit_is_fit(monkeypatch, objective):
    given = {**settings().__dict__, "steps": 3}
    wanted = fit(made(), DATA, objectives.OBJECTIVES[objective], **given)
    monkeypatch.setattr(ShardedTraining, "_seed", lambda self, n, _: Training._seed(self, n))
    found = run(None, objectives.OBJECTIVES[objective], shards=1, steps=3)
    assert torch.equal(found.losses, wanted.losses)
    assert_same(found.denoiser.state_dict(), wanted.denoiser.state_dict())


@pytest.mark.parametrize(("shards", "batch"), [(3, 8), (16, 8)])
def test_shards_that_do_not_divide_the_batch_are_refused(shards, batch):
    with pytest.raises(ValueError, match=rf"divide the batch of 8; received {shards}. .*shards 1"):
        run(shards=shards, batch=batch)


def test_shards_that_cannot_be_shared_out_are_refused(monkeypatch):
    class Three:
        num_processes, process_index, device = 3, 0, torch.device("cpu")

    monkeypatch.setattr(module, "processes_for", lambda parallel: Three)
    with pytest.raises(ValueError, match=r"number of processes, 3, .*received 4. Give --shards 3"):
        sharded(shards=4, batch=12)
    with pytest.raises(ValueError, match=r"received 2. Give a batch of 3 or more"):
        sharded(shards=2, batch=2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"shards": 0}, ValueError, "shards must be at least 1"),
        ({"shards": 1.5}, TypeError, "shards must be an integer"),
        ({"precision": "fp16"}, ValueError, "precision must be among auto, no, bf16"),
        ({"compiled": "yes"}, TypeError, "compiled must be True or False"),
        ({"device": "tpu"}, ValueError, "device must be cpu, cuda or cuda:NUMBER"),
    ],
)
def test_what_a_step_cannot_be_computed_with_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        Parallel(**changes)


# Stopping and going on


@pytest.mark.parametrize("arm", ["level", "soft"])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path, arm):
    whole, kept = run(tmp_path / "whole", arm=arm), []
    stop = At(2 * 3, lambda: signal.raise_signal(signal.SIGINT))  # two shards in each step
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step 3 of {STEPS}"):
        run(tmp_path / "stopped", stop, arm=arm)
    found = run(tmp_path / "stopped", arm=arm, after=lambda t: kept.append(len(t.losses)))
    assert kept == [4, 6]
    assert torch.equal(found.losses, whole.losses)
    a, b = (checkpoint.read(tmp_path / name, STEPS).tensors for name in ("whole", "stopped"))
    assert_same(a, b)
    assert_same(found.denoiser.state_dict(), whole.denoiser.state_dict())
    assert not found.denoiser.training


def test_what_cannot_be_called_after_a_checkpoint_is_refused():
    with pytest.raises(TypeError, match=r"called as after\(training\); received <built-in"):
        run(after=len)


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_checkpoint(tmp_path):
    with pytest.raises(DivergedError, match=r"(?s)loss of step 4 is nan.*step-00000002.json"):
        run(tmp_path, At(7, lambda: math.nan))
    assert checkpoint.steps_in(tmp_path) == [2]
    assert run(tmp_path).steps == STEPS


class Trap:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("run")
    with pytest.raises(ValueError, match="shards: 2 there, 4 here"):
        run("run", shards=4)
    with pytest.raises(ValueError, match="precision: no there, bf16 here"):
        run("run", precision="bf16")
    with pytest.raises(ValueError, match="denoiser: ImageGaussian there, ImageSoftMixture here"):
        run("run", arm="soft")
    path = Path("run") / f"step-{STEPS:08d}.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-1], pickle.dumps(Trap())):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"(?s)safetensors does not: .*SHA-256.*from step 4"):
            run("run")
    assert not Path("executed").exists()


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(TypeError, match="denoiser must be a Denoiser"):
        run(denoiser=torch.nn.Linear(2, 2))


# Devices, precision, compilation


def test_a_gpu_that_is_not_there_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"received cuda:1.*no GPU. Leave --device out"):
        run(device="cuda:1")


@pytest.mark.parametrize(("batch", "cure"), [(8, "--shards 4, and a new"), (2, "smaller network")])
def test_a_shard_that_does_not_fit_in_memory_names_the_option_that_helps(batch, cure):
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryError, match=f"must fit in the memory of cpu.*{cure}"):
        run(None, At(1, full), batch=batch)


@pytest.mark.parametrize(
    ("arm", "objective"), [("level", "mse"), ("diagonal", "likelihood"), ("soft", "energy")]
)
def test_bf16_is_near_float32_and_leaves_parameters_and_laws_as_they_are(arm, objective):
    loss = objectives.OBJECTIVES[objective]
    seen = []

    def watched(denoiser, x_0, x_t, snr_t, generator):
        seen.extend([x_0.dtype, x_t.dtype])
        layer = denoiser.network.unet.conv_in
        handle = layer.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
        try:
            return loss(denoiser, x_0, x_t, snr_t, generator)
        finally:
            handle.remove()

    full = run(None, loss, arm=arm, steps=2)
    low = run(None, watched, arm=arm, steps=2, precision="bf16")
    assert {torch.float32, torch.bfloat16} == set(seen)
    assert seen[:2] == [torch.float32, torch.float32]
    assert torch.allclose(low.losses, full.losses, rtol=0.02)
    assert not torch.equal(low.losses, full.losses)
    assert all(p.dtype == torch.float32 for p in low.denoiser.parameters())
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    other = made(arm)
    other.load_state_dict(low.denoiser.state_dict())
    with torch.no_grad():
        law, wanted = low.denoiser(x, 1.0, 2.0), other.eval()(x, 1.0, 2.0)
    assert law.means.dtype == torch.float64
    assert torch.equal(law.means, wanted.means)


@pytest.mark.parametrize("arm", ["level", "soft"])
def test_a_compiled_network_has_the_same_names_and_does_the_same(tmp_path, monkeypatch, arm):
    plain, blocks = run(arm=arm, steps=4), []

    def compiled(self, **options):
        blocks.append(type(self).__name__)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    found = run(tmp_path, arm=arm, steps=4, compiled=True)
    assert len(blocks) == 5
    tensors = checkpoint.read(tmp_path, 4).tensors
    assert {n[8:] for n in tensors if n.startswith("average.")} == set(made(arm).state_dict())
    assert torch.allclose(found.losses, plain.losses, rtol=1e-5)
    assert_same(found.denoiser.state_dict(), plain.denoiser.state_dict(), rtol=1e-4, atol=1e-5)


def test_the_bar_counts_images(capsys):
    run(progress=True)
    printed = capsys.readouterr().err
    assert f"/{8 * STEPS} [" in printed
    assert "images/s" in printed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_training_in_bf16_on_a_gpu_lowers_the_loss():
    found = run(device="cuda", precision="auto", steps=60, batch=64, learning_rate=1e-2)
    assert next(found.denoiser.parameters()).is_cuda
    assert float(found.losses[-10:].mean()) < 0.9 * float(found.losses[:3].mean())
