"""Views and maps without torch, beside those of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD
from dsunet.data.pixel_views import image_array
from dsunet.running.inference import probabilities_of
from dsunet.running.maps import map_of_logits

SIDES = st.integers(1, 70)


@pytest.mark.parametrize("size", [(16, 16), (33, 57), (352, 352)])
def test_a_view_is_torchs_bit_for_bit(size: tuple[int, int]) -> None:
    """Every grey level, in every channel, through torch's own arithmetic."""
    levels = np.random.default_rng(0).permuted(np.tile(np.arange(256, dtype=np.uint8), 3))
    image = Image.fromarray(levels.reshape(16, 16, 3))
    height, width = size
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    values = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    expected = ((values - mean) / std).numpy()
    found = image_array(image, size)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 100))
def test_a_map_is_torchs_but_for_the_last_digits(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 8, (height, width)).astype(np.float32)
    [expected] = probabilities_of(torch.from_numpy(logits)[None, None], [(rows, columns)])
    found = map_of_logits(logits, (rows, columns))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_strips_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (24, 20)).astype(np.float32)
    whole = map_of_logits(logits, (301, 200))
    monkeypatch.setattr("dsunet.running.maps.VALUES", 1000)
    np.testing.assert_array_equal(map_of_logits(logits, (301, 200)), whole)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[-1e4, 1e4], [-90, 90]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        found = map_of_logits(logits, (2, 2))
    np.testing.assert_allclose(found, [[0, 1], [0, 1]], atol=1e-30)
