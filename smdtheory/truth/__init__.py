"""The truth: what q is, in closed form, with no learning.

- ``mixture``: Gaussian mixtures; ``validate``, ``spectral`` and ``density`` have what its
  parameters must satisfy, the form of its covariances, and log densities at many points.
- ``presets``: mixtures worth looking at first.
- ``posterior``: q(x_t) and q(x_s | x_t), which are mixtures too.
- ``information``: entropy, mutual information and MMSE along the noise.
- ``curves``: the averages over x_t behind these, as functions of γ (``interpolation``). ``table``
  has what is averaged, from ``covariance`` into a ``histogram``; ``moments`` over which points,
  by the ``rules`` of integration.
- ``derivatives``: the same for derivatives of log q_t, from ``cumulants``.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
