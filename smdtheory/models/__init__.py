"""What a backward step p is: denoisers, from the exact posterior to the best Gaussian."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

del lazy
