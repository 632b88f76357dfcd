from . import fit as fit
from . import oracle as oracle
from .denoiser import Denoiser as Denoiser
