"""Settings that all tests share."""

import os

import pytest
import torch
from hypothesis import settings

from smdtheory.command import keep_memory

# Tests run in several processes (pytest-xdist), and threads of theirs would compete for the cores.
torch.set_num_threads(1)
keep_memory()

# No deadline: the first example on a mixture computes its information curves, later ones read them
# from the cache, so that the time of one example says nothing about the next.
# "ci" draws the same examples every time: a red build is red again on the reader's machine.
settings.register_profile("dev", deadline=None, max_examples=40, print_blob=True)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits."""
    from smdtheory.images import load_images

    return load_images("digits")
