"""Which network: everything that a weights file has to say to build it again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from dsunet.config.checking import require, require_choices
from dsunet.config.classes import as_classes, leave_out_unused
from dsunet.config.intensity import as_intensity
from dsunet.config.renamed import has_old_names
from dsunet.errors import perhaps

__all__ = [
    "BLOCKS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ROLES",
    "CustomConfig",
    "Injection",
    "ModelConfig",
    "Role",
    "as_size",
    "is_hiera",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


# The two kinds of encoders, and the names under which a model has them.
Role = Literal["pyramid", "semantic"]


ROLES: tuple[Role, Role] = ("pyramid", "semantic")


# The settings that may name code of the user's own in place of a part of the paper's.
BLOCKS = ("receptive_field", "fusion", "decoder", "decoder_fusion", "head")


_DECODERS = ("sff", "unet")


Injection = Literal["final", "none", "hierarchical", "broadcast"]


def as_size(value: int | tuple[int, int]) -> tuple[int, int]:
    """Returns `(height, width)` for one side of a square or for a pair."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def is_hiera(name: str) -> bool:
    """Whether the name of a hierarchical encoder is that of a Hiera with SAM 2's layout."""
    return name == "hiera_nano" or name.startswith(("sam2_hiera", "hieradet"))


@has_old_names
@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build a network; saved in every weights file."""

    name: str = "dsunet-large"
    """The preset that this configuration started from."""

    pyramid: str = "sam2_hiera_large"
    """Hierarchical encoder: any `sam2_hiera_*` of timm, `hiera_nano`, our own small size, or any
    backbone of timm with feature maps at strides 4, 8, 16 and 32 (`tf_efficientnet_lite0`, say),
    which is trained as a whole and takes no adapters."""

    semantic: str = "vit_large_patch14_dinov2"
    """Plain encoder: any ViT of timm, or `vit_nano_patch14`, our own small size."""

    sam_version: Literal["2.1", "2.0"] = "2.1"
    """Which SAM 2 release pretrained Hiera weights come from; the published code takes 2.1."""

    sam_size: int | tuple[int, int] = 352
    """Side of Hiera's view in pixels, or height and width as `[192,256]`; multiples of 32, at least
    128."""

    dino_size: int | tuple[int, int] = 518
    """Side of DINOv2's view in pixels, or height and width as `[182,252]`; multiples of the patch
    size (14)."""

    intensity: str = "full"
    """Which stored values of pictures are black and white: `full` is the range of 8 or 16 bits;
    `percentile`, of each picture, so that 1 % of it is cut; or two numbers for all, as 0,4095 for
    12 bits in 16. Kept in the weights, and so used by prediction; floats, signed and 32-bit numbers
    need one of the last two."""

    injection: Injection = "final"
    """Where DINOv2 enters: `final` (last layer into the last level: the paper), `none` (ablation
    A), `hierarchical` (four depths into four levels: B), `broadcast` (last layer into all: C)."""

    semantic_norm: bool = True
    """Take DINOv2's patch tokens after its final LayerNorm, as the published code does; false
    takes the plain output of the block, as the paper's text can be read."""

    semantic_depth: int | None = None
    """Keep only so many of DINOv2's blocks, the first ones; all if not given. `dsunet prune` finds
    out how many the results need."""

    interpolate: Literal["official", "timm"] = "official"
    """How position embeddings are brought to `dino_size`, once when weights are read: as DINOv2's
    own code does, or as timm does."""

    train_pyramid: bool = False
    """Train the whole of the hierarchical encoder instead of its adapters alone."""

    train_semantic: bool = False
    """Train DINOv2 instead of keeping it frozen."""

    adapter_channels: int = 32
    """Bottleneck of the adapter before every Hiera block; 0 leaves the adapters out."""

    decoder: str = "sff"
    """Decoder: `sff`, spatial feature fusion (DSU-Net), or `unet`, upsampling and double
    convolutions (SAM2-UNet, the baseline); or PACKAGE.MODULE:NAME of a whole decoder of your own,
    see docs/custom-models.md."""

    receptive_field: str | None = None
    """PACKAGE.MODULE:NAME of a block of your own in place of the receptive field block: called with
    the channels in and out, it makes a module B×C×H×W → B×C'×H×W."""

    fusion: str | None = None
    """The same in place of WTD and CGA, where a map of DINOv2 enters a level: called with the
    channels of level and map, it makes a module B×C×H×W, B×S×h×w → B×C×H×W."""

    decoder_fusion: str | None = None
    """The same in place of SFF: called with the finer map's channels and, as `coarse_channels`, the
    coarser one's, it makes a module that merges both, B×C'×h×w, B×C×H×W → B×C×H×W."""

    head: str | None = None
    """The same in place of the decoder's heads: called with the channels, it makes a module
    B×C×H×W → logits B×1×h×w."""

    decoder_channels: int | tuple[int, int, int, int] = 64
    """Channels of every level after its receptive field block, and of the decoder; or one number
    for each of the four levels, fine to coarse, as `[16,32,48,48]`."""

    attention_channels: int = 32
    """Channels of query, key and value in the decoder's spatial feature fusion."""

    attention_pooling: bool = False
    """Average keys and values of the finer fusions to the grid of stride 16, which makes their
    attention affordable on small machines; the paper does not."""

    channel_modulation: Literal["resize_first", "resize_last"] = "resize_first"
    """Order inside WTD: bilinear resize before the wavelet convolution (published code and Fig. 3)
    or after it (the wording of section III)."""

    pixel_attention: Literal["published", "single_sigmoid"] = "published"
    """Content-guided attention's weights: sigmoid applied twice, as in the published code (and in
    DEA-Net's, where it comes from), or once."""

    decoder_merge: Literal["concat", "add"] = "concat"
    """How attention and the finer map meet in the decoder: concatenation and one convolution
    (published code), or a sum and two convolutions (Fig. 4)."""

    classes: tuple[str, ...] = ()
    """Names of the classes of a model of several, separated by commas, as `scratch,dent`: one map
    for each, background apart. None is the paper's one map of the object. See docs/classes.md."""

    exclusive: bool = True
    """Of `classes`: a pixel is of one class or background (softmax); false lets classes lie over
    each other (a sigmoid for each)."""

    def __post_init__(self) -> None:
        require_choices(self)
        object.__setattr__(self, "intensity", as_intensity(self.intensity))
        object.__setattr__(self, "classes", as_classes(self.classes))
        for field in ("sam_size", "dino_size"):
            value = getattr(self, field)
            if isinstance(value, list):  # as YAML and JSON give it
                object.__setattr__(self, field, tuple(value))
                value = getattr(self, field)
            require(
                isinstance(value, int) or len(value) == 2, field, value, "needs one or two integers"
            )
        smallest = 32 if self.injection == "none" else 128
        for side in as_size(self.sam_size):
            nearest = max(smallest, round(side / 32) * 32)
            require(
                side == nearest,
                "sam_size",
                self.sam_size,
                f"sides need to be multiples of 32 and at least {smallest}; nearest: {nearest}",
            )
        for side in as_size(self.dino_size):
            require(side > 0, "dino_size", self.dino_size, "sides need to be positive")
        require(
            self.semantic_depth is None or self.semantic_depth >= 1,
            "semantic_depth",
            self.semantic_depth,
            "needs at least 1, or nothing for all blocks",
        )
        for field in BLOCKS:
            self._check_block(field)
        own = self.head or (self.decoder if self.decoder not in _DECODERS else None)
        require(
            not (self.classes and own),
            "classes",
            ", ".join(self.classes),
            f"{own}, a block of your own, gives one map: leave one of them out",
        )
        require(
            self.decoder != "unet" or self.injection == "none",
            "decoder",
            self.decoder,
            "SAM2-UNet has no DINOv2 branch: set injection to none",
        )
        if isinstance(self.decoder_channels, list):  # as YAML and JSON give it
            object.__setattr__(self, "decoder_channels", tuple(self.decoder_channels))
        for field in ("adapter_channels", "decoder_channels", "attention_channels"):
            value, least = getattr(self, field), 0 if field == "adapter_channels" else 1
            each = value if isinstance(value, tuple) else (value,) * 4
            require(
                len(each) == 4 and all(least <= one <= 4096 for one in each),
                field,
                value,
                f"needs {least} to 4096" + (", once or four times" if len(each) != 4 else ""),
            )
        require(
            self.decoder != "unet" or not self.attention_pooling,
            "attention_pooling",
            self.attention_pooling,
            "SAM2-UNet's decoder has no attention: leave it out",
        )
        require(
            self.has_hiera or (self.train_pyramid and self.adapter_channels == 0),
            "pyramid",
            self.pyramid,
            "a backbone that is no Hiera of SAM 2 is trained as a whole and takes no adapters: set "
            "train_pyramid to true and adapter_channels to 0",
        )

    def _check_block(self, field: str) -> None:
        name = getattr(self, field)
        known = _DECODERS if field == "decoder" else (None,)
        choices = f"{', '.join(_DECODERS)} or " if field == "decoder" else ""
        require(
            name in known or (isinstance(name, str) and ":" in name),
            field,
            name,
            f"needs {choices}PACKAGE.MODULE:NAME"
            + (perhaps(str(name), _DECODERS) if field == "decoder" else ""),
        )
        if field != "decoder" and name is not None:
            require(
                field == "fusion" or self.decoder in _DECODERS,
                field,
                name,
                f"is part of the decoder that `decoder` {self.decoder} replaces: leave it out",
            )
            require(
                field != "fusion" or self.injection != "none",
                field,
                name,
                "the network has no DINOv2 branch (`injection` none): leave it out",
            )

    @property
    def blocks(self) -> dict[str, str]:
        """The parts that are code of the user's own, each with its import path."""
        named = {field: getattr(self, field) for field in BLOCKS}
        return {field: name for field, name in named.items() if name and ":" in name}

    @property
    def has_hiera(self) -> bool:
        """Whether the hierarchical encoder is a Hiera, and not another backbone of timm."""
        return is_hiera(self.pyramid)

    @property
    def uses_semantic(self) -> bool:
        """Whether the network has a DINOv2 branch."""
        return self.injection != "none"

    @property
    def encoders(self) -> dict[Role, str]:
        """The architectures of the encoders that the network has."""
        both: dict[Role, str] = {"pyramid": self.pyramid, "semantic": self.semantic}
        return both if self.uses_semantic else {"pyramid": self.pyramid}

    def trains(self, role: Role) -> bool:
        """Whether an encoder is trained as a whole."""
        return self.train_pyramid if role == "pyramid" else self.train_semantic

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON and YAML; `ModelConfig(**it)` gives the same back."""
        return _plain(dataclasses.asdict(self))


@dataclass(frozen=True)
class CustomConfig:
    """What a weights file says about a model of the user's own; see docs/custom-models.md."""

    name: str
    """Import path of what makes the network, `PACKAGE.MODULE:NAME`; it is never imported from here.
    """

    sam_size: int | tuple[int, int] = 352
    """Side of the network's view in pixels, or height and width."""

    dino_size: int | tuple[int, int] | None = None
    """The same of a second view, for networks that take two."""

    intensity: str = "full"
    """Which stored values of pictures are black and white, as of `ModelConfig`."""

    def __post_init__(self) -> None:
        require(isinstance(self.name, str), "name", self.name, "needs to be text")
        object.__setattr__(self, "intensity", as_intensity(self.intensity))
        for field in ("sam_size", "dino_size"):
            value = getattr(self, field)
            if isinstance(value, list):  # as YAML and JSON give it
                object.__setattr__(self, field, tuple(value))
            sides = value if isinstance(value, list | tuple) else (value, value)
            require(
                (value is None and field == "dino_size")
                or (len(sides) == 2 and all(isinstance(s, int) and s > 0 for s in sides)),
                field,
                value,
                "needs one or two integers above 0",
            )

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON; `custom` tells it from that of a `ModelConfig`."""
        settings = dataclasses.asdict(self)
        return _plain({"custom": settings.pop("name"), **settings})


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file: lists for tuples, and without what most files need not say."""
    if settings["intensity"] == "full":  # which files of before know nothing of
        del settings["intensity"]
    for field in BLOCKS:
        if settings.get(field, "") is None:
            del settings[field]
    leave_out_unused(settings)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()}
