"""Position embeddings at other sizes than those of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dsunet
from dsunet.weights import resample_positions
from helpers import nano
from weightfiles import dinov2_file


def cubic(t: float) -> list[float]:
    """Weights of the four neighbours at distance t from the second (Keys' kernel, a = -0.75)."""
    a = -0.75
    return [
        a * (t**3 - 2 * t**2 + t),
        (a + 2) * t**3 - (a + 3) * t**2 + 1,
        -(a + 2) * t**3 + (2 * a + 3) * t**2 - a * t,
        a * (t**2 - t**3),
    ]


def sampled(values: list[float], at: float) -> float:
    """A row of values at a position between them; beyond the ends the end values go on."""
    first = int(np.floor(at))
    inside = [min(max(first + k, 0), len(values) - 1) for k in (-1, 0, 1, 2)]
    return float(np.dot(cubic(at - first), [values[i] for i in inside]))


def test_official_positions_by_hand() -> None:
    """From 4 patches a side to 2: the scale is 0.525, so samples lie at (i + 0.5) / 0.525 - 0.5."""
    row = [1.0, 2.0, 4.0, 8.0]
    column = [0.0, 1.0, 0.0, 3.0]
    at = [0.5 / 0.525 - 0.5, 1.5 / 0.525 - 0.5]
    assert at == pytest.approx([0.452381, 2.357143], abs=1e-6)
    # the first sample by hand: its neighbours are 1 (twice, at the edge), 2 and 4
    assert cubic(0.452381) == pytest.approx([-0.101747, 0.655264, 0.530535, -0.084053], abs=2e-6)
    assert sampled(row, at[0]) == pytest.approx(1.278375, abs=1e-5)
    plane = torch.tensor(column).view(4, 1) + torch.tensor(row).view(1, 4)
    positions = torch.cat([torch.tensor([[[7.0]]]), plane.reshape(1, 16, 1)], 1)
    expected = [sampled(column, y) + sampled(row, x) for y in at for x in at]
    actual = resample_positions(positions, (2, 2))
    assert actual[0, 0, 0] == 7  # the class token's stays
    torch.testing.assert_close(actual[0, 1:, 0], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    # to another height and width, and upwards
    at_rows = [(i + 0.5) / (3.1 / 4) - 0.5 for i in range(3)]
    at_columns = [(i + 0.5) / (6.1 / 4) - 0.5 for i in range(6)]
    expected = [sampled(column, y) + sampled(row, x) for y in at_rows for x in at_columns]
    actual = resample_positions(positions, (3, 6))[0, 1:, 0]
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_other_ways_to_resample() -> None:
    positions = torch.randn(1, 1 + 64, 3)
    assert resample_positions(positions, (8, 8)) is positions
    ways = [
        resample_positions(positions, (5, 6)),
        resample_positions(positions, (5, 6), method="timm"),
        resample_positions(positions, (5, 6), registers=True),
    ]
    assert all(way.shape == (1, 31, 3) for way in ways)
    assert not torch.allclose(ways[0], ways[1], atol=1e-3)
    # with registers the official way is timm's: antialias and no offset
    torch.testing.assert_close(ways[2], ways[1])
    # upwards there is nothing to average, so without offset all of them sample alike
    doubled = resample_positions(positions, (16, 16), method="timm")
    maps = positions[:, 1:].reshape(1, 8, 8, 3).permute(0, 3, 1, 2)
    plain = nn.functional.interpolate(maps, size=(16, 16), mode="bicubic", antialias=True)
    torch.testing.assert_close(doubled[:, 1:], plain.permute(0, 2, 3, 1).flatten(1, 2))
    wide = resample_positions(torch.randn(1, 1 + 12, 3), (4, 4), source=(2, 6))
    assert wide.shape == (1, 17, 3)


@pytest.mark.parametrize("registers", [False, True])
def test_positions_are_resampled_once_at_loading(registers: bool, tmp_path: Path) -> None:
    file = dinov2_file(tmp_path / "d.pth", registers=registers)
    raw = torch.load(file, weights_only=True)["pos_embed"]
    name = f"vit_small_patch14_{'reg4_' if registers else ''}dinov2"
    models = {
        way: dsunet.create_model(
            "dsunet-tiny",
            None,
            semantic=name,
            semantic_weights=file,
            dino_size=(112, 154),
            sam_size=128,
            interpolate=way,
        )
        for way in ("official", "timm")
    }
    for way, model in models.items():
        kept = model.semantic.trunk.pos_embed
        start = raw[:, 1:] if registers else raw
        expected = resample_positions(
            start, (8, 11), prefix=0 if registers else 1, method=way, registers=registers
        )
        assert torch.equal(kept, expected)
    # the fingerprint is of what the file holds, not of what became of it
    assert models["official"].semantic.source == models["timm"].semantic.source


@pytest.mark.parametrize("size", [(98, 98), (154, 112)], ids=["another", "equal-count"])
def test_our_own_files_at_another_size(size: tuple[int, int], tmp_path: Path) -> None:
    """Grids are compared, not counts: 8 by 11 patches are as many as 11 by 8."""
    model = nano(dino_size=(112, 154))
    dsunet.save(model, tmp_path / "a.safetensors")
    other = nano(dino_size=size)
    report = dsunet.load_weights(other, tmp_path / "a.safetensors")
    assert report.resampled == ("dinov2.trunk.pos_embed",)
    grid = (size[0] // 14, size[1] // 14)
    expected = resample_positions(model.semantic.trunk.pos_embed, grid, source=(8, 11))
    assert torch.equal(other.semantic.trunk.pos_embed, expected)
