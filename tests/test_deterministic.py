"""DDIM with the exact score: small cells, one Gaussian, known values."""

import math

import numpy as np
import pytest
from chains import LINE, RING, UNEQUAL, gaussian_kl, one
from scipy.special import ndtr

from smdtheory import Schedule
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


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="d = 1 only; received d = 2"):
        ddim_global_error(RING, Schedule.cosine(2))
    with pytest.raises(TypeError, match="mixture must be a GaussianMixture"):
        ddim_global_error("line", Schedule.cosine(2))
    with pytest.raises(TypeError, match="schedule must be a Schedule"):
        ddim_global_error(LINE, 2)
