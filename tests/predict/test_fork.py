"""Processes that are forked after a segmenter has computed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from dsunet.errors import DeviceError
from dsunet.running.place import choose_device, require_unforked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PATIENCE = 60  # seconds after which a process is taken to hang

# Two threads are needed for the child to wait for one that is not there.
FORKED = """
import multiprocessing, sys, threading
import numpy as np, torch
import dsunet

image = np.zeros((40, 60, 3), np.uint8)

def child(segmenter, queue):
    segmenter(image)
    thread = threading.Thread(target=segmenter, args=(image,))
    thread.start()
    thread.join()
    queue.put((torch.get_num_threads(), segmenter(image).probability.tobytes()))

torch.set_num_threads(2)
settings = dict.fromkeys(sys.argv[1:], True)
segmenter = dsunet.Segmenter(device="cpu", **settings)
expected = segmenter(image).probability
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(segmenter, queue), daemon=True)
process.start()
threads, found = queue.get(timeout=30)
found = np.frombuffer(found, np.float32).reshape(expected.shape)
print(threads, torch.get_num_threads(), np.abs(found - expected).max() < 1e-4)
"""

# What `gunicorn --preload` imports before it forks.
APPLICATION = """
import json, os
import numpy as np, torch
import dsunet

torch.set_num_threads(2)
image = np.zeros((40, 60, 3), np.uint8)
segmenter = dsunet.Segmenter(device="cpu")
segmenter(image)
first = os.getpid()

def application(environ, start_response):
    shape = segmenter(image).probability.shape
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"shape": shape, "forked": os.getpid() != first}).encode()]
"""


@pytest.mark.parametrize(
    "settings",
    [[], ["int8"], ["compile"]],
)
@pytest.mark.slow
def test_a_forked_process_computes_with_one_thread(settings: list[str]) -> None:
    """And the one that it is forked from keeps its own."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, *settings],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        env=_with_threads(),
    )
    assert done.stdout.split() == ["1", "2", "True"], done.stderr


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.slow
def test_a_forked_process_opens_the_file_again(engine: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    code = FORKED.replace('device="cpu", **settings', f"engine={engine!r}")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=_with_threads(),
    )
    assert done.stdout.split()[-1:] == ["True"], done.stderr


def test_importing_registers_nothing() -> None:
    code = (
        "import dsunet, sys; from dsunet.support import processes; "
        "assert not processes._hooked and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_a_gpu_in_a_forked_process_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    require_unforked(torch.device("cpu"))
    for name in ("auto", "cuda", "cuda:0"):
        with pytest.raises(DeviceError, match="forked from one that has used the GPU"):
            choose_device(name)
    assert choose_device("cpu").type == "cpu"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="needs gunicorn")
def test_gunicorn_with_preload_answers(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APPLICATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"]
    command += ["--bind", f"127.0.0.1:{port}", "service:application"]
    with (
        open(tmp_path / "log.txt", "w") as log,
        subprocess.Popen(command, cwd=tmp_path, stderr=log, env=_with_threads()) as process,
    ):
        try:
            _wait_for(port, process)
            for _ in range(4):
                address = f"http://127.0.0.1:{port}/"
                with urllib.request.urlopen(address, timeout=PATIENCE / 4) as answer:
                    assert json.load(answer) == {"shape": [40, 60], "forked": True}
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()  # nothing if it has ended


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("gunicorn does not listen")


def _with_threads() -> dict[str, str]:
    """The environment without what keeps torch to one thread."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
