"""What the property tests draw: unconstrained numbers, mapped into the constraint.

Weights are a softmax, covariances Q Λ Qᵀ with Q the exponential of an antisymmetric matrix,
signal-to-noise ratios exponentials. Bounded strategies stay where quadrature reaches its full
accuracy in any d, so that a failure is a wrong formula; hostile ones cover all scales at which the
library promises the right number or a clear error.
"""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from smdtheory import GaussianMixture, Schedule

LOG_STD = (-1.8, 0.45)  # variances within a factor of 100: d = 2 is done by quadrature, not sampled
LOG_SNR = (-4.0, 5.0)
LOG_LOG_RATIO = (-4.0, 2.0)  # γ_s/γ_t from 1.02 to 1600


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Real numbers within bounds, ends included."""
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """A float64 tensor of :func:`numbers`."""
    count = math.prod(shape)
    flat = draw(st.lists(numbers(low, high), min_size=count, max_size=count))
    return torch.tensor(flat, dtype=torch.float64).reshape(shape)


@st.composite
def mixtures(
    draw: st.DrawFn,
    dim: int = 1,
    max_components: int = 4,
    min_components: int = 1,
    equal_covariances: bool = False,
) -> GaussianMixture:
    """Mixtures of bounded scale, full covariances in d > 1."""
    K = draw(st.integers(min_components, max_components))
    shapes = 1 if equal_covariances else K
    logits = draw(arrays((K,), -3.0, 3.0))
    means = draw(arrays((K, dim), -4.0, 4.0))
    variances = torch.exp(2 * draw(arrays((shapes, dim), *LOG_STD))).expand(K, dim)
    if dim == 1:
        covariances = variances
    else:
        generators = draw(arrays((shapes, dim, dim), -math.pi, math.pi))
        rotation = torch.linalg.matrix_exp(generators - generators.mT).expand(K, dim, dim)
        product = torch.einsum("kir,kr,kjr->kij", rotation, variances, rotation)
        covariances = (product + product.mT) / 2
    return GaussianMixture(torch.softmax(logits, 0), means, covariances)


@st.composite
def hostile_mixtures(draw: st.DrawFn, dim: int = 1, max_components: int = 3) -> GaussianMixture:
    """Separations from 1e-6 to 1e8 and standard deviations from 1e-12 to 1e6, along the axes."""
    K = draw(st.integers(1, max_components))
    logits = draw(arrays((K,), -30.0, 30.0))
    sign = 2 * torch.tensor(
        draw(st.lists(st.integers(0, 1), min_size=K * dim, max_size=K * dim)), dtype=torch.float64
    )
    means = (sign - 1).reshape(K, dim) * 10 ** draw(arrays((K, dim), -6.0, 8.0))
    variances = 10 ** (2 * draw(arrays((K, dim), -12.0, 6.0)))
    return GaussianMixture(torch.softmax(logits, 0), means, variances)


@st.composite
def snr_pairs(draw: st.DrawFn, last: bool = False) -> tuple[float, float]:
    """(γ_t, γ_s) with γ_t < γ_s; with ``last``, γ_s is infinite now and then."""
    gamma_t = math.exp(draw(numbers(*LOG_SNR)))
    if last and draw(st.integers(0, 3)) == 0:
        return gamma_t, math.inf
    return gamma_t, gamma_t * math.exp(math.exp(draw(numbers(*LOG_LOG_RATIO))))


@st.composite
def hostile_snr_pairs(draw: st.DrawFn) -> tuple[float, float]:
    """(γ_t, γ_s) from 1e-12 to 1e24, steps from a relative 1e-9 up, or to infinity."""
    gamma_t = 10 ** draw(numbers(-12.0, 12.0))
    if draw(st.integers(0, 3)) == 0:
        return gamma_t, math.inf
    return gamma_t, gamma_t * (1 + 10 ** draw(numbers(-9.0, 12.0)))


@st.composite
def schedules(draw: st.DrawFn, max_steps: int = 4) -> Schedule:
    """Chains of up to ``max_steps`` steps, each as in :func:`snr_pairs`."""
    gamma = math.exp(draw(numbers(*LOG_SNR)))
    snr = [gamma]
    for log_ratio in draw(st.lists(numbers(*LOG_LOG_RATIO), max_size=max_steps - 1)):
        snr.append(snr[-1] * math.exp(-math.exp(log_ratio)))
    return Schedule.from_snr(snr)
