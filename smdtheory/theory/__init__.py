"""What is proved about the errors: one function for each statement of docs/theory.md §6.

- ``brackets``: the error of the best full Gaussian at one x_t, from both sides (§6.1, §6.2).
- ``bounds``: caps on the local error in closed form (§6.3 to §6.6, §6.8).
- ``negentropy``: the cap by a difference of negentropies (§6.7).
- ``caps``: all of these along a chain, and the smallest of them.
- ``outcome``: bounds on the global error (§6.9 to §6.11).
- ``steps``, ``grids``, ``spacings``, ``advice``: how many steps an error needs,
  on which grid (§12).

The bounds measure no error: a bound is never computed from what it bounds.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
