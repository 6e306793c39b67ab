"""Settings for all tests: one thread, no network, quiet third parties."""

from __future__ import annotations

import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DSUNET_CACHE"] = tempfile.mkdtemp(prefix="dsunet-tests-")

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["DSUNET_CACHE"], ignore_errors=True)
