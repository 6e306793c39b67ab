"""The files to run the service for real: their syntax, and what they run, outside Docker.

No image is built here. What the Dockerfile runs, starts and asks for its health is run as it
stands, in another folder; where this may be done, as nobody (which needs a Python that nobody may
read), on a root file system that cannot be written to.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import set_parsing_settings

from dsunet.cli import COMMANDS
from dsunet.cli.parser import Parser
from dsunet.config import ServeConfig
from helpers import ROOT
from served import wait_for

NEEDS_INDEX = "needs a package index to install from"
GRACE = 30 + ServeConfig().queue_timeout + ServeConfig().timeout


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile, each with what follows it."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def only(name: str) -> str:
    """What follows an instruction that is there once."""
    [rest] = [rest for each, rest in instructions() if each == name]
    return rest


def parses(arguments: list[str]) -> None:
    """Whether `dsunet` takes a command line."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    assert arguments[:2] == ["dsunet", "serve"]
    command = COMMANDS["serve"]
    parser = Parser("serve", command.summary, command.examples)
    command.add_arguments(parser)
    parser.parse(arguments[2:])


def test_dockerfile() -> None:
    assert [rest for name, rest in instructions() if name == "FROM"] == [
        "python:3.12-slim AS build",
        "python:3.12-slim",
    ]
    assert int(only("USER").partition(":")[0]) > 0
    health = json.loads(only("HEALTHCHECK").partition(" CMD ")[2])
    assert "http://127.0.0.1:8000/health" in health[-1]
    compile(health[-1], "HEALTHCHECK", "exec")
    parses(json.loads(only("ENTRYPOINT")))


def test_compose() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["dsunet"]
    assert service["read_only"] is True
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= GRACE
    parses([*json.loads(only("ENTRYPOINT")), *service["command"]])


def test_kubernetes() -> None:
    deployment, service = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["terminationGracePeriodSeconds"] >= GRACE
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES}
    assert probes == PROBES
    parses([*json.loads(only("ENTRYPOINT")), *container["args"]])
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]


PROBES = {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}


def test_systemd(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "dsunet.service").read_text(encoding="utf-8")
    [start] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    parses(["dsunet", *shlex.split(start)[1:]])
    assert float(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) >= GRACE
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    there = tmp_path / "dsunet.service"  # with a program that is here
    there.write_text(unit.replace(shlex.split(start)[0], sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", there], capture_output=True, text=True, timeout=120
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze cannot run here")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """A folder in which the Dockerfile's first part has run; `opt` is what the image gets."""
    folder = Path(tempfile.mkdtemp(prefix="dsunet-image-"))
    folder.chmod(0o755)
    try:
        copy_context(folder / "src")
        for name, rest in instructions():
            if name == "RUN":
                done = subprocess.run(
                    ["sh", "-c", here(rest, folder)],
                    cwd=folder / "src",
                    capture_output=True,
                    text=True,
                    timeout=900,
                    env={**os.environ, "PYTHONPATH": ""},
                )
                if done.returncode and " install " in rest:
                    pytest.skip(f"{NEEDS_INDEX}: {done.stderr.strip().splitlines()[-1][:200]}")
                assert done.returncode == 0, done.stderr
        yield folder
    finally:
        shutil.rmtree(folder)


def here(command: str, folder: Path) -> str:
    """A command of the Dockerfile in another folder, with this Python."""
    command = command.replace("/opt/", f"{folder}/opt/")
    return re.sub(r"^python ", f"{sys.executable} ", command)


def copy_context(target: Path) -> None:
    """Copies what .dockerignore lets through."""
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        source = ROOT / name
        assert source.exists(), name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    assert not fnmatch.filter(map(str, target.rglob("*")), "*__pycache__*")


CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"


def confined() -> list[str]:
    """What runs a command as nobody, and without a root file system to write to, if it may."""
    prefix: list[str] = []
    for more in (
        ["unshare", "-m", "sh", "-c", 'mount -o remount,ro,bind / && exec "$@"', "sh"],
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"],
    ):
        try:
            tried = subprocess.run(
                [*prefix, *more, sys.executable, "-c", CHILD], capture_output=True
            )
        except OSError:
            continue
        prefix += more if tried.returncode == 0 else []
    return prefix


@pytest.mark.slow
def test_what_the_image_starts(built: Path) -> None:
    call = json.loads(only("ENTRYPOINT"))
    call[call.index("--port") + 1] = "0"
    path = f"{built}/opt/dsunet/bin:{os.environ['PATH']}"
    process = subprocess.Popen(
        [*confined(), *call],
        cwd="/",
        env={"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found is not None
        health = json.loads(only("HEALTHCHECK").partition(" CMD ")[2])
        asked = [each.replace(":8000", f":{found[1]}") for each in health]
        wait_for(lambda: subprocess.run(asked, env={"PATH": path}, timeout=60).returncode == 0)
        asked[-1] = asked[-1].replace(found[1], "1")
        assert subprocess.run(asked, env={"PATH": path}, stderr=subprocess.DEVNULL).returncode == 1
        for name in ("", "docs/reference.js", "page/page.js"):  # files of the package
            fetch(found[1], name)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(120)
        process.stdout.close()
    assert status == 0


def fetch(port: str, name: str) -> Any:
    import httpx

    return httpx.get(f"http://127.0.0.1:{port}/{name}", timeout=60).raise_for_status()
