r"""The local error M_t of any denoiser, and its split into three parts (docs/theory.md §5).

M_t = E_{x_t ~ q} KL(q(x_s|x_t) ‖ p(x_s|x_t)). By sampling, with ρ = p/q, it is (§9.1)

    E_q[−log ρ + (ρ − 1) 1{ρ <= e}] + P_p(ρ > e) − P_q(ρ > e),

because ρ − 1 has mean 0 under q and E_q[ρ 1{ρ > e}] = P_p(ρ > e). Where p is close to q this is
the mean of ρ − 1 − log ρ, whose terms are small and not negative; and where p reaches far beyond q
no term is heavy-tailed, since what q never visits is counted by draws of p.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from smdtheory.checks import instance, integer, shown
from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.measure.ladder import best_gaussian_errors
from smdtheory.models.denoiser import Denoiser, model_law
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.truth import rules
from smdtheory.truth.curves import curves_of
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import marginal_at, posterior_at

MIN_SAMPLES = 16 * rules.SCRAMBLES
"""Fewest draws that give a standard error worth the name."""

MAX_SAMPLES = 2**24
"""Most draws of one call: they are held in memory together."""

MAX_LOG_RATIO = 1.0
"""Draws of q with log p/q above this are counted by draws of p instead."""

NESTED_ELEMENTS = 2**22
"""Pairs (x_t, x_s) times components in one block of nested quadrature."""


def local_error(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    t: int,
    s: int | None = None,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
    method: Literal["auto", "quadrature", "sampling"] = "auto",
) -> Estimate:
    """M of one step t → s, for any denoiser.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t).
        t: 1..T.
        s: 0..t−1; t − 1 by default.
        samples: pairs (x_s, x_t) in all, where sampled. What happens with a probability far below
            1/samples is not seen, nor is it in the standard error.
        generator: source of randomness; torch's global one if absent.
        method: "quadrature" nests two rules (d <= 2); "sampling" draws scrambled Sobol points;
            "auto" is quadrature for d = 1 and sampling otherwise.

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: if t or s is not an integer, or the arguments are of the wrong kind.
        ValueError: for steps out of range, too few samples, or quadrature with d > 2.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> q = presets.line(3)
        >>> abs(float(local_error(q, Schedule.cosine(5), ExactPosterior(q), 3))) < 1e-12
        True
    """
    t, s = check_schedule(schedule).check_step(t, s)
    check_pair(mixture, denoiser)
    step = _Step(mixture, denoiser, schedule.snr[t], schedule.snr[s])
    if not isinstance(method, str) or method not in ("auto", "quadrature", "sampling"):
        raise ValueError(f"method must be auto, quadrature or sampling; received {shown(method)}")
    if method == "quadrature" or (method == "auto" and mixture.dim == 1):
        if mixture.dim > 2:
            raise ValueError(
                f"nested quadrature is for d <= 2; received d = {mixture.dim}. Use sampling."
            )
        return _expectation(step.q_t, step.divergence)
    return step.sampled(_samples(samples), seed_from(generator))


def local_errors(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
) -> Estimate:
    """M_t for t = 1..T, by sampling; the steps share draws, so that sums get an honest error.

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t).
        samples: pairs (x_s, x_t) for each step.
        generator: source of randomness; torch's global one if absent.

    Returns:
        Shape (T+1,), in nats, indexed by t, with entry 0 equal to 0.

    Raises:
        TypeError: if the arguments are of the wrong kind.
        ValueError: for too few samples.

    Example:
        >>> from smdtheory.models.oracle import TruncatedMixture
        >>> from smdtheory.truth import presets
        >>> q = presets.ring(4)
        >>> local_errors(q, Schedule.cosine(3), TruncatedMixture(q, 2), samples=256).value.shape
        torch.Size([4])
    """
    check_pair(mixture, denoiser)
    count, seed = _samples(samples), seed_from(generator)
    snr = check_schedule(schedule).snr
    steps = [
        _Step(mixture, denoiser, snr[t], snr[t - 1]).sampled(count, seed).replicates
        for t in range(1, schedule.steps + 1)
    ]
    found = [step for step in steps if step is not None]
    start = torch.zeros_like(found[0])
    return Estimate.from_replicates(torch.stack([start, *found], -1))


@dataclass(frozen=True)
class Split:
    """The three parts of a Gaussian denoiser's error, which add up to it exactly (§5.7).

    Attributes:
        non_gaussianity: E KL(q ‖ N(μ_q, Σ_q)): what no Gaussian can remove.
        covariance: what the covariance's misfit adds.
        mean: what the error of the mean adds.
    """

    non_gaussianity: Estimate
    covariance: Estimate
    mean: Estimate

    @property
    def total(self) -> Estimate:
        """M, the sum of the three."""
        return self.non_gaussianity + self.covariance + self.mean


def split(
    mixture: GaussianMixture,
    schedule: Schedule,
    denoiser: Denoiser,
    t: int,
    s: int | None = None,
    *,
    samples: int = 8192,
    generator: torch.Generator | None = None,
) -> Split:
    """Non-Gaussianity, covariance misfit and mean error of a Gaussian denoiser (§5.7).

    Args:
        mixture: q(x_0).
        schedule: the forward chain.
        denoiser: p(x_s | x_t), with one component.
        t: 1..T.
        s: 0..t−1; t − 1 by default.
        samples: draws of x_t in all, where sampled (d >= 3).
        generator: source of randomness; torch's global one if absent.

    Raises:
        TypeError: if t or s is not an integer, or the arguments are of the wrong kind.
        ValueError: for steps out of range, or a denoiser that is not Gaussian.

    Example:
        >>> from smdtheory.models.oracle import BestGaussian
        >>> from smdtheory.truth import presets
        >>> q = presets.line(3)
        >>> parts = split(q, Schedule.cosine(5), BestGaussian(q, "isotropic"), 3)
        >>> abs(float(parts.mean)) < 1e-12
        True
    """
    t, s = check_schedule(schedule).check_step(t, s)
    check_pair(mixture, denoiser)
    step = _Step(mixture, denoiser, schedule.snr[t], schedule.snr[s])
    levels = schedule.snr[[t]] if s == 0 else schedule.snr[[s, t]]
    floor = best_gaussian_errors(mixture, Schedule.from_snr(levels), "full")[-1]
    seed = seed_from(generator)
    parts = [
        _expectation(step.q_t, part, count=_samples(samples), seed=seed)
        for part in (step.covariance_misfit, step.mean_error)
    ]
    return Split(floor, *parts)


class _Step:
    """One backward step of q and of p."""

    def __init__(
        self, mixture: GaussianMixture, denoiser: Denoiser, snr_t: Tensor, snr_s: Tensor
    ) -> None:
        self.mixture, self.dim = mixture.to("cpu", torch.float64), mixture.dim
        self.denoiser, self.snr_t, self.snr_s = denoiser, snr_t, snr_s
        self.q_t = marginal_at(self.mixture, snr_t)

    def truth(self, x_t: Tensor) -> GaussianMixture:
        return posterior_at(self.mixture, x_t, self.snr_t, self.snr_s)

    def model(self, x_t: Tensor) -> GaussianMixture:
        return model_law(self.denoiser, x_t, self.snr_t, self.snr_s).to("cpu", torch.float64)

    def sampled(self, count: int, seed: int) -> Estimate:
        """M from ``count`` scrambled Sobol draws of (x_s, x_t) for each replicate."""
        draws = rules.sobol_normals(2 * self.dim + 1, count, seed)
        u = draws.reshape(-1, draws.shape[-1])
        x_s = _transport(marginal_at(self.mixture, self.snr_s), u[:, 0], u[:, 1 : 1 + self.dim])
        slope, noise = _forward(self.snr_t, self.snr_s)
        x_t = slope * x_s + noise * u[:, 1 + self.dim :]
        generator = torch.Generator().manual_seed(seed)
        rows = max(1, NESTED_ELEMENTS // (self.mixture.num_components * self.dim))
        terms = [
            self._terms(*pair, generator)
            for pair in zip(torch.split(x_t, rows), torch.split(x_s, rows), strict=True)
        ]
        return Estimate.from_replicates(torch.cat(terms).reshape(len(draws), -1).mean(-1))

    def _terms(self, x_t: Tensor, x_s: Tensor, generator: torch.Generator) -> Tensor:
        """Terms whose mean is M, one for each draw (x_t, x_s) of q and one more of p."""
        truth, model = self.truth(x_t), self.model(x_t)
        log_ratio = model.log_prob(x_s) - truth.log_prob(x_s)
        near = log_ratio <= MAX_LOG_RATIO
        surplus = torch.where(near, torch.expm1(log_ratio.clamp(max=MAX_LOG_RATIO)), -1.0)
        x_p = model.sample(generator=generator)
        beyond = model.log_prob(x_p) - truth.log_prob(x_p) > MAX_LOG_RATIO
        return surplus - log_ratio + beyond.double()

    def divergence(self, x_t: Tensor, coarse: bool) -> Tensor:
        """KL(q(·|x_t) ‖ p(·|x_t)) at each x_t (N, d), by a rule in x_s."""
        u, weight = _rule(self.mixture.dim, coarse)
        K, d = self.mixture.num_components, self.mixture.dim
        values = []
        for block in torch.split(x_t, max(1, NESTED_ELEMENTS // (len(u) * K * K))):
            truth, model = self.truth(block), self.model(block)
            total = torch.zeros(len(block), dtype=torch.float64)
            for k in range(K):
                one = truth.component(k)
                step = one.spectral.apply(torch.sqrt, u[:, None, None, :])
                x_s = (one.means + step).reshape(len(u), len(block), d)
                gap = truth.log_prob(x_s) - model.log_prob(x_s)
                total = total + truth.weights[:, k] * (weight @ gap)
            values.append(total)
        return torch.cat(values)

    def covariance_misfit(self, x_t: Tensor, coarse: bool = False) -> Tensor:
        """½ [tr(Σ_p⁻¹ Σ_q) − d + log det Σ_p − log det Σ_q] at each x_t (N, d)."""
        truth, model = self._gaussians(x_t)
        matrix = truth.covariance_matrix
        columns = model.spectral.apply(torch.reciprocal, matrix.mT)
        ratio = columns.diagonal(dim1=-2, dim2=-1).sum(-1)
        log_det: Tensor = model.spectral.log_det().squeeze(-1) - torch.logdet(matrix)
        return 0.5 * (ratio - self.mixture.dim + log_det)

    def mean_error(self, x_t: Tensor, coarse: bool = False) -> Tensor:
        """½ (μ_q − μ_p)ᵀ Σ_p⁻¹ (μ_q − μ_p) at each x_t (N, d)."""
        truth, model = self._gaussians(x_t)
        gap = truth.mean.unsqueeze(-2) - model.means
        square: Tensor = model.spectral.mahalanobis(gap).squeeze(-1)
        return 0.5 * square

    def _gaussians(self, x_t: Tensor) -> tuple[GaussianMixture, GaussianMixture]:
        truth, model = self.truth(x_t), self.model(x_t)
        if model.num_components != 1:
            raise ValueError(
                "the split is for Gaussian denoisers, with one component; received "
                f"{model.num_components} components. Use local_error."
            )
        return truth, model


def _transport(mixture: GaussianMixture, label: Tensor, u: Tensor) -> Tensor:
    """Points of a mixture from a normal score for the component (n,) and normals (n, d)."""
    edges = torch.cumsum(mixture.weights, 0)[:-1]
    index = torch.searchsorted(edges, torch.special.ndtr(label))
    x = torch.empty_like(u)
    for k in range(mixture.num_components):
        rows = index == k
        one = mixture.component(k)
        step = one.spectral.apply(torch.sqrt, u[rows].unsqueeze(-2)).squeeze(-2)
        x[rows] = one.means + step
    return x


def _forward(snr_t: Tensor, snr_s: Tensor) -> tuple[Tensor, Tensor]:
    """√α_{t|s} and √β_{t|s} of x_t = √α x_s + √β ε."""
    removed = torch.where(torch.isinf(snr_s), 1.0, (snr_s - snr_t) / snr_s)
    beta = removed / (1 + snr_t)
    alpha = snr_t / (1 + snr_t) * (1 + 1 / snr_s)
    return alpha.sqrt(), beta.sqrt()


def _rule(dim: int, coarse: bool) -> tuple[Tensor, Tensor]:
    """Points u (n, d) and weights (n,) of a rule for the standard normal, d <= 2."""
    if dim == 2:
        return rules.lattice(0.56 if coarse else 0.4, 1.0 if coarse else 0.0)
    empty = torch.zeros(0, dtype=torch.float64)
    u, weight = rules.panel_nodes(rules.graded_edges(empty, empty), 5 if coarse else 8)
    return u.unsqueeze(-1), rules.normal_weights(u.unsqueeze(-1), weight)


def _expectation(
    q_t: GaussianMixture,
    function: Callable[[Tensor, bool], Tensor],
    *,
    count: int = 1024,
    seed: int = 0,
) -> Estimate:
    """E f(x_t): by a rule and a coarser one for the error (d <= 2), by Sobol draws otherwise."""
    if q_t.dim > 2:
        draws = rules.sobol_normals(q_t.dim + 1, count, seed)
        points = [_transport(q_t, u[:, 0], u[:, 1:]) for u in draws]
        return Estimate.from_replicates(torch.stack([function(x, False).mean() for x in points]))
    results = []
    for coarse in (False, True):
        u, weight = _rule(q_t.dim, coarse)
        total = torch.zeros((), dtype=torch.float64)
        for k in range(q_t.num_components):
            one = q_t.component(k)
            x = one.means + one.spectral.apply(torch.sqrt, u.unsqueeze(-2)).squeeze(-2)
            total = total + q_t.weights[k] * (weight * function(x, coarse)).sum()
        results.append(total)
    fine, rough = results
    return Estimate(fine, (fine - rough).abs() + ROUNDING * (1 + fine.abs()), "quadrature")


def check_pair(mixture: Any, denoiser: Any) -> None:
    """Refuse what is not a single mixture and a denoiser.

    Raises:
        TypeError: if either is of the wrong kind.
        ValueError: if the mixture has batch dimensions.
    """
    curves_of(mixture)
    if not isinstance(denoiser, Denoiser):
        raise TypeError(
            f"denoiser must be a smdtheory.models.Denoiser; received {type(denoiser).__name__}. "
            "Subclass it and define x0(x_t, snr_t)."
        )


def checked_samples(samples: Any) -> int:
    """A number of draws.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is below :data:`MIN_SAMPLES` or above :data:`MAX_SAMPLES`.
    """
    count = integer("samples", samples, low=MIN_SAMPLES)
    if count > MAX_SAMPLES:
        raise ValueError(
            f"samples must be at most {MAX_SAMPLES}, to fit in memory; received {count}. "
            "Average several calls with generators of different seeds."
        )
    return count


def _samples(samples: Any) -> int:
    """Draws for each replicate."""
    return checked_samples(samples) // rules.SCRAMBLES


def seed_from(generator: torch.Generator | None) -> int:
    """A seed for draws that are made more than once.

    Raises:
        TypeError: if ``generator`` is none.
    """
    if generator is not None:
        instance(
            "generator", generator, torch.Generator, "torch.Generator().manual_seed(0) makes one."
        )
    return int(torch.randint(2**31 - 100, (), generator=generator))
