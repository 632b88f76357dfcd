from .data import Images as Images
from .denoisers import ImageGaussian as ImageGaussian
from .denoisers import ImageSoftMixture as ImageSoftMixture
from .denoisers import untrained_image as untrained_image
from .likelihood import bits_per_dimension as bits_per_dimension
from .likelihood import code_length as code_length
from .low_rank import fit_low_rank as fit_low_rank
from .sources import load_images as load_images
from .training import fit_images as fit_images

__all__ = [
    "ImageGaussian",
    "ImageSoftMixture",
    "Images",
    "bits_per_dimension",
    "code_length",
    "fit_images",
    "fit_low_rank",
    "load_images",
    "untrained_image",
]
