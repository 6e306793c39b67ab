"""No file that a user is given can make dsunet run code."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import dsunet
from dsunet.cli import main
from dsunet.data.images import decode
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import CheckpointError, ImageError
from helpers import nano


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_the_trap_works(tmp_path: Path) -> None:
    torch.save({"a": Malicious(tmp_path / "mark")}, tmp_path / "bad.pt")
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert (tmp_path / "mark").exists()


def test_pickled_weights_do_not_run(tmp_path: Path) -> None:
    torch.save({"a": Malicious(tmp_path / "mark")}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"bad\.pt"):
        dsunet.load_weights(nano(), tmp_path / "bad.pt")
    for name in ("bad.pt", "bad.safetensors"):
        shutil.copy(tmp_path / "bad.pt", tmp_path / "copy")
        (tmp_path / "copy").rename(tmp_path / name)
        with pytest.raises(CheckpointError):
            dsunet.load(tmp_path / name)
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_a_pickled_resume_state_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "set", 4, 64)
    command = [
        *("train", "--data", str(tmp_path / "set"), "--output", str(tmp_path / "run")),
        *"--model dsunet-nano --sam-size 128 --dino-size 112 --device cpu --workers 0".split(),
        *"--epochs 1 --batch-size 4".split(),
    ]
    assert main(command) == 0
    state = {"callbacks": {"RunFolder": {"position": Malicious(tmp_path / "mark")}}}
    torch.save(state, tmp_path / "run" / "resume.ckpt")
    assert main([*command, "--resume"]) == 1
    assert "resume.ckpt cannot be read, so the run cannot go on" in capsys.readouterr().err
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "content",
    [
        "epochs: !!python/object/apply:os.mkdir [MARK]",
        "!!python/object/apply:os.mkdir [MARK]",
        "model: !!python/name:os.mkdir",
    ],
)
def test_configs_do_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "bad.yaml").write_text(content.replace("MARK", str(mark)))
    status = main(["train", "--config", str(tmp_path / "bad.yaml"), "--data", "d", "--output", "o"])
    assert status in (1, 2)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not mark.exists()


def test_postscript_is_not_handed_to_ghostscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would start an interpreter for a file like this, whatever its name is."""
    picture = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "photo.jpg").write_text(picture)

    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", forbidden)
    monkeypatch.setattr("subprocess.check_call", forbidden)
    with pytest.raises(ImageError, match="it is a PostScript document"):
        decode(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("no json", "broken metadata"),
        ("[1]", "broken metadata"),
        ("{}", "has format None"),
        ('{"format": 1, "model": {}, "encoders": {}, "training": {}}', "has format 1, but this"),
        ('{"format": 3, "model": {}, "encoders": {}, "training": {}}', "has format 3, but this"),
        ('{"format": 2}', "incomplete metadata"),
        ('{"format": 2, "model": 3, "encoders": {}, "training": {}}', "incomplete metadata"),
        (
            '{"format": 2, "model": {"hiera": "x"}, "encoders": {}, "training": {}}',
            "cannot be built",
        ),
        (
            '{"format": 2, "model": {"bogus": 1}, "encoders": {}, "training": {}}',
            "cannot be built",
        ),
        (
            '{"format": 2, "model": {"sam_size": {}}, "encoders": {}, "training": {}}',
            "cannot be built",
        ),
    ],
)
def test_odd_metadata(tmp_path: Path, metadata: str, reason: str) -> None:
    tensors = {"a": torch.zeros(1)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"dsunet": metadata})
    with pytest.raises(CheckpointError, match=reason):
        dsunet.load(tmp_path / "a.safetensors")


def test_changed_weights_files_are_our_errors(tmp_path: Path) -> None:
    """Bits flipped in the header, and cuts anywhere."""
    dsunet.save(nano(), tmp_path / "good.safetensors")
    data = (tmp_path / "good.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert "dsunet" in header["__metadata__"]
    generator, failed = torch.Generator().manual_seed(0), 0
    for _ in range(40):
        broken = bytearray(data)
        for place in torch.randint(0, 4000, (4,), generator=generator).tolist():
            broken[place] ^= 1 << (place % 8)
        (tmp_path / "bad.safetensors").write_bytes(broken)
        try:
            dsunet.load(tmp_path / "bad.safetensors")
        except CheckpointError:
            failed += 1
    assert failed > 10
    for length in (0, 5, 8, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "bad.safetensors").write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
            dsunet.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("fingerprint", [None, "sha256:0"])
@pytest.mark.parametrize("tag", ["timm/hf-hub:somebody/model", "timm/local-dir:/tmp/x", "x"])
def test_a_file_does_not_choose_what_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, fingerprint: str | None
) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("weights were fetched")

    monkeypatch.setattr("dsunet.weights.encoders.fetch", forbidden)
    monkeypatch.setattr("dsunet.weights.encoders.read_encoder", forbidden)
    about = {"format": 2, "model": nano().config.to_dict(), "training": {}}
    reference = {"name": tag, "fingerprint": fingerprint}
    about["encoders"] = {"pyramid": reference, "semantic": None}
    metadata = {"dsunet": json.dumps(about)}
    tensors = {"a": torch.zeros(1)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CheckpointError, match="which timm does not know"):
        dsunet.load(tmp_path / "a.safetensors")


@pytest.mark.slow
def test_configs_do_not_fill_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    for content, message in (
        ("\n".join(lines).encode(), "has aliases"),
        (b"\xff\xfe\0", "is no YAML"),
        (b"a: [", "is no YAML"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "nests deeper than any settings do"),
        (b"lr: 1\nrate: 2\n3: 4", "settings that dsunet train does not know: 3, rate; see"),
    ):
        (tmp_path / "c.yaml").write_bytes(content)
        assert main(["train", "--data", "d", "--output", "o", f"--config={tmp_path}/c.yaml"]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert len(shown.splitlines()) == 1


def test_names_cannot_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(tmp_path / "red\x1b[31m\nline.png")
    assert main(["predict", name, "--weights", "w", "--output", "o"]) == 1
    shown = capsys.readouterr().err
    assert r"red\x1b[31m line.png" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 1
