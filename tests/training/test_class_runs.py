"""Trainings of several classes: measures of each, what decides, files, and going on."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import dsunet
from dsunet.config import DataConfig, DistillConfig, LossConfig, TrainConfig
from dsunet.data.class_tables import reading_of_classes
from dsunet.data.pairs import read_names
from dsunet.errors import ConfigError, DsunetError
from dsunet.metrics.class_evaluation import evaluate_classes
from dsunet.metrics.classes import ClassMeasures, class_counts
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.training.callbacks import columns_of
from dsunet.training.choosing import deciding, is_better
from dsunet.training.classes import check_classes, named_model
from dsunet.weights.checkpoint import read_metadata
from runs import MODEL, run, states_equal

CLASSES = ("red", "blue")
NAMED = dataclasses.replace(MODEL, classes=CLASSES)


def test_iou_and_dice_over_a_set_by_hand() -> None:
    measures = ClassMeasures(("a", "b", "c", "d"))
    truth, found = np.zeros((2, 4, 2, 4), bool)
    truth[0, :, :2], found[0, 0] = True, True  # 2 hits, 2 false alarms, 2 misses
    truth[1, 0, 0] = True  # 1 miss
    found[2, 1, 1] = True  # 1 false alarm
    measures.add(class_counts(found, truth))
    assert measures.counts.tolist() == [[2, 2, 2], [0, 0, 1], [0, 1, 0], [0, 0, 0]]
    measures.add(class_counts(truth, truth))
    assert measures.iou()[:3] == [6 / 10, 1 / 2, 0.0]
    assert measures.dice()[:3] == [12 / 16, 2 / 3, 0.0]
    summary = measures.summary()
    assert summary["mIoU"] == pytest.approx((0.6 + 0.5 + 0) / 3)  # d, which is nowhere, has no part
    assert "IoU/d" not in summary
    assert list(summary) == [
        *("mIoU", "mDice", "IoU/a", "IoU/b", "IoU/c", "Dice/a", "Dice/b", "Dice/c")
    ]


def test_ignored_pixels_are_not_counted() -> None:
    truth, found = np.zeros((2, 1, 2, 2), bool)
    truth[0, 0], found[0, :, 0] = True, True
    ignored = np.array([[False, True], [True, False]])
    assert class_counts(found, truth, ignored).tolist() == [[1, 0, 0]]


def test_nothing_measured_is_nothing() -> None:
    assert ClassMeasures(CLASSES).summary() == {}
    with pytest.raises(ValueError, match="masks found"):
        class_counts(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool))


@pytest.mark.parametrize(
    ("best_by", "decides"), [("S", "mIoU"), ("IoU", "mIoU"), ("Dice", "mDice")]
)
def test_the_mean_over_classes_decides(best_by: str, decides: str) -> None:
    measures = {"mIoU": 0.5, "mDice": 0.7, "IoU/red": 0.9}
    assert deciding(measures, best_by) == (decides, measures[decides])
    assert is_better(decides, 0.6, 0.5)
    assert not is_better(decides, 0.5, 0.5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recipe": TrainConfig(best_by="MAE")}, "needs one of S, IoU, Dice"),
        (
            {"recipe": TrainConfig(protocol="benchmark")},
            "`protocol` benchmark takes networks of one",
        ),
        ({"loss": LossConfig(positive_weight="auto")}, "`positive_weight` auto takes networks"),
        ({"data": DataConfig("d", transform="a:b")}, r"`transform` .* 2 classes \(red, blue\)"),
        ({"data": DataConfig("d", tile=64)}, "`tile` takes networks of one map"),
        ({"distill": DistillConfig("t")}, "distillation takes networks of one map"),
    ],
)
def test_what_does_not_go_with_classes(settings: dict[str, object], said: str) -> None:
    usual = {"data": DataConfig("d"), "recipe": TrainConfig(), "loss": LossConfig()}
    asked = {**usual, "distill": None, **settings}
    check_classes(MODEL, **{**usual, "distill": None})  # type: ignore[arg-type]
    check_classes(NAMED, **{**usual, "distill": None})  # type: ignore[arg-type]
    check_classes(MODEL, **asked)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        check_classes(NAMED, **asked)  # type: ignore[arg-type]


def test_exclusive_needs_classes() -> None:
    lone = dataclasses.replace(MODEL, exclusive=False)
    with pytest.raises(ConfigError, match="give `classes`"):
        check_classes(lone, DataConfig("d"), TrainConfig(), LossConfig(), None)


def test_a_table_names_the_classes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,value\nbackground,0\nblue,2\nred,1\nignore,255\n")
    data = DataConfig("d", class_table=str(tmp_path / "t.csv"))
    assert named_model(MODEL, data).classes == ("blue", "red")
    assert named_model(NAMED, data) is NAMED
    assert named_model(MODEL, DataConfig("d")) is MODEL


def test_a_run_has_the_measures_of_each_class(of_classes: Path) -> None:
    with open(of_classes / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == columns_of(CLASSES)
    best = max(rows, key=lambda row: float(row["mIoU"]))
    about = read_metadata(of_classes / "best.safetensors")
    assert about["model"]["classes"] == list(CLASSES)
    assert about["model"]["exclusive"] is True
    assert str(about["training"]["epoch"]) == best["epoch"]
    told = about["training"]["measures"]
    assert all(float(best[key]) == value for key, value in told.items())
    assert len(told) == 6
    settings = yaml.safe_load((of_classes / "config.yaml").read_text())
    assert settings["classes"] == list(CLASSES)
    assert (of_classes / "validation.png").is_file()
    assert (of_classes / "curves.png").is_file()


def test_settings_of_one_map_say_nothing_of_classes(trained: Path) -> None:
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert not {"classes", "exclusive", "class_table"} & set(settings)


def test_validation_prediction_and_evaluation_agree(
    of_classes: Path, class_pictures: Path, tmp_path: Path
) -> None:
    names = read_names(of_classes / "val.txt")
    segmenter = dsunet.Segmenter(of_classes, "cpu")
    options = Options(save=("labels",))
    jobs = plan_outputs([class_pictures / "images"], tmp_path, ("labels",), names)
    predict_files(segmenter, jobs, tmp_path, options)
    found = evaluate_classes(tmp_path, class_pictures / "masks", reading_of_classes(CLASSES), names)
    told = read_metadata(of_classes / "best.safetensors")["training"]["measures"]
    for name in CLASSES:
        assert found.scores[name]["IoU"] == told[f"IoU/{name}"]
        assert found.scores[name]["Dice"] == told[f"Dice/{name}"]
    assert found.mean["IoU"] == told["mIoU"]


@pytest.mark.slow
def test_independent_classes_from_one_map_go_on_where_they_stopped(
    trained: Path, class_pictures: Path, tmp_path: Path, plain: None
) -> None:
    """From weights of one map, in one go and in two."""
    model = dataclasses.replace(NAMED, exclusive=False)
    data = {"data": str(class_pictures), "workers": 0, "limit": 2}
    weights = str(trained / "best.safetensors")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, class_pictures, model, data, weights=weights, epochs=2)
    enough = "dsunet.training.callbacks.RunFolder._is_enough"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enough, lambda self, epoch, module: epoch == 1)
        run(parts, class_pictures, model, data, weights=weights, epochs=2)
    result = run(parts, class_pictures, model, data, weights=weights, epochs=2, resume=True)
    assert result.epochs == 2
    assert states_equal(whole / "last.safetensors", parts / "last.safetensors")
    heads = dsunet.load(parts / "last.safetensors").state_dict()["decoder.heads.2.weight"]
    assert not torch.equal(heads[0], heads[1])  # classes have parted company


def test_a_run_goes_on_with_its_classes_alone(
    of_classes: Path, class_pictures: Path, tmp_path: Path
) -> None:
    other = dataclasses.replace(NAMED, classes=("blue", "red"))
    data = {"data": str(class_pictures), "val_fraction": 0.3, "workers": 0}
    with pytest.raises(DsunetError, match="classes"):
        run(of_classes, class_pictures, other, data=data, resume=True)
