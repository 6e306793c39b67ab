"""The network as a whole: counts, sizes, freezing, saving. One suite for every variant."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.config import MODEL_PRESETS, model_config
from dsunet.errors import CheckpointError, InputSizeError
from dsunet.network.build import build_model
from dsunet.network.counting import parameter_counts
from dsunet.weights.checkpoint import read_metadata
from helpers import nano

FROZEN = {"train_pyramid": False, "train_semantic": False, "adapter_channels": 8}
LITE = {
    "pyramid": "tf_efficientnet_lite0",
    "injection": "none",
    "decoder_channels": (8, 12, 16, 20),
    "attention_pooling": True,
}
VARIANTS: dict[str, dict[str, object]] = {
    "sam2unet": {"injection": "none", "decoder": "unet", "adapter_channels": 8},
    "whole": {},
    "frozen": FROZEN,
    "A": {"injection": "none"},
    "B": {"injection": "hierarchical"},
    "C": {"injection": "broadcast"},
    "B-frozen": {"injection": "hierarchical", **FROZEN},
    "before-norm": {"semantic_norm": False},
    "resize-last": {"channel_modulation": "resize_last"},
    "single-sigmoid": {"pixel_attention": "single_sigmoid"},
    "add": {"decoder_merge": "add"},
    "lite": LITE,
    "lite-final": {**LITE, "injection": "final"},
    "lite-B": {**LITE, "injection": "hierarchical"},
    "lite-unet": {**LITE, "decoder": "unet", "attention_pooling": False},
    "pooled": {"attention_pooling": True},
}


@pytest.fixture(params=list(VARIANTS), scope="module")
def model(request: pytest.FixtureRequest) -> dsunet.DSUNet:
    return nano(**VARIANTS[request.param])


def views(model: dsunet.DSUNet, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(1)
    dino = torch.randn(batch, 3, 112, 112) if model.semantic else None
    return torch.randn(batch, 3, 128, 128), dino


class TestEveryVariant:
    def test_forward_shapes(self, model: dsunet.DSUNet) -> None:
        logits = model.eval()(*views(model))
        assert all(x.shape == (2, 1, 128, 128) and x.isfinite().all() for x in logits)

    def test_every_trainable_parameter_gets_a_gradient(self, model: dsunet.DSUNet) -> None:
        model.train().zero_grad()
        loss = dsunet.deep_supervision_loss(model(*views(model)), torch.rand(2, 1, 128, 128))
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith("decoder.fuse.3."):
                assert parameter.grad is not None, f"{name} has no gradient"
                assert parameter.grad.isfinite().all()
            else:
                assert parameter.grad is None, f"{name} is frozen or unused, but has a gradient"

    def test_sides_need_not_be_equal(self, model: dsunet.DSUNet) -> None:
        dino = torch.randn(1, 3, 70, 126) if model.semantic else None
        fine = model.eval()(torch.randn(1, 3, 128, 192), dino, outputs="fine").fine
        assert fine.shape == (1, 1, 128, 192)

    def test_features_computed_before_give_the_same(self, model: dsunet.DSUNet) -> None:
        sam, dino = views(model.eval())
        if model.semantic is None:
            with pytest.raises(InputSizeError, match="no DINOv2 branch"):
                model.extract_semantics(sam)
            return
        features = model.extract_semantics(dino)
        assert torch.equal(model(sam, dino).fine, model(sam, dino_features=features).fine)

    def test_save_and_load(self, model: dsunet.DSUNet, tmp_path: Path) -> None:
        dsunet.save(model, tmp_path / "model.safetensors", training={"note": 1})
        again = dsunet.load(tmp_path / "model.safetensors")
        assert not again.training
        assert again.config == model.config
        assert torch.equal(again(*views(model)).fine, model.eval()(*views(model)).fine)
        assert read_metadata(tmp_path / "model.safetensors")["training"] == {"note": 1}

    def test_deepcopy(self, model: dsunet.DSUNet) -> None:
        twin = copy.deepcopy(model.eval())
        assert torch.equal(twin(*views(model)).fine, model(*views(model)).fine)


@pytest.mark.parametrize(
    ("name", "trainable"),
    [("dsunet-large", 7_225_830)],
)
def test_trainable_parameters_of_the_paper(name: str, trainable: int) -> None:
    with torch.device("meta"):
        counts = parameter_counts(build_model(model_config(name)))
    assert counts["trainable"] == trainable
    assert counts["adapters"] == 1_714_416
    assert counts["fusion"] == 1_775_475 + 1_234_176
    rfb = 428_928 + 475_008 + 567_168 + 751_488
    assert counts["decoder"] == rfb + 3 * 92_992 + 3 * 65
    assert counts["pyramid"] == counts["semantic"] == 0
    # the authors count 32,768 wavelet taps and DINOv2's unused mask token of 1,024 as well
    assert counts["total"] == 523_776_534 - 32_768 - 1_024
    assert f"{100 * counts['trainable'] / counts['total']:.2f}" == "1.38"


@pytest.mark.parametrize("name", dsunet.list_models())
def test_presets_build(name: str) -> None:
    with torch.device("meta"):
        model = build_model(model_config(name))
    assert model.pyramid.strides == (4, 8, 16, 32)
    assert model.config == MODEL_PRESETS[name]


def test_frozen_means_frozen() -> None:
    """Two steps over everything that asks for gradients leave the encoders as they are."""
    model = nano(**FROZEN)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    assert model.training
    assert model.decoder.training
    assert not any(m.training for m in model.pyramid.trunk.modules())
    assert not any(m.training for m in model.semantic.trunk.modules())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        dsunet.deep_supervision_loss(model(*views(model)), torch.rand(2, 1, 128, 128)).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        encoder = name.startswith(("hiera.trunk", "dinov2.trunk")) and ".adapter." not in name
        unchanged = torch.equal(value, before[name])
        assert unchanged == encoder or name.endswith("num_batches_tracked"), name


def test_frozen_dinov2_builds_no_graph() -> None:
    model = nano(**FROZEN)
    features = model.extract_semantics(torch.randn(1, 3, 112, 112))
    assert not features[0].requires_grad
    trained = nano()
    assert trained.extract_semantics(torch.randn(1, 3, 112, 112))[0].requires_grad


def test_hierarchical_takes_four_depths() -> None:
    assert nano(injection="hierarchical").semantic.depths == (1, 2, 3, 4)
    with torch.device("meta"):
        large = build_model(model_config("dsunet-large", injection="hierarchical"))
    assert large.semantic.depths == (6, 12, 18, 24)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (130, 128, r"130×128 px.*multiples of 32 and at least 128.*128×128"),
        (96, 200, r"96×200 px.*128×192"),
        (250, 128, r"256×128"),
    ],
)
def test_wrong_sam_size(height: int, width: int, message: str) -> None:
    with pytest.raises(InputSizeError, match=message):
        nano()(torch.zeros(1, 3, height, width), torch.zeros(1, 3, 112, 112))


def test_wrong_inputs() -> None:
    model = nano()
    sam = torch.zeros(1, 3, 128, 128)
    with pytest.raises(InputSizeError, match=r"dino_image is 113×112 px.*112×112"):
        model(sam, torch.zeros(1, 3, 113, 112))
    with pytest.raises(InputSizeError, match="give dino_image"):
        model(sam)
    with pytest.raises(InputSizeError, match="unsqueeze"):
        model(sam[0], torch.zeros(1, 3, 112, 112))


def test_without_fusion_smaller_views_do() -> None:
    model = nano(injection="none", sam_size=64).eval()
    assert model(torch.randn(1, 3, 64, 96)).fine.shape == (1, 1, 64, 96)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sam_size": 100}, "sam_size is 100.*nearest: 128"),
        ({"sam_size": (128, 300)}, "nearest: 288"),
        ({"dino_size": 100}, "multiples of 14.*nearest: 98"),
        ({"colour": 1}, "'colour' is unknown; known:"),
        ({"pyramid": "sam2_hiera_huge"}, "needs one of .*sam2_hiera_tiny"),
        ({"semantic": "resnet50"}, "needs a plain ViT of timm"),
        ({"semantic": "vit_relpos_small_patch16_224"}, "needs a plain ViT of timm"),
    ],
)
def test_wrong_settings(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dsunet.create_model("dsunet-nano", weights=None, **overrides)


@pytest.mark.parametrize("vit", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_any_encoder_of_timm(vit: str) -> None:
    """A ViT of another patch size, and one with register tokens, at sizes not their own."""
    model = dsunet.create_model(
        "dsunet-nano", weights=None, pyramid="hieradet_small", semantic=vit, dino_size=224
    ).eval()
    side = 10 * model.semantic.multiple
    features = model.extract_semantics(torch.randn(1, 3, side, side))
    assert features[0].shape == (1, model.semantic.channels[0], 10, 10)
    assert model(torch.randn(1, 3, 128, 128), dino_features=features).fine.shape[-1] == 128


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match=r"'dsunet-huge' is unknown; known: dsunet-base"):
        dsunet.create_model("dsunet-huge")


def test_no_trained_model_is_claimed() -> None:
    with pytest.raises(ValueError, match="come with dsunet for dsunet-lite alone"):
        dsunet.create_model("dsunet-nano", weights="full")


def test_weights_for_another_model(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    dsunet.save(nano(), file)
    with pytest.raises(CheckpointError, match=r"is \(16,\) in the file and \(24,\)"):
        dsunet.load_weights(nano(attention_channels=24), file)
    with pytest.raises(CheckpointError, match=r"unexpected \(dinov2"):
        dsunet.load_weights(nano(injection="none"), file)
    report = dsunet.load_weights(nano(injection="none"), file, strict=False)
    assert report.unexpected


def test_broken_weights_files(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    dsunet.save(nano(), whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-1000])
    noise = tmp_path / "noise.pth"
    noise.write_bytes(b"\x80\x04nothing useful")
    for file, message in (
        (cut, "no readable safetensors file"),
        (noise, "is cut off or damaged"),
        (tmp_path / "absent", "there is no weights file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            dsunet.load_weights(nano(), file)
    with pytest.raises(CheckpointError, match=r"without best\.safetensors"):
        dsunet.load(tmp_path)


def test_foreign_names_are_refused(tmp_path: Path) -> None:
    torch.save({"some.layer.weight": torch.zeros(2)}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match="no known format: its first tensors are some.layer"):
        dsunet.load_weights(nano(), tmp_path / "foreign.pth")
