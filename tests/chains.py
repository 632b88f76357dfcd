"""What several test files share: mixtures and chains, what is known of them by hand, helpers."""

import math

import torch

from smdtheory import GaussianMixture
from smdtheory.truth import presets

LINE = presets.line(4).standardized()
UNEQUAL = GaussianMixture([0.2, 0.5, 0.3], [[-1.5], [0.1], [1.2]], [[0.09], [0.01], [0.4]])
RING = presets.ring(8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(images):
    """The images as a set."""
    return {row.numpy().tobytes() for row in images.flatten(1)}


def one(mean, variance, dim=1):
    return GaussianMixture([1.0], [[mean] * dim], variance)


def gaussian_kl(mean, variance, other_mean, other_variance):
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - math.log(ratio) + (mean - other_mean) ** 2 / other_variance)


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
