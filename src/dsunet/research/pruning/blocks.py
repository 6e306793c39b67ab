"""Leaving out the last blocks of DINOv2, by measured effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from timm.models.vision_transformer import VisionTransformer

from dsunet.config import MeasuringProtocol, ModelConfig
from dsunet.data.pairs import Pair
from dsunet.errors import ConfigError
from dsunet.metrics import OWN_MEASURES, Measures
from dsunet.network.counting import parameter_counts
from dsunet.network.encoders import SemanticEncoder
from dsunet.network.model import DSUNet
from dsunet.research.pruning.channels import copy_with
from dsunet.research.pruning.measuring import flops_of, validation
from dsunet.running.inference import probabilities_of
from dsunet.running.maps import quantise
from dsunet.running.place import Place

__all__ = ["BlockEffect", "choose_blocks", "drop_blocks", "effects_of_blocks"]


@dataclass(frozen=True)
class BlockEffect:
    """What a network is without the last blocks of its DINOv2, with nothing else changed."""

    dropped: int
    """How many blocks are left out."""
    parameters: int
    """Of the whole network."""
    flops: int
    """Of one prediction."""
    measures: dict[str, float]
    """S, F, E and MAE."""


def drop_blocks(model: DSUNet, count: int) -> DSUNet:
    """A copy of a network without the last blocks of its DINOv2.

    The map comes from the last block that is kept, through DINOv2's final LayerNorm if the original
    had it so. Its `config` says how many blocks are left (`semantic_depth`); frozen tensors are
    shared with the original.

    Args:
        model: A model with DINOv2 that takes the map of one block.
        count: How many blocks to leave out; at least one has to stay.

    Raises:
        ConfigError: The model has no DINOv2, takes maps of several blocks, or has too few.
    """
    if model.config is None or model.semantic is None:
        raise ConfigError(
            "there are no blocks of DINOv2 to drop: the network has no DINOv2 branch; leave "
            "`drop_semantic_blocks` out"
        )
    if len(model.semantic.depths) > 1:
        raise ConfigError(
            f"injection is {model.config.injection}, which takes maps of several of DINOv2's "
            "blocks: none can be dropped; leave `drop_semantic_blocks` out"
        )
    blocks = model.semantic.block_count
    if not 0 <= count < blocks:
        raise ConfigError(
            f"drop_semantic_blocks is {count}, but needs 0 to {blocks - 1}: "
            f"{model.config.semantic} has {blocks} blocks here, one of which has to stay"
        )
    if count == 0:
        return copy_with(model, model.config)
    twin = copy_with(model, dataclasses.replace(model.config, semantic_depth=blocks - count))
    assert twin.semantic is not None
    twin.semantic.keep_blocks(blocks - count)
    return twin


def effects_of_blocks(
    model: DSUNet,
    pairs: Sequence[Pair],
    place: Place,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int = 0,
    protocol: MeasuringProtocol = "benchmark",
) -> list[BlockEffect]:
    """Measures every number of blocks that can be left out, without any further training.

    Hiera and DINOv2 run once for each image; fusion and decoder once for each number of blocks.

    Args:
        model: As for `drop_blocks`.
        pairs: Validation pairs.
        place: Where to compute.
        progress: Called with the images done and their number.
        workers: Processes that read images.
        protocol: How maps are measured, as `TrainConfig.protocol`.

    Returns:
        For 0, 1, 2, … blocks left out.

    Raises:
        ConfigError: As `drop_blocks`.
        ImageError: A file cannot be read.
    """
    twin = drop_blocks(model, 0)  # raises if there are none
    semantic, fusion, config = twin.semantic, twin.fusion, twin.config
    assert semantic is not None
    assert fusion is not None
    assert config is not None
    place.settle(twin).eval()
    depths = range(1, semantic.block_count + 1)
    measures = {depth: Measures(OWN_MEASURES, protocol) for depth in depths}
    for number, (batch, truth) in enumerate(validation(twin, pairs, workers), start=1):
        assert batch.dino is not None
        sam, dino = batch.sam.to(place.device), batch.dino.to(place.device)
        with torch.inference_mode(), place.autocast():
            levels = twin.pyramid(sam)
            for depth, semantics in zip(
                depths, semantic.after_blocks(dino, depths, norm=semantic.norm), strict=True
            ):
                fused = fusion(levels, [semantics])
                fine = twin.decoder(fused, sam.shape[-2:], "fine").fine
                (map_,) = probabilities_of(fine.float(), [truth.shape])
                measures[depth].update(quantise(map_), truth)
        if progress is not None:
            progress(number, len(pairs))
    return [
        BlockEffect(
            depths[-1] - depth,
            parameter_counts(twin)["total"] - _parameters_after(semantic, depth),
            flops,
            measures[depth].summary(),
        )
        for depth, flops in zip(reversed(depths), _flops_by_depth(config, depths[-1]), strict=True)
    ]


def _parameters_after(semantic: SemanticEncoder, depth: int) -> int:
    blocks = cast(VisionTransformer, semantic.trunk).blocks
    return sum(p.numel() for block in blocks[depth:] for p in block.parameters())


def _flops_by_depth(config: ModelConfig, blocks: int) -> list[int]:
    """With all blocks, with one less, and so on: all of a plain ViT's blocks take the same."""
    whole = flops_of(config)
    if blocks == 1:
        return [whole]
    each = whole - flops_of(dataclasses.replace(config, semantic_depth=blocks - 1))
    return [whole - dropped * each for dropped in range(blocks)]


def choose_blocks(effects: Sequence[BlockEffect], tolerance: float) -> int:
    """The largest number of blocks without which S is at most `tolerance` lower."""
    if "S" not in effects[0].measures:
        raise ConfigError(
            "`drop_semantic_blocks` auto goes by the S-measure, but no validation mask has an "
            "object; give a number of blocks, or pairs with objects"
        )
    before = effects[0].measures["S"]
    return max(e.dropped for e in effects if e.measures["S"] >= before - tolerance)
