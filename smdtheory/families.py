"""Names of the Gaussian families, from the least to the most expressive (docs/theory.md §5.1).

Standard library only, so that a command line can list the names without importing torch.
"""

from typing import Literal, get_args

Family = Literal["fixed_small", "fixed_large", "isotropic", "isotropic_x", "diagonal", "full"]

FAMILIES: tuple[Family, ...] = get_args(Family)


def check_family(family: str) -> Family:
    """Return ``family`` if it is one of :data:`FAMILIES`.

    Args:
        family: whatever it is.

    Returns:
        It, known to be a name.

    Raises:
        ValueError: if it is not, whatever it is.

    Example:
        >>> check_family("full")
        'full'
    """
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}; received {family!r:.60}")
    return family


Learned = Literal[
    "gaussian",
    "gaussian_full",
    "soft_mse",
    "soft_energy",
    "soft_likelihood",
    "finite_mixture",
    "gaussian_wide",
    "soft_no_noise",
]

LEARNED: tuple[Learned, ...] = get_args(Learned)
"""Denoisers that are trained; the last two are controls (:mod:`smdtheory.models.recipes`)."""

FLOORS: dict[Learned, Family | None] = {
    "gaussian": "isotropic",
    "gaussian_full": "full",
    "soft_mse": "isotropic",
    "soft_energy": None,
    "soft_likelihood": None,
    "finite_mixture": None,
    "gaussian_wide": "isotropic",
    "soft_no_noise": "isotropic",
}
"""The family with whose best each is compared: what a Gaussian cannot pass, what the squared error
asks for; ``None`` where it could be exact."""

RECIPES_VERSION = 1
"""Raise it with every change to the networks or their training: what was trained before is then
not taken for current."""
