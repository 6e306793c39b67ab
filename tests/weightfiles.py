"""Made-up weights files under the names and shapes of the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import dsunet
from dsunet.cli import main
from dsunet.config import model_config
from dsunet.network.build import build_model
from dsunet.network.encoders import build_hiera, build_vit
from dsunet.network.layers import HAAR_TAPS
from dsunet.weights.names import DSU_NET, SAM2_UNET
from dsunet.weights.registry import PublicWeights
from helpers import GOLDEN

# Names and shapes in the official classes (packages sam2 1.1.0, dinov2 0.0.1.dev2) and in those of
# transformers 5.23.0, by the name of the file.
OFFICIAL: dict[str, dict[str, list[int]]] = json.loads((GOLDEN / "official_keys.json").read_text())


def made_up(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Small random values, whole numbers for counters; every tensor has its own.

    The tensors are made once: put others into the dictionary instead of changing them.
    """
    return dict(_values(tuple((name, tuple(shape)) for name, shape in shapes.items()), seed))


@lru_cache(maxsize=4)
def _values(shapes: tuple[tuple[str, tuple[int, ...]], ...], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith("num_batches_tracked")
        else torch.rand(shape, generator=generator) * 0.1 + 0.01
        for name, shape in shapes
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


def published_state(seed: int = 0, name: str = "dsunet-tiny") -> dict[str, Tensor]:
    """The authors' flat state dict of a smaller DSU-Net, or SAM2-UNet, than they published."""
    shapes = published_shapes(name)
    state = made_up(shapes, seed)
    if name.startswith("sam2unet"):
        return state
    channels = shapes["backbone_dino.dino_encoder.norm.weight"][0]
    taps = torch.tensor(HAAR_TAPS).unsqueeze(1).repeat(channels, 1, 1, 1)
    state["dino2sam_down14.depthwise.wt_filter"] = taps
    state["dino2sam_down14.depthwise.iwt_filter"] = taps.clone()
    state["backbone_dino.dino_encoder.mask_token"] = torch.rand(1, channels)
    return state


@cache
def published_shapes(name: str) -> dict[str, list[int]]:
    """Shapes by the authors' names, without what their classes never use."""
    with torch.device("meta"):
        model = build_model(model_config(name))
    rules = SAM2_UNET if name.startswith("sam2unet") else DSU_NET
    return {rules.theirs(n): list(t.shape) for n, t in model.state_dict().items()}


def empty_trunk(entry: PublicWeights) -> nn.Module:
    """The encoder that an entry of the registry is for, without memory."""
    with torch.device("meta"):
        if entry.role == "pyramid":
            return build_hiera(entry.architecture)
        return build_vit(entry.architecture, (518, 518))


def hub_file(tmp_path: Path, name: str, state: dict[str, Tensor]) -> Path:
    """A file in the Hugging Face cache, as a download leaves it."""
    repository = tmp_path / "hub" / f"models--timm--{name}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    return snapshot / "model.safetensors"


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """What a command of ours comes to: its status, output and errors."""
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def logits(model: dsunet.DSUNet) -> Tensor:
    """What a model says to an input that is always the same."""
    torch.manual_seed(9)
    return model.eval()(torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)).fine
