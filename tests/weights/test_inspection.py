"""What `dsunet info` and `dsunet weights verify` say about files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.weights.registry import PUBLIC_WEIGHTS
from helpers import nano
from weightfiles import OFFICIAL, command, made_up, published_state


@pytest.mark.slow
def test_info(official: dict[str, Path], tmp_path: Path, capsys) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors", training={"data": "x", "measures": {"S": 0.5}})
    status, out, _ = command(
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

    status, out, _ = command(capsys, "info", official["pyramid"])
    assert status == 0
    for part in ("official SAM 2", "sam2_hiera_tiny", "26,849,472", "2.1", "Apache-2.0", "sha256:"):
        assert part in out, out
    torch.save(published_state(), tmp_path / "authors.pth")
    status, out, _ = command(capsys, "info", tmp_path / "authors.pth")
    assert status == 0
    assert "dsunet-tiny (sam2_hiera_tiny, vit_small_patch14_dinov2)" in out
    assert "3,664,902 (6.97 %) are trained" in out
    status, _, err = command(capsys, "info", tmp_path / "none")
    assert (status, len(err.splitlines())) == (1, 1)


@pytest.mark.slow
def test_info_says_where_encoders_are(
    tiny: dsunet.DSUNet, official: dict[str, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    dsunet.save(tiny, tmp_path / "small.safetensors")
    _, out, _ = command(capsys, "info", tmp_path / "small.safetensors")
    assert str(official["pyramid"]) in out
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    _, out, _ = command(capsys, "info", tmp_path / "small.safetensors")
    assert "not on this machine" in out
    assert "sam2_hiera_tiny.fb_r896_2pt1" in out


@pytest.mark.slow
def test_verify(official: dict[str, Path], tmp_path: Path, monkeypatch, capsys) -> None:
    dsunet.save(nano(), tmp_path / "good.safetensors")
    status, out, err = command(capsys, "weights", "verify", tmp_path / "good.safetensors")
    assert status == 0, err
    assert "whole: names, shapes and values are as they should be" in out

    model = nano()
    model.decoder.heads[0].weight.data[0] = float("nan")
    dsunet.save(model, tmp_path / "nan.safetensors")
    status, _, err = command(capsys, "weights", "verify", tmp_path / "nan.safetensors")
    assert status == 1
    assert "decoder.heads.0.weight holds values that are no finite numbers" in err

    # made-up values under the official name: their SHA-256 is another
    status, _, err = command(capsys, "weights", "verify", official["pyramid"])
    assert status == 1
    assert "it is not the official sam2.1_hiera_tiny.pt: that has another SHA-256" in err
    other = tmp_path / "mine.pt"
    other.write_bytes(official["pyramid"].read_bytes())
    status, out, _ = command(capsys, "weights", "verify", other)
    assert status == 0
    assert "cannot be told" in out
    entry = PUBLIC_WEIGHTS["sam2_hiera_tiny.fb_r896_2pt1"]
    right = hashlib.sha256(other.read_bytes()).hexdigest()
    known_sum = dataclasses.replace(entry, official_sha256=right)
    monkeypatch.setitem(PUBLIC_WEIGHTS, entry.name, known_sum)
    status, out, _ = command(capsys, "weights", "verify", official["pyramid"])
    assert status == 0
    assert "yes: byte for byte sam2.1_hiera_tiny.pt" in out

    # one bit in the middle of a torch file shows in the archive's own checksum
    data = bytearray(official["pyramid"].read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bit.pt").write_bytes(data)
    status, _, err = command(capsys, "weights", "verify", tmp_path / "bit.pt")
    assert status == 1
    assert "of the archive is damaged" in err
    # and a model that lacks something is named
    state = published_state()
    del state["head.bias"]
    torch.save(state, tmp_path / "lacks.pth")
    status, _, err = command(capsys, "weights", "verify", tmp_path / "lacks.pth")
    assert status == 1
    assert "decoder.heads.2.bias is missing" in err


@pytest.mark.slow
def test_verify_compares_with_the_architecture(tmp_path: Path, capsys) -> None:
    state = made_up(OFFICIAL["dinov2_vits14"])
    for name, gone in (
        ("one", "blocks.3.norm2.bias"),
        ("block", "blocks.11."),
        ("no", "blocks.0.ls1"),
    ):
        torch.save({n: t for n, t in state.items() if not n.startswith(gone)}, tmp_path / name)
        status, out, err = command(capsys, "weights", "verify", tmp_path / name)
        assert status == 1, (name, out)
        assert "whole" not in out
        assert ("missing" in err) == (name == "one"), err


def test_info_shows_control_characters(tmp_path: Path, capsys) -> None:
    dsunet.save(nano(), tmp_path / "a.safetensors", training={"\x1b[2J": {"a\x07": "b\n"}})
    status, out, _ = command(capsys, "info", tmp_path / "a.safetensors")
    assert status == 0
    assert "\x1b" not in out
    assert "\x07" not in out
