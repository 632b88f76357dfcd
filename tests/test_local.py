"""Local errors of any denoiser, by two routes, and their split (docs/theory.md §5.7, §9.1)."""

import math

import pytest
import torch
from hypothesis import given, settings
from strategies import mixtures, schedules
from torch import Tensor

from smdtheory import FAMILIES, GaussianMixture, Schedule, presets
from smdtheory.measure import best_gaussian_errors, local_error, local_errors, split
from smdtheory.models import Denoiser
from smdtheory.models.oracle import BestGaussian, ExactPosterior, ExactSoftMixture
from smdtheory.truth.posterior import posterior_at
from smdtheory.truth.spectral import SpectralCovariance

FEW = settings(max_examples=8, deadline=None)  # each runs nested quadrature for six families


class Wrong(Denoiser):
    """The exact mean moved by ``shift``, with ``inflation`` times the exact trace, isotropic."""

    def __init__(self, mixture: GaussianMixture, shift: float, inflation: float) -> None:
        super().__init__()
        self.mixture, self.shift, self.inflation = mixture, shift, inflation

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        law = posterior_at(self.mixture, x_t, snr_t, torch.tensor(math.inf))
        variance = self.inflation * law.total_variance / law.dim
        return GaussianMixture.from_spectral(
            torch.zeros(*law.batch_shape, 1, dtype=torch.float64),
            (law.mean + self.shift).unsqueeze(-2),
            SpectralCovariance.isotropic(variance.unsqueeze(-1), law.dim),
        )


@FEW
@given(mixtures(), schedules(max_steps=3))
def test_the_three_parts_add_up(mixture: GaussianMixture, chain: Schedule) -> None:
    t = chain.steps
    for model in (*(BestGaussian(mixture, f) for f in FAMILIES), Wrong(mixture, 0.3, 1.7)):
        parts, whole = split(mixture, chain, model, t), local_error(mixture, chain, model, t)
        gap = abs(float(parts.total.value - whole.value))
        slack = float(parts.total.error + 20 * whole.error)
        assert gap <= slack + 1e-9 * (1 + float(whole.value))


def test_split_of_a_wrong_gaussian_by_hand() -> None:
    # one Gaussian of variance 1: at s = 0 the posterior variance is v, so inflation k and shift δ
    # add (1/k − 1 + log k)/2 and δ²/(2 k v)
    mixture, chain = GaussianMixture([1.0], [[0.0]], 1.0), Schedule.from_snr([2.0])
    v, k, shift = 1 / 3, 1.7, 0.3
    parts = split(mixture, chain, Wrong(mixture, shift, k), 1)
    assert float(parts.non_gaussianity) == pytest.approx(0, abs=1e-12)
    assert float(parts.covariance) == pytest.approx((1 / k - 1 + math.log(k)) / 2, rel=1e-10)
    assert float(parts.mean) == pytest.approx(shift**2 / (2 * k * v), rel=1e-10)
    with pytest.raises(ValueError, match="one component"):
        line = presets.line(2)
        split(line, Schedule.cosine(3), ExactPosterior(line), 2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "mixture",
    [presets.ring(8), presets.random(4, 3, generator=torch.Generator().manual_seed(1))],
    ids=["ring", "random"],
)
def test_sampling_agrees_within_standard_errors(mixture: GaussianMixture, family: str) -> None:
    chain = Schedule.cosine(4)
    exact = best_gaussian_errors(mixture, chain, family)
    generator = torch.Generator().manual_seed(7)
    found = local_errors(
        mixture, chain, BestGaussian(mixture, family), samples=8192, generator=generator
    )
    spread = torch.hypot(found.error, exact.error)[1:]
    z = (found.value - exact.value)[1:] / spread
    assert z.abs().max() < 6  # Student's t with 7 degrees of freedom
    assert (spread < 0.05 * (0.02 + exact.value[1:])).all()


def test_standard_errors_are_honest() -> None:
    # p far wider than q: a plain mean of p/q − 1 − log(p/q) is 40 standard errors off here
    mixture, chain = presets.ring(8), Schedule.cosine(3)
    model = BestGaussian(mixture, "fixed_large")
    exact = float(best_gaussian_errors(mixture, chain, "fixed_large").value[1])
    z = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        found = local_error(mixture, chain, model, 1, samples=2048, generator=generator)
        z.append((float(found.value) - exact) / float(found.error))
    scores = torch.tensor(z)
    # Student's t with 7 degrees of freedom has variance 1.4; 40 draws
    assert 0.6 < float(scores.square().mean().sqrt()) < 1.9
    assert abs(float(scores.mean())) < 0.8


def test_small_errors_are_seen_by_sampling() -> None:
    mixture, chain = presets.line(4).standardized(), Schedule.cosine(1000)
    exact = float(best_gaussian_errors(mixture, chain, "isotropic").value[500])
    found = local_error(
        mixture,
        chain,
        BestGaussian(mixture, "isotropic"),
        500,
        method="sampling",
        generator=torch.Generator().manual_seed(0),
    )
    assert exact < 1e-5
    assert abs(float(found.value) - exact) < 6 * float(found.error)
    assert float(found.error) < 0.1 * exact


@pytest.mark.parametrize("mixture", [presets.line(3), presets.ring(4)], ids=["line", "ring"])
def test_the_exact_posterior_scores_zero_on_every_path(mixture: GaussianMixture) -> None:
    chain = Schedule.cosine(3)
    for model in (ExactPosterior(mixture), ExactSoftMixture(mixture)):
        errors = local_errors(mixture, chain, model, samples=1024)
        assert errors.value.abs().max() < 1e-12
        if mixture.dim == 1:
            for t in (1, 3):
                found = local_error(mixture, chain, model, t, method="quadrature")
                assert abs(float(found.value)) < 1e-10


def test_nested_quadrature_in_the_plane() -> None:
    mixture, chain = presets.ring(3), Schedule.cosine(4)
    exact = best_gaussian_errors(mixture, chain, "diagonal")[3]
    found = local_error(mixture, chain, BestGaussian(mixture, "diagonal"), 3, method="quadrature")
    assert abs(float(found.value - exact.value)) <= float(found.error) + 1e-6


def test_a_denoiser_must_return_a_mixture_of_the_right_shape() -> None:
    class Bad(Denoiser):
        def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
            return presets.line(2)

    line, chain = presets.line(2), Schedule.cosine(3)
    with pytest.raises(TypeError, match="batch_shape"):
        local_error(line, chain, Bad(), 2)
    with pytest.raises(TypeError, match="must define x0"):
        local_error(line, chain, Denoiser(), 2)
    with pytest.raises(TypeError, match="Denoiser"):
        local_error(line, chain, "full", 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 128"):
        local_error(line, chain, ExactPosterior(line), 2, samples=5, method="sampling")
    with pytest.raises(ValueError, match="d <= 2"):
        cube = presets.random(2, 3)
        local_error(cube, chain, ExactPosterior(cube), 2, method="quadrature")


@pytest.mark.parametrize(
    ("stds", "family"),
    [((0.1, 1000.0), "full"), ((0.1, 1000.0), "isotropic"), ((1e-12, 1e6), "full")],
)
def test_very_unequal_scales_on_the_line(stds, family):
    """A narrow component under a wide one must not fall between the nodes."""
    q = GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [s**2 for s in stds])
    chain, model = Schedule.cosine(10), BestGaussian(q, family)
    for t in (2, 3, 6):
        exact = best_gaussian_errors(q, chain, family)[t]
        found = local_error(q, chain, model, t)
        assert abs(float(found.value - exact.value)) <= float(found.error + exact.error)
        parts = split(q, chain, model, t).total
        assert abs(float(parts.value - exact.value)) <= float(parts.error + exact.error)


def test_very_unequal_scales_in_the_plane_are_sampled():
    q = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], [0.0025, 1.0])
    chain, model = Schedule.cosine(100), BestGaussian(q, "isotropic")
    parts = split(q, chain, model, 2)
    assert parts.covariance.method == "sampling"
    exact = best_gaussian_errors(q, chain, "isotropic")[2]
    assert abs(float(parts.total.value - exact.value)) <= 4 * float(parts.total.error + exact.error)
    with pytest.raises(ValueError, match="components of similar size"):
        local_error(q, chain, model, 2, method="quadrature")


def test_a_denoiser_of_another_dimension_is_named():
    with pytest.raises(ValueError, match="must have the same dimension; received d = 1 and d = 2"):
        local_error(presets.ring(3), Schedule.cosine(3), BestGaussian(presets.line(2), "full"), 2)
