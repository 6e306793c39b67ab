"""A model calibrated, and what takes its thresholds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.calibration import Wanted, calibrate, choose, observe
from dsunet.cli import main
from dsunet.config import Options, model_config
from dsunet.data import find_pairs
from dsunet.errors import CheckpointError, ConfigError, OutputError
from dsunet.export import export_model
from dsunet.predict import plan_outputs, predict_files
from dsunet.predict.pairs import segmented
from dsunet.weights.checkpoint import read_checkpoint, save

NANO = model_config("dsunet-nano", sam_size=128, dino_size=112)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network as it is made, but louder, so that maps have more than one value."""
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    torch.manual_seed(0)
    network = dsunet.create_model("dsunet-nano", None, sam_size=128, dino_size=112)
    with torch.no_grad():
        for parameter in network.decoder.parameters():
            parameter.mul_(1.5)
    save(network, path)
    return path


@pytest.fixture(scope="module")
def mixed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs, the masks of two of which are empty."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("images", "masks"):
        (folder / name).mkdir()
        for file in sorted((pictures / name).iterdir())[:6]:
            shutil.copy(file, folder / name)
    for file in sorted((folder / "masks").iterdir())[:2]:
        with Image.open(file) as mask:
            size = mask.size
        Image.new("L", size).save(file)
    return folder


@pytest.fixture(scope="module")
def calibrated(weights: Path, mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with thresholds."""
    path = tmp_path_factory.mktemp("calibrated") / "nano.safetensors"
    figure = path.with_name("curves.png")
    command = ["calibrate", str(weights), "--data", str(mixed), "--device", "cpu"]
    assert main([*command, "--output", str(path), "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    return path


def test_thresholds_are_kept_with_the_weights(weights: Path, mixed: Path, calibrated: Path) -> None:
    looked_at = segmented(dsunet.Segmenter(weights, "cpu"), find_pairs(mixed), pytest.fail)
    expected = choose([observe(one.levels, one.truth) for one in looked_at], Wanted())
    about, tensors = read_checkpoint(calibrated)
    assert about["training"]["calibration"] == expected.to_dict()
    before, own = read_checkpoint(weights)
    assert "calibration" not in before["training"]
    assert all(np.array_equal(tensors[name], own[name]) for name in own)
    segmenter = dsunet.Segmenter(calibrated, "cpu")
    assert segmenter.threshold == expected.threshold
    assert segmenter.image_threshold == expected.image_threshold
    assert dsunet.Segmenter(weights, "cpu").threshold == 0.5
    # what is loaded and saved again keeps them
    again = calibrated.with_name("again.safetensors")
    dsunet.save(dsunet.load(calibrated), again)
    assert dsunet.Segmenter(again, "cpu").threshold == expected.threshold


def test_python_takes_them(calibrated: Path, mixed: Path) -> None:
    segmenter = dsunet.Segmenter(calibrated, "cpu")
    image = sorted((mixed / "images").iterdir())[3]
    result = segmenter(image)
    assert np.array_equal(result.binary(), result.probability >= segmenter.threshold)
    assert not np.array_equal(result.binary(0.99), result.binary())
    assert result.image_threshold is not None
    assert result.has_object is (result.score >= result.image_threshold)
    assert result.abstaining(0) is result
    nothing = result.abstaining(1)
    assert not nothing.probability.any()
    assert not nothing.has_object
    assert nothing.box() is None


def test_predict_takes_them_and_says_so(
    weights: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = dsunet.Segmenter(weights, "cpu")
    found = {path.stem: plain(path) for path in (mixed / "images").iterdir()}
    least = float(np.median([result.score for result in found.values()]))
    middle = float(np.median([np.median(result.probability) for result in found.values()]))
    told = {"threshold": middle, "image_threshold": least}
    calibrated = tmp_path / "calibrated.safetensors"
    dsunet.save(dsunet.load(weights), calibrated, training={"calibration": told})
    below = {name for name, result in found.items() if result.score < least}
    assert len(below) == 3
    command = ["predict", str(mixed / "images"), "--weights", str(calibrated), "--device", "cpu"]
    maps = tmp_path / "maps"
    command += ["--save", "binary", "--abstain", "--output", str(maps)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert f"threshold {middle:g}, as the weights were calibrated" in out
    assert f"images whose score is below {least:.4g} get an empty mask, as the weights" in out
    assert f"{len(below)} images are taken for ones without an object" in out
    for name, result in found.items():
        written = np.asarray(Image.open(maps / f"{name}.png")) > 0
        expected = result.binary(middle) & (name not in below)
        assert np.array_equal(written, expected)
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--resume", "--image-threshold", "0"]) == 1
    assert "made in another way (image_threshold)" in capsys.readouterr().err


def test_a_single_image_and_other_thresholds(
    calibrated: Path, weights: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(sorted((mixed / "images").iterdir())[0])
    command = ["predict", image, "--device", "cpu", "--output", str(tmp_path / "one.png")]
    assert (
        main([*command, "--weights", str(calibrated), "--abstain", "--image-threshold", "1"]) == 0
    )
    assert "is taken for one without an object, so the output is empty" in capsys.readouterr().out
    assert not np.asarray(Image.open(tmp_path / "one.png")).any()
    assert main([*command, "--weights", str(weights), "--abstain"]) == 1
    said = capsys.readouterr().err
    assert "does not say one: give --image-threshold, or calibrate the model" in said
    assert main([*command, "--weights", str(weights), "--image-threshold", "0.5"]) == 1
    assert "--image-threshold is for --abstain" in capsys.readouterr().err


def test_outputs_of_calibrated_weights_go_on_as_they_were(
    calibrated: Path, mixed: Path, tmp_path: Path
) -> None:
    """Notes from before there were calibrated weights say nothing of them."""
    segmenter = dsunet.Segmenter(calibrated, "cpu")
    jobs = plan_outputs([mixed / "images"], tmp_path)
    predict_files(segmenter, jobs, tmp_path)
    note = tmp_path / "prediction.json"
    told, times = json.loads(note.read_bytes()), note.stat()
    for key in ("abstain", "image_threshold", "usual_threshold"):
        del told[key]
    note.write_text(json.dumps(told))
    os.utime(note, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert predict_files(segmenter, jobs, tmp_path, resume=True).skipped == 6


def test_a_run_is_calibrated_on_what_it_holds_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert main(["calibrate", str(run), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "chosen on 3 pictures with an object and 0 without, by the best Dice" in out
    assert f"kept in {run / 'best.safetensors'}" in out
    assert (run / "calibration.png").is_file()
    about, _ = read_checkpoint(run / "best.safetensors")
    assert about["training"]["calibration"]["threshold"] == dsunet.Segmenter(run, "cpu").threshold
    assert main(["calibrate", str(run), "--false-alarm-rate", "0.1", "--device", "cpu"]) == 1
    assert "--false-alarm-rate needs pictures without an object" in capsys.readouterr().err


def test_an_exported_file_has_them(calibrated: Path, tmp_path: Path) -> None:
    """Here of a network with which torch's exporter is done soon."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    about, _ = read_checkpoint(calibrated)
    network = dsunet.CustomModel(torch.nn.Conv2d(3, 1, 1), 32)
    weights, exported = tmp_path / "dot.safetensors", tmp_path / "dot.onnx"
    dsunet.save(network, weights, training={"calibration": about["training"]["calibration"]})
    export_model(network, exported, weights=weights)
    before, after = dsunet.Segmenter(calibrated, "cpu"), dsunet.Segmenter(exported)
    assert after.threshold == before.threshold != 0.5
    assert after.image_threshold == before.image_threshold


@pytest.mark.parametrize(
    "told", ["none", {"threshold": "0.3"}, {"threshold": 7.0, "image_threshold": float("nan")}]
)
def test_thresholds_that_are_none(weights: Path, tmp_path: Path, told: object) -> None:
    """Of a file that somebody has written by hand."""
    path = tmp_path / "odd.safetensors"
    dsunet.save(dsunet.load(weights), path, training={"calibration": told})
    segmenter = dsunet.Segmenter(path, "cpu")
    assert (segmenter.threshold, segmenter.image_threshold) == (0.5, None)


def test_what_a_run_was_trained_on_is_not_calibrated_by(
    trained: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where data have moved, say, and all of them are given."""
    target = tmp_path / "out.safetensors"
    command = ["calibrate", str(trained), "--data", str(pictures), "--output", str(target)]
    assert main([*command, "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "7 of the 10 pictures" in said
    assert f"--list {trained / 'val.txt'}" in said
    assert not target.exists()
    assert main([*command, "--list", str(trained / "val.txt"), "--device", "cpu"]) == 0
    assert "chosen on 3 pictures" in capsys.readouterr().out


def test_one_broken_picture_does_not_stop_the_others(
    weights: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(mixed, data)
    victim = sorted((data / "images").iterdir())[4]
    victim.write_bytes(victim.read_bytes()[:200])
    output = tmp_path / "out.safetensors"
    command = ["calibrate", str(weights), "--data", str(data), "--output", str(output)]
    assert main([*command, "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "chosen on 3 pictures with an object and 2 without" in said.out
    assert victim.name in said.err
    assert output.is_file()


@pytest.mark.slow
def test_masks_are_read_as_a_set(
    weights: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of numbers of classes a picture with the first one alone would look clear."""
    data = tmp_path / "data"
    shutil.copytree(mixed, data)
    for number, file in enumerate(sorted((data / "masks").iterdir())):
        with Image.open(file) as mask:
            found = np.asarray(mask.convert("L")) > 128
        Image.fromarray(found * np.uint8(1 + number % 3)).save(file)
    output = tmp_path / "out.safetensors"
    command = ["calibrate", str(weights), "--data", str(data), "--output", str(output)]
    assert main([*command, "--device", "cpu"]) == 1
    assert "unclear what the object is" in capsys.readouterr().err
    assert not output.exists()
    assert main([*command, "--object-values", "1,2,3", "--device", "cpu"]) == 0
    assert "chosen on 4 pictures with an object and 2 without" in capsys.readouterr().out
    for file in (data / "masks").iterdir():
        Image.new("L", (5, 9)).save(file)
    assert main([*command, "--device", "cpu"]) == 1
    assert "nothing to choose by; the first: " in capsys.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_calibrated(
    weights: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = find_pairs(mixed)
    with pytest.raises(CheckpointError, match="comes with dsunet and is not to be changed"):
        calibrate(dsunet.Segmenter(device="cpu", engine="torch"), pairs)
    with pytest.raises(CheckpointError, match="calibrate the weights that it was made of"):
        calibrate(dsunet.Segmenter(engine="onnx"), pairs)
    with pytest.raises(CheckpointError, match="of no weights file"):
        calibrate(dsunet.Segmenter(dsunet.load(weights), "cpu"), pairs)
    with pytest.raises(OutputError, match="is a folder"):
        calibrate(dsunet.Segmenter(weights, "cpu"), pairs, output=tmp_path)
    with pytest.raises(ConfigError, match="`abstain` needs the score"):
        dsunet.Segmenter(weights, "cpu").filled(Options(abstain=True))
    for arguments, said in (
        ([], "is no run's folder"),
        (["--data", str(mixed), "--figure", "curves.jpg"], "needs a name that ends with .png"),
        (["--data", str(mixed), "--recall", "2"], "recall is 2.0, but needs 0 to 1"),
        (["--data", str(tmp_path / "gone")], "gone"),
    ):
        assert main(["calibrate", str(weights), *arguments, "--device", "cpu"]) == 1
        assert said in capsys.readouterr().err
