"""Exported files of several classes say what their network says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.config import CustomConfig
from dsunet.export import export_model
from dsunet.network.base import SegmentationModel
from dsunet.network.decoder import SegmentationLogits

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")


class Kinds(SegmentationModel):
    """One convolution, for two classes."""

    def __init__(self, *, exclusive: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = CustomConfig("tests:Kinds", 128)
        self.training_facts = {}
        self.told = exclusive
        self.layer = nn.Conv2d(3, 2, 3, padding=1)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("red", "blue")

    @property
    def exclusive(self) -> bool:
        return self.told

    def forward(
        self,
        sam_image: torch.Tensor,
        dino_image: torch.Tensor | None = None,
        *,
        outputs: Literal["all", "fine"] = "all",
    ) -> SegmentationLogits:
        return SegmentationLogits(None, None, 3 * self.layer(sam_image))


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_file_has_the_classes_of_its_network(exclusive: bool, tmp_path: Path) -> None:
    network = Kinds(exclusive=exclusive)
    lines: list[str] = []
    data = tmp_path / "data"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(pixels).save(data / "images" / "a.png")
    Image.new("L", (80, 64)).save(data / "masks" / "a.png")
    made = export_model(network, tmp_path / "kinds.onnx", pictures=data, on_line=lines.append)
    assert any("S is for models of one map" in line for line in lines)
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    first = dsunet.Segmenter(network, "cpu", "float32")(pixels)
    file = dsunet.Segmenter(made.path, "cpu")
    assert file.classes == ("red", "blue")
    assert file.exclusive is exclusive
    second = file(pixels)
    np.testing.assert_allclose(first.probability, second.probability, atol=5e-5)
    assert np.mean(first.labels == second.labels) > 0.999
    assert len(np.unique(first.labels)) == 3
