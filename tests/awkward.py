"""A folder of awkward files, and what prediction has to make of each."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

T = Image.Transpose
# what has to be done to an upright picture, so that its EXIF orientation turns it upright again
STORED_AS = {
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}
SIZE = (60, 40)


def upright() -> Image.Image:
    """Red, green, blue and yellow in the corners, clockwise from the top left."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    pixels[:20, :30], pixels[:20, 30:] = (255, 0, 0), (0, 255, 0)
    pixels[20:, 30:], pixels[20:, :30] = (0, 0, 255), (255, 255, 0)
    return Image.fromarray(pixels)


def greys() -> np.ndarray:
    """As `upright`, in four greys: H×W uint8."""
    return np.asarray(upright().convert("L"))


def claims_to_be_grey(picture: Image.Image) -> bytes:
    """An uncompressed RGB TIFF whose photometric interpretation says MinIsBlack."""
    file = io.BytesIO()
    picture.save(file, "TIFF")
    data = bytearray(file.getvalue())
    start = struct.unpack_from("<L", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] == 262:
            struct.pack_into("<H", data, at + 8, 1)
    return bytes(data)


def tiff_16_bit() -> bytes:
    """An uncompressed RGB TIFF of 16 bits, written by hand: Pillow writes none."""
    values = (np.asarray(upright()).astype("<u2") * 257).tobytes()
    short, long = 3, 4
    entries = [(256, short, 1, SIZE[0]), (257, short, 1, SIZE[1]), (258, short, 3, 0)]
    entries += [(259, short, 1, 1), (262, short, 1, 2), (273, long, 1, 0), (277, short, 1, 3)]
    entries += [(278, short, 1, SIZE[1]), (279, long, 1, len(values)), (284, short, 1, 1)]
    end = 8 + 2 + 12 * len(entries) + 4
    places = {258: end, 273: end + 6}
    data = b"II*\0" + struct.pack("<LH", 8, len(entries))
    for tag, kind, count, value in entries:
        data += struct.pack("<HHLL", tag, kind, count, places.get(tag, value))
    return data + struct.pack("<L3H", 0, 16, 16, 16) + values


def bomb() -> bytes:
    """A small PNG of a billion pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">L", len(content))
            + name
            + content
            + struct.pack(">L", zlib.crc32(name + content))
        )

    header = struct.pack(">LLBBBBB", 40_000, 25_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(25_000 * 5_001), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def make(folder: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str], set[str]]:
    """Writes the files.

    Returns:
        Size of every good file that shows `upright` (or its greys), by name; the reason, as a
        regular expression, for every bad one; the names of those with several pages or frames.
    """
    folder.mkdir(parents=True)
    picture, other = upright(), Image.new("RGB", SIZE, "white")
    good: dict[str, tuple[int, int]] = {}

    def save(name: str, image: Image.Image, format_: str | None = None, **options: object) -> None:
        image.save(folder / name, format_, **options)
        good[name] = SIZE

    save("rgb.jpg", picture, quality=95, subsampling=0)
    save("rgb-bmp.bmp", picture)
    save("rgb-ppm.ppm", picture)
    save("rgb-lossless.webp", picture, lossless=True)
    save("rgb-jp2.jp2", picture)
    save("grey.png", Image.fromarray(greys()))
    save("palette.png", picture.quantize(16))
    save("cmyk.jpg", picture.convert("CMYK"), quality=95, subsampling=0)
    save("grey16.png", Image.fromarray(greys().astype(np.uint16) * 257))
    save("grey16-tif.tif", Image.fromarray(greys().astype(np.uint16) * 257))
    save("lzw.tif", picture, compression="tiff_lzw")
    save("jpeg-named.png", picture, "JPEG", quality=95, subsampling=0)
    save("UPPER.JPG", picture, quality=95, subsampling=0)
    save("ünïcödé – 名前.png", picture)
    save("n" * 251 + ".jpg", picture, quality=95, subsampling=0)
    clear = picture.convert("RGBA")
    clear.putalpha(Image.fromarray(np.full(SIZE[::-1], 255, np.uint8)))
    save("rgba.png", clear)
    several = {"animated.gif": {"duration": 50}, "pages.tif": {}, "animated-webp.webp": {}}
    several["animated-apng.png"] = {}
    for name, options in several.items():
        lossless = {"lossless": True} if name.endswith("webp") else {}
        save(name, picture, save_all=True, append_images=[other, other], **options, **lossless)
    for orientation, turn in STORED_AS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = picture.transpose(turn)
        save(f"exif-{orientation}.jpg", stored, quality=95, subsampling=0, exif=exif)
    exif[0x0112] = 6
    save("exif-6-tif.tif", picture.transpose(STORED_AS[6]), exif=exif)
    for name, data in (
        ("minisblack.tif", claims_to_be_grey(picture)),
        ("rgb16.tif", tiff_16_bit()),
    ):
        (folder / name).write_bytes(data)
        good[name] = SIZE
    if os.name == "posix":
        name = os.fsdecode(b"not-utf8-\xff.png")
        picture.save(folder / name)
        good[name] = SIZE

    whole = (folder / "rgb.jpg").read_bytes()
    contents = {
        "empty.png": (b"", "the file is empty"),
        "cut-off.jpg": (whole[: len(whole) // 2], "truncated"),
        "cut-off-tif.tif": ((folder / "pages.tif").read_bytes()[:300], "not a readable image"),
        "zeros.jpg": (bytes(500), "starts with zeros"),
        "page.jpg": (b"<!DOCTYPE html><title>404</title>", "it is a web page"),
        "document.png": (b"%PDF-1.7\n", "it is a PDF document"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is a PostScript document"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "it is an HEIC picture"),
        "noise.png": (np.random.default_rng(0).bytes(400), "its content is of no known format"),
        "bomb.png": (bomb(), "more than the 89,478,485 that are decoded"),
    }
    bad = {name: reason for name, (_, reason) in contents.items()}
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(folder / "float.tif")
    bad["float.tif"] = "floating-point values"
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    bad["gone.png"] = "no such file"
    return good, bad, set(several)
