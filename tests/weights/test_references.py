"""Files of ours refer to their encoders by fingerprint and find them again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

import dsunet
from dsunet.errors import CheckpointError, WeightsError
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.encoders import read_encoder
from helpers import nano
from weightfiles import hub_file, logits, sam2_file


def test_saved_files_find_their_encoders_again(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "small.safetensors"
    dsunet.save(tiny, file)
    assert file.stat().st_size < 4 * 1.02 * sum(
        p.numel() for p in tiny.parameters() if p.requires_grad
    )
    about = read_metadata(file)["encoders"]
    assert about["pyramid"]["name"] == "sam2_hiera_tiny.fb_r896_2pt1"
    assert re.fullmatch("sha256:[0-9a-f]{64}", about["semantic"]["fingerprint"])
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    expected = tiny.eval()(sam, dino).fine
    again = dsunet.load(file)  # from the index
    assert torch.equal(again(sam, dino).fine, expected)
    started = dsunet.create_model("dsunet-tiny", file, sam_size=128, dino_size=112)
    assert torch.equal(started.eval()(sam, dino).fine, expected)
    assert again.pyramid.source == tiny.pyramid.source  # so that it can be saved as small again


@pytest.mark.slow
def test_without_the_index(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "small.safetensors"
    dsunet.save(tiny, file)
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    with pytest.raises(WeightsError, match=r"(?s)sam2_hiera_tiny.*`pyramid_weights` FILE"):
        dsunet.load(file)
    given = {"pyramid_weights": official["pyramid"], "semantic_weights": official["semantic"]}
    dsunet.load(file, **given)
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "third"))
    for path in official.values():  # under their official names beside the file
        (tmp_path / path.name).symlink_to(path)
    dsunet.load(file)


def test_other_encoders_are_refused(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "small.safetensors"
    dsunet.save(tiny, file)
    other = sam2_file(tmp_path / "sam2.1_hiera_tiny.pt", seed=5)
    with pytest.raises(CheckpointError, match="holds other Hiera weights .* give that very file"):
        dsunet.load(file, pyramid_weights=other)
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    with pytest.raises(WeightsError, match="not in the Hugging Face cache"):
        dsunet.load(file)  # the one beside it has the right name and the wrong values


def test_a_reference_need_not_have_a_fingerprint(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    file = tmp_path / "with.safetensors"
    dsunet.save(tiny, file)
    about = read_metadata(file)
    about["encoders"]["pyramid"]["fingerprint"] = None
    tensors = safetensors.torch.load_file(file)
    bare = tmp_path / "without.safetensors"
    safetensors.torch.save_file(tensors, bare, {"dsunet": json.dumps(about)})
    reference = read_metadata(bare)["encoders"]["pyramid"]
    assert reference == {"name": "sam2_hiera_tiny.fb_r896_2pt1", "fingerprint": None}


@pytest.mark.slow
def test_self_contained_files(tiny: dsunet.DSUNet, tmp_path: Path, monkeypatch) -> None:
    dsunet.save(tiny, tmp_path / "whole.safetensors", include_encoders=True)
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    again = dsunet.load(tmp_path / "whole.safetensors")
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    # another model can take its encoders from there
    model = dsunet.create_model(
        "dsunet-tiny",
        weights=None,
        pyramid_weights=tmp_path / "whole.safetensors",
        sam_size=128,
        dino_size=112,
    )
    assert torch.equal(model.pyramid.trunk.pos_embed, tiny.pyramid.trunk.pos_embed)


def test_training_facts_stay_with_the_model(tmp_path: Path) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors", training={"data": "x", "measures": {"S": 0.5}})
    dsunet.save(dsunet.load(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    assert read_metadata(tmp_path / "b.safetensors")["training"]["measures"] == {"S": 0.5}


@pytest.mark.slow
def test_files_without_fingerprints_are_loaded(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path
) -> None:
    """They name encoders alone; release and architecture are still checked."""
    dsunet.save(tiny, tmp_path / "with.safetensors")
    about = read_metadata(tmp_path / "with.safetensors")
    for reference in about["encoders"].values():
        reference["fingerprint"] = None
    tensors = safetensors.torch.load_file(tmp_path / "with.safetensors")
    file = tmp_path / "without.safetensors"
    safetensors.torch.save_file(tensors, file, {"dsunet": json.dumps(about)})
    given = {"pyramid_weights": official["pyramid"], "semantic_weights": official["semantic"]}
    assert torch.equal(logits(dsunet.load(file, **given)), logits(tiny))
    for path in official.values():
        (tmp_path / path.name).symlink_to(path)
    assert torch.equal(logits(dsunet.load(file)), logits(tiny))
    given["pyramid_weights"] = sam2_file(tmp_path / "old.pt", release="2.0")
    with pytest.raises(CheckpointError, match=r"is of SAM 2\.0"):
        dsunet.load(file, **given)


def test_a_broken_file_beside_is_passed_over(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path, monkeypatch
) -> None:
    dsunet.save(tiny, tmp_path / "small.safetensors")
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    (tmp_path / "sam2.1_hiera_tiny.pt").write_text("<!DOCTYPE html>")
    trunk = read_encoder(official["pyramid"], "pyramid").tensors
    hub_file(tmp_path, "sam2_hiera_tiny.fb_r896_2pt1", trunk)
    vit = read_encoder(official["semantic"], "semantic").tensors
    hub_file(tmp_path, "vit_small_patch14_dinov2.lvd142m", vit)
    assert torch.equal(logits(dsunet.load(tmp_path / "small.safetensors")), logits(tiny))


@pytest.mark.parametrize("reference", [{"name": 3}, {"fingerprint": 5}, [1], "x"])
def test_odd_references(reference: object, tmp_path: Path) -> None:
    about = {"format": 2, "model": nano().config.to_dict(), "training": {}}
    about["encoders"] = {"pyramid": reference, "semantic": None}
    tensors = {"a": torch.zeros(1)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"dsunet": json.dumps(about)})
    with pytest.raises(CheckpointError, match="incomplete metadata"):
        dsunet.load(tmp_path / "a.safetensors")


def test_settings_in_files_are_validated(tmp_path: Path) -> None:
    for name, value in (("pixel_attention", "bogus"), ("decoder_channels", 200000)):
        about = {"format": 2, "model": {**nano().config.to_dict(), name: value}, "training": {}}
        about["encoders"] = {"pyramid": None, "semantic": None}
        file = tmp_path / "a.safetensors"
        safetensors.torch.save_file({"a": torch.zeros(1)}, file, {"dsunet": json.dumps(about)})
        with pytest.raises(CheckpointError, match=f"cannot be built: {name} is"):
            dsunet.load(file)
