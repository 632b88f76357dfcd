"""The prior gap: 50 digits, closed forms, and the same number by three kinds of rule."""

import math

import mpmath
import pytest
import torch
from chains import LINE, RING, UNEQUAL, one

from smdtheory import GaussianMixture, Schedule
from smdtheory.measure import prior_gap
from smdtheory.truth import presets


def exact_prior_gap(mixture, schedule):
    """KL(q_T ‖ N(0, 1)) in d = 1 with 50 digits."""
    with mpmath.workdps(50):
        snr = mpmath.mpf(float(schedule.snr[-1]))
        signal = snr / (1 + snr)
        terms = [
            (mpmath.mpf(w), mpmath.sqrt(signal) * m, signal * mpmath.mpf(v) + 1 - signal)
            for w, m, v in zip(
                mixture.weights.tolist(),
                mixture.means[:, 0].tolist(),
                mixture.spectral.diagonals()[:, 0].tolist(),
                strict=True,
            )
        ]

        def integrand(x):
            q = sum(w * mpmath.npdf(x, m, mpmath.sqrt(v)) for w, m, v in terms)
            return q * mpmath.log(q / mpmath.npdf(x)) + mpmath.npdf(x) - q

        return float(mpmath.quad(integrand, [-14, -9, -6, -4, -2, 0, 2, 4, 6, 9, 14]))


@pytest.mark.parametrize("steps", [1, 10, 1000])
@pytest.mark.parametrize("mixture", [LINE, UNEQUAL, presets.line(3, separation=30.0)])
def test_prior_gap_keeps_its_accuracy_down_to_1e_minus_36(mixture, steps):
    schedule = Schedule.cosine(steps)
    gap = prior_gap(mixture, schedule)
    assert float(gap) == pytest.approx(exact_prior_gap(mixture, schedule), rel=1e-3)


def test_prior_gap_where_the_prior_is_far_off():
    mixture, schedule = presets.line(4), Schedule.from_snr([30.0, 3.0])
    assert float(prior_gap(mixture, schedule)) == pytest.approx(
        exact_prior_gap(mixture, schedule), rel=1e-9
    )


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 2.0), (0.0, 0.25), (5.0, 1.0)])
def test_prior_gap_of_one_gaussian(mean, variance):
    for steps in (1, 1000):
        signal = float(Schedule.cosine(steps).alphas_bar[-1])
        x = signal * (variance - 1)
        excess = x**2 / 2 - x**3 / 3 + x**4 / 4 if abs(x) < 1e-4 else x - math.log1p(x)
        gap = prior_gap(one(mean, variance, dim=3), Schedule.cosine(steps))
        assert float(gap) == pytest.approx(1.5 * (excess + signal * mean**2), rel=1e-9)
        assert gap.method == "closed form"
    assert float(prior_gap(one(0.0, 1.0), Schedule.cosine(3))) == 0


def test_prior_gap_is_that_of_the_coordinate_that_matters():
    """Panels in d = 1, lattices in d = 2 and Sobol points in d = 3 see the same number."""
    schedule = Schedule.from_snr([10.0, 0.5])
    wanted = float(prior_gap(UNEQUAL, schedule))
    for dim in (2, 3):
        means = torch.cat([UNEQUAL.means, torch.zeros(3, dim - 1).double()], 1)
        variances = torch.cat([UNEQUAL.spectral.diagonals(), torch.ones(3, dim - 1).double()], 1)
        gap = prior_gap(GaussianMixture(UNEQUAL.weights, means, variances), schedule)
        spread = 1e-6 * wanted if dim == 2 else 4 * float(gap.error)
        assert float(gap) == pytest.approx(wanted, abs=spread)
        assert float(gap.error) < 0.01 * wanted


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="mixture must be a GaussianMixture"):
        prior_gap("ring", Schedule.cosine(2))
    with pytest.raises(TypeError, match="schedule must be a Schedule"):
        prior_gap(RING, 2)
