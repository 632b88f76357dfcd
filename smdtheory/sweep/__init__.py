"""Grids of mixtures, schedules and denoisers: cells in, rows out, nothing computed twice.

From the command line ``python -m smdtheory.sweep --modes 8``, in Python :func:`run_sweep`.

- ``config``: what is asked; ``spec``, ``mixtures``: the numbers that fix a mixture, and it.
- ``cells``: what a sweep is made of; ``plan``: what is left to do.
- ``run``: all of it; ``compute``: the work on one cell, in a worker.
- ``engine``: the loop that survives workers that die; ``queue``: what is next; ``pools``: where
  work runs, on ``processes`` of this machine or a ``cluster``.
- ``columns``: what a row holds; ``report``, ``trained``: rows as text.
- ``phase``: another sweep, over separation and number of modes.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
