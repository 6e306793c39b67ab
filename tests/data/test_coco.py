"""COCO's annotations become masks; every shape is worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig
from dsunet.data.checks.look import check_data
from dsunet.data.coco import import_coco, read_coco
from dsunet.data.outlines import decode_runs, fill_polygon, runs_to_mask
from dsunet.errors import DataError, OutputError

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]


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

    @pytest.mark.parametrize("turn", [1, -1])
    def test_any_turn_and_start(self, turn: int) -> None:
        corners = [(1.0, 0.0), (5.0, 1.5), (4.2, 5.0), (0.3, 3.7)]
        one = fill_polygon([v for corner in corners for v in corner], (6, 6))
        other = fill_polygon(
            [v for corner in (corners[2:] + corners[:2])[::turn] for v in corner], (6, 6)
        )
        assert one.any()
        np.testing.assert_array_equal(one, other)

    def test_what_is_outside_the_picture_is_left_out(self) -> None:
        assert fill_polygon([-5, -5, 50, -5, 50, 50, -5, 50], (3, 4)).all()
        assert not fill_polygon([9, 9, 12, 9, 12, 12], (3, 4)).any()

    def test_even_odd(self) -> None:
        """A figure that goes round a hole and comes back the same way."""
        ring = [0, 0, 6, 0, 6, 6, 0, 6, 0, 0, 2, 2, 2, 4, 4, 4, 4, 2, 2, 2]
        inside = fill_polygon(ring, (6, 6))
        assert inside.sum() == 36 - 4
        assert not inside[2:4, 2:4].any()

    @pytest.mark.parametrize("corners", [[], [1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 0, 1, "x", 2, 2]])
    def test_no_polygon(self, corners: list[Any]) -> None:
        with pytest.raises(DataError, match="at least three corners"):
            fill_polygon(corners, (4, 4))

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
            assert (result.written, result.empty) == (2, ["b.png"])
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
        assert result.classes == {1: "part", 2: "hole"}
        stored = json.loads((tmp_path / "by-class" / "classes.json").read_text())
        assert stored == {"1": "part", "2": "hole"}
        with pytest.raises(DataError, match="no class 'holes'; did you mean hole"):
            import_coco(file, folder, tmp_path / "x", classes=["holes"])
        with pytest.raises(DataError, match="no class 'zebra'; known: part, hole"):
            import_coco(file, folder, tmp_path / "x", classes=["zebra"])

    def test_more_classes_than_8_bits_hold(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        categories = [{"id": i, "name": f"c{i}"} for i in range(300)]
        file = write({"segmentation": SQUARE, "category_id": 299}, categories=categories)
        import_coco(file, tmp_path / "in", tmp_path / "out", by_class=True)
        assert mask(tmp_path / "out").max() == 300

    def test_groups_are_object_and_told_of(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        crowd = {"counts": [0, 40], "size": [5, 8]}
        result = import_coco(
            write({"segmentation": crowd, "iscrowd": 1}), tmp_path / "in", tmp_path / "out"
        )
        assert result.crowds == 1
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
        arguments = ["data", "import", "coco", str(file), "--images", str(tmp_path / "in")]
        assert main([*arguments, "--output", str(tmp_path / "out")]) == 1
        said = capsys.readouterr().out
        assert "value 255 of the masks: part, hole" in said
        assert "1 files are not in the annotations: left out (b.png)" in said
        assert "1 annotated pictures are not there: left out (gone.jpg)" in said
        assert "1 annotations are of pictures that are not listed" in said
        assert "1 pairs written" in said
        assert (mask(tmp_path / "out") == 255).sum() == 12

    @pytest.mark.parametrize(
        ("annotation", "message"),
        [
            ({"bbox": [1, 1, 3, 3]}, r"annotation 0 of a\.jpg has no outline .*but a box at most"),
            ({"segmentation": [], "bbox": [1, 1, 3, 3]}, "has no outline"),
            ({"segmentation": [[1, 2, 3, 4]]}, r"annotation 0 of a\.jpg: a polygon is"),
            ({"segmentation": "x"}, "neither a list of polygons nor run lengths"),
            ({"segmentation": {"counts": [40], "size": [8, 5]}}, "are of 5×8 px, not 8×5"),
            ({"segmentation": {"counts": [39], "size": [5, 8]}}, "make 39 pixels, but 8×5"),
            ({"segmentation": SQUARE, "category_id": 5}, "annotation 0 is of category 5, which"),
        ],
    )
    def test_what_no_mask_can_be_made_of(
        self,
        write: Callable[..., Path],
        tmp_path: Path,
        annotation: dict[str, Any],
        message: str,
    ) -> None:
        with pytest.raises(DataError, match=message):
            import_coco(write(annotation), tmp_path / "in", tmp_path / "out")

    def test_boxes_of_other_classes_do_not_matter(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        file = write({"bbox": [1, 1, 2, 2], "category_id": 7}, {"segmentation": SQUARE})
        import_coco(file, tmp_path / "in", tmp_path / "out", classes=["part"])
        assert (mask(tmp_path / "out") == 255).sum() == 12

    def test_places_that_cannot_be(self, write: Callable[..., Path], tmp_path: Path) -> None:
        file, folder = write({"segmentation": SQUARE}), tmp_path / "in"
        with pytest.raises(OutputError, match="is not empty"):
            import_coco(file, folder, folder)
        with pytest.raises(DataError, match="there is no folder"):
            import_coco(file, tmp_path / "absent", tmp_path / "out")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"none of the 2 pictures .*a\.jpg, b\.png"):
            import_coco(file, tmp_path / "empty", tmp_path / "out")
        Image.new("RGB", (5, 9)).save(folder / "a.jpg")
        with pytest.raises(DataError, match="is 5×9 px, but the annotations are of one of 8×5"):
            import_coco(file, folder, tmp_path / "out")
        outside = write(images=[{"id": 10, "file_name": "../a.jpg"}])
        with pytest.raises(DataError, match="lies outside the folder"):
            read_coco(outside)
        names = [{"id": i, "file_name": f"a.{e}"} for i, e in enumerate(("jpg", "png"))]
        Image.new("RGB", (8, 5)).save(folder / "a.png")
        with pytest.raises(DataError, match=r"a\.jpg and a\.png would have one mask"):
            import_coco(write(images=names), folder, tmp_path / "out")

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": 3}', '{"images": [{}]}'])
    def test_no_annotations(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError, match="is no file of COCO annotations"):
            read_coco(tmp_path / "x.json")
        with pytest.raises(DataError, match="cannot be read"):
            read_coco(tmp_path / "absent.json")

    def test_pictures_in_folders(self, write: Callable[..., Path], tmp_path: Path) -> None:
        """The file's names may have folders that the pictures have or have not."""
        names = ({"id": 10, "file_name": "cat/a.jpg"}, {"id": 11, "file_name": "dog\\b.png"})
        file = write({"segmentation": SQUARE}, images=list(names))
        (tmp_path / "in" / "cat").mkdir()
        (tmp_path / "in" / "a.jpg").rename(tmp_path / "in" / "cat" / "a.jpg")
        assert import_coco(file, tmp_path / "in", tmp_path / "out").written == 2
        report = check_data(DataConfig(str(tmp_path / "out")))
        assert (report.training, report.of("error")) == (2, [])


def test_the_field_case(field_cases: Path, tmp_path: Path) -> None:
    case = field_cases / "coco"
    import_coco(case / "annotations.json", case / "images", tmp_path / "out", classes=["part"])
    report = check_data(DataConfig(str(tmp_path / "out")))
    assert (report.training, report.of("error")) == (3, [])
    assert all((mask(tmp_path / "out", f"s0{i}") == 255).sum() == 900 for i in range(3))
