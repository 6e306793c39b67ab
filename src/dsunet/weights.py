"""Weights from elsewhere: public encoder weights, and files in the formats found in the wild."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from dsunet.checkpoint import find_weights, is_checkpoint, load_state, read_checkpoint
from dsunet.encoders import Encoder
from dsunet.errors import CheckpointError, WeightsError
from dsunet.layers import HAAR_TAPS

__all__ = [
    "LoadReport",
    "find_pretrained",
    "is_public",
    "load_pretrained",
    "load_weights",
    "rename_published",
]


@dataclass(frozen=True)
class LoadReport:
    """What became of a weights file's tensors, by our names."""

    format: str
    """`dsunet` (our own) or `published` (the authors' checkpoint)."""
    loaded: tuple[str, ...]
    """Tensors that were filled."""
    missing: tuple[str, ...]
    """Tensors of the model that the file should have held."""
    unexpected: tuple[str, ...]
    """Tensors of the file that the model has no place for."""
    ignored: tuple[str, ...]
    """Tensors of the file that are known and not needed."""
    frozen: tuple[str, ...]
    """Of the loaded ones, those that training leaves as they are."""


def find_pretrained(name: str, sam_version: str = "2.1") -> str:
    """The full timm name, with tag, of the public weights for an encoder.

    Raises:
        WeightsError: timm knows no public weights for it.
    """
    tags = timm.list_models(f"{name}.*" if "." not in name else name, pretrained=True)
    if name.startswith("sam2_hiera") and "." not in name:
        tags = [tag for tag in tags if tag.endswith("_2pt1") == (sam_version == "2.1")]
    if not tags:
        raise WeightsError(f"there are no public weights for {name!r}; use weights=None for random")
    return tags[0]


def is_public(tag: str) -> bool:
    """Whether timm itself lists public weights of this full name; it reads other places, too."""
    return tag in timm.list_models("*", pretrained=True)


def load_pretrained(encoder: Encoder, tag: str) -> None:
    """Fills a trunk with public weights through timm and the Hugging Face cache.

    Raises:
        WeightsError: They are not in the cache and cannot be fetched.
    """
    try:
        source = timm.create_model(tag, pretrained=True, num_classes=0)
    except Exception as error:  # timm and the hub raise many kinds, all meaning: not to be had
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"the public weights {tag!r} could not be fetched from the Hugging Face Hub "
            f"(repository timm/{tag}; {reason}); connect to the network once, copy a cache that "
            "holds them to HF_HOME, or train from random weights with --weights none"
        ) from error
    state = source.state_dict()
    position = "pos_embed"
    own = dict(_trunk_state(encoder))
    if position in own and own[position].shape != state[position].shape:
        vit = cast(Any, encoder.trunk)
        state[position] = resample_abs_pos_embed(
            state[position],
            new_size=vit.patch_embed.grid_size,
            num_prefix_tokens=vit.num_prefix_tokens,
        )
    for name, tensor in own.items():
        if name not in state or state[name].shape != tensor.shape:
            raise WeightsError(f"public weights {tag!r} do not fit: {name} is missing or differs")
        tensor.data.copy_(state[name])
    encoder.source = f"timm/{tag}"


def _trunk_state(encoder: Encoder) -> list[tuple[str, Tensor]]:
    """The trunk's tensors by timm's names, adapters left out."""
    return [
        (name.replace(".block.", "."), tensor)
        for name, tensor in encoder.trunk.state_dict().items()
        if ".adapter." not in name
    ]


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = True) -> LoadReport:
    """Fills a model from a file in any known format, found out from its contents.

    Known are our own `.safetensors` and the authors' flat state dict (`DGSUNet-50.pth`).

    Args:
        model: A `DSUNet` of the architecture that the file was made for.
        path: The file, or the folder of a training run.
        strict: Raise if anything is missing or left over.

    Raises:
        CheckpointError: The file is unreadable, of an unknown format, or does not fit.
    """
    path = find_weights(path)
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}; give the path of an existing one")
    ignored: tuple[str, ...] = ()
    if is_checkpoint(path):
        _, state = read_checkpoint(path)
        kind = "dsunet"
    else:
        state, ignored = rename_published(_read_pickle(path))
        kind = "published"
    loaded, missing, unexpected = load_state(model, state, path, strict=strict)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    parameters = {name for name, _ in model.named_parameters()}
    frozen = tuple(name for name in loaded if name in parameters - trainable)
    return LoadReport(kind, loaded, missing, unexpected, ignored, frozen)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: truncated, foreign or refused pickles
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{path} is no weights file that can be read safely ({reason}); "
            "expected a .safetensors file of dsunet or a plain state dict"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path} holds no flat state dict; expected names with tensors, as in DGSUNet-50.pth"
        )
    return content


# The authors' names → ours. Order matters: the first pattern that matches wins.
_PUBLISHED: tuple[tuple[str, str], ...] = (
    (r"backbone_dino\.dino_encoder\.(.*)", r"dinov2.trunk.\1"),
    (
        r"backbone_sam\.sam_encoder\.(blocks\.\d+)\.prompt_learn\.0\.(.*)",
        r"hiera.trunk.\1.adapter.down.\2",
    ),
    (
        r"backbone_sam\.sam_encoder\.(blocks\.\d+)\.prompt_learn\.2\.(.*)",
        r"hiera.trunk.\1.adapter.up.\2",
    ),
    (r"backbone_sam\.sam_encoder\.(.*)\.mlp\.layers\.0\.(.*)", r"hiera.trunk.\1.mlp.fc1.\2"),
    (r"backbone_sam\.sam_encoder\.(.*)\.mlp\.layers\.1\.(.*)", r"hiera.trunk.\1.mlp.fc2.\2"),
    (r"backbone_sam\.sam_encoder\.(.*)", r"hiera.trunk.\1"),
    (
        r"dino2sam_down14\.depthwise\.wavelet_convs\.(.*)",
        r"fusion.modulate.0.depthwise.band_convs.\1",
    ),
    (
        r"dino2sam_down14\.depthwise\.wavelet_scale\.(.*)",
        r"fusion.modulate.0.depthwise.band_scales.\1",
    ),
    (r"dino2sam_down14\.(.*)", r"fusion.modulate.0.\1"),
    (r"fusion4\.ca\.ca\.(.*)", r"fusion.attend.0.channel.\1"),
    (r"fusion4\.sa\.sa\.(.*)", r"fusion.attend.0.spatial.\1"),
    (r"fusion4\.pa\.pa2\.(.*)", r"fusion.attend.0.pixel.\1"),
    (r"fusion4\.conv\.(.*)", r"fusion.attend.0.project.\1"),
    (r"rfb(\d)\.branch(\d)\.(.*)", r"decoder.reduce.<\1>.branches.\2.\3"),
    (r"rfb(\d)\.conv_cat\.(.*)", r"decoder.reduce.<\1>.merge.\2"),
    (r"rfb(\d)\.conv_res\.(.*)", r"decoder.reduce.<\1>.shortcut.\2"),
    (r"decoder(\d)\.conv_small\.0\.(.*)", r"decoder.fuse.<\1>.coarse.conv.\2"),
    (r"decoder(\d)\.conv_small\.1\.(.*)", r"decoder.fuse.<\1>.coarse.bn.\2"),
    (r"decoder(\d)\.conv_big\.0\.(.*)", r"decoder.fuse.<\1>.fine.conv.\2"),
    (r"decoder(\d)\.conv_big\.1\.(.*)", r"decoder.fuse.<\1>.fine.bn.\2"),
    (r"decoder(\d)\.catconv\.0\.(.*)", r"decoder.fuse.<\1>.conv.conv.\2"),
    (r"decoder(\d)\.catconv\.1\.(.*)", r"decoder.fuse.<\1>.conv.bn.\2"),
    (
        r"decoder(\d)\.attention\.(query|key)_project\.0\.(.*)",
        r"decoder.fuse.<\1>.attention.\2.0.conv.\3",
    ),
    (
        r"decoder(\d)\.attention\.(query|key)_project\.1\.(.*)",
        r"decoder.fuse.<\1>.attention.\2.0.bn.\3",
    ),
    (
        r"decoder(\d)\.attention\.(query|key)_project\.3\.0\.(.*)",
        r"decoder.fuse.<\1>.attention.\2.1.conv.\3",
    ),
    (
        r"decoder(\d)\.attention\.(query|key)_project\.3\.1\.(.*)",
        r"decoder.fuse.<\1>.attention.\2.1.bn.\3",
    ),
    (
        r"decoder(\d)\.attention\.(value|out)_project\.0\.(.*)",
        r"decoder.fuse.<\1>.attention.\2.conv.\3",
    ),
    (
        r"decoder(\d)\.attention\.(value|out)_project\.1\.(.*)",
        r"decoder.fuse.<\1>.attention.\2.bn.\3",
    ),
    (r"side(\d)\.(.*)", r"decoder.heads.<\1>.\2"),
    (r"head\.(.*)", r"decoder.heads.2.\1"),
)


def rename_published(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The authors' state dict (DGSUNet) by our names, and the names that are known but not needed.

    Not needed are DINOv2's `mask_token` and the wavelet taps, which are checked to be Haar's.

    Raises:
        CheckpointError: The names are not those of the authors' DSU-Net, or the taps not Haar's.
    """
    renamed: dict[str, Tensor] = {}
    ignored: list[str] = []
    for name, tensor in state.items():
        if name.endswith(".mask_token"):
            ignored.append(name)
        elif name.endswith((".wt_filter", ".iwt_filter")):
            _check_taps(name, tensor)
            ignored.append(name)
        else:
            renamed[_rename(name)] = tensor
    return renamed, tuple(ignored)


def _rename(name: str) -> str:
    for pattern, replacement in _PUBLISHED:
        match = re.fullmatch(pattern, name)
        if match:
            # <k> is the authors' count from one, ours is from zero
            return re.sub(r"<(\d)>", lambda m: str(int(m[1]) - 1), match.expand(replacement))
    raise CheckpointError(
        f"the tensor name {name!r} belongs to no known format; known are dsunet's own "
        ".safetensors and the authors' DGSUNet state dict"
    )


def _check_taps(name: str, tensor: Tensor) -> None:
    expected = torch.tensor(HAAR_TAPS).unsqueeze(1).repeat(tensor.shape[0] // 4, 1, 1, 1)
    if tensor.shape != expected.shape or not torch.allclose(tensor.float(), expected, atol=1e-6):
        raise CheckpointError(f"the wavelet taps {name} are not Haar's, which dsunet computes with")
