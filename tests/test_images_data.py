"""Images: every source, its splits and ranges, the fit of a mixture, and files that mean harm."""

import ast
import gzip
import hashlib
import io
import math
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import smdtheory
from smdtheory import GaussianMixture
from smdtheory.images import Images, cifar, fit_low_rank, folder, load_images, low_rank, sources
from smdtheory.images.cifar import read_batch, read_cifar10
from smdtheory.images.folder import read_folder
from tests.strategies import arrays

PACKAGE = Path(smdtheory.__file__).parent


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def rows(images):
    return {row.numpy().tobytes() for row in images.flatten(1)}


# --- what all sources share --------------------------------------------------------------------


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


# --- digits ------------------------------------------------------------------------------------


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


# --- the fit -----------------------------------------------------------------------------------


def dense_log_prob(mixture, x):
    """By scipy-free dense algebra, a second route."""
    parts = []
    for weight, mean, matrix in zip(
        mixture.weights, mixture.means, mixture.spectral.matrices(), strict=True
    ):
        law = torch.distributions.MultivariateNormal(mean, matrix)
        parts.append(weight.log() + law.log_prob(x))
    return torch.logsumexp(torch.stack(parts), 0)


def test_a_known_mixture_is_recovered():
    g = seeded()
    factors = torch.randn(3, 12, 2, generator=g).double()
    means = 4 * torch.randn(3, 12, generator=g).double()
    truth = GaussianMixture.low_rank([0.5, 0.3, 0.2], means, factors, [0.2, 0.1, 0.3])
    sample = truth.sample(12_000, generator=g)
    fit = fit_low_rank(sample, 3, 2, seed=1)
    order = torch.cdist(truth.means, fit.means).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(fit.weights[order], truth.weights, atol=0.02, rtol=0)
    torch.testing.assert_close(fit.means[order], truth.means, atol=0.15, rtol=0)
    noise = fit.spectral.residual[order]
    torch.testing.assert_close(noise, truth.spectral.residual, atol=0, rtol=0.03)
    both = [q.spectral.matrices() for q in (fit, truth)]
    torch.testing.assert_close(both[0][order], both[1], atol=0.35, rtol=0)
    # the fit beats the truth on its own sample, by about half a parameter a nat
    gain = len(sample) * float((fit.log_prob(sample) - truth.log_prob(sample)).mean())
    parameters = 2 + 3 * (12 + 2 * 12 - 1 + 1)
    assert 0 < gain < parameters
    new = truth.sample(4000, generator=g)
    assert 0 < float((truth.log_prob(new) - fit.log_prob(new)).mean()) < 0.05


@pytest.mark.parametrize(("components", "rank"), [(1, 1), (4, 3), (10, 8)])
def test_a_fit_keeps_mean_and_total_variance(digits, components, rank):
    flat = digits.train.flatten(1).double()
    fit = fit_low_rank(digits.train, components, rank)
    assert (fit.num_components, fit.dim) == (components, 64)
    torch.testing.assert_close(fit.mean, flat.mean(0))
    assert float(fit.total_variance) == pytest.approx(64 * digits.variance, rel=1e-9)
    assert torch.equal(fit.means, fit_low_rank(digits.train, components, rank).means)
    assert float(fit.spectral.smallest().min()) >= low_rank.NOISE_FLOOR * digits.variance
    x = digits.held_out.flatten(1)[:20].double()
    torch.testing.assert_close(fit.log_prob(x), dense_log_prob(fit, x))


def test_held_out_digits_like_a_mixture_better_than_one_gaussian_of_its_rank(digits):
    held_out = digits.held_out.flatten(1).double()
    ten, one = (fit_low_rank(digits.train, K, 8).log_prob(held_out) for K in (10, 1))
    gain = ten - one
    assert float(gain.mean()) > 15
    assert float(gain.mean()) > 5 * float(gain.std()) / math.sqrt(len(gain))


@settings(max_examples=15)
@given(points=arrays((30, 5), -1.0, 1.0), rank=st.integers(1, 4), floor=st.sampled_from([0.0, 0.1]))
def test_the_principal_component_is_a_maximum(points, rank, floor):
    """§13.1: no other factors and no other noise above the floor has a larger likelihood."""
    floor = max(floor, low_rank.NOISE_FLOOR)
    share = torch.ones(30, dtype=torch.float64)
    mean, factors, noise = low_rank.principal(points, share, rank, floor, 5)
    assert noise >= floor

    def likelihood(factors, noise):
        mixture = GaussianMixture.low_rank([1.0], mean[None], factors[None], [noise])
        return float(mixture.log_prob(points).mean())

    best = likelihood(factors, noise)
    for n in range(20):
        size = 10 ** (-1 - n % 3)
        change = size * torch.randn(5, rank, generator=seeded(n)).double()
        other = max(floor, noise * math.exp(size * (n % 5 - 2)))
        assert likelihood(factors + change, other) <= best + 1e-9


def test_images_of_few_directions_are_fitted_as_in_all_of_them(monkeypatch):
    g = seeded()
    flat = torch.randn(300, 6, generator=g) @ torch.randn(6, 40, generator=g)
    flat[:100] += 3
    reduced = fit_low_rank(flat, 2, 3)
    assert low_rank._directions((flat - flat.mean(0)).double())[1].shape == (40, 7)
    monkeypatch.setattr(low_rank, "LARGE", 0)
    whole = fit_low_rank(flat, 2, 3)
    x = torch.randn(50, 40, generator=g).double()
    torch.testing.assert_close(reduced.log_prob(x), whole.log_prob(x), rtol=1e-4, atol=1e-2)
    few = fit_low_rank(flat[:, :1].expand(-1, 40), 1, 5)  # on a line: one factor is enough
    floor = low_rank.NOISE_FLOOR * float(flat[:, 0].double().var(correction=0))
    assert float(few.spectral.residual) == pytest.approx(floor, rel=1e-6)


def test_leading_eigenvalues_alone_give_the_same_fit(monkeypatch):
    g = seeded()
    flat = (torch.randn(200, 60, generator=g) * torch.linspace(0.1, 2, 60)).double()
    dense = fit_low_rank(flat, 1, 4)
    monkeypatch.setattr(low_rank, "DENSE", 10)
    monkeypatch.setattr(low_rank, "LARGE", 20)
    iterated = fit_low_rank(flat, 1, 4)
    torch.testing.assert_close(iterated.covariance_matrix, dense.covariance_matrix)


def test_more_images_than_are_used_are_drawn_by_the_seed(monkeypatch, digits):
    monkeypatch.setattr(low_rank, "MOST_ROWS", 300)
    first, again, other = (fit_low_rank(digits.train, 2, 2, seed).mean for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)


def test_a_component_with_next_to_no_images_is_dropped():
    flat = torch.randn(100, 6, generator=seeded()).double()
    flat[:2] += 1000
    fit = fit_low_rank(flat, 2, 2)
    assert fit.num_components == 1
    torch.testing.assert_close(fit.mean, flat.mean(0))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("images", TypeError, "images must be a dense array of real numbers"),
        (torch.zeros(50), ValueError, "at least 2 pixels"),
        (torch.zeros(50, 1), ValueError, "at least 2 pixels"),
        (torch.zeros(50, 4), ValueError, "= 6 different ones; received 1"),
        (torch.zeros(0, 4), ValueError, "= 6 different ones; received 0"),
        (torch.full((50, 4), math.nan), ValueError, "images must be finite"),
        (torch.arange(40.0).double().reshape(10, 4) * 1e30, ValueError, "moderate size"),
        (torch.arange(40.0).double().reshape(10, 4) * 1e300, ValueError, "moderate size"),
        (torch.arange(40.0).double().reshape(10, 4) * 1e-40, ValueError, "moderate size"),
    ],
)
def test_what_cannot_be_fitted(images, error, message):
    with pytest.raises(error, match=message):
        fit_low_rank(images, 2, 1)


# --- mixtures ----------------------------------------------------------------------------------


def test_draws_of_a_mixture_have_its_law():
    images = load_images("mixture", components=4, rank=3)
    mixture = images.mixture
    assert (images.name, images.bin_width, images.shape) == ("mixture", None, (1, 8, 8))
    assert images.variance == pytest.approx(float(mixture.variance.mean()))
    torch.testing.assert_close(images.mean, mixture.mean)
    x = images.draw(20_000, seeded()).double()
    error = (mixture.variance / len(x)).sqrt()
    assert float(((x.mean(0) - mixture.mean) / error).abs().max()) < 5
    centred = x - mixture.mean
    products = centred.unsqueeze(2) * centred.unsqueeze(1)
    error = products[::10].std(0) / math.sqrt(len(x))
    gap = centred.mT @ centred / len(x) - mixture.covariance_matrix
    assert float((gap / error).abs().max()) < 6
    torch.testing.assert_close(mixture.log_prob(x[:20]), dense_log_prob(mixture, x[:20]))
    own = mixture.log_prob(images.held_out.flatten(1).double())
    new = mixture.log_prob(x[:2000])
    error = math.hypot(float(own.std()) / own.numel() ** 0.5, float(new.std()) / 2000**0.5)
    assert abs(float(own.mean() - new.mean())) < 4 * error
    assert not rows(images.train) & rows(images.held_out)


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (12, 1), (32, 1)])
def test_a_mixture_has_any_size(size, channels):
    images = load_images("mixture", size=size, channels=channels, components=2, rank=2)
    assert images.shape == (channels, size, size)
    spectral = images.mixture.spectral
    assert float(spectral.smallest().min()) > 1e-5
    assert float((spectral.largest() / spectral.smallest()).max()) < 1e3 * images.dim
    again = load_images("mixture", size=size, channels=channels, components=2, rank=2)
    assert torch.equal(images.train, again.train)
    assert torch.equal(images.draw(3, seeded()), again.draw(3, seeded()))


def test_tints_are_light_of_one_colour(digits):
    tinted = sources._tinted(digits.train[:50], 0)
    assert tinted.shape == (50, 3, 8, 8)
    assert -1 <= float(tinted.min()) <= float(tinted.max()) <= 1
    light, grey = (tinted + 1).flatten(2), (digits.train[:50] + 1).flatten(2)
    colour = light.amax(2, keepdim=True) / grey.amax(2, keepdim=True)
    assert float(colour.min()) >= sources.DARKEST - 1e-6
    torch.testing.assert_close(light, colour * grey)


# --- CIFAR-10 ----------------------------------------------------------------------------------


def python2_pickle(pixels, labels):
    """A batch as Python 2 and its numpy wrote it: byte strings, GLOBAL, REDUCE, BUILD."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def integer(value):
        return b"M" + struct.pack("<H", value)

    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    array += b"(K\x01(" + b"".join(map(integer, pixels.shape)) + b"t" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(content)) + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = text(b"batch_label") + text(b"a batch") + text(b"labels") + numbers
    return b"\x80\x02}(" + entries + text(b"data") + array + b"u."


def batch(seed, count=6):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
    return pixels, random.integers(0, 10, count).tolist()


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A folder of fake batches whose checksums count as official."""
    place = tmp_path / cifar.FOLDER
    place.mkdir()
    checksums = {cifar.ARCHIVE: ""}
    for seed, name in enumerate(name for name in cifar.CHECKSUMS if name != cifar.ARCHIVE):
        content = python2_pickle(*batch(seed))
        (place / name).write_bytes(content)
        checksums[name] = md5(content)
    (place / "batches.meta").write_bytes(b"whatever")
    monkeypatch.setattr(cifar, "CHECKSUMS", checksums)
    return place


@pytest.fixture
def archive(batches, tmp_path):
    """The same in an archive, elsewhere, with the archive's own checksum official as well."""
    target = tmp_path / "elsewhere" / cifar.ARCHIVE
    target.parent.mkdir()
    with tarfile.open(target, "w:gz") as tar:
        tar.add(batches, cifar.FOLDER)
    cifar.CHECKSUMS[cifar.ARCHIVE] = md5(target.read_bytes())
    return target


def expected_images(seeds):
    pixels = np.concatenate([batch(seed)[0] for seed in seeds]).reshape(-1, 3, 32, 32)
    return torch.from_numpy(pixels).float() / 127.5 - 1


def test_batches_are_read_from_folders_and_archives_alike(batches, archive):
    for path in (batches, batches.parent, archive, archive.parent, str(archive)):
        images = load_images("cifar10", path=path)
        assert torch.equal(images.train, expected_images(range(5)))
        assert torch.equal(images.held_out, expected_images([5]))
        assert images.held_out_labels.tolist() == batch(5)[1]
        assert images.train_labels[:6].tolist() == batch(0)[1]
        assert (images.bin_width, images.shape) == (2 / 255, (3, 32, 32))
        assert float(images.train.max()) == 1


def test_nothing_is_unpacked(archive):
    load_images("cifar10", path=archive)
    assert list(archive.parent.iterdir()) == [archive]


def test_a_mixture_is_fitted_to_cifar(batches):
    images = load_images("mixture", path=batches.parent, size=8, channels=1, components=2, rank=2)
    assert images.shape == (1, 8, 8)
    assert load_images("mixture", path=batches, components=1, rank=2).shape == (3, 32, 32)


@pytest.mark.parametrize("protocol", range(5))
def test_batches_pickled_today_are_read_too(protocol):
    pixels, labels = batch(0)
    for array in (pixels, np.asfortranarray(pixels)):
        content = pickle.dumps({b"data": array, b"labels": labels}, protocol=protocol)
        images, numbers = read_batch(content)
        assert np.array_equal(images.numpy().reshape(-1, 3072), pixels)
        assert numbers.tolist() == labels


def test_absent_files_come_with_instructions(tmp_path):
    for path in (None, tmp_path, tmp_path / "nowhere", __file__):
        with pytest.raises(ValueError, match="Download cifar-10-python.tar.gz .*Nothing is downl"):
            load_images("cifar10", path=path)


def test_another_checksum_is_refused_before_reading(batches, archive, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(cifar, "read_batch", never)
    (batches / "data_batch_1").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"data_batch_1 must be the official file, MD5 \w{32}; "):
        load_images("cifar10", path=batches)
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cifar-10-python.tar.gz must be the official file"):
        load_images("cifar10", path=archive)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_archive_is_refused_by_its_content_too(archive, share):
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    checksums = {**cifar.CHECKSUMS, cifar.ARCHIVE: md5(archive.read_bytes())}
    with pytest.raises(ValueError, match="python version of CIFAR-10; received"):
        read_cifar10(archive, checksums)


def test_damaged_archives_are_refused(archive):
    whole = bytearray(archive.read_bytes())
    whole[len(whole) // 2] ^= 255
    for content in (bytes(whole), gzip.compress(b"no archive" * 99), b"no gzip" * 99):
        archive.write_bytes(content)
        checksums = {**cifar.CHECKSUMS, cifar.ARCHIVE: md5(content)}
        with pytest.raises(ValueError, match=r"CIFAR-10|official file"):
            read_cifar10(archive, checksums)


def test_a_missing_or_oversized_batch_is_named(batches, monkeypatch):
    (batches / "data_batch_3").unlink()
    with pytest.raises(ValueError, match="without data_batch_3"):
        load_images("cifar10", path=batches)
    monkeypatch.setattr(cifar, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="data_batch_1 must have at most 100 bytes"):
        load_images("cifar10", path=batches)


class Harm:
    """Asks a pickle to call a function, as an attacker's would."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, protocol):
    mark = tmp_path / "executed"
    pixels, labels = batch(0)
    for harm in (
        Harm(os.mkdir, str(mark)),
        Harm(eval, f"__import__('os').mkdir({str(mark)!r})"),
        Harm(getattr, labels, "clear"),
        Harm(subprocess.Popen, ["true"]),
        Harm(np.load, str(mark)),
    ):
        for content in (harm, {b"data": pixels, b"labels": labels, b"more": [harm]}):
            with pytest.raises(ValueError, match=r"nothing was executed: .*asks for"):
                read_batch(pickle.dumps(content, protocol=protocol))
    assert not mark.exists()


def test_no_name_but_those_of_an_array_is_found():
    reader = cifar._Reader(io.BytesIO(b""))
    for module, name in (
        ("numpy.core.multiarray", "fromfile"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("builtins", "bytes"),
        ("_codecs", "decode"),
        ("smdtheory.images.cifar", "read_cifar10"),
    ):
        with pytest.raises(pickle.UnpicklingError, match="which no batch needs"):
            reader.find_class(module, name)
    assert reader.find_class("numpy", "ndarray") is cifar._Note  # a note, and not numpy's own
    encode = reader.find_class("_codecs", "encode")
    assert encode("ÿ", "latin1") == b"\xff"
    with pytest.raises(pickle.UnpicklingError, match="encoding"):
        encode("ÿ", "rot13")


def object_array():
    return np.array([[None] * 3072], dtype=object)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}.",
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": 1, b"labels": [1]}),
        pickle.dumps({b"data": batch(0)[0], b"labels": [1]}, 2),
        pickle.dumps({b"data": batch(0)[0], b"labels": [10] * 6}, 2),
        pickle.dumps({b"data": batch(0)[0], b"labels": [True] * 6}, 2),
        pickle.dumps({b"data": batch(0)[0], b"labels": dict.fromkeys(range(6))}, 2),
        pickle.dumps({b"data": batch(0)[0][:0], b"labels": []}, 2),
        pickle.dumps({b"data": batch(0)[0][:, :3071], b"labels": [1] * 6}, 2),
        pickle.dumps({b"data": batch(0)[0].view(np.int8), b"labels": [1] * 6}, 2),
        pickle.dumps({b"data": batch(0)[0].astype("f4"), b"labels": [1] * 6}, 2),
        pickle.dumps({b"data": object_array(), b"labels": [1]}, 2),
        python2_pickle(*batch(0))[:-20],
        python2_pickle(*batch(0)).replace(b"u1", b"i1"),
    ],
)
def test_what_is_no_batch(content):
    with pytest.raises(ValueError, match="must be a CIFAR-10 batch, .*nothing was executed: ."):
        read_batch(content)


@settings(max_examples=150)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_damaged_batch_is_read_or_refused(place, value):
    content = bytearray(python2_pickle(*batch(0, 1)))
    headers = [n for n in range(len(content)) if n < 220 or n > len(content) - 40]
    content[headers[int(place * (len(headers) - 1))]] = value
    try:
        images, labels = read_batch(bytes(content))
    except ValueError as error:
        assert "must be a CIFAR-10 batch" in str(error)
    else:
        assert images.shape == (1, 3, 32, 32)
        assert 0 <= int(labels) <= 9


def test_no_file_is_unpickled_anywhere_else():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                assert name not in ("torch.load", "pickle.load", "joblib.load"), path
                assert name != "pickle.Unpickler" or path.name == "cifar.py", path
                assert name != "pickle.loads" or path.name == "compute.py", path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert getattr(node.value, "value", True) is False, path


# --- folders -----------------------------------------------------------------------------------


def save(path, size=(40, 30), mode="RGB", seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = random.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def pictures(tmp_path):
    place = tmp_path / "pictures"
    for n in range(40):
        kind = ("png", "jpg", "bmp", "webp")[n % 4]
        save(place / f"{n % 3}" / f"{n}.{kind}", seed=n)
    return place


def test_a_folder_is_read_with_all_its_folders(pictures):
    images = load_images("folder", path=pictures, size=16)
    assert images.shape == (3, 16, 16)
    assert len(images.train) + len(images.held_out) == 40
    assert 2 <= len(images.held_out) <= 16
    assert not rows(images.train) & rows(images.held_out)
    assert (images.bin_width, images.skipped, images.mixture) == (2 / 255, (), None)
    assert images.train_labels is None
    assert load_images("folder", path=pictures).shape == (3, 32, 32)
    assert load_images("folder", path=pictures, channels=1, size=4).shape == (1, 4, 4)


def test_the_split_depends_on_names_and_seed_alone(pictures):
    before = load_images("folder", path=pictures, size=8)
    again = load_images("folder", path=pictures, size=8)
    assert torch.equal(before.train, again.train)
    assert rows(load_images("folder", path=pictures, size=8, seed=1).train) != rows(before.train)
    for n in range(20):
        save(pictures / "new" / f"{n}.png", seed=100 + n)
    after = load_images("folder", path=pictures, size=8)
    assert rows(before.train) < rows(after.train)
    assert rows(before.held_out) < rows(after.held_out)


@given(seed=st.integers(0, 2**31))
def test_two_images_are_always_on_two_sides(seed):
    place = torch.tensor([sources._place(name, seed) for name in ("a.png", "b.png")])
    assert bool(((place >= 0) & (place < 1)).all())
    assert float(place[0]) != float(place[1])


def test_a_folder_of_two_and_of_one(tmp_path):
    save(tmp_path / "a.png", seed=1)
    with pytest.raises(ValueError, match="at least 2 images"):
        load_images("folder", path=tmp_path)
    save(tmp_path / "b.png", seed=2)
    for seed in range(5):
        images = load_images("folder", path=tmp_path, seed=seed)
        assert (len(images.train), len(images.held_out)) == (1, 1)


def test_pixels_are_those_of_the_file_where_nothing_is_resized(tmp_path):
    pixels = save(tmp_path / "a.png", (8, 8))
    found, names, _ = read_folder(tmp_path, 8, 3)
    assert np.array_equal(found[0].numpy(), pixels.transpose(2, 0, 1))
    assert names == ("a.png",)


def test_the_shorter_side_is_resized_and_the_middle_kept(tmp_path):
    pixels = np.zeros((10, 30), dtype=np.uint8)
    pixels[:, 10:20] = 200
    for name, array in (("wide", pixels), ("tall", pixels.T.copy())):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    (tall, wide), _, _ = read_folder(tmp_path, 5, 1)
    resized = Image.fromarray(pixels).resize((15, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(wide[0], np.asarray(resized)[:, 5:10])
    assert torch.equal(tall[0], wide[0].mT)
    assert (wide[0, :, 1:4] == 200).all()


def test_transparent_parts_are_white_and_exif_turns(tmp_path):
    clear = np.zeros((6, 6, 4), dtype=np.uint8)
    clear[:, :3, 3] = 255
    Image.fromarray(clear).save(tmp_path / "a.png")
    tall = Image.fromarray(np.repeat(np.array([[0], [255]], dtype=np.uint8), 4, 1).repeat(2, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    tall.save(tmp_path / "b.png", exif=exif)
    found, _, _ = read_folder(tmp_path, 4, 1)
    assert found[0, 0, :, 0].tolist() == [0] * 4
    assert found[0, 0, :, -1].tolist() == [255] * 4
    turned = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "b.png")))
    assert np.array_equal(found[1, 0].numpy(), turned)
    assert not np.array_equal(turned, np.asarray(tall))


def bomb(width, height):
    """A PNG that says it is enormous, in a few bytes."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path):
    for name in ("a.png", "b.png", "whole.jpg"):
        save(tmp_path / name, (64, 64), seed=len(name))
    whole = (tmp_path / "whole.jpg").read_bytes()
    png = (tmp_path / "a.png").read_bytes()
    middle = len(png) // 2
    bad = {
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": png[:middle],
        "flipped.png": png[:middle] + bytes([png[middle] ^ 255]) + png[middle + 1 :],
        "empty.png": b"",
        "text.png": b"no picture at all",
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "bomb.png": bomb(30_000, 30_000),
        "smaller bomb.png": bomb(10_000, 9_000),
        "large.png": bomb(9_000, 9_000),
        "notes.txt": b"notes",
        "deep/.hidden": b"",
    }
    for name, content in bad.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint16)).save(tmp_path / "16 bit.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    images = load_images("folder", path=tmp_path)
    assert len(images.train) + len(images.held_out) == 3
    reasons = dict(line.split(": ", 1) for line in images.skipped)
    assert set(reasons) == {*bad, "16 bit.png", "pipe.png", "dangling.png"}
    assert all(reasons.values())
    assert str(tmp_path) not in "".join(images.skipped)
    assert "8 bits a channel" in reasons["16 bit.png"]
    assert "too many to decode" in reasons["large.png"]
    assert "content is none of PNG, JPEG" in reasons["postscript.png"]
    assert reasons["pipe.png"] == "it is not a regular file"
    assert "truncated" in reasons["cut.jpg"]


def test_a_folder_without_images_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"path must be a folder of images .*, with no files"):
        load_images("folder", path=tmp_path)
    with pytest.raises(ValueError, match="which does not exist"):
        load_images("folder", path=tmp_path / "nowhere")
    (tmp_path / "text.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1 files, none of which can be read.*\n  text\.png: "):
        load_images("folder", path=tmp_path)
    with pytest.raises(ValueError, match="which is a file"):
        load_images("folder", path=tmp_path / "text.png")


def test_names_that_no_terminal_shows_are_escaped(tmp_path):
    for n in range(3):
        save(tmp_path / os.fsdecode(b"\xff%d.png" % n), seed=n)
    for name in (b"\xff.txt", b"red\x1b[31m.png", b"two\nlines.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    images = load_images("folder", path=tmp_path)
    assert len(images.train) + len(images.held_out) == 3
    assert len(images.skipped) == 3
    assert all(line.isprintable() for line in images.skipped)
    assert any(line.startswith(r"red\x1b[31m.png: ") for line in images.skipped)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(pictures):
    (pictures / "0").chmod(0)
    try:
        images = load_images("folder", path=pictures)
    finally:
        (pictures / "0").chmod(0o700)
    assert images.skipped == ("0: the folder cannot be read: Permission denied",)


@settings(max_examples=60)
@given(place=st.floats(0, 1), value=st.integers(0, 255), kind=st.sampled_from(["PNG", "GIF"]))
def test_a_damaged_image_is_read_or_skipped(place, value, kind):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    content[int(place * (len(content) - 1))] = value
    file = io.BytesIO(bytes(content))
    try:
        pixels = folder._read(file, 4, 3)
    except Exception as error:
        assert folder._reason(error)
    else:
        assert pixels.shape == (3, 4, 4)


def test_a_mixture_is_fitted_to_a_folder(pictures):
    (pictures / "x.png").write_bytes(b"")
    images = load_images("mixture", path=pictures, size=8, channels=1, components=1, rank=2)
    assert images.shape == (1, 8, 8)
    assert len(images.skipped) == 1
    assert images.skipped[0].startswith("x.png: ")
    assert load_images("mixture", path=pictures, components=1, rank=2).shape == (3, 32, 32)
