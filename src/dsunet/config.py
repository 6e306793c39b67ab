"""All settings, as frozen and validated dataclasses.

The string below each field is its documentation and, through jsonargparse, the help text of the
flag with the same name. The module imports nothing of this package and nothing heavy, so that the
command line can show its help at once. A wrong value raises `ValueError`.

Defaults are the paper's (section IV-C) or, where paper and published code differ, those named in
docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "FINE_TUNING",
    "MODEL_PRESETS",
    "RECIPE_BATCH",
    "CustomConfig",
    "DataConfig",
    "DistillConfig",
    "LossConfig",
    "ModelConfig",
    "PruneConfig",
    "TrainConfig",
    "as_size",
    "is_hiera",
    "model_config",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The paper's images per step (section IV-C).
RECIPE_BATCH = 8

# The two kinds of encoders, and the names under which a model has them.
Family = Literal["hiera", "dinov2"]
FAMILIES: tuple[Family, Family] = ("hiera", "dinov2")

Injection = Literal["final", "none", "hierarchical", "broadcast"]


def as_size(value: int | tuple[int, int]) -> tuple[int, int]:
    """Returns `(height, width)` for one side of a square or for a pair."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def is_hiera(name: str) -> bool:
    """Whether the name of a hierarchical encoder is that of a Hiera with SAM 2's layout."""
    return name == "hiera_nano" or name.startswith(("sam2_hiera", "hieradet"))


def _require(condition: bool, field: str, value: object, rule: str) -> None:
    if not condition:
        raise ValueError(f"{field} is {value!r}, but {rule}")


@functools.cache
def _choices(cls: Any) -> dict[str, tuple[Any, ...]]:
    """The settings that take one of a few values, and these."""
    hints = typing.get_type_hints(cls)
    return {n: typing.get_args(h) for n, h in hints.items() if typing.get_origin(h) is Literal}


def _require_choices(settings: Any) -> None:
    cls: Any = type(settings)
    for field, known in _choices(cls).items():
        value = getattr(settings, field)
        _require(value in known, field, value, f"needs one of {', '.join(known)}")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build a network; saved in every weights file."""

    name: str = "dsunet-large"
    """The preset that this configuration started from."""

    hiera: str = "sam2_hiera_large"
    """Hierarchical encoder: any `sam2_hiera_*` of timm, `hiera_nano`, our own small size, or any
    backbone of timm with feature maps at strides 4, 8, 16 and 32 (`tf_efficientnet_lite0`, say),
    which is trained as a whole and takes no adapters."""

    dinov2: str = "vit_large_patch14_dinov2"
    """Plain encoder: any ViT of timm, or `vit_nano_patch14`, our own small size."""

    sam_version: Literal["2.1", "2.0"] = "2.1"
    """Which SAM 2 release pretrained Hiera weights come from; the published code takes 2.1."""

    sam_size: int | tuple[int, int] = 352
    """Side of Hiera's view in pixels, or height and width as `[192,256]`; multiples of 32, at least
    128."""

    dino_size: int | tuple[int, int] = 518
    """Side of DINOv2's view in pixels, or height and width as `[182,252]`; multiples of the patch
    size (14)."""

    injection: Injection = "final"
    """Where DINOv2 enters: `final` (last layer into the last level: the paper), `none` (ablation
    A), `hierarchical` (four depths into four levels: B), `broadcast` (last layer into all: C)."""

    dinov2_norm: bool = True
    """Take DINOv2's patch tokens after its final LayerNorm, as the published code does; false
    takes the plain output of the block, as the paper's text can be read."""

    dino_depth: int | None = None
    """Keep only so many of DINOv2's blocks, the first ones; all if not given. `dsunet prune` finds
    out how many the results need."""

    interpolate: Literal["official", "timm"] = "official"
    """How position embeddings are brought to `dino_size`, once when weights are read: as DINOv2's
    own code does, or as timm does."""

    train_hiera: bool = False
    """Train the whole of the hierarchical encoder instead of its adapters alone."""

    train_dinov2: bool = False
    """Train DINOv2 instead of keeping it frozen."""

    adapter_channels: int = 32
    """Bottleneck of the adapter before every Hiera block; 0 leaves the adapters out."""

    decoder: Literal["sff", "unet"] = "sff"
    """Decoder: spatial feature fusion (DSU-Net), or upsampling and double convolutions (SAM2-UNet,
    the baseline)."""

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

    def __post_init__(self) -> None:
        _require_choices(self)
        for field in ("sam_size", "dino_size"):
            value = getattr(self, field)
            if isinstance(value, list):  # as YAML and JSON give it
                object.__setattr__(self, field, tuple(value))
                value = getattr(self, field)
            _require(
                isinstance(value, int) or len(value) == 2, field, value, "needs one or two integers"
            )
        smallest = 32 if self.injection == "none" else 128
        for side in as_size(self.sam_size):
            nearest = max(smallest, round(side / 32) * 32)
            _require(
                side == nearest,
                "sam_size",
                self.sam_size,
                f"sides need to be multiples of 32 and at least {smallest}; nearest: {nearest}",
            )
        for side in as_size(self.dino_size):
            _require(side > 0, "dino_size", self.dino_size, "sides need to be positive")
        _require(
            self.dino_depth is None or self.dino_depth >= 1,
            "dino_depth",
            self.dino_depth,
            "needs at least 1, or nothing for all blocks",
        )
        _require(
            self.decoder == "sff" or self.injection == "none",
            "decoder",
            self.decoder,
            "SAM2-UNet has no DINOv2 branch: set injection to none",
        )
        if isinstance(self.decoder_channels, list):  # as YAML and JSON give it
            object.__setattr__(self, "decoder_channels", tuple(self.decoder_channels))
        for field in ("adapter_channels", "decoder_channels", "attention_channels"):
            value, least = getattr(self, field), 0 if field == "adapter_channels" else 1
            each = value if isinstance(value, tuple) else (value,) * 4
            _require(
                len(each) == 4 and all(least <= one <= 4096 for one in each),
                field,
                value,
                f"needs {least} to 4096" + (", once or four times" if len(each) != 4 else ""),
            )
        _require(
            self.decoder == "sff" or not self.attention_pooling,
            "attention_pooling",
            self.attention_pooling,
            "SAM2-UNet's decoder has no attention: leave it out",
        )
        _require(
            self.has_hiera or (self.train_hiera and self.adapter_channels == 0),
            "hiera",
            self.hiera,
            "a backbone that is no Hiera of SAM 2 is trained as a whole and takes no adapters: set "
            "train_hiera to true and adapter_channels to 0",
        )

    @property
    def has_hiera(self) -> bool:
        """Whether the hierarchical encoder is a Hiera, and not another backbone of timm."""
        return is_hiera(self.hiera)

    @property
    def uses_dinov2(self) -> bool:
        """Whether the network has a DINOv2 branch."""
        return self.injection != "none"

    @property
    def encoders(self) -> dict[Family, str]:
        """The architectures of the encoders that the network has."""
        both: dict[Family, str] = {"hiera": self.hiera, "dinov2": self.dinov2}
        return both if self.uses_dinov2 else {"hiera": self.hiera}

    def trains(self, family: Family) -> bool:
        """Whether an encoder is trained as a whole."""
        return self.train_hiera if family == "hiera" else self.train_dinov2

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON and YAML; `ModelConfig(**it)` gives the same back."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


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

    def __post_init__(self) -> None:
        _require(isinstance(self.name, str), "name", self.name, "needs to be text")
        for field in ("sam_size", "dino_size"):
            value = getattr(self, field)
            if isinstance(value, list):  # as YAML and JSON give it
                object.__setattr__(self, field, tuple(value))
            sides = value if isinstance(value, list | tuple) else (value, value)
            _require(
                (value is None and field == "dino_size")
                or (len(sides) == 2 and all(isinstance(s, int) and s > 0 for s in sides)),
                field,
                value,
                "needs one or two integers above 0",
            )

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON; `custom` tells it from that of a `ModelConfig`."""
        return {
            "custom" if key == "name" else key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


_PAIRS = {
    "large": ("sam2_hiera_large", "vit_large_patch14_dinov2"),
    "base": ("sam2_hiera_base_plus", "vit_base_patch14_dinov2"),
    "small": ("sam2_hiera_small", "vit_small_patch14_dinov2"),
    "tiny": ("sam2_hiera_tiny", "vit_small_patch14_dinov2"),
}

MODEL_PRESETS: dict[str, ModelConfig] = {
    preset.name: preset
    for preset in (
        *(
            ModelConfig(name=f"dsunet-{size}", hiera=hiera, dinov2=dinov2)
            for size, (hiera, dinov2) in _PAIRS.items()
        ),
        ModelConfig(
            name="dsunet-nano",
            hiera="hiera_nano",
            dinov2="vit_nano_patch14",
            sam_size=224,
            dino_size=224,
            train_hiera=True,
            train_dinov2=True,
            adapter_channels=0,
            decoder_channels=32,
            attention_channels=16,
        ),
        # small models for quick prediction: a convolutional encoder, no DINOv2, pooled attention
        *(
            ModelConfig(
                name=name,
                hiera=backbone,
                sam_size=side,
                injection="none",
                train_hiera=True,
                adapter_channels=0,
                decoder_channels=channels,
                attention_channels=16,
                attention_pooling=True,
            )
            for name, backbone, side, channels in (
                ("dsunet-lite", "tf_efficientnet_lite0", 256, (16, 32, 48, 48)),
                ("dsunet-lite1", "tf_efficientnet_lite1", 288, (24, 40, 56, 56)),
                ("dsunet-lite2", "tf_efficientnet_lite2", 320, (32, 48, 64, 64)),
            )
        ),
        # SAM2-UNet, the baseline, as published: SAM 2.0, no DINOv2
        *(
            ModelConfig(
                name=f"sam2unet-{size}",
                hiera=hiera,
                sam_version="2.0",
                injection="none",
                decoder="unet",
            )
            for size, (hiera, _) in _PAIRS.items()
        ),
        ModelConfig(
            name="sam2unet-nano",
            hiera="hiera_nano",
            sam_version="2.0",
            sam_size=224,
            injection="none",
            train_hiera=True,
            adapter_channels=0,
            decoder="unet",
            decoder_channels=32,
        ),
    )
}


def model_config(name: str = "dsunet-large", **overrides: Any) -> ModelConfig:
    """The preset `name` with some fields replaced; `None` leaves a field as the preset has it.

    Raises:
        ValueError: The preset or a field is unknown, or a value does not fit.
    """
    if name not in MODEL_PRESETS:
        raise ValueError(
            f"model {name!r} is unknown; known: {', '.join(sorted(MODEL_PRESETS))}; one of your "
            "own is named by its import path, PACKAGE.MODULE:NAME"
        )
    fields = {field.name for field in dataclasses.fields(ModelConfig)} - {"name"}
    unknown = sorted(set(overrides) - fields)
    if unknown:
        raise ValueError(
            f"model setting {unknown[0]!r} is unknown; known: {', '.join(sorted(fields))}"
        )
    given = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(MODEL_PRESETS[name], **given)


@dataclass(frozen=True)
class PruneConfig:
    """What `dsunet prune` takes away, and how it chooses."""

    ratio: float = 0.5
    """Share of the channels that is taken out of every level of the decoder (RFB and SFF), of its
    attention and of the adapters; 0 for none. Parameters fall with the square of it."""

    decoder_ratio: float | None = None
    """The same for the levels of the decoder alone, instead of `--ratio`."""

    attention_ratio: float | None = None
    """The same for query, key and value in the decoder's attention."""

    adapter_ratio: float | None = None
    """The same for the adapters' bottlenecks."""

    multiple: int = 4
    """Round the numbers of channels that stay to multiples of this: processors compute in such
    groups, and other numbers can take longer than the next larger multiple."""

    importance: Literal["auto", "taylor", "magnitude"] = "auto"
    """Which channels stay: `taylor`, those without which the loss would change most, judged by its
    gradient on training images; `magnitude`, those with the largest weights, which needs no images
    and chooses worse. `auto` is taylor where there are training images."""

    calibration: int = 128
    """Training images for that gradient, and for the mean and variance of the BatchNorms behind
    pruned channels, which are counted anew; 0 for none of both."""

    drop_dino_blocks: int | Literal["auto"] = 0
    """How many of DINOv2's last blocks to leave out. `auto` measures every number of them on the
    validation images and takes the largest that costs no more than `--tolerance`."""

    tolerance: float = 0.005
    """By how much `--drop-dino-blocks auto` may lower the S-measure, before any fine-tuning."""

    def __post_init__(self) -> None:
        _require_choices(self)
        for field in ("ratio", "decoder_ratio", "attention_ratio", "adapter_ratio"):
            value = getattr(self, field)
            _require(value is None or 0 <= value < 1, field, value, "needs [0, 1)")
        _require(self.multiple >= 1, "multiple", self.multiple, "needs at least 1")
        _require(self.calibration >= 0, "calibration", self.calibration, "needs at least 0")
        _require(
            self.importance != "taylor" or self.calibration > 0,
            "calibration",
            self.calibration,
            "importance taylor needs some images",
        )
        dropped = self.drop_dino_blocks
        _require(
            dropped == "auto" or (isinstance(dropped, int) and dropped >= 0),
            "drop_dino_blocks",
            dropped,
            "needs auto, or a number of at least 0",
        )
        _require(0 <= self.tolerance < 1, "tolerance", self.tolerance, "needs [0, 1)")

    def ratio_of(self, part: Literal["decoder", "attention", "adapter"]) -> float:
        """The share that is taken out of one kind of layers."""
        own: float | None = getattr(self, f"{part}_ratio")
        return self.ratio if own is None else own


@dataclass(frozen=True)
class LossConfig:
    """The paper's loss (equations 1 and 2)."""

    bce: Literal["mean", "boundary_weighted"] = "mean"
    """Binary cross-entropy: plain mean, as published, or weighted towards boundaries like the
    IoU term, as the published code means it."""

    output_weights: tuple[float, float, float] = (0.25, 0.5, 1.0)
    """Weights of the coarse, middle and fine output in the total."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_weights", tuple(self.output_weights))  # YAML has lists
        _require(
            len(self.output_weights) == 3 and min(self.output_weights) >= 0,
            "output_weights",
            self.output_weights,
            "needs three numbers of at least 0",
        )
        _require(
            self.output_weights[2] > 0,
            "output_weights",
            self.output_weights,
            "the last, of the output that prediction uses, needs to be above 0",
        )


@dataclass(frozen=True)
class DataConfig:
    """Where training and validation pairs come from."""

    data: str | None = None
    """Folder, or .tar file, that holds `images/` and `masks/` for training; pairs share a stem."""

    images: str | None = None
    """Folder of training images, instead of `--data`."""

    masks: str | None = None
    """Folder of training masks, instead of `--data`."""

    benchmarks: str | None = None
    """Folder below which the field's public sets lie, instead of `--data`: train on those of
    `--task`, joined."""

    task: str | None = None
    """Task of `--benchmarks`: `sod` trains on DUTS-TR, `cod` on CAMO-train and COD10K-train;
    `polyp`, `marine`, `mirror`."""

    val: str | None = None
    """Folder, or .tar file, with `images/` and `masks/` for validation."""

    val_fraction: float = 0.0
    """Share of the training pairs, chosen by the seed, that is held out for validation."""

    train_list: str | None = None
    """Text file with one stem per line: train on these pairs of `--data` only."""

    val_list: str | None = None
    """Text file with one stem per line: validate on these pairs of `--data`; they are left out of
    training."""

    limit: int | None = None
    """Train on the first so many pairs only, an even share from each set: a rehearsal. A
    `--val-fraction` is taken from these."""

    horizontal_flip: float = 0.5
    """Probability of mirroring left and right."""

    vertical_flip: float = 0.5
    """Probability of mirroring top and bottom."""

    crop: float = 0.0
    """Probability of a random crop of 40 to 100 % of the image's area; the paper has none."""

    colour: float = 0.0
    """Probability of a random change of brightness, contrast and saturation; the paper has none."""

    draft: bool = False
    """Decode large JPEGs for training at the smallest of 1/2, 1/4 and 1/8 that still has the views'
    pixels: quicker with photographs of many megapixels, and slightly other values. Not done where
    images are cropped."""

    check: Literal["full", "headers"] = "full"
    """How the files are checked before the start: `full` reads every one; `headers` is quicker, but
    finds no cut-off files, odd masks and near-duplicates."""

    workers: int = 2
    """Processes that decode and resize images beside the training; 0 uses the training's own."""

    def __post_init__(self) -> None:
        for field in ("data", "images", "masks", "benchmarks", "val", "train_list", "val_list"):
            if getattr(self, field) is not None:  # paths are welcome; settings are kept as text
                object.__setattr__(self, field, str(getattr(self, field)))
        folders = self.images is not None or self.masks is not None
        places = [
            flag
            for flag, given in (
                ("--data", self.data is not None),
                ("--images/--masks", folders),
                ("--benchmarks", self.benchmarks is not None),
            )
            if given
        ]
        if not places:
            raise ValueError(
                "no training data: give --data DIR, or --images DIR and --masks DIR, or "
                "--benchmarks ROOT and --task NAME"
            )
        if len(places) > 1:
            raise ValueError(f"{' and '.join(places)} exclude each other: give one of them")
        if (self.benchmarks is None) != (self.task is None):
            raise ValueError("--benchmarks and --task belong together: give both, or neither")
        if folders and (self.images is None or self.masks is None):
            raise ValueError("--images and --masks belong together: give both")
        sources = [self.val is not None, self.val_list is not None, self.val_fraction > 0]
        if sum(sources) > 1:
            raise ValueError("--val, --val-list and --val-fraction exclude each other: give one")
        _require(0 <= self.val_fraction < 1, "val_fraction", self.val_fraction, "needs [0, 1)")
        _require(self.limit is None or self.limit >= 1, "limit", self.limit, "needs at least 1")
        for field in ("horizontal_flip", "vertical_flip", "crop", "colour"):
            _require(0 <= getattr(self, field) <= 1, field, getattr(self, field), "needs [0, 1]")
        _require(self.workers >= 0, "workers", self.workers, "needs at least 0")


@dataclass(frozen=True)
class TrainConfig:
    """The training recipe; the defaults are the paper's."""

    epochs: int = 50
    """How often every training image is seen."""

    batch_size: int | Literal["auto"] = RECIPE_BATCH
    """Images per step and device; `auto` is the largest of 8, 4, 2 and 1 that fits into the memory
    that is free, with `--accumulate` so that 8, the paper's number, make a step."""

    lr: float = 1e-3
    """AdamW's learning rate at the start."""

    encoder_lr: float | None = None
    """Learning rate of encoders that are trained as a whole; a fifth of `--lr` if not given.
    Adapters always take `--lr`."""

    min_lr: float = 1e-7
    """What `--lr` falls to at the end of the cosine schedule, which steps once an epoch; the
    encoders' rate falls by the same factor."""

    warmup_epochs: int = 0
    """Epochs of linear warm-up before the cosine schedule; the paper has none."""

    weight_decay: float = 5e-4
    """AdamW's weight decay, on every trained tensor (norms and biases too, as published)."""

    average: float = 0.0
    """Decay, such as 0.998, of an exponential moving average of the weights over the steps, which
    is then what is validated and saved; 0 for none, as in the paper."""

    accumulate: int = 1
    """Batches whose gradients are averaged before a step. BatchNorm still sees single batches.
    Above 1, `--batch-size auto` leaves it as it is."""

    clip_grad_norm: float | None = None
    """Largest norm of the gradient; longer ones are scaled down."""

    early_stop: int | None = None
    """Stop after this many epochs without a better S-measure on the validation set."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Autocast type; `auto` is bfloat16 where the GPU computes in it, and float32 elsewhere."""

    feature_cache: str = "off"
    """Keep the maps of a frozen DINOv2 on disk, for each image and flip, so that they are computed
    once only: `off`; `auto`, in the user's folder for caches; or a folder."""

    cache_type: Literal["float16", "float32"] = "float16"
    """Number type of the stored maps. Training from float16 is training on rounded maps; float32
    takes twice the disk, and gives what training without a cache gives."""

    cache_budget: float = 50.0
    """The most that the feature cache may take of the disk, in GB (10⁹ bytes)."""

    activation_checkpointing: bool = False
    """Keep less of Hiera for the backward pass and compute it again there: less memory, longer
    steps, the very same results. May change on `--resume`."""

    compile: bool = False
    """Compile the training step's network with `torch.compile`, which takes some minutes at the
    start and needs a C++ compiler; results differ in the last digits. Validation is not compiled.
    """

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    devices: int = 1
    """How many devices of that kind to train on (distributed data parallel)."""

    seed: int = 0
    """Seed of initial weights, split, order and flips."""

    deterministic: bool = False
    """Ask torch for deterministic algorithms; it warns of those that it has none for, such as the
    gradient of reflect padding on GPUs. The CPU is deterministic anyway."""

    save_every: float = 10.0
    """Minutes after which the state to go on from is saved inside an epoch, too; 0 saves it after
    every step."""

    val_every: int = 1
    """Validate after every this many epochs, and after the last."""

    val_pictures: int = 6
    """Validation images in the panel that is drawn at each new best epoch; 0 for none."""

    log_every: int = 10
    """Steps between two entries in TensorBoard."""

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "accumulate", "devices", "val_every", "log_every"):
            value = getattr(self, field)
            if field == "batch_size" and isinstance(value, str):
                _require(value == "auto", field, value, "needs auto, or a number of at least 1")
                continue
            _require(value >= 1, field, value, "needs at least 1")
        for field in (
            "min_lr",
            "warmup_epochs",
            "weight_decay",
            "save_every",
            "val_pictures",
            "seed",
        ):
            _require(getattr(self, field) >= 0, field, getattr(self, field), "needs at least 0")
        _require_choices(self)
        if (word := self.feature_cache.lower()) in ("off", "auto"):
            object.__setattr__(self, "feature_cache", word)
        _require(
            word not in ("", "on", "none", "no", "yes", "true", "false"),
            "feature_cache",
            self.feature_cache,
            "needs off, auto or a folder (./NAME for one that is called so)",
        )
        for field in ("lr", "encoder_lr", "clip_grad_norm", "early_stop", "cache_budget"):
            value = getattr(self, field)
            _require(value is None or value > 0, field, value, "needs to be above 0")
        _require(0 <= self.average < 1, "average", self.average, "needs [0, 1)")
        _require(self.min_lr <= self.lr, "min_lr", self.min_lr, f"needs at most lr, {self.lr}")
        _require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"needs fewer than the {self.epochs} epochs",
        )


@dataclass(frozen=True)
class DistillConfig:
    """What a student learns from its teacher, beside the truth; see docs/distillation.md."""

    teacher: str
    """What to learn from: a weights file or a run's folder; a folder of maps as `dsunet predict`
    writes them, by the images' stems; or a network of your own that has its weights, as
    PACKAGE.MODULE:NAME."""

    teacher_model: str | None = None
    """What makes the network, PACKAGE.MODULE:NAME, if `--teacher` is a weights file of a network of
    your own."""

    teacher_hiera_weights: str | None = None
    """File with the Hiera weights that the teacher's file refers to."""

    teacher_dinov2_weights: str | None = None
    """File with the DINOv2 weights that the teacher's file refers to."""

    teacher_weight: float = 2.0
    """Weight of the distance to the teacher's maps in the loss. The usual loss has two terms, IoU
    and cross-entropy: with 2, the teacher counts about as much as the truth."""

    truth_weight: float = 1.0
    """Weight of the usual loss, with the masks, in the loss."""

    temperature: float = 1.0
    """What the logits of teacher and student are divided by before they are compared; above 1,
    small differences far from the object's edge count for more."""

    feature_weight: float = 0.0
    """Weight of the distance to the teacher's feature maps in the loss; 0 leaves them out. Needs
    one of dsunet's models as teacher and as student."""

    feature_levels: tuple[int, ...] = (4,)
    """Which levels' feature maps to learn from, 1 (stride 4) to 4 (stride 32), such as `[3,4]`."""

    unlabelled: tuple[str, ...] = ()
    """Folder of images without masks, from which the student learns what the teacher says; may be
    given several times."""

    teacher_cache: str = "auto"
    """Where the teacher's maps are kept: `auto`, in the user's folder for caches; or a folder."""

    def __post_init__(self) -> None:
        for field in ("feature_levels", "unlabelled"):  # as YAML has them; or not given
            object.__setattr__(self, field, tuple(getattr(self, field) or ()))
        for field in ("teacher", "teacher_hiera_weights", "teacher_dinov2_weights"):
            if getattr(self, field) is not None:  # paths are welcome; settings are kept as text
                object.__setattr__(self, field, str(getattr(self, field)))
        object.__setattr__(self, "unlabelled", tuple(str(folder) for folder in self.unlabelled))
        for field in ("teacher_weight", "truth_weight", "feature_weight"):
            _require(getattr(self, field) >= 0, field, getattr(self, field), "needs at least 0")
        _require(
            self.teacher_weight > 0 or self.feature_weight > 0,
            "teacher_weight",
            self.teacher_weight,
            "with feature_weight 0, too, there is nothing to learn from the teacher",
        )
        _require(self.temperature > 0, "temperature", self.temperature, "needs to be above 0")
        _require(
            len(self.feature_levels) > 0
            and list(self.feature_levels) == sorted(set(self.feature_levels))
            and all(level in (1, 2, 3, 4) for level in self.feature_levels),
            "feature_levels",
            self.feature_levels,
            "needs some of 1, 2, 3 and 4, rising",
        )


# What fine-tuning a pruned network starts from: `TrainConfig`'s fields that are not its defaults.
FINE_TUNING: dict[str, Any] = {"epochs": 10, "lr": 3e-4}
