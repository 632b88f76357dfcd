"""Caps on the local error: they hold on every mixture drawn, and mixtures exist that reach them."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
import torch
from hypothesis import given, settings
from strategies import hostile_mixtures, hostile_snr_pairs, mixtures, numbers, schedules, snr_pairs

from smdtheory import FAMILIES, GaussianMixture, Schedule
from smdtheory.estimate import Estimate
from smdtheory.measure import best_gaussian_errors
from smdtheory.schedule import bridge
from smdtheory.theory import (
    eigenvalue_cap,
    eigenvalue_sum,
    equal_covariance_cap,
    first_order_cap,
    first_order_sum,
    fixed_variance_cap,
    local_cap,
    local_caps,
    negentropy,
    negentropy_cap,
    negentropy_sum,
    second_order_cap,
)
from smdtheory.truth.information import mmse, mutual_information

ROUNDING = 1e-12
CHAINED = FAMILIES[1:]  # the families with a negentropy cap


def error(mixture: GaussianMixture, snr_t: float, snr_s: float, family: str) -> float:
    """M(s,t)."""
    levels = [snr_t] if snr_s == math.inf else [snr_s, snr_t]
    return float(best_gaussian_errors(mixture, Schedule.from_snr(levels), family).value[-1])


def near_atoms(distance: float, dim: int = 1) -> GaussianMixture:
    means = torch.zeros(2, dim, dtype=torch.float64)
    means[:, 0] = torch.tensor([-distance / 2, distance / 2])
    return GaussianMixture([0.5, 0.5], means, 1e-8)


def gaussian(*variances: float) -> GaussianMixture:
    return GaussianMixture([1.0], torch.zeros(1, len(variances)), torch.tensor([variances]))


def check_caps(mixture: GaussianMixture, schedule: Schedule) -> None:
    totals = {}
    for family in FAMILIES:
        errors = best_gaussian_errors(mixture, schedule, family)
        totals[family] = errors.value.sum() - errors.error.sum() - ROUNDING
        least = errors.value - errors.error - ROUNDING
        caps = local_caps(mixture, schedule, family)
        for name, cap in caps.items():
            assert cap.value.shape == errors.value.shape
            assert cap.value[0] == 0
            assert (least <= cap.value + cap.error).all(), (family, name)
        best = local_cap(mixture, schedule, family)
        assert (least <= best.cap.value + best.cap.error).all()
        for t in range(1, schedule.steps + 1):
            assert best.cap.value[t] == caps[best.source[t]].value[t]
        if family in CHAINED:
            chain = negentropy_sum(mixture, schedule, family)
            assert totals[family] <= chain.value + chain.error
            longest = negentropy_sum(mixture, None, family)
            assert chain.value <= longest.value + longest.error + chain.error + ROUNDING
    assert totals["isotropic"] <= eigenvalue_sum(mixture, schedule)
    assert eigenvalue_sum(mixture, schedule) <= eigenvalue_sum(mixture) + ROUNDING
    rest = best_gaussian_errors(mixture, schedule, "isotropic").value[2:].sum()
    assert rest <= first_order_sum(mixture.dim, schedule) + ROUNDING


@given(mixtures(), schedules())
def test_no_error_passes_a_cap_on_the_line(mixture, schedule):
    check_caps(mixture, schedule)


@settings(max_examples=12)  # a plane curve costs a hundred times more than one on the line
@given(mixtures(dim=2, max_components=3), schedules(max_steps=3))
def test_no_error_passes_a_cap_in_the_plane(mixture, schedule):
    check_caps(mixture, schedule)


@settings(max_examples=12)  # as above
@given(mixtures(dim=2, max_components=3, min_components=2, equal_covariances=True), snr_pairs(True))
def test_no_error_passes_the_cap_of_equal_covariances(mixture, pair):
    local = error(mixture, *pair, "full")
    sharp = equal_covariance_cap(mixture, *pair)
    assert local <= sharp + 1e-7
    assert sharp <= equal_covariance_cap(mixture, *pair, sharp=False)


def fixed_variance_error(
    mixture: GaussianMixture, snr_t: float, snr_s: float, variance: float
) -> float:
    """M^σ(s,t), from the information curves (docs/theory.md §6.5)."""
    d, step = mixture.dim, bridge(snr_t, snr_s)
    spread = d * step.variance + step.c.square() * mmse(mixture, [snr_t]).value[0]
    at_s, at_t = mutual_information(mixture, [snr_s, snr_t]).value
    ratio = torch.log(variance / step.variance)
    return float(d / 2 * ratio + spread / (2 * variance) - d / 2 - (at_s - at_t))


@given(mixtures(), snr_pairs(), numbers(-6.0, 6.0))
def test_no_fixed_variance_passes_its_cap(mixture, pair, log_variance):
    variance = math.exp(log_variance)
    local = fixed_variance_error(mixture, *pair, variance)
    assert local <= fixed_variance_cap(1, *pair, variance) + 1e-10


@given(snr_pairs())
def test_named_fixed_variances_are_cases_of_any_fixed_variance(pair):
    step = bridge(*pair)
    for family, variance in (("fixed_small", step.variance), ("fixed_large", step.beta)):
        named = first_order_cap(3, *pair, family)
        torch.testing.assert_close(named, fixed_variance_cap(3, *pair, variance))
    best = step.beta / (1 - step.beta)
    torch.testing.assert_close(
        fixed_variance_cap(3, *pair, best), first_order_cap(3, *pair), rtol=1e-9, atol=1e-12
    )


# Caps are reached: a cap that is too large by a factor, or has a wrong term, fails one of these.


@pytest.mark.parametrize(("ratio", "share"), [(5.0, 0.42), (1000.0, 0.83)])
def test_two_near_atoms_come_close_to_the_first_order_cap(ratio, share):
    local = max(error(near_atoms(a), 1.0, ratio, "isotropic") for a in (3.0, 3.1, 3.3))
    assert share <= local / first_order_cap(1, 1.0, ratio) <= 1
    assert share <= local / first_order_sum(1, Schedule.from_snr([ratio, 1.0])) <= 1


@given(schedules())
def test_the_first_order_cap_telescopes(schedule):
    steps = first_order_cap(3, schedule.snr[2:], schedule.snr[1:-1])
    torch.testing.assert_close(first_order_sum(3, schedule), steps.sum())


@pytest.mark.parametrize("dim", [1, 2])
def test_two_near_atoms_come_close_to_the_cap_of_equal_covariances(dim):
    local = error(near_atoms(1.96, dim), 1.0, 1000.0, "full")
    sharp = equal_covariance_cap(near_atoms(1.96, dim), 1.0, 1000.0)
    assert 0.70 <= local / sharp <= 1
    torch.testing.assert_close(
        sharp, equal_covariance_cap(near_atoms(1.96, dim), 1.0, 1000.0, sharp=False), rtol=1e-5,
        atol=0,
    )  # fmt: skip


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("ratio", [1.5, 40.0])
def test_one_wide_gaussian_misses_the_fixed_variance_caps_by_what_it_learns(dim, ratio):
    wide, learned = gaussian(*[1e9] * dim), dim / 2 * math.log(ratio)
    for family in ("fixed_small", "fixed_large"):
        cap = float(first_order_cap(dim, 0.7, 0.7 * ratio, family))
        assert error(wide, 0.7, 0.7 * ratio, family) == pytest.approx(cap - learned, rel=1e-7)
    local = error(wide, 0.7, 0.7 * ratio, "fixed_small")
    assert local / second_order_cap(dim, 0.7, 0.7 * ratio) == pytest.approx(1 / (dim + 2), rel=1e-7)


@pytest.mark.parametrize("variance", [0.01, 0.3, 5.0])
def test_any_fixed_variance_reaches_its_cap_less_what_a_wide_gaussian_learns(variance):
    local = fixed_variance_error(gaussian(1e9), 0.7, 2.1, variance)
    cap = float(fixed_variance_cap(1, 0.7, 2.1, variance))
    assert local == pytest.approx(cap - 0.5 * math.log(3), rel=1e-7)


@pytest.mark.parametrize("ratio", [10.0, 1e6])
def test_one_gaussian_with_few_wide_axes_has_the_error_the_theory_names(ratio):
    dim, wide = 50, 1
    p = wide / dim
    mixture = gaussian(*[1e14] * wide, *[1e-18] * (dim - wide))
    local = error(mixture, 1.0, ratio, "isotropic")
    assert local == pytest.approx(
        dim / 2 * (math.log(p * ratio + 1 - p) - p * math.log(ratio)), rel=1e-9
    )
    assert local <= first_order_cap(dim, 1.0, ratio)
    assert ratio < 100 or first_order_cap(dim, 1.0, ratio) * 0.69 < local


@pytest.mark.parametrize("snr_s", [1.0, 1e3, math.inf])
def test_one_gaussian_with_one_wide_axis_reaches_the_eigenvalue_cap(snr_s):
    dim, narrow, wide, start = 100, 0.01, 1e3, 1e-9
    mixture = gaussian(wide, *[narrow] * (dim - 1))
    cap = float(eigenvalue_cap(mixture, start, snr_s))
    missing = (  # what is learned about the wide axis beyond what a narrow one would give
        0.5 * math.log(wide / narrow)
        if snr_s == math.inf
        else 0.5 * math.log((1 + snr_s * wide) / (1 + snr_s * narrow))
    )
    local = error(mixture, start, snr_s, "isotropic")
    assert local == pytest.approx(cap - missing, rel=1e-6)
    assert local > 0.85 * cap
    assert cap == pytest.approx(float(eigenvalue_sum(mixture)), rel=1e-6) or snr_s < math.inf
    limit = gaussian(1e12, *[narrow] * (dim - 1))
    torch.testing.assert_close(
        eigenvalue_cap(mixture, 2.0, snr_s if snr_s > 2 else 3.0, sharp=False),
        eigenvalue_cap(limit, 2.0, snr_s if snr_s > 2 else 3.0), rtol=1e-8, atol=0,
    )  # fmt: skip


def test_second_order_cap_keeps_its_digits_on_small_steps():
    for step in (1e-9, 1e-6, 9.9e-4, 1.01e-3, 0.1, 10.0):
        ratio = Decimal(1 + step)
        exact = Decimal("1.5") * (ratio - 1 - ratio.ln())
        assert float(second_order_cap(1, 1.0, 1 + step)) == pytest.approx(
            float(exact), rel=1e-12, abs=0
        )


def test_distribution_free_caps_are_infinite_at_the_data():
    for family in FAMILIES:
        assert first_order_cap(2, 1.0, math.inf, family) == math.inf
    assert second_order_cap(2, 1.0, math.inf) == math.inf
    assert fixed_variance_cap(2, 1.0, math.inf, 0.3) == math.inf


@given(hostile_mixtures(dim=2), hostile_snr_pairs())
def test_closed_forms_are_never_nan(mixture, pair):
    values = [first_order_cap(2, *pair, family) for family in FAMILIES]
    values += [second_order_cap(2, *pair), fixed_variance_cap(2, *pair, 1.0)]
    values += [eigenvalue_cap(mixture, *pair), eigenvalue_cap(mixture, *pair, sharp=False)]
    values += [eigenvalue_sum(mixture)]
    assert all(value >= -ROUNDING for value in values)


# What is not accepted.

PAIR = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.2])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: first_order_cap(0, 1.0, 2.0), ValueError, "dim must be at least 1; received 0"),
        (lambda: first_order_cap(1.5, 1.0, 2.0), TypeError, "dim must be an integer"),
        (lambda: first_order_cap(1, 2.0, 1.0), ValueError, "snr_t < snr_s"),
        (lambda: second_order_cap(1, 1.0, math.nan), ValueError, "not contain NaN"),
        (lambda: second_order_cap(1, "a", 2.0), TypeError, "snr_t must be .* real numbers"),
        (lambda: first_order_cap(1, 1.0, 2.0, "best"), ValueError, "family must be one of"),
        (lambda: first_order_cap(1, [1.0] * 2, [2.0] * 3), ValueError, "shapes that broadcast"),
        (lambda: fixed_variance_cap(1, 1.0, 2.0, 0.0), ValueError, "variance must be positive"),
        (lambda: fixed_variance_cap(1, [1.0] * 2, 2.0, [1.0] * 3), ValueError, "broadcast"),
        (lambda: eigenvalue_cap("q", 1.0, 2.0), TypeError, "mixture must be a GaussianMixture"),
        (lambda: eigenvalue_sum(PAIR.expand((2,))), ValueError, "batch dimensions"),
        (lambda: eigenvalue_sum(PAIR, [1.0]), TypeError, "schedule must be a Schedule"),
        (lambda: equal_covariance_cap(PAIR, 1.0, 2.0), ValueError, "one covariance shared"),
        (lambda: negentropy(PAIR, 0.0), ValueError, "snr must lie within"),
        (lambda: negentropy(PAIR, 1.0, "fixed_small"), ValueError, "received 'fixed_small'"),
        (lambda: local_caps(PAIR, [1.0], "full"), TypeError, "schedule must be a Schedule"),
        (lambda: local_cap(PAIR, Schedule.cosine(2), "none"), ValueError, "family must be one of"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_closed_forms_broadcast():
    snr_t = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    snr_s = torch.tensor([3.0, 4.0, math.inf], dtype=torch.float64)
    for value in (
        first_order_cap(2, snr_t, snr_s, "fixed_large"),
        second_order_cap(2, snr_t, snr_s),
        eigenvalue_cap(PAIR, snr_t, snr_s),
        negentropy_cap(PAIR, snr_t, snr_s, "full"),
    ):
        grid = value.value if isinstance(value, Estimate) else value
        assert grid.shape == (2, 3)
    assert float(negentropy_cap(PAIR, 2.0, 4.0, "full")) == pytest.approx(float(grid[1, 1]))
