"""Denoisers of images: U-Nets in place of the networks on vectors, everything else the same."""
