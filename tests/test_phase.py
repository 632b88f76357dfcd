"""The phase diagram: rows against the search they come from, and the figure against the rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from smdtheory import plots, presets
from smdtheory.sweep import phase_rows
from smdtheory.theory import steps_needed

ROWS = pd.DataFrame(
    {
        "arm": arm,
        "modes": modes,
        "ratio": ratio,
        "steps_needed": np.nan if (arm, ratio) == ("fixed_small", 8.0) else scale * modes * ratio,
        "searched": 8192,
    }
    for arm, scale in (("fixed_small", 4), ("full", 1))
    for modes in (2, 8)
    for ratio in (2.0, 4.0, 8.0)
)


def test_rows_are_the_steps_of_standardized_mixtures():
    rows = phase_rows(0.2, modes=[3], ratios=[2.0, 8.0], families=["isotropic", "full"])
    assert [(row["ratio"], row["arm"]) for row in rows] == [
        (2.0, "isotropic"), (2.0, "full"), (8.0, "isotropic"), (8.0, "full"),
    ]  # fmt: skip
    for row in rows:
        # a ring of radius 1 has neighbours √3 apart
        mixture = presets.ring(3, 1.0, 3**0.5 / row["ratio"]).standardized()
        found = steps_needed(mixture, 0.2, row["arm"])
        assert row["steps_needed"] == found.steps
        assert row["M_sum"] == pytest.approx(float(found.reached), abs=1e-7)
        assert row["modes"] == 3
        assert row["error"] == 0.2
    assert rows[3]["steps_needed"] <= rows[2]["steps_needed"]


def test_steps_are_drawn_as_they_are_and_what_never_gets_there_at_the_top():
    fig = plots.phase_diagram(ROWS, title="a claim", subtitle="what was measured")
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == ["2 modes", "8 modes"]
    for ax, modes in zip(shown, (2, 8), strict=True):
        for arm in ("fixed_small", "full"):
            own = ROWS[(ROWS["modes"] == modes) & (ROWS["arm"] == arm)]
            (line,) = [li for li in ax.lines if li.get_label() == plots.LOOKS[arm].label]
            assert_allclose(line.get_xydata(), own[["ratio", "steps_needed"]])
        (never,) = [li for li in ax.lines if li.get_gid() == "never fixed_small"]
        assert_allclose(never.get_xdata(), [8.0])
        assert ax.get_ylim()[1] > never.get_ydata()[0] > ROWS["steps_needed"].max()
    said = [text.get_text() for legend in fig.legends for text in legend.get_texts()]
    assert "filled, at the top: not within 8192 steps" in said


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([{"arm": "full"}], TypeError, "DataFrame"),
        (ROWS.drop(columns="ratio"), ValueError, "missing: ratio"),
        (ROWS.iloc[:0], ValueError, "at least one row"),
        (pd.concat([ROWS, ROWS]), ValueError, "one row for each"),
        (ROWS.assign(ratio=-1.0 * ROWS["ratio"]), ValueError, "positive"),
        (ROWS.assign(steps_needed=0), ValueError, "positive"),
        (ROWS.assign(steps_needed="many"), ValueError, "numbers"),
    ],
)
def test_bad_rows_are_named(rows, kind, message):
    with pytest.raises(kind, match=message):
        plots.phase_diagram(rows)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"error": 0.0}, ValueError, "error must be positive"),
        ({"modes": [0]}, ValueError, "modes must be a whole number"),
        ({"modes": [1]}, ValueError, "no neighbours"),
        ({"modes": []}, ValueError, "at least one"),
        ({"ratios": [0.0]}, ValueError, "ratios must be positive"),
        ({"ratios": [5e-324]}, ValueError, "ratios must be .* at least 0.0001"),
        ({"ratios": [float("nan")]}, ValueError, "ratios must be positive"),
        ({"ratios": ["wide"]}, TypeError, "ratios must be a number"),
        ({"shape": "random"}, ValueError, "shape must be"),
        ({"families": ["best"]}, ValueError, "families must be among"),
        ({"schedule": "cos"}, ValueError, "schedule must be"),
    ],
)
def test_bad_options_are_named(options, kind, message):
    with pytest.raises(kind, match=message):
        phase_rows(**({"modes": [2], "ratios": [1.0], "families": ["full"]} | options))
