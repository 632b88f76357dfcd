"""Learned denoisers by name: what each is, and that training one is repeatable."""

import math
import os
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch

from smdtheory import GaussianMixture, presets
from smdtheory.families import FAMILIES, FLOORS, LEARNED
from smdtheory.models import recipes
from smdtheory.models.fit import fit
from smdtheory.models.learned import LEVELS
from smdtheory.models.objectives import mse
from smdtheory.models.recipes import RECIPES, TRAINED, parameters_of, train, untrained
from smdtheory.models.residual import calibrate
from smdtheory.models.soft_mixture import SoftMixture
from smdtheory.models.training import Training

RING = presets.ring(4)


@pytest.fixture(autouse=True)
def _seconds_instead_of_minutes(monkeypatch):
    """Fewer latents and samples where the residual variance is fitted; all else is as it is."""
    monkeypatch.setattr(recipes, "SoftMixture", partial(SoftMixture, latents=16))
    monkeypatch.setattr(recipes, "calibrate", partial(calibrate, samples=1024))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether all parameters and buffers agree to the last bit."""
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def short(name: str, **changes):
    return train(name, RING, steps=4, progress=False, **changes)


def test_the_recipes_are_those_that_are_named():
    assert tuple(RECIPES) == LEARNED
    assert LEVELS[0] <= TRAINED[0] < TRAINED[1] <= LEVELS[1]
    for name, recipe in RECIPES.items():
        assert FLOORS[name] is None or FLOORS[name] in FAMILIES
        assert recipe.short < recipe.long


@pytest.mark.parametrize("name", LEARNED)
def test_a_seed_decides_the_initial_parameters_and_nothing_else_changes(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = untrained(name, RING, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(first, untrained(name, RING, seed=1))
    assert not same(first, untrained(name, RING, seed=2))


@pytest.mark.parametrize("name", LEARNED)
def test_every_recipe_trains_and_leaves_the_world_as_it_was(name):
    before = torch.get_rng_state()
    run = short(name)
    assert torch.equal(torch.get_rng_state(), before)
    assert run.steps == len(run.losses) == (4 if RECIPES[name].opening is None else 8)
    assert bool(torch.isfinite(run.losses).all())
    curve = getattr(run.denoiser, "residual", None)
    assert RECIPES[name].calibrated == (curve is not None)
    if curve is not None:  # training moves it by a thousandth at most: the fit does the rest
        assert float(curve.log_values.detach().abs().max()) > 0.1
    law = run.denoiser(torch.zeros(3, 2), 1.0, 2.0)
    assert bool(torch.isfinite(law.log_prob(torch.zeros(3, 2))).all())


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_the_wide_gaussian_has_as_many_parameters_as_the_soft_mixture(dim):
    data = presets.random(2, dim, generator=torch.Generator().manual_seed(0))
    soft, wide = (parameters_of(untrained(name, data)) for name in ("soft_mse", "gaussian_wide"))
    assert soft <= wide < 1.02 * soft


def test_the_controls_differ_in_what_they_control():
    soft, energy, blind = (
        untrained(name, RING) for name in ("soft_mse", "soft_energy", "soft_no_noise")
    )
    assert same(soft, energy)
    assert (soft.noise, blind.noise) == (2, 0)
    assert RECIPES["gaussian"].objective is RECIPES["soft_mse"].objective is mse
    wide, gaussian = (untrained(name, RING) for name in ("gaussian_wide", "gaussian"))
    assert parameters_of(wide) > parameters_of(gaussian)


def test_what_is_not_known_is_refused_with_the_rule():
    names = "name must be one of gaussian, gaussian_full, soft_mse"
    for name in ("Gaussian", "", 3, None, ["gaussian"]):
        with pytest.raises(ValueError, match=names):
            untrained(name, RING)
        with pytest.raises(ValueError, match=names):
            train(name, RING)
    for budget in ("medium", "steps", 100, None):
        with pytest.raises(ValueError, match="budget must be 'short' or 'long'; received"):
            train("gaussian", RING, budget=budget)
    with pytest.raises(ValueError, match="seed must be"):
        untrained("gaussian", RING, seed=-1)
    with pytest.raises(TypeError, match="mixture must be"):
        untrained("gaussian", "ring")


def test_a_budget_is_a_number_of_steps_and_steps_replace_it(monkeypatch):
    monkeypatch.setitem(RECIPES, "gaussian", replace(RECIPES["gaussian"], short=2, long=3))
    taken = [
        train("gaussian", RING, progress=False, **choice).steps
        for choice in ({}, {"budget": "short"}, {"budget": "long"}, {"budget": "long", "steps": 1})
    ]
    assert taken == [2, 2, 3, 1]


@pytest.mark.parametrize("name", ["soft_energy", "finite_mixture"])
def test_training_follows_the_recipe(name, monkeypatch):
    asked = {}

    def spy(*given, **named):
        asked.update(named, objective=given[2])
        return fit(*given, **named)

    monkeypatch.setattr(recipes, "fit", spy)
    short(name, seed=7)
    recipe = RECIPES[name]
    wanted = {
        "objective": recipe.objective,
        "log_snr": (TRAINED[0] - math.log(1.01), TRAINED[1]),  # the ring's variance is 1.01
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "seed": 7,
    }
    assert asked.pop("log_snr") == pytest.approx(wanted.pop("log_snr"))
    assert {key: asked[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", ["gaussian", "soft_energy"])
def test_training_that_was_stopped_goes_on_to_the_same_bits(name, tmp_path, monkeypatch):
    whole = short(name, seed=3)
    advance = Training.advance

    def interrupted(self):
        advance(self)
        if len(self.losses) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt, match="after step 2 of 4"):
            short(name, seed=3, folder=tmp_path)
    assert list(tmp_path.iterdir())
    for _ in range(2):  # going on, and asking again for what is finished
        resumed = short(name, seed=3, folder=tmp_path)
        assert resumed.folder == tmp_path
        assert torch.equal(resumed.losses, whole.losses)
        assert same(resumed.denoiser, whole.denoiser)


@pytest.mark.parametrize("stop", [2, 6])
def test_a_recipe_with_an_opening_goes_on_wherever_it_was_stopped(stop, tmp_path, monkeypatch):
    whole = short("soft_likelihood", seed=3)
    advance, taken = Training.advance, []

    def interrupted(self):
        advance(self)
        taken.append(self)
        if len(taken) == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt, match="after step 2 of 4"):
            short("soft_likelihood", seed=3, folder=tmp_path)
    for _ in range(2):
        resumed = short("soft_likelihood", seed=3, folder=tmp_path)
        assert torch.equal(resumed.losses, whole.losses)
        assert same(resumed.denoiser, whole.denoiser)


@pytest.mark.parametrize("name", ["gaussian", "soft_energy", "finite_mixture"])
def test_where_the_data_lie_does_not_matter(name):
    """Units take the mean out. What is left is rounding, of x_0 to float32."""
    moved = GaussianMixture(RING.weights, RING.means + torch.tensor([3.0, -5.0]), 0.01)
    here, there = (train(name, q, steps=20, progress=False).losses for q in (RING, moved))
    assert torch.allclose(here, there, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_the_units_are_those_of_the_mixture(size):
    """At γ/s² data of size s look as data of size 1 do at γ, the level included."""
    q, moved = RING, GaussianMixture(RING.weights, size * RING.means + 7 * size, (0.1 * size) ** 2)
    generator = torch.Generator().manual_seed(0)
    snr = torch.logspace(-3, 3, 100, dtype=torch.float64)
    x_0 = q.sample(100, generator=generator)
    y = x_0 + torch.randn(100, 2, dtype=torch.float64, generator=generator) / snr.sqrt()[:, None]
    units, residuals = [], []
    for mixture, at, scale, shift in ((q, snr, 1.0, 0.0), (moved, snr / size**2, size, 7 * size)):
        denoiser = untrained("gaussian", mixture)
        signal = torch.rsqrt(1 + 1 / at).unsqueeze(-1)
        units.append(denoiser.units(signal * (scale * y + shift), at))
        residuals.append(units[-1].residual(scale * x_0 + shift))
    assert torch.allclose(units[0].inputs, units[1].inputs, atol=1e-5)
    assert torch.allclose(units[0].level, units[1].level, atol=1e-5)
    assert torch.allclose(residuals[0], residuals[1], atol=1e-5)
