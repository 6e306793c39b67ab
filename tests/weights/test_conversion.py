"""From the authors' files to ours and back, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.config import MODEL_PRESETS, model_config
from dsunet.errors import CheckpointError
from dsunet.network.build import build_model
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.encoders import read_encoder
from dsunet.weights.names import DSU_NET, SAM2_UNET
from dsunet.weights.opened import open_weights
from helpers import GOLDEN, nano
from weightfiles import command, hub_file, logits, published_state


@pytest.mark.parametrize(
    ("rules", "keys", "model"),
    [
        (DSU_NET, "whole_dsunet_large_keys", "dsunet-large"),
        (SAM2_UNET, "whole_sam2unet_large_keys", "sam2unet-large"),
    ],
)
def test_the_authors_names(rules, keys: str, model: str) -> None:
    """Every name has exactly one of ours, and the other way round, with the same shape."""
    shapes = json.loads((GOLDEN / f"{keys}.json").read_text())
    unused = ("mask_token", "wt_filter", "iwt_filter")
    used = {n: s for n, s in shapes.items() if not n.endswith(unused)}
    with torch.device("meta"):
        own = {n: list(t.shape) for n, t in build_model(model_config(model)).state_dict().items()}
    assert {rules.ours(name): shape for name, shape in used.items()} == own
    assert {rules.theirs(name): shape for name, shape in own.items()} == used
    assert rules.ours("nonsense") is None


@pytest.mark.parametrize("name", ["dsunet-tiny", "sam2unet-tiny"])
def test_load_finds_out_which_model_it_is(name: str, tmp_path: Path) -> None:
    state = published_state(name=name)
    torch.save(state, tmp_path / "authors.pth")
    model = dsunet.load(tmp_path / "authors.pth")
    assert model.config == MODEL_PRESETS[name]
    reference = model.pyramid.source
    assert reference.fingerprint
    report = dsunet.load_weights(model, tmp_path / "authors.pth")
    assert not report.missing
    assert not report.unexpected
    assert len(report.loaded) + len(report.ignored) == len(state)
    rules = SAM2_UNET if name.startswith("sam2") else DSU_NET
    for ours, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[rules.theirs(ours)]), ours
    assert model.pyramid.source == reference
    # it can be saved small, as that file holds the encoders
    dsunet.save(model, tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 20e6
    again = dsunet.load(tmp_path / "small.safetensors")
    assert torch.equal(
        again.pyramid.trunk.blocks[3].block.attn.qkv.weight,
        model.pyramid.trunk.blocks[3].block.attn.qkv.weight,
    )


@pytest.mark.parametrize(
    ("name", "include"),
    [
        ("dsunet-tiny", False),
        ("sam2unet-tiny", True),
        pytest.param("dsunet-tiny", True, marks=pytest.mark.slow),
        pytest.param("sam2unet-tiny", False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_round_trip(name: str, include: bool, tmp_path: Path) -> None:
    state = published_state(name=name)
    torch.save(state, tmp_path / "authors.pth")
    ours = tmp_path / "ours.safetensors"
    lines = dsunet.convert(tmp_path / "authors.pth", ours, include_encoders=include)
    assert lines[0].startswith(f"{name}: ")
    # nobody else here holds these encoders, so the file keeps them either way
    assert any("kept in the file" in line for line in lines) is not include
    dsunet.convert(ours, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == set(state)
    for key, tensor in state.items():
        assert back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor), key
    assert dsunet.load(ours).config.name == name


@pytest.mark.slow
def test_converting_leaves_out_encoders_that_are_elsewhere(tmp_path: Path) -> None:
    state = published_state()
    torch.save(state, tmp_path / "authors.pth")
    trunk = {
        n.removeprefix("backbone_dino.dino_encoder."): t
        for n, t in state.items()
        if n.startswith("backbone_dino.")
    }
    torch.save(trunk, tmp_path / "dinov2_vits14_pretrain.pth")  # beside it, by its official name
    pyramid = read_encoder(tmp_path / "authors.pth", "pyramid").tensors
    hub_file(tmp_path, "sam2_hiera_tiny.fb_r896", pyramid)  # of the other release, in the cache
    ours = tmp_path / "ours.safetensors"
    lines = dsunet.convert(tmp_path / "authors.pth", ours)
    assert len([line for line in lines if "left out" in line]) == 2
    assert ours.stat().st_size < 20e6
    about = read_metadata(ours)["encoders"]
    assert about["semantic"]["name"] == "vit_small_patch14_dinov2.lvd142m"
    (tmp_path / "authors.pth").unlink()
    lines = dsunet.convert(ours, tmp_path / "back.pth")
    assert any("dinov2_vits14_pretrain.pth" in line for line in lines)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())
    whole = tmp_path / "whole.safetensors"
    dsunet.convert(ours, whole, include_encoders=True)
    model = dsunet.load(whole)
    assert torch.equal(
        model.semantic.trunk.blocks[1].attn.qkv.weight, trunk["blocks.1.attn.qkv.weight"]
    )


@pytest.mark.slow
def test_our_own_model_in_the_authors_format(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path
) -> None:
    """What their classes hold and never use is made up, so that their strict loading is content."""
    dsunet.save(tiny, tmp_path / "ours.safetensors")
    lines = dsunet.convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pth")
    assert any("never uses were made up" in line for line in lines)
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert set(theirs) == set(published_state())
    assert theirs["backbone_dino.dino_encoder.pos_embed"].shape[1] == 37 * 37 + 1
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    model = dsunet.create_model("dsunet-tiny", tmp_path / "theirs.pth", sam_size=128, dino_size=112)
    assert torch.equal(model.eval()(sam, dino).fine, tiny.eval()(sam, dino).fine)


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    state = published_state()
    taps = "dino2sam_down14.depthwise."
    state[f"{taps}iwt_filter"] = state[f"{taps}wt_filter"]
    torch.save(state, tmp_path / "authors.pth")
    dsunet.convert(tmp_path / "authors.pth", tmp_path / "ours.safetensors", include_encoders=True)
    ignored = open_weights(tmp_path / "ours.safetensors").file.ignored
    assert torch.equal(ignored[f"{taps}iwt_filter"], ignored[f"{taps}wt_filter"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"injection": "broadcast"}, "no network with injection = 'broadcast'"),
        ({"decoder_merge": "add"}, "no network with decoder_merge = 'add'"),
        ({"adapter_channels": 0}, "no network without adapters"),
    ],
)
def test_what_the_authors_cannot_express(
    overrides: dict[str, object], message: str, tmp_path: Path
) -> None:
    dsunet.save(nano(**{"adapter_channels": 8, **overrides}), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        dsunet.convert(tmp_path / "a.safetensors", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_converting_what_cannot_be(official: dict[str, Path], tmp_path: Path) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors")
    for source, target, message in (
        (official["pyramid"], tmp_path / "x.safetensors", "an encoder alone .*nothing to convert"),
        (tmp_path / "a.safetensors", tmp_path / "a.onnx", r"ends with \.safetensors"),
        (tmp_path / "a.safetensors", tmp_path / "a.safetensors", "is the file to convert"),
        (tmp_path / "none", tmp_path / "b.pth", "there is no weights file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            dsunet.convert(source, target)
    torch.save(nano().state_dict(), tmp_path / "state.pth")
    with pytest.raises(CheckpointError, match=r"does not say of which model: build that one"):
        dsunet.load(tmp_path / "state.pth")
    report = dsunet.load_weights(nano(3), tmp_path / "state.pth")
    assert report.format == "dsunet-state"


@pytest.mark.slow
def test_saving_does_not_destroy_what_it_refers_to(tmp_path: Path, capsys) -> None:
    file = tmp_path / "only.pth"
    torch.save(published_state(), file)
    before = file.read_bytes()
    model = dsunet.load(file)
    with pytest.raises(CheckpointError, match="no other file known here does; choose another name"):
        dsunet.save(model, file)
    with pytest.raises(CheckpointError, match="encoder weights that other files may refer to"):
        dsunet.convert(shutil.copy(file, tmp_path / "copy.pth"), file)
    assert file.read_bytes() == before
    # a file of ours that holds encoders, once used as such, is not written over either
    whole = tmp_path / "whole.safetensors"
    dsunet.convert(file, whole, include_encoders=True)
    dsunet.create_model("dsunet-tiny", None, pyramid_weights=whole)
    with pytest.raises(CheckpointError, match="other files may refer to"):
        dsunet.convert(file, whole)
    status, _, err = command(capsys, "info", file, "--json", file)
    assert status == 1
    assert "--json names the weights file itself" in err
    assert file.read_bytes() == before


@pytest.mark.slow
def test_converting_at_another_size(
    tiny: dsunet.DSUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder that is put in has its own position embeddings, not those of the model's size."""
    dsunet.save(tiny, tmp_path / "small.safetensors")
    whole = tmp_path / "whole.safetensors"
    dsunet.convert(tmp_path / "small.safetensors", whole, include_encoders=True)
    assert torch.equal(logits(dsunet.load(whole)), logits(tiny))
    lines = dsunet.convert(whole, tmp_path / "theirs.pth")
    assert any("does not say image sizes" in line for line in lines)


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    dsunet.save(nano(), tmp_path / "a.safetensors")
    modes = [(tmp_path / name).stat().st_mode for name in ("a.safetensors", "other")]
    assert modes[0] == modes[1]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for write in (
        lambda: dsunet.save(nano(), tmp_path),
        lambda: dsunet.convert(tmp_path / "a.safetensors", tmp_path),
    ):
        dsunet.save(nano(), tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match="is a folder; give the name of a file"):
            write()
