"""Arrays and data frames become matplotlib figures; nothing is measured here.

Each function returns a new :class:`Drawing`, a matplotlib figure that holds the numbers it shows
and that pyplot does not know of, and leaves matplotlib's settings as they were. Options they share:
``title`` (the claim), ``subtitle`` (what was measured: mixture, d, T, schedule, seed) and ``width``
in inches (:data:`COLUMN` or :data:`PAGE`). A denoiser looks the same everywhere (:data:`LOOKS`),
and its line and marker tell it apart without colour. :func:`save` writes PNG and PDF, and
:func:`read_numbers` reads the numbers back.

    posterior.py  the bottleneck picture: a posterior against the Gaussians that replace it
    chain.py      errors along one chain, for every pair (s, t), and as an area
    steps.py      errors against the number of steps
    worst.py      worst mixtures against the caps
    thin.py       errors against the std of the modes
    phase.py      steps needed by separation and number of modes
    images.py     denoisers of images: errors against T, forecast and measured
    grids.py      steps needed against the error; levels of grids and the sums on them
    live.py       one step, redrawn in place while a slider moves
    toy.py        learned denoisers on a grid of modes: samples and errors
    drawing.py    a figure with its numbers: saving, showing, reading
    style.py      looks and settings
    frame.py      what the figures share: checks, headings, labels
    scales.py     logarithmic axes, and zeros on them
"""

from smdtheory.plots.chain import error_along_chain, error_map, mmse_staircase
from smdtheory.plots.drawing import Drawing, read_numbers, save
from smdtheory.plots.grids import grid_comparison, steps_against_error
from smdtheory.plots.images import (
    draws_by_arm,
    forecast_against_measured,
    quantities_against_steps,
)
from smdtheory.plots.phase import phase_diagram
from smdtheory.plots.posterior import (
    posterior_against_gaussians,
    posterior_beside_models,
    posterior_contours,
)
from smdtheory.plots.steps import (
    deviation_against_steps,
    error_against_steps,
    global_error_against_steps,
)
from smdtheory.plots.style import COLORS, COLUMN, LOOKS, PAGE, Look, looks, style
from smdtheory.plots.thin import error_against_std
from smdtheory.plots.toy import learned_grid
from smdtheory.plots.worst import worst_case

__all__ = [
    "COLORS",
    "COLUMN",
    "LOOKS",
    "PAGE",
    "Drawing",
    "Look",
    "deviation_against_steps",
    "draws_by_arm",
    "error_against_std",
    "error_against_steps",
    "error_along_chain",
    "error_map",
    "forecast_against_measured",
    "global_error_against_steps",
    "grid_comparison",
    "learned_grid",
    "looks",
    "mmse_staircase",
    "phase_diagram",
    "posterior_against_gaussians",
    "posterior_beside_models",
    "posterior_contours",
    "quantities_against_steps",
    "read_numbers",
    "save",
    "steps_against_error",
    "style",
    "worst_case",
]
