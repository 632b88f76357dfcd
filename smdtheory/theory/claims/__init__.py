"""What the paper says, each statement with the verdict that numbers give.

- ``finding``: a check, and a finding made of checks; the verdict follows from them.
- ``registry``: all statements by name; ``audit`` tests them.
- ``posterior``: Proposition 3.1. ``local``, ``single``: Theorem 3.1. ``overall``: Theorem 3.2.
- ``soft``: Theorem 4.1, and the loss that is to find it.
- ``iterations``: few iterations, and guarantees that assume a small score error.
- ``questions``: what reviewers of the paper asked.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
