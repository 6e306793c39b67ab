"""A segmenter's recipe makes it again in another process: the same map, bit for bit."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import ConfigError
from dsunet.network.source import CustomSource
from dsunet.predict import Recipe
from helpers import nano

OWN = """
import numpy as np, torch
from torch import nn

def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))

class Net:
    @classmethod
    def make(cls):
        return net()

def red(image):
    return image[..., 0] / np.float32(255)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's own in the working directory, where Python looks for modules."""
    (tmp_path / "recipe_own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("recipe_own")
    del sys.modules["recipe_own"]


def map_of(recipe: Recipe, threads: int, side: int) -> np.ndarray:
    """In the other process."""
    torch.set_num_threads(threads)
    return recipe.build()(synthetic_pair(0, side)[0]).probability


def assert_the_same_elsewhere(*segmenters: dsunet.Segmenter) -> None:
    """One process for all, started anew and not forked from this one."""
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        for segmenter in segmenters:
            recipe = pickle.loads(pickle.dumps(segmenter.recipe))
            assert recipe == segmenter.recipe
            there = processes.apply(map_of, (recipe, torch.get_num_threads(), 70))
            here = segmenter(synthetic_pair(0, 70)[0]).probability
            np.testing.assert_array_equal(there, here)
            assert there.std() > 0


@pytest.mark.slow
def test_from_files_and_functions(own: Any, tmp_path: Path) -> None:
    dsunet.save(nano(), tmp_path / "w.safetensors")
    sizes = CustomSource.of("recipe_own:net")
    dsunet.save(sizes.network(), tmp_path / "own.safetensors")
    assert_the_same_elsewhere(
        dsunet.Segmenter("w.safetensors", "cpu"),
        dsunet.Segmenter("w.safetensors", "cpu", "bfloat16", fold_batchnorm=True, engine="torch"),
        dsunet.Segmenter(device="cpu"),
        dsunet.Segmenter(own.red, "cpu"),
        dsunet.Segmenter(CustomSource("recipe_own:net", own.net, (64, 96)), "cpu"),
        dsunet.Segmenter(own.Net.make, "cpu", weights="own.safetensors"),
    )


def test_a_recipe_is_of_names_and_places(
    own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are those that were meant when the segmenter was made."""
    dsunet.save(nano(), tmp_path / "w.safetensors")
    segmenter = dsunet.Segmenter("w.safetensors", "cpu", int8=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert segmenter.recipe.model == tmp_path / "w.safetensors"
    assert segmenter.recipe.settings == {"fold_batchnorm": False, "int8": True, "compile": False}
    again = segmenter.recipe.build()
    assert again.recipe == segmenter.recipe
    assert again.settings == segmenter.settings
    source = CustomSource("recipe_own:net", own.net, (64, 96))
    custom = dsunet.Segmenter(source, "cpu").recipe
    assert (custom.model, custom.weights, custom.sam_size) == ("recipe_own:net", None, (64, 96))
    assert custom.build().sam_size == (64, 96)


def test_what_no_other_process_can_make_again(own: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"of a network in memory.*save it \(dsunet\.save\)"):
        _ = dsunet.Segmenter(nano(), "cpu").recipe
    dsunet.save(CustomSource.of(own.net).network(), tmp_path / "own.safetensors")
    live = nn.Sequential(*own.net())
    for given in (lambda image: image[..., 0] / np.float32(255), live, own.net()):
        with pytest.raises(ConfigError, match="no other process finds by that name; give a func"):
            _ = dsunet.Segmenter(given, "cpu").recipe
    with pytest.raises(ConfigError, match="no other process finds"):
        _ = dsunet.Segmenter(live, "cpu", weights=tmp_path / "own.safetensors").recipe
