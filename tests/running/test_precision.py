"""Which number type `auto` is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.errors import DeviceError
from dsunet.running import place
from dsunet.running.place import choose_precision, computes_bfloat16

CPU = torch.device("cpu")
OLD = "flags : fpu sse2 avx avx2 avx512f avx512_vnni"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Neither the tests' own number type, nor what was found out before."""
    monkeypatch.delenv("DSUNET_PRECISION")
    computes_bfloat16.cache_clear()
    yield
    computes_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx512_f": True, "avx512_vnni": True}, torch.float32),
        ({"avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_by_what_the_cpu_reports(
    reported: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: reported, raising=False)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("float32", CPU) == torch.float32


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(OLD, False), (f"{OLD} avx512_bf16", True), (f"{OLD} amx_bf16 amx_tile", True)],
)
def test_by_the_systems_list_where_torch_does_not_tell(
    flags: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", None, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: flags)
    assert computes_bfloat16() is expected


def test_not_where_torch_lacks_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_precision("auto", CPU) == torch.float32


def test_by_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "computes_bfloat16", lambda: True)
    monkeypatch.setenv("DSUNET_PRECISION", "float32")
    assert choose_precision("auto", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16  # what is asked for comes first
    monkeypatch.setenv("DSUNET_PRECISION", "half")
    with pytest.raises(DeviceError, match="DSUNET_PRECISION is 'half', but needs one of auto"):
        choose_precision("auto", CPU)


@pytest.mark.slow
def test_a_segmenter_is_near_to_itself_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is computed, or emulated, on every CPU."""
    monkeypatch.setattr(place, "computes_bfloat16", lambda: True)
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    ).resize((128, 96))
    quick, exact = dsunet.Segmenter(device="cpu"), dsunet.Segmenter("dsunet-lite", "cpu", "float32")
    assert quick.dtype == torch.bfloat16
    assert quick.recipe.build().dtype == torch.bfloat16
    maps = [each(picture).probability for each in (quick, exact)]
    assert maps[0].dtype == np.float32
    assert 0 < np.abs(maps[0] - maps[1]).mean() < 0.02
    assert dsunet.Segmenter(device="cpu", int8=True).dtype == torch.float32
