"""Whatever a file holds: a mask of the right size, or one of our errors."""

from __future__ import annotations

import io
import resource
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import dsunet
from dsunet.data import find_pairs, image_view, mask_view, read_image, read_mask
from dsunet.data.images import decode, read_map
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, ImageError
from fuzz_images import MUTATIONS, cases, judge, variants
from helpers import SHARED, nano, stopped_after

pytestmark = pytest.mark.filterwarnings("ignore::Warning:PIL.Image")


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(nano(), device="cpu")


def synthetic_sources() -> list[bytes]:
    result = []
    for number in range(4):
        file = io.BytesIO()
        synthetic_pair(number, 90)[0].save(file, "JPEG")
        result.append(file.getvalue())
    return result


def run_cases(
    sources: list[bytes], count: int, folder: Path, segmenter: dsunet.Segmenter
) -> set[str]:
    outcomes = set()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in cases(sources, count, seed=1):
        (folder / name).write_bytes(data)
        with stopped_after(300, f"{name} takes too long"):
            outcomes.add(judge(folder / name, segmenter))
        (folder / name).unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1024 * 1024, f"{grown // 1024} MiB"
    return outcomes


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_broken_files(tmp_path: Path, segmenter: dsunet.Segmenter, times: int) -> None:
    formats = len(variants(synthetic_pair(0, 90)[0]))
    assert formats >= 15
    count = times * formats * len(MUTATIONS)  # every mutation of every format
    assert run_cases(synthetic_sources(), count, tmp_path, segmenter) == {"map", "error"}


@pytest.mark.slow
def test_broken_files_made_of_real_ones(tmp_path: Path, segmenter: dsunet.Segmenter) -> None:
    folder = SHARED / "data" / "duts-te-200" / "images"
    if not folder.is_dir():
        pytest.skip("the data set duts-te-200 is not beside the repository")
    sources = [file.read_bytes() for file in sorted(folder.iterdir())[:8]]
    assert run_cases(sources, 200, tmp_path, segmenter) == {"map", "error"}


def test_the_judge_notices_a_wrong_size(
    tmp_path: Path, segmenter: dsunet.Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic_pair(0, 64)[0].crop((0, 0, 60, 40)).save(tmp_path / "a.png")
    wrong = [np.zeros((60, 40), np.float32)]
    monkeypatch.setattr(segmenter, "probabilities", lambda views: wrong)
    with pytest.raises(AssertionError, match=r"\(60, 40\) for \(60, 40\)"):
        judge(tmp_path / "a.png", segmenter)


ANY_FILE = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@ANY_FILE
@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"II*\0", b"\xff\xd8\xff", b"BM"]))
def test_any_bytes_are_an_image_or_our_error(tmp_path: Path, data: bytes, start: bytes) -> None:
    (tmp_path / "a.png").write_bytes(start + data)
    for read in (read_image, read_mask, read_map):
        try:
            read(tmp_path / "a.png")
        except ImageError as error:
            message = str(error)
        else:
            message = ""
        assert "\n" not in message


@ANY_FILE
@given(
    size=SIZES,
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "YCbCr"]),
    format_=st.sampled_from(["PNG", "TIFF"]),
    data=st.data(),
)
def test_any_mode_decodes_to_rgb(
    tmp_path: Path, size: tuple[int, int], mode: str, format_: str, data: st.DataObject
) -> None:
    base = data.draw(arrays.arrays(np.uint8, (size[1], size[0], 3)))
    picture = Image.fromarray(base)
    if mode == "I;16":
        picture = Image.fromarray(base[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert("L").convert(mode) if mode == "I" else picture.convert(mode)
    if (mode, format_) == ("YCbCr", "TIFF"):  # of one pixel, some Pillows cannot write it
        return
    try:
        picture.save(tmp_path / "a", format_)
    except OSError:  # a mode that the format does not have
        return
    result = decode(tmp_path / "a")
    if (mode, format_) == ("I", "TIFF"):
        with pytest.raises(ImageError, match="32-bit integers"):
            result.as_image()
        return
    if mode == "I;16":
        np.testing.assert_array_equal(np.asarray(result.as_image())[..., 0], base[..., 0])
    assert result.as_image().size == size
    assert result.as_image().mode == "RGB"
    if mode == "RGB":
        np.testing.assert_array_equal(np.asarray(result.as_image()), base)


@ANY_FILE
@given(
    object_=arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))),
    kind=st.sampled_from(["0/1", "0/255", "bit", "palette", "rgb", "16", "16 of 8", "alpha", "F"]),
)
def test_any_kind_of_mask_means_the_same(tmp_path: Path, object_: np.ndarray, kind: str) -> None:
    values = object_.astype(np.uint8)
    palette = Image.frombytes("P", values.shape[::-1], values.tobytes())
    palette.putpalette([0, 0, 0, 90, 10, 10])
    black = np.zeros((*values.shape, 3), np.uint8)
    images = {
        "0/1": Image.fromarray(values),
        "0/255": Image.fromarray(values * 255),
        "bit": Image.fromarray(values * 255).convert("1"),
        "palette": palette,
        "rgb": Image.fromarray(np.repeat(values[..., None] * 255, 3, axis=2)),
        "16": Image.fromarray(values.astype(np.uint16) * 65535),
        "16 of 8": Image.fromarray(values.astype(np.uint16) * 255),
        "alpha": Image.fromarray(np.dstack([black + 255, values * 255])),
        "F": Image.fromarray(values.astype(np.float32)),
    }
    if kind == "alpha" and not object_.any():
        return  # an alpha of zeros alone says nothing
    images[kind].save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "mask.tif")), values * 255)


@settings(deadline=None, max_examples=80)
@given(
    object_=arrays.arrays(np.uint8, st.tuples(st.integers(2, 50), st.integers(2, 50))),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    axis=st.sampled_from([0, 1]),
)
def test_views_of_a_flipped_image_are_flipped(
    object_: np.ndarray, size: tuple[int, int], axis: int
) -> None:
    """To one grey level: Pillow's filters round by fixed-point weights."""
    target = (32 * size[0], 32 * size[1])
    for view, picture in (
        (mask_view, Image.fromarray(object_)),
        (image_view, Image.fromarray(np.repeat(object_[..., None], 3, axis=2))),
    ):
        turn = (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT)[axis]
        plain, flipped = view(picture, target), view(picture.transpose(turn), target)
        level = 1 / 255 / (1 if view is mask_view else 0.224)
        difference = (flipped.flip(axis + 1) - plain).abs().max()
        assert difference <= 1.01 * level


NAME = st.text(
    st.characters(exclude_characters="/\0\n", exclude_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda text: not text.startswith(".") and "." not in text and text.strip() == text)


@ANY_FILE
@given(images=st.sets(NAME, min_size=1, max_size=6), masks=st.sets(NAME, min_size=1, max_size=6))
def test_any_names_pair_up_or_are_named(
    tmp_path_factory: pytest.TempPathFactory, images: set[str], masks: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("set")
    for place, names, suffix in (("images", images, ".jpg"), ("masks", masks, ".png")):
        (folder / place).mkdir()
        for name in names:
            (folder / place / (name + suffix)).write_bytes(b"")
    normal = [{unicodedata.normalize("NFC", name) for name in names} for names in (images, masks)]
    whole = normal[0] == normal[1] and all(
        len(a) == len(b) for a, b in zip(normal, (images, masks), strict=True)
    )
    if whole:
        assert {pair.name for pair in find_pairs(folder)} == normal[0]
    else:
        with pytest.raises(DataError):
            find_pairs(folder)
