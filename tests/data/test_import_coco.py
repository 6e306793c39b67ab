"""COCO's annotations become masks; every shape is worked out by hand."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig
from dsunet.data.checks.look import check_data
from dsunet.data.class_tables import classes_in
from dsunet.data.labels import importing
from dsunet.data.labels.formats import read_labels
from dsunet.data.labels.importing import Imported, import_labels
from dsunet.data.labels.outlines import (
    Bitmap,
    Ellipse,
    Polygons,
    Runs,
    decode_runs,
    polygon_pixels,
    rectangle,
    runs_to_mask,
)
from dsunet.data.pairing import find_pairs
from dsunet.data.pairs import read_pair
from dsunet.data.pixels import turn
from dsunet.errors import ConfigError, DataError, OutputError
from helpers import SHARED

pytest.importorskip("pycocotools", reason="it draws the polygons: pip install 'dsunet[labels]'")

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]


def fill_polygon(corners: list[float], size: tuple[int, int]) -> np.ndarray:
    return polygon_pixels([corners], size)


def import_coco(file: Path, images: Path, output: Path, **settings: Any) -> Imported:
    return import_labels(read_labels(file, format="coco", images=images), output, **settings)


class TestShapes:
    def test_a_square_has_its_area(self) -> None:
        inside = fill_polygon([2, 1, 6, 1, 6, 4, 2, 4], (5, 8))
        expected = np.zeros((5, 8), bool)
        expected[1:4, 2:6] = True
        np.testing.assert_array_equal(inside, expected)
        assert fill_polygon([20, 20, 50, 20, 50, 50, 20, 50], (90, 120)).sum() == 900

    def test_the_centre_of_a_pixel_decides(self) -> None:
        assert fill_polygon([0.4, 0, 1.6, 0, 1.6, 1, 0.4, 1], (1, 3)).tolist() == [[1, 1, 0]]
        assert fill_polygon([0.6, 0, 1.4, 0, 1.4, 1, 0.6, 1], (1, 3)).tolist() == [[0, 0, 0]]

    def test_a_triangle(self) -> None:
        inside = fill_polygon([0, 0, 4, 0, 0, 4], (4, 4))
        # centres x + 0.5 + y + 0.5 < 4
        expected = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
        np.testing.assert_array_equal(inside, np.array(expected, bool))

    def test_what_is_outside_the_picture_is_left_out(self) -> None:
        assert fill_polygon([-5, -5, 50, -5, 50, 50, -5, 50], (3, 4)).all()
        assert not fill_polygon([9, 9, 12, 9, 12, 12], (3, 4)).any()

    def test_even_odd(self) -> None:
        """A figure that goes round a hole and comes back the same way."""
        ring = [0, 0, 6, 0, 6, 6, 0, 6, 0, 0, 2, 2, 2, 4, 4, 4, 4, 2, 2, 2]
        inside = fill_polygon(ring, (6, 6))
        assert inside.sum() == 36 - 4
        assert not inside[2:4, 2:4].any()

    @pytest.mark.parametrize("corners", [[], [1, 2], [1, 2, 3, 4]])
    def test_without_area(self, corners: list[float]) -> None:
        """Four numbers would be a box for pycocotools."""
        assert not fill_polygon(corners, (9, 9)).any()

    @pytest.mark.parametrize(
        "corners", [[1, 2, 3, 4, 5], [0, 0, 1, "x", 2, 2], [0, 0, 5, float("nan"), 2, 2], [[1], 2]]
    )
    def test_no_polygon(self, corners: list[Any]) -> None:
        with pytest.raises(DataError, match="needs x and y of every corner"):
            fill_polygon(corners, (4, 4))

    def test_a_polygon_that_would_fill_the_memory(self) -> None:
        with pytest.raises(DataError, match="its corners are no pixels"):
            fill_polygon([0, 0, 1e12, 0, 0, 1e12], (4, 4))

    def test_a_circle_by_hand(self) -> None:
        # centres at 0.5, 1.5, …: distance from (2, 2) at most 1.6
        expected = [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
        inside = Ellipse((2, 2), (1.6, 1.6)).inside((4, 4))
        np.testing.assert_array_equal(inside, np.array(expected, bool))
        assert not Ellipse((2, 2), (0, 3)).inside((4, 4)).any()
        with pytest.raises(DataError, match="has no place"):
            Ellipse((2, float("inf")), (1, 1)).inside((4, 4))

    def test_a_turned_ellipse_is_the_other_way_round(self) -> None:
        lying = Ellipse((6, 5), (5, 2)).inside((10, 12))
        standing = Ellipse((5, 6), (5, 2), 90).inside((12, 10))
        np.testing.assert_array_equal(lying, standing.T)
        # clockwise, as y goes down: from upper left to lower right
        turned = Ellipse((10, 10), (9, 2), 45).inside((20, 20))
        assert turned[15, 15]
        assert not turned[15, 4]

    def test_a_turned_rectangle(self) -> None:
        square = rectangle(2, 4, 10, 6).inside((12, 12))
        assert square.sum() == 16
        np.testing.assert_array_equal(
            rectangle(2, 4, 10, 6, 90).inside((12, 12)), rectangle(5, 1, 7, 9).inside((12, 12))
        )

    def test_a_bitmap_that_is_partly_outside(self) -> None:
        pixels = np.ones((3, 4), bool)
        assert Bitmap(pixels, (-1, -2)).inside((5, 6)).sum() == 1 * 3
        assert Bitmap(pixels, (4, 3)).inside((5, 6)).sum() == 2 * 2
        assert Bitmap(pixels, (-9, 0)).inside((5, 6)).sum() == 0
        assert Bitmap(pixels, (1, 99)).inside((5, 6)).sum() == 0
        with pytest.raises(DataError, match="no base64"):
            Bitmap("%", (0, 0)).inside((5, 6))

    def test_runs_go_down_the_columns(self) -> None:
        mask = runs_to_mask([1, 2, 3], (3, 2))
        np.testing.assert_array_equal(mask, np.array([[0, 0], [1, 0], [1, 0]], bool))
        assert runs_to_mask([0, 6], (3, 2)).all()

    @pytest.mark.parametrize("runs", [[1, 2], [7], [-1, 7], [1.5, 4.5], [[6]]])
    def test_no_runs(self, runs: list[Any]) -> None:
        with pytest.raises(DataError, match="run lengths"):
            runs_to_mask(runs, (3, 2))

    @pytest.mark.parametrize(
        ("text", "runs"),
        [
            ("123", [1, 2, 3]),  # one character each: 48 + number
            ("1231", [1, 2, 3, 3]),  # the fourth is the difference to the second: 2 + 1
            ("123O", [1, 2, 3, 1]),  # -1 in five bits is 31, the sign bit set: 48 + 31
            ("P1", [32]),  # 0 and more to come (48 + 32), then 1 times 32
            ("T3", [100]),  # 100 = 4 + 3 · 32: 48 + 32 + 4, 48 + 3
            ("`0", [16]),  # 16 needs a second group, as its own fifth bit is the sign
        ],
    )
    def test_compressed_runs_by_hand(self, text: str, runs: list[int]) -> None:
        assert decode_runs(text) == runs

    def test_compressed_runs_as_coco_writes_them(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(50):
            runs = rng.integers(0, 3000, rng.integers(1, 40)).tolist()
            assert decode_runs(encoded(runs)) == runs

    @pytest.mark.parametrize("text", ["1 2", "é", "P"])
    def test_no_compressed_runs(self, text: str) -> None:
        with pytest.raises(DataError, match="run lengths"):
            decode_runs(text)


def encoded(runs: list[int]) -> str:
    """`rleToString` of COCO's maskApi.c."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 if more else bits))
    return text


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file of annotations (image, category, segmentation, …) of two pictures, which are drawn."""

    def written(*annotations: dict[str, Any], **others: Any) -> Path:
        (tmp_path / "in").mkdir(exist_ok=True)
        for name in ("a.jpg", "b.png"):
            Image.new("RGB", (8, 5), "red").save(tmp_path / "in" / name)
        content = {
            "images": [
                {"id": 10, "file_name": "a.jpg", "width": 8, "height": 5},
                {"id": 11, "file_name": "b.png", "width": 8, "height": 5},
            ],
            "annotations": [
                {"id": i, "image_id": 10, "category_id": 3, **each}
                for i, each in enumerate(annotations)
            ],
            "categories": [{"id": 7, "name": "hole"}, {"id": 3, "name": "part"}],
            **others,
        }
        (tmp_path / "coco.json").write_text(json.dumps(content))
        return tmp_path / "coco.json"

    return written


def mask(output: Path, name: str = "a") -> np.ndarray:
    with Image.open(output / "masks" / f"{name}.png") as picture:
        return np.asarray(picture)


class TestAsPycocotools:
    """Masks are those of `COCO.annToMask`, bit for bit."""

    @staticmethod
    def theirs(shape: Any, size: tuple[int, int]) -> np.ndarray:
        from pycocotools import mask as coco

        if isinstance(shape, list):
            runs = coco.merge(coco.frPyObjects(shape, *size))
        elif isinstance(shape["counts"], list):
            runs = coco.frPyObjects(shape, *size)
        else:
            runs = shape
        return coco.decode(runs).astype(bool)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.lists(st.floats(-20, 60), min_size=6, max_size=24).map(
                lambda values: values[: len(values) // 2 * 2]
            ),
            min_size=1,
            max_size=3,
        ),
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
    )
    def test_polygons(self, parts: list[list[float]], size: tuple[int, int]) -> None:
        inside = Polygons(parts).inside(size)
        assert inside.shape == size
        np.testing.assert_array_equal(inside, self.theirs(parts, size))

    @settings(deadline=None, max_examples=100)
    @given(
        st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 2**32), st.floats(0, 1)
    )
    def test_runs(self, size: tuple[int, int], seed: int, share: float) -> None:
        from pycocotools import mask as coco

        drawn = np.random.default_rng(seed).random(size) < share
        packed = coco.encode(np.asfortranarray(drawn.astype(np.uint8)))
        text = packed["counts"].decode()
        np.testing.assert_array_equal(Runs(text, size).inside(size), drawn)
        plain = decode_runs(text)
        np.testing.assert_array_equal(Runs(plain, size).inside(size), drawn)
        np.testing.assert_array_equal(
            self.theirs({"counts": plain, "size": list(size)}, size), drawn
        )

    def test_real_masks(self, tmp_path: Path) -> None:
        """Strip-steel defects as polygons and run lengths, imported and compared."""
        from pycocotools.coco import COCO

        steel = SHARED / "data" / "sd-saliency-300"
        if not steel.is_dir():
            pytest.skip("the real data are not beside the repository")
        content = coco_export(steel, sorted((steel / "masks").iterdir())[::15])
        (tmp_path / "export.json").write_text(json.dumps(content))
        report = import_coco(tmp_path / "export.json", steel / "images", tmp_path / "out")
        assert (report.written, report.failures) == (20, [])
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = COCO(str(tmp_path / "export.json"))
        for number, entry in theirs.imgs.items():
            expected = np.zeros((entry["height"], entry["width"]), np.uint8)
            for annotation in theirs.imgToAnns[number]:
                expected |= theirs.annToMask(annotation)
            stem = Path(entry["file_name"]).stem
            np.testing.assert_array_equal(mask(tmp_path / "out", stem), expected * 255)
            copied = tmp_path / "out" / "images" / entry["file_name"]
            assert copied.read_bytes() == (steel / "images" / entry["file_name"]).read_bytes()


def coco_export(folder: Path, masks: list[Path]) -> dict[str, Any]:
    """Masks as an annotation tool would export them: outlines, and every third as run lengths."""
    import cv2
    from pycocotools import mask as coco

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, file in enumerate(masks):
        with Image.open(file) as picture:
            drawn = (np.asarray(picture) > 127).astype(np.uint8)
        height, width = drawn.shape
        name = f"{file.stem}.jpg"
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        if number % 3 == 0:
            runs = coco.encode(np.asfortranarray(drawn))
            shapes: list[Any] = [{"counts": runs["counts"].decode(), "size": [height, width]}]
        else:
            outlines, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            shapes = [[each.ravel().tolist()] for each in outlines]
        for shape in shapes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": shape,
                    "iscrowd": int(isinstance(shape, dict)),
                }
            )
    categories = [{"id": 1, "name": "defect"}]
    return {"images": images, "annotations": annotations, "categories": categories}


class TestImport:
    def test_every_way_of_writing_a_shape(self, write: Callable[..., Path], tmp_path: Path) -> None:
        expected = np.zeros((5, 8), np.uint8)
        expected[1:4, 2:6] = 255
        runs = [11, 3, 2, 3, 2, 3, 2, 3, 11]  # five pixels a column: two columns, one pixel, …
        ways = {
            "polygon": SQUARE,
            "bare": SQUARE[0],
            "parts": [[2, 1, 4, 1, 4, 4, 2, 4], [4, 1, 6, 1, 6, 4, 4, 4]],
            "runs": {"counts": runs, "size": [5, 8]},
            "compressed": {"counts": encoded(runs), "size": [5, 8]},
        }
        for way, shape in ways.items():
            output = tmp_path / way
            result = import_coco(write({"segmentation": shape}), tmp_path / "in", output)
            np.testing.assert_array_equal(mask(output), expected, err_msg=way)
            assert not mask(output, "b").any()
            assert (result.written, result.empty) == (2, ["b"])
            pictures = sorted(file.name for file in (output / "images").iterdir())
            assert pictures == ["a.jpg", "b.png"]

    def test_classes(self, write: Callable[..., Path], tmp_path: Path) -> None:
        """The hole lies on the part, and is the smaller."""
        file = write(
            {"segmentation": [[3, 2, 5, 2, 5, 3, 3, 3]], "category_id": 7, "area": 2},
            {"segmentation": SQUARE, "area": 12},
        )
        folder = tmp_path / "in"
        import_coco(file, folder, tmp_path / "all")
        assert (mask(tmp_path / "all") == 255).sum() == 12
        import_coco(file, folder, tmp_path / "holes", classes=["hole"])
        assert (mask(tmp_path / "holes") == 255).sum() == 2
        import_coco(file, folder, tmp_path / "by-number", classes=["7"])
        np.testing.assert_array_equal(mask(tmp_path / "by-number"), mask(tmp_path / "holes"))
        result = import_coco(file, folder, tmp_path / "by-class", by_class=True)
        values, counts = np.unique(mask(tmp_path / "by-class"), return_counts=True)
        assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 28, 1: 10, 2: 2}
        assert result.values == {1: "part", 2: "hole"}
        assert result.overlaps == 1
        stored = json.loads((tmp_path / "by-class" / "labels.json").read_text())
        assert stored["request"]["values"] == {"1": "part", "2": "hole"}
        assert classes_in(tmp_path / "by-class" / "classes.csv") == ("part", "hole")
        assert not (tmp_path / "by-number" / "classes.csv").exists()
        with pytest.raises(DataError, match="no class 'holes'; did you mean hole"):
            import_coco(file, folder, tmp_path / "x", classes=["holes"])
        with pytest.raises(DataError, match="no class 'zebra'; known: part, hole"):
            import_coco(file, folder, tmp_path / "x", classes=["zebra"])

    def test_more_classes_than_8_bits_hold(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        categories = [{"id": i, "name": f"c{i}"} for i in range(300)]
        file = write({"segmentation": SQUARE, "category_id": 299}, categories=categories)
        with pytest.raises(ConfigError, match="300 classes, but 254 at most"):
            import_coco(file, tmp_path / "in", tmp_path / "out", by_class=True)
        few = {"classes": ["c299", "c5"], "by_class": True}
        import_coco(file, tmp_path / "in", tmp_path / "out", **few)
        assert mask(tmp_path / "out").max() == 2

    def test_groups_are_object_and_told_of(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        crowd = {"counts": [0, 40], "size": [5, 8]}
        result = import_coco(
            write({"segmentation": crowd, "iscrowd": 1}), tmp_path / "in", tmp_path / "out"
        )
        assert "1 annotations are of whole groups" in result.said[0]
        assert (mask(tmp_path / "out") == 255).all()

    def test_nothing_is_lost(
        self, write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = write(
            {"segmentation": SQUARE},
            {"segmentation": SQUARE, "image_id": 12},
            {"segmentation": SQUARE, "image_id": 99},
            images=[
                {"id": 10, "file_name": "a.jpg"},
                {"id": 12, "file_name": "gone.jpg", "width": 8, "height": 5},
            ],
        )
        arguments = ["data", "import", str(file), "--output", str(tmp_path / "out")]
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert "value 255 of the masks: part, hole" in said.out
        assert "1 pictures are not in the labels: left out (b.png)" in said.out
        assert "failed: gone.jpg: there is no such picture" in said.err
        assert "1 images were left out; all are listed in" in said.err
        assert "1 labels are of pictures that are not listed" in said.out
        assert "1 pairs written" in said.out
        assert (mask(tmp_path / "out") == 255).sum() == 12
        rows = (tmp_path / "out" / "failures.csv").read_text().splitlines()
        assert rows[0] == "image,reason"
        assert rows[1].startswith("gone.jpg,")

    @pytest.mark.parametrize(
        ("annotation", "message"),
        [
            ({"bbox": [1, 1, 3, 3]}, r"annotation 0 has no outline .*but a box at most"),
            ({"segmentation": [], "bbox": [1, 1, 3, 3]}, "has no outline"),
            ({"segmentation": [[1, 2, 3]]}, "a polygon is"),
            ({"segmentation": "x"}, "neither a list of polygons nor run lengths"),
            ({"segmentation": {"counts": [40], "size": [8, 5]}}, "are of 5×8 px, not 8×5"),
            ({"segmentation": {"counts": [39], "size": [5, 8]}}, "make 39 pixels, but 8×5"),
            ({"segmentation": {"counts": "123", "size": [5, 8]}}, "make 6 pixels, but 8×5"),
            ({"segmentation": {"counts": None, "size": [5, 8]}}, "whole numbers"),
            ({"segmentation": {"counts": [40], "size": 3}}, "annotation 0"),
            (
                {"segmentation": SQUARE, "category_id": 5},
                "annotation 0: `categories` does not list its category 5",
            ),
            ({"segmentation": SQUARE, "category_id": None}, "annotation 0 is not as it should be"),
        ],
    )
    def test_one_broken_shape_loses_its_picture_alone(
        self,
        write: Callable[..., Path],
        tmp_path: Path,
        annotation: dict[str, Any],
        message: str,
    ) -> None:
        file = write(annotation, {"segmentation": SQUARE, "image_id": 11})
        result = import_coco(file, tmp_path / "in", tmp_path / "out")
        ((name, reason),) = result.failures
        assert name == "a.jpg"
        assert re.search(message, reason)
        assert (mask(tmp_path / "out", "b") == 255).sum() == 12
        assert not (tmp_path / "out" / "images" / "a.jpg").exists()
        assert not result.complete

    def test_not_one_picture_can_be_used(self, write: Callable[..., Path], tmp_path: Path) -> None:
        file = write({"bbox": [1, 1, 2, 2]}, images=[{"id": 10, "file_name": "a.jpg"}])
        with pytest.raises(DataError, match=r"not one of the 1 pictures .* a\.jpg: annotation 0"):
            import_coco(file, tmp_path / "in", tmp_path / "out")

    def test_shapes_without_a_pixel_are_told(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        file = write(
            {"segmentation": SQUARE},
            {"segmentation": [[]]},
            {"segmentation": [[1, 1, 3, 3]]},
            {"segmentation": [[50, 50, 60, 50, 60, 60]]},
            {"segmentation": [[-9, -9, -2, -9, -2, -4]]},
        )
        result = import_coco(file, tmp_path / "in", tmp_path / "out")
        assert (result.pixelless, result.failures) == (4, [])
        assert (mask(tmp_path / "out") == 255).sum() == 12

    def test_boxes_of_other_classes_do_not_matter(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        file = write({"bbox": [1, 1, 2, 2], "category_id": 7}, {"segmentation": SQUARE})
        import_coco(file, tmp_path / "in", tmp_path / "out", classes=["part"])
        assert (mask(tmp_path / "out") == 255).sum() == 12

    def test_places_that_cannot_be(self, write: Callable[..., Path], tmp_path: Path) -> None:
        file, folder = write({"segmentation": SQUARE}), tmp_path / "in"
        with pytest.raises(OutputError, match=r"holds other files \(a\.jpg, b\.png\)"):
            import_coco(file, folder, folder)
        with pytest.raises(DataError, match="there is no folder"):
            import_coco(file, tmp_path / "absent", tmp_path / "out")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"none of the 2 pictures .*a\.jpg, b\.png"):
            import_coco(file, tmp_path / "empty", tmp_path / "out")
        with pytest.raises(DataError, match=r"there is no .*x\.json"):
            read_labels(tmp_path / "x.json")
        Image.new("RGB", (5, 9)).save(folder / "a.jpg")
        ((_, reason),) = import_coco(file, folder, tmp_path / "out").failures
        assert "it is 5×9 px, but its labels are of one of 8×5" in reason

    @pytest.mark.parametrize("name", ["../../a.jpg", "/etc/a.jpg", "C:\\Users\\me\\a.jpg"])
    def test_names_never_leave_the_folder(
        self, write: Callable[..., Path], tmp_path: Path, name: str
    ) -> None:
        """The folders of another machine say nothing; what is found lies in the folder."""
        file = write({"segmentation": SQUARE}, images=[{"id": 10, "file_name": name}])
        Image.new("RGB", (8, 5), "blue").save(tmp_path / "a.jpg")
        result = import_coco(file, tmp_path / "in", tmp_path / "deep" / "out")
        assert result.written == 1
        copied = tmp_path / "deep" / "out" / "images" / "a.jpg"
        assert copied.read_bytes() == (tmp_path / "in" / "a.jpg").read_bytes()
        passwd = write(
            {"segmentation": SQUARE}, images=[{"id": 10, "file_name": "../../etc/passwd"}]
        )
        with pytest.raises(DataError, match="none of the 1 pictures"):
            import_coco(passwd, tmp_path / "in", tmp_path / "deep" / "other")

    def test_equal_stems_and_folders(self, write: Callable[..., Path], tmp_path: Path) -> None:
        folder = tmp_path / "in"
        names = ["a.jpg", "a.png", "cat/1.jpg", "dog/1.jpg"]
        file = write(
            *({"segmentation": SQUARE, "image_id": i} for i in range(4)),
            images=[{"id": i, "file_name": name} for i, name in enumerate(names)],
        )
        for name in names[1:]:
            (folder / name).parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 5)).save(folder / name)
        assert import_coco(file, folder, tmp_path / "out").written == 4
        pictures = sorted(
            p.relative_to(tmp_path / "out/images") for p in (tmp_path / "out/images").iterdir()
        )
        assert [str(p) for p in pictures] == ["a_jpg.jpg", "a_png.png", "cat_1.jpg", "dog_1.jpg"]
        report = check_data(DataConfig(str(tmp_path / "out")))
        assert (report.training, report.of("error")) == (4, [])

    def test_which_of_several(self, write: Callable[..., Path], tmp_path: Path) -> None:
        """A name's folders are never overlooked: cat/1.jpg is not dog/1.jpg."""
        file = write(
            {"segmentation": SQUARE},
            images=[{"id": 10, "file_name": "cat/1.jpg"}, {"id": 11, "file_name": "1.jpg"}],
        )
        for place in ("dog", "cow"):
            (tmp_path / "in" / place).mkdir()
            Image.new("RGB", (8, 5)).save(tmp_path / "in" / place / "1.jpg")
        with pytest.raises(DataError, match="2 pictures could be 1.jpg"):
            import_coco(file, tmp_path / "in", tmp_path / "out")

    @pytest.mark.parametrize("content", ["[]", "{}", '{"images": 3}', '{"images": [{}]}'])
    def test_no_annotations(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError, match="is no file of COCO annotations"):
            read_labels(tmp_path / "x.json", format="coco")

    @pytest.mark.parametrize("content", ["", '{"images": [', "\0\0", "[" * 100_000])
    def test_cut_off(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError, match="is no JSON, or is cut off"):
            read_labels(tmp_path / "x.json", format="coco")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"_via_settings": {}}', "it is of the VGG Image Annotator: export COCO"),
            ('[{"id": 1, "annotations": [{"from_name": "x"}]}]', "Label Studio"),
            ('{"hello": 1}', "no known format of labels"),
        ],
    )
    def test_of_other_tools(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError, match=message):
            read_labels(tmp_path / "x.json")

    def test_panoptic(self, write: Callable[..., Path], tmp_path: Path) -> None:
        with pytest.raises(DataError, match="panoptic"):
            import_coco(write({"segments_info": []}), tmp_path / "in", tmp_path / "out")

    def test_pictures_in_folders(self, write: Callable[..., Path], tmp_path: Path) -> None:
        """The file's names may have folders that the pictures have or have not."""
        names = ({"id": 10, "file_name": "cat/a.jpg"}, {"id": 11, "file_name": "dog\\b.png"})
        file = write({"segmentation": SQUARE}, images=list(names))
        (tmp_path / "in" / "cat").mkdir()
        (tmp_path / "in" / "a.jpg").rename(tmp_path / "in" / "cat" / "a.jpg")
        assert import_coco(file, tmp_path / "in", tmp_path / "out").written == 2
        report = check_data(DataConfig(str(tmp_path / "out")))
        assert (report.training, report.of("error")) == (2, [])

    def test_parts_of_a_set_stay(self, write: Callable[..., Path], tmp_path: Path) -> None:
        """As COCO itself comes: annotations/, train2017/ and val2017/."""
        root = tmp_path / "coco"
        for part, count in (("train2017", 3), ("val2017", 2)):
            (root / part).mkdir(parents=True)
            images = []
            for i in range(count):
                Image.new("RGB", (8, 5)).save(root / part / f"{i}.jpg")
                images.append({"id": i, "file_name": f"{i}.jpg", "width": 8, "height": 5})
            file = write({"segmentation": SQUARE, "image_id": 0}, images=images)
            (root / "annotations").mkdir(exist_ok=True)
            file.rename(root / "annotations" / f"instances_{part}.json")
        result = import_labels(read_labels(root), tmp_path / "out")
        assert (result.written, result.failures) == (5, [])
        report = check_data(DataConfig(str(tmp_path / "out")))
        assert (report.training, report.validation, report.of("error")) == (3, 2, [])

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    @pytest.mark.parametrize("upright", [True, False])
    def test_exif_orientation(
        self, write: Callable[..., Path], tmp_path: Path, orientation: int, upright: bool
    ) -> None:
        """Labels in either orientation fit as `read_pair` puts image and mask together."""
        file = write(images=[])
        stored = np.zeros((40, 64, 3), np.uint8)
        stored[8:16, 16:48] = 255
        picture = Image.fromarray(stored)
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "in" / "e.png", exif=exif)
        shown = np.asarray(turn(picture, orientation) if upright else picture)[..., 0]
        rows, columns = np.nonzero(shown)
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        corners = [left, top, right, top, right, bottom, left, bottom]
        height, width = shown.shape
        file = write(
            {"segmentation": [[int(v) for v in corners]]},
            images=[{"id": 10, "file_name": "e.png", "width": width, "height": height}],
        )
        result = import_coco(file, tmp_path / "in", tmp_path / "out")
        (pair,) = find_pairs(tmp_path / "out")
        read = read_pair(pair)
        if orientation == 3 and not upright:  # of the same size either way: taken as upright
            assert result.turned == 1
            return
        image = np.asarray(read.image)[..., 0]
        np.testing.assert_array_equal(image > 0, np.asarray(read.mask) > 0)

    def test_interrupted_and_again(self, write: Callable[..., Path], tmp_path: Path) -> None:
        file, output = write({"segmentation": SQUARE}), tmp_path / "out"

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_coco(file, tmp_path / "in", output, progress=stop)
        assert (mask(output) == 255).sum() == 12
        assert not json.loads((output / "labels.json").read_text())["complete"]
        before = (output / "masks" / "a.png").stat().st_mtime_ns
        result = import_coco(file, tmp_path / "in", output)
        assert (result.written, result.skipped) == (1, 1)
        assert (output / "masks" / "a.png").stat().st_mtime_ns == before
        for broken in (output / "masks" / "a.png", output / "images" / "b.png"):
            whole = broken.read_bytes()
            broken.write_bytes(whole[: len(whole) // 2])  # as a power cut may leave it
            again = import_coco(file, tmp_path / "in", output)
            assert (again.written, again.skipped) == (1, 1)
            assert broken.read_bytes() == whole
        manifest = json.loads((output / "labels.json").read_text())
        assert manifest["complete"]
        assert manifest["pictures"]["a"]["objects"] == {"part": 1}
        with pytest.raises(OutputError, match=r"in another way \(values\)"):
            import_coco(file, tmp_path / "in", output, classes=["hole"])
        write({"segmentation": SQUARE}, {"segmentation": SQUARE})
        with pytest.raises(OutputError, match=r"from other labels or in another way \(labels\)"):
            import_coco(file, tmp_path / "in", output)

    def test_links(self, write: Callable[..., Path], tmp_path: Path) -> None:
        file = write({"segmentation": SQUARE})
        import_coco(file, tmp_path / "in", tmp_path / "linked", link=True)
        assert (tmp_path / "linked/images/a.jpg").samefile(tmp_path / "in/a.jpg")
        import_coco(file, tmp_path / "in", tmp_path / "copied")
        assert not (tmp_path / "copied/images/a.jpg").samefile(tmp_path / "in/a.jpg")

    def test_a_full_disk(
        self, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(source: Path, target: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

        file = write({"segmentation": SQUARE})
        with monkeypatch.context() as patched:
            patched.setattr(importing.os, "replace", full)
            with pytest.raises(OutputError, match="No space left on device.*give the same command"):
                import_coco(file, tmp_path / "in", tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.tmp"))
        assert import_coco(file, tmp_path / "in", tmp_path / "out").written == 2

    def test_a_broken_picture(self, write: Callable[..., Path], tmp_path: Path) -> None:
        file = write({"segmentation": SQUARE})
        (tmp_path / "in" / "a.jpg").write_bytes(b"broken")
        result = import_coco(file, tmp_path / "in", tmp_path / "out")
        assert result.written == 1
        assert "not a readable image" in result.failures[0][1]


def test_the_field_case(field_cases: Path, tmp_path: Path) -> None:
    case = field_cases / "coco"
    import_coco(case / "annotations.json", case / "images", tmp_path / "out", classes=["part"])
    report = check_data(DataConfig(str(tmp_path / "out")))
    assert (report.training, report.of("error")) == (3, [])
    assert all((mask(tmp_path / "out", f"s0{i}") == 255).sum() == 900 for i in range(3))
