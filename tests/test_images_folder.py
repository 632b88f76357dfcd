"""Folders of images: their splits, what is done to a picture, and files that mean harm."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from chains import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from smdtheory.images import folder, load_images, sources
from smdtheory.images.folder import read_folder


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
