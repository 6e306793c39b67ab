"""What validation measures, which epoch is the best, and what a run says of both."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig
from dsunet.data import find_pairs
from dsunet.data.dataset import Batch, PairDataset, collate
from dsunet.errors import ConfigError, OutputError
from dsunet.metrics import OWN_MEASURES, Measures, Truth, measure
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.losses import similarity_loss, structure_loss
from dsunet.predict import plan_outputs, predict_files
from dsunet.running.maps import quantise
from dsunet.training.choosing import FALLBACK, deciding, is_better
from dsunet.training.folder import recorded_protocol
from dsunet.training.module import SegmentationModule
from dsunet.visualize.curves import plot_curves
from dsunet.weights.checkpoint import read_metadata
from helpers import nano
from runs import MODEL, run

pytestmark = pytest.mark.usefixtures("plain")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def with_normals(pictures: Path, folder: Path, normal: int, objects: int) -> Path:
    """Some of the pictures, the first of them with an empty mask."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        files = sorted((pictures / name).iterdir())[: normal + objects]
        for number, file in enumerate(files):
            shutil.copy(file, folder / name)
            if name == "masks" and number < normal:
                with Image.open(file) as mask:
                    size = mask.size
                Image.new("L", size).save(folder / name / file.name)
    return folder


@pytest.mark.parametrize("best_by", OWN_MEASURES)
def test_the_measure_that_decides(best_by: str) -> None:
    measures = {key: number / 10 for number, key in enumerate(OWN_MEASURES)}
    assert deciding({**measures, FALLBACK: 0.9}, best_by) == (best_by, measures[best_by])
    assert deciding({"false_alarm_rate": 1.0, FALLBACK: 0.2}, best_by) == (FALLBACK, 0.2)
    assert deciding({}, best_by) is None
    lower = best_by == "MAE"
    assert is_better(best_by, 0.5, None)
    assert is_better(best_by, 0.4, 0.5) is lower
    assert is_better(best_by, 0.6, 0.5) is not lower
    assert not is_better(best_by, 0.5, 0.5)
    assert deciding({**measures, "Dice_all": 0.2}, "Dice_all") == ("Dice_all", 0.2)
    assert deciding(measures, "Dice_all") == ("Dice", measures["Dice"])  # where each has an object
    assert is_better("Dice_all", 0.6, 0.5)
    assert is_better(FALLBACK, 0.1, 0.2)
    assert not is_better(FALLBACK, 0.2, 0.1)


@pytest.mark.parametrize(
    ("best_by", "best"),
    [
        pytest.param("S", 2, marks=pytest.mark.slow),
        ("MAE", 3),
        pytest.param("Dice", 1, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_the_best_epoch_is_by_the_chosen_measure(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best_by: str, best: int
) -> None:
    values = iter(
        {**dict.fromkeys(OWN_MEASURES, 0.5), "S": s, "MAE": mae, "Dice": dice}
        for s, mae, dice in ((0.6, 0.3, 0.7), (0.8, 0.2, 0.7), (0.8, 0.1, 0.6), (0.7, 0.1, 0.1))
    )
    monkeypatch.setattr(Measures, "summary", lambda self: next(values))
    data = {"data": str(pictures), "val_fraction": 0.5, "limit": 4, "workers": 0}
    recipe = {"epochs": 4, "best_by": best_by, "early_stop": 3}
    result = run(tmp_path / "run", pictures, data=data, **recipe)
    assert result.best_epoch == best
    assert result.epochs == 4
    assert read_metadata(result.weights)["training"]["epoch"] == best
    with pytest.raises(OutputError, match="was started with best_by"):
        run(tmp_path / "run", pictures, data=data, resume=True, **recipe | {"best_by": "E"})


def test_pictures_without_an_object_in_validation(pictures: Path, tmp_path: Path) -> None:
    held_out = with_normals(pictures, tmp_path / "val", 2, 2)
    lines: list[str] = []
    result = dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(str(pictures), val=str(held_out), limit=4, check="headers", workers=0),
        TrainConfig(epochs=1, batch_size=4, device="cpu", threshold=0.4),
        on_line=lines.append,
    )
    jobs = plan_outputs([held_out / "images"], tmp_path / "maps")
    segmenter = dsunet.Segmenter(result.weights, device="cpu")
    predict_files(segmenter, jobs, tmp_path / "maps")
    found = dsunet.evaluate(tmp_path / "maps", held_out / "masks", threshold=0.4)
    assert found["without_object"] == 2
    expected = {key: found[key] for key in OWN_MEASURES} | {
        "false_alarm_rate": found["false_alarms"] / 2,
        "false_alarm_area": found["false_alarm_area"],
        "MAE_without_object": found["MAE_without_object"],
        "miss_rate": found["misses"] / 2,
        "AUROC": found["AUROC"],
        "Dice_all": (found["Dice"] + 1 - found["false_alarms"] / 2) / 2,
    }
    assert result.measures == pytest.approx(expected, abs=1e-12)
    [row] = rows_of(tmp_path / "run")
    assert {key: float(row[key]) for key in expected} == result.measures
    about = read_metadata(result.weights)["training"]
    assert about["protocol"] == "raw"
    assert about["best_threshold"] == result.best_threshold.to_dict()  # type: ignore[union-attr]
    assert any(
        "best epoch by S (`best_by`)" in line and "Dice and IoU at 0.4" in line for line in lines
    )
    assert any(line.startswith("epoch 1/1") and "false alarms " in line for line in lines)
    assert lines[-1].startswith(f"best threshold: {about['best_threshold']['threshold']:g} (`thres")


@pytest.mark.slow
def test_a_validation_set_of_normals_alone(pictures: Path, tmp_path: Path) -> None:
    held_out = with_normals(pictures, tmp_path / "val", 3, 0)
    lines: list[str] = []
    result = dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(str(pictures), val=str(held_out), limit=4, check="headers", workers=0),
        TrainConfig(epochs=2, batch_size=4, device="cpu", early_stop=1),
        on_line=lines.append,
    )
    assert sum("there is nothing to measure but false alarms" in line for line in lines) == 1
    assert set(result.measures) == {"false_alarm_rate", "false_alarm_area", FALLBACK}
    assert result.best_threshold is None
    rows = rows_of(tmp_path / "run")
    assert rows[0]["S"] == rows[0]["Dice"] == ""
    errors = [float(row[FALLBACK]) for row in rows]
    assert result.best_epoch == 1 + int(np.argmin(errors))
    assert result.weights.name == "best.safetensors"


@pytest.mark.slow
def test_the_papers_protocol_in_validation(pictures: Path, tmp_path: Path) -> None:
    data = {"data": str(pictures), "val_fraction": 0.5, "limit": 6, "workers": 0}
    recipe = {"epochs": 1, "lr": 1e-12, "min_lr": 0}
    raw, paper = (
        run(tmp_path / name, pictures, data=data, protocol=name, **recipe)
        for name in ("raw", "benchmark")
    )
    names = (tmp_path / "raw" / "val.txt").read_text().split()
    jobs = plan_outputs([pictures / "images"], tmp_path / "maps", names=names)
    segmenter = dsunet.Segmenter(paper.weights, device="cpu")
    predict_files(segmenter, jobs, tmp_path / "maps")
    for name, result in (("raw", raw), ("benchmark", paper)):
        found = dsunet.evaluate(tmp_path / "maps", pictures / "masks", names, protocol=name)  # type: ignore[arg-type]
        for key in ("S", "F", "E", "MAE"):
            assert result.measures[key] == found[key]
    assert raw.measures["S"] != paper.measures["S"]
    assert raw.measures["Dice"] == paper.measures["Dice"]  # of what predict writes, by both


def test_a_run_of_before_goes_on_by_its_protocol(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    """Its measures are stretched ones, which are not to be mixed with others."""
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    settings = yaml.safe_load((old / "config.yaml").read_text())
    for name in ("protocol", "best_by", "threshold"):
        settings.pop(name)
    (old / "config.yaml").write_text(yaml.safe_dump(settings))
    assert recorded_protocol(old, TrainConfig()).protocol == "benchmark"
    assert recorded_protocol(trained, TrainConfig()).protocol == "raw"
    assert recorded_protocol(tmp_path, TrainConfig()).protocol == "raw"
    data = {"data": str(pictures), "val_fraction": 0.3, "workers": 0}
    assert run(old, pictures, data=data, resume=True).epochs == 2
    with pytest.raises(OutputError, match="was started with protocol = 'raw', not 'benchmark'"):
        run(trained, pictures, data=data, resume=True, protocol="benchmark")


@pytest.mark.parametrize("average", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
@pytest.mark.slow
def test_the_loss_of_validation_is_that_of_training(
    pictures: Path, tmp_path: Path, average: float
) -> None:
    """Of what is validated, every picture alike, and worked out here from the saved weights."""
    data = {"data": str(pictures), "val_fraction": 0.3, "workers": 0}
    loss = LossConfig("boundary_weighted", (0.5, 0.0, 1.0), ssim=0.3)
    dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(**data),
        TrainConfig(epochs=1, batch_size=4, device="cpu", average=average),
        loss,
    )
    model = dsunet.load(tmp_path / "run" / "last.safetensors")
    names = (tmp_path / "run" / "val.txt").read_text().split()
    pairs = [pair for pair in find_pairs(pictures) if pair.name in names]
    losses = []
    for number in range(len(pairs)):
        batch = collate([PairDataset(pairs, (128, 128), (112, 112))[0, number]])
        with torch.inference_mode():
            logits = model(batch.sam, batch.dino)
        fine = structure_loss(logits.fine, batch.mask, "boundary_weighted")
        coarse = structure_loss(logits.coarse, batch.mask, "boundary_weighted")
        losses.append(float(0.5 * coarse + fine + 0.3 * similarity_loss(logits.fine, batch.mask)))
    [row] = rows_of(tmp_path / "run")
    assert len(losses) == 3
    assert float(row["val_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    assert list(row)[:3] == ["epoch", "loss", "val_loss"]


def test_ignored_pixels_count_in_no_measure() -> None:
    rng = np.random.default_rng(0)
    probabilities = [rng.random((20, 20), np.float32) for _ in range(2)]
    truths: list[Any] = [np.where(p > 0.4, 255, 0).astype(np.uint8) for p in probabilities]
    ignored = np.zeros((20, 20), bool)
    ignored[:, :7] = True
    module = SegmentationModule(nano(), TrainConfig(), LossConfig())
    fine = torch.logit(torch.from_numpy(np.stack(probabilities)[:, None]))
    module.validated_logits = lambda batch: SegmentationLogits(None, None, fine)  # type: ignore[method-assign]
    view = torch.zeros(2, 3, 20, 20)
    batch = Batch(["a", "b"], view, None, view[:, :1], truths, [None] * 2, [None] * 2)
    found = []
    for apart in (None, [ignored, None]):
        module.on_validation_epoch_start()
        module.validation_step(batch._replace(ignored=apart), 0)
        assert module.measures is not None
        for one in module._measured:  # which all processes' are added of in the end
            assert one is not None
            module.measures.add(one)
        found.append(module.measures.compute()["MAE"])
    expected = [
        np.mean(
            [
                measure(quantise(p), Truth(truth, apart)).values["MAE"]
                for p, truth, apart in zip(probabilities, truths, each, strict=True)
            ]
        )
        for each in ((None, None), (ignored, None))
    ]
    assert found == expected
    assert found[0] != found[1]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="best_by is 'Fmax', but needs one of S, F, E, MAE, Dice"):
        TrainConfig(best_by="Fmax")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="protocol is 'stretched', but needs one of raw, bench"):
        TrainConfig(protocol="stretched")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"threshold is 0, but needs \(0, 1\]"):
        TrainConfig(threshold=0)


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ("S,F,E,MAE", ["S", "F", "E", "MAE"]),  # of an earlier version
        (
            "S,F,E,MAE,Dice,IoU,false_alarm_rate",
            ["S", "F", "E", "MAE", "Dice", "IoU", "false alarms"],
        ),
        ("false_alarm_rate,MAE_without_object", ["false alarms", "MAE without\nobject"]),
    ],
)
def test_curves_show_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str, labels: list[str]
) -> None:
    from matplotlib.figure import Figure

    table = tmp_path / "metrics.csv"
    numbers = ",".join("0.5" for _ in columns.split(","))
    table.write_text(f"epoch,loss,{columns}\n1,2.0,{numbers}\n2,1.0,{numbers}\n")
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: seen.append(self))
    plot_curves(table, tmp_path / "curves.png")
    drawn = [line.get_label() for line in seen[0].axes[1].lines]
    assert drawn == labels
    assert [line.get_label() for line in seen[0].axes[0].lines] == ["training"]  # of before
    table.write_text(f"epoch,loss,val_loss,{columns}\n1,2.0,,{numbers}\n2,1.0,1.5,{numbers}\n")
    plot_curves(table, tmp_path / "curves.png")
    of_validation = seen[1].axes[0].lines[1]
    assert of_validation.get_label() == "validation"
    assert list(of_validation.get_xydata()[0]) == [2, 1.5]
