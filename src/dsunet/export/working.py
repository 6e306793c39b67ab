"""The folder beside the output where a file is made, and what killed exports left of theirs."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["clear_leftovers", "working_folder"]

PREFIX = ".dsunet-export-"

DAY = 24 * 3600
"""Seconds without a change after which a folder is taken for left over, whoever made it."""


@contextlib.contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, which says whose it is; removed in the end.

    What exports that were killed have left in `parent` is removed first.
    """
    clear_leftovers(parent)
    prefix = f"{PREFIX}{_host()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder:
        yield Path(folder)


def clear_leftovers(parent: Path) -> None:
    """Removes working folders whose process, on this machine, is gone, or that are a day old.

    Links are left alone, and so is what cannot be removed.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if not folder.is_symlink() and folder.is_dir() and _is_left_over(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left_over(folder: Path) -> bool:
    newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    if time.time() - newest > DAY:
        return True
    made_by = re.fullmatch(rf"{re.escape(PREFIX)}(.*)-([1-9]\d*)-\w+", folder.name)
    return made_by is not None and made_by[1] == _host() and _is_gone(int(made_by[2]))


def _is_gone(pid: int) -> bool:
    """Whether a process of this machine has ended, as far as that can be asked without harm."""
    if os.name != "posix":  # elsewhere the question would end it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", platform.node())[:64]
