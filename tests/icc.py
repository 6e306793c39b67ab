"""Small ICC profiles (version 2), made by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

# Adobe RGB (1998): red, green and blue, adapted to D50
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
D50 = (0.9642, 1.0, 0.8249)


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _profile(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"made by hand\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50),
        **tags,
    }
    table, content, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(content), len(padded))
        content += padded
    body = struct.pack(">I", len(tags)) + table + content
    start = (128 + len(body), b"none", 0x02100000, kind, space, connection)
    header = struct.pack(">I4sI4s4s4s", *start) + struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    header += b"acsp" + bytes(28) + _fixed(*D50)
    return header + bytes(128 - len(header)) + body


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def rgb(primaries: Sequence[Sequence[float]] = ADOBE, gamma: float = 563 / 256) -> bytes:
    """A matrix and a gamma."""
    tags = {f"{c}TRC".encode(): _gamma(gamma) for c in "rgb"}
    for c, xyz in zip("rgb", primaries, strict=True):
        tags[f"{c}XYZ".encode()] = b"XYZ \0\0\0\0" + _fixed(*xyz)
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


def grey(gamma: float) -> bytes:
    """Grey of a gamma."""
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": _gamma(gamma)})


def _lut(corners: np.ndarray) -> bytes:
    """lut8 with two points a channel; `corners` N×3 are Lab in 8 bits, the last channel fastest."""
    channels = len(corners).bit_length() - 1
    straight = bytes(range(256))
    head = b"mft1\0\0\0\0" + bytes((channels, 3, 2, 0)) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return head + straight * channels + corners.astype(np.uint8).tobytes() + straight * 3


def cmyk() -> bytes:
    """Four inks, of which cyan prints red; black, and any two others together, give black."""
    corners = np.zeros((16, 3))
    for number in range(16):
        c, m, y, k = (number >> shift & 1 for shift in (3, 2, 1, 0))
        light = 0 if k or c + m + y > 1 else 135 if c + m + y else 255
        red = c and light
        corners[number] = (light, 208 if red else 128, 188 if red else 128)
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": _lut(corners)})


def rgb_by_table() -> bytes:
    """Red and green have changed places, by a table."""
    lab = {
        0b000: (0, 128, 128),
        0b100: (224, 49, 209),
        0b010: (138, 209, 198),
        0b001: (75, 196, 16),
        0b111: (255, 128, 128),
    }
    corners = np.array([lab.get(number, (180, 128, 128)) for number in range(8)])
    return _profile(b"RGB ", b"Lab ", b"scnr", {b"A2B0": _lut(corners)})
