"""Nats for an image and forecasts, each against an independent route."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from smdtheory import Schedule, presets
from smdtheory.estimate import Estimate
from smdtheory.images.evaluate import carried
from smdtheory.images.forecast import FAMILY_OF, LevelGaussian, agreement, compared, forecast_sum
from smdtheory.images.likelihood import bits_per_dimension, code_length
from smdtheory.images.pictures import grid
from smdtheory.images.summary import gains
from smdtheory.measure import best_gaussian_errors, prior_gap
from smdtheory.models import SoftMixture
from smdtheory.models.oracle import BestGaussian, ExactPosterior
from smdtheory.truth.information import mmse

RING = presets.ring(4)


@pytest.fixture(scope="module")
def draws():
    return RING.sample(8192, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def entropy(draws):
    """h(q_0) and its standard error; the same draws, so that much of the error is shared."""
    values = -RING.log_prob(draws)
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


@pytest.mark.parametrize("steps", [1, 2, 10, 32, 100])
@pytest.mark.parametrize("family", [None, "fixed_small", "isotropic", "diagonal", "full"])
def test_nats_are_the_entropy_and_the_local_errors(draws, entropy, family, steps):
    chain = Schedule.cosine(steps)
    denoiser = ExactPosterior(RING) if family is None else BestGaussian(RING, family)
    found = code_length(denoiser, chain, draws, generator=torch.Generator().manual_seed(steps))
    errors = 0.0 if family is None else float(best_gaussian_errors(RING, chain, family).sum())
    expected = entropy[0] + errors + float(prior_gap(RING, chain))
    assert abs(float(found) - expected) < 6 * math.hypot(float(found.error), entropy[1])
    assert float(found.error) < 0.1


def test_bits_of_grey_levels():
    nats = Estimate(torch.tensor(64 * math.log(2)), torch.tensor(0.0), "closed form")
    assert float(bits_per_dimension(nats, 64, None)) == pytest.approx(1)
    assert float(bits_per_dimension(nats, 64, 1 / 8)) == pytest.approx(4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": torch.zeros(4, 2)}, ValueError, "N >= 8"),
        ({"images": torch.zeros(16, 3)}, ValueError, "denoiser must have the dimension .* d = 3"),
        ({"images": torch.zeros(16, 2), "schedule": "cosine"}, TypeError, "schedule"),
    ],
)
def test_bad_input_is_refused(arguments, error, message):
    given = {"denoiser": ExactPosterior(RING), "schedule": Schedule.cosine(2), **arguments}
    with pytest.raises(error, match=message):
        code_length(**given)


@pytest.mark.parametrize("family", sorted(set(FAMILY_OF.values())))
@pytest.mark.parametrize("steps", [1, 5, 50])
def test_forecasts_are_the_best_of_each_family(family, steps):
    q, chain = presets.ring(8), Schedule.cosine(steps)
    found = forecast_sum(q, chain, family, samples=8192)
    known = float(best_gaussian_errors(q, chain, family).sum())
    assert abs(float(found) - known) < 5 * float(found.error) + 0.02 * known


def test_one_variance_for_each_level():
    q, snr = presets.ring(8), torch.tensor([0.01, 1.0, 30.0, 1e4], dtype=torch.float64)
    denoiser = LevelGaussian(q, draws=4096)
    for gamma in snr:
        law = denoiser(torch.zeros(1, 2).double(), gamma, torch.inf)
        known = float(mmse(q, gamma.reshape(1)).value) / 2
        assert float(law.variance[0, 0]) == pytest.approx(known, rel=0.1)


def test_gains_are_set_side_by_side():
    rows = pd.DataFrame({
        "arm": ["gaussian", "gaussian", "diagonal", "soft_energy", "soft_energy"], "repeat": 0,
        "steps": [3, 10, 10, 3, 10], "nats": [9.0, 5.0, 4.0, 6.0, 4.5], "nats_error": 0.3,
    })  # fmt: skip
    gained = gains(rows, ["nats"], list(FAMILY_OF))
    one = torch.ones((), dtype=torch.float64)
    sums = {
        key: Estimate(value * one, 0.1 * one, "sampling")
        for key, value in {
            ("isotropic", 3): 2.0,
            ("isotropic", 10): 1.0,
            ("diagonal", 10): 0.2,
        }.items()
    }
    found = compared(gained, sums)
    assert found["measured"].tolist() == [3.0, 0.5, -0.5]
    assert found["measured_error"].tolist() == pytest.approx([0.6 * math.sqrt(2)] * 3)
    assert agreement(found) == (1.0, 2, 3)
    with pytest.raises(ValueError, match="received those on nothing"):
        compared(gained[:0], sums)
    with pytest.raises(ValueError, match="three gains"):
        agreement(found[:2])


def test_a_latent_that_is_ignored_carries_nothing():
    x_0 = RING.sample(64, generator=torch.Generator().manual_seed(0))
    soft, gamma = SoftMixture(2, width=16, layers=1), torch.tensor(1.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    assert float(carried(soft, x_0, gamma, generator)) > 0
    for parameter in (*soft.hypernetwork.parameters(), *soft.latent.parameters()):
        torch.nn.init.zeros_(parameter)
    assert float(carried(soft, x_0, gamma, generator)) < 1e-12


def test_draws_of_the_posterior_carry_all_of_its_variance(monkeypatch):
    # of N(0, I) the residual is N(0, I) at every x_t, and so is η
    soft, generator = SoftMixture(2, width=16, layers=1), torch.Generator().manual_seed(0)
    monkeypatch.setattr(soft, "draw", lambda units, eta: eta)
    x_0 = torch.randn(16_384, 2, generator=generator, dtype=torch.float64)
    found = carried(soft, x_0, torch.tensor(2.0, dtype=torch.float64), generator)
    assert abs(float(found) - 1) < 5 * float(found.error) < 0.1


def test_a_grid_of_images():
    x = torch.full((3, 4), -1.0)
    x[1] = 5.0  # brighter than white is white
    page = grid(x, (1, 2, 2), columns=2)
    assert page.shape == (66, 66, 1)
    assert page[1:33, 1:33].max() == 0
    assert page[1:33, 34:66].min() == 255
    assert page[34:66, 34:66].min() == 255  # no image there
