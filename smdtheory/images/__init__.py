"""Denoisers of images: what they are trained on, and what theory knows of it.

- ``data``: digits, CIFAR-10, a folder, or a mixture fitted to one of them.
- ``low_rank``: that fit, mixtures of probabilistic principal components.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
