"""The training recipe, and its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dsunet.config.checking import require, require_choices
from dsunet.config.measuring import BestBy, MeasuringProtocol
from dsunet.errors import perhaps

__all__ = ["LOGGERS", "RECIPE_BATCH", "LossConfig", "Precision", "TrainConfig"]

Precision = Literal["auto", "float32", "bfloat16", "float16"]

# By Lightning's names.
Strategy = Literal["auto", "ddp", "ddp_find_unused_parameters_true"]

LOGGERS = ("tensorboard", "wandb", "mlflow")
"""What `TrainConfig.logger` may name."""

# The paper's images per step (section IV-C).
RECIPE_BATCH = 8


@dataclass(frozen=True)
class LossConfig:
    """The paper's loss (equations 1 and 2)."""

    bce: Literal["mean", "boundary_weighted"] = "mean"
    """Binary cross-entropy: plain mean, as published, or weighted towards boundaries like the
    IoU term, as the published code means it."""

    output_weights: tuple[float, float, float] = (0.25, 0.5, 1.0)
    """Weights of the coarse, middle and fine output in the total."""

    ssim: float = 0.0
    """Weight of a further term on the fine output, 1 − SSIM, which sharpens outlines and leaves
    less half there; the paper has none."""

    positive_weight: float | Literal["auto"] = 1.0
    """How much an object's pixels count in the cross-entropy, where background's count 1: above 1
    for objects that are rare and missed; `auto` is background's share of the training masks'
    pixels over the object's, at most 100. The paper has 1."""

    without_object: Literal["iou", "area", "none"] = "iou"
    """What the IoU term is for a picture without an object: `iou`, as published, where it is about
    1 whatever the map looks like; `area`, the mean of the map; `none`, nothing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_weights", tuple(self.output_weights))  # YAML has lists
        weight = self.positive_weight
        require(
            weight == "auto" if isinstance(weight, str) else 0 < weight < float("inf"),
            "positive_weight",
            weight,
            "needs auto, or a number above 0",
        )
        require(self.ssim >= 0, "ssim", self.ssim, "needs at least 0")
        require(
            len(self.output_weights) == 3 and min(self.output_weights) >= 0,
            "output_weights",
            self.output_weights,
            "needs three numbers of at least 0",
        )
        require(
            self.output_weights[2] > 0,
            "output_weights",
            self.output_weights,
            "the last, of the output that prediction uses, needs to be above 0",
        )


@dataclass(frozen=True)
class TrainConfig:
    """The training recipe; the defaults are the paper's."""

    epochs: int = 50
    """How often every training image is seen."""

    batch_size: int | Literal["auto"] = RECIPE_BATCH
    """Images per step, on all devices together; `auto` is the largest of 8, 4, 2 and 1 for each
    device that fits into the memory that is free, with `accumulate` so that 8, the paper's number,
    make a step."""

    lr: float = 1e-3
    """AdamW's learning rate at the start."""

    encoder_lr: float | None = None
    """Learning rate of encoders that are trained as a whole; a fifth of `lr` if not given.
    Adapters always take `lr`. Of a network of your own it is for the parts in `encoder_parts`."""

    encoder_parts: str | None = None
    """Of a network of your own, its pretrained parts, which take `encoder_lr`: what their
    parameters' names begin with, separated by commas, as `backbone` or `stem,layer1`. Not needed if
    the network has a method `encoder_parameters` that gives these names."""

    layer_decay: float = 1.0
    """Factor of the encoders' learning rate from each numbered block to the one before it, such as
    0.8: the first ones, which are general, change least. 1 for one rate, as in the paper."""

    min_lr: float = 1e-7
    """What `lr` falls to at the end of the cosine schedule; the encoders' rate falls by the same
    factor."""

    cosine_by: Literal["epoch", "step"] = "epoch"
    """How often the rates move along the cosine: once an `epoch`, as published, or with every
    `step`, for trainings of few epochs: of two, by epochs, the second still has half the rate."""

    warmup_epochs: int = 0
    """Epochs of linear warm-up before the cosine schedule; the paper has none."""

    weight_decay: float = 5e-4
    """AdamW's weight decay, on every trained tensor (norms and biases too, as published)."""

    average: float = 0.0
    """Decay, such as 0.998, of an exponential moving average of the weights over the steps, which
    is then what is validated and saved; 0 for none, as in the paper. It ramps up over the first
    steps, so that a short training keeps nothing of the weights it starts from."""

    accumulate: int = 1
    """Batches whose gradients are averaged before a step. BatchNorm still sees single batches.
    Above 1, `batch_size` auto leaves it as it is."""

    clip_grad_norm: float | None = None
    """Largest norm of the gradient; longer ones are scaled down."""

    multi_scale: float = 0.0
    """Train on views of many sizes: for each batch, the sides of the first view are changed by a
    share of up to this much, to multiples of 32; the paper has none."""

    early_stop: int | None = None
    """Stop after this many epochs without a better value of `best_by` on the validation set."""

    best_by: BestBy = "S"
    """Measure on the validation set that picks the best epoch: over the pictures with an object,
    or, if there is none, the mean absolute error. `Dice_all` is Dice over all pictures, where one
    without an object counts 1 if nothing is found, and else 0. Of a model of several classes S, the
    default, and IoU stand for the mean IoU over the classes, and Dice for the mean Dice; it has no
    others. Of equal ones the first epoch is the best."""

    protocol: MeasuringProtocol = "raw"
    """How validation measures: `raw` measures maps as they are, and pictures without an object
    apart, by their false alarms; `benchmark`, the paper's, stretches each map to its full range and
    averages over all pictures."""

    threshold: float = 0.5
    """Probability from which a pixel is object in validation: for Dice, IoU, false alarms and the
    panel of pictures."""

    precision: Precision = "auto"
    """Autocast type; `auto` is bfloat16 where the GPU or the CPU computes in it, and float32
    elsewhere."""

    feature_cache: str = "off"
    """Keep the maps of a frozen DINOv2 on disk, for each image and flip, so that they are computed
    once only: `off`; `auto`, in the user's folder for caches; or a folder."""

    cache_type: Literal["float16", "float32"] = "float16"
    """Number type of the stored maps. Training from float16 is training on rounded maps; float32
    takes twice the disk, and gives what training without a cache gives."""

    cache_budget: float = 50.0
    """The most that kept maps (the feature cache and a teacher's) may take of the disk, in GB
    (10⁹ bytes)."""

    activation_checkpointing: bool = False
    """Keep less of Hiera for the backward pass and compute it again there: less memory, longer
    steps, the very same results. May change on `resume`."""

    keep_memory: bool = False
    """Keep memory that is freed within a step for the next tensors, for the rest of the process:
    shorter steps on a CPU, and more memory; the very same results. Needs Linux with the GNU C
    library. May change on `resume`."""

    compile: bool = False
    """Compile the training step's network with `torch.compile`, which takes some minutes at the
    start and needs a C++ compiler; results differ in the last digits. Validation is not compiled.
    """

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    devices: int = 1
    """How many devices of that kind to train on, on each machine, with a process for each
    (distributed data parallel); they share `batch_size`, which has to be a multiple of all."""

    num_nodes: int = 1
    """On how many machines; above 1, torchrun or SLURM's srun starts the processes."""

    strategy: Strategy = "auto"
    """How devices share a training: `ddp`, distributed data parallel, which is quicker if every
    part of the network has a gradient in each step; `ddp_find_unused_parameters_true`, which finds
    out which have; `auto` chooses between them."""

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
    """Steps between two entries in what `logger` names."""

    logger: str = "tensorboard"
    """Where losses, measures and rates are logged beside `metrics.csv`: `tensorboard` (in the run's
    folder), `wandb`, `mlflow`, several with commas, or `none`."""

    logger_project: str = "dsunet"
    """What the project in W&B, or the experiment in MLflow, is called."""

    def __post_init__(self) -> None:
        for field in (
            *("epochs", "batch_size", "accumulate", "devices", "num_nodes", "val_every"),
            "log_every",
        ):
            value = getattr(self, field)
            if field == "batch_size" and isinstance(value, str):
                require(value == "auto", field, value, "needs auto, or a number of at least 1")
                continue
            require(value >= 1, field, value, "needs at least 1")
        for field in (
            "min_lr",
            "warmup_epochs",
            "weight_decay",
            "save_every",
            "val_pictures",
            "seed",
        ):
            require(getattr(self, field) >= 0, field, getattr(self, field), "needs at least 0")
        require_choices(self)
        processes = self.devices * self.num_nodes
        if isinstance(self.batch_size, int):
            require(
                self.batch_size % processes == 0,
                "batch_size",
                self.batch_size,
                f"needs a multiple of {processes}, the number of devices, which share each batch",
            )
        if (word := self.feature_cache.lower()) in ("off", "auto"):
            object.__setattr__(self, "feature_cache", word)
        require(
            word not in ("", "on", "none", "no", "yes", "true", "false"),
            "feature_cache",
            self.feature_cache,
            "needs off, auto or a folder (./NAME for one that is called so)",
        )
        for field in ("lr", "encoder_lr", "clip_grad_norm", "early_stop", "cache_budget"):
            value = getattr(self, field)
            require(value is None or value > 0, field, value, "needs to be above 0")
        require(0 < self.threshold <= 1, "threshold", self.threshold, "needs (0, 1]")
        require(
            self.best_by != "Dice_all" or self.protocol == "raw",
            "best_by",
            self.best_by,
            "needs `protocol` raw, which tells pictures without an object apart",
        )
        require(0 <= self.multi_scale <= 0.5, "multi_scale", self.multi_scale, "needs [0, 0.5]")
        for field, wanted in (
            ("compile", self.compile),
            ("feature_cache", self.feature_cache != "off"),
        ):
            require(
                not (wanted and self.multi_scale),
                field,
                getattr(self, field),
                "needs views of one size: leave it out, or `multi_scale`",
            )
        words = self.loggers
        wrong = [word for word in words if word not in LOGGERS]
        require(
            not wrong and len(set(words)) == len(words) and (bool(words) or "none" in self.logger),
            "logger",
            self.logger,
            f"needs some of {', '.join(LOGGERS)}, with commas, or none"
            + (perhaps(wrong[0], (*LOGGERS, "none")) if wrong else ""),
        )
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "needs (0, 1]")
        require(0 <= self.average < 1, "average", self.average, "needs [0, 1)")
        require(self.min_lr <= self.lr, "min_lr", self.min_lr, f"needs at most lr, {self.lr}")
        require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"needs fewer than the {self.epochs} epochs",
        )

    @property
    def loggers(self) -> list[str]:
        """What `logger` names, one by one."""
        words = [word.strip() for word in self.logger.split(",") if word.strip()]
        return [] if words == ["none"] else words
