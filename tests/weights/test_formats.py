"""Every format of weights files, with the names and shapes of the official ones."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from timm.models import hieradet_sam2, vision_transformer
from torch import Tensor

import dsunet
from dsunet.errors import CheckpointError, WeightsError
from dsunet.network.encoders import build_hiera, build_vit
from dsunet.network.fingerprint import fingerprint
from dsunet.weights import formats
from dsunet.weights.encoders import read_encoder
from dsunet.weights.fitting import fill_trunk
from dsunet.weights.formats import EncoderFile
from dsunet.weights.opened import open_weights
from dsunet.weights.registry import find_public, public_name
from weightfiles import (
    OFFICIAL,
    dinov2_file,
    empty_trunk,
    made_up,
    published_state,
    sam2_file,
    with_registers,
)


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


SIZES += [f"{name}_reg4" for name in SIZES if name.startswith("dinov2")]


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
        assert file.format == "dinov2"
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


@pytest.mark.parametrize("registers", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.slow
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


def test_taps_that_are_not_haars(tmp_path: Path) -> None:
    state = published_state()
    state["dino2sam_down14.depthwise.wt_filter"] *= 2
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"wt_filter are not Haar's"):
        _ = open_weights(tmp_path / "a.pth").file


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
