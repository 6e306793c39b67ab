"""`dsunet train --folds`: a training for each fold, and what all of them came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsunet.cli import main
from dsunet.cli.train import _spread
from dsunet.data.synthetic import write_synthetic

QUICK = (
    "--model dsunet-nano --epochs 1 --warmup-epochs 0 --batch-size 2 --workers 0 --device cpu "
    "--sam-size 128 --dino-size 112"
).split()


def test_spread() -> None:
    spread = _spread([{"S": 0.5, "F": 1.0, "x": 0.0}, {"S": 0.7, "F": 1.0}])
    assert spread["S"] == pytest.approx((0.6, 0.1 * 2**0.5))
    assert spread["F"] == (1.0, 0.0)
    assert "x" not in spread


@pytest.mark.slow
def test_two_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic(tmp_path / "data", 6, 48, seed=1)
    runs = tmp_path / "runs"
    command = ["train", "--data", str(tmp_path / "data"), "--folds", "2", "--output", str(runs)]
    assert main([*command, *QUICK]) == 0
    said = capsys.readouterr().out
    assert "fold 2 of 2 is held out: 3 of 6 pairs" in said
    assert "mean ± standard deviation of 2 folds: S 0." in said
    content = json.loads((runs / "folds.json").read_text())
    assert [Path(each["folder"]).name for each in content["folds"]] == ["fold-1", "fold-2"]
    values = [each["S"] for each in content["folds"]]
    assert content["mean"]["S"] == pytest.approx(sum(values) / 2)
    out = [(runs / f"fold-{n}" / "val.txt").read_text().split() for n in (1, 2)]
    assert len({*out[0], *out[1]}) == 6
    assert main([*command, *QUICK, "--resume"]) == 0
    assert json.loads((runs / "folds.json").read_text()) == content


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--folds", "1"], "--folds is 1, but needs at least 2"),
        (["--folds", "3", "--fold", "1/2"], "--fold and --folds exclude each other"),
        (["--folds", "3", "--val-fraction", "0.2"], "exclude each other: give one"),
    ],
)
def test_settings(
    tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "data", 6, 48, seed=1)
    command = ["train", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "runs")]
    assert main([*command, *QUICK, *flags]) == 1
    assert message in capsys.readouterr().err
