"""What an encoder is to the rest of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from dsunet.config import Role
from dsunet.errors import ConfigError, InputSizeError

__all__ = ["STORED", "Encoder", "EncoderReference", "check_side", "in_trunk"]

# What the tensors of each encoder are called in a model and in its files, as they always were.
STORED: dict[Role, str] = {"pyramid": "hiera", "semantic": "dinov2"}


@dataclass(frozen=True)
class EncoderReference:
    """Which weights an encoder holds, so that a file can name them instead of carrying them."""

    name: str | None
    """timm's full name of public weights; `None` if it is not known which they are."""
    fingerprint: str | None
    """Sum over the tensors, see `dsunet.weights`; `None` in files of version 0.1."""


class Encoder(nn.Module):
    """A trunk of timm that turns an image into one or more feature maps.

    A frozen encoder has no gradients and stays in evaluation mode whatever `train()` says, so that
    neither BatchNorm nor drop path can drift. Adapters inside it stay trainable.

    Attributes:
        trunk: The timm model.
        channels: Channels of each map that `forward` returns.
        strides: Pixels of the input per position of each map.
        multiple: Both sides of the input are a multiple of this.
        has_adapters: Whether there are adapters inside the trunk.
        trainable: Whether the trunk itself is trained.
        every_part_runs: Whether no block of the trunk is left unused, for certain.
        source: Which weights from elsewhere are in the trunk, or `None` when they are nobody else's
            (random, or trained here), so that a saved model has to carry them.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    has_adapters: bool = False
    every_part_runs: bool = False
    source: EncoderReference | None = None

    def __init__(self, trunk: nn.Module, trainable: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.trainable = trainable
        trunk.requires_grad_(trainable)
        self.train(self.training)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        start = f"{prefix}trunk."
        if any(name.startswith(start) and ".adapter." not in name for name in state_dict):
            self.source = None  # the trunk holds these values now

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not self.trainable:
            self.trunk.eval()
        return self

    def checkpoint_activations(self) -> None:
        """Keeps less for the backward pass from now on.

        Raises:
            ConfigError: It is another encoder than Hiera.
        """
        raise ConfigError(
            "`activation_checkpointing` is for Hiera: leave it out with a convolutional encoder, "
            "whose BatchNorm would count what is computed again"
        )

    def check_size(self, image: Tensor, name: str, smallest: int | None = None) -> None:
        """Raises `InputSizeError` unless `image` (B×3×H×W) fits; it names the nearest size."""
        if image.ndim != 4 or image.shape[1] != 3:
            raise InputSizeError(
                f"{name} has shape {tuple(image.shape)}, but B×3×H×W is needed; "
                "for one image add a batch axis with image.unsqueeze(0)"
            )
        height, width = image.shape[-2:]
        check_side(name, height, width, self.multiple, smallest or self.multiple)


def in_trunk(name: str, roles: Iterable[Role]) -> bool:
    """Whether a tensor of a model is one of those encoders' own, adapters left out."""
    return ".adapter." not in name and name.startswith(tuple(f"{STORED[f]}.trunk." for f in roles))


def check_side(name: str, height: int, width: int, multiple: int, smallest: int) -> None:
    """Raises `InputSizeError` unless both sides are multiples of `multiple` from `smallest` on."""
    fits = [max(smallest, round(side / multiple) * multiple) for side in (height, width)]
    if [height, width] != fits:
        raise InputSizeError(
            f"{name} is {height}×{width} px, but sides need to be multiples of {multiple} and at "
            f"least {smallest}; resize it to {fits[0]}×{fits[1]}, the nearest valid size"
        )
