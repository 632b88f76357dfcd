"""Denoisers of images: do the findings on mixtures carry over?

- ``sources``: digits, CIFAR-10 (``cifar``), a ``folder``, or a mixture fitted to one of them;
  ``data`` is what all of them are, ``low_rank`` that fit, mixtures of probabilistic principal
  components.
- ``denoisers``: Gaussians and soft mixtures whose networks are U-Nets; all else is that of the
  denoisers on vectors. ``unets`` has their sizes, ``networks`` what a latent tells them.
- ``arms``: which are compared, and how each is trained; ``training``, ``parallel``: in one process
  or several.
- ``evaluate``: what is measured; ``likelihood``: the nats that a denoiser needs for an image;
  ``features``: a classifier, in whose features draws are compared with images.
- ``forecast``: what theory says of it beforehand.
- ``config``: what is asked; ``run``: what is kept; ``memory``: what does not fit; ``summary``,
  ``findings``: what was found; ``report``, ``pictures``: what a person sees of
  ``python -m smdtheory.images``.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
