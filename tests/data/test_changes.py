"""`--augment`: names, pairs that stay pairs, seeds, and nothing where it is off."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import dsunet
from dsunet.cli import main
from dsunet.config import DataConfig, DistillConfig, TrainConfig, model_config
from dsunet.config.augment import CHANGES, Change, parse_augment
from dsunet.data import EpochSampler, PairDataset, find_pairs
from dsunet.data.changes import Drawn, change_image, draw, move
from dsunet.data.dataset import Sample, collate
from dsunet.errors import ConfigError
from dsunet.maps.semantic import obstacle
from dsunet.training import distill
from helpers import nano
from runs import MODEL, run, states_equal

EVERY = ",".join(CHANGES)


def drawn(**amounts: float) -> list[Drawn]:
    return [Drawn(name, amount, np.random.default_rng(5)) for name, amount in amounts.items()]


def pair(width: int = 80, height: int = 60) -> tuple[Image.Image, Image.Image]:
    """A box of object, and its picture: red as the mask, green and blue a ramp."""
    mask = np.zeros((height, width), np.uint8)
    mask[20:40, 30:60] = 255
    ramp = np.linspace(40, 200, width * height).reshape(height, width).astype(np.uint8)
    return Image.fromarray(np.stack([mask, ramp, ramp], -1)), Image.fromarray(mask)


def dataset(pictures: Path, augment: str | None, **settings: object) -> PairDataset:
    changes = parse_augment(augment)
    return PairDataset(find_pairs(pictures), (64, 64), (56, 56), changes=changes, **settings)  # type: ignore[arg-type]


def same(one: Sample, other: Sample) -> bool:
    tensors = [(one.sam, other.sam), (one.dino, other.dino), (one.mask, other.mask)]
    if (one.counted is None) != (other.counted is None):
        return False
    if one.counted is not None:
        tensors.append((one.counted, other.counted))
    return all(torch.equal(a, b) for a, b in tensors)  # type: ignore[arg-type]


class TestNames:
    def test_chances_and_strengths(self) -> None:
        assert parse_augment("blur=0.25:3, rotate,SCALE=1,color") == (
            Change("rotate", 0.5, 15),
            Change("scale", 1, 1.25),
            Change("colour", 0.5, 0.3),
            Change("blur", 0.25, 3),
        )
        assert parse_augment(None) == parse_augment("none") == ()
        assert len(parse_augment(EVERY)) == 7

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("rotat", "needs some of rotate, .*; did you mean rotate"),
            ("rotate,", "`augment` has ''"),
            ("blur,blur=1", "`augment` has blur twice"),
            ("blur=often", "needs NAME, NAME=CHANCE or NAME=CHANCE:STRENGTH"),
            ("blur=1.2.3", "such as blur=0.5:2"),
            ("noise=2", r"noise with the chance 2, but needs \[0, 1\]"),
            ("rotate=1:200", "200, degrees either way at most, but needs above 0 and at most 180"),
            ("scale=1:0.5", "above 1 and at most 4"),
            ("jpeg=1:0", "the quality at least"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, line: str) -> None:
        with pytest.raises(ConfigError, match=line):
            DataConfig("data", augment=text)

    def test_the_command_line_says_it_in_one_line(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["data", "check", str(pictures), "--augment", "spin"]) in (1, 2)
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert "--augment has 'spin', but needs some of rotate, scale, colour" in said[0]


class TestMoving:
    def test_image_mask_and_ignored_move_alike(self) -> None:
        """Red is the mask, so that it has to stay so wherever a pixel counts."""
        image, mask = pair()
        before = Image.fromarray((np.asarray(mask) == 0).astype(np.uint8) * 255)
        for angle, factor in ((17, 1.0), (-40, 0.8), (5, 1.4), (0, 0.7)):
            moved = move(image, mask, None, drawn(rotate=angle, scale=factor))
            red, truth, ignored = np.asarray(moved[0])[..., 0], np.asarray(moved[1]), moved[2]
            assert moved[0].size == moved[1].size == image.size
            counts = np.ones(truth.shape, bool) if ignored is None else np.asarray(ignored) == 0
            inner = counts & np.roll(counts, 1, 0) & np.roll(counts, 1, 1)
            inner &= np.roll(counts, -1, 0) & np.roll(counts, -1, 1)
            np.testing.assert_array_equal(red[inner], truth[inner])
            assert not np.array_equal(truth, np.asarray(mask))
            assert np.isin(truth, (0, 255)).mean() > 0.95  # but for soft edges, a mask
            # what was ignored goes along
            *_, after = move(image, mask, before, drawn(rotate=angle, scale=factor))
            assert after is not None
            assert set(np.unique(np.asarray(after))) == {0, 255}
            kept = np.asarray(after) == 0
            assert np.abs(kept.astype(float) - truth / 255.0).mean() < 0.02

    def test_a_quarter_turn_and_twice_the_size_by_hand(self) -> None:
        image, mask = pair(60, 60)
        turned, _, ignored = move(image, mask, None, drawn(rotate=90))
        clockwise = np.asarray(image.transpose(Image.Transpose.ROTATE_270), int)
        assert np.abs(np.asarray(turned) - clockwise).max() <= 1
        assert ignored is None  # there is no outside
        _, twice, _ = move(image, mask, None, drawn(scale=2))
        assert np.count_nonzero(np.asarray(twice) >= 128) == 4 * 20 * 30 - 30 * 40  # cut by half
        _, half, outside = move(image, mask, None, drawn(scale=0.5))
        assert np.count_nonzero(np.asarray(half) >= 128) == pytest.approx(150, abs=8)
        assert outside is not None
        assert np.count_nonzero(outside) == 60 * 60 - 30 * 30

    def test_the_outside_is_grey_and_does_not_count(self) -> None:
        image, mask = pair()
        turned, _, ignored = move(image, mask, None, drawn(rotate=30))
        assert ignored is not None
        assert np.asarray(ignored)[0, 0] == 255
        assert tuple(np.asarray(turned)[0, 0]) == (124, 116, 104)


class TestPixels:
    def test_a_hole_is_grey_and_does_not_count(self) -> None:
        image, mask = pair()
        cut, ignored = change_image(image, mask, None, drawn(cutout=0.4), (200, 200))
        assert ignored is not None
        hole = np.asarray(ignored) == 255
        assert 0.4 * 0.2 - 0.02 < hole.mean() < 0.4 * 0.4 + 0.02
        assert (np.asarray(cut)[hole] == (124, 116, 104)).all()
        np.testing.assert_array_equal(np.asarray(cut)[~hole], np.asarray(image)[~hole])
        before = Image.new("L", image.size, 255)
        _, both = change_image(image, mask, before, drawn(cutout=0.4), (200, 200))
        assert np.asarray(both).min() == 255
        assert before.getextrema() == (255, 255)

    def test_noise_blur_and_jpeg_are_as_strong_as_they_say(self) -> None:
        even = Image.new("RGB", (90, 90), (120, 120, 120))
        mask = Image.new("L", even.size)
        noisy, ignored = change_image(even, mask, None, drawn(noise=12), (90, 90))
        assert ignored is None
        assert np.asarray(noisy).std() == pytest.approx(12, rel=0.03)
        smooth, _ = change_image(noisy, mask, None, drawn(blur=2), (90, 90))
        # of white noise a Gaussian leaves 1 / (2 √π σ)
        assert np.asarray(smooth).std() == pytest.approx(12 / (2 * np.pi**0.5 * 2), rel=0.1)
        file = io.BytesIO()
        noisy.save(file, "JPEG", quality=35)
        packed, _ = change_image(noisy, mask, None, drawn(jpeg=35), (90, 90))
        with Image.open(file) as expected:
            np.testing.assert_array_equal(packed, expected)

    def test_colours_change_and_shapes_do_not(self) -> None:
        image, mask = pair()
        changed, _ = change_image(image, mask, None, drawn(colour=0.4), (200, 200))
        assert changed.size == image.size
        assert np.abs(np.asarray(changed, float) - np.asarray(image)).mean() > 2

    def test_large_pictures_are_shrunk_to_the_view_first(self) -> None:
        image, mask = pair(800, 600)
        changed, ignored = change_image(image, mask, None, drawn(blur=1, cutout=0.3), (64, 48))
        assert changed.size == (64, 48)
        assert ignored is not None
        assert ignored.size == mask.size

    def test_a_blur_that_is_wider_than_the_picture(self) -> None:
        image, mask = pair(80, 60)
        change_image(image.resize((5, 4)), mask, None, drawn(blur=20), (64, 64))


class TestDraws:
    def test_nothing_changes_where_nothing_is_asked_for(self, pictures: Path) -> None:
        usual = {"flips": (0.5, 0.5), "crop": 0.5, "colour": 0.5, "seed": 3}
        plain = PairDataset(find_pairs(pictures), (64, 64), (56, 56), **usual)  # type: ignore[arg-type]
        for augment in (None, "none", f"rotate=0,{EVERY.partition(',')[2].replace(',', '=0,')}=0"):
            off = dataset(pictures, augment, **usual)
            assert all(same(off[1, i], plain[1, i]) for i in range(len(plain)))

    def test_seed_epoch_and_index_decide(self, pictures: Path) -> None:
        first, again = dataset(pictures, EVERY, seed=3), dataset(pictures, EVERY, seed=3)
        other = dataset(pictures, EVERY, seed=4)
        for index in range(5):
            assert same(first[1, index], again[1, index])
        assert not all(same(first[1, i], first[2, i]) for i in range(5))
        assert not all(same(first[1, i], other[1, i]) for i in range(5))
        assert len({d.name for i in range(10) for d in first.drawn(0, i)}) == 7

    def test_a_change_leaves_the_others_draws_alone(self) -> None:
        def rng(purpose: int) -> np.random.Generator:
            return np.random.default_rng([7, purpose])

        alone = draw(parse_augment("rotate=1:40,noise=1"), rng)
        among = {
            each.name: each.amount
            for each in draw(parse_augment("rotate=1:40,blur=1,noise=1,scale"), rng)
        }
        assert all(among[each.name] == each.amount for each in alone)

    def test_chances_and_ranges(self) -> None:
        changes = parse_augment("rotate=0.3:20,scale=0.3:1.5,jpeg=0.3:40,blur=0.3:3")
        amounts: dict[str, list[float]] = {}
        rng = np.random.default_rng(7)
        for _ in range(600):
            for each in draw(changes, lambda purpose: rng):
                amounts.setdefault(each.name, []).append(each.amount)
        assert all(130 < len(found) < 230 for found in amounts.values())
        for name, least, most in (
            ("rotate", -20, 20),
            ("scale", 1 / 1.5, 1.5),
            ("jpeg", 40, 95),
            ("blur", 0.3, 3),
        ):
            low, high = min(amounts[name]), max(amounts[name])
            assert least <= low < least + 0.1 * (most - least)
            assert most - 0.1 * (most - least) < high <= most

    def test_the_truth_of_validation_never_changes(self, pictures: Path) -> None:
        assert DataConfig(str(pictures), augment=EVERY).changes
        turned = dataset(pictures, "rotate=1:30", keep_truth=True)[0, 0]
        assert turned.ignored is not None
        assert turned.truth is not None
        assert turned.counted is not None
        assert 0.5 < float(turned.counted.mean()) < 1

    def test_previews_only_where_nothing_moves(self, pictures: Path) -> None:
        assert dataset(pictures, "blur", draft=True).preview == 64
        assert dataset(pictures, "blur,scale", draft=True).preview is None

    @pytest.mark.slow
    def test_processes_make_the_same(self, pictures: Path) -> None:
        data = dataset(pictures, EVERY, flips=(0.5, 0.5), seed=1)
        batches = []
        for workers in (0, 2):
            order = EpochSampler(len(data), seed=1)
            loader = DataLoader(
                data,
                4,
                sampler=order,
                num_workers=workers,
                collate_fn=collate,  # type: ignore[arg-type]
            )
            batches.append(list(loader))
        for one, other in zip(*batches, strict=True):
            assert torch.equal(one.sam, other.sam)
            assert torch.equal(one.mask, other.mask)
            assert (one.counted is None) == (other.counted is None)

    @pytest.mark.slow
    @pytest.mark.usefixtures("plain")
    def test_a_resumed_run_comes_to_the_same(self, pictures: Path, tmp_path: Path) -> None:
        class Killed(Exception):
            pass

        def stop(line: str) -> None:
            if line.startswith("epoch 1"):
                raise Killed

        data = {"data": str(pictures), "workers": 0, "augment": EVERY}
        whole = run(tmp_path / "whole", pictures, data=data)
        recipe = TrainConfig(epochs=2, batch_size=4, device="cpu")
        with pytest.raises(Killed):
            dsunet.train(tmp_path / "cut", MODEL, DataConfig(**data), recipe, on_line=stop)  # type: ignore[arg-type]
        cut = run(tmp_path / "cut", pictures, data={**data, "workers": 2}, resume=True)
        assert states_equal(whole.weights, cut.weights)
        with pytest.raises(dsunet.errors.DsunetError, match="augment"):
            run(tmp_path / "cut", pictures, data={**data, "augment": "blur"}, resume=True)


class TestElsewhere:
    def test_kept_maps_cannot_serve_them(self, pictures: Path) -> None:
        data = DataConfig(str(pictures), augment="blur")
        assert obstacle(nano(train_semantic=False), data) == (
            "with `augment` an image looks different every time"
        )
        assert obstacle(nano(train_semantic=False), DataConfig(str(pictures))) is None

    def test_a_teacher_does_not_follow_moves(self, pictures: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="rotate and scale, which a teacher's maps do not"):
            distill(
                tmp_path / "run",
                model_config("dsunet-nano", injection="none", sam_size=128),
                DistillConfig(teacher="dsunet-lite"),
                DataConfig(str(pictures), augment="rotate,scale,blur"),
                TrainConfig(device="cpu"),
            )

    def test_the_sheet_shows_them(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dsunet.visualize import data_sheet, sheet

        captions = []
        panel = sheet.panel

        def spy(rows: object, titles: object, names: list[tuple[str, ...]]) -> Image.Image:
            captions.extend(names)
            return panel(rows, titles, names)  # type: ignore[arg-type]

        monkeypatch.setattr(sheet, "panel", spy)
        plain = data_sheet(dataset(pictures, None), range(3))
        changed = data_sheet(dataset(pictures, "rotate=1:40,noise=1"), range(3))
        assert not np.array_equal(plain, changed)
        assert [names[3] for names in captions[:3]] == [""] * 3
        assert all(names[3].startswith("rotate ") for names in captions[3:])
        assert all(", noise " in names[3] for names in captions[3:])
        sheet_file = tmp_path / "sheet.png"
        call = ["data", "check", str(pictures), "--augment", "rotate=1", "--sheet", str(sheet_file)]
        assert main([*call, "--model", "dsunet-nano", "--rows", "2"]) == 0
        assert sheet_file.exists()
