"""The networks that are measured: what they compute, and what they leave out."""

from __future__ import annotations

import pytest
import torch

import dsunet
from dsunet.benchmarking.flops import count_flops
from dsunet.benchmarking.networks import network_of, use_full_attention
from dsunet.benchmarking.steps import FeatureFile
from dsunet.config import model_config
from dsunet.network.build import build_model
from helpers import nano
from measured import CPU, SMALL, variant


def test_full_attention_gives_the_same() -> None:
    ours = nano(train_semantic=False).eval()
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    before = ours(sam, dino)
    largest = max(
        m.weight.shape[0] for m in ours.decoder.modules() if isinstance(m, torch.nn.Conv2d)
    )
    assert largest < 32 * 32  # the map below is not one of these
    use_full_attention(ours)
    seen: list[tuple[int, ...]] = []
    softmax = torch.softmax

    def spy(x: torch.Tensor, dim: int) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return softmax(x, dim)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "softmax", spy)
        after = ours(sam, dino)
    assert seen == [(1, n, n) for n in (8 * 8, 16 * 16, 32 * 32)]
    assert ours.semantic is not None
    fused = [m.fused_attn for m in ours.semantic.modules() if hasattr(m, "fused_attn")]
    assert fused
    assert not any(fused)
    assert all(m.fused_attn for m in ours.pyramid.modules() if hasattr(m, "fused_attn"))
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_cached_network_has_no_dinov2() -> None:
    with_it, without = network_of(variant()), network_of(variant(feature_cache=True))
    assert with_it.semantic is not None
    assert without.semantic is not None
    assert list(without.semantic.parameters()) == []
    assert without.semantic.absent_parameters == sum(
        p.numel() for p in with_it.semantic.parameters()
    )
    file = FeatureFile(without.semantic_shapes(), 2, CPU)
    maps = file.read()
    assert [tuple(each.shape) for each in maps] == [(2, *s) for s in without.semantic_shapes()]
    assert maps[0].dtype == torch.float32
    rounds = [maps[0], *(file.read()[0] for _ in range(4))]
    assert not torch.equal(rounds[0], rounds[1])  # another batch
    assert torch.equal(rounds[0], rounds[4])  # the first again
    out = without(torch.randn(2, 3, 128, 128), dino_features=maps).fine
    assert torch.isfinite(out).all()


def test_networks_are_filled_with_usual_values() -> None:
    model = network_of(variant())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not [n for n, p in model.named_parameters() if p.is_meta or (0 in p.stride() and p.ndim)]
    reference = dsunet.create_model("dsunet-nano", weights=None, **SMALL)
    shapes = {name: tensor.shape for name, tensor in reference.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    trained = {name for name, p in reference.named_parameters() if p.requires_grad}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained


@pytest.mark.slow
def test_flops_of_the_large_network() -> None:
    """As measured with the authors' code: 1300.9 GFLOP an image, 1013.6 of them in DINOv2."""
    with torch.device("meta"):
        model = build_model(model_config("dsunet-large")).eval()
        sam, dino = torch.randn(1, 3, 352, 352), torch.randn(1, 3, 518, 518)
    assert model.semantic is not None
    assert count_flops(lambda: model.extract_semantics(dino)) / 1e9 == pytest.approx(
        1013.6, abs=0.05
    )
    assert count_flops(lambda: model(sam, dino)) / 1e9 == pytest.approx(1300.9, abs=0.05)
