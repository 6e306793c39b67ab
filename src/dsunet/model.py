"""The network, and the factory that builds it from a preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from dsunet.checkpoint import (
    find_weights,
    is_checkpoint,
    load_state,
    read_checkpoint,
    read_metadata,
)
from dsunet.config import MODEL_PRESETS, ModelConfig, as_size, model_config
from dsunet.decoder import Decoder, SegmentationLogits
from dsunet.encoders import DINOv2Encoder, Encoder, HieraEncoder, build_dinov2, build_hiera
from dsunet.encoders.dinov2 import OWN_VIT
from dsunet.encoders.hiera import OWN_HIERA
from dsunet.errors import CheckpointError, InputSizeError
from dsunet.fusion import FeatureInjection
from dsunet.weights import find_pretrained, is_public, load_pretrained, load_weights

__all__ = [
    "DSUNet",
    "build_model",
    "create_from_config",
    "create_model",
    "list_models",
    "load",
    "parameter_counts",
]


class DSUNet(nn.Module):
    """Segments the object in an image with two encoders and a light decoder (paper, Fig. 3).

    Args:
        hiera: Encoder with four levels at strides 4, 8, 16, 32.
        dinov2: Encoder with one or more maps of semantic features; `None` leaves it out.
        fusion: Where those maps enter the levels; `None` exactly when `dinov2` is.
        decoder: Levels → logits.
        config: The settings the parts were built from; needed to save the model.
    """

    def __init__(
        self,
        hiera: HieraEncoder,
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

    @property
    def encoders(self) -> dict[str, Encoder]:
        """The encoders that the model has, by attribute name."""
        both = {"hiera": self.hiera, "dinov2": self.dinov2}
        return {name: encoder for name, encoder in both.items() if encoder is not None}

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
        self.hiera.check_size(sam_image, "sam_image", smallest=128 if self.fusion else None)
        levels = self.hiera(sam_image)
        if self.fusion is not None:
            if dino_features is None:
                dino_features = self.extract_semantics(dino_image)
            maps = [dino_features] if isinstance(dino_features, Tensor) else dino_features
            levels = self.fusion(levels, maps)
        logits: SegmentationLogits = self.decoder(levels, sam_image.shape[-2:], outputs)
        return logits

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


def build_model(config: ModelConfig, public: Mapping[str, str] | None = None) -> DSUNet:
    """Builds the parts that `config` names and puts them together.

    Args:
        config: What to build.
        public: By encoder (`hiera`, `dinov2`), the full timm name of the public weights to fill it
            with; others keep random weights.

    Raises:
        ValueError: An encoder is unknown.
        WeightsError: Public weights are asked for and cannot be had.
    """
    public = public or {}
    hiera = HieraEncoder(
        build_hiera(config.hiera),
        trainable=config.train_hiera,
        adapter_channels=config.adapter_channels,
    )
    if "hiera" in public:
        load_pretrained(hiera, public["hiera"])
    decoder = Decoder(
        hiera.channels,
        config.decoder_channels,
        config.attention_channels,
        merge=config.decoder_merge,
    )
    if not config.uses_dinov2:
        return DSUNet(hiera, None, None, decoder, config)

    vit = build_dinov2(config.dinov2, as_size(config.dino_size))
    depth, ranks = len(vit.blocks), len(hiera.channels)
    four_depths = [depth * (i + 1) // ranks for i in range(ranks)]  # 6, 12, 18, 24 of 24
    dinov2 = DINOv2Encoder(
        vit,
        depths=four_depths if config.injection == "hierarchical" else None,
        norm=config.dinov2_norm,
        trainable=config.train_dinov2,
    )
    _check_patches(config, dinov2)
    if "dinov2" in public:
        load_pretrained(dinov2, public["dinov2"])
    fusion = FeatureInjection(
        hiera.channels,
        dinov2.channels[0],
        levels=[ranks - 1] if config.injection == "final" else range(ranks),
        order=config.channel_modulation,
        pixel_attention=config.pixel_attention,
    )
    return DSUNet(hiera, dinov2, fusion, decoder, config)


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
    **overrides: Any,
) -> DSUNet:
    """A network by the name of its preset.

    Args:
        name: One of `list_models()`.
        weights: `None` for random weights (no network access), `"encoders"` for SAM2's and
            DINOv2's public weights, a path to a file that `load_weights` reads, or `"default"`:
            public weights for every encoder that has some (large, base, small, tiny), random ones
            for our own sizes (nano).
        **overrides: Fields of `ModelConfig`, such as `injection="none"` or `sam_size=512`.

    Returns:
        The model in training mode; call `.eval()` to predict.

    Raises:
        ValueError: A name or setting is unknown or does not fit.
        WeightsError: The weights cannot be had or do not fit.
    """
    return create_from_config(model_config(name, **overrides), weights)


def create_from_config(config: ModelConfig, weights: str | Path | None = "default") -> DSUNet:
    """As `create_model`, from a whole configuration."""
    if weights == "full":
        # Nobody has published a trained model in a form that could be fetched by name.
        raise ValueError(
            'weights="full" is not available: no trained DSU-Net is published for download; '
            'give the path of a weights file, or "encoders"'
        )
    if weights is None:
        return build_model(config)
    if weights in ("default", "encoders"):
        return build_model(config, _public_weights(config, every=weights == "encoders"))
    path = find_weights(weights)
    ours = path.is_file() and is_checkpoint(path)
    model = build_model(config, _referred_weights(read_metadata(path)) if ours else None)
    load_weights(model, path)
    return model


def _public_weights(config: ModelConfig, *, every: bool) -> dict[str, str]:
    """The public weights of a configuration's encoders; our own sizes have none."""
    encoders = {"hiera": (config.hiera, config.train_hiera)}
    if config.uses_dinov2:
        encoders["dinov2"] = (config.dinov2, config.train_dinov2)
    public = {}
    for attribute, (name, trained) in encoders.items():
        if every or name not in {**OWN_HIERA, **OWN_VIT}:
            public[attribute] = find_pretrained(name, config.sam_version)
        elif not trained:
            raise ValueError(
                f"{attribute} is {name!r}, which has no public weights and would stay frozen at "
                f"random ones; train it (train_{attribute}: true), or ask for weights: none"
            )
    return public


def _referred_weights(about: Mapping[str, Any]) -> dict[str, str]:
    """The public weights that one of our files refers to, by encoder."""
    sources: dict[str, str | None] = about["encoders"]
    tags = {name: tag.removeprefix("timm/") for name, tag in sources.items() if tag is not None}
    for tag in tags.values():  # a file must not choose what is fetched from where
        if not is_public(tag):
            raise ValueError(f"it refers to encoder weights {tag!r}, which timm does not know")
    return tags


def load(path: str | Path) -> DSUNet:
    """The model in a file that `dsunet.save` or a training run wrote, ready to predict.

    Args:
        path: A `.safetensors` file, or a run's folder, whose best (else last) weights are taken.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        WeightsError: It refers to public encoder weights that cannot be had.
    """
    path = find_weights(path)
    about, state = read_checkpoint(path)
    try:
        model = build_model(ModelConfig(**about["model"]), _referred_weights(about))
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes a model that cannot be built: {error}") from error
    load_state(model, state, path)
    return model.eval()


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return list(MODEL_PRESETS)


def parameter_counts(model: DSUNet) -> dict[str, int]:
    """Numbers of parameters: `total`, `trainable`, and the trainable ones of every part."""
    parts = {
        "adapters": [p for n, p in model.hiera.named_parameters() if ".adapter." in n],
        "hiera": [p for n, p in model.hiera.named_parameters() if ".adapter." not in n],
        "dinov2": list(model.dinov2.parameters()) if model.dinov2 else [],
        "fusion": list(model.fusion.parameters()) if model.fusion else [],
        "decoder": list(model.decoder.parameters()),
    }
    trainable = {k: sum(p.numel() for p in v if p.requires_grad) for k, v in parts.items()}
    total = sum(p.numel() for p in model.parameters())
    return {"total": total, "trainable": sum(trainable.values()), **trainable}
