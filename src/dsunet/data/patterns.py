"""Names of masks that are not those of their images: `a.jpg` and `a_mask.png`, say.

What all names of one kind have beside the shared part is looked for over the whole set, so that one
odd name decides nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from dsunet.errors import DataError, few

__all__ = ["IMAGE_WORDS", "MASK_WORDS", "Name", "Pattern", "find_pattern", "find_pattern_inside"]

# A file's folder below the place that was given, with /, and its stem.
Name = tuple[str, str]

_NEARLY_ALL = 0.9  # of the names that could have a partner, so many have to
_LOOKED_AT = 2000  # names that may vote for a pattern
_FEW = 3  # in sets of fewer pairs, letters alone are no pattern

# What masks, and what images, are called; without punctuation and case.
MASK_WORDS = frozenset(
    (
        *("mask", "masks", "msk", "gt", "groundtruth", "truth", "label", "labels", "lbl", "seg"),
        *("segm", "segmentation", "segmentations", "segmask", "annotation", "annotations", "anno"),
        *("ann", "matte", "alpha", "target", "binarymask", "labelids", "saliency"),
    )
)
IMAGE_WORDS = frozenset(
    (
        *("image", "images", "img", "imgs", "im", "photo", "picture", "pic", "rgb", "sat", "orig"),
        *("original", "raw", "input", "src", "source", "scan", "color", "colour"),
    )
)

_LAST_WORD = re.compile(r"[-_. ]?[^\W\d_]+$")
_FIRST_WORD = re.compile(r"^[^\W\d_]+[-_. ]?")


@dataclass(frozen=True)
class Pattern:
    """What images' and masks' stems have before and after the part that partners share."""

    mask_suffix: str = ""
    mask_prefix: str = ""
    image_suffix: str = ""
    image_prefix: str = ""

    def of_image(self, stem: str) -> str | None:
        """What an image's stem shares with its mask's; `None` if it does not follow the pattern."""
        return _core(stem, self.image_prefix, self.image_suffix)

    def of_mask(self, stem: str) -> str | None:
        """What a mask's stem shares with its image's; `None` if it does not follow the pattern."""
        return _core(stem, self.mask_prefix, self.mask_suffix)

    def __str__(self) -> str:
        parts = []
        for kind, prefix, suffix in (
            ("masks", self.mask_prefix, self.mask_suffix),
            ("images", self.image_prefix, self.image_suffix),
        ):
            said = [f"begin with {prefix}"] * bool(prefix) + [f"end in {suffix}"] * bool(suffix)
            if said:
                parts.append(f"{kind} {' and '.join(said)}")
        return ", ".join(parts)

    @property
    def _affixes(self) -> list[str]:
        every = (self.mask_suffix, self.mask_prefix, self.image_suffix, self.image_prefix)
        return [affix for affix in every if affix]

    @property
    def _order(self) -> tuple[int, int, str]:
        """The plainest first."""
        return len(self._affixes), sum(map(len, self._affixes)), str(self)


def _core(stem: str, prefix: str, suffix: str) -> str | None:
    if not (stem.startswith(prefix) and stem.endswith(suffix)):
        return None
    return stem[len(prefix) : len(stem) - len(suffix)] or None


def find_pattern(images: Collection[Name], masks: Collection[Name]) -> Pattern | None:
    """How the names of masks follow from those of images in another place.

    One prefix or suffix that makes nearly every name of one side a name of the other; or one on
    either side, of letters, such as `_image` and `_mask`.

    Returns:
        The pattern; `None` if names pair up as they are, or by no pattern.

    Raises:
        DataError: Several patterns would do, and mean different pairs.
    """
    fewer = min(len(images), len(masks))
    alike = len(set(images) & set(masks))
    if not fewer or 2 * alike >= fewer:
        return None
    candidates = {
        *(Pattern(**{f"mask_{side}": affix}) for side, affix in _votes(masks, set(images))),
        *(Pattern(**{f"image_{side}": affix}) for side, affix in _votes(images, set(masks))),
        *_of_words(images, masks),
    }
    found = {
        pattern: pairs
        for pattern in candidates
        if len(pairs := _pairs(pattern, images, masks)) >= max(_NEARLY_ALL * fewer, alike + 1)
        and _is_plausible(pattern, len(pairs))
    }
    return _the_one(found)


def find_pattern_inside(names: Collection[Name]) -> Pattern | None:
    """How masks are told from images that lie in one folder with them.

    By a word that masks are called by, such as `_mask`; or by any affix that gives nearly every
    file a partner.

    Returns:
        The pattern; `None` if there is none.

    Raises:
        DataError: Several patterns would do, and mean different pairs.
    """
    known = set(names)
    candidates: set[Pattern] = set(_of_words(names, names))
    for side, affix in _votes(names, known):
        kind = "image" if _word(affix) in IMAGE_WORDS else "mask"
        candidates.add(Pattern(**{f"{kind}_{side}": affix}))
    found: dict[Pattern, Mapping[Name, Name]] = {}
    for pattern in candidates:
        marks = {_word(pattern.mask_suffix), _word(pattern.mask_prefix)} & MASK_WORDS
        pairs = {
            image: mask for image, mask in _pairs(pattern, names, names).items() if image != mask
        }
        chained = set(pairs) & set(pairs.values())  # a file would be an image and a mask
        if not pairs or chained or not _is_plausible(pattern, len(pairs)):
            continue
        if marks or 2 * len(pairs) >= _NEARLY_ALL * len(known):
            found[pattern] = pairs
    return _the_one(found)


def _the_one(found: Mapping[Pattern, Mapping[Name, Name]]) -> Pattern | None:
    """The plainest of the patterns with the most pairs, unless others mean other masks."""
    if not found:
        return None
    by_pairs: dict[frozenset[tuple[Name, Name]], Pattern] = {}
    for pattern in sorted(found, key=lambda each: each._order):
        by_pairs.setdefault(frozenset(found[pattern].items()), pattern)
    first, *others = sorted(by_pairs.items(), key=lambda item: (-len(item[0]), item[1]._order))
    masks = dict(first[0])
    rivals = [
        pattern
        for pairs, pattern in others
        if any(masks.get(image, mask) != mask for image, mask in pairs)
    ]
    if rivals:
        raise DataError(
            f"it is unclear which files are the masks: {few([first[1], *rivals])}; give "
            "`mask_suffix`, or keep one kind alone"
        )
    return first[1]


def _pairs(pattern: Pattern, images: Iterable[Name], masks: Iterable[Name]) -> Mapping[Name, Name]:
    """The mask of every image that has one by a pattern."""
    mask_of = {
        (folder, core): (folder, stem)
        for folder, stem in masks
        if (core := pattern.of_mask(stem)) is not None
    }
    return {
        (folder, stem): mask_of[folder, core]
        for folder, stem in images
        if (core := pattern.of_image(stem)) is not None and (folder, core) in mask_of
    }


def _votes(longer: Collection[Name], shorter: Collection[Name]) -> Iterator[tuple[str, str]]:
    """What could be cut off the longer names to make shorter ones, the most frequent ones."""
    count: Counter[tuple[str, str]] = Counter()
    for folder, stem in sorted(longer)[:_LOOKED_AT]:
        for i in range(1, len(stem)):
            if (folder, stem[:i]) in shorter:
                count["suffix", stem[i:]] += 1
            if (folder, stem[i:]) in shorter:
                count["prefix", stem[:i]] += 1
    yield from (affix for affix, _ in count.most_common(20))


def _of_words(images: Collection[Name], masks: Collection[Name]) -> Iterator[Pattern]:
    """Patterns of a word on either side, the mask's being one that masks are called by."""
    for side, word in (("suffix", _LAST_WORD), ("prefix", _FIRST_WORD)):
        of_masks = [each for each in _words(masks, word) if _word(each) in MASK_WORDS]
        of_images = [each for each in _words(images, word) if _word(each) not in MASK_WORDS]
        for image, mask in product(of_images, of_masks):
            yield Pattern(**{f"image_{side}": image, f"mask_{side}": mask})


def _words(names: Iterable[Name], word: re.Pattern[str]) -> list[str]:
    count = Counter(found[0] for _, stem in names if (found := word.search(stem)))
    return [each for each, _ in count.most_common(10)]


def _is_plausible(pattern: Pattern, pairs: int) -> bool:
    """Whether affixes are set off by punctuation, or known words; letters need a few examples."""
    joints = (
        (pattern.mask_suffix, 0),
        (pattern.image_suffix, 0),
        (pattern.mask_prefix, -1),
        (pattern.image_prefix, -1),
    )
    return all(
        affix[at] in "-_. "
        or _word(affix) in MASK_WORDS | IMAGE_WORDS
        or (pairs >= _FEW and any(letter.isalpha() for letter in affix))
        for affix, at in joints
        if affix
    )


def _word(affix: str) -> str:
    return re.sub(r"[-_. ]", "", affix.casefold())
