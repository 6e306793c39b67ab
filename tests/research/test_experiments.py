"""`dsunet reproduce`: from public sets on disk to tables and figures, each step once."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import LossConfig, ModelConfig, TrainConfig
from dsunet.data.catalogue.sets import PUBLIC_SETS, TASKS
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, OutputError
from dsunet.metrics.published import published_rows
from dsunet.research.experiments import (
    METHODS,
    TABLES,
    TARGETS,
    Plan,
    Protocol,
    Results,
    make_plan,
    reproduce,
)
from dsunet.research.experiments import methods as methods_module
from dsunet.research.experiments.methods import added_method
from dsunet.research.experiments.paper_tables import (
    gains_table,
    paired_table,
    result_table,
    write_tables,
)
from dsunet.research.experiments.statistics import over_seeds, paired_difference
from dsunet.support.tables import Cell
from helpers import ROOT, SHARED

pytestmark = pytest.mark.usefixtures("plain")

# Pairs of a few pixels where the sets' archives have thousands.
SETS = {
    "DUTS-TR/DUTS-TR-{}": ("Image", "Mask", "{:04d}", 5),
    "DUTS-TE/DUTS-TE-{}": ("Image", "Mask", "te{:02d}", 4),
    "HKU-IS/{}": ("Imgs", "Imgs", "hku{:02d}", 3),  # images and masks in one folder
    "TrainDataset/{}": ("Imgs", "GT", "camourflage_{:05d}", 3),
    "TrainDataset/{}/": ("Imgs", "GT", "COD10K-CAM-1-Aquatic-1-Batfish-{}", 3),
    "TestDataset/CAMO/{}": ("Imgs", "GT", "camourflage_{:05d}", 3),
}


def write_sets(root: Path) -> Path:
    """Public sets in the layouts of their archives."""
    for seed, (folder, (images, masks, stem, count)) in enumerate(SETS.items()):
        for number in range(count):
            image, mask = synthetic_pair(number, 48, seed)
            for kind, picture, ending in ((images, image, "jpg"), (masks, mask, "png")):
                path = root / folder.format(kind) / f"{stem.format(number)}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
    return root


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return write_sets(tmp_path / "data")


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Networks at the smallest sizes."""
    with pytest.MonkeyPatch.context() as patch:
        for key, method in METHODS.items():
            sizes = {"sam_size": 128, **({"dino_size": 112} if method.role == "dsunet" else {})}
            small = dataclasses.replace(method, model={**method.model, **sizes})
            patch.setitem(methods_module.METHODS, key, small)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets in `data`, and in `out` what reproducing one method from them leaves."""
    folder = tmp_path_factory.mktemp("reproduced")
    plan = make_plan("III", write_sets(folder / "data"), folder / "out", QUICK, ["ablation-a"])
    assert not reproduce(plan, lambda line: None).failures
    return folder


QUICK = Protocol("nano", epochs=1, batch_size=2, device="cpu", workers=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


# -- the paper's tables and methods as data


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_tables_are_the_papers(table) -> None:
    rows = published_rows(table=table.number)
    assert {row.dataset for row in rows} == set(table.sets)
    assert all(tuple(row.scores) == table.measures for row in rows)
    assert {METHODS[key].published for key in table.methods} <= {row.method for row in rows}
    assert set(table.sets) <= set(TASKS[table.task].test)
    assert all(PUBLIC_SETS[name].role == "test" for name in table.sets)


def test_targets() -> None:
    assert TARGETS["sod"] == ("III", "IV", "VII")
    assert TARGETS["cod"] == ("V", "VI", "VIII")
    assert TARGETS["all"] == tuple(TABLES)


def test_the_protocols() -> None:
    """What the paper, its code and SAM2-UNet's say (docs/reproduce.md)."""
    paper, baseline, matched = METHODS["dsunet"], METHODS["sam2unet"], METHODS["sam2unet-matched"]
    assert paper.train_config() == TrainConfig(protocol="benchmark")
    assert paper.loss_config() == LossConfig()
    assert baseline.train_config() == TrainConfig(epochs=20, batch_size=12, protocol="benchmark")
    assert baseline.loss_config().output_weights == (1, 1, 1)
    assert baseline.model_config().sam_version == "2.0"
    assert matched.train_config() == paper.train_config()
    assert matched.loss_config() == paper.loss_config()
    assert matched.model_config().sam_version == paper.model_config().sam_version == "2.1"
    assert (matched.model_config().decoder, matched.model_config().injection) == ("unet", "none")
    for key, injection in (("a", "none"), ("b", "hierarchical"), ("c", "broadcast")):
        ablation = METHODS[f"ablation-{key}"]
        assert ablation.model_config().injection == injection
        assert ablation.train_config() == paper.train_config()


@pytest.mark.parametrize("task", ["sod", "cod"])
@pytest.mark.parametrize("key", list(METHODS))
def test_configs_are_the_methods(task: str, key: str) -> None:
    """The files in configs/ train what `dsunet reproduce` trains."""
    settings = yaml.safe_load((ROOT / "configs" / f"{task}-{key}.yaml").read_text())
    assert settings.pop("task") == task
    assert settings.pop("weights") == "encoders"

    def pick(kind: type) -> dict[str, object]:
        names = [field.name for field in dataclasses.fields(kind)]
        return {name: settings.pop(name) for name in names if name in settings}

    name = settings.pop("model")
    model, recipe, loss = pick(ModelConfig), pick(TrainConfig), pick(LossConfig)
    assert not settings
    method = METHODS[key]
    assert f"{method.role}-large" == name
    sizes = {"sam_size", "dino_size"}
    assert model == {k: v for k, v in method.model.items() if k not in sizes}
    assert TrainConfig(**recipe) == method.train_config()
    assert LossConfig(**loss) == method.loss_config()


# -- numbers


def test_over_seeds() -> None:
    assert over_seeds([]) is None
    assert over_seeds([0.5]) == Cell(0.5)
    cell = over_seeds([0.1, 0.2, 0.6])
    assert cell is not None
    assert cell.value == pytest.approx(0.3)
    assert cell.spread == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))


def test_paired_difference() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 1, 400)  # what both methods share does not widen the interval
    gain = rng.normal(0.02, 0.01, 400)
    found = paired_difference(hard + gain, hard)
    assert found is not None
    assert found.mean == pytest.approx(gain.mean())
    error = gain.std() / np.sqrt(400)
    assert found.low == pytest.approx(gain.mean() - 1.96 * error, abs=error / 5)
    assert found.high == pytest.approx(gain.mean() + 1.96 * error, abs=error / 5)
    assert found == paired_difference(hard + gain, hard)
    assert paired_difference(hard + 0.5, hard)[1:] == pytest.approx((0.5, 0.5))
    assert paired_difference(hard[:1], hard[:1]) is None


# -- plans


def test_a_plan(sets: Path, tmp_path: Path) -> None:
    plan = make_plan("all", sets, tmp_path / "out", Protocol(seeds=(0, 1)))
    assert [run.key for run in plan.runs[:4]] == [
        "sod-sam2unet-seed0",
        "sod-sam2unet-seed1",
        "sod-ablation-a-seed0",
        "sod-ablation-a-seed1",
    ]
    assert len(plan.runs) == 2 * 5 * 2
    assert {task: list(tests) for task, tests in plan.tests.items()} == {
        "sod": ["DUTS-TE", "HKU-IS"],
        "cod": ["CAMO"],
    }
    assert plan.training_pairs == {"sod": 5, "cod": 6}
    assert plan.absent == ("DUT-OMRON", "PASCAL-S", "ECSSD", "CHAMELEON", "COD10K", "NC4K")
    shared = plan.tests["sod"]["HKU-IS"]
    assert {path.suffix for path in shared.images.values()} == {".jpg"}
    assert {path.suffix for path in shared.masks.values()} == {".png"}
    few = make_plan("III", sets, tmp_path / "out", Protocol(limit=2))
    assert list(few.tests["sod"]["DUTS-TE"].images) == ["te00", "te02"]
    assert few.training_pairs == {"sod": 2}
    assert not (tmp_path / "out").exists()


def test_what_lacks_is_named(sets: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target is 'IX', but needs one of III, IV"):
        make_plan("IX", sets, tmp_path)
    with pytest.raises(ValueError, match="method 'unet' is unknown; known: sam2unet"):
        make_plan("III", sets, tmp_path, methods=["unet"])
    with pytest.raises(DataError, match="none of the test sets PASCAL-S, ECSSD"):
        make_plan("IV", sets, tmp_path)
    shutil.rmtree(sets / "DUTS-TR")
    with pytest.raises(DataError, match="has no DUTS-TR, which sod is trained on"):
        make_plan("III", sets, tmp_path)
    for settings, message in (
        ({"size": "huge"}, "size is 'huge', but needs one of large"),
        ({"seeds": (1, 1)}, "seeds is"),
        ({"limit": 1}, "limit is 1, but needs at least 2"),
        ({"epochs": 0}, "epochs is 0, but needs at least 1"),
        ({"weights": "some"}, "weights is 'some'"),
    ):
        with pytest.raises(ValueError, match=message):
            Protocol(**settings)


def test_official_files_are_looked_for(sets: Path, tmp_path: Path) -> None:
    plan = make_plan("III", sets, tmp_path, Protocol(encoders=str(tmp_path)))
    with pytest.raises(DataError, match=r"lacks sam2_hiera_large.pt, which SAM2-UNet needs"):
        plan.encoder_files(plan.runs[0])
    for name in ("sam2.1_hiera_large.pt", "dinov2_vitl14_pretrain.pth"):
        (tmp_path / name).touch()
    assert plan.encoder_files(plan.runs[1]) == {
        "pyramid": tmp_path / "sam2.1_hiera_large.pt",
        "semantic": tmp_path / "dinov2_vitl14_pretrain.pth",
    }


# -- from data to tables


@pytest.mark.slow
def test_a_table_from_nothing(sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = make_plan("III", sets, out, dataclasses.replace(QUICK, seeds=(0, 1)))
    assert not reproduce(plan, lambda line: None).failures
    # the scores are those of the maps, measured again by the public function
    per_seed = []
    for seed in (0, 1):
        maps = out / "maps" / f"sod-dsunet-seed{seed}" / "DUTS-TE"
        scores = dsunet.evaluate(maps, sets / "DUTS-TE" / "DUTS-TE-Mask", protocol="benchmark")
        written = json.loads(
            (out / "scores" / f"sod-dsunet-seed{seed}" / "DUTS-TE.json").read_text()
        )
        assert {k: v for k, v in scores.items() if k != "images"} == written["scores"]
        assert written["images"] == 4
        per_seed.append(scores)
    # maps by the paper's protocol: stretched to their full range
    with Image.open(out / "maps" / "sod-dsunet-seed0" / "HKU-IS" / "hku00.png") as map_:
        assert map_.getextrema() == (0, 255) or map_.getextrema() == (0, 254)
    table = result_table(Results(plan), TABLES["III"])
    rows = {(row.group, row.name): row for row in table.rows}
    ours = rows["this run", "DSU-Net"]
    titles = [f"{column.group} {column.title}" for column in table.columns]
    assert titles[:4] == ["DUTS-TE S", "DUTS-TE E", "DUTS-TE MAE", "DUT-OMRON S"]
    for title, measure in (("DUTS-TE S", "S"), ("DUTS-TE MAE", "MAE")):
        values = [scores[measure] for scores in per_seed]
        cell = ours.cells[titles.index(title)]
        assert cell.value == pytest.approx(np.mean(values), abs=1e-12)
        assert cell.spread == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        published = rows["published", "DSU-Net"].cells[titles.index(title)].value
        less = rows["this run less published", "DSU-Net"].cells[titles.index(title)]
        assert less.value == pytest.approx(np.mean(values) - published)
    assert ours.cells[titles.index("DUT-OMRON S")] is None
    assert any("cannot be compared" in note for note in table.notes)
    assert any("DUT-OMRON" in note for note in table.notes)

    gains = {row.name: row.cells for row in gains_table(Results(plan), TABLES["III"]).rows}
    assert f"{gains['DUT-OMRON'][0].value:.2f}" == "1.02"  # the abstract's
    s = [rows["this run", name].cells[0].value for name in ("SAM2-UNet", "DSU-Net")]
    assert gains["DUTS-TE"][1].value == pytest.approx(100 * (s[1] / s[0] - 1))
    paired = {row.name: row.cells for row in paired_table(Results(plan), TABLES["III"]).rows}
    assert paired["DUTS-TE, S"][0].value == pytest.approx(s[1] - s[0])
    assert paired["DUTS-TE, S"][1].value <= paired["DUTS-TE, S"][0].value

    # done once: nothing is written again
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.is_file()}
    del before[out / ".lock"]
    reproduce(plan, lambda line: None)
    changed = [p for p, t in before.items() if p.stat().st_mtime_ns != t]
    assert not changed
    # and not mixed with another protocol
    with pytest.raises(OutputError, match="were made with epochs = 1, not 2"):
        reproduce(make_plan("III", sets, out, dataclasses.replace(QUICK, epochs=2)))


def test_the_gain_of_cod10k(sets: Path, tmp_path: Path) -> None:
    plan = make_plan("cod", sets, tmp_path)
    gains = {row.name: row.cells for row in gains_table(Results(plan), TABLES["VI"]).rows}
    assert f"{gains['COD10K'][0].value:.2f}" == "1.25"  # the abstract's
    assert gains["COD10K"][1] is None


def test_new_weights_and_masks_are_measured_again(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    sets = tmp_path / "data"
    plan = make_plan("III", sets, tmp_path / "out", QUICK, methods=["ablation-a"])
    before = contents(plan.folder / "scores")
    mask = sets / "DUTS-TE" / "DUTS-TE-Mask" / "te01.png"
    Image.new("L", (48, 48), 255).save(mask)
    reproduce(make_plan("III", sets, plan.folder, QUICK, ["ablation-a"]), lambda line: None)
    after = contents(plan.folder / "scores")
    name = str(Path("sod-ablation-a-seed0", "DUTS-TE.json"))
    assert [key for key in before if before[key] != after[key]] == [name]
    # weights of another training: maps are made anew, not gone on with
    model = METHODS["ablation-a"].model_config("nano")
    other = dsunet.create_model(
        "dsunet-nano",
        None,
        **{f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "name"},
    )
    run = plan.runs[0]
    dsunet.save(other, run.weights, training={"epoch": 1})
    reproduce(plan, lambda line: None)
    assert all(contents(plan.folder / "scores")[key] != after[key] for key in after)


@pytest.mark.slow
def test_one_failure_does_not_stop_the_others(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text(
        "import torch\n"
        "def net():\n"
        "    return torch.nn.Conv2d(3, 2, 1)\n"
        "class Raises(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 1, 1)\n"
        "    def forward(self, image):\n"
        "        raise KeyError('gone')\n"
        "def dark(image):\n"
        "    return 1 - image.mean(2) / 255\n"
    )
    monkeypatch.chdir(tmp_path)
    (sets / "DUTS-TE" / "DUTS-TE-Image" / "te03.jpg").write_bytes(b"no picture")
    arguments = ["reproduce", "III", "--benchmarks", str(sets), "--output", "out"]
    arguments += "--model-size nano --epochs 1 --batch-size 2 --device cpu --workers 0".split()
    arguments += [
        "--methods",
        "ablation-a",
        "--add",
        "Two=broken:net",
        "--add",
        "Raises=broken:Raises",
        "--add",
        "Dark=broken:dark",
    ]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "sod-two-seed0: broken:net gives" in shown.err
    assert "sod-raises-seed0: KeyError: 'gone'" in shown.err
    assert "sod-ablation-a-seed0, DUTS-TE: te03" in shown.err
    with open("out/tables/table-III.csv", newline="") as file:
        rows = {(r["group"], r["method"]): r for r in csv.DictReader(file)}
    assert ("this run", "Two") not in rows
    assert float(rows["this run", "A: no DINOv2"]["HKU-IS S"]) > 0
    assert float(rows["this run", "Dark"]["HKU-IS S"]) > 0
    assert Path("out/figures/sod/HKU-IS/differences.png").stat().st_size > 10_000
    for kind in ("precision_recall", "thresholds", "histograms", "differences"):
        for ending in ("png", "pdf"):
            assert Path(f"out/figures/sod/HKU-IS/{kind}.{ending}").is_file()


def scores_of(plan: Plan) -> dict[str, float]:
    """S on DUTS-TE, by method's title."""
    reproduce(plan, lambda line: None)
    results = Results(plan)
    found = {run.method.title: results.of(run, "DUTS-TE") for run in plan.runs}
    return {title: scores.scores["S"] for title, scores in found.items() if scores}


def test_what_a_name_means_has_changed(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old results under a name are not taken for those of another network, function or folder."""
    (tmp_path / "various.py").write_text(
        "import torch\n"
        "def one():\n    return torch.nn.Conv2d(3, 1, 1)\n"
        "def three():\n    return torch.nn.Conv2d(3, 1, 3, padding=1)\n"
        "def fails():\n    return torch.nn.Identity()\n"
        "def white(image):\n    return image.mean(2) / 255\n"
        "def dark(image):\n    return 1 - image.mean(2) / 255\n"
    )
    monkeypatch.chdir(tmp_path)

    def run(*added: tuple[str, str]) -> tuple[dict[str, float], dict[str, str]]:
        methods = [added_method(*each) for each in added]
        plan = make_plan("III", sets, "out", QUICK, [], methods)
        return scores_of(plan), reproduce(plan, lambda line: None).failures

    first, _ = run(("Net", "various:one"), ("Function", "various:white"))
    second, failures = run(("Net", "various:three"), ("Function", "various:dark"))
    assert "Net" not in second
    assert "started with model = 'various:one', not 'various:three'" in failures["sod-net-seed0"]
    assert second["Function"] != first["Function"]

    shutil.copytree(sets / "DUTS-TE" / "DUTS-TE-Mask", "theirs/DUTS-TE")
    before, _ = run(("Theirs", "theirs"))
    assert before["Theirs"] == pytest.approx(1, abs=1e-6)
    for file in Path("theirs/DUTS-TE").iterdir():
        old = file.stat().st_mtime - 1000
        Image.new("L", (48, 48), 9).save(file)
        os.utime(file, (old, old))
    after, failures = run(("Theirs", "theirs"))
    assert after["Theirs"] < 0.9
    assert not failures  # maps of HKU-IS are not there, and need not be
    with pytest.raises(ValueError, match="'My net' and 'My-Net' are too much alike"):
        run(("My net", "various:one"), ("My-Net", "various:one"))


@pytest.mark.slow
def test_what_lies_on_disk_has_changed(sets: Path, tmp_path: Path) -> None:
    plan = make_plan("III", sets, tmp_path / "out", QUICK, ["ablation-a"])
    image = sets / "DUTS-TE" / "DUTS-TE-Image" / "te03.jpg"
    whole = image.read_bytes()
    image.write_bytes(b"no picture")
    for _ in range(2):  # it is told of every time
        assert list(reproduce(plan, lambda line: None).failures) == [
            "sod-ablation-a-seed0, DUTS-TE: te03"
        ]
    note = "A: no DINOv2, DUTS-TE: over 3 of 4 images; others have failed."
    assert note in result_table(Results(plan), TABLES["III"]).notes
    image.write_bytes(whole)
    assert not reproduce(plan, lambda line: None).failures
    assert note not in result_table(Results(plan), TABLES["III"]).notes
    # another picture under the same name
    scores = Results(plan).of(plan.runs[0], "DUTS-TE").per_image
    synthetic_pair(9, 48, 9)[0].save(image)
    reproduce(plan, lambda line: None)
    again = Results(plan).of(plan.runs[0], "DUTS-TE").per_image
    assert [name for name in scores if scores[name] != again[name]] == ["te03"]
    # the folder has moved
    moved = sets.rename(tmp_path / "elsewhere")
    plan = make_plan("III", moved, tmp_path / "out", QUICK, ["ablation-a"])
    assert not reproduce(plan, lambda line: None).failures
    # more to train on
    for kind, ending, picture in zip(
        ("Image", "Mask"), ("jpg", "png"), synthetic_pair(7, 48), strict=True
    ):
        picture.save(moved / "DUTS-TR" / f"DUTS-TR-{kind}" / f"new.{ending}")
    plan = make_plan("III", moved, tmp_path / "out", QUICK, ["ablation-a"])
    failures = reproduce(plan, lambda line: None).failures
    assert "the data set has changed" in failures["sod-ablation-a-seed0"]
    assert not Results(plan).of(plan.runs[0], "DUTS-TE")  # no old value in the table


def test_maps_from_elsewhere(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    sets = tmp_path / "data"
    for name in ("DUTS-TE/DUTS-TE-Mask", "HKU-IS/Imgs"):
        set_ = name.split("/")[0]
        (tmp_path / "theirs" / set_).mkdir(parents=True)
        for mask in (sets / name).glob("*.png"):
            shutil.copy(mask, tmp_path / "theirs" / set_)
    perfect = added_method("Perfect", str(tmp_path / "theirs"))
    plan = make_plan("III", sets, tmp_path / "out", QUICK, ["ablation-a"], [perfect])
    reproduce(plan, lambda line: None)
    write_tables(Results(plan))
    with open(tmp_path / "out" / "tables" / "table-III.csv", newline="") as file:
        rows = {r["method"]: r for r in csv.DictReader(file)}
    assert float(rows["Perfect"]["DUTS-TE MAE"]) == 0
    assert float(rows["Perfect"]["HKU-IS S"]) == pytest.approx(1, abs=1e-6)
    for name, spec, message in (
        ("DSU-Net", str(tmp_path), "is taken"),
        ("x", str(tmp_path / "absent"), "there is no folder"),
        ("!", str(tmp_path), "is taken or empty"),
    ):
        with pytest.raises(ValueError, match=message):
            added_method(name, spec)


@pytest.mark.slow
def test_dry_run(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["reproduce", "VIII", "--benchmarks", str(sets), "--output", str(out)]
    assert main([*arguments, "--model-size", "nano", "--dry-run", "--methods", "ablation-b"]) == 0
    shown = capsys.readouterr().out
    assert "not found, and left out: COD10K" in shown
    assert re.search(r"cod-ablation-b-seed0 +50 +6 +3 +\d", shown), shown
    assert not out.exists()


def test_wrong_usage(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    basis = ["--benchmarks", str(sets), "--output", str(tmp_path / "out")]
    for extra, message in (
        (["III", "--seeds", "a"], "--seeds is 'a', but needs numbers such as 0,1,2"),
        (["III", "--add", "x"], "--add is 'x', but needs NAME=SPEC"),
        (["IX"], "the target is 'IX', but needs one of III"),
    ):
        assert main(["reproduce", *extra, *basis]) == 1
        assert message in capsys.readouterr().err


# -- killed and resumed, on real images where they are at hand


@pytest.mark.slow
def test_killed_reproduction_comes_to_the_same_tables(tmp_path: Path) -> None:
    """DSU-Net, SAM2-UNet, A, B, C on real images; killed at random moments, all comes out alike."""
    sets = real_sets(tmp_path / "data")
    limits = (
        "--limit 6 --epochs 2 --batch-size 2 --device cpu --workers 0 --model-size nano".split()
    )
    command = [sys.executable, "-m", "dsunet.cli", "reproduce", "sod", "--benchmarks", str(sets)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    done = subprocess.run([*command, "--output", whole, *limits], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - started
    rng = np.random.default_rng(0)
    kills = 0
    while True:
        process = subprocess.Popen(
            [*command, "--output", killed, *limits],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        patience = seconds * float(rng.uniform(0.1, 0.4)) if kills < 4 else None
        try:
            errors = process.communicate(timeout=patience)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, errors
        break
    assert kills >= 2
    for folder in ("tables", "scores"):
        assert contents(whole / folder) == contents(killed / folder)
    maps = {path.relative_to(whole): path for path in whole.glob("maps/*/*/*.png")}
    assert maps.keys() == {path.relative_to(killed) for path in killed.glob("maps/*/*/*.png")}
    assert len(maps) == 5 * 6
    assert all(path.read_bytes() == (killed / name).read_bytes() for name, path in maps.items())
    drawn = {path.relative_to(whole) for path in whole.glob("figures/*/*/*")}
    assert drawn == {path.relative_to(killed) for path in killed.glob("figures/*/*/*")}


def real_sets(root: Path) -> Path:
    """Subsets of the public sets, laid out like their archives."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"there are no real images in {data}")
    links = {
        "DUTS-TR.tar": "duts-tr-256.tar",
        "DUTS-TE/DUTS-TE-Image": "duts-te-200/images",
        "DUTS-TE/DUTS-TE-Mask": "duts-te-200/masks",
        "TestDataset/CAMO/Imgs": "camo-te-124/images",
        "TestDataset/CAMO/GT": "camo-te-124/masks",
    }
    for name, target in links.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(data / target)
    # COD10K is not at hand: half of CAMO's training images stand in for it
    for kind, folder in (("Imgs", "images"), ("GT", "masks")):
        (root / "TrainDataset" / kind).mkdir(parents=True)
        for number, file in enumerate(sorted((data / "camo-tr-499" / folder).iterdir())):
            name = (
                file.name if number % 2 else f"COD10K-CAM-1-Aquatic-1-Batfish-{number}{file.suffix}"
            )
            (root / "TrainDataset" / kind / name).symlink_to(file)
    return root
