"""Large pictures, read from top to bottom: the same pixels as of the plain way."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dsunet.data import strips
from dsunet.data.images import decode
from dsunet.data.sources import Bytes
from dsunet.data.strips import Strips, strips_of
from dsunet.errors import ImageError

pytest.importorskip("pyvips", reason="pyvips is not installed (the extra huge)")

WIDTH, HEIGHT = 130, 300
Write = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _small_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIPS_FROM", 1000)
    monkeypatch.setattr(strips, "_ROWS", 32)


def pixels(channels: int, kind: type = np.uint8) -> np.ndarray:
    small = np.random.default_rng(channels).integers(0, 256, (20, 9, channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(small[..., c]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        for c in range(channels)
    ]
    values = np.stack(planes, axis=-1)[..., 0] if channels == 1 else np.stack(planes, axis=-1)
    return values if kind == np.uint8 else values.astype(np.uint16) * 257 - 100


def by_pillow(mode: str, **options: object) -> Write:
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]

    def write(path: Path) -> None:
        image = Image.fromarray(pixels(channels))
        if mode == "CMYK":
            image = Image.merge("CMYK", image.split())
        image.save(path, **options)

    return write


def by_tifffile(channels: int, kind: type, **options: object) -> Write:
    grey = "minisblack" if channels == 1 else "rgb"
    alpha = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    return lambda path: tifffile.imwrite(
        path, pixels(channels, kind), photometric=grey, **alpha, **options
    )


def png_of_16_bits(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), pixels(3, np.uint16))


def with_transparency(path: Path) -> None:
    Image.fromarray(pixels(3)).save(path, transparency=(1, 2, 3))


KINDS: dict[str, Write] = {
    "rgb.jpg": by_pillow("RGB", quality=90),
    "grey.jpg": by_pillow("L"),
    "cmyk.jpg": by_pillow("CMYK"),
    "rgb.png": by_pillow("RGB"),
    "grey.png": by_pillow("L"),
    "alpha.png": by_pillow("RGBA"),
    "dpi.png": by_pillow("RGB", dpi=(300, 300)),
    "sixteen.png": png_of_16_bits,
    "grey16.png": lambda path: Image.fromarray(pixels(1, np.uint16)).save(path),
    "rgb.tif": by_pillow("RGB"),
    "grey.tif": by_pillow("L"),
    "lzw.tif": by_pillow("RGB", compression="tiff_lzw"),
    "deflate.tif": by_pillow("RGBA", compression="tiff_adobe_deflate"),
    "cmyk.tif": by_pillow("CMYK"),
    "jpeg.tif": by_pillow("RGB", compression="jpeg", quality=90),
    "tiles.tif": by_tifffile(3, np.uint8, tile=(64, 64), compression="zlib"),
    "strips.tif": by_tifffile(3, np.uint8, rowsperstrip=7),
    "one-strip.tif": by_tifffile(3, np.uint8, rowsperstrip=HEIGHT),
    "grey16.tif": by_tifffile(1, np.uint16),
    "rgb16.tif": by_tifffile(3, np.uint16),
    "big-endian16.tif": by_tifffile(1, np.uint16, byteorder=">"),
    "big.tif": by_tifffile(3, np.uint8, bigtiff=True),
    "alpha.tif": by_tifffile(4, np.uint8),
}

BOXES = [(0, 0, 50, 64), (80, 0, 130, 64), (10, 30, 60, 94), (70, 30, 120, 94), (3, 236, 90, 300)]


@pytest.mark.parametrize("name", KINDS)
def test_parts_have_the_pixels_of_the_whole(name: str, tmp_path: Path) -> None:
    KINDS[name](tmp_path / name)
    opened = strips_of(tmp_path / name)
    assert isinstance(opened, Strips), opened
    colours, alpha = decode(tmp_path / name).as_colours()
    for box in BOXES:
        part, opacity = opened.part(box).as_colours()
        np.testing.assert_array_equal(np.asarray(part), np.asarray(colours.crop(box)), str(box))
        left, top, right, bottom = box
        if alpha is not None and opacity is not None:
            np.testing.assert_array_equal(opacity, alpha[top:bottom, left:right])
        assert (opacity is None) == (alpha is None)


def test_content_at_hand_is_read_alike(tmp_path: Path) -> None:
    KINDS["rgb.jpg"](tmp_path / "a.jpg")
    opened = strips_of(Bytes((tmp_path / "a.jpg").read_bytes(), "a.jpg"))
    assert isinstance(opened, Strips)
    whole = np.asarray(decode(tmp_path / "a.jpg").as_image())
    assert np.array_equal(np.asarray(opened.part((5, 0, 40, 90)).as_image()), whole[:90, 5:40])


def test_profiles_and_ranges_are_followed_in_parts(tmp_path: Path) -> None:
    from icc import rgb

    Image.fromarray(pixels(3)).save(tmp_path / "a.png", icc_profile=rgb())
    opened = strips_of(tmp_path / "a.png", "20,150")
    assert isinstance(opened, Strips)
    whole = decode(tmp_path / "a.png", intensity="20,150").as_image()
    box = (0, 0, 60, 60)
    part = opened.part(box).as_image()
    assert part.tobytes() == whole.crop(box).tobytes()
    assert part.tobytes() != decode(tmp_path / "a.png").as_image().crop(box).tobytes()


def test_what_is_kept_is_a_part_and_no_more(tmp_path: Path) -> None:
    KINDS["lzw.tif"](tmp_path / "a.tif")
    opened = strips_of(tmp_path / "a.tif")
    assert isinstance(opened, Strips)
    for top in range(0, 237, 30):
        opened.part((0, top, 20, top + 64))
        assert len(opened._rows) == 64


def late_exif(path: Path) -> None:
    """A PNG with its EXIF behind its pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels(3)).save(file, "PNG")
    content, chunk = file.getvalue(), b"eXIf" + b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:-12] + late + content[-12:])


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        ("a.jpg", by_pillow("RGB", progressive=True), "progressive JPEG"),
        ("a.webp", by_pillow("RGB"), "WEBP is decoded as a whole"),
        ("a.bmp", by_pillow("RGB"), "BMP is decoded as a whole"),
        ("a.png", with_transparency, "rare kind"),
        ("a.png", late_exif, "EXIF may come after its pixels"),
        ("a.tif", lambda p: Image.fromarray(pixels(1).astype(np.float32)).save(p), "rare kind"),
        ("a.gif", lambda p: Image.fromarray(pixels(1)).save(p), "GIF is decoded as a whole"),
    ],
)
def test_what_cannot_be_read_so_says_why(name: str, write: Write, why: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    found = strips_of(tmp_path / name)
    assert isinstance(found, str)
    assert why in found


def test_small_ones_and_what_is_none_are_left_to_the_plain_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KINDS["rgb.png"](tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing of the kind")
    assert strips_of(tmp_path / "b.png") == strips_of(tmp_path / "none.png") == ""
    assert "percentile" in str(strips_of(tmp_path / "a.png", "percentile"))
    monkeypatch.setattr(strips, "find_spec", lambda name: None)
    assert "pip install 'dsunet[huge]'" in str(strips_of(tmp_path / "a.png"))
    monkeypatch.setattr(strips, "STRIPS_FROM", WIDTH * HEIGHT + 1)
    assert strips_of(tmp_path / "a.png") == ""


@pytest.mark.parametrize("name", ["rgb.jpg", "rgb.png", "lzw.tif", "strips.tif", "tiles.tif"])
def test_a_file_that_is_cut_off_is_one_line(name: str, tmp_path: Path) -> None:
    KINDS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"not a readable image \(.*replace it or leave") as caught:
        read_all(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def read_all(path: Path) -> None:
    opened = strips_of(path)
    if opened == "":  # as its directory is gone, Pillow has told all
        decode(path)
    assert isinstance(opened, Strips)
    for top in range(0, 237, 30):
        opened.part((0, top, 130, top + 64))


def test_tags_that_nobody_knows_are_no_trouble(tmp_path: Path) -> None:
    tags = [(65000, "s", 0, "hello", True), (34735, "H", 4, (1, 1, 0, 0), True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels(3), photometric="rgb", extratags=tags)
    read_all(tmp_path / "a.tif")
