"""Pairs as tensors, in an order and with flips that depend on the seed alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dsunet.config.augment import MOVING, Change
from dsunet.config.tiling import Tiling
from dsunet.data.augment import Box, crop_box, vary
from dsunet.data.changes import Drawn, change_image, draw, move, move_mask
from dsunet.data.images import read_image
from dsunet.data.pairs import Pair, read_classes, read_pair, stem_of
from dsunet.data.sources import Source
from dsunet.data.tiles import draw_crop
from dsunet.data.transform import Transform
from dsunet.data.views import Views, make_views, target_views
from dsunet.support.ranks import ALONE, Ranks

__all__ = [
    "Batch",
    "EpochSampler",
    "KeptMaps",
    "Lesson",
    "PairDataset",
    "Sample",
    "Slot",
    "Teaching",
    "collate",
    "tile_of",
]


_Entry = TypeVar("_Entry")

# Where the maps of one image and flip are in a store: the image's number and the flip's.
Slot = tuple[int, int]


_CROP_OF_TILE = 3
"""Number of the draws of a tile's crop; flips, crops and colours, and transforms have others."""


class Lesson(NamedTuple):
    """What a teacher says of one image, or, with a leading batch axis, of several.

    `logits` is 1×H×W at the size of the student's view, `hints` holds feature maps, each C×h×w on
    the grid of the student's level, and `labelled` is whether the image has a mask of its own.
    """

    logits: Tensor
    hints: tuple[Tensor, ...]
    labelled: Tensor


class KeptMaps(Protocol):
    """Maps of a data set's images that may have been computed before; see `dsunet.maps`."""

    def place(self, index: int, source: Source, axes: Iterable[int]) -> Slot | None:
        """Where the maps of an image, flipped along some axes, are or belong; `None`: nowhere."""
        ...

    def read(self, place: Slot) -> tuple[np.ndarray, ...] | None:
        """The maps, each C×h×w; `None` if they are not there."""
        ...


class Teaching(Protocol):
    """What a teacher says of the images; see `dsunet.maps.lessons.Lessons.of`."""

    def of(
        self,
        index: int,
        image: Image.Image,
        size: tuple[int, int],
        box: Box | None,
        axes: list[int],
        labelled: bool,
    ) -> Lesson:
        """Of one image."""
        ...


class Sample(NamedTuple):
    """One pair.

    `sam` 3×H×W and `dino` 3×h×w are the views, `mask` 1×H×W the target in 0..1, or C×H×W of C
    classes. `truth` holds the mask at its own size, as H'×W' or C×H'×W' uint8, for metrics; it is
    `None` in training. `name` is the stem.

    With a feature store, `place` says where the image's maps belong in it, and `maps` holds them,
    each C×h'×w', if they are there; `dino` is not made then. `lesson` is what a teacher says.

    Of a mask with ignored pixels, `counted` 1×H×W is 1 where a pixel of the view counts and 0 where
    not, and `ignored` beside `truth` is H'×W' bool; both are `None` where all count.

    Of a picture that is to be measured tile by tile, `picture` is the whole of it, beside `truth`.
    """

    name: str
    sam: Tensor
    dino: Tensor | None
    mask: Tensor
    truth: np.ndarray | None = None
    place: Slot | None = None
    maps: tuple[Tensor, ...] | None = None
    lesson: Lesson | None = None
    counted: Tensor | None = None
    ignored: np.ndarray | None = None
    picture: Image.Image | None = None


class Batch(NamedTuple):
    """Samples side by side, with a leading batch axis; `truths` differ in size and stay apart.

    `dino` has the views of those samples whose `maps` are not there. `counted` is B×1×H×W, or
    `None` if every pixel of every sample counts; `ignored` has an entry for each truth, and so has
    `pictures`, if any is to be measured tile by tile.
    """

    names: list[str]
    sam: Tensor
    dino: Tensor | None
    mask: Tensor
    truths: list[np.ndarray | None]
    places: list[Slot | None]
    maps: list[tuple[Tensor, ...] | None]
    lesson: Lesson | None = None
    counted: Tensor | None = None
    ignored: list[np.ndarray | None] | None = None
    pictures: list[Image.Image | None] | None = None


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples to a batch."""
    dinos = [sample.dino for sample in samples if sample.dino is not None]
    lessons = [sample.lesson for sample in samples if sample.lesson is not None]
    return Batch(
        [sample.name for sample in samples],
        torch.stack([sample.sam for sample in samples]),
        torch.stack(dinos) if dinos else None,
        torch.stack([sample.mask for sample in samples]),
        [sample.truth for sample in samples],
        [sample.place for sample in samples],
        [sample.maps for sample in samples],
        _side_by_side(lessons) if lessons else None,
        _counted(samples),
        _unless_none([sample.ignored for sample in samples]),
        _unless_none([sample.picture for sample in samples]),
    )


def _counted(samples: Sequence[Sample]) -> Tensor | None:
    if all(sample.counted is None for sample in samples):
        return None
    return torch.stack(
        [torch.ones_like(x.mask) if x.counted is None else x.counted for x in samples]
    )


def _unless_none(entries: list[_Entry | None]) -> list[_Entry | None] | None:
    return None if all(entry is None for entry in entries) else entries


def _side_by_side(lessons: Sequence[Lesson]) -> Lesson:
    logits, hints, labelled = zip(*lessons, strict=True)
    return Lesson(
        torch.stack(logits),
        tuple(torch.stack(maps) for maps in zip(*hints, strict=True)),
        torch.stack(labelled),
    )


class PairDataset(Dataset[Sample]):
    """Pairs of a data set, as the network takes them.

    An item is asked for by `(epoch, index)`, so that its flips are a function of the seed, the
    epoch and the index, whichever process makes them and however often a run was interrupted.

    Args:
        pairs: What `find_pairs` gives.
        sam_size: Height and width of Hiera's view and of the mask.
        dino_size: Height and width of DINOv2's view; `None` for models without DINOv2.
        flips: Probabilities of a horizontal and a vertical flip.
        crop: Probability of a random crop.
        colour: Probability of a random change of colours.
        changes: Further random changes.
        draft: Decode large JPEGs at the smallest size that still has the views' pixels.
        seed: Seed of the flips and other changes.
        keep_truth: Keep the mask at its own size as well.
        stored: Where feature maps of the images may be.
        unlabelled: Images without masks, which come after the pairs; their masks are empty.
        lessons: What a teacher says of the pairs' images and of the unlabelled ones.
        intensity: Which values of unlabelled images are black and white; pairs say it of theirs.
        transform: A change of the user's own, after crop and colours and before flips.
        tiling: Of each picture that is larger, take random crops of a tile's size, before all
            other changes; or, with `keep_truth`, give the whole picture along.
        tile_crops: With `tiling` and without `keep_truth`, so many items are of every pair, one
            after the other: item i is of pair i // tile_crops.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        sam_size: tuple[int, int],
        dino_size: tuple[int, int] | None,
        *,
        flips: tuple[float, float] = (0.0, 0.0),
        crop: float = 0.0,
        colour: float = 0.0,
        changes: Sequence[Change] = (),
        draft: bool = False,
        seed: int = 0,
        keep_truth: bool = False,
        stored: KeptMaps | None = None,
        unlabelled: Sequence[Source] = (),
        lessons: Teaching | None = None,
        intensity: str = "full",
        transform: Transform | None = None,
        tiling: Tiling | None = None,
        tile_crops: int = 1,
    ) -> None:
        self.pairs = list(pairs)
        self.sam_size = sam_size
        self.dino_size = dino_size
        self.flips = flips
        self.crop = crop
        self.colour = colour
        self.changes = tuple(changes)
        self.transform = transform
        # what is cut or moved is so in the image and its mask alike, and so are changes of the
        # user's own
        moved = any(change.name in MOVING for change in changes)
        whole = crop or moved or tiling is not None or transform is not None or not draft
        self.preview = None if whole else max(*sam_size, *(dino_size or ()))
        self.seed = seed
        self.keep_truth = keep_truth
        self.stored = stored
        self.unlabelled = list(unlabelled)
        self.lessons = lessons
        self.intensity = intensity
        self.tiling = tiling
        self.items = 1 if tiling is None or keep_truth else tile_crops

    def __len__(self) -> int:
        return (len(self.pairs) + len(self.unlabelled)) * self.items

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        name, image, mask, others, ignored = self._seen(epoch, index)
        axes = self.flip_axes(epoch, index)
        # the draws of `vary` once more
        box = crop_box(image.size, self.crop, self._draws(epoch, index, 1)) if self.crop else None
        lesson = self._lesson(index, image, box, axes)
        if self.crop or self.colour:
            image, mask = vary(image, mask, self.crop, self.colour, self._draws(epoch, index, 1))
        if ignored is not None and box is not None:
            ignored = ignored.crop(box)
        if box is not None:
            others = [other.crop(box) for other in others]
        if self.changes:
            drawn = self.drawn(epoch, index)
            image, mask, ignored = move(image, mask, ignored, drawn)
            others = [move_mask(other, drawn) for other in others]
            image, ignored = change_image(image, mask, ignored, drawn, self._largest())
        if self.transform is not None:
            draws = self._draws(epoch, index, 2)
            image, mask, ignored = self.transform(image, mask, ignored, draws, name)
        place, maps = self._stored(index, axes)
        views = make_views(image, self.sam_size, self.dino_size if maps is None else None)
        target, counted = target_views([mask, *others], ignored, self.sam_size)
        counted = None if counted is None else counted.flip(axes)
        views, target = _flip(views, target, axes)
        truth = np.array(mask) if self.keep_truth else None
        if truth is not None and self._of_classes(index):
            truth = np.stack([truth, *map(np.asarray, others)])
        skipped = np.array(ignored) >= 128 if self.keep_truth and ignored is not None else None
        sample = Sample(
            name, views.sam, views.dino, target, truth, place, maps, lesson, counted, skipped
        )
        tiling = self.tiling if self.keep_truth else None
        if tiling is None or tiling.fits(image.height, image.width):
            return sample
        return sample._replace(picture=image)

    def _seen(
        self, epoch: int, item: int
    ) -> tuple[str, Image.Image, Image.Image, list[Image.Image], Image.Image | None]:
        """As `_read_all`, of an item: a picture, or the crop of it that was drawn."""
        name, image, mask, others, ignored = self._read_all(item // self.items)
        if self.tiling is None or self.keep_truth:
            return name, image, mask, others, ignored
        draws = self._draws(epoch, item, _CROP_OF_TILE)
        box = draw_crop(image.size, mask, self.tiling.side, draws, ignored)
        if box is None:
            return name, image, mask, others, ignored
        kept = None if ignored is None else ignored.crop(box)
        others = [other.crop(box) for other in others]
        return name, image.crop(box), mask.crop(box), others, kept

    def read(self, index: int) -> tuple[str, Image.Image, Image.Image, Image.Image | None]:
        """Name, image, mask and ignored pixels (as of `Labels`) before any change.

        An unlabelled image's mask is empty; of several classes it is what is of any.
        """
        if index < len(self.pairs):
            image, mask, _, ignored = read_pair(self.pairs[index], self.preview)
            return self.pairs[index].name, image, mask, ignored
        source = self.unlabelled[index - len(self.pairs)]
        image = read_image(source, intensity=self.intensity)
        return stem_of(source), image, Image.new("L", image.size), None

    def _of_classes(self, index: int) -> bool:
        return index < len(self.pairs) and self.pairs[index].is_of_classes

    def _read_all(
        self, index: int
    ) -> tuple[str, Image.Image, Image.Image, list[Image.Image], Image.Image | None]:
        """As `read`; of several classes the first one's mask, and then a list of the others'."""
        if not self._of_classes(index):
            name, image, mask, ignored = self.read(index)
            return name, image, mask, [], ignored
        found = read_classes(self.pairs[index], self.preview)
        first, *others = found.masks
        return self.pairs[index].name, found.image, first, others, found.ignored

    def _lesson(
        self, index: int, image: Image.Image, box: Box | None, axes: list[int]
    ) -> Lesson | None:
        if self.lessons is None:
            return None
        labelled = index < len(self.pairs)
        return self.lessons.of(index, image, self.sam_size, box, axes, labelled)

    def flip_axes(self, epoch: int, index: int) -> list[int]:
        """Which axes are flipped: -1 is left and right, -2 top and bottom."""
        chances = self._draws(epoch, index, 0).random(2)
        return [axis for axis, p, u in zip((-1, -2), self.flips, chances, strict=True) if u < p]

    def drawn(self, epoch: int, index: int) -> list[Drawn]:
        """Which further changes happen to an image, beside flips, crops and colours."""
        return draw(self.changes, lambda purpose: self._draws(epoch, index, purpose))

    def _largest(self) -> tuple[int, int]:
        """Width and height that hold every view."""
        sizes = [self.sam_size, *([self.dino_size] if self.dino_size else [])]
        return max(width for _, width in sizes), max(height for height, _ in sizes)

    def _draws(self, epoch: int, index: int, purpose: int) -> np.random.Generator:
        """Counter-based: the draws need no state."""
        return np.random.Generator(
            np.random.Philox(key=self.seed, counter=[0, purpose, epoch, index])
        )

    def _stored(self, index: int, axes: list[int]) -> tuple[Slot | None, tuple[Tensor, ...] | None]:
        if self.stored is None or index >= len(self.pairs):
            return None, None
        place = self.stored.place(index, self.pairs[index].image, axes)
        if place is None:
            return None, None
        maps = self.stored.read(place)
        return place, None if maps is None else tuple(map(torch.from_numpy, maps))


def _flip(views: Views, target: Tensor, axes: list[int]) -> tuple[Views, Tensor]:
    if not axes:
        return views, target
    dino = views.dino.flip(axes) if views.dino is not None else None
    return Views(views.sam.flip(axes), dino, views.size), target.flip(axes)


def tile_of(batch: Batch, box: Box, sizes: tuple[tuple[int, int], tuple[int, int] | None]) -> Batch:
    """A tile of the one picture of a batch, as a batch by itself.

    Args:
        batch: With a `picture`, and its truth.
        box: Left, top, right and bottom of the tile.
        sizes: Heights and widths of the views, as of `PairDataset`.
    """
    assert batch.pictures is not None
    [picture], [truth], [ignored] = batch.pictures, batch.truths, batch.ignored or [None]
    assert picture is not None
    assert truth is not None
    left, top, right, bottom = box
    place = np.s_[top:bottom, left:right]
    apart = None if ignored is None else Image.fromarray(ignored[place].astype(np.uint8) * 255)
    views = make_views(picture.crop(box), *sizes)
    target, counted = target_views([Image.fromarray(truth[place])], apart, sizes[0])
    sample = Sample(batch.names[0], views.sam, views.dino, target, truth[place], counted=counted)
    return collate([sample])


class EpochSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)` in an order that depends on the seed and the epoch alone.

    The order is cut into batches, and of each of them every process takes its share
    (`Ranks.share`), so that all together see what one process alone would, step by step. All have
    as many batches: one without a share of the last batch gets an item that counts nothing, see
    `weight`. Lightning asks the loader for its iterator before it tells the epoch of a resumed run,
    so a run that goes on calls `go_on_from` before it starts.

    Args:
        length: Number of items in the data set.
        seed: Seed of the order.
        shuffle: Whether to shuffle at all.
        ranks: Which process this is, of how many that share the data.
        batch: Items of a batch of all processes together, a multiple of their number; that number
            by default.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        ranks: Ranks = ALONE,
        batch: int | None = None,
    ) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.ranks = ranks
        self.batch = ranks.world if batch is None else batch
        self.epoch = 0
        self._skip = (0, 0)

    def go_on_from(self, epoch: int, batches: int) -> None:
        """Starts at `epoch`, and leaves out its first `batches`.

        The length stays that of a whole epoch, which Lightning counts against.
        """
        self.epoch = epoch
        self._skip = (epoch, batches * (self.batch // self.ranks.world))

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch."""
        self.epoch = epoch

    def share(self, number: int) -> int:
        """How many items of a batch are this process's own."""
        return self.ranks.share(self._items(number))

    def weight(self, number: int) -> float:
        """What a mean over this process's own items of a batch counts, see `Ranks.weight`."""
        return self.ranks.weight(self._items(number))

    def _items(self, number: int) -> int:
        """How many items a batch has."""
        return min(self.batch, self.length - number * self.batch)

    @property
    def _lacks(self) -> bool:
        """Whether the last batch has nothing for this process."""
        return self.length > 0 and self.share((self.length - 1) // self.batch) == 0

    def __len__(self) -> int:
        return self.ranks.share(self.length) + self._lacks

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            rng = np.random.Generator(
                np.random.Philox(key=self.seed, counter=[0, 0, 0, self.epoch])
            )
            rng.shuffle(order)
        mine = order[self.ranks.rank :: self.ranks.world]
        if self._lacks:
            mine = np.append(mine, order[-1])
        epoch = self.epoch
        skipped = self._skip[1] if epoch == self._skip[0] else 0
        return ((epoch, int(index)) for index in mine[skipped:])
