"""The lower confidence bound: false alarms, coverage, and power."""

import numpy as np
import pytest
import torch
from chains import RING, seeded
from reference import line_rule, log_normal

from smdtheory import GaussianMixture
from smdtheory.measure.events import lower_confidence_bound
from smdtheory.truth import presets


def entropy_rule(q, p):
    """KL(q ‖ p) of mixtures on the line, by the reference rule."""
    stds = q.spectral.diagonals()[:, 0].sqrt()
    x, weight = line_rule(q.means[:, 0].tolist(), stds.tolist())

    def density(law):
        parts = zip(law.means[:, 0].numpy(), law.spectral.diagonals()[:, 0].numpy(), strict=True)
        logs = [log_normal(x, m, v) for m, v in parts]
        return np.exp(np.array(logs)).T @ law.weights.numpy()

    return float(weight @ (density(q) * np.log(density(q) / density(p))))


@pytest.mark.parametrize("sizes", [(1600, 400), (400, 6400)])
def test_the_same_law_is_not_told_from_itself(sizes):
    """One false alarm in a hundred is what 99 % allows; an event chosen on the same draws that it
    is judged by gives far more."""
    alarms = 0
    for seed in range(100):
        draws = seeded(seed)
        x, y = (RING.sample(size, generator=draws) for size in sizes)
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
