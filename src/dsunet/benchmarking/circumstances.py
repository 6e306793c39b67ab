"""What every record says of where and when it was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import dsunet
from dsunet.support.processes import available_cores

__all__ = ["circumstances"]


def circumstances() -> dict[str, Any]:
    """Date, commit, machine and versions, ready for JSON.

    The commit is that of the checkout that this package runs from, with a plus if files in it have
    changed since; `None` if it runs from none. The GPU is there if torch finds one.
    """
    versions = {"dsunet": dsunet.__version__}
    for name in ("torch", "timm", "numpy", "safetensors"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "processor": _processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": versions,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["gpu_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return facts


def _commit() -> str | None:
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # no checkout, or one of something else that this package is installed in
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
