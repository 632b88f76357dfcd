"""Images: what all sources share, and the digits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from chains import rows, seeded
from hypothesis import given
from hypothesis import strategies as st

import smdtheory
from smdtheory import GaussianMixture
from smdtheory.images import Images, load_images

PACKAGE = Path(smdtheory.__file__).parent


def test_importing_the_package_is_cheap():
    code = "import sys, smdtheory.images; print({'torch', 'PIL', 'sklearn'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert result.stdout.strip() == "set()"


def test_images_of_your_own_draw_and_know_their_moments():
    pixels = torch.rand(5000, 3, 2, 4, generator=seeded()) * 2 - 1
    images = Images("mine", pixels, pixels[:2])
    assert (images.shape, images.dim) == ((3, 2, 4), 24)
    flat = pixels.flatten(1).double()
    torch.testing.assert_close(images.mean, flat.mean(0))
    assert images.variance == pytest.approx(float(flat.var(0, correction=0).mean()), rel=1e-12)
    drawn = images.draw(7, seeded(1))
    assert (drawn.shape, drawn.dtype) == ((7, 24), torch.float32)
    assert rows(drawn) <= rows(pixels)
    assert torch.equal(drawn, images.draw(7, seeded(1)))
    assert images.dequantized(drawn, seeded()) is drawn


@given(levels=st.integers(2, 256), seed=st.integers(0, 2**32))
def test_dequantization_fills_the_bin_and_keeps_the_level(levels, seed):
    width = 2 / (levels - 1)
    pixels = torch.randint(levels, (50, 1, 2, 2), generator=seeded(seed)) * width - 1
    pixels = pixels.clamp(-1, 1)  # 1 + 1e-7 for some widths in float32
    images = Images("mine", pixels, pixels, bin_width=width)
    noisy = images.dequantized(pixels, seeded(seed))
    assert float((noisy - pixels).abs().max()) <= width / 2 + 1e-6
    assert torch.equal(((noisy + 1) / width).round(), ((pixels + 1) / width).round())


PIXELS = torch.zeros(4, 1, 2, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train": [[0.0]]}, TypeError, "train must be a Tensor"),
        ({"train": PIXELS.double()}, ValueError, "train must be float32 of shape"),
        ({"held_out": PIXELS[0]}, ValueError, "held_out must be float32 of shape"),
        ({"train": PIXELS[:0]}, ValueError, "not empty"),
        ({"train": PIXELS * torch.nan}, ValueError, "train must be finite"),
        ({"train": PIXELS + 2, "bin_width": 0.1}, ValueError, r"lie in \[-1, 1\].*from 2 to 2"),
        ({"held_out": torch.zeros(4, 1, 2, 3)}, ValueError, r"\(1, 2, 3\) and \(1, 2, 2\)"),
        ({"train_labels": torch.zeros(3).long()}, ValueError, r"int64 of shape \(4,\)"),
        ({"train_labels": torch.zeros(4)}, ValueError, "received torch.float32"),
        ({"mixture": GaussianMixture([1.0], [[0.0]], 1.0)}, ValueError, "mixture must have dim 4"),
    ],
)
def test_images_that_are_none(change, error, message):
    with pytest.raises(error, match=message):
        Images(**({"name": "mine", "train": PIXELS, "held_out": PIXELS} | change))


def test_drawing_asks_for_a_count_and_a_generator():
    images = Images("mine", PIXELS, PIXELS)
    with pytest.raises(ValueError, match="count must be at least 1; received 0"):
        images.draw(0, seeded())
    with pytest.raises(TypeError, match="generator must be a Generator; received 3"):
        images.draw(1, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "digit"}, ValueError, "source must be among .* Perhaps you meant 'digits'"),
        ({"source": None}, ValueError, "source must be among"),
        ({"source": "digits", "path": "x"}, ValueError, "path must be left out for digits"),
        ({"source": "digits", "size": 16}, ValueError, "size must be 8 for digits; .* 'mixture'"),
        ({"source": "digits", "channels": 3}, ValueError, "channels must be 1 for digits"),
        ({"source": "digits", "seed": -1}, ValueError, "seed must be at least 0"),
        ({"source": "cifar10", "size": 16}, ValueError, "size must be 32 for cifar10"),
        ({"source": "mixture", "size": 7}, ValueError, "size must be from 8 to 32; received 7"),
        ({"source": "mixture", "size": 8.0}, TypeError, "size must be an integer"),
        ({"source": "mixture", "channels": 2}, ValueError, r"channels must be 1 \(grey\) or 3"),
        ({"source": "mixture", "rank": 64}, ValueError, "rank must be below .* 64; received 64"),
        ({"source": "mixture", "components": 0}, ValueError, "components must be at least 1"),
        ({"source": "mixture", "components": 400}, ValueError, "Ask for fewer components"),
        ({"source": "folder"}, ValueError, "path must be a folder .*; received none"),
        ({"source": "folder", "path": ""}, ValueError, "path must be a path"),
        ({"source": "folder", "path": 3}, TypeError, "path must be a path"),
        ({"source": "folder", "path": "x", "size": 1}, ValueError, "from 2 to 1024; received 1"),
    ],
)
def test_what_load_images_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        load_images(**arguments)


# Digits


def test_digits_are_split_by_class_and_seed(digits):
    assert (len(digits.train), len(digits.held_out)) == (1437, 360)
    assert not rows(digits.train) & rows(digits.held_out)
    for labels in (digits.train_labels, digits.held_out_labels):
        counts = torch.bincount(labels, minlength=10) / len(labels)
        assert float((counts - 0.1).abs().max()) < 0.005
    again, other = load_images("digits"), load_images("digits", seed=1)
    assert torch.equal(again.train, digits.train)
    assert not torch.equal(other.train, digits.train)
    assert rows(other.train) | rows(other.held_out) == rows(digits.train) | rows(digits.held_out)


def test_digits_have_17_grey_levels(digits):
    levels = torch.cat([digits.train, digits.held_out]).unique()
    assert torch.equal(levels, torch.linspace(-1, 1, 17))
    assert digits.bin_width == 1 / 8
    assert digits.mixture is None
    assert digits.skipped == ()


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'smdtheory\[images\]'"):
        load_images("digits")
