"""Sliders on one step: what they show is what the library says, and they move it."""

import sys

import pytest
import torch

from smdtheory import Schedule, presets
from smdtheory.explore import (
    DRAWS,
    FAMILIES,
    MODES,
    SEPARATION,
    SOFT,
    STD,
    STEPS,
    explore,
    view,
)
from smdtheory.measure import best_gaussian_errors, local_error
from smdtheory.models.oracle import BestGaussian, ExactPosterior, SampledSoftMixture
from smdtheory.plots.live import LiveStep
from smdtheory.schedule import bridge


@pytest.mark.parametrize(("modes", "steps", "t"), [(2, 10, 1), (3, 10, 4), (1, 50, 20)])
def test_errors_are_those_of_the_whole_chain(modes, steps, t):
    q, chain = presets.line(modes), Schedule.cosine(steps)
    seen = view(2.0, 0.25, modes, steps, t)
    for family in FAMILIES:
        whole = best_gaussian_errors(q, chain, family)[t]
        value, bar = seen.errors[family]
        assert value == pytest.approx(float(whole.value), abs=bar + float(whole.error))


def test_densities_are_those_of_the_denoisers():
    q, chain = presets.line(3), Schedule.cosine(10)
    seen = view(2.0, 0.25, 3, 10, 4)
    x_t = chain.alphas_bar[4].sqrt().reshape(1)  # midway between the modes at 0 and 2
    for family in FAMILIES:
        law = BestGaussian(q, family)(x_t, chain.snr[4], chain.snr[3])
        expected = law.log_prob(seen.x.unsqueeze(-1)).exp()
        assert torch.allclose(seen.densities[family], expected, rtol=1e-6)
    width = seen.x[1] - seen.x[0]
    assert float(seen.posterior.sum() * width) == pytest.approx(1, abs=1e-3)


def test_sampled_soft_mixture_comes_to_the_posterior():
    q, chain = presets.ring(3), Schedule.cosine(10)
    x_t = torch.tensor([[0.3, -0.2], [0.0, 0.0]], dtype=torch.float64)
    exact = ExactPosterior(q)(x_t, chain.snr[5], chain.snr[4])
    many = SampledSoftMixture(q, 4096)(x_t, chain.snr[5], chain.snr[4])
    assert torch.allclose(many.mean, exact.mean, atol=0.01)
    assert torch.allclose(many.covariance_matrix, exact.covariance_matrix, atol=0.01)
    generator = torch.Generator().manual_seed(0)
    few, more = (
        float(local_error(q, chain, SampledSoftMixture(q, R), 5, samples=512, generator=generator))
        for R in (4, 256)
    )
    assert more < 0.2 * few


def test_sampled_soft_mixture_has_the_kernel_of_the_chain():
    model, chain = SampledSoftMixture(presets.line(2), 8), Schedule.cosine(5)
    for t, s in ((3, 2), (1, 0)):
        law = model(torch.zeros(1, 1), chain.snr[t], chain.snr[s])
        step = bridge(chain.snr[t], chain.snr[s])
        wanted = step.variance if s else step.beta
        assert torch.allclose(law.spectral.residual, wanted.expand(1, 8))


def test_sliders_move_the_picture():
    box = explore(modes=2, steps=10, t=5)
    sliders = {slider.description: slider for slider in box.children[0].children}
    picture = box.children[1]
    assert picture.value[1:4] == b"PNG"
    for name, value in (("separation", 3.0), ("std", 0.5), ("modes", 3), ("T", 20), ("t", 2)):
        before = picture.value
        sliders[name].value = value
        assert picture.value != before, name


def test_t_keeps_its_place_in_the_chain():
    box = explore(steps=10, t=5)
    sliders = {slider.description: slider for slider in box.children[0].children}
    for T in (100, 1, 1000):
        sliders["T"].value = T
        assert sliders["t"].max == T
        assert 1 <= sliders["t"].value <= T
    assert STEPS[-1] == 1000


def test_the_picture_refuses_what_does_not_fit():
    seen = view(2.0, 0.25, 2, 10, 3)
    with pytest.raises(ValueError, match="must be those of full; received"):
        LiveStep(["full"]).draw(seen.x, seen.posterior, seen.densities, seen.errors, "")
    assert seen.errors[SOFT][1] > 0
    assert DRAWS >= 128


def test_without_ipywidgets_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match="explore needs ipywidgets, which comes with Jupyter"):
        explore()


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"steps": 7}, "steps must be one of 1, 2, 3"),
        ({"separation": 10}, "separation must be within 0.1 and 6, .*; received 10. .* view"),
        ({"separation": 0.05}, "separation must be within"),
        ({"std": 2}, "std must be within 0.01 and 1, .*; received 2"),
        ({"std": 1e-3}, "std must be within"),
        ({"modes": 8}, "modes must be a whole number from 1 to 6; received 8"),
        ({"t": 11}, "t must lie in 1..10"),
    ],
)
def test_a_start_that_no_slider_has_is_refused(start, said):
    with pytest.raises(ValueError, match=said):
        explore(**start)


@pytest.mark.parametrize(
    ("separation", "std", "modes"), list(zip(SEPARATION, STD, MODES, strict=True))
)
def test_sliders_start_where_they_are_told(separation, std, modes):
    box = explore(separation=separation, std=std, modes=modes, steps=2, t=2)
    found = [slider.value for slider in box.children[0].children]
    assert found == pytest.approx([separation, std, modes, 2, 2])
