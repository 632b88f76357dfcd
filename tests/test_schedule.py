"""The forward chain: exact formulas, the bridge, index conventions, respacing."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import exact_bridge
from strategies import hostile_snr_pairs, numbers, snr_pairs
from torch.testing import assert_close

from smdtheory import Schedule
from smdtheory.schedule import MAX_BETA, SCHEDULES, SNR_RANGE, bridge

LENGTHS = (1, 2, 3, 10, 100, 1000)


def cosine_betas(T: int) -> np.ndarray:
    f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def linear_betas(T: int) -> np.ndarray:
    return np.minimum(np.linspace(0.1 / T, 20 / T, T), 0.999)


def sigmoid_betas(T: int) -> np.ndarray:
    u = 6 * np.arange(T + 1) / T - 3
    f = 1 / (1 + np.exp(-3.0)) - 1 / (1 + np.exp(-u))
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


FORMULAS = {"cosine": cosine_betas, "linear": linear_betas, "sigmoid": sigmoid_betas}


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_named_schedules_are_their_published_formulas(name, steps):
    chain = Schedule.named(name, steps)
    betas = FORMULAS[name](steps)
    levels = np.cumprod(1 - betas)
    # 1 − f(t)/f(t−1) loses eps/β; 1 − ᾱ as a difference loses eps/β_1 >= 1e-11
    assert_close(chain.betas[1:].numpy(), betas, rtol=1e-10, atol=0)
    assert_close(chain.alphas_bar[1:].numpy(), levels, rtol=1e-11, atol=0)
    assert_close(chain.snr[1:].numpy(), levels / (1 - levels), rtol=1e-10, atol=0)


def test_the_linear_schedule_ends_where_ddpm_ends():
    # the product of 1 − β over 1,000 steps from 1e-4 to 0.02, in exact rational arithmetic
    level = Fraction(1)
    for i in range(1000):
        level *= 1 - (Fraction(1, 10000) + Fraction(199, 10000) * Fraction(i, 999))
    assert float(Schedule.linear(1000).alphas_bar[-1]) == pytest.approx(float(level), rel=1e-11)


@pytest.mark.parametrize("steps", [*LENGTHS, 20_000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_arrays_are_indexed_by_t(name, steps):
    chain = Schedule.named(name, steps)
    assert chain.steps == steps
    for array in (chain.snr, chain.alphas_bar, chain.betas):
        assert array.shape == (steps + 1,)
        assert array.dtype == torch.float64
    assert math.isinf(chain.snr[0])
    assert chain.alphas_bar[0] == 1
    assert chain.betas[0] == 0
    assert bool((chain.snr[1:] < chain.snr[:-1]).all())
    # an entry of 0.999 can come back from ᾱ one rounding above it
    assert bool(((chain.betas[1:] > 0) & (chain.betas[1:] <= MAX_BETA + 1e-12)).all())


@given(st.lists(numbers(1e-8, 0.999), min_size=1, max_size=8))
def test_betas_and_ratios_are_two_ways_to_say_one_chain(betas):
    chain = Schedule.from_betas(betas)
    # β is a difference of neighbouring ratios, so its error is relative to 1, not to β
    assert_close(chain.betas[1:].tolist(), betas, rtol=1e-12, atol=1e-15)
    assert_close(chain.alphas_bar[1:].numpy(), np.cumprod(1 - np.array(betas)), rtol=1e-13, atol=0)
    assert_close(chain.snr, chain.alphas_bar / (1 - chain.alphas_bar), rtol=1e-7, atol=0)
    assert_close(Schedule.from_snr(chain.snr).snr, chain.snr, rtol=0, atol=0)
    assert_close(Schedule.from_snr(chain.snr[1:]).snr, chain.snr, rtol=0, atol=0)
    again = Schedule.from_betas(chain.betas)  # with the leading 0
    assert_close(again.snr, chain.snr, rtol=1e-6, atol=0)


def same_bridge(found, gamma_t: float, gamma_s: float) -> None:
    for name, value in exact_bridge(gamma_t, gamma_s).items():
        assert float(getattr(found, name)) == pytest.approx(value, rel=4e-15, abs=0), name


@given(hostile_snr_pairs())
def test_the_bridge_is_the_textbook_one(pair):
    gamma_t, gamma_s = pair
    step = bridge(gamma_t, gamma_s)
    if gamma_s < gamma_t * (1 + 1e-6):  # γ_s − γ_t is what the two floats say: exact by Sterbenz
        assert float(step.beta) > 0
    same_bridge(step, gamma_t, gamma_s)


@pytest.mark.parametrize("gamma_t", [1e-90, 1e-30, 1.0, 1e30, 1e89])
def test_the_bridge_neither_under_nor_overflows(gamma_t):
    same_bridge(bridge(gamma_t, 10 * gamma_t), gamma_t, 10 * gamma_t)
    same_bridge(bridge(gamma_t, math.inf), gamma_t, math.inf)


@given(snr_pairs(), numbers(0.01, 5.0), st.booleans())
def test_bridges_compose(pair, log_ratio, last):
    gamma_t, gamma_s = pair
    gamma_r = math.inf if last else gamma_s * math.exp(log_ratio)
    late, early, both = (
        bridge(gamma_t, gamma_s),
        bridge(gamma_s, gamma_r),
        bridge(gamma_t, gamma_r),
    )
    # x_r = c x_0 + c′ x_s + noise, with x_s = c x_0 + c′ x_t + noise put in
    assert_close(early.c + early.c_prime * late.c, both.c, rtol=1e-13, atol=0)
    assert_close(early.c_prime * late.c_prime, both.c_prime, rtol=1e-13, atol=0)
    assert_close(
        early.variance + early.c_prime.square() * late.variance, both.variance, rtol=1e-13, atol=0
    )


@given(snr_pairs())
def test_the_two_facts_used_most(pair):
    gamma_t, gamma_s = pair
    step = bridge(gamma_t, gamma_s)
    assert_close(float(step.c**2 / step.variance), gamma_s - gamma_t, rtol=1e-13, atol=0)
    assert_close(
        float(step.beta / step.variance), (1 + gamma_s) / (1 + gamma_t), rtol=1e-13, atol=0
    )


def test_bridge_broadcasts():
    step = bridge(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 4.0, math.inf]))
    assert step.c.shape == (2, 3)
    same_bridge(bridge(2.0, 4.0), 2.0, 4.0)
    assert float(step.variance[1, 1]) == float(bridge(2.0, 4.0).variance)


@given(st.integers(1, 40), st.data())
def test_respacing_keeps_the_marginals(steps, data):
    chain = Schedule.cosine(steps)
    times = sorted(data.draw(st.sets(st.integers(1, steps), min_size=1)))
    short = chain.respace(times)
    assert short.steps == len(times)
    assert torch.equal(short.snr[1:], chain.snr[times])
    assert torch.equal(chain.respace([0, *times]).snr, short.snr)
    assert torch.equal(chain.respace(torch.tensor(times)).snr, short.snr)
    assert torch.equal(chain.respace(np.array(times)).snr, short.snr)
    count = data.draw(st.integers(1, steps))
    even = chain.respace(count)
    assert even.steps == count
    assert even.snr[-1] == chain.snr[-1]


def test_respacing_to_all_times_changes_nothing():
    chain = Schedule.linear(7)
    assert torch.equal(chain.respace(7).snr, chain.snr)
    assert torch.equal(chain.respace(range(1, 8)).snr, chain.snr)


@pytest.mark.parametrize("times", [[], [0], [2, 1], [1, 1], [-1, 2], [1, 9], 0, -1, 9])
def test_respacing_refuses_other_times(times):
    with pytest.raises(ValueError, match="times must"):
        Schedule.cosine(8).respace(times)


def test_a_step_goes_back_by_one_unless_told_otherwise():
    chain = Schedule.cosine(5)
    assert chain.check_step(3) == (3, 2)
    assert chain.check_step(5, 0) == (5, 0)
    assert chain.check_step(torch.tensor(4), np.int64(1)) == (4, 1)


@pytest.mark.parametrize(
    ("t", "s", "message"),
    [
        (0, None, r"t must lie in 1\.\.5"),
        (6, None, r"t must lie in 1\.\.5"),
        (3, 3, r"s must lie in 0\.\.t-1 = 0\.\.2"),
        (3, -1, r"s must lie in 0\.\.t-1 = 0\.\.2"),
    ],
)
def test_steps_out_of_range_are_refused(t, s, message):
    with pytest.raises(ValueError, match=message):
        Schedule.cosine(5).check_step(t, s)


@pytest.mark.parametrize(
    "snr",
    [
        [1.0, 1.0],
        [1.0, 2.0],
        [2.0, 0.0],
        [2.0, -1.0],
        [1.0, math.inf],
        [2.0, SNR_RANGE[0] / 10],
        [SNR_RANGE[1] * 10, 1.0],
    ],
)
def test_ratios_must_fall(snr):
    with pytest.raises(ValueError, match="snr must fall strictly"):
        Schedule.from_snr(snr)


def test_a_schedule_starts_at_the_data():
    with pytest.raises(ValueError, match=r"snr\[0\] must be inf"):
        Schedule(torch.tensor([2.0, 1.0]))
    with pytest.raises(ValueError, match="of length T \\+ 1 >= 2"):
        Schedule(torch.tensor([math.inf]))


@pytest.mark.parametrize("betas", [[0.0, 0.0], [0.5, 1.0], [0.5, -0.1], [1.5], [0.0]])
def test_betas_must_lie_strictly_between_0_and_1(betas):
    with pytest.raises(ValueError, match="each beta must lie strictly between 0 and 1"):
        Schedule.from_betas(betas)


def test_schedules_are_float64_whatever_comes_in():
    snr = torch.tensor([math.inf, 2.0, 1.0], dtype=torch.float32)
    assert Schedule(snr).snr.dtype == torch.float64
    assert Schedule.from_betas(np.array([0.1, 0.2], dtype=np.float32)).betas.dtype == torch.float64


def test_repr_shows_the_range():
    assert repr(Schedule.from_snr([4.0, 0.5])) == "Schedule(steps=2, snr from 4 to 0.5)"
