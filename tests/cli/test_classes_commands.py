"""What commands do with a model of several classes: they work, or refuse it in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import dsunet
from dsunet.cli import main
from dsunet.config import ServeConfig, require_one_class
from dsunet.errors import ConfigError
from dsunet.serve.work import segmenter_of
from helpers import nano

CLASSES = ("red", "blue")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two classes that were never trained."""
    file = tmp_path_factory.mktemp("weights") / "two.safetensors"
    dsunet.save(nano(classes=CLASSES), file)
    return file


REFUSING = {
    "calibrate": "calibrate {weights} --data {pairs}",
    "cluster": "predict {pairs}/images --weights {weights} --output {new} --cluster local",
    "distill": "distill --data {pairs} --teacher {weights} --model dsunet-nano --output {new}",
    "zoom": "predict {pairs}/images --weights {weights} --output {new} --zoom",
    "cutout": "predict {pairs}/images --weights {weights} --output {new} --save cutout",
    "prune": "prune {weights} --data {pairs} --val-fraction 0.5 --output {new}",
    "convert": "convert {weights} {new}.pth",
    "plan": "plan {pairs} --classes red,blue",
    "train by a plan": "train --data {pairs} --plan auto --classes red,blue --output {new}",
    "students": "distill --data {pairs} --teacher dsunet-lite --model dsunet-nano "
    "--classes red,blue --output {new}",
}


@pytest.mark.parametrize("command", REFUSING.values(), ids=REFUSING)
def test_commands_for_one_map_say_so_in_one_line(
    command: str,
    weights: Path,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = command.format(weights=weights, pairs=pairs, new=tmp_path / "new").split()
    assert main(words) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(said) == 1
    assert "takes networks of one map; this one has 2 classes (red, blue)" in said[0]
    assert not (tmp_path / "new" / "config.yaml").exists()


def test_the_service_refuses_before_it_listens(weights: Path) -> None:
    with pytest.raises(ConfigError, match="the service takes networks of one map"):
        segmenter_of(ServeConfig(weights=str(weights), device="cpu"))


def test_the_line() -> None:
    require_one_class((), "a teacher")
    with pytest.raises(ConfigError) as caught:
        require_one_class(("red",), "a teacher", "leave it out")
    assert str(caught.value) == (
        "a teacher takes networks of one map; this one has 1 class (red); leave it out"
    )


WORKING = {
    "check": "data check {data} --classes red,blue --sheet {new}.png",
    "info": "info {weights}",
    "measure": "measure {data}/masks --classes 1=red,2=blue --output {new}.csv",
}


@pytest.mark.parametrize("command", WORKING.values(), ids=WORKING)
def test_commands_that_take_classes(
    command: str, weights: Path, class_pictures: Path, tmp_path: Path
) -> None:
    words = command.format(weights=weights, data=class_pictures, new=tmp_path / "new").split()
    assert main(words) == 0


def test_a_report_has_the_measures_of_each_class(of_classes: Path, tmp_path: Path) -> None:
    assert main(["report", f"{of_classes}", "--output", f"{tmp_path}/r.html"]) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "mean IoU" in page
    assert "IoU red" in page
    assert "Of each class from the pixels of all validation pictures" in page


def test_settings_of_a_run_are_those_of_another(
    of_classes: Path, class_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's config.yaml, which has a list, goes on; other classes do not."""
    given = ["train", "--config", f"{of_classes}/config.yaml", "--output", f"{of_classes}"]
    assert main([*given, "--resume", "--report", "false"]) == 0
    assert main([*given, "--resume", "--classes", "blue,red"]) == 1
    assert "classes = ['red', 'blue'], not ['blue', 'red']" in capsys.readouterr().err
