"""Files are whole or not there, and a folder has one writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsunet.errors import OutputError
from dsunet.support.files import (
    check_writable,
    clear_temporaries,
    decode_text,
    encode_text,
    lock_folder,
    temporary_beside,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "deep" / "a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "deep" / "a", b"new")
    assert (tmp_path / "deep" / "a").read_bytes() == b"old"
    assert names(tmp_path / "deep") == ["a"]


def test_the_longest_names(tmp_path: Path) -> None:
    name = "ü" * 125 + ".png"  # 254 bytes
    write_atomically(tmp_path / name, b"x")
    assert names(tmp_path) == [name]


def test_permissions_are_those_of_plain_files(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "a") as temporary:
        temporary.rename(temporary.with_name(".dsunet-left.tmp"))
    (tmp_path / "kept.tmp").write_bytes(b"")
    assert names(tmp_path) == [".dsunet-left.tmp", "kept.tmp"]
    clear_temporaries(tmp_path)
    assert names(tmp_path) == ["kept.tmp"]


def test_names_that_are_no_text_keep_their_bytes() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert decode_text(encode_text(name)) == name
    assert encode_text(name) == b"caf\xe9"


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs Linux, where /sys is not writable")
def test_read_only_places_are_found_early() -> None:
    with pytest.raises(OutputError, match=r"cannot be written to \(.+\); choose another folder"):
        check_writable(Path("/sys/new/run"))


def test_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file is a file, so .*run cannot be written to"):
        check_writable(tmp_path / "file" / "run")
    check_writable(tmp_path / "new" / "run")
    assert names(tmp_path) == ["file"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """The lock goes with the process, and its own children do not keep it."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from dsunet.support.files import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child: print('held', child, flush=True)\n"
        "    time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[1])
    try:
        with pytest.raises(OutputError, match="another process is"), lock_folder(tmp_path):
            pass
        process.kill()
        process.wait()
        taken = pytest.raises(OutputError, match="another process is")
        with lock_folder(tmp_path), taken, lock_folder(tmp_path):  # within one process, too
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_one_thread_at_a_time_holds_a_folder(tmp_path: Path) -> None:
    inside: list[int] = []
    most = 0

    def hold(worker: int) -> None:
        nonlocal most
        for _ in range(20):
            with lock_folder(tmp_path, wait=60):
                inside.append(worker)
                most = max(most, len(inside))
                time.sleep(0)
                inside.remove(worker)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(8)))
    assert most == 1
