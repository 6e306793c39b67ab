"""Training and building with the maps of a frozen encoder from disk."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dsunet
from cached import FROZEN, only_store, train
from dsunet.cli.entry import main
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.data.dataset import PairDataset, collate
from dsunet.data.split import split_data
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import DataError, OutputError
from dsunet.maps import semantic as feature_cache
from dsunet.maps.opening import Budget
from dsunet.maps.semantic import FeatureCache, build_cache, obstacle, open_cache
from dsunet.maps.store import FeatureStore
from dsunet.network.encoders import SemanticEncoder
from dsunet.network.model import DSUNet
from dsunet.running.inference import lay_out
from dsunet.running.place import Place
from dsunet.weights.checkpoint import read_checkpoint
from dsunet.weights.models import create_from_config
from helpers import nano
from kill_training import kill_and_compare

pytestmark = pytest.mark.usefixtures("undrawn")


def files_equal(first: Path, second: Path) -> bool:
    one, other = read_checkpoint(first)[1], read_checkpoint(second)[1]
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize(
    ("injection", "grids"),
    [("final", [11]), ("hierarchical", [37, 37, 22, 11]), ("broadcast", [37])],
)
def test_the_smaller_grid_is_stored(injection: str, grids: list[int]) -> None:
    with torch.device("meta"):
        config = model_config("dsunet-large", injection=injection)
        model = dsunet.network.build.build_model(config)
    assert model.semantic_shapes() == [(1024, side, side) for side in grids]


@pytest.mark.parametrize("injection", ["final", "hierarchical", "broadcast"])
@pytest.mark.parametrize("order", ["resize_first", "resize_last"])
def test_reduced_maps_give_the_same_logits(injection: str, order: str) -> None:
    model = nano(injection=injection, channel_modulation=order, train_semantic=False).eval()
    sam, dino = torch.randn(2, 3, 128, 128), torch.randn(2, 3, 112, 112)
    maps = model.reduced_semantics(dino)
    assert [tuple(m.shape[1:]) for m in maps] == model.semantic_shapes()
    assert torch.equal(model(sam, dino).fine, model(sam, dino_features=maps).fine)
    if injection == "final" and order == "resize_first":
        assert maps[0].shape[-1] == 4 < 112 // 14


@pytest.fixture(scope="module")
def uncached(pictures: Path, semantic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without stored maps, to compare others with."""
    return train(tmp_path_factory.mktemp("runs") / "off", pictures, semantic).weights.parent


# one of the three kinds of maps is quick: the paper's
@pytest.mark.parametrize(
    "injection",
    [
        "final",
        pytest.param("hierarchical", marks=pytest.mark.slow),
        pytest.param("broadcast", marks=pytest.mark.slow),
    ],
)
def test_float32_gives_what_no_cache_gives(
    pictures: Path, semantic: Path, tmp_path: Path, injection: str
) -> None:
    """To the last digit, while the cache fills, and once more from a full one without DINOv2."""
    model = model_config(
        "dsunet-nano", sam_size=128, dino_size=112, train_semantic=False, injection=injection
    )
    train(tmp_path / "off", pictures, semantic, model)
    kept = {"feature_cache": str(tmp_path / "cache"), "cache_type": "float32"}
    train(tmp_path / "filling", pictures, semantic, model, **kept)
    build = ["cache", "build", "--data", str(pictures), "--val-fraction", "0.3", "--workers", "0"]
    build += ["--model", "dsunet-nano", "--sam-size", "128", "--dino-size", "112"]
    build += ["--injection", injection, "--train-semantic", "false", "--weights", "none"]
    build += ["--semantic-weights", str(semantic), "--device", "cpu", "--cache-type", "float32"]
    assert main([*build, "--feature-cache", str(tmp_path / "cache")]) == 0
    lines: list[str] = []
    train(tmp_path / "full", pictures, semantic, model, lines=lines, **kept)
    assert any("DINOv2 itself is not loaded" in line for line in lines)
    for name in ("last.safetensors", "best.safetensors"):
        assert files_equal(tmp_path / "off" / name, tmp_path / "filling" / name)
        assert files_equal(tmp_path / "off" / name, tmp_path / "full" / name)
    panels = [(tmp_path / n / "validation.png").read_bytes() for n in ("off", "filling", "full")]
    assert panels[0] == panels[1] == panels[2]


def test_a_hit_and_a_miss_are_the_same(
    pictures: Path, semantic: Path, uncached: Path, tmp_path: Path
) -> None:
    """float16: what fills the cache and what finds everything in it train the same weights."""
    kept = {"feature_cache": str(tmp_path / "cache")}
    train(tmp_path / "filling", pictures, semantic, **kept)
    train(tmp_path / "hits", pictures, semantic, data={"workers": 1}, **kept)
    name = "last.safetensors"
    assert files_equal(tmp_path / "filling" / name, tmp_path / "hits" / name)
    assert not files_equal(uncached / name, tmp_path / "hits" / name)


@pytest.mark.slow
def test_without_dinov2_when_every_map_is_there(
    pictures: Path, semantic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not run, its view is not made, and the files refer to it as ever."""
    kept = {"feature_cache": str(tmp_path / "cache")}
    data = {"horizontal_flip": 1.0, "vertical_flip": 0.0}  # one flip: one epoch fills the cache
    train(tmp_path / "filling", pictures, semantic, data=data, **kept)
    # the memory of DINOv2's weights must not be touched either
    monkeypatch.delattr(SemanticEncoder, "after_blocks")
    made = feature_cache.FeatureCache.complete
    views = []

    def complete(self: FeatureCache, model: DSUNet, batch: object) -> object:
        views.append(batch.dino)
        return made(self, model, batch)

    monkeypatch.setattr(FeatureCache, "complete", complete)
    train(tmp_path / "full", pictures, semantic, data=data, **kept)
    assert set(views) == {None}
    assert files_equal(
        tmp_path / "filling" / "last.safetensors", tmp_path / "full" / "last.safetensors"
    )
    counts = [
        json.loads((tmp_path / n / "environment.json").read_text())["parameters"]
        for n in ("filling", "full")
    ]
    assert counts[0] == counts[1]
    monkeypatch.undo()
    image = next((pictures / "images").iterdir())
    maps = [
        dsunet.Segmenter(tmp_path / n, "cpu", semantic_weights=semantic)(image).probability
        for n in ("filling", "full")
    ]
    np.testing.assert_array_equal(*maps)


def test_broken_maps_are_made_again(pictures: Path, semantic: Path, tmp_path: Path) -> None:
    """Even in a training that has left DINOv2 out."""
    kept = {"feature_cache": str(tmp_path / "cache")}
    data = {"horizontal_flip": 0.0, "vertical_flip": 0.0}
    train(tmp_path / "first", pictures, semantic, data=data, **kept)
    store = only_store(tmp_path / "cache")
    content = bytearray((store.folder / "features.bin").read_bytes())
    content[len(content) // 8] ^= 255
    content[7] ^= 255
    (store.folder / "features.bin").write_bytes(content)
    lines: list[str] = []
    train(tmp_path / "second", pictures, semantic, data=data, lines=lines, **kept)
    assert any("DINOv2 itself is not loaded" in line for line in lines)
    assert only_store(tmp_path / "cache").verify() == (10, 0)
    assert files_equal(
        tmp_path / "first" / "last.safetensors", tmp_path / "second" / "last.safetensors"
    )


@pytest.mark.slow
def test_a_resumed_run_finds_its_maps(pictures: Path, semantic: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Lines(list[str]):
        def append(self, line: str) -> None:
            if line.startswith("epoch 1"):
                raise Killed

    kept = {"feature_cache": str(tmp_path / "cache"), "epochs": 2}
    train(tmp_path / "whole", pictures, semantic, **kept)
    with pytest.raises(Killed):
        train(tmp_path / "cut", pictures, semantic, lines=Lines(), **kept)
    shutil.move(tmp_path / "cache", tmp_path / "moved")
    kept["feature_cache"] = str(tmp_path / "moved")
    with pytest.raises(OutputError, match="feature_cache"):
        train(tmp_path / "cut", pictures, semantic, resume=True, epochs=2)
    train(tmp_path / "cut", pictures, semantic, resume=True, **kept)
    assert files_equal(tmp_path / "whole" / "last.safetensors", tmp_path / "cut/last.safetensors")


@pytest.mark.parametrize(
    ("model", "data", "reason"),
    [
        ({"train_semantic": True}, {}, "trains its DINOv2"),
        ({"injection": "none"}, {}, "has no DINOv2"),
        ({}, {"crop": 0.5}, "with `crop` an image looks different every time"),
        ({}, {"colour": 0.5}, "with `colour` an image looks different every time"),
    ],
)
def test_what_cannot_be_kept(
    tmp_path: Path, pictures: Path, model: dict[str, object], data: dict[str, object], reason: str
) -> None:
    """Said in a line; training goes on without."""
    network = nano(**{"train_semantic": False, **model})
    assert reason in str(obstacle(network, DataConfig(str(pictures), **data)))
    lines: list[str] = []
    dsunet.train(
        tmp_path / "run",
        network.config,
        DataConfig(str(pictures), workers=0, **data),
        TrainConfig(epochs=1, batch_size=5, device="cpu", feature_cache=str(tmp_path / "cache")),
        weights=None,
        on_line=lines.append,
    )
    assert f"no feature cache: {obstacle(network, DataConfig(str(pictures), **data))}" in lines
    assert not (tmp_path / "cache").exists()


def test_a_network_of_ones_own_is_not_kept(pictures: Path) -> None:
    network = dsunet.CustomModel(torch.nn.Conv2d(3, 1, 1), 32)
    assert "network of your own" in str(obstacle(network, DataConfig(str(pictures))))


@pytest.mark.slow
def test_random_frozen_weights_stay_in_the_files(pictures: Path, tmp_path: Path) -> None:
    """Nobody else has them, so DINOv2 stays in the model though every map is there."""
    data = DataConfig(str(pictures), workers=0, horizontal_flip=0, vertical_flip=0)
    recipe = TrainConfig(epochs=1, batch_size=5, device="cpu", feature_cache=str(tmp_path / "c"))
    lines: list[str] = []
    for name in ("one", "two"):
        dsunet.train(tmp_path / name, FROZEN, data, recipe, weights=None, on_line=lines.append)
    assert any("10 of 10 maps" in line for line in lines)
    assert not any("not loaded" in line for line in lines)
    assert files_equal(tmp_path / "one/last.safetensors", tmp_path / "two/last.safetensors")
    dsunet.load(tmp_path / "two")


def frozen(semantic: Path) -> DSUNet:
    return create_from_config(FROZEN, None, semantic_weights=semantic)


def test_the_budget_is_kept(pictures: Path, semantic: Path, tmp_path: Path) -> None:
    """10 images × 4 flips × 128×4×4 values of two bytes are 163,840 bytes."""
    data = DataConfig(str(pictures))
    split = split_data(data, 0)
    arguments = (str(tmp_path / "cache"), frozen(semantic), data, split, torch.float32)
    with pytest.raises(OutputError, match=r"10 images.* 4 flips.* 0\.16 MB.* `cache_budget`"):
        open_cache(*arguments, budget=Budget(0.000163))
    assert not (tmp_path / "cache").exists()
    lines: list[str] = []
    cache = open_cache(*arguments, budget=Budget(0.000164), say=lines.append)
    assert len(cache.needed) == 40
    assert lines[0].endswith(
        "has 0 of 40 maps (4 flips a training image); all take 0.16 MB as float16"
    )
    assert Path(lines[0].split()[2]).name.startswith("shapes-")


def test_a_full_disk_is_told_beforehand(
    pictures: Path, semantic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    data = DataConfig(str(pictures))
    with pytest.raises(OutputError, match=r"needs 0\.16 MB more.* has 0\.00 MB left"):
        open_cache(str(tmp_path), frozen(semantic), data, split_data(data, 0), torch.float32)


def test_values_beyond_float16(pictures: Path, semantic: Path, tmp_path: Path) -> None:
    data = DataConfig(str(pictures))
    model = lay_out(frozen(semantic).eval(), torch.device("cpu"))
    cache = open_cache(str(tmp_path), model, data, split_data(data, 0), torch.float32)
    with torch.no_grad():
        model.semantic.trunk.norm.weight.mul_(1e6)
    with pytest.raises(DataError, match="`cache_type` float32"):
        cache.compute(model, torch.randn(1, 3, 112, 112), [(0, 0)])
    assert cache.store.read((0, 0)) is None


def test_other_settings_have_other_stores(pictures: Path, semantic: Path, tmp_path: Path) -> None:
    data = DataConfig(str(pictures))
    split = split_data(data, 0)
    names = set()
    for settings in ({}, {"dino_size": 126}, {"sam_size": 160}, {"semantic_norm": False}):
        config = dataclasses.replace(FROZEN, **settings)
        model = create_from_config(config, None, semantic_weights=semantic)
        for precision in (torch.float32, torch.bfloat16):
            cache = open_cache(str(tmp_path), model, data, split, precision)
            names.add(cache.store.folder.name)
    assert len(names) == 8
    # other random weights, too
    torch.manual_seed(1)
    model = create_from_config(FROZEN, None)
    names.add(open_cache(str(tmp_path), model, data, split, torch.float32).store.folder.name)
    assert len(names) == 9


@pytest.mark.slow
def test_a_full_disk_does_not_stop_a_training(
    pictures: Path,
    semantic: Path,
    uncached: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Said once, and trained on as without; building it ends with one clear line."""

    def full(self: FeatureStore, place: object, maps: object) -> None:
        raise OSError(28, "No space left on device", str(self.folder / "features.bin"))

    monkeypatch.setattr(FeatureStore, "write", full)
    lines: list[str] = []
    kept = {"feature_cache": str(tmp_path / "cache"), "cache_type": "float32"}
    train(tmp_path / "full", pictures, semantic, lines=lines, **kept)
    assert sum("cannot be written any more (No space left" in line for line in lines) == 1
    name = "last.safetensors"
    assert files_equal(uncached / name, tmp_path / "full" / name)
    data = DataConfig(str(pictures))
    split = split_data(data, 0)
    model = lay_out(frozen(semantic).eval(), torch.device("cpu"))
    cache = open_cache(str(tmp_path / "cache"), model, data, split, torch.float32)
    with pytest.raises(OutputError, match=r"features\.bin cannot be written.*run it again"):
        build_cache(cache, model, split, Place(torch.device("cpu")))


def test_an_image_that_changes_in_between_is_refused(semantic: Path, tmp_path: Path) -> None:
    """Its maps would be stored as those of the picture that it was."""
    write_synthetic(tmp_path / "set", 3, 64)
    data = DataConfig(str(tmp_path / "set"))
    split = split_data(data, 0)
    model = lay_out(frozen(semantic).eval(), torch.device("cpu"))
    cache = open_cache(str(tmp_path / "cache"), model, data, split, torch.float32)
    shutil.copy(split.training[1].image, split.training[0].image)
    dataset = PairDataset(split.training, (128, 128), (112, 112), stored=cache.training)
    with pytest.raises(DataError, match="has changed since the feature cache looked at it"):
        dataset[0, 0]
    dataset[0, 1]
    added, failures = build_cache(cache, model, split, Place(torch.device("cpu")))
    assert added == 8
    assert len(failures) == 1
    assert split.training[0].image.name in failures[0]


def test_a_whole_store_needs_no_writing(
    pictures: Path, semantic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is read-only."""
    data = DataConfig(str(pictures), horizontal_flip=0, vertical_flip=0)
    split = split_data(data, 0)
    model = lay_out(frozen(semantic).eval(), torch.device("cpu"))
    cache = open_cache(str(tmp_path), model, data, split, torch.float32)
    build_cache(cache, model, split, Place(torch.device("cpu")))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("dsunet.maps.store.lock_folder", refuse)
    again = open_cache(str(tmp_path), model, data, split, torch.float32)
    assert again.missing() == []
    assert again.take_out(model)
    with pytest.raises(OutputError, match="Read-only"):
        open_cache(str(tmp_path), frozen(semantic), data, split, torch.bfloat16)


def test_values_that_are_no_numbers(pictures: Path, tmp_path: Path) -> None:
    """In any of several maps."""
    config = dataclasses.replace(FROZEN, injection="hierarchical")
    model = lay_out(create_from_config(config, None).eval(), torch.device("cpu"))
    data = DataConfig(str(pictures))
    cache = open_cache(str(tmp_path), model, data, split_data(data, 0), torch.float32)
    with torch.no_grad():
        model.semantic.trunk.blocks[2].attn.qkv.weight.fill_(float("nan"))
    with pytest.raises(DataError, match="no finite numbers"):
        cache.compute(model, torch.randn(1, 3, 112, 112), [(0, 0)])
    assert cache.store.read((0, 0)) is None


@pytest.mark.parametrize("word", ["none", "On", "", "false"])
def test_words_that_are_no_folders(word: str) -> None:
    with pytest.raises(ValueError, match="needs off, auto or a folder"):
        TrainConfig(feature_cache=word)
    assert TrainConfig(feature_cache="Off").feature_cache == "off"
    with pytest.raises(ValueError, match="needs one of float16, float32"):
        TrainConfig(cache_type="float64")


def test_views_are_made_for_missing_maps_alone(
    pictures: Path, semantic: Path, tmp_path: Path
) -> None:
    data = DataConfig(str(pictures), horizontal_flip=0, vertical_flip=0)
    split = split_data(data, 0)
    model = lay_out(frozen(semantic).eval(), torch.device("cpu"))
    cache = open_cache(str(tmp_path), model, data, split, torch.float32)
    dataset = PairDataset(split.training, (128, 128), (112, 112), stored=cache.training)
    first = collate([dataset[0, i] for i in (2, 0)])
    assert first.dino is not None
    before = cache.complete(model, first)
    mixed = collate([dataset[0, i] for i in (2, 1, 0, 3)])
    assert mixed.dino is not None
    assert len(mixed.dino) == 2
    assert [maps is None for maps in mixed.maps] == [False, True, False, True]
    after = cache.complete(model, mixed)
    assert torch.equal(after[0][[0, 2]], before[0])
    expected = (
        model.reduced_semantics(
            torch.stack([PairDataset(split.training, (128, 128), (112, 112))[0, 3].dino])
        )[0]
        .half()
        .float()
    )
    assert torch.equal(after[0][3:], expected)
    # a loader's process may have looked too early: what is there by now is taken
    stale = mixed._replace(maps=[None, None, mixed.maps[2], None], dino=torch.zeros(3, 3, 112, 112))
    assert torch.equal(cache.complete(model, stale)[0], after[0])


@pytest.mark.slow
def test_two_processes_share_a_store(pictures: Path, semantic: Path, tmp_path: Path) -> None:
    """Distributed data parallel: both write, and what they leave is whole."""
    arguments = [
        *"train --model dsunet-nano --train-semantic false --weights none --epochs 2".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --devices 2 --batch-size 4".split(),
        *"--workers 1 --vertical-flip 0 --horizontal-flip 0 --val-fraction 0.2".split(),
        *("--feature-cache", "cache", "--output", "run", "--data", str(pictures)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "dsunet.cli", *arguments, "--semantic-weights", str(semantic)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("feature cache: ") == 1
    assert only_store(tmp_path / "cache").verify() == (10, 0)


@pytest.mark.slow
def test_killed_processes_leave_whole_stores(
    pictures: Path, semantic: Path, tmp_path: Path
) -> None:
    """Killed while the store fills, a run goes on to the weights of an uninterrupted one."""
    settings = [
        *"--model dsunet-nano --train-semantic false --weights none --epochs 8".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --batch-size 2 --workers 2".split(),
        *"--val-fraction 0.2 --save-every 0.005 --feature-cache cache".split(),
        *("--semantic-weights", str(semantic)),
    ]
    outcome = kill_and_compare(pictures, settings, tmp_path, kills=4, longest=None, seed=3)
    assert outcome.different == []
    assert outcome.same_metrics
    assert outcome.orphans == 0
    for name in ("whole", "killed"):
        whole, broken = only_store(tmp_path / name / "cache").verify()
        assert whole > 20
        assert broken == 0
