"""Low-rank mixtures: their fit to images, and images drawn from them."""

import math

import pytest
import torch
from chains import rows, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arrays

from smdtheory import GaussianMixture
from smdtheory.images import fit_low_rank, load_images, low_rank, sources

# The fit


def dense_log_prob(mixture, x):
    """By scipy-free dense algebra, a second route."""
    parts = []
    for weight, mean, matrix in zip(
        mixture.weights, mixture.means, mixture.spectral.matrices(), strict=True
    ):
        law = torch.distributions.MultivariateNormal(mean, matrix)
        parts.append(weight.log() + law.log_prob(x))
    return torch.logsumexp(torch.stack(parts), 0)


def test_a_known_mixture_is_recovered():
    g = seeded()
    factors = torch.randn(3, 12, 2, generator=g).double()
    means = 4 * torch.randn(3, 12, generator=g).double()
    truth = GaussianMixture.low_rank([0.5, 0.3, 0.2], means, factors, [0.2, 0.1, 0.3])
    sample = truth.sample(12_000, generator=g)
    fit = fit_low_rank(sample, 3, 2, seed=1)
    order = torch.cdist(truth.means, fit.means).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(fit.weights[order], truth.weights, atol=0.02, rtol=0)
    torch.testing.assert_close(fit.means[order], truth.means, atol=0.15, rtol=0)
    noise = fit.spectral.residual[order]
    torch.testing.assert_close(noise, truth.spectral.residual, atol=0, rtol=0.03)
    both = [q.spectral.matrices() for q in (fit, truth)]
    torch.testing.assert_close(both[0][order], both[1], atol=0.35, rtol=0)
    # the fit beats the truth on its own sample, by about half a parameter a nat
    gain = len(sample) * float((fit.log_prob(sample) - truth.log_prob(sample)).mean())
    parameters = 2 + 3 * (12 + 2 * 12 - 1 + 1)
    assert 0 < gain < parameters
    new = truth.sample(4000, generator=g)
    assert 0 < float((truth.log_prob(new) - fit.log_prob(new)).mean()) < 0.05


@pytest.mark.parametrize(("components", "rank"), [(1, 1), (4, 3), (10, 8)])
def test_a_fit_keeps_mean_and_total_variance(digits, components, rank):
    flat = digits.train.flatten(1).double()
    fit = fit_low_rank(digits.train, components, rank)
    assert (fit.num_components, fit.dim) == (components, 64)
    torch.testing.assert_close(fit.mean, flat.mean(0))
    assert float(fit.total_variance) == pytest.approx(64 * digits.variance, rel=1e-9)
    assert torch.equal(fit.means, fit_low_rank(digits.train, components, rank).means)
    assert float(fit.spectral.smallest().min()) >= low_rank.NOISE_FLOOR * digits.variance
    x = digits.held_out.flatten(1)[:20].double()
    torch.testing.assert_close(fit.log_prob(x), dense_log_prob(fit, x))


def test_held_out_digits_like_a_mixture_better_than_one_gaussian_of_its_rank(digits):
    held_out = digits.held_out.flatten(1).double()
    ten, one = (fit_low_rank(digits.train, K, 8).log_prob(held_out) for K in (10, 1))
    gain = ten - one
    assert float(gain.mean()) > 15
    assert float(gain.mean()) > 5 * float(gain.std()) / math.sqrt(len(gain))


@settings(max_examples=15)
@given(points=arrays((30, 5), -1.0, 1.0), rank=st.integers(1, 4), floor=st.sampled_from([0.0, 0.1]))
def test_the_principal_component_is_a_maximum(points, rank, floor):
    """§13.1: no other factors and no other noise above the floor has a larger likelihood."""
    floor = max(floor, low_rank.NOISE_FLOOR)
    share = torch.ones(30, dtype=torch.float64)
    mean, factors, noise = low_rank.principal(points, share, rank, floor, 5)
    assert noise >= floor

    def likelihood(factors, noise):
        mixture = GaussianMixture.low_rank([1.0], mean[None], factors[None], [noise])
        return float(mixture.log_prob(points).mean())

    best = likelihood(factors, noise)
    for n in range(20):
        size = 10 ** (-1 - n % 3)
        change = size * torch.randn(5, rank, generator=seeded(n)).double()
        other = max(floor, noise * math.exp(size * (n % 5 - 2)))
        assert likelihood(factors + change, other) <= best + 1e-9


def test_images_of_few_directions_are_fitted_as_in_all_of_them(monkeypatch):
    g = seeded()
    flat = torch.randn(300, 6, generator=g) @ torch.randn(6, 40, generator=g)
    flat[:100] += 3
    reduced = fit_low_rank(flat, 2, 3)
    assert low_rank._directions((flat - flat.mean(0)).double())[1].shape == (40, 7)
    monkeypatch.setattr(low_rank, "LARGE", 0)
    whole = fit_low_rank(flat, 2, 3)
    x = torch.randn(50, 40, generator=g).double()
    torch.testing.assert_close(reduced.log_prob(x), whole.log_prob(x), rtol=1e-4, atol=1e-2)
    few = fit_low_rank(flat[:, :1].expand(-1, 40), 1, 5)  # on a line: one factor is enough
    floor = low_rank.NOISE_FLOOR * float(flat[:, 0].double().var(correction=0))
    assert float(few.spectral.residual) == pytest.approx(floor, rel=1e-6)


def test_leading_eigenvalues_alone_give_the_same_fit(monkeypatch):
    g = seeded()
    flat = (torch.randn(200, 60, generator=g) * torch.linspace(0.1, 2, 60)).double()
    dense = fit_low_rank(flat, 1, 4)
    monkeypatch.setattr(low_rank, "DENSE", 10)
    monkeypatch.setattr(low_rank, "LARGE", 20)
    iterated = fit_low_rank(flat, 1, 4)
    torch.testing.assert_close(iterated.covariance_matrix, dense.covariance_matrix)


def test_more_images_than_are_used_are_drawn_by_the_seed(monkeypatch, digits):
    monkeypatch.setattr(low_rank, "MOST_ROWS", 300)
    first, again, other = (fit_low_rank(digits.train, 2, 2, seed).mean for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)


def test_a_component_with_next_to_no_images_is_dropped():
    flat = torch.randn(100, 6, generator=seeded()).double()
    flat[:2] += 1000
    fit = fit_low_rank(flat, 2, 2)
    assert fit.num_components == 1
    torch.testing.assert_close(fit.mean, flat.mean(0))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("images", TypeError, "images must be a dense array of real numbers"),
        (torch.zeros(50), ValueError, "at least 2 pixels"),
        (torch.zeros(50, 1), ValueError, "at least 2 pixels"),
        (torch.zeros(50, 4), ValueError, "= 6 different ones; received 1"),
        (torch.zeros(0, 4), ValueError, "= 6 different ones; received 0"),
        (torch.full((50, 4), math.nan), ValueError, "images must be finite"),
        (torch.arange(40.0).double().reshape(10, 4) * 1e30, ValueError, "moderate size"),
        (torch.arange(40.0).double().reshape(10, 4) * 1e300, ValueError, "moderate size"),
        (torch.arange(40.0).double().reshape(10, 4) * 1e-40, ValueError, "moderate size"),
    ],
)
def test_what_cannot_be_fitted(images, error, message):
    with pytest.raises(error, match=message):
        fit_low_rank(images, 2, 1)


# Draws


def test_draws_of_a_mixture_have_its_law():
    images = load_images("mixture", components=4, rank=3)
    mixture = images.mixture
    assert (images.name, images.bin_width, images.shape) == ("mixture", None, (1, 8, 8))
    assert images.variance == pytest.approx(float(mixture.variance.mean()))
    torch.testing.assert_close(images.mean, mixture.mean)
    x = images.draw(20_000, seeded()).double()
    error = (mixture.variance / len(x)).sqrt()
    assert float(((x.mean(0) - mixture.mean) / error).abs().max()) < 5
    centred = x - mixture.mean
    products = centred.unsqueeze(2) * centred.unsqueeze(1)
    error = products[::10].std(0) / math.sqrt(len(x))
    gap = centred.mT @ centred / len(x) - mixture.covariance_matrix
    assert float((gap / error).abs().max()) < 6
    torch.testing.assert_close(mixture.log_prob(x[:20]), dense_log_prob(mixture, x[:20]))
    own = mixture.log_prob(images.held_out.flatten(1).double())
    new = mixture.log_prob(x[:2000])
    error = math.hypot(float(own.std()) / own.numel() ** 0.5, float(new.std()) / 2000**0.5)
    assert abs(float(own.mean() - new.mean())) < 4 * error
    assert not rows(images.train) & rows(images.held_out)


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (12, 1), (32, 1)])
def test_a_mixture_has_any_size(size, channels):
    images = load_images("mixture", size=size, channels=channels, components=2, rank=2)
    assert images.shape == (channels, size, size)
    spectral = images.mixture.spectral
    assert float(spectral.smallest().min()) > 1e-5
    assert float((spectral.largest() / spectral.smallest()).max()) < 1e3 * images.dim
    again = load_images("mixture", size=size, channels=channels, components=2, rank=2)
    assert torch.equal(images.train, again.train)
    assert torch.equal(images.draw(3, seeded()), again.draw(3, seeded()))


def test_tints_are_light_of_one_colour(digits):
    tinted = sources._tinted(digits.train[:50], 0)
    assert tinted.shape == (50, 3, 8, 8)
    assert -1 <= float(tinted.min()) <= float(tinted.max()) <= 1
    light, grey = (tinted + 1).flatten(2), (digits.train[:50] + 1).flatten(2)
    colour = light.amax(2, keepdim=True) / grey.amax(2, keepdim=True)
    assert float(colour.min()) >= sources.DARKEST - 1e-6
    torch.testing.assert_close(light, colour * grey)
