"""Embedded profiles and opacity: what the network sees, and what the outputs hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

import dsunet
import icc
from dsunet.cli import main
from dsunet.data.colour import profile_trouble, to_srgb
from dsunet.data.images import decode, read_image
from dsunet.data.pixels import as_colours, as_rgb
from dsunet.predict import KINDS, Options, Segmentation, plan_outputs, predict_files
from dsunet.predict.inputs import as_taken
from dsunet.predict.outputs import made

PATCHES = np.array([[[200, 60, 40], [40, 180, 70], [30, 60, 190], [128, 128, 128]]], np.uint8)
LARGE = np.repeat(np.repeat(PATCHES, 8, 0), 8, 1)
PROFILES = {"RGB": icc.rgb(), "L": icc.grey(1.0), "CMYK": icc.cmyk(), "table": icc.rgb_by_table()}


def _saved(image: Image.Image, suffix: str, folder: Path, profile: bytes) -> Path:
    path = folder / f"picture.{suffix}"
    image.save(path, icc_profile=profile, **({"lossless": True} if suffix == "webp" else {}))
    return path


def _in_srgb(values: np.ndarray, primaries: np.ndarray, gamma: float) -> np.ndarray:
    """By hand: linear, to XYZ at D50, to linear sRGB, to its curve."""
    srgb = np.array(
        ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
    )
    linear = (((values / 255) ** gamma) @ primaries @ np.linalg.inv(srgb)).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_matrix_is_followed(suffix: str, tmp_path: Path) -> None:
    path = _saved(Image.fromarray(LARGE), suffix, tmp_path, PROFILES["RGB"])
    expected = _in_srgb(PATCHES[0], np.array(icc.ADOBE), 563 / 256)
    found = np.asarray(read_image(path))[4, 4::8].astype(float)
    assert np.abs(found - expected).max() <= 2
    assert np.abs(found - PATCHES[0]).max() > 15  # it does change something
    assert profile_trouble(decode(path).pixels) == ""


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_curve_is_followed(bits: int, tmp_path: Path) -> None:
    values = np.full((8, 8), 55, np.uint8) if bits == 8 else np.full((8, 8), 55 * 257, np.uint16)
    path = _saved(Image.fromarray(values), "png", tmp_path, PROFILES["L"])
    # 55/255 of the light is 128 in sRGB
    assert np.abs(np.asarray(read_image(path)).astype(int) - 128).max() <= 1


def test_white_is_zero_keeps_its_profile(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.full((8, 8), 65535 - 55 * 257, np.uint16)
    profile = (34675, "B", len(PROFILES["L"]), PROFILES["L"], True)
    tifffile.imwrite(path, values, photometric="miniswhite", extratags=[profile])
    assert np.abs(np.asarray(read_image(path)).astype(int) - 128).max() <= 1


def test_planes_keep_their_profile(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    planes = np.ascontiguousarray(np.moveaxis(LARGE.astype(np.uint16) * 257, 2, 0))
    tifffile.imwrite(
        path, planes, photometric="rgb", planarconfig="separate", iccprofile=PROFILES["RGB"]
    )
    expected = _in_srgb(PATCHES[0], np.array(icc.ADOBE), 563 / 256)
    assert np.abs(np.asarray(read_image(path))[4, 4::8] - expected).max() <= 2


def test_inks_are_followed(tmp_path: Path) -> None:
    inks = np.zeros((8, 24, 4), np.uint8)
    inks[:, 8:16, 0] = 255  # cyan, which this profile prints in red
    inks[:, 16:, 3] = 255
    path = _saved(Image.fromarray(inks, "CMYK"), "tif", tmp_path, PROFILES["CMYK"])
    white, red, black = np.asarray(read_image(path))[4, 4::8].astype(int)
    assert white.min() >= 250
    assert black.max() <= 5
    assert red[0] > red[1] + 100


def test_a_table_is_followed(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8))
    path = _saved(image, "png", tmp_path, PROFILES["table"])
    red, green, _ = np.asarray(read_image(path))[4, 4].astype(int)
    assert green > red + 100


def test_srgb_costs_nothing_and_changes_nothing() -> None:
    image = Image.fromarray(PATCHES)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert to_srgb(image) is image
    assert (np.asarray(as_rgb(image)) == PATCHES).all()


@pytest.mark.parametrize(
    ("mode", "profile", "said"),
    [
        ("RGB", b"no profile at all", "cannot be read"),
        ("RGB", icc.rgb()[:200], "cannot be read"),
        ("RGB", PROFILES["CMYK"], "of CMYK, but the pixels are RGB"),
        ("RGB", PROFILES["L"], "of GRAY, but the pixels are RGB"),
        ("L", PROFILES["CMYK"], "of CMYK, but the pixels are L"),
    ],
)
def test_what_cannot_be_used_is_srgb_and_said(mode: str, profile: bytes, said: str) -> None:
    image = Image.fromarray(PATCHES).convert(mode)
    image.info["icc_profile"] = profile
    assert said in profile_trouble(image)
    assert (np.asarray(as_rgb(image)) == np.asarray(image.convert("RGB"))).all()
    assert "icc_profile" not in as_rgb(image).info


def test_predict_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _saved(Image.fromarray(LARGE), "jpg", tmp_path, b"nothing of the kind")
    assert main(["predict", str(path), "--output", str(tmp_path / "out")]) == 0
    said = "1 images were taken as sRGB, because they have a colour profile that cannot be read"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROFILES)
def test_no_output_has_a_profile_that_is_not_its_own(name: str, kind: str, tmp_path: Path) -> None:
    image = Image.fromarray(LARGE).convert("RGB" if name == "table" else name)
    path = _saved(image, "tif", tmp_path, PROFILES[name])
    taken = as_taken(path)
    result = Segmentation(taken.picture, np.full((8, 32), 0.9, np.float32), taken.alpha)
    file = Image.open(io.BytesIO(made(kind, result, Options((kind,)))))
    assert "icc_profile" not in file.info
    if kind == "cutout":
        assert (np.asarray(file)[..., :3] == np.asarray(read_image(path))).all()


def test_pictures_in_memory_are_read_alike(tmp_path: Path) -> None:
    path = _saved(Image.fromarray(PATCHES), "png", tmp_path, PROFILES["RGB"])
    expected = np.asarray(read_image(path))
    with Image.open(path) as opened:
        assert (np.asarray(as_taken(opened).picture) == expected).all()
    assert (np.asarray(as_taken(path.read_bytes()).picture) == expected).all()


HALF = np.zeros((20, 20), np.uint8)
HALF[5:15, 5:15] = 127
COLOURS = np.full((20, 20, 3), (200, 100, 50), np.uint8)


def _transparent(kind: str, folder: Path) -> Path:
    path = folder / "a.png"
    if kind == "RGBA":
        Image.fromarray(np.dstack((COLOURS, HALF))).save(path)
    elif kind == "LA":
        grey = Image.new("L", (20, 20), 124)
        Image.merge("LA", (grey, Image.fromarray(HALF))).save(path)
    else:
        palette = Image.fromarray((HALF > 0).view(np.uint8), "L").convert("P")
        palette.putpalette([0, 0, 0, 200, 100, 50])
        palette.save(path, transparency=bytes((0, 127)))
    return path


class TestOpacity:
    @pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
    def test_it_goes_into_the_cutout_and_colours_stay(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = _transparent(kind, tmp_path)
        everything = [np.ones((20, 20), np.float32)]
        segmenter = dsunet.Segmenter(device="cpu")
        monkeypatch.setattr(segmenter, "probabilities", lambda prepared: everything)
        with Image.open(path) as opened:
            ways = [path, path.read_bytes(), io.BytesIO(path.read_bytes()), opened.copy()]
        for way in ways:
            pixels = np.asarray(segmenter(way).cutout())
            assert (pixels[..., 3] == HALF).all()
            assert pixels[8, 8, :3].tolist() == ([124] * 3 if kind == "LA" else [200, 100, 50])
            assert not pixels[0, 0].any()
        jobs = plan_outputs([path], tmp_path / "o", ["cutout"])
        predict_files(segmenter, jobs, tmp_path / "o", Options(("cutout",)))
        with Image.open(tmp_path / "o" / "a.png") as out:
            assert (np.asarray(out) == pixels).all()

    @pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
    def test_the_network_sees_it_on_white(self, kind: str, tmp_path: Path) -> None:
        path = _transparent(kind, tmp_path)
        taken = as_taken(path)
        seen = np.asarray(taken.seen)
        assert seen[0, 0].tolist() == [255, 255, 255]
        half = np.asarray(taken.picture)[8, 8] * (127 / 255) + 255 * (128 / 255)
        assert np.abs(seen[8, 8] - half).max() <= 1
        assert (seen == np.asarray(read_image(path))).all()  # as in training

    def test_one_grey_of_16_bits_may_be_transparent(self, tmp_path: Path) -> None:
        values = np.full((8, 8), 40_000, np.uint16)
        values[:, :4] = 128 * 257
        image = Image.fromarray(values)
        image.save(tmp_path / "a.png", transparency=128 * 257)
        taken = as_taken(tmp_path / "a.png")
        assert taken.alpha is not None
        assert (taken.alpha[:, :4] == 0).all()
        assert (taken.alpha[:, 4:] == 255).all()
        assert np.asarray(taken.seen)[0, 0].tolist() == [255, 255, 255]

    def test_what_is_opaque_has_none(self) -> None:
        image = Image.fromarray(np.dstack((COLOURS, np.full_like(HALF, 255))))
        colours, alpha = as_colours(image)
        assert alpha is None
        assert (np.asarray(colours) == COLOURS).all()

    def test_nothing_at_all_to_see_is_no_error(self) -> None:
        image = Image.fromarray(np.dstack((COLOURS, np.zeros_like(HALF))))
        result = dsunet.Segmenter(device="cpu")(image)
        assert not np.asarray(result.cutout()).any()
        assert result.overlay().size == (20, 20)
