"""From the user's samples to a mixture: reading, fitting, and how far to trust the fit."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smdtheory.truth.mixture import GaussianMixture

Array = NDArray[np.float64]

LEAST_ROWS = 50
MOST_ROWS = 20_000
"""Of more rows, so many are drawn."""

MOST_COLUMNS = 64
"""More coordinates than this say nothing about modes without far more rows than a file holds."""

COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30, 36, 49, 64)
"""Numbers of components tried."""

KINDS = ("full", "tied", "diag", "spherical")
"""Kinds of covariances tried, by scikit-learn's names."""

PATIENCE = 4
"""The search ends when so many numbers of components in a row have not lowered the BIC."""

HELD_OUT = 0.2
"""Share of the rows that only judge the fit."""

FLOOR = 1e-6
"""Least variance of a component, in units in which the data have variance 1."""

DOUBTFUL = 4.0
"""Standard errors beyond which held-out rows are not what the mixture would draw."""

RULE = "data must be a .npy or .csv file of samples, shape (n, d), numbers only"


@dataclass(frozen=True)
class DataFit:
    """A mixture fitted to samples, and its quality.

    Attributes:
        mixture: the fit, in coordinates in which the data have mean 0 and tr Cov = d.
        kind: scikit-learn's name for its covariances.
        rows: rows used for fitting and judging.
        total_rows: rows in the file.
        bic: the least BIC for each number of components tried, of the rows fitted.
        gain: mean held-out log-likelihood a row less that of one Gaussian, in nats.
        gain_error: its standard error.
        shortfall: mean held-out log-likelihood less that of draws of the mixture itself, in nats;
            0 but for chance if the mixture is right.
        shortfall_error: its standard error.
        doubts: sentences; none if nothing speaks against the fit.
    """

    mixture: GaussianMixture
    kind: str
    rows: int
    total_rows: int
    bic: dict[int, float]
    gain: float
    gain_error: float
    shortfall: float
    shortfall_error: float
    doubts: tuple[str, ...]


def read_samples(path: Path) -> Array:
    """The samples of a .npy or .csv file (one line of column names allowed), shape (n, d).

    Raises:
        ValueError: for a file that cannot be read or holds anything but finite numbers, too few
            rows, too many columns, or a column that is constant.
    """
    readers = {".npy": _read_npy, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{RULE}; received {path}. Give it the ending of what it is.")
    try:
        array = reader(path)
    except OSError as error:
        raise ValueError(f"{RULE}; received {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, EOFError, UnicodeDecodeError, MemoryError) as error:
        raise ValueError(f"{RULE}; received {path}: {str(error)[:200]}") from error
    try:
        return check_samples(array)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from error


def check_samples(samples: Any) -> Array:
    """The samples as float64, shape (n, d).

    Raises:
        TypeError: if they are not real numbers.
        ValueError: for another shape, NaN or infinity, too few rows, too many columns, or a column
            that is constant.

    Example:
        >>> check_samples(np.arange(60)).shape
        (60, 1)
    """
    array = np.asarray(samples)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"samples must be real numbers; received an array of {array.dtype}")
    array = array.astype(np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(
            f"samples must have shape (n, d), a row for each; received {array.shape}. Images "
            "need to be flattened, and reduced to a few coordinates."
        )
    rows, columns = array.shape
    if not 1 <= columns <= MOST_COLUMNS:
        raise ValueError(
            f"samples must have from 1 to {MOST_COLUMNS} columns; received {columns}. Reduce them "
            "first, with PCA for instance, and mind that the answer is then about what is left."
        )
    least = max(LEAST_ROWS, 10 * columns)
    if rows < least:
        raise ValueError(
            f"samples must have at least {least} rows for {columns} columns; received {rows}"
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(1).argmax())
        raise ValueError(f"samples must be finite; received NaN or infinity in row {bad}")
    with np.errstate(over="ignore", invalid="ignore"):
        spread = array.std(0)
    if not np.isfinite(spread).all() or spread.max() > 1e100:
        raise ValueError("samples must be of moderate size; received numbers beyond 1e100")
    flat = np.flatnonzero(spread <= 1e-12 * np.abs(array).max(0))
    if len(flat):
        raise ValueError(
            "each column must vary; received a constant one: column "
            f"{', '.join(map(str, flat[:5]))} (counted from 0). Leave it out."
        )
    return array


def fit_samples(samples: Any, seed: int = 0) -> DataFit:
    """Fit a mixture; the number of components and the kind of covariances have the least BIC.

    Rows are divided by one number, after their mean has been taken off: the errors do not depend on
    it, and the noise levels of the schedules are made for it.

    Args:
        samples: (n, d), or (n,) for d = 1.
        seed: of the draw of held-out rows, and of the fits.

    Raises:
        ImportError: without scikit-learn.
        TypeError: if the samples are not real numbers.
        ValueError: as :func:`check_samples` does.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=400)
        >>> rows[::2] += 8
        >>> fit_samples(rows).mixture
        GaussianMixture(components=2, dim=1)
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Fit
    except ImportError as error:
        raise ImportError(
            "fitting a mixture to data needs scikit-learn, which is not installed: "
            "pip install 'smdtheory[data]'"
        ) from error
    array = check_samples(samples)
    total = len(array)
    random = np.random.default_rng(seed)
    array = array[random.permutation(total)[:MOST_ROWS]]
    center = array.mean(0)
    scale = math.sqrt(((array - center) ** 2).sum(1).mean() / array.shape[1])
    rows = (array - center) / scale
    held, train = np.split(rows, [round(HELD_OUT * len(rows))])

    def fit(count: int, kind: str, points: Array) -> Any:
        model = Fit(
            count, covariance_type=kind, reg_covar=FLOOR, n_init=3 if count > 1 else 1,
            init_params="k-means++", max_iter=300, tol=1e-4, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(points)

    bic: dict[int, float] = {}
    chosen, least, since = (1, "full"), math.inf, 0
    most = max(1, len(train) // (5 * (rows.shape[1] + 1)))
    for count in (count for count in COUNTS if count <= most):
        scores = {kind: float(fit(count, kind, train).bic(train)) for kind in KINDS}
        kind = min(scores, key=scores.__getitem__)
        bic[count] = scores[kind]
        if bic[count] < least:
            chosen, least, since = (count, kind), bic[count], 0
        else:
            since += 1
            if since >= PATIENCE:
                break
    model, single = fit(*chosen, train), fit(1, "full", train)
    own, alone = model.score_samples(held), single.score_samples(held)
    drawn = model.score_samples(model.sample(20_000)[0])
    shortfall = float(own.mean() - drawn.mean())
    shortfall_error = math.hypot(_standard_error(own), _standard_error(drawn))
    final = fit(*chosen, rows)
    mixture = GaussianMixture.from_sklearn(final).to("cpu", torch.float64)
    found = DataFit(
        mixture=mixture,
        kind=chosen[1],
        rows=len(rows),
        total_rows=total,
        bic=bic,
        gain=float((own - alone).mean()),
        gain_error=_standard_error(own - alone),
        shortfall=shortfall,
        shortfall_error=shortfall_error,
        doubts=(),
    )
    doubts = _doubts(found, rows, final.converged_, chosen[0] == max(bic) and chosen[0] > 1)
    return replace(found, doubts=tuple(doubts))


def _doubts(fit: DataFit, rows: Array, converged: bool, at_the_end: bool) -> list[str]:
    found = []
    mixture, K = fit.mixture, fit.mixture.num_components
    if abs(fit.shortfall) > DOUBTFUL * fit.shortfall_error:
        than = "less" if fit.shortfall < 0 else "more"
        found.append(
            f"held-out rows are {than} likely under the mixture than its own draws, by "
            f"{abs(fit.shortfall):.2g} ± {fit.shortfall_error:.1g} nats a row: the data are not "
            "quite such a mixture"
        )
    if K > 1 and fit.gain < DOUBTFUL * fit.gain_error:
        found.append("held-out rows are hardly more likely than under one Gaussian")
    smallest = float(mixture.spectral.smallest().min())
    if smallest < 10 * FLOOR:
        found.append(
            "a component is as narrow as the fit allows: rows repeat or lie on a line or a "
            "lattice, and the errors near the data are those of the limit, not of the data"
        )
    repeated = 1 - len(np.unique(rows, axis=0)) / len(rows)
    if repeated > 0.01:
        found.append(f"{100 * repeated:.0f} % of the rows repeat others: held-out rows are not new")
    fewest = float(mixture.weights.min()) * len(rows)
    if K > 1 and fewest < 3 * (rows.shape[1] + 1):
        found.append(f"the smallest component rests on {fewest:.0f} rows")
    if at_the_end:
        found.append(f"the BIC was still falling at {K} components, the most that were tried")
    if not converged:
        found.append("the fit had not converged after 300 iterations")
    return found


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _read_npy(path: Path) -> Any:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of several arrays, not one array")
    return array


def _read_csv(path: Path) -> Any:
    lines = path.read_bytes().decode("utf-8-sig").splitlines()
    lines = [line for line in lines if line.strip()]
    if lines and not _numbers(lines[0]):
        lines = lines[1:]
    if not lines:
        raise ValueError("it holds no rows")
    return np.loadtxt(lines, delimiter=",", ndmin=2, dtype=np.float64)


def _numbers(line: str) -> bool:
    try:
        [float(entry) for entry in line.split(",")]
    except ValueError:
        return False
    return True
