from . import information as information
from . import presets as presets
from .mixture import GaussianMixture as GaussianMixture
from .posterior import marginal as marginal
from .posterior import posterior as posterior
