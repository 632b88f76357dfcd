"""What a backward step p is: denoisers, from the exact posterior to those that are trained.

- ``denoiser``: what all of them are, a law of x_0 given x_t.
- ``oracle``: the truth dressed as a denoiser; ``cells``: Gaussian steps that lose nothing overall.
- ``gaussian``, ``soft_mixture``, ``finite_mixture``: the learned ones, on what is in ``learned``
  and ``networks``; ``residual``: the variance fitted to them; ``ablation``: without their latent.
- ``objectives``: what they are trained on; ``recipes``: how each is trained, by name.
- ``fit``: training; ``configuration``, ``training``, ``loop`` and ``checkpoint`` have its settings,
  one step, all steps, and what is kept.
- ``sample``: draws.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
