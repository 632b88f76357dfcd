"""What the objectives ask of a denoiser, against integrals and closed forms: docs/theory.md §10."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import kstest
from strategies import mixtures, numbers
from torch import Tensor

from smdtheory import GaussianMixture
from smdtheory.models import objectives
from smdtheory.models.gaussian import GaussianDenoiser
from smdtheory.models.learned import LearnedDenoiser, LevelCurve
from smdtheory.models.networks import Backbone, Modulation
from smdtheory.models.objectives import energy, likelihood, mse
from smdtheory.models.soft_mixture import SoftMixture, soft_log_likelihood
from smdtheory.truth.posterior import posterior_at

NOWHERE = 1e-9
"""A γ at which x_t says nothing of x_0, so that the residual is x_0 itself."""


class Told(LearnedDenoiser):
    """Draws from one law of the residual at every x_t, by its quantiles on a grid: d = 1."""

    noise = 1

    def __init__(self, law: GaussianMixture) -> None:
        super().__init__(1)
        self.points = torch.linspace(-12, 12, 20001, dtype=torch.float64)
        mass = law.log_prob(self.points.unsqueeze(-1)).exp().cumsum(0)
        self.mass = mass / mass[-1]
        self.residual = LevelCurve()

    def draw(self, units, eta):
        place = torch.searchsorted(self.mass, torch.special.ndtr(eta.double()))
        return self.points[place.clamp(max=len(self.points) - 1)].float()

    log_likelihood = SoftMixture.log_likelihood


def told(law: GaussianMixture, data: GaussianMixture, count: int, seed: int):
    """A denoiser that draws from ``law``, and pairs in which the residual follows ``data``."""
    x_0 = data.sample(count, generator=torch.Generator().manual_seed(seed))
    return Told(law), x_0, torch.zeros_like(x_0), torch.full((count,), NOWHERE).double()


# The energy score

STEP = 0.025
"""Of the lattice on which scores are integrated."""

LATTICE = torch.arange(-400, 401, dtype=torch.float64).unsqueeze(-1) * STEP


def on_lattice(law: GaussianMixture) -> Tensor:
    """Masses (N,) of a law on the lattice, of sum 1: a law too, and a score is proper for any."""
    mass = law.log_prob(LATTICE).exp()
    return mass / mass.sum()


def distances(exponent: float) -> Tensor:
    """The distance that is trained on, between points of the lattice (N, N)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives, "EXPONENT", exponent)
        return objectives._distance(LATTICE.unsqueeze(1) - LATTICE)


def score(p: Tensor, q: Tensor, distance: Tensor) -> float:
    """E S(P, Y) for Y ~ Q."""
    return float(p @ distance @ q - 0.5 * p @ distance @ p)


def cost(p: Tensor, q: Tensor, distance: Tensor) -> float:
    """By how much the score of ``p`` exceeds that of the truth ``q``."""
    return score(p, q, distance) - score(q, q, distance)


@settings(max_examples=20)  # each distance is a matrix of 801² numbers
@given(mixtures(max_components=3), mixtures(max_components=3))
def test_the_energy_score_is_strictly_proper(p_law, q_law):
    """§10.3: the cost is ½ ∫ |φ_P − φ_Q|² W dω, the same in both directions, and not 0.

    Standard deviations of 0.16 or more keep characteristic functions to |ω| < 20, where W > 4e-4,
    and ∫ |φ_P − φ_Q|² dω = 2π ∫ (p − q)² is at least 2π/20 times the squared distance in L1.
    """
    p, q, distance = on_lattice(p_law), on_lattice(q_law), distances(objectives.EXPONENT)
    there, back = cost(p, q, distance), cost(q, p, distance)
    assert there == pytest.approx(back, abs=1e-12)
    assert there >= 0.5 * 4e-4 * 2 * math.pi / 20 * float((p - q).abs().sum()) ** 2 - 1e-13


@settings(max_examples=15)  # three distances each
@given(numbers(0.5, 3.0), numbers(0.1, 0.4), numbers(0.02, 0.45))
def test_what_is_left_between_two_modes_costs_more_at_a_smaller_exponent(half, std, share):
    """§10.3, in units of the cost of the same mass in the wrong mode."""
    modes = [[-half], [half]]

    def law(left: float, right: float, middle: float) -> Tensor:
        weights = torch.tensor([left, right, middle]).double().clamp(min=1e-300)
        return on_lattice(GaussianMixture(weights / weights.sum(), [*modes, [0.0]], std**2))

    q = law(0.5, 0.5, 0)
    bridged = law(0.5 - share / 2, 0.5 - share / 2, share)
    unequal = law(0.5 + share, 0.5 - share, 0)
    ratio = []
    for exponent in (0.5, 1.0, 1.5):
        distance = distances(exponent)
        assert cost(bridged, q, distance) > 0
        ratio.append(cost(bridged, q, distance) / cost(unequal, q, distance))
    assert ratio[0] > 1.1 * ratio[1]
    assert ratio[1] > 1.1 * ratio[2]


def test_narrow_modes_cost_what_the_closed_form_says(monkeypatch):
    """§10.3: ε² a^β (1 − 2^(β−2)) for a bridge, ε² (2a)^β for wrong weights, of points at ±a."""
    monkeypatch.setattr(objectives, "SMOOTHING", 0.0)
    a, share = 1.5, 0.1
    left, middle, right = ((LATTICE.squeeze(-1) == x).double() for x in (-a, 0.0, a))
    q = (left + right) / 2
    bridged, unequal = (1 - share) * q + share * middle, q + share * (right - left)
    for beta in (0.25, 0.5, 1.0, 1.5, 2.0):
        distance = distances(beta)
        bridge, moved = share**2 * a**beta * (1 - 2 ** (beta - 2)), share**2 * (2 * a) ** beta
        assert cost(bridged, q, distance) == pytest.approx(bridge, abs=1e-12)
        assert cost(unequal, q, distance) == pytest.approx(moved, abs=1e-12)


@pytest.mark.parametrize("number", [2, 3, 6])
def test_the_energy_score_is_estimated_without_bias(number, monkeypatch):
    """§10.3: the mean over draws is the integral, for any number of draws."""
    monkeypatch.setattr(objectives, "DRAWS", number)
    p = GaussianMixture([0.3, 0.7], [[-1.0], [1.5]], 0.09)
    q = GaussianMixture([0.5, 0.5], [[-0.5], [1.0]], 0.16)
    generator = torch.Generator().manual_seed(1)
    found = torch.stack([energy(*told(p, q, 2000, seed), generator) for seed in range(40)])
    error = float(found.std()) / math.sqrt(len(found))
    exact = score(on_lattice(p), on_lattice(q), distances(objectives.EXPONENT))
    assert error < 2e-3
    assert float(found.mean()) == pytest.approx(exact, abs=4 * error)


# Likelihood with R latents


def test_the_bound_falls_with_the_number_of_latents_to_the_exact_value(monkeypatch):
    """§10.4: r̂ ~ N(0, 1) and τ² = 1 make N(0, 2), whose likelihood is known."""
    data, spread = GaussianMixture([1.0], [[0.5]], 2.0), GaussianMixture([1.0], [[0.0]], 1.0)
    square = 2.0 + 0.5**2
    exact = 0.5 * (math.log(2 * math.pi * 2) + square / 2)
    means, errors = [], []
    for latents in (1, 2, 8, 64):
        monkeypatch.setattr(objectives, "LATENTS", latents)
        generator = torch.Generator().manual_seed(2)
        runs = [likelihood(*told(spread, data, 4000, seed), generator) for seed in range(20)]
        found = torch.stack(runs).detach().double()
        means.append(float(found.mean()))
        errors.append(float(found.std()) / math.sqrt(len(found)))
    assert means[0] == pytest.approx(0.5 * (math.log(2 * math.pi) + square + 1), abs=4 * errors[0])
    for above, below, error in zip(means, means[1:], errors, strict=False):
        assert above - below > 4 * error
    assert exact - 4 * errors[-1] < means[-1] < exact + 0.03


@pytest.mark.parametrize("variance", [0.3, 1.0, 2.5])
def test_one_latent_is_the_squared_error(variance, monkeypatch):
    """§10.4, at fixed τ: with the same noise the same number, up to a factor and a constant."""
    monkeypatch.setattr(objectives, "LATENTS", 1)
    monkeypatch.setattr(objectives, "_spread_noise", objectives._noise)
    torch.manual_seed(0)
    soft = SoftMixture(2, latents=8, width=16, layers=2, rank=4)
    with torch.no_grad():
        soft.residual.log_values.fill_(math.log(variance))
        soft.latent.leave.weight.mul_(10)
    x_0, x_t = (torch.randn(500, 2, dtype=torch.float64) for _ in range(2))
    snr = torch.ones(500, dtype=torch.float64)
    bound, squared = (
        float(objective(soft, x_0, x_t, snr, torch.Generator().manual_seed(3)).detach())
        for objective in (likelihood, mse)
    )
    expected = squared / (2 * variance) + 0.5 * math.log(2 * math.pi * variance)
    assert bound == pytest.approx(expected, rel=1e-5)


def test_noise_of_the_likelihood_is_normal_and_spread_evenly():
    """§10.4: each η_j is N(0, I), and of 32 about as many are in each of eight sectors."""
    soft = SoftMixture(2, latents=8, width=16, layers=1)
    eta = objectives._spread_noise(soft, 4000, 32, torch.Generator().manual_seed(0))
    assert eta.shape == (4000, 32, 2)
    for j in (0, 13, 31):
        for i in (0, 1):
            assert kstest(eta[:, j, i].numpy(), "norm").pvalue > 1e-3
        assert abs(np.corrcoef(eta[:, j].T.numpy())[0, 1]) < 4 / math.sqrt(4000)
    sector = torch.floor((torch.atan2(eta[..., 1], eta[..., 0]) / (2 * math.pi) % 1) * 8)
    counts = torch.stack([(sector == k).sum(-1) for k in range(8)], -1)
    assert int(counts.min()) >= 1  # independent draws leave a sector empty in one point of nine
    assert float(counts.double().var(-1).mean()) < 0.6 * 32 / 8  # 32/8, of independent draws


@pytest.mark.parametrize("shift", [0, objectives.GRID - 1])
def test_noise_of_the_likelihood_is_finite_at_both_ends(shift, monkeypatch):
    """The first point of the Sobol set is 0: its shift alone decides."""
    monkeypatch.setattr(torch, "randint", lambda high, size, **_: torch.full(size, shift))
    soft = SoftMixture(2, latents=8, width=16, layers=1)
    eta = objectives._spread_noise(soft, 1, 4, torch.Generator())
    assert bool(eta.isfinite().all())
    assert eta[0, 0].abs().tolist() == pytest.approx([6.12, 6.12], abs=0.02)


@pytest.mark.parametrize("variance", [0.6, 1.0, 1.6])
def test_collapse_is_left_only_where_the_posterior_is_wide(variance):
    """§10.4: draws of variance D about the mean change L_R by (D − (1 − 1/R) C D/τ²)/(2τ²)."""
    R, C, D = 8, 1.0, 0.01
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)  # over r ~ N(0, C)
    r = math.sqrt(C) * torch.tensor(nodes).unsqueeze(-1)
    mass = torch.tensor(weights / weights.sum())
    tau2 = torch.tensor([variance], dtype=torch.float64)

    def loss(drawn: Tensor) -> Tensor:
        return -(soft_log_likelihood((r - drawn).square(), tau2, 1) @ mass)

    generator = torch.Generator().manual_seed(4)
    drawn = math.sqrt(D) * torch.randn(20_000, 1, R, dtype=torch.float64, generator=generator)
    change = loss(drawn) - loss(torch.zeros(1, 1, R).double())
    error = float(change.std()) / math.sqrt(len(change))
    predicted = (D - (1 - 1 / R) * C * D / variance) / (2 * variance)
    assert error < 0.02 * D
    assert float(change.mean()) == pytest.approx(predicted, abs=4 * error + 10 * D**2)
    wide = bool(R / (R - 1) * variance < C)
    assert bool(change.mean() < 0) == wide


# Networks


def test_a_network_with_its_features_silenced_holds_the_posterior_mean_of_a_gaussian():
    """§10.1: given the component, the mean of the residual is affine in the input."""
    q = GaussianMixture([1.0], [[1.0, -2.0]], [[[2.0, 0.9], [0.9, 0.5]]])
    x_t = 3 * torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale, eye = q.variance.mean(), torch.eye(2, dtype=torch.float64)
    # units of another mean, 0, leave an offset to the network
    denoiser = GaussianDenoiser(2, "level", width=8, layers=1, variance=float(scale))
    told = denoiser.network.level[-1]
    torch.nn.init.zeros_(denoiser.network.leave.weight)
    torch.nn.init.zeros_(denoiser.network.leave.bias)
    torch.nn.init.zeros_(told.weight)
    for log_snr in (-4.0, 0.0, 5.0):
        snr = torch.tensor(math.exp(log_snr), dtype=torch.float64)
        # with y = x_t/√ᾱ: E[x_0 | x_t] = m + G (y − m) by §3.1, less the guess, over κ
        S = q.covariance_matrix
        G = S @ torch.linalg.inv(S + eye / snr)
        kappa = (scale / (1 + snr * scale)).sqrt()
        slope = (G - scale / (scale + 1 / snr) * eye) * (scale + 1 / snr).sqrt() / kappa
        with torch.no_grad():
            told.bias[-6:-2], told.bias[-2:] = slope.flatten(), (eye - G) @ q.mean / kappa
            found = denoiser.x0(x_t, snr).mean
        truth = posterior_at(q, x_t, snr, torch.tensor(math.inf)).mean
        assert torch.allclose(found, truth, atol=1e-4)


def test_without_its_features_a_network_is_affine_with_coefficients_of_the_level():
    torch.manual_seed(0)
    network = Backbone(3, 2, width=8, layers=2)
    torch.nn.init.zeros_(network.leave.weight)
    torch.nn.init.normal_(network.level[-1].weight)
    x, step = torch.randn(20, 3), torch.randn(3)
    slopes = []
    for level in (-3.0, 2.0):
        with torch.no_grad():
            low, middle, high = (network(x + k * step, torch.tensor(level)) for k in (-1, 0, 1))
        assert torch.allclose(high - middle, middle - low, atol=1e-4)
        assert torch.allclose(high - middle, (high - middle)[:1], atol=1e-4)
        slopes.append(high[0] - middle[0])
    assert float((slopes[0] - slopes[1]).abs().min()) > 0.01


def test_a_modulation_of_nothing_is_no_modulation():
    """With A = v vᵀ; and every part of a modulation is used."""
    torch.manual_seed(0)
    network = Backbone(2, 2, width=16, layers=3, rank=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for layer in (network.first, network.last):
            layer.diagonal.fill_(-200.0)
    x, level = torch.randn(10, 2), torch.randn(10)
    sizes = {"scale": (3, 16), "shift": (3, 16), "first": (2, 4), "last": (2, 4)}
    nothing = {name: torch.zeros(10, *size) for name, size in sizes.items()}
    with torch.no_grad():
        plain = network(x, level)
        assert torch.equal(network(x, level, Modulation(**nothing)), plain)
        for name, size in sizes.items():
            told = network(x, level, Modulation(**{**nothing, name: torch.ones(10, *size)}))
            assert float((told - plain).abs().min()) > 1e-5, name
