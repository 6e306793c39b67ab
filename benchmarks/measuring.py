"""What every record says of where and when it was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


def circumstances() -> dict[str, object]:
    """Date, commit, machine and versions, ready for JSON."""
    call = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parent)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in ("torch", "timm", "safetensors")},
    }
