"""How much memory is free, keeping what was freed, and giving some back."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

from dsunet.errors import TrainingError

__all__ = ["WORTH", "free_memory", "give_back", "keep_freed"]

WORTH = 2e9
"""Below this many bytes, giving memory back costs more time than it is worth."""

# What glibc's `mallopt` is told (malloc.h): no mappings, and no trimming by itself.
_NO_MAPPINGS, _NO_TRIMMING = (-4, 0), (-1, 2**31 - 1)


def free_memory(device: torch.device, root: Path = Path("/")) -> float:
    """Bytes that this process may take in all: what is free, and what it holds already.

    On a CPU that is the least of what Linux calls available and of what the limits of the
    process's control groups leave; memory that only caches files counts as free.

    Args:
        device: A CPU or an NVIDIA GPU.
        root: Where `/proc` and `/sys` are.

    Raises:
        TrainingError: It cannot be told.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    try:
        if device.type != "cpu":
            raise OSError
        available = _kilobytes(root / "proc/meminfo", "MemAvailable")
        own = _kilobytes(root / "proc/self/status", "RssAnon")
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"`batch_size` auto cannot tell how much memory is free for {device.type} on this "
            "machine; give a number"
        ) from error
    return min([available, *_left_by_limits(root)]) + own


def give_back(worth: float = WORTH) -> None:
    """Lets the C library give the system the gaps between what a step has left in memory.

    The next step then starts without them: its tensors, of other sizes, do not all fit into the
    gaps, and the process would grow from step to step. It is for large steps on Linux's CPUs;
    elsewhere nothing happens.

    Args:
        worth: From how many bytes of its own on the process does so.
    """
    if sys.platform != "linux":
        return
    try:
        if _kilobytes(Path("/proc/self/status"), "RssAnon") > worth:
            ctypes.CDLL(None).malloc_trim(0)
    except (OSError, ValueError, AttributeError):  # other C libraries have no such function
        return


def keep_freed(device: torch.device) -> float:
    """Has the C library keep what this process frees, for good, instead of giving it back at once.

    A large tensor is a mapping of its own otherwise: the system takes it back when it is freed, and
    clears every page of the next one, which is a good part of a step's time where views or batches
    are large. What is kept lies in gaps that do not fit everything, so that the process grows.

    Args:
        device: A CPU.

    Returns:
        From how many bytes of its own on the process should `give_back` all the same: half of what
        it may take in all.

    Raises:
        TrainingError: It is another device, or the C library is another one than glibc.
    """
    here = device.type == "cpu" and sys.platform == "linux"
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if here else None
    if tell is None or not (tell(*_NO_MAPPINGS) and tell(*_NO_TRIMMING)):
        raise TrainingError(
            "`keep_memory` is for training on a CPU under Linux with the GNU C library, and this "
            f"is {device.type} on {sys.platform}: leave it out"
        )
    return free_memory(device) / 2


def _kilobytes(file: Path, name: str) -> float:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return float(value.split()[0]) * 1024
    raise ValueError(f"{file} does not say {name}")


def _left_by_limits(root: Path) -> list[float]:
    """What the control groups leave, from this process's own up to the outermost (version 2, 1)."""
    left = []
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers == "":
            base, limit, usage, prefix = "sys/fs/cgroup", "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            base, limit, usage, prefix = (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_",
            )
        else:
            continue
        own = Path(path.lstrip("/"))
        for part in (own, *own.parents):
            folder = root / base / part
            try:
                most = float((folder / limit).read_text())  # "max" where there is none
                used = float((folder / usage).read_text())
                lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
            except (OSError, ValueError):
                continue
            files = {f"{prefix}active_file", f"{prefix}inactive_file"}
            cached = sum(float(words[1]) for words in lines if words[0] in files)
            left.append(most - used + cached)
    return left
