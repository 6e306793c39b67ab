"""What predict writes: one file, streams, formats, cut-outs that hide nothing."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dsunet.cli import main
from dsunet.config import Options
from dsunet.data.images import decode, read_image
from dsunet.errors import ConfigError, OutputError
from dsunet.predict import Segmentation
from dsunet.predict.encoding import encode, kept_of
from dsunet.predict.files import check_folder
from dsunet.predict.outputs import check_options, made
from dsunet.predict.pictures import parse_colour
from dsunet.predict.plan import plan_outputs
from dsunet.predict.single import check_single, is_single
from dsunet.visualize import cutout, overlay


def _result(alpha: np.ndarray | None = None) -> Segmentation:
    """4×6 pixels of one colour, of which a 2×2 box is object and one pixel beside it half."""
    probability = np.zeros((4, 6), np.float32)
    probability[1:3, 2:4] = 1
    probability[1, 4] = 0.4
    return Segmentation(Image.new("RGB", (6, 4), (10, 200, 30)), probability, alpha)


class TestCutout:
    def test_nothing_is_hidden_under_full_transparency(self) -> None:
        pixels = np.asarray(_result().cutout())
        assert pixels.shape == (4, 6, 4)
        gone = pixels[..., 3] == 0
        assert gone.sum() == 24 - 5
        assert not pixels[gone].any()
        assert (pixels[~gone][:, :3] == (10, 200, 30)).all()

    def test_alpha_is_the_map_times_the_images_own(self) -> None:
        alpha = np.full((4, 6), 127, np.uint8)
        alpha[1, 2] = 0
        pixels = np.asarray(_result(alpha).cutout())
        assert pixels[2, 2].tolist() == [10, 200, 30, 127]
        assert pixels[1, 4].tolist() == [10, 200, 30, round(0.4 * 127)]
        assert pixels[1, 2].tolist() == [0, 0, 0, 0]

    def test_a_threshold_leaves_nothing_below_it(self) -> None:
        assert np.asarray(_result().cutout(0.5))[..., 3].tolist()[1] == [0, 0, 255, 255, 0, 0]
        assert np.asarray(_result().cutout(0.4))[1, 4, 3] > 0

    def test_a_background_shows_through_what_is_half_there(self) -> None:
        made_ = _result().cutout(background="#ff0000")
        assert made_.mode == "RGB"
        pixels = np.asarray(made_)
        assert pixels[0, 0].tolist() == [255, 0, 0]
        assert pixels[1, 2].tolist() == [10, 200, 30]
        expected = [0.4 * 10 + 0.6 * 255, 0.4 * 200, 0.4 * 30]
        assert np.abs(pixels[1, 4] - np.array(expected)).max() <= 1

    def test_cropping_takes_the_box_and_leaves_empty_ones_whole(self) -> None:
        assert _result().box() == (2, 1, 4, 3)
        assert _result().cutout(crop=True).size == (2, 2)
        assert _result().overlay(0.4, crop=True).size == (3, 2)
        assert _result().box(1.1) is None
        nothing = Segmentation(Image.new("RGB", (6, 4)), np.zeros((4, 6), np.float32))
        assert nothing.cutout(crop=True).size == (6, 4)

    @pytest.mark.parametrize("text", ["", "no such", "#12", "#ff000080", "rgb(1,2)"])
    def test_no_colour_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="background"):
            parse_colour(text)

    def test_colours(self) -> None:
        assert parse_colour("White") == (255, 255, 255)
        assert parse_colour("#0f0") == (0, 255, 0)
        assert parse_colour("transparent") is None


@pytest.mark.parametrize("draw", [lambda i, p: overlay(i, p, 0.5), cutout], ids=["overlay", "cut"])
def test_large_pictures_take_few_bytes_a_pixel(
    draw: Callable[[Image.Image, np.ndarray], Image.Image],
) -> None:
    image = Image.new("RGB", (1500, 1000), "grey")
    probability = np.linspace(0, 1, 1_500_000, dtype=np.float32).reshape(1000, 1500)
    tracemalloc.start()
    draw(image, probability)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 1_500_000 < 14


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (Options(threshold=0.4), "does nothing"),
            (Options(("binary",), threshold=1.5), "0 to 1"),
            (Options(format="bmp"), "png, webp, jpg"),
            (Options(format="jpg"), "changes values"),
            (Options(("cutout",), format="jpg"), "no transparency"),
            (Options(("overlay",), background="red"), "cut-outs alone"),
            (Options(keep_gps=True), "keep_exif"),
        ],
    )
    def test_what_would_do_nothing_is_refused(self, options: Options, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            check_options(options)

    @pytest.mark.parametrize(
        "options",
        [
            Options(("probability", "binary"), threshold=0.4),
            Options(("cutout",), threshold=0.4, format="jpg", background="white"),
            Options(threshold=0.4, crop_to_object=True),
        ],
    )
    def test_what_has_a_meaning_is_taken(self, options: Options) -> None:
        check_options(options)


class TestFormats:
    @pytest.mark.parametrize("form", ["png", "webp"])
    @pytest.mark.parametrize("kind", ["probability", "binary", "overlay", "cutout"])
    def test_they_lose_nothing(self, form: str, kind: str) -> None:
        result = _result()
        images = [
            np.asarray(Image.open(io.BytesIO(made(kind, result, Options((kind,), format=f)))))
            for f in ("png", form)
        ]
        assert images[0].shape[:2] == images[1].shape[:2]
        grey = images[0] if images[0].ndim == images[1].ndim else images[0][..., None]
        assert (grey == images[1]).all()

    @pytest.mark.parametrize("form", ["png", "webp", "jpg"])
    def test_no_profile_goes_along(self, form: str) -> None:
        picture = Image.new("RGB", (8, 8))
        picture.info["icc_profile"] = b"somebody else's"
        assert "icc_profile" not in Image.open(io.BytesIO(encode(picture, form))).info

    def test_resolution_and_exif_go_along_and_the_place_only_if_asked_for(
        self, tmp_path: Path
    ) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "Camera"
        exif[ExifTags.Base.Orientation] = 6
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
        exif.get_ifd(ExifTags.IFD.Exif)[0x927C] = b"maker's own"
        Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 150))
        decoded = decode(tmp_path / "a.jpg")
        for form in ("png", "jpg"):
            plain = Image.open(io.BytesIO(encode(Image.new("RGB", (6, 8)), form, kept_of(decoded))))
            assert not plain.getexif()
            assert np.allclose(plain.info["dpi"], (150, 300), atol=0.5)
            for gps in (False, True):
                kept = kept_of(decoded, exif=True, gps=gps)
                file = Image.open(io.BytesIO(encode(Image.new("RGB", (6, 8)), form, kept)))
                found = file.getexif()
                assert found[ExifTags.Base.Make] == "Camera"
                assert found[ExifTags.Base.Orientation] == 1
                assert 0x927C not in found.get_ifd(ExifTags.IFD.Exif)
                assert bool(found.get_ifd(ExifTags.IFD.GPSInfo)) is gps


class TestOneFile:
    def test_which_outputs_are_files(self, tmp_path: Path) -> None:
        (tmp_path / "folder.png").mkdir()
        assert is_single("-")
        assert is_single(str(tmp_path / "a.PNG"))
        assert not is_single(str(tmp_path / "folder.png"))
        assert not is_single("predictions")

    @pytest.mark.parametrize(
        ("images", "output", "options", "given", "said"),
        [
            (["a.jpg", "b.jpg"], "o.png", Options(), None, "2 images"),
            (["a.jpg"], "o.png", Options(("binary", "overlay")), None, "binary and overlay"),
            (["a.jpg"], "o.bmp", Options(), None, "no format"),
            (["a.jpg"], "o.png", Options(), "webp", "leave one out"),
            (["o.png"], "o.png", Options(), None, "overwritten"),
        ],
    )
    def test_what_does_not_fit_into_one(
        self, images: list[str], output: str, options: Options, given: str | None, said: str
    ) -> None:
        with pytest.raises(OutputError, match=said):
            check_single([Path(image) for image in images], output, options, given)

    def test_the_name_says_the_format(self) -> None:
        options = check_single([Path("a.jpg")], "o.jpeg", Options(("overlay",)), None)
        assert options.format == "jpg"

    def test_a_file_alone_is_written(self, pictures: Path, tmp_path: Path) -> None:
        image = min((pictures / "images").iterdir())
        out = tmp_path / "new" / "cut.webp"
        assert main(["predict", str(image), "--save", "cutout", "--output", str(out)]) == 0
        with Image.open(out) as made_:
            assert made_.mode == "RGBA"
            pixels = np.asarray(made_)
        assert [file.name for file in out.parent.iterdir()] == ["cut.webp"]
        folder = tmp_path / "folder"
        assert main(["predict", str(image), "--save", "cutout", "--output", str(folder)]) == 0
        with Image.open(folder / f"{image.stem}.png") as same:
            assert (np.asarray(same) == pixels).all()

    @pytest.mark.slow
    def test_streams_in_and_out(self, pictures: Path) -> None:
        image = min((pictures / "images").iterdir())
        done = subprocess.run(
            [sys.executable, "-m", "dsunet.cli", "predict", "-", "--save", "overlay"],
            input=image.read_bytes(),
            capture_output=True,
            check=True,
            timeout=120,
        )
        assert Image.open(io.BytesIO(done.stdout)).size == read_image(image).size
        assert b"dsunet-lite" in done.stderr

    def test_a_stream_is_one_image_alone(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image = str(min((pictures / "images").iterdir()))
        assert main(["predict", "-", image, "--output", "o.png"]) == 1
        assert "give it alone" in capsys.readouterr().err
        assert main(["predict", "-", "--output", "folder"]) == 1
        assert "--output FILE.png" in capsys.readouterr().err


class TestFoldersOfOthers:
    def test_a_data_set_is_left_alone(self, pictures: Path) -> None:
        for folder in (pictures, pictures / "masks", pictures / "images"):
            with pytest.raises(OutputError, match="data set"):
                check_folder(folder)
        check_folder(pictures / "predictions")

    def test_the_folder_of_the_images_is_left_alone(self, pictures: Path) -> None:
        with pytest.raises(OutputError, match="folder of the images"):
            plan_outputs([pictures / "images"], pictures / "images")

    def test_a_run_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").touch()
        check_folder(tmp_path)
        (tmp_path / "last.safetensors").touch()
        with pytest.raises(OutputError, match="run"):
            check_folder(tmp_path)
