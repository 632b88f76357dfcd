"""The text that people read: numbers, bounds, tables, and the sentence that must be true."""

from __future__ import annotations

from pathlib import Path

import pytest

from smdtheory.families import FAMILIES
from smdtheory.sweep import report
from smdtheory.sweep.columns import NUMBERS
from smdtheory.sweep.run import as_table, read_rows


def row(arm: str, steps: int, total: float, error: float = 1e-12, **more) -> dict:
    numbers = {name: value for base, value in
               {"M_1": total / 2, "M_rest": total / 2, "M_sum": total, "global_lower": total / 3,
                "global_upper": total, "prior_gap": 0.0}.items()
               for name, value in ((base, value), (f"{base}_error", error))}  # fmt: skip
    return {"shape": "ring", "modes": 8, "dim": 2, "separation": 1.0, "std": 0.1, "seed": 0,
            "schedule": "cosine", "arm": arm, "steps": steps, "M_sum_method": "quadrature",
            "global_value": None, "global_value_error": None, "samples": 8, "mixture_id": "x",
            **numbers, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.35061, 1e-9, "0.3506"),
        (2.25638, 1e-9, "2.256"),
        (0.35061, 0.004, "0.351"),
        (0.35061, 0.04, "0.35"),
        (1.234e-6, 1e-12, "1.23e-6"),
        (12345.6, 0.0, "12346"),
        (0.0, 0.0, "0"),
        (1e-12, 1e-11, "<3e-11"),
        (0.99999, 1e-9, "1.0000"),
        (float("inf"), 0.0, "inf"),
    ],
)
def test_numbers_show_what_their_error_leaves(value, error, text):
    assert report.number({"x": value, "x_error": error}, "x") == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.0, 2.2564, "0–2.26"),
        (0.31249, 0.99991, "0.312–1.000"),
        (0.0123, 0.0456, "0.012–0.046"),
        (-0.1, 0.5, "0–0.500"),
        (1.11e-5, 3.21e-4, "1e-5–4e-4"),
        (0.0, 0.0, "0"),
    ],
)
def test_bounds_are_rounded_outwards(low, high, text):
    shown = report.interval({"global_value": None, "global_lower": low, "global_upper": high})
    assert shown == text
    assert len(shown) <= report.ENTRY


def test_the_default_table_fits_a_terminal():
    arms = [*FAMILIES, "truncated_2", "soft_mixture"]
    rows = [row(arm, T, 10 / T**k) for k, arm in enumerate(arms) for T in (1, 10, 100, 1000)]
    text = report.closing(rows, [Path("runs/ring-8/rows.csv")])
    assert max(map(len, text.splitlines())) <= report.WIDTH
    for name in arms:
        assert all(part in text for part in name.replace("_", "_ ").split())


@pytest.mark.parametrize(
    ("rows", "said", "unsaid"),
    [
        (
            [row("isotropic", 1, 3.0), row("isotropic", 10, 0.5), row("full", 1, 2.0),
             row("full", 10, 0.001), row("soft_mixture", 1, 0.0), row("soft_mixture", 10, 0.0)],
            ["However it is trained", "at least 2.000 nats in all at T = 1",
             "full covariance at each point they stay below 0.01 from T = 10 on",
             "for each step they are still 0.5000 at T = 10", "soft mixture makes none"],
            [],
        ),
        (
            [row("fixed_small", 1, 3.0), row("fixed_small", 10, 4.0)],
            ["The best of the Gaussian families measured", "4.000 nats in all at T = 10"],
            ["However", "soft"],
        ),
        (
            [row("full", 2, 0.5), row("diagonal", 2, 0.5 - 1e-13), row("fixed_large", 2, 0.6)],
            ["with the best full covariance"],
            ["diagonal"],
        ),
        (
            [row("fixed_large", 2, 0.5), row("fixed_small", 2, 0.6)],
            ["at least 0.5000 nats", "with the larger fixed variance"],
            [],
        ),
        ([row("full", 5, 0.0), row("soft_mixture", 5, 0.3)],
         ["Gaussian steps are enough", "makes no error"], ["soft"]),
        ([row("full", 5, 0.004)], ["errors of at most 0.004000 nats"], ["no error"]),
        ([row("soft_mixture", 5, 0.0)], ["No Gaussian family has finished"], []),
    ],
)  # fmt: skip
def test_the_sentence_follows_from_the_numbers(rows, said, unsaid):
    text = report.sentence(rows)
    assert all(part in text for part in said), text
    assert not any(part in text for part in unsaid), text


def test_the_title_says_best_only_of_what_was_measured():
    rows = [row("isotropic", 1, 3.0), row("full", 1, 2.0), row("isotropic", 9, 0.5)]
    assert report.headline(rows[:2]) == (
        "Local errors of the best Gaussian denoiser: 2.000 nats at T = 1"
    )
    assert report.headline(rows) == (
        "Local errors of the best Gaussian measured: 2.000 nats at T = 1, 0.5000 nats at T = 9"
    )


def test_what_has_no_row_failed_on_the_screen_and_is_a_dash_in_the_file():
    rows = [row("isotropic", 1, 3.0), row("full", 9, 2.0)]
    assert report.closing(rows, []).count("failed") == 2 * len(report.BLOCKS)
    assert "failed" not in report.everything(rows)
    assert report.everything(rows).count("           –") == 2 * len(report.BLOCKS)


def test_ones_own_mixtures_of_one_size_have_different_headings():
    pair = [row("full", 1, 1.0, shape="custom", mixture_id=name) for name in ("a1", "b2")]
    first, second = map(report.heading, pair)
    assert first.startswith("your mixture of 8 components (a1), ")
    assert first != second


def test_several_groups_show_their_sums_and_leave_the_rest_to_the_file():
    rows = [row("full", 1, 1.0, mixture_id=name) for name in ("a", "b")]
    text = report.closing(rows, [])
    assert text.count("All local errors") == 2
    assert "Global error" not in text
    assert report.everything(rows).count("Global error, KL") == 2
    assert len(report.groups([*rows, {**rows[0], "seed": 1}])) == 3


def test_rows_that_an_earlier_version_left_still_make_tables():
    stored = Path(__file__).parents[1] / "notebooks" / "rows" / "ring-8_long.csv"
    rows = read_rows(stored)
    table = as_table(rows)
    assert len(table) == len(rows) > 0
    assert "version" in table
    assert not any(table[name].dtype == object for name in NUMBERS if name in table)
