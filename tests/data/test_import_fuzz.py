"""Whatever stands in a file of labels, importing it ends well or with one line."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dsunet.data.labels.formats import read_labels
from dsunet.data.labels.importing import import_labels
from dsunet.errors import DsunetError

pytest.importorskip("pycocotools", reason="it draws the polygons: pip install 'dsunet[labels]'")
pytest.importorskip("defusedxml", reason="it reads XML: pip install 'dsunet[labels]'")

COCO = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 10, "height": 8},
        {"id": 2, "file_name": "b.jpg"},
    ],
    "categories": [{"id": 1, "name": "p"}, {"id": 2, "name": "q"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]},
        {
            "id": 2,
            "image_id": 2,
            "category_id": 2,
            "segmentation": {"counts": [10, 20, 50], "size": [8, 10]},
            "iscrowd": 1,
        },
    ],
}
LABELME = {
    "shapes": [
        {"label": "p", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"},
        {"label": "p", "points": [[1, 1], [5, 1]], "shape_type": "rectangle"},
        {"label": "c", "points": [[1, 1], [5, 1]], "shape_type": "circle"},
        {"label": "m", "points": [[1, 1], [5, 1]], "shape_type": "mask", "mask": "aGVsbG8="},
    ],
    "imagePath": "a.jpg",
    "imageData": None,
    "imageHeight": 8,
    "imageWidth": 10,
}
CVAT = (
    "<annotations><meta><task><labels><label><name>p</name></label></labels></task></meta>"
    '<image id="0" name="a.jpg" width="10" height="8"><polygon label="p" points="1,1;5,1;5,5"/>'
    '<box label="p" xtl="1" ytl="1" xbr="3" ybr="3" rotation="20"/>'
    '<mask label="p" rle="1,2,3" left="1" top="1" width="3" height="2"/></image></annotations>'
)
YOLO = "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.1 0.2 0.3 0.3\n"

JUNK: list[Any] = [
    *(None, True, -1, 0, 1e300, float("nan"), float("inf"), 10**30),
    *("", "x", "../../x", "\0", "é" * 5, [], [[]], {}, {"a": 1}, [1, 2], [None]),
]


def changed(content: Any, chance: random.Random) -> Any:
    """With one to three values somewhere in it that do not belong there, or are lacking."""
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        node, place = content, None
        while isinstance(node, dict | list) and node:
            key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
            place, node = (node, key), node[key]
            if chance.random() < 0.25:
                break
        if place is not None and chance.random() < 0.2:
            del place[0][place[1]]
        elif place is not None:
            place[0][place[1]] = copy.deepcopy(chance.choice(JUNK))
    return content


def garbled(text: str, chance: random.Random) -> str:
    letters = list(text)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(letters))
        letters[at] = chance.choice(
            ["", "-", "<", ">", "&x;", "9" * 12, "nan", "\0", "é", " ", '"']
        )
    return "".join(letters)


@pytest.mark.parametrize("kind", ["coco", "labelme", "cvat", "yolo"])
def test_nothing_else_than_one_line(kind: str, tmp_path: Path) -> None:
    chance = random.Random(kind)
    source, output = tmp_path / "in", tmp_path / "out"
    (source / "labels").mkdir(parents=True)
    (source / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (10, 8)).save(source / "images" / f"{name}.jpg")
    for number in range(120):
        if kind == "cvat":
            (source / "x.xml").write_text(garbled(CVAT, chance))
        elif kind == "yolo":
            (source / "data.yaml").write_text(garbled("names: [p, q]\n", chance))
            (source / "labels" / "a.txt").write_text(garbled(YOLO, chance))
        else:
            content = changed(COCO if kind == "coco" else LABELME, chance)
            (source / "x.json").write_text(json.dumps(content))
        with contextlib.suppress(DsunetError):
            found = read_labels(source, format=kind, output=output)
            report = import_labels(found, output, by_class=number % 3 == 0)
            assert report.written + len(report.failures) == len(found.pictures)
        shutil.rmtree(output, ignore_errors=True)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
