"""Filling a model from a file in any known format."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from dsunet.config import BLOCKS, ROLES, ModelConfig, Role
from dsunet.errors import CheckpointError, few
from dsunet.network.encoders import STORED, in_trunk
from dsunet.weights.checkpoint import state_to_save
from dsunet.weights.encoders import check_encoder, reference_to
from dsunet.weights.fitting import LABELS, Differences, compare, fit_positions, fitted, require_real
from dsunet.weights.formats import (
    FORMATS,
    EncoderFile,
    ModelFile,
    count_blocks,
    without_adapter,
)
from dsunet.weights.opened import Weights, open_weights

if TYPE_CHECKING:
    from dsunet.network.base import SegmentationModel
    from dsunet.network.model import DSUNet

__all__ = ["LoadReport", "fill_model", "load_weights"]

POSITIONS = "dinov2.trunk.pos_embed"
_HEADS = "decoder.heads."


@dataclass(frozen=True)
class LoadReport:
    """What became of a weights file's tensors."""

    format: str
    """A key of `dsunet.weights.formats.FORMATS`, such as `dsunet`, `dsu-net` or `sam2`."""
    loaded: tuple[str, ...]
    """Tensors of the model that were filled."""
    missing: tuple[str, ...]
    """Tensors of the model that the file should have held."""
    unexpected: tuple[str, ...]
    """Tensors of the file that the model has no place for, by our names as far as there are any."""
    ignored: tuple[str, ...]
    """Tensors of the file, by its own names, that are known and not needed: DINOv2's mask token,
    the wavelet taps (which are checked to be Haar's), the other parts of SAM 2."""
    frozen: tuple[str, ...]
    """Of the loaded ones, those that training leaves as they are."""
    resampled: tuple[str, ...] = ()
    """Position embeddings that were brought to another grid."""
    version: str | None = None
    """SAM 2 release of a SAM 2 file: `2.1`, `2.0`, or `None` if the file does not tell."""
    repeated: tuple[str, ...] = ()
    """Tensors of heads whose one channel was copied to each class's."""


def load_weights(model: DSUNet, path: str | Path | Weights, *, strict: bool = True) -> LoadReport:
    """Fills a model from a file in any known format, found out from its contents.

    Whole models: our own files, resume states and plain state dicts, the authors' DSU-Net,
    SAM2-UNet. Encoders alone, which go into the encoder that they are for: official SAM 2 and 2.1
    and DINOv2 (with and without registers), the same from timm and from the library transformers.

    Args:
        model: A model of the architecture that the file was made for.
        path: The file, or the folder of a training run.
        strict: Raise if anything is missing or left over, if the file was trained on other
            encoders, or with other settings. Shapes have to fit in any case.

    Raises:
        CheckpointError: The file is unreadable, of an unknown format, or does not fit.
    """
    file = open_weights(path).file
    if isinstance(file, ModelFile):
        return fill_model(model, file, strict=strict)
    return _fill_encoder(model, file, strict=strict)


def fill_model(
    model: SegmentationModel, file: ModelFile, *, strict: bool = True, filled: Sequence[Role] = ()
) -> LoadReport:
    """Copies a file's tensors into a model by name.

    A frozen encoder whose weights are from elsewhere may be absent as a whole. Heads of one map
    become those of a model of several classes by being copied to each of them, which the report
    says (`repeated`); classes part company in training.

    Args:
        model: The model.
        file: The file.
        strict: Raise if anything is missing or left over.
        filled: Encoders (`pyramid`, `semantic`) that hold the file's tensors already.

    Raises:
        CheckpointError: Shapes differ or, with `strict`, names do.
    """
    own = model.state_dict()
    held = {f: theirs for f in model.encoders if (theirs := file.encoder(f)) is not None}
    needed = _needed(model, own, held, filled)
    missing = tuple(name for name in own if name in needed and name not in file.tensors)
    unexpected = tuple(name for name in file.tensors if name not in own)
    loaded = tuple(name for name in file.tensors if name in own)
    if strict and (missing or unexpected):
        differences = Differences(missing, unexpected, _cause(own, file, missing, unexpected))
        raise CheckpointError(f"{file.path} does not fit the model: {differences.explain()}")
    if strict:
        _require_the_same(model, file, filled)
    _require_the_same_classes(model, file)
    ready = {
        name: _ready(name, own[name], file, model, held)
        for name in loaded
        if not in_trunk(name, filled)
    }
    for name, value in ready.items():  # now that all of them fit
        own[name].copy_(value)
    repeated = tuple(name for name in ready if _is_repeated(name, own[name], file))
    for role, encoder in model.encoders.items():
        if role in held and role not in filled:  # it holds the file's values now
            foreign = file.about is None and not encoder.trainable and not missing
            encoder.source = reference_to(held[role]) if foreign else None
    if file.about:
        model.training_facts = dict(file.about["training"])
    return LoadReport(
        file.format,
        loaded,
        missing,
        unexpected,
        tuple(file.ignored),
        _frozen(model, loaded),
        tuple(
            name
            for name, value in ready.items()
            if value is not file.tensors[name] and name not in repeated
        ),
        repeated=repeated,
    )


def _needed(
    model: SegmentationModel,
    own: Iterable[str],
    held: Iterable[Role],
    filled: Iterable[Role],
) -> set[str]:
    """Tensors that a file should hold: an encoder may be absent as a whole, never in part."""
    saved = state_to_save(model)
    return {
        name
        for name in own
        if not in_trunk(name, filled) and (in_trunk(name, held) or name in saved)
    }


def _ready(
    name: str,
    own: Tensor,
    file: ModelFile,
    model: SegmentationModel,
    held: Mapping[Role, EncoderFile],
) -> Tensor:
    """A tensor of the file's as the model's `own` is; a new one only for positions resampled."""
    value = file.tensors[name]
    if own.is_floating_point():
        require_real(name, value, file.path)
    if name == POSITIONS:
        vit, grid = model.encoders["semantic"].trunk, held["semantic"].grid
        value = fit_positions(value, vit, _interpolation(model), grid)
    if _is_repeated(name, own, file):
        value = value.expand_as(own)
    if value.shape != own.shape:
        raise CheckpointError(
            f"{file.path} does not fit the model: {name} is {tuple(file.tensors[name].shape)} "
            f"in the file and {tuple(own.shape)} in the model; build the model that it was made "
            "for"
        )
    return value


def _is_repeated(name: str, own: Tensor, file: ModelFile) -> bool:
    """Whether a head's tensor has one channel in the file, and several in the model."""
    value = file.tensors[name]
    return (
        name.startswith(_HEADS)
        and not _classes_in(file)
        and len(value) == 1 < len(own)
        and value.shape[1:] == own.shape[1:]
    )


def _classes_in(file: ModelFile) -> list[str]:
    return list(file.about["model"].get("classes", ())) if file.about else []


def _require_the_same_classes(model: SegmentationModel, file: ModelFile) -> None:
    """Raises unless a file is of the model's very classes, or of one map, which can become any."""
    was, now = _classes_in(file), list(model.classes)
    if was and was != now:
        has = f"the classes {few(now)}" if now else "no classes"
        raise CheckpointError(
            f"{file.path} was trained for the classes {few(was)}, but the model has {has}; give "
            "the file's, in their order, or start from weights of one map"
        )


def _require_the_same(model: SegmentationModel, file: ModelFile, filled: Iterable[Role]) -> None:
    """Raises if the file was trained on other encoders, or with settings that no shape shows."""
    if file.about is None:
        return
    for role, encoder in model.encoders.items():
        wanted, has = file.reference(role).get("fingerprint"), encoder.source
        if role not in filled and wanted and has and has.fingerprint not in (wanted, None):
            raise CheckpointError(
                f"{file.path} was trained with other {LABELS[role]} weights ({wanted[:19]}…) "
                f"than the model holds ({str(has.fingerprint)[:19]}…); dsunet.load(FILE) finds the "
                "right ones"
            )
    for field in BLOCKS if isinstance(model.config, ModelConfig) else ():
        usual = "sff" if field == "decoder" else None
        was, now = file.about["model"].get(field, usual), getattr(model.config, field)
        if was != now and ":" in f"{was} {now}":
            raise CheckpointError(
                f"{file.path} was trained with {field} = {was!r}, but the model has {now!r}; build "
                "it with the file's"
            )
    names = ("semantic_norm", "channel_modulation", "pixel_attention")
    if "semantic" in model.encoders and isinstance(model.config, ModelConfig):
        was, now = file.about["model"].get("semantic_depth"), model.config.semantic_depth
        if was != now:
            raise CheckpointError(
                f"{file.path} was trained with {_blocks(was)} of DINOv2, but the model has "
                f"{_blocks(now)}; build it with the file's semantic_depth"
            )
    for name in (*(names if "semantic" in model.encoders else ()), "attention_pooling"):
        was = file.about["model"].get(name)
        now = getattr(model.config, name, was)
        if was is not None and was != now:
            raise CheckpointError(
                f"{file.path} was trained with {name} = {was!r}, but the model has {now!r}; build "
                "it with the file's setting"
            )


def _blocks(depth: int | None) -> str:
    return "all blocks" if depth is None else f"{depth} blocks"


def _fill_encoder(model: DSUNet, file: EncoderFile, *, strict: bool) -> LoadReport:
    encoder = model.encoders.get(file.role)
    if encoder is None:
        raise CheckpointError(
            f"{file.path} holds weights of {LABELS[file.role]}, which this model does not have"
        )
    if strict and model.config is not None:
        check_encoder(file, model.config)
    names = {
        without_adapter(name): name
        for name in encoder.trunk.state_dict()
        if ".adapter." not in name
    }
    tensors = encoder.trunk.state_dict()
    own = {plain: tensors[name] for plain, name in names.items()}
    whole_file = file
    if file.role == "semantic" and model.config is not None:
        file = file.first_blocks(model.config.semantic_depth)
    differences = compare(own, file)
    wanted = file
    if not strict:
        common = {name: tensor for name, tensor in file.tensors.items() if name in own}
        own = {name: tensor for name, tensor in own.items() if name in common}
        wanted = dataclasses.replace(file, tensors=common)
    state = fitted(own, wanted, _interpolation(model), encoder.trunk)
    for name, value in state.items():
        own[name].copy_(value)
    whole = not differences.missing and not differences.unexpected
    encoder.source = reference_to(whole_file) if whole else None
    positions, given = state.get("pos_embed"), file.tensors.get("pos_embed")
    resampled = (
        positions is not None
        and given is not None
        and (positions.shape != given.shape or not torch.equal(positions, given.float()))
    )
    return LoadReport(
        file.format,
        tuple(f"{STORED[file.role]}.trunk.{names[plain]}" for plain in state),
        tuple(f"{STORED[file.role]}.trunk.{names[plain]}" for plain in differences.missing),
        differences.unexpected,
        tuple(file.ignored),
        _frozen(model, (f"{STORED[file.role]}.trunk.{names[plain]}" for plain in state)),
        (POSITIONS,) if resampled else (),
        file.version,
    )


def _interpolation(model: SegmentationModel) -> Literal["official", "timm"]:
    return model.config.interpolate if isinstance(model.config, ModelConfig) else "official"


def _frozen(model: torch.nn.Module, loaded: Iterable[str]) -> tuple[str, ...]:
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return tuple(name for name in loaded if name in frozen)


def _cause(
    own: Mapping[str, Tensor],
    file: ModelFile,
    missing: tuple[str, ...],
    unexpected: tuple[str, ...],
) -> str:
    """The likely reason why names differ."""
    branch = ("dinov2.", "fusion.")
    if any(".adapter." in name for name in own) != any(".adapter." in n for n in file.tensors):
        return "one of them is without adapters (adapter_channels: 0)"
    for role in ROLES:
        encoder, blocks = file.encoder(role), count_blocks(_part(own, f"{STORED[role]}.trunk."))
        if encoder is not None and blocks not in (0, encoder.depth):
            return (
                f"the file's {LABELS[role]} has {encoder.depth} blocks, the model's {blocks}: "
                "build the model that the file was made for"
            )
    if missing and not unexpected and all(".trunk." in name for name in missing):
        if any(file.encoder(role) is not None for role in ROLES):
            return "the file is incomplete"
        return (
            "the file names its encoders instead of holding them: dsunet.load(FILE) finds them, or "
            "build the model with its encoders' weights first"
        )
    if missing and all(name.startswith(branch) for name in missing) and not unexpected:
        return "the file is of a model without DINOv2 (injection: none)"
    if unexpected and all(name.startswith(branch) for name in unexpected) and not missing:
        return "the model has no DINOv2 branch (injection: none), but the file's has one"
    if file.format == "sam2-unet" or any(".0.conv." in n for n in unexpected if ".fuse." in n):
        return f"the file is of {FORMATS['sam2-unet']}: build a sam2unet model"
    return "it was made for another architecture"


def _part(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
