"""What masks' values mean: clear by themselves, told, or refused; never guessed."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from dsunet.cli import main
from dsunet.config import DataConfig, MaskReading
from dsunet.data.checks.look import check_data
from dsunet.data.images import read_labels, read_mask
from dsunet.data.split import split_data
from dsunet.data.survey import Survey, survey
from dsunet.errors import ConfigError, DataError, ImageError
from helpers import SHARED

FIELD_CASES = SHARED / "field-cases" / "make.py"

Drawn = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ellipse(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """H×W bool: an object, and the band around it."""
    x, y = 8 + 3 * seed, 6 + 2 * seed
    drawing = Image.new("L", (60, 48))
    ImageDraw.Draw(drawing).ellipse((x, y, x + 24, y + 20), fill=255)
    inside = np.asarray(drawing) > 0
    wide = np.asarray(drawing.filter(ImageFilter.MaxFilter(7))) > 0
    return inside, wide & ~inside


def masks_of(folder: Path, values: list[Image.Image], suffix: str = "png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"m{i}.{suffix}" for i in range(len(values))]
    for file, value in zip(files, values, strict=True):
        value.save(file, **({"quality": 85} if suffix == "jpg" else {}))
    return files


def painted(
    inside: int, band: int = 0, ground: int = 0, dtype: type = np.uint8
) -> list[Image.Image]:
    """Three masks of two or three values."""
    found = []
    for seed in range(3):
        shape, around = ellipse(seed)
        found.append(
            Image.fromarray(np.where(shape, inside, np.where(around, band, ground)).astype(dtype))
        )
    return found


def coloured(
    inside: tuple[int, ...], band: tuple[int, ...], ground: tuple[int, ...]
) -> list[Image.Image]:
    found = []
    for seed in range(3):
        shape, around = ellipse(seed)
        pixels = np.where(shape[..., None], inside, np.where(around[..., None], band, ground))
        found.append(Image.fromarray(pixels.astype(np.uint8)))
    return found


def instances(colours: list[tuple[int, int, int]] | list[int]) -> Image.Image:
    """Squares, each of its own value."""
    image = Image.new("L" if isinstance(colours[0], int) else "RGB", (60, 48))
    for i, colour in enumerate(colours):
        image.paste(colour, (4 + 14 * i, 10, 14 + 14 * i, 30))
    return image


def indexed(values: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.frombytes(
        "P", (values.shape[1], values.shape[0]), values.astype(np.uint8).tobytes()
    )
    image.putpalette(palette)
    return image


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * 753 + [224, 224, 192]


def finer(factor: int) -> Image.Image:
    """The ellipse of seed 2 with edges as soft as so many samples a side make them."""
    drawing = Image.new("L", (60 * factor, 48 * factor))
    ImageDraw.Draw(drawing).ellipse([factor * side for side in (14, 10, 39, 31)], fill=255)
    return drawing.resize((60, 48), Image.Resampling.BOX)


def through_jpeg(mask: Image.Image) -> Image.Image:
    content = io.BytesIO()
    mask.save(content, "JPEG", quality=75)
    return Image.open(content)


class TestClear:
    """Sets that say by themselves what the object is."""

    @pytest.mark.parametrize(
        ("masks", "suffix"),
        [
            (painted(255), "png"),
            (painted(1), "png"),
            ([Image.new("L", (60, 48)), *painted(1)], "png"),
            ([Image.new("L", (60, 48)), *painted(255)], "png"),
            ([Image.new("L", (60, 48), 1), *painted(1)], "png"),
            ([mask.convert("1") for mask in painted(255)], "png"),
            ([mask.filter(ImageFilter.GaussianBlur(1)) for mask in painted(255)], "png"),
            ([finer(2), finer(2)], "png"),
            ([finer(4), finer(8)], "png"),
            ([through_jpeg(mask) for mask in painted(255)], "png"),
            (painted(254), "png"),
            (painted(255), "jpg"),
            (painted(255), "webp"),
            (painted(65535, dtype=np.uint16), "tif"),
            (painted(1, dtype=np.uint16), "tif"),
            (painted(1, dtype=np.float32), "tif"),
            (coloured((255, 255, 255), (0, 0, 0), (0, 0, 0)), "png"),
            (coloured((0, 255, 0), (0, 0, 0), (0, 0, 0)), "png"),
            (coloured((255, 0, 0), (0, 0, 0), (0, 0, 0)), "jpg"),
            (coloured((128, 0, 128), (0, 0, 0), (0, 0, 0)), "png"),
            (coloured((0, 255, 0, 255), (0, 0, 0, 0), (0, 0, 0, 0)), "png"),
        ],
    )
    def test_read_as_object_and_background(
        self, tmp_path: Path, masks: list[Image.Image], suffix: str
    ) -> None:
        files = masks_of(tmp_path, masks, suffix)
        found = survey(files)
        found.raise_if_unclear()
        shape, _ = ellipse(2)
        mask = np.asarray(read_labels(files[-1], found.reading).mask)
        wrong = (mask >= 128) != shape
        assert wrong.mean() < 0.012
        inner = mask[np.asarray(Image.fromarray(shape).filter(ImageFilter.MinFilter(5))) > 0]
        assert (inner >= 205).all()
        assert found.shares[-1] == pytest.approx(shape.mean(), abs=0.015)

    def test_soft_edges_of_a_colour_stay_soft(self, tmp_path: Path) -> None:
        shape = Image.fromarray(ellipse()[0].astype(np.uint8) * 255)
        edge = np.asarray(shape.filter(ImageFilter.GaussianBlur(1)), dtype=np.float64)
        pixels = np.round(edge[..., None] / 255 * [0, 200, 40]).astype(np.uint8)
        (file,) = masks_of(tmp_path, [Image.fromarray(pixels)])
        assert np.abs(np.asarray(read_mask(file)).astype(int) - edge).max() <= 2

    def test_background_need_not_be_the_first_colour_of_a_palette(self, tmp_path: Path) -> None:
        shape, _ = ellipse()
        (file,) = masks_of(tmp_path, [indexed(~shape, [0, 255, 0, 0, 0, 0])])
        np.testing.assert_array_equal(np.asarray(read_mask(file)), shape * 255)

    def test_a_first_colour_that_is_all_there_is(self, tmp_path: Path) -> None:
        """Object or background? Beside a mask with black it is the object."""
        palette = [0, 255, 0, 0, 0, 0]
        shape, _ = ellipse()
        full, part = indexed(np.zeros_like(shape), palette), indexed(~shape, palette)
        files = masks_of(tmp_path, [full, part])
        survey(files).raise_if_unclear()
        assert np.asarray(read_mask(files[0])).all()
        white = [255, 255, 255, 255, 0, 0]
        files = masks_of(tmp_path, [indexed(np.zeros_like(shape), white), indexed(shape, white)])
        with pytest.raises(DataError, match="different ways"):
            survey(files).raise_if_unclear()
        assert survey(files, MaskReading("1")).shares == [0, shape.mean()]

    def test_the_colour_is_said(self, tmp_path: Path) -> None:
        found = survey(masks_of(tmp_path, coloured((0, 255, 0), (0, 0, 0), (0, 0, 0))))
        assert "object: #00ff00" in found.lines()


class TestRefused:
    """Sets that say nothing clear."""

    @pytest.mark.parametrize(
        ("masks", "said"),
        [
            (painted(1, 255), ["1 (", "255 ("]),
            (painted(255, 1), ["1 (", "255 ("]),
            (painted(255, 128), ["128 ("]),
            (painted(128), ["128 ("]),
            (painted(128, 0, 255), ["128 (", "255 ("]),
            (painted(190), ["190 ("]),
            (painted(1, 2), ["1 (", "2 ("]),
            (painted(3), ["3 ("]),
            (painted(2, 255, 1), ["1 (", "2 (", "255 ("]),
            (painted(1, 300, dtype=np.uint16), ["1 (", "300 ("]),
            (painted(300, dtype=np.uint16), ["300 ("]),
            (painted(40000, 700, dtype=np.uint16), ["40000 (", "700 ("]),
            ([instances([10, 90, 170, 250])], ["10 (", "90 (", "170 ("]),
            ([instances([(255, 0, 0), (0, 255, 0), (0, 0, 255)])], ["#ff0000 (", "#00ff00 ("]),
            ([instances([(128, 0, 0), (255, 0, 0)])], ["#800000 (", "#ff0000 ("]),
            (coloured((0, 255, 0), (255, 255, 255), (255, 255, 255)), ["#00ff00 (", "#ffffff ("]),
            ([indexed(ellipse()[0] + 255 * ellipse()[1], VOC)], ["1 (", "255 (", "palette"]),
        ],
    )
    def test_values_are_listed_with_what_to_tell(
        self, tmp_path: Path, masks: list[Image.Image], said: list[str]
    ) -> None:
        found = survey(masks_of(tmp_path, masks, "tif" if masks[0].mode.startswith("I") else "png"))
        with pytest.raises(DataError) as raised:
            found.raise_if_unclear()
        message = str(raised.value)
        assert "\n" not in message
        assert all(part in message for part in [*said, "object_values", "ignore_value"])
        with pytest.raises(ImageError):  # and where nobody looked at the set before
            read_mask(tmp_path / f"m0.{'tif' if masks[0].mode.startswith('I') else 'png'}")

    @pytest.mark.parametrize(
        ("first", "second", "ways"),
        [
            (painted(1), painted(255), ("1 in 3", "255 in 3")),
            (
                coloured((0, 255, 0), (0, 0, 0), (0, 0, 0)),
                coloured((255, 0, 0), (0, 0, 0), (0, 0, 0)),
                ("#00ff00 in 3", "#ff0000 in 3"),
            ),
            (painted(255), coloured((255, 0, 0), (0, 0, 0), (0, 0, 0)), ("255 in 3", "#ff0000")),
            (
                [indexed(ellipse()[0] * 1, VOC)],
                [indexed(ellipse()[0] * 2, VOC)],
                ("index 1 in 1", "index 2 in 1"),
            ),
        ],
    )
    def test_masks_that_are_clear_alone_but_not_together(
        self,
        tmp_path: Path,
        first: list[Image.Image],
        second: list[Image.Image],
        ways: tuple[str, str],
    ) -> None:
        one, other = masks_of(tmp_path / "a", first), masks_of(tmp_path / "b", second)
        survey(one).raise_if_unclear()
        survey(other).raise_if_unclear()
        with pytest.raises(DataError, match="in different ways") as raised:
            survey([*one, *other]).raise_if_unclear()
        assert all(way in str(raised.value) for way in ways)
        assert str(one[0]) in str(raised.value)
        assert str(other[0]) in str(raised.value)


class TestTold:
    """Sets that are read as told."""

    @pytest.mark.parametrize(
        ("masks", "objects", "ignored"),
        [
            (painted(1, 255), "1", "255"),
            (painted(1, 255), None, "255"),
            (painted(255, 128), "255", "128"),
            (painted(255, 128), None, "128"),
            (painted(7, 2), "7", "2"),
            (painted(300, 301, dtype=np.uint16), "300", "301"),
            (painted(65535, 301, dtype=np.uint16), None, "301"),
            (coloured((0, 255, 0), (255, 255, 255), (9, 0, 0)), "#00ff00", "#FFFFFF"),
            (coloured((0, 255, 0), (255, 255, 255), (0, 0, 0)), None, "#ffffff"),
            ([indexed(s + 255 * b, VOC) for s, b in map(ellipse, range(3))], "1", "255"),
            ([indexed(s + 255 * b, VOC) for s, b in map(ellipse, range(3))], None, "255"),
            ([indexed(s + 255 * b, VOC) for s, b in map(ellipse, range(3))], "#800000", "#e0e0c0"),
        ],
    )
    @pytest.mark.parametrize("invert", [False, True])
    def test_object_and_ignored(
        self,
        tmp_path: Path,
        masks: list[Image.Image],
        objects: str | None,
        ignored: str,
        invert: bool,
    ) -> None:
        suffix = "tif" if masks[0].mode.startswith("I") else "png"
        files = masks_of(tmp_path, masks, suffix)
        reading = MaskReading(objects, ignored, invert)
        found = survey(files, reading)
        found.raise_if_unclear()
        shape, band = ellipse(1)
        labels = read_labels(files[1], reading)
        expected = (~shape if invert else shape) & ~band
        np.testing.assert_array_equal(np.asarray(labels.mask), expected * 255)
        assert labels.ignored is not None
        np.testing.assert_array_equal(np.asarray(labels.ignored) > 0, band)
        assert found.shares[1] == pytest.approx(expected.sum() / (~band).sum())

    def test_several_objects(self, tmp_path: Path) -> None:
        (file,) = masks_of(tmp_path, [instances([1, 2, 3])])
        mask = np.asarray(read_labels(file, MaskReading("1, 3")).mask)
        assert [mask[20, x] for x in (8, 22, 36, 58)] == [255, 0, 255, 0]

    def test_lossy_colours_are_near(self, tmp_path: Path) -> None:
        files = masks_of(tmp_path, coloured((255, 0, 0), (0, 255, 0), (0, 0, 0)), "jpg")
        reading = MaskReading("#ff0000", "#00ff00")
        survey(files, reading).raise_if_unclear()
        labels = read_labels(files[0], reading)
        shape, band = ellipse()
        assert ((np.asarray(labels.mask) > 0) != shape).mean() < 0.05
        assert labels.ignored is not None
        assert (np.asarray(labels.ignored) > 0)[shape].mean() < 0.02
        assert (np.asarray(labels.ignored) > 0)[band].mean() > 0.5

    def test_no_ignored_pixel_is_none(self, tmp_path: Path) -> None:
        (file,) = masks_of(tmp_path, painted(1)[:1])
        assert read_labels(file, MaskReading("1", "255")).ignored is None

    @pytest.mark.parametrize(
        "reading", [MaskReading("7"), MaskReading(ignore_value="7"), MaskReading("255,7")]
    )
    def test_a_value_that_no_mask_holds(self, tmp_path: Path, reading: MaskReading) -> None:
        found = survey(masks_of(tmp_path, painted(255)), reading)
        with pytest.raises(DataError, match=r"no mask holds 7, .* hold 0 \(.*%\), 255 \("):
            found.raise_if_unclear()

    def test_a_value_of_some_masks_is_enough(self, tmp_path: Path) -> None:
        files = masks_of(tmp_path, [*painted(1), *painted(1, 255)])
        survey(files, MaskReading("1", "255")).raise_if_unclear()

    def test_numbers_of_colours(self, tmp_path: Path) -> None:
        (file,) = masks_of(tmp_path, [instances([(255, 0, 0), (0, 255, 0)])])
        with pytest.raises(ImageError, match=r"holds colours .*#ff0000 .*give colours such as"):
            read_labels(file, MaskReading("1"))

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"object_values": "1,x"}, "`object_values` has 'x', but needs whole numbers"),
            ({"object_values": ""}, "`object_values` has ''"),
            ({"object_values": "-1"}, "`object_values` has '-1'"),
            ({"object_values": "65536"}, "`object_values` has '65536'"),
            ({"object_values": "#12345"}, "`object_values` has '#12345'"),
            ({"ignore_value": "1,2"}, "`ignore_value` is '1,2', but needs one whole number"),
            ({"object_values": "1,2", "ignore_value": "2"}, "is in `object_values` and is"),
        ],
    )
    def test_settings_are_checked(self, settings: dict[str, str], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            MaskReading(**settings)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=said):
            DataConfig("data", **settings)  # type: ignore[arg-type]


class TestShare:
    def test_mostly_object_is_warned_of(self, tmp_path: Path) -> None:
        files = masks_of(tmp_path, painted(0, 255, 255))
        found = survey(files)
        assert found.mostly_object
        assert not survey(files, MaskReading(invert=True)).mostly_object
        assert not survey(masks_of(tmp_path / "b", painted(255))).mostly_object

    def test_one_such_picture_is_fine(self, tmp_path: Path) -> None:
        files = masks_of(tmp_path, [*painted(255), Image.new("L", (60, 48), 255)])
        assert not survey(files).mostly_object

    def test_quartiles(self, tmp_path: Path) -> None:
        masks = [Image.new("L", (60, 48), 0) for _ in range(5)]
        for i, mask in enumerate(masks):
            mask.paste(255, (0, 0, 12 * i, 48))
        lines = survey(masks_of(tmp_path, masks)).lines()
        assert lines[-1] == "share of object: median 40.0 %, quartiles 20.0 and 60.0 %"

    def test_nothing_looked_at(self) -> None:
        assert Survey().lines() == ["the values of the masks were not looked at"]
        Survey().raise_if_unclear()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not FIELD_CASES.is_file():
        pytest.skip(f"{FIELD_CASES} is not here")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(FIELD_CASES), str(folder)], check=True)
    return folder


class TestFieldCases:
    def test_ignore_255(self, cases: Path) -> None:
        data = cases / "masks-ignore-255"
        with pytest.raises(DataError, match=r"255 \(.*`object_values`.*`ignore_value`"):
            check_data(DataConfig(str(data))).raise_for_errors()
        told = DataConfig(str(data), object_values="1", ignore_value="255")
        check_data(told).raise_for_errors()
        pair = split_data(told, 0).training[0]
        labels = read_labels(pair.mask, pair.reading)
        stored = np.asarray(Image.open(str(pair.mask)))
        np.testing.assert_array_equal(np.asarray(labels.mask), (stored == 1) * 255)
        np.testing.assert_array_equal(np.asarray(labels.ignored), (stored == 255) * 255)

    def test_green(self, cases: Path) -> None:
        report = check_data(DataConfig(str(cases / "masks-green")))
        report.raise_for_errors()
        assert "object: #00ff00" in report.lines()
        mask = np.asarray(read_mask(cases / "masks-green" / "masks" / "s00.png"))
        assert set(np.unique(mask)) == {0, 255}

    def test_inverted(self, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = str(cases / "masks-inverted")
        assert main(["data", "check", data]) == 0
        shown = capsys.readouterr().out
        assert "most of nearly every picture is object" in shown
        assert "--invert" in shown
        assert "share of object: median 9" in shown
        assert main(["data", "check", data, "--invert"]) == 0
        assert "most of nearly" not in capsys.readouterr().out

    def test_the_command_takes_the_flags(
        self, cases: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = str(cases / "masks-ignore-255")
        assert main(["data", "check", data]) == 1
        assert "--object-values" in capsys.readouterr().out
        assert main(["data", "check", data, "--object-values", "1", "--ignore-value", "255"]) == 0
        assert "object: 1, as told; 255 is ignored" in capsys.readouterr().out

    def test_headers_say_that_values_were_not_looked_at(self, cases: Path) -> None:
        report = check_data(DataConfig(str(cases / "masks-ignore-255"), check="headers"))
        assert report.lines() == ["the values of the masks were not looked at"]
