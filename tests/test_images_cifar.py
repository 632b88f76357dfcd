"""CIFAR-10: its archives and batches, and pickles that mean harm."""

import ast
import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import smdtheory
from smdtheory.images import cifar, load_images
from smdtheory.images.cifar import read_batch, read_cifar10

PACKAGE = Path(smdtheory.__file__).parent


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
