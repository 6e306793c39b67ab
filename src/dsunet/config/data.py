"""Where pairs come from, and how training changes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dsunet.config.augment import Change, parse_augment
from dsunet.config.checking import require
from dsunet.config.masks import MaskReading
from dsunet.config.tiling import OVERLAP, Tiling
from dsunet.errors import ConfigError

__all__ = ["DataConfig"]

_CROPS = 4  # of a picture in an epoch


@dataclass(frozen=True)
class DataConfig:
    """Where training and validation pairs come from."""

    data: str | None = None
    """Folder, or .tar file, that holds `images/` and `masks/` for training; pairs share a stem. The
    command `dsunet train` also takes labels of COCO, YOLO, LabelMe …, and imports them first."""

    images: str | None = None
    """Folder of training images, instead of `data`."""

    masks: str | None = None
    """Folder of training masks, instead of `data`."""

    mask_suffix: str | None = None
    """What masks' names have behind their images', without the ending: `_mask` if a.jpg has
    a_mask.png. It is found out where it is not given."""

    missing_masks: Literal["error", "empty"] = "error"
    """What of images without a mask: they are an error, or show no object and have an `empty`
    one."""

    benchmarks: str | None = None
    """Folder below which the field's public sets lie, instead of `data`: train on those of
    `task`, joined."""

    task: str | None = None
    """Task of `benchmarks`: `sod` trains on DUTS-TR, `cod` on CAMO-train and COD10K-train;
    `polyp`, `marine`, `mirror`."""

    val: str | None = None
    """Folder, or .tar file, with `images/` and `masks/` for validation."""

    val_fraction: float = 0.0
    """Share of the training pairs, chosen by the seed, that is held out for validation."""

    fold: str | None = None
    """Which of several equal parts, chosen by the seed, is held out for validation: `2/5` is the
    second of five. Every pair is in one of them."""

    group_by: str | None = None
    """What pairs that must not be divided have in common, such as patient, video or batch: a
    regular expression, of which a name's match is its group (`^[^_]*` is what stands before the
    first _; parentheses choose a part of it), or a file that ends with .csv and has a name and its
    group in every line."""

    stratify: Literal["empty", "size"] | None = None
    """Held-out pairs have their share of pictures without an object (`empty`), and of small,
    middling and large objects too (`size`). It takes reading all masks."""

    train_list: str | None = None
    """Text file with one stem per line: train on these pairs of `data` only."""

    val_list: str | None = None
    """Text file with one stem per line: validate on these pairs of `data`; they are left out of
    training."""

    limit: int | None = None
    """Train on the first so many pairs only, an even share from each set: a rehearsal. A
    `val_fraction` is taken from these."""

    object_values: str | None = None
    """Values of the masks that are object, separated by commas: grey levels or class numbers
    (`1,2`), or colours (`#00ff00`). Every other value is background."""

    ignore_value: str | None = None
    """Value of the masks, a grey level or a colour, whose pixels count in neither loss nor
    measures."""

    invert: bool = False
    """Object and background are the other way round in the masks: black is object."""

    class_table: str | None = None
    """CSV file with a line for each class of `classes`: its name and its value or colour in the
    masks, as scratch,3 or scratch,#ff0000. Without it the values are 1, 2, 3 … in the order of
    `classes`, or those of `object_values`; 255 is ignored unless `ignore_value` tells another."""

    horizontal_flip: float = 0.5
    """Probability of mirroring left and right."""

    vertical_flip: float = 0.5
    """Probability of mirroring top and bottom."""

    crop: float = 0.0
    """Probability of a random crop of 40 to 100 % of the image's area; the paper has none."""

    colour: float = 0.0
    """Probability of a random change of brightness, contrast and saturation; the paper has none."""

    tile: int | None = None
    """Train on random crops of so many pixels a side, of pictures with all their pixels: for small
    objects in large pictures. Two in three show an object, where the picture has one, and each of
    its objects as often as any other. Pictures that are no larger are seen as a whole. Validation,
    and later prediction, go tile by tile."""

    overlap: float = OVERLAP
    """What neighbouring tiles of a prediction share at least, of a tile's side; with `tile`."""

    tile_crops: int = _CROPS
    """Crops that an epoch takes of every training picture; with `tile`."""

    transform: str | None = None
    """PACKAGE.MODULE:NAME of a change of your own: a function of image and mask, or transforms of
    torchvision's v2, seeded as flips are; see docs/recipes.md."""

    augment: str | None = None
    """Further random changes of training images, by name: some of rotate, scale, colour, blur,
    noise, jpeg, cutout, separated by commas. Each may have its chance and strength: rotate=0.5:15
    turns half of them by up to 15 degrees. The paper has none."""

    draft: bool = False
    """Decode large JPEGs for training at the smallest of 1/2, 1/4 and 1/8 that still has the views'
    pixels: quicker with photographs of many megapixels, and slightly other values. Not done where
    images are cropped, or changed by `transform`."""

    check: Literal["full", "headers"] = "full"
    """How the files are checked before the start: `full` reads every one; `headers` is quicker, but
    finds no cut-off files, odd masks and near-duplicates."""

    max_pixels: int | None = None
    """Decode pictures of up to so many pixels; by default 89,478,485, for fear of files made to
    fill the memory."""

    workers: int = 2
    """Processes that decode and resize images beside the training; 0 uses the training's own."""

    def __post_init__(self) -> None:
        places = ("data", "images", "masks", "benchmarks", "val", "train_list", "val_list")
        for field in (*places, "group_by", "class_table"):
            if getattr(self, field) is not None:  # paths are welcome; settings are kept as text
                object.__setattr__(self, field, str(getattr(self, field)))
        folders = self.images is not None or self.masks is not None
        given = [
            flag
            for flag, told in (
                ("`data`", self.data is not None),
                ("`images`/`masks`", folders),
                ("`benchmarks`", self.benchmarks is not None),
            )
            if told
        ]
        if not given:
            raise ConfigError(
                "no training data: give `data` DIR, or `images` DIR and `masks` DIR, or "
                "`benchmarks` ROOT and `task` NAME"
            )
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} exclude each other: give one of them")
        if self.mask_suffix is not None:
            right = bool(self.mask_suffix) and not set("/\\") & set(self.mask_suffix)
            require(right, "mask_suffix", self.mask_suffix, "needs the end of names, such as _mask")
        if self.benchmarks is not None and (self.mask_suffix or self.missing_masks != "error"):
            flag = "mask_suffix" if self.mask_suffix else "missing_masks"
            raise ConfigError(
                f"`{flag}` is about `data`, or `images` and `masks`; how the sets of `benchmarks` "
                "are laid out is known: leave it out"
            )
        if (self.benchmarks is None) != (self.task is None):
            raise ConfigError("`benchmarks` and `task` belong together: give both, or neither")
        if folders and (self.images is None or self.masks is None):
            raise ConfigError("`images` and `masks` belong together: give both")
        self._check_split()
        require(0 <= self.val_fraction < 1, "val_fraction", self.val_fraction, "needs [0, 1)")
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "needs at least 1")
        for field in ("horizontal_flip", "vertical_flip", "crop", "colour"):
            require(0 <= getattr(self, field) <= 1, field, getattr(self, field), "needs [0, 1]")
        _ = self.changes
        self._check_tiles()
        require(self.workers >= 0, "workers", self.workers, "needs at least 0")
        most = self.max_pixels
        require(most is None or most >= 1, "max_pixels", most, "needs at least 1")
        for field in ("object_values", "ignore_value"):  # as the reading has checked them
            object.__setattr__(self, field, getattr(self.reading, field))

    def _check_tiles(self) -> None:
        require(self.tile_crops >= 1, "tile_crops", self.tile_crops, "needs at least 1")
        if self.tiling is None:
            given = {"overlap": self.overlap != OVERLAP, "tile_crops": self.tile_crops != _CROPS}
            for field in (name for name, told in given.items() if told):
                raise ConfigError(f"`{field}` is of tiles: give `tile`, too, or leave it out")
        elif self.draft:
            raise ConfigError(
                "`draft` leaves out pixels that crops of `tile` would show; leave one of them out"
            )

    def _check_split(self) -> None:
        sources = [
            self.val is not None,
            self.val_list is not None,
            self.val_fraction > 0,
            self.fold is not None,
        ]
        if sum(sources) > 1:
            raise ConfigError(
                "`val`, `val_list`, `val_fraction` and `fold` exclude each other: give one"
            )
        chosen = self.val_fraction > 0 or self.fold is not None
        for flag, told in (("group_by", self.group_by), ("stratify", self.stratify)):
            if told is not None and not chosen:
                raise ConfigError(
                    f"`{flag}` is about pairs that are held out by `val_fraction` or `fold`: give "
                    "one of them, or leave it out"
                )
        if self.fold is not None:
            right = self.folds is not None and 1 <= self.folds[0] <= self.folds[1] >= 2
            require(right, "fold", self.fold, "needs NUMBER/COUNT, such as 2/5")
        known = (None, "empty", "size")
        require(self.stratify in known, "stratify", self.stratify, "needs empty or size")

    @property
    def changes(self) -> tuple[Change, ...]:
        """What `augment` asks for."""
        return parse_augment(self.augment)

    @property
    def tiling(self) -> Tiling | None:
        """Into which tiles pictures are cut; `None` if they are seen as a whole."""
        return None if self.tile is None else Tiling(self.tile, self.overlap)

    @property
    def folds(self) -> tuple[int, int] | None:
        """The number of the fold that is held out, from 1 on, and of all folds."""
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", self.fold or "")
        return (int(match[1]), int(match[2])) if match else None

    @property
    def reading(self) -> MaskReading:
        """What the masks' values mean."""
        return MaskReading(self.object_values, self.ignore_value, self.invert)
