"""DDIM with the exact score: small cells, one Gaussian, known values."""

import math
import time

import numpy as np
import pytest
from chains import LINE, RING, UNEQUAL, gaussian_kl, one
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from smdtheory import GaussianMixture, Schedule
from smdtheory.measure import ddim_global_error


def deterministic_by_hand(mixture, schedule, z):
    """F(z), straight from the definition of DDIM."""
    w, m = mixture.weights.numpy(), mixture.means[:, 0].numpy()
    v, bar = mixture.spectral.diagonals()[:, 0].numpy(), schedule.alphas_bar.numpy()
    x = z.copy()
    for t in range(schedule.steps, 0, -1):
        total = bar[t] * v + 1 - bar[t]
        deviation = x[:, None] - math.sqrt(bar[t]) * m
        log_r = np.log(w) - 0.5 * (np.log(total) + deviation**2 / total)
        r = np.exp(log_r - log_r.max(1, keepdims=True))
        r /= r.sum(1, keepdims=True)
        clean = (r * (m + math.sqrt(bar[t]) * v / total * deviation)).sum(1)
        noise = (x - math.sqrt(bar[t]) * clean) / math.sqrt(1 - bar[t])
        x = math.sqrt(bar[t - 1]) * clean + math.sqrt(1 - bar[t - 1]) * noise
    return x


def divergence_of_cells(mixture, schedule, cells):
    """KL between q_0's masses of the images of cells in z and the normal masses of the cells."""
    edges = np.linspace(-24, 24, cells + 1)
    std = mixture.spectral.diagonals()[:, 0].sqrt().numpy()
    image = deterministic_by_hand(mixture, schedule, edges)
    scores = (image[:, None] - mixture.means[:, 0].numpy()) / std
    tails = [np.abs(np.diff(ndtr(sign * scores), axis=0)) for sign in (1, -1)]
    q = np.minimum(*tails) @ mixture.weights.numpy()
    middle, width = (edges[1:] + edges[:-1])[q > 0] / 2, edges[1] - edges[0]
    log_p = math.log(width) - 0.5 * (middle**2 + math.log(2 * math.pi))
    return float((q[q > 0] * (np.log(q[q > 0]) - log_p)).sum())


@pytest.mark.parametrize("mixture", [LINE, UNEQUAL])
@pytest.mark.parametrize("steps", [6, 20])
def test_ddim_agrees_with_the_masses_of_small_cells(mixture, steps):
    """Cells see less than all, by data processing, and what they miss goes with their width²."""
    schedule = Schedule.cosine(steps)
    found = ddim_global_error(mixture, schedule)
    coarse, fine = (divergence_of_cells(mixture, schedule, cells) for cells in (24_000, 48_000))
    assert coarse < fine < float(found)
    assert float(found) == pytest.approx((4 * fine - coarse) / 3, rel=1e-5)
    assert float(found.error) < 1e-8


def test_ddim_known_values():
    known = {10: 0.285, 30: 0.0237, 100: 0.00218, 300: 0.000263}
    for steps, value in known.items():
        found = float(ddim_global_error(LINE, Schedule.cosine(steps)))
        assert float(f"{found:.3g}") == value


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.3), (0.8, 0.01), (-2.0, 3.0)])
@pytest.mark.parametrize("steps", [1, 2, 15])
def test_ddim_of_one_gaussian(mean, variance, steps):
    schedule = Schedule.cosine(steps)
    tau = [0.0, *(1 / schedule.snr[1:]).tolist()]
    slope = 1.0
    for t in range(steps, 0, -1):
        slope *= (variance + math.sqrt(tau[t - 1] * tau[t])) / (variance + tau[t])
    wanted = gaussian_kl(mean, variance, mean * (1 - slope), slope**2 * (1 + tau[-1]))
    found = ddim_global_error(one(mean, variance), schedule)
    assert float(found) == pytest.approx(wanted, rel=1e-9)


def two(low, high, std):
    return GaussianMixture([0.5, 0.5], [[low], [high]], [[[std**2]], [[std**2]]])


@pytest.mark.parametrize(
    ("low", "high", "std", "steps"),
    [
        (-1, 1, 1e-5, 100),
        (-1, 1, 1e-5, 200),
        (-1, 1, 1e-5, 300),
        (-1, 1, 1e-6, 1000),
        (0, 1e8, 1e-12, 10),
        (-5e7, 5e7, 1e-12, 10),
        (-5e-7, 5e-7, 1e-12, 10),
    ],
)
def test_a_map_too_steep_for_float64_is_named(low, high, std, steps):
    """Half the mass of each mode comes from where F leaps: once it ran for ever, or gave 1 ± 2."""
    start = time.perf_counter()
    with pytest.raises(ValueError, match=f"wide enough.* received a least std of {std:.3g} with"):
        ddim_global_error(two(low, high, std), Schedule.cosine(steps))
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("std", [0.1, 0.05, 0.03])
def test_ddim_of_narrow_modes_agrees_with_small_cells(std):
    schedule = Schedule.cosine(100)
    found = ddim_global_error(two(-1.0, 1.0, std), schedule)
    coarse, fine = (
        divergence_of_cells(two(-1.0, 1.0, std), schedule, cells) for cells in (24_000, 48_000)
    )
    assert float(found) == pytest.approx((4 * fine - coarse) / 3, rel=1e-2)


@settings(max_examples=20, deadline=20_000)
@given(separation=st.floats(-6, 8), std=st.floats(-12, 6), steps=st.sampled_from([1, 10, 40]))
def test_any_two_modes_give_a_number_or_an_error(separation, std, steps):
    half = 0.5 * 10**separation
    try:
        found = ddim_global_error(two(-half, half, 10**std), Schedule.cosine(steps))
    except ValueError as error:
        assert "wide enough" in str(error)
    else:
        assert 0 <= float(found.error) <= float(found)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="d = 1 only; received d = 2"):
        ddim_global_error(RING, Schedule.cosine(2))
    with pytest.raises(TypeError, match="mixture must be a GaussianMixture"):
        ddim_global_error("line", Schedule.cosine(2))
    with pytest.raises(TypeError, match="schedule must be a Schedule"):
        ddim_global_error(LINE, 2)
