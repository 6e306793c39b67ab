"""Larger pictures by the user's own word, and HEIC."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.data import images
from dsunet.data.images import decode, read_header, read_image
from dsunet.data.limits import pixels_allowed
from dsunet.data.sources import Bytes
from dsunet.errors import ConfigError, ImageError
from dsunet.metrics import evaluate_folders

COLOURS = np.zeros((40, 60, 3), np.uint8)
COLOURS[:20, :30] = (255, 0, 0)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """40 pairs of 2,400 pixels: enough for several processes."""
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(40):
        Image.fromarray(COLOURS).save(tmp_path / "data" / "images" / f"{number}.png")
        Image.fromarray(COLOURS[..., 0]).save(tmp_path / "data" / "masks" / f"{number}.png")
    return tmp_path / "data"


@pytest.mark.usefixtures("small_limit")
class TestMaxPixels:
    """`--max-pixels`."""

    def test_the_limit_is_put_back(self) -> None:
        with pixels_allowed(5000):
            assert Image.MAX_IMAGE_PIXELS == 5000
        assert Image.MAX_IMAGE_PIXELS == 1000
        with pixels_allowed(None):
            assert Image.MAX_IMAGE_PIXELS == 1000
        with pytest.raises(ImageError), pixels_allowed(5000):
            raise ImageError("any")
        assert Image.MAX_IMAGE_PIXELS == 1000

    @pytest.mark.parametrize("save", ["probability", "overlay", "cutout"])
    def test_predict(
        self, save: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["predict", str(pairs / "images" / "1.png"), "--save", save, "--output"]
        assert main([*arguments, str(tmp_path / "a")]) == 1
        assert "allow more (--max-pixels" in capsys.readouterr().err
        assert main([*arguments, str(tmp_path / "b"), "--max-pixels", "2399"]) == 1
        assert "more than the 2,399" in capsys.readouterr().err
        for allowed in ("2400", "100000"):
            out = tmp_path / allowed
            assert main([*arguments, str(out), "--max-pixels", allowed]) == 0
            with pixels_allowed(5000), Image.open(out / "1.png") as written:
                assert written.size == (60, 40)
        assert Image.MAX_IMAGE_PIXELS == 1000

    def test_data_check(self, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", str(pairs)]) == 1
        assert "files that cannot be read" in capsys.readouterr().out
        assert main(["data", "check", str(pairs), "--max-pixels", "5000"]) == 0

    @pytest.mark.parametrize("workers", [0, 1])
    def test_training(self, workers: int, pairs: Path, tmp_path: Path) -> None:
        data = DataConfig(str(pairs), workers=workers, limit=2, max_pixels=5000)
        recipe = TrainConfig(epochs=1, batch_size=2, device="cpu")
        config = model_config("dsunet-lite", sam_size=128)
        dsunet.train(tmp_path / "run", config, data, recipe, weights=None)
        assert Image.MAX_IMAGE_PIXELS == 1000

    @pytest.mark.slow
    def test_evaluate_in_processes(self, pairs: Path) -> None:
        maps = masks = pairs / "masks"
        with pytest.raises(dsunet.DsunetError):
            evaluate_folders(maps, masks, workers=2, protocol="benchmark")
        with pixels_allowed(5000):
            found = evaluate_folders(maps, masks, workers=2, protocol="benchmark")
        assert found.scores["MAE"] == 0

    def test_nonsense_is_refused(self, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", str(pairs / "images"), "--max-pixels", "0"]) == 1
        assert "--max-pixels is 0" in capsys.readouterr().err
        with pytest.raises(ConfigError, match="max_pixels"):
            DataConfig(str(pairs), max_pixels=-5)


def _heic(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    decode(Bytes(_png()))  # which has the opener registered
    picture.save(file, "HEIF", quality=95, **options)
    return file.getvalue()


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    return file.getvalue()


class TestHeic:
    """Where pillow-heif is installed, and where not."""

    @pytest.fixture(autouse=True)
    def needed(self) -> None:
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")

    @pytest.mark.parametrize("suffix", [".heic", ".heif", ".hif", ".HEIC"])
    def test_read_by_any_name(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"photo{suffix}"
        path.write_bytes(_heic(Image.fromarray(COLOURS)))
        found = np.asarray(read_image(path)).astype(int)
        assert np.abs(found[5:15, 5:25] - (255, 0, 0)).max() < 12
        header = read_header(path)
        assert header.format == "HEIF"
        assert not header.mislabelled
        assert header.size == (60, 40)
        assert main(["predict", str(path), "--output", str(tmp_path / "out")]) == 0
        with Image.open(tmp_path / "out" / "photo.png") as written:
            assert written.size == (60, 40)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_turned_once(self, orientation: int) -> None:
        """As a JPEG of the same EXIF orientation, which is turned by it alone."""
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = Image.fromarray(COLOURS)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95, exif=exif.tobytes())
        expected = np.asarray(read_image(Bytes(file.getvalue()))).astype(int)
        source = Bytes(_heic(picture, exif=exif.tobytes()))
        found = np.asarray(read_image(source)).astype(int)
        assert found.shape == expected.shape
        assert np.abs(found - expected).mean() < 4
        assert read_header(source).seen_size() == (found.shape[1], found.shape[0])

    def test_opacity_is_kept(self) -> None:
        alpha = np.full((40, 60), 127, np.uint8)
        source = Bytes(_heic(Image.fromarray(np.dstack([COLOURS, alpha]))))
        found = decode(source).as_colours()[1]
        assert found is not None
        assert np.abs(found.astype(int) - 127).max() <= 3

    def test_several_pictures_are_told(self) -> None:
        picture = Image.fromarray(COLOURS)
        source = Bytes(_heic(picture, save_all=True, append_images=[picture.rotate(180)]))
        assert decode(source).frames

    def test_too_many_pixels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        source = Bytes(_heic(Image.fromarray(COLOURS)), "large.heic")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(ImageError, match="pixels are more than the 1,000"):
            decode(source)

    def test_a_broken_one(self) -> None:
        content = _heic(Image.fromarray(COLOURS))
        with pytest.raises(ImageError, match="an HEIC picture that is broken"):
            decode(Bytes(content[: len(content) // 2], "half.heic"))

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        source = Bytes(_heic(Image.fromarray(COLOURS)), "photo.heic")
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        without = tuple(name for name in images.known_formats() if name != "HEIF")
        monkeypatch.setattr(images, "known_formats", lambda: without)
        with pytest.raises(ImageError, match=r"HEIC picture: pip install 'dsunet\[heic\]'"):
            decode(source)
