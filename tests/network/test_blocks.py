"""Blocks against plain formulas and values worked out by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pywt
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsunet.network.decoder import (
    CrossScaleAttention,
    Decoder,
    SpatialFeatureFusion,
    UpsamplingFusion,
)
from dsunet.network.encoders import AdaptedBlock, Adapter
from dsunet.network.fusion import ChannelModulation, ContentGuidedAttention, FeatureInjection
from dsunet.network.layers import WaveletConv2d


def test_haar_analysis_equals_pywavelets() -> None:
    x = torch.randn(1, 2, 6, 8)
    bands = WaveletConv2d(2).analyse(x).reshape(2, 4, 3, 4)
    for channel in range(2):
        low, (horizontal, vertical, diagonal) = pywt.dwt2(x[0, channel].numpy(), "haar")
        for ours, theirs in zip(bands[channel], (low, horizontal, vertical, diagonal), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 6), w=st.integers(1, 6), c=st.integers(1, 3))
def test_haar_synthesis_inverts_analysis(h: int, w: int, c: int) -> None:
    conv = WaveletConv2d(c)
    x = torch.randn(2, c, 2 * h, 2 * w)
    torch.testing.assert_close(conv.synthesise(conv.analyse(x)), x)


def test_taps_are_a_buffer_that_is_not_saved() -> None:
    conv = WaveletConv2d(3)
    assert "taps" in dict(conv.named_buffers())
    assert not any("taps" in name for name, _ in conv.named_parameters())
    assert not any("taps" in name for name in conv.state_dict())


def test_wavelet_conv_keeps_odd_sizes() -> None:
    assert WaveletConv2d(2, levels=3)(torch.randn(1, 2, 7, 11)).shape == (1, 2, 7, 11)


def test_attention_equals_the_plain_formula() -> None:
    torch.manual_seed(0)
    attention = CrossScaleAttention(16, 8).eval()
    guide, content = torch.randn(2, 16, 5, 7), torch.randn(2, 16, 5, 7)
    query = attention.query(guide).flatten(2).transpose(1, 2)  # B N A
    key = attention.key(guide).flatten(2)  # B A N
    value = attention.value(content).flatten(2).transpose(1, 2)
    weights = torch.softmax(query @ key * 8**-0.5, dim=-1)
    plain = (weights @ value).transpose(1, 2).reshape(2, 8, 5, 7)
    torch.testing.assert_close(
        attention(guide, content), attention.out(plain), atol=1e-6, rtol=1e-5
    )


def test_attention_gets_contiguous_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = F.scaled_dot_product_attention

    def spy(*tensors: torch.Tensor) -> torch.Tensor:
        seen.extend(tensors)
        return real(*tensors)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    SpatialFeatureFusion(16, 8)(torch.randn(2, 16, 4, 4), torch.randn(2, 16, 8, 8))
    assert len(seen) == 3
    assert all(t.is_contiguous() and t.shape == (2, 1, 64, 8) for t in seen)


def test_adapter_by_hand() -> None:
    adapter = Adapter(2, 1)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.down.bias.fill_(0.5)
        adapter.up.weight.copy_(torch.tensor([[2.0], [0.0]]))
        adapter.up.bias.copy_(torch.tensor([0.0, -1.0]))
    # down: 3 - 1 + 0.5 = 2.5; gelu(2.5) = 2.484476; up: 4.968952 and -1; gelu again
    out = adapter(torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(out, torch.tensor([4.968950, -0.158655]), atol=1e-5, rtol=0)


def test_adapted_block_sees_the_sum() -> None:
    block = AdaptedBlock(nn.Identity(), 4, 2)
    x = torch.randn(3, 4)
    torch.testing.assert_close(block(x), x + block.adapter(x))


def test_single_sigmoid_is_the_other_reading() -> None:
    torch.manual_seed(0)
    published = ContentGuidedAttention(8)
    single = ContentGuidedAttention(8, pixel_attention="single_sigmoid")
    single.load_state_dict(published.state_dict())
    total = torch.randn(1, 8, 5, 5)
    torch.testing.assert_close(published.weights(total), torch.sigmoid(single.weights(total)))
    assert published.weights(total).min() > 0.5
    assert single.weights(total).min() < 0.5


def test_equal_maps_make_the_weights_irrelevant() -> None:
    """With x = y the mix is 3x, whatever the attention says."""
    fusion = ContentGuidedAttention(8)
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(fusion(x, x), fusion.project(3 * x))


def test_resize_order_of_channel_modulation() -> None:
    torch.manual_seed(0)
    first, last = ChannelModulation(4, 6), ChannelModulation(4, 6, "resize_last")
    last.load_state_dict(first.state_dict())
    x = torch.randn(2, 4, 9, 9)
    first.eval(), last.eval()
    same_grid = (9, 9)
    torch.testing.assert_close(first(x, same_grid), last(x, same_grid))
    assert not torch.allclose(first(x, (4, 4)), last(x, (4, 4)))
    assert last(x, (4, 5)).shape == (2, 6, 4, 5)


def test_merge_by_addition_has_two_convolutions() -> None:
    fuse = SpatialFeatureFusion(8, 4, merge="add")
    assert fuse(torch.randn(2, 8, 3, 3), torch.randn(2, 8, 6, 6)).shape == (2, 8, 6, 6)
    assert sum(isinstance(m, nn.Conv2d) for m in fuse.conv.modules()) == 2


@pytest.mark.parametrize(
    ("maps", "levels"), [(1, [3]), (1, [0, 1, 2, 3]), (4, [0, 1, 2, 3])], ids=["final", "C", "B"]
)
def test_injection_changes_just_its_levels(maps: int, levels: list[int]) -> None:
    channels = [8, 12, 16, 20]
    injection = FeatureInjection(channels, 6, levels).eval()
    pyramid = [
        torch.randn(1, c, 4 + s, 5 + s) for c, s in zip(channels, (24, 12, 4, 0), strict=True)
    ]
    fused = injection(pyramid, [torch.randn(1, 6, 7, 7) for _ in range(maps)])
    for i, (before, after) in enumerate(zip(pyramid, fused, strict=True)):
        assert after.shape == before.shape
        assert torch.equal(before, after) == (i not in levels)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 11), (7, 8)])
def test_upsampling_fusion_by_hand(height: int, width: int) -> None:
    """The finer map comes first; the coarser one is doubled with corners aligned, and padded."""
    fuse = UpsamplingFusion(2).eval()
    seen = []
    fuse[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    coarse = torch.arange(32.0).reshape(1, 2, 4, 4)
    fine = torch.randn(1, 2, height, width)
    assert fuse(coarse, fine).shape == fine.shape
    assert torch.equal(seen[0][:, :2], fine)
    # rows 0, 1, 2, 3 become eight at 0, 3/7, 6/7 …, so that the corners keep their values
    steps = torch.arange(8) * 3 / 7
    doubled = 4 * steps.view(8, 1) + steps.view(1, 8)
    top, left = (height - 8) // 2, (width - 8) // 2  # SAM2-UNet rounds down, which crops here
    expected = torch.zeros(max(height, 8) + 1, max(width, 8) + 1)
    rows = range(max(0, -top), min(8, height - top))
    for row in rows:
        for column in range(max(0, -left), min(8, width - left)):
            expected[row + top, column + left] = doubled[row, column]
    torch.testing.assert_close(seen[0][0, 2], expected[:height, :width])


def test_decoder_leaves_out_what_is_not_asked_for() -> None:
    torch.manual_seed(0)
    decoder = Decoder([4, 6, 8, 10], partial(SpatialFeatureFusion, attention_channels=4), 8).eval()
    pyramid = [torch.randn(1, c, s, s) for c, s in zip([4, 6, 8, 10], (16, 8, 4, 2), strict=True)]
    every = decoder(pyramid, (64, 64))
    fine = decoder(pyramid, (64, 64), "fine")
    assert fine.coarse is None
    assert fine.middle is None
    assert torch.equal(every.fine, fine.fine)
    assert all(x.shape == (1, 1, 64, 64) for x in every)


def test_decoder_can_have_more_classes() -> None:
    decoder = Decoder([4, 6, 8, 10], channels=8, classes=3)
    pyramid = [torch.randn(2, c, s, s) for c, s in zip([4, 6, 8, 10], (16, 8, 4, 2), strict=True)]
    assert decoder(pyramid, (32, 32)).fine.shape == (2, 3, 32, 32)
