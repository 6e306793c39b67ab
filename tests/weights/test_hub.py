"""Public weights from the hub and its cache, with and without a network; folders for it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.errors import WeightsError
from dsunet.weights.encoders import read_encoder
from helpers import nano
from weightfiles import hub_file


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


def test_odd_folders_for_from_pretrained(tmp_path: Path) -> None:
    nano().save_pretrained(tmp_path / "a")
    with pytest.raises(WeightsError, match="no option 'hiera_weight'"):
        dsunet.DSUNet.from_pretrained(tmp_path / "a", hiera_weight="x")
    for content in ("{", "[1, 2]"):
        (tmp_path / "a" / "config.json").write_text(content)
        with pytest.raises(WeightsError, match="could not be had"):
            dsunet.DSUNet.from_pretrained(tmp_path / "a")
