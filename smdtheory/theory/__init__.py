"""What is proved about the errors: one function for each statement of docs/theory.md §6, §11, §12.

- ``brackets``: the error of the best full Gaussian at one x_t, from both sides (§6.1, §6.2).
- ``bounds``: caps on the local error in closed form (§6.3 to §6.6, §6.8).
- ``negentropy``: the cap by a difference of negentropies (§6.7).
- ``caps``: all of these along a chain, and the smallest of them.
- ``global_bounds``: bounds on the global error (§6.9 to §6.11).
- ``witness``: mixtures whose errors pass N, each with a certificate (§6.13).
- ``extremes``: how close mixtures come to the caps, and that none passes them (§6.14).
- ``rates``: how the errors vanish as T grows (§11); ``leading`` has the leading terms, ``limits``
  the named schedules as T → ∞, ``exponents`` what chains show.
- ``steps``, ``grids``, ``spacings``, ``advice``: how many steps an error needs,
  on which grid (§12).
- ``claims``: what the paper says, each statement with the verdict that numbers give.
- ``inputs``: what all of them accept.

No bound is computed from what it bounds: of these only ``exponents``, ``steps``, ``grids``,
``witness.local`` and ``claims`` measure, what they predict or what they judge.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
