"""What training, prediction and saving need of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor, nn

from dsunet.config import CustomConfig, ModelConfig, Role, as_size
from dsunet.errors import ConfigError, TrainingError
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.encoders import Encoder, EncoderReference

__all__ = ["SegmentationModel", "Semantics"]


class Semantics(NamedTuple):
    """What the maps of DINOv2 are, and what they depend on beside the image."""

    encoder: str
    """timm's name of the architecture."""
    weights: str
    """Fingerprint of its weights."""
    size: tuple[int, int]
    """Height and width of the view in pixels."""
    depths: tuple[int, ...]
    """After how many blocks the maps are taken."""
    norm: bool
    """Whether they have passed the final LayerNorm."""
    shapes: tuple[tuple[int, int, int], ...]
    """C, H, W of each map in its smallest form."""
    interpolate: str
    """How position embeddings were brought to the view's grid."""


class SegmentationModel(nn.Module):
    """A network that turns one or two views of an image into logits of the object, or of classes.

    What only some networks can do is a method, too; those that cannot say so by its default.

    Attributes:
        config: What a weights file says about the model; says which views it takes, too.
        training_facts: What the file that the model was loaded from says of its training.
        channels_last: Whether it may run in that memory layout, the quickest on CPUs.
        left_out: Frozen tensors that a file need not hold, because whoever builds the model makes
            the same ones; encoders with a `source` are told apart by it, not here.
        frozen: What identifies the tensors in `left_out`.
        repeated_heads: Tensors of heads that weights of one map have filled for each class alike.
        only_predicts: Why it can neither be trained nor saved; empty for every usual model.
    """

    config: ModelConfig | CustomConfig | None
    training_facts: dict[str, Any]
    channels_last = True
    left_out: frozenset[str] = frozenset()
    frozen: EncoderReference | None = None
    only_predicts: str = ""
    repeated_heads: tuple[str, ...] = ()

    def train(self, mode: bool = True) -> Self:
        """As of every module, but for copies made for prediction alone, which refuse."""
        if mode and self.only_predicts:
            raise TrainingError(
                f"this is a copy for prediction ({self.only_predicts}), which cannot be trained; "
                "train the model that it was made of"
            )
        return super().train(mode)

    def save_changed(self) -> None:
        """Takes tensors out of `left_out` that are no longer as they were made; before saving."""

    def save_too(self, names: Iterable[str]) -> None:
        """Takes tensors out of `left_out`."""

    @property
    def encoders(self) -> Mapping[Role, Encoder]:
        """The encoders whose weights a file may refer to by name."""
        return {}

    @property
    def view_sizes(self) -> tuple[tuple[int, int], tuple[int, int] | None]:
        """Height and width of the view, and of the second one in models that take two.

        Raises:
            ConfigError: The model has no config, which says them.
        """
        config = self.config
        if config is None:
            raise ConfigError("the model has no config to take its image sizes from")
        takes_two = isinstance(config, CustomConfig) or "semantic" in self.encoders
        second = config.dino_size if takes_two else None
        return as_size(config.sam_size), None if second is None else as_size(second)

    def views_with(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int] | None]:
        """As `view_sizes`, with another height and width of the first view.

        Raises:
            ConfigError: The model does not take such a view, or has no config.
        """
        _, second = self.view_sizes
        assert self.config is not None
        try:
            changed = dataclasses.replace(self.config, sam_size=size)
        except ConfigError as error:
            raise ConfigError(str(error).replace("sam_size", "view")) from error
        return as_size(changed.sam_size), second

    @property
    def intensity(self) -> str:
        """Which stored values of pictures are black and white for it, see `ModelConfig`."""
        return "full" if self.config is None else self.config.intensity

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes, one for each channel of its logits; none for the one map."""
        return self.config.classes if isinstance(self.config, ModelConfig) else ()

    @property
    def exclusive(self) -> bool:
        """Whether a pixel has one of several classes at most, see `dsunet.network.classes`."""
        return isinstance(self.config, ModelConfig) and self.config.exclusive and bool(self.classes)

    # -- what it consists of

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of every part that is counted by itself."""
        return {name: list(part.parameters()) for name, part in self.named_children()}

    @property
    def absent_parameters(self) -> dict[str, int]:
        """How many parameters of its parts were taken out, because others compute their maps."""
        return {}

    @property
    def every_part_runs(self) -> bool:
        """Whether all trained parameters have a part in the loss of every batch, for certain."""
        return False

    def checkpoint_activations(self) -> None:
        """Keeps less for the backward pass from now on, and computes the rest again there.

        Raises:
            ConfigError: It cannot.
        """
        raise ConfigError(
            "`activation_checkpointing` is for dsunet's models: leave it out, and let your network "
            "call torch.utils.checkpoint itself"
        )

    # -- levels, for students and teachers

    @property
    def level_shapes(self) -> list[tuple[int, int, int]]:
        """C, H, W of the levels that enter its decoder, fine to coarse; none if nobody knows."""
        return []

    def outputs_and_levels(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        dino_features: Tensor | Sequence[Tensor] | None = None,
        outputs: Literal["all", "fine"] = "all",
    ) -> tuple[SegmentationLogits, list[Tensor]]:
        """What `forward` gives, and the levels that entered the decoder.

        Raises:
            ConfigError: Nobody knows its levels.
        """
        raise ConfigError("the levels of a network of your own are not known")

    @property
    def map_stride(self) -> int:
        """Pixels of the view per position of its logits before their last resize."""
        return 1

    def small_logits_and_levels(
        self, sam_image: Tensor, dino_image: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Fine logits at `map_stride`, B×1×h×w, and the levels behind them, if they are known."""
        return self(sam_image, dino_image, outputs="fine").fine, []

    # -- maps that never change, and need not be computed twice

    def semantic_obstacle(self) -> str | None:
        """Why none of its parts gives maps that could be kept; `None` if DINOv2 does."""
        return "a network of your own says of none of its parts that it gives the same every time"

    def semantics(self) -> Semantics:
        """What the maps are that can be kept.

        Raises:
            ConfigError: There are none.
        """
        raise ConfigError(f"there are no maps to keep: {self.semantic_obstacle()}")

    def semantic_shapes(self) -> list[tuple[int, int, int]]:
        """C, H, W of what `reduced_semantics` gives for one image."""
        return list(self.semantics().shapes)

    def reduced_semantics(self, dino_image: Tensor) -> list[Tensor]:
        """The maps that can be kept, in their smallest form: B×3×h×w → list of B×C×H×W.

        Raises:
            ConfigError: There are none.
        """
        raise ConfigError(f"there are no maps to keep: {self.semantic_obstacle()}")

    def take_out_semantics(self) -> nn.Module | None:
        """Takes out what computes those maps, and returns it; `None` if files have to carry it."""
        return None

    def put_back_semantics(self, trunk: nn.Module) -> None:
        """The opposite of `take_out_semantics`."""
        raise ConfigError("nothing was taken out of this network")

    def forward(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        outputs: Literal["all", "fine"] = "all",
    ) -> SegmentationLogits:
        """Logits at `sam_image`'s size, see `dsunet.DSUNet`."""
        raise NotImplementedError
