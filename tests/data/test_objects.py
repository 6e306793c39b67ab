"""Objects that are too small for the network's view are counted, by hand here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig
from dsunet.config.tiling import Tiling
from dsunet.data.checks.look import check_data, check_split
from dsunet.data.checks.objects import Objects, count_objects, describe_lost
from dsunet.data.split import split_data
from dsunet.data.views import mask_view

SOURCE = Path("a.png")


def drawn(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    """A mask of (height, width) with boxes of rows and columns."""
    mask = np.zeros(size, np.uint8)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 255
    return Image.fromarray(mask)


def counted(mask: Image.Image, view: tuple[int, int]) -> tuple[int, int]:
    found = count_objects(SOURCE, mask, view)
    return found.count, found.lost


class TestCount:
    def test_large_objects_stay(self) -> None:
        mask = drawn((640, 640), (100, 100, 200, 220), (400, 400, 440, 440))
        assert counted(mask, (64, 64)) == (2, 0)

    def test_small_ones_vanish(self) -> None:
        """A pixel of the view is 10×10 px of the mask."""
        mask = drawn((640, 640), (100, 100, 200, 220), (403, 403, 409, 409), (500, 20, 503, 24))
        assert counted(mask, (64, 64)) == (3, 2)
        found = count_objects(SOURCE, mask, (64, 64))
        assert found.smallest == (4, 3)

    def test_smaller_than_a_pixel_is_lost_wherever_it_lies(self) -> None:
        """Though by chance one leaves a pixel that is more than half object."""
        mask = drawn((640, 640), (400, 400, 409, 409))
        assert float(mask_view(mask, (64, 64)).max()) > 0.5
        assert counted(mask, (64, 64)) == (1, 1)
        assert counted(drawn((640, 640), (400, 400, 410, 410)), (64, 64)) == (1, 0)

    def test_thin_ones_vanish_however_long(self) -> None:
        assert counted(drawn((640, 640), (303, 20, 305, 600)), (64, 64)) == (1, 1)
        assert counted(drawn((640, 640), (300, 20, 310, 600)), (64, 64)) == (1, 0)

    def test_nothing_vanishes_where_nothing_shrinks(self) -> None:
        mask = drawn((60, 64), (10, 10, 11, 11), (30, 30, 31, 31))
        assert counted(mask, (64, 64)) == (2, 0)

    def test_pixels_that_touch_at_a_corner_are_one_object(self) -> None:
        assert counted(drawn((64, 64), (10, 10, 12, 12), (12, 12, 14, 14)), (64, 64)) == (1, 0)

    def test_no_object(self) -> None:
        assert counted(drawn((640, 640)), (64, 64)) == (0, 0)

    @pytest.mark.parametrize("view", [(64, 64), (64, 96)])
    def test_the_named_view_keeps_them(self, view: tuple[int, int]) -> None:
        mask = drawn((900, 1200), (300, 300, 309, 311), (601, 707, 608, 717), (10, 10, 200, 200))
        found = count_objects(SOURCE, mask, view)
        assert found.lost == 2
        height, width = (round(found.side * each / max(view) / 32) * 32 for each in view)
        assert max(height, width) == found.side
        assert counted(mask, (height, width)) == (3, 0)
        smaller = tuple(round((found.side - 32) * each / max(view) / 32) * 32 for each in view)
        assert counted(mask, (smaller[0], smaller[1]))[1] > 0

    def test_no_view_keeps_single_pixels_of_a_large_picture(self) -> None:
        found = count_objects(SOURCE, drawn((3000, 3000), (7, 7, 8, 8)), (64, 64))
        assert (found.lost, found.side) == (1, 0)


class TestReport:
    def test_in_one_line(self) -> None:
        found = [
            Objects(Path("x/a.png"), 5, 2, (3, 4), 480),
            Objects(Path("x/b.png"), 1, 0, (0, 0), 352),
            Objects(Path("x/c.png"), 1, 1, (6, 6), 640),
        ]
        assert describe_lost(found, (352, 352)) == (
            "3 of 7 objects in 2 of 3 pictures leave less than a pixel in a view of 352×352 px "
            "(a.png: 3×4 px, c.png: 6×6 px): a view of 640 px keeps them (`sam_size`), or cut the "
            "pictures into tiles (`tile`)"
        )
        assert describe_lost(found[1:2], (352, 352)) == ""
        hopeless = describe_lost([Objects(Path("a.png"), 1, 1, (1, 1), 0)], (352, 352))
        assert hopeless.endswith("(a.png: 1×1 px): cut the pictures into tiles (`tile`)")
        tiled = describe_lost(found[2:], (352, 352), Tiling(640))
        assert tiled.endswith("(c.png: 6×6 px): smaller tiles than of 640 px keep them (`tile`)")

    def test_objects_that_tiles_show_are_not_lost(self, folder: Path) -> None:
        for kind, content in (("images", "RGB"), ("masks", "L")):
            Image.new(content, (1280, 640)).save(folder / kind / "large.png")
        mask = Image.new("L", (1280, 640))
        mask.paste(255, (700, 300, 705, 305))
        mask.save(folder / "masks" / "large.png")
        split = split_data(DataConfig(str(folder)), 0)
        for tiling, lost in ((None, True), (Tiling(640), True), (Tiling(200), False)):
            report = check_split(split, view=(64, 64), tiling=tiling)
            assert bool(report.of("warning")) == lost

    def test_the_check_says_it(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for kind, content in (("images", "RGB"), ("masks", "L")):
            picture = Image.new(content, (640, 640))
            if content == "L":
                picture.paste(255, (100, 100, 103, 103))
            picture.save(folder / kind / "tiny.png")
        assert main(["data", "check", str(folder), "--sam-size", "128"]) == 0
        said = capsys.readouterr().out
        assert "warning: objects are too small for the network's view" in said
        assert (
            "1 of 7 objects in 1 of 7 pictures leave less than a pixel in a view of 128×128 px"
            in said
        )
        assert "a view of 224 px keeps them (--sam-size)" in said
        assert main(["data", "check", str(folder), "--sam-size", "224"]) == 0
        assert "too small" not in capsys.readouterr().out
        assert main(["data", "check", str(folder), "--sam-size", "128", "--check", "headers"]) == 0
        assert "too small" not in capsys.readouterr().out

    def test_the_field_case(self, field_cases: Path) -> None:
        config = DataConfig(str(field_cases / "tiny-object"))
        (found,) = check_data(config, view=(352, 352)).of("warning")
        assert "1 of 1 objects in 1 of 1 pictures" in found.detail
        assert "a view of 448 px keeps them" in found.detail
        assert not check_data(config, view=(448, 448)).of("warning")
