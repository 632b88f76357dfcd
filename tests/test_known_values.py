"""Numbers known from other programs, to every digit they are given with."""

import math

import pytest
import torch

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors

LINE = presets.line(4).standardized()
RING = presets.ring(8)

SUMS = [
    (3, "isotropic", 2.2564, 2.1489),
    (5, "isotropic", 1.7901, 1.4715),
    (10, "isotropic", 0.7312, 0.1639),
    (20, "isotropic", 0.3506, 0.0010),
    (3, "full", 1.7010, 1.6116),
    (5, "full", 0.9093, 0.7436),
    (10, "full", 0.2690, 0.0427),
    (20, "full", 0.0991, 0.0003),
]


@pytest.mark.parametrize(("steps", "family", "total", "last"), SUMS)
def test_ring_of_eight(steps: int, family: str, total: float, last: float) -> None:
    errors = best_gaussian_errors(RING, Schedule.cosine(steps), family)
    assert float(errors.sum()) == pytest.approx(total, abs=5e-5)
    assert float(errors[1]) == pytest.approx(last, abs=5e-5)


@pytest.mark.parametrize(("family", "total"), [("isotropic", 0.0382562), ("full", 0.0054408)])
def test_line_of_four(family: str, total: float) -> None:
    errors = best_gaussian_errors(LINE, Schedule.cosine(100), family)
    assert float(errors.sum()) == pytest.approx(total, abs=5e-8)


@pytest.mark.parametrize(("steps", "total"), [(4, 0.4828), (10, 0.4878)])
def test_more_steps_may_be_worse_on_grids_that_are_not_nested(steps: int, total: float) -> None:
    errors = best_gaussian_errors(LINE, Schedule.linear(steps), "isotropic")
    assert float(errors.sum()) == pytest.approx(total, abs=5e-5)


@pytest.mark.parametrize("mixture", [LINE, RING], ids=["line", "ring"])
def test_fixed_small_does_not_vanish(mixture: GaussianMixture) -> None:
    # β̃_t/β_t = (t − 1)/t for small equal betas, so that the sum over t >= 2 tends to d/2 times
    # H_{T−1} − log T, and with T to d/2 times Euler's constant
    T = 300
    errors = best_gaussian_errors(mixture, Schedule.from_betas([1e-8] * T), "fixed_small")
    partial = sum(1 / t for t in range(1, T)) - math.log(T)
    assert float(errors[2:].sum()) == pytest.approx(partial * mixture.dim / 2, rel=1e-3)
    assert partial / 2 == pytest.approx(0.2886, abs=1e-3)


def test_one_step_from_pure_noise_is_the_negentropy_of_the_data() -> None:
    # from noise nothing is known of x_0, so M_1 at T = 1 is the negentropy 0.8110705
    for family in FAMILIES:
        errors = best_gaussian_errors(LINE, Schedule.from_snr([1e-9]), family)
        assert float(errors.sum()) == pytest.approx(0.8110705, abs=5e-7)
    assert torch.isfinite(errors.value).all()
