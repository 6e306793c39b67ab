"""Bytes are read as files and members of archives are: through one allowlist, with a reason."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import awkward
from dsunet.data.images import decode, read_header, read_image
from dsunet.data.sources import Bytes, content_stamp, content_sum, name_of, open_source
from dsunet.errors import ImageError


def test_bytes_are_decoded_as_their_file_is(tmp_path: Path) -> None:
    """Every awkward file, those that go to tifffile among them: same pixels, or same reason."""
    folder = tmp_path / "in"
    good, bad, _ = awkward.make(folder)
    for name in good:
        file = folder / name
        given = Bytes(file.read_bytes(), name)
        expected, decoded = decode(file), decode(given)
        assert decoded.frames == expected.frames
        assert decoded.mislabelled == expected.mislabelled, name
        np.testing.assert_array_equal(
            np.asarray(decoded.as_image()), np.asarray(expected.as_image()), name
        )
        assert read_header(given).seen_size() == expected.seen_size()
    for name in bad:
        if (folder / name).is_file():
            with pytest.raises(ImageError) as of_file:
                read_image(folder / name)
            with pytest.raises(ImageError) as of_bytes:
                read_image(Bytes((folder / name).read_bytes(), name))
            assert str(of_file.value).removeprefix(f"{folder}/") == str(of_bytes.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the given bytes are empty; give the content of an image file"),
        (bytes(500), "the given bytes start with zeros; their copying may have failed"),
        (b"%PDF-1.7\n", "the given bytes are a PDF document; give"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "the given bytes are a PostScript document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "the given bytes are an HEIC picture"),
        (b"anything", "the given bytes are no readable image .its content is of no known format"),
        (awkward.bomb(), "the given bytes: its .*pixels are more than the 89,478,485"),
    ],
    ids=["empty", "zeros", "pdf", "postscript", "heic", "noise", "bomb"],
)
def test_what_is_said_of_bytes_without_a_name(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(Bytes(content))


def test_bytes_are_a_source_like_others(tmp_path: Path) -> None:
    content = b"some content"
    source = Bytes(content, "uploads/a.png")
    (tmp_path / "a.png").write_bytes(content)
    assert (
        content_sum(source) == content_sum(tmp_path / "a.png") == hashlib.sha256(content).digest()
    )
    assert name_of(source) == "a.png"
    assert content_stamp(source) == (len(content), 0)
    with open_source(source) as file:
        assert file.read() == content
    assert str(source) == "uploads/a.png"
    assert str(Bytes(content)) == "the given bytes"
    assert "some content" not in repr(source)
