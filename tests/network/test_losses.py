"""The loss on values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import dsunet
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.losses import boundary_weight


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
