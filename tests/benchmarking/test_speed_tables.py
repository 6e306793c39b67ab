"""What is said about measurements, and what is written down."""

from __future__ import annotations

import json
import subprocess

import pytest
import torch

from dsunet.benchmarking import Failure, circumstances, comparisons, ratios, record, table_of
from dsunet.config import ModelConfig
from helpers import TESTS
from measured import made_up, small, variant


def test_ratios_say_who_is_quicker() -> None:
    ours = made_up(variant(), (1.0, 2.0, 9.0), 4 * 10**9)
    naive = made_up(variant().baseline(), (6.0, 5.0, 7.0), 8 * 10**9)
    assert ratios(naive, ours) == {"speedup": 3.0, "memory": 0.5}
    assert ratios(ours, naive) == {"speedup": round(1 / 3, 4), "memory": 2.0}
    assert ratios(made_up(variant(), (6.0,), None), ours)["memory"] is None
    assert comparisons([ours, naive]) == [
        {"variant": "ours", "batch_size": 2, "speedup": 3.0, "memory": 0.5}
    ]
    assert comparisons([ours]) == []


def test_table() -> None:
    ours = made_up(variant(feature_cache=True), (1.0, 2.0, 9.0), 4 * 10**9)
    naive = made_up(variant().baseline(), (6.0, 5.0, 7.0), 8 * 10**9)
    table = table_of([ours, naive, Failure(variant("third"), "no")], "title")
    assert [c.title for c in table.columns][:4] == ["s/step", "min", "max", "img/s"]
    assert [cell and cell.value for cell in table.rows[0].cells] == [
        2.0,
        1.0,
        9.0,
        1.0,  # two images in two seconds
        4.0,
        15.0,  # 30 GFLOP a step of two images
        15.0,  # 15 of 100 GFLOP/s
    ]
    assert [row.name for row in table.rows] == ["ours", "naive"]
    notes = " ".join(table.notes)
    assert "ours: float32, features from a file." in notes
    assert "naive: float32, whole attention matrices, all outputs, NCHW, no feature cache" in notes
    assert "100 GFLOP/s (float32)" in notes
    assert "3.00 times as quick as the naive way, with 0.50 of its memory" in notes


def test_table_of_predictions_is_per_image() -> None:
    results = [
        made_up(variant(task="predict", batch_size=size), (seconds,))
        for size, seconds in ((1, 0.2), (4, 0.4))
    ]
    table = table_of(results, "")
    assert table.columns[0].title == "ms/image"
    assert [row.group for row in table.rows] == ["batch 1", "batch 4"]
    values = [row.cells[0].value for row in table.rows if row.cells[0]]
    assert values == pytest.approx([200.0, 100.0])
    with pytest.raises(ValueError, match="nothing could be measured"):
        table_of([Failure(variant(), "no")], "")


def test_record() -> None:
    written = json.loads(json.dumps(record("dsunet benchmark train", [made_up(variant(), (2.0,))])))
    assert written["command"] == "dsunet benchmark train"
    assert written["weights"] == "random"
    (result,) = written["results"]
    assert result["median_seconds"] == 2.0
    assert result["images_per_second"] == 1.0
    assert result["share_of_matrix_product"] == 0.15
    assert result["matrix_product"]["flops_per_second"] == 100 * 10**9
    assert ModelConfig(**result["variant"]["model"]) == small()
    about = written["circumstances"]
    assert about["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert about["cores"] >= 1
    assert len(about["date"]) == 10


def test_the_commit_is_that_of_the_checkout() -> None:
    call = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, cwd=TESTS)
    except OSError:
        pytest.skip("git is not there")
    head = done.stdout.strip() or None
    commit = circumstances()["commit"]
    if head is None:
        assert commit is None
    elif commit is not None:  # None while the package's files are not committed
        assert commit.removesuffix("+") == head
