"""Mixtures worth looking at first."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from smdtheory import presets

EQUAL = [
    presets.ring(8),
    presets.ring(5, radius=3.0, std=0.2),
    presets.grid(3),
    presets.line(4, separation=3.0, std=0.5),
]


@pytest.mark.parametrize("mixture", EQUAL, ids=["ring 8", "ring 5", "grid", "line"])
def test_components_are_equal_and_centred(mixture):
    K = mixture.num_components
    assert_close(mixture.weights, torch.full((K,), 1 / K, dtype=torch.float64))
    assert_close(mixture.mean, torch.zeros(mixture.dim, dtype=torch.float64), rtol=0, atol=1e-15)
    assert mixture.spectral.is_isotropic
    assert len(set(mixture.spectral.residual.tolist())) == 1


def test_a_ring_of_radius_root_2_has_unit_variance_beside_its_std():
    mixture = presets.ring(8, std=0.1)
    distance = mixture.means.square().sum(1).sqrt()
    assert_close(distance, torch.full((8,), math.sqrt(2), dtype=torch.float64))
    assert_close(mixture.spectral.residual, torch.full((8,), 0.01, dtype=torch.float64))
    expected = (1 + 0.01) * torch.eye(2, dtype=torch.float64)
    assert_close(mixture.covariance_matrix, expected, rtol=0, atol=1e-14)
    neighbours = (mixture.means - mixture.means.roll(1, 0)).square().sum(1).sqrt()
    assert_close(neighbours, torch.full((8,), 2 * math.sqrt(2) * math.sin(math.pi / 8)).double())


def test_a_grid_is_a_square_lattice():
    mixture = presets.grid(7, spacing=1.5, std=0.25)
    assert (mixture.num_components, mixture.dim) == (49, 2)
    ticks = torch.unique(mixture.means[:, 0])
    assert_close(ticks, 1.5 * torch.arange(-3, 4, dtype=torch.float64))
    assert len({tuple(row) for row in mixture.means.tolist()}) == 49


def test_a_line_has_its_modes_apart():
    mixture = presets.line(4, separation=3.0, std=0.5)
    assert_close(mixture.means[:, 0], torch.tensor([-4.5, -1.5, 1.5, 4.5], dtype=torch.float64))
    assert float(mixture.variance) == pytest.approx(0.25 + 9 * 5 / 4, rel=1e-14)


def test_one_mode_sits_at_the_centre_of_lines_and_grids():
    for mixture in (presets.line(1), presets.grid(1)):
        assert mixture.num_components == 1
        assert bool((mixture.means == 0).all())


def test_random_mixtures_follow_their_description():
    generator = torch.Generator().manual_seed(0)
    mixture = presets.random(2000, 3, separation=4.0, std=0.5, generator=generator)
    # log-uniform within a factor 2 of std on either side
    stds = mixture.spectral.eigenvalues.sqrt()
    assert 0.25 <= float(stds.min()) < 0.26
    assert 0.97 < float(stds.max()) <= 1.0
    assert float(torch.log2(stds / 0.5).mean()) == pytest.approx(0, abs=0.03)  # se 0.0075
    spread = mixture.means.std(0)
    assert_close(spread, torch.full((3,), 4.0, dtype=torch.float64), rtol=0.06, atol=0)  # se 0.063
    assert_close(mixture.weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert float((2000 * mixture.weights).var()) == pytest.approx(1, abs=0.3)  # exponential
    # eigenvectors point everywhere: the first one's squared coordinates average 1/3
    share = mixture.spectral.basis[:, :, 0].square().mean(0)
    assert_close(share, torch.full((3,), 1 / 3, dtype=torch.float64), rtol=0, atol=0.04)


def test_random_mixtures_are_reproducible():
    one, two, other = (
        presets.random(3, 2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.means, two.means)
    assert torch.equal(one.spectral.eigenvalues, two.spectral.eigenvalues)
    assert not torch.equal(one.means, other.means)


@pytest.mark.parametrize("make", [presets.ring, presets.grid, presets.line])
@pytest.mark.parametrize("count", [0, -3])
def test_counts_start_at_one(make, count):
    with pytest.raises(ValueError, match=f"(modes|side) must be at least 1; received {count}"):
        make(count)
    with pytest.raises(TypeError, match=r"(modes|side) must be an integer; received 'abc'"):
        make("abc")


@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, math.nan, 1e-31, 1e31])
def test_sizes_are_positive_and_within_range(std):
    for make in (presets.ring, presets.grid, presets.line):
        with pytest.raises(ValueError, match="std must be positive and finite and lie within"):
            make(2, std=std)
