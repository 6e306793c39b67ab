"""Masks called otherwise than their images, in one folder with them, or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig, MaskReading
from dsunet.data import Pair, PairDataset, find_pairs, read_mask
from dsunet.data.checks.look import check_data
from dsunet.data.images import decode, read_header
from dsunet.data.pairing import masks_of, pair_up
from dsunet.data.pairs import read_pair
from dsunet.data.patterns import Pattern, find_pattern, find_pattern_inside
from dsunet.data.sources import EmptyMask, content_sum, same_content
from dsunet.data.split import split_data
from dsunet.errors import ConfigError, DataError
from dsunet.maps.store import content_key
from dsunet.visualize import data_sheet
from helpers import tar_of

CORES = ("a", "b2", "scan 7", "01", "10", "1")


def names(*stems: str, folder: str = "") -> list[tuple[str, str]]:
    return [(folder, stem) for stem in stems]


def around(affixes: tuple[str, str], cores: Iterable[str] = CORES) -> list[tuple[str, str]]:
    return names(*(f"{affixes[0]}{core}{affixes[1]}" for core in cores))


@pytest.fixture
def rename(folder: Path) -> Callable[[str, str, str], Path]:
    """Renames all files of one kind; gives the set's folder."""

    def change(kind: str, before: str, after: str) -> Path:
        for file in list((folder / kind).iterdir()):
            file.rename(file.with_stem(f"{before}{file.stem}{after}"))
        return folder

    return change


class TestPatterns:
    @pytest.mark.parametrize(
        "affix",
        [
            "_mask",
            "-mask",
            "_gt",
            "_label",
            "_segmentation",
            ".mask",
            "_Mask",
            " GT",
            "mask",
            "_L2",
        ],
    )
    def test_what_masks_end_in(self, affix: str) -> None:
        assert find_pattern(names(*CORES), around(("", affix))) == Pattern(mask_suffix=affix)

    @pytest.mark.parametrize("affix", ["mask_", "gt-", "label.", "Mask", "annotated_"])
    def test_what_masks_begin_with(self, affix: str) -> None:
        assert find_pattern(names(*CORES), around((affix, ""))) == Pattern(mask_prefix=affix)

    def test_images_may_be_the_longer_ones(self) -> None:
        """As nnU-Net's are, with the number of the channel."""
        pattern = find_pattern(around(("", "_0000")), names(*CORES))
        assert pattern == Pattern(image_suffix="_0000")
        assert str(pattern) == "images end in _0000"

    @pytest.mark.parametrize(
        ("images", "masks", "pattern"),
        [
            (("", "_image"), ("", "_mask"), Pattern("_mask", "", "_image")),
            (("", "_sat"), ("", "_mask"), Pattern("_mask", "", "_sat")),
            (("img_", ""), ("gt_", ""), Pattern("", "gt_", "", "img_")),
            (("im", ""), ("label", ""), Pattern("", "label", "", "im")),
        ],
    )
    def test_words_on_either_side(
        self, images: tuple[str, str], masks: tuple[str, str], pattern: Pattern
    ) -> None:
        assert find_pattern(around(images), around(masks)) == pattern
        assert find_pattern_inside([*around(images), *around(masks)]) == pattern

    def test_one_odd_name_decides_nothing(self) -> None:
        cores = [f"{i:03}" for i in range(30)]
        masks = around(("", "_mask"), [*cores[1:], "x"])
        assert find_pattern(names(*cores), masks) == Pattern(mask_suffix="_mask")
        assert find_pattern(names(*cores), names(*cores[1:], "x")) is None

    def test_names_that_pair_up_as_they_are(self) -> None:
        assert find_pattern(names("a", "a_mask"), names("a", "a_mask")) is None
        assert find_pattern(names("a", "b", "c"), names("a", "c")) is None

    @pytest.mark.parametrize(
        ("images", "masks"),
        [
            (("1", "2", "3"), ("11", "21", "31")),  # numbers alone set nothing off
            (("a", "b"), ("x", "y")),
            (("cat", "dog"), ("cats", "dogs")),  # too few for letters alone
            ((), ("a_mask",)),
        ],
    )
    def test_no_pattern(self, images: tuple[str, ...], masks: tuple[str, ...]) -> None:
        assert find_pattern(names(*images), names(*masks)) is None

    def test_several_patterns_are_refused_by_name(self) -> None:
        masks = [*around(("", "_mask")), *around(("", "_gt"))]
        expected = "unclear which files are the masks: masks end in _gt, masks end in _mask; give "
        with pytest.raises(DataError, match=expected):
            find_pattern(names(*CORES), masks)
        with pytest.raises(DataError, match=expected):
            find_pattern_inside([*names(*CORES), *masks])

    def test_folders_count(self) -> None:
        images = [*names("1", "2", folder="cat"), *names("1", folder="dog")]
        masks = [*names("1_mask", "2_mask", folder="cat"), *names("1_mask", folder="dog")]
        assert find_pattern(images, masks) == Pattern(mask_suffix="_mask")
        assert find_pattern(images, [("other", stem) for _, stem in masks]) is None

    @pytest.mark.parametrize("affix", ["_mask", "_L", "_seg"])
    def test_inside_one_folder(self, affix: str) -> None:
        both = [*names(*CORES), *around(("", affix))]
        assert find_pattern_inside(both) == Pattern(mask_suffix=affix)

    def test_inside_one_folder_images_may_be_marked(self) -> None:
        both = [*names(*CORES), *around(("", "_rgb"))]
        assert find_pattern_inside(both) == Pattern(image_suffix="_rgb")

    @pytest.mark.parametrize(
        "stems", [("a", "b", "c"), ("1", "10", "100"), ("a", "a_1", "b", "b_1", "c", "d"), ("a",)]
    )
    def test_nothing_tells_them(self, stems: tuple[str, ...]) -> None:
        assert find_pattern_inside(names(*stems)) is None


class TestFolders:
    @pytest.mark.parametrize(("before", "after"), [("", "_mask"), ("gt-", ""), ("", ".mask")])
    def test_masks_are_called_otherwise(
        self, rename: Callable[[str, str, str], Path], before: str, after: str, tmp_path: Path
    ) -> None:
        root = rename("masks", before, after)
        found = pair_up(root)
        assert [pair.name for pair in found.pairs] == sorted(
            file.stem for file in (root / "images").iterdir()
        )
        assert {Path(str(p.mask)).stem for p in found.pairs} == {
            f"{before}{pair.name}{after}" for pair in found.pairs
        }
        first = found.pairs[0]
        how = f"masks end in {after}" if after else f"masks begin with {before}"
        assert found.said == [f"{how} (camouflaged_00001.jpg with {before}{first.name}{after}.png)"]
        assert not found.trouble()
        packed = pair_up(tar_of(root, tmp_path / "a.tar"))
        assert [pair.name for pair in packed.pairs] == [pair.name for pair in found.pairs]

    def test_the_pattern_is_said(
        self, rename: Callable[[str, str, str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = rename("masks", "", "_mask")
        assert main(["data", "check", str(root)]) == 0
        assert "masks end in _mask (camouflaged_00001.jpg with" in capsys.readouterr().out

    def test_the_suffix_is_given(
        self, rename: Callable[[str, str, str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = rename("masks", "", "-mask")
        for mask in list((root / "masks").iterdir()):
            shutil.copy(mask, mask.with_stem(mask.stem.replace("-mask", "-edges")))
        with pytest.raises(DataError, match="masks end in -mask, masks end in -edges"):
            find_pairs(root)
        found = pair_up(root, mask_suffix="-mask")
        assert len(found.pairs) == len(found.unused) == 6
        assert main(["data", "check", str(root), "--mask-suffix=-mask"]) == 0
        assert "6 training" in capsys.readouterr().out
        with pytest.raises(DataError, match="no mask in .*masks ends in _gt, which `mask_suffix`"):
            find_pairs(root, mask_suffix="_gt")
        with pytest.raises(DataError, match=r"is '-mask\.png', but is about names without their"):
            find_pairs(root, mask_suffix="-mask.png")

    def test_settings_that_make_no_sense(self) -> None:
        for suffix in ("", "a/b"):
            with pytest.raises(ConfigError, match="`?mask_suffix`? is .* needs the end of names"):
                DataConfig("d", mask_suffix=suffix)
        with pytest.raises(ConfigError, match="`missing_masks` is about `data`"):
            DataConfig(benchmarks="d", task="sod", missing_masks="empty")

    def test_stems_that_occur_twice_by_the_pattern(
        self, rename: Callable[[str, str, str], Path]
    ) -> None:
        root = rename("masks", "", "_mask")
        mask = next((root / "masks").iterdir())
        Image.open(mask).save(mask.with_suffix(".bmp"))
        found = pair_up(root)
        assert [len(group) for group in found.duplicates] == [2]
        assert len(found.pairs) == 5


class TestOneFolder:
    def side_by_side(self, root: Path, ending: str = "{}_mask.png") -> Path:
        both = root.parent / "both"
        both.mkdir()
        for kind, name in (("images", "{}.jpg"), ("masks", ending)):
            for file in (root / kind).iterdir():
                with Image.open(file) as picture:
                    picture.save(both / name.format(file.stem))
        return both

    def test_a_pattern_tells_them(self, folder: Path) -> None:
        both = self.side_by_side(folder)
        found = pair_up(both)
        assert len(found.pairs) == 6
        assert all("_mask" in str(p.mask) and "_mask" not in str(p.image) for p in found.pairs)
        assert pair_up(images=both, masks=both) == found
        link = both.parent / "link"
        link.symlink_to(both)
        assert len(pair_up(images=both, masks=link).pairs) == 6
        assert pair_up(both, mask_suffix="_mask").pairs == found.pairs

    def test_their_endings_tell_them(self, folder: Path) -> None:
        both = self.side_by_side(folder, "{}.png")
        found = pair_up(both)
        assert len(found.pairs) == 6
        assert all(Path(str(pair.mask)).suffix == ".png" for pair in found.pairs)
        assert found.said == ["masks are the files that end in .png"]

    def test_a_mask_without_an_image_and_the_reverse_are_told_of(self, folder: Path) -> None:
        both = self.side_by_side(folder)
        images = sorted(both.glob("*.jpg"))
        images[0].unlink()
        (both / f"{images[1].stem}_mask.png").unlink()
        found = pair_up(both)
        assert [len(each) for each in (found.pairs, found.lone_masks, found.lone_images)] == [
            4,
            1,
            1,
        ]

    def test_nothing_tells_them(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        images = folder / "images"
        for given in ({"images": images, "masks": images}, {"data": images}):
            with pytest.raises(
                DataError, match="and no name tells which are masks; name them like"
            ):
                find_pairs(**given)
        arguments = ["--images", str(images), "--masks", str(images)]
        assert main(["data", "check", *arguments]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_masks_below_the_folder_of_images(self, folder: Path) -> None:
        (folder / "masks").rename(folder / "images" / "masks")
        found = pair_up(images=folder / "images", masks=folder / "images" / "masks")
        assert len(found.pairs) == 6
        assert not found.unused

    @pytest.mark.parametrize("how", ["copy", "link", "hard link"])
    def test_a_file_is_never_its_own_mask(self, folder: Path, how: str) -> None:
        image = sorted((folder / "images").iterdir())[0]
        mask = folder / "masks" / f"{image.stem}.png"
        mask.unlink()
        mask = mask.with_suffix(image.suffix)
        {"copy": shutil.copy, "link": lambda a, b: b.symlink_to(a), "hard link": os.link}[how](
            image, mask
        )
        with pytest.raises(DataError, match="1 images that are their own mask"):
            find_pairs(folder)
        report = check_data(DataConfig(str(folder)))
        assert [each.kind for each in report.of("error")] == ["own_mask"]
        assert report.training == 5

    def test_equal_content(self, tmp_path: Path) -> None:
        for name, content in (("a", b"1" * 5000), ("b", b"1" * 5000), ("c", b"1" * 4999 + b"2")):
            (tmp_path / name).write_bytes(content)
        (tmp_path / "empty").touch()
        (tmp_path / "nothing").touch()
        a, b, c = (tmp_path / name for name in "abc")
        assert same_content(a, b)
        assert not same_content(a, c)
        assert not same_content(tmp_path / "empty", tmp_path / "nothing")
        assert not same_content(a, tmp_path / "absent")


class TestMissingMasks:
    @pytest.fixture
    def normals(self, folder: Path) -> Path:
        for mask in sorted((folder / "masks").iterdir())[::2]:
            mask.unlink()
        return folder

    def test_they_are_an_error_that_offers_the_way(
        self, normals: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(
            DataError, match="3 images without a mask .*or give `missing_masks` emp"
        ):
            find_pairs(normals)
        assert main(["data", "check", str(normals)]) == 1
        assert "or give --missing-masks empty if they show no object" in capsys.readouterr().out

    def test_they_are_empty(self, normals: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pairs = find_pairs(normals, missing_masks="empty")
        empty = [pair for pair in pairs if isinstance(pair.mask, EmptyMask)]
        assert (len(pairs), len(empty)) == (6, 3)
        for pair in empty:
            read = read_pair(pair)
            assert read.image.size == read.mask.size
            assert not np.asarray(read.mask).any()
        dataset = PairDataset(pairs, (64, 64), None, keep_truth=True)
        sums = [float(dataset[0, i].mask.sum()) for i in range(6)]
        assert [value == 0 for value in sums] == [pair in empty for pair in pairs]
        assert data_sheet(dataset, range(6)).height > 0
        assert main(["data", "check", str(normals), "--missing-masks", "empty"]) == 0
        said = capsys.readouterr().out
        assert "images without a mask count as having no object" in said
        assert "3 of 6 (camouflaged" in said
        assert "0 errors, 0 warnings" in said

    def test_what_they_are_called_is_not_read(self, normals: Path) -> None:
        """The other way round, an empty mask is still empty."""
        config = DataConfig(str(normals), missing_masks="empty", invert=True)
        empty = [
            pair for pair in split_data(config, 0).training if isinstance(pair.mask, EmptyMask)
        ]
        assert len(empty) == 3
        for pair in empty:
            assert not np.asarray(read_pair(pair).mask).any()
        assert Pair("a", Path("a"), EmptyMask(Path("a")), MaskReading(invert=True)).reading == (
            MaskReading()
        )

    def test_masks_without_an_image_stay_errors(self, normals: Path) -> None:
        mask = next((normals / "masks").iterdir())
        mask.rename(mask.with_stem("other"))
        with pytest.raises(DataError, match="1 masks without an image"):
            find_pairs(normals, missing_masks="empty")

    def test_not_where_every_image_lacks_one(self, folder: Path) -> None:
        """It is the wrong folder, as a rule."""
        for i, mask in enumerate(sorted((folder / "masks").iterdir())):
            mask.rename(mask.with_stem(f"other{chr(97 + 3 * i)}"))
        with pytest.raises(DataError, match="6 images without a mask"):
            find_pairs(folder, missing_masks="empty")

    def test_a_turned_image(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        for name in ("a.jpg", "b.png"):
            Image.new("RGB", (30, 20), "red").save(tmp_path / name, exif=exif)
            mask = EmptyMask(tmp_path / name)
            assert decode(mask).seen_size() == read_header(mask).seen_size() == (20, 30)
            assert read_mask(mask).size == (20, 30)
            pair = Pair("a", tmp_path / name, mask)
            assert content_key(pair) == content_sum(pair.image)  # as it is seen, not as stored
            read = read_pair(pair)
            assert read.upright
            assert read.image.size == read.mask.size == (20, 30)

    def test_the_fingerprint_knows_them(self, normals: Path) -> None:
        before = split_data(DataConfig(str(normals), missing_masks="empty"), 0).fingerprint()
        mask = next((normals / "masks").iterdir())
        mask.unlink()
        after = split_data(DataConfig(str(normals), missing_masks="empty"), 0).fingerprint()
        assert before != after


class TestParts:
    @pytest.fixture
    def divided(self, folder: Path) -> Path:
        """Three to train on, two to validate on, one to test on."""
        stems = sorted(file.stem for file in (folder / "images").iterdir())
        for part, chosen in (("train", stems[:3]), ("val", stems[3:5]), ("test", stems[5:])):
            for kind in ("images", "masks"):
                (folder / kind / part).mkdir()
                for file in list((folder / kind).iterdir()):
                    if file.stem in chosen and file.is_file():
                        file.rename(folder / kind / part / file.name)
        return folder

    def parts(self, config: DataConfig) -> tuple[set[str], set[str]]:
        split = split_data(config, 0)
        return tuple(
            {Path(str(pair.image)).parent.name for pair in part}
            for part in (split.training, split.validation)
        )

    def test_below_images_and_masks(self, divided: Path) -> None:
        split = split_data(DataConfig(str(divided)), 0)
        assert (len(split.training), len(split.validation)) == (3, 2)
        assert self.parts(DataConfig(str(divided))) == ({"train"}, {"val"})
        assert split.pairings[0].said == [
            f"{divided} is divided by its folders: train is trained on, val validates, test is "
            "left alone"
        ]
        places = {"images": str(divided / "images"), "masks": str(divided / "masks")}
        assert self.parts(DataConfig(**places)) == ({"train"}, {"val"})
        assert len(find_pairs(divided)) == 3

    @pytest.mark.parametrize(("train", "val"), [("training", "validation"), ("Train", "valid")])
    def test_other_names(self, divided: Path, train: str, val: str) -> None:
        for kind in ("images", "masks"):
            (divided / kind / "train").rename(divided / kind / train)
        (divided / "images" / "val").rename(divided / "images" / val)
        assert self.parts(DataConfig(str(divided))) == ({train}, {val})

    def test_parts_that_hold_both(self, divided: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for part in ("train", "val", "test"):
            for kind in ("images", "masks"):
                (divided / part).mkdir(exist_ok=True)
                (divided / kind / part).rename(divided / part / kind)
        (divided / "images").rmdir()
        (divided / "masks").rmdir()
        split = split_data(DataConfig(str(divided)), 0)
        for part, pairs in (("train", split.training), ("val", split.validation)):
            assert {Path(str(pair.image)).parent for pair in pairs} == {divided / part / "images"}
        assert main(["data", "check", str(divided)]) == 0
        assert "3 training and 2 validation pairs" in capsys.readouterr().out

    def test_told_otherwise(self, divided: Path, tmp_path: Path) -> None:
        split = split_data(DataConfig(str(divided), val_fraction=0.34), 0)
        assert (len(split.training), len(split.validation)) == (2, 1)
        assert self.parts(DataConfig(str(divided), val_fraction=0.34)) == ({"train"}, {"train"})
        assert "val is not used (`val_fraction` is given)" in split.pairings[0].said[0]
        other = shutil.copytree(divided, tmp_path / "other")
        split = split_data(DataConfig(str(divided), val=str(other)), 0)
        assert {Path(str(pair.image)).parent for pair in split.validation} == {
            other / "images" / "val"
        }

    def test_a_training_list_does_not_silence_it(self, divided: Path, tmp_path: Path) -> None:
        names = sorted(file.stem for file in (divided / "images" / "train").iterdir())
        (tmp_path / "names.txt").write_text("\n".join(names[:2]))
        config = DataConfig(str(divided), train_list=str(tmp_path / "names.txt"))
        split = split_data(config, 0)
        assert (len(split.training), len(split.validation)) == (2, 2)
        assert "val validates" in split.pairings[0].said[0]

    def test_parts_that_do_not_fit(self, divided: Path) -> None:
        (divided / "masks" / "val").rename(divided / "masks" / "dev")
        with pytest.raises(
            DataError, match="divided into train, val, test, but .*masks has no fol"
        ):
            split_data(DataConfig(str(divided)), 0)
        (divided / "masks" / "dev").rename(divided / "masks" / "val")
        for kind in ("images", "masks"):
            shutil.rmtree(divided / kind / "train")
        with pytest.raises(DataError, match="divided into val, test, but needs a folder train"):
            split_data(DataConfig(str(divided)), 0)
        (divided / "images" / "valid").mkdir()
        with pytest.raises(DataError, match="val and .*valid are both called val"):
            split_data(DataConfig(str(divided)), 0)

    def test_folders_of_other_names_are_looked_into(self, folder: Path) -> None:
        """With equal stems in different ones, and an image without a mask."""
        cases = {"cat": ("0", "1"), "dog/small": ("0",), "good": ("0",)}
        tree = folder.parent / "tree"
        files = zip(
            sorted((folder / "images").iterdir()), sorted((folder / "masks").iterdir()), strict=True
        )
        for place, stems in cases.items():
            for stem in stems:
                image, mask = next(files)
                for kind, file, name in (("test", image, stem), ("gt", mask, f"{stem}_mask")):
                    if (kind, place) != ("gt", "good"):
                        target = tree / kind / place / f"{name}{file.suffix}"
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(file, target)
        places = {"images": tree / "test", "masks": tree / "gt"}
        found = pair_up(**places)
        assert [pair.name for pair in found.pairs] == ["cat/0", "cat/1", "dog/small/0"]
        assert [str(image) for image in found.lone_images] == [
            str(next((tree / "test" / "good").iterdir()))
        ]
        pairs = find_pairs(**places, missing_masks="empty")
        assert [pair.name for pair in pairs] == ["cat/0", "cat/1", "dog/small/0", "good/0"]
        assert all(read_pair(pair).image.size == read_pair(pair).mask.size for pair in pairs)

    def test_a_folder_that_cannot_be_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for kind in ("images", "masks"):
            (folder / kind).rename(folder / "cat")
            (folder / kind).mkdir()
            (folder / "cat").rename(folder / kind / "cat")
        scan = os.scandir

        def refuse(place: str) -> object:
            if str(place).endswith("cat"):
                raise PermissionError(13, "Permission denied", str(place))
            return scan(place)

        monkeypatch.setattr("os.scandir", refuse)
        with pytest.raises(DataError, match="cat cannot be read .Permission denied.; mend"):
            find_pairs(folder)


class TestMasksOf:
    def test_own_stems_first(self) -> None:
        masks = [Path("a.png"), Path("b.png")]
        assert masks_of(["a", "b"], masks) == {"a": masks[0], "b": masks[1]}

    def test_by_the_pattern(self) -> None:
        masks = [Path("a_mask.png"), Path("b_mask.png"), Path("other.png")]
        found = masks_of(["a", "b"], masks)
        assert found == {"a": masks[0], "b": masks[1], "other": masks[2]}
        with pytest.raises(DataError, match="1 stems occur twice"):
            masks_of(["a", "b"], [*masks, Path("a_mask.gif")])


@pytest.mark.parametrize(
    ("case", "settings", "training", "validation"),
    [
        ("masks-suffix", {}, 6, 0),
        ("normals-without-mask", {"missing_masks": "empty"}, 6, 0),
        ("split-below", {}, 4, 2),
        ("one-folder/all", {}, 6, 0),
    ],
)
def test_field_cases(
    field_cases: Path, case: str, settings: dict[str, str], training: int, validation: int
) -> None:
    report = check_data(DataConfig(str(field_cases / case), **settings))
    assert not report.of("error")
    assert (report.training, report.validation) == (training, validation)
