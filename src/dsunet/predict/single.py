"""One image → one file, or standard output."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsunet.config import Options
from dsunet.data.remote import Remote, at_hand
from dsunet.data.sources import IMAGE_SUFFIXES, Source
from dsunet.errors import OutputError, closest
from dsunet.predict.encoding import FORMATS, format_of
from dsunet.predict.files import check_draft
from dsunet.predict.huge import Huge, as_huge
from dsunet.predict.outputs import check_options, made
from dsunet.predict.segmenter import Segmenter
from dsunet.predict.working import read_to_segment

__all__ = ["STREAM", "Made", "check_single", "is_single", "predict_one"]

STREAM = "-"
"""What stands for standard input or output."""

_ENDINGS = (".png", ".webp", ".jpg", ".jpeg")


class Made(bytes):
    """A file's content, with what is to be said of it."""

    whole: bool = False
    """Whether it was to be cropped to its object, but has none."""
    empty: bool = False
    """Whether the image was taken for one without an object, see `Options.abstain`."""
    frames: bool = False
    """Whether the image has more pages or frames than the first."""
    profile_trouble: str = ""
    """Why the image's colour profile cannot be used, if it has one."""
    read_whole: str = ""
    """Why a huge image in tiles was read as a whole, if it was."""


def is_single(output: str) -> bool:
    """Whether an `output` is one file or the standard output, and no folder.

    Raises:
        OutputError: It ends nearly as an image does, and there is no such folder.
    """
    if output == STREAM:
        return True
    path = Path(output)
    if path.is_dir():
        return False
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if not output.endswith(("/", os.sep)) and (meant := closest(suffix, _ENDINGS)):
        raise OutputError(
            f"`output` {output} ends in {path.suffix}; did you mean {path.with_suffix(meant)}? A "
            f"folder of that name is meant by {output}/"
        )
    return False


def check_single(
    images: Sequence[Path | Remote], output: str, options: Options, given: str | None
) -> Options:
    """Refuses what does not fit into one file.

    Args:
        images: The files to segment; none if it is the standard input alone.
        output: A file's name or `-`.
        options: What to write.
        given: The format that was asked for, if one was.

    Returns:
        The options with the format that the name's ending says.

    Raises:
        OutputError: Several images or kinds are to go into it, it is an image that is to be
            read, or its ending is none that can be written.
    """
    if len(images) > 1:
        raise OutputError(
            f"`output` {output} is one file, but there are {len(images)} images; name a folder"
        )
    if len(options.save) > 1:
        raise OutputError(
            f"`output` {output} is one file, but {' and '.join(options.save)} are to be written; "
            "`save` one of them, or name a folder"
        )
    form = given or "png"
    if output != STREAM:
        by_name = format_of(output)
        if by_name is None:
            raise OutputError(
                f"`output` {output} ends like no format that is written ({', '.join(FORMATS)}); "
                "choose another ending"
            )
        if given not in (None, by_name):
            raise OutputError(
                f"`output` {output} ends like {by_name}, but `format` is {given}; leave one out"
            )
        if any(_is_same(image, output) for image in images):
            raise OutputError(
                f"the image {output} would be overwritten by its output; choose another `output`"
            )
        form = by_name
    options = replace(options, format=form)
    check_options(options)
    return options


def _is_same(image: Path | Remote, output: str) -> bool:
    return isinstance(image, Path) and os.path.realpath(image) == os.path.realpath(output)


def predict_one(
    segmenter: Segmenter,
    image: Source | Remote,
    options: Options,
    scratch: str | Path | None = None,
) -> Made:
    """The file of one image's one output, as `predict_files` writes it.

    Args:
        segmenter: The model.
        image: What to segment.
        options: What to write.
        scratch: Folder for a file of one byte a pixel that a huge image takes meanwhile; by default
            the system's for such files.

    Raises:
        ImageError: It cannot be read, or is too large for the format.
        ConfigError: Options do not go together, or `draft` does not go with the model.
    """
    check_options(options)
    options = segmenter.filled(options)
    check_draft(options, segmenter)
    if len(options.parts(options.save[0])) > 1:
        raise OutputError(
            f"probability has a map for each class ({', '.join(options.classes)}), and one file "
            "is to be written; name a folder as `output`, or `save` labels or overlay"
        )
    source = at_hand(image)
    huge = as_huge(source, segmenter, options)
    if isinstance(huge, Huge):
        return _of_huge(huge, segmenter, options, scratch)
    read = read_to_segment(source, segmenter, options, huge)
    [probability] = segmenter.probabilities([read.prepared])
    result = segmenter.segmentation(read.taken, probability)
    if options.abstain:
        result = result.abstaining(options.image_threshold)
    if options.refines(options.save[0]):
        result = result.refined()
    box = result.box(options.object_from) if options.crop_to_object else None
    [part] = options.parts(options.save[0])
    file = Made(made(options.save[0], result, options, box, read.kept, part))
    file.whole = options.crop_to_object and box is None
    file.empty = options.abstain and not result.probability.any()
    file.frames, file.profile_trouble = read.frames, read.profile_trouble
    file.read_whole = read.read_whole
    return file


def _of_huge(
    image: Huge, segmenter: Segmenter, options: Options, scratch: str | Path | None
) -> Made:
    if scratch is not None:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dsunet-", dir=scratch) as folder:
        path = Path(folder) / "output.png"
        found = image.write(segmenter, options, {options.save[0]: path}, 1)
        file = Made(path.read_bytes())
    file.empty = options.abstain and found.empty
    file.frames, file.profile_trouble = image.frames, image.profile_trouble
    return file
