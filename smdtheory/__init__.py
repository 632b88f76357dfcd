"""What a diffusion model's backward step can and cannot represent, settled with numbers.

The truth on one side, the models on the other; they meet only in ``measure``; rows leave; pictures
are made of rows. Signal-to-noise ratio γ is the one coordinate.

- ``estimate``: every measured number is an ``Estimate`` (value, error, method).
- ``families``: the names of the Gaussian families.
- ``schedule``: the forward chain, a decreasing list of γ.
- ``truth``: what q is, in closed form: mixtures, posteriors, information curves, presets.
- ``models``: what p is: the ``Denoiser`` interface, and the truth dressed as one (``oracle``).
- ``measure``: where q and p are compared: ladder of errors, local errors, global error.
- ``theory``: one function for each statement: bounds, witnesses, rates, steps, claims.
- ``store``: results that are whole or absent; ``python -m smdtheory.store status runs/ring``.
- ``sweep``: grids of cells to rows; ``python -m smdtheory.sweep --modes 8``.
- ``steps``: how many steps you need; ``python -m smdtheory.steps --modes 8 --error 0.1``.
- ``audit``: the paper's statements, each with its verdict; ``python -m smdtheory.audit``.
- ``toy``: the paper's 7 × 7 grid, learned; ``python -m smdtheory.toy``.
- ``images``: do the findings carry over to images? ``python -m smdtheory.images``.
- ``plots``: arrays and data frames to figures; computes nothing.

Importing this package is cheap: torch is loaded when a name that needs it is first used.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy

__version__ = "0.1.0"
