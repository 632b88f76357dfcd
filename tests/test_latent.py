"""Does the latent matter? Shares, errors by R, and latents that are absent or shuffled."""

import pytest
import torch
from chains import seeded
from torch import Tensor, nn

from smdtheory import GaussianMixture, Schedule, presets
from smdtheory.measure import error_by_latents, latent_share, local_errors
from smdtheory.models import (
    FiniteMixture,
    GaussianDenoiser,
    ShuffledLatent,
    SoftMixture,
    WithoutLatent,
)
from smdtheory.models.ablation import others
from smdtheory.models.networks import LevelFeatures
from smdtheory.schedule import bridge
from smdtheory.truth.posterior import posterior_at

INFINITE = torch.tensor(torch.inf, dtype=torch.float64)
RING = presets.ring(4).standardized()
CHAIN = Schedule.cosine(4)


def small(**changes: object) -> SoftMixture:
    """An untrained soft mixture whose latent matters."""
    torch.manual_seed(0)
    made = SoftMixture(2, **{"latents": 8, "rank": 4, "width": 16, "layers": 2, **changes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


class PosteriorDraw(nn.Module):
    """From η (..., 1+d) to a draw of q(x_0|x_t), shrunk towards its mean by ``shrink``(log γ).

    Components are isotropic and equally wide. It is expressed as the residual of data of mean 0 and
    variance 1 in each coordinate, for which the network's input is x_t itself.
    """

    def __init__(self, mixture: GaussianMixture, shrink) -> None:
        super().__init__()
        self.mixture, self.shrink = mixture, shrink

    def forward(self, eta: Tensor, x: Tensor, level: Tensor) -> Tensor:
        snr = level.double().exp()
        x_t, u = x.double(), eta.double()
        law = posterior_at(self.mixture, x_t, snr, INFINITE)
        edges = law.weights.cumsum(-1)[..., :-1]
        label = (torch.special.ndtr(u[..., :1]) > edges).sum(-1)
        rows = label[..., None, None].expand(*label.shape, 1, x.shape[-1])
        std = law.spectral.residual[..., :1].sqrt()
        drawn = law.means.gather(-2, rows).squeeze(-2) + std * u[..., 1:]
        drawn = law.mean + self.shrink(level).unsqueeze(-1).double() * (drawn - law.mean)
        guess = (1 / (1 + 1 / snr)).sqrt().unsqueeze(-1) * x_t
        return ((drawn - guess) * (1 + snr).sqrt().unsqueeze(-1)).float()


class Drawing(SoftMixture):
    """A soft mixture whose latent is :class:`PosteriorDraw`, and is its x̂_0."""

    def __init__(self, mixture: GaussianMixture, shrink=torch.ones_like, latents: int = 256):
        super().__init__(
            mixture.dim, "paper", latents=latents, noise=1 + mixture.dim, width=4, layers=1
        )
        self.latent = PosteriorDraw(mixture, shrink)

    def respond(self, x: Tensor, level: Tensor, z: Tensor) -> Tensor:
        return z


@pytest.mark.parametrize("mixture", [RING, presets.line(3).standardized()], ids=["ring", "line"])
@pytest.mark.parametrize("latents", [2, 64])
def test_draws_of_the_posterior_carry_all_of_its_variance(mixture, latents):
    found = latent_share(
        mixture, CHAIN, Drawing(mixture), samples=4096, latents=latents, generator=seeded()
    )
    assert found.value.shape == (5,)
    assert float(found.value[0]) == float(found.error[0]) == 0
    z = (found.value - 1)[1:] / found.error[1:]
    assert float(z.abs().max()) < 6  # Student's t with 7 degrees of freedom
    assert float(found.error.max()) < 0.1


def test_the_share_is_that_of_the_variance_at_each_level():
    def shrink(level: Tensor) -> Tensor:
        return torch.where(level > 0, 0.5, 0.0)

    found = latent_share(RING, CHAIN, Drawing(RING, shrink), generator=seeded())
    right = torch.where(CHAIN.snr > 1, 0.25, 0.0)
    right[0] = 0
    assert set(right.tolist()) == {0.0, 0.25}
    assert bool(((found.value - right).abs() <= 6 * found.error + 1e-9).all())
    assert float(found.error.max()) < 0.03


def test_means_and_variances_of_the_data_are_accounted_for():
    """A soft mixture in units of its own has the share of the same one on standardized data."""
    wide = GaussianMixture(RING.weights, 3 * RING.means + 2, 9 * RING.spectral.residual)
    chain = Schedule.from_snr([4.0, 0.5])
    scaled = Schedule.from_snr([4.0 / 9, 0.5 / 9])
    own = small(mean=[2.0, 2.0], variance=9.0)
    unit = small()
    for soft in (own, unit):
        for part in (soft.latent, soft.hypernetwork):
            part.enter.weight.data[:, -LevelFeatures.size :] = 0
        soft.network.level[-1].weight.data.zero_()
    a = latent_share(RING, chain, unit, generator=seeded())
    b = latent_share(wide, scaled, own, generator=seeded())
    assert torch.allclose(a.value, b.value, rtol=1e-3)


@pytest.mark.parametrize("control", ["noise", "weights"])
def test_what_ignores_its_noise_carries_nothing(control):
    soft = small(noise=0) if control == "noise" else small()
    if control == "weights":
        with torch.no_grad():
            soft.latent.enter.weight[:, : soft.noise] = 0
    found = latent_share(RING, CHAIN, soft, samples=128)
    assert float(found.value.abs().max()) < 1e-9
    assert float(latent_share(RING, CHAIN, small(), samples=128).value[1:].min()) > 1e-4


def test_the_error_does_not_rise_with_the_number_of_latents():
    soft = Drawing(RING)
    counts, errors = error_by_latents(
        RING, CHAIN, soft, (4, 16, 64, 256), samples=1024, generator=seeded()
    )
    assert counts == [4, 16, 64, 256]
    assert soft.latents == 256
    drops = errors.map(lambda value: value[..., :-1] - value[..., 1:])
    assert bool((drops.value > -4 * drops.error).all())
    assert float(drops.value[0]) > 4 * float(drops.error[0])
    total = local_errors(RING, CHAIN, soft, samples=1024, generator=seeded(1)).sum()
    spread = torch.hypot(total.error, errors.error[-1])
    assert abs(float(total.value - errors.value[-1])) < 6 * float(spread)


def test_counts_share_draws():
    _, errors = error_by_latents(RING, CHAIN, small(), (8, 8, 16), samples=512, generator=seeded())
    assert torch.equal(errors.replicates[:, 0], errors.replicates[:, 1])
    drop = errors.map(lambda value: value[..., 1] - value[..., 2])
    assert float(drop.error) < 0.6 * float(torch.hypot(*errors.error[1:]))


def test_fewer_latents_are_among_more():
    soft = small(latents=8)
    few, many = soft.with_latents(8).eta(), soft.with_latents(32).eta()
    assert few.shape == (8, soft.noise)
    assert soft.latents == 8  # the denoiser itself is left as it is
    assert all(bool((many == row).all(-1).any()) for row in few)
    assert soft.with_latents(8).network is soft.network


class AtZero(nn.Module):
    """The network of a soft mixture at η = 0."""

    def __init__(self, soft: SoftMixture) -> None:
        super().__init__()
        self.soft = soft

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        z = self.soft.latent(x.new_zeros(len(x), self.soft.noise), x, level)
        return self.soft.respond(x, level, z)


def test_without_its_latent_a_soft_mixture_is_a_gaussian():
    soft = small()
    with torch.no_grad():
        soft.residual.log_values.fill_(-1.0)
    gaussian = GaussianDenoiser(2, "level", width=16, layers=2)
    gaussian.network, gaussian.residual = AtZero(soft), soft.residual
    x_t = torch.randn(3, 4, 2, generator=seeded())
    with torch.no_grad():
        for snr_s in (2.0, torch.inf):
            off, right = (d(x_t, 1.0, snr_s) for d in (WithoutLatent(soft), gaussian))
            assert off.num_components == 1
            assert torch.allclose(off.log_prob(x_t), right.log_prob(x_t), rtol=1e-5)
        own = soft(x_t, 1.0, 2.0)
    assert float((own.means - off.means).abs().amin(-2).max()) > 1e-2
    errors = [
        local_errors(RING, CHAIN, d, samples=256, generator=seeded()).value
        for d in (WithoutLatent(soft), gaussian)
    ]
    assert torch.allclose(*errors, rtol=1e-5)


def test_the_kernel_stays_that_of_the_soft_mixture():
    x_t = torch.randn(5, 2, generator=seeded())
    for kernel in ("paper", "fitted"):
        soft = small(kernel=kernel)
        for changed in (WithoutLatent(soft), ShuffledLatent(soft)):
            for snr_s in (2.0, torch.inf):
                with torch.no_grad():
                    law, own = changed(x_t, 1.0, snr_s), soft(x_t, 1.0, snr_s)
                variance = own.spectral.residual[:, :1].expand_as(law.spectral.residual)
                assert torch.allclose(law.spectral.residual, variance)
    assert float(bridge(1.0, 2.0).variance) < float(variance.min())


def test_shuffling_does_nothing_to_latents_that_do_not_depend_on_the_point():
    soft = small()
    x_t = 2 * torch.randn(50, 2, generator=seeded())
    with torch.no_grad():
        before = soft(x_t, 1.0, 2.0).means - ShuffledLatent(soft)(x_t, 1.0, 2.0).means
        soft.latent.enter.weight[:, soft.noise : soft.noise + 2] = 0
        after = soft(x_t, 1.0, 2.0).means - ShuffledLatent(soft)(x_t, 1.0, 2.0).means
    assert float(before.abs().max()) > 1e-2
    assert float(after.abs().max()) < 1e-5


def test_shuffling_keeps_the_law_of_each_latent(monkeypatch):
    """A network that sees nothing but z: its residuals at each η are those of other points."""
    soft = small()
    x_t = 2 * torch.randn(30, 2, generator=seeded())
    one = torch.ones((), dtype=torch.float64)
    with torch.no_grad():
        for part in (soft.network.enter, soft.network.level[-1]):
            part.weight.zero_()
            part.bias.zero_()
        whole = ShuffledLatent(soft).x0(x_t, one).means
        monkeypatch.setattr(SoftMixture, "points", 32)  # four points at a time
        parts = ShuffledLatent(soft).x0(x_t, one).means
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-4)
        own, guess = soft.x0(x_t, one).means, one.sqrt() / 2**0.5 * x_t.double()
    before, after = own - guess.unsqueeze(1), whole - guess.unsqueeze(1)
    for j in range(8):
        distance = torch.cdist(after[:, j], before[:, j])
        nearest = distance.argmin(-1)
        assert float(distance.amin(-1).max()) < 1e-3
        assert sorted(nearest.tolist()) == list(range(30))
        assert not bool((nearest == torch.arange(30)).any())


@pytest.mark.parametrize(("points", "columns"), [(2, 5), (3, 4), (7, 20), (100, 8)])
def test_every_latent_comes_from_another_point(points, columns):
    table = others(points, columns)
    place = torch.arange(points).unsqueeze(-1)
    assert torch.equal(table.sort(0).values, place.expand(points, columns))
    assert not bool((table == place).any())
    if points == 100:  # not always from a neighbour, nor the same one for every η
        assert len({tuple(column.tolist()) for column in table.T}) == columns
        assert len(set(((table - place) % points)[:, 0].tolist())) > 30


def test_a_latent_that_matters_is_missed():
    soft = Drawing(RING, latents=64)
    changed = (soft, WithoutLatent(soft), ShuffledLatent(soft))
    own, off, shuffled = (
        local_errors(RING, CHAIN, d, samples=512, generator=seeded()).sum() for d in changed
    )
    for worse in (off, shuffled):
        assert float(worse.value - own.value) > 4 * float(torch.hypot(worse.error, own.error))


def test_what_has_no_latent_is_refused():
    soft, finite = small(), FiniteMixture(2, width=4, layers=1)
    for call in (
        lambda: latent_share(RING, CHAIN, finite),
        lambda: error_by_latents(RING, CHAIN, finite),
        lambda: WithoutLatent(finite),
        lambda: ShuffledLatent(finite),
        lambda: latent_share(RING, CHAIN, WithoutLatent(soft)),
    ):
        with pytest.raises(TypeError, match="denoiser must be a SoftMixture; received"):
            call()
    with pytest.raises(ValueError, match="at least two points"):
        ShuffledLatent(soft)(torch.zeros(1, 2), 1.0, 2.0)
    with pytest.raises(ValueError, match="latents must be even"):
        error_by_latents(RING, CHAIN, soft, (8, 9))
    with pytest.raises(ValueError, match="counts must be a list"):
        error_by_latents(RING, CHAIN, soft, ())
    with pytest.raises(ValueError, match="latents must be at least 2"):
        latent_share(RING, CHAIN, soft, latents=1)
    with pytest.raises(ValueError, match="at most 8192"):
        latent_share(RING, CHAIN, soft, latents=2**17)
    for measure in (latent_share, error_by_latents):
        with pytest.raises(ValueError, match="dimension"):
            measure(presets.line(2), CHAIN, soft)
