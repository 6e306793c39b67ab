"""The one way from images to their files: reading, computing and writing beside each other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dsunet.config import Options
from dsunet.data.colour import profile_trouble
from dsunet.data.images import decode
from dsunet.data.remote import Remote, at_hand
from dsunet.data.sources import Source
from dsunet.errors import CustomModelError, ImageError
from dsunet.predict.encoding import LARGEST, Kept, kept_of
from dsunet.predict.huge import Huge, as_huge
from dsunet.predict.inputs import Taken
from dsunet.predict.outputs import made
from dsunet.predict.pictures import Segmentation
from dsunet.predict.plan import Job, output_path
from dsunet.predict.segmenter import Segmenter
from dsunet.predict.threads import ahead, in_batches, pool
from dsunet.support.files import write_atomically

__all__ = ["Outcome", "ToSegment", "Working", "read_to_segment", "without_name"]


class ToSegment(NamedTuple):
    """An image that has been read."""

    taken: Taken
    prepared: Any
    """What `Segmenter.probabilities` takes of it."""
    kept: Kept
    """What its outputs keep of its file."""
    frames: bool
    """Whether it has more pages or frames than the first."""
    profile_trouble: str
    """Why its colour profile cannot be used; empty if it can, or there is none."""
    read_whole: str = ""
    """Why all of it was read at a time though it is so large; empty if that is no matter."""


class Outcome(NamedTuple):
    """What became of one image."""

    job: Job
    reason: str = ""
    """Why there are no outputs; empty if they are written."""
    size: tuple[int, int] | None = None
    """Width and height in pixels, upright; `None` of one that could not be read."""
    score: float | None = None
    """Mean probability of the object's pixels, 0 without any; `None` if it was not asked for."""
    seconds: float = 0.0
    """For reading, computing and writing it; of a batch its share."""
    frames: bool = False
    """Whether it has several pages or frames, of which the first was segmented."""
    profile_trouble: str = ""
    """Why its colours were taken as sRGB, if it has a profile that cannot be used."""
    whole: bool = False
    """Whether it was to be cropped to its object, but has none."""
    abstained: bool = False
    """Whether it was taken for one without an object, see `Options.abstain`."""
    read_whole: str = ""
    """Why a huge image in tiles was read and written as a whole, which takes memory for all of its
    pixels; empty if it was not."""


class _Ready(NamedTuple):
    """A job whose image has been read, or why it could not be."""

    job: Job
    image: ToSegment | Huge | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass
class Working:
    """Takes images to their files, and tells what became of each."""

    segmenter: Segmenter
    folder: Path
    options: Options
    ended: Callable[[Outcome], None]
    """Called in the thread that asks, once for every image, when its outputs are on disk."""
    scores: bool = False
    """Whether outcomes are to have a score."""

    def segment_all(self, jobs: Iterable[Job], batch_size: int, reading: int, writing: int) -> None:
        """Reads, computes and writes, the first and the last in threads beside the model.

        Raises:
            OSError: Something cannot be written; what was written before is whole.
            CustomModelError: What a network of the user's own gives is no map.
        """
        count = 2 * batch_size + reading if reading else 1
        behind = max(count, batch_size + writing) if writing else 1
        readers, writers = pool(reading), pool(writing)
        ready = ahead(
            (readers.submit(_read, job, self.segmenter, self.options) for job in jobs), count
        )
        written: deque[Future[Outcome]] = deque()
        try:
            for batch in in_batches(self._at_hand(ready, batch_size), batch_size):
                written.extend(self._write_all(writers, batch, batch_size))
                while len(written) >= behind:
                    self.ended(written.popleft().result())
            while written:
                self.ended(written.popleft().result())
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            # of an interrupted run, too, every output that was written counts
            for each in written:
                if each.exception() is None:
                    self.ended(each.result())

    def _write_all(
        self, writers: Executor, batch: list[_Ready], batch_size: int
    ) -> Iterator[Future[Outcome]]:
        """Computes the maps of a batch and has them written."""
        started = time.perf_counter()
        try:
            images = [each.image for each in batch if isinstance(each.image, ToSegment)]
            maps = self.segmenter.in_passes([image.prepared for image in images], batch_size)
        except CustomModelError as error:
            if self.segmenter.engine.batches:
                raise
            self._fail(batch[0], str(error))
            return
        share = (time.perf_counter() - started) / len(batch)
        for each, image, probability in zip(batch, images, maps, strict=True):
            result = self.segmenter.segmentation(image.taken, probability)
            yield writers.submit(self._write, result, each, image, each.seconds + share)

    def _at_hand(self, ready: Iterable[_Ready], batch_size: int) -> Iterator[_Ready]:
        """Passes on what could be read; does what is too large for that, and tells of the rest."""
        for each in ready:
            if each.image is None:
                self._fail(each, each.reason)
            elif isinstance(each.image, Huge):
                self._do_huge(each.image, each, batch_size)
            else:
                yield each

    def _do_huge(self, image: Huge, ready: _Ready, batch_size: int) -> None:
        """Reads, segments and writes a huge image, band by band."""
        started, options, job = time.perf_counter(), self.options, ready.job
        paths = {
            kind: output_path(self.folder, kind, options.save, job.name, options.format)
            for kind in options.save
        }
        try:
            found = image.write(self.segmenter, options, paths, batch_size)
        except (ImageError, CustomModelError) as error:
            if isinstance(error, CustomModelError) and self.segmenter.engine.batches:
                raise
            self._fail(ready, str(error))
            return
        self.ended(
            Outcome(
                job,
                size=image.size,
                score=found.score if self.scores else None,
                seconds=ready.seconds + time.perf_counter() - started,
                frames=image.frames,
                profile_trouble=image.profile_trouble,
                abstained=options.abstain and found.empty,
            )
        )

    def _write(
        self, result: Segmentation, ready: _Ready, image: ToSegment, seconds: float
    ) -> Outcome:
        """Writes all outputs of an image."""
        started, options, job = time.perf_counter(), self.options, ready.job
        abstained, whole = False, False
        if options.abstain:
            result = result.abstaining(options.image_threshold)
            abstained = not result.probability.any()
        score = self._score(result)
        # as it is first, then refined: of a large picture both at a time take much memory
        for refine in sorted({options.refines(kind) for kind in options.save}):
            if refine:
                result = result.refined()
            box = None
            if options.crop_to_object:
                box = result.box(options.object_from)
                whole = whole or box is None
            for kind in options.save:
                if options.refines(kind) != refine:
                    continue
                for part in options.parts(kind):
                    path = output_path(
                        self.folder, kind, options.save, job.name, options.format, part
                    )
                    write_atomically(path, made(kind, result, options, box, image.kept, part))
        height, width = result.probability.shape[-2:]
        return Outcome(
            job,
            size=(width, height),
            score=score,
            seconds=seconds + time.perf_counter() - started,
            frames=image.frames,
            profile_trouble=image.profile_trouble,
            whole=whole,
            abstained=abstained,
            read_whole=image.read_whole,
        )

    def _score(self, result: Segmentation) -> float | None:
        if not self.scores:
            return None
        found = result.binary(self.options.object_from)
        return float(result.probability[found].mean()) if found.any() else 0.0

    def _fail(self, ready: _Ready, reason: str) -> None:
        """Tells why there is nothing of an image."""
        reason = without_name(reason, ready.job)
        self.ended(Outcome(ready.job, reason, seconds=ready.seconds))


def without_name(reason: str, job: Job) -> str:
    """A reason that does not begin with the image's name."""
    return reason.removeprefix(f"{job.image}: ")


def _read(job: Job, segmenter: Segmenter, options: Options) -> _Ready:
    started = time.perf_counter()
    if job.trouble:
        return _Ready(job, reason=job.trouble)
    try:
        source = at_hand(job.image)
        image: ToSegment | Huge | str = as_huge(source, segmenter, options)
        if isinstance(image, str):
            image = read_to_segment(source, segmenter, options, image)
        return _Ready(job, image, seconds=time.perf_counter() - started)
    except ImageError as error:
        return _Ready(job, reason=str(error), seconds=time.perf_counter() - started)


def read_to_segment(
    image: Source | Remote, segmenter: Segmenter, options: Options, read_whole: str = ""
) -> ToSegment:
    """Reads an image and makes the network's views of it.

    Args:
        image: Where it is.
        segmenter: Whose views.
        options: What will be written.
        read_whole: What `as_huge` has said of it.

    Raises:
        ImageError: It cannot be read, or is too large for the format to write.
    """
    upright = not options.ignore_orientation
    preview = segmenter.largest_side if options.draft else None
    decoded = decode(at_hand(image), preview=preview, intensity=segmenter.intensity)
    taken = Taken(*decoded.as_colours(upright=upright))
    width, height = decoded.seen_size(upright=upright)
    _check_size(width, height, options)
    return ToSegment(
        taken,
        segmenter.prepare(taken.seen, (height, width)),
        kept_of(decoded, upright=upright, exif=options.keep_exif, gps=options.keep_gps),
        decoded.frames,
        profile_trouble(decoded.pixels),
        read_whole,
    )


def _check_size(width: int, height: int, options: Options) -> None:
    """Raises `ImageError` for a picture that the format to write cannot hold."""
    largest = LARGEST[options.format]
    if max(width, height) > largest:
        raise ImageError(
            f"it has {width}×{height} pixels, but {options.format} holds {largest} a side; "
            "write png"
        )
