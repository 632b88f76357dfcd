"""The only place where the truth q and a model p are compared.

- ``ladder``: the best Gaussian of each family, exactly.
- ``local``: M_t of any denoiser, and its split into three parts; ``step`` has one step of both,
  ``sums`` the sum over a long chain.
- ``latent``: whether the latent of a soft mixture matters.
- ``overall``: the global error, from below (``events``), from above (``paths``), and exactly in
  d = 1 (``transfer``, on ``panels``, with ``divergence``).
- ``prior``: what is lost before the first step.
- ``deterministic``: the global error of DDIM.
- ``samples``: what draws tell where the model's density is not at hand.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
