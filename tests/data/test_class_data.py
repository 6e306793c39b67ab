"""Masks of several classes: index pictures, colours with a table, a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsunet.config import ClassReading, DataConfig
from dsunet.data.checks.look import check_split
from dsunet.data.class_masks import index_of
from dsunet.data.class_tables import class_reading, classes_in, reading_of_classes
from dsunet.data.dataset import PairDataset
from dsunet.data.images import decode
from dsunet.data.pairs import Pair, read_classes, read_pair
from dsunet.data.sources import ClassMasks, content_stamp, content_sum
from dsunet.data.split import split_data
from dsunet.errors import ConfigError, DataError, ImageError

NAMES = ("In", "Pa", "Sc")
INDEX = np.array([[0, 1, 1, 2], [0, 3, 255, 2], [0, 0, 255, 2]], np.uint8)
COLOURS = {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255), 255: (224, 224, 192)}


def as_palette(index: np.ndarray, palette: dict[int, tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(index, "P")
    values = np.zeros((256, 3), np.uint8)
    for number, colour in palette.items():
        values[number] = colour
    image.putpalette(values.tobytes())
    return image


def as_colours(index: np.ndarray) -> Image.Image:
    return Image.fromarray(np.array([[COLOURS[v] for v in row] for row in index], np.uint8))


def read(image: Image.Image, path: Path, reading: ClassReading) -> tuple[np.ndarray, np.ndarray]:
    """The index of the classes, and what is ignored."""
    image.save(path)
    labels = decode(path).as_classes(reading)
    ignored = np.zeros(INDEX.shape, bool)
    if labels.ignored is not None:
        ignored = np.asarray(labels.ignored) == 255
    return index_of(np.stack([np.asarray(mask) for mask in labels.masks])), ignored


EXPECTED = np.where(INDEX == 255, 0, INDEX)


@pytest.mark.parametrize(
    "made",
    [
        Image.fromarray,
        lambda index: as_palette(index, COLOURS),
        lambda index: as_palette(index, {i: (i * 60 % 256,) * 3 for i in range(256)}),
        lambda index: Image.fromarray(index.astype(np.uint16)),
    ],
    ids=["grey", "palette", "palette of greys", "16 bits"],
)
def test_numbers_are_classes_and_255_is_ignored(made: object, tmp_path: Path) -> None:
    reading = reading_of_classes(NAMES)
    index, ignored = read(made(INDEX), tmp_path / "a.png", reading)  # type: ignore[operator]
    assert np.array_equal(index, EXPECTED)
    assert np.array_equal(ignored, INDEX == 255)


TABLES = {
    "hex": "name,colour\nIn,#ff0000\nPa,#00ff00\nSc,#0000ff\nignore,#e0e0c0\n",
    "numbers": "In,255,0,0\n\nPa, 0,255,0\nSc,0,0,255\nignore,224,224,192\nbackground,0,0,0\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("made", [as_colours, lambda index: as_palette(index, COLOURS)])
def test_colours_with_a_table(text: str, made: object, tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text(text, encoding="utf-8")
    assert classes_in(table) == NAMES
    index, ignored = read(made(INDEX), tmp_path / "a.png", reading_of_classes((), table))  # type: ignore[operator]
    assert np.array_equal(index, EXPECTED)
    assert np.array_equal(ignored, INDEX == 255)


def test_classes_that_are_not_chosen_are_background(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("a,1\nb,2\nc,3\n", encoding="utf-8")
    index, ignored = read(
        Image.fromarray(INDEX), tmp_path / "a.png", reading_of_classes(("c", "a"), table)
    )
    assert np.array_equal(index, np.choose(np.minimum(INDEX, 4), [0, 2, 0, 1, 0]))
    assert np.array_equal(ignored, INDEX == 255)


def test_zero_may_be_a_class(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("road,0\ncar,1\ntree,2\nsky,3\n", encoding="utf-8")
    reading = reading_of_classes((), table)
    index, _ = read(Image.fromarray(INDEX), tmp_path / "a.png", reading)
    assert np.array_equal(index, np.where(INDEX == 255, 0, INDEX + 1))


def test_another_value_is_ignored_if_told(tmp_path: Path) -> None:
    index = np.where(INDEX == 255, 9, INDEX).astype(np.uint8)
    found, ignored = read(
        Image.fromarray(index), tmp_path / "a.png", reading_of_classes(NAMES, ignore_value="9")
    )
    assert np.array_equal(found, EXPECTED)
    assert np.array_equal(ignored, index == 9)


def test_a_value_beyond_names_file_value_and_classes(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read(Image.fromarray(INDEX), tmp_path / "a.png", reading_of_classes(("In", "Pa")))
    said = str(caught.value)
    assert "a.png" in said
    assert "it holds 3 (8.3 %)" in said
    assert "1 In, 2 Pa" in said


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (as_colours(INDEX), "give a `class_table`"),
        (Image.fromarray(np.where(INDEX == 255, 0, INDEX * 80).astype(np.uint8)), "it holds"),
    ],
)
def test_masks_that_are_none_of_classes(image: Image.Image, said: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=said):
        read(image, tmp_path / "a.png", reading_of_classes(NAMES))


def test_jpeg_changes_numbers(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="save it as PNG"):
        read(Image.fromarray(INDEX), tmp_path / "a.jpg", reading_of_classes(NAMES))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,1\na,2\n", "two lines for a"),
        ("a,1\nb,1\n", "for a and for b"),
        ("a,1\nb,much\n", "'b,much'"),
        ("a,#ff00\nb,#00ff00\n", "'a,#ff00'"),  # no heading
        ("a,1\nb,1,2\n", "'b,1,2'"),
        ("name,value\n", "names no class"),
        ("a,1\nignore,2\nignore,3\n", "two lines for ignore"),
    ],
)
def test_tables_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text(text, encoding="utf-8")
    with pytest.raises((DataError, ConfigError), match=said):
        reading_of_classes((), tmp_path / "classes.csv")


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("scratch,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="did you mean scratch"):
        reading_of_classes(("scrach",), table)
    with pytest.raises(ConfigError, match="exclude each other"):
        reading_of_classes(("scratch",), table, "1")
    with pytest.raises(ConfigError, match="2 values for the 3"):
        reading_of_classes(NAMES, object_values="1,2")
    with pytest.raises(ConfigError, match="no names"):
        reading_of_classes(())
    with pytest.raises(ConfigError, match="both|object or ignored"):
        reading_of_classes(NAMES, ignore_value="2")
    with pytest.raises(ConfigError, match="invert"):
        class_reading(DataConfig(data="a", invert=True), NAMES, True)
    with pytest.raises(DataError, match="cannot be read"):
        reading_of_classes((), tmp_path / "none.csv")


def pair_of(tmp_path: Path, index: np.ndarray, reading: ClassReading) -> Pair:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*index.shape, 3), np.uint8)).save(tmp_path / "i.png")
    Image.fromarray(index).save(tmp_path / "m.png")
    return Pair("i", tmp_path / "i.png", tmp_path / "m.png", reading)


def blocks() -> np.ndarray:
    index = np.zeros((64, 64), np.uint8)
    index[:32, :32], index[:32, 32:], index[32:, :16], index[60:, 60:] = 1, 2, 3, 255
    return index


def test_a_sample_has_a_channel_for_each_class(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, blocks(), reading_of_classes(NAMES))
    sample = PairDataset([pair], (64, 64), None, keep_truth=True)[0, 0]
    expected = torch.stack(
        [torch.from_numpy((blocks() == i).astype(np.float32)) for i in (1, 2, 3)]
    )
    assert torch.equal(sample.mask, expected)
    assert sample.truth is not None
    assert np.array_equal(sample.truth, expected.numpy() * 255)
    assert sample.counted is not None
    assert sample.counted.sum() == 64 * 64 - 16
    assert sample.ignored is not None
    assert sample.ignored.sum() == 16
    assert np.array_equal(read_pair(pair).mask, expected.amax(0).numpy() * 255)


def test_changes_move_all_classes_alike(tmp_path: Path) -> None:
    """Every class is changed as it would be if it were the only one."""
    pair = pair_of(tmp_path, blocks(), reading_of_classes(NAMES))
    config = DataConfig(data="a", augment="rotate=1:30,scale=1:1.5,cutout=1:0.3")
    how = {"flips": (0.5, 0.5), "crop": 0.7, "colour": 0.5, "changes": config.changes, "seed": 3}
    data = PairDataset([pair], (48, 48), None, **how)  # type: ignore[arg-type]
    for epoch in range(4):
        sample = data[epoch, 0]
        for number in (1, 2, 3):
            only = np.where((blocks() == number) | (blocks() == 255), blocks(), 0)
            Image.fromarray(only.astype(np.uint8)).save(tmp_path / "one.png")
            one = Pair("i", pair.image, tmp_path / "one.png", reading_of_classes(NAMES))
            alone = PairDataset([one], (48, 48), None, **how)[epoch, 0]  # type: ignore[arg-type]
            assert torch.equal(alone.mask[number - 1], sample.mask[number - 1])
            assert all(not alone.mask[i].any() for i in range(3) if i != number - 1)
            assert torch.equal(alone.sam, sample.sam)
        assert sample.mask.sum(0).max() <= 1.1


def in_folders(tmp_path: Path, masks: dict[str, dict[str, np.ndarray]]) -> Path:
    for name in {stem for each in masks.values() for stem in each} | {"without"}:
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "grey").save(tmp_path / "images" / f"{name}.png")
    for kind, files in masks.items():
        (tmp_path / "masks" / kind).mkdir(parents=True)
        for name, mask in files.items():
            Image.fromarray(mask.astype(np.uint8) * 255).save(
                tmp_path / "masks" / kind / f"{name}.png"
            )
    return tmp_path


def squares() -> tuple[np.ndarray, np.ndarray]:
    large, small = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    large[:6, :6], small[4:7, 4:7] = True, True
    return large, small


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_folder_for_each_class(exclusive: bool, tmp_path: Path) -> None:
    large, small = squares()
    root = in_folders(tmp_path, {"dent": {"a": large, "b": large}, "hole": {"a": small}})
    config = DataConfig(data=str(root), missing_masks="empty")
    split = split_data(config, 0, ("dent", "hole"), exclusive)
    assert [pair.name for pair in split.training] == ["a", "b", "without"]
    both, one, none = (read_classes(pair) for pair in split.training)
    over = large & ~small if exclusive else large
    assert np.array_equal(np.asarray(both.masks[0]) == 255, over)
    assert np.array_equal(np.asarray(both.masks[1]) == 255, small)
    assert np.array_equal(np.asarray(one.masks[0]) == 255, large)
    assert not np.asarray(one.masks[1]).any()
    assert not any(np.asarray(m).any() for m in none.masks)
    report = check_split(split)
    assert not report.of("error")
    overlaps = [each for each in report.findings if each.kind == "overlap"]
    assert len(overlaps) == exclusive  # said once
    assert any("folder for each class (dent 2, hole 1)" in line for line in report.lines())


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    large, _ = squares()
    root = in_folders(tmp_path, {"dent": {"a": large}, "hole": {"c": large}})
    (root / "images" / "c.png").unlink()
    found = split_data(DataConfig(data=str(root)), 0, ("dent", "hole"))
    [pairing] = [each for each in found.pairings if each.pairs]
    assert "1 images without a mask" in pairing.trouble()
    assert "1 masks without an image" in pairing.trouble()
    with pytest.raises(DataError, match="none for crack"):
        split_data(DataConfig(data=str(root)), 0, ("dent", "hole", "crack"))


def test_masks_of_one_picture_need_one_size(tmp_path: Path) -> None:
    large, small = squares()
    root = in_folders(tmp_path, {"dent": {"a": large}, "hole": {"a": small[:7]}})
    [pair, *_] = split_data(
        DataConfig(data=str(root), missing_masks="empty"), 0, ("dent", "hole")
    ).training
    with pytest.raises(DataError, match="make the sizes equal"):
        read_classes(pair)


def test_what_tells_that_files_of_classes_changed(tmp_path: Path) -> None:
    for name, text in (("a", b"1"), ("b", b"22")):
        (tmp_path / name).write_bytes(text)
    one = ClassMasks((tmp_path / "a", None, tmp_path / "b"))
    other = ClassMasks((None, tmp_path / "a", tmp_path / "b"))
    assert content_stamp(one)[0] == 3
    assert content_sum(one) != content_sum(other)
    assert str(one).endswith("a and 1 more of other classes")


def write_set(root: Path, indices: dict[str, np.ndarray]) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, index in indices.items():
        Image.new("RGB", index.shape[::-1], "grey").save(root / "images" / f"{name}.png")
        Image.fromarray(index).save(root / "masks" / f"{name}.png")
    return root


def test_the_check_says_what_classes_there_are(tmp_path: Path) -> None:
    index = blocks()
    root = write_set(tmp_path, {"a": index, "b": np.where(index == 1, 1, 0).astype(np.uint8)})
    report = check_split(split_data(DataConfig(data=str(root)), 0, (*NAMES, "Xy")))
    said = "\n".join(report.lines())
    assert "1 In, 2 Pa, 3 Sc, 4 Xy: In in 2, Pa in 1, Sc in 1, Xy in 0 of the 2 masks" in said
    assert "classes that no mask holds" in said
    assert "255 is ignored" in said
    assert not report.of("error")


def test_masks_of_one_object_are_no_classes(tmp_path: Path) -> None:
    root = write_set(tmp_path, {"a": np.where(blocks() == 1, 255, 0).astype(np.uint8)})
    report = check_split(split_data(DataConfig(data=str(root)), 0, NAMES))
    assert "no mask holds a class (1 In, 2 Pa, 3 Sc)" in "\n".join(report.lines())
    assert report.of("error")


def test_every_mask_with_a_value_beyond_is_named(tmp_path: Path) -> None:
    root = write_set(tmp_path, {"a": blocks(), "b": blocks()})
    report = check_split(split_data(DataConfig(data=str(root)), 0, ("In", "Pa")))
    assert len(report.of("error")) == 2


def test_a_table_needs_a_model_of_classes() -> None:
    with pytest.raises(ConfigError, match="this one has none"):
        split_data(DataConfig(data="a", class_table="classes.csv"), 0)


def test_strata_and_content_follow_classes(tmp_path: Path) -> None:
    empty = np.zeros((64, 64), np.uint8)
    sets = {f"p{i}": blocks() if i % 2 else empty for i in range(8)}
    root = write_set(tmp_path, sets)
    config = DataConfig(data=str(root), val_fraction=0.25, stratify="empty")
    split = split_data(config, 0, NAMES)
    assert sorted(int(pair.name[1:]) % 2 for pair in split.validation) == [0, 1]
    assert split.fingerprint() != split_data(config, 0, ("b", "a", "c")).fingerprint()
