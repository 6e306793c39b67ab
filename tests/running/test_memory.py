"""What a training step keeps, makes and computes again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsunet.network.decoder import Decoder, SpatialFeatureFusion
from dsunet.network.encoders import HieraEncoder
from dsunet.network.losses import deep_supervision_loss
from dsunet.network.model import DSUNet
from helpers import nano

SMALL = {"stages": (1, 2, 3, 1), "global_att_blocks": (4,), "window_spec": (8, 4, 14, 7)}


def adapted_hiera(**settings: Any) -> HieraEncoder:
    """A frozen Hiera of a small size with adapters."""
    torch.manual_seed(0)
    trunk = HieraDet(num_classes=0, embed_dim=16, num_heads=1, **SMALL, **settings)
    trunk.reset_classifier(0, reset_other=True)
    return HieraEncoder(trunk, adapter_channels=8)


def gradients(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(5)
    run(model).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def saved_bytes(run: Callable[[], Tensor]) -> int:
    """Bytes of the storages that a forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = run()
        total = sum(kept.values())
        del result
    return total


def all_levels(encoder: nn.Module) -> Tensor:
    image = torch.linspace(-2, 2, 2 * 3 * 128 * 160).reshape(2, 3, 128, 160).sin()
    return sum(level.square().mean() for level in encoder(image))  # type: ignore[return-value]


def whole_loss(model: nn.Module) -> Tensor:
    sam = torch.linspace(-3, 3, 2 * 3 * 128 * 128).reshape(2, 3, 128, 128).sin()
    dino = torch.linspace(-3, 3, 2 * 3 * 112 * 112).reshape(2, 3, 112, 112).cos()
    target = (sam[:, :1] > 0).float()
    return deep_supervision_loss(model(sam, dino), target)


def test_checkpointing_changes_no_gradient_of_adapters() -> None:
    encoder = adapted_hiera().train()
    names = set(encoder.state_dict())
    plain = gradients(encoder, all_levels)
    encoder.checkpointing = True
    again = gradients(encoder, all_levels)
    assert plain.keys() == again.keys()
    assert plain
    assert all(".adapter." in name for name in plain)
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert set(encoder.state_dict()) == names


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_checkpointing_changes_no_gradient_of_nano(precision: torch.dtype) -> None:
    model = nano().train()

    def run(network: nn.Module) -> Tensor:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return whole_loss(network)

    plain = gradients(copy.deepcopy(model), run)
    model.pyramid.checkpointing = True
    again = gradients(model, run)
    assert plain.keys() == again.keys()
    assert len(plain) > 100
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_checkpointing_repeats_random_numbers() -> None:
    """Drop path of a trunk that is trained draws the same when a block is computed again."""
    torch.manual_seed(0)
    trunk = HieraDet(num_classes=0, embed_dim=16, num_heads=1, drop_path_rate=0.5, **SMALL)
    trunk.reset_classifier(0, reset_other=True)
    encoder = HieraEncoder(trunk, trainable=True, adapter_channels=0).train()
    plain = gradients(encoder, all_levels)
    encoder.checkpointing = True
    again = gradients(encoder, all_levels)
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    encoder.checkpointing = False
    torch.manual_seed(6)
    encoder.zero_grad()
    all_levels(encoder).backward()
    other = {name: p.grad for name, p in encoder.named_parameters()}
    assert any(not torch.equal(plain[name], other[name]) for name in plain)


def test_checkpointing_keeps_less() -> None:
    encoder = adapted_hiera().train()
    plain = saved_bytes(lambda: all_levels(encoder))
    encoder.checkpointing = True
    assert saved_bytes(lambda: all_levels(encoder)) < 0.4 * plain
    encoder.eval()
    assert saved_bytes(lambda: all_levels(encoder)) == plain


# -- attention


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes, by its number of elements."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.backward = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        self.backward |= "backward" in str(func)
        return out


def naive_attention(query: Tensor, key: Tensor, value: Tensor, **_: object) -> Tensor:
    scale = query.shape[-1] ** -0.5
    return torch.softmax(query @ key.transpose(-2, -1) * scale, -1) @ value


def largest_of_decoder() -> tuple[int, int]:
    """The largest tensor of a decoder's step, and the size of its finest attention map."""
    torch.manual_seed(0)
    decoder = Decoder([8, 8, 8, 8], partial(SpatialFeatureFusion, attention_channels=4), 8).train()
    side = 192
    pyramid = [torch.randn(1, 8, side // s, side // s, requires_grad=True) for s in (4, 8, 16, 32)]
    with Largest() as largest:
        logits = decoder(pyramid, (side, side))
        torch.autograd.backward(deep_supervision_loss(logits, torch.ones(1, 1, side, side)))
    assert largest.backward
    return largest.elements, (side // 4) ** 4


def test_the_decoder_never_makes_the_attention_map() -> None:
    largest, map_ = largest_of_decoder()
    assert largest < map_ / 10


def test_a_naive_decoder_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "scaled_dot_product_attention", naive_attention)
    largest, map_ = largest_of_decoder()
    assert largest >= map_


def largest_of_step(model: DSUNet) -> int:
    with Largest() as largest:
        sam, dino = torch.zeros(1, 3, 224, 224), torch.zeros(1, 3, 448, 448)
        loss = deep_supervision_loss(model(sam, dino), torch.zeros(1, 1, 224, 224))
        torch.autograd.backward(loss)
    assert largest.backward
    return largest.elements


def test_a_training_step_never_makes_an_attention_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """32² + 1 tokens of DINOv2 and 56² positions of the decoder; with naive attention, both do."""
    model = nano(sam_size=224, dino_size=448).train()
    tokens = 32**2 + 1
    decoder = 56**2
    assert largest_of_step(model) < min(4 * tokens**2, decoder**2) / 2
    monkeypatch.setattr(F, "scaled_dot_product_attention", naive_attention)
    assert largest_of_step(model) >= decoder**2


# -- work that nothing uses


def test_dinov2_runs_no_block_for_nothing() -> None:
    model = nano(train_semantic=False).eval()
    assert model.semantic is not None
    ran: list[int] = []
    for number, block in enumerate(model.semantic.trunk.blocks, 1):  # type: ignore[arg-type]
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    image = torch.randn(1, 3, 112, 112)
    first, second = model.semantic.after_blocks(image, (1, 2), norm=True)
    assert ran == [1, 2]
    every = model.semantic.after_blocks(image, (1, 2, 3, 4), norm=True)
    assert torch.equal(first, every[0])
    assert torch.equal(second, every[1])
