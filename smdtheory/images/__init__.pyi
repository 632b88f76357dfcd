from .data import Images as Images
from .data import load_images as load_images
from .low_rank import fit_low_rank as fit_low_rank

__all__ = ["Images", "fit_low_rank", "load_images"]
