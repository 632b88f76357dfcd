"""Figures about steps and grids: what is drawn is what the rows say."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from smdtheory import plots

NEEDED = pd.DataFrame(
    {
        "arm": arm,
        "error": error,
        "steps_needed": np.nan if (arm, error) == ("fixed_small", 0.01) else steps / error,
        "steps_estimated": np.nan if arm == "fixed_small" else 1.1 * steps / error,
    }
    for arm, steps in (("full", 2), ("fixed_small", 6), ("soft_mixture", 1))
    for error in (0.01, 1.0, 0.1)
)
LEVELS = pd.DataFrame(
    {"grid": grid, "arm": arm, "t": t, "snr": snr}
    for grid, arm, levels in (("cosine", None, (9.0, 1.0, 0.1)), ("best", "full", (30.0, 3.0, 0.1)))
    for t, snr in enumerate(levels, 1)
)
SUMS = pd.DataFrame(
    {"grid": grid, "arm": arm, "M_sum": value}
    for grid, arm, value in (
        ("cosine", "full", 0.2), ("cosine", "isotropic", 0.5),
        ("best", "full", 0.1), ("best", "isotropic", 0.3),
    )
)  # fmt: skip


def test_steps_against_error_draws_both_routes():
    fig = plots.steps_against_error(NEEDED, title="a claim", subtitle="what was measured")
    left, right = fig.axes
    lines = {line.get_label(): line for line in left.lines}
    for arm in ("fixed_small", "full", "soft_mixture"):
        look = plots.LOOKS[arm]
        own = NEEDED[NEEDED["arm"] == arm].sort_values("error", ascending=False)
        assert_allclose(lines[look.label].get_xydata(), own[["error", "steps_needed"]])
        assert lines[look.label].get_color() == look.color
    (ratio,) = [line for line in right.lines if line.get_label() == plots.LOOKS["full"].label]
    assert_allclose(ratio.get_ydata(), 1.1)
    assert plots.LOOKS["soft_mixture"].label not in [line.get_label() for line in right.lines]
    for ax in fig.axes:
        assert ax.get_xlim()[0] > ax.get_xlim()[1]  # smaller errors to the right
        assert "nats" in ax.get_xlabel()
    assert sorted(text.get_text() for text in left.texts) == sorted(lines)


def test_missing_numbers_of_pandas_are_no_numbers():
    whole = NEEDED.assign(**{n: NEEDED[n].round().astype("Int64") for n in NEEDED.columns[2:]})
    assert len(plots.steps_against_error(whole).axes) == 2


def test_grids_are_drawn_level_by_level_and_family_by_family():
    fig = plots.grid_comparison(LEVELS, SUMS, title="a claim", subtitle="T = 3")
    left, right = fig.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["cosine", "best"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["cosine", "best"]
    drawn = [line for line in left.lines if line.get_linestyle() == "None"]
    assert_allclose(drawn[0].get_xdata(), [9.0, 1.0, 0.1])
    assert_allclose(drawn[1].get_xdata(), [30.0, 3.0, 0.1])
    assert drawn[1].get_color() == plots.LOOKS["full"].color
    for row in SUMS.itertuples():
        (point,) = [li for li in right.lines if li.get_gid() == f"{row.grid} {row.arm}"]
        assert_allclose(point.get_xdata(), [row.M_sum])
        assert_allclose(point.get_ydata(), [("cosine", "best").index(row.grid)])
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first grid on top
    said = [text.get_text() for legend in fig.legends for text in legend.get_texts()]
    assert said == [plots.LOOKS[arm].label for arm in ("isotropic", "full")]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: plots.steps_against_error([1]), TypeError, "DataFrame"),
        (lambda: plots.steps_against_error(NEEDED.drop(columns="error")), ValueError, "missing"),
        (lambda: plots.steps_against_error(NEEDED.iloc[:0]), ValueError, "at least one row"),
        (lambda: plots.steps_against_error(pd.concat([NEEDED, NEEDED])), ValueError, "one row for"),
        (lambda: plots.steps_against_error(NEEDED.assign(error=0.0).iloc[:1]), ValueError,
         "error must be positive"),
        (lambda: plots.grid_comparison(LEVELS.assign(snr=-1.0), SUMS), ValueError, "snr must be"),
        (lambda: plots.grid_comparison(LEVELS, SUMS.assign(M_sum=0.0)), ValueError, "M_sum must"),
        (lambda: plots.grid_comparison(LEVELS, pd.concat([SUMS, SUMS])), ValueError, "one row for"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
