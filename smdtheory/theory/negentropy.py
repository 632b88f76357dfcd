r"""The cap by a difference of negentropies (docs/theory.md §6.7).

J^fam(q) = KL(q ‖ g), g the Gaussian with the mean of q and the covariance Σ_g that the family can
represent. If g_0 goes down the same forward chain as q_0, the local error of the denoiser that is
right for g_0 is J(q_s) − J(q_t), and the best member of the family does no worse.

With x_γ the point of the variance-preserving chain at the ratio γ and C_k = ᾱ S_k + (1 − ᾱ) I,

    J(q_γ) = ½ log det Σ_g + ½ [tr(Σ_g⁻¹ Cov) − d] − Σ_k w_k ½ log det C_k − [H(w) − E H(r(x_γ))].
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdtheory.estimate import ROUNDING, Estimate
from smdtheory.families import Family, check_family
from smdtheory.schedule import Schedule, check_schedule
from smdtheory.theory.brackets import log_det_sum, mean_spread
from smdtheory.theory.inputs import as_levels, as_step, as_truth
from smdtheory.truth.curves import Curves, curves_of
from smdtheory.truth.information import INFINITE
from smdtheory.truth.mixture import GaussianMixture


def negentropy(
    mixture: GaussianMixture, snr: float | Tensor = torch.inf, family: Family | str = "full"
) -> Estimate:
    """J^fam(q_γ) = KL(q_γ ‖ g), g a Gaussian with the mean of q_γ (docs/theory.md §6.7).

    Args:
        mixture: q(x_0).
        snr: γ, any shape, infinite (the default) for the data itself.
        family: the covariance of g is Cov (``full``), its diagonal (``diagonal``), its average
            variance times I (``isotropic``, ``isotropic_x``), or I in the units of the
            variance-preserving chain (``fixed_large``).

    Returns:
        The shape of ``snr``, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``snr`` not made of real numbers.
        ValueError: unless γ > 0, if ``mixture`` has batch dimensions, for an unknown family, and
            for ``fixed_small``, whose variance no single Gaussian has at every step.

    Example:
        >>> from smdtheory.truth import presets
        >>> negentropy(presets.line(4))
        0.811070... ± ... (quadrature)
    """
    gamma = as_levels(snr)
    values, error, curves = _values(mixture, gamma, family)
    return curves.estimate(values, error)


def negentropy_cap(
    mixture: GaussianMixture,
    snr_t: float | Tensor,
    snr_s: float | Tensor,
    family: Family | str,
) -> Estimate:
    """M^fam(s,t) <= J^fam(q_s) − J^fam(q_t), s >= 0 (docs/theory.md §6.7).

    Args:
        mixture: q(x_0).
        snr_t: γ_t, any shape.
        snr_s: γ_s > γ_t, broadcastable with ``snr_t``, infinite for s = 0.
        family: any but ``fixed_small``, which at s = 0 shares the variance, and the cap, of
            ``fixed_large``.

    Returns:
        The broadcast shape, in nats. Its error is that of the two entropies.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or the ratios are not real numbers.
        ValueError: unless 0 < γ_t < γ_s, if ``mixture`` has batch dimensions, for an unknown
            family and for ``fixed_small``.

    Example:
        >>> q = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.25)
        >>> negentropy_cap(q, 1.0, 2.0, "full")
        0.014538... ± ... (quadrature)
    """
    gamma_t, gamma_s, _ = as_step(snr_t, snr_s)
    values, error, curves = _values(mixture, torch.stack([gamma_t, gamma_s]), family)
    return curves.estimate(values[:, 1] - values[:, 0], error.sum(0))


def negentropy_sum(
    mixture: GaussianMixture, schedule: Schedule | None, family: Family | str
) -> Estimate:
    """Σ_{t>=1} M_t^fam <= J^fam(q_0) − J^fam(q_T) <= J^fam(q_0) (docs/theory.md §6.7).

    Args:
        mixture: q(x_0).
        schedule: the forward chain; None gives the second form, which holds for every chain.
        family: any but ``fixed_small``.

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: if ``mixture`` is not a mixture, or ``schedule`` neither None nor a schedule.
        ValueError: if ``mixture`` has batch dimensions, for an unknown family and for
            ``fixed_small``.

    Example:
        >>> from smdtheory.truth import presets
        >>> negentropy_sum(presets.line(4), None, "full")
        0.811070... ± ... (quadrature)
    """
    if schedule is None:
        return negentropy(mixture, torch.inf, family)
    return negentropy_cap(mixture, check_schedule(schedule).snr[-1], torch.inf, family)


def _values(
    mixture: GaussianMixture, snr: Tensor, family: Family | str
) -> tuple[Tensor, Tensor, Curves]:
    """J (R, *S), its numerical error ``*S``, and the curves it came from."""
    name = check_family(family)
    if name == "fixed_small":
        raise ValueError(
            "family must be one whose covariance some Gaussian chain has; received 'fixed_small'. "
            "Use first_order_cap or second_order_cap; at s = 0 use 'fixed_large', whose variance "
            "it shares there."
        )
    q, gamma = as_truth(mixture), snr.flatten()
    curves = curves_of(q)
    signal, noise = 1 / (1 + 1 / gamma), 1 / (1 + gamma)
    chain = q.spectral.map(lambda v: signal[:, None, None] * v + noise[:, None, None])
    within = (q.weights * chain.log_det()).sum(-1)
    entropy, error = _label_entropy(curves, gamma)
    labels = torch.special.entr(q.weights).sum() - entropy
    value = 0.5 * (_outer(q, signal, noise, name) - within) - labels
    error = error + ROUNDING * (q.dim + within.abs())
    return value.reshape(len(value), *snr.shape), error.reshape(snr.shape), curves


def _outer(q: GaussianMixture, signal: Tensor, noise: Tensor, family: Family) -> Tensor:
    """log det Σ_g + tr(Σ_g⁻¹ Cov) − d at each level (L,)."""
    if family == "full":
        spread = mean_spread(q.weights, q.means)
        within = torch.einsum("k,kij->ij", q.weights, q.spectral.matrices())
        eye = torch.eye(q.dim, dtype=torch.float64)
        levels = signal[:, None, None] * within + noise[:, None, None] * eye
        return log_det_sum(levels, signal.sqrt()[:, None, None] * spread)
    if family == "diagonal":
        return torch.log(signal[:, None] * q.variance + noise[:, None]).sum(-1)
    average = q.total_variance / q.dim
    if family == "fixed_large":
        return q.dim * signal * (average - 1)
    return q.dim * torch.log(signal * average + noise)


def _label_entropy(curves: Curves, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """E H(r(x_γ)), (R, L), and its numerical error (L,)."""
    last = torch.isinf(gamma)
    data = curves.at(INFINITE)
    entropy, error = data.label_entropy.repeat(1, len(gamma)), data.error.repeat(len(gamma))
    if not bool(last.all()):
        noisy = curves.at(gamma[~last])
        entropy[:, ~last], error[~last] = noisy.label_entropy, noisy.error
    return entropy, error
