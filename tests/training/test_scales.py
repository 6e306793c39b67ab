"""Views of many sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import runs
from dsunet.config import DataConfig, DistillConfig, LossConfig, TrainConfig, model_config
from dsunet.data.dataset import Batch
from dsunet.errors import ConfigError
from dsunet.training import distill
from dsunet.training.module import SegmentationModule
from dsunet.training.scales import at_another_size, sides_within
from dsunet.weights.models import create_from_config


class Killed(BaseException):
    """As a process ends that nobody asks."""


def test_sides_by_hand() -> None:
    assert sides_within(352, 0.25) == [288, 320, 352, 384, 416]
    assert sides_within(128, 0.5) == [128, 160, 192]  # never below 128
    assert sides_within(352, 0.0) == [352]
    assert sides_within(256, 0.25) == [192, 224, 256, 288, 320]
    assert sides_within(100, 0.5) == [100, 128]  # of a network of one's own


def batch(height: int = 256, width: int = 256) -> Batch:
    mask = torch.zeros(2, 1, height, width)
    mask[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    return Batch(
        sam=mask.repeat(1, 3, 1, 1) * 2 - 1,
        dino=None,
        mask=mask,
        truths=[],
        names=["a", "b"],
        places=[None, None],
        maps=[None, None],
        counted=torch.ones_like(mask),
    )


def test_the_object_stays_where_it_is() -> None:
    sizes = set()
    for seed in range(40):
        torch.manual_seed(seed)
        given = batch()
        found = at_another_size(given, 0.25)
        side = found.sam.shape[-1]
        sizes.add(side)
        assert found.sam.shape == (2, 3, side, side)
        assert found.mask.shape == found.counted.shape == (2, 1, side, side)
        assert float(found.mask.min()) >= 0
        assert float(found.mask.max()) <= 1
        assert float(found.mask.mean()) == pytest.approx(1 / 16, abs=1e-3)
        rows = (found.mask[0, 0].amax(1) > 0.5).nonzero()
        assert int(rows[0]) == pytest.approx(side / 4, abs=1)
        assert int(rows[-1]) == pytest.approx(side / 2 - 1, abs=1)
        assert bool(found.counted.all())
    assert sizes == {192, 224, 256, 288, 320}


def test_what_is_not_square_keeps_its_shape() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        height, width = at_another_size(batch(128, 256), 0.5).sam.shape[-2:]
        assert width == 2 * height or (height, width) == (128, 256)


def test_a_pixel_counts_where_all_that_it_is_made_of_counts() -> None:
    given = batch()
    given.counted[..., :100] = 0
    for seed in range(20):
        torch.manual_seed(seed)
        found = at_another_size(given, 0.25)
        side = found.sam.shape[-1]
        assert set(found.counted.unique().tolist()) == {0.0, 1.0}
        first = int(found.counted[0, 0, 0].nonzero()[0])
        assert 0 <= first - 100 * side / 256 <= 2


@pytest.mark.slow
def test_a_step_is_that_of_the_resized_batch() -> None:
    model = create_from_config(
        model_config("dsunet-nano", injection="none", sam_size=192), weights=None
    ).eval()
    given = batch(192, 192)
    module = SegmentationModule(model, TrainConfig(multi_scale=0.34), LossConfig())
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    plain = SegmentationModule(model, TrainConfig(), LossConfig())
    plain.log = lambda *_, **__: None  # type: ignore[method-assign]
    sides = set()
    for seed in range(6):
        torch.manual_seed(seed)
        resized = at_another_size(given, 0.34)
        sides.add(resized.sam.shape[-1])
        torch.manual_seed(seed)
        assert torch.equal(module.training_step(given, 0), plain.training_step(resized, 0))
    assert len(sides) > 1


@pytest.mark.slow
def test_a_resumed_run_sees_the_same_sizes(pictures: Path, tmp_path: Path) -> None:
    model = model_config("dsunet-nano", injection="none", sam_size=160)
    recipe = {"multi_scale": 0.25, "save_every": 0}
    runs.run(tmp_path / "whole", pictures, model, epochs=2, **recipe)
    cut = tmp_path / "cut"
    with pytest.raises(Killed):
        _interrupted(cut, pictures, model, recipe)
    runs.run(cut, pictures, model, epochs=2, resume=True, **recipe)
    assert runs.states_equal(tmp_path / "whole" / "last.safetensors", cut / "last.safetensors")


def _interrupted(output: Path, pictures: Path, model: object, recipe: dict[str, object]) -> None:
    """Stops in the second step of the second epoch."""
    steps = []
    before = SegmentationModule.training_step

    def step(self: SegmentationModule, given: Batch, number: int) -> torch.Tensor:
        steps.append(number)
        if self.current_epoch == 1 and number == 1:
            raise Killed
        return before(self, given, number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SegmentationModule, "training_step", step)
        runs.run(output, pictures, model, epochs=2, **recipe)  # type: ignore[arg-type]


def test_what_needs_one_size_says_so(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(ConfigError, match="compile is True, but needs views of one size"):
        TrainConfig(multi_scale=0.1, compile=True)
    with pytest.raises(ConfigError, match="feature_cache is 'auto', but needs views of one size"):
        TrainConfig(multi_scale=0.1, feature_cache="auto")
    with pytest.raises(ConfigError, match=r"multi_scale is 0\.6, but needs"):
        TrainConfig(multi_scale=0.6)
    for share, side in ((0.05, 352), (0.2, 128)):  # silence would be no training on many sizes
        model = model_config("dsunet-nano", injection="none", sam_size=side)
        with pytest.raises(
            ConfigError, match=rf"`multi_scale` is {share}, but a view of {side} px"
        ):
            runs.run(tmp_path / "none", pictures, model, multi_scale=share)
    with pytest.raises(ConfigError, match="a teacher's maps are of one view"):
        distill(
            tmp_path / "run",
            model_config("dsunet-nano", injection="none", sam_size=160),
            DistillConfig(teacher="dsunet-lite"),
            DataConfig(str(pictures)),
            TrainConfig(multi_scale=0.1, device="cpu"),
        )
