"""Features of a small classifier, and the Fréchet distance in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from chains import seeded
from scipy.linalg import sqrtm

from smdtheory.images import Images
from smdtheory.images.features import FEATURES, classifier_for, frechet_distance


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=seeded(seed), dtype=torch.float64)


def exact(count: int, mean: torch.Tensor, covariance: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A sample whose mean and unbiased covariance are these to rounding."""
    white = normal(count, len(mean), seed=seed)
    white -= white.mean(0)
    white = torch.linalg.qr(white).Q * math.sqrt(count - 1)
    return mean + white @ torch.linalg.cholesky(covariance).T


def covariance(size: int, seed: int) -> torch.Tensor:
    root = normal(size, size, seed=seed)
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


# The distance


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_distance_is_the_closed_form_for_known_moments(size):
    first, second = covariance(size, 1), covariance(size, 2)
    means = normal(2, size, seed=3)
    x, y = exact(50, means[0], first), exact(80, means[1], second, seed=4)
    product = np.atleast_2d(sqrtm((first @ second).numpy()))
    wanted = (means[0] - means[1]).square().sum() + (first + second).trace()
    wanted = float(wanted) - 2 * float(np.trace(product).real)
    found = frechet_distance(x, y)
    assert float(found) == pytest.approx(wanted, rel=1e-10)
    assert found.method == "sampling"
    assert float(frechet_distance(y, x)) == pytest.approx(wanted, rel=1e-10)


def test_equal_samples_have_distance_zero_and_a_shift_its_square():
    x = normal(40, 5)
    x[:, 4] = x[:, 3]  # a covariance without full rank
    assert float(frechet_distance(x, x.clone())) == pytest.approx(0, abs=1e-13)
    assert float(frechet_distance(x.float(), x.float() + 2)) == pytest.approx(20, rel=1e-6)


def test_small_eigenvalues_keep_their_digits():
    scales = torch.tensor([1.0, 1e-7], dtype=torch.float64)
    x, y = (exact(30, torch.zeros(2).double(), torch.diag(scales**2), seed) for seed in (0, 1))
    y = y * torch.tensor([1.0, 3.0], dtype=torch.float64)
    # what the rounding of 1 leaves of (3e-7 − 1e-7)² = 4e-14
    assert float(frechet_distance(x, y)) == pytest.approx(4e-14, abs=4e-15)


def test_rotations_and_the_order_of_the_rows_change_nothing():
    x, y = normal(60, 4) * 2, normal(70, 4, seed=1) + 0.3
    turn = torch.linalg.qr(normal(4, 4, seed=2)).Q
    found = frechet_distance(x, y)
    turned = frechet_distance(x @ turn + 1, y @ turn + 1)
    assert float(turned) == pytest.approx(float(found), rel=1e-12)
    assert float(turned.error) == pytest.approx(float(found.error), rel=1e-9)
    assert float(frechet_distance(x.flip(0), y)) == pytest.approx(float(found), rel=1e-12)


def test_the_standard_error_is_the_spread_of_repetitions():
    found = [
        frechet_distance(normal(100, 3, seed=2 * k), 1.5 * normal(150, 3, seed=2 * k + 1) + 1)
        for k in range(300)
    ]
    spread = float(torch.stack([f.value for f in found]).std())
    errors = float(torch.stack([f.error for f in found]).square().mean().sqrt())
    assert errors == pytest.approx(spread, rel=0.2)  # each is known to about 5 %


def test_the_bias_is_the_one_in_the_docstring():
    size = 6
    for count in (100, 200):
        values = torch.stack(
            [
                frechet_distance(
                    normal(count, size, seed=2 * k), normal(count, size, seed=2 * k + 1)
                ).value
                for k in range(200)
            ]
        )
        wanted = (1 + (size + 1) / 4) * size * 2 / count
        error = float(values.std()) / math.sqrt(200)
        # the next order is a share of about f/N
        assert float(values.mean()) == pytest.approx(wanted, abs=4 * error + wanted * size / count)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(9, 2), torch.zeros(9, 3), ValueError, "same number of features.*2 and 3"),
        (torch.zeros(4, 2), torch.zeros(9, 2), ValueError, "x_features must have at least f . 3 ="),
        (torch.zeros(9, 2), torch.zeros(4, 2), ValueError, "y_features must have .* received 4"),
        (torch.zeros(9), torch.zeros(9, 2), ValueError, r"x_features must have shape \(N, d\)"),
        (torch.zeros(9, 0), torch.zeros(9, 0), ValueError, "x_features must have shape"),
        (torch.full((9, 2), math.nan), torch.zeros(9, 2), ValueError, "x_features must be finite"),
        ([[0.0]] * 9, torch.zeros(9, 1), TypeError, "x_features must be a Tensor"),
    ],
)
def test_what_has_no_distance_is_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        frechet_distance(x, y)


# The classifier


@pytest.fixture(scope="module")
def network(digits):
    return classifier_for(digits)


def test_the_digits_are_recognised(digits, network):
    assert network.accuracy > 0.95
    labels = network.labels(digits.held_out.flatten(1))
    share = (labels == digits.held_out_labels).double().mean()
    assert float(share) == network.accuracy


def test_features_are_of_the_last_hidden_layer(digits, network):
    x = digits.held_out.flatten(1)
    found = network.features(x)
    assert found.shape == (360, FEATURES)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert float(found.std(0).min()) > 0.1
    assert torch.allclose(network.features(x[:7].double()), found[:7], atol=1e-5)
    assert network.features(x[:0]).shape == (0, FEATURES)


def test_noise_is_farther_from_the_digits_than_digits_are(digits, network):
    held_out = network.features(digits.held_out.flatten(1))
    noise = torch.rand(360, 64, generator=seeded()) * 2 - 1
    noisy = digits.held_out.flatten(1) + 0.5 * torch.randn(360, 64, generator=seeded())
    others = digits.train[:360].flatten(1), noisy, noise
    near, between, far = (frechet_distance(held_out, network.features(images)) for images in others)
    assert float(near) < float(between) < float(far)
    assert float(far) > 10 * float(near)


def few(channels: int = 1, side: int = 8, classes: int = 3, count: int = 30) -> Images:
    labels = torch.arange(count) % classes + 5
    pixels = torch.rand(count, channels, side, side, generator=seeded()) * 0.2
    pixels += (labels - 6).reshape(-1, 1, 1, 1) * 0.5
    return Images("few", pixels, pixels, labels, labels)


def test_the_network_comes_from_the_seed_and_nothing_else():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    x = few().train.flatten(1)
    with torch.no_grad():
        found = [classifier_for(few(), seed, steps=5).features(x) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 2), (1, 5), (1, 8), (3, 8), (1, 28), (3, 32)])
def test_images_of_all_sizes_and_any_labels_are_taken(shape):
    images = few(*shape)
    network = classifier_for(images, steps=15)
    assert network.accuracy == 1
    assert network.features(images.train.flatten(1)).shape == (30, FEATURES)
    assert network.classes.tolist() == [5, 6, 7]


def test_what_cannot_be_learned_is_refused(digits, network):
    pixels = digits.train[:5]
    with pytest.raises(ValueError, match=r"images must have labels.*those of 'mine' without"):
        classifier_for(Images("mine", pixels, pixels, torch.arange(5)))
    with pytest.raises(ValueError, match=r"at least 2 classes; received the label 5 alone"):
        classifier_for(few(classes=1))
    with pytest.raises(TypeError, match="images must be a Images"):
        classifier_for(pixels)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        classifier_for(digits, -1)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        classifier_for(digits, steps=0)
    with pytest.raises(ValueError, match=r"must be vectors of 64 numbers"):
        network.features(torch.zeros(2, 63))
    with pytest.raises(ValueError, match=r"x must have shape \(N, d\).*flatten"):
        network.features(digits.train[:2])
