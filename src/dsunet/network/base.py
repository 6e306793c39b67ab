"""What training, prediction and saving need of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from torch import Tensor, nn

from dsunet.config import CustomConfig, ModelConfig, Role, as_size
from dsunet.errors import ConfigError, TrainingError
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.encoders import Encoder, EncoderReference

__all__ = ["SegmentationModel"]


class SegmentationModel(nn.Module):
    """A network that turns one or two views of an image into logits of the object.

    Attributes:
        config: What a weights file says about the model; says which views it takes, too.
        training_facts: What the file that the model was loaded from says of its training.
        channels_last: Whether it may run in that memory layout, the quickest on CPUs.
        left_out: Frozen tensors that a file need not hold, because whoever builds the model makes
            the same ones; encoders with a `source` are told apart by it, not here.
        frozen: What identifies the tensors in `left_out`.
        only_predicts: Why it can neither be trained nor saved; empty for every usual model.
    """

    config: ModelConfig | CustomConfig | None
    training_facts: dict[str, Any]
    channels_last = True
    left_out: frozenset[str] = frozenset()
    frozen: EncoderReference | None = None
    only_predicts: str = ""

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

    def forward(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        outputs: Literal["all", "fine"] = "all",
    ) -> SegmentationLogits:
        """Logits at `sam_image`'s size, see `dsunet.DSUNet`."""
        raise NotImplementedError
