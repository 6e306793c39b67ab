"""What a segmenter takes for an image, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import ImageError
from dsunet.predict.inputs import as_picture, as_taken
from helpers import nano

RGB = np.asarray(synthetic_pair(1, 40)[0].resize((30, 20)))
GREY = RGB[..., 0]
ALPHA = np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)
RGBA = np.dstack([RGB, ALPHA])
PLANES = torch.from_numpy(RGB.copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(nano(), device="cpu")


def pixels(given: object) -> np.ndarray:
    return np.asarray(as_picture(given))  # type: ignore[arg-type]


def read_only() -> np.ndarray:
    array = RGB.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "given",
    [
        RGB,
        RGB[::-1, ::-1][::-1, ::-1],
        np.asfortranarray(RGB),
        read_only(),
        RGB.astype(np.uint16) * 257,
        (RGB.astype(np.uint16) * 257).astype(">u2"),
        RGB.astype(np.float32) / 255,
        RGB.astype(np.float64) / 255,
        np.dstack([RGB, np.full_like(GREY, 255)]),
        PLANES,
        PLANES.float() / 255,
        PLANES.double() / 255,
        (PLANES.float() / 255).requires_grad_(),
        torch.cat([PLANES, torch.full((1, 20, 30), 255, dtype=torch.uint8)]),
        Image.fromarray(RGB),
    ],
)
def test_every_kind_of_the_same_colours_is_the_same_picture(given: object) -> None:
    assert np.array_equal(pixels(given), RGB)
    assert as_taken(given).alpha is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        GREY,
        GREY[..., None],
        GREY.astype(np.uint16) * 257,
        GREY.astype(np.float32) / 255,
        torch.from_numpy(GREY.copy()),
        torch.from_numpy(GREY.copy())[None],
        Image.fromarray(GREY),
    ],
)
def test_grey_has_three_equal_channels(given: object) -> None:
    assert np.array_equal(pixels(given), np.dstack([GREY] * 3))


@pytest.mark.parametrize(
    "given",
    [
        RGBA,
        RGBA.astype(np.float32) / 255,
        RGBA.astype(np.uint16) * 257,
        torch.from_numpy(RGBA).permute(2, 0, 1),
        Image.fromarray(RGBA),
    ],
)
def test_opacity_is_kept_beside_the_picture(given: object, segmenter: dsunet.Segmenter) -> None:
    result = segmenter(given)  # type: ignore[call-overload]
    assert result.alpha is not None
    assert np.array_equal(result.alpha, ALPHA)
    assert result.image.mode == "RGB"
    assert result.image.size == (30, 20)


def test_opacity_turns_with_its_picture() -> None:
    image = Image.fromarray(RGBA)
    image.getexif()[0x0112] = 6
    taken = as_taken(image)
    assert taken.alpha is not None
    assert taken.picture.size == (20, 30)
    assert np.array_equal(taken.alpha, np.rot90(ALPHA, -1))


def test_colours_are_rgb_in_arrays_and_tensors_alike() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert as_picture(red).getpixel((0, 0)) == (255, 0, 0)
    assert as_picture(red[..., ::-1]).getpixel((0, 0)) == (0, 0, 255)
    assert as_picture(torch.from_numpy(red).permute(2, 0, 1)).getpixel((0, 0)) == (255, 0, 0)


def encoded() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "together",
    [list, tuple, iter, lambda images: (image for image in images), lambda i: map(np.copy, i)],
)
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_several_give_a_list(
    together: Callable[[list[np.ndarray]], object], batch_size: int, segmenter: dsunet.Segmenter
) -> None:
    images = [RGB, RGB[:10], np.dstack([GREY] * 3)]
    results = segmenter(together(images), batch_size=batch_size)  # type: ignore[call-overload]
    assert [result.probability.shape for result in results] == [(20, 30), (10, 30), (20, 30)]
    for image, result in zip(images, results, strict=True):
        assert np.abs(segmenter(image).probability - result.probability).max() < 1e-4


def test_kinds_can_be_mixed(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    with open(tmp_path / "a.png", "rb") as file:
        mixed = [tmp_path / "a.png", str(tmp_path / "a.png"), encoded(), file, RGB, PLANES]
        results = segmenter(mixed)
    first = results[0].probability
    assert all(np.array_equal(each.probability, first) for each in results)


def test_a_batch_is_a_list_and_an_open_file_is_one_image(segmenter: dsunet.Segmenter) -> None:
    results = segmenter(torch.stack([PLANES, PLANES.flip(2)]), batch_size=2)
    assert isinstance(results, list)
    assert np.array_equal(np.asarray(results[1].image), RGB[:, ::-1])
    assert segmenter([]) == []
    single = segmenter(io.BytesIO(encoded()))
    assert single.probability.shape == (20, 30)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_of_several_the_broken_one_is_named(batch_size: int, segmenter: dsunet.Segmenter) -> None:
    with pytest.raises(ImageError, match=r"^image 2 of those given: .*NoneType"):
        segmenter([RGB, RGB, None, RGB], batch_size=batch_size)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "type NoneType"),
        (3, "type int"),
        ({"image": RGB}, "type dict"),
        ({1, 2}, "type set"),
        (np.float32(1), "type float32"),
        (range(3), "type range"),
        (io.StringIO("text"), "gives str"),
        (np.ma.masked_equal(GREY, 0), "MaskedArray"),
        (np.zeros((4, 4, 3), object), "type object"),
        (np.zeros((4, 4, 3), np.int64), "type int64"),
        (np.zeros((4, 4), bool), "type bool"),
        (np.zeros((4, 4), complex), "type complex128"),
        (np.zeros((3, 4, 5), np.uint8), r"shape \(3, 4, 5\)"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "not empty"),
        (np.full((4, 4, 3), 255.0), "from 255 to 255"),
        (np.full((4, 4, 3), -0.1), "from -0.1 to -0.1"),
        (np.full((4, 4, 3), np.nan), "from nan"),
        (np.full((4, 4, 3), np.inf), "from inf"),
        (torch.zeros(5, 6, 3), "permute"),
        (torch.zeros(3, 0, 4), "not empty"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "type int32"),
        (torch.full((3, 4, 4), 2.0), "from 2 to 2"),
        (Image.new("RGB", (0, 5)), "0×5 px"),
    ],
)
def test_anything_else_is_refused_by_name(given: object, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        as_taken(given)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
