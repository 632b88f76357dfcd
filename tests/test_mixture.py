"""Gaussian mixtures: densities and moments, by independent routes, on every covariance form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Line, exact_log_prob
from sklearn.mixture import GaussianMixture as SklearnMixture
from strategies import arrays, hostile_mixtures, mixtures, numbers
from torch import distributions as td
from torch.testing import assert_close

from smdtheory import GaussianMixture, presets
from smdtheory.truth import validate
from smdtheory.truth.density import BLOCK_ELEMENTS
from smdtheory.truth.spectral import SpectralCovariance

DIMS = st.integers(1, 3)


@st.composite
def cases(draw, dims=DIMS, points: int = 4):
    """A mixture and points near its components."""
    mixture = draw(mixtures(draw(dims)))
    x = draw(arrays((points, mixture.dim), -5.0, 5.0))
    return mixture, x


def rebuilt(mixture: GaussianMixture, **changes) -> GaussianMixture:
    parts = {
        "weights": mixture.weights,
        "means": mixture.means,
        "covariances": mixture.spectral.matrices(),
    }
    return GaussianMixture(*{**parts, **changes}.values())


def random_points(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# Independent peers


@given(cases())
def test_density_is_that_of_torch(case):
    mixture, x = case
    peer = td.MixtureSameFamily(
        td.Categorical(mixture.weights),
        td.MultivariateNormal(mixture.means, mixture.spectral.matrices()),
    )
    # condition numbers up to 100 and distances of 50 std: rounding of the peer's Cholesky
    assert_close(mixture.log_prob(x), peer.log_prob(x), rtol=1e-11, atol=1e-11)
    assert_close(mixture.mean, peer.mean, rtol=1e-12, atol=1e-12)
    assert_close(mixture.variance, peer.variance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_fitted_sklearn_mixture_is_taken_over_whole(kind, dim):
    generator = torch.Generator().manual_seed(3)
    data = presets.random(3, dim, generator=generator).sample(300, generator=generator).numpy()
    fitted = SklearnMixture(3, covariance_type=kind, random_state=0).fit(data)
    mixture = GaussianMixture.from_sklearn(fitted)
    assert_close(mixture.log_prob(data).numpy(), fitted.score_samples(data), rtol=1e-10, atol=1e-10)
    shares = mixture.responsibilities(data).numpy()
    assert_close(shares, fitted.predict_proba(data), rtol=1e-9, atol=1e-12)


def test_an_unfitted_sklearn_mixture_is_refused():
    with pytest.raises(TypeError, match=r"fitted must be a fitted .* Call \.fit\(data\) first"):
        GaussianMixture.from_sklearn(SklearnMixture(2))


@given(cases())
def test_score_is_the_gradient(case):
    mixture, x = case
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    assert_close(mixture.score(x.detach()), gradient, rtol=1e-10, atol=1e-10)


def test_log_prob_has_gradients_through_the_parameters():
    generator = torch.Generator().manual_seed(0)
    base = presets.random(3, 2, generator=generator)
    x = base.sample(5, generator=generator)

    def total(logits, means, eigenvalues):
        spectral = SpectralCovariance(
            base.spectral.basis, eigenvalues, base.spectral.residual, base.dim
        )
        return GaussianMixture.from_spectral(logits, means, spectral).log_prob(x)

    inputs = (base.logits, base.means, base.spectral.eigenvalues)
    assert torch.autograd.gradcheck(total, tuple(v.clone().requires_grad_() for v in inputs))


# One form for all covariances


def forms(kind: str, dim: int) -> dict[str, GaussianMixture]:
    """The same mixture said in every way that can say it."""
    generator = torch.Generator().manual_seed(dim)
    weights, means = torch.tensor([0.2, 0.3, 0.5]), 2 * random_points(3, dim, seed=dim)
    eye = torch.eye(dim, dtype=torch.float64)
    if kind == "isotropic":
        variance = torch.tensor([0.04, 1.0, 2.25], dtype=torch.float64)
        return {
            "isotropic": GaussianMixture(weights, means, variance),
            "diagonal": GaussianMixture(weights, means, variance[:, None].expand(3, dim)),
            "full": GaussianMixture(weights, means, variance[:, None, None] * eye),
            "low rank 0": GaussianMixture.low_rank(
                weights, means, torch.zeros(3, dim, 0), variance
            ),
        }
    if kind == "diagonal":
        variances = torch.rand(3, dim, generator=generator, dtype=torch.float64) + 0.1
        return {
            "diagonal": GaussianMixture(weights, means, variances),
            "full": GaussianMixture(weights, means, torch.diag_embed(variances)),
            "low rank d": GaussianMixture.low_rank(
                weights, means, torch.diag_embed((variances - 0.05).sqrt()), [0.05] * 3
            ),
        }
    rank = {"rank 1": 1, "rank d": dim}[kind]
    factors = random_points(3, dim, rank, seed=7)
    noise = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    matrices = factors @ factors.mT + noise[:, None, None] * eye
    return {
        "low rank": GaussianMixture.low_rank(weights, means, factors, noise),
        "full": GaussianMixture(weights, means, matrices),
    }


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "rank 1", "rank d"])
def test_every_form_of_a_covariance_is_the_same_mixture(kind, dim):
    found = forms(kind, dim)
    x = 3 * random_points(20, dim, seed=1)
    first, *others = found.values()
    for other in others:
        for name in ("log_prob", "responsibilities", "score", "component_log_prob"):
            mine, theirs = getattr(first, name)(x), getattr(other, name)(x)
            assert_close(mine, theirs, rtol=1e-9, atol=1e-10, msg=lambda m, name=name: name + m)
        for name in ("mean", "variance", "covariance_matrix", "total_variance"):
            assert_close(getattr(first, name), getattr(other, name), rtol=1e-11, atol=1e-12)
        for name in ("trace", "log_det", "smallest", "largest", "matrices", "diagonals"):
            mine = getattr(first.spectral, name)()
            assert_close(mine, getattr(other.spectral, name)(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "rank 1", "rank d"])
def test_applying_a_function_of_a_covariance_is_a_matrix_product(kind):
    x = random_points(5, 1, 4, seed=2).expand(5, 3, 4)
    for mixture in forms(kind, 4).values():
        spectral = mixture.spectral
        root = spectral.map(torch.sqrt).matrices()
        assert_close(root @ root, spectral.matrices(), rtol=1e-12, atol=1e-12)
        expected = torch.einsum("kij,nkj->nki", torch.linalg.inv(spectral.matrices()), x)
        assert_close(spectral.apply(torch.reciprocal, x), expected, rtol=1e-10, atol=1e-10)
        columns = x.permute(1, 2, 0)
        assert_close(
            spectral.apply_columns(torch.reciprocal, columns),
            expected.permute(1, 2, 0),
            rtol=1e-10,
            atol=1e-10,
        )
        distance = (x * expected).sum(-1)
        assert_close(spectral.mahalanobis(x), distance, rtol=1e-10, atol=1e-10)
        assert_close(spectral.mahalanobis_columns(columns), distance.mT, rtol=1e-10, atol=1e-10)


# Invariances


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_components_does_not_matter(case, random):
    mixture, x = case
    order = list(range(mixture.num_components))
    random.shuffle(order)
    other = rebuilt(
        mixture,
        weights=mixture.weights[order],
        means=mixture.means[order],
        covariances=mixture.spectral.matrices()[order],
    )
    assert_close(other.log_prob(x), mixture.log_prob(x), rtol=1e-11, atol=1e-11)
    assert_close(
        other.responsibilities(x), mixture.responsibilities(x)[:, order], rtol=1e-10, atol=1e-12
    )
    assert_close(other.covariance_matrix, mixture.covariance_matrix, rtol=1e-11, atol=1e-11)


@given(cases(), numbers(0.0, 1.0))
def test_splitting_a_component_changes_nothing(case, share):
    mixture, x = case
    weights = mixture.weights
    halves = torch.cat([weights[:1] * share, weights[:1] * (1 - share), weights[1:]])
    twice = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(mixture.num_components)])
    other = rebuilt(
        mixture,
        weights=halves,
        means=mixture.means[twice],
        covariances=mixture.spectral.matrices()[twice],
    )
    assert_close(other.log_prob(x), mixture.log_prob(x), rtol=1e-11, atol=1e-11)
    assert_close(other.score(x), mixture.score(x), rtol=1e-10, atol=1e-10)
    assert_close(other.mean, mixture.mean, rtol=1e-12, atol=1e-12)
    assert_close(other.variance, mixture.variance, rtol=1e-12, atol=1e-12)
    shares = other.responsibilities(x)
    merged = torch.cat([shares[:, :2].sum(1, keepdim=True), shares[:, 2:]], 1)
    assert_close(merged, mixture.responsibilities(x), rtol=1e-10, atol=1e-12)


@given(cases(), st.data())
def test_moving_and_turning_the_mixture_with_the_point(case, data):
    mixture, x = case
    d = mixture.dim
    shift = data.draw(arrays((d,), -5.0, 5.0))
    generator = data.draw(arrays((d, d), -math.pi, math.pi))
    turn = torch.linalg.matrix_exp(generator - generator.mT)
    matrices = turn @ mixture.spectral.matrices() @ turn.mT
    other = rebuilt(
        mixture,
        means=mixture.means @ turn.mT + shift,
        covariances=(matrices + matrices.mT) / 2,
    )
    moved = x @ turn.mT + shift
    assert_close(other.log_prob(moved), mixture.log_prob(x), rtol=1e-10, atol=1e-10)
    assert_close(other.score(moved), mixture.score(x) @ turn.mT, rtol=1e-9, atol=1e-9)
    assert_close(other.responsibilities(moved), mixture.responsibilities(x), rtol=1e-9, atol=1e-10)
    assert_close(other.mean, turn @ mixture.mean + shift, rtol=1e-11, atol=1e-11)


@given(cases(), numbers(-3.0, 3.0))
def test_rescaling_moves_the_density_by_the_jacobian(case, log_scale):
    mixture, x = case
    a = math.exp(log_scale)
    other = rebuilt(
        mixture, means=a * mixture.means, covariances=a**2 * mixture.spectral.matrices()
    )
    expected = mixture.log_prob(x) - mixture.dim * log_scale
    assert_close(other.log_prob(a * x), expected, rtol=1e-11, atol=1e-11)


@given(cases(st.just(1)))
def test_the_density_integrates_to_one(case):
    mixture, _ = case
    y, weight = Line.of(mixture).rule()
    density = mixture.log_prob(y[:, None]).exp().numpy()
    # panels end at 10 std, where 1e-23 of the mass is left
    assert (weight * density).sum() == pytest.approx(1, abs=1e-12)
    assert (weight * density * y).sum() == pytest.approx(float(mixture.mean), abs=1e-11)
    spread = (y - float(mixture.mean)) ** 2
    assert (weight * density * spread).sum() == pytest.approx(float(mixture.variance), rel=1e-11)


def test_a_component_of_weight_0_changes_nothing():
    q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
    padded = GaussianMixture([0.5, 0.0, 0.5], [[-1.0], [50.0], [1.0]], 0.25)
    x = torch.linspace(-60, 60, 41, dtype=torch.float64)[:, None]
    assert_close(padded.log_prob(x), q.log_prob(x))
    assert_close(padded.score(x), q.score(x))
    assert_close(padded.responsibilities(x)[:, [0, 2]], q.responsibilities(x))
    assert bool((padded.responsibilities(x)[:, 1] == 0).all())
    assert_close(padded.variance, q.variance)
    draws = padded.sample(1000, generator=torch.Generator().manual_seed(0))
    assert float(draws.abs().max()) < 4


def test_weights_are_normalised_exactly():
    q = GaussianMixture([0.3, 0.7 + 9e-7], [[0.0], [1.0]], 1.0)
    assert float(q.weights.sum()) == pytest.approx(1, abs=1e-15)


# Draws


def test_moments_are_those_of_the_draws():
    generator = torch.Generator().manual_seed(11)
    for kind in ("isotropic", "diagonal", "rank 1", "rank d"):
        mixture = next(iter(forms(kind, 3).values()))
        n = 200_000
        draws = mixture.sample(n, generator=generator)
        gap = draws - mixture.mean
        error = gap.std(0) / math.sqrt(n)
        # 3 coordinates, 6 entries, 4 forms: 36 standard scores, 4.5 has probability 2e-4
        assert float(((draws.mean(0) - mixture.mean) / error).abs().max()) < 4.5
        square = torch.einsum("ni,nj->nij", gap, gap)
        error = square.std(0) / math.sqrt(n)
        score = (square.mean(0) - mixture.covariance_matrix) / error
        assert float(score.abs().max()) < 4.5
        assert float(mixture.covariance_matrix.trace()) == pytest.approx(
            float(mixture.total_variance), rel=1e-12
        )


def test_draws_have_the_density():
    # the mean of −log q over draws is the entropy, here known by integration
    mixture = presets.line(3, separation=1.0, std=0.4)
    surprise = -mixture.log_prob(
        mixture.sample(100_000, generator=torch.Generator().manual_seed(5))
    )
    error = float(surprise.std()) / math.sqrt(len(surprise))
    assert float(surprise.mean()) == pytest.approx(Line.of(mixture).entropy(), abs=4 * error)


def test_the_same_generator_gives_the_same_draws():
    q = presets.ring(4)
    one = q.sample((3, 2), generator=torch.Generator().manual_seed(1))
    two = q.sample((3, 2), generator=torch.Generator().manual_seed(1))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("shape", "expected"), [((), ()), (4, (4,)), ((3, 2), (3, 2)), (0, (0,)), ((2, 0), (2, 0))]
)
def test_shapes_of_draws(shape, expected):
    assert presets.ring(3).sample(shape).shape == (*expected, 2)
    batch = presets.ring(3).expand((5,))
    assert batch.sample(shape).shape == (*expected, 5, 2)


# Batches


def batched(dim: int = 2) -> tuple[GaussianMixture, list[GaussianMixture]]:
    """A (4, 3)-batch of mixtures that share covariances along the first dimension."""
    logits, means = random_points(4, 3, 2, seed=1), random_points(4, 3, 2, dim, seed=2)
    variances = torch.exp(random_points(3, 2, dim, seed=3))
    spectral = SpectralCovariance.diagonal(variances)
    alone = [
        GaussianMixture(torch.softmax(logits[i, j], 0), means[i, j], variances[j])
        for i in range(4)
        for j in range(3)
    ]
    return GaussianMixture.from_spectral(logits, means, spectral), alone


def test_a_batch_is_its_mixtures_one_by_one():
    batch, alone = batched()
    assert batch.batch_shape == (4, 3)
    assert batch.event_shape == (2,)
    x = random_points(7, 4, 3, 2, seed=4)
    for name in ("log_prob", "responsibilities", "score", "component_log_prob"):
        found = getattr(batch, name)(x).flatten(1, 2)
        for n, mixture in enumerate(alone):
            expected = getattr(mixture, name)(x.flatten(1, 2)[:, n])
            assert_close(found[:, n], expected, rtol=1e-12, atol=1e-12)
    for name in ("weights", "mean", "variance", "covariance_matrix", "total_variance"):
        found = getattr(batch, name).flatten(0, 1)
        expected = torch.stack([getattr(mixture, name) for mixture in alone])
        assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for n, mixture in enumerate(alone):
        same = batch.standardized().mean.flatten(0, 1)[n]
        assert_close(same, mixture.standardized().mean, rtol=0, atol=1e-12)


def test_a_point_broadcasts_against_a_batch():
    batch, alone = batched()
    point = torch.tensor([0.5, -0.5], dtype=torch.float64)
    expected = torch.stack([mixture.log_prob(point) for mixture in alone]).reshape(4, 3)
    assert_close(batch.log_prob(point), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="x and batch_shape must have shapes that broadcast"):
        batch.log_prob(random_points(5, 2))


def test_log_weights_broadcast_over_a_batch():
    spectral = SpectralCovariance.isotropic(torch.ones(2, dtype=torch.float64), 1)
    batch = GaussianMixture.from_spectral(torch.zeros(2), random_points(5, 2, 1), spectral)
    assert_close(batch.weights, torch.full((5, 2), 0.5))


@pytest.mark.parametrize("shape", [(5,), (2, 5), ()])
def test_expanding_repeats_the_mixture(shape):
    q = presets.ring(3)
    batch = q.expand(shape)
    assert batch.batch_shape == shape
    x = random_points(*shape, 2)
    assert_close(batch.log_prob(x), q.log_prob(x), rtol=1e-13, atol=1e-13)
    with pytest.raises(ValueError, match="batch_shape must"):
        q.expand((4,)).expand((5,))


def test_large_and_small_inputs_give_the_same_numbers():
    # log_prob works through blocks of points; the last one is shorter than the others
    q = presets.ring(3)
    count = BLOCK_ELEMENTS // (3 * 2) + 17
    x = random_points(count, 2)
    assert_close(q.log_prob(x)[-40:], q.log_prob(x[-40:]), rtol=1e-13, atol=1e-13)
    assert_close(q.log_prob(x[:, None])[:, 0], q.log_prob(x), rtol=0, atol=0)
    assert q.log_prob(torch.zeros(0, 2)).shape == (0,)
    assert q.score(torch.zeros(0, 2)).shape == (0, 2)
    assert q.responsibilities(torch.zeros(3, 0, 2)).shape == (3, 0, 3)


def test_points_may_be_any_array():
    q = presets.ring(3)
    x = np.arange(6.0).reshape(3, 2)
    expected = q.log_prob(torch.tensor(x))
    assert_close(q.log_prob(x), expected)
    assert_close(q.log_prob(x.tolist()), expected)
    assert_close(q.log_prob(x.astype(np.int16)), expected)
    assert_close(q.log_prob(x[::-1]), expected.flip(0))  # a negative stride
    assert_close(q.log_prob(np.asfortranarray(x)), expected)
    assert_close(q.log_prob(np.broadcast_to(x, (2, 3, 2)))[1], expected)  # read-only


# Other scales and dtypes


@given(cases())
def test_standardized_has_mean_0_and_trace_d(case):
    mixture, x = case
    standard = mixture.standardized()
    assert_close(standard.mean, torch.zeros_like(mixture.mean), rtol=0, atol=1e-13)
    assert float(standard.total_variance) == pytest.approx(mixture.dim, rel=1e-12)
    scale = torch.sqrt(mixture.total_variance / mixture.dim)
    expected = mixture.log_prob(x) + mixture.dim * torch.log(scale)
    assert_close(standard.log_prob((x - mixture.mean) / scale), expected, rtol=1e-11, atol=1e-11)


def test_single_precision_is_close_and_stays_single():
    for kind in ("isotropic", "diagonal", "rank 1", "rank d"):
        q = next(iter(forms(kind, 3).values()))
        single = q.to(torch.float32)
        x = random_points(50, 3)
        found = single.log_prob(x)
        assert found.dtype == torch.float32
        assert single.score(x).dtype == torch.float32
        assert single.sample(2).dtype == torch.float32
        assert_close(found.double(), q.log_prob(x), rtol=1e-5, atol=1e-4)
        assert_close(single.to(torch.float64).mean, q.mean, rtol=1e-6, atol=1e-6)


def test_a_dtype_that_cannot_hold_the_variances_is_refused():
    q = presets.line(2, std=1e-25)
    with pytest.raises(ValueError, match="dtype must hold every variance"):
        q.to(torch.float32)
    for target in (torch.int64, "nowhere", "meta"):
        with pytest.raises(TypeError, match="to takes a device that is there or a floating dtype"):
            q.to(target)


# Stability: the right number, or an error that says what is out of range


@st.composite
def hostile_cases(draw):
    """Separations 1e-6..1e8, std 1e-12..1e6, a point at a few std of a component or anywhere."""
    mixture = draw(hostile_mixtures(draw(st.integers(1, 2))))
    k = draw(st.integers(0, mixture.num_components - 1))
    std = mixture.spectral.eigenvalues[k].sqrt()
    near = mixture.means[k] + std * draw(arrays((mixture.dim,), -8.0, 8.0))
    far = 10 ** draw(arrays((mixture.dim,), -12.0, 9.0))
    return mixture, draw(st.sampled_from([near, far]))


# 100 examples: the scales span 14 and 18 decades
@settings(max_examples=100)
@given(hostile_cases())
def test_densities_keep_their_digits_at_every_scale(case):
    mixture, x = case
    weights, variances = mixture.weights.tolist(), mixture.spectral.diagonals().tolist()
    log_prob, shares = exact_log_prob(weights, mixture.means.tolist(), variances, x.tolist())
    # differences x − m are one rounding away from exact, so squared distances are 3e-16 relative;
    # far from every component log-densities are huge, and differences of them inherit their error
    assert float(mixture.log_prob(x)) == pytest.approx(log_prob, rel=4e-15, abs=1e-12)
    slack = 1e-14 * float(mixture.component_log_prob(x).amax().abs())
    assert mixture.responsibilities(x).tolist() == pytest.approx(shares, abs=1e-12 + slack)
    assert bool(torch.isfinite(mixture.score(x)).all())
    # the matrix form, where its condition number allows it
    ratio = mixture.spectral.largest() / mixture.spectral.smallest()
    if float(ratio.max()) < validate.MAX_CONDITION:
        full = rebuilt(mixture)
        assert float(full.log_prob(x)) == pytest.approx(log_prob, rel=1e-14, abs=1e-11)


@given(hostile_mixtures(2))
def test_moments_keep_their_digits_at_every_scale(mixture):
    w = mixture.weights
    mean = (w[:, None] * mixture.means).sum(0)
    size = mixture.means.abs().amax(0)
    assert bool(((mixture.mean - mean).abs() <= 1e-15 * size).all())
    # Σ w_k S_k + ½ Σ w_j w_k (m_j − m_k)²: no mean is subtracted
    gaps = (mixture.means[:, None] - mixture.means).square()
    spread = (w[:, None, None] * w[:, None] * gaps).sum((0, 1)) / 2
    expected = (w[:, None] * mixture.spectral.diagonals()).sum(0) + spread
    assert_close(mixture.variance, expected, rtol=1e-12, atol=0)
    assert_close(mixture.total_variance, expected.sum(), rtol=1e-12, atol=0)
    diagonal = mixture.covariance_matrix.diagonal()
    assert_close(diagonal, expected, rtol=1e-12, atol=0)


def test_components_close_together_far_from_the_origin():
    # the mean, 1e8, is rounded to 1e-8; the variance does not inherit that
    q = GaussianMixture([0.3, 0.7], [[1e8 / 3]] * 2, 1e-24)
    assert float(q.variance) == pytest.approx(1e-24, rel=1e-14)
    assert float(q.standardized().variance) == pytest.approx(1, rel=1e-14)


def test_full_covariances_up_to_the_largest_condition_number():
    angle, limit = 0.3, validate.MAX_CONDITION
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )
    for condition in (1e3, 1e6, 1e9, limit / 2):
        variances = torch.tensor([condition**0.5, condition**-0.5], dtype=torch.float64)
        matrix = (turn * variances) @ turn.mT
        full = GaussianMixture([1.0], [[0.0, 0.0]], ((matrix + matrix.mT) / 2)[None])
        axes = GaussianMixture([1.0], [[0.0, 0.0]], variances[None])
        u = variances.sqrt() * torch.tensor([[1.0, -2.0]], dtype=torch.float64)
        # rounding of the entries moves the smaller eigenvalue by eps times the condition number
        assert_close(
            full.log_prob(u @ turn.mT), axes.log_prob(u), rtol=0, atol=4e-16 * condition + 1e-12
        )
    worse = (turn * torch.tensor([2 * limit, 1.0], dtype=torch.float64)) @ turn.mT
    with pytest.raises(ValueError, match="within 1e\\+12 of each other"):
        GaussianMixture([1.0], [[0.0, 0.0]], ((worse + worse.mT) / 2)[None])


def test_low_rank_covariances_far_beyond_a_matrix():
    factors = torch.tensor([[[3e8], [4e8], [0.0]]], dtype=torch.float64)
    q = GaussianMixture.low_rank([1.0], torch.zeros(1, 3), factors, [1e-6])
    along, across = torch.tensor([0.6, 0.8, 0.0]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    # along the factor the std is 5e8, off it 1e-3; at x = 0 + 2e-3 off it the density is exact
    expected = -0.5 * (4 + math.log(25e16) + 2 * math.log(1e-6) + 3 * math.log(2 * math.pi))
    assert float(q.log_prob(2e-3 * across)) == pytest.approx(expected, rel=1e-14)
    assert float(q.log_prob(0 * along)) == pytest.approx(expected + 2, rel=1e-14)
    with pytest.raises(ValueError, match="within 1e\\+24 of each other"):
        GaussianMixture.low_rank([1.0], torch.zeros(1, 3), factors, [1e-9])


@pytest.mark.parametrize("x", [1e101, 1e200, 1e308])
def test_points_beyond_range_are_refused(x):
    for q in (presets.ring(2), GaussianMixture([1.0], torch.zeros(1, 2), torch.eye(2)[None])):
        for method in (q.log_prob, q.score, q.responsibilities):
            if x < 5e102:
                assert bool(torch.isfinite(method([[x, -x]])).all())
            else:
                with pytest.raises(ValueError, match="x must be below 6e\\+102 in size"):
                    method([[x, -x]])


def test_repr_says_what_it_is():
    assert repr(presets.ring(3)) == "GaussianMixture(components=3, dim=2)"
    batch = "GaussianMixture(components=3, dim=2, batch_shape=(4, 5))"
    assert repr(presets.ring(3).expand((4, 5))) == batch
