"""Steps needed, by search and by hand, and grids that no other grid beats."""

import itertools
import math

import pytest
import torch
from scipy.optimize import minimize

from smdtheory import GaussianMixture, Schedule, presets
from smdtheory.families import FAMILIES
from smdtheory.measure import best_gaussian_errors, error_table
from smdtheory.theory import best_grid, compare_grids, fewest_steps, steps_needed
from smdtheory.theory.advice import choose, options
from smdtheory.theory.grids import shortest, shortest_paths
from smdtheory.theory.spacings import edm, uniform_log_snr
from smdtheory.theory.steps import chain_errors, search

LINE = presets.line(2).standardized()
FOUR = presets.line(4).standardized()


def total(mixture, schedule, family):
    return float(best_gaussian_errors(mixture, schedule, family).sum())


# --- steps needed -----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["fixed_large", "isotropic", "full"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_steps_needed_is_the_first_of_all(family, schedule):
    found = steps_needed(FOUR, 0.3, family, schedule)
    sums = [total(FOUR, Schedule.named(schedule, T), family) for T in range(1, found.steps + 1)]
    assert [value <= 0.3 for value in sums] == [False] * (found.steps - 1) + [True]
    assert float(found.reached) == pytest.approx(sums[-1], abs=1e-8)
    assert found.exhaustive


def test_a_dip_before_a_rise_is_found():
    # linear schedule, K = 4: ΣM is 0.4828 at T = 4 and 0.4878 at T = 10 (docs/theory.md §5.6)
    low, high = (total(FOUR, Schedule.linear(T), "isotropic") for T in (4, 10))
    assert low == pytest.approx(0.4828, abs=5e-5)
    assert high == pytest.approx(0.4878, abs=5e-5)
    found = steps_needed(FOUR, (low + high) / 2, "isotropic", "linear")
    assert found.steps <= 4
    assert found.exhaustive


def test_beyond_every_t_the_crossing_is_where_the_sum_passes_the_error():
    found = steps_needed(FOUR, 0.012, "isotropic")
    assert found.steps > 256
    assert not found.exhaustive
    chains = [Schedule.cosine(T) for T in (found.steps - 1, found.steps)]
    before, at = (total(FOUR, chain, "isotropic") for chain in chains)
    assert at <= 0.012 < before
    # C = 3.764 of the leading term C/T, measured at T = 1600 (next order: a few per cent)
    assert found.steps == pytest.approx(3.764 / 0.012, rel=0.05)


@pytest.mark.parametrize(
    ("enough", "expected"),
    [
        (lambda T: T >= 7, 7),
        (lambda T: T == 5 or T >= 9, 5),
        (lambda T: T >= 1000, 1000),
        (lambda T: T >= 1000 or T == 985, 985),
        (lambda T: T > 4000, None),
    ],
)
def test_search(enough, expected):
    seen = []
    steps, largest = search(lambda T: seen.append(T) or enough(T), every=16, most=4000, window=32)
    assert steps == expected
    assert largest == max(seen)
    assert set(range(1, min(expected or 16, 16) + 1)) <= set(seen)


def test_fixed_small_may_never_get_there():
    found = steps_needed(LINE, 0.05, "fixed_small")
    assert found.steps is None
    assert "does not vanish" in found.note or "do not vanish" in found.note
    # near the data mmse(γ) = d/γ, so that M_t = (d/2)(r − 1 − log r), whatever the mixture
    snr = Schedule.cosine(found.searched).snr[1:]
    ratio = (snr[:-1] / snr[1:])[snr[1:] > 100]
    predicted = float(0.5 * (ratio - 1 - torch.log(ratio)).sum())
    assert float(found.reached) == pytest.approx(predicted, abs=5e-3)
    assert steps_needed(LINE, 0.4, "fixed_small").steps is not None


def test_the_soft_mixture_needs_one_step_and_one_gaussian_needs_one():
    assert steps_needed(LINE, 1e-9, "soft_mixture").steps == 1
    single = GaussianMixture([1.0], [[0.0]], 0.5)
    for family in ("isotropic", "isotropic_x", "diagonal", "full"):
        assert steps_needed(single, 1e-9, family).steps == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [1, 3, 30])
def test_errors_read_from_the_curves_are_those_measured(family, steps):
    chain = Schedule.cosine(steps)
    read, direct = (f(LINE, chain, family).value for f in (chain_errors, best_gaussian_errors))
    torch.testing.assert_close(read, direct, rtol=1e-6, atol=1e-9)


# --- the best grid ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_dynamic_program_against_every_grid_of_a_random_table(seed, steps):
    N = 7
    table = torch.rand(N + 1, N + 1, generator=torch.Generator().manual_seed(seed)).double()
    ways = itertools.combinations(range(1, N), steps - 1)
    cost = {
        (0, *way, N): sum(float(table[a, b]) for a, b in itertools.pairwise((0, *way, N)))
        for way in ways
    }
    best = min(cost, key=cost.__getitem__)
    found, path = shortest(table, steps)
    assert tuple(path.tolist()) == best
    assert found == pytest.approx(cost[best], rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_dynamic_program_against_every_chain_on_a_mixture(family):
    levels = torch.logspace(2, -3, 8, dtype=torch.float64)
    table = error_table(LINE, Schedule.from_snr(levels), family).value
    for steps in (2, 4):
        sums = [
            float(chain_errors(LINE, Schedule.from_snr(levels[[*way, 7]]), family).sum())
            for way in itertools.combinations(range(7), steps - 1)
        ]
        assert shortest(table, steps)[0] == pytest.approx(min(sums), abs=1e-8)


@pytest.mark.parametrize("family", ["isotropic", "full"])
def test_no_continuous_grid_is_better(family):
    """A simplex search over the free levels, from other starts, finds nothing below."""
    found = best_grid(FOUR, 4, family, snr_end=1e-3)

    def cost(place):
        if any(a <= b for a, b in itertools.pairwise([*place, math.log(1e-3)])):
            return math.inf
        chain = Schedule.from_snr([*(math.exp(p) for p in place), 1e-3])
        return float(chain_errors(FOUR, chain, family).sum())

    ends = []
    for start in ([4.0, 2.0, 0.0], [5.0, 0.0, -3.0], torch.log(found.schedule.snr[1:4]).tolist()):
        ends.append(minimize(cost, start, method="Nelder-Mead", options={"maxfev": 150}).fun)
    assert min(ends) >= float(found.error) * (1 - 1e-4)
    assert min(ends) <= float(found.error) * (1 + 1e-4)


@pytest.mark.parametrize(("family", "loss"), [("isotropic", 0.15), ("full", 0.2)])
def test_certificate_from_below(family, loss):
    """§12.2: cells instead of levels bound every grid from below, and not by much."""
    steps, end = 4, 1e-3
    found = best_grid(FOUR, steps, family, snr_end=end)
    top = 1e5
    levels = torch.exp(torch.linspace(math.log(top), math.log(end), 700, dtype=torch.float64))
    table = torch.nan_to_num(error_table(FOUR, Schedule.from_snr(levels), family).value, nan=0.0)
    N = len(levels)
    # node 0: the data. Cells 1..N: cell 1 above the first candidate, cell j + 1 = [c_{j+1}, c_j],
    # the last a point. From cell i to j: what lies between their near ends is always made.
    price = torch.zeros(N + 2, N + 2, dtype=torch.float64)
    price[0, 2 : N + 2] = table[0, 1 : N + 1]  # from a level at most c_j up to the data
    price[1, 3 : N + 2] = table[1, 2 : N + 1]
    for i in range(2, N + 1):
        price[i, i + 2 : N + 2] = table[i, i + 1 : N + 1]
    least = shortest_paths(price, steps)[-1][0]
    assert least <= float(found.error) * (1 + 1e-9)
    assert least >= float(found.error) * (1 - loss)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_best_grid_beats_every_standard_one(family):
    for row in compare_grids(LINE, 4, family):
        assert float(row.best.error) <= float(row.error) * (1 + 1e-9), row.name
        assert row.best.schedule.steps == row.schedule.steps == 4
        assert float(row.best.schedule.snr[-1]) == float(row.schedule.snr[-1])
        assert 0 <= row.gain < 1
        own = total(LINE, row.best.schedule, family)
        assert float(row.best.error) == pytest.approx(own, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("family", ["fixed_small", "fixed_large", "full"])
def test_more_steps_never_cost_more_on_best_grids(family):
    sums = [float(best_grid(FOUR, T, family, snr_end=1e-3).error) for T in range(1, 9)]
    # fixed_small gains nothing from the first few: its further levels lie beside the last one
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(sums))
    assert sums[-1] < sums[0]


@pytest.mark.parametrize("mixture", [LINE, FOUR, presets.line(3, std=0.02)])
def test_a_level_inside_a_step_costs_nothing_with_the_small_fixed_variance(mixture):
    """§5.6 for r >= 1, on which the bisection of §12.2 rests; r = 0 is another matter."""
    levels = torch.logspace(4, -3, 40, dtype=torch.float64)
    table = error_table(mixture, Schedule.from_snr(levels), "fixed_small").value
    saved = table[:, None, :] - table[:, :, None] - table  # [r, s, t]
    inner = saved[1:][~saved[1:].isnan()]
    assert float(inner.min()) > -1e-8
    # the single step, and what two steps come to as the first level approaches the second
    end = Schedule.from_snr(levels[[-1]])
    close = Schedule.from_snr(levels[-1] * torch.tensor([1 + 1e-7, 1.0]))
    single, double = (float(chain_errors(mixture, c, "fixed_small").sum()) for c in (end, close))
    assert double == pytest.approx(single, abs=1e-6)


def test_bisection_finds_what_looking_at_every_number_of_steps_finds():
    for family in ("fixed_small", "isotropic"):
        for error in (0.5, 0.15):
            found = fewest_steps(LINE, error, family, snr_end=1e-3, most=30).schedule.steps
            grids = (best_grid(LINE, T, family, snr_end=1e-3) for T in range(1, 31))
            assert found == next(g.schedule.steps for g in grids if float(g.error) <= error)


@pytest.mark.parametrize("family", ["isotropic", "full", "fixed_small"])
def test_fewest_steps_is_the_first_best_grid_that_reaches_the_error(family):
    found = fewest_steps(FOUR, 0.2, family, snr_end=1e-3, most=40)
    T = found.schedule.steps
    assert float(found.error) <= 0.2 < float(best_grid(FOUR, T - 1, family, snr_end=1e-3).error)
    assert fewest_steps(FOUR, 0.2, family, snr_end=1e-3, most=T - 1) is None


def test_spacings_are_even_in_their_own_coordinate():
    log = torch.log(uniform_log_snr(6, 100.0, 0.01).snr[1:])
    torch.testing.assert_close(log.diff(), log.diff()[:1].expand(5))
    sigma = edm(18, 1 / 0.002**2, 1 / 80.0**2).snr[1:].rsqrt()
    step = (80 ** (1 / 7) - 0.002 ** (1 / 7)) / 17  # Karras et al. (2022), eq. 5, from below
    expected = (0.002 ** (1 / 7) + step * torch.arange(18, dtype=torch.float64)) ** 7
    torch.testing.assert_close(sigma, expected, rtol=1e-10, atol=0)


def test_advice_is_the_simplest_of_the_best():
    assert choose([]) is None
    found = list(options(LINE, 0.05, ["isotropic", "diagonal", "full"]))
    assert [option.family for option in found][-1] == "soft_mixture"
    for option in found[:-1]:
        assert option.evaluations == option.grid.schedule.steps <= option.needed.steps
        assert float(option.grid.error) <= 0.05
    # in d = 1 diagonal and full are the same: the simpler one is taken
    assert choose(found).family == "diagonal"


# --- bad input --------------------------------------------------------------------------------

BAD = {
    "error 0": (lambda: steps_needed(LINE, 0, "full"), ValueError, "error must be positive"),
    "error < 0": (lambda: steps_needed(LINE, -1.0, "full"), ValueError, "error must be positive"),
    "error nan": (lambda: steps_needed(LINE, math.nan, "full"), ValueError, "error must be"),
    "error inf": (lambda: steps_needed(LINE, math.inf, "full"), ValueError, "error must be"),
    "error words": (lambda: steps_needed(LINE, "0.1", "full"), TypeError, "error must be a number"),
    "family": (lambda: steps_needed(LINE, 0.1, "best"), ValueError, "family .* soft_mixture"),
    "schedule": (lambda: steps_needed(LINE, 0.1, "full", "cos"), ValueError, "schedule must be"),
    "no mixture": (lambda: steps_needed("ring", 0.1, "full"), TypeError, "ixture"),
    "steps 0": (lambda: best_grid(LINE, 0, "full"), ValueError, "steps must be at least 1"),
    "steps 1.5": (lambda: best_grid(LINE, 1.5, "full"), TypeError, "steps must be an integer"),
    "too many": (lambda: best_grid(LINE, 2000, "full"), ValueError, "at most 1024"),
    "end": (lambda: best_grid(LINE, 2, "full", snr_end=0.0), ValueError, "snr_end must be pos"),
    "grid family": (lambda: best_grid(LINE, 2, "soft_mixture"), ValueError, "family must be one"),
    "rising": (lambda: Schedule.from_snr([1.0, 2.0]), ValueError, "fall strictly"),
    "first": (lambda: edm(3, 1.0, 2.0), ValueError, "snr_first must be above snr_end"),
    "table": (lambda: shortest(torch.zeros(2, 3), 1), ValueError, "square"),
    "table nan": (lambda: shortest(torch.full((3, 3), math.nan), 1), ValueError, "NaN|finite"),
    "path": (lambda: shortest(torch.zeros(3, 3), 3), ValueError, "at most the number"),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("family", "error", "apart"), [("isotropic", 0.01, 0.03), ("full", 1e-3, 0.1)]
)
def test_the_estimate_comes_close_where_errors_are_small(family, error, apart):
    found = steps_needed(FOUR, error, family)
    assert found.asymptotic == pytest.approx(found.steps, rel=apart)
    assert found.asymptotic != found.steps  # an estimate
