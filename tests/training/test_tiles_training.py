"""Training on crops of large pictures, and validation tile by tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
import runs
from dsunet.config import DataConfig, DistillConfig
from dsunet.config.tiling import Tiling
from dsunet.data.dataset import PairDataset, collate, tile_of
from dsunet.data.pairs import Pair
from dsunet.errors import ConfigError
from dsunet.training.run import distill
from dsunet.weights.checkpoint import read_metadata

SIZE = (64, 64)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of 200×150 px with a tiny object each, but the last, and one that fits."""
    root = tmp_path_factory.mktemp("large")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for number in range(5):
        width, height = (90, 80) if number == 4 else (200, 150)
        rng = np.random.default_rng(number)
        image = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        if number != 3:
            left, top = int(rng.integers(10, width - 20)), int(rng.integers(10, height - 20))
            image[top : top + 9, left : left + 9] = 250
            mask[top : top + 9, left : left + 9] = 255
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root


def pairs_of(root: Path) -> list[Pair]:
    return [
        Pair(str(i), root / "images" / f"{i}.png", root / "masks" / f"{i}.png") for i in range(5)
    ]


def test_items_are_crops_by_seed_epoch_and_index(large: Path) -> None:
    settings = {"tiling": Tiling(64), "tile_crops": 3}
    data = PairDataset(pairs_of(large), SIZE, None, seed=1, **settings)
    again = PairDataset(pairs_of(large), SIZE, None, seed=1, **settings)
    other = PairDataset(pairs_of(large), SIZE, None, seed=2, **settings)
    assert len(data) == 15
    assert [data[0, item].name for item in (0, 2, 3, 14)] == ["0", "0", "1", "4"]
    views = [data[0, item].sam for item in range(3)] + [data[1, 0].sam, other[0, 0].sam]
    assert torch.equal(again[0, 1].sam, views[1])
    for number, view in enumerate(views):
        assert view.shape == (3, *SIZE)
        assert not any(torch.equal(view, each) for each in views[:number])


def test_a_crop_has_the_pictures_own_pixels_and_its_masks(large: Path) -> None:
    """Seen at its own size, a crop without flips is a part of its picture, pixel by pixel."""
    data = PairDataset(pairs_of(large), SIZE, None, tiling=Tiling(64), tile_crops=4)
    image = np.asarray(Image.open(large / "images" / "0.png"), np.float32) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    shown = 0
    for item in range(4):
        sample = data[0, item]
        pixels = (sample.sam.numpy().transpose(1, 2, 0) * std + mean).astype(np.float32)
        places = np.argwhere(np.abs(image[:87, :137] - pixels[0, 0]).max(axis=2) < 1e-5)
        found = [
            p for p in places if np.allclose(image[p[0] :, p[1] :][:64, :64], pixels, atol=1e-5)
        ]
        assert len(found) == 1
        bright = (pixels > 0.9).all(axis=2)
        np.testing.assert_array_equal(sample.mask[0].numpy() == 1, bright)
        shown += bool(bright.any())
    assert shown >= 1


def test_two_in_three_crops_show_the_object(large: Path) -> None:
    data = PairDataset(pairs_of(large), SIZE, None, tiling=Tiling(48), tile_crops=10)
    shown = [bool((data[e, i].mask > 0.5).any()) for e in range(4) for i in range(30)]
    assert 0.6 < np.mean(shown) < 0.85
    without = [bool((data[e, i].mask > 0.5).any()) for e in range(2) for i in range(30, 40)]
    assert not any(without)


def test_a_picture_to_measure_comes_whole_unless_it_fits(large: Path) -> None:
    data = PairDataset(pairs_of(large), SIZE, None, keep_truth=True, tiling=Tiling(96))
    assert len(data) == 5
    batch = collate([data[0, 0]])
    assert batch.pictures is not None
    assert batch.pictures[0].size == (200, 150)  # type: ignore[union-attr]
    assert data[0, 4].picture is None
    assert collate([data[0, 4]]).pictures is None
    box = (104, 54, 200, 150)
    tile = tile_of(batch, box, (SIZE, None))
    image, mask = (Image.open(large / kind / "0.png").crop(box) for kind in ("images", "masks"))
    expected = dsunet.data.make_views(image, SIZE, None)
    assert torch.equal(tile.sam[0], expected.sam)
    assert torch.equal(tile.mask[0], dsunet.data.mask_view(mask, SIZE))
    np.testing.assert_array_equal(tile.truths[0], np.asarray(mask))
    assert tile.counted is None


def test_ignored_pixels_go_along_with_tiles(large: Path) -> None:
    data = PairDataset(pairs_of(large), SIZE, None, keep_truth=True, tiling=Tiling(96))
    batch = collate([data[0, 0]])
    ignored = np.zeros((150, 200), bool)
    ignored[:, 150:] = True
    tile = tile_of(batch._replace(ignored=[ignored]), (104, 54, 200, 150), (SIZE, None))
    assert tile.counted is not None
    assert tile.counted[0, 0, 0].tolist() == [1.0] * 31 + [0.0] * 33


def test_validation_is_prediction_by_tiles_to_the_last_digit(large: Path, tmp_path: Path) -> None:
    """And the weights of the run say so to whoever predicts."""
    model = dsunet.config.model_config("dsunet-lite", sam_size=64)
    data = {"data": str(large), "val_fraction": 0.4, "workers": 0, "tile": 96, "overlap": 0.3}
    lines: list[str] = []
    result = dsunet.train(
        tmp_path / "run",
        model,
        DataConfig(**data, tile_crops=2),
        dsunet.config.TrainConfig(epochs=1, batch_size=3, device="cpu", val_pictures=2),
        weights=None,
        on_line=lines.append,
    )
    told = read_metadata(result.weights)["training"]
    assert told["tiling"] == {"side": 96, "overlap": 0.3}
    segmenter = dsunet.Segmenter(result.weights, "cpu", "float32")
    assert segmenter.looks.tiling == Tiling(96, 0.3)
    measures = dsunet.metrics.Measures(dsunet.metrics.OWN_MEASURES, "raw", 0.5)
    measured = (tmp_path / "run" / "val.txt").read_text().split()
    assert len(measured) == 2
    for pair in [pairs_of(large)[int(name)] for name in measured]:
        map_ = segmenter(pair.image).map()
        measures.add(measures.of(map_, np.asarray(Image.open(pair.mask)), None))
    assert measures.summary() == result.measures
    assert (tmp_path / "run" / "validation.png").is_file()


def test_what_does_not_go_with_tiles_in_training(tmp_path: Path, large: Path) -> None:
    with pytest.raises(ConfigError, match="`draft` leaves out pixels that crops of `tile`"):
        DataConfig("d", tile=64, draft=True)
    with pytest.raises(ConfigError, match="tile_crops is 0, but needs at least 1"):
        DataConfig("d", tile=64, tile_crops=0)
    for given in ({"overlap": 0.5}, {"tile_crops": 2}):
        with pytest.raises(ConfigError, match=f"`{next(iter(given))}` is of tiles: give `tile`"):
            DataConfig("d", **given)
    with pytest.raises(ConfigError, match="tile is 8, but needs"):
        DataConfig("d", tile=8)
    with pytest.raises(ConfigError, match="`tile` is 64, but a teacher's maps are of whole"):
        distill(
            tmp_path / "run",
            runs.MODEL,
            DistillConfig("dsunet-lite"),
            DataConfig(str(large), tile=64),
        )
