"""The data set and the order of its pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from dsunet.data import EpochSampler, PairDataset, collate, find_pairs
from dsunet.errors import DataError


class TestDataset:
    def dataset(self, folder: Path, **options: object) -> PairDataset:
        return PairDataset(find_pairs(folder), (64, 64), (28, 28), **options)

    def test_items(self, folder: Path) -> None:
        sample = self.dataset(folder, keep_truth=True)[0, 1]
        assert sample.sam.shape == (3, 64, 64)
        assert sample.dino.shape == (3, 28, 28)
        assert sample.mask.shape == (1, 64, 64)
        assert sample.truth.shape == (48, 48)
        batch = collate([sample, self.dataset(folder)[0, 2]])
        assert batch.sam.shape == (2, 3, 64, 64)
        assert batch.truths[1] is None

    @pytest.mark.parametrize(
        ("flips", "axes"), [((1, 0), [-1]), ((0, 1), [-2]), ((1, 1), [-1, -2])]
    )
    def test_flips_are_the_same_for_views_and_mask(
        self, folder: Path, flips: tuple[float, float], axes: list[int]
    ) -> None:
        plain, flipped = self.dataset(folder)[0, 0], self.dataset(folder, flips=flips)[0, 0]
        for name in ("sam", "dino", "mask"):
            assert torch.equal(getattr(flipped, name), getattr(plain, name).flip(axes)), name

    def test_flips_depend_on_seed_epoch_and_position_alone(self, folder: Path) -> None:
        dataset = self.dataset(folder, flips=(0.5, 0.5), seed=1)
        again = self.dataset(folder, flips=(0.5, 0.5), seed=1)
        seen = set()
        for epoch in range(12):
            sample = dataset[epoch, 3]
            assert torch.equal(sample.sam, again[epoch, 3].sam)
            seen.add(sample.sam.numpy().tobytes())
        assert len(seen) == 4  # all combinations of two flips turn up

    def test_mask_of_another_size(self, folder: Path) -> None:
        Image.new("L", (10, 20)).save(folder / "masks" / "salient_00000.png")
        position = [p.name for p in find_pairs(folder)].index("salient_00000")
        with pytest.raises(DataError, match=r"48×48 px, but its mask .* is 10×20; masks need"):
            _ = self.dataset(folder)[0, position]


class TestSampler:
    def test_every_epoch_has_its_own_order(self) -> None:
        sampler = EpochSampler(10, seed=5)
        first = list(sampler)
        sampler.set_epoch(1)
        second = list(sampler)
        assert sorted(i for _, i in first) == sorted(i for _, i in second) == list(range(10))
        assert [i for _, i in first] != [i for _, i in second]
        assert {epoch for epoch, _ in second} == {1}
        sampler.set_epoch(0)
        assert list(sampler) == first
        assert list(EpochSampler(10, seed=6)) != first

    def test_ranks_share_the_data(self) -> None:
        parts = [list(EpochSampler(10, rank=rank, world=4)) for rank in range(4)]
        assert {len(part) for part in parts} == {3}
        assert {i for part in parts for _, i in part} == set(range(10))

    def test_without_shuffling(self) -> None:
        assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]
