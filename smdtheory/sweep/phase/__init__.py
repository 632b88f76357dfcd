"""Where the bottleneck bites: steps needed by separation and number of modes.

From the command line ``python -m smdtheory.sweep.phase``, in Python
:func:`smdtheory.sweep.phase_rows`.

- ``config``: what is asked.
- ``rows``: the numbers.
- ``run``: on several processes, with what is finished kept.
- ``report``: the table and the figure.
"""
