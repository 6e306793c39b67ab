"""What data are like: by hand-made pictures whose facts are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.config import DataConfig
from dsunet.data.pairs import Pair
from dsunet.data.split import split_data
from dsunet.errors import DataError
from dsunet.planning.facts import Lean, Seen, facts_of, lean_of
from dsunet.planning.gathering import gather, look, sampled

SEEN = Seen(
    height=100,
    width=200,
    grey=False,
    deep=False,
    camera=False,
    light=(3.0, 0.0),
    place=(0.1, -0.1),
    share=0.2,
    objects=(0.05, 0.5),
)


def write_pair(folder: Path, name: str, *, colour: bool = False, exif: bool = False) -> Pair:
    """60×40 px, lighter above; objects of 10×5 px below the middle and of 4×4 px at the left."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    pixels = np.full((40, 60, 3), 100, np.uint8)
    pixels[:20] += 50
    if colour:
        pixels[:, :, 0] += 40
    mask = np.zeros((40, 60), np.uint8)
    mask[30:35, 40:50] = 255
    mask[18:22, 0:4] = 255
    tags = Image.Exif()
    if exif:
        tags[271] = "Maker"
    image, truth = folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"
    Image.fromarray(pixels).save(image, exif=tags)
    Image.fromarray(mask).save(truth)
    return Pair(name, image, truth)


def test_what_is_seen_of_a_pair(tmp_path: Path) -> None:
    seen = look(write_pair(tmp_path, "a"))
    assert (seen.height, seen.width, seen.grey, seen.deep, seen.camera) == (
        40,
        60,
        True,
        False,
        False,
    )
    assert seen.light[0] == pytest.approx(50, abs=2)  # antialiasing mixes the rows in the middle
    assert seen.light[1] == 0
    # 50 pixels around row 32, column 44.5, and 16 around row 19.5, column 1.5
    down, right = (50 * 32 + 16 * 19.5) / 66, (50 * 44.5 + 16 * 1.5) / 66
    assert seen.place == pytest.approx(((down + 0.5) / 40 - 0.5, (right + 0.5) / 60 - 0.5))
    assert seen.share == pytest.approx(66 / 2400)
    assert sorted(seen.objects) == pytest.approx([4 / 40, 10 / 60])
    other = look(write_pair(tmp_path, "b", colour=True, exif=True))
    assert not other.grey
    assert other.camera


def test_the_sign_test() -> None:
    assert lean_of([1, 2, -1, 0]) == Lean(3, 2)
    assert Lean(100, 60).z == pytest.approx(2.0)
    assert Lean(100, 40).z == pytest.approx(-2.0)
    assert Lean(0, 0).z == 0


def test_facts_by_hand() -> None:
    empty = replace(SEEN, place=None, share=0.0, objects=(), grey=True, height=300, width=100)
    facts = facts_of([SEEN, SEEN, empty, SEEN], pairs=9, validation=2)
    assert (facts.pairs, facts.validation, facts.looked_at) == (9, 2, 4)
    assert (facts.height, facts.width) == (100, 200)
    assert facts.longest_side == pytest.approx(270)  # 0.7 of the way from 200 to 300
    assert (facts.grey, facts.empty, facts.share, facts.per_picture) == (0.25, 0.25, 0.2, 2)
    assert facts.objects == (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)
    assert facts.light == (Lean(4, 4), Lean(0, 0))
    assert facts.place == (Lean(3, 3), Lean(3, 0))
    assert facts.tiny(256, 16) == 0.5  # 0.05 · 256 = 12.8
    assert facts.tiny(320, 16) == 0.0  # just 16


def test_a_broken_picture_is_told_of(tmp_path: Path) -> None:
    for name in "abc":
        write_pair(tmp_path, name)
    (tmp_path / "images" / "b.png").write_bytes(b"nothing")
    facts = gather(split_data(DataConfig(str(tmp_path)), 0))
    assert facts.looked_at == 2
    assert len(facts.broken) == 1
    assert "b.png" in facts.broken[0]
    for name in "ac":
        (tmp_path / "images" / f"{name}.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not one of 3 pairs can be read"):
        gather(split_data(DataConfig(str(tmp_path)), 0))


def test_a_sample_is_always_the_same(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "a")
    many = [replace(pair, name=str(i)) for i in range(50)]
    first = sampled(many, 5, seed=1)
    assert first == sampled(many, 5, seed=1)
    assert len(first) == 5
    assert first != sampled(many, 5, seed=2)
    assert sampled(many, 60, seed=1) == many
