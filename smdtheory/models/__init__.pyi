from . import oracle as oracle
from .denoiser import Denoiser as Denoiser
