"""Varied pairs stay pairs, as a function of seed, epoch and index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dsunet.data import PairDataset, find_pairs
from dsunet.data.augment import vary
from dsunet.data.synthetic import write_synthetic


def test_varied_pairs_stay_together() -> None:
    """Every crop shows the same part of image and mask; colours change the image alone."""
    rng = np.random.default_rng(0)
    ramp = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    image = Image.fromarray(np.stack([ramp % 251, ramp % 241, ramp % 239], -1).astype(np.uint8))
    mask = Image.fromarray((ramp % 251).astype(np.uint8))
    areas = []
    for _ in range(200):
        part, part_of_mask = vary(image, mask, 1.0, 0.0, rng)
        np.testing.assert_array_equal(np.asarray(part)[..., 0], np.asarray(part_of_mask))
        areas.append(part.width * part.height / (60 * 80))
        assert 0.7 < part.width / part.height / (80 / 60) < 1.4
    assert 0.35 < min(areas) < 0.45
    assert max(areas) > 0.9
    changed = 0
    for _ in range(50):
        part, part_of_mask = vary(image, mask, 0.0, 0.5, rng)
        np.testing.assert_array_equal(np.asarray(mask), np.asarray(part_of_mask))
        changed += not np.array_equal(np.asarray(part), np.asarray(image))
    assert 15 < changed < 35


def test_variations_depend_on_seed_epoch_and_index(tmp_path: Path) -> None:
    write_synthetic(tmp_path, 2, 64)
    pairs = find_pairs(tmp_path)
    dataset = PairDataset(pairs, (64, 64), None, crop=1, colour=1, seed=3)
    again = PairDataset(pairs, (64, 64), None, crop=1, colour=1, seed=3)
    other = PairDataset(pairs, (64, 64), None, crop=1, colour=1, seed=4)
    assert torch.equal(dataset[1, 0].sam, again[1, 0].sam)
    assert torch.equal(dataset[1, 0].mask, again[1, 0].mask)
    assert not torch.equal(dataset[1, 0].sam, dataset[2, 0].sam)
    assert not torch.equal(dataset[1, 0].sam, other[1, 0].sam)
