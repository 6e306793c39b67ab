"""Looking for trouble in a data set before a minute is spent on training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsunet.config import DataConfig
from dsunet.config.tiling import Tiling
from dsunet.data.checks.duplicates import Signature, describe, near_duplicates, sign
from dsunet.data.checks.findings import KINDS, DataReport, Finding, finding
from dsunet.data.checks.objects import Objects, can_count, count_objects, describe_lost
from dsunet.data.colour import profile_trouble
from dsunet.data.grouping import running
from dsunet.data.images import Decoded, Header, decode, read_header
from dsunet.data.masks import MaskLabels
from dsunet.data.pairing import Pairing
from dsunet.data.pairs import Pair, choose_orientation
from dsunet.data.pixels import SIXTEEN_BIT, turn
from dsunet.data.sources import EmptyMask, Source, name_of
from dsunet.data.split import Split, split_data
from dsunet.data.survey import MaskSeen, Survey, look_at_mask
from dsunet.errors import DataError, ImageError, few
from dsunet.support.processes import available_cores

__all__ = [
    "KINDS",
    "NOT_COMPARED",
    "DataReport",
    "Finding",
    "Look",
    "can_compare",
    "check_data",
    "check_split",
    "look_at",
    "pairing_findings",
    "survey_findings",
]

NOT_COMPARED = Finding(
    "not_compared", (), "the package ImageHash is needed: pip install 'dsunet[evaluate]'"
)

# What a mask may have between black and white before it is odd: soft edges take less.
_GREY_SHARE = 0.1


def check_data(
    config: DataConfig, seed: int = 0, view: tuple[int, int] | None = None
) -> DataReport:
    """Checks the data set that some settings mean, as `check_split` does.

    Raises:
        DataError: There is no data set to check.
    """
    full = config.check == "full"
    return check_split(split_data(config, seed), full=full, view=view, tiling=config.tiling)


def check_split(
    split: Split,
    *,
    full: bool = True,
    view: tuple[int, int] | None = None,
    tiling: Tiling | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Looks at every file of a data set and reports all that is wrong or odd.

    Args:
        split: The pairs.
        full: Read every file; otherwise headers alone, which finds no cut-off files, no odd masks
            and no near-duplicates.
        view: Height and width of the network's view in pixels, to find objects that vanish in it;
            it takes reading every file, and the package SciPy.
        tiling: The tiles that are seen in such a view, if pictures are cut into some.
        progress: Called with the number of pairs done and the number of all.
    """
    started = time.monotonic()
    report = DataReport(len(split.training), len(split.validation))
    for pairing in split.pairings:
        report.findings += pairing_findings(pairing)
    pairs = [*split.training, *split.validation]
    wanted = full and bool(split.validation)
    compare = wanted and can_compare()
    known: list[Signature] = []
    asked: list[Signature] = []
    values = Survey(split.reading)
    objects: list[Objects] = []
    counted = view if full and can_count() else None
    looks = look_at(pairs, full=full, compare=compare, view=counted, tiling=tiling)
    for done, look in enumerate(looks, 1):
        report.findings += look.findings
        if look.signature is not None:
            (known if done <= len(split.training) else asked).append(look.signature)
        if look.mask is not None:
            values.add(look.mask)
        if look.objects is not None:
            objects.append(look.objects)
        if progress:
            progress(done, len(pairs))
    report.survey = values
    report.findings += survey_findings(values)
    if counted is not None and (lost := describe_lost(objects, counted, tiling)):
        report.findings.append(Finding("tiny_object", (), lost))
    for alike in near_duplicates(known, asked):
        report.findings.append(finding("near_duplicate", alike, describe(alike)))
    if split.validation and not split.grouped:
        report.findings += _running_findings(split)
    if wanted and not compare:
        report.findings.append(NOT_COMPARED)
    report.seconds = time.monotonic() - started
    return report


def _running_findings(split: Split) -> Iterator[Finding]:
    """Names that count on across the two sides."""
    sides = [[pair.name for pair in side] for side in (split.training, split.validation)]
    for stem, training, validation in running(*sides):
        names = sorted([*training, *validation])
        yield Finding(
            "running",
            (*training, *validation),
            f"{names[0]} … {names[-1]}: {len(training)} of {stem!r} in training, {len(validation)} "
            "in validation",
        )


def can_compare() -> bool:
    """Whether the package is there that near-duplicates are looked for with."""
    return find_spec("imagehash") is not None


def pairing_findings(pairing: Pairing) -> Iterator[Finding]:
    """What is odd about how files paired up."""
    for group in pairing.duplicates:
        yield finding("duplicate", group, " and ".join(map(str, group)))
    for source in pairing.lone_images:
        yield finding("orphan_image", [source])
    for source in pairing.lone_masks:
        yield finding("orphan_mask", [source])
    for pair in pairing.own_masks:
        yield finding("own_mask", [pair.image, pair.mask], f"{pair.image} and {pair.mask}")
    if pairing.empty:
        names = few([name_of(image) for image in pairing.empty])
        yield Finding("no_mask", (), f"{len(pairing.empty)} of {len(pairing.pairs)} ({names})")
    for line in pairing.said:
        yield Finding("pairing", (), line)
    for path in pairing.unused:
        yield finding("unused", [path])
    for source in pairing.unsafe_names:
        yield finding("name", [source], repr(str(source)))


def survey_findings(values: Survey) -> Iterator[Finding]:
    """What is odd about the values of all masks together."""
    if not values.troubles and (why := values.unclear()):  # else each is told of by itself
        yield Finding("mask_reading", (), why)
    if absent := values.absent_classes:
        yield Finding("absent_class", (), ", ".join(absent))
    if alike := values.overlapping:
        yield Finding("overlap", tuple(alike), f"{len(alike)} masks ({few(alike)})")
    if values.mostly_object:
        middle = 100 * float(np.median(values.shares))
        yield Finding(
            "mostly_object", (), f"the median mask of {len(values.shares)} is {middle:.0f} % object"
        )


class Look(NamedTuple):
    """What was seen of one pair."""

    findings: list[Finding]
    signature: Signature | None
    mask: MaskSeen | None = None
    """Of the mask's values, if its pixels were read."""
    objects: Objects | None = None
    """Those of the mask, if they were counted."""


def look_at(
    pairs: Sequence[Pair],
    *,
    full: bool,
    compare: bool,
    view: tuple[int, int] | None = None,
    tiling: Tiling | None = None,
) -> Iterator[Look]:
    """Looks at pairs, in their order.

    Decoding leaves Python's lock alone, so threads are as good as processes here.

    Args:
        pairs: What to look at.
        full: Read every file, not its header alone.
        compare: Sign the images, for `near_duplicates`.
        view: Height and width of the view that objects are counted for.
        tiling: The tiles that are seen in it, if pictures are cut into some.
    """
    pool = ThreadPoolExecutor(min(8, available_cores()))
    try:
        yield from pool.map(partial(_look, full, compare, view, tiling), pairs)
    finally:
        pool.shutdown(cancel_futures=True)


def _look(
    full: bool, compare: bool, view: tuple[int, int] | None, tiling: Tiling | None, pair: Pair
) -> Look:
    findings: list[Finding] = []
    image: Header | None = None
    mask: Header | None = None
    signature = None
    seen: MaskSeen | None = None
    objects: Objects | None = None
    try:
        if full:
            image = decoded = decode(pair.image, preview=64, intensity=pair.intensity)
            rgb = decoded.as_image()
            signature = sign(pair.image, rgb) if compare else None
            findings += _colour_findings(decoded, rgb)
        else:
            image = read_header(pair.image)
    except ImageError as error:
        findings.append(finding("unreadable", [pair.image], str(error)))
    try:
        if isinstance(pair.mask, EmptyMask):
            pass
        elif full:
            mask = decoded = decode(pair.mask)
            seen, labels = look_at_mask(decoded, pair.reading)
            findings += _mask_findings(pair.mask, seen, labels)
            if view is not None and labels is not None:
                shown = turn(Image.fromarray(labels.mask), decoded.orientation)
                fine = view if tiling is None else tiling.fineness(view, shown.height, shown.width)
                objects = count_objects(pair.mask, shown, fine)
        else:
            mask = read_header(pair.mask)
    except ImageError as error:
        findings.append(finding("unreadable", [pair.mask], str(error)))
    if image is not None and mask is not None:
        findings += _orientation_findings(pair, image, mask)
    for header in (image, mask):
        if header is not None:
            findings += _header_findings(header)
    return Look(findings, signature, seen, objects)


def _colour_findings(image: Decoded, rgb: Image.Image) -> Iterator[Finding]:
    if image.intensity == "full":
        if image.pixels.mode in SIXTEEN_BIT:
            values, top = np.asarray(image.pixels), 65535
        else:
            values, top = np.asarray(rgb.convert("L")), 255
        least, largest = int(values.min()), int(values.max())
        if 0 < largest - least < top / 8:  # 13 bits and less of 16
            said = f"{image.source} has values from {least} to {largest}, of 0 to {top}"
            yield finding("few_levels", [image.source], said)
    if trouble := profile_trouble(image.pixels):
        yield finding("colour_profile", [image.source], f"{image.source} has {trouble}")


def _header_findings(header: Header) -> Iterator[Finding]:
    if header.frames:
        yield finding("frames", [header.source])
    if header.mislabelled:
        yield finding("mislabelled", [header.source], f"{header.source} is {header.format}")


def _orientation_findings(pair: Pair, image: Header, mask: Header) -> Iterator[Finding]:
    try:
        upright = choose_orientation(image, mask)
    except DataError as error:
        yield finding("size", [pair.mask, pair.image], str(error))
        return
    if not all(upright):
        turned = image if not upright[0] else mask
        yield finding("raw_orientation", [turned.source])
    elif image.orientation != mask.orientation and image.seen_size() == image.seen_size(
        upright=False
    ):
        yield finding("square_turned", [pair.image, pair.mask])


def _mask_findings(source: Source, seen: MaskSeen, labels: MaskLabels | None) -> Iterator[Finding]:
    if labels is None:
        yield finding("mask_values", [source], f"{source}: {seen.trouble}")
        return
    values = labels.mask
    if seen.share == 0:
        yield finding("empty_mask", [source])
    elif seen.share == 1:
        yield finding("full_mask", [source])
    elif seen.share is None:
        yield finding("ignored_mask", [source])
    grey = float(((values > 25) & (values < 230)).mean())
    if grey > _GREY_SHARE:
        yield finding("grey_mask", [source], f"{source} is grey in {100 * grey:.0f} %")
