"""Made-up weights files under the names and shapes of the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsunet.config import model_config
from dsunet.network.build import build_model
from dsunet.network.layers import HAAR_TAPS
from dsunet.weights.names import DSU_NET, SAM2_UNET
from helpers import GOLDEN

# Names and shapes in the official classes (packages sam2 1.1.0, dinov2 0.0.1.dev2) and in those of
# transformers 5.23.0, by the name of the file.
OFFICIAL: dict[str, dict[str, list[int]]] = json.loads((GOLDEN / "official_keys.json").read_text())


def made_up(shapes: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Small random values, whole numbers for counters; every tensor has its own."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith("num_batches_tracked")
        else torch.rand(tuple(shape), generator=generator) * 0.1 + 0.01
        for name, shape in shapes.items()
    }


def sam2_file(path: Path, size: str = "tiny", release: str = "2.1", seed: int = 0) -> Path:
    """An official SAM 2 file."""
    shapes = OFFICIAL[f"sam2.1_hiera_{size}"]
    if release == "2.0":
        only_21 = {"no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias"}
        shapes = {name: shape for name, shape in shapes.items() if name not in only_21}
    torch.save({"model": made_up(shapes, seed)}, path)
    return path


def with_registers(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """An official DINOv2 model with registers has one tensor more."""
    return {**shapes, "register_tokens": [1, 4, shapes["cls_token"][-1]]}


def dinov2_file(path: Path, size: str = "s", *, registers: bool = False, seed: int = 0) -> Path:
    """An official DINOv2 file."""
    shapes = OFFICIAL[f"dinov2_vit{size}14"]
    torch.save(made_up(with_registers(shapes) if registers else shapes, seed), path)
    return path


def published_state(
    seed: int = 0, name: str = "dsunet-tiny", **overrides: Any
) -> dict[str, Tensor]:
    """The authors' flat state dict of a smaller DSU-Net, or SAM2-UNet, than they published."""
    with torch.device("meta"):
        model = build_model(model_config(name))
    rules = SAM2_UNET if name.startswith("sam2unet") else DSU_NET
    shapes = {rules.theirs(n): list(t.shape) for n, t in model.state_dict().items()}
    state = made_up(shapes, seed)
    if rules is SAM2_UNET:
        return state
    channels = model.semantic.channels[0]
    taps = torch.tensor(HAAR_TAPS).unsqueeze(1).repeat(channels, 1, 1, 1)
    state["dino2sam_down14.depthwise.wt_filter"] = taps
    state["dino2sam_down14.depthwise.iwt_filter"] = taps.clone()
    state["backbone_dino.dino_encoder.mask_token"] = torch.rand(1, channels)
    return state
