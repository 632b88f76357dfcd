"""What is proved about the errors: one function for each statement of docs/theory.md §6.

- ``brackets``: the error of the best full Gaussian at one x_t, from both sides (§6.1, §6.2).
- ``bounds``: caps on the local error in closed form (§6.3 to §6.6, §6.8).
- ``negentropy``: the cap by a difference of negentropies (§6.7).
- ``caps``: all of these along a chain, and the smallest of them.
- ``outcome``: bounds on the global error (§6.9 to §6.11).
- ``rates``: how the errors vanish as T grows: leading terms, constants, exponents (§11);
  ``leading`` has the terms, ``limits`` the named schedules as T → ∞.
- ``witness.witness``, ``global_floor``: mixtures whose errors pass N, with certificates (§6.13),
  from ``pairs`` of modes, ``bases`` and copies.
- ``extremes``, ``lattices``: how close mixtures come to the caps (§6.14).
- ``cap_check``: many mixtures against every cap.
- ``steps``, ``grids``, ``spacings``, ``advice``: how many steps an error needs,
  on which grid (§12).
- ``claims``: what the paper says, each statement with the verdict that numbers give.

No bound is computed from what it bounds: of these only ``rates``, ``steps``, ``grids``, ``witness``
and ``claims`` measure, what they predict or what they judge.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
