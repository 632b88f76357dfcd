"""Witnesses: certificates against independent routes, copies against the listed product, limits."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.special import ndtr

from smdtheory import FAMILIES, GaussianMixture, Schedule
from smdtheory.measure import best_gaussian_errors, local_error
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.oracle import BestGaussian, ExactSoftMixture
from smdtheory.theory import (
    NoWitnessError,
    dimension_cap,
    fixed_variance_floor,
    global_witness,
    locally_best_floor,
    pair_error,
    pair_floor,
    remeasured,
)
from smdtheory.theory.witness import overall, witness
from smdtheory.theory.witness.bases import gaussian_error

CHAIN = Schedule.cosine(10)


def pair(half: float, variance: float) -> GaussianMixture:
    return GaussianMixture([0.5, 0.5], [[-half], [half]], variance)


def precise_pair_error(near: float, far: float) -> mpmath.mpf:
    """M^full of two modes by integrals over y with 30 digits, from densities and not log-odds."""
    mpmath.mp.dps = 30

    def mean(delta: float, function) -> mpmath.mpf:
        half = mpmath.mpf(delta) / 2

        def integrand(y: mpmath.mpf) -> mpmath.mpf:
            p = [mpmath.npdf(y, m) for m in (-half, half)]
            q = (p[0] + p[1]) / 2
            return q * function(p[0] / (2 * q), p[1] / (2 * q))

        ends = [-half - 12, -half, 0, half, half + 12]
        return mpmath.quad(integrand, ends)

    def entropy(a: mpmath.mpf, b: mpmath.mpf) -> mpmath.mpf:
        return -sum(x * mpmath.log(x) for x in (a, b) if x > 0)

    gain = mpmath.mpf(far) ** 2 - mpmath.mpf(near) ** 2
    spread = mean(near, lambda a, b: mpmath.log(1 + gain * a * b) / 2)
    after = mean(far, entropy) if far < 40 else 0
    return spread - mean(near, entropy) + after


@pytest.mark.parametrize(("near", "far"), [(0.4, 0.5), (1.3, 2.6), (3.5, 4.8), (2.0, 64.0), (7, 9)])
def test_the_error_of_two_modes_to_thirty_digits(near, far):
    found = pair_error(near, far)
    precise = precise_pair_error(near, far)
    assert abs(float(mpmath.mpf(float(found)) - precise)) <= float(found.error)
    assert float(found.error) < 1e-14


@pytest.mark.parametrize("step", [0.7, 0.5, 0.3])
def test_the_proved_error_holds_where_the_rule_is_coarse(step):
    near = torch.linspace(0.2, 11.0, 40, dtype=torch.float64)
    coarse, fine = pair_error(near, near + 1, step=step), pair_error(near, near + 1)
    off = (coarse.value - fine.value).abs()
    assert bool((off <= coarse.error).all())
    assert float(off.max()) > 1e-9  # there is an error to bound


def test_the_error_of_two_modes_is_that_of_the_ladder():
    half, std = 0.3, 0.01
    found = best_gaussian_errors(pair(half, std**2), CHAIN, "full")
    distance = 2 * half / (std**2 + 1 / CHAIN.snr).sqrt()
    known = pair_error(distance[1:], distance[:-1])
    assert bool(((found.value[1:] - known.value).abs() <= found.error[1:] + known.error).all())


def test_the_closed_form_is_below_the_error_and_close():
    delta = torch.linspace(0.5, 3.0, 11, dtype=torch.float64)
    for thinness in (1e-3, 1e-8, 1e-40):
        error = pair_error(delta, delta * (1 + 1 / thinness) ** 0.5).value
        floor = pair_floor(delta, thinness)
        assert bool((floor < error).all())
        assert float((error - floor).min()) < 0.8


@pytest.mark.parametrize("level", [1.0, 10.0, 100.0])
def test_one_step(level):
    found = witness(level, CHAIN, "full", steps=1)
    assert found.copies == (2 if level == 100 else 1)  # float64 ends near 66 nats for one
    assert float(found.certificate.value[1] - found.certificate.error[1]) > level
    assert bool(torch.isnan(found.certificate.value[2:]).all())
    for family in FAMILIES:  # full is the least of them
        measured = remeasured(found, CHAIN, family)
        assert float(measured.value[1] - measured.error[1]) > float(found.certificate.value[1])
    half, variance = float(found.base.means[1, 0]), float(found.base.spectral.smallest().min())
    near = 2 * half / math.sqrt(variance + 1 / float(CHAIN.snr[1]))
    precise = precise_pair_error(near, 2 * half / math.sqrt(variance))
    measured = float(remeasured(found, CHAIN, "full").value[1])
    assert found.copies * float(precise) == pytest.approx(measured, rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", [1.0, 10.0])
def test_all_steps(level, family):
    found = witness(level, CHAIN, family)
    least = found.certificate.value - found.certificate.error
    assert bool((least[1:] > level).all())
    measured = remeasured(found, CHAIN, family)
    above = measured.value + measured.error - least
    assert bool((above[1:] >= 0).all())
    off = (measured.value - found.certificate.value).abs()[1:]
    assert bool((off <= 1e-6 * found.certificate.value[1:]).all())  # no mere floor
    assert float(least[1:].min()) / level < 1.2  # and no copies are wasted
    assert found.dim == found.copies * found.base.dim


@pytest.mark.parametrize("t", [1, 2, 3])
def test_all_steps_by_nested_quadrature(t):
    chain = Schedule.cosine(3)
    found = witness(1.0, chain, "full")
    nested = local_error(found.base, chain, BestGaussian(found.base, "full"), t)
    value, error = found.certificate.value[t], found.certificate.error[t]
    assert found.copies * float(nested.value + nested.error) >= float(value - error)
    assert found.copies * float(nested) == pytest.approx(float(value), rel=1e-8)


@pytest.mark.parametrize("t", [2, 5])
def test_ten_steps_by_nested_quadrature_of_each_pair(t):
    found = witness(1.0, CHAIN, "full")
    means, variance = found.base.means.flatten(), float(found.base.spectral.smallest().min())
    halves, weights = 0.5 * (means[1::2] - means[::2]), 2 * found.base.weights[::2]
    total = 0.0
    for half, weight in zip(halves.tolist(), weights.tolist(), strict=True):
        q = pair(half, variance)
        total += weight * float(local_error(q, CHAIN, BestGaussian(q, "full"), t))
    assert found.copies * total == pytest.approx(float(found.certificate.value[t]), rel=1e-6)


def test_a_witness_for_full_is_one_for_every_family():
    found = witness(1.0, CHAIN, "full")
    for family in FAMILIES:
        measured = remeasured(found, CHAIN, family)
        assert bool((measured.value[1:] > 1.0).all())


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_multiply_the_error_of_the_listed_product(family):
    base = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [0.05, 0.3])
    pairs = list(itertools.product(range(2), range(2)))
    weights = [float(base.weights[i] * base.weights[j]) for i, j in pairs]
    means = [[float(base.means[i, 0]), float(base.means[j, 0])] for i, j in pairs]
    spread = [0.05, 0.3]
    product = GaussianMixture(weights, means, [[spread[i], spread[j]] for i, j in pairs])
    chain = Schedule.cosine(5)
    one, two = (best_gaussian_errors(q, chain, family) for q in (base, product))
    slack = 1e-6 * (1 + one.value)
    if family != "isotropic_x":
        assert bool(((two.value - 2 * one.value).abs() <= slack).all())
        return
    most = best_gaussian_errors(base, chain, "isotropic").value
    assert bool((two.value >= 2 * one.value - slack).all())
    assert bool((two.value <= 2 * most + slack).all())
    assert float((two.value - 2 * one.value).max()) > 1e-3  # it is no equality


@pytest.mark.parametrize("family", ["fixed_small", "fixed_large", "isotropic", "diagonal"])
def test_the_closed_forms_of_one_gaussian(family):
    axes = torch.tensor([0.01, 5.0], dtype=torch.float64)
    covariance = torch.diag(axes)
    if family == "diagonal":
        turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64) / 2**0.5
        covariance = turn @ covariance @ turn.T
    q = GaussianMixture([1.0], [[0.0, 0.0]], covariance[None])
    known = gaussian_error(axes, CHAIN.snr[1:], CHAIN.snr[:-1], family)
    found = best_gaussian_errors(q, CHAIN, family).value[1:]
    assert torch.allclose(found, known, rtol=1e-9, atol=1e-12)


def test_the_caps_say_why_there_is_none():
    cap = float(dimension_cap(1, CHAIN, "full")[2:].min())
    with pytest.raises(NoWitnessError, match=f"at most {cap:.6g} nats for every data"):
        witness(1.0, CHAIN, "full", max_dim=1)
    with pytest.raises(NoWitnessError, match="needs d = 101"):
        witness(1.0, CHAIN, "full", max_dim=100)
    assert witness(1.0, CHAIN, "full", max_dim=101).dim == 101
    assert witness(10.0, CHAIN, "full", steps=1, max_dim=1).dim == 1
    with pytest.raises(NoWitnessError, match="at t = 3"):
        witness(5.0, CHAIN, "isotropic", steps=[3], max_dim=2)
    with pytest.raises(NoWitnessError, match="as sharp as that"):
        witness(1.0, Schedule.from_snr([1e70]), "full")
    with pytest.raises(NoWitnessError, match=r"in float64\. Ask for fewer t"):
        witness(10.0, Schedule.from_snr([1e40, 1e20, 1.0]), "full", max_dim=1)


@pytest.mark.parametrize("max_dim", [None, 1000])
def test_some_steps_only(max_dim):
    found = witness(0.5, CHAIN, "full", steps=[10, 9], max_dim=max_dim)
    asked = torch.isfinite(found.certificate.value)
    assert asked.nonzero().flatten().tolist() == [0, 9, 10]
    assert found.copies < witness(0.5, CHAIN, "full").copies


@pytest.mark.parametrize("schedule", [Schedule.linear(10), Schedule.sigmoid(4), Schedule.cosine(1)])
def test_other_chains(schedule):
    found = witness(0.1, schedule, "full")
    measured = remeasured(found, schedule, "full")
    assert bool((measured.value + measured.error > found.certificate.value * (1 - 1e-9))[1:].all())
    assert bool((measured.value[1:] > 0.1).all())


@pytest.mark.parametrize("level", [1.0, 10.0, 100.0])
def test_the_floor_of_a_fixed_last_variance(level):
    chain = Schedule.cosine(3)
    found = global_witness(level, chain)
    assert float(found.certificate.value - found.certificate.error) > level
    measured = fixed_variance_floor(found.base, float(chain.betas[1]))
    assert found.copies * float(measured) == pytest.approx(float(found.certificate), abs=1e-9)
    if level == 1:
        model = ExactSoftMixture(found.base, kernel="forward")
        assert float(transferred_error(found.base, chain, model)) > float(found.certificate)


@pytest.mark.parametrize("level", [1.0, 10.0])
def test_the_global_error_of_the_locally_best(level):
    chain = Schedule.cosine(1)
    found = global_witness(level, chain, "best")
    assert float(found.certificate.value - found.certificate.error) > level
    exact = transferred_error(found.base, chain, BestGaussian(found.base, "full"))
    assert level < float(found.certificate) < float(exact) < float(found.certificate) + 1.5


def test_it_grows_by_log_ten_for_each_tenth_of_the_std():
    chain = Schedule.cosine(1)
    floors = [float(locally_best_floor(1.0, 10.0**-k, chain)) for k in range(2, 9)]
    exact = [
        float(transferred_error(q, chain, BestGaussian(q, "full")))
        for q in (pair(1.0, 10.0 ** (-2 * k)) for k in (2, 3, 4))
    ]
    assert all(low < high for low, high in zip(floors, exact, strict=False))
    rises = [b - a for a, b in itertools.pairwise(floors)]
    assert all(2.2 < rise < math.log(10) for rise in rises)
    assert exact == pytest.approx([3.912, 6.215, 8.517], abs=1e-3)


@pytest.mark.parametrize("tau", [1.0, 10.0, 1e3])
@pytest.mark.parametrize("std", [0.1, 1e-2, 1e-4])
def test_the_bands_of_the_locally_best_hold_no_more_than_the_bound(tau, std):
    q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std**2)
    x = np.linspace(-9, 9, 20_001)
    law = BestGaussian(q, "full")(torch.tensor(x).unsqueeze(-1), 1 / tau, torch.inf)
    mean = law.means[:, 0, 0].numpy()
    deviation = law.spectral.diagonals()[:, 0, 0].sqrt().numpy()
    for k in (1.0, 3.0):
        held = sum(
            ndtr((mode + k * std - mean) / deviation) - ndtr((mode - k * std - mean) / deviation)
            for mode in (-1.0, 1.0)
        )
        exact = trapezoid(held * np.exp(-0.5 * x**2), x) / np.sqrt(2 * np.pi)
        bound = np.exp(overall._log_band_mass(k, 1.0, std, tau))
        assert exact <= bound <= 3 * exact


def test_no_global_witness_against_all():
    with pytest.raises(NoWitnessError, match="cells of mass"):
        global_witness(1.0, CHAIN, "any")
    with pytest.raises(NoWitnessError, match="T = 1"):
        global_witness(1.0, CHAIN, "best")
    with pytest.raises(NoWitnessError, match="Take a larger one"):
        global_witness(1.0, CHAIN, 1e-60)


def test_numbers_at_the_ends_of_their_ranges_compute():
    tiny = global_witness(5e-324, CHAIN)
    assert tiny.copies == 1
    assert float(tiny.certificate.value) > 0
    vast = global_witness(1e12, CHAIN)
    assert float(vast.certificate.value - vast.certificate.error) > 1e12
    proof = witness(1e12, CHAIN, "full").certificate
    assert bool((proof.value - proof.error > 1e12)[1:].all())
    assert float(locally_best_floor(1e20, 0.1, Schedule.cosine(1))) == 0.0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((0.0, CHAIN, "full"), {}, ValueError, "level must be positive"),
        ((-1.0, CHAIN, "full"), {}, ValueError, "level must be positive"),
        ((math.nan, CHAIN, "full"), {}, ValueError, "level must be positive"),
        ((math.inf, CHAIN, "full"), {}, ValueError, "level must be positive"),
        (("1", CHAIN, "full"), {}, TypeError, "level must be a number"),
        ((1.0, 10, "full"), {}, TypeError, "schedule must be a Schedule"),
        ((1.0, CHAIN, "gaussian"), {}, ValueError, "family must be one of"),
        ((1.0, CHAIN, "full"), {"steps": 11}, ValueError, "t must lie in 1..10"),
        ((1.0, CHAIN, "full"), {"steps": 0}, ValueError, "t must lie in 1..10"),
        ((1.0, CHAIN, "full"), {"steps": [1, 2.5]}, TypeError, "t must be an integer"),
        ((1.0, CHAIN, "full"), {"steps": []}, ValueError, "received none"),
        ((1.0, CHAIN, "full"), {"steps": "last"}, ValueError, 'steps must be "all"'),
        ((1e308, CHAIN, "full"), {}, ValueError, r"level must .* within 0\.\.1e\+12"),
        ((1.0, CHAIN, "full"), {"max_dim": 0}, ValueError, "max_dim must be at least 1"),
        ((1.0, CHAIN, "full"), {"max_dim": 1.5}, TypeError, "max_dim must be an integer"),
    ],
)
def test_bad_input(arguments, options, error, match):
    with pytest.raises(error, match=match):
        witness(*arguments, **options)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: global_witness(0.0, CHAIN), ValueError, "level must be positive"),
        (lambda: global_witness(1.0, CHAIN, "least"), ValueError, "variance must be a number"),
        (lambda: global_witness(1.0, CHAIN, math.nan), ValueError, "variance must be positive"),
        (lambda: global_witness(1.0, CHAIN, 1e308), ValueError, r"variance .* 1e-60\.\.1e\+60"),
        (lambda: locally_best_floor(1.0, 1e308, CHAIN), ValueError, r"std .* 1e-30\.\.1e\+30"),
        (lambda: locally_best_floor(0.0, 0.1, CHAIN), ValueError, "half must be positive"),
        (lambda: pair_error(2.0, 1.0), ValueError, "0 <= near < far"),
        (lambda: pair_error(math.nan, 1.0), ValueError, "near must not contain NaN"),
        (lambda: pair_error(0.5, 1.0, step=0.0), ValueError, "step must be positive"),
        (lambda: pair_error(0.5, 1.0, step=5e-324), ValueError, r"step .* within 0\.0001\.\.1"),
        (lambda: remeasured(1, CHAIN, "full"), TypeError, "found must be a Witness"),
        (lambda: dimension_cap(0, CHAIN, "full"), ValueError, "dim must be at least 1"),
    ],
)
def test_bad_input_elsewhere(call, error, match):
    with pytest.raises(error, match=match):
        call()
