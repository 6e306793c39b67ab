"""The one training step, the one place and the one way to make loaders."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import dsunet
from dsunet.config import LossConfig
from dsunet.errors import ConfigError
from dsunet.network.losses import deep_supervision_loss, similarity_loss
from dsunet.running.loaders import make_loader
from dsunet.running.place import Place
from dsunet.running.step import training_loss, way_there

CPU = torch.device("cpu")
SAM = torch.linspace(-3, 3, 2 * 3 * 128 * 128).reshape(2, 3, 128, 128).sin()
MASKS = (SAM[:, :1] > 0).float()


class Square(Dataset[int]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        return index**2


def network() -> dsunet.DSUNet:
    torch.manual_seed(0)
    return dsunet.create_model("dsunet-nano", weights=None, injection="none", sam_size=128).eval()


def test_the_loss_is_that_of_the_outputs_with_a_weight() -> None:
    model = network()
    found = training_loss(model, SAM, None, MASKS, LossConfig())
    assert torch.equal(found, deep_supervision_loss(model(SAM), MASKS))
    fine = LossConfig(output_weights=(0, 0, 1))
    given = way_there(model, SAM, None, fine)
    assert given.logits.coarse is None
    assert given.logits.middle is None
    found = training_loss(model, SAM, None, MASKS, fine)
    assert torch.equal(found, deep_supervision_loss(given.logits, MASKS, "mean", (0, 0, 1)))


def test_similarity_is_a_further_term_of_the_fine_output() -> None:
    model = network()
    logits = way_there(model, SAM, None, LossConfig()).logits
    expected = deep_supervision_loss(logits, MASKS) + 0.5 * similarity_loss(logits.fine, MASKS)
    assert torch.equal(training_loss(model, SAM, None, MASKS, LossConfig(ssim=0.5)), expected)


def test_a_network_of_ones_own_has_one_output_and_no_levels() -> None:
    model = dsunet.CustomModel(nn.Conv2d(3, 1, 1), 128)
    found = training_loss(model, SAM, None, MASKS, LossConfig())
    whole = LossConfig(output_weights=(0, 0, 1))
    assert torch.equal(found, training_loss(model, SAM, None, MASKS, whole))
    assert model.level_shapes == []
    with pytest.raises(ConfigError, match="levels"):
        model.outputs_and_levels(SAM)


def test_a_place_computes_in_its_type_and_a_step_ends_in_float32() -> None:
    model, half = network(), Place(CPU, torch.bfloat16)
    with half.autocast():
        assert model(SAM).fine.dtype == torch.bfloat16
    given = way_there(model, SAM, None, LossConfig(), place=half)
    assert given.logits.fine.dtype == torch.float32
    assert not torch.equal(given.logits.fine, model(SAM).fine)
    with Place(CPU).autocast():
        assert torch.equal(model(SAM).fine, way_there(model, SAM, None, LossConfig()).logits.fine)
    assert half.precision_name == "bfloat16"
    assert Place.chosen("cpu") == Place(CPU)


def test_levels_come_along_where_they_are_asked_for() -> None:
    model = network()
    given = way_there(model.outputs_and_levels, SAM, None, LossConfig())
    assert [tuple(level.shape[1:]) for level in given.levels] == model.level_shapes
    assert torch.equal(given.logits.fine, model(SAM).fine)


@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_give_batches_or_items_in_the_order_that_is_asked_for(workers: int) -> None:
    assert [*make_loader(Square(), 2, list, workers=workers)] == [[0, 1], [4, 9], [16]]
    order = [3, 1]
    assert [*make_loader(Square(), None, int, order=order, workers=workers)] == [9, 1]
