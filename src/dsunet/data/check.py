"""Looking for trouble in a data set before a minute is spent on training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from dsunet.config import DataConfig
from dsunet.data.images import Decoded, Header, decode, read_header
from dsunet.data.pairs import Pair, Pairing, choose_orientation
from dsunet.data.sources import Source
from dsunet.data.split import Split, split_data
from dsunet.errors import DataError, ImageError
from dsunet.files import write_json
from dsunet.processes import available_cores

__all__ = ["KINDS", "DataReport", "Finding", "check_data", "check_split"]

Severity = Literal["error", "warning", "note"]

# Two pictures count as near-duplicates when their 64-bit perceptual hashes differ in at most this
# many bits and their thumbnails correlate at least this much; see benchmarks/README.md.
HASH_BITS = 10
CORRELATION = 0.9
_THUMBNAIL = 16
# What a mask may have between black and white before it is odd: soft edges take less.
_GREY_SHARE = 0.1


class Kind(NamedTuple):
    """A kind of finding: how bad it is, what it is of one or many files, and what to do."""

    severity: Severity
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    "unreadable": Kind("error", "files that cannot be read", "replace or remove them"),
    "orphan_image": Kind("error", "images without a mask", "add masks of the same stem"),
    "orphan_mask": Kind("error", "masks without an image", "add images of the same stem"),
    "duplicate": Kind("error", "stems that occur twice", "rename or remove one of each"),
    "size": Kind("error", "masks of another size than their image", "make the sizes equal"),
    "mask_values": Kind("error", "masks with values that mean nothing", "use 0 and 255"),
    "name": Kind("error", "names with line breaks", "rename them"),
    "near_duplicate": Kind(
        "warning",
        "validation images that are nearly in the training set",
        "measures will flatter; hold whole groups of alike images out, by --val or --val-list",
    ),
    "empty_mask": Kind("warning", "masks without any object", "fine if that is so"),
    "full_mask": Kind("warning", "masks that are all object", "fine if that is so"),
    "grey_mask": Kind(
        "warning", "masks with much grey between black and white", "is grey a third class?"
    ),
    "square_turned": Kind(
        "warning",
        "turned by EXIF, with a mask that fits either way",
        "look at --sheet whether masks lie on their objects",
    ),
    "raw_orientation": Kind(
        "note",
        "images used as they are stored, against their EXIF orientation",
        "because their mask fits only so",
    ),
    "frames": Kind("note", "files with several pages or frames", "only the first is used"),
    "mislabelled": Kind(
        "note", "files with the content of another format than their name", "the content counts"
    ),
    "unused": Kind(
        "note", "other files and folders in images/ and masks/", "they are not looked into"
    ),
    "not_compared": Kind("note", "near-duplicates were not looked for", ""),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed about one or two files."""

    kind: str
    """A key of `KINDS`."""
    files: tuple[str, ...]
    detail: str
    """One line that names the files."""


@dataclass
class DataReport:
    """What a check came to."""

    training: int = 0
    """Pairs to train on."""
    validation: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [each for each in self.findings if KINDS[each.kind].severity == severity]

    def lines(self, limit: int = 5) -> list[str]:
        """For people: a line per kind of finding, with the first few files below it."""
        lines = []
        for kind, (severity, title, advice) in KINDS.items():
            found = [each for each in self.findings if each.kind == kind]
            if not found:
                continue
            count = f"{len(found)} {title}" if found[0].files else title
            lines.append(f"{severity}: {count}" + (f" ({advice})" if advice else ""))
            lines += [f"    {each.detail}" for each in found[:limit]]
            if len(found) > limit:
                lines.append(f"    … and {len(found) - limit} more")
        return lines

    def raise_for_errors(self) -> None:
        """Raises `DataError` if there is an error: the counts, and the first of each kind."""
        errors = self.of("error")
        if not errors:
            return
        parts = []
        for kind in dict.fromkeys(each.kind for each in errors):
            found = [each for each in errors if each.kind == kind]
            parts.append(f"{len(found)} {KINDS[kind].title} (first: {found[0].detail})")
        raise DataError(
            f"the data set has {len(errors)} errors: {'; '.join(parts)}; mend them, or leave these "
            "files out (dsunet data check lists all)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "training_pairs": self.training,
            "validation_pairs": self.validation,
            "errors": len(self.of("error")),
            "warnings": len(self.of("warning")),
            "findings": [
                {
                    "kind": each.kind,
                    "severity": KINDS[each.kind].severity,
                    "files": list(each.files),
                    "detail": each.detail,
                }
                for each in self.findings
            ],
        }

    def write_json(self, path: Path) -> None:
        """Writes `to_dict`."""
        write_json(path, self.to_dict())


def check_data(config: DataConfig, seed: int = 0) -> DataReport:
    """Checks the data set that some settings mean, as `check_split` does.

    Raises:
        DataError: There is no data set to check.
    """
    return check_split(split_data(config, seed), full=config.check == "full")


def check_split(
    split: Split, *, full: bool = True, progress: Callable[[int, int], None] | None = None
) -> DataReport:
    """Looks at every file of a data set and reports all that is wrong or odd.

    Args:
        split: The pairs.
        full: Read every file; otherwise headers alone, which finds no cut-off files, no odd masks
            and no near-duplicates.
        progress: Called with the number of pairs done and the number of all.
    """
    started = time.monotonic()
    report = DataReport(len(split.training), len(split.validation))
    for pairing in split.pairings:
        report.findings += _pairing_findings(pairing)
    pairs = [*split.training, *split.validation]
    wanted = full and bool(split.validation)
    compare = wanted and find_spec("imagehash") is not None
    known: list[_Signature] = []
    asked: list[_Signature] = []
    for done, look in enumerate(_in_threads(partial(_look, full, compare), pairs), 1):
        report.findings += look.findings
        if look.signature is not None:
            (known if done <= len(split.training) else asked).append(look.signature)
        if progress:
            progress(done, len(pairs))
    if known and asked:
        report.findings += _near_duplicates(known, asked)
    elif wanted and not compare:
        detail = "the package ImageHash is needed: pip install 'dsunet[train]'"
        report.findings.append(Finding("not_compared", (), detail))
    report.seconds = time.monotonic() - started
    return report


def _pairing_findings(pairing: Pairing) -> Iterator[Finding]:
    for group in pairing.duplicates:
        yield _finding("duplicate", group, " and ".join(map(str, group)))
    for source in pairing.lone_images:
        yield _finding("orphan_image", [source])
    for source in pairing.lone_masks:
        yield _finding("orphan_mask", [source])
    for path in pairing.unused:
        yield _finding("unused", [path])
    for source in pairing.unsafe_names:
        yield _finding("name", [source], repr(str(source)))


def _finding(kind: str, sources: Sequence[Source], detail: str | None = None) -> Finding:
    files = tuple(str(source) for source in sources)
    return Finding(kind, files, detail or files[0])


class _Look(NamedTuple):
    """What was seen of one pair."""

    findings: list[Finding]
    signature: _Signature | None


class _Signature(NamedTuple):
    """What a picture looks like: 64 signs of ±1, and a small grey picture."""

    source: Source
    hash: np.ndarray
    thumbnail: np.ndarray


def _in_threads(look: Callable[[Pair], _Look], pairs: Sequence[Pair]) -> Iterator[_Look]:
    """Decoding leaves Python's lock alone, so threads are as good as processes here."""
    pool = ThreadPoolExecutor(min(8, available_cores()))
    try:
        yield from pool.map(look, pairs)
    finally:
        pool.shutdown(cancel_futures=True)


def _look(full: bool, compare: bool, pair: Pair) -> _Look:
    findings: list[Finding] = []
    image: Header | None = None
    mask: Header | None = None
    signature = None
    try:
        if full:
            image = decoded = decode(pair.image, preview=64)
            rgb = decoded.as_image()
            signature = _sign(pair.image, rgb) if compare else None
        else:
            image = read_header(pair.image)
    except ImageError as error:
        findings.append(_finding("unreadable", [pair.image], str(error)))
    try:
        if full:
            mask = decoded = decode(pair.mask)
            findings += _mask_findings(decoded)
        else:
            mask = read_header(pair.mask)
    except ImageError as error:
        findings.append(_finding("unreadable", [pair.mask], str(error)))
    if image is not None and mask is not None:
        findings += _orientation_findings(pair, image, mask)
    for header in (image, mask):
        if header is not None:
            findings += _header_findings(header)
    return _Look(findings, signature)


def _header_findings(header: Header) -> Iterator[Finding]:
    if header.frames:
        yield _finding("frames", [header.source])
    if header.mislabelled:
        yield _finding("mislabelled", [header.source], f"{header.source} is {header.format}")


def _orientation_findings(pair: Pair, image: Header, mask: Header) -> Iterator[Finding]:
    try:
        upright = choose_orientation(image, mask)
    except DataError as error:
        yield _finding("size", [pair.mask, pair.image], str(error))
        return
    if not all(upright):
        turned = image if not upright[0] else mask
        yield _finding("raw_orientation", [turned.source])
    elif image.orientation != mask.orientation and image.seen_size() == image.seen_size(
        upright=False
    ):
        yield _finding("square_turned", [pair.image, pair.mask])


def _mask_findings(mask: Decoded) -> Iterator[Finding]:
    try:
        values = np.asarray(mask.as_mask(upright=False))
    except ImageError as error:
        yield _finding("mask_values", [mask.source], str(error))
        return
    if not (values >= 128).any():
        yield _finding("empty_mask", [mask.source])
    elif (values >= 128).all():
        yield _finding("full_mask", [mask.source])
    grey = float(((values > 25) & (values < 230)).mean())
    if grey > _GREY_SHARE:
        yield _finding("grey_mask", [mask.source], f"{mask.source} is grey in {100 * grey:.0f} %")


def _sign(source: Source, image: Image.Image) -> _Signature:
    import imagehash

    bits = imagehash.phash(image).hash.ravel()
    small = image.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values -= values.mean()
    norm = float(np.linalg.norm(values))
    signs = np.where(bits, 1, -1).astype(np.float32)
    return _Signature(source, signs, values / norm if norm > 0 else values)


def _near_duplicates(known: Sequence[_Signature], asked: Sequence[_Signature]) -> Iterator[Finding]:
    hashes = np.stack([each.hash for each in known])
    thumbnails = np.stack([each.thumbnail for each in known])
    for start in range(0, len(asked), 256):
        part = asked[start : start + 256]
        # of vectors of ±1, the product is 64 less twice the number of bits that differ
        near = np.stack([each.hash for each in part]) @ hashes.T >= 64 - 2 * HASH_BITS
        alike = np.stack([each.thumbnail for each in part]) @ thumbnails.T
        scores = np.where(near, alike, -1)
        for one, best, score in zip(part, scores.argmax(1), scores.max(1), strict=True):
            if score >= CORRELATION:
                both = (one.source, known[best].source)
                yield _finding("near_duplicate", both, " and ".join(map(str, both)))
