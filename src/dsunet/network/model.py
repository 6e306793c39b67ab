"""The network: two encoders, where they meet, and a light decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from dsunet.config import ModelConfig, Role
from dsunet.errors import ConfigError, InputSizeError
from dsunet.network.base import SegmentationModel
from dsunet.network.decoder import Decoder, SegmentationLogits
from dsunet.network.encoders import BackboneEncoder, Encoder, HieraEncoder, SemanticEncoder
from dsunet.network.fusion import FeatureInjection
from dsunet.network.layers import resize_bilinear

__all__ = ["DSUNet"]


class DSUNet(SegmentationModel):
    """Segments the object in an image with two encoders and a light decoder (paper, Fig. 3).

    Without DINOv2, and with the other decoder, it is the baseline SAM2-UNet.

    Args:
        hiera: Encoder with four levels at strides 4, 8, 16, 32: Hiera, or a light backbone in its
            place.
        dinov2: Encoder with one or more maps of semantic features; `None` leaves it out.
        fusion: Where those maps enter the levels; `None` exactly when `semantic` is.
        decoder: Levels → logits.
        config: The settings the parts were built from; needed to save the model.
    """

    config: ModelConfig | None

    def __init__(
        self,
        pyramid: HieraEncoder | BackboneEncoder,
        semantic: SemanticEncoder | None,
        fusion: FeatureInjection | None,
        decoder: Decoder,
        config: ModelConfig | None = None,
    ) -> None:
        super().__init__()
        if (semantic is None) != (fusion is None):
            raise ConfigError("dinov2 and fusion belong together: give both, or None for both")
        self.pyramid = pyramid
        self.semantic = semantic
        self.fusion = fusion
        self.decoder = decoder
        self.config = config
        self.training_facts = {}

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
