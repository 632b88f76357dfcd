"""The paper's toy: a 7 × 7 grid of Gaussians, learned, over training and over iteration counts.

From the command line ``python -m smdtheory.toy``, in Python :func:`run_toy`.

- ``config``: what is asked.
- ``compute``: what is trained, drawn and measured.
- ``run``: all of it, or what the ``folder`` has of it already.
- ``report``: the table and the figure.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
