from . import fit as fit
from . import oracle as oracle
from . import sample as sample
from .denoiser import Denoiser as Denoiser
