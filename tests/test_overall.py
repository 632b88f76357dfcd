"""The global error: two routes to each number, and the order that bounds must keep."""

import math

import mpmath
import numpy as np
import pytest
import torch
from reference import line_rule, log_normal
from scipy.special import ndtr

from smdtheory import Estimate, GaussianMixture, Schedule
from smdtheory.measure import (
    GlobalError,
    best_gaussian_errors,
    ddim_global_error,
    global_error,
    prior_gap,
)
from smdtheory.measure.events import lower_confidence_bound
from smdtheory.measure.paths import log_path_ratios
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.oracle import (
    BestGaussian,
    ExactPosterior,
    ExactSoftMixture,
    TruncatedMixture,
)
from smdtheory.truth import presets
from smdtheory.truth.spectral import SpectralCovariance

LINE = presets.line(4).standardized()
UNEQUAL = GaussianMixture([0.2, 0.5, 0.3], [[-1.5], [0.1], [1.2]], [[0.09], [0.01], [0.4]])
RING = presets.ring(8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def one(mean, variance, dim=1):
    return GaussianMixture([1.0], [[mean] * dim], variance)


def gaussian_kl(mean, variance, other_mean, other_variance):
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - math.log(ratio) + (mean - other_mean) ** 2 / other_variance)


# The prior gap


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


# The error itself, d = 1


def linear_chain(mean, variance, schedule):
    """Mean and variance of p_0 for data N(mean, variance) and the fixed variance β, by hand."""
    centre, spread = 0.0, 1.0
    bar = schedule.alphas_bar.tolist()
    for t in range(schedule.steps, 0, -1):
        alpha, beta = bar[t] / bar[t - 1], 1 - bar[t] / bar[t - 1]
        c = math.sqrt(bar[t - 1]) * beta / (1 - bar[t])
        c_prime = math.sqrt(alpha) * (1 - bar[t - 1]) / (1 - bar[t])
        gain = variance * math.sqrt(bar[t]) / (bar[t] * variance + 1 - bar[t])
        slope = c * gain + c_prime
        centre = slope * centre + c * mean * (1 - gain * math.sqrt(bar[t]))
        spread = slope**2 * spread + beta
    return centre, spread


@pytest.mark.parametrize("steps", [1, 3, 10, 60])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.3), (1.7, 0.05), (-0.4, 4.0)])
def test_a_linear_chain_has_its_closed_form(mean, variance, steps):
    mixture, schedule = one(mean, variance), Schedule.cosine(steps)
    found = transferred_error(mixture, schedule, BestGaussian(mixture, "fixed_large"))
    wanted = gaussian_kl(mean, variance, *linear_chain(mean, variance, schedule))
    assert float(found) == pytest.approx(wanted, rel=1e-7, abs=1e-12)
    assert abs(float(found) - wanted) <= float(found.error) + 1e-9 * wanted


def transferred_on_a_grid(mixture, schedule, denoiser):
    """E by the trapezoidal rule on one even grid."""
    x = torch.linspace(-10, 10, 1001, dtype=torch.float64)
    step = x[1] - x[0]
    p = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    for t in range(schedule.steps, 0, -1):
        law = denoiser(x.unsqueeze(-1), schedule.snr[t], schedule.snr[t - 1])
        kernel = torch.exp(law.log_prob(x[:, None, None].expand(-1, len(x), 1)))
        p = step * kernel @ p
    log_q = mixture.log_prob(x.unsqueeze(-1))
    held = log_q > -100
    return float(step * (log_q.exp() * (log_q - p.log()))[held].sum())


@pytest.mark.parametrize("make", [ExactPosterior, lambda q: BestGaussian(q, "full")])
@pytest.mark.parametrize("mixture", [LINE, UNEQUAL])
def test_transfer_agrees_with_an_even_grid(mixture, make):
    schedule = Schedule.from_snr([20.0, 4.0, 1.0, 0.3])
    found = transferred_error(mixture, schedule, make(mixture))
    wanted = transferred_on_a_grid(mixture, schedule, make(mixture))
    assert float(found) == pytest.approx(wanted, abs=1e-6)
    assert float(found.error) < 1e-6


def test_transfer_finds_the_jumps_of_a_truncated_mixture():
    """With T = 1 the even grid can be so fine that the jumps do not matter."""
    schedule, denoiser = Schedule.from_snr([2.0]), TruncatedMixture(LINE, 2)
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    y = torch.linspace(-3, 3, 301, dtype=torch.float64)
    law = denoiser(x.unsqueeze(-1), schedule.snr[1], schedule.snr[0])
    kernel = torch.exp(law.log_prob(y[:, None, None].expand(-1, len(x), 1)))
    log_p = torch.log(kernel @ one(0.0, 1.0).log_prob(x.unsqueeze(-1)).exp() * 18 / 20_000)
    log_q = LINE.log_prob(y.unsqueeze(-1))
    wanted = float((log_q.exp() * (log_q - log_p)).sum() * 6 / 300)
    found = transferred_error(LINE, schedule, denoiser)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    assert abs(float(found) - wanted) < float(found.error) + 1e-4 * wanted
    assert float(found.error) < 1e-4 * wanted


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_the_exact_posterior_loses_no_more_than_the_prior_gap(steps):
    schedule = Schedule.cosine(steps)
    found = transferred_error(UNEQUAL, schedule, ExactPosterior(UNEQUAL))
    gap = float(prior_gap(UNEQUAL, schedule))
    assert 0 < float(found) < gap + float(found.error)
    assert float(found.error) < 1e-12


def test_a_model_of_other_data_is_measured_in_its_far_tail():
    """The exact chain of N(0, 1) ends at N(0, 1), whatever the data are: E = mean²/2."""
    for mean, rel in ((3.0, 1e-9), (20.0, 1e-6)):
        found = transferred_error(
            one(mean, 1.0), Schedule.cosine(3), ExactPosterior(one(0.0, 1.0))
        )
        assert float(found) == pytest.approx(mean**2 / 2, rel=rel)


def test_what_is_out_of_range_is_said():
    far = one(60.0, 1.0), Schedule.cosine(3), ExactPosterior(one(0.0, 1.0))
    tiny = LINE, Schedule.from_snr([1e12, (1 - 1e-9) * 1e12, 0.01]), BestGaussian(LINE, "full")
    for case, reason in ((far, "density falls below"), (tiny, "more than 10000 panels")):
        with pytest.raises(ValueError, match=reason):
            global_error(*case, exact=True, samples=128)
    assert global_error(*tiny, samples=128).value is None


# Bounds around it

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
    for before, after in zip(bounds, bounds[1:], strict=False):
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


# The lower confidence bound


def entropy_rule(q, p):
    """KL(q ‖ p) of mixtures on the line, by the reference rule."""
    stds = q.spectral.diagonals()[:, 0].sqrt()
    x, weight = line_rule(q.means[:, 0].tolist(), stds.tolist())

    def density(law):
        parts = zip(law.means[:, 0].numpy(), law.spectral.diagonals()[:, 0].numpy(), strict=True)
        logs = [log_normal(x, m, v) for m, v in parts]
        return np.exp(np.array(logs)).T @ law.weights.numpy()

    return float(weight @ (density(q) * np.log(density(q) / density(p))))


def test_the_same_law_is_not_told_from_itself():
    """One false alarm in a hundred is what 99 % allows; an event chosen on the same draws that it
    is judged by gives far more."""
    alarms = 0
    for seed in range(100):
        draws = seeded(seed)
        x, y = RING.sample(1600, generator=draws), RING.sample(400, generator=draws)
        alarms += lower_confidence_bound(RING, x, y) > 0
    assert alarms <= 3


@pytest.mark.parametrize("level", [0.99, 0.5])
def test_the_bound_holds_as_often_as_it_says(level):
    """p has one mode too many, of weight 0.01: KL is near 0.01, and bounds come close to it."""
    q = presets.line(3)
    means = torch.cat([q.means, torch.tensor([[4.0]]).double()])
    p = GaussianMixture([0.33, 0.33, 0.33, 0.01], means, 0.0625)
    truth = entropy_rule(q, p)
    above = 0
    for seed in range(100):
        draws = seeded(seed)
        x, y = q.sample(8000, generator=draws), p.sample(2000, generator=draws)
        above += lower_confidence_bound(q, x, y, level) > truth
    assert above <= (3 if level == 0.99 else 55)


def test_the_bound_finds_what_p_lacks_and_what_it_adds():
    q = presets.line(4)
    lacking = GaussianMixture([1 / 3] * 3, q.means[:3], 0.0625)
    wide = GaussianMixture(q.weights, q.means, 0.25)
    narrow = GaussianMixture(q.weights, q.means, 0.03)
    for p, wanted in ((lacking, 0.8), (wide, 0.15), (narrow, 0.05)):
        draws = seeded(1)
        x, y = q.sample(16_000, generator=draws), p.sample(4000, generator=draws)
        assert wanted < lower_confidence_bound(q, x, y) < entropy_rule(q, p)


# The deterministic sampler


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


# Bad input


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
        ({"level": 99}, ValueError, "level must be a number strictly between 0 and 1"),
        ({"level": math.nan}, ValueError, "level must be"),
        ({"exact": "yes"}, ValueError, "exact must be"),
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
    with pytest.raises(ValueError, match="d = 1 only; received d = 2"):
        ddim_global_error(RING, CHAIN)
    for function in (prior_gap, ddim_global_error):
        with pytest.raises(TypeError, match="GaussianMixture"):
            function("ring", CHAIN)
        with pytest.raises(TypeError, match="Schedule"):
            function(LINE, 10)
