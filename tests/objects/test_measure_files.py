"""`dsunet measure`: tables, units, COCO's JSON, broken and unclear files."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dsunet.cli import main
from dsunet.config.objects import ObjectOptions
from dsunet.data.resolution import read_pixel_size
from dsunet.errors import ConfigError, ImageError
from dsunet.objects import measure_objects
from helpers import SHARED


def save(file: Path, values: np.ndarray, **settings: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file, **settings)
    return file


def boxed(*boxes: tuple[int, int, int, int], value: int = 255) -> np.ndarray:
    """A map of 30×20 px with boxes: left, top, width and height."""
    levels = np.zeros((20, 30), np.uint8)
    for left, top, width, height in boxes:
        levels[top : top + height, left : left + width] = value
    return levels


@pytest.fixture
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two objects, one, none."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "maps" / "a.png", boxed((2, 2, 4, 5), (10, 3, 6, 6), value=204))
    save(tmp_path / "maps" / "b" / "c.png", boxed((25, 0, 5, 4)))
    save(tmp_path / "maps" / "empty.png", boxed((3, 3, 9, 9), value=100))
    return tmp_path / "maps"


def rows(file: str) -> list[dict[str, str]]:
    with open(file, newline="") as table:
        return list(csv.DictReader(table))


def measured(*arguments: object) -> int:
    return main(["measure", *map(str, arguments)])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert measured(*arguments) in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    return said[0]


class TestTables:
    def test_a_row_for_each_object_and_picture(
        self, maps: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert measured(maps, "--output", "objects.csv") == 0
        said = capsys.readouterr().out
        assert "3 objects in 2 of 3 pictures; 1 have none" in said
        assert "area 20 to 36 px, half of them up to 20; longest axis up to 7.81 px" in said
        assert "1 touch the border" in said
        found = rows("objects.csv")
        assert [(row["image"], row["object"], row["pixels"]) for row in found] == [
            ("a", "1", "20"),
            ("a", "2", "36"),
            ("b/c", "1", "20"),
        ]
        assert [row["mean_score"] for row in found] == ["0.8", "0.8", "1"]
        assert {row["class"] for row in found} == {"object"}
        assert {row["unit"] for row in found} == {"px"}
        box = [found[1][key] for key in ("x", "y", "width", "height", "centroid_x", "centroid_y")]
        assert box == ["10", "3", "6", "6", "12.5", "5.5"]
        pictures = {row["image"]: row for row in rows("objects-images.csv")}
        assert list(pictures) == ["a", "b/c", "empty"]
        assert pictures["a"]["objects"] == "2"
        assert pictures["a"]["pixels"] == "56"
        assert float(pictures["a"]["share"]) == pytest.approx(56 / 600)
        assert pictures["a"]["largest_area"] == "36"
        nothing = [pictures["empty"][key] for key in ("objects", "area", "longest_axis", "share")]
        assert [float(value) for value in nothing] == [0, 0, 0, 0]
        assert pictures["empty"]["mean_score"] == ""
        assert not Path("objects-failures.csv").exists()

    def test_threshold_and_least_area(self, maps: Path) -> None:
        assert measured(maps, "--threshold", 0.3, "--min-area", 25) == 0
        assert [row["pixels"] for row in rows("objects.csv")] == ["36", "81"]
        assert measured(maps, "--threshold", 0.9) == 0
        assert [row["image"] for row in rows("objects.csv")] == ["b/c"]

    def test_units(self, maps: Path) -> None:
        assert measured(maps, "--pixel-size", "0.5mm", "--min-area", "6mm2") == 0
        (one,) = rows("objects.csv")
        assert (one["pixels"], one["area"], one["unit"]) == ("36", "9", "mm")
        assert float(one["longest_axis"]) == pytest.approx(0.5 * (36 + 25) ** 0.5)
        assert measured(maps, "--pixel-size", "500 µm", "--unit", "cm", "--min-area", 30) == 0
        (one,) = rows("objects.csv")
        assert (one["area"], one["unit"]) == ("0.09", "cm")
        assert [row["area"] for row in rows("objects-images.csv")] == ["0.09", "0", "0"]

    def test_pixels_that_are_not_square(
        self, maps: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert measured(maps, "--pixel-size", "2x0.5mm") == 0
        assert "pixels are not square: there is no perimeter" in capsys.readouterr().out
        assert [row["area"] for row in rows("objects.csv")] == ["20", "36", "20"]
        assert {row["perimeter"] for row in rows("objects.csv")} == {""}

    def test_16_bits_are_read_to_the_last(self, tmp_path: Path) -> None:
        levels = boxed((2, 2, 4, 5)).astype(np.uint16)
        levels[levels > 0] = 32767  # 0.49999, which 8 bits would round to 128
        levels[10:12, 10:12] = 32768
        file = save(tmp_path / "deep.png", levels)
        report = measure_objects([file], tmp_path / "o.csv")
        assert [each.pixels for each in report.regions] == [4]

    @pytest.mark.slow
    def test_processes_find_the_same(self, tmp_path: Path) -> None:
        for number in range(33):
            save(tmp_path / "maps" / f"{number}.png", boxed((number % 20, 2, 4, 1 + number % 7)))
        measure_objects([tmp_path / "maps"], tmp_path / "one.csv", workers=1)
        measure_objects([tmp_path / "maps"], tmp_path / "two.csv", workers=2)
        for end in ("", "-images"):
            one, two = (tmp_path / f"{name}{end}.csv" for name in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()


class TestMeaning:
    def test_masks_say_what_they_hold(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        mask = boxed((2, 2, 4, 5), value=1)
        save(tmp_path / "masks" / "a.png", mask)
        assert "hold next to nothing but 0 and 1" in error_of(capsys, "masks")
        assert not Path("objects.csv").exists()
        assert measured("masks", "--object-values", 1) == 0
        assert [row["pixels"] for row in rows("objects.csv")] == ["20"]
        # one who says a threshold means maps; and so does the note of `dsunet predict`
        assert measured("masks", "--threshold", 0.5) == 0
        assert rows("objects.csv") == []
        Path("masks/prediction.json").write_text("{}")
        assert measured("masks") == 0

    def test_ignored_pixels_are_neither_object_nor_counted(self, tmp_path: Path) -> None:
        from dsunet.config import MaskReading

        mask = boxed((2, 2, 4, 5))
        mask[:, 15:] = 128
        file = save(tmp_path / "m.png", mask)
        reading = MaskReading(ignore_value="128")
        report = measure_objects([file], tmp_path / "o.csv", reading=reading)
        assert [each.pixels for each in report.regions] == [20]
        assert report.images[0].counted == 300

    def test_numbers_of_classes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        values = boxed((2, 2, 4, 5), value=1) + boxed((6, 2, 3, 3), (20, 10, 2, 2), value=2)
        picture = Image.fromarray(values + boxed((28, 18, 2, 2), value=9)).convert("P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [40, 50, 60] * 7)
        picture.save("m.png")
        assert measured("m.png", "--classes", "1=crack,2=spot", "--coco", "o.json") == 0
        assert (
            "none of --classes were taken for background: 9 in 1 files" in capsys.readouterr().out
        )
        found = [(row["class"], row["pixels"], row["mean_score"]) for row in rows("objects.csv")]
        assert found == [("crack", "20", ""), ("spot", "9", ""), ("spot", "4", "")]
        content = json.loads(Path("o.json").read_text())
        assert content["categories"] == [{"id": 1, "name": "crack"}, {"id": 2, "name": "spot"}]
        assert [each["category_id"] for each in content["annotations"]] == [1, 2, 2]

    def test_pictures_are_no_maps(self, maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
        colours = np.zeros((20, 30, 3), np.uint8)
        colours[5:9, 5:9] = (200, 30, 30)
        save(maps / "overlay.png", colours)
        assert measured(maps) == 1
        said = capsys.readouterr().err
        assert "overlay.png: it holds colours, but a map is grey" in said
        assert len(rows("objects.csv")) == 3

    def test_orientation(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        file = save(tmp_path / "m.png", boxed((2, 1, 4, 5)), exif=exif)
        (one,) = measure_objects([file], tmp_path / "o.csv").regions
        assert one.box == (20 - 1 - 5, 2, 5, 4)


class TestResolution:
    def test_by_the_files_tag(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        save(tmp_path / "m.png", boxed((2, 2, 4, 5)), dpi=(254, 508))
        assert measured("m.png", "--pixel-size", "file") == 0
        (one,) = rows("objects.csv")
        assert float(one["area"]) == pytest.approx(20 * 0.1 * 0.05, rel=1e-3)
        assert (one["unit"], one["perimeter"]) == ("mm", "")

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({}, "it has no resolution tag"),
            ({"dpi": (72, 72)}, "says 72 dpi, which programs write where they know nothing"),
            ({"dpi": (96, 96)}, r"\(0.2646mm if it is right\)"),
        ],
    )
    def test_what_nobody_set_is_refused(
        self, tmp_path: Path, settings: dict[str, object], reason: str
    ) -> None:
        for suffix in ("png", "tif", "bmp"):
            file = save(tmp_path / f"m.{suffix}", boxed((2, 2, 4, 5)), **settings)
            if suffix == "bmp" and not settings:
                continue  # Pillow writes 96 dpi into every one
            with pytest.raises(ImageError, match=reason):
                read_pixel_size(file)

    def test_a_turned_picture_and_imagejs_units(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        file = save(tmp_path / "a.png", boxed(), dpi=(254, 508), exif=exif)
        size = read_pixel_size(file)[1]
        assert (size.width, size.height) == pytest.approx((0.05, 0.1), rel=1e-3)
        turned = save(tmp_path / "a.jpg", boxed(), dpi=(254, 508), exif=exif)
        size = read_pixel_size(turned)[1]
        assert (size.width, size.height) == pytest.approx((0.05, 0.1))
        tifffile.imwrite(
            tmp_path / "b.tif",
            boxed(),
            imagej=True,
            resolution=(4, 4),
            metadata={"unit": "um"},
        )
        size = read_pixel_size(tmp_path / "b.tif")[1]
        assert (size.width, size.height) == pytest.approx((0.00025, 0.00025))

    def test_of_the_pictures(self, maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Each has its own resolution; one has none, one another size, and one no map."""
        grey = np.full((20, 30), 90, np.uint8)
        save(Path("images/a.jpg"), grey, dpi=(254, 254))
        save(Path("images/b/c.jpg"), grey, dpi=(508, 508))
        save(Path("images/empty.jpg"), grey)
        save(Path("images/alone.jpg"), grey)
        assert measured(maps, "--images", "images", "--pixel-size", "file", "--unit", "um") == 1
        said = capsys.readouterr()
        assert "empty.jpg: it has no resolution tag" in said.err
        assert "1 pictures have no map (images/alone.jpg)" in said.out
        areas = {row["image"]: row["area"] for row in rows("objects.csv")}
        assert {name: float(area) for name, area in areas.items()} == pytest.approx(
            {"a": 36 * 100**2, "b/c": 20 * 50**2}, rel=1e-3
        )
        save(Path("images/a.jpg"), grey[:-1])
        Path("images/b/c.jpg").unlink()
        assert measured(maps, "--images", "images") == 1
        said = capsys.readouterr()
        assert "a.png: it is 30×20 px, and its picture images/a.jpg 30×19" in said.err
        assert "c.png: images holds no picture of this name" in said.err
        assert [row["image"] for row in rows("objects-images.csv")] == ["empty"]


class TestTrouble:
    def test_broken_files_lose_nothing(
        self, maps: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (maps / "broken.png").write_bytes(b"no picture")
        whole = (maps / "a.png").read_bytes()
        (maps / "cut.png").write_bytes(whole[: len(whole) // 2])
        assert measured(maps) == 1
        said = capsys.readouterr()
        assert "2 images could not be measured; all are listed in objects-failures.csv" in said.err
        assert "3 objects in 2 of 3 pictures" in said.out
        assert [Path(row["image"]).name for row in rows("objects-failures.csv")] == [
            "broken.png",
            "cut.png",
        ]
        (maps / "broken.png").unlink()
        (maps / "cut.png").unlink()
        assert measured(maps) == 0
        assert not Path("objects-failures.csv").exists()

    def test_what_is_somebody_elses_is_not_overwritten(
        self, maps: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("objects.csv").write_text("name,price\n")
        assert "objects.csv is there and no output of dsunet measure" in error_of(capsys, maps)
        Path("truth.json").write_text("{}")
        line = error_of(capsys, maps, "--output", "o.csv", "--coco", "truth.json")
        assert "truth.json is there" in line
        assert "choose another --coco" in line
        assert Path("truth.json").read_text() == "{}"

    @pytest.mark.parametrize(
        ("flags", "line"),
        [
            (["--pixel-size", "0.05"], "needs a length with its unit, such as 0.05mm"),
            (["--pixel-size", "3px"], "--pixel-size has the unit 'px', but needs one of nm, um"),
            (["--pixel-size", "0mm"], "needs to be above 0"),
            (["--min-area", "3mm2"], "nobody knows how large a pixel is; give --pixel-size"),
            (["--min-area", "few"], "needs a number of pixels, such as 20"),
            (["--unit", "mm"], "give --pixel-size, or leave --unit out"),
            (["--threshold", "0"], "needs (0, 1]"),
            (["--classes", "crack"], "needs a number from 1 on and a name"),
            (["--classes", "1=a,1=b"], "give each once"),
            (["--classes", "1=a", "--threshold", "0.4"], "leave one of them out"),
            (["--classes", "1=a", "--invert"], "leave one of them out"),
            (["--output", "objects.txt"], "needs a name that ends with .csv"),
            (["--coco", "objects.xml"], "needs a name that ends with .json"),
            (["--images", "nowhere"], "there is no folder nowhere of --images"),
            (["--list", "nothing.txt"], "nothing.txt"),
            (["--workers", "-1"], "needs at least 0"),
        ],
    )
    def test_wrong_flags(
        self, maps: Path, capsys: pytest.CaptureFixture[str], flags: list[str], line: str
    ) -> None:
        assert line in error_of(capsys, maps, *flags)
        assert not Path("objects.csv").exists()

    def test_python_has_the_same_settings(self) -> None:
        assert ObjectOptions(pixel_size="50um").least_pixels is not None
        options = ObjectOptions(pixel_size="0.5x0.25mm", min_area="1mm2", unit="um")
        size = options.size
        assert size is not None
        assert tuple(size) == (pytest.approx(500), pytest.approx(250), "um")
        assert options.least_pixels(size) == pytest.approx(8)
        with pytest.raises(ConfigError, match="`unit`"):
            ObjectOptions(unit="mm")


class TestCoco:
    def test_the_json_is_cocos_and_comes_back(self, maps: Path) -> None:
        """Read by pycocotools, taken as results of the truth, and imported to the same masks."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        for name in ("a", "b/c", "empty"):
            save(Path(f"images/{name}.jpg"), np.full((20, 30), 90, np.uint8))
        (maps / "0-broken.png").write_bytes(b"nothing")  # takes a number all the same
        save(Path("images/0-broken.jpg"), np.full((20, 30), 90, np.uint8))
        shared = ["--images", "images", "--class-name", "dent"]
        assert measured(maps, *shared, "--coco", "found.json") == 1
        save(Path("truth/a.png"), boxed((2, 2, 4, 5)))
        save(Path("truth/0-broken.png"), boxed((2, 2, 4, 5)))
        save(Path("truth/b/c.png"), boxed((25, 0, 5, 5)))
        save(Path("truth/empty.png"), boxed())
        assert measured("truth", *shared, "--output", "t.csv", "--coco", "truth.json") == 0
        content = json.loads(Path("found.json").read_text())
        names = [each["file_name"] for each in content["images"]]
        assert names == ["a.jpg", "b/c.jpg", "empty.jpg"]
        first = content["annotations"][0]
        assert first["bbox"] == [2.0, 2.0, 4.0, 5.0]
        assert (first["area"], first["score"], first["iscrowd"]) == (20, 0.8, 0)
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO("truth.json")
            results = truth.loadRes(content["annotations"])
            judged = COCOeval(truth, results, "segm")
            judged.evaluate()
            judged.accumulate()
            judged.summarize()
            mask = COCO("found.json").annToMask(first)
        np.testing.assert_array_equal(mask, boxed((2, 2, 4, 5)) // 255)
        assert judged.stats[1] > 0.5  # two of three objects are found, and a fourth is none
        assert main(["data", "import", "found.json", "--images", "images", "--output", "back"]) == 0
        for name in ("a", "b/c", "empty"):
            with Image.open(f"back/masks/{name.replace('/', '_')}.png") as back:
                mask = np.asarray(back)
            with Image.open(maps / f"{name}.png") as levels:
                np.testing.assert_array_equal(mask > 0, np.asarray(levels) >= 128)

    def test_without_images_the_maps_are_named(self, maps: Path) -> None:
        assert measured(maps, "--coco", "found.json") == 0
        content = json.loads(Path("found.json").read_text())
        names = [each["file_name"] for each in content["images"]]
        assert names == ["a.png", "b/c.png", "empty.png"]


def test_real_masks(tmp_path: Path) -> None:
    """Defects of strip steel: all objects of the masks, and their pixels."""
    folder = SHARED / "data" / "sd-saliency-300" / "masks"
    if not folder.is_dir():
        pytest.skip("the real data are not beside the repository")
    files = sorted(folder.iterdir())[::30]
    report = measure_objects(files, tmp_path / "o.csv")
    assert len(report.images) == 10
    for file, image in zip(files, report.images, strict=True):
        with Image.open(file) as mask:
            pixels = int(np.count_nonzero(np.asarray(mask.convert("L")) >= 128))
        assert sum(each.region.pixels for each in image.objects) == pixels > 0
