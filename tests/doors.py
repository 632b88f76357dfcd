"""The public functions of the core, an entry for each argument: what is passed goes there.

``doors_outer`` has the rooms around the core, ``test_hostile`` passes what does not belong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as SklearnMixture

from smdtheory import GaussianMixture, Schedule, marginal, posterior, presets, theory
from smdtheory.estimate import Estimate
from smdtheory.families import check_family
from smdtheory.measure import (
    best_gaussian_errors,
    ddim_global_error,
    elbo_terms,
    energy_distance,
    error_by_latents,
    error_table,
    global_error,
    latent_share,
    local_error,
    local_errors,
    mode_coverage,
    prior_gap,
    sliced_wasserstein,
    split,
    summed_errors,
)
from smdtheory.models import ShuffledLatent, SoftMixture, WithoutLatent
from smdtheory.models.oracle import (
    BestGaussian,
    ExactPosterior,
    ExactSoftMixture,
    TruncatedMixture,
)
from smdtheory.models.recipes import train, untrained
from smdtheory.models.sample import ancestral, ddim
from smdtheory.schedule import bridge
from smdtheory.truth.information import conditional_entropy, entropy, mmse, mutual_information
from smdtheory.truth.spectral import SpectralCovariance

LINE, PLANE = presets.line(2), presets.ring(3)
CHAIN = Schedule.cosine(4)
GAUSSIAN = BestGaussian(LINE, "full")
ORACLE = ExactPosterior(PLANE)
SOFT = SoftMixture(1, latents=4, width=4, layers=1, rank=2)
ERRORS = best_gaussian_errors(LINE, CHAIN, "full")
GAP = Estimate(torch.tensor(0.1).double(), torch.tensor(0.0).double(), "quadrature")
FEW = 128  # the fewest samples that are accepted
ONES = torch.ones(2, dtype=torch.float64)
FLAT = SpectralCovariance.isotropic(ONES, 1)
POINTS = torch.linspace(-2, 2, 32, dtype=torch.float64).reshape(16, 2)

Door = Callable[[Any], Any]

# "function: argument" or "function: argument, other arguments its message may name instead"
CORE: dict[str, Door] = {
    "GaussianMixture: weights, means": lambda v: GaussianMixture(v, [[-1.0], [1.0]], 0.25),
    "GaussianMixture: means, covariances": lambda v: GaussianMixture([0.5, 0.5], v, 0.25),
    "GaussianMixture: covariances": lambda v: GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], v),
    "GaussianMixture d = 2: covariances": lambda v: GaussianMixture([1.0], [[0.0, 0.0]], v),
    "low_rank: weights, means": lambda v: low_rank(weights=v),
    "low_rank: means, factors": lambda v: low_rank(means=v),
    "low_rank: factors, covariances": lambda v: low_rank(factors=v),
    "low_rank: noise, covariances": lambda v: low_rank(noise=v),
    "from_sklearn: fitted": GaussianMixture.from_sklearn,
    "from_sklearn: weights, means, fitted": lambda v: GaussianMixture.from_sklearn(
        fitted(weights_=v)
    ),
    "from_sklearn: means, fitted": lambda v: GaussianMixture.from_sklearn(fitted(means_=v)),
    "from_sklearn: covariances": lambda v: GaussianMixture.from_sklearn(fitted(covariances_=v)),
    "from_spectral: logits": lambda v: GaussianMixture.from_spectral(v, torch.zeros(2, 1), FLAT),
    "from_spectral: means": lambda v: GaussianMixture.from_spectral(torch.zeros(2), v, FLAT),
    "from_spectral: spectral": lambda v: GaussianMixture.from_spectral(ONES, torch.zeros(2, 1), v),
    "log_prob: x": LINE.log_prob,
    "log_prob d = 2: x": PLANE.log_prob,
    "log_prob of a batch: x": PLANE.expand((2,)).log_prob,
    "score: x": LINE.score,
    "responsibilities: x": LINE.responsibilities,
    "sample: sample_shape": LINE.sample,
    "sample: generator": lambda v: LINE.sample(2, generator=v),
    "expand: batch_shape": LINE.expand,
    "to: dtype, to": LINE.to,
    "marginal: mixture": lambda v: marginal(v, CHAIN, 1),
    "marginal: schedule": lambda v: marginal(LINE, v, 1),
    "marginal: t": lambda v: marginal(LINE, CHAIN, v),
    "posterior: mixture, x_t": lambda v: posterior(v, CHAIN, [[0.0]], 1),
    "posterior: schedule": lambda v: posterior(LINE, v, [[0.0]], 1),
    "posterior: x_t": lambda v: posterior(LINE, CHAIN, v, 1),
    "posterior: t": lambda v: posterior(LINE, CHAIN, [[0.0]], v),
    "posterior: s": lambda v: posterior(LINE, CHAIN, [[0.0]], 4, v),
    "ring: modes": presets.ring,
    "ring: radius": lambda v: presets.ring(3, radius=v),
    "ring: std": lambda v: presets.ring(3, std=v),
    "grid: side": presets.grid,
    "grid: spacing, means": lambda v: presets.grid(3, spacing=v),
    "line: modes": presets.line,
    "line: separation, means": lambda v: presets.line(3, separation=v),
    "random: modes": lambda v: presets.random(v, 2),
    "random: dim": lambda v: presets.random(2, v),
    "random: std, covariances": lambda v: presets.random(2, 2, std=v),
    "random: separation, means": lambda v: presets.random(2, 2, separation=v),
    "random: generator": lambda v: presets.random(2, 2, generator=v),
    "Schedule: snr": Schedule,
    "from_snr: snr": Schedule.from_snr,
    "from_betas: beta, betas, snr": Schedule.from_betas,
    "cosine: steps": Schedule.cosine,
    "linear: steps": Schedule.linear,
    "sigmoid: steps": Schedule.sigmoid,
    "named: name": lambda v: Schedule.named(v, 3),
    "named: steps": lambda v: Schedule.named("linear", v),
    "respace: times": CHAIN.respace,
    "check_step: t": CHAIN.check_step,
    "check_step: s": lambda v: CHAIN.check_step(4, v),
    "bridge: snr_t": lambda v: bridge(v, 3.0),
    "bridge: snr_s": lambda v: bridge(1.0, v),
    "check_family: family": check_family,
    "entropy: mixture": entropy,
    "mmse: mixture": lambda v: mmse(v, [1.0]),
    "mmse: snr": lambda v: mmse(LINE, v),
    "mutual_information: mixture": lambda v: mutual_information(v, [1.0]),
    "mutual_information: snr": lambda v: mutual_information(LINE, v),
    "conditional_entropy: mixture": lambda v: conditional_entropy(v, [1.0]),
    "conditional_entropy: snr": lambda v: conditional_entropy(LINE, v),
    "ExactPosterior: mixture": ExactPosterior,
    "BestGaussian: mixture": lambda v: BestGaussian(v, "full"),
    "BestGaussian: family": lambda v: BestGaussian(LINE, v),
    "ExactSoftMixture: mixture": ExactSoftMixture,
    "ExactSoftMixture: kernel": lambda v: ExactSoftMixture(LINE, v),
    "TruncatedMixture: mixture": lambda v: TruncatedMixture(v, 1),
    "TruncatedMixture: keep": lambda v: TruncatedMixture(LINE, v),
    "TruncatedMixture: rest": lambda v: TruncatedMixture(LINE, 1, v),
    "Denoiser: x_t": lambda v: ORACLE(v, 1.0, 2.0),
    "Denoiser: snr_t, snr": lambda v: ORACLE([[0.0, 0.0]], v, 2.0),
    "Denoiser: snr_s, snr": lambda v: ORACLE([[0.0, 0.0]], 1.0, v),
    "x0: x_t": lambda v: GAUSSIAN.x0(v, torch.tensor(1.0)),
    "best_gaussian_errors: mixture": lambda v: best_gaussian_errors(v, CHAIN, "full"),
    "best_gaussian_errors: schedule": lambda v: best_gaussian_errors(LINE, v, "full"),
    "best_gaussian_errors: family": lambda v: best_gaussian_errors(LINE, CHAIN, v),
    "error_table: mixture": lambda v: above(error_table(v, CHAIN, "full")),
    "error_table: schedule": lambda v: above(error_table(LINE, v, "full")),
    "error_table: family": lambda v: above(error_table(LINE, CHAIN, v)),
    "elbo_terms: mixture": lambda v: elbo_terms(v, CHAIN, ERRORS),
    "elbo_terms: schedule, errors": lambda v: elbo_terms(LINE, v, ERRORS),
    "elbo_terms: errors": lambda v: elbo_terms(LINE, CHAIN, v),
    "local_error: mixture, x_t": lambda v: local_error(v, CHAIN, GAUSSIAN, 2),
    "local_error: schedule": lambda v: local_error(LINE, v, GAUSSIAN, 2),
    "local_error: denoiser, x_t": lambda v: local_error(LINE, CHAIN, v, 2),
    "local_error: t": lambda v: local_error(LINE, CHAIN, GAUSSIAN, v),
    "local_error: s": lambda v: local_error(LINE, CHAIN, GAUSSIAN, 3, v),
    "local_error: samples": lambda v: local_error(LINE, CHAIN, GAUSSIAN, 2, samples=v),
    "local_error: generator": lambda v: local_error(LINE, CHAIN, GAUSSIAN, 2, generator=v),
    "local_error: method": lambda v: local_error(LINE, CHAIN, GAUSSIAN, 2, method=v),
    "local_errors: mixture, x_t": lambda v: local_errors(v, CHAIN, GAUSSIAN, samples=FEW),
    "local_errors: schedule": lambda v: local_errors(LINE, v, GAUSSIAN, samples=FEW),
    "local_errors: denoiser, x_t": lambda v: local_errors(LINE, CHAIN, v, samples=FEW),
    "local_errors: samples": lambda v: local_errors(LINE, CHAIN, GAUSSIAN, samples=v),
    "local_errors: generator": lambda v: local_errors(
        LINE, CHAIN, GAUSSIAN, samples=FEW, generator=v
    ),
    "WithoutLatent: denoiser": WithoutLatent,
    "ShuffledLatent: denoiser": ShuffledLatent,
    "with_latents: latents": SOFT.with_latents,
    "with_kernel: kernel": SOFT.with_kernel,
    "summed_errors: mixture, x_t": lambda v: summed_errors(v, CHAIN, GAUSSIAN, samples=FEW),
    "summed_errors: schedule": lambda v: summed_errors(LINE, v, GAUSSIAN, samples=FEW),
    "summed_errors: denoiser, x_t": lambda v: summed_errors(LINE, CHAIN, v, samples=FEW),
    "summed_errors: samples": lambda v: summed_errors(LINE, CHAIN, GAUSSIAN, samples=v),
    "summed_errors: generator": lambda v: summed_errors(
        LINE, CHAIN, GAUSSIAN, samples=FEW, generator=v
    ),
    "untrained: name": lambda v: untrained(v, LINE),
    "untrained: mixture": lambda v: untrained("gaussian", v),
    "untrained: seed": lambda v: untrained("gaussian", LINE, seed=v),
    "train: name": lambda v: train(v, LINE, steps=1),
    "train: mixture": lambda v: train("gaussian", v, steps=1),
    "train: budget": lambda v: train("gaussian", LINE, steps=1, budget=v),
    "latent_share: mixture, x_t": lambda v: latent_share(v, CHAIN, SOFT, samples=FEW),
    "latent_share: schedule": lambda v: latent_share(LINE, v, SOFT, samples=FEW),
    "latent_share: denoiser": lambda v: latent_share(LINE, CHAIN, v, samples=FEW),
    "latent_share: samples": lambda v: latent_share(LINE, CHAIN, SOFT, samples=v),
    "latent_share: latents": lambda v: latent_share(LINE, CHAIN, SOFT, samples=FEW, latents=v),
    "latent_share: generator": lambda v: latent_share(LINE, CHAIN, SOFT, samples=FEW, generator=v),
    "error_by_latents: mixture, x_t": lambda v: by_latents(mixture=v),
    "error_by_latents: schedule": lambda v: by_latents(schedule=v),
    "error_by_latents: denoiser": lambda v: by_latents(denoiser=v),
    "error_by_latents: counts, latents": lambda v: by_latents(counts=v),
    "error_by_latents: samples": lambda v: by_latents(samples=v),
    "error_by_latents: generator": lambda v: by_latents(generator=v),
    "split: mixture, x_t": lambda v: split(v, CHAIN, GAUSSIAN, 2),
    "split: schedule": lambda v: split(LINE, v, GAUSSIAN, 2),
    "split: denoiser, x_t": lambda v: split(LINE, CHAIN, v, 2),
    "split: t": lambda v: split(LINE, CHAIN, GAUSSIAN, v),
    "split: s": lambda v: split(LINE, CHAIN, GAUSSIAN, 3, v),
    "split: samples": lambda v: split(LINE, CHAIN, GAUSSIAN, 2, samples=v),
    "global_error: mixture, x_t": lambda v: global_error(v, CHAIN, GAUSSIAN, samples=FEW),
    "global_error: schedule": lambda v: global_error(LINE, v, GAUSSIAN, samples=FEW),
    "global_error: denoiser, x_t": lambda v: global_error(LINE, CHAIN, v, samples=FEW),
    "global_error: samples": lambda v: global_error(LINE, CHAIN, GAUSSIAN, samples=v),
    "global_error: importance": lambda v: global_error(
        LINE, CHAIN, GAUSSIAN, samples=FEW, importance=v
    ),
    "global_error: level": lambda v: global_error(LINE, CHAIN, GAUSSIAN, samples=FEW, level=v),
    "global_error: exact": lambda v: global_error(LINE, CHAIN, GAUSSIAN, samples=FEW, exact=v),
    "global_error: local_errors": lambda v: global_error(
        LINE, CHAIN, GAUSSIAN, samples=FEW, local_errors=v
    ),
    "global_error: generator": lambda v: global_error(
        LINE, CHAIN, GAUSSIAN, samples=FEW, generator=v
    ),
    "prior_gap: mixture": lambda v: prior_gap(v, CHAIN),
    "prior_gap: schedule": lambda v: prior_gap(LINE, v),
    "ddim_global_error: mixture": lambda v: ddim_global_error(v, CHAIN),
    "ddim_global_error: schedule": lambda v: ddim_global_error(LINE, v),
    "ancestral: denoiser": lambda v: ancestral(v, CHAIN, 2),
    "ancestral: schedule": lambda v: ancestral(ORACLE, v, 2),
    "ancestral: count": lambda v: ancestral(ORACLE, CHAIN, v),
    "ancestral: dim": lambda v: ancestral(ORACLE, CHAIN, 2, dim=v),
    "ancestral: start, x_t, x": lambda v: ancestral(ORACLE, CHAIN, 2, start=v),
    "ancestral: generator": lambda v: ancestral(ORACLE, CHAIN, 2, generator=v),
    "ancestral: trajectory": lambda v: ancestral(ORACLE, CHAIN, 2, trajectory=v),
    "ancestral: dtype": lambda v: ancestral(ORACLE, CHAIN, 2, dtype=v),
    "ancestral: device": lambda v: ancestral(ORACLE, CHAIN, 2, device=v),
    "ancestral: batch": lambda v: ancestral(ORACLE, CHAIN, 2, batch=v),
    "ddim: denoiser": lambda v: ddim(v, CHAIN, 2),
    "ddim: schedule": lambda v: ddim(ORACLE, v, 2),
    "ddim: count": lambda v: ddim(ORACLE, CHAIN, v),
    "ddim: dim": lambda v: ddim(ORACLE, CHAIN, 2, dim=v),
    "ddim: start, x_t, x": lambda v: ddim(ORACLE, CHAIN, 2, start=v),
    "ddim: generator": lambda v: ddim(ORACLE, CHAIN, 2, generator=v),
    "ddim: trajectory": lambda v: ddim(ORACLE, CHAIN, 2, trajectory=v),
    "ddim: dtype": lambda v: ddim(ORACLE, CHAIN, 2, dtype=v),
    "ddim: device": lambda v: ddim(ORACLE, CHAIN, 2, device=v),
    "ddim: batch": lambda v: ddim(ORACLE, CHAIN, 2, batch=v),
    "energy_distance: x, y": lambda v: energy_distance(v, POINTS),
    "energy_distance: y, x": lambda v: energy_distance(POINTS, v),
    "energy_distance of points: x": lambda v: energy_distance(moved(v), POINTS),
    "sliced_wasserstein: x, y": lambda v: sliced_wasserstein(v, POINTS),
    "sliced_wasserstein: y, x": lambda v: sliced_wasserstein(POINTS, v),
    "sliced_wasserstein of points: x": lambda v: sliced_wasserstein(moved(v), POINTS),
    "sliced_wasserstein: order": lambda v: sliced_wasserstein(POINTS, POINTS + 1, order=v),
    "sliced_wasserstein: directions": lambda v: sliced_wasserstein(POINTS, POINTS, directions=v),
    "sliced_wasserstein: generator": lambda v: sliced_wasserstein(POINTS, POINTS, generator=v),
    "mode_coverage: mixture, samples": lambda v: mode_coverage(v, POINTS[:, :1]),
    "mode_coverage: samples": lambda v: mode_coverage(PLANE, v),
    "mode_coverage of points: samples": lambda v: mode_coverage(PLANE, moved(v)),
    "mode_coverage: ball": lambda v: mode_coverage(PLANE, POINTS, ball=v),
    "mode_coverage: share": lambda v: mode_coverage(PLANE, POINTS, share=v),
    "first_order_cap: dim": lambda v: theory.first_order_cap(v, 1.0, 2.0),
    "first_order_cap: snr_t": lambda v: theory.first_order_cap(2, v, 2.0),
    "first_order_cap: snr_s": lambda v: theory.first_order_cap(2, 1.0, v),
    "first_order_cap: family": lambda v: theory.first_order_cap(2, 1.0, 2.0, v),
    "first_order_sum: dim": lambda v: theory.first_order_sum(v, CHAIN),
    "first_order_sum: schedule": lambda v: theory.first_order_sum(2, v),
    "second_order_cap: dim": lambda v: theory.second_order_cap(v, 1.0, 2.0),
    "second_order_cap: snr_t": lambda v: theory.second_order_cap(2, v, 2.0),
    "fixed_variance_cap: variance": lambda v: theory.fixed_variance_cap(2, 1.0, 2.0, v),
    "eigenvalue_cap: mixture": lambda v: theory.eigenvalue_cap(v, 1.0, 2.0),
    "eigenvalue_cap: snr_t": lambda v: theory.eigenvalue_cap(LINE, v, 2.0),
    "eigenvalue_sum: mixture": theory.eigenvalue_sum,
    "eigenvalue_sum: schedule": lambda v: theory.eigenvalue_sum(LINE, v),
    "equal_covariance_cap: mixture, covariances": lambda v: theory.equal_covariance_cap(
        v, 1.0, 2.0
    ),
    "equal_covariance_cap: snr_t": lambda v: theory.equal_covariance_cap(LINE, v, 2.0),
    "sandwich: mixture, x_t": lambda v: theory.sandwich(v, [[0.0]], 1.0, 2.0),
    "sandwich: x_t": lambda v: theory.sandwich(LINE, v, 1.0, 2.0),
    "sandwich: snr_t, snr": lambda v: theory.sandwich(LINE, [[0.0]], v, 2.0),
    "pairwise_bounds: x_t": lambda v: theory.pairwise_bounds(LINE, v, 1.0, 2.0),
    "pairwise_entropy_bounds: mixture": theory.pairwise_entropy_bounds,
    "local_cap: mixture": lambda v: theory.local_cap(v, CHAIN, "full"),
    "local_cap: schedule": lambda v: theory.local_cap(LINE, v, "full"),
    "local_cap: family": lambda v: theory.local_cap(LINE, CHAIN, v),
    "negentropy: mixture": theory.negentropy,
    "negentropy: snr": lambda v: theory.negentropy(LINE, v),
    "negentropy: family": lambda v: theory.negentropy(LINE, 1.0, v),
    "negentropy_cap: snr_t": lambda v: theory.negentropy_cap(LINE, v, 2.0, "full"),
    "negentropy_sum: schedule": lambda v: theory.negentropy_sum(LINE, v, "full"),
    "chain_rule_cap: prior_gap": lambda v: theory.chain_rule_cap(v, ERRORS),
    "chain_rule_cap: local_errors": lambda v: theory.chain_rule_cap(GAP, v),
    "data_processing_floor: q_masses, p_masses": lambda v: theory.data_processing_floor(
        v, [0.5, 0.5]
    ),
    "data_processing_floor: p_masses, q_masses": lambda v: theory.data_processing_floor(
        [0.5, 0.5], v
    ),
    "fixed_variance_floor: mixture": lambda v: theory.fixed_variance_floor(v, 0.1),
    "fixed_variance_floor: variance": lambda v: theory.fixed_variance_floor(LINE, v),
    "Estimate: value, error": lambda v: str(type(Estimate(v, ONES, "quadrature"))),
    "Estimate: error": lambda v: str(type(Estimate(ONES, v, "quadrature"))),
    "from_replicates: replicates": lambda v: str(type(Estimate.from_replicates(v))),
    "interval: level": ERRORS.interval,
}


def low_rank(**changes: Any) -> GaussianMixture:
    parts = {"weights": [1.0], "means": [[0.0] * 3], "factors": [[[1.0]] * 3], "noise": [0.5]}
    return GaussianMixture.low_rank(*{**parts, **changes}.values())


def by_latents(**changes: Any) -> tuple[list[int], Estimate]:
    parts = {"mixture": LINE, "schedule": CHAIN, "denoiser": SOFT, "counts": (2,), "samples": FEW}
    return error_by_latents(**{**parts, **changes})


def fitted(**changes: Any) -> SklearnMixture:
    model = SklearnMixture(2, random_state=0).fit(np.arange(8.0)[:, None] ** 2)
    for name, value in changes.items():
        setattr(model, name, value)
    return model


def moved(value: Any) -> Any:
    """Points enough, the first of them replaced by an array of two numbers."""
    if not isinstance(value, torch.Tensor | np.ndarray) or value.shape != (2,):
        return POINTS
    first = torch.as_tensor(np.array(value)) if isinstance(value, np.ndarray) else value
    if first.layout != torch.strided or first.is_meta or first.is_complex():
        return POINTS
    return torch.cat([first[None].to(torch.float64), POINTS])


def above(table: Estimate) -> torch.Tensor:
    """M(s, t) for s < t; the rest is NaN, and documented as such."""
    rows, columns = torch.triu_indices(*table.value.shape, offset=1)
    return torch.cat([table.value[rows, columns], table.error[rows, columns]])
