"""How many steps, with which denoiser and grid.

From the command line ``python -m smdtheory.steps --modes 8 --error 0.1``. For a preset
mixture, one of the user's own, or one fitted to the user's data.

- ``config``: what is asked.
- ``data``: from samples to a mixture.
- ``report``: the answer as text and JSON.
"""
