"""Blocks of the user's own in place of the paper's, named by import path.

Weights files name them, too, but nothing that a file names is ever run: a block is made only if the
user has named it, in this process, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dsunet.config import ModelConfig, as_size
from dsunet.errors import CustomModelError, DsunetError
from dsunet.network.decoder import Decoder, SegmentationLogits
from dsunet.network.layers import resize_bilinear
from dsunet.support.imports import explain, import_path, resolve, sum_of_code

__all__ = [
    "WholeDecoder",
    "check_blocks",
    "code_of",
    "maker",
    "name_blocks",
    "require_named",
    "trust",
]

_named: dict[str, Callable[..., object]] = {}


def name_blocks(given: Iterable[str | Callable[..., object]]) -> list[str]:
    """Notes that the user has named these blocks, so that models may be made of them.

    Args:
        given: Import paths, or the functions and classes themselves.

    Returns:
        Their import paths.

    Raises:
        CustomModelError: Nothing callable is found under an import path.
    """
    names = []
    for each in given:
        name = each if isinstance(each, str) else import_path(each)
        _named[name] = resolve(each) if isinstance(each, str) else each
        names.append(name)
    return names


def trust(config: ModelConfig) -> None:
    """Notes that the user has named the blocks of a configuration; for none that a file holds."""
    name_blocks(name for name in config.blocks.values() if name not in _named)


def require_named(config: ModelConfig, whose: object) -> None:
    """Raises `CustomModelError` if the user has not named the blocks of a configuration.

    Args:
        config: The configuration.
        whose: Where it is from, for the message.
    """
    if lacking := [name for name in config.blocks.values() if name not in _named]:
        names = ", ".join(dict.fromkeys(lacking))
        raise CustomModelError(
            f"{whose} holds the weights of a model with blocks of somebody's own; it names {names},"
            f" and no code that a file names is run: if you trust it, give `blocks` {names}"
        )


def code_of(config: ModelConfig) -> str | None:
    """A sum over the code of the blocks; `None` without any."""
    sums = [f"{name} {sum_of_code(name, _named.get(name))}" for name in config.blocks.values()]
    return "; ".join(sums) if sums else None


def maker(config: ModelConfig, field: str) -> Callable[..., nn.Module] | None:
    """What makes a block of the user's own; `None` where the model has the usual one.

    Raises:
        CustomModelError: The user has not named it. What is returned raises it, too, if the block
            cannot be made.
    """
    name = config.blocks.get(field)
    if name is None:
        return None
    require_named(config, f"the configuration of {config.name}")
    target = _named[name]

    def make(*arguments: Any, **options: Any) -> nn.Module:
        with _told(name, field):
            made = target(*arguments, **options)
        if not isinstance(made, nn.Module):
            raise CustomModelError(
                f"{name} (`{field}`) gives an object of type {type(made).__name__}; a "
                "torch.nn.Module is needed"
            )
        return made

    return make


class WholeDecoder(nn.Module):
    """A decoder of the user's own: levels → logits at the input's size.

    Args:
        block: Takes the four levels, fine to coarse, B×C×H×W each, as one list; gives logits
            B×1×h×w, or `SegmentationLogits` or three of them, coarse to fine, of any sizes.
        name: Its import path, for messages.
    """

    def __init__(self, block: nn.Module, name: str) -> None:
        super().__init__()
        self.block = block
        self.name = name

    def forward(
        self, pyramid: Sequence[Tensor], size: tuple[int, int], outputs: str = "all"
    ) -> SegmentationLogits:
        given = self.block(list(pyramid))
        several = list(given) if isinstance(given, list | tuple) else [None, None, given]
        if len(several) != 3 or several[2] is None:
            raise CustomModelError(
                f"{self.name} (`decoder`) gives {len(several)} outputs; logits, or three of them, "
                "coarse to fine, are needed"
            )
        batch = len(pyramid[0])
        for each in several:
            if each is not None:
                _require(self.name, "decoder", each, (batch, 1, None, None))
        coarse, middle, fine = (None if x is None else resize_bilinear(x, size) for x in several)
        assert fine is not None
        if outputs == "fine":
            coarse = middle = None
        return SegmentationLogits(coarse, middle, fine)


def check_blocks(
    config: ModelConfig,
    decoder: Decoder | WholeDecoder,
    channels: Sequence[int],
    strides: Sequence[int],
    fusion: Sequence[nn.Module] = (),
    semantic: tuple[int, int, int] | None = None,
) -> None:
    """Runs each block of the user's own once, on numbers of the sizes that it will be given.

    Args:
        config: Names the blocks.
        decoder: The decoder that was made.
        channels: Of the four levels, fine to coarse.
        strides: The same of their strides.
        fusion: The blocks that take a map of DINOv2's, one for each level that does, the last ones.
        semantic: C, h, w of such a map.

    Raises:
        CustomModelError: A block fails, or what it gives has another shape than is needed.
    """
    named = config.blocks
    if not named:
        return
    view = as_size(config.sam_size)
    grids = [(view[0] // stride, view[1] // stride) for stride in strides]
    levels = [(2, c, *grid) for c, grid in zip(channels, grids, strict=True)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for block, level in zip(fusion, levels[-len(fusion) :] if fusion else [], strict=True):
            assert semantic is not None
            _try(named["fusion"], "fusion", block, [level, (2, *semantic)], level)
        if isinstance(decoder, WholeDecoder):
            with _told(named["decoder"], "decoder"), _evaluating(decoder):
                decoder([torch.randn(level) for level in levels], view)
            return
        width = config.decoder_channels
        widths = list(width) if isinstance(width, tuple) else [width] * len(levels)
        inner = [(2, c, *grid) for c, grid in zip(widths, grids, strict=True)]
        for name, field, blocks, given, wanted in (
            (named.get("receptive_field"), "receptive_field", decoder.reduce, levels, inner),
            (named.get("decoder_fusion"), "decoder_fusion", decoder.fuse, None, inner[-2::-1]),
            (named.get("head"), "head", decoder.heads, inner[-2::-1], None),
        ):
            for i, block in enumerate(blocks if name is not None else ()):
                inputs = [inner[-1 - i], inner[-2 - i]] if given is None else [given[i]]
                shape = (2, 1, None, None) if wanted is None else wanted[i]
                _try(str(name), field, block, inputs, shape)


def _try(
    name: str,
    field: str,
    block: nn.Module,
    inputs: Sequence[tuple[int, ...]],
    wanted: tuple[int | None, ...],
) -> None:
    with _told(name, field, f" for {' and '.join(map(_shown, inputs))}"), _evaluating(block):
        given = block(*(torch.randn(shape) for shape in inputs))
    _require(name, field, given, wanted, f" for {' and '.join(map(_shown, inputs))}")


def _require(
    name: str, field: str, given: object, wanted: tuple[int | None, ...], what: str = ""
) -> None:
    shape = list(given.shape) if isinstance(given, Tensor) else []
    if len(shape) == len(wanted) and all(
        w in (None, g) for g, w in zip(shape, wanted, strict=True)
    ):
        return
    got = (
        _shown(tuple(given.shape))
        if isinstance(given, Tensor)
        else f"an object of type {type(given).__name__}"
    )
    raise CustomModelError(f"{name} (`{field}`) gives {got}{what}; {_shown(wanted)} is needed")


def _shown(shape: Sequence[int | None]) -> str:
    return "×".join("any" if side is None else str(side) for side in shape)


@contextmanager
def _told(name: str, field: str, what: str = "") -> Iterator[None]:
    """What goes wrong in a block, in one line."""
    try:
        yield
    except DsunetError:
        raise
    except (Exception, SystemExit) as error:
        raise CustomModelError(f"{name} (`{field}`){what} {explain(error)}") from error


@contextmanager
def _evaluating(block: nn.Module) -> Iterator[None]:
    """Statistics stay as they are."""
    modes = {part: part.training for part in block.modules()}
    block.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
