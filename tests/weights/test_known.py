"""The index of fingerprints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dsunet
from dsunet.support.files import stamp_of
from dsunet.weights import known
from dsunet.weights.encoders import read_encoder
from weightfiles import dinov2_file, sam2_file


def test_a_changed_file_is_summed_again(tmp_path: Path) -> None:
    file = dinov2_file(tmp_path / "d.pth")
    encoder = read_encoder(file, "semantic")
    known.remember(file, "dinov2", encoder.fingerprint, encoder.stamp)
    assert known.recall(file, "dinov2") == encoder.fingerprint
    assert known.places(encoder.fingerprint) == [file]
    dinov2_file(file, seed=1)
    assert known.recall(file, "dinov2") is None
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
    stamp = stamp_of(tmp_path / "f")
    known.remember(tmp_path / "f", "pyramid", "sha256:0", stamp)
    assert known.places("sha256:0") == [tmp_path / "f"]


def test_an_index_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "file" / "under"))
    stamp = stamp_of(tmp_path / "file")
    known.remember(tmp_path / "file", "pyramid", "sha256:0", stamp)
    assert known.recall(tmp_path / "file", "pyramid") is None


def test_a_changed_file_is_noticed_whatever_its_times_say(
    tiny: dsunet.DSUNet, tmp_path: Path
) -> None:
    file = sam2_file(tmp_path / "sam.pt")
    status = file.stat()
    known.remember(file, "pyramid", "sha256:0", stamp_of(file))
    assert known.recall(file, "pyramid") == "sha256:0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known.recall(file, "pyramid") is None


@pytest.mark.slow
def test_many_processes_write_the_index(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dsunet.weights import known\n"
        "from dsunet.support.files import stamp_of\n"
        "for i in range(10):\n"
        "    file = Path(sys.argv[1]) / f'{sys.argv[2]}-{i}'; file.write_text('x')\n"
        "    known.remember(file, 'hiera', 'sha256:0', stamp_of(file))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(3)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert len(known.places("sha256:0")) == 30
