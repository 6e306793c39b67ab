"""The commands about the feature cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cached import KIND, only_store, train
from dsunet.cli.entry import main
from dsunet.maps.store import FeatureStore


def test_cache_commands(
    pictures: Path, semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "cache")
    assert main(["cache", "info", place]) == 0
    assert "there are no features in" in capsys.readouterr().out
    config = tmp_path / "config.yaml"
    train(tmp_path / "run", pictures, semantic, epochs=1)
    shutil.copy(tmp_path / "run" / "config.yaml", config)
    build = ["cache", "build", "--config", str(config), "--feature-cache", place]
    assert main(build) == 0
    # 7 training images in four flips, 3 validation images in one
    assert "31 maps added" in capsys.readouterr().out
    assert main(build) == 0
    out = capsys.readouterr().out
    assert "has 31 of 31 maps" in out
    assert "\n0 maps added" in out
    assert main(["cache", "info", place, "--json", str(tmp_path / "info.json")]) == 0
    out = capsys.readouterr().out
    assert "vit_nano_patch14" in out
    (facts,) = json.loads((tmp_path / "info.json").read_text())
    assert facts["images"] == 10
    assert facts["records"] == 31
    assert main(["cache", "verify", place]) == 0
    assert "31 maps are whole" in capsys.readouterr().out
    features = only_store(Path(place)).folder / "features.bin"
    content = bytearray(features.read_bytes())
    content[100] ^= 255
    features.write_bytes(content)
    assert main(["cache", "verify", place]) == 1
    assert "30 maps are whole; 1 were broken" in capsys.readouterr().out
    assert main(build) == 0
    assert "1 maps added" in capsys.readouterr().out


def test_one_broken_store_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FeatureStore.open(tmp_path / "good", KIND).add([b"a" * 32])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "about.json").write_text('{"format": 99}')
    for command in ("info", "verify"):
        assert main(["cache", command, str(tmp_path)]) == 1
        captured = capsys.readouterr()
        assert "good" in captured.out
        assert "bad is no feature store" in captured.err
        assert main(["cache", command, str(tmp_path / "good")]) == 0
        assert "good" in capsys.readouterr().out


def test_a_network_of_ones_own_has_nothing_to_build(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "build", "--data", "x", "--model", "mynet:make"]) == 1
    assert "mynet:make is a network of your own" in capsys.readouterr().err


def test_one_broken_image_does_not_stop_the_others(
    pictures: Path, semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures, tmp_path / "set")
    images = sorted((tmp_path / "set" / "images").iterdir())
    broken, empty = images[4], images[7]
    broken.write_bytes(broken.read_bytes()[:200])
    empty.write_bytes(b"")
    build = ["cache", "build", "--data", str(tmp_path / "set"), "--model", "dsunet-nano"]
    build += ["--train-semantic", "false", "--weights", "none", "--semantic-weights", str(semantic)]
    build += ["--sam-size", "128", "--dino-size", "112", "--device", "cpu"]
    assert main([*build, "--feature-cache", str(tmp_path / "cache")]) == 1
    captured = capsys.readouterr()
    assert "32 maps added" in captured.out
    assert broken.name in captured.err
    assert empty.name in captured.err
    assert "2 images could not be read" in captured.err
    assert main([*build, "--feature-cache", "off"]) == 1
    assert "--feature-cache is off" in capsys.readouterr().err
