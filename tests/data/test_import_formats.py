"""Labels of other formats than COCO's become masks; every shape is worked out by hand."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig
from dsunet.data.checks.look import check_data
from dsunet.data.labels.formats import read_labels
from dsunet.data.labels.importing import Imported, import_labels
from dsunet.errors import ConfigError, DataError, MissingPackageError

pytest.importorskip("pycocotools", reason="it draws the polygons: pip install 'dsunet[labels]'")
pytest.importorskip("defusedxml", reason="it reads XML: pip install 'dsunet[labels]'")

SIZE = (10, 8)  # width, height


def picture(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


def write_mask(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def square(value: int = 255) -> np.ndarray:
    """Columns 2 to 5 and rows 1 to 3 of a picture of `SIZE`."""
    values = np.zeros(SIZE[::-1], np.uint8)
    values[1:4, 2:6] = value
    return values


def run(source: Path, output: Path, given: dict[str, Any] | None = None, **how: Any) -> Imported:
    return import_labels(read_labels(source, **(given or {}), output=output), output, **how)


def mask(output: Path, name: str = "a") -> np.ndarray:
    with Image.open(output / "masks" / f"{name}.png") as drawn:
        assert drawn.mode == "L"
        return np.asarray(drawn)


def good(output: Path, training: int, validation: int = 0) -> None:
    """Whether the package trains on what was written."""
    report = check_data(DataConfig(str(output)))
    assert report.of("error") == []
    assert (report.training, report.validation) == (training, validation)


class TestYolo:
    @staticmethod
    def write(root: Path, labels: str, layout: str = "images/{part}") -> Path:
        for part in ("train", "val"):
            place = root / layout.format(part=part)
            for name in ("a", "b"):
                picture(place / f"{name}.jpg")
            texts = root / layout.format(part=part).replace("images", "labels")
            texts.mkdir(parents=True)
            (texts / "a.txt").write_text(labels)
        (root / "data.yaml").write_text("path: /elsewhere\ntrain: x\nnames: [part, hole]\n")
        return root

    @pytest.mark.parametrize("layout", ["images/{part}", "{part}/images"])
    def test_polygons(self, tmp_path: Path, layout: str) -> None:
        rows = "0 0.2 0.125 0.6 0.125 0.6 0.5 0.2 0.5\n\n1 0.3 0.25 0.4 0.25 0.4 0.375 0.3 0.375\n"
        root = self.write(tmp_path / "yolo", rows, layout)
        report = run(root, tmp_path / "out")
        assert (report.format, report.written, report.failures) == ("yolo", 4, [])
        np.testing.assert_array_equal(mask(tmp_path / "out", "train/a"), square())
        assert not mask(tmp_path / "out", "val/b").any()
        assert report.said == ["2 pictures have no file of labels, and so no object"]
        good(tmp_path / "out", 2, 2)
        for name in ("hole", "1"):
            run(root / "data.yaml", tmp_path / name, classes=[name])
            assert (mask(tmp_path / name, "val/a") == 255).sum() == 1

    def test_without_data_yaml(self, tmp_path: Path) -> None:
        root = self.write(tmp_path / "yolo", "1 0.2 0.125 0.6 0.125 0.6 0.5 0.2 0.5\n")
        (root / "data.yaml").unlink()
        report = run(root, tmp_path / "out")
        assert (report.format, report.written, report.values) == ("yolo", 4, {255: "1"})
        np.testing.assert_array_equal(mask(tmp_path / "out", "train/a"), square())
        (root / "classes.txt").write_text("part\nhole\n")
        assert run(root, tmp_path / "named", classes=["part"]).empty == [
            f"{part}/{name}" for part in ("train", "val") for name in "ab"
        ]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("0 0.5 0.5 0.2 0.2", r"a\.txt, line 1 is a box"),
            ("0 20 10 60 10 60 40", "has 20, but corners need to be parts"),
            ("0 0.2 0.1 0.6 0.1 0.6", "has 5 numbers"),
            ("0 0.2 0.1 0.6 0.1 0.6 nan", "has nan"),
            ("part 0.2 0.1", "needs a class and numbers"),
        ],
    )
    def test_broken_rows(self, tmp_path: Path, row: str, message: str) -> None:
        root = self.write(tmp_path / "yolo", row)
        (root / "labels" / "val" / "a.txt").write_text("")
        report = run(root, tmp_path / "out")
        ((name, reason),) = report.failures
        assert name == "a.jpg"
        assert message.replace("\\", "") in reason
        assert report.written == 3

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("train: x\n", "has no list of `names`"),
            ("names: [", "is no YAML"),
            ("a: &a [x]\nnames: [*a, *a]\n", "has aliases"),
        ],
    )
    def test_no_data_yaml(self, tmp_path: Path, content: str, message: str) -> None:
        root = self.write(tmp_path / "yolo", "")
        (root / "data.yaml").write_text(content)
        with pytest.raises(DataError, match=message):
            read_labels(root / "data.yaml", format="yolo")

    def test_a_picture_turned_by_exif(self, tmp_path: Path) -> None:
        """Parts of the sides are those of the upright picture."""
        root = self.write(tmp_path / "yolo", "0 0 0 1 0 1 0.5 0 0.5\n")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", SIZE).save(root / "images" / "train" / "a.jpg", exif=exif)
        run(root, tmp_path / "out")
        drawn = mask(tmp_path / "out", "train/a")
        assert drawn.shape == (10, 8)
        assert drawn[:5].all()
        assert not drawn[5:].any()


class TestLabelMe:
    @staticmethod
    def write(folder: Path, *shapes: dict[str, Any], name: str = "a", **others: Any) -> Path:
        content = {
            "version": "5.5.0",
            "shapes": list(shapes),
            "imagePath": f"{name}.jpg",
            "imageData": None,
            "imageHeight": SIZE[1],
            "imageWidth": SIZE[0],
            **others,
        }
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))
        return folder

    @pytest.mark.parametrize(
        ("kind", "points"),
        [
            ("polygon", [[2, 1], [6, 1], [6, 4], [2, 4]]),
            ("rectangle", [[2, 1], [6, 4]]),
            ("rectangle", [[6, 4], [2, 1]]),
            ("rectangle", [[2, 1], [6, 1], [6, 4], [2, 4]]),
        ],
    )
    def test_shapes(self, tmp_path: Path, kind: str, points: list[list[float]]) -> None:
        shape = {"label": "part", "shape_type": kind, "points": points}
        folder = self.write(tmp_path / "in", shape)
        picture(folder / "a.jpg")
        picture(folder / "b.jpg")
        report = run(folder, tmp_path / "out")
        assert (report.format, report.written, report.unlisted) == ("labelme", 1, ["b.jpg"])
        np.testing.assert_array_equal(mask(tmp_path / "out"), square())

    def test_circles_masks_and_what_has_no_area(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8) * 255).save(buffer, "PNG")
        content = base64.b64encode(buffer.getvalue()).decode()
        folder = self.write(
            tmp_path / "in",
            {"label": "c", "shape_type": "circle", "points": [[2, 2], [2, 3.6]]},
            {"label": "m", "shape_type": "mask", "points": [[7, 5], [8, 6]], "mask": content},
            {"label": "l", "shape_type": "line", "points": [[0, 0], [9, 7]]},
            {"label": "_background_", "shape_type": "rectangle", "points": [[0, 0], [9, 7]]},
        )
        picture(folder / "a.jpg")
        report = run(folder, tmp_path / "out")
        expected = np.zeros((8, 10), np.uint8)
        expected[0:4, 1:3] = expected[1:3, 0:4] = 255
        expected[5, 8] = expected[6, 7:9] = 255
        np.testing.assert_array_equal(mask(tmp_path / "out"), expected)
        assert report.said == ["1 shapes are of the kind line, which has no area: left out"]

    def test_ignored_pixels(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = self.write(
            tmp_path / "in",
            {"label": "part", "shape_type": "rectangle", "points": [[2, 1], [6, 4]]},
            {"label": "__ignore__", "shape_type": "rectangle", "points": [[0, 0], [10, 2]]},
        )
        picture(folder / "a.jpg")
        assert main(["data", "import", str(folder), "--output", str(tmp_path / "out")]) == 0
        expected = square()
        expected[0:2][expected[0:2] == 0] = 128
        np.testing.assert_array_equal(mask(tmp_path / "out"), expected)
        assert "--ignore-value 128" in capsys.readouterr().out
        report = check_data(DataConfig(str(tmp_path / "out"), ignore_value="128"))
        assert report.of("error") == []

    def test_pictures_elsewhere_and_inside(self, tmp_path: Path) -> None:
        """LabelMe's paths lead out of its folder; without a picture it may hold one."""
        shape = {"label": "part", "points": [[2, 1], [6, 1], [6, 4], [2, 4]]}
        folder = self.write(tmp_path / "in", shape, imagePath="..\\images\\a.jpg")
        file = picture(tmp_path / "images" / "a.jpg")
        self.write(
            folder,
            shape,
            name="b",
            imagePath="../../etc/b.jpg",
            imageData=base64.b64encode(file.read_bytes()).decode(),
        )
        report = run(folder, tmp_path / "out", {"images": tmp_path / "images"})
        assert (report.written, report.failures) == (2, [])
        np.testing.assert_array_equal(mask(tmp_path / "out", "b"), square())
        assert (tmp_path / "out" / "images" / "b.jpg").read_bytes() == file.read_bytes()
        good(tmp_path / "out", 2)

    @pytest.mark.parametrize("name", ["a\0b\n.jpg", "..", "/", "x" * 300 + ".jpg"])
    def test_names_of_pictures_inside(self, tmp_path: Path, name: str) -> None:
        file = picture(tmp_path / "c.jpg")
        content = base64.b64encode(file.read_bytes()).decode()
        shape = {"label": "part", "points": [[2, 1], [6, 1], [6, 4], [2, 4]]}
        folder = self.write(tmp_path / "in", shape)
        picture(folder / "a.jpg")
        self.write(folder, shape, name="b", imagePath=name, imageData=content)
        report = run(folder, tmp_path / "deep" / "out")
        assert report.written == (1 if len(name) > 255 else 2)
        assert all("its name cannot be written" in reason for _, reason in report.failures)
        assert {p.name for p in (tmp_path / "deep").iterdir()} == {"out"}

    def test_broken_files_lose_their_picture_alone(self, tmp_path: Path) -> None:
        square_ = {"label": "part", "points": [[2, 1], [6, 1], [6, 4], [2, 4]]}
        folder = self.write(tmp_path / "in", square_)
        self.write(folder, {"label": "x", "shape_type": "spline", "points": [[1, 1]]}, name="b")
        self.write(folder, {"label": "x"}, name="c")
        (folder / "d.json").write_text('{"version": "5", "shapes": [{"la')
        for name in "abcd":
            picture(folder / f"{name}.jpg")
        report = run(folder, tmp_path / "out")
        assert report.written == 1
        reasons = [reason for _, reason in report.failures]
        assert "shape 1 is of the kind 'spline'" in reasons[0]
        assert "shape 1 lacks 'points'" in reasons[1]
        assert "is no JSON, or is cut off" in reasons[2]
        # a shape that cannot be drawn does not matter if its class is not wanted
        assert run(folder, tmp_path / "part", classes=["part"]).written == 2


class TestCvat:
    @staticmethod
    def write(root: Path, inner: str, name: str = "a.jpg") -> Path:
        picture(root / "images" / "a.jpg")
        (root / "annotations.xml").write_text(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>'
            "<task><labels><label><name>part</name></label><label><name>hole</name></label></labels>"
            f'</task></meta><image id="0" name="{name}" width="10" height="8">{inner}</image>'
            "</annotations>"
        )
        return root

    @pytest.mark.parametrize(
        "shape",
        [
            '<polygon label="part" points="2,1;6,1;6,4;2,4" z_order="0"/>',
            '<box label="part" xtl="2" ytl="1" xbr="6" ybr="4"/>',
            '<mask label="part" rle="1, 4, 1, 4, 1, 4" left="1" top="1" width="5" height="3"/>',
            '<box label="part" xtl="2.5" ytl="0.5" xbr="5.5" ybr="4.5" rotation="90"/>',
        ],
    )
    def test_shapes(self, tmp_path: Path, shape: str) -> None:
        root = self.write(tmp_path / "in", shape + '<points label="hole" points="1,1"/>')
        report = run(root, tmp_path / "out")
        assert (report.format, report.written, report.failures) == ("cvat", 1, [])
        np.testing.assert_array_equal(mask(tmp_path / "out"), square())
        assert "1 shapes are of the kind points" in report.said[0]

    def test_order(self, tmp_path: Path) -> None:
        """What lies higher is on top, whatever its area."""
        small = '<box label="hole" xtl="3" ytl="2" xbr="5" ybr="3" z_order="0"/>'
        large = '<box label="part" xtl="2" ytl="1" xbr="6" ybr="4" z_order="{}"/>'
        for order, count in ((0, 2), (1, 0)):
            root = self.write(tmp_path / f"in{order}", small + large.format(order))
            run(root, tmp_path / f"out{order}", by_class=True)
            drawn = mask(tmp_path / f"out{order}")
            assert ((drawn == 2).sum(), (drawn == 1).sum()) == (count, 12 - count)

    def test_an_ellipse(self, tmp_path: Path) -> None:
        root = self.write(
            tmp_path / "in", '<ellipse label="part" cx="2" cy="2" rx="1.6" ry="1.6"/>'
        )
        run(root, tmp_path / "out")
        assert (mask(tmp_path / "out") == 255).sum() == 12

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("<annotations><track id='0'/></annotations>", "the tracks of a video"),
            ("<annotations></annotations>", "has no <image>"),
            ("<annotations><image name='a.jpg'", "is no XML, or is cut off"),
            (
                '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><annotations>&z;</annotations>',
                "declares a document type or entities",
            ),
            (
                '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;'
                "</annotations>",
                "declares a document type or entities",
            ),
        ],
    )
    def test_no_labels(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "x.xml").write_text(content)
        with pytest.raises(DataError, match=message):
            read_labels(tmp_path / "x.xml", format="cvat")

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ('<polygon points="1,2"/>', "lacks 'label'"),
            ('<polygon label="part" points="1,2;x"/>', "shape 1 is not as it should be"),
            ('<mask label="part" rle="3" left="0" top="0" width="2" height="2"/>', "of 3 pixels"),
            ('<blob label="part"/>', "of the kind 'blob'"),
        ],
    )
    def test_broken_shapes(self, tmp_path: Path, shape: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            run(self.write(tmp_path / "in", shape), tmp_path / "out")


class TestVoc:
    @staticmethod
    def write(root: Path, values: np.ndarray, *, colours: bool = False) -> Path:
        for name in ("a", "b"):
            picture(root / "JPEGImages" / f"{name}.jpg")
        drawn = Image.fromarray(values).convert("P")
        palette = np.zeros((256, 3), np.uint8)
        palette[1], palette[8], palette[255] = (128, 0, 0), (64, 0, 0), (224, 224, 192)
        drawn = Image.fromarray(values, "L")
        drawn.putpalette(palette.ravel().tolist())
        (root / "SegmentationClass").mkdir()
        (drawn.convert("RGB") if colours else drawn).save(root / "SegmentationClass" / "a.png")
        return root

    @pytest.mark.parametrize("colours", [False, True])
    def test_indices_and_colours(self, tmp_path: Path, colours: bool) -> None:
        values = square(8)
        values[4, 2:6], values[6, 6:8] = 255, 1
        root = self.write(tmp_path / "VOC2012", values, colours=colours)
        report = run(tmp_path, tmp_path / "out")
        assert (report.format, report.written, report.ignored) == ("voc", 1, 1)
        assert report.unlisted == ["b.jpg"]
        expected = np.where(np.isin(values, (1, 8)), 255, 0)
        expected[4, 2:6] = 128
        np.testing.assert_array_equal(mask(tmp_path / "out"), expected)
        report = run(root, tmp_path / "cats", classes=["cat"])
        assert (mask(tmp_path / "cats") == 255).sum() == 12
        assert report.complete
        assert "no mask holds" in run(root, tmp_path / "dogs", classes=["dog"]).unclear
        run(root, tmp_path / "numbers", by_class=True)
        np.testing.assert_array_equal(mask(tmp_path / "numbers"), values)

    def test_a_label_map(self, tmp_path: Path) -> None:
        """As CVAT writes it beside coloured masks."""
        colours = np.zeros((8, 10, 3), np.uint8)
        colours[1:4, 2:6] = 250, 50, 83
        colours[5:6, 0:3] = 51, 221, 255
        root = tmp_path / "in"
        picture(root / "JPEGImages" / "a.jpg")
        write_mask(root / "SegmentationClass" / "a.png", colours)
        table = "# label:color_rgb:parts:actions\nbackground:0,0,0::\npart:250,50,83::\n"
        (root / "labelmap.txt").write_text(table + "hole:51,221,255::\n")
        run(root, root / "out")
        assert (mask(root / "out") == 255).sum() == 12 + 3
        assert run(root, root / "out").skipped == 1
        run(root, tmp_path / "parts", {"images": root / "JPEGImages"}, classes=["part"])
        np.testing.assert_array_equal(mask(tmp_path / "parts"), square())
        (root / "labelmap.txt").write_text("part=250")
        with pytest.raises(DataError, match="line 1 is 'part=250', but needs name:red,green,blue"):
            read_labels(root, format="voc")

    def test_xml(self, tmp_path: Path) -> None:
        """Pixels are counted from 1, and corners are their middles."""
        picture(tmp_path / "a.jpg")
        corners = "".join(
            f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>"
            for i, (x, y) in enumerate(((2.5, 1.5), (6.5, 1.5), (6.5, 4.5), (2.5, 4.5)), 1)
        )
        labels = (
            "<annotation><filename>a.jpg</filename><object><name>part</name><polygon>"
            f"{corners}</polygon></object></annotation>"
        )
        (tmp_path / "a.xml").write_text(labels)
        assert run(tmp_path, tmp_path / "out").format == "voc"
        np.testing.assert_array_equal(mask(tmp_path / "out"), square())
        (tmp_path / "a.xml").write_text(labels.replace("polygon", "bndbox"))
        with pytest.raises(DataError, match="object 1 is a box, of which no mask can be made"):
            run(tmp_path, tmp_path / "boxes", {"format": "voc"})


class TestFolders:
    def test_mvtec(self, tmp_path: Path) -> None:
        root = tmp_path / "mvtec" / "bottle"
        for place in ("train/good/000", "test/good/000", "test/crack/000", "test/crack/001"):
            picture(root / f"{place}.png")
        write_mask(root / "ground_truth" / "crack" / "000_mask.png", square())
        for source in (root, root.parent):
            within = "" if source == root else "bottle/"
            output = tmp_path / f"out-{source.name}"
            report = run(source, output)
            assert (report.format, report.written) == ("mvtec", 3)
            ((name, reason),) = report.failures
            assert name == "001.png"
            assert reason.endswith("crack has no mask of it")
            np.testing.assert_array_equal(mask(output, f"{within}crack/test_000"), square())
            assert not mask(output, f"{within}good/train_000").any()
            good(output, 3)
        with pytest.raises(DataError, match="no class 'crac'; did you mean crack"):
            run(root, tmp_path / "x", classes=["crac"])

    def test_classes_with_pairs(self, tmp_path: Path) -> None:
        """As of breast ultrasound: a folder for each class, masks beside the images."""
        root = tmp_path / "in"
        for kind in ("benign", "malignant"):
            for name in ("1", "2", "3"):
                picture(root / kind / f"{kind} ({name}).png")
                write_mask(root / kind / f"{kind} ({name})_mask.png", square())
        report = run(root, tmp_path / "out")
        assert (report.format, report.written, report.failures) == ("folders", 6, [])
        np.testing.assert_array_equal(mask(tmp_path / "out", "benign/benign (2)"), square())
        good(tmp_path / "out", 6)
        assert run(root, root / "imported").written == run(root, root / "imported").skipped == 6
        run(root, tmp_path / "one", classes=["malignant"])
        assert not mask(tmp_path / "one", "benign/benign (2)").any()
        assert mask(tmp_path / "one", "malignant/malignant (2)").any()
        run(root, tmp_path / "numbers", by_class=True)
        assert mask(tmp_path / "numbers", "malignant/malignant (2)").max() == 2

    def test_masks_by_class(self, tmp_path: Path) -> None:
        root = tmp_path / "in"
        for name in "abc":
            picture(root / "images" / f"{name}.jpg")
        write_mask(root / "masks" / "crack" / "a.png", square())
        write_mask(root / "masks" / "dent" / "a.png", np.roll(square(), 4, axis=1))
        write_mask(root / "masks" / "dent" / "b.png", square())
        report = run(root, tmp_path / "out", {"missing_masks": "empty"})
        assert (report.format, report.written, report.failures) == ("folders", 3, [])
        assert (mask(tmp_path / "out") == 255).sum() == 24
        assert not mask(tmp_path / "out", "c").any()
        report = run(root, tmp_path / "strict")
        assert [name for name, _ in report.failures] == ["c.jpg"]
        run(root, tmp_path / "cracks", classes=["crack"])
        np.testing.assert_array_equal(mask(tmp_path / "cracks"), square())

    @pytest.mark.parametrize(
        ("image", "label"),
        [
            ("img/{}.jpg", "label/{}.png"),
            ("train_images/{}.jpg", "train_masks/{}_mask.png"),
            ("{}.jpg", "gt/{}.png"),
            ("images/{}.jpg", "masks/{}.png"),
            ("{}.png", "{}_mask.png"),
        ],
    )
    def test_layouts_of_masks(self, tmp_path: Path, image: str, label: str) -> None:
        root = tmp_path / "in"
        for name in ("a", "b", "c"):
            picture(root / image.format(name))
            write_mask(root / label.format(name), square())
        report = run(root, tmp_path / "out")
        assert (report.format, report.written, report.failures) == ("masks", 3, [])
        np.testing.assert_array_equal(mask(tmp_path / "out", "b"), square())
        good(tmp_path / "out", 3)

    def test_parts(self, tmp_path: Path) -> None:
        root = tmp_path / "in"
        for part in ("train", "valid", "test"):
            for name in ("a", "b"):
                picture(root / part / "img" / f"{name}.jpg")
                write_mask(root / part / "label" / f"{name}.png", square())
        report = run(root, tmp_path / "out")
        assert (report.written, report.failures) == (6, [])
        good(tmp_path / "out", 2, 2)

    def test_values(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Class numbers are told, never guessed."""
        root = tmp_path / "in"
        for name in "ab":
            picture(root / "images" / f"{name}.jpg")
            values = square(3)
            values[6, :4] = 7
            write_mask(root / "masks" / f"{name}.png", values)
        with pytest.raises(DataError, match="`classes`"):
            run(root, tmp_path / "out")
        run(root, tmp_path / "threes", classes=["3"])
        np.testing.assert_array_equal(mask(tmp_path / "threes"), square())
        run(root, tmp_path / "both", classes=["3", "7"])
        assert (mask(tmp_path / "both") == 255).sum() == 16
        flags = ["--output", str(tmp_path / "fives"), "--classes", "5"]
        assert main(["data", "import", str(root), *flags]) == 1
        assert "no mask holds 5, which --classes names; they hold 0" in capsys.readouterr().err
        with pytest.raises(ConfigError, match="by_class is for labels with names of classes"):
            run(root, tmp_path / "x", by_class=True)

    def test_masks_that_are_missing_or_of_another_size(self, tmp_path: Path) -> None:
        root = tmp_path / "in"
        for name in "abcd":
            picture(root / "img" / f"{name}.jpg")
        for name in "abe":
            write_mask(root / "gt" / f"{name}.png", square())
        write_mask(root / "gt" / "c.png", np.zeros((3, 3), np.uint8))
        report = run(root, tmp_path / "out")
        assert (report.written, report.lost) == (2, 1)
        assert "but its mask" in dict(report.failures)["c"]
        assert any("has no mask" in reason for _, reason in report.failures)


class TestPackages:
    """Without the extra `labels` one line says what is missing; masks that are files need none."""

    def test_polygons(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pycocotools", None)
        folder = TestLabelMe.write(
            tmp_path / "in", {"label": "part", "points": [[2, 1], [6, 1], [6, 4], [2, 4]]}
        )
        picture(folder / "a.jpg")
        with pytest.raises(
            MissingPackageError, match=r"pycocotools; pip install 'dsunet\[labels\]'"
        ):
            run(folder, tmp_path / "out")

    def test_xml(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "defusedxml", None)
        root = TestCvat.write(tmp_path / "in", "")
        with pytest.raises(
            MissingPackageError, match=r"defusedxml; pip install 'dsunet\[labels\]'"
        ):
            run(root, tmp_path / "out")

    def test_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for package in ("pycocotools", "defusedxml"):
            monkeypatch.setitem(sys.modules, package, None)
        picture(tmp_path / "in" / "img" / "a.jpg")
        write_mask(tmp_path / "in" / "gt" / "a.png", square())
        assert run(tmp_path / "in", tmp_path / "out").written == 1


class TestFormat:
    def test_unknown_and_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="needs one of auto, coco, .*; did you mean coco"):
            read_labels(tmp_path, format="cocoa")
        with pytest.raises(DataError, match=r"has no \.json file"):
            read_labels(tmp_path, format="coco")
        (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
        with pytest.raises(DataError, match="it is a zip archive; unpack it"):
            read_labels(tmp_path / "x.zip")
        with pytest.raises(ConfigError, match="is a file, but the format mvtec needs a folder"):
            read_labels(tmp_path / "x.zip", format="mvtec")

    def test_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = TestLabelMe.write(
            tmp_path / "in", {"label": "part", "points": [[2, 1], [6, 1], [6, 4], [2, 4]]}
        )
        picture(folder / "a.jpg")
        output = tmp_path / "out"
        flags = ["data", "import", str(folder), "--output", str(output)]
        assert main([*flags, "--by-class"]) == 0
        said = capsys.readouterr().out
        assert (
            f"look at them: dsunet data check {output} --class-table {output}/classes.csv" in said
        )
        assert main([*flags, "--classes", ","]) == 1
        assert "--classes names none" in capsys.readouterr().err


def test_labels_of_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(DataError, match=r"annotations\.json names no picture; export it again"):
        read_labels(file)
