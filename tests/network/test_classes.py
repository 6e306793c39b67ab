"""Several classes in the network: channels, probabilities and the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dsunet.config import LossConfig, ModelConfig
from dsunet.errors import ConfigError
from dsunet.network.classes import against_rest, class_entropy, class_loss, class_probabilities
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.losses import deep_supervision_loss, similarity_loss, structure_loss
from dsunet.running.inference import probabilities_of
from dsunet.running.step import loss_of
from helpers import nano

CLASSES = ("In", "Pa", "Sc")


def drawn(classes: int, seed: int = 0) -> tuple[SegmentationLogits, Tensor]:
    """Logits of a batch of two, and masks of classes that exclude each other."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 2, classes, 40, 36, generator=generator) * 3
    index = torch.randint(classes + 1, (2, 40, 36), generator=generator)
    target = torch.stack([(index == i).float() for i in range(1, classes + 1)], 1)
    return SegmentationLogits(*logits), target


def test_exclusive_probabilities_are_a_softmax_with_background_at_zero() -> None:
    logits = torch.tensor([1.0, 0.0, 2.0]).log().view(1, 3, 1, 1)  # exp: 1, 0, 2; background 1
    probabilities = class_probabilities(logits, True).flatten()
    torch.testing.assert_close(probabilities, torch.tensor([0.25, 0.0, 0.5]))


def test_one_class_is_the_sigmoid_of_today_to_the_last_bit() -> None:
    logits = torch.linspace(-90, 90, 1001).view(1, 1, 1, -1)
    for exclusive in (True, False):
        assert torch.equal(class_probabilities(logits, exclusive), torch.sigmoid(logits))
        assert torch.equal(against_rest(logits, exclusive), logits)


def test_a_classs_logit_against_the_rest_has_its_softmax_as_sigmoid() -> None:
    logits = drawn(4)[0].fine.double()
    apart = torch.sigmoid(against_rest(logits, True))
    torch.testing.assert_close(apart, class_probabilities(logits, True))
    assert torch.equal(against_rest(logits, False), logits)


def test_large_logits_stay_finite() -> None:
    logits = torch.tensor([1000.0, -1000.0, 999.0]).view(1, 3, 1, 1).requires_grad_()
    apart = against_rest(logits, True)
    apart.sum().backward()
    assert apart.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_cross_entropy_by_hand() -> None:
    # exp: 1 and 2, background 1, so that the probabilities are 1/4, 1/4 and 1/2
    logits = torch.tensor([1.0, 2.0]).log().view(1, 2, 1, 1).expand(1, 2, 1, 3)
    target = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3)
    expected = (np.log(4) + np.log(4) + np.log(2)) / 3
    assert float(class_entropy(logits, target)) == pytest.approx(expected)
    counted = torch.tensor([1.0, 0.0, 1.0]).view(1, 1, 1, 3)
    expected = (np.log(4) + np.log(2)) / 2
    assert float(class_entropy(logits, target, counted)) == pytest.approx(expected)


def test_the_loss_is_the_mean_over_classes_of_the_papers_and_cross_entropy() -> None:
    outputs, target = drawn(3)
    apart = [against_rest(each, True) for each in outputs if each is not None]
    expected = sum(
        weight
        * (
            sum(structure_loss(own[:, i : i + 1], target[:, i : i + 1]) for i in range(3)) / 3
            + class_entropy(logits, target)
        )
        for weight, own, logits in zip((0.25, 0.5, 1.0), apart, outputs, strict=True)
    )
    torch.testing.assert_close(class_loss(outputs, target), torch.as_tensor(expected))


def test_independent_classes_have_no_cross_entropy_between_them() -> None:
    outputs, target = drawn(2)
    expected = [
        deep_supervision_loss(
            SegmentationLogits(*(x[:, i : i + 1] for x in outputs if x is not None)),
            target[:, i : i + 1],
        )
        for i in range(2)
    ]
    found = class_loss(outputs, target, exclusive=False)
    torch.testing.assert_close(found, torch.stack(expected).mean())


@pytest.mark.parametrize("exclusive", [True, False])
def test_ignored_pixels_have_no_part_in_the_loss(exclusive: bool) -> None:
    outputs, target = drawn(3)
    counted = torch.ones(2, 1, 40, 36)
    counted[..., 20:, :] = 0
    changed = target.clone()
    changed[..., 20:, :] = changed[:, [1, 2, 0]][..., 20:, :]
    logits = SegmentationLogits(*(x.clone().requires_grad_() for x in outputs if x is not None))
    one = class_loss(logits, target, counted=counted, exclusive=exclusive, ssim=0.0)
    other = class_loss(logits, changed, counted=counted, exclusive=exclusive, ssim=0.0)
    assert torch.equal(one, other)
    (gradient,) = torch.autograd.grad(one, [logits.fine])
    assert gradient[..., 20:, :].abs().sum() == 0
    assert gradient[..., :20, :].abs().sum() > 0


@pytest.mark.parametrize("ignoring", [False, True])
def test_the_loss_of_one_class_is_todays_bit_for_bit(ignoring: bool) -> None:
    outputs, target = drawn(1)
    counted = (torch.rand(2, 1, 40, 36) > 0.2).float() if ignoring else None
    today = deep_supervision_loss(outputs, target, counted=counted)
    today = today + 0.5 * similarity_loss(outputs.fine, target, counted)
    for exclusive in (True, False):
        found = loss_of(outputs, target, LossConfig(ssim=0.5), counted, exclusive)
        assert torch.equal(found, today)


def test_a_model_without_classes_is_todays() -> None:
    usual, named = nano(), nano(classes=("object",))
    assert "classes" not in usual.config.to_dict()
    assert "exclusive" not in usual.config.to_dict()
    assert usual.classes == ()
    assert not usual.exclusive
    for (name, own), (other, theirs) in zip(
        usual.state_dict().items(), named.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(own, theirs)
    views = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        assert torch.equal(usual.eval()(*views).fine, named.eval()(*views).fine)


def test_heads_have_a_channel_for_each_class() -> None:
    model = nano(classes=CLASSES).eval()
    with torch.inference_mode():
        outputs = model(torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112))
    assert [x.shape for x in outputs if x is not None] == [(1, 3, 128, 128)] * 3
    assert model.classes == CLASSES
    assert model.exclusive
    [map_] = probabilities_of(outputs.fine, [(50, 70)], model.classes, model.exclusive)
    assert map_.shape == (3, 50, 70)
    assert (map_.sum(0) <= 1 + 1e-5).all()


def test_maps_of_one_map_stay_maps() -> None:
    logits = torch.randn(1, 1, 32, 32)
    [map_] = probabilities_of(logits, [(20, 30)])
    [named] = probabilities_of(logits, [(20, 30)], ("object",), True)
    assert map_.shape == (20, 30)
    assert named.shape == (1, 20, 30)
    assert np.array_equal(map_, named[0])


@pytest.mark.parametrize(
    ("given", "meant"),
    [("In, Pa,Sc", CLASSES), (list(CLASSES), CLASSES), ((), ()), ("", ()), (None, ())],
)
def test_names_of_classes(given: object, meant: tuple[str, ...]) -> None:
    assert ModelConfig(classes=given).classes == meant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", ["a,,b", "a,b,a", "a/b", "background", "ignore", "mean", ".a", ["a,b"], "a\nb"]
)
def test_names_that_cannot_be(given: object) -> None:
    with pytest.raises(ConfigError, match="classes"):
        ModelConfig(classes=given)  # type: ignore[arg-type]


def test_a_file_says_its_classes() -> None:
    config = ModelConfig(classes=CLASSES, exclusive=False)
    told = config.to_dict()
    assert told["classes"] == list(CLASSES)
    assert told["exclusive"] is False
    assert ModelConfig(**told) == config


def test_a_head_of_ones_own_gives_one_map() -> None:
    with pytest.raises(ConfigError, match="leave one of them out"):
        ModelConfig(classes=CLASSES, head="module:Head")


def test_copied_heads_part_company() -> None:
    """From heads that are alike, gradients lead to each class where the features tell it."""
    index = torch.zeros(2, 32, 32, dtype=torch.long)
    index[0, 4:16, 4:16], index[1, 14:28, 14:28], index[1, :8, :8] = 1, 2, 1
    target = torch.stack([(index == i).float() for i in (1, 2)], 1)
    features = torch.cat([(index > 0).float()[:, None], target], 1)
    head = torch.nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([4.0, 0, 0]).view(1, 3, 1, 1).expand(2, 3, 1, 1))
        head.bias.fill_(-3)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
    for _ in range(30):
        logits = head(features)
        optimizer.zero_grad()
        class_loss(SegmentationLogits(logits, logits, logits), target).backward()
        optimizer.step()
    found = class_probabilities(head(features).detach(), True)
    assert (found[target == 1] > 0.7).all()
    assert (found[target == 0] < 0.2).all()
