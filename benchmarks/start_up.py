"""How long the package takes to import, and the command line to answer.

    python benchmarks/start_up.py --output benchmarks/start-up.json

Every call is a process of its own; after one that fills the file cache, ten are timed. `imports
torch` says whether the process has imported it at its end.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from dsunet.cli.entry import COMMANDS
from dsunet.support.files import write_json
from measuring import circumstances

ASK = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
HELP = "from dsunet.cli import main; main({arguments!r})"


def calls() -> dict[str, str]:
    """What is measured: Python's own start, the import, and every command's help."""
    asked = [["--help"], *([*name.split(), "--help"] for name in COMMANDS)]
    return {
        "python": "pass",
        "import dsunet": "import dsunet",
        **{f"dsunet {' '.join(each)}": HELP.format(arguments=each) for each in asked},
    }


def measure(code: str, repeats: int) -> dict[str, object]:
    """Median seconds of a process that runs `code`."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", ASK + code], capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": round(statistics.median(seconds[1:]), 3),
        "slowest": round(max(seconds[1:]), 3),
        "imports torch": done.stdout.splitlines()[-1] == "True",
    }


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    results = {}
    for name, code in calls().items():
        results[name] = measure(code, arguments.repeats)
        print(name, results[name], flush=True)
    if arguments.output:
        write_json(arguments.output, {**circumstances(), "calls": results})


if __name__ == "__main__":
    main()
