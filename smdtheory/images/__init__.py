"""Denoisers of images: do the findings on mixtures carry over?

- ``data``: digits, CIFAR-10, a folder, or a mixture fitted to one of them; ``low_rank`` is that
  fit, mixtures of probabilistic principal components.
- ``denoisers``: Gaussians and soft mixtures whose networks are U-Nets; all else is that of the
  denoisers on vectors. ``unets`` has their sizes, ``networks`` what a latent tells them.
- ``training``: in one process or several, as ``parallel`` says.
- ``likelihood``: the nats that a denoiser needs for an image; ``features``: a classifier, in whose
  features generated images are compared with others.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
