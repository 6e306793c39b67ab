"""The network: two encoders, where they meet, and a light decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dsunet.config import ModelConfig, Role, as_size
from dsunet.config.renamed import takes_old_names
from dsunet.errors import ConfigError, InputSizeError
from dsunet.network.base import SegmentationModel, Semantics
from dsunet.network.blocks import WholeDecoder
from dsunet.network.decoder import Decoder, SegmentationLogits
from dsunet.network.encoders import BackboneEncoder, Encoder, HieraEncoder, SemanticEncoder
from dsunet.network.fingerprint import fingerprint
from dsunet.network.fusion import FeatureInjection
from dsunet.network.layers import resize_bilinear

__all__ = ["DSUNet"]


class DSUNet(SegmentationModel):
    """Segments the object in an image with two encoders and a light decoder (paper, Fig. 3).

    Without DINOv2, and with the other decoder, it is the baseline SAM2-UNet.

    Args:
        pyramid: Encoder with four levels at strides 4, 8, 16, 32: Hiera, or a light backbone in its
            place.
        semantic: Encoder with one or more maps of semantic features; `None` leaves it out.
        fusion: Where those maps enter the levels; `None` exactly when `semantic` is.
        decoder: Levels → logits.
        config: The settings the parts were built from; needed to save the model.
    """

    config: ModelConfig | None

    @takes_old_names
    def __init__(
        self,
        pyramid: HieraEncoder | BackboneEncoder,
        semantic: SemanticEncoder | None,
        fusion: FeatureInjection | None,
        decoder: Decoder | WholeDecoder,
        config: ModelConfig | None = None,
    ) -> None:
        super().__init__()
        if (semantic is None) != (fusion is None):
            raise ConfigError("semantic and fusion belong together: give both, or None for both")
        self.hiera = pyramid  # as tensors have been called on disk from the start
        self.dinov2 = semantic
        self.fusion = fusion
        self.decoder = decoder
        self.config = config
        self.training_facts = {}

    @property
    def pyramid(self) -> HieraEncoder | BackboneEncoder:
        """The encoder with four levels."""
        return self.hiera

    @property
    def semantic(self) -> SemanticEncoder | None:
        """The encoder whose maps say what is where, if there is one."""
        return self.dinov2

    @property
    def encoders(self) -> dict[Role, Encoder]:
        """The encoders that the model has, by attribute name."""
        both: dict[Role, Encoder | None] = {"pyramid": self.pyramid, "semantic": self.semantic}
        return {role: encoder for role, encoder in both.items() if encoder is not None}

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
            `SegmentationLogits(coarse, middle, fine)`, each B×1×H×W; of a model of C classes
            B×C×H×W, see `dsunet.network.classes`.

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
            Four maps, each B×C×H/s×W/s with the channels and strides s of `pyramid`.
        """
        self.pyramid.check_size(sam_image, "sam_image", smallest=128 if self.fusion else None)
        levels: list[Tensor] = self.pyramid(sam_image)
        if self.fusion is not None:
            if dino_features is None:
                dino_features = self.extract_semantics(dino_image)
            maps = [dino_features] if isinstance(dino_features, Tensor) else dino_features
            levels = self.fusion(levels, maps)
        return levels

    def extract_semantics(self, dino_image: Tensor | None) -> list[Tensor]:
        """The maps that `forward` takes as `dino_features`: B×3×h×w → list of B×C×h/p×w/p."""
        if self.semantic is None:
            raise InputSizeError(
                "this model has no DINOv2 branch, so it has no features to extract"
            )
        if dino_image is None:
            raise InputSizeError(
                "this model has a DINOv2 branch: give dino_image, the same picture at DINOv2's "
                "size (model.config.dino_size), or dino_features"
            )
        self.semantic.check_size(dino_image, "dino_image")
        maps: list[Tensor] = self.semantic(dino_image)
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
            ConfigError: The model has no config, which says the sizes of its views.
        """
        if self.semantic is None or self.fusion is None:
            raise InputSizeError("this model has no DINOv2 branch, so it has no features")
        (height, width), dino_size = self.view_sizes
        assert dino_size is not None
        patch = self.semantic.multiple
        grids = self.fusion.grids(
            len(self.semantic.depths),
            (dino_size[0] // patch, dino_size[1] // patch),
            [(height // stride, width // stride) for stride in self.pyramid.strides],
        )
        return [(c, *grid) for c, grid in zip(self.semantic.channels, grids, strict=True)]

    # -- what it consists of

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of adapters, encoders, fusion and decoder."""
        pyramid = dict(self.pyramid.named_parameters())
        return {
            "adapters": [p for name, p in pyramid.items() if ".adapter." in name],
            "pyramid": [p for name, p in pyramid.items() if ".adapter." not in name],
            "semantic": list(self.semantic.parameters()) if self.semantic else [],
            "fusion": list(self.fusion.parameters()) if self.fusion else [],
            "decoder": list(self.decoder.parameters()),
        }

    @property
    def absent_parameters(self) -> dict[str, int]:
        count = self.semantic.absent_parameters if self.semantic is not None else 0
        return {"semantic": count} if count else {}

    @property
    def every_part_runs(self) -> bool:
        """Not in the published SAM2-UNet, which has a block that never runs; unknown of others'."""
        if isinstance(self.decoder, WholeDecoder) or (self.config and self.config.blocks):
            return False
        return self.pyramid.every_part_runs and len(self.decoder.fuse) == len(self.decoder.heads)

    def checkpoint_activations(self) -> None:
        self.pyramid.checkpoint_activations()

    # -- levels, for students and teachers

    @property
    def level_shapes(self) -> list[tuple[int, int, int]]:
        height, width = self.view_sizes[0]
        return [
            (channels, height // stride, width // stride)
            for channels, stride in zip(self.pyramid.channels, self.pyramid.strides, strict=True)
        ]

    def outputs_and_levels(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        dino_features: Tensor | Sequence[Tensor] | None = None,
        outputs: Literal["all", "fine"] = "all",
    ) -> tuple[SegmentationLogits, list[Tensor]]:
        levels = self.fused_levels(sam_image, dino_image, dino_features=dino_features)
        return self.decoder(levels, sam_image.shape[-2:], outputs), levels

    @property
    def map_stride(self) -> int:
        return self.pyramid.strides[0]

    def small_logits_and_levels(
        self, sam_image: Tensor, dino_image: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        levels = self.fused_levels(sam_image, dino_image)
        # at the first level's size, so that the last resize has nothing to do
        size = (levels[0].shape[-2], levels[0].shape[-1])
        return self.decoder(levels, size, "fine").fine, levels

    # -- maps that never change, and need not be computed twice

    def semantic_obstacle(self) -> str | None:
        if self.semantic is None:
            return "this model has no DINOv2"
        if self.semantic.trainable:
            return "this model trains its DINOv2, so its maps change with every step"
        return None

    def semantics(self) -> Semantics:
        config, semantic = self.config, self.semantic
        if config is None or semantic is None:
            raise ConfigError("the model needs a config and a DINOv2")
        weights = semantic.source.fingerprint if semantic.source is not None else None
        return Semantics(
            encoder=config.semantic,
            weights=weights or fingerprint(semantic.trunk.state_dict()),
            size=as_size(config.dino_size),
            depths=semantic.depths,
            norm=semantic.norm,
            shapes=tuple(self.semantic_shapes()),
            interpolate=config.interpolate,
        )

    def take_out_semantics(self) -> nn.Module | None:
        if self.semantic is None or self.semantic.source is None:
            return None
        return self.semantic.take_out()

    def put_back_semantics(self, trunk: nn.Module) -> None:
        assert self.semantic is not None
        self.semantic.put_back(trunk)
