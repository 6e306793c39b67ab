"""The loss on values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import dsunet
from dsunet.errors import ConfigError
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.losses import (
    Bce,
    WithoutObject,
    boundary_weight,
    deep_supervision_loss,
    similarity_loss,
)


def test_weight_equals_one_big_average_pool() -> None:
    target = (torch.rand(2, 1, 40, 33) > 0.6).float()
    plain = 1 + 5 * (F.avg_pool2d(target, 31, stride=1, padding=15) - target).abs()
    torch.testing.assert_close(boundary_weight(target), plain)


def test_single_pixel_by_hand() -> None:
    """One pixel of object, logit 0: every number fits on a napkin."""
    target = torch.ones(1, 1, 1, 1)
    logits = torch.zeros(1, 1, 1, 1)
    w = 1 + 5 * (1 - 1 / 961)  # the other 960 pixels of the window are outside and count as zero
    iou = 1 - (0.5 * w + 1) / (1.5 * w - 0.5 * w + 1)
    expected = iou + math.log(2)
    assert float(dsunet.structure_loss(logits, target)) == pytest.approx(expected, rel=1e-6)


def test_all_background_by_hand() -> None:
    target = torch.zeros(1, 1, 2, 2)
    logits = torch.full((1, 1, 2, 2), -math.log(3))  # probability 1/4
    iou = 1 - 1 / (4 * 0.25 + 1)
    expected = iou + math.log(4 / 3)
    assert float(dsunet.structure_loss(logits, target)) == pytest.approx(expected, rel=1e-6)


def test_perfect_prediction_costs_nothing() -> None:
    target = torch.zeros(1, 1, 32, 32)
    target[..., 8:20, 8:20] = 1
    loss = dsunet.structure_loss((target - 0.5) * 200, target)
    assert float(loss) == pytest.approx(0, abs=1e-5)


def test_boundary_weighted_cross_entropy_cares_about_the_boundary() -> None:
    target = torch.zeros(1, 1, 96, 96)
    target[..., 30:66, 30:66] = 1
    right = (target - 0.5) * 8
    at_edge, far_away = right.clone(), right.clone()
    at_edge[..., 30:34, 30:34] *= -1
    far_away[..., :4, :4] *= -1
    plain = [float(dsunet.structure_loss(x, target)) for x in (at_edge, far_away)]
    weighted = [
        float(dsunet.structure_loss(x, target, bce="boundary_weighted"))
        for x in (at_edge, far_away)
    ]
    assert weighted[0] - weighted[1] > plain[0] - plain[1] > 0


def test_deep_supervision_weights() -> None:
    target = (torch.rand(2, 1, 16, 16) > 0.5).float()
    outputs = SegmentationLogits(*(torch.randn(2, 1, 16, 16) for _ in range(3)))
    each = [float(dsunet.structure_loss(logits, target)) for logits in outputs]
    expected = 0.25 * each[0] + 0.5 * each[1] + each[2]
    assert float(dsunet.deep_supervision_loss(outputs, target)) == pytest.approx(expected)
    only_fine = SegmentationLogits(None, None, outputs.fine)
    loss = dsunet.deep_supervision_loss(only_fine, target, weights=(0, 0, 1))
    assert float(loss) == pytest.approx(each[2])
    with pytest.raises(ValueError, match="an output with a weight is missing"):
        dsunet.deep_supervision_loss(only_fine, target)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\).*\(1, 1, 4, 5\)"):
        dsunet.structure_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))


class TestIgnored:
    """Pixels that do not count."""

    @pytest.fixture
    def given(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, target, and which pixels count: not a band that crosses the object."""
        generator = torch.Generator().manual_seed(3)
        logits = torch.randn(3, 1, 40, 36, generator=generator)
        target = (torch.rand(3, 1, 40, 36, generator=generator) > 0.6).float()
        counted = torch.ones_like(target)
        counted[0, :, 10:20] = 0
        counted[1, :, :, 30:] = 0
        return logits, target, counted

    @pytest.mark.parametrize("bce", ["mean", "boundary_weighted"])
    def test_no_gradient_and_no_part(
        self, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor], bce: Bce
    ) -> None:
        logits, target, counted = given
        logits.requires_grad_()
        loss = dsunet.structure_loss(logits, target, bce, counted)
        loss.backward()
        assert logits.grad is not None
        assert (logits.grad[counted == 0] == 0).all()
        assert (logits.grad[counted == 1] != 0).all()
        other_target = torch.where(counted == 0, 1 - target, target)
        other_logits = torch.where(counted == 0, torch.full_like(logits, 1e4), logits)
        assert dsunet.structure_loss(logits, other_target, bce, counted) == loss
        assert dsunet.structure_loss(other_logits, target, bce, counted) == loss

    @pytest.mark.parametrize("bce", ["mean", "boundary_weighted"])
    def test_ignoring_nothing_is_as_without(
        self, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor], bce: Bce
    ) -> None:
        logits, target, _ = given
        every = dsunet.structure_loss(logits, target, bce, torch.ones_like(target))
        torch.testing.assert_close(every, dsunet.structure_loss(logits, target, bce))

    @pytest.mark.parametrize("bce", ["mean", "boundary_weighted"])
    def test_an_image_without_any_counted_pixel_adds_nothing(self, bce: Bce) -> None:
        logits = torch.randn(1, 1, 12, 12, requires_grad=True)
        nothing = torch.zeros(1, 1, 12, 12)
        loss = dsunet.structure_loss(logits, torch.ones(1, 1, 12, 12), bce, nothing)
        loss.backward()
        assert float(loss.detach()) == 0
        assert logits.grad is not None
        assert (logits.grad == 0).all()

    def test_by_hand(self) -> None:
        """Of two pixels one counts: all as if it were alone in its window of 961."""
        target = torch.ones(1, 1, 1, 2)
        counted = torch.tensor([[[[1.0, 0.0]]]])
        w = 1 + 5 * (1 - 1 / 960)  # the ignored one is not among the 961
        iou = 1 - (0.5 * w + 1) / (1.5 * w - 0.5 * w + 1)
        loss = dsunet.structure_loss(torch.zeros(1, 1, 1, 2), target, counted=counted)
        assert float(loss) == pytest.approx(iou + math.log(2), rel=1e-6)

    def test_the_mean_is_over_counted_pixels(self) -> None:
        """Twice the picture, half of it ignored, costs the same in cross-entropy."""
        logits, target = torch.randn(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
        wide = [torch.cat([x, x], 3) for x in (logits, target)]
        counted = torch.ones(1, 1, 64, 128)
        counted[..., 64:] = 0
        alone = dsunet.structure_loss(logits, target)
        torch.testing.assert_close(dsunet.structure_loss(*wide, counted=counted), alone)

    def test_ignored_pixels_make_no_boundary(self) -> None:
        """All that counts is object; beside it lies an ignored half."""
        target = torch.ones(1, 1, 80, 120)
        counted = torch.ones_like(target)
        counted[..., 60:] = 0
        weight = boundary_weight(target, counted)
        torch.testing.assert_close(weight[..., 20:60, 20:60], torch.ones(1, 1, 40, 40))
        assert (weight[..., 60:] == 0).all()

    def test_every_output(self, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
        logits, target, counted = given
        outputs = [(logits * factor).requires_grad_() for factor in (1, 2, 3)]
        total = deep_supervision_loss(SegmentationLogits(*outputs), target, counted=counted)
        parts = [dsunet.structure_loss(x, target, counted=counted) for x in outputs]
        torch.testing.assert_close(total, parts[0] / 4 + parts[1] / 2 + parts[2])
        total.backward()
        for each in outputs:
            assert each.grad is not None
            assert (each.grad[counted == 0] == 0).all()

    def test_another_shape_is_refused(self) -> None:
        x = torch.zeros(2, 1, 8, 8)
        with pytest.raises(ConfigError, match=r"`counted` has shape \(2, 1, 4, 4\)"):
            dsunet.structure_loss(x, x, counted=torch.ones(2, 1, 4, 4))


def test_similarity_by_hand() -> None:
    """Maps of one value have no variance, so that the means alone tell."""
    logits = torch.full((1, 1, 20, 30), -math.log(3))  # probability 1/4
    half = torch.full((1, 1, 20, 30), 0.5)
    means = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    assert float(similarity_loss(logits, half)) == pytest.approx(1 - means, rel=1e-4)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 10:30] = 1
    assert float(similarity_loss((mask - 0.5) * 200, mask)) == pytest.approx(0, abs=1e-5)
    opposite = float(similarity_loss((0.5 - mask) * 200, mask))
    assert 1 < opposite < 2  # where both vary, one goes up where the other goes down


def test_similarity_is_that_of_each_window() -> None:
    """The formula of one window, taken apart; at the border of what lies inside."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 16, 16, generator=generator)
    mask = (torch.rand(1, 1, 16, 16, generator=generator) > 0.5).float()
    x, y = logits.sigmoid()[0, 0].double(), mask[0, 0].double()
    found = []
    for row in range(16):
        for column in range(16):
            part = (
                slice(max(0, row - 5), row + 6),
                slice(max(0, column - 5), column + 6),
            )
            a, b = x[part].flatten(), y[part].flatten()
            cov = ((a - a.mean()) * (b - b.mean())).mean()
            means = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
            spread = a.var(correction=0) + b.var(correction=0) + 9e-4
            found.append(means * (2 * cov + 9e-4) / spread)
    expected = 1 - float(torch.stack(found).mean())
    assert float(similarity_loss(logits, mask)) == pytest.approx(expected, rel=1e-4)


def test_similarity_leaves_ignored_pixels_out() -> None:
    logits = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., 4:12, 4:12] = 1
    counted = torch.ones_like(mask)
    counted[..., 16:] = 0
    logits.requires_grad_()
    loss = similarity_loss(logits, mask, counted)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[..., 16:].any()
    assert logits.grad[..., :16].any()
    other = torch.where(counted == 0, torch.full_like(mask, 0.7), mask)
    assert torch.equal(similarity_loss(logits, other, counted), loss)
    with pytest.raises(ConfigError, match="the loss needs the same"):
        similarity_loss(logits, mask[..., :20])


def empty_loss(probability: float, without_object: WithoutObject) -> tuple[float, float]:
    """Of a picture of 20×20 without an object: the loss, and its gradient of one logit."""
    logits = torch.full((1, 1, 20, 20), math.log(probability / (1 - probability)))
    logits.requires_grad_()
    target = torch.zeros(1, 1, 20, 20)
    loss = dsunet.structure_loss(logits, target, without_object=without_object)
    loss.backward()
    assert logits.grad is not None
    return float(loss.detach()), float(logits.grad[0, 0, 0, 0])


@pytest.mark.parametrize("probability", [0.9, 0.1, 0.001])
def test_without_an_object_by_hand(probability: float) -> None:
    entropy, slope = -math.log(1 - probability), probability / 400
    change = probability * (1 - probability)  # of the map with the logit
    area = 400 * probability
    assert empty_loss(probability, "none") == pytest.approx((entropy, slope), rel=1e-4)
    expected = entropy + probability, slope + change / 400
    assert empty_loss(probability, "area") == pytest.approx(expected, rel=1e-4)
    expected = entropy + area / (area + 1), slope + change / (area + 1) ** 2
    assert empty_loss(probability, "iou") == pytest.approx(expected, rel=1e-4)


def test_the_iou_term_fights_where_there_is_no_object() -> None:
    """Its part of the gradient, beside that of cross-entropy: too small first, then too large."""
    parts = []
    for probability in (0.9, 0.001):
        alone = empty_loss(probability, "none")[1]
        parts.append((empty_loss(probability, "iou")[1] - alone) / alone)
    assert parts[0] < 0.01
    assert parts[1] > 100


def test_pictures_with_an_object_are_as_they_were() -> None:
    logits, target = torch.randn(2, 1, 40, 33), torch.zeros(2, 1, 40, 33)
    target[0, :, 5:20, 5:9] = 1
    counted = torch.ones_like(target)
    for bce in ("mean", "boundary_weighted"):
        alone = [dsunet.structure_loss(logits[:1], target[:1], bce, counted[:1], "iou")]
        alone += [dsunet.structure_loss(logits[:1], target[:1], bce, counted[:1], "area")]
        assert alone[0] == alone[1]
    both = dsunet.structure_loss(logits, target, "boundary_weighted", counted, "area")
    each = [
        dsunet.structure_loss(
            logits[i : i + 1], target[i : i + 1], "boundary_weighted", None, "area"
        )
        for i in range(2)
    ]
    torch.testing.assert_close(both, sum(each) / 2)
