"""Negentropies and the caps they give, and all caps along a chain."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from scipy.integrate import quad
from strategies import hostile_mixtures, hostile_snr_pairs

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors
from smdtheory.theory import local_cap, local_caps, negentropy, negentropy_cap, negentropy_sum
from smdtheory.truth.posterior import marginal_at

CHAINED = FAMILIES[1:]  # the families with a negentropy cap


@pytest.mark.parametrize("family", CHAINED)
@pytest.mark.parametrize("snr_s", [1.0, math.inf])
def test_from_pure_noise_the_negentropy_cap_is_the_error(family, snr_s):
    rotated = torch.tensor([[0.5, 0.3], [0.3, 0.4]])
    mixture = GaussianMixture(
        [0.3, 0.7], [[-1.0, 0.5], [1.0, 0.2]], torch.stack([rotated, torch.diag(rotated.diag())])
    )
    J = negentropy(mixture, snr_s, family)
    levels = [1e-9] if snr_s == math.inf else [snr_s, 1e-9]
    local = float(best_gaussian_errors(mixture, Schedule.from_snr(levels), family).value[-1])
    assert float(J) == pytest.approx(local, abs=1e-7)
    assert float(negentropy_cap(mixture, 1e-9, snr_s, family)) == pytest.approx(local, abs=1e-7)


def test_negentropy_of_the_line_of_four():
    line = presets.line(4).standardized()
    for family in FAMILIES[2:]:
        assert float(negentropy(line, family=family)) == pytest.approx(0.8110705, abs=5e-8)
    total = best_gaussian_errors(line, Schedule.cosine(100), "full").value.sum()
    assert 0 < total < negentropy_sum(line, Schedule.cosine(100), "full").value < 0.8110706


@pytest.mark.parametrize("snr", [0.3, 6.0, math.inf])
def test_negentropy_is_a_relative_entropy(snr):
    mixture = GaussianMixture([0.2, 0.8], [[-1.0], [2.0]], [0.3, 0.6])
    q = marginal_at(mixture, torch.tensor(snr, dtype=torch.float64))
    mean, variance = float(q.mean), float(q.variance)

    def relative(v: float) -> float:
        g = GaussianMixture([1.0], [[mean]], v)
        return quad(
            lambda x: float(q.log_prob([x]).exp() * (q.log_prob([x]) - g.log_prob([x]))),
            mean - 10, mean + 10, points=[mean - 2, mean, mean + 2], limit=200,
        )[0]  # fmt: skip

    assert float(negentropy(mixture, snr, "full")) == pytest.approx(relative(variance), abs=1e-8)
    assert float(negentropy(mixture, snr, "fixed_large")) == pytest.approx(relative(1), abs=1e-8)


@settings(max_examples=20)  # curves at hostile scales have many panels
@given(hostile_mixtures(), hostile_snr_pairs())
def test_negentropies_at_hostile_scales(mixture, pair):
    for family in ("full", "isotropic"):
        cap = negentropy_cap(mixture, *pair, family)
        assert cap.value >= -cap.error


def test_the_smallest_cap_says_where_it_comes_from():
    line = presets.line(4).standardized()
    long = local_cap(line, Schedule.cosine(1000), "fixed_small")
    assert long.cap.value.shape == (1001,)
    assert long.cap.method == "bound"
    assert long.source[0] == ""
    assert long.source[1] == "negentropy_cap"
    assert set(long.source[2:]) == {"second_order_cap", "first_order_cap"}
    assert torch.isfinite(long.cap.value).all()
    short = local_cap(line, Schedule.from_snr([100.0, 1e-3]), "full")
    assert short.source[1:] == ("negentropy_cap", "negentropy_cap")
    assert short.cap.value.sum() == pytest.approx(0.8110705, abs=1e-5)


def test_caps_where_the_entropy_is_sampled():
    mixture = presets.random(3, 3, generator=torch.Generator().manual_seed(1))
    schedule = Schedule.cosine(5)
    errors = best_gaussian_errors(mixture, schedule, "full")
    caps = local_caps(mixture, schedule, "full")
    assert caps["negentropy_cap"].method == "sampling"
    for cap in caps.values():  # the same draws on both sides: far closer than their errors
        assert (errors.value <= cap.value + 3 * cap.error + 1e-12).all()
    total = negentropy_sum(mixture, schedule, "full")
    assert float(total) == pytest.approx(float(caps["negentropy_cap"].sum()), abs=1e-9)
    assert local_cap(mixture, schedule, "full").cap.value[1] > errors.value[1]
