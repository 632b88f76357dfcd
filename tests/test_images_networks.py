"""Denoisers of images: their networks, laws and training, on images of 8 × 8 for the most part."""

import json
import math

import pytest
import torch
from chains import seeded

from smdtheory import GaussianMixture, Schedule
from smdtheory.images import networks
from smdtheory.images.denoisers import (
    ARMS,
    ImageGaussian,
    ImageSoftMixture,
    as_large_as_soft,
    save_unet,
    untrained_image,
)
from smdtheory.images.networks import MODULATIONS, ImageNetwork, soft_networks
from smdtheory.images.unets import (
    AUTHORS,
    PRESETS,
    Preset,
    check_shape,
    pixels,
    timestep,
    unet_config,
)
from smdtheory.measure import latent_share, local_errors
from smdtheory.models import ShuffledLatent, WithoutLatent, calibrate, objectives
from smdtheory.models.fit import fit
from smdtheory.models.gaussian import GaussianDenoiser
from smdtheory.models.learned import normal_log_density
from smdtheory.models.recipes import parameters_of
from smdtheory.models.sample import ancestral, ddim
from smdtheory.models.training import noised

SHAPE = (1, 8, 8)
SMALLEST = (1, 4, 4)
LEAST = Preset((8, 16), layers=1, groups=4, time=16, latent=4, hidden=8)


def made(arm: str, shape=SHAPE, preset=LEAST, **changes):
    return untrained_image(arm, shape, preset, **changes)


def perturbed(denoiser, size: float = 0.1):
    """The same with every parameter moved: nothing is zero any more."""
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=seeded()))
    return denoiser


def units_of(denoiser, count: int = 3, level: float = 0.0):
    x = torch.randn(count, denoiser.dim, generator=seeded())
    return denoiser.units(x, torch.full((count,), math.exp(level)))


def batch_of(dim: int = 64, count: int = 16):
    """A fixed batch: two modes, all levels."""
    x_0 = 0.3 * torch.randn(count, dim, generator=seeded())
    x_0[: count // 2] += 1.0
    snr = torch.logspace(-2, 2, count, dtype=torch.float64)
    return x_0, noised(x_0, snr, seeded(1)), snr


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    """Dark and bright images."""
    means = torch.stack([torch.full((16,), -1.0), torch.ones(16)])
    return GaussianMixture([0.5, 0.5], means, 0.3)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 8)])
def test_every_arm_has_laws_of_the_shape_of_its_points(arm, shape):
    denoiser = made(arm, shape, latents=4)
    dim = math.prod(shape)
    x_t = torch.randn(2, 1, dim, generator=seeded())
    for snr_s in (2.0, math.inf):
        with torch.no_grad():
            law = denoiser(x_t, 1.0, snr_s)
        assert law.batch_shape == (2, 1)
        assert law.event_shape == (dim,)
        assert law.num_components == {"soft": 4, "no_noise": 2}.get(arm, 1)
        assert bool(torch.isfinite(law.log_prob(x_t)).all()) or snr_s == math.inf
    with torch.no_grad():
        assert denoiser(x_t[:0], 1.0, 2.0).batch_shape == (0, 1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 16, 16), (3, 32, 32)])
def test_the_tiny_preset_takes_all_sizes(shape):
    with torch.no_grad():
        denoiser = untrained_image("soft", shape, "tiny", latents=2)
        assert denoiser(torch.zeros(1, math.prod(shape)), 1.0, 2.0).num_components == 2


def parameters(shape, preset, **changes) -> tuple[int, int]:
    """Of the Gaussian and of the soft mixture; nothing is allocated."""
    with torch.device("meta"):
        soft = soft_networks(shape, preset, **changes)
        return parameters_of(ImageNetwork(shape, preset)), sum(map(parameters_of, soft))


def test_presets_have_the_sizes_they_are_known_for():
    for preset, shape, low, high in (
        ("tiny", SHAPE, 2e5, 5e5),
        ("small", SHAPE, 4.5e6, 5.5e6),
        ("small", (3, 32, 32), 4.5e6, 5.5e6),
        (AUTHORS.preset, AUTHORS.shape, 3.4e7, 3.7e7),  # Ho et al. (2020): 35.7 million
    ):
        gaussian, soft = parameters(shape, preset)
        assert low < gaussian < soft < high
    config = unet_config(AUTHORS.shape, AUTHORS.preset, 3)
    assert config["block_out_channels"] == (128, 256, 256, 256)
    assert [kind.startswith("Attn") for kind in config["down_block_types"]] == [0, 1, 0, 0]
    assert [kind.startswith("Attn") for kind in config["up_block_types"]] == [0, 0, 1, 0]
    assert PRESETS[AUTHORS.preset].latent == AUTHORS.latent == 100


@pytest.mark.parametrize(
    ("preset", "modulation"),
    [("base", "both"), ("small", "both"), *(("tiny", kind) for kind in MODULATIONS)],
)
def test_the_wide_gaussian_is_as_large_as_the_soft_mixture(preset, modulation):
    shape = (3, 16, 16)
    wide = as_large_as_soft(shape, PRESETS[preset], modulation=modulation)
    with torch.device("meta"):
        found = parameters_of(ImageNetwork(shape, wide))
    _, wanted = parameters(shape, preset, modulation=modulation)
    assert wanted * 0.98 <= found <= wanted


def test_a_wide_gaussian_has_more_features_where_there_is_room():
    wide = as_large_as_soft(SHAPE, LEAST, latent=200)
    assert sum(wide.channels) > sum(LEAST.channels)
    with torch.device("meta"):
        found = parameters_of(ImageNetwork(SHAPE, wide))
    _, wanted = parameters(SHAPE, LEAST, latent=200)
    assert wanted * 0.98 <= found <= wanted


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_an_untrained_soft_mixture_is_the_gaussians_network(modulation):
    gaussian, soft = made("level"), made("soft", modulation=modulation)
    units, eta = units_of(gaussian), torch.randn(3, 1, soft.noise, generator=seeded())
    for draw in (torch.enable_grad, torch.no_grad):
        with draw():
            assert torch.equal(soft.draw(units, eta), gaussian.draw(units, eta))


@pytest.mark.parametrize("modulation", ["both", "scale_shift", "low_rank"])
def test_the_latent_matters_once_its_weights_do(modulation):
    soft = made("soft", modulation=modulation)
    units, eta = units_of(soft), torch.randn(3, 4, soft.noise, generator=seeded())
    with torch.no_grad():
        for name, parameter in soft.named_parameters():
            if "leave" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded()))
        drawn = soft.draw(units, eta)
        assert float(drawn.std(1).amin(-1).max()) > 1e-4  # of every pixel of some image
        assert torch.equal(soft.draw(units, eta), drawn)
        silent = perturbed(made("no_noise", modulation=modulation))
        assert float(silent.draw(units, silent.eta()).std(1).max()) < 1e-5


def test_each_pixel_is_mapped_by_its_own_matrix():
    """h + W_out A_2 A_1 W_in h, A_i = v_i v_iᵀ + softplus(s_i) I, with the matrices written out."""
    soft = perturbed(made("soft", modulation="low_rank"), 0.3)
    network, units = soft.network, units_of(soft, 2)
    seen = {}
    for name in ("conv_in", "conv_out"):
        layer = getattr(network.unet, name)
        layer.register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    with torch.no_grad():
        z = soft.latent(torch.randn(2, soft.noise, generator=seeded()), units.inputs, units.level)
        told = soft.hypernetwork(z, units.level)
        images = pixels(units.inputs, SHAPE)
        plain = network.unet.conv_in.forward(images)
        network(units.inputs, units.level, told)
        mapped = network.first(seen["conv_in"][1].permute(0, 2, 3, 1), told.first)
    for row, column in ((0, 0), (3, 5), (7, 7)):
        inside = network.first.enter.weight
        for v, s in zip(told.first[1, row, column], network.first.diagonal, strict=True):
            matrix = torch.outer(v, v) + torch.nn.functional.softplus(s) * torch.eye(len(v))
            inside = matrix @ inside
        h = plain[1, :, row, column]
        expected = h + network.first.leave.weight @ inside @ h
        assert torch.allclose(mapped[1, row, column], expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(expected, h, rtol=1e-2, atol=1e-2)


def test_hooks_are_gone_after_a_call_that_fails():
    soft = made("soft")
    units = units_of(soft)
    told = soft.hypernetwork(soft.latent(torch.zeros(3, 4), units.inputs, units.level), units.level)
    told.last = told.last[:, :3]
    with pytest.raises(RuntimeError):
        soft.network(units.inputs, units.level, told)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in soft.network.modules())


@pytest.mark.parametrize(
    ("arm", "objective"),
    [
        ("fixed_small", "mse"),
        ("fixed_large", "mse"),
        ("level", "mse"),
        ("level", "likelihood"),
        ("diagonal", "likelihood"),
        ("wide", "mse"),
        ("soft", "mse"),
        ("soft", "energy"),
        ("no_noise", "mse"),
    ],
)
def test_a_few_steps_lower_the_loss_and_reach_every_parameter(arm, objective):
    denoiser, loss = made(arm), objectives.OBJECTIVES[objective]
    batch = batch_of()
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        value = loss(denoiser, *batch, seeded(2))
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    assert losses[-1] < 0.97 * losses[0]
    for name, parameter in denoiser.named_parameters():
        told = name == "residual.log_values" and objective != "likelihood"  # by calibrate alone
        assert told or float(parameter.grad.abs().max()) > 0, name


def test_parameters_come_from_the_seed_and_nothing_else():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = (made("soft", seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(
        first["network.unet.conv_in.weight"], other["network.unet.conv_in.weight"]
    )
    own = {k: v for k, v in made("level").state_dict().items() if "unet" in k}
    assert all(torch.equal(first[name], value) for name, value in own.items())


def test_training_in_fit_is_the_same_twice_and_goes_on_from_checkpoints(tmp_path, mixture):
    soft = made("soft", SMALLEST, mean=mixture.mean, variance=float(mixture.variance.mean()))
    options = {"log_snr": (-5.0, 5.0), "batch": 8, "progress": False, "every": 2}
    whole = fit(soft, mixture, objectives.mse, steps=4, **options)
    again = fit(soft, mixture, objectives.mse, steps=4, folder=tmp_path, **options)
    (tmp_path / "step-00000004.json").unlink()  # as if stopped after two steps
    resumed = fit(soft, mixture, objectives.mse, steps=4, folder=tmp_path, **options)
    for other in (again, resumed):
        assert torch.equal(whole.losses, other.losses)
        for a, b in zip(
            whole.denoiser.state_dict().values(), other.denoiser.state_dict().values(), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("arm", ["level", "diagonal", "soft"])
def test_diffusers_reads_what_is_saved(arm, tmp_path):
    from diffusers import UNet2DModel

    denoiser = made(arm, (3, 8, 8))
    assert type(denoiser.network.unet) is UNet2DModel
    assert denoiser.save_pretrained(tmp_path / "unet") == tmp_path / "unet"
    assert (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").exists()
    saved = json.loads((tmp_path / "unet" / "config.json").read_text())
    assert saved["_class_name"] == "UNet2DModel"
    unet = UNet2DModel.from_pretrained(tmp_path / "unet")
    units = units_of(denoiser)
    with torch.no_grad():
        out = unet(pixels(units.inputs, (3, 8, 8)), timestep(units.level)).sample.flatten(1)
        drawn = denoiser.draw(units, torch.zeros(3, 1, denoiser.noise))[:, 0]
    assert torch.equal(out[:, :192], drawn)
    assert out.shape[1] == (384 if arm == "diagonal" else 192)


def test_the_law_of_a_diagonal_gaussian_is_what_it_is_trained_on():
    denoiser = perturbed(made("diagonal"), 0.05)
    x_0, x_t, snr = batch_of()
    with torch.no_grad():
        trained = denoiser.log_likelihood(x_0, x_t, snr, denoiser.eta()).double()
        units = denoiser.units(x_t, snr)
        law = denoiser.x0(x_t, snr)
        mean, std = denoiser.predict(units)
        gap = units.residual(x_0) - mean
    assert torch.allclose(
        trained - 64 * units.spread.squeeze(-1).log(), law.log_prob(x_0.double()), rtol=1e-4
    )
    dense = normal_log_density(gap, torch.diag_embed(std)).double()
    assert torch.allclose(trained, dense, rtol=1e-5)
    assert float(std.std()) > 0


@pytest.mark.parametrize("kind", ["level", "diagonal", "isotropic"])
def test_no_matrix_is_formed_at_the_size_of_a_colour_image(kind):
    """Every tensor that is made on the way is seen; a matrix would have 9 437 184 numbers."""

    class Mean(torch.nn.Module):
        outputs = {"level": 3072, "diagonal": 6144, "isotropic": 3073}[kind]

        def forward(self, x, level):
            return x.new_zeros(len(x), self.outputs)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.numbers = max(self.numbers, out.numel())
            return out

    denoiser = GaussianDenoiser(3072, kind, network=Mean())
    x_0, x_t, snr = batch_of(3072, 10)
    with Largest() as largest:
        density = denoiser.log_likelihood(x_0, x_t, snr, denoiser.eta())
        law = denoiser(x_t, 1.0, 2.0)
        law.log_prob(x_t)
        denoiser.sample(x_t, torch.tensor(1.0), torch.tensor(2.0), generator=seeded())
    assert density.shape == (10,)
    assert largest.numbers <= 10 * 6144


def test_without_gradients_images_go_through_in_blocks(monkeypatch):
    gaussian, soft = perturbed(made("level")), perturbed(made("soft", latents=6))
    x = torch.randn(7, 64, generator=seeded())
    sizes = []

    def law(denoiser):
        sizes.clear()
        hook = denoiser.network.unet.register_forward_pre_hook(
            lambda module, inputs: sizes.append(len(inputs[0]))
        )
        with torch.no_grad():
            found = denoiser.x0(x, torch.tensor(1.0))
        hook.remove()
        return found.means

    whole = law(gaussian), law(soft)
    for most, wanted in ((12, 42), (4, 42)):
        monkeypatch.setattr(networks, "POINTS", most)
        monkeypatch.setattr(ImageSoftMixture, "points", most)
        assert torch.allclose(law(gaussian), whole[0], atol=1e-5)
        assert sum(sizes) == 7
        assert max(sizes) <= most
        assert torch.allclose(law(soft), whole[1], atol=1e-5)
        assert sum(sizes) == wanted
        assert max(sizes) <= most


@pytest.mark.parametrize("arm", ["fixed_large", "level", "soft"])
def test_calibration_samplers_and_measures_take_images(arm, mixture):
    units = {"mean": mixture.mean, "variance": float(mixture.variance.mean())}
    denoiser = perturbed(made(arm, SMALLEST, latents=2, **units), 0.05)
    chain = Schedule.cosine(2)
    if arm != "fixed_large":
        calibrate(denoiser, mixture, samples=1024)
        assert float(denoiser.residual.log_values.detach().std()) > 0.01
    if arm == "level":
        other = perturbed(made(arm, SMALLEST, **units), 0.05)
        calibrate(other, lambda n, generator: mixture.sample(n, generator=generator), samples=1024)
        assert torch.equal(denoiser.residual.log_values, other.residual.log_values)
    for sampler in (ancestral, ddim):
        drawn = sampler(denoiser, chain, 3, generator=seeded())
        assert drawn.shape == (3, 16)
        assert torch.equal(drawn, sampler(denoiser, chain, 3, generator=seeded()))
    error = local_errors(mixture, chain, denoiser, samples=128, generator=seeded())
    assert bool((error.value[1:] > 0).all())
    if arm == "soft":
        share = latent_share(mixture, chain, denoiser, samples=128, latents=2, generator=seeded())
        assert bool((share.value[1:] > 0).all())
        x = torch.randn(3, 16, generator=seeded())
        with torch.no_grad():
            assert WithoutLatent(denoiser)(x, 1.0, 2.0).num_components == 1
            assert ShuffledLatent(denoiser)(x, 1.0, 2.0).num_components == 2


def test_time_is_linear_in_the_level_and_resolved():
    level = torch.linspace(-7, 16, 47)
    assert torch.allclose(timestep(level), torch.linspace(0, 1000, 47), atol=1e-3)
    unet = made("level").network.unet
    told = unet.time_proj(timestep(level))
    assert float(torch.cdist(told, told).fill_diagonal_(9.0).min()) > 0.05


def test_what_does_not_fit_is_refused_with_the_cure():
    with pytest.raises(
        ValueError, match=r"multiples of 8, and at least 16.*8 × 8. Take the preset"
    ):
        untrained_image("soft", SHAPE, "base")
    with pytest.raises(ValueError, match=r"multiples of 8.*28 × 28. Take the preset tiny or small"):
        untrained_image("level", (1, 28, 28), "base")
    with pytest.raises(ValueError, match=r"multiples of 2.*9 × 8. Pad the images"):
        ImageGaussian((1, 9, 8), preset="tiny")
    with pytest.raises(TypeError, match="shape must be three integers"):
        check_shape((8, 8))
    with pytest.raises(TypeError, match="shape must be an integer"):
        made("soft", (1, 8.0, 8))
    with pytest.raises(ValueError, match="shape must be at least 1"):
        check_shape((0, 8, 8))
    with pytest.raises(ValueError, match="preset must be one of tiny, small, base"):
        untrained_image("level", SHAPE, "huge")
    with pytest.raises(ValueError, match="arm must be one of fixed_small"):
        untrained_image("full", SHAPE, "tiny")
    with pytest.raises(ValueError, match="GaussianDenoiser has the others"):
        ImageGaussian(SHAPE, "full", preset=LEAST)
    with pytest.raises(ValueError, match="modulation must be one of both"):
        made("soft", modulation="film")
    with pytest.raises(ValueError, match="latent must be at least 1"):
        made("soft", latent=0)
    with pytest.raises(ValueError, match="mean must have shape"):
        made("level", mean=[0.0])
    with pytest.raises(ValueError, match="images of shape .* must be vectors of 64 numbers"):
        made("level").network(torch.zeros(2, 63), torch.zeros(2))
    with pytest.raises(ValueError, match="channels must be multiples of groups"):
        Preset((8, 15), layers=1, groups=4, time=16, latent=4, hidden=8)
    with pytest.raises(TypeError, match="network must be an ImageNetwork"):
        save_unet(torch.nn.Linear(2, 2), "folder")
