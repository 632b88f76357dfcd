"""What a diffusion model's backward step can and cannot represent, settled with numbers.

The truth on one side, the models on the other; they meet only in ``measure``; rows leave; pictures
are made of rows. Signal-to-noise ratio γ is the one coordinate.

- ``smdtheory.estimate``: every measured number is an ``Estimate`` (value, error, method).
- ``smdtheory.families``: the names of the Gaussian families.
- ``smdtheory.schedule``: the forward chain, a decreasing list of γ.
- ``smdtheory.truth``: what q is, in closed form: mixtures, posteriors, information, presets.
- ``smdtheory.models``: what p is: a ``Denoiser``, trained, or the truth dressed as one.
- ``smdtheory.measure``: where q and p are compared: ladder of errors, local errors, global error.
- ``smdtheory.theory``: one function for each statement: bounds, witnesses, rates, steps, claims.
- ``smdtheory.store``: results, whole or absent; ``python -m smdtheory.store status runs/ring``.
- ``smdtheory.sweep``: grids of cells to rows; ``python -m smdtheory.sweep --modes 8``.
- ``smdtheory.steps``: how many steps; ``python -m smdtheory.steps --modes 8 --error 0.1``.
- ``smdtheory.audit``: the paper's statements, each with its verdict; ``python -m smdtheory.audit``.
- ``smdtheory.toy``: the paper's 7 × 7 grid, learned; ``python -m smdtheory.toy``.
- ``smdtheory.images``: do the findings carry over to images? ``python -m smdtheory.images``.
- ``smdtheory.explore``: one step under sliders, in a notebook; ``explore()``.
- ``smdtheory.plots``: arrays and data frames to figures; computes nothing.
  ``python -m smdtheory.figures`` draws those of the notebooks anew.

Below all of them: ``smdtheory.checks`` and ``smdtheory.options`` refuse what does not fit, from
Python and from the command line, ``smdtheory.command`` is what the command lines share,
``smdtheory.files`` writes files that are whole or absent, ``smdtheory.provenance`` says where rows
come from.

Importing this package is cheap: torch is loaded when a name that needs it is first used.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy

__version__ = "0.1.0"
