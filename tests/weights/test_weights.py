"""Weights from elsewhere: the registry, every format, references, conversion, positions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from timm.models import hieradet_sam2, vision_transformer
from torch import Tensor, nn

import dsunet
from dsunet.cli import main
from dsunet.config import MODEL_PRESETS, model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import CheckpointError, WeightsError
from dsunet.network.build import build_model
from dsunet.network.encoders import build_hiera, build_vit
from dsunet.network.fingerprint import fingerprint
from dsunet.weights import formats, known
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.encoders import read_encoder
from dsunet.weights.fitting import compare, fill_trunk, fitted
from dsunet.weights.formats import EncoderFile
from dsunet.weights.names import DSU_NET, SAM2_UNET
from dsunet.weights.opened import open_weights
from dsunet.weights.positions import resample_positions
from dsunet.weights.registry import PUBLIC_WEIGHTS, PublicWeights, find_public, public_name
from helpers import GOLDEN, nano
from weightfiles import OFFICIAL, dinov2_file, made_up, published_state, sam2_file, with_registers

FROZEN = {"train_pyramid": False, "train_semantic": False, "adapter_channels": 8}


@pytest.fixture(autouse=True)
def _own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Official files of the smallest encoders, with made-up values."""
    folder = tmp_path_factory.mktemp("official")
    yield {
        "pyramid": sam2_file(folder / "sam2.1_hiera_tiny.pt"),
        "semantic": dinov2_file(folder / "dinov2_vits14_pretrain.pth"),
    }
    for file in folder.iterdir():
        file.unlink()


@pytest.fixture
def tiny(official: dict[str, Path]) -> dsunet.DSUNet:
    """The tiny model on those files."""
    return dsunet.create_model(
        "dsunet-tiny",
        weights=None,
        pyramid_weights=official["pyramid"],
        semantic_weights=official["semantic"],
        dino_size=112,
        sam_size=128,
    )


def empty_trunk(entry: PublicWeights) -> nn.Module:
    with torch.device("meta"):
        if entry.role == "pyramid":
            return build_hiera(entry.architecture)
        return build_vit(entry.architecture, (518, 518))


# -- the registry


# all but those of dsunet-lite, see test_lite.py
FETCHED = {name: entry for name, entry in PUBLIC_WEIGHTS.items() if entry.package is None}


@pytest.mark.parametrize("entry", FETCHED.values(), ids=FETCHED)
def test_registry_entry(entry: PublicWeights) -> None:
    config = timm.get_pretrained_cfg(entry.name)
    assert config.hf_hub_id == entry.hub_id
    assert config.license == entry.license.lower()
    assert (config.mean, config.std) == (entry.mean, entry.std)
    trunk = empty_trunk(entry)
    assert sum(p.numel() for p in trunk.parameters()) == entry.parameters
    assert len(trunk.blocks) == entry.depth
    assert trunk.blocks[0].norm1.weight.numel() == entry.channels
    assert getattr(trunk, "num_reg_tokens", 0) == entry.registers
    if entry.role == "semantic":
        assert config.input_size[1] == entry.native_size
        assert config.url == entry.official_url
    assert entry.official_sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.official_sha256)


def test_registry_as_a_whole() -> None:
    tags = timm.list_models("sam2_hiera*", pretrained=True)
    tags += timm.list_models("vit_[!g]*dinov2*", pretrained=True)
    assert set(FETCHED) == set(tags)
    sums = [w.official_sha256 for w in FETCHED.values() if w.official_sha256]
    assert len(sums) == len(set(sums)) == 11
    for config in MODEL_PRESETS.values():
        if not config.name.endswith("-nano"):
            assert public_name(config.pyramid, config.sam_version) in PUBLIC_WEIGHTS


def test_finding_an_entry() -> None:
    large = PUBLIC_WEIGHTS["sam2_hiera_large.fb_r1024_2pt1"]
    for name in (large.name, "sam2_hiera_large", "sam2.1_hiera_large.pt", large.hub_id):
        assert find_public(name) is large
    assert find_public("sam2_hiera_large.pt").version == "2.0"
    with pytest.raises(WeightsError, match="no weights 'resnet50' in the registry; known: sam2"):
        find_public("resnet50")
    assert public_name("sam2_hiera_tiny", "2.0") == "sam2_hiera_tiny.fb_r896"
    assert public_name("sam2_hiera_tiny") == "sam2_hiera_tiny.fb_r896_2pt1"
    assert public_name("vit_large_patch14_dinov2") == "vit_large_patch14_dinov2.lvd142m"
    assert public_name("vit_tiny_patch16_224").startswith("vit_tiny_patch16_224.")
    with pytest.raises(WeightsError, match="no public weights for 'hiera_nano'"):
        public_name("hiera_nano")


# -- official encoders: names and shapes of every size, values of the smallest


def as_meta(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}


def read_state(state: dict[str, Tensor]) -> EncoderFile:
    """What becomes of a state dict."""
    reader = formats._reader_for(state)
    assert reader is not None
    file = reader(state, Path("file.pt"))
    assert isinstance(file, EncoderFile)
    return file


SIZES = [name for name in OFFICIAL if not name.startswith("transformers")]
SIZES += [f"{name}_reg4" for name in SIZES if name.startswith("semantic")]


@pytest.mark.parametrize("name", SIZES)
def test_official_names_and_shapes(name: str) -> None:
    if name.startswith("sam2"):
        shapes, architecture = OFFICIAL[name], name.replace("2.1", "2")
        file = read_state(as_meta(shapes))
        assert file.format == "sam2"
        assert file.version == ("2.1" if "2.1" in name else "2.0")
        assert file.name == public_name(architecture, file.version)
        assert file.ignored
    else:
        size = {"s": "small", "b": "base", "l": "large"}[name[10]]
        registers = name.endswith("_reg4")
        shapes = OFFICIAL[name.removesuffix("_reg4")]
        shapes = with_registers(shapes) if registers else shapes
        file = read_state(as_meta(shapes))
        architecture = f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2"
        assert file.format == "semantic"
        assert file.name == f"{architecture}.lvd142m"
        assert list(file.ignored) == ["mask_token"]
    assert file.recognised is not None
    assert file.recognised[0] == architecture
    own = empty_trunk(find_public(architecture)).state_dict()
    assert {n: t.shape for n, t in file.tensors.items()} == {n: t.shape for n, t in own.items()}


@pytest.mark.parametrize("name", [n for n in OFFICIAL if n.startswith("transformers")])
@pytest.mark.parametrize("old_names", [True, False])
def test_names_of_transformers(name: str, old_names: bool) -> None:
    """Its files have other names than its classes today, which kept them for years."""
    shapes = OFFICIAL[name]
    if old_names:
        for new, old in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            before = f"attention.{new}"
            shapes = {n.replace(before, f"attention.attention.{old}"): s for n, s in shapes.items()}
        shapes = {
            n.replace("attention.o_proj", "attention.output.dense"): s for n, s in shapes.items()
        }
    file = read_state(as_meta(shapes))
    assert file.format.endswith("-transformers")
    entry = find_public(
        {
            "transformers_sam2_hiera_tiny": "sam2_hiera_tiny",
            "transformers_dinov2_vits14": "vit_small_patch14_dinov2",
            "transformers_dinov2_vits14_reg4": "vit_small_patch14_reg4_dinov2",
        }[name]
    )
    own = empty_trunk(entry).state_dict()
    assert {n: t.shape for n, t in file.tensors.items()} == {n: t.shape for n, t in own.items()}
    assert file.version == ("2.1" if entry.role == "pyramid" else None)


def test_transformers_query_key_and_value_are_joined_in_order(tmp_path: Path) -> None:
    state = made_up(OFFICIAL["transformers_dinov2_vits14"])
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    file = read_encoder(tmp_path / "model.safetensors", "semantic")
    layer = "encoder.layer.7.attention"
    for i, part in enumerate("qkv"):
        joined = file.tensors["blocks.7.attn.qkv.weight"][384 * i : 384 * (i + 1)]
        assert torch.equal(joined, state[f"{layer}.{part}_proj.weight"])
    del state[f"{layer}.k_proj.bias"]
    safetensors.torch.save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"7\.attention\.k_proj\.bias is missing"):
        read_encoder(tmp_path / "cut.safetensors", "semantic")


@pytest.mark.parametrize("wrapped", [True, False])
def test_sam2_equals_timm_fed_directly(wrapped: bool, tmp_path: Path) -> None:
    file = sam2_file(tmp_path / "sam.pt")
    state = torch.load(file, weights_only=True)
    trunk_only = {
        name.removeprefix("image_encoder.trunk."): tensor
        for name, tensor in state["model"].items()
        if name.startswith("image_encoder.trunk.")
    }
    if not wrapped:
        torch.save(trunk_only, file)
    expected = hieradet_sam2.checkpoint_filter_fn(state, prefix="image_encoder.trunk.")
    encoder = read_encoder(file, "pyramid")
    assert encoder.version == ("2.1" if wrapped else None)
    trunk = fill_trunk(partial(build_hiera, "sam2_hiera_tiny"), encoder)
    actual = trunk.state_dict()
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert encoder.recognised == (
        "sam2_hiera_tiny",
        "sam2_hiera_tiny.fb_r896_2pt1" if wrapped else None,
    )


@pytest.mark.parametrize("registers", [False, True])
def test_dinov2_equals_timm_fed_directly(registers: bool, tmp_path: Path) -> None:
    file = dinov2_file(tmp_path / "dino.pth", registers=registers)
    name = f"vit_small_patch14_{'reg4_' if registers else ''}dinov2"
    model = build_vit(name, (518, 518))
    raw = torch.load(file, weights_only=True)
    expected = vision_transformer.checkpoint_filter_fn(raw, model)
    trunk = fill_trunk(partial(build_vit, name, (518, 518)), read_encoder(file, "semantic"))
    actual = trunk.state_dict()
    assert set(actual) == set(expected) == set(model.state_dict())
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    image = torch.randn(1, 3, 518, 518)
    model.load_state_dict(expected)
    assert torch.equal(trunk(image), model(image))


def test_no_random_numbers_are_drawn(official: dict[str, Path]) -> None:
    before = torch.get_rng_state()
    encoder = read_encoder(official["semantic"], "semantic")
    trunk = fill_trunk(partial(build_vit, "vit_small_patch14_dinov2", (112, 112)), encoder)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(p.is_meta for p in trunk.parameters())


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    state = {n: t.half() for n, t in made_up(OFFICIAL["dinov2_vits14"]).items()}
    torch.save(state, tmp_path / "half.pth")
    encoder = read_encoder(tmp_path / "half.pth", "semantic")
    trunk = fill_trunk(partial(build_vit, "vit_small_patch14_dinov2", (518, 518)), encoder)
    assert {p.dtype for p in trunk.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{n}": t for n, t in state.items()}},
        lambda state: {f"_orig_mod.{n}": t for n, t in state.items()},
        lambda state: {"epoch": 1, **state},
    ],
)
def test_wrappings_are_taken_off(wrap, tmp_path: Path) -> None:
    state = made_up(OFFICIAL["dinov2_vits14"])
    torch.save(wrap(state), tmp_path / "w.pth")
    torch.save(state, tmp_path / "plain.pth", _use_new_zipfile_serialization=False)
    expected = fingerprint(read_encoder(tmp_path / "plain.pth", "semantic").tensors)
    assert read_encoder(tmp_path / "w.pth", "semantic").fingerprint == expected


# -- into a model


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


# -- references


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


def test_a_changed_file_is_summed_again(tmp_path: Path) -> None:
    file = dinov2_file(tmp_path / "d.pth")
    encoder = read_encoder(file, "semantic")
    known.remember(file, "semantic", encoder.fingerprint, encoder.stamp)
    assert known.recall(file, "semantic") == encoder.fingerprint
    assert known.places(encoder.fingerprint) == [file]
    dinov2_file(file, seed=1)
    assert known.recall(file, "semantic") is None
    assert known.places(encoder.fingerprint) == []
    file.unlink()
    assert known.places(encoder.fingerprint) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 3}', b"\xff", b'{"hiera /x": {}}'])
def test_a_broken_index_is_no_index(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "encoders.json").write_bytes(content)
    assert known.places("sha256:0") == []
    (tmp_path / "f").write_bytes(b"x")
    stamp = known.stamp_of(tmp_path / "f")
    known.remember(tmp_path / "f", "pyramid", "sha256:0", stamp)
    assert known.places("sha256:0") == [tmp_path / "f"]


def test_an_index_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "file" / "under"))
    stamp = known.stamp_of(tmp_path / "file")
    known.remember(tmp_path / "file", "pyramid", "sha256:0", stamp)
    assert known.recall(tmp_path / "file", "pyramid") is None


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


# -- the hub and offline


def hub_file(tmp_path: Path, name: str, state: dict[str, Tensor]) -> Path:
    """A file in the Hugging Face cache, as a download leaves it."""
    repository = tmp_path / "hub" / f"models--timm--{name}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    return snapshot / "model.safetensors"


def test_public_weights_from_the_cache(official: dict[str, Path], tmp_path: Path) -> None:
    trunk = read_encoder(official["pyramid"], "pyramid").tensors
    hub_file(tmp_path, "sam2_hiera_tiny.fb_r896_2pt1", trunk)
    model = dsunet.create_model("sam2unet-tiny", sam_version="2.1", sam_size=128)
    assert model.pyramid.source.name == "sam2_hiera_tiny.fb_r896_2pt1"
    assert torch.equal(model.pyramid.trunk.pos_embed, trunk["pos_embed"])
    # the same weights from an official file are the same: the reference holds for both
    taken = dsunet.create_model(
        "sam2unet-tiny", None, pyramid_weights=official["pyramid"], sam_version="2.1", sam_size=128
    )
    assert taken.pyramid.source == model.pyramid.source


def no_network(monkeypatch: pytest.MonkeyPatch, calls: list[object]) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network(offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    no_network(monkeypatch, calls)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(WeightsError) as caught:
        dsunet.create_model("dsunet-tiny")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    reason = "HF_HUB_OFFLINE is set" if offline else "cannot be reached: Network is unreachable"
    for part in (
        reason,
        "model.safetensors of the hub's repository timm/sam2_hiera_tiny.fb_r896_2pt1",
        "sam2.1_hiera_tiny.pt",
        "`pyramid_weights` FILE",
    ):
        assert part in message
    assert len(calls) == (0 if offline else 1)


def test_a_hub_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("503 Server Error.\nlong story")

    monkeypatch.setattr("dsunet.weights.hub_cache._why_offline", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(WeightsError, match=r"not fetched \(503 Server Error\)"):
        dsunet.create_model("dsunet-tiny")


def test_default_weights_are_chosen_for_each_encoder(
    monkeypatch: pytest.MonkeyPatch, official: dict[str, Path]
) -> None:
    asked = []

    def fetch(name: str, **options: object) -> Path:
        asked.append(name)
        return official["pyramid"]

    monkeypatch.setattr("dsunet.weights.encoders.fetch", fetch)
    dsunet.create_model("dsunet-nano", pyramid="sam2_hiera_tiny", train_pyramid=False)
    assert asked == ["sam2_hiera_tiny.fb_r896_2pt1"]
    with pytest.raises(ValueError, match="'hiera_nano', which has no public weights and would"):
        dsunet.create_model("dsunet-small", pyramid="hiera_nano")


def test_save_pretrained(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    tiny.training_facts = {"data": "steel", "epoch": 3, "measures": {"S": 0.8123456}}
    tiny.save_pretrained(tmp_path / "folder")
    names = {file.name for file in (tmp_path / "folder").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    again = dsunet.DSUNet.from_pretrained(tmp_path / "folder")
    assert isinstance(again, dsunet.DSUNet)
    assert again.config == tiny.config
    assert not again.training
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    assert torch.equal(again(sam, dino).fine, tiny.eval()(sam, dino).fine)
    card = (tmp_path / "folder" / "README.md").read_text()
    for part in (
        "base_model:\n- timm/sam2_hiera_tiny.fb_r896_2pt1",
        "library_name: dsunet",
        "pipeline_tag: image-segmentation",
        "# dsunet-tiny",
        "3,664,902 were trained",
        "| data | steel |",
        "| measures: S | 0.8123 |",
        tiny.semantic.source.fingerprint,
    ):
        assert part in card, part
    from huggingface_hub import ModelCard

    assert ModelCard.load(tmp_path / "folder" / "README.md").data.library_name == "dsunet"


def test_from_pretrained_takes_encoder_files(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path, monkeypatch
) -> None:
    tiny.save_pretrained(tmp_path / "folder")
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    with pytest.raises(WeightsError, match="`pyramid_weights`"):
        dsunet.DSUNet.from_pretrained(tmp_path / "folder")
    dsunet.DSUNet.from_pretrained(
        tmp_path / "folder",
        pyramid_weights=official["pyramid"],
        semantic_weights=official["semantic"],
    )


def test_push_to_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **options: object) -> Api:
            self.repo_id = repo_id
            return self

        def upload_folder(self, repo_id: str, folder_path: Path, **options: object) -> str:
            pushed[repo_id] = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    model = nano()
    assert model.push_to_hub("me/steel", model_card_kwargs={"license": "mit"}) == "done"
    files = pushed["me/steel"]
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    assert b"license: mit" in files["README.md"]
    assert json.loads(files["config.json"])["sam_size"] == 128


def test_from_pretrained_offline() -> None:
    with pytest.raises(WeightsError, match="me/nothing could not be had "):
        dsunet.DSUNet.from_pretrained("me/nothing")


# -- the authors' formats


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


@pytest.mark.parametrize("name", ["dsunet-tiny", "sam2unet-tiny"])
@pytest.mark.parametrize("include", [True, False])
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


def test_taps_that_are_not_haars(tmp_path: Path) -> None:
    state = published_state()
    state["dino2sam_down14.depthwise.wt_filter"] *= 2
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"wt_filter are not Haar's"):
        _ = open_weights(tmp_path / "a.pth").file


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


# -- files that are no weights files


def test_files_that_are_something_else(tmp_path: Path) -> None:
    good = dinov2_file(tmp_path / "good.pth")
    data = good.read_bytes()
    legacy = tmp_path / "legacy.pth"
    torch.save({"a": torch.rand(1000)}, legacy, _use_new_zipfile_serialization=False)
    whole = tmp_path / "whole.safetensors"
    safetensors.torch.save_file({"a": torch.rand(1000)}, whole)
    cases = {
        "cut.pth": (data[: len(data) // 2], "it is cut off or damaged: copy it again"),
        "cut-legacy.pth": (legacy.read_bytes()[:2000], "it is cut off or damaged"),
        "cut.safetensors": (whole.read_bytes()[:2000], "it may be cut off: copy it again"),
        "page.pt": (b"<!DOCTYPE html><html>404", "it is a web page"),
        "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "LFS pointer"),
        "empty.pt": (b"", "it is empty"),
        "photo.pt": (b"\xff\xd8\xff\xe0 and more", "neither like a .safetensors nor like a torch"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as caught:
            _ = open_weights(tmp_path / name).file
        assert name in str(caught.value)
    with pytest.raises(CheckpointError, match="is a folder without best"):
        _ = open_weights(tmp_path).file
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        _ = open_weights(tmp_path / "list.pt").file
    safetensors.torch.save_file({"conv1.weight": torch.rand(3)}, tmp_path / "resnet.safetensors")
    with pytest.raises(CheckpointError, match=r"no known format: its first tensors are conv1\.w"):
        _ = open_weights(tmp_path / "resnet.safetensors").file
    torch.save(
        {"pytorch-lightning_version": "2", "state_dict": {"a": torch.zeros(1)}}, tmp_path / "l"
    )
    with pytest.raises(CheckpointError, match="none of a dsunet training run"):
        _ = open_weights(tmp_path / "l").file


# -- position embeddings


def cubic(t: float) -> list[float]:
    """Weights of the four neighbours at distance t from the second (Keys' kernel, a = -0.75)."""
    a = -0.75
    return [
        a * (t**3 - 2 * t**2 + t),
        (a + 2) * t**3 - (a + 3) * t**2 + 1,
        -(a + 2) * t**3 + (2 * a + 3) * t**2 - a * t,
        a * (t**2 - t**3),
    ]


def sampled(values: list[float], at: float) -> float:
    """A row of values at a position between them; beyond the ends the end values go on."""
    first = int(np.floor(at))
    inside = [min(max(first + k, 0), len(values) - 1) for k in (-1, 0, 1, 2)]
    return float(np.dot(cubic(at - first), [values[i] for i in inside]))


def test_official_positions_by_hand() -> None:
    """From 4 patches a side to 2: the scale is 0.525, so samples lie at (i + 0.5) / 0.525 - 0.5."""
    row = [1.0, 2.0, 4.0, 8.0]
    column = [0.0, 1.0, 0.0, 3.0]
    at = [0.5 / 0.525 - 0.5, 1.5 / 0.525 - 0.5]
    assert at == pytest.approx([0.452381, 2.357143], abs=1e-6)
    # the first sample by hand: its neighbours are 1 (twice, at the edge), 2 and 4
    assert cubic(0.452381) == pytest.approx([-0.101747, 0.655264, 0.530535, -0.084053], abs=2e-6)
    assert sampled(row, at[0]) == pytest.approx(1.278375, abs=1e-5)
    plane = torch.tensor(column).view(4, 1) + torch.tensor(row).view(1, 4)
    positions = torch.cat([torch.tensor([[[7.0]]]), plane.reshape(1, 16, 1)], 1)
    expected = [sampled(column, y) + sampled(row, x) for y in at for x in at]
    actual = resample_positions(positions, (2, 2))
    assert actual[0, 0, 0] == 7  # the class token's stays
    torch.testing.assert_close(actual[0, 1:, 0], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    # to another height and width, and upwards
    at_rows = [(i + 0.5) / (3.1 / 4) - 0.5 for i in range(3)]
    at_columns = [(i + 0.5) / (6.1 / 4) - 0.5 for i in range(6)]
    expected = [sampled(column, y) + sampled(row, x) for y in at_rows for x in at_columns]
    actual = resample_positions(positions, (3, 6))[0, 1:, 0]
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_other_ways_to_resample() -> None:
    positions = torch.randn(1, 1 + 64, 3)
    assert resample_positions(positions, (8, 8)) is positions
    ways = [
        resample_positions(positions, (5, 6)),
        resample_positions(positions, (5, 6), method="timm"),
        resample_positions(positions, (5, 6), registers=True),
    ]
    assert all(way.shape == (1, 31, 3) for way in ways)
    assert not torch.allclose(ways[0], ways[1], atol=1e-3)
    # with registers the official way is timm's: antialias and no offset
    torch.testing.assert_close(ways[2], ways[1])
    # upwards there is nothing to average, so without offset all of them sample alike
    doubled = resample_positions(positions, (16, 16), method="timm")
    maps = positions[:, 1:].reshape(1, 8, 8, 3).permute(0, 3, 1, 2)
    plain = nn.functional.interpolate(maps, size=(16, 16), mode="bicubic", antialias=True)
    torch.testing.assert_close(doubled[:, 1:], plain.permute(0, 2, 3, 1).flatten(1, 2))
    wide = resample_positions(torch.randn(1, 1 + 12, 3), (4, 4), source=(2, 6))
    assert wide.shape == (1, 17, 3)


@pytest.mark.parametrize("registers", [False, True])
def test_positions_are_resampled_once_at_loading(registers: bool, tmp_path: Path) -> None:
    file = dinov2_file(tmp_path / "d.pth", registers=registers)
    raw = torch.load(file, weights_only=True)["pos_embed"]
    name = f"vit_small_patch14_{'reg4_' if registers else ''}dinov2"
    models = {
        way: dsunet.create_model(
            "dsunet-tiny",
            None,
            semantic=name,
            semantic_weights=file,
            dino_size=(112, 154),
            sam_size=128,
            interpolate=way,
        )
        for way in ("official", "timm")
    }
    for way, model in models.items():
        kept = model.semantic.trunk.pos_embed
        start = raw[:, 1:] if registers else raw
        expected = resample_positions(
            start, (8, 11), prefix=0 if registers else 1, method=way, registers=registers
        )
        assert torch.equal(kept, expected)
    # the fingerprint is of what the file holds, not of what became of it
    assert models["official"].semantic.source == models["timm"].semantic.source


@pytest.mark.parametrize("size", [(98, 98), (154, 112)], ids=["another", "equal-count"])
def test_our_own_files_at_another_size(size: tuple[int, int], tmp_path: Path) -> None:
    """Grids are compared, not counts: 8 by 11 patches are as many as 11 by 8."""
    model = nano(dino_size=(112, 154))
    dsunet.save(model, tmp_path / "a.safetensors")
    other = nano(dino_size=size)
    report = dsunet.load_weights(other, tmp_path / "a.safetensors")
    assert report.resampled == ("dinov2.trunk.pos_embed",)
    grid = (size[0] // 14, size[1] // 14)
    expected = resample_positions(model.semantic.trunk.pos_embed, grid, source=(8, 11))
    assert torch.equal(other.semantic.trunk.pos_embed, expected)


# -- what the readers' parts promise each other


def test_fingerprints_do_not_depend_on_the_format(
    official: dict[str, Path], tmp_path: Path
) -> None:
    first = read_encoder(official["semantic"], "semantic")
    shuffled = dict(reversed(first.tensors.items()))
    safetensors.torch.save_file(shuffled, tmp_path / "timm.safetensors")
    second = read_encoder(tmp_path / "timm.safetensors", "semantic")
    assert second.format == "vit-timm"
    assert second.fingerprint == first.fingerprint
    changed = {n: t.clone() for n, t in first.tensors.items()}
    changed["norm.bias"][0] += 1e-7
    assert fingerprint(changed) != first.fingerprint
    renamed = {n.replace("norm.bias", "norm.bia"): t for n, t in first.tensors.items()}
    assert fingerprint(renamed) != first.fingerprint


def test_another_vit_is_not_taken_for_dinov2(tmp_path: Path) -> None:
    model = timm.create_model("vit_small_patch16_224", num_classes=10)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    file = read_encoder(tmp_path / "vit.pth", "semantic")
    assert file.recognised is None
    assert set(file.ignored) == {"head.weight", "head.bias"}
    dsunet.create_model(
        "dsunet-nano",
        None,
        semantic="vit_small_patch16_224",
        semantic_weights=tmp_path / "vit.pth",
        dino_size=224,
        train_semantic=False,
    )


def test_empty_encoder_files_are_explained() -> None:
    own = {"blocks.0.norm1.weight": torch.zeros(1)}
    file = EncoderFile(Path("x"), "semantic", "semantic", {})
    assert compare(own, file).cause == "the file holds no whole encoder"
    with pytest.raises(CheckpointError, match="1 tensors are missing"):
        fitted(own, file, "official", None)


# -- the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_info(official: dict[str, Path], tmp_path: Path, capsys) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors", training={"data": "x", "measures": {"S": 0.5}})
    status, out, _ = run(
        capsys, "info", tmp_path / "a.safetensors", "--json", tmp_path / "about.json"
    )
    assert status == 0
    for part in (
        "our own file",
        "dsunet-nano (hiera_nano, vit_nano_patch14)",
        "2,977,542, of which 2,977,542 (100.00 %) are trained",
        "in the file",
    ):
        assert part in out, out
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["training"] == {"data": "x", "measures": {"S": 0.5}}
    assert about["parameters"]["total"] == sum(p.numel() for p in nano().parameters())
    assert sum(part["all"] for part in about["parameters"]["parts"].values()) == 2_977_542

    status, out, _ = run(capsys, "info", official["pyramid"])
    assert status == 0
    for part in ("official SAM 2", "sam2_hiera_tiny", "26,849,472", "2.1", "Apache-2.0", "sha256:"):
        assert part in out, out
    torch.save(published_state(), tmp_path / "authors.pth")
    status, out, _ = run(capsys, "info", tmp_path / "authors.pth")
    assert status == 0
    assert "dsunet-tiny (sam2_hiera_tiny, vit_small_patch14_dinov2)" in out
    assert "3,664,902 (6.97 %) are trained" in out
    status, _, err = run(capsys, "info", tmp_path / "none")
    assert (status, len(err.splitlines())) == (1, 1)


def test_info_says_where_encoders_are(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    dsunet.save(tiny, tmp_path / "small.safetensors")
    _, out, _ = run(capsys, "info", tmp_path / "small.safetensors")
    assert str(official["pyramid"]) in out
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    _, out, _ = run(capsys, "info", tmp_path / "small.safetensors")
    assert "not on this machine" in out
    assert "sam2_hiera_tiny.fb_r896_2pt1" in out


def test_verify(official: dict[str, Path], tmp_path: Path, monkeypatch, capsys) -> None:
    dsunet.save(nano(), tmp_path / "good.safetensors")
    status, out, err = run(capsys, "weights", "verify", tmp_path / "good.safetensors")
    assert status == 0, err
    assert "whole: names, shapes and values are as they should be" in out

    model = nano()
    model.decoder.heads[0].weight.data[0] = float("nan")
    dsunet.save(model, tmp_path / "nan.safetensors")
    status, _, err = run(capsys, "weights", "verify", tmp_path / "nan.safetensors")
    assert status == 1
    assert "decoder.heads.0.weight holds values that are no finite numbers" in err

    # made-up values under the official name: their SHA-256 is another
    status, _, err = run(capsys, "weights", "verify", official["pyramid"])
    assert status == 1
    assert "it is not the official sam2.1_hiera_tiny.pt: that has another SHA-256" in err
    other = tmp_path / "mine.pt"
    other.write_bytes(official["pyramid"].read_bytes())
    status, out, _ = run(capsys, "weights", "verify", other)
    assert status == 0
    assert "cannot be told" in out
    entry = PUBLIC_WEIGHTS["sam2_hiera_tiny.fb_r896_2pt1"]
    right = hashlib.sha256(other.read_bytes()).hexdigest()
    known_sum = dataclasses.replace(entry, official_sha256=right)
    monkeypatch.setitem(PUBLIC_WEIGHTS, entry.name, known_sum)
    status, out, _ = run(capsys, "weights", "verify", official["pyramid"])
    assert status == 0
    assert "yes: byte for byte sam2.1_hiera_tiny.pt" in out

    # one bit in the middle of a torch file shows in the archive's own checksum
    data = bytearray(official["pyramid"].read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bit.pt").write_bytes(data)
    status, _, err = run(capsys, "weights", "verify", tmp_path / "bit.pt")
    assert status == 1
    assert "of the archive is damaged" in err
    # and a model that lacks something is named
    state = published_state()
    del state["head.bias"]
    torch.save(state, tmp_path / "lacks.pth")
    status, _, err = run(capsys, "weights", "verify", tmp_path / "lacks.pth")
    assert status == 1
    assert "decoder.heads.2.bias is missing" in err


def test_weights_list_and_info(capsys) -> None:
    status, out, _ = run(capsys, "weights", "list")
    assert status == 0
    assert all(name in out for name in PUBLIC_WEIGHTS)
    status, out, _ = run(capsys, "weights", "info", "dsunet-large")
    assert status == 0
    assert "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318" in out
    assert "vit_large_patch14_dinov2.lvd142m" in out
    _, out, _ = run(capsys, "weights", "info", "dinov2_vits14_reg4_pretrain.pth")
    assert "not known for certain" in out
    status, _, err = run(capsys, "weights", "info", "nothing")
    assert (status, len(err.splitlines())) == (1, 1)


def test_weights_download(official: dict[str, Path], tmp_path: Path, capsys) -> None:
    status, _, err = run(capsys, "weights", "download", "dsunet-tiny")
    assert status == 1
    assert "HF_HUB_OFFLINE is set" in err
    assert len(err.splitlines()) == 1
    trunk = read_encoder(official["pyramid"], "pyramid").tensors
    file = hub_file(tmp_path, "sam2_hiera_tiny.fb_r896_2pt1", trunk)
    status, out, _ = run(capsys, "weights", "download", "sam2_hiera_tiny")
    assert status == 0
    assert str(file) in out
    status, out, _ = run(capsys, "weights", "verify", "sam2_hiera_tiny.fb_r896_2pt1")
    assert status == 0


def test_convert_command(tmp_path: Path, capsys) -> None:
    torch.save(published_state(), tmp_path / "authors.pth")
    whole = tmp_path / "whole.safetensors"
    command = ("convert", tmp_path / "authors.pth", whole)
    status, out, _ = run(capsys, *command, "--include-encoders")
    assert status == 0
    assert f"{whole}: 2" in out  # two hundred and some megabytes
    status, _, err = run(capsys, "convert", tmp_path / "authors.pth", tmp_path / "x.bin")
    assert status == 1
    assert "needs a name that ends with .safetensors (ours) or .pth" in err


def test_training_and_prediction_take_encoder_files(
    official: dict[str, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    write_synthetic(tmp_path / "set", 2, 64)
    settings = "--model dsunet-tiny --sam-size 128 --dino-size 112 --device cpu --workers 0"
    status, _, err = run(
        capsys,
        *("train", "--data", tmp_path / "set", "--output", tmp_path / "run"),
        *(*settings.split(), "--epochs", 1, "--batch-size", 2),
        *("--pyramid-weights", official["pyramid"], "--semantic-weights", official["semantic"]),
    )
    assert status == 0, err
    last = tmp_path / "run" / "last.safetensors"
    assert last.stat().st_size < 20e6
    assert read_metadata(last)["encoders"]["pyramid"]["name"] == "sam2_hiera_tiny.fb_r896_2pt1"
    assert str(official["pyramid"]) not in str(read_metadata(last))  # no paths of this machine
    # the resume state says which model it is of, too
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    expected = dsunet.load(last)(sam, dino).fine
    resumable = tmp_path / "run" / "resume.ckpt"
    assert open_weights(resumable).file.format == "dsunet-lightning"
    assert torch.equal(dsunet.load(resumable)(sam, dino).fine, expected)
    # the encoder's file may move before the run goes on, but not change
    again = ("train", "--config", tmp_path / "run" / "config.yaml", "--resume")
    again = (*again, "--output", tmp_path / "run", "--pyramid-weights")
    status, _, err = run(capsys, *again, shutil.copy(official["pyramid"], tmp_path / "moved.pt"))
    assert status == 0, err
    status, _, err = run(capsys, *again, sam2_file(tmp_path / "changed.pt", seed=3))
    assert status == 1
    assert "the run was started with other weights of hiera (sha256:" in err
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    predict = ("predict", tmp_path / "set" / "images", "--weights", tmp_path / "run")
    status, _, err = run(capsys, *predict, "--output", tmp_path / "maps")
    assert status == 1
    assert "--pyramid-weights FILE" in err
    assert len(err.splitlines()) == 1
    status, _, err = run(
        capsys,
        *(*predict, "--output", tmp_path / "maps", "--device", "cpu"),
        *("--pyramid-weights", official["pyramid"], "--semantic-weights", official["semantic"]),
    )
    assert status == 0, err


# -- what must not happen silently


def logits(model: dsunet.DSUNet) -> Tensor:
    torch.manual_seed(9)
    return model.eval()(torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)).fine


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


def test_new_values_are_no_files_any_more(tiny: dsunet.DSUNet, tmp_path: Path) -> None:
    state = {name: tensor + 0.01 for name, tensor in tiny.state_dict().items()}
    assert tiny.pyramid.source is not None
    tiny.load_state_dict(state)
    assert tiny.pyramid.source is tiny.semantic.source is None
    dsunet.save(tiny, tmp_path / "a.safetensors")
    assert torch.equal(logits(dsunet.load(tmp_path / "a.safetensors")), logits(tiny))


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


def test_the_release_is_checked_everywhere(official: dict[str, Path], tmp_path: Path) -> None:
    old = sam2_file(tmp_path / "sam2_hiera_tiny.pt", release="2.0")
    model = dsunet.create_model("dsunet-tiny", weights=None, sam_size=128, dino_size=112)
    with pytest.raises(CheckpointError, match=r"is of SAM 2\.0, but sam_version is 2\.1"):
        dsunet.load_weights(model, old)
    dsunet.load_weights(model, old, strict=False)


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


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_weights_are_floating_point(kind: torch.dtype, tmp_path: Path) -> None:
    state = published_state()
    state["side1.weight"] = (state["side1.weight"] * 100).to(kind)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"decoder\.heads\.0\.weight as .*, but floating-point"
    ):
        dsunet.load(tmp_path / "a.pth")
    encoder = made_up(OFFICIAL["dinov2_vits14"])
    encoder["norm.weight"] = (encoder["norm.weight"] * 100).to(kind)
    torch.save(encoder, tmp_path / "d.pth")
    with pytest.raises(CheckpointError, match=r"norm\.weight as .*, but floating-point"):
        dsunet.create_model("dsunet-tiny", None, semantic_weights=tmp_path / "d.pth")


def test_two_encoders_in_one_file(tmp_path: Path) -> None:
    state = made_up(OFFICIAL["sam2.1_hiera_tiny"])
    both = {f"{part}.{n}": t for part in ("model", "ema") for n, t in state.items()}
    torch.save(both, tmp_path / "two.pt")
    with pytest.raises(CheckpointError, match="holds several encoders, at 'ema.' and 'model.'"):
        _ = open_weights(tmp_path / "two.pt").file


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
    status, _, err = run(capsys, "info", file, "--json", file)
    assert status == 1
    assert "--json names the weights file itself" in err
    assert file.read_bytes() == before


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


def test_a_changed_file_is_noticed_whatever_its_times_say(
    tiny: dsunet.DSUNet, tmp_path: Path
) -> None:
    file = sam2_file(tmp_path / "sam.pt")
    status = file.stat()
    known.remember(file, "pyramid", "sha256:0", known.stamp_of(file))
    assert known.recall(file, "pyramid") == "sha256:0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known.recall(file, "pyramid") is None


def test_many_processes_write_the_index(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dsunet import known\n"
        "for i in range(10):\n"
        "    file = Path(sys.argv[1]) / f'{sys.argv[2]}-{i}'; file.write_text('x')\n"
        "    known.remember(file, 'hiera', 'sha256:0', known.stamp_of(file))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(3)
    ]
    assert all(process.wait(timeout=120) == 0 for process in processes)
    assert len(known.places("sha256:0")) == 30


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    dsunet.save(nano(), tmp_path / "a.safetensors")
    modes = [(tmp_path / name).stat().st_mode for name in ("a.safetensors", "other")]
    assert modes[0] == modes[1]


def test_verify_compares_with_the_architecture(tmp_path: Path, capsys) -> None:
    state = made_up(OFFICIAL["dinov2_vits14"])
    for name, gone in (
        ("one", "blocks.3.norm2.bias"),
        ("block", "blocks.11."),
        ("no", "blocks.0.ls1"),
    ):
        torch.save({n: t for n, t in state.items() if not n.startswith(gone)}, tmp_path / name)
        status, out, err = run(capsys, "weights", "verify", tmp_path / name)
        assert status == 1, (name, out)
        assert "whole" not in out
        assert ("missing" in err) == (name == "one"), err


@pytest.mark.parametrize("reference", [{"name": 3}, {"fingerprint": 5}, [1], "x"])
def test_odd_references(reference: object, tmp_path: Path) -> None:
    about = {"format": 2, "model": nano().config.to_dict(), "training": {}}
    about["encoders"] = {"pyramid": reference, "semantic": None}
    tensors = {"a": torch.zeros(1)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"dsunet": json.dumps(about)})
    with pytest.raises(CheckpointError, match="incomplete metadata"):
        dsunet.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pos_embed", None),
        ("cls_token", None),
        ("register_tokens", torch.zeros(3)),
        ("blocks.0.norm1.weight", torch.tensor(1.0)),
        ("norm.weight", torch.zeros(384, device="meta")),
        ("norm.weight", torch.zeros(384).to_sparse()),
    ],
)
def test_odd_tensors(name: str, value: Tensor | None, tmp_path: Path) -> None:
    state = made_up(with_registers(OFFICIAL["dinov2_vits14"]))
    state = {n: t for n, t in state.items() if n != name}
    torch.save(state if value is None else {**state, name: value}, tmp_path / "a.pth")
    with pytest.raises(WeightsError):
        dsunet.create_model(
            "dsunet-tiny",
            None,
            semantic="vit_small_patch14_reg4_dinov2",
            semantic_weights=tmp_path / "a.pth",
        )


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"an archive without weights \(it has a\.npy\)"):
        _ = open_weights(tmp_path / "a.npz").file
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/model.py"):
            archive.writestr(f"script/{name}", "x")
    with pytest.raises(CheckpointError, match="a TorchScript program; save the state dict"):
        _ = open_weights(tmp_path / "script.pt").file


def test_settings_in_files_are_validated(tmp_path: Path) -> None:
    for name, value in (("pixel_attention", "bogus"), ("decoder_channels", 200000)):
        about = {"format": 2, "model": {**nano().config.to_dict(), name: value}, "training": {}}
        about["encoders"] = {"pyramid": None, "semantic": None}
        file = tmp_path / "a.safetensors"
        safetensors.torch.save_file({"a": torch.zeros(1)}, file, {"dsunet": json.dumps(about)})
        with pytest.raises(CheckpointError, match=f"cannot be built: {name} is"):
            dsunet.load(file)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for write in (
        lambda: dsunet.save(nano(), tmp_path),
        lambda: dsunet.convert(tmp_path / "a.safetensors", tmp_path),
    ):
        dsunet.save(nano(), tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match="is a folder; give the name of a file"):
            write()


def test_odd_folders_for_from_pretrained(tmp_path: Path) -> None:
    nano().save_pretrained(tmp_path / "a")
    with pytest.raises(WeightsError, match="no option 'hiera_weight'"):
        dsunet.DSUNet.from_pretrained(tmp_path / "a", hiera_weight="x")
    for content in ("{", "[1, 2]"):
        (tmp_path / "a" / "config.json").write_text(content)
        with pytest.raises(WeightsError, match="could not be had"):
            dsunet.DSUNet.from_pretrained(tmp_path / "a")


def test_info_shows_control_characters(tmp_path: Path, capsys) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors", training={"\x1b[2J": {"a\x07": "b\n"}})
    status, out, _ = run(capsys, "info", tmp_path / "a.safetensors")
    assert status == 0
    assert "\x1b" not in out
    assert "\x07" not in out
