"""Laws of the best Gaussian errors (docs/theory.md §5)."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mixtures, schedules, snr_pairs

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.measure import (
    best_gaussian_errors,
    elbo_terms,
    error_table,
    ladder,
    local_error,
    prior_gap,
)
from smdtheory.models.oracle import BestGaussian
from smdtheory.schedule import bridge
from smdtheory.truth import curves
from smdtheory.truth.information import entropy
from smdtheory.truth.posterior import marginal_at

# quadrature inside @given: a handful of examples covers K = 1..3, steps short and long
FEW = settings(max_examples=25, deadline=None)
FEWER = settings(max_examples=6, deadline=None)  # d = 2 costs seconds an example


def error_of(mixture: GaussianMixture, snr_t: float, snr_s: float, family: str) -> torch.Tensor:
    chain = Schedule.from_snr([snr_t] if math.isinf(snr_s) else [snr_s, snr_t])
    return best_gaussian_errors(mixture, chain, family).value[-1]


@FEW
@given(mixtures(), snr_pairs(last=True))
def test_snr_form_is_nested_quadrature(mixture: GaussianMixture, pair: tuple[float, float]) -> None:
    snr_t, snr_s = pair
    chain = Schedule.from_snr([snr_t] if math.isinf(snr_s) else [snr_s, snr_t])
    for family in FAMILIES:
        exact = best_gaussian_errors(mixture, chain, family)[-1]
        other = local_error(mixture, chain, BestGaussian(mixture, family), chain.steps)
        gap = abs(float(exact.value - other.value))
        assert gap <= float(exact.error + 20 * other.error) + 1e-9 * (1 + float(exact.value))


@pytest.mark.parametrize("dim", [1, 2])
def test_order_of_the_ladder(dim: int) -> None:
    @(FEW if dim == 1 else FEWER)
    @given(mixtures(dim=dim, max_components=3), schedules(max_steps=3))
    def check(mixture: GaussianMixture, chain: Schedule) -> None:
        errors = {f: best_gaussian_errors(mixture, chain, f) for f in FAMILIES}
        rungs = ("fixed_small", "isotropic", "isotropic_x", "diagonal", "full")
        slack = 1e-7 + 2 * errors["full"].error
        for upper, lower in [*itertools.pairwise(rungs), ("fixed_large", "isotropic")]:
            assert (errors[upper].value >= errors[lower].value - slack).all(), (upper, lower)
        assert (errors["full"].value >= -slack).all()

    check()


@FEW
@given(mixtures(), schedules(max_steps=4))
def test_refining_a_grid_never_hurts(mixture: GaussianMixture, chain: Schedule) -> None:
    for family in FAMILIES:
        table = error_table(mixture, chain, family).value
        first = 1 if family == "fixed_small" else 0  # its variance at s = 0 is a convention
        for r in range(first, chain.steps - 1):
            for s in range(r + 1, chain.steps):
                for t in range(s + 1, chain.steps + 1):
                    whole, parts = table[r, t], table[r, s] + table[s, t]
                    assert whole >= parts - 1e-7 * (1 + whole)


@FEW
@given(mixtures(), snr_pairs(), st.lists(st.floats(0.1, 0.9), min_size=1, max_size=3))
def test_error_depends_on_the_pair_alone(
    mixture: GaussianMixture, pair: tuple[float, float], cuts: list[float]
) -> None:
    snr_t, snr_s = pair
    between = sorted({snr_t * (snr_s / snr_t) ** c for c in cuts}, reverse=True)
    short = Schedule.from_snr([snr_s, snr_t])
    long = Schedule.from_snr([4 * snr_s, snr_s, *between, snr_t, snr_t / 3])
    for family in FAMILIES:
        one = error_table(mixture, short, family)[1, 2]
        other = error_table(mixture, long, family)[2, 2 + len(between) + 1]
        gap = abs(float(one.value - other.value))
        assert gap <= float(one.error + other.error) + 1e-9 * (1 + float(one.value))


@FEW
@given(mixtures(min_components=2), snr_pairs())
def test_small_steps_and_long_steps_agree(
    mixture: GaussianMixture, pair: tuple[float, float]
) -> None:
    snr_t, snr_s = pair[0], min(pair[1], 1.9 * pair[0])
    for family in FAMILIES:
        short = error_of(mixture, snr_t, snr_s, family)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ladder, "SMALL_STEP", 0.0)
            long = error_of(mixture, snr_t, snr_s, family)
        assert float(short) == pytest.approx(float(long), abs=2e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_table_holds_the_steps_and_the_respaced_chains(family: str) -> None:
    mixture, chain = presets.line(3), Schedule.linear(60)
    table = error_table(mixture, chain, family)
    steps = best_gaussian_errors(mixture, chain, family)
    torch.testing.assert_close(table.value.diagonal(1), steps.value[1:])
    times = [1, 4, 9, 30, 60]
    coarse = best_gaussian_errors(mixture, chain.respace(times), family)
    picked = table.value[[0, *times[:-1]], times]
    torch.testing.assert_close(picked, coarse.value[1:], rtol=1e-6, atol=1e-9)
    assert torch.isnan(table.value.tril()).logical_or(table.value.tril() == 0).all()


def test_one_gaussian_has_no_full_error_and_the_others_by_hand() -> None:
    variances = torch.tensor([4.0, 0.25], dtype=torch.float64)
    one = GaussianMixture([1.0], [[0.3, -1.0]], variances[None])
    snr_t, snr_s = 0.5, 3.0
    post = variances / (1 + snr_t * variances)
    gain = snr_s - snr_t
    known = 0.5 * torch.log1p(gain * post).sum()
    v = post.mean()
    step = bridge(snr_t, snr_s)
    ratio = step.variance / step.beta
    by_hand = {
        "fixed_small": 0.5 * gain * post.sum() - known,
        "fixed_large": -torch.log(ratio)
        + (2 * step.variance + step.c**2 * post.sum()) / (2 * step.beta)
        - 1
        - known,
        "isotropic": torch.log1p(gain * v) - known,
        "isotropic_x": torch.log1p(gain * v) - known,
        "diagonal": torch.zeros(()),
        "full": torch.zeros(()),
    }
    for family, expected in by_hand.items():
        found = float(error_of(one, snr_t, snr_s, family))
        assert found == pytest.approx(float(expected), abs=1e-9), family
    last = 0.5 * (2 * torch.log(v) - torch.log(post).sum())
    assert float(error_of(one, snr_t, math.inf, "isotropic")) == pytest.approx(float(last))


@FEWER
@given(mixtures(dim=2, max_components=3), snr_pairs(last=True), st.floats(0.1, 3.0))
def test_invariances(mixture: GaussianMixture, pair: tuple[float, float], angle: float) -> None:
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    matrices = mixture.spectral.matrices()
    turned = turn @ matrices @ turn.T
    moved = GaussianMixture(mixture.weights, mixture.means @ turn.T + 5.0, (turned + turned.mT) / 2)
    order = list(reversed(range(mixture.num_components)))
    weights = torch.cat([mixture.weights[order], mixture.weights[:1] / 2])
    weights[order.index(0)] /= 2
    again = GaussianMixture(
        weights, mixture.means[[*order, 0]], mixture.spectral.matrices()[[*order, 0]]
    )
    for family in ("isotropic", "isotropic_x", "full"):
        here = float(error_of(mixture, *pair, family))
        assert float(error_of(moved, *pair, family)) == pytest.approx(here, rel=1e-5, abs=3e-7)
        assert float(error_of(again, *pair, family)) == pytest.approx(here, rel=1e-5, abs=3e-7)
    scaled = GaussianMixture(mixture.weights, 3 * mixture.means, 9 * matrices)
    here, there = (
        float(error_of(mixture, *pair, "full")),
        float(error_of(scaled, pair[0] / 9, pair[1] / 9, "full")),
    )
    assert there == pytest.approx(here, rel=1e-5, abs=3e-7)


def test_shared_coordinates_add_what_a_gaussian_adds() -> None:
    ring, std = presets.ring(5), 0.1
    means = torch.nn.functional.pad(ring.means, (0, 3))
    embedded = GaussianMixture(ring.weights, means, std**2)
    chain = Schedule.cosine(6)
    for family in ("diagonal", "full"):  # these see the extra axes exactly
        torch.testing.assert_close(
            best_gaussian_errors(embedded, chain, family).value,
            best_gaussian_errors(ring, chain, family).value,
            rtol=1e-6,
            atol=1e-8,
        )


def test_sampled_errors_agree_with_quadrature() -> None:
    # a d = 1 mixture and a Gaussian plane, turned so that the program cannot notice: d = 3
    line = presets.line(3)
    rotation = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    )[0]
    scales = torch.tensor([1 / 16, 0.3, 0.8], dtype=torch.float64)
    matrix = rotation @ torch.diag(scales) @ rotation.T
    means = line.means @ rotation[:, :1].T
    hidden = GaussianMixture(line.weights, means, ((matrix + matrix.T) / 2).expand(3, 3, 3))
    chain = Schedule.cosine(5)
    exact = best_gaussian_errors(line, chain, "full").value
    found = best_gaussian_errors(hidden, chain, "full")
    assert found.method == "sampling"
    z = (found.value - exact)[1:] / found.error[1:]
    assert (z.abs() < 6).all()  # 7 degrees of freedom: beyond 6 once in 1,000 five-step chains
    assert (found.error[1:] < 0.01).all()


def test_panels_agree_with_direct_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture, chain = presets.line(4).standardized(), Schedule.cosine(40)
    curves._KNOWN.clear()
    monkeypatch.setattr(curves, "DIRECT_LEVELS", 10**6)
    direct = {f: best_gaussian_errors(mixture, chain, f).value for f in FAMILIES}
    curves._KNOWN.clear()
    monkeypatch.setattr(curves, "DIRECT_LEVELS", 1)
    for family, value in direct.items():
        torch.testing.assert_close(
            best_gaussian_errors(mixture, chain, family).value, value, rtol=1e-6, atol=1e-9
        )
    curves._KNOWN.clear()


def test_many_steps_keep_relative_accuracy() -> None:
    # panels against direct levels and nested quadrature, down to M = 1e-10
    mixture, chain = presets.line(4).standardized(), Schedule.cosine(1000)
    errors = best_gaussian_errors(mixture, chain, "full")
    for t in (20, 100, 300, 500, 600):
        pair = Schedule.from_snr(chain.snr[[t - 1, t]])
        nested = local_error(mixture, pair, BestGaussian(mixture, "full"), 2)
        other = best_gaussian_errors(mixture, pair, "full").value[2]
        assert errors.value[t] > 1e-10
        assert float(errors.value[t]) == pytest.approx(float(other), rel=1e-3)
        assert float(errors.value[t]) == pytest.approx(float(nested.value), rel=1e-3, abs=3e-14)


def test_elbo_terms_are_the_training_loss() -> None:
    # E KL(q(x_s|x_t,x_0) ‖ p) of two Gaussians, averaged over draws of (x_0, x_t)
    mixture, chain = presets.line(3), Schedule.cosine(4)
    model = BestGaussian(mixture, "isotropic")
    terms = elbo_terms(mixture, chain, best_gaussian_errors(mixture, chain, "isotropic"))
    generator = torch.Generator().manual_seed(0)
    x_0 = mixture.sample(200_000, generator=generator)
    for t in (2, 3, 4):
        signal, noise = chain.alphas_bar[t].sqrt(), (1 - chain.alphas_bar[t]).sqrt()
        normal = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
        x_t = signal * x_0 + noise * normal
        step = bridge(chain.snr[t], chain.snr[t - 1])
        p = model(x_t, chain.snr[t], chain.snr[t - 1])
        shift = (step.c * x_0 + step.c_prime * x_t - p.mean).square().sum(-1)
        variance = p.variance.squeeze(-1)
        ratio = step.variance / variance
        loss = 0.5 * (ratio - 1 - torch.log(ratio) + shift / variance)
        standard = float(loss.std() / len(loss) ** 0.5)
        assert abs(float(loss.mean() - terms.value[t])) < 5 * standard


def test_elbo_is_the_sum_of_local_errors() -> None:
    mixture, chain = presets.line(3), Schedule.cosine(4)
    errors = best_gaussian_errors(mixture, chain, "full")
    terms = elbo_terms(mixture, chain, errors)
    x_T = marginal_at(mixture, chain.snr[-1])
    # E KL(q(x_T|x_0) ‖ N(0, I)), in closed form
    noise = 1 / (1 + chain.snr[-1])
    second = (x_T.variance + x_T.mean**2).sum()
    prior = 0.5 * (second - 1 - torch.log(noise))
    negative_elbo = float(terms.sum()) + float(prior)
    total = float(entropy(mixture)) + float(prior_gap(mixture, chain)) + float(errors.sum())
    assert negative_elbo == pytest.approx(total, abs=1e-8)
    with pytest.raises(ValueError, match=r"shape \(T\+1,\)"):
        elbo_terms(mixture, Schedule.cosine(9), errors)


def test_unknown_family_says_which_there_are() -> None:
    with pytest.raises(ValueError, match="fixed_small.*'fulll'"):
        best_gaussian_errors(presets.line(2), Schedule.cosine(2), "fulll")


@pytest.mark.parametrize(("dim", "close"), [(1, 1e-9), (2, 1e-6), (3, 1e-3)])
def test_components_of_weight_zero_change_nothing(dim: int, close: float) -> None:
    """Two of them at one place: their responsibilities there would be 0/0."""
    means = torch.arange(4.0).unsqueeze(-1).expand(4, dim)
    padded = GaussianMixture([0.0, 0.4, 0.6, 0.0], means[[0, 1, 2, 0]], 0.1)
    plain = GaussianMixture([0.4, 0.6], means[1:3], 0.1)
    assert float(entropy(padded)) == pytest.approx(float(entropy(plain)), abs=close)
    chain = Schedule.cosine(4)
    for family in ("fixed_small", "full"):
        found, wanted = (best_gaussian_errors(q, chain, family) for q in (padded, plain))
        assert torch.allclose(found.value, wanted.value, rtol=0, atol=close)
