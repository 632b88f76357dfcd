"""What the figures show is what they were given."""

import io
import itertools
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.text import Text
from numpy.testing import assert_allclose
from PIL import Image
from test_plots_grids import LEVELS, NEEDED, SUMS

from smdtheory import plots
from smdtheory.families import FAMILIES, LEARNED

SNR = np.array([np.inf, 8.0, 2.0, 0.5, 0.1])
T = len(SNR) - 1
CHAIN = {name: np.array([0.0, 0.3, 0.2, 0.1, 0.05]) / (k + 1) for k, name in enumerate(FAMILIES)}
STEPS = (1, 10, 100)


def make_rows(sums: dict[str, float], error: float = 1e-6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": arm,
            "steps": steps,
            "M_sum": size / steps,
            "M_sum_error": error * size,
            "global_lower": 0.1 * size / steps,
            "global_upper": 0.9 * size / steps,
        }
        for arm, size in sums.items()
        for steps in STEPS
    )


ROWS = make_rows({name: 1.0 / (k + 1) for k, name in enumerate(FAMILIES)})
WORST = pd.DataFrame(
    {"arm": arm, "ratio": r, "share": (1 - 1 / r) / k, "share_error": 0.01,
     "lattice": (1 - 0.9 / r) / k, "ceiling": min(1.0, r / 3)}
    for k, arm in enumerate(("fixed_small", "isotropic", "full"), 1)
    for r in (1.5, 10.0, 300.0)
)  # fmt: skip
THIN = pd.DataFrame(
    {"panel": panel, "arm": arm, "std": std, "value": size * k / std**power, "error": 0.01 * k}
    for panel, size, power in (("E (nats)", 0.0, 0), ("$M_2$ (nats)", 1, 0), ("$M_1$ (nats)", 1, 2))
    for k, arm in enumerate(("full", "Gaussian cells"), 1)
    for std in (1e-1, 1e-2, 1e-3)
)  # fmt: skip
RATIOS = pd.DataFrame(
    {"mixture": mixture, "arm": arm, "steps": steps, "ratio": 1 + slope / steps, "ratio_error": 0.0}
    for mixture in ("4 modes, d = 1", "ring of 8, d = 2")
    for arm, slope in (("isotropic", 10), ("full", -20))
    for steps in (100, 200, 400, 1600)
)
QUANTITIES = pd.DataFrame(
    {"panel": panel, "arm": arm, "steps": steps, "value": size * k / steps, "error": 0.3 / steps}
    for panel, size in (("bits", 1.0), ("energy distance", 0.1), ("Fréchet", 5.0), ("M", 2.0))
    for k, arm in enumerate(("gaussian", "soft_energy"), 1)
    for steps in (1, 10, 1000)
)
GAINS = pd.DataFrame(
    {"soft": "soft_energy", "arm": arm, "steps": steps, "forecast": 9.0 / steps,
     "measured": 7.0 / steps - 1, "measured_error": 0.2}
    for arm in ("gaussian", "diagonal")
    for steps in (1, 10, 100)
)  # fmt: skip
PHASE = pd.DataFrame(
    {"arm": arm, "modes": modes, "ratio": ratio, "searched": 8192,
     "steps_needed": np.nan if (arm, ratio) == ("fixed_small", 8) else ratio * modes}
    for arm in FAMILIES for modes in (2, 4, 8) for ratio in (1, 2, 8)
)  # fmt: skip
TABLE = np.where(
    np.triu(np.ones((5, 5)), 1) > 0, np.add.outer(np.arange(5) * 0, np.arange(5)), np.nan
)
GRID = np.linspace(-3, 3, 61)
BELL = np.exp(-(GRID**2) / 2)
SQUARE = BELL[:, None] * BELL
GAMMA = np.geomspace(0.05, 20, 2001)


def staircase(**options: object) -> Figure:
    """A standard normal: mmse(γ) = 1/(1 + γ), I(γ) = ½ log(1 + γ)."""
    arguments = {
        "snr": SNR, "grid_mmse": np.append(0.0, 1 / (1 + SNR[1:])), "dim": 1, "total": total(),
    }  # fmt: skip
    return plots.mmse_staircase(GAMMA, 1 / (1 + GAMMA), **arguments | options)


def total() -> float:
    """Σ_{t >= 2} M_t^fixed_small of a standard normal, in closed form."""
    high, low = SNR[1:-1], SNR[2:]
    return float((0.5 * (high - low) / (1 + low) - 0.5 * np.log((1 + high) / (1 + low))).sum())


FIGURES = {
    "posterior": lambda **k: plots.posterior_against_gaussians(
        GRID, [BELL, 2 * BELL], {name: [BELL, BELL] for name in FAMILIES}, panels=["a", "b"],
        errors={"full": [0.1, 0.2]}, **k,
    ),
    "contours": lambda **k: plots.posterior_contours(
        GRID, GRID, SQUARE, {name: ([0, 0], np.eye(2)) for name in FAMILIES},
        errors={"full": 0.1}, **k,
    ),
    "beside": lambda **k: plots.posterior_beside_models(
        GRID, GRID, [SQUARE, SQUARE], {name: [SQUARE, SQUARE] for name in LEARNED[:3]},
        panels=["$x_t$ = (0, 0)", "$x_t$ = (0.6, 0.25)"], errors={"gaussian": [0.1, 0.2]}, **k,
    ),
    "chain": lambda **k: plots.error_along_chain(CHAIN | {"soft_mixture": np.zeros(T + 1)}, **k),
    "chain over SNR": lambda **k: plots.error_along_chain(CHAIN, snr=SNR, **k),
    "map": lambda **k: plots.error_map(TABLE, family="full", **k),
    "map over SNR": lambda **k: plots.error_map(TABLE, family="full", snr=SNR, **k),
    "staircase": staircase,
    "straight staircase": lambda **k: staircase(scale="linear", **k),
    "steps": lambda **k: plots.error_against_steps(ROWS, **k),
    "global": lambda **k: plots.global_error_against_steps(ROWS, **k),
    "worst": lambda **k: plots.worst_case(WORST, **k),
    "thin": lambda **k: plots.error_against_std(THIN, **k),
    "deviation": lambda **k: plots.deviation_against_steps(RATIOS, **k),
    "quantities": lambda **k: plots.quantities_against_steps(QUANTITIES, **k),
    "draws": lambda **k: plots.draws_by_arm(
        {arm: np.full((32, 256), 99, dtype=np.uint8) for arm in LEARNED[:4]}, [1, 2, 10, 100], **k
    ),
    "forecast": lambda **k: plots.forecast_against_measured(GAINS, **k),
    "needed": lambda **k: plots.steps_against_error(NEEDED, **k),
    "grids": lambda **k: plots.grid_comparison(LEVELS, SUMS, **k),
    "phase": lambda **k: plots.phase_diagram(PHASE, **k),
}  # fmt: skip
figures = pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)


def lines(ax, name):
    return [line for line in ax.lines if line.get_label() == plots.looks([name])[name].label]


def words(fig):
    return [text.get_text() for text in fig.findobj(Text)]


# --- every figure -----------------------------------------------------------------------------


@figures
@pytest.mark.parametrize("width", [plots.COLUMN, plots.PAGE])
def test_no_text_leaves_the_figure_or_covers_other_text(make, width, monkeypatch):
    fig = make(width=width, title="A claim that is long enough to be broken " * 2, subtitle="d = 1")
    drawn = []
    draw = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn.append((self.get_text(), Text.get_window_extent(self, renderer)))
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", record)
    fig.draw_without_rendering()
    assert fig.get_figwidth() == width
    assert len(drawn) > 5
    for text, box in drawn:
        assert min(box.x0, box.y0) >= -1, text
        assert max(box.x1 - fig.bbox.x1, box.y1 - fig.bbox.y1) <= 1, text
    for (one, box), (other, another) in itertools.combinations(drawn, 2):
        assert not box.padded(-1.5).overlaps(another.padded(-1.5)), (one, other)


@figures
def test_title_and_subtitle_are_shown(make):
    assert {"a claim", "d = 1, seed 0"} <= set(
        words(make(title="a claim", subtitle="d = 1, seed 0"))
    )


@figures
def test_global_state_is_left_alone(make):
    import matplotlib.pyplot as plt

    with mpl.rc_context({"font.size": 31.0}):
        before = dict(mpl.rcParams)
        plots_open = plt.get_fignums()
        make()
        assert dict(mpl.rcParams) == before
        assert plt.get_fignums() == plots_open


@figures
def test_a_saved_figure_holds_the_numbers_that_it_shows(make, tmp_path):
    fig = make(title="a claim")
    assert fig.numbers is not None
    assert len(fig.numbers) > 2
    assert np.isfinite(fig.numbers.select_dtypes("number")).any().all()
    png, _ = plots.save(fig, tmp_path / "figure")
    pd.testing.assert_frame_equal(
        plots.read_numbers(png),
        fig.numbers.reset_index(drop=True),
        rtol=1e-8,
        check_dtype=False,
        check_index_type=False,
    )


def test_the_numbers_are_those_drawn_with_their_half_widths():
    rows = ROWS.assign(seconds=1.0)
    noted = plots.error_against_steps(rows).numbers
    assert list(noted) == ["arm", "steps", "M_sum", "M_sum_error"]
    assert_allclose(noted["M_sum"], rows["M_sum"])
    noted = plots.error_along_chain(CHAIN, uncertainty={"full": 0.1 * CHAIN["full"]}).numbers
    full = noted[noted["arm"] == "full"]
    assert_allclose(full[["t", "value"]], np.column_stack([np.arange(1, T + 1), CHAIN["full"][1:]]))
    assert_allclose(full["value_error"], 0.1 * full["value"])
    learned = plots.posterior_beside_models(
        GRID, GRID, SQUARE, {"gaussian": SQUARE}, errors={"gaussian": 0.123}
    ).numbers
    (half,) = learned.loc[learned["of"] == "KL", "value_error"]
    assert half == pytest.approx(0.005)  # written as 0.12


def test_a_png_has_few_colours_and_a_notebook_shows_it_sharp(tmp_path):
    fig = FIGURES["steps"](width=plots.COLUMN)
    bundle, sizes = fig._repr_mimebundle_()
    png, _ = plots.save(fig, tmp_path / "figure")
    for file in (png, io.BytesIO(bundle["image/png"])):
        image = Image.open(file)
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((1, image.height - 2)) == (255, 255, 255)
        assert image.width == round(200 * plots.COLUMN) == 2 * sizes["image/png"]["width"]


def test_photographs_keep_their_colours(tmp_path):
    strip = np.arange(96 * 96 * 3).reshape(96, 96, 3) * 7 % 256
    png, _ = plots.save(plots.draws_by_arm({"gaussian": strip}, [1]), tmp_path / "draws")
    with Image.open(png) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("name", ["contours", "chain", "map"])
def test_saved_bytes_repeat(name, tmp_path):
    make = FIGURES[name]
    first = plots.save(make(), tmp_path / "new" / "folder" / "a.b")
    second = plots.save(make(), str(tmp_path / "second"))
    assert [path.name for path in first] == ["a.b.png", "a.b.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"CreationDate" not in first[1].read_bytes()


@figures
@pytest.mark.parametrize("width", [0, -1.0, float("nan"), 100])
def test_impossible_width(make, width):
    with pytest.raises(ValueError, match="inches"):
        make(width=width)


def test_plots_import_neither_torch_nor_another_room():
    code = (
        "import sys, smdtheory.plots\n"
        "print(*(m for m in sys.modules if m.split('.')[0] in ('torch', 'smdtheory')))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(output.stdout.split())
    assert "smdtheory.plots" in loaded
    assert not {name for name in loaded if name.split(".")[0] == "torch"}
    rooms = {name for name in loaded if name.startswith("smdtheory.")}
    assert {name for name in rooms if not name.startswith("smdtheory.plots")} == set()


# --- looks ------------------------------------------------------------------------------------


def test_every_family_has_a_look_of_its_own_in_colour_and_in_grey():
    assert {*FAMILIES, *LEARNED} < set(plots.LOOKS)
    exact = [look for name, look in plots.LOOKS.items() if name not in LEARNED]
    learned = [plots.LOOKS[name] for name in LEARNED]
    for part in ("color", "line", "marker", "label"):
        for group in (exact, learned) if part != "line" else (exact,):
            values = [getattr(look, part) for look in group]
            assert len(set(values)) == len(values), part
    everyone = [(look.color, look.line, look.marker) for look in plots.LOOKS.values()]
    assert len(set(everyone)) == len(everyone)
    assert {name: look.color for name, look in plots.LOOKS.items()} == plots.COLORS


def test_unknown_names_get_spare_looks():
    found = plots.looks(["mine", "yours", "truncated_3"])
    assert [found[name].label for name in found] == ["mine", "yours", "truncated to 3"]
    assert found["mine"].marker != found["yours"].marker


# --- posterior --------------------------------------------------------------------------------


def test_posterior_curves_are_the_densities_given():
    curves = {"full": [BELL, 2 * BELL], "soft_mixture": [3 * BELL, 4 * BELL]}
    fig = plots.posterior_against_gaussians(
        GRID, [5 * BELL, 6 * BELL], curves, panels=["left", "right"], errors={"full": [0.25, 0.7]}
    )
    assert len(fig.axes) == 2
    for panel, (ax, heading) in enumerate(zip(fig.axes, ("left", "right"), strict=True)):
        for name, values in curves.items():
            (line,) = lines(ax, name)
            assert_allclose(line.get_xydata(), np.column_stack([GRID, values[panel]]))
        assert_allclose(ax.lines[0].get_ydata(), (5 + panel) * BELL)
        assert ax.get_title(loc="left").split("\n")[0] == heading
        error = ("0.25", "0.70")[panel]
        assert f"full {error} nats" in ax.get_title(loc="left").replace("\N{NO-BREAK SPACE}", " ")


def test_contour_ellipses_are_one_and_two_sigma():
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    fig = plots.posterior_contours(GRID, GRID, SQUARE, {"full": ([0.2, -0.1], covariance)})
    ellipses = [patch for patch in fig.axes[0].patches if isinstance(patch, Ellipse)]
    assert len(ellipses) == 2
    for sigmas, ellipse in zip((1, 2), ellipses, strict=True):
        rim = ellipse.get_patch_transform().transform(ellipse.get_path().vertices[:-1:3])
        offset = rim - [0.2, -0.1]
        distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        assert_allclose(distance, sigmas**2, rtol=2e-3)
    (mean,) = lines(fig.axes[0], "full")
    assert_allclose(mean.get_xydata(), [[0.2, -0.1]])


def test_densities_beside_a_posterior_are_drawn_in_panels_of_their_own():
    moved = {"gaussian": [SQUARE, SQUARE], "soft_energy": [SQUARE, np.roll(SQUARE, 10, axis=1)]}
    fig = plots.posterior_beside_models(
        GRID, GRID, [SQUARE, SQUARE], moved, panels=["a", "b"], errors={"soft_energy": [0.25, 0.7]}
    )
    axes = np.array(fig.axes).reshape(3, 2).T
    assert [ax.get_title() for ax in axes[:, 0]] == ["a", "b"]
    assert axes[0, 0].get_ylabel() == "posterior"
    assert [ax.get_title() for ax in axes[:, 2]] == ["KL 0.25 nats", "KL 0.70 nats"]
    labels = [" ".join(ax.get_ylabel().split()) for ax in axes[0, 1:]]
    assert labels == ["learned Gaussian", "soft, energy score"]
    step = GRID[1] - GRID[0]
    for ax, middle in ((axes[0, 2], 0.0), (axes[1, 2], 10 * step)):
        innermost = ax.collections[-1].get_paths()[-1].vertices
        centre = (innermost.min(0) + innermost.max(0)) / 2
        assert_allclose(centre, [middle, 0], atol=step)


# --- one chain --------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [None, SNR], ids=["t", "SNR"])
def test_chain_lines_and_bands_are_the_values_given(snr):
    fig = plots.error_along_chain(CHAIN, uncertainty={"full": 0.1 * CHAIN["full"]}, snr=snr)
    ax = fig.axes[0]
    x = np.arange(1, T + 1) if snr is None else SNR[1:]
    for name in FAMILIES:
        (line,) = lines(ax, name)
        assert_allclose(line.get_xydata(), np.column_stack([x, CHAIN[name][1:]]))
    band = ax.collections[FAMILIES.index("full")].get_paths()[0].vertices[:, 1]
    assert_allclose([band.min(), band.max()], [0.9 * CHAIN["full"][T], 1.1 * CHAIN["full"][1]])
    assert ax.get_yscale() == "log"
    assert ax.get_xscale() == ("linear" if snr is None else "log")
    labels = [text.get_text() for text in ax.texts]
    assert sorted(labels) == sorted(plots.LOOKS[name].label for name in FAMILIES)


def test_another_quantity_along_the_chain_has_a_name_of_its_own():
    assert plots.error_along_chain(CHAIN).axes[0].get_ylabel() == "local error $M_t$ (nats)"
    assert plots.error_along_chain(CHAIN, ylabel="share").axes[0].get_ylabel() == "share"


def test_a_zero_is_drawn_as_a_zero():
    smallest = 1e-9
    values = {"full": [0, 1, 1e-3, smallest], "soft_mixture": np.full(4, 3e-16)}
    fig = plots.error_along_chain(values)
    ax = fig.axes[0]
    assert "exact soft mixture: 0 within 3e-16" in words(fig)
    (zero,) = lines(ax, "soft_mixture")
    assert_allclose(zero.get_xdata(), [1, 2, 3])
    height = ax.transAxes.inverted().transform(zero.get_transform().transform(zero.get_xydata()))
    assert (height[:, 1] < 0.1).all()
    lowest = ax.transAxes.inverted().transform(ax.transData.transform((1, smallest)))
    assert lowest[1] > 0.13
    assert min(ax.get_yticks()) >= smallest / 2


def test_line_stops_where_the_error_is_within_its_uncertainty():
    fig = plots.error_along_chain({"full": [0, 1, 0.5, 0.25]}, uncertainty={"full": [0, 0, 0, 0.3]})
    (line,) = lines(fig.axes[0], "full")
    assert_allclose(line.get_ydata(), [1, 0.5, np.nan])


def test_map_shows_the_table_and_nothing_outside():
    fig = plots.error_map(TABLE, family="isotropic_x")
    (mesh,) = (c for c in fig.axes[0].collections if isinstance(c.norm, LogNorm) and c.colorbar)
    shown = mesh.get_array().reshape(T, T)
    assert_allclose(shown.filled(np.nan), TABLE[:-1, 1:])
    corners = mesh.get_coordinates()
    assert_allclose(corners[0, :, 0], np.arange(0.5, T + 1))
    assert_allclose(corners[:, 0, 1], np.arange(-0.5, T))
    assert "$M[s, t]$ (nats), isotropic per x" in words(fig)


def test_map_over_snr_has_every_level_inside_its_cell():
    fig = plots.error_map(TABLE, family="full", snr=SNR)
    mesh = next(c for c in fig.axes[0].collections if c.colorbar)
    corners = mesh.get_coordinates()
    columns, rows = corners[0, :, 0], corners[:, 0, 1]
    assert ((columns[1:] < SNR[1:]) & (SNR[1:] < columns[:-1])).all()
    assert ((rows[2:] < SNR[1:-1]) & (SNR[1:-1] < rows[1:-1])).all()
    assert rows[0] > rows[1] > SNR[1]
    assert "∞" in words(fig)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_shaded_area_is_twice_the_error(scale):
    ax = staircase(scale=scale).axes[0]
    shades = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert len(shades) == T - 1
    area = 0.0
    for shade in shades:
        x, y = shade.get_paths()[0].vertices.T
        x = np.log(x) if scale == "log" else x
        area += abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert_allclose(area, 2 * total(), rtol=1e-5)
    assert ax.get_xscale() == scale


def test_staircase_curve_and_bound_are_those_given():
    fig = staircase()
    curve, bound = (
        next(line for line in fig.axes[0].lines if line.get_label() == label)
        for label in ("mmse(γ)", "bound d/γ")
    )
    assert_allclose(curve.get_ydata(), GAMMA / (1 + GAMMA))
    assert_allclose(bound.get_ydata(), 1.0)
    assert any(f"= {2 * total():.3g} nats" in text for text in words(fig))


# --- number of steps --------------------------------------------------------------------------


def test_sums_against_steps_are_the_rows():
    fig = plots.error_against_steps(ROWS.sample(frac=1, random_state=0))
    ax = fig.axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    for name in FAMILIES:
        (line,) = lines(ax, name)
        rows = ROWS[ROWS["arm"] == name]
        assert_allclose(line.get_xydata(), rows[["steps", "M_sum"]])
    assert len(ax.containers) == len(FAMILIES)


def test_global_error_against_steps_is_drawn_from_its_own_column():
    rows = ROWS.assign(global_value=2 * ROWS["M_sum"], global_value_error=0.0)
    ax = plots.error_against_steps(rows, quantity="global_value").axes[0]
    (line,) = lines(ax, "full")
    assert_allclose(line.get_ydata(), rows.loc[rows["arm"] == "full", "global_value"])
    assert "global error" in ax.get_ylabel()


def test_error_bars_have_the_given_half_width():
    fig = plots.error_against_steps(make_rows({"full": 1.0}, error=1e-3))
    (bars,) = fig.axes[0].containers[0].lines[2]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert_allclose(ends, [[1 / n - 1e-3, 1 / n + 1e-3] for n in STEPS])


def test_exact_arm_is_a_labelled_zero_and_does_not_stretch_the_axis():
    rows = pd.concat([ROWS, make_rows({"soft_mixture": 1e-17}, error=100.0)])
    fig = plots.error_against_steps(rows)
    assert "exact soft mixture: 0 within 1e-15" in words(fig)
    assert fig.axes[0].get_ylim()[0] > 1e-5


def test_sum_within_its_error_is_an_upper_limit():
    rows = make_rows({"full": 1.0}, error=0.05)
    fig = plots.error_against_steps(rows)
    (line,) = lines(fig.axes[0], "full")
    assert_allclose(line.get_ydata(), [1.0, 0.1, 0.01 + 0.05])
    caps = [cap for cap in fig.axes[0].containers[0].lines[1] if cap.get_marker() not in ("_", "|")]
    assert sum(len(cap.get_xdata()) for cap in caps) == 1


def test_global_interval_has_a_panel_for_each_arm():
    fig = plots.global_error_against_steps(ROWS)
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == [
        plots.LOOKS[name].label for name in FAMILIES
    ]
    for ax, name in zip(shown, FAMILIES, strict=True):
        rows = ROWS[ROWS["arm"] == name]
        drawn = [line.get_ydata() for line in ax.lines]
        for data, column in zip(drawn, ("global_lower", "global_upper", "M_sum"), strict=True):
            assert_allclose(data, rows[column])


def test_errors_that_are_all_zero_are_drawn():
    rows = make_rows({"soft_mixture": 0.0} | dict.fromkeys(FAMILIES, 1e-16))
    assert "0 within 2e-16" in words(plots.global_error_against_steps(rows))
    found = words(plots.error_against_steps(rows))
    assert {"full: 0 within 2e-16", "exact soft mixture: 0 within 2e-16"} <= set(found)


# --- bad input --------------------------------------------------------------------------------

BAD = {
    "missing column": (lambda: plots.error_against_steps(ROWS.drop(columns="M_sum")), "M_sum"),
    "missing bound": (
        lambda: plots.global_error_against_steps(ROWS.drop(columns="global_lower")),
        "global_lower",
    ),
    "no rows": (lambda: plots.error_against_steps(ROWS.iloc[:0]), "at least one row"),
    "other quantity": (lambda: plots.error_against_steps(ROWS, quantity="M_1"), "quantity"),
    "two rows for one T": (lambda: plots.error_against_steps(pd.concat([ROWS, ROWS])), "select"),
    "T = 0": (lambda: plots.error_against_steps(ROWS.assign(steps=ROWS["steps"] - 1)), "positive"),
    "words": (lambda: plots.error_against_steps(ROWS.assign(M_sum="much")), "numbers"),
    "negative bar": (lambda: plots.error_against_steps(ROWS.assign(M_sum_error=-1.0)), ">= 0"),
    "no errors": (lambda: plots.error_along_chain({}), "at least one"),
    "unequal chains": (
        lambda: plots.error_along_chain({"full": [0, 1], "isotropic": [0, 1, 2]}), "same length"),
    "chain of 1": (lambda: plots.error_along_chain({"full": [0.0]}), "T \\+ 1 >= 2"),
    "ragged": (lambda: plots.error_along_chain({"full": [[1], [1, 2]]}), "numbers"),
    "band without line": (
        lambda: plots.error_along_chain({"full": [0, 1]}, uncertainty={"diagonal": [0, 1]}),
        "diagonal"),
    "negative band": (
        lambda: plots.error_along_chain({"full": [0, 1]}, uncertainty={"full": [0, -1]}), ">= 0"),
    "short snr": (lambda: plots.error_along_chain(CHAIN, snr=SNR[:-1]), "snr"),
    "snr without inf": (lambda: plots.error_along_chain(CHAIN, snr=np.arange(5, 0, -1.0)), "inf"),
    "rising snr": (lambda: plots.error_map(TABLE, family="full", snr=SNR[[0, 2, 1, 3, 4]]), "fall"),
    "zero snr": (lambda: plots.error_along_chain(CHAIN, snr=[*SNR[:-1], 0.0]), "positive"),
    "map not square": (lambda: plots.error_map(TABLE[1:], family="full"), "shape"),
    "map of nothing": (lambda: plots.error_map(np.full((3, 3), np.nan), family="full"), "positive"),
    "staircase of one step": (lambda: staircase(snr=SNR[:2], grid_mmse=[0, 1]), "T >= 2"),
    "falling gamma": (
        lambda: plots.mmse_staircase(GAMMA[::-1], GAMMA, snr=SNR, grid_mmse=SNR), "increase"),
    "scale": (lambda: staircase(scale="cubic"), "'cubic'"),
    "density of another length": (
        lambda: plots.posterior_against_gaussians(GRID, BELL, {"full": BELL[1:]}), "shape"),
    "panels": (
        lambda: plots.posterior_against_gaussians(GRID, BELL, {}, panels=["a", "b"]), "1 heading"),
    "error of what is not drawn": (
        lambda: plots.posterior_against_gaussians(GRID, BELL, {}, errors={"full": [0]}), "full"),
    "contours transposed": (
        lambda: plots.posterior_contours(GRID, GRID[1:], SQUARE, {}), "posterior"),
    "lines beside": (
        lambda: plots.posterior_beside_models(GRID, GRID, SQUARE, {}, panels=["a", "b"]), "1 head"),
    "error of what is not beside": (
        lambda: plots.posterior_beside_models(GRID, GRID, SQUARE, {}, errors={"full": 0}), "full"),
    "density of nothing": (
        lambda: plots.posterior_beside_models(GRID, GRID, SQUARE, {"full": 0 * SQUARE}), "full"),
    "indefinite covariance": (
        lambda: plots.posterior_contours(GRID, GRID, SQUARE, {"full": ([0, 0], -np.eye(2))}),
        "positive definite"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rows_must_be_a_data_frame():
    with pytest.raises(TypeError, match="DataFrame"):
        plots.error_against_steps([{"arm": "full"}])


def test_worst_cases_are_the_rows():
    fig = plots.worst_case(WORST.sample(frac=1, random_state=0))
    (ax,) = fig.axes
    (lattice,) = [line for line in lines(ax, "full") if len(line.get_xdata()) == 3]
    own = WORST[WORST["arm"] == "full"]
    assert_allclose(lattice.get_xdata(), own["ratio"])
    assert_allclose(lattice.get_ydata(), own["lattice"])
    markers = [line for line in ax.lines if line.get_marker() == plots.LOOKS["full"].marker]
    assert_allclose(markers[0].get_ydata(), own["share"])
    (grey,) = [text for text in fig.findobj(Text) if text.get_text().startswith("excluded")]
    assert plots.LOOKS["fixed_small"].label in grey.get_text()  # the lowest of equals comes first


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        ({}, TypeError, "DataFrame"),
        (WORST.drop(columns="lattice"), ValueError, "missing: lattice"),
        (WORST.iloc[:0], ValueError, "at least one row"),
        (WORST.assign(ratio=1.0), ValueError, "above 1"),
        (WORST.assign(share_error=-1.0), ValueError, "share_error must be >= 0"),
    ],
)
def test_worst_cases_refuse_other_rows(rows, error, match):
    with pytest.raises(error, match=match):
        plots.worst_case(rows)


def test_errors_against_std_are_the_rows_in_their_panels():
    fig = plots.error_against_std(THIN.sample(frac=1, random_state=0).sort_values("panel"))
    assert [ax.get_ylabel() for ax in fig.axes] == sorted(THIN["panel"].unique())
    for ax in fig.axes:
        own = THIN[(THIN["panel"] == ax.get_ylabel()) & (THIN["arm"] == "full")]
        (line,) = lines(ax, "full")
        assert_allclose(line.get_xdata(), sorted(own["std"]))
        assert_allclose(line.get_ydata(), own.sort_values("std")["value"])
        thin, thick = ax.get_xlim()[::-1]
        assert thin < 1e-3 < 1e-1 < thick  # thin to the right


def test_a_panel_is_logarithmic_where_its_values_ask_for_it():
    scales = [ax.get_yscale() for ax in plots.error_against_std(THIN).axes]
    assert scales == ["linear", "linear", "log"]


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        ({}, TypeError, "DataFrame"),
        (THIN.drop(columns="panel"), ValueError, "missing: panel"),
        (THIN.iloc[:0], ValueError, "at least one row"),
        (THIN.assign(std=0.0), ValueError, "std must be positive"),
        (THIN.assign(error=-1.0), ValueError, "error must be >= 0"),
        (THIN.assign(std=0.1), ValueError, "several for"),
    ],
)
def test_errors_against_std_refuse_other_rows(rows, error, match):
    with pytest.raises(error, match=match):
        plots.error_against_std(rows)


def test_deviations_are_those_of_the_ratios():
    fig = plots.deviation_against_steps(RATIOS.sample(frac=1, random_state=0))
    assert {ax.get_title("left") for ax in fig.axes} == set(RATIOS["mixture"])
    for ax in fig.axes:
        for arm, slope in (("isotropic", 10), ("full", 20)):
            (line,) = lines(ax, arm)
            assert_allclose(line.get_ydata(), slope / line.get_xdata())
        filled = {
            line.get_marker(): line.get_markerfacecolor()
            for line in ax.lines
            if line.get_marker() not in ("", "None") and np.isfinite(line.get_ydata()).any()
        }
        assert filled["o"] == "white"  # isotropic: above
        assert filled["P"] == plots.COLORS["full"]  # full: below


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (RATIOS.drop(columns="ratio"), "missing: ratio"),
        (RATIOS.assign(steps=100), "several for"),
        (RATIOS.assign(ratio_error=-1.0), "ratio_error must be >= 0"),
    ],
)
def test_deviations_refuse_other_rows(rows, match):
    with pytest.raises(ValueError, match=match):
        plots.deviation_against_steps(rows)


def test_quantities_are_the_rows():
    fig = plots.quantities_against_steps(QUANTITIES.sample(frac=1, random_state=0))
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert sorted(ax.get_ylabel() for ax in shown) == sorted(set(QUANTITIES["panel"]))
    for ax in shown:
        here = QUANTITIES[QUANTITIES["panel"] == ax.get_ylabel()]
        for line, (_, table) in zip(ax.lines[::3], here.groupby("arm"), strict=False):
            assert_allclose(line.get_xydata(), table[["steps", "value"]])


def test_quantities_that_hardly_differ_are_on_a_linear_axis():
    fig = plots.quantities_against_steps(QUANTITIES.assign(value=4 + QUANTITIES["steps"] / 1000))
    assert {ax.get_yscale() for ax in fig.axes if ax.get_visible()} == {"linear"}


def test_what_is_not_positive_is_left_out_and_the_axis_holds_the_rest():
    rows = QUANTITIES.assign(value=QUANTITIES["value"].where(QUANTITIES["steps"] > 1, -1.0))
    shown = [ax for ax in plots.quantities_against_steps(rows).axes if ax.get_visible()]
    for ax in shown:
        low, high = ax.get_ylim()
        kept = rows.loc[(rows["panel"] == ax.get_ylabel()) & (rows["value"] > 0), "value"]
        assert low < kept.min()
        assert kept.max() < high


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (QUANTITIES.drop(columns="panel"), "missing: panel"),
        (QUANTITIES.assign(error=-1.0), "error"),
        (QUANTITIES.assign(steps=0), "steps must be positive"),
        (pd.concat([QUANTITIES, QUANTITIES[:1]]), "received several"),
        (QUANTITIES.assign(value=-1.0), "must have a positive value"),
    ],
)
def test_quantities_refuse_other_rows(rows, match):
    with pytest.raises(ValueError, match=match):
        plots.quantities_against_steps(rows)


def test_forecasts_and_gains_are_the_rows():
    (ax,) = plots.forecast_against_measured(GAINS).axes
    lines = {line.get_label(): line.get_xydata() for line in ax.lines}
    found = np.concatenate([lines["learned Gaussian"], lines["diagonal"]])
    wanted = GAINS.sort_values("arm", ascending=False)[["forecast", "measured"]].to_numpy()
    assert_allclose(np.sort(found, axis=0), np.sort(wanted, axis=0))
    low, high = ax.get_ylim()
    assert low < (GAINS["measured"] - GAINS["measured_error"]).min()
    assert (GAINS["measured"] + GAINS["measured_error"]).max() < high
    with pytest.raises(ValueError, match="missing: measured"):
        plots.forecast_against_measured(GAINS.drop(columns="measured"))


def test_draws_are_the_pixels():
    strip = np.arange(32 * 64, dtype=float).reshape(32, 64) % 256
    fig = plots.draws_by_arm({"gaussian": strip, "soft_mse": strip[::-1]}, [1, 5])
    for ax, wanted in zip(fig.axes, (strip, strip[::-1]), strict=True):
        assert_allclose(ax.images[0].get_array(), wanted)
    assert [tick.get_text() for tick in fig.axes[-1].get_xticklabels()] == ["T = 1", "T = 5"]
    with pytest.raises(ValueError, match="received none"):
        plots.draws_by_arm({}, [1])
    with pytest.raises(ValueError, match="shape"):
        plots.draws_by_arm({"gaussian": np.zeros(5)}, [1])
