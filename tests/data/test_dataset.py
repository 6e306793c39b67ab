"""The data set and the order of its pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dsunet.config import MaskReading
from dsunet.data import EpochSampler, PairDataset, collate, find_pairs
from dsunet.errors import DataError, ImageError
from dsunet.support.ranks import Ranks


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


class TestIgnored:
    """Masks with pixels that do not count."""

    READING = MaskReading("1", "255")

    @pytest.fixture
    def stored(self, folder: Path) -> np.ndarray:
        """The first pair's mask: 1 is object, and a border and a block of 255 are ignored."""
        path = find_pairs(folder)[0].mask
        stored = np.zeros((48, 48), np.uint8)
        stored[10:30, 8:40] = 1
        stored[30:36, 8:40] = 255
        stored[2:6, 2:20] = 255
        Image.fromarray(stored).save(str(path))
        return stored

    def dataset(self, folder: Path, size: int = 48, **options: Any) -> PairDataset:
        pairs = [replace(pair, reading=self.READING) for pair in find_pairs(folder)]
        return PairDataset(pairs, (size, size), None, **options)

    def test_at_its_own_size(self, folder: Path, stored: np.ndarray) -> None:
        sample = self.dataset(folder, keep_truth=True)[0, 0]
        assert sample.counted is not None
        assert sample.counted.dtype == torch.float32
        np.testing.assert_array_equal(sample.counted[0].numpy(), stored != 255)
        np.testing.assert_array_equal(sample.mask[0].numpy(), stored == 1)
        assert sample.ignored is not None
        assert sample.truth is not None
        np.testing.assert_array_equal(sample.ignored, stored == 255)
        np.testing.assert_array_equal(sample.truth, (stored == 1) * 255)
        assert self.dataset(folder)[0, 0].ignored is None

    def test_an_ignored_neighbour_softens_no_edge(self, folder: Path, stored: np.ndarray) -> None:
        sample = self.dataset(folder, 24)[0, 0]
        assert sample.counted is not None
        assert torch.equal(sample.mask[0, 6:15, 6:18], torch.ones(9, 12))  # down to the ignored row
        assert torch.equal(sample.counted[0, 15:18, 4:20], torch.zeros(3, 16))
        assert ((sample.mask >= 0) & (sample.mask <= 1)).all()

    @pytest.mark.parametrize(
        ("flips", "axes"), [((1, 0), [-1]), ((0, 1), [-2]), ((1, 1), [-1, -2])]
    )
    def test_flips_turn_it_with_the_mask(
        self, folder: Path, stored: np.ndarray, flips: tuple[float, float], axes: list[int]
    ) -> None:
        plain, flipped = self.dataset(folder)[0, 0], self.dataset(folder, flips=flips)[0, 0]
        assert plain.counted is not None
        assert flipped.counted is not None
        assert torch.equal(flipped.counted, plain.counted.flip(axes))

    @pytest.mark.parametrize("colour", [0.0, 1.0])
    def test_crops_cut_it_with_the_mask(self, folder: Path, colour: float) -> None:
        """All that is not object is ignored, so what counts is what is object."""
        stored = np.full((48, 48), 255, np.uint8)
        stored[10:30, 8:40] = 1
        Image.fromarray(stored).save(str(find_pairs(folder)[0].mask))
        dataset = self.dataset(folder, crop=1.0, colour=colour, flips=(0.5, 0.5))
        seen = set()
        for epoch in range(6):
            sample = dataset[epoch, 0]
            assert sample.counted is not None
            assert (sample.mask[sample.counted == 1] == 1).all()
            assert float(sample.counted.mean()) > 0.1
            seen.add(sample.counted.numpy().tobytes())
        assert len(seen) > 3

    def test_batches(self, folder: Path, stored: np.ndarray) -> None:
        dataset = self.dataset(folder, keep_truth=True)
        for path in [pair.mask for pair in dataset.pairs[1:3]]:
            Image.fromarray((stored == 1).astype(np.uint8)).save(str(path))
        batch = collate([dataset[0, i] for i in range(3)])
        assert batch.counted is not None
        assert batch.counted.shape == (3, 1, 48, 48)
        assert torch.equal(batch.counted[1:], torch.ones(2, 1, 48, 48))
        assert float(batch.counted[0].mean()) < 1
        assert batch.ignored is not None
        assert [each is None for each in batch.ignored] == [False, True, True]
        without = collate([dataset[0, i] for i in (1, 2)])
        assert without.counted is None
        assert without.ignored is None

    def test_what_the_reading_does_not_say_is_refused(
        self, folder: Path, stored: np.ndarray
    ) -> None:
        with pytest.raises(ImageError, match=r"255 \(.*object_values"):
            _ = PairDataset(find_pairs(folder), (48, 48), None)[0, 0]


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

    @pytest.mark.parametrize("world", [1, 2, 3, 4])
    @pytest.mark.parametrize("each", [1, 2, 3])
    def test_ranks_share_every_batch(self, world: int, each: int) -> None:
        """Whatever their number: the same images at the same step, each once."""
        for length in range(1, 3 * world * each + 2):
            batch = world * each
            samplers = [
                EpochSampler(length, seed=3, ranks=Ranks(rank, world), batch=batch)
                for rank in range(world)
            ]
            parts = [[i for _, i in sampler] for sampler in samplers]
            assert [len(sampler) for sampler in samplers] == [len(part) for part in parts]
            steps = -(-length // batch)
            assert {-(-len(part) // each) for part in parts} == {steps}  # all have as many
            order = [i for _, i in EpochSampler(length, seed=3)]
            for step in range(steps):
                shares = [s.share(step) for s in samplers]
                seen = [
                    part[step * each : step * each + share]
                    for part, share in zip(parts, shares, strict=True)
                ]
                whole = order[step * batch : (step + 1) * batch]
                assert sorted(i for share in seen for i in share) == sorted(whole)
                assert max(shares) - min(shares) <= 1
                # the mean over processes of weighted means is the mean over all
                weights = [s.weight(step) for s in samplers]
                assert sum(weights) == pytest.approx(world)
                means = [w * np.mean(s) for w, s in zip(weights, seen, strict=True) if s]
                assert sum(means) / world == pytest.approx(np.mean(whole))

    def test_a_run_goes_on_with_other_ranks(self) -> None:
        left = []
        for world in (1, 2, 4):
            rest = []
            for rank in range(world):
                sampler = EpochSampler(13, seed=1, ranks=Ranks(rank, world), batch=4)
                sampler.go_on_from(5, 2)
                rest += [index for _, index in sampler][: sampler.ranks.share(13 - 8)]
            left.append(sorted(rest))
        assert left[0] == left[1] == left[2]
        assert len(left[0]) == 5

    def test_without_shuffling(self) -> None:
        assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]
