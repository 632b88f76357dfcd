"""What the figures share: checked input, a canvas, a heading that never overlaps, labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike, NDArray

from smdtheory.plots.drawing import Drawing
from smdtheory.plots.style import INK, LOOKS, SMALL, Look

Array = NDArray[np.float64]


def numbers(
    name: str, data: ArrayLike, shape: Sequence[int | str], *, stack: bool = False
) -> Array:
    """``data`` as a float64 array of ``shape``, whose names stand for any length.

    With ``stack``, an array that lacks the first dimension counts as a stack of one.

    Raises:
        ValueError: if the shape differs or an entry is not a number.

    Example:
        >>> numbers("errors['full']", [0, 1.5], ("T + 1",))
        array([0. , 1.5])
    """
    try:
        if np.iscomplexobj(data):
            raise TypeError("complex")
        array = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as cause:
        raise ValueError(f"{name} must hold numbers; received {data!r:.60}") from cause
    if stack and array.ndim == len(shape) - 1:
        array = array[None]
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits or array.size == 0:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name} must have shape ({wanted}); received {array.shape}")
    return array


def not_negative(name: str, data: Array) -> Array:
    """``data``, half-widths of error bars or bands, if none is negative or nan.

    Raises:
        ValueError: if one is.

    Example:
        >>> not_negative("M_sum_error", np.array([0.0, 0.1]))
        array([0. , 0.1])
    """
    if not (data >= 0).all():
        raise ValueError(f"{name} must be >= 0 everywhere; received {data[~(data >= 0)][0]}")
    return data


def with_columns(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """``rows``, if they are a data frame that has the columns and at least one row.

    Raises:
        TypeError: if ``rows`` is no data frame.
        ValueError: if a column is missing or there are no rows.

    Example:
        >>> len(with_columns(pd.DataFrame({"arm": ["full"]}), ("arm",)))
        1
    """
    if not isinstance(rows, pd.DataFrame):
        raise TypeError(f"rows must be a pandas.DataFrame; received {type(rows).__name__}")
    if missing := [name for name in columns if name not in rows.columns]:
        raise ValueError(
            f"rows must have the columns {', '.join(columns)}; missing: {', '.join(missing)}"
        )
    if rows.empty:
        raise ValueError("rows must hold at least one row; received none")
    return rows


def one_for_each(rows: pd.DataFrame, *key: str, cure: str = "") -> None:
    """Refuse a table with two rows of the same ``key``.

    Raises:
        ValueError: naming the first that comes twice, and the cure.

    Example:
        >>> one_for_each(pd.DataFrame({"arm": ["full"], "steps": [2]}), "arm", "steps")
    """
    again = rows[rows.duplicated(list(key))]
    if len(again):
        words = [name.replace("steps", "T") for name in key]
        raise ValueError(
            f"rows must hold one row for each {', '.join(words[:-1])} and {words[-1]}; received "
            f"several for {again[list(key)].iloc[0].tolist()}{cure and f': {cure}'}"
        )


def by_arm(rows: pd.DataFrame, order: str) -> dict[str, pd.DataFrame]:
    """The rows of each arm by the column ``order``, arms in the order of the ladder.

    Example:
        >>> rows = pd.DataFrame({"arm": ["full", "isotropic"], "steps": [2, 2]})
        >>> list(by_arm(rows, "steps"))
        ['isotropic', 'full']
    """
    rank = {name: place for place, name in enumerate(LOOKS)}
    arms = sorted(map(str, rows["arm"].unique()), key=lambda arm: (rank.get(arm, len(rank)), arm))
    return {arm: rows[rows["arm"] == arm].sort_values(order) for arm in arms}


def column_numbers(table: pd.DataFrame, *names: str) -> list[Array]:
    """Columns of a table as arrays.

    Raises:
        ValueError: if an entry is not a number.

    Example:
        >>> column_numbers(pd.DataFrame({"steps": [2, 3]}), "steps")
        [array([2., 3.])]
    """
    return [numbers(f"rows[{name!r}]", table[name], ("n",)) for name in names]


def chain_numbers(data: Mapping[str, ArrayLike], name: str) -> dict[str, Array]:
    """Arrays along one chain, by denoiser: all of one length T + 1 >= 2.

    Raises:
        ValueError: if there are none or their lengths differ.

    Example:
        >>> chain_numbers({"full": [0, 1]}, "errors")
        {'full': array([0., 1.])}
    """
    if not data:
        raise ValueError(f"{name} must hold at least one denoiser; received an empty mapping")
    arrays = {key: numbers(f"{name}[{key!r}]", value, ("T + 1",)) for key, value in data.items()}
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1 or min(lengths) < 2:
        raise ValueError(
            f"{name} must all have the same length T + 1 >= 2, indexed by t = 0..T; "
            f"received lengths {sorted(lengths)}"
        )
    return arrays


def check_width(width: float) -> None:
    """Refuse a width that no page has.

    Raises:
        ValueError: if it is not between 2 and 20 inches.

    Example:
        >>> check_width(3.3)
    """
    if not 2 <= width <= 20:
        raise ValueError(f"width is in inches and lies between 2 and 20; received {width}")


def canvas(
    width: float, height: float, rows: int = 1, columns: int = 1, *, share: bool = False
) -> tuple[Drawing, list[Axes]]:
    """A new figure, known to no pyplot, and its axes row by row; call it inside ``style()``.

    Raises:
        ValueError: if ``width`` is not between 2 and 20 inches.

    Example:
        >>> len(canvas(3.4, 2.0, 1, 2)[1])
        2
    """
    check_width(width)
    fig = Drawing(figsize=(width, height), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    return fig, list(axes.flat)


def finish(
    fig: Drawing,
    title: str | None,
    subtitle: str | None,
    handles: Sequence[Artist] = (),
    *,
    numbers: pd.DataFrame | None = None,
) -> Drawing:
    """Put title, subtitle and legend above the axes, making the figure taller by what they take.

    ``numbers`` are what the axes show (:class:`Drawing`).

    Example:
        >>> fig, _ = canvas(3.4, 2.0)
        >>> bool(finish(fig, "a claim", "d = 1").get_size_inches()[1] > 2)
        True
    """
    fig.numbers = numbers
    for ax in fig.axes:
        ax.tick_params(which="both", labelsize=SMALL, width=0.5, color=INK, labelcolor=INK)
        ax.tick_params(which="major", length=3)
        ax.tick_params(which="minor", length=1.5)
    width, height = fig.get_size_inches()
    left, gap = 0.05 / width, 0.04
    parts: list[tuple[Text | Legend, float]] = []
    for text, size, weight in ((title, 8.5, "bold"), (subtitle, SMALL, "normal")):
        if text:
            lines = wrapped(text, size, width - 0.1, weight)
            line = fig.text(left, 1, lines, size=size, weight=weight, va="top")
            parts.append((line, _inches(fig, line)[1]))
    if handles:
        columns = len(handles)
        while True:
            legend = fig.legend(
                handles=handles, loc="upper left", ncols=columns, fontsize=SMALL, borderpad=0,
                bbox_to_anchor=(left, 1), borderaxespad=0, handlelength=3.2, columnspacing=1.2,
            )  # fmt: skip
            if columns == 1 or _inches(fig, legend)[0] <= width - 0.1:
                break
            legend.remove()
            columns -= 1
        parts.append((legend, _inches(fig, legend)[1]))
    extra = sum(tall + gap for _, tall in parts)
    fig.set_size_inches(width, height + extra)
    top = height + extra - 0.03
    for part, tall in parts:
        if isinstance(part, Legend):
            part.set_bbox_to_anchor((left, top / (height + extra)))
        else:
            part.set_y(top / (height + extra))
        top -= tall + gap
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, top / (height + extra)))  # type: ignore[call-arg]
    return fig


def wrapped(text: str, size: float, width: float, weight: str = "normal") -> str:
    r"""``text`` broken between words, never in $...$ or at =, so that lines fit ``width`` inches.

    Example:
        >>> wrapped("one two", 8, 0.4)
        'one\ntwo'
    """
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    lines = [""]
    for word in re.findall(r"(?:\$[^$]*\$| = |[^ \n])+", text):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and TextPath((0, 0), longer, prop=font).get_extents().width > 72 * width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _inches(fig: Drawing, artist: Artist) -> tuple[float, float]:
    box = artist.get_window_extent()
    return box.width / fig.dpi, box.height / fig.dpi


def label_ends(ax: Axes, ends: Sequence[tuple[Look, float, float]]) -> None:
    """Name each line at its right end (x, y); labels are moved apart and tied to their lines.

    Example:
        >>> fig, (ax,) = canvas(3.4, 2.0)
        >>> label_ends(ax, [(Look("full", "k", "-", "o"), 1.0, 0.5)])
        >>> ax.texts[0].get_text()
        'full'
    """
    if not ends:
        return
    fig = cast(Figure, ax.figure)
    fig.draw_without_rendering()
    places = ax.transAxes.inverted().transform(
        ax.transData.transform([(x, y) for _, x, y in ends])
    )[:, 1]
    gap = 1.25 * SMALL / 72 / (ax.get_window_extent().height / fig.dpi)
    for (look, x, y), place in zip(ends, _apart(places, gap), strict=True):
        ax.annotate(
            look.label, (x, y), (1.06, place), textcoords="axes fraction", va="center", color=INK,
            size=SMALL, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look.color, "lw": 0.7, "relpos": (0, 0.5),
                        "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def _apart(places: Array, gap: float) -> Array:
    """The nearest positions (least squares) in the same order that lie ``gap`` or more apart."""
    order = np.lexsort((-np.arange(len(places)), places.round(3)))  # of equals, the first on top
    blocks: list[tuple[float, int]] = []  # (mean, size) of labels that touch, with gaps removed
    for rank, place in enumerate(places[order]):
        blocks.append((place - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (low, many), (high, more) = blocks[-2:]
            blocks[-2:] = [((low * many + high * more) / (many + more), many + more)]
    spread = np.concatenate([np.full(size, mean) for mean, size in blocks])
    result = np.empty_like(spread)
    result[order] = spread + gap * np.arange(len(spread))
    return result
