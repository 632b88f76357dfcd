"""Worst cases: measured again, against lattices and caps; and no mixture above a cap."""

from __future__ import annotations

import math

import pytest
import torch

from smdtheory import FAMILIES, GaussianMixture, Schedule
from smdtheory.measure import best_gaussian_errors
from smdtheory.theory import (
    bounds,
    check_caps,
    eigenvalue_cap,
    equal_covariance_cap,
    first_order_cap,
    fixed_variance_cap,
    lattice_error,
    negentropy_cap,
    pair_error,
    second_order_cap,
    worst_cases,
    worst_lattice,
    worst_mixture,
)
from smdtheory.theory.extremes import search
from smdtheory.theory.extremes.adversaries import KINDS, made
from smdtheory.theory.extremes.ascent import _error
from smdtheory.theory.extremes.many import Many, draw, normal_points
from smdtheory.theory.extremes.search import caps_of

ATOMS = {1.05: 0.0237, 2.0: 0.318, 5.0: 0.589, 20.0: 0.760, 1000.0: 0.89}
"""Shares of the cap (½ log r) of `isotropic` that mixtures of 15 components reach."""


def measured(mixture: GaussianMixture, ratio: float, family: str) -> float:
    return float(best_gaussian_errors(mixture, Schedule.from_snr([ratio, 1.0]), family).value[-1])


def alone(many: Many, b: int) -> tuple[GaussianMixture, list[float]]:
    """One mixture of a batch, in its own units, and the levels of its step."""
    snr, ratio = float(many.snr[b]), float(many.ratio[b])
    turned = torch.einsum("kde,ke,kfe->kdf", many.basis[b], many.variances[b], many.basis[b])
    turned = (turned + turned.mT) / (2 * snr)
    q = GaussianMixture(many.log_weights[b].exp(), many.means[b] / snr**0.5, turned)
    return q, [snr] if math.isinf(ratio) else [ratio * snr, snr]


@pytest.mark.parametrize("ratio", [2.0, 20.0])
@pytest.mark.parametrize("family", ["fixed_small", "isotropic", "full", "isotropic_x", "diagonal"])
def test_the_worst_mixture_measured_again(ratio, family):
    found = worst_mixture(ratio, family, components=5)
    again = measured(found.mixture, ratio, family)
    assert float(found.error) == pytest.approx(again, rel=1e-9)
    assert again < found.cap


@pytest.mark.parametrize(("ratio", "share"), ATOMS.items())
def test_the_ascent_reaches_what_is_known_of_atoms(ratio, share):
    found = worst_mixture(ratio, "isotropic")
    assert share < found.share < 1
    lattice = float(worst_lattice(ratio, "isotropic")[0]) / found.cap
    assert found.share < lattice < 1.04 * found.share


def test_the_gradient_is_that_of_the_error():
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(9, generator=generator, dtype=torch.float64, requires_grad=True)
    for family in ("fixed_small", "isotropic", "full"):
        torch.autograd.gradcheck(lambda x, f=family: _error(x, 3.0, f, 1 / 8), theta, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES[:1] + FAMILIES[2:])
def test_a_lattice_is_the_limit_of_many_components(family):
    spacing, ratio, gaps = 3.2, 4.0, []
    limit = float(lattice_error(spacing * torch.eye(1), ratio, family))
    for count in (20, 40):
        means = spacing * torch.arange(count, dtype=torch.float64).unsqueeze(-1)
        q = GaussianMixture([1 / count] * count, means, 1e-9)
        gaps.append(limit - measured(q, ratio, family))
    assert gaps[1] == pytest.approx(gaps[0] / 2, rel=0.1)  # only the ends differ
    assert abs(gaps[0]) < 0.1 * limit


@pytest.mark.parametrize("family", FAMILIES[:1] + FAMILIES[2:])
def test_a_square_lattice_is_two_copies_of_a_line(family):
    line = lattice_error(3.0 * torch.eye(1), 5.0, family)
    square = lattice_error(3.0 * torch.eye(2), 5.0, family)
    if family == "isotropic_x":
        assert float(square) > 2 * float(line)
    else:
        assert float(square) == pytest.approx(2 * float(line), abs=1e-5)


@pytest.mark.parametrize(
    ("family", "shortfall", "spacing"),
    [("isotropic", 0.36033, 3.408), ("full", 0.53145, 2.746)],
)
def test_the_caps_are_tight_for_large_steps(family, shortfall, spacing):
    limit, at = worst_lattice(math.inf, family)
    assert -float(limit) == pytest.approx(shortfall, abs=1e-5)
    assert at == pytest.approx(spacing, abs=2e-3)
    shares = []
    for power in (1, 2, 4, 8, 16):
        error, _ = worst_lattice(10.0**power, family)
        cap = 0.5 * math.log(10.0**power)
        shares.append(float(error) / cap)
        if family == "isotropic":  # for every r; for full in the limit
            assert cap - float(error) <= shortfall + 1e-6
    assert shares == sorted(shares)
    assert shares[-1] > 0.97
    assert (1 - shares[-1]) * 0.5 * math.log(1e16) == pytest.approx(shortfall, abs=1e-4)


def test_two_points_are_enough_for_large_steps():
    distance = torch.linspace(1.0, 3.0, 401, dtype=torch.float64)
    ratio = 1e20
    error = pair_error(distance, distance * math.sqrt(ratio)).value
    assert 0.5 * math.log(ratio) - float(error.max()) == pytest.approx(1.01798, abs=1e-4)


def test_the_hexagonal_lattice_comes_closer():
    for family, share in (("isotropic", 0.3413), ("full", 0.1667)):
        line, hexagonal = (
            float(worst_lattice(2.0, family, lattice)[0]) / d
            for d, lattice in ((1, "line"), (2, "hexagonal"))
        )
        assert hexagonal > 1.05 * line
        assert hexagonal / (0.5 * math.log(2.0)) == pytest.approx(share, abs=2e-4)


def test_rows_for_the_figure():
    rows = worst_cases([1.5, 30.0], ["isotropic", "full"], components=3)
    assert [(row["arm"], row["ratio"]) for row in rows] == [
        ("isotropic", 1.5), ("isotropic", 30.0), ("full", 1.5), ("full", 30.0),
    ]  # fmt: skip
    for row in rows:
        assert 0 < row["share"] <= row["lattice"] <= row["ceiling"] <= 1


@pytest.mark.parametrize(
    ("dim", "kind"), [*((1, kind) for kind in sorted(set(KINDS))), (2, "equal"), (3, "random")]
)
def test_errors_of_many_are_those_of_the_ladder(dim, kind):
    generator = torch.Generator().manual_seed(5)
    many = made(kind, dim, 6, 3, normal_points(dim, 8), generator)
    drawn = draw(many, normal_points(dim, 512, 16))
    for b in range(3):
        q, levels = alone(many, b)
        for family, errors in drawn.errors.items():
            found = best_gaussian_errors(q, Schedule.from_snr(levels), family)[-1]
            error = float(errors[:, b].std()) / 4 + float(found.error)
            rounding = 1e-9 * (1 + abs(float(found)))
            assert abs(float(errors[:, b].mean()) - float(found)) <= 6 * error + rounding, family


def test_caps_of_many_are_the_caps():
    generator = torch.Generator().manual_seed(3)
    for kind, dim in (("random", 2), ("equal", 2), ("thin", 1)):
        many = made(kind, dim, 5, 3, normal_points(dim, 8), generator)
        drawn = draw(many, normal_points(dim, 512, 16))
        caps = caps_of(many, drawn)
        for b in range(5):
            q, levels = alone(many, b)
            step = levels[-1], levels[0] if len(levels) == 2 else math.inf
            for (name, family), found in caps.items():
                if name == "negentropy_cap":
                    known, rel = float(negentropy_cap(q, *step, family)), 2e-2
                elif name == "equal_covariance_cap":
                    same = kind == "equal"
                    known = float(equal_covariance_cap(q, *step)) if same else math.inf
                    rel = 1e-6
                elif name == "eigenvalue_cap":
                    known, rel = float(eigenvalue_cap(q, *step)), 1e-6
                elif name == "second_order_cap":
                    known, rel = float(second_order_cap(dim, *step)), 1e-9
                else:
                    known, rel = float(first_order_cap(dim, *step, family)), 1e-9
                value = float(found.expand(16, 5)[:, b].mean())
                assert value == pytest.approx(known, rel=rel, abs=2e-3), (name, family)


def test_no_mixture_is_above_a_cap():
    rows = check_caps(300, seed=1)
    assert {row["dim"] for row in rows} == {1, 2, 3, 4, 5}
    assert len({(row["cap"], row["family"]) for row in rows}) == 21
    assert sum(row["violations"] for row in rows) == 0
    assert all(row["ratio"] <= 1 + 6 * row["ratio_error"] + 1e-9 for row in rows)
    assert max(row["ratio"] for row in rows if row["cap"] == "first_order_cap") > 0.9


def test_a_cap_that_is_too_low_is_found_out(monkeypatch):
    right = bounds.first_order_cap
    monkeypatch.setattr(search, "first_order_cap", lambda *args: 0.6 * right(*args))
    rows = check_caps(100)
    assert sum(row["violations"] for row in rows if row["cap"] == "first_order_cap") > 0


def test_every_family_has_the_cap_of_its_fixed_variance():
    generator = torch.Generator().manual_seed(3)
    many = made("random", 2, 5, 2, normal_points(2, 8), generator)
    caps = caps_of(many, draw(many, normal_points(2, 8)))
    step = Schedule.from_snr([4.0, 1.0])
    assert float(first_order_cap(2, 1.0, 4.0, "fixed_large")) == pytest.approx(
        float(fixed_variance_cap(2, 1.0, 4.0, float(step.betas[2])))
    )
    assert {family for name, family in caps if name == "first_order_cap"} == set(FAMILIES)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: worst_mixture(1.0, "full"), ValueError, "ratio must lie above 1"),
        (lambda: worst_mixture(math.nan, "full"), ValueError, "ratio must lie above 1"),
        (lambda: worst_mixture("2", "full"), TypeError, "ratio must be a number"),
        (lambda: worst_mixture(2.0, "fixed_large"), ValueError, "r = γ_s/γ_t alone"),
        (lambda: worst_mixture(2.0, "best"), ValueError, "family must be one of"),
        (lambda: worst_mixture(2.0, "full", components=0), ValueError, "at least 1"),
        (lambda: worst_mixture(2.0, "full", generator=0), TypeError, "generator must be"),
        (lambda: worst_lattice(2.0, "full", "cubic"), ValueError, "lattice must be one of"),
        (lambda: lattice_error(torch.eye(3), 2.0, "full"), ValueError, r"shape \(d, d\), d <= 2"),
        (lambda: lattice_error(torch.zeros(1, 1), 2.0, "full"), ValueError, "independent"),
        (lambda: lattice_error(torch.eye(1), 0.5, "full"), ValueError, "above 1"),
        (lambda: lattice_error(torch.eye(1), 10**400, "full"), ValueError, r"up to 1e\+200"),
        (lambda: worst_lattice(1e308, "full"), ValueError, r"up to 1e\+200"),
        (lambda: lattice_error(torch.eye(1), math.inf, "fixed_small"), ValueError, "finite"),
        (lambda: check_caps(10), ValueError, "count must be at least 50"),
        (lambda: check_caps(100, seed=-1), ValueError, "seed must be at least 0"),
        (lambda: check_caps(100.5), TypeError, "count must be an integer"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
