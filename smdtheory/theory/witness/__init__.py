"""Mixtures whose errors pass a given level, each with a certificate (docs/theory.md §6.13).

- ``local``: local errors M_t, at the t asked for; all local errors, with enough dimensions.
- ``overall``: the global error E, and when no mixture has one.
- ``bases``: what a witness for M_t is copies of; ``pairs`` has the errors of two equal modes.
- ``certificate``: a witness, and the lower bound that proves it.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
