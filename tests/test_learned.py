"""Learned denoisers: their laws, objectives and residual variances, before and after training."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smdtheory import GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors, local_errors
from smdtheory.models import objectives
from smdtheory.models.finite_mixture import FiniteMixture
from smdtheory.models.fit import fit
from smdtheory.models.gaussian import VARIANCES, GaussianDenoiser
from smdtheory.models.learned import LEVELS, LearnedDenoiser, LevelCurve
from smdtheory.models.networks import LowRankPlusIdentity, low_rank_plus_identity
from smdtheory.models.residual import calibrate
from smdtheory.models.soft_mixture import SoftMixture
from smdtheory.schedule import bridge

SMALL = {"width": 16, "layers": 2}


def small(kind: str, dim: int = 2, **changes: object) -> LearnedDenoiser:
    """An untrained denoiser of any kind, with weights large enough that nothing is trivial."""
    torch.manual_seed(0)
    if kind == "soft":
        made: LearnedDenoiser = SoftMixture(dim, latents=8, rank=4, **SMALL, **changes)
    elif kind == "finite":
        made = FiniteMixture(dim, 3, **SMALL, **changes)
    else:
        made = GaussianDenoiser(dim, kind, **SMALL, **changes)
    size = 0.2 if kind == "soft" else 0.3  # products of weights modulate the soft mixture
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return made


KINDS = [*VARIANCES, "soft", "finite"]
DENSE = [kind for kind in KINDS if not kind.startswith("fixed")]


def draws(mixture: GaussianMixture, snr: torch.Tensor, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x_0 = mixture.sample(len(snr), generator=generator)
    noise = torch.randn(x_0.shape, dtype=torch.float64, generator=generator)
    signal, spread = (1 / (1 + 1 / snr)).sqrt(), (1 / (1 + snr)).sqrt()
    return x_0, signal[:, None] * x_0 + spread[:, None] * noise


@pytest.mark.parametrize("variance", [0.01, 1.0, 400.0])
@pytest.mark.parametrize("level", [-8.0, 0.0, 8.0])
def test_what_goes_in_and_comes_out_has_unit_variance(variance, level):
    """For Gaussian data; and nothing linear is left to learn."""
    mean = [3.0, -5.0]
    data = GaussianMixture([1.0], [mean], variance)
    denoiser = GaussianDenoiser(2, "level", mean=mean, variance=variance, **SMALL)
    snr = torch.full((20000,), math.exp(level), dtype=torch.float64)
    x_0, x_t = draws(data, snr)
    units = denoiser.units(x_t, snr)
    residual = units.residual(x_0)
    both = torch.cat([units.inputs, residual], 1)
    covariance = both.mT @ both / len(both)
    assert torch.allclose(covariance, torch.eye(4), atol=0.05)  # 5 standard errors
    assert torch.allclose(units.guess + units.spread * residual.double(), x_0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_laws_have_the_batch_shape_of_the_points(kind):
    denoiser = small(kind)
    x_t = torch.randn(3, 4, 2)
    for snr_s in (2.0, math.inf):
        law = denoiser(x_t, 1.0, snr_s)
        assert law.batch_shape == (3, 4)
        assert law.means.dtype == torch.float64
        if snr_s == 2.0 or kind != "fixed_small":
            assert bool(torch.isfinite(law.log_prob(x_t)).all())
    single = denoiser(x_t[1, 2], 1.0, 2.0)
    assert torch.allclose(single.means, denoiser(x_t, 1.0, 2.0).means[1, 2], atol=1e-5)


@pytest.mark.parametrize("kind", DENSE)
def test_what_is_trained_is_the_density_of_the_law(kind):
    denoiser = small(kind)
    snr = torch.logspace(-3, 3, 50, dtype=torch.float64)
    x_0, x_t = draws(presets.ring(3), snr)
    eta = denoiser.eta().expand(50, -1, -1)
    trained = denoiser.log_likelihood(x_0, x_t, snr, eta).double()
    spread = denoiser.units(x_t, snr).spread.squeeze(-1)
    law = denoiser.x0(x_t, snr)
    assert torch.allclose(trained - 2 * spread.log(), law.log_prob(x_0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", DENSE)
def test_densities_integrate_to_one(kind):
    denoiser = small(kind, dim=1)
    grid = torch.linspace(-15, 15, 60001, dtype=torch.float64).unsqueeze(-1)
    for snr_s in (3.0, math.inf):
        with torch.no_grad():
            law = denoiser(torch.tensor([[0.4]]), 1.0, snr_s)
        x_s = law.mean + law.variance.sqrt() * grid
        mass = law.log_prob(x_s).exp().sum() * (x_s[1] - x_s[0])
        assert float(mass) == pytest.approx(1, abs=2e-4)


def test_fixed_variances_are_those_of_the_chain():
    x_t = torch.randn(5, 2)
    step = bridge(1.0, 3.0)
    small_law, large_law = (small(k)(x_t, 1.0, 3.0) for k in ("fixed_small", "fixed_large"))
    assert torch.allclose(small_law.variance, step.variance.expand(5, 2))
    assert torch.allclose(large_law.variance, step.beta.expand(5, 2))
    last = small("fixed_small")(x_t, 1.0, math.inf)
    assert torch.allclose(last.variance, bridge(1.0, math.inf).beta.expand(5, 2))


def test_the_papers_kernel_is_the_bridges_own_except_at_the_data():
    x_t = torch.randn(5, 2)
    paper, fitted = (small("soft", kernel=kernel) for kernel in ("paper", "fitted"))
    step = bridge(1.0, 3.0)
    assert torch.allclose(paper(x_t, 1.0, 3.0).spectral.residual, step.variance.expand(5, 8))
    tau = fitted(x_t, 1.0, math.inf).spectral.residual
    assert torch.equal(paper(x_t, 1.0, math.inf).spectral.residual, tau)
    wider = fitted(x_t, 1.0, 3.0).spectral.residual
    assert torch.allclose(wider, step.c**2 * tau + step.variance)
    assert torch.equal(paper(x_t, 1.0, 3.0).means, fitted(x_t, 1.0, 3.0).means)


def test_the_kernel_of_a_soft_mixture_can_be_exchanged():
    x_t = torch.randn(5, 2)
    fitted = small("soft")
    other = fitted.with_kernel("paper")
    assert (fitted.kernel, other.kernel) == ("fitted", "paper")  # the denoiser is left as it is
    assert other.network is fitted.network
    wanted = small("soft", kernel="paper")
    for snr_s in (3.0, math.inf):
        assert torch.equal(
            other(x_t, 1.0, snr_s).spectral.residual, wanted(x_t, 1.0, snr_s).spectral.residual
        )
        assert torch.equal(other(x_t, 1.0, snr_s).means, wanted(x_t, 1.0, snr_s).means)
    with pytest.raises(
        ValueError, match="kernel must be 'fitted', 'paper' or 'none'; received 'mine'"
    ):
        fitted.with_kernel("mine")


def test_without_a_kernel_the_data_are_what_the_network_draws():
    """At s = 0 a sample is r̂(η) itself, and there is no density; elsewhere β̃ alone is added."""
    x_t, snr_t = torch.randn(4, 2).repeat(2**12, 1), torch.tensor(1.0)
    fitted = small("soft")
    bare, paper = fitted.with_kernel("none"), fitted.with_kernel("paper")
    with pytest.raises(ValueError, match="x_0 has a density only under a kernel"):
        bare(x_t, snr_t, math.inf)
    last = torch.tensor(math.inf)
    drawn, wide = (
        d.sample(x_t, snr_t, last, generator=torch.Generator().manual_seed(0)).reshape(-1, 4, 2)
        for d in (bare, fitted)
    )
    units = fitted.units(*fitted.flat(x_t[:4], snr_t))
    tau = (units.spread.squeeze(-1).square() * fitted.residual(units.level)).detach()
    assert torch.allclose(wide.var(0) - drawn.var(0), tau.double().unsqueeze(-1), rtol=0.1)
    assert torch.equal(
        bare(x_t, snr_t, 3.0).spectral.residual, paper(x_t, 1.0, 3.0).spectral.residual
    )


def test_a_latent_that_does_nothing_is_fixed_small_under_the_papers_kernel():
    """What §10.2 says of the optimum of the squared error: M_t of ``fixed_small`` for t >= 2."""
    fitted, chain = SoftMixture(1, latents=2, rank=4, **SMALL), Schedule.cosine(3)
    fitted.draw = lambda units, eta: torch.zeros(len(units.inputs), len(eta), 1)
    q = GaussianMixture([1.0], [[0.0]], 1.0)  # the residual's mean is 0, its variance 1
    errors, floor = (
        local_errors(q, chain, fitted.with_kernel("paper"), samples=4096),
        best_gaussian_errors(q, chain, "fixed_small"),
    )
    assert float(floor.value[2:].min()) > 0.02
    assert torch.allclose(errors.value[2:], floor.value[2:], rtol=0.03)
    assert float(errors.value[1]) == pytest.approx(0, abs=1e-6)


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 3), st.floats(0.01, 3))
def test_low_rank_plus_identity_is_the_matrix(size, seed, s):
    torch.manual_seed(seed)
    r, v = torch.randn(4, size).double(), torch.randn(4, size).double()
    matrix = v.unsqueeze(-1) * v.unsqueeze(-2) + s * torch.eye(size).double()
    applied = low_rank_plus_identity(r, v, torch.tensor(s))
    assert torch.allclose(applied, (matrix @ r.unsqueeze(-1)).squeeze(-1), atol=1e-12)


def test_maps_follow_each_other_in_order():
    torch.manual_seed(0)
    layer = LowRankPlusIdentity(5, 3, 2)
    torch.nn.init.normal_(layer.leave.weight)
    h, v = torch.randn(5), torch.randn(2, 3)
    s = torch.nn.functional.softplus(layer.diagonal.detach())
    first, second = (torch.outer(v[i], v[i]) + s[i] * torch.eye(3) for i in range(2))
    inside = layer.leave.weight @ second @ first @ layer.enter.weight
    assert torch.allclose(layer(h, v), h + inside @ h, atol=1e-5)


def ignoring_noise(denoiser: SoftMixture) -> None:
    with torch.no_grad():
        for part in (denoiser.hypernetwork, denoiser.latent, denoiser.network.last.leave):
            for parameter in part.parameters():
                parameter.zero_()
        denoiser.network.first.leave.weight.zero_()


def test_a_soft_mixture_that_ignores_its_noise_scores_as_a_gaussian():
    soft, gaussian = small("soft"), small("level")
    ignoring_noise(soft)
    own = {
        k: v for k, v in soft.network.state_dict().items() if not k.startswith(("first", "last"))
    }
    gaussian.network.load_state_dict(own)
    gaussian.residual.load_state_dict(soft.residual.state_dict())
    points = 3 * torch.randn(50, 2)
    for snr_s in (2.0, math.inf):
        with torch.no_grad():
            a, b = (d(points, 1.0, snr_s).log_prob(points / 2) for d in (soft, gaussian))
        assert torch.allclose(a, b, rtol=1e-4)
    with torch.no_grad():
        x_t = torch.randn(6, 2)
        assert float(soft.x0(x_t, torch.tensor(1.0)).means.std(1).max()) < 1e-6


def test_the_squared_error_pays_for_noise_and_the_energy_score_asks_for_it():
    """E‖r − r̂(η)‖² = E‖r − E r̂‖² + E tr Var r̂ (one η, independent of the data)."""
    torch.manual_seed(0)
    soft = SoftMixture(2, latents=8, rank=4, **SMALL)
    with torch.no_grad():
        soft.latent.leave.weight.mul_(10)
        soft.hypernetwork.leave.weight.mul_(10)
    snr = torch.full((4000,), 1.0, dtype=torch.float64)
    x_0, x_t = draws(presets.ring(3), snr)
    units = soft.units(x_t, snr)
    with torch.no_grad():
        eta = torch.randn(4000, 64, soft.noise, generator=torch.Generator().manual_seed(1))
        drawn = soft.draw(units, eta)
        mean, variance = drawn.mean(1), drawn.var(1)
        loss = objectives.mse(soft, x_0, x_t, snr, torch.Generator().manual_seed(2))
        parts = (units.residual(x_0) - mean).square().mean() + variance.mean() * (1 - 1 / 64)
    assert float(variance.mean()) > 0.01
    assert float(loss) == pytest.approx(float(parts), rel=0.05)


def test_the_energy_score_is_least_at_the_truth_and_its_gradient_unbiased(monkeypatch):
    """In closed form for N(0, σ²) in d = 1: E|N(0, v)|^β = C v^(β/2), least at σ = 1."""

    class Scaled(LearnedDenoiser):
        noise = 1

        def __init__(self) -> None:
            super().__init__(1)
            self.log_scale = torch.nn.Parameter(torch.tensor(0.4))

        def draw(self, units, eta):
            return self.log_scale.exp() * eta

    denoiser, sigma = Scaled(), math.exp(0.4)
    count = 100_000
    snr = torch.full((count,), 1e-6, dtype=torch.float64)
    x_0, x_t = draws(GaussianMixture([1.0], [[0.0]], 1.0), snr)
    beta = objectives.EXPONENT
    C = 2 ** (beta / 2) * math.gamma((1 + beta) / 2) / math.sqrt(math.pi)
    slope = (
        C
        * beta
        * (sigma**2 * (1 + sigma**2) ** (beta / 2 - 1) - 0.5 * (2 * sigma**2) ** (beta / 2))
    )
    monkeypatch.setattr(objectives, "SMOOTHING", 1e-6)
    for number in (2, 6):
        monkeypatch.setattr(objectives, "DRAWS", number)
        denoiser.zero_grad()
        objectives.energy(denoiser, x_0, x_t, snr, torch.Generator().manual_seed(3)).backward()
        assert float(denoiser.log_scale.grad) == pytest.approx(slope, abs=0.012)


@pytest.mark.parametrize("kernel", ["fitted", "paper"])
@pytest.mark.parametrize("snr_s", [3.0, math.inf])
def test_draws_of_a_step_are_those_of_its_law(kernel, snr_s):
    """A fresh η for each draw, against the mixture of many: means and covariances."""
    torch.manual_seed(0)
    soft = SoftMixture(2, kernel, latents=4096, rank=4, **SMALL)
    with torch.no_grad():
        soft.latent.leave.weight.mul_(10)
        soft.hypernetwork.leave.weight.mul_(10)
        soft.residual.log_values.fill_(-3.0)
    x_t = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    t, s = torch.tensor(1.0), torch.tensor(snr_s)
    draws = 40_000
    x_s = soft.sample(x_t.expand(draws, -1), t, s, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        law = soft(x_t, t, s)
    mean, covariance = law.mean[0], law.covariance_matrix[0]
    error = (covariance.diagonal() / draws).sqrt()
    assert bool(((x_s.mean(0) - mean).abs() < 5 * error).all())
    assert torch.allclose(torch.cov(x_s.T), covariance, atol=0.03 * float(covariance.trace()))
    one = law.spectral.residual.flatten()[0]
    assert float(covariance.trace()) > 2.005 * float(one)  # η moves the mean


def test_level_curves_are_linear_between_knots_and_kept_positive():
    curve = LevelCurve()
    with torch.no_grad():
        curve.log_values.copy_(torch.linspace(-1, 1, len(curve.log_values)))
    level = torch.linspace(*LEVELS, 1000)
    assert torch.allclose(curve(level).log(), torch.linspace(-1, 1, 1000), atol=1e-4)
    assert torch.equal(curve(torch.tensor([-99.0, 99.0])), curve(torch.tensor(list(LEVELS))))
    with torch.no_grad():
        curve.log_values.fill_(-1e3)
    assert bool((curve(level) > 0).all())


@pytest.mark.parametrize("kind", ["level", "soft"])
def test_calibration_finds_the_residual_variance(kind):
    """One Gaussian, and a network that says nothing: r ~ N(0, I) at every level."""
    denoiser = small(kind)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.zero_()
        denoiser.residual.log_values.fill_(-3.0)
    calibrate(denoiser, GaussianMixture([1.0], [[0.0, 0.0]], 1.0))
    levels = torch.linspace(-6, 10, 50)
    assert torch.allclose(denoiser.residual(levels), torch.ones(50), atol=0.25)
    assert float(denoiser.residual(levels).detach().mean()) == pytest.approx(1, abs=0.05)


def test_calibration_is_done_in_units_of_the_data_and_for_its_latents():
    """Data of variance 100: the level is log γσ². And R = 2 needs a wider kernel than R = 64."""
    denoiser = GaussianDenoiser(2, "level", variance=100.0, **SMALL)
    with torch.no_grad():
        for parameter in denoiser.network.parameters():
            parameter.zero_()
    narrow = GaussianMixture([0.5, 0.5], [[-10.0, -10.0], [10.0, 10.0]], 1.0)
    calibrate(denoiser, narrow, log_snr=(-7.0, 7.0))
    level = torch.tensor([-4.0, 8.0])  # the posterior is both modes, or one of variance ~ 1/γ
    assert torch.allclose(denoiser.residual(level), torch.tensor([1.0, 1.0]), atol=0.2)
    torch.manual_seed(0)
    soft = SoftMixture(2, latents=64, rank=4, **SMALL)
    with torch.no_grad():
        soft.latent.leave.weight.mul_(30)
        soft.hypernetwork.leave.weight.mul_(30)
    widths = []
    for R in (2, 64):
        other = soft.with_latents(R)
        calibrate(other, presets.ring(3), samples=1024)
        widths.append(float(other.residual(torch.tensor([0.0])).detach()))
    assert widths[0] > 1.02 * widths[1]


def test_calibration_that_diverges_says_so_and_changes_nothing():
    denoiser = GaussianDenoiser(2, "level", **SMALL)
    with torch.no_grad():
        next(denoiser.network.parameters()).fill_(math.nan)
    with pytest.raises(ArithmeticError, match="residual variance could not be fitted"):
        calibrate(denoiser, presets.ring(3), samples=1024)
    assert float(denoiser.residual.log_values.detach().abs().max()) == 0


def test_training_a_gaussian_reaches_its_floor_and_never_passes_it():
    """Two well separated modes on the line, every kind of variance, in seconds."""
    q, chain = presets.line(2).standardized(), Schedule.cosine(5)
    for kind, objective, family in (
        ("level", objectives.mse, "isotropic"),
        ("full", objectives.likelihood, "full"),
    ):
        torch.manual_seed(0)
        run = fit(
            GaussianDenoiser(1, kind, width=32, layers=2),
            q,
            objective,
            steps=1500,
            learning_rate=5e-3,
            log_snr=(-6.0, 6.0),
            ema=0.99,
            progress=False,
        )
        trained = run.denoiser
        assert isinstance(trained, GaussianDenoiser)
        if kind == "level":
            calibrate(trained, q)
        floor = best_gaussian_errors(q, chain, family).sum()
        found = local_errors(q, chain, trained, generator=torch.Generator().manual_seed(0)).sum()
        assert float(found.value) >= float(floor.value) - 4 * float(found.error)
        assert float(found.value) <= 1.5 * float(floor.value) + 4 * float(found.error)


def test_a_finite_mixture_learns_what_no_gaussian_can():
    q, chain = presets.line(2).standardized(), Schedule.cosine(3)
    torch.manual_seed(0)
    run = fit(
        FiniteMixture(1, 2, width=32, layers=2),
        q,
        objectives.likelihood,
        steps=800,
        learning_rate=5e-3,
        log_snr=(-6.0, 6.0),
        ema=0.99,
        progress=False,
    )
    floor = best_gaussian_errors(q, chain, "full").sum()
    generator = torch.Generator().manual_seed(0)
    found = local_errors(q, chain, run.denoiser, generator=generator).sum()
    assert float(found.value) < 0.3 * float(floor.value)


def test_objectives_and_kinds_that_do_not_fit_are_refused():
    snr = torch.ones(4, dtype=torch.float64)
    x_0, x_t = draws(presets.ring(3), snr)
    generator = torch.Generator()
    with pytest.raises(TypeError, match="mse and energy need a denoiser that draws"):
        objectives.energy(small("finite"), x_0, x_t, snr, generator)
    with pytest.raises(ValueError, match="likelihood needs a learned variance"):
        objectives.likelihood(small("fixed_small"), x_0, x_t, snr, generator)
    with pytest.raises(TypeError, match="must have one residual variance for each level"):
        calibrate(small("full"), presets.ring(3))
    with pytest.raises(ValueError, match="data must have the dimension of the denoiser, d = 2"):
        calibrate(small("level"), presets.line(3))
    with pytest.raises(ValueError, match="mixture must .* batch dimensions"):
        calibrate(small("level"), presets.ring(3).expand((2,)))
    with pytest.raises(ValueError, match="variance_kind must be one of"):
        GaussianDenoiser(2, "wide")
    with pytest.raises(ValueError, match="latents must be even"):
        SoftMixture(2, latents=3)
    with pytest.raises(ValueError, match="kernel must be"):
        SoftMixture(2, "wide")
    with pytest.raises(ValueError, match="mean must have shape"):
        GaussianDenoiser(2, mean=[0.0])
