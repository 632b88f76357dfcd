r"""What theory says of images before anything is trained, beside what training then shows.

A mixture is fitted to the images (or is their exact law). Of it ΣM_t of the best Gaussian of a
family is known, and that of the exact soft mixture is 0 (docs/theory.md §7.1): a soft mixture is
forecast to gain ΣM_t nats on that Gaussian, at each T. What it gains is the difference of the nats
that the two trained denoisers need for a held-out image. If the findings carry over, the two agree;
if only their order does, their rank correlation tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from smdtheory.checks import integer
from smdtheory.estimate import Estimate
from smdtheory.families import Family, check_family
from smdtheory.measure.sums import summed_errors
from smdtheory.models.denoiser import Denoiser
from smdtheory.models.oracle import BestGaussian
from smdtheory.schedule import Schedule
from smdtheory.truth.mixture import GaussianMixture
from smdtheory.truth.posterior import posterior_at
from smdtheory.truth.spectral import SpectralCovariance

FAMILY_OF: dict[str, Family] = {
    "fixed_small": "fixed_small",
    "fixed_large": "fixed_large",
    "gaussian": "isotropic",
    "gaussian_wide": "isotropic",
    "diagonal": "diagonal",
}
"""The family whose best member each trained Gaussian strives for."""

KNOTS = 97
"""Levels log γ at which the posterior variance is averaged; between them it is interpolated."""

CLEAN = torch.tensor(torch.inf, dtype=torch.float64)
"""γ_0."""

LOG_SNR = (-16.0, 16.0)
"""Their range. The schedules' levels for T up to 1000 lie within it."""


class LevelGaussian(Denoiser):
    """The exact mean, and for each level the variance mmse(γ)/d I, averaged over draws of x_t.

    For many dimensions, where :class:`smdtheory.models.oracle.BestGaussian` takes minutes, for it
    averages full covariances.

    Args:
        mixture: q(x_0).
        draws: of x_t at each of :data:`KNOTS` levels.
        seed: of the draws.

    Example:
        >>> from smdtheory.truth import presets
        >>> LevelGaussian(presets.ring(8))(torch.zeros(3, 2).double(), 1.0, 2.0)
        GaussianMixture(components=1, dim=2, batch_shape=(3,))
    """

    def __init__(self, mixture: GaussianMixture, draws: int = 512, seed: int = 0) -> None:
        super().__init__()
        self.mixture = mixture
        generator = torch.Generator().manual_seed(seed)
        self.levels = torch.linspace(*LOG_SNR, KNOTS, dtype=torch.float64)
        x_0 = mixture.sample(integer("draws", draws, low=1), generator=generator)
        noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
        found = []
        for level in self.levels:
            gamma = level.exp()
            x_t = (x_0 + noise / gamma.sqrt()) / (1 + 1 / gamma).sqrt()
            variance = posterior_at(mixture, x_t, gamma, CLEAN).total_variance
            found.append(variance.mean() / mixture.dim)
        self.log_variances = torch.stack(found).log()

    def x0(self, x_t: Tensor, snr_t: Tensor) -> GaussianMixture:
        """N(E[x_0|x_t], mmse(γ_t)/d I)."""
        law = posterior_at(self.mixture, x_t, snr_t, CLEAN)
        low, high = LOG_SNR
        place = (snr_t.double().log().clamp(low, high) - low) / (high - low) * (KNOTS - 1)
        below = place.long().clamp(max=KNOTS - 2)
        left, right = self.log_variances[below], self.log_variances[below + 1]
        variance = torch.exp(left + (place - below) * (right - left))
        spectral = SpectralCovariance.isotropic(
            variance.expand(law.batch_shape).unsqueeze(-1), law.dim
        )
        mean = law.mean.unsqueeze(-2)
        return GaussianMixture.from_spectral(mean.new_zeros(mean.shape[:-1]), mean, spectral)


def families_of(arms: Iterable[str]) -> list[Family]:
    """The families that some arms strive for.

    Example:
        >>> families_of(["gaussian", "gaussian_wide", "soft_energy"])
        ['isotropic']
    """
    return list(dict.fromkeys(FAMILY_OF[arm] for arm in arms if arm in FAMILY_OF))


def forecast_sum(
    mixture: GaussianMixture,
    schedule: Schedule,
    family: Family,
    *,
    samples: int = 512,
    seed: int = 0,
) -> Estimate:
    """ΣM_t of the best Gaussian of a family, in nats, by sampling; for many dimensions.

    Args:
        mixture: q(x_0).
        schedule: the chain.
        family: of :data:`smdtheory.families.FAMILIES`.
        samples: as in :func:`smdtheory.measure.sums.summed_errors`.
        seed: of the draws.

    Example:
        >>> from smdtheory.truth import presets
        >>> q, chain = presets.ring(8), Schedule.cosine(3)
        >>> 2.2 < float(forecast_sum(q, chain, "isotropic", samples=8192)) < 2.3
        True
    """
    name = check_family(family)
    denoiser = _level_gaussian(mixture) if name == "isotropic" else BestGaussian(mixture, name)
    generator = torch.Generator().manual_seed(seed)
    found = summed_errors(mixture, schedule, denoiser, samples=samples, generator=generator)
    return found.sum()


@lru_cache(maxsize=4)
def _level_gaussian(mixture: GaussianMixture) -> LevelGaussian:
    return LevelGaussian(mixture)


class Agreement(NamedTuple):
    """How far forecast and measured gains agree in order.

    Attributes:
        correlation: Spearman's, between −1 and 1.
        positive: how many gains were measured to be above 0; all forecasts are.
        pairs: how many gains were compared.
    """

    correlation: float
    positive: int
    pairs: int


def compared(gained: pd.DataFrame, known: Mapping[tuple[str, int], Estimate]) -> pd.DataFrame:
    """Forecast and measured gains of a soft mixture, a row for each Gaussian arm and T.

    Args:
        gained: of :func:`smdtheory.images.summary.gains`, in nats.
        known: ΣM_t by family and T (:func:`forecast_sum`).

    Returns:
        The columns ``soft``, ``arm``, ``steps``, ``forecast``, ``forecast_error`` (a standard
        error), ``measured`` and ``measured_error``, in nats for an image.

    Raises:
        ValueError: if no gain is on an arm of :data:`FAMILY_OF`.

    Example:
        >>> gained = pd.DataFrame({"soft": "soft_energy", "arm": ["gaussian"], "steps": 3,
        ...                        "gain": 1.0, "gain_error": 0.1})
        >>> sums = {("isotropic", 3): Estimate(torch.tensor(2.0), torch.tensor(0.1), "sampling")}
        >>> compared(gained, sums)[["forecast", "measured"]].to_numpy().tolist()
        [[2.0, 1.0]]
    """
    here = gained[gained["arm"].isin(FAMILY_OF)].reset_index(drop=True)
    if here.empty:
        raise ValueError(
            f"gained must hold gains on {', '.join(FAMILY_OF)}; received those on "
            f"{', '.join(map(str, gained['arm'].unique())) or 'nothing'}"
        )
    pairs = zip(here["arm"], here["steps"], strict=True)
    sums = [known[FAMILY_OF[arm], int(T)] for arm, T in pairs]
    return pd.DataFrame({
        "soft": here["soft"], "arm": here["arm"], "steps": here["steps"],
        "forecast": [float(value) for value in sums],
        "forecast_error": [float(value.error) for value in sums],
        "measured": here["gain"], "measured_error": here["gain_error"],
    })  # fmt: skip


def agreement(table: pd.DataFrame) -> Agreement:
    """The rank correlation of ``forecast`` and ``measured`` over all rows.

    It has no p-value: the gains share a soft mixture and, for each arm, a network.

    Raises:
        ValueError: for fewer than three rows.

    Example:
        >>> agreement(pd.DataFrame({"forecast": [1, 2, 3], "measured": [0.1, 0.2, 5]})).correlation
        1.0
    """
    if len(table) < 3:
        raise ValueError(f"a rank correlation needs three gains or more; received {len(table)}")
    correlation = float(spearmanr(table["forecast"], table["measured"]).statistic)
    return Agreement(round(correlation, 12), int((table["measured"] > 0).sum()), len(table))
