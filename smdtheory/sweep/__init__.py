"""Grids of mixtures, schedules and denoisers: cells in, rows out, nothing computed twice.

From the command line ``python -m smdtheory.sweep --modes 8``, in Python :func:`run_sweep`.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
