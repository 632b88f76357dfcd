"""A measured number carries its error, and sums of them carry an honest one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import arrays
from torch.testing import assert_close

from smdtheory.estimate import Estimate


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def exact(*values: float, method="quadrature") -> Estimate:
    return Estimate(tensor(*values), torch.full((len(values),), 1e-3).double(), method)


@given(st.integers(2, 9), st.data())
def test_replicates_give_their_mean_and_its_standard_error(count, data):
    draws = data.draw(arrays((count, 3), -5.0, 5.0))
    found = Estimate.from_replicates(draws)
    assert_close(found.value, draws.mean(0))
    expected = torch.from_numpy(stats.sem(draws.numpy(), axis=0))
    assert_close(found.error, expected, rtol=1e-12, atol=1e-14)
    assert found.method == "sampling"


def test_sums_over_shared_draws_are_formed_replicate_by_replicate():
    # two entries that are opposite in every replicate: their sum is certain
    draws = torch.stack([tensor(1, 2, 3, 4), tensor(4, 3, 2, 1)], 1)
    found = Estimate.from_replicates(draws)
    assert float(found.error.min()) > 0.5
    total = found.sum()
    assert float(total) == 5
    assert float(total.error) == 0
    assert_close(found[0].replicates, draws[:, 0])
    assert float(found[1:].sum()) == 2.5
    assert float(total.sum()) == 5


def test_entries_keep_their_errors():
    found = Estimate(tensor(1, 2, 3), tensor(0.1, 0.2, 0.3), "quadrature")
    assert float(found[1]) == 2
    assert float(found[-1].error) == pytest.approx(0.3)
    assert_close(found[1:].value, tensor(2, 3))
    table = Estimate(torch.eye(3).double(), torch.zeros(3, 3).double(), "quadrature")
    assert float(table[1, 1]) == 1
    assert table[1].value.shape == (3,)
    draws = torch.arange(24, dtype=torch.float64).reshape(4, 2, 3)
    sampled = Estimate.from_replicates(draws)
    assert sampled[1, 2].replicates.tolist() == draws[:, 1, 2].tolist()
    assert sampled.sum().replicates.tolist() == draws.sum((1, 2)).tolist()


def test_numerical_errors_add_and_standard_errors_add_in_quadrature():
    both = exact(1.0) + exact(2.0)
    assert (float(both), float(both.error)) == (3.0, pytest.approx(2e-3))
    one = Estimate(tensor(1), tensor(3), "sampling")
    two = Estimate(tensor(1), tensor(4), "sampling")
    assert float((one + two).error) == 5
    mixed = one + exact(1.0)
    assert mixed.method == "sampling"
    assert float(mixed.error) == pytest.approx(3.001)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("closed form", "closed form", "closed form"),
        ("closed form", "quadrature", "quadrature"),
        ("quadrature", "sampling", "sampling"),
        ("sampling", "bound", "bound"),
        ("bound", "closed form", "bound"),
    ],
)
def test_a_sum_is_as_certain_as_its_least_certain_part(first, second, expected):
    for a, b in ((first, second), (second, first)):
        assert (exact(1.0, method=a) + exact(1.0, method=b)).method == expected


def test_intervals_of_sampled_values_are_students():
    draws = tensor(1.0, 1.2, 0.8, 1.0)
    low, high = Estimate.from_replicates(draws).interval(0.9)
    expected = stats.t.interval(0.9, 3, loc=draws.mean(), scale=stats.sem(draws.numpy()))
    assert_close(torch.stack([low, high]), tensor(*expected))
    low, high = Estimate(tensor(0), tensor(1), "sampling").interval()
    assert_close(torch.cat([low, high]), tensor(-1.959963984540054, 1.959963984540054))


def test_intervals_of_other_values_are_value_and_error():
    for level in (0.5, 0.95):
        low, high = exact(1.0).interval(level)
        assert (float(low), float(high)) == (pytest.approx(0.999), pytest.approx(1.001))


def test_intervals_cover_as_often_as_they_say():
    # 2,000 intervals at 80 % from 8 normal replicates: the share that covers has se 0.009
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(8, 2000, generator=generator, dtype=torch.float64)
    low, high = Estimate.from_replicates(draws).interval(0.8)
    share = float(((low < 0) & (high > 0)).double().mean())
    assert share == pytest.approx(0.8, abs=0.036)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 2.0, math.nan])
def test_levels_lie_between_0_and_1(level):
    with pytest.raises(
        ValueError, match="level must be a number strictly between 0 and 1; received"
    ):
        exact(1.0).interval(level)


def test_only_single_numbers_convert():
    assert float(exact(2.0)) == 2
    with pytest.raises(TypeError, match=r"only a single number .* has shape \(2,\)"):
        float(exact(1.0, 2.0))


def test_shapes_of_value_and_error_agree():
    with pytest.raises(ValueError, match=r"error must have the shape of value; received \(2,\)"):
        Estimate(tensor(1.0), tensor(1.0, 2.0), "quadrature")
    with pytest.raises(ValueError, match="replicates must have shape .* for a standard error"):
        Estimate.from_replicates(tensor(1.0))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.0383, 2e-9, "0.0383 ± 2e-09 (quadrature)"),
        (0.03825621518, 4e-5, "0.03826 ± 4e-05 (quadrature)"),
        (0.0, 1e-3, "0 ± 0.001 (quadrature)"),
        (1.5, 0.0, "1.5 ± 0 (quadrature)"),
        (-2.0, 0.1, "-2 ± 0.1 (quadrature)"),
        (1e-3, 10.0, "0.001 ± 1e+01 (quadrature)"),
        (math.inf, 1.0, "inf ± 1 (quadrature)"),
    ],
)
def test_repr_shows_the_digits_that_are_known(value, error, text):
    found = Estimate(torch.tensor(value).double(), torch.tensor(error).double(), "quadrature")
    assert repr(found) == text


def test_repr_of_an_array_shows_its_shape():
    assert repr(exact(1.0, 2.0)) == "Estimate(shape=(2,), method='quadrature')"


def test_a_sum_with_what_is_not_sampled_keeps_its_replicates():
    sampled = Estimate.from_replicates(tensor(1.0, 2.0, 4.0))
    both = sampled + Estimate(tensor(1.0)[0], tensor(0.0)[0], "quadrature")
    low, high = sampled.interval(0.99)
    assert [float(v) for v in both.interval(0.99)] == pytest.approx(
        [float(low) + 1, float(high) + 1]
    )
