"""Distances between draws and coverage of modes: closed forms, scipy, and honest errors."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from chains import RING, seeded
from hypothesis import given
from hypothesis import strategies as st

from smdtheory import GaussianMixture, presets
from smdtheory.measure import energy_distance, mode_coverage, samples, sliced_wasserstein

Z = 4.0
"""Standard errors that a fixed draw may be off."""

REPETITIONS = 200
COVERED = 0.89
"""Of 200 repetitions 95 % lie within two standard errors, with a standard deviation of 1.5 %: below
89 % is four of these, and above 99 % nearly three."""


def normal(seed, n, d=1, shift=0.0, scale=1.0):
    x = torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)
    return scale * x + shift


def gaussian_energy(shift, std_x, std_y):
    """X − Y is N(δ, s_x² + s_y²), and E|N(δ, s²)| = s √(2/π) e^{−δ²/2s²} + δ erf(δ/(s√2))."""

    def size(delta, s):
        bell = s * math.sqrt(2 / math.pi) * math.exp(-0.5 * (delta / s) ** 2)
        return bell + delta * math.erf(delta / (s * math.sqrt(2)))

    within = size(0.0, std_x * math.sqrt(2)) + size(0.0, std_y * math.sqrt(2))
    return 2 * size(shift, math.hypot(std_x, std_y)) - within


def energy_by_definition(x, y):
    """The mean over all pairs of different points."""
    n, m = len(x), len(y)
    xy, xx, yy = ((a[:, None] - b).norm(dim=-1).sum() for a, b in ((x, y), (x, x), (y, y)))
    return float(2 * xy / (n * m) - xx / (n * (n - 1)) - yy / (m * (m - 1)))


def calibration(repeat, truth):
    """The fraction within two errors, and the ratio of the errors to the scatter."""
    found = [repeat(seed) for seed in range(REPETITIONS)]
    values = torch.stack([estimate.value for estimate in found])
    errors = torch.stack([estimate.error for estimate in found])
    within = float(((values - truth).abs() <= 2 * errors).double().mean())
    return within, float(errors.square().mean().sqrt() / values.std())


# Energy distance


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("sizes", [(16, 16), (50, 31), (20, 90)])
def test_energy_distance_is_its_definition(d, sizes):
    x, y = normal(1, sizes[0], d), normal(2, sizes[1], d, shift=0.4, scale=1.3)
    found = energy_distance(x, y)
    assert float(found) == pytest.approx(energy_by_definition(x, y), rel=1e-12)
    assert found.method == "sampling"


def test_energy_distance_against_scipy():
    """Scipy's is the square root, and counts each point's distance 0 to itself."""
    x, y = normal(1, 60), normal(2, 45, shift=0.5)
    n, m = len(x), len(y)
    within = [float((z - z.mT).abs().sum()) for z in (x, y)]
    counted = within[0] / (n * n * (n - 1)) + within[1] / (m * m * (m - 1))
    wanted = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert float(energy_distance(x, y)) == pytest.approx(wanted - counted, rel=1e-10)


@pytest.mark.parametrize("block", [64, 1000])
def test_blocks_and_the_line_give_the_same(monkeypatch, block):
    x, y = normal(1, 50), normal(2, 70, shift=1.0)
    flat = torch.zeros(1, 2, dtype=torch.float64)
    flat[0, 1] = 1.0
    plane = energy_distance(x @ flat, y @ flat)
    on_line = energy_distance(x, y)
    monkeypatch.setattr(samples, "DISTANCES", block)
    in_blocks = energy_distance(x @ flat, y @ flat)
    for found in (plane, in_blocks):
        assert float(found.value) == pytest.approx(float(on_line.value), rel=1e-11)
        assert float(found.error) == pytest.approx(float(on_line.error), rel=1e-11)


@pytest.mark.parametrize(("shift", "std"), [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0), (3.0, 0.5)])
def test_energy_distance_of_two_gaussians(shift, std):
    found = energy_distance(normal(3, 20_000), normal(4, 30_000, shift=shift, scale=std))
    assert abs(float(found) - gaussian_energy(shift, 1.0, std)) < Z * float(found.error)
    assert float(found.error) < 0.03


@pytest.mark.parametrize("sizes", [(60, 60), (100, 30)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_error_of_the_energy_distance_is_honest(sizes, shift):
    within, ratio = calibration(
        lambda seed: energy_distance(
            normal(2 * seed, sizes[0]), normal(2 * seed + 1, sizes[1], shift=shift)
        ),
        gaussian_energy(shift, 1.0, 1.0),
    )
    assert within > COVERED
    assert ratio == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("d", [1, 3])
def test_the_error_where_both_laws_agree_is_a_little_large(d):
    """Its square is never below its own estimate of S, so that it exceeds S in the mean."""
    within, ratio = calibration(
        lambda seed: energy_distance(normal(2 * seed, 40, d), normal(2 * seed + 1, 60, d)), 0.0
    )
    assert within > 0.95
    assert 1 <= ratio < 1.6


def test_the_square_of_the_error_is_jackknife_less_second_order():
    """Leaving out every point in turn, and with the matrices of distances doubly centred."""
    x, y = normal(1, 20, 2), normal(2, 33, 2, shift=0.4, scale=2.0)
    jackknife = 0.0
    for left in (
        [energy_by_definition(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(len(x))],
        [energy_by_definition(x, torch.cat([y[:j], y[j + 1 :]])) for j in range(len(y))],
    ):
        jackknife += (len(left) - 1) * float(np.var(left))

    def within(z):
        """U-centred, Székely and Rizzo (2014)."""
        n, a = len(z), (z[:, None] - z).norm(dim=-1)
        rows = a.sum(0) / (n - 2)
        centred = a - rows - rows[:, None] + a.sum() / ((n - 1) * (n - 2))
        return float(centred.fill_diagonal_(0).square().sum()) / (n * (n - 3))

    a, n, m = (x[:, None] - y).norm(dim=-1), len(x), len(y)
    centred = a - a.mean(0) - a.mean(1, keepdim=True) + a.mean()
    between = float(centred.square().sum()) / ((n - 1) * (m - 1))
    second = 2 * within(x) / (n * (n - 1)) + 2 * within(y) / (m * (m - 1)) + 4 * between / (n * m)
    assert jackknife > 2 * second
    found = float(energy_distance(x, y).error)
    assert found == pytest.approx(math.sqrt(jackknife - second), rel=1e-10)


# Sliced Wasserstein distance


@pytest.mark.parametrize("sizes", [(40, 40), (16, 61), (60, 45)])
@pytest.mark.parametrize("order", [1.0, 2.0, 3.5])
def test_the_distance_on_the_line_is_that_of_repeated_points(sizes, order):
    """Each point as often as the other sample has points: equal numbers, matched in order."""
    x, y = normal(1, sizes[0]), normal(2, sizes[1], shift=0.3)
    many_x = x.flatten().sort().values.repeat_interleave(sizes[1])
    many_y = y.flatten().sort().values.repeat_interleave(sizes[0])
    wanted = float((many_x - many_y).abs().pow(order).mean()) ** (1 / order)
    found = sliced_wasserstein(x, y, order=order)
    assert float(found) == pytest.approx(wanted, rel=1e-12)
    if order == 1:
        assert float(found) == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]))


@pytest.mark.parametrize("sizes", [(40, 40), (20, 30), (16, 61)])
@pytest.mark.parametrize("order", [1.0, 2.0, 3.5])
def test_the_potentials_add_up_to_the_cost(sizes, order):
    """φ_i + ψ_j is the cost wherever mass goes from i to j, and both potentials begin at 0."""
    u, v = (normal(k, n, shift=k / 2).T.sort().values for k, n in enumerate(sizes))
    phi, psi = samples._potential(u, v, order), samples._potential(v, u, order)
    first = abs(float(u[0, 0] - v[0, 0])) ** order
    cost = float(sliced_wasserstein(u.T, v.T, order=order)) ** order
    assert float(phi.mean() + psi.mean()) + first == pytest.approx(cost, rel=1e-10)


@pytest.mark.parametrize("d", [2, 5])
def test_sliced_wasserstein_of_a_shift(d):
    """E (θᵀδ)² = |δ|²/d; with the same points shifted, only directions are random."""
    x = normal(1, 500, d)
    delta = torch.arange(1.0, d + 1).double()
    wanted = float(delta.norm()) / math.sqrt(d)
    for y, size in ((x + delta, 2000), (normal(2, 900, d) + delta, 400)):
        found = sliced_wasserstein(x, y, directions=size, generator=seeded(3))
        assert abs(float(found) - wanted) < Z * float(found.error)
        assert float(found.error) < 0.05 * wanted
    first = sliced_wasserstein(x, x + delta, order=1, directions=2000, generator=seeded(4))
    mean = math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))  # E|θ_1|
    assert abs(float(first) - mean * float(delta.norm())) < Z * float(first.error)


def test_sliced_wasserstein_of_two_widths():
    """W_2 of N(0, 1) and N(0, σ²) is |σ − 1| along every direction."""
    found = sliced_wasserstein(normal(1, 20_000, 3), normal(2, 20_000, 3, scale=2.0))
    assert float(found) == pytest.approx(1, abs=Z * float(found.error))
    assert float(found.error) < 0.02


@pytest.mark.parametrize(
    ("d", "sizes", "order", "directions"),
    [(1, (60, 60), 1.0, 2), (1, (100, 35), 2.0, 2), (2, (60, 60), 2.0, 16), (2, (60, 50), 2, 60)],
)
def test_the_error_of_the_sliced_distance_is_honest(d, sizes, order, directions):
    """With few directions their scatter is most of it, with many the points'."""
    within, ratio = calibration(
        lambda seed: sliced_wasserstein(
            normal(2 * seed, sizes[0], d),
            normal(2 * seed + 1, sizes[1], d, shift=3.0),
            order=order,
            directions=directions,
            generator=seeded(seed),
        ),
        3.0,  # |δ|/√d, and |δ| itself on the line
    )
    assert within > COVERED
    assert ratio == pytest.approx(1, abs=0.2)


def test_the_same_points_are_at_distance_zero():
    x = normal(1, 30, 2)
    found = sliced_wasserstein(x, x.clone())
    assert float(found.value) == float(found.error) == 0
    moved = sliced_wasserstein(x, x.flip(0))  # projections may be rounded by where a point stands
    assert float(moved.value) == pytest.approx(0, abs=1e-15)
    constant = torch.ones(20, 2)
    assert float(energy_distance(constant, constant)) == 0
    assert float(energy_distance(constant, constant + 1).value) == pytest.approx(2 * math.sqrt(2))


# Invariances of both


def distances(x, y):
    return [
        part
        for found in (energy_distance(x, y), sliced_wasserstein(x, y, generator=seeded(0)))
        for part in (found.value, found.error)
    ]


@given(st.integers(1, 3), st.integers(0, 10_000), st.sampled_from([1e-40, 0.1, 1.0, 1e60]))
def test_distances_move_with_the_points(d, seed, scale):
    x, y = normal(seed, 20, d), normal(seed + 1, 31, d, shift=1.0)
    wanted = distances(x, y)
    turned = [torch.randperm(len(z), generator=seeded(seed)) for z in (x, y)]
    same = [distances(y, x), distances(x[turned[0]], y[turned[1]]), distances(x + 100, y + 100)]
    scaled = [part / scale for part in distances(scale * x, scale * y)]
    for found in (*same, scaled):
        for value, expected in zip(found, wanted, strict=True):
            assert float(value) == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


def test_directions_come_from_the_generator():
    x, y = normal(1, 40, 3), normal(2, 40, 3, shift=1.0)
    found = [sliced_wasserstein(x, y, generator=seeded(seed)) for seed in (0, 0, 1)]
    assert float(found[0]) == float(found[1]) != float(found[2])


# Coverage


def every_kind_of_covariance():
    means = 4.0 * torch.eye(3, dtype=torch.float64)
    weights = [0.2, 0.3, 0.5]
    spread = torch.tensor([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.1]])
    return {
        "isotropic": GaussianMixture(weights, means, 0.1),
        "diagonal": GaussianMixture(weights, means, [[0.3, 0.2, 0.1]] * 3),
        "full": GaussianMixture(weights, means, spread.expand(3, 3, 3)),
        "low rank": GaussianMixture.low_rank(weights, means, 0.3 * torch.ones(3, 3, 1), 0.1),
    }


@pytest.mark.parametrize("kind", every_kind_of_covariance())
def test_the_mixture_covers_itself(kind):
    q = every_kind_of_covariance()[kind]
    for ball in (0.9999, 0.9):
        found = mode_coverage(q, q.sample(20_000, generator=seeded(1)), ball=ball)
        assert found.covered == 3
        assert bool(((found.mass.value - ball * q.weights).abs() < Z * found.mass.error).all())
        assert abs(float(found.outside) - (1 - ball)) < Z * float(found.outside.error)
        assert float(found.mass.value.sum() + found.outside.value) == pytest.approx(1)


def test_the_error_of_a_mass_is_honest():
    q, ball = presets.line(3), 0.99
    found = [mode_coverage(q, q.sample(100, generator=seeded(k)), ball=ball) for k in range(200)]
    values, errors = (
        torch.stack([getattr(one.mass, part) for one in found]) for part in ("value", "error")
    )
    within = ((values - ball / 3).abs() <= 2 * errors).double().mean(0)
    assert bool((within > COVERED).all())
    assert float(errors.mean() / values.std(0).mean()) == pytest.approx(1, abs=0.1)


def test_a_ring_that_lost_a_mode():
    weights = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1]).double() / 7
    less = GaussianMixture(weights, RING.means, 0.01)
    found = mode_coverage(RING, less.sample(4000, generator=seeded(1)))
    assert found.covered == 7
    assert float(found.mass.value[0]) == 0
    assert 0 < float(found.mass.error[0]) < 1e-3
    assert mode_coverage(less, RING.sample(4000, generator=seeded(2))).covered == 7
    lost = mode_coverage(less, RING.sample(4000, generator=seeded(2))).outside
    assert abs(float(lost) - 1 / 8) < Z * float(lost.error)


def test_what_is_covered_is_a_share_of_the_weight():
    q = GaussianMixture([0.8, 0.2], [[-10.0], [10.0]], 1.0)
    points = torch.tensor([[-10.0]] * 94 + [[10.0]] * 6)  # 0.3 of its weight
    assert [mode_coverage(q, points, share=s).covered for s in (0.25, 0.35, 1.0)] == [2, 1, 1]
    everything = mode_coverage(q, points)
    np.testing.assert_allclose(everything.mass.value, [0.94, 0.06])


def test_a_draw_that_no_mode_explains_is_outside():
    """4 standard deviations are beyond 99.99 % (3.89), in units of the component's own."""
    q = GaussianMixture([0.5, 0.5], [[0.0], [100.0]], [[1.0], [16.0]])
    for offset, outside in ((3.8, 0.0), (4.0, 1.0)):
        for mean, std in ((0.0, 1.0), (100.0, 4.0)):
            points = torch.full((20, 1), mean + std * offset)
            assert float(mode_coverage(q, points).outside) == outside
    far = mode_coverage(q, [[1e99]] * 20)
    assert float(far.outside) == 1
    assert far.covered == 0


def test_a_draw_goes_to_the_most_responsible_component():
    """At 1.5 the narrow one is not it, though the point is in its ball."""
    q = GaussianMixture([0.5, 0.5], [[0.0], [2.0]], [[0.25], [1.0]])
    found = mode_coverage(q, torch.full((20, 1), 1.5))
    assert found.mass.value.tolist() == [0, 1]


# What is refused


@pytest.mark.parametrize("distance", [energy_distance, sliced_wasserstein])
@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (normal(0, 15, 2), ValueError, r"x must have shape \(n, d\), n >= 16; received \(15, 2\)"),
        (normal(0, 20).flatten(), ValueError, r"For d = 1 write x\[:, None\]"),
        (normal(0, 20, 3), ValueError, "x and y must have as many columns, d; received 3 and 2"),
        (torch.full((20, 2), math.nan), ValueError, "x must be finite"),
        (torch.full((20, 2), math.inf), ValueError, "x must be finite"),
        ([[1e101, 0.0]] * 20, ValueError, "x must be below 1e\\+100"),
        (torch.zeros(20, 0), ValueError, "x must have shape"),
        ("points", TypeError, "x must be a dense array"),
    ],
)
def test_bad_points_are_named(distance, x, error, text):
    with pytest.raises(error, match=text):
        distance(x, normal(1, 20, 2))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: sliced_wasserstein(x, x, order=0.5), ValueError, "order"),
        (lambda x: sliced_wasserstein(x, x, order="2"), TypeError, "order"),
        (lambda x: sliced_wasserstein(x, x, directions=1), ValueError, "directions"),
        (lambda x: sliced_wasserstein(x, x, directions=10**6), ValueError, "directions"),
        (lambda x: mode_coverage(RING, x, ball=1.0), ValueError, "ball"),
        (lambda x: mode_coverage(RING, x, ball=0.0), ValueError, "ball"),
        (lambda x: mode_coverage(RING, x, share=1.5), ValueError, "share"),
        (lambda x: mode_coverage(RING, x[:, :1]), ValueError, "samples must have d = 2 columns"),
        (lambda x: mode_coverage(RING, x / 0), ValueError, "samples must be finite"),
        (lambda x: mode_coverage(RING, x[:3]), ValueError, "samples must have shape"),
        (lambda x: mode_coverage("ring", x), TypeError, "mixture"),
    ],
)
def test_bad_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call(normal(0, 20, 2))
