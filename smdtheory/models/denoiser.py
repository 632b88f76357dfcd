r"""The interface between truth and models: a denoiser is a law of x_0 given x_t.

A step x_t → x_s mixes that law with the bridge (docs/theory.md §2): if x_0 | x_t has component
means μ and covariances Σ, then x_s | x_t has means c μ + c′ x_t and covariances c² Σ + β̃ I.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdtheory.checks import broadcast, real_tensor
from smdtheory.schedule import Bridge, bridge
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.spectral import SpectralCovariance


class Denoiser(torch.nn.Module):
    """A backward step p(x_s | x_t), given by :meth:`x0` alone.

    One return type serves all: a Gaussian is one component, a finite mixture K′, a soft mixture
    its R sampled components, the exact posterior K.

    Example:
        >>> from smdtheory.truth.spectral import SpectralCovariance
        >>> class Unit(Denoiser):
        ...     '''x_0 given x_t is N(x_t, I), whatever the noise.'''
        ...     def x0(self, x_t, snr_t):
        ...         one = torch.ones(1, dtype=x_t.dtype)
        ...         spectral = SpectralCovariance.isotropic(one, x_t.shape[-1])
        ...         return GaussianMixture.from_spectral(one.log(), x_t.unsqueeze(-2), spectral)
        >>> step = Unit()(torch.zeros(5, 2, dtype=torch.float64), 1.0, 2.0)
        >>> step.batch_shape, step.event_shape
        (torch.Size([5]), torch.Size([2]))
    """

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """The law of x_0 given x_t at signal-to-noise ratio γ_t.

        Args:
            x_t: (*B, d), variance-preserving: √ᾱ_t x_0 + √(1 − ᾱ_t) ε.
            snr_t: γ_t, a scalar or broadcastable with ``*B``.

        Returns:
            A mixture with batch_shape ``*B``.

        Raises:
            TypeError: if a subclass does not define it.
        """
        raise TypeError(f"{type(self).__name__} must define x0(x_t, snr_t); see Denoiser.x0")

    def forward(self, x_t: Tensor, snr_t: Tensor | float, snr_s: Tensor | float) -> GaussianMixture:
        """p(x_s | x_t), a mixture with batch_shape ``x_t.shape[:-1]``.

        Args:
            x_t: (*B, d).
            snr_t: γ_t, a scalar or broadcastable with ``*B``.
            snr_s: γ_s > γ_t; infinity gives :meth:`x0` itself.

        Returns:
            A mixture with as many components as :meth:`x0` has.

        Raises:
            TypeError: if the arguments are not real numbers, or :meth:`x0` returns another shape.
            ValueError: unless 0 < γ_t < γ_s, or if shapes do not fit.
        """
        x_t = real_tensor("x_t", x_t)
        step = bridge(snr_t, snr_s)
        broadcast(x_t=x_t.shape[:-1], snr=step.c.shape)
        law = self.x0(x_t, real_tensor("snr_t", snr_t).to(torch.float64))
        if law.batch_shape != x_t.shape[:-1]:
            raise TypeError(
                f"{type(self).__name__}.x0(x_t, snr_t) must return a mixture with batch_shape "
                f"{tuple(x_t.shape[:-1])}, that of x_t; received {law!r}"
            )
        return through_bridge(law, x_t, step)

    def sample(
        self,
        x_t: Tensor,
        snr_t: Tensor,
        snr_s: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A draw of x_s from p(x_s | x_t) for each x_t, without gradients.

        Args:
            x_t: (*B, d).
            snr_t: γ_t.
            snr_s: γ_s > γ_t.
            generator: source of randomness, on the device of x_t; torch's global one if absent.

        Returns:
            (*B, d), float64.

        Raises:
            TypeError: if :meth:`forward` does not return one law for each point.
        """
        return model_law(self, x_t, snr_t, snr_s).sample(generator=generator)


def dim_of(denoiser: Denoiser) -> int | None:
    """d, where a denoiser says: its own ``dim``, or that of the mixture it is made from.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> dim_of(ExactPosterior(presets.ring(4))), dim_of(Denoiser())
        (2, None)
    """
    dim: int | None = getattr(
        denoiser, "dim", getattr(getattr(denoiser, "mixture", None), "dim", None)
    )
    return dim


def through_bridge(law: GaussianMixture, x_t: Tensor, step: Bridge) -> GaussianMixture:
    """From the law of x_0 given x_t to that of x_s given x_t (docs/theory.md §2).

    Args:
        law: batch_shape *B.
        x_t: (*B, d).
        step: the coefficients c, c′ and β̃, broadcastable with *B.

    Example:
        >>> from smdtheory.truth import presets
        >>> law = presets.ring(2).expand((3,))
        >>> through_bridge(law, torch.zeros(3, 2), bridge(1.0, torch.inf)).means.equal(law.means)
        True
    """
    c, c_prime, variance = (
        v.to(law.means)[..., None, None] for v in (step.c, step.c_prime, step.variance)
    )
    means = c * law.means + c_prime * x_t.to(law.means).unsqueeze(-2)
    spectral = law.spectral.map(lambda v: c.square() * v + variance)
    return GaussianMixture.from_spectral(law.logits, means, spectral)


def model_law(denoiser: Denoiser, x_t: Tensor, snr_t: Tensor, snr_s: Tensor) -> GaussianMixture:
    """p(x_s | x_t) in float64 on the device of x_t, without gradients.

    Raises:
        TypeError: if it is not a :class:`GaussianMixture` with one law for each point.

    Example:
        >>> from smdtheory.models.oracle import ExactPosterior
        >>> from smdtheory.truth import presets
        >>> one = torch.ones((), dtype=torch.float64)
        >>> model_law(ExactPosterior(presets.ring(4)), torch.zeros(3, 2).double(), one, 2 * one)
        GaussianMixture(components=4, dim=2, batch_shape=(3,))
    """
    with torch.no_grad():
        law = denoiser(x_t, snr_t, snr_s)
    if not isinstance(law, GaussianMixture) or law.batch_shape != x_t.shape[:-1]:
        raise TypeError(
            "denoiser(x_t, snr_t, snr_s) must return a GaussianMixture with batch_shape "
            f"{tuple(x_t.shape[:-1])}; received {law!r}. See Denoiser.x0."
        )
    exact = law.means.dtype == torch.float64 and law.means.device == x_t.device
    return law if exact else law.to(x_t.device, torch.float64)


def with_fixed_variance(
    law: GaussianMixture, snr_t: Tensor | float, snr_s: Tensor | float, *, large: bool
) -> GaussianMixture:
    """A step with the means of ``law`` and a variance fixed by the schedule.

    It is β_{t|s} if ``large``, else β̃_{s|t}, and β_{t|0} in its place at s = 0, where it is 0.

    Example:
        >>> from smdtheory.truth import presets
        >>> law = presets.ring(1).expand((2,))
        >>> with_fixed_variance(law, 1.0, torch.tensor([3.0, torch.inf]), large=False).variance
        tensor([[0.1667, 0.1667],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    step = bridge(snr_t, snr_s)
    fixed = step.beta if large else torch.where(step.variance == 0, step.beta, step.variance)
    variance = fixed.to(law.means).expand(law.batch_shape).unsqueeze(-1)
    spectral = SpectralCovariance.isotropic(variance.expand(law.means.shape[:-1]), law.dim)
    return GaussianMixture.from_spectral(law.logits, law.means, spectral)
