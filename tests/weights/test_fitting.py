"""Weights go into a model that they fit, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.errors import CheckpointError
from dsunet.weights.fitting import compare, fitted
from dsunet.weights.formats import EncoderFile
from helpers import nano
from weightfiles import OFFICIAL, dinov2_file, logits, made_up, published_state, sam2_file


def test_load_weights_takes_an_encoder(official: dict[str, Path]) -> None:
    model = dsunet.create_model("dsunet-tiny", weights=None, sam_size=128, dino_size=112)
    report = dsunet.load_weights(model, official["pyramid"])
    assert (report.format, report.version) == ("sam2", "2.1")
    assert not report.missing
    assert not report.unexpected
    assert len(report.ignored) > 100  # SAM 2's other parts
    assert report.loaded == report.frozen
    own = model.state_dict()
    raw = torch.load(official["pyramid"], weights_only=True)["model"]
    assert torch.equal(
        own["hiera.trunk.blocks.5.block.mlp.fc2.weight"],
        raw["image_encoder.trunk.blocks.5.mlp.layers.1.weight"],
    )
    assert model.pyramid.source.name == "sam2_hiera_tiny.fb_r896_2pt1"
    report = dsunet.load_weights(model, official["semantic"])
    assert report.ignored == ("mask_token",)
    assert report.resampled == ("dinov2.trunk.pos_embed",)
    without = dsunet.create_model("sam2unet-tiny", weights=None, sam_size=128)
    with pytest.raises(CheckpointError, match="weights of DINOv2, which this model does not have"):
        dsunet.load_weights(without, official["semantic"])


@pytest.mark.slow
def test_the_wrong_encoder(official: dict[str, Path], tmp_path: Path) -> None:
    def make(**settings: object) -> None:
        dsunet.create_model("dsunet-tiny", weights=None, **settings)

    with pytest.raises(CheckpointError, match="holds no weights of DINOv2"):
        make(semantic_weights=official["pyramid"])
    with pytest.raises(CheckpointError, match=r"holds sam2_hiera_tiny of SAM 2\.1, but .*_small"):
        make(pyramid_weights=official["pyramid"], pyramid="sam2_hiera_small")
    with pytest.raises(CheckpointError, match=r"is of SAM 2\.1, but sam_version is 2\.0; give the"):
        make(pyramid_weights=official["pyramid"], sam_version="2.0")
    old = sam2_file(tmp_path / "old.pt", release="2.0")
    make(pyramid_weights=old, sam_version="2.0")
    registers = dinov2_file(tmp_path / "reg.pth", registers=True)
    with pytest.raises(CheckpointError, match="but the model's DINOv2 is vit_small_patch14_dinov2"):
        make(semantic_weights=registers)
    with pytest.raises(ValueError, match="the model has no DINOv2 branch: leave it out"):
        make(semantic_weights=official["semantic"], injection="none")
    with pytest.raises(CheckpointError, match="not a whole model: give it as `pyramid_weights`"):
        dsunet.create_model("dsunet-tiny", weights=official["pyramid"])
    with pytest.raises(CheckpointError, match="give it to create_model as semantic_weights"):
        dsunet.load(official["semantic"])
    model = dsunet.create_model(
        "dsunet-tiny", weights=None, semantic="vit_small_patch14_reg4_dinov2"
    )
    with pytest.raises(
        CheckpointError, match="the model's DINOv2 is vit_small_patch14_reg4_dinov2"
    ):
        dsunet.load_weights(model, official["semantic"])
    model = dsunet.create_model("dsunet-small", weights=None, injection="none")
    with pytest.raises(CheckpointError, match="but the model's Hiera is sam2_hiera_small; give"):
        dsunet.load_weights(model, official["pyramid"])


@pytest.mark.slow
def test_incomplete_and_misshapen_files(official: dict[str, Path], tmp_path: Path) -> None:
    state = made_up(OFFICIAL["dinov2_vits14"])
    gone = {n: t for n, t in state.items() if n != "blocks.3.norm2.bias"}
    torch.save(gone, tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match=r"1 tensors are missing \(blocks\.3\.norm2\.bias"):
        dsunet.create_model("dsunet-tiny", weights=None, semantic_weights=tmp_path / "gone.pth")
    model = dsunet.create_model("dsunet-tiny", weights=None)
    before = model.semantic.trunk.blocks[3].norm2.bias.clone()
    report = dsunet.load_weights(model, tmp_path / "gone.pth", strict=False)
    assert report.missing == ("dinov2.trunk.blocks.3.norm2.bias",)
    assert torch.equal(model.semantic.trunk.blocks[3].norm2.bias, before)
    assert torch.equal(model.semantic.trunk.norm.bias, state["norm.bias"])
    assert model.semantic.source is None  # these weights are no file's
    torch.save({**state, "extra": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(CheckpointError, match=r"1 tensors are unexpected \(extra\)"):
        dsunet.create_model("dsunet-tiny", weights=None, semantic_weights=tmp_path / "more.pth")
    torch.save({**state, "norm.bias": torch.zeros(5)}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"is \(5,\) in the file and \(384,\) in the model"):
        dsunet.create_model("dsunet-tiny", weights=None, semantic_weights=tmp_path / "odd.pth")


@pytest.mark.slow
def test_causes_are_named(tmp_path: Path) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors")
    dsunet.save(nano(injection="none"), tmp_path / "none.safetensors")
    torch.save(published_state(name="sam2unet-tiny"), tmp_path / "sam2unet.pth")
    torch.save(published_state(), tmp_path / "tiny.pth")
    adapted = nano(adapter_channels=8)
    small = dsunet.create_model("dsunet-small", weights=None)
    tiny_none = dsunet.create_model("dsunet-tiny", weights=None, injection="none")
    for model, file, cause in (
        (nano(), "none.safetensors", r"of a model without DINOv2 \(injection: none\)"),
        (nano(injection="none"), "a.safetensors", "no DINOv2 branch .* but the file's has one"),
        (adapted, "a.safetensors", r"without adapters \(adapter_channels: 0\)"),
        (tiny_none, "sam2unet.pth", "the file is of SAM2-UNet: build a sam2unet model"),
        (small, "tiny.pth", "the file's Hiera has 12 blocks, the model's 16"),
    ):
        with pytest.raises(CheckpointError, match=cause):
            dsunet.load_weights(model, tmp_path / file)


def test_empty_encoder_files_are_explained() -> None:
    own = {"blocks.0.norm1.weight": torch.zeros(1)}
    file = EncoderFile(Path("x"), "dinov2", "semantic", {})
    assert compare(own, file).cause == "the file holds no whole encoder"
    with pytest.raises(CheckpointError, match="1 tensors are missing"):
        fitted(own, file, "official", None)


def test_an_encoder_in_part_is_refused(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    part = {n: t for n, t in published_state().items() if ".block.attn." not in n}
    torch.save(part, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"missing \(hiera\.trunk\.blocks\.0\.block\.attn"):
        dsunet.load_weights(tiny, tmp_path / "part.pth")
    report = dsunet.load_weights(tiny, tmp_path / "part.pth", strict=False)
    assert any(".attn." in name for name in report.missing)
    assert tiny.pyramid.source is None


def test_a_file_for_other_encoders_is_refused(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    dsunet.save(tiny, tmp_path / "small.safetensors")
    dsunet.load_weights(tiny, tmp_path / "small.safetensors")
    dsunet.load_weights(tiny, sam2_file(tmp_path / "other.pt", seed=4))
    with pytest.raises(CheckpointError, match="trained with other Hiera weights .* than the model"):
        dsunet.load_weights(tiny, tmp_path / "small.safetensors")


@pytest.mark.slow
def test_new_values_are_no_files_any_more(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    state = {name: tensor + 0.01 for name, tensor in tiny.state_dict().items()}
    assert tiny.pyramid.source is not None
    tiny.load_state_dict(state)
    assert tiny.pyramid.source is tiny.semantic.source is None
    dsunet.save(tiny, tmp_path / "a.safetensors")
    assert torch.equal(logits(dsunet.load(tmp_path / "a.safetensors")), logits(tiny))


@pytest.mark.slow
def test_a_file_that_does_not_fit_changes_nothing(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    state = published_state(seed=8)
    state["side1.weight"] = torch.zeros(1, 65, 1, 1)
    torch.save(state, tmp_path / "a.pth")
    before, source = logits(tiny), tiny.pyramid.source
    with pytest.raises(CheckpointError, match=r"\(1, 65, 1, 1\) in the file"):
        dsunet.load_weights(tiny, tmp_path / "a.pth")
    assert torch.equal(logits(tiny), before)
    assert tiny.pyramid.source == source


@pytest.mark.parametrize(
    "settings",
    [
        {"semantic_norm": False},
        {"channel_modulation": "resize_last"},
        {"pixel_attention": "single_sigmoid"},
    ],
)
def test_settings_that_no_shape_shows(settings: dict[str, object], tmp_path: Path) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors")
    name = next(iter(settings))
    with pytest.raises(CheckpointError, match=f"was trained with {name} = .*, but the model has"):
        dsunet.load_weights(nano(**settings), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=f"was trained with {name}"):
        dsunet.create_model(
            "dsunet-nano", tmp_path / "a.safetensors", sam_size=128, dino_size=112, **settings
        )


@pytest.mark.slow
def test_the_release_is_checked_everywhere(official: dict[str, Path], tmp_path: Path) -> None:
    old = sam2_file(tmp_path / "sam2_hiera_tiny.pt", release="2.0")
    model = dsunet.create_model("dsunet-tiny", weights=None, sam_size=128, dino_size=112)
    with pytest.raises(CheckpointError, match=r"is of SAM 2\.0, but sam_version is 2\.1"):
        dsunet.load_weights(model, old)
    dsunet.load_weights(model, old, strict=False)


@pytest.mark.slow
def test_unfreezing(tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path) -> None:
    dsunet.save(tiny, tmp_path / "small.safetensors")
    model = dsunet.create_model(
        "dsunet-tiny",
        tmp_path / "small.safetensors",
        train_pyramid=True,
        train_semantic=True,
        sam_size=128,
        dino_size=112,
    )
    assert torch.equal(logits(model), logits(tiny))
    assert model.pyramid.source is model.semantic.source is None
    # training changes the model and not the file that it is mapped from
    before = {name: path.read_bytes() for name, path in official.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.train()(torch.randn(2, 3, 128, 128), torch.randn(2, 3, 112, 112)).fine.mean().backward()
    optimizer.step()
    assert {name: path.read_bytes() for name, path in official.items()} == before
