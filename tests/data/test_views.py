"""What networks see of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD
from dsunet.data import PairDataset, find_pairs, image_view, make_views, mask_view
from dsunet.data.pairs import read_pair
from dsunet.data.synthetic import synthetic_pair


class TestViews:
    def test_normalisation_by_hand(self) -> None:
        view = image_view(Image.new("RGB", (10, 10), (255, 0, 51)), (4, 6))
        assert view.shape == (3, 4, 6)
        for channel, value in enumerate((1.0, 0.0, 0.2)):
            expected = (value - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            torch.testing.assert_close(view[channel], torch.full((4, 6), expected))

    def test_shrinking_averages(self) -> None:
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 255
        view = image_view(Image.fromarray(stripes), (8, 8))
        grey = (0.5 - IMAGENET_MEAN[0]) / IMAGENET_STD[0]
        np.testing.assert_allclose(view[0].numpy(), grey, atol=0.1)  # not black or white: ±2

    def test_both_views_come_from_the_original(self) -> None:
        image, _ = synthetic_pair(0, 100)
        views = make_views(image, (64, 96), (28, 42))
        assert views.size == (100, 100)
        assert torch.equal(views.sam, image_view(image, (64, 96)))
        assert torch.equal(views.dino, image_view(image, (28, 42)))
        assert make_views(image, (64, 64), None).dino is None

    def test_masks_get_soft_edges(self) -> None:
        mask = np.zeros((50, 50), np.uint8)
        mask[10:30, 10:30] = 255
        view = mask_view(Image.fromarray(mask), (32, 32))
        assert view.shape == (1, 32, 32)
        assert view.min() == 0
        assert view.max() == 1
        assert ((view > 0) & (view < 1)).any()

    def test_resizing_is_pillows(self) -> None:
        image, mask = synthetic_pair(1, 90)
        expected = np.asarray(image.resize((40, 32), Image.Resampling.BILINEAR)) / np.float32(255)
        view = image_view(image, (32, 40))
        back = view * torch.tensor(IMAGENET_STD).view(3, 1, 1)
        back = back + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        np.testing.assert_allclose(back.permute(1, 2, 0).numpy(), expected, atol=1e-6)
        expected = np.asarray(mask.resize((40, 32), Image.Resampling.BICUBIC)) / np.float32(255)
        np.testing.assert_allclose(mask_view(mask, (32, 40))[0].numpy(), expected, atol=1e-7)


def test_drafts_have_the_views_pixels(tmp_path: Path) -> None:
    """2,000×1,200 px, views of 128: a quarter is 500×300; an eighth, 250×150, is enough, too."""
    image, mask = synthetic_pair(0, 64)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    image.resize((2000, 1200)).save(tmp_path / "images" / "a.jpg", quality=95)
    mask.resize((2000, 1200)).save(tmp_path / "masks" / "a.png")
    (pair,) = find_pairs(tmp_path)
    assert read_pair(pair).image.size == (2000, 1200)
    assert read_pair(pair, 150).image.size == (250, 150)
    assert read_pair(pair, 151).image.size == (500, 300)
    assert read_pair(pair, 151).mask.size == (2000, 1200)
    plain, draft = (
        PairDataset([pair], (128, 96), (112, 140), draft=d)[0, 0] for d in (False, True)
    )
    assert plain.dino is not None
    assert draft.dino is not None
    assert not torch.equal(plain.sam, draft.sam)
    assert float((plain.sam - draft.sam).abs().mean()) < 0.05
    assert float((plain.dino - draft.dino).abs().mean()) < 0.05
    assert torch.equal(plain.mask, draft.mask)
    cropped = [PairDataset([pair], (128, 96), None, crop=1, draft=d)[0, 0] for d in (False, True)]
    assert torch.equal(cropped[0].sam, cropped[1].sam)
