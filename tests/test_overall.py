"""The global error between bounds: the order they must keep, and two routes to each."""

import itertools
import math

import pytest
import torch
from chains import LINE, RING, gaussian_kl, linear_chain, one, seeded

from smdtheory import Estimate, GaussianMixture, Schedule
from smdtheory.measure import GlobalError, best_gaussian_errors, global_error, prior_gap
from smdtheory.measure.paths import log_path_ratios
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.oracle import BestGaussian, ExactSoftMixture, TruncatedMixture
from smdtheory.truth.spectral import SpectralCovariance

ARMS = {
    "fixed_small": lambda q: BestGaussian(q, "fixed_small"),
    "isotropic": lambda q: BestGaussian(q, "isotropic"),
    "full": lambda q: BestGaussian(q, "full"),
    "wide soft mixture": lambda q: ExactSoftMixture(q, "forward"),
    "truncated": lambda q: TruncatedMixture(q, 2),
}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("steps", [1, 4, 12])
def test_the_value_lies_between_the_bounds(arm, steps):
    schedule = Schedule.cosine(steps)
    found = global_error(LINE, schedule, ARMS[arm](LINE), generator=seeded(steps))
    value = float(found.value)
    assert float(found.lower) <= value + float(found.value.error)
    assert value <= float(found.upper) + 4 * float(found.upper.error)
    if value > 0.1:
        assert float(found.lower) > 0.4 * value


@pytest.mark.parametrize("family", ["isotropic", "full"])
def test_known_local_errors_make_the_upper_bound(family):
    schedule = Schedule.cosine(5)
    errors = best_gaussian_errors(LINE, schedule, family)
    found = global_error(
        LINE, schedule, BestGaussian(LINE, family), local_errors=errors, samples=128
    )
    total = float(errors.sum()) + float(prior_gap(LINE, schedule))
    assert float(found.upper) == pytest.approx(total, rel=1e-12)
    assert found.upper.method == "quadrature"
    sampled = global_error(LINE, schedule, BestGaussian(LINE, family), generator=seeded())
    assert float(sampled.upper) == pytest.approx(total, abs=4 * float(sampled.upper.error))
    assert sampled.upper.method == "sampling"


@pytest.mark.parametrize("mixture", [LINE, RING])
def test_paths_average_to_the_chain_rule(mixture):
    """−E log W over single paths is KL(q_T ‖ p_T) + ΣM_t: the other route to U_1."""
    schedule, denoiser = Schedule.cosine(6), BestGaussian(mixture, "full")
    x_0 = mixture.sample(20_000, generator=seeded(1))
    ratios = log_path_ratios(mixture, schedule, denoiser, x_0, 1, seeded(2))[:, 0]
    wanted = float(best_gaussian_errors(mixture, schedule, "full").sum())
    wanted += float(prior_gap(mixture, schedule))
    assert float(-ratios.mean()) == pytest.approx(wanted, abs=4 * float(ratios.std()) / 141)


def test_paths_of_a_weighted_mean_tend_to_the_density():
    """E W = p_0(x_0)/q_0(x_0), here for a chain whose p_0 is known."""
    mixture, schedule = one(0.5, 0.3), Schedule.cosine(4)
    mean, variance = linear_chain(0.5, 0.3, schedule)
    x_0 = torch.tensor([[0.2], [1.4]], dtype=torch.float64)
    ratios = log_path_ratios(
        mixture, schedule, BestGaussian(mixture, "fixed_large"), x_0, 100_000, seeded(3)
    ).exp()
    wanted = one(mean, variance).log_prob(x_0).exp() / mixture.log_prob(x_0).exp()
    assert torch.all((ratios.mean(-1) - wanted).abs() < 4 * ratios.std(-1) / 316)


def test_more_paths_tighten_the_upper_bound():
    schedule, denoiser = Schedule.cosine(5), BestGaussian(LINE, "full")
    errors = best_gaussian_errors(LINE, schedule, "full")
    bounds = [
        global_error(
            LINE,
            schedule,
            denoiser,
            importance=paths,
            local_errors=errors,
            generator=seeded(4),
            samples=1024,
        )
        for paths in (1, 4, 32)
    ]
    for before, after in itertools.pairwise(bounds):
        noise = float(before.upper.error + after.upper.error)
        assert float(after.upper) < float(before.upper) + 2 * noise
    last = bounds[-1]
    assert float(last.upper) < float(bounds[0].upper) - 5 * float(last.upper.error)
    assert float(last.upper) > float(last.value) - 4 * float(last.upper.error)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_linear_chain_in_the_plane_is_bracketed(steps):
    mixture, schedule = one(0.8, 0.05, dim=2), Schedule.cosine(steps)
    wanted = 2 * gaussian_kl(0.8, 0.05, *linear_chain(0.8, 0.05, schedule))
    denoiser = BestGaussian(mixture, "fixed_large")
    errors = best_gaussian_errors(mixture, schedule, "fixed_large")
    found = global_error(
        mixture, schedule, denoiser, local_errors=errors, importance=64, generator=seeded()
    )
    assert found.value is None
    assert 0.4 * wanted < float(found.lower) < wanted
    assert wanted < float(found.upper) + 4 * float(found.upper.error) < 1.3 * wanted


def test_where_nothing_can_be_told_apart_the_lower_bound_is_0():
    found = global_error(RING, Schedule.cosine(20), ExactSoftMixture(RING), generator=seeded())
    assert float(found.lower) == 0
    assert found.lower.method == "bound"
    assert float(found.upper) < 1e-12


class Broken(Denoiser):
    """Returns one law for all points."""

    def x0(self, x_t, snr_t):
        unit = torch.ones(1, dtype=torch.float64)
        return GaussianMixture.from_spectral(
            unit.log(), torch.zeros(1, 1).double(), SpectralCovariance.isotropic(unit, 1)
        )

    def forward(self, x_t, snr_t, snr_s):
        return self.x0(x_t, snr_t)


CHAIN = Schedule.cosine(2)
ERRORS = Estimate(torch.zeros(5).double(), torch.zeros(5).double(), "bound")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mixture": "ring"}, TypeError, "GaussianMixture"),
        ({"mixture": LINE.expand((2,))}, ValueError, "batch"),
        ({"schedule": [0.1]}, TypeError, "schedule must be a Schedule"),
        ({"denoiser": "full"}, TypeError, "denoiser must be"),
        ({"denoiser": Broken()}, TypeError, "batch_shape"),
        ({"samples": 10}, ValueError, "samples must be at least 128"),
        ({"samples": 1e4}, TypeError, "samples must be an integer"),
        ({"importance": 0}, ValueError, "importance must be at least 1"),
        ({"level": 99}, ValueError, "level must lie strictly between 0 and 1"),
        ({"level": "0.99"}, TypeError, "level must be a number"),
        ({"level": math.nan}, ValueError, "level must lie"),
        ({"exact": "yes"}, ValueError, "exact must be"),
        ({"generator": 0}, TypeError, "generator must be"),
        ({"local_errors": [0.1]}, TypeError, "local_errors must be"),
        ({"local_errors": ERRORS}, ValueError, "another schedule"),
    ],
)
def test_bad_input_is_named(changes, error, message):
    good = {"mixture": LINE, "schedule": CHAIN, "denoiser": BestGaussian(LINE, "full")}
    with pytest.raises(error, match=message):
        global_error(**{**good, **changes})


def test_only_one_dimension_has_a_value():
    found = global_error(RING, CHAIN, BestGaussian(RING, "full"), samples=256, generator=seeded())
    assert isinstance(found, GlobalError)
    assert found.value is None
    with pytest.raises(ValueError, match="d = 1 only; received d = 2"):
        global_error(RING, CHAIN, BestGaussian(RING, "full"), exact=True)
