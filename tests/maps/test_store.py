"""The store of maps on disk, and its keys."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from cached import KIND
from dsunet.config import model_config
from dsunet.data.pairing import find_pairs
from dsunet.data.pairs import Pair
from dsunet.errors import OutputError
from dsunet.maps.store import FeatureStore, content_key, flip_number

MAPS = (np.arange(12, dtype=np.float16).reshape(3, 2, 2), np.full((1, 4, 1), 0.5, np.float16))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", KIND)
    assert store.add([b"a" * 32, b"b" * 32, b"a" * 32]) == {b"a" * 32: 0, b"b" * 32: 1}
    assert store.read((1, 3)) is None
    store.write((1, 3), MAPS)
    again = FeatureStore(tmp_path / "s")
    assert again.kind == KIND
    maps = again.read((1, 3))
    assert maps is not None
    for expected, actual in zip(MAPS, maps, strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert actual.dtype == np.float16
    assert again.read((1, 2)) is None
    assert again.facts()["records"] == 1
    # more images: the numbers of the first ones stay, and so do their maps
    assert again.add([b"c" * 32, b"b" * 32])[b"c" * 32] == 2
    assert again.read((1, 3)) is not None
    assert again.read((2, 0)) is None
    assert pickle.loads(pickle.dumps(again)).read((1, 3)) is not None


def test_bytes_by_hand() -> None:
    """12 + 4 values of two bytes; the paper's model: 1024×11×11 in float16, about 1 MB an image."""
    assert KIND.record_bytes == 32
    with torch.device("meta"):
        shapes = dsunet.network.build.build_model(model_config("dsunet-large")).semantic_shapes()
    assert shapes == [(1024, 11, 11)]
    assert 4 * 2 * 1024 * 11 * 11 == 991_232


def test_a_broken_record_counts_as_absent(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", KIND)
    store.add([bytes(32), b"b" * 32])
    for place in ((0, 0), (0, 1), (1, 0)):
        store.write(place, MAPS)
    with open(tmp_path / "s" / "features.bin", "r+b") as file:
        file.seek(32 + 5)
        file.write(b"\xff")
    store = FeatureStore(tmp_path / "s")
    assert store.read((0, 1)) is None
    assert store.read((0, 0)) is not None
    assert store.verify() == (2, 1)
    assert FeatureStore(tmp_path / "s").verify() == (2, 0)
    store.write((0, 1), MAPS)
    assert FeatureStore(tmp_path / "s").verify() == (3, 0)


def test_a_kill_while_images_are_added(tmp_path: Path) -> None:
    """Part of a key at the end, and files that have grown already."""
    store = FeatureStore.open(tmp_path / "s", KIND)
    store.add([b"a" * 32])
    store.write((0, 2), MAPS)
    with open(tmp_path / "s" / "keys.bin", "ab") as file:
        file.write(b"b" * 20)
    with open(tmp_path / "s" / "features.bin", "ab") as file:
        file.truncate(1000)
    store = FeatureStore.open(tmp_path / "s", KIND)
    assert store.add([b"c" * 32]) == {b"a" * 32: 0, b"c" * 32: 1}
    assert store.read((0, 2)) is not None
    assert store.read((1, 0)) is None


def test_a_record_of_another_image_counts_as_absent(tmp_path: Path) -> None:
    """The file of the keys is lost, or two processes added to it where locks do not work."""
    store = FeatureStore.open(tmp_path / "s", KIND)
    store.add([b"a" * 32, b"b" * 32])
    store.write((0, 0), MAPS)
    (tmp_path / "s" / "keys.bin").unlink()
    other = FeatureStore.open(tmp_path / "s", KIND)
    assert other.add([b"c" * 32]) == {b"c" * 32: 0}
    assert other.read((0, 0)) is None
    other.write((0, 0), [m + 1 for m in MAPS])
    maps = other.read((0, 0))
    assert maps is not None
    np.testing.assert_array_equal(maps[0], MAPS[0] + 1)
    # to the first one, number 0 is image a still, in its loaders' processes, too
    assert store.read((0, 0)) is None
    assert pickle.loads(pickle.dumps(store)).read((0, 0)) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_says_which_file(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", KIND)
    store.add([b"a" * 32])
    (tmp_path / "s" / "features.bin").unlink()
    (tmp_path / "s" / "features.bin").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left.*features.bin"):
        store.write((0, 0), MAPS)
    assert not store.has((0, 0))


def test_many_writers(tmp_path: Path) -> None:
    """Each adds its own images and some that all share, and writes their maps."""
    FeatureStore.open(tmp_path / "s", KIND)

    def write(worker: int) -> None:
        store = FeatureStore(tmp_path / "s")
        for i in range(5):
            own, shared = bytes([worker, i] * 16), bytes([200, i] * 16)
            numbers = store.add([own, shared])
            for key in (own, shared):
                store.write((numbers[key], i % 4), [m + key[0] for m in MAPS])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    store = FeatureStore(tmp_path / "s")
    keys = store.keys()
    assert len(keys) == len(set(keys)) == 8 * 5 + 5
    for number, key in enumerate(keys):
        maps = store.read((number, key[1] % 4))
        assert maps is not None
        np.testing.assert_array_equal(maps[0], MAPS[0] + key[0])


def test_stores_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(OutputError, match="no feature store"):
        FeatureStore(tmp_path / "s")
    (tmp_path / "s" / "about.json").write_text("{")
    with pytest.raises(OutputError, match="remove that folder"):
        FeatureStore.open(tmp_path / "s", KIND)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        FeatureStore.open(tmp_path / "file" / "s", KIND)


def test_keys_follow_the_content(pictures: Path, tmp_path: Path) -> None:
    pair = find_pairs(pictures)[0]
    key = content_key(pair)
    shutil.copy(pair.image, tmp_path / "elsewhere.png")
    assert content_key(Pair("other", tmp_path / "elsewhere.png", pair.mask)) == key
    assert content_key(find_pairs(pictures)[1]) != key
    assert len(key) == 32


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_keys_tell_orientations_apart(tmp_path: Path, kind: str) -> None:
    """One file, whose mask was drawn on it upright or as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "image", kind, exif=exif)
    keys = []
    for name, size in (("upright", (20, 30)), ("stored", (30, 20))):
        Image.new("L", size, 255).save(tmp_path / f"{name}.png")
        keys.append(content_key(Pair(name, tmp_path / "image", tmp_path / f"{name}.png")))
    assert keys[0] != keys[1]


def test_drafts_of_jpegs_have_keys_of_their_own(pictures: Path, tmp_path: Path) -> None:
    pair = find_pairs(pictures)[0]
    assert pair.image.suffix == ".jpg"
    assert len({content_key(pair), content_key(pair, 128), content_key(pair, 256)}) == 3
    png = Pair("png", tmp_path / "image.png", pair.mask)
    Image.open(pair.image).save(png.image)
    assert content_key(png) == content_key(png, 128)


def test_flip_numbers() -> None:
    assert [flip_number(axes) for axes in ([], [-1], [-2], [-1, -2])] == [0, 1, 2, 3]
