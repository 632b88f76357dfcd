"""Soft, truncated and Gaussian oracles (docs/theory.md §5.1, §7)."""

import math

import pytest
import torch
from hypothesis import given, settings
from strategies import mixtures, snr_pairs

from smdtheory import GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors, local_error
from smdtheory.models.oracle import (
    BestGaussian,
    ExactPosterior,
    ExactSoftMixture,
    TruncatedMixture,
)
from smdtheory.schedule import bridge
from smdtheory.truth.posterior import marginal_at, posterior_at

FEW = settings(max_examples=20, deadline=None)  # nested quadrature in each


@FEW
@given(mixtures(dim=2), snr_pairs(last=True))
def test_bridge_of_the_x0_law_is_the_posterior(
    mixture: GaussianMixture, pair: tuple[float, float]
) -> None:
    snr_t, snr_s = (torch.tensor(v, dtype=torch.float64) for v in pair)
    x_t = marginal_at(mixture, snr_t).sample(6)
    truth = posterior_at(mixture, x_t, snr_t, snr_s)
    x_s = truth.sample()
    for model in (ExactPosterior(mixture), ExactSoftMixture(mixture, 1.0)):
        found = model(x_t, snr_t, snr_s).log_prob(x_s)
        torch.testing.assert_close(found, truth.log_prob(x_s), rtol=1e-8, atol=1e-8)
    full = BestGaussian(mixture, "full")(x_t, snr_t, snr_s)
    torch.testing.assert_close(full.mean, truth.mean)
    torch.testing.assert_close(full.covariance_matrix, truth.covariance_matrix)
    diagonal = BestGaussian(mixture, "diagonal")(x_t, snr_t, snr_s)
    torch.testing.assert_close(diagonal.variance, truth.variance)
    per_x = BestGaussian(mixture, "isotropic_x")(x_t, snr_t, snr_s)
    torch.testing.assert_close(per_x.total_variance, truth.total_variance)


def test_fixed_families_have_the_variances_of_the_bridge() -> None:
    ring, x = presets.ring(4), torch.zeros(1, 2, dtype=torch.float64)
    step = bridge(1.0, 3.0)
    small = BestGaussian(ring, "fixed_small")(x, 1.0, 3.0).variance
    large = BestGaussian(ring, "fixed_large")(x, 1.0, 3.0).variance
    torch.testing.assert_close(small, step.variance.expand(1, 2))
    torch.testing.assert_close(large, step.beta.expand(1, 2))
    for family in ("fixed_small", "fixed_large"):  # β_{t|0} = 1 − ᾱ_t
        last = BestGaussian(ring, family)(x, 1.0, math.inf).variance
        torch.testing.assert_close(last, torch.full((1, 2), 0.5, dtype=torch.float64))


@FEW
@given(mixtures(max_components=3), snr_pairs())
def test_a_wrong_kernel_variance_costs_and_the_right_one_does_not(
    mixture: GaussianMixture, pair: tuple[float, float]
) -> None:
    chain = Schedule.from_snr([pair[1], pair[0]])

    def error(kernel: float | str) -> float:
        model = ExactSoftMixture(mixture, kernel)  # type: ignore[arg-type]
        return float(local_error(mixture, chain, model, 2).value)

    assert abs(error("posterior")) < 1e-10
    gap = math.log(pair[1] / pair[0])
    if gap < 4:  # beyond, β̃ is far below the components' own variance and hardly matters
        assert error(1.5) > 0
        assert error(3.0) > error(1.5)
        assert error(0.5) > 0
    assert error("forward") >= -1e-12


def test_kernel_cost_of_one_gaussian_by_hand() -> None:
    one, chain = GaussianMixture([1.0], [[0.0]], 0.7), Schedule.from_snr([3.0, 1.0])
    step = bridge(1.0, 3.0)
    exact = float(step.c**2 * (0.7 / 1.7) + step.variance)
    for factor in (0.5, 2.0):
        wrong = exact + (factor - 1) * float(step.variance)
        expected = 0.5 * (exact / wrong - 1 + math.log(wrong / exact))
        found = local_error(one, chain, ExactSoftMixture(one, factor), 2)
        assert float(found.value) == pytest.approx(expected, rel=1e-8)


def test_truncated_runs_from_the_full_gaussian_to_the_truth() -> None:
    line, chain = presets.line(4), Schedule.cosine(5)
    full = best_gaussian_errors(line, chain, "full").value
    for t in (2, 4):
        errors = [
            float(local_error(line, chain, TruncatedMixture(line, keep), t).value)
            for keep in (1, 2, 3, 4)
        ]
        assert errors[0] == pytest.approx(float(full[t]), abs=1e-8)
        assert abs(errors[3]) < 1e-10
        assert errors == sorted(errors, reverse=True)
        dropped = local_error(line, chain, TruncatedMixture(line, 2, "drop"), t)
        assert float(dropped.value) > errors[1]


def test_merging_keeps_mean_and_covariance() -> None:
    mixture = presets.random(5, 3, generator=torch.Generator().manual_seed(0))
    x = marginal_at(mixture, torch.tensor(0.3)).sample(10)
    truth = posterior_at(mixture, x, torch.tensor(0.3), torch.tensor(2.0))
    for keep in (1, 2, 4):
        law = TruncatedMixture(mixture, keep)(x, 0.3, 2.0)
        assert law.num_components == keep
        torch.testing.assert_close(law.mean, truth.mean)
        torch.testing.assert_close(law.covariance_matrix, truth.covariance_matrix)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda q: ExactSoftMixture(q, -1.0), ValueError, "kernel"),
        (lambda q: ExactSoftMixture(q, "backward"), ValueError, "backward"),
        (lambda q: TruncatedMixture(q, 0), ValueError, "keep"),
        (lambda q: TruncatedMixture(q, 1.5), TypeError, "keep"),
        (lambda q: TruncatedMixture(q, 2, "forget"), ValueError, "forget"),
        (lambda q: BestGaussian(q, "best"), ValueError, "best"),
        (lambda q: ExactPosterior("ring"), TypeError, "mixture"),
    ],
)
def test_bad_arguments(make: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make(presets.ring(3))  # type: ignore[operator]


def test_fixed_variances_are_chosen_step_by_step_in_a_batch():
    """The last step beside another: β_1 for the one, β̃ for the other."""
    levels = torch.tensor([1.0, 1.0]), torch.tensor([2.0, math.inf])
    x = torch.zeros(2, 1)
    together = BestGaussian(presets.line(2), "fixed_small")(x, *levels).log_prob(x)
    for i in range(2):
        alone = BestGaussian(presets.line(2), "fixed_small")(x[i], levels[0][i], levels[1][i])
        assert float(together[i]) == float(alone.log_prob(x[i]))
