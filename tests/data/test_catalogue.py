"""Public data sets: the tables, finding the sets, checking them, training on them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import dsunet
from dsunet.cli import main
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.data.catalogue.check import check_sets
from dsunet.data.catalogue.find import find_benchmarks, find_sets, joined_pairs, training_sets
from dsunet.data.catalogue.sets import PUBLIC_SETS, TASKS, task_named
from dsunet.data.checks.duplicates import near_duplicates, sign, without_bars
from dsunet.data.images import decode
from dsunet.data.pairing import find_pairs
from dsunet.data.split import split_data
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError
from helpers import ROOT, SHARED, lay_out

DATA = SHARED / "data"


def picture(seed: int, size: int = 96) -> tuple[Image.Image, Image.Image]:
    image, mask = synthetic_pair(seed, size)
    return image, mask


def stems(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(1, count + 1)]


class TestTables:
    def test_counts_are_the_protocols(self) -> None:
        """Section IV-A of the paper; PraNet's for polyps; the sets' own papers for the others."""
        counts = {
            "DUTS-TR": 10553,
            "DUTS-TE": 5019,
            "DUT-OMRON": 5168,
            "HKU-IS": 4447,
            "PASCAL-S": 850,
            "ECSSD": 1000,
            "CAMO-train": 1000,
            "COD10K-train": 3040,
            "CAMO": 250,
            "COD10K": 2026,
            "CHAMELEON": 76,
            "NC4K": 4121,
            "Kvasir-train": 900,
            "CVC-ClinicDB-train": 550,
            "CVC-300": 60,
            "CVC-ClinicDB": 62,
            "Kvasir": 100,
            "CVC-ColonDB": 380,
            "ETIS-LaribPolypDB": 196,
            "MAS3K-train": 1769,
            "MAS3K": 1141,
            "MSD-train": 3063,
            "MSD": 955,
        }
        assert {name: each.count for name, each in PUBLIC_SETS.items()} == counts

    def test_tasks_name_all_sets_once(self) -> None:
        names = [name for task in TASKS.values() for name in task.names]
        assert sorted(names) == sorted(PUBLIC_SETS)
        assert TASKS["sod"].train == ("DUTS-TR",)
        assert TASKS["cod"].train == ("CAMO-train", "COD10K-train")
        assert TASKS["cod"].test == ("CAMO", "COD10K", "CHAMELEON", "NC4K")
        with pytest.raises(DataError, match=r"task 'cow' is unknown; known: sod, cod, polyp"):
            task_named("cow")

    @pytest.mark.parametrize("name", PUBLIC_SETS)
    def test_entries_are_whole(self, name: str) -> None:
        each = PUBLIC_SETS[name]
        assert each.name == name
        assert all((each.paper, each.page, each.terms))
        assert any(layout.source != "common" for layout in each.layouts)
        plain = [str(layout) for layout in each.layouts]
        assert f"{name}/images + {name}/masks" in plain
        assert len(set(each.layouts)) == len(each.layouts)


def documented() -> str:
    """The tables and lists of docs/benchmarks.md, from the data."""
    parts = []
    for task in TASKS.values():
        sets = [PUBLIC_SETS[name] for name in task.names]
        parts.append(f"### `{task.name}`: {task.title}\n")
        parts.append(
            "| set | role | pairs | paper | page | terms of use |\n|---|---|---|---|---|---|"
        )
        parts += [
            f"| {each.name} | {each.role} | {each.count:,} | {each.paper} | {each.page} "
            f"| {each.terms} |"
            for each in sets
        ]
        parts.append("")
        for each in sets:
            special = [layout for layout in each.layouts if layout.source != "common"]
            parts.append(f"- **{each.name}**" + (f" ({each.note})" if each.note else ""))
            for layout in special:
                only = f", only `{layout.pattern}`" if layout.pattern != "*" else ""
                parts.append(f"  - `{layout.images}` + `{layout.masks}`{only}: {layout.source}")
        parts.append("")
    return "\n".join(parts)


def test_the_page_agrees_with_the_tables() -> None:
    page = ROOT / "docs" / "benchmarks.md"
    assert documented().strip() in page.read_text(encoding="utf-8")


class TestFinding:
    @pytest.mark.parametrize("name", PUBLIC_SETS)
    def test_layouts_are_found(self, name: str, tmp_path: Path) -> None:
        """And taken for no other set of the same task."""
        published = PUBLIC_SETS[name]
        special = [layout for layout in published.layouts if layout.source != "common"]
        common = [layout for layout in published.layouts if layout.source == "common"]
        for number, layout in enumerate([*special, common[0], common[-1]]):
            root = tmp_path / str(number)
            stem = layout.pattern.replace("[jk]", "j").replace("[0-9]", "7").replace("*", "1")
            for folder in (layout.images, layout.masks):
                (root / "deep" / folder).mkdir(parents=True, exist_ok=True)
            (root / "deep" / layout.images / f"{stem}.jpg").write_bytes(b"")
            (root / "deep" / layout.masks / f"{stem}.png").write_bytes(b"")
            found = find_sets(root, task=published.task)
            assert list(found) == [name], layout
            assert [pair.name for pair in found[name].pairs] == [stem]
            assert found[name].images == root / "deep" / layout.images

    def test_case_punctuation_and_depth(self, tmp_path: Path) -> None:
        lay_out(tmp_path / "a" / "b" / "c", "dut_omron/IMGS + dut_omron/gt", ["x"])
        assert find_sets(tmp_path)["DUT-OMRON"].pairs[0].name == "x"
        assert find_sets(tmp_path / "a" / "b" / "c" / "dut_omron").keys() == {"DUT-OMRON"}
        lay_out(tmp_path / "a" / "b" / "c" / "d", "ECSSD/images + ECSSD/masks", ["x"])
        assert "ECSSD" not in find_sets(tmp_path)
        assert "ECSSD" in find_sets(tmp_path / "a")

    def test_names_and_tasks(self, tmp_path: Path) -> None:
        for name in ("CAMO", "NC4K", "ECSSD"):
            lay_out(tmp_path, f"{name}/Imgs + {name}/GT", ["x"])
        assert list(find_sets(tmp_path)) == ["ECSSD", "CAMO", "NC4K"]
        assert list(find_sets(tmp_path, task="cod")) == ["CAMO", "NC4K"]
        assert list(find_sets(tmp_path, names=["NC4K", "HKU-IS"])) == ["NC4K"]
        with pytest.raises(DataError, match="data set 'NC5K' is unknown; known: DUTS-TR"):
            find_sets(tmp_path, names=["NC5K"])
        with pytest.raises(DataError, match="there is no folder"):
            find_sets(tmp_path / "none")

    def test_names_that_the_docs_gave_before(self, tmp_path: Path) -> None:
        lay_out(tmp_path, "CAMO/Imgs + CAMO/GT", ["x"])
        found = find_benchmarks(tmp_path)["CAMO"]
        assert found.benchmark is found.published is PUBLIC_SETS["CAMO"]

    def test_sets_that_share_folders(self, tmp_path: Path) -> None:
        """The joint training folder; COD10K's other images; CAMO's one folder of masks."""
        joint = "TrainDataset/Imgs + TrainDataset/GT"
        lay_out(tmp_path, joint, [*stems("camourflage_", 3), *stems("COD10K-CAM-1-", 2)])
        found = find_sets(tmp_path)
        assert {name: len(each.pairs) for name, each in found.items()} == {
            "CAMO-train": 3,
            "COD10K-train": 2,
        }
        own = tmp_path / "own"
        for split, count in (("Train", 4), ("Test", 2)):
            folder = f"COD10K-v3/{split}"
            lay_out(own, f"{folder}/Image + {folder}/GT_Object", stems("COD10K-CAM-", count))
            lay_out(own, f"{folder}/Image + {folder}/GT_Object", stems("COD10K-NonCAM-", 5))
            folder = "CAMO-V.1.0-CVIU2019"
            place = f"{folder}/Images/{split} + {folder}/GT"
            lay_out(own, place, stems(f"camourflage_{split}", count))
        found = find_sets(own)
        assert {name: len(each.pairs) for name, each in found.items()} == {
            "CAMO-train": 4,
            "COD10K-train": 4,
            "CAMO": 2,
            "COD10K": 2,
        }
        assert not any(each.pairing.trouble() for each in found.values())
        # an image without its mask is told of
        (own / "CAMO-V.1.0-CVIU2019" / "GT" / "camourflage_Test00001.png").unlink()
        pairing = find_sets(own)["CAMO"].pairing
        assert [path.stem for path in map(Path, map(str, pairing.lone_images))] == [
            "camourflage_Test00001"
        ]
        assert pairing.lone_masks == []

    def test_archives_hold_what_folders_hold(self, tmp_path: Path) -> None:
        """Of COD10K, the images without a camouflaged object are left out either way."""
        lay_out(tmp_path / "a", "images + masks", ["COD10K-CAM-1", "COD10K-NonCAM-1"])
        with tarfile.open(tmp_path / "COD10K-train.tar", "w") as tar:
            tar.add(tmp_path / "a" / "images", "images")
            tar.add(tmp_path / "a" / "masks", "masks")
        found = find_sets(tmp_path)["COD10K-train"]
        assert [pair.name for pair in found.pairs] == ["COD10K-CAM-1"]

    def test_broken_archives_are_told_of(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "DUTS-TR.tar").write_bytes(b"cut off")
        with pytest.raises(DataError, match="DUTS-TR.tar is no uncompressed tar archive"):
            training_sets(tmp_path, "sod")
        assert main(["data", "check", str(tmp_path)]) == 1
        assert "DUTS-TR.tar is no uncompressed tar archive" in capsys.readouterr().out

    def test_images_that_do_not_belong_to_the_set(self, tmp_path: Path) -> None:
        """Old archives of DUT-OMRON hold four images without masks."""
        layout = "DUT-OMRON/DUT-OMRON-image + DUT-OMRON/pixelwiseGT-new-PNG"
        lay_out(tmp_path, layout, ["a", "img_561715398", "other"])
        for stem in ("img_561715398", "other"):
            (tmp_path / f"DUT-OMRON/pixelwiseGT-new-PNG/{stem}.png").unlink()
        found = find_sets(tmp_path)["DUT-OMRON"].pairing
        assert [pair.name for pair in found.pairs] == ["a"]
        assert [source.stem for source in found.lone_images] == ["other"]

    def test_images_and_masks_in_one_folder(self, tmp_path: Path) -> None:
        lay_out(tmp_path, "PASCAL-S/Imgs + PASCAL-S/Imgs", ["1", "2"])
        (tmp_path / "PASCAL-S" / "Imgs" / "3.png").write_bytes(b"")
        found = find_sets(tmp_path)["PASCAL-S"]
        assert [(Path(str(p.image)).name, Path(str(p.mask)).name) for p in found.pairs] == [
            ("1.jpg", "1.png"),
            ("2.jpg", "2.png"),
        ]
        assert "1 masks without an image ('3.png')" in found.pairing.trouble()

    def test_the_place_with_the_number_nearest_to_the_published_one(self, tmp_path: Path) -> None:
        lay_out(tmp_path, "CHAMELEON/Imgs + CHAMELEON/GT", stems("a", 2))
        lay_out(tmp_path / "b", "CHAMELEON/Imgs + CHAMELEON/GT", stems("a", 5))
        found = find_sets(tmp_path)["CHAMELEON"]
        assert found.images == tmp_path / "b" / "CHAMELEON" / "Imgs"
        assert found.others == (tmp_path / "CHAMELEON" / "Imgs",)
        assert not found.complete

    def test_complete(self, tmp_path: Path) -> None:
        for folder, suffix in (("images", "jpg"), ("masks", "png")):
            (tmp_path / "CVC-300" / folder).mkdir(parents=True)
            for number in range(60):
                (tmp_path / "CVC-300" / folder / f"{number}.{suffix}").write_bytes(b"")
        assert find_sets(tmp_path)["CVC-300"].complete
        (tmp_path / "CVC-300" / "images" / "60.jpg").write_bytes(b"")
        assert not find_sets(tmp_path)["CVC-300"].complete

    def test_archives_and_links(self, tmp_path: Path) -> None:
        lay_out(tmp_path, "elsewhere/images + elsewhere/masks", ["x", "y"])
        with tarfile.open(tmp_path / "ECSSD.tar", "w") as tar:
            tar.add(tmp_path / "elsewhere", ".")
        (tmp_path / "NC4K.tar").write_bytes(b"none")
        (tmp_path / "CAMO").symlink_to("elsewhere")
        (tmp_path / "loop").symlink_to(".")
        found = find_sets(tmp_path)
        pairs = {name: len(each.pairs) for name, each in found.items()}
        assert pairs == {"ECSSD": 2, "CAMO": 2, "NC4K": 0}
        assert "NC4K.tar is no uncompressed tar archive" in found["NC4K"].broken
        assert found["ECSSD"].layout == "ECSSD.tar"

    def test_stems_that_clash_bear_the_sets_name(self, tmp_path: Path) -> None:
        clash, other = "COD10K-CAM-1", "COD10K-CAM-2"
        lay_out(tmp_path, "CAMO-train/images + CAMO-train/masks", ["1", clash])
        lay_out(tmp_path, "COD10K-train/images + COD10K-train/masks", [clash, other])
        sets = training_sets(tmp_path, "cod")
        assert [[pair.name for pair in part] for part in joined_pairs(sets)] == [
            ["1", f"CAMO-train/{clash}"],
            [f"COD10K-train/{clash}", other],
        ]
        (tmp_path / "val.txt").write_text(f"COD10K-train/{clash}\n")
        config = DataConfig(
            benchmarks=str(tmp_path), task="cod", val_list=str(tmp_path / "val.txt")
        )
        split = split_data(config, seed=0)
        assert [pair.image for pair in split.validation] == [sets[1].pairs[0].image]
        assert [pair.name for pair in split.training] == ["1", f"CAMO-train/{clash}", other]


BARS = {
    "black above and below": ((0, 50, 0, 50), "black"),
    "white above": ((0, 100, 0, 0), "white"),
    "white left and right": ((70, 0, 70, 0), "white"),
    "black right": ((0, 0, 60, 0), "black"),
    "olive frame": ((30, 30, 30, 30), "olive"),
}


class TestBars:
    @pytest.mark.parametrize("name", BARS)
    @pytest.mark.parametrize("quality", [30, 90])
    def test_are_cut_off(self, name: str, quality: int) -> None:
        """To within a fiftieth of the side, through the noise of JPEG."""
        border, colour = BARS[name]
        for seed in range(5):
            image, _ = picture(seed, 240)
            data = io.BytesIO()
            ImageOps.expand(image, border, colour).save(data, "JPEG", quality=quality)
            inner = without_bars(Image.open(data))
            assert any(
                max(abs(a - b) for a, b in zip(view.size, image.size, strict=True)) <= 5
                for view in inner
            )

    def test_only_even_edges_are_bars(self) -> None:
        for seed in range(5):
            assert without_bars(picture(seed)[0]) == []
        flat = Image.new("RGB", (90, 60), (7, 120, 30))
        assert without_bars(flat) == []  # nothing would be left
        assert without_bars(flat.crop((0, 0, 90, 1))) == []

    def test_at_full_size(self) -> None:
        """Bars are looked for in a smaller copy, but cut from the picture."""
        noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        inner = without_bars(ImageOps.expand(image, (0, 102, 0, 102), "black"))
        assert [view.size for view in inner] == [(700, 500)]

    def test_an_even_background_is_no_hindrance(self) -> None:
        """Behind the bars it looks like bars again, above and below or left and right."""
        image = Image.new("L", (200, 160), 240)
        image.paste(picture(3)[0].convert("L"), (52, 32))
        for border in ((0, 40, 0, 40), (50, 0, 50, 0)):
            inner = without_bars(ImageOps.expand(image, border, 0))
            assert image.tobytes() in [view.tobytes() for view in inner]


def copies(image: Image.Image) -> dict[str, Image.Image]:
    """What becomes of a picture on its way from one set into another."""
    wide = (0, round(0.2 * image.height), 0, round(0.2 * image.height))
    tall = (round(0.2 * image.width), 0, round(0.2 * image.width), 0)
    return {
        "encoded again": image,
        "half size": image.resize((image.width // 2, image.height // 2)),
        "brighter": ImageEnhance.Brightness(image).enhance(1.2),
        "black above and below": ImageOps.expand(image, wide, "black"),
        "white above and below": ImageOps.expand(image, wide, "white"),
        "black left and right": ImageOps.expand(image, tall, "black"),
        "white left and right": ImageOps.expand(image, tall, "white"),
        "black on half a square": ImageOps.pad(image, (120, 120), color="black"),
    }


class TestLeaks:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """COD's training and test sets; every test image of CAMO leaks in another guise."""
        lay_out(tmp_path, "CAMO-train/images + CAMO-train/masks", stems("camourflage_", 20))
        lay_out(tmp_path, "NC4K/Imgs + NC4K/GT", stems("n", 10), seed=100)
        for folder in ("Imgs", "GT"):
            (tmp_path / "CAMO" / folder).mkdir(parents=True)
        for number, (name, copy) in enumerate(copies(picture(7, 240)[0]).items()):
            stem = f"{number}-{name}"
            copy.save(tmp_path / "CAMO" / "Imgs" / f"{stem}.jpg", quality=60)
            Image.new("L", copy.size, 255).save(tmp_path / "CAMO" / "GT" / f"{stem}.png")
        picture(7, 240)[0].save(tmp_path / "CAMO-train" / "images" / "camourflage_00008.jpg")
        picture(7, 240)[1].save(tmp_path / "CAMO-train" / "masks" / "camourflage_00008.png")
        return tmp_path

    def test_in_every_guise(self, root: Path) -> None:
        report = check_sets(find_sets(root))
        leaks = [each for each in report.overlaps if each.kind == "leak"]
        assert [Path(each.files[0]).stem[2:] for each in leaks] == list(copies(picture(7)[0]))
        assert {Path(each.files[1]).name for each in leaks} == {"camourflage_00008.jpg"}
        assert report.missing == ["COD10K-train", "COD10K", "CHAMELEON"]

    def test_letterboxed_training_image(self, tmp_path: Path) -> None:
        """As CAMO's is: bars around the training image, none around the test image."""
        lay_out(tmp_path, "CAMO-train/images + CAMO-train/masks", stems("camourflage_", 9))
        lay_out(tmp_path, "CAMO/Imgs + CAMO/GT", stems("t", 6), seed=50)
        image, mask = picture(53, 64)
        for folder, one, name in (
            ("images", image, "camourflage_00004.jpg"),
            ("masks", mask, "camourflage_00004.png"),
        ):
            boxed = ImageOps.expand(one, (0, 15, 0, 15), 0)
            boxed.save(tmp_path / "CAMO-train" / folder / name)
        report = check_sets(find_sets(tmp_path))
        assert [tuple(Path(file).name for file in each.files) for each in report.overlaps] == [
            ("t00004.jpg", "camourflage_00004.jpg")
        ]

    def test_between_test_sets(self, root: Path) -> None:
        image = root / "NC4K" / "Imgs" / "n00003.jpg"
        image.write_bytes((root / "CAMO" / "Imgs" / "0-encoded again.jpg").read_bytes())
        Image.new("L", (240, 240), 255).save(root / "NC4K" / "GT" / "n00003.png")
        report = check_sets(find_sets(root))
        shared = [each for each in report.overlaps if each.kind == "shared"]
        assert [Path(each.files[0]).name for each in shared] == ["n00003.jpg"]
        assert Path(shared[0].files[1]).parts[-3] == "CAMO"
        assert report.count("note") == 1

    def test_headers_alone_find_none(self, root: Path) -> None:
        assert check_sets(find_sets(root), full=False).overlaps == []

    def test_without_the_hashing_package(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "imagehash", None)
        report = check_sets(find_sets(root))
        assert [each.kind for each in report.overlaps] == ["not_compared"]

    @pytest.mark.parametrize(
        "sets", [("camo-tr-499", "camo-te-124"), ("duts-te-200", "sd-saliency-300")]
    )
    def test_no_false_alarm_between_real_sets(self, sets: tuple[str, str]) -> None:
        for name in sets:
            if not (DATA / name).is_dir():
                pytest.skip(f"no {DATA / name}")
        known, asked = (
            [
                sign(pair.image, decode(pair.image, preview=64).as_image())
                for pair in find_pairs(DATA / name)[:200]
            ]
            for name in sets
        )
        assert list(near_duplicates(known, asked)) == []
        # real pictures in a letterbox are found among the real ones
        boxed = []
        for pair in find_pairs(DATA / sets[0])[:40]:
            with Image.open(pair.image) as image:
                small = ImageOps.pad(image.convert("RGB"), (300, 160), color="black")
                boxed.append(sign(pair.image, small))
        right = [one for one, other, *_ in near_duplicates(known, boxed) if one == other]
        assert len(right) >= 38


class TestCommand:
    def test_table_findings_and_leaks(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "sets"
        lay_out(root, "CAMO-train/images + CAMO-train/masks", stems("camourflage_", 5))
        lay_out(root, "CAMO/Imgs + CAMO/GT", stems("t", 4), seed=3)  # two are training images
        lay_out(root, "ECSSD/images + ECSSD/ground_truth_mask", ["1"], seed=30)
        command = ["data", "check", str(root), "--json", str(tmp_path / "all.json")]
        assert main(command) == 0
        shown = capsys.readouterr().out.splitlines()
        assert shown[0].split() == ["task", "set", "role", "pairs", "of", "state", "images"]
        table = {line.split()[1]: line.split() for line in shown[1:13]}
        assert table["CAMO"][:7] == ["cod", "CAMO", "test", "4", "250", "a", "part"]
        assert table["NC4K"] == ["cod", "NC4K", "test", "4,121", "not", "found"]
        warned = (
            "CAMO: warning: another number of pairs than published (a part, or another version?)"
        )
        assert shown[shown.index(warned) + 1] == "    4, not 250"
        (leaks,) = [line for line in shown if line.startswith("warning: 2 test images that are")]
        assert leaks.endswith("leave their training images out by --train-list)")
        assert shown[-1].startswith("3 sets of 10 pairs checked in ")
        assert shown[-1].endswith("s: 0 errors, 5 warnings")
        content = json.loads((tmp_path / "all.json").read_text())
        assert content["sets"]["CAMO"]["expected"] == 250
        assert content["sets"]["CAMO"]["complete"] is False
        assert [Path(each["files"][0]).name for each in content["overlaps"]] == [
            "t00001.jpg",
            "t00002.jpg",
        ]
        assert (content["errors"], content["warnings"]) == (0, 5)

    def test_one_task_and_errors(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lay_out(tmp_path, "NC4K/Imgs + NC4K/GT", ["1", "2"])
        lay_out(tmp_path, "ECSSD/images + ECSSD/masks", ["1", "2"])
        (tmp_path / "ECSSD" / "images" / "1.jpg").write_bytes(b"broken")
        assert main(["data", "check", str(tmp_path), "--task", "cod"]) == 0
        assert "ECSSD" not in capsys.readouterr().out
        assert main(["data", "check", str(tmp_path)]) == 1
        shown = capsys.readouterr().out
        assert "1 error " in shown
        assert "ECSSD: error: 1 files that cannot be read (replace or remove them)" in shown

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], r"holds no images/ and masks/, and no image at all; needed are images/ and"),
            (
                ["--task", "mirror"],
                r"none of the public sets of mirror \(MSD-train, MSD\) was found up to three",
            ),
            (["--task", "cow"], "task 'cow' is unknown"),
        ],
    )
    def test_nothing_found(
        self,
        arguments: list[str],
        message: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert main(["data", "check", str(tmp_path), *arguments]) == 1
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert __import__("re").search(message, error)

    def test_settings_of_one_folder(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lay_out(tmp_path, "ECSSD/images + ECSSD/masks", ["1", "2"])
        assert main(["data", "check", str(tmp_path), "--val-fraction", "0.5"]) == 1
        error = capsys.readouterr().err
        assert "--val-fraction is about one folder of images/ and masks/" in error
        # a set's own folder that holds images/ and masks/ is checked as any other
        assert main(["data", "check", str(tmp_path / "ECSSD"), "--val-fraction", "0.5"]) == 0
        assert "1 training and 1 validation pairs" in capsys.readouterr().out


class TestTraining:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "sets"
        joint = "TrainDataset/Imgs + TrainDataset/GT"
        lay_out(root, joint, stems("camourflage_", 3))
        lay_out(root, joint, stems("COD10K-CAM-", 9), seed=20)
        return root

    def names(self, root: Path, **settings: object) -> tuple[list[str], list[str]]:
        config = DataConfig(benchmarks=str(root), task="cod", **settings)  # type: ignore[arg-type]
        split = split_data(config, seed=0)
        return [p.name for p in split.training], [p.name for p in split.validation]

    def test_training_sets_are_joined(self, root: Path) -> None:
        training, validation = self.names(root)
        assert training == [*stems("camourflage_", 3), *stems("COD10K-CAM-", 9)]
        assert validation == []

    def test_held_out_and_listed(self, root: Path, tmp_path: Path) -> None:
        training, validation = self.names(root, val_fraction=0.25)
        assert (len(training), len(validation)) == (9, 3)
        assert sorted([*training, *validation]) == sorted(self.names(root)[0])
        (tmp_path / "list.txt").write_text("camourflage_00002\nCOD10K-CAM-00004\n")
        training, validation = self.names(root, val_list=str(tmp_path / "list.txt"))
        assert validation == ["COD10K-CAM-00004", "camourflage_00002"]
        assert len(training) == 10
        training, _ = self.names(root, train_list=str(tmp_path / "list.txt"))
        assert training == ["camourflage_00002", "COD10K-CAM-00004"]

    def test_limit_takes_evenly_from_the_sets(self, root: Path) -> None:
        assert self.names(root, limit=4)[0] == [
            *stems("camourflage_", 2),
            *stems("COD10K-CAM-", 2),
        ]
        # where a set has no more, the others give more
        assert self.names(root, limit=8)[0] == [
            *stems("camourflage_", 3),
            *stems("COD10K-CAM-", 5),
        ]
        assert len(self.names(root, limit=100)[0]) == 12
        training, validation = self.names(root, limit=8, val_fraction=0.25)
        assert (len(training), len(validation)) == (6, 2)

    def test_limit_of_one_folder(self, root: Path, tmp_path: Path) -> None:
        lay_out(tmp_path, "own/images + own/masks", stems("a", 5))
        (tmp_path / "list.txt").write_text("a00001\n")
        split = split_data(
            DataConfig(str(tmp_path / "own"), val_list=str(tmp_path / "list.txt"), limit=2), 0
        )
        assert [pair.name for pair in split.training] == ["a00002", "a00003"]

    def test_an_absent_set(self, root: Path) -> None:
        with pytest.raises(
            DataError,
            match=r"has no DUTS-TR, which sod is trained on; looked for "
            r"DUTS-TR/DUTS-TR-Image \+ DUTS-TR/DUTS-TR-Mask; .*DUTS-TR\.tar",
        ):
            training_sets(root, "sod")
        for file in (root / "TrainDataset" / "GT").glob("cam*"):
            file.rename(file.with_stem(f"{file.stem}_mask"))
        with pytest.raises(DataError, match="no image of CAMO-train in .* has a mask in "):
            training_sets(root, "cod")

    def test_settings(self) -> None:
        for settings, message in (
            ({"benchmarks": "r"}, "`benchmarks` and `task` belong together"),
            ({"data": "d", "task": "cod"}, "`benchmarks` and `task` belong together"),
            ({"data": "d", "benchmarks": "r", "task": "cod"}, "exclude each other"),
            ({"data": "d", "limit": 0}, "limit is 0, but needs at least 1"),
        ):
            with pytest.raises(ValueError, match=message):
                DataConfig(**settings)  # type: ignore[arg-type]

    @pytest.mark.slow
    def test_run(self, root: Path, tmp_path: Path) -> None:
        data = DataConfig(benchmarks=str(root), task="cod", limit=6, val_fraction=0.34, workers=0)
        model = model_config("dsunet-nano", sam_size=128, dino_size=112)
        recipe = TrainConfig(epochs=1, batch_size=2, device="cpu")
        result = dsunet.train(tmp_path / "run", model, data, recipe, weights=None)
        training, validation = self.names(root, limit=6, val_fraction=0.34)
        assert (tmp_path / "run" / "train.txt").read_text().split() == training
        assert (tmp_path / "run" / "val.txt").read_text().split() == validation
        assert result.measures.keys() >= {"S", "MAE"}
        from dsunet.weights.checkpoint import read_metadata

        assert read_metadata(result.weights)["training"]["data"] == "CAMO-train+COD10K-train"
