"""Several models as one: the mean of their maps, from Python and by `--weights`."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.cli.parser import Parser
from dsunet.cli.predict import PREDICT
from dsunet.cli.predict_asked import sort_out
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import CheckpointError, ConfigError
from dsunet.predict.engines.ensemble import EnsembleEngine
from dsunet.predict.members import find_members, is_meant_as_weights

PICTURE = synthetic_pair(0, 90)[0]


@functools.cache
def network(seed: int = 0, side: int = 64, **settings: Any) -> dsunet.DSUNet:
    torch.manual_seed(seed)
    return dsunet.create_model("dsunet-lite", weights=None, sam_size=side, **settings).eval()


def map_of(given: Any, **settings: Any) -> np.ndarray:
    return dsunet.Segmenter(given, "cpu", "float32", **settings)(PICTURE).probability


def red(image: np.ndarray) -> np.ndarray:
    return image[..., 0] / np.float32(255)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that `dsunet train --folds 2` leaves, as far as prediction looks at them."""
    for number in (1, 2):
        folder = tmp_path / "runs" / f"fold-{number}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("model: dsunet-lite\n")
        dsunet.save(network(number, 64 if number == 1 else 96), folder / "best.safetensors")
    (tmp_path / "runs" / "folds.json").write_text("{}")
    PICTURE.save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_the_map_is_the_mean_of_the_members_own_whatever_they_are() -> None:
    """Two networks with views of their own, the shipped file on onnxruntime, and a function."""
    onnx = str(Path(dsunet.__file__).parent / "weights/shipped/dsunet-lite-v3.onnx")
    members = [network(0), network(1, 96), onnx, red]
    each = [map_of(member) for member in members]
    segmenter = dsunet.Segmenter(members, "cpu", "float32")
    found = segmenter(PICTURE)
    np.testing.assert_allclose(found.probability, np.mean(each, 0), atol=1e-6)
    assert found.probability.dtype == np.float32
    assert np.ptp(each, axis=0).max() > 0.2  # they differ, so that the mean is none of them
    assert segmenter.view == (352, 352)
    assert segmenter.largest_side is None  # of the function
    assert dsunet.Segmenter(members[:2]).largest_side == 96
    # a function alone takes one picture a time, and so does what it is a member of
    again = segmenter([PICTURE, PICTURE], batch_size=2)
    np.testing.assert_allclose(again[1].probability, found.probability, atol=1e-6)
    assert len(segmenter.model) == 4


def test_one_in_a_list_is_the_model_itself_and_what_is_alike_is_prepared_once() -> None:
    np.testing.assert_array_equal(map_of([network()]), map_of(network()))
    engine = dsunet.Segmenter([network(0), network(1), network(2, 96)], "cpu").engine
    assert isinstance(engine, EnsembleEngine)
    first, second, third = engine.prepare(PICTURE)
    assert first is second
    assert third.sam.shape == (3, 96, 96)


def test_views_flips_and_zoom_are_those_of_all() -> None:
    members = [network(0), network(1)]
    each = [map_of(member, flips=True, view=96) for member in members]
    mean = map_of(members, flips=True, view=96)
    np.testing.assert_allclose(mean, np.mean(each, 0), atol=1e-6)
    closer = dsunet.Segmenter(members, "cpu", zoom=True)
    assert closer(PICTURE).probability.shape == (90, 90)
    assert closer.view == (64, 64)


@pytest.mark.slow
def test_the_recipe_makes_it_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs.parent / "ensemble_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(runs.parent)
    own = __import__("ensemble_own")
    try:
        dsunet.save(dsunet.network.source.CustomSource.of(own.net).network(), runs / "own.pt.st")
        segmenter = dsunet.Segmenter(
            [runs / "fold-1", ("ensemble_own:net", runs / "own.pt.st")], "cpu", flips=True
        )
        again = segmenter.recipe.build()
        assert again.recipe == segmenter.recipe
        np.testing.assert_array_equal(again(PICTURE).probability, segmenter(PICTURE).probability)
        with pytest.raises(ConfigError, match="no other process finds by that name"):
            _ = dsunet.Segmenter([runs / "fold-1", own.net()], "cpu").recipe
        with pytest.raises(ConfigError, match="of a network in memory"):
            _ = dsunet.Segmenter([runs / "fold-1", network()], "cpu").recipe
    finally:
        del sys.modules["ensemble_own"]


OWN = """
import torch
from torch import nn

def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
"""


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([], {}, "the list of models is empty"),
        ([red, red], {"weights": "x"}, r"give a pair \(model, weights\)"),
        ([(red, "a", "b")], {}, r"is neither a model nor a pair"),
        ([red, red], {"flips": True}, "`flips` is for networks"),
    ],
)
def test_what_makes_no_ensemble(given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dsunet.Segmenter(given, "cpu", **options)


def test_members_that_see_pictures_otherwise_need_to_be_told() -> None:
    members = [network(0), network(1, intensity="0,4095")]
    with pytest.raises(ConfigError, match=r"\(full, 0,4095\); say which by `intensity`"):
        dsunet.Segmenter(members, "cpu")
    assert dsunet.Segmenter(members, "cpu", intensity="full").intensity == "full"


def test_patterns_find_runs_and_weights_each_once(runs: Path) -> None:
    folds = [f"runs/fold-{number}" for number in (1, 2)]
    assert find_members(["runs/fold*"]) == folds  # and not folds.json
    assert find_members(["runs/fold-2", "runs/fold-*"]) == [folds[1], folds[0]]
    assert find_members(["runs/*/best.safetensors"])[0] == f"{folds[0]}/best.safetensors"
    assert find_members(["anything.pt"]) == ["anything.pt"]  # whoever opens it says what is wrong
    (runs / "fold-3").mkdir()
    assert find_members(["runs/fold*"]) == folds
    (runs / "fold-3" / "config.yaml").touch()
    with pytest.raises(CheckpointError, match="finds runs/fold-3, a run without weights yet"):
        find_members(["runs/fold*"])
    with pytest.raises(CheckpointError, match=r"finds no weights \(only runs/folds.json\)"):
        find_members(["runs/*.json"])
    with pytest.raises(CheckpointError, match="the pattern nothing\\* finds no weights; give"):
        find_members(["nothing*"])


def predict(*words: str) -> int:
    return main(["predict", *words, "--device", "cpu", "--precision", "float32"])


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        ("photo.png --weights runs/fold*", "photo.png"),
        # as the shell writes the pattern out, before and after the image
        ("photo.png --weights runs/fold-1 runs/fold-2 runs/folds.json", "photo.png"),
        ("--weights runs/fold-1 runs/fold-2 runs/folds.json photo.png a.json", "photo.png a.json"),
        ("--weights runs/fold-1 photo.png --weights runs/fold-2", "photo.png"),
        ("- --weights runs/fold-1 runs/fold-[2] photo* runs/fold-2", "- photo*"),
        ("--weights runs/fold-1 runs/fold-2 -", "-"),
    ],
)
def test_weights_and_images_are_told_apart(runs: Path, words: str, paths: str) -> None:
    parser = Parser("predict", PREDICT.summary, PREDICT.examples)
    PREDICT.add_arguments(parser)
    arguments = parser.parse(words.split())
    sort_out(arguments)
    assert arguments.weights == ["runs/fold-1", "runs/fold-2"]
    assert arguments.paths == paths.split()


def test_a_name_of_weights_that_come_with_the_package_is_one_of_weights(runs: Path) -> None:
    assert is_meant_as_weights("dsunet-lite")
    assert not is_meant_as_weights("dsunet-large")
    assert not is_meant_as_weights("photo.png")


def test_the_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("--weights", "runs/fold-1", "runs/fold-2", "photo.png", "--output", "out") == 0
    said = capsys.readouterr().out
    assert "mean of 2 models: runs/fold-1/best.safetensors, runs/fold-2" in said
    assert "1 of 1 images written to out" in said
    written = np.asarray(Image.open("out/photo.png"))
    expected = dsunet.Segmenter(sorted(runs.glob("fold-*")), "cpu", "float32")(PICTURE).map()
    np.testing.assert_array_equal(written, expected)


@pytest.mark.slow
def test_going_on_looks_at_all_of_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("photo.png", "--weights", "runs/fold*", "--output", "out") == 0
    assert predict("photo.png", "--weights", "runs/fold*", "--output", "out", "--resume") == 0
    assert "1 were there already" in capsys.readouterr().out
    note = json.loads(Path("out/prediction.json").read_text())
    assert [Path(file).parent.name for file in note["weights"]] == ["fold-1", "fold-2"]
    dsunet.save(network(9), runs / "fold-2" / "best.safetensors")
    assert predict("photo.png", "--weights", "runs/fold*", "--output", "out", "--resume") == 1
    assert "made in another way (sha256)" in capsys.readouterr().err
    one = ("--weights", "runs/fold-1")
    assert predict("photo.png", *one, "--output", "out", "--resume") == 1
    assert "made in another way (sha256)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("none*", "the pattern none* finds no weights; give runs' folders or weights files"),
        ("runs", "it holds folds: give one, such as runs/fold-1, or all"),
        ("runs/fold*", "runs/fold-2/best.safetensors is"),
    ],
)
def test_errors_are_one_line(
    runs: Path, weights: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "fold-2" / "best.safetensors").write_bytes(b"nothing that anybody could read")
    assert predict("photo.png", "--weights", weights, "--output", "out") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert not Path("out").exists()


@pytest.mark.slow
def test_ones_own_and_dsunets_weights_together(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("ensemble_cli.py").write_text(OWN)
    try:
        source = dsunet.network.source.CustomSource.of("ensemble_cli:net")
        dsunet.save(source.network(), "own.safetensors")
        words = ("--weights", "runs/fold-1", "--weights", "own.safetensors", "--output", "out")
        assert predict("photo.png", "--model", "ensemble_cli:net", *words) == 0
        members = ["runs/fold-1", ("ensemble_cli:net", "own.safetensors")]
        expected = dsunet.Segmenter(members, "cpu", "float32")(PICTURE).map()
        np.testing.assert_array_equal(np.asarray(Image.open("out/photo.png")), expected)
        capsys.readouterr()
        assert predict("photo.png", *words) == 1  # nothing runs that nobody named
        assert "no code that a file names is run" in capsys.readouterr().err
    finally:
        sys.modules.pop("ensemble_cli", None)
    assert isinstance(source.network().network, nn.Sequential)
