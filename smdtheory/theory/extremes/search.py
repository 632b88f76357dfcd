r"""No mixture passes the caps: a search among random and adversarial ones (docs/theory.md §6.14).

Every cap of §6.3 to §6.8 against every family that obeys it, over d = 1..5. Mixtures are drawn in
units of 1/√γ_t; a share of them are thin modes on a lattice at the scale of the noise, or the ends
of an ascent towards a cap. Errors are sampled, so what comes within five standard errors of a cap,
and the largest ratio of each cap, is drawn again with many more points, and only that counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdtheory.checks import integer
from smdtheory.estimate import ROUNDING
from smdtheory.families import FAMILIES, Family
from smdtheory.theory.bounds import first_order_cap, second_order_cap
from smdtheory.theory.extremes.adversaries import KINDS, made
from smdtheory.theory.extremes.many import Drawn, Many, draw, joined, normal_points

DIMS = (1, 2, 3, 4, 5)

TOGETHER, FEW = 50, 8
"""Mixtures worked through at once, with few draws and with many."""

COMPONENTS = (1, 2, 3, 4, 5, 6)
"""K, in turn."""

SCREEN, CLOSE = (16, 8), (64, 16)
"""Draws for each component and replicate, and replicates: of all, and of those drawn again."""

SUSPECT, PROVED = 3.0, 6.0
"""Standard errors: a mixture that is not this many below a cap is drawn again; one that then is
this many above it counts as a violation."""

AGAIN = 2
"""Mixtures of the largest ratio that are drawn again, for each cap and family."""

LEAST_CAP, RESOLVED = 1e-4, 0.01
"""Nats, and the largest standard error of a ratio. Ratios to smaller caps, and noisier ones, are
not compared; violations are."""

ALLOWED = 1e-9
"""Rounding granted to a cap, relative to 1 and the cap."""

Key = tuple[str, Family]
"""A cap, by the name of its function, and a family."""

BELOW: tuple[Family, ...] = ("isotropic", "isotropic_x", "diagonal", "full")


def check_caps(count: int = 10_000, seed: int = 0) -> list[dict[str, float | int | str]]:
    """The largest M/cap over many mixtures, for each d, cap and family (docs/theory.md §6.14).

    Args:
        count: mixtures in all, at least 50.
        seed: of the mixtures and the draws.

    Returns:
        Rows with ``dim``, ``cap`` (the name of its function), ``family``, ``mixtures`` compared,
        ``ratio``, the largest M/cap, ``ratio_error``, its standard error, ``kind`` of that mixture,
        and ``violations``: mixtures above the cap beyond the error.

    Raises:
        TypeError: for a count or seed that is not an integer.
        ValueError: for a count below 50, or a negative seed.

    Example:
        >>> sum(row["violations"] for row in check_caps(50))
        0
    """
    total = integer("count", count, low=len(DIMS) * len(KINDS))
    seed = integer("seed", seed, low=0)
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, float | int | str]] = []
    for place, dim in enumerate(DIMS):
        own = total // len(DIMS) + (place < total % len(DIMS))
        screen, close = (
            normal_points(dim, draws, replicates, seed=2 * seed + again)
            for again, (draws, replicates) in enumerate((SCREEN, CLOSE))
        )
        table = _Table()
        for number, size in enumerate(_sizes(own)):
            kind, turn = KINDS[number % len(KINDS)], number // len(KINDS)
            components = COMPONENTS[(number + turn) % len(COMPONENTS)]
            table.screen(made(kind, dim, size, components, screen, generator), kind, screen)
        table.confirm(close)
        rows += [{"dim": dim} | row for row in table.rows()]
    return rows


def caps_of(many: Many, drawn: Drawn) -> dict[tuple[str, Family], Tensor]:
    """Every cap on every family that obeys it: (R, B), infinite where it does not apply.

    Args:
        many: the mixtures.
        drawn: their draws; the negentropy cap holds the same averages as the errors.
    """
    d, r, snr = many.dim, many.ratio, many.snr
    caps: dict[tuple[str, Family], Tensor] = {}
    for family in FAMILIES:
        caps["first_order_cap", family] = first_order_cap(d, snr, r * snr, family)
    for family in ("fixed_small", *BELOW):
        caps["second_order_cap", family] = second_order_cap(d, snr, r * snr)
    last = torch.isinf(r)
    finite = torch.where(last, 1.0, r)
    own = torch.einsum("bkde,bke,bkfe->bkdf", many.basis, many.variances, many.basis)
    cov = covariance(many)
    average = torch.einsum("bdd->b", cov) / d
    least = many.variances.flatten(1).amin(-1)
    reach = torch.where(last, 1 / least, (finite - 1) / (1 + finite * least))
    room = (average - least) / (1 + average)
    for family in BELOW:
        caps["eigenvalue_cap", family] = 0.5 * d * torch.log1p(reach * room)
    rank = min(d, many.means.shape[1] - 1)
    same = (own - own[:, :1]).abs().amax((1, 2, 3)) <= 1e-12 * own.abs().amax((1, 2, 3))
    equal = 0.5 * rank * torch.log1p(reach)
    caps["equal_covariance_cap", "full"] = torch.where(same, equal, torch.inf)
    rest = -drawn.within - drawn.labels
    lift = torch.where(last, 0.0, torch.log(finite))  # log r, from units of the noise
    for family in BELOW:
        outer = [_outer(cov, average, noise, family) for noise in (1 / r, torch.ones_like(r))]
        caps["negentropy_cap", family] = 0.5 * (outer[0] - outer[1] + d * lift) + rest
    signal = [1 / (1 + 1 / (k * snr)) for k in (r, torch.ones_like(r))]
    scale = average / snr - 1
    noise_ratio = torch.log((1 + finite * snr) / (1 + snr))
    noise_ratio = torch.where(last, torch.log(snr / (1 + snr)), noise_ratio)
    spread = 0.5 * d * ((signal[0] - signal[1]) * scale + noise_ratio)
    caps["negentropy_cap", "fixed_large"] = spread + rest
    return caps


def covariance(many: Many) -> Tensor:
    """Cov(x_0), (B, d, d)."""
    weights = many.log_weights.exp()
    shift = many.means - (weights.unsqueeze(-1) * many.means).sum(1, keepdim=True)
    own = torch.einsum("bkde,bke,bkfe->bkdf", many.basis, many.variances, many.basis)
    outer = shift.unsqueeze(-1) * shift.unsqueeze(-2)
    return (weights[..., None, None] * (own + outer)).sum(1)


def condition(many: Many) -> Tensor:
    """A bound on the condition of Cov(y_s), times d, (B,): what rounding does to its log det."""
    largest: Tensor = torch.linalg.eigvalsh(covariance(many))[:, -1]
    least = many.variances.flatten(1).amin(-1)
    return many.dim * (largest + 1 / many.ratio) / (least + 1 / many.ratio)


def _outer(cov: Tensor, average: Tensor, noise: Tensor, family: Family) -> Tensor:
    """log det of the Gaussian that the family could represent, at this noise (B,)."""
    if family == "full":
        spread: Tensor = torch.linalg.eigvalsh(cov) + noise.unsqueeze(-1)
        return spread.log().sum(-1)
    if family == "diagonal":
        return (torch.einsum("bdd->bd", cov) + noise.unsqueeze(-1)).log().sum(-1)
    return cov.shape[-1] * torch.log(average + noise)


class _Table:
    """The rows of one d: all mixtures screened, then the suspicious and the largest drawn again."""

    def __init__(self) -> None:
        self.counts: dict[Key, int] = {}
        self.leaders: dict[Key, list[tuple[float, int]]] = {}
        self.picked: dict[int, tuple[Many, str]] = {}
        self.found: dict[Key, tuple[float, float, str]] = {}
        self.violations: dict[Key, int] = {}
        self.suspects: set[int] = set()
        self.seen = 0

    def screen(self, many: Many, kind: str, points: Tensor) -> None:
        """Look at a batch with few draws; keep what has to be looked at again."""
        with torch.no_grad():
            drawn = draw(many, points)
            caps = caps_of(many, drawn)
        for key, cap in caps.items():
            gap, error, ratio, spread = _against(drawn.errors[key[1]], cap)
            self.counts[key] = self.counts.get(key, 0) + int(torch.isfinite(gap).sum())
            close = (~(gap >= SUSPECT * error - ALLOWED)).nonzero().flatten() + self.seen
            self.suspects.update(close.tolist())
            safe = ratio - 2 * spread
            top = safe.topk(min(AGAIN, len(safe)))
            places = (top.indices + self.seen).tolist()
            own = self.leaders.get(key, []) + list(zip(top.values.tolist(), places, strict=True))
            self.leaders[key] = sorted(own, reverse=True)[:AGAIN]
        leading = {place for own in self.leaders.values() for _, place in own}
        kept = self.suspects | leading
        for place in range(self.seen, self.seen + len(many.ratio)):
            if place in kept:
                self.picked[place] = many[torch.tensor([place - self.seen])], kind
        self.picked = {place: self.picked[place] for place in kept}
        self.seen += len(many.ratio)

    def confirm(self, points: Tensor) -> None:
        """Draw again, with many draws, what is suspicious or the largest of its cap."""
        kinds = {(many.means.shape[1], kind) for many, kind in self.picked.values()}
        for components, kind in sorted(kinds):
            own = [
                many
                for many, name in self.picked.values()
                if (many.means.shape[1], name) == (components, kind)
            ]
            for first in range(0, len(own), FEW):
                self._confirm(joined(own[first : first + FEW]), kind, points)

    def _confirm(self, many: Many, kind: str, points: Tensor) -> None:
        with torch.no_grad():
            drawn = draw(many, points)
            caps = caps_of(many, drawn)
        for key, cap in caps.items():
            gap, error, ratio, spread = _against(drawn.errors[key[1]], cap, RESOLVED)
            slack = PROVED * error + ALLOWED * (1 + cap.abs().reshape(-1, len(gap)).mean(0))
            if key == ("negentropy_cap", "full"):
                slack = slack + ROUNDING * condition(many)
            above = int((~(gap >= -slack)).sum())  # NaN is above
            self.violations[key] = self.violations.get(key, 0) + above
            place = int((ratio - 2 * spread).argmax())
            new = float(ratio[place]), float(spread[place]), kind
            best = self.found.get(key)
            if new[0] >= 0 and (best is None or new[0] - 2 * new[1] > best[0] - 2 * best[1]):
                self.found[key] = new

    def rows(self) -> list[dict[str, float | int | str]]:
        """One for each cap and family."""
        names = sorted(self.found, key=lambda key: (key[0], FAMILIES.index(key[1])))
        return [
            {
                "cap": key[0],
                "family": key[1],
                "mixtures": self.counts[key],
                "ratio": self.found[key][0],
                "ratio_error": self.found[key][1],
                "kind": self.found[key][2],
                "violations": self.violations[key],
            }
            for key in names
        ]


def _against(
    errors: Tensor, cap: Tensor, resolved: float = torch.inf
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """cap − M and its standard error, M/cap and its standard error, each (B,)."""
    caps = cap.expand_as(errors)
    root = math.sqrt(len(errors))
    finite = torch.isfinite(caps).all(0)
    known = torch.where(finite, caps, 1.0)
    gap, level = known - errors, known.mean(0)
    error = gap.std(0) / root
    spread = error / level.abs()
    worth = finite & (level > LEAST_CAP) & (spread < resolved)
    ratio = torch.where(worth, errors.mean(0) / level, -1.0)
    return torch.where(finite, gap.mean(0), torch.inf), error, ratio, spread


def _sizes(count: int) -> list[int]:
    """Batches of at most TOGETHER, a multiple of the kinds where there are enough."""
    batches = max(len(KINDS), math.ceil(count / TOGETHER))
    return [count // batches + (k < count % batches) for k in range(batches)]
