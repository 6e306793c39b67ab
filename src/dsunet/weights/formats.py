"""Which format a weights file has, found out from its names, and its tensors by our names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dsunet.config import Role, as_size
from dsunet.errors import CheckpointError
from dsunet.network.encoders import STORED, in_trunk
from dsunet.network.fingerprint import fingerprint
from dsunet.network.layers import HAAR_TAPS
from dsunet.support.files import Stamp
from dsunet.weights.checkpoint import CARRIED, read_about
from dsunet.weights.files import unwrap
from dsunet.weights.names import (
    DSU_NET,
    EFFICIENTNET_LITE,
    HF_DINOV2,
    HF_SAM2,
    OFFICIAL_HIERA,
    SAM2_UNET,
)
from dsunet.weights.registry import recognise

__all__ = [
    "FORMATS",
    "EncoderFile",
    "ModelFile",
    "count_blocks",
    "interpret",
    "interpret_as_state",
    "with_adapter",
    "without_adapter",
]

# What the formats are called in messages and reports.
FORMATS = {
    "dsunet": "our own file",
    "dsunet-lightning": "the resume state of a training run of ours",
    "dsunet-state": "a plain state dict of ours",
    "dsu-net": "the authors' DSU-Net",
    "sam2-unet": "SAM2-UNet",
    "sam2": "official SAM 2",
    "sam2-transformers": "SAM 2 of the library transformers",
    "sam2-timm": "SAM 2's Hiera as timm has it",
    "dinov2": "official DINOv2",
    "dinov2-transformers": "DINOv2 of the library transformers",
    "vit-timm": "a ViT as timm has it",
    "efficientnet-lite": "EfficientNet-Lite of EfficientNet-PyTorch",
    "efficientnet-timm": "an EfficientNet or MobileNet as timm has it",
    "custom": "the state dict of a model of your own",
}


@dataclass(frozen=True)
class ModelFile:
    """A whole model, or what training changed of one."""

    path: Path
    format: str
    """A key of `FORMATS`."""
    tensors: dict[str, Tensor]
    """By our names."""
    ignored: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that are known and not needed, by the file's own names."""
    about: dict[str, Any] | None = None
    """What a file of ours says about itself, see `dsunet.weights.checkpoint`."""
    stamp: Stamp | None = None
    """What the file looked like before it was read, see `dsunet.weights.known`."""

    def reference(self, role: Role) -> dict[str, Any]:
        """What it says of an encoder that is not in it: `name` and `fingerprint`, or nothing."""
        return (self.about["encoders"].get(role) if self.about else None) or {}

    def encoder(self, role: Role) -> EncoderFile | None:
        """One of its encoders; `None` if the file only refers to it."""
        tensors = {
            without_adapter(name.removeprefix(f"{STORED[role]}.trunk.")): tensor
            for name, tensor in self.tensors.items()
            if in_trunk(name, [role])
        }
        if not tensors:
            return None
        grid = self._grid(tensors)
        return EncoderFile(self.path, self.format, role, tensors, grid=grid, stamp=self.stamp)

    def _grid(self, trunk: Mapping[str, Tensor]) -> tuple[int, int] | None:
        """The grid of patches that position embeddings are for, if the file says the image size."""
        size = self.about["model"].get("dino_size") if self.about else None
        patches = trunk.get("patch_embed.proj.weight")
        if size is None or patches is None:
            return None
        height, width = as_size(size if isinstance(size, int) else tuple(size))
        return height // patches.shape[-2], width // patches.shape[-1]


@dataclass(frozen=True)
class EncoderFile:
    """One encoder alone."""

    path: Path
    format: str
    """A key of `FORMATS`."""
    role: Role
    """Which of the two encoders it is."""
    tensors: dict[str, Tensor]
    """By timm's names for the trunk, without a classification head."""
    ignored: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that are known and not needed, by the file's own names."""
    version: str | None = None
    """SAM 2 release: `2.1`, `2.0`, or `None` if the file does not tell."""
    hub_name: str | None = None
    """timm's full name, if the file came from the hub under it."""
    grid: tuple[int, int] | None = None
    """Rows and columns of patches that position embeddings are for; a square by default."""
    stamp: Stamp | None = None
    """What the file looked like before it was read, see `dsunet.weights.known`."""

    @cached_property
    def fingerprint(self) -> str:
        """What identifies these weights, whatever format they come in; see `fingerprint`."""
        return fingerprint(self.tensors)

    @property
    def channels(self) -> int:
        """Width of the first block; of the last one in an EfficientNet."""
        for name in ("blocks.0.norm1.weight", "blocks.6.0.bn3.weight"):
            if name in self.tensors:
                return self.tensors[name].numel()
        return 0

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return count_blocks(self.tensors)

    def first_blocks(self, count: int | None) -> EncoderFile:
        """The same without any blocks after the first `count`; with all of them for `None`."""
        if count is None or count >= self.depth:
            return self
        kept = {
            name: tensor
            for name, tensor in self.tensors.items()
            if not (block := re.match(r"blocks\.(\d+)\.", name)) or int(block[1]) < count
        }
        return dataclasses.replace(self, tensors=kept)

    @property
    def recognised(self) -> tuple[str, str | None] | None:
        """Architecture and registry name, as far as the tensors tell; see `recognise`."""
        if self.role == "semantic" and not self._is_dinov2:
            return None
        registers = self.tensors.get("reg_token")
        count = registers.shape[1] if registers is not None and registers.ndim == 3 else 0
        return recognise(self.role, self.channels, self.depth, count, self.version)

    @property
    def _is_dinov2(self) -> bool:
        """Whether a ViT has DINOv2's layer scale and patches; others are as wide and deep."""
        patches = self.tensors.get("patch_embed.proj.weight")
        return (
            "blocks.0.ls1.gamma" in self.tensors and patches is not None and patches.shape[-1] == 14
        )

    @property
    def name(self) -> str | None:
        """Full name at timm of these weights, as far as the file or its origin tells.

        What stands in a file of ours may have been trained or resampled, so it has none.
        """
        if self.hub_name or self.format.startswith("dsunet") or not self.recognised:
            return self.hub_name
        return self.recognised[1]

    def describe(self) -> str:
        """A few words for messages, such as `sam2_hiera_large of SAM 2.1`."""
        known = self.recognised
        what = known[0] if known else f"an encoder of {self.depth} blocks, {self.channels} wide"
        return what + (f" of SAM {self.version}" if self.version else "")


_Reader = Callable[[Mapping[str, Tensor], Path], "ModelFile | EncoderFile"]


def without_adapter(name: str) -> str:
    """A trunk's own name for a tensor that lies inside an adapted block."""
    return re.sub(r"^(blocks\.\d+)\.block\.", r"\1.", name)


def with_adapter(name: str) -> str:
    """The inverse, for trunks whose blocks are all adapted."""
    return re.sub(r"^(blocks\.\d+)\.", r"\1.block.", name)


def count_blocks(tensors: Mapping[str, Tensor]) -> int:
    """The number of blocks of a trunk; in all stages, where they are counted in each."""
    in_stages = {m[0] for name in tensors if (m := re.match(r"blocks\.\d+\.\d+\.", name))}
    if in_stages:
        return len(in_stages)
    numbers = [int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def interpret(content: Any, metadata: Mapping[str, str], path: Path) -> ModelFile | EncoderFile:
    """What is in a file, as `read_file` gives it, in any known format; `path` is for messages.

    Raises:
        CheckpointError: It is of none.
    """
    if "dsunet" in metadata:
        return _read_ours(content, metadata["dsunet"], path)
    if _is_lightning(content):
        return _read_lightning(content, path)
    state = unwrap(content, path)
    reader = _reader_for(state)
    if reader is None:
        raise CheckpointError(
            f"{path} belongs to no known format: its first tensors are "
            f"{', '.join(list(state)[:3])}; known are {', '.join(FORMATS.values())}"
        )
    return reader(state, path)


def interpret_as_state(content: Any, metadata: Mapping[str, str], path: Path) -> ModelFile:
    """A file of ours, or the state dict of a whole model of unknown kind, whatever its names.

    Raises:
        CheckpointError: There is none.
    """
    if "dsunet" in metadata:
        return _read_ours(content, metadata["dsunet"], path)
    if _is_lightning(content) and "dsunet" in content:
        return _read_lightning(content, path)
    return ModelFile(path, "custom", unwrap(content, path))


def _is_lightning(content: Any) -> bool:
    return isinstance(content, Mapping) and "pytorch-lightning_version" in content


def _reader_for(state: Mapping[str, Tensor]) -> _Reader | None:
    if any(name.startswith(("backbone_dino.", "backbone_sam.")) for name in state):
        return _read_dsu_net
    if "encoder.blocks.0.prompt_learn.0.weight" in state:
        return _read_sam2_unet
    if any(name.startswith("hiera.trunk.") for name in state):
        return lambda state, path: ModelFile(path, "dsunet-state", dict(state))
    if any("image_encoder.trunk." in name for name in state):
        return _read_sam2
    if any("vision_encoder.backbone." in name for name in state):
        return _read_hf_sam2
    if any(name.endswith("pos_embed_window") for name in state):
        return _read_bare_trunk
    if any(name.endswith("embeddings.patch_embeddings.projection.weight") for name in state):
        return _read_hf_dinov2
    if "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state:
        return _read_efficientnet_lite
    if "conv_stem.weight" in state and "blocks.0.0.conv_dw.weight" in state:
        return lambda state, path: _without_head(state, path, "efficientnet-timm")
    if "blocks.0.attn.qkv.weight" in state and "patch_embed.proj.weight" in state:
        return _read_vit
    return None


# -- whole models


def _read_ours(content: Mapping[str, Tensor], about: str, path: Path) -> ModelFile:
    carried = {n: t for n, t in content.items() if n.startswith(CARRIED)}
    tensors = {n: t for n, t in content.items() if n not in carried}
    ignored = {name.removeprefix(CARRIED): tensor for name, tensor in carried.items()}
    return ModelFile(path, "dsunet", tensors, ignored, read_about(about, path))


def _read_lightning(content: Mapping[str, Any], path: Path) -> ModelFile:
    state = unwrap(content.get("state_dict"), path)
    about = content.get("dsunet")
    if not isinstance(about, str):
        raise CheckpointError(
            f"{path} is a Lightning checkpoint, but none of a dsunet training run; save the "
            "network's state dict alone, or take the run's last.safetensors"
        )
    return ModelFile(
        path,
        "dsunet-lightning",
        {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")},
        about=read_about(about, path),
    )


def _read_dsu_net(state: Mapping[str, Tensor], path: Path) -> ModelFile:
    tensors, ignored = {}, {}
    for name, tensor in state.items():
        if name.endswith((".wt_filter", ".iwt_filter")):
            _check_taps(name, tensor)
            ignored[name] = tensor
        elif name.endswith(".mask_token"):
            ignored[name] = tensor
        else:
            tensors[DSU_NET.ours(name) or name] = tensor
    return ModelFile(path, "dsu-net", tensors, ignored)


def _check_taps(name: str, tensor: Tensor) -> None:
    expected = torch.tensor(HAAR_TAPS).unsqueeze(1).repeat(tensor.shape[0] // 4, 1, 1, 1)
    if tensor.shape != expected.shape or not torch.allclose(tensor.float(), expected, atol=1e-6):
        raise CheckpointError(f"the wavelet taps {name} are not Haar's, which dsunet computes with")


def _read_sam2_unet(state: Mapping[str, Tensor], path: Path) -> ModelFile:
    tensors = {SAM2_UNET.ours(name) or name: tensor for name, tensor in state.items()}
    return ModelFile(path, "sam2-unet", tensors)


# -- encoders


def _version(state: Mapping[str, Tensor]) -> Literal["2.0", "2.1"] | None:
    """SAM 2's trunks are alike; 2.1 has parts outside of it that 2.0 lacks."""
    names = {name.rsplit(".", 1)[-1] for name in state} | set(state)
    if {"no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"} & names:
        return "2.1"
    memory = {"maskmem_tpos_enc", "memory_temporal_positional_encoding"}
    return "2.0" if memory & names else None


def _split(state: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors behind a prefix, without it, and all others.

    Raises:
        ValueError: There are several such parts, of an average of the weights, say.
    """
    starts = sorted({name.split(prefix, 1)[0] for name in state if prefix in name})
    if len(starts) > 1:
        raise ValueError(f"it holds several encoders, at {starts[0]!r} and {starts[1]!r}")
    inside = {n.split(prefix, 1)[1]: t for n, t in state.items() if prefix in n}
    return inside, {name: tensor for name, tensor in state.items() if prefix not in name}


def _read_sam2(state: Mapping[str, Tensor], path: Path) -> EncoderFile:
    trunk, others = _split(state, "image_encoder.trunk.")
    tensors = {OFFICIAL_HIERA.ours(n) or n: t for n, t in trunk.items()}
    return EncoderFile(path, "sam2", "pyramid", tensors, others, _version(others))


def _read_hf_sam2(state: Mapping[str, Tensor], path: Path) -> EncoderFile:
    trunk, others = _split(state, "vision_encoder.backbone.")
    tensors = {HF_SAM2.ours(n) or n: t for n, t in trunk.items()}
    return EncoderFile(path, "sam2-transformers", "pyramid", tensors, others, _version(others))


def _read_bare_trunk(state: Mapping[str, Tensor], path: Path) -> EncoderFile:
    start = next(n for n in state if n.endswith("pos_embed_window")).removesuffix(
        "pos_embed_window"
    )
    trunk = {name.removeprefix(start): t for name, t in state.items() if name.startswith(start)}
    official = any(".mlp.layers." in name for name in trunk)
    head = {name: t for name, t in trunk.items() if name.startswith("head.")}
    others = {name: t for name, t in state.items() if not name.startswith(start)}
    tensors = {OFFICIAL_HIERA.ours(n) or n: t for n, t in trunk.items() if n not in head}
    kind = "sam2" if official else "sam2-timm"
    return EncoderFile(path, kind, "pyramid", tensors, {**others, **head})


def _read_hf_dinov2(state: Mapping[str, Tensor], path: Path) -> EncoderFile:
    marker = "embeddings.patch_embeddings.projection.weight"
    start = next(n for n in state if n.endswith(marker)).removesuffix(marker)
    inner = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
    others = {n: t for n, t in state.items() if not n.startswith(start)}
    joined: dict[str, Tensor] = {}
    for name, tensor in inner.items():
        match = re.fullmatch(
            r"(encoder\.layer\.\d+\.attention)\.(?:attention\.query|q_proj)\.(weight|bias)", name
        )
        if match:
            old = "attention.query" in name
            parts = ("attention.query", "attention.key", "attention.value")
            names = [
                f"{match[1]}.{p}.{match[2]}"
                for p in (parts if old else ("q_proj", "k_proj", "v_proj"))
            ]
            absent = [n for n in names if n not in inner]
            if absent:
                raise CheckpointError(f"{path} is incomplete: {absent[0]} is missing")
            joined[f"{match[1]}.qkv.{match[2]}"] = torch.cat([inner[n] for n in names])
        elif not re.search(r"attention\.(attention\.(key|value)|[kv]_proj)\.", name):
            joined[name] = tensor
    flat = {HF_DINOV2.ours(name) or name: tensor for name, tensor in joined.items()}
    file = _read_vit(flat, path)
    return EncoderFile(
        path, "dinov2-transformers", "semantic", file.tensors, {**others, **file.ignored}
    )


def _read_vit(state: Mapping[str, Tensor], path: Path) -> EncoderFile:
    """Official DINOv2 or timm's; they differ in the mask token and in the registers."""
    known = ("head.", "fc_norm.")
    ignored = {n: t for n, t in state.items() if n == "mask_token" or n.startswith(known)}
    tensors = {name: tensor for name, tensor in state.items() if name not in ignored}
    official = "mask_token" in ignored or "register_tokens" in tensors
    if "register_tokens" in tensors:
        # timm has no position for the class token beside registers: it is added to the token
        tensors["reg_token"] = tensors.pop("register_tokens")
        positions = tensors["pos_embed"]
        tensors["cls_token"] = tensors["cls_token"] + positions[:, :1]
        tensors["pos_embed"] = positions[:, 1:]
    kind = "dinov2" if official else "vit-timm"
    return EncoderFile(path, kind, "semantic", tensors, ignored)


def _read_efficientnet_lite(state: Mapping[str, Tensor], path: Path) -> EncoderFile:
    blocks = {name.split(".")[1] for name in state if name.startswith("_blocks.")}
    rules = EFFICIENTNET_LITE.get(len(blocks))
    if rules is None:
        raise ValueError(f"it has {len(blocks)} blocks, which no EfficientNet-Lite has")
    theirs = {rules.ours(name) or name: name for name in state}
    file = _without_head({ours: state[name] for ours, name in theirs.items()}, path)
    ignored = {theirs[name]: tensor for name, tensor in file.ignored.items()}
    return dataclasses.replace(file, ignored=ignored)


def _without_head(
    state: Mapping[str, Tensor], path: Path, kind: str = "efficientnet-lite"
) -> EncoderFile:
    """An EfficientNet by timm's names, what comes after the last block left out."""
    head = ("conv_head.", "bn2.", "norm_head.", "classifier.")
    ignored = {name: tensor for name, tensor in state.items() if name.startswith(head)}
    tensors = {name: tensor for name, tensor in state.items() if name not in ignored}
    return EncoderFile(path, kind, "pyramid", tensors, ignored)
