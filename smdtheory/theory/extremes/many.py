r"""Many mixtures at once: errors of every family with the draws shared (docs/theory.md §5, §6.14).

A batch of B mixtures with K components each in R^d, in units of 1/√γ_t, so that γ_t = 1 and
γ_s = r. Component by component, y_t and y_s are drawn from one chain by scrambled Sobol points,
every scramble a replicate. In M the responsibilities' entropies at both ends then come from the
same chain, and a cap that holds them too (§6.7) is compared with M without their noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smdtheory.families import Family

REPLICATES = 8


@dataclass(frozen=True)
class Many:
    """B mixtures and a step for each.

    Attributes:
        log_weights: (B, K).
        means: (B, K, d).
        variances: (B, K, d), along the columns of ``basis``.
        basis: (B, K, d, d), orthogonal.
        ratio: r (B,), infinite for s = 0.
        snr: γ_t (B,), which only ``fixed_large`` sees.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    basis: Tensor
    ratio: Tensor
    snr: Tensor

    def __getitem__(self, index: Tensor) -> Many:
        """The mixtures ``index``."""
        return Many(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @property
    def dim(self) -> int:
        """d."""
        return self.means.shape[-1]

    @property
    def gain(self) -> Tensor:
        """Δγ (B,), and γ_t at s = 0, where any unit will do."""
        return torch.where(torch.isinf(self.ratio), 1.0, self.ratio - 1)


@dataclass(frozen=True)
class Drawn:
    """What was drawn for B mixtures: errors, and the parts that caps share with them.

    Attributes:
        errors: M(s,t) by family, (R, B).
        within: Σ_k w_k ½ log det(I + Δγ V_k), (B,).
        labels: E H(r(x_t)) − E H(r(x_s)), (R, B).
    """

    errors: dict[Family, Tensor]
    within: Tensor
    labels: Tensor


def draw(many: Many, points: Tensor) -> Drawn:
    """Errors of every family for each mixture.

    Args:
        many: the mixtures.
        points: normal draws (R, n, 2d), shared by the mixtures.

    Returns:
        Errors (R, B) in nats. At s = 0 both fixed families have the variance β_1.

    Example:
        >>> eye = torch.eye(1).double()
        >>> one = torch.ones(1).double()
        >>> here = one[None, None]
        >>> single = Many(one.log()[None], here, here, eye[None, None], 3 * one, one)
        >>> float(draw(single, normal_points(1, 4)).errors["full"].abs().max()) < 1e-12
        True
    """
    d, gain, last = many.dim, many.gain, torch.isinf(many.ratio)
    noise_s = 1 / many.ratio
    weights = many.log_weights.exp()
    own = many.variances / (1 + many.variances)  # V_k along the axes
    scaled = gain[:, None, None] * own
    logs = torch.where(last[:, None, None], torch.log(scaled), torch.log1p(scaled))
    within = 0.5 * (weights.unsqueeze(-1) * logs).sum((-1, -2))

    first, second = points[..., :d], points[..., d:]
    spread = (many.variances + noise_s[:, None, None]).sqrt()
    offset = torch.einsum("bkde,bke,rne->bkrnd", many.basis, spread, first)
    y_s = many.means[:, :, None, None, :] + offset
    y_t = y_s + (1 - noise_s).sqrt()[:, None, None, None, None] * second

    log_t, along = _responsibilities(many, y_t, torch.ones_like(noise_s))
    log_s, _ = _responsibilities(many, y_s, noise_s)
    share_t = log_t.exp()
    entropy = (log_s.exp() * log_s).sum(-1) - (share_t * log_t).sum(-1)
    labels = _average(weights, entropy)

    pull = torch.einsum("bjde,bje,bkrnje->bkrnjd", many.basis, own, along)
    centres = many.means[:, None, None, None] + pull
    centres = centres - (share_t.unsqueeze(-1) * centres).sum(-2, keepdim=True)
    between = (share_t.unsqueeze(-1) * centres).mT @ centres
    inner = torch.einsum("bjde,bje,bjfe->bjdf", many.basis, own, many.basis)
    cov = torch.einsum("bkrnj,bjdf->bkrndf", share_t, inner) + between
    step = gain[:, None, None, None]
    final = last[:, None, None, None]
    variances = torch.einsum("bkrndd->bkrnd", cov) * step.unsqueeze(-1)
    mean = variances.mean(-1)

    def log(value: Tensor, where: Tensor) -> Tensor:
        return torch.where(where, torch.log(value), torch.log1p(value))

    eye = torch.where(final[..., None, None], 0.0, torch.eye(d, dtype=cov.dtype))
    factor = torch.linalg.cholesky(eye + step[..., None, None] * cov)
    full = torch.einsum("bkrndd->bkrnd", factor).log().sum(-1)
    gross = {
        "isotropic_x": _average(weights, 0.5 * d * log(mean, final)),
        "diagonal": _average(weights, 0.5 * log(variances, final.unsqueeze(-1)).sum(-1)),
        "full": _average(weights, full),
    }
    trace = _average(weights, mean)  # (R, B); log of its mean, by replicates to first order
    centre = trace.mean(0)
    slope = 1 / torch.where(last, centre, 1 + centre)
    gross["isotropic"] = 0.5 * d * (log(centre, last) + slope * (trace - centre))
    small = 0.5 * d * trace
    e = many.gain * many.snr / (1 + many.ratio.clamp(max=1e300) * many.snr)
    large = small + 0.5 * d * (-e - torch.log1p(-e)) - e * small
    end = 0.5 * d * (trace * (1 + many.snr) / many.snr - 1 - torch.log((1 + many.snr) / many.snr))
    gross["fixed_small"] = torch.where(last, end, small)
    gross["fixed_large"] = torch.where(last, end, large)
    errors = {name: value - within - labels for name, value in gross.items()}
    return Drawn(errors, within, labels)  # type: ignore[arg-type]


def normal_points(dim: int, count: int, replicates: int = REPLICATES, seed: int = 0) -> Tensor:
    """Scrambled Sobol points as draws of N(0, I) in 2d dimensions, (R, count, 2d).

    Example:
        >>> normal_points(2, 16).shape
        torch.Size([8, 16, 4])
    """
    parts = []
    for r in range(replicates):
        engine = torch.quasirandom.SobolEngine(  # type: ignore[no-untyped-call]
            2 * dim, scramble=True, seed=1000 * seed + r
        )
        uniform = engine.draw(count, dtype=torch.float64)
        parts.append(torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)))
    return torch.stack(parts)


def joined(parts: list[Many]) -> Many:
    """Several batches with one K and d as one.

    Example:
        >>> one = torch.ones(2).double()
        >>> part = Many(one[:, None], one[:, None, None], one[:, None, None],
        ...             one[:, None, None, None], one + 1, one)
        >>> joined([part, part]).ratio
        tensor([2., 2., 2., 2.], dtype=torch.float64)
    """
    return Many(
        *(torch.cat([getattr(part, name) for part in parts]) for name in Many.__dataclass_fields__)
    )


def _responsibilities(many: Many, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """log r_j at y (B, K, R, n, d), with j last, and y − m_j along the axes of j (..., j, d)."""
    widths = many.variances + noise[:, None, None]
    turned = torch.einsum("bkrnd,bjde->bkrnje", y, many.basis)
    along = turned - torch.einsum("bjd,bjde->bje", many.means, many.basis)[:, None, None, None]
    distance = torch.einsum("bkrnje,bje->bkrnj", along.square(), 1 / widths)
    height = many.log_weights - 0.5 * torch.log(widths).sum(-1)
    return torch.log_softmax(height[:, None, None, None] - 0.5 * distance, -1), along


def _average(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_k w_k of the mean over draws, (R, B), of values (B, K, R, n)."""
    return torch.einsum("bk,bkr->rb", weights, values.mean(-1))
