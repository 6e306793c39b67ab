"""A worker's process: it has the model, decodes pictures and makes answers.

What comes in is pickled by the service itself. What goes out is JSON and bytes, so that nothing
that a worker says is run, should a picture ever have got the better of a decoder.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from PIL import Image

from dsunet.config import ServeConfig, require_one_class
from dsunet.data.limits import pixels_allowed
from dsunet.data.sources import Bytes
from dsunet.errors import ConfigError, DsunetError, ImageError, ImageFormatError, ImageSizeError
from dsunet.predict.outputs import made
from dsunet.predict.pictures import Segmentation
from dsunet.predict.segmenter import Segmenter
from dsunet.predict.working import ToSegment, read_to_segment
from dsunet.serve.fields import Ask
from dsunet.support.imports import explain
from dsunet.support.processes import available_cores, stay_with_parent
from dsunet.weights import shipped

__all__ = ["MEDIA", "Job", "Stop", "segment", "segmenter_of", "work", "yield_to_the_service"]

MEDIA = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg"}

_NICE = 5

BOXES = 100
"""The most boxes that are told, the largest ones."""


@dataclass(frozen=True)
class Job:
    """A picture to segment."""

    content: bytes
    """Of its file."""
    ask: Ask


@dataclass(frozen=True)
class Stop:
    """Nobody waits for a job any more."""

    number: int
    """Of the job, among those that the worker has got: 1, 2, …"""


class Abandoned(Exception):  # noqa: N818 -- no error
    """Nobody waits for the picture any more."""


def segmenter_of(config: ServeConfig) -> Segmenter:
    """The model that is served.

    Raises:
        DsunetError: As of `dsunet.Segmenter`.
    """
    model = config.weights or shipped.DEFAULT
    engine = config.engine or ("onnx" if shipped.meant(model) is not None else "auto")
    segmenter = Segmenter(model, config.device, engine=engine)
    require_one_class(segmenter.classes, "the service", "predict by dsunet predict")
    return segmenter


def work(connection: Connection, config: ServeConfig, workers: int) -> None:
    """The life of a worker: first it tells of its model, then it answers jobs until it is ended.

    Args:
        connection: Where jobs come from and answers go to.
        config: What to serve.
        workers: How many there are.
    """
    stay_with_parent()
    yield_to_the_service()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // workers)))
    try:
        segmenter = segmenter_of(config)
        facts = facts_of(segmenter)
    except DsunetError as error:
        _tell(connection, {"failed": str(error)})
        return
    _tell(connection, {"model": facts})
    number = 0
    with pixels_allowed(config.max_pixels):
        while True:
            try:
                told = connection.recv()
            except (EOFError, OSError):
                return
            if isinstance(told, Job):  # else it is a stop that comes too late
                number += 1
                _tell(connection, {"took": number})
                _answer(connection, segmenter, told, number)


def yield_to_the_service() -> None:
    """Lets whoever answers `/health` have the processor first, however busy the workers are."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICE)


def facts_of(segmenter: Segmenter) -> dict[str, Any]:
    """What is told of a model."""
    engine = segmenter.engine
    return {
        "name": engine.name,
        "runtime": engine.runtime,
        "device": str(segmenter.device),
        "precision": engine.precision,
        "view": list(segmenter.view) if segmenter.view else None,
        "parameters": engine.parameters,
        "intensity": segmenter.intensity,
        "threshold": segmenter.threshold,
        "image_threshold": segmenter.image_threshold,
        "sha256": engine.identity().get("sha256"),
    }


def _tell(connection: Connection, told: dict[str, Any], content: bytes = b"") -> None:
    connection.send_bytes(json.dumps(told).encode())
    connection.send_bytes(content)


def _answer(connection: Connection, segmenter: Segmenter, job: Job, number: int) -> None:
    """Does a job and tells what came of it."""

    def go_on() -> None:
        while connection.poll():
            if connection.recv() == Stop(number):
                raise Abandoned

    start = time.perf_counter()
    content = b""
    try:
        content, told = segment(segmenter, job, go_on)
    except Abandoned:
        told = {"status": 499, "error": "the client has left"}
    except ImageSizeError:
        limit = Image.MAX_IMAGE_PIXELS or 0
        told = {
            "status": 413,
            "error": f"the picture has more than {limit:,} pixels; make it smaller",
            "limit": "max_pixels",
            "allowed": limit,
        }
    except ImageFormatError as error:
        told = {"status": 415, "error": str(error)}
    except ImageError as error:
        told = {"status": 422, "error": str(error)}
    except ConfigError as error:  # what only the model can tell, see `Segmenter.filled`
        told = {"status": 422, "error": str(error)}
    except DsunetError as error:
        told = {"status": 500, "error": str(error)}
    except Exception as error:
        if isinstance(error, (MemoryError, *segmenter.engine.out_of_memory)):
            told = {"status": 503, "error": "memory ran out; try a smaller picture, or later"}
        else:
            traceback.print_exc(file=sys.stderr)
            told = {"status": 500, "error": f"segmenting {explain(error)}"}
    told["seconds"] = round(time.perf_counter() - start, 6)
    _tell(connection, told, content)


def segment(
    segmenter: Segmenter, job: Job, go_on: Callable[[], None] = lambda: None
) -> tuple[bytes, dict[str, Any]]:
    """The answer to a job.

    Args:
        segmenter: The model.
        job: What to do.
        go_on: Is called between the steps, to raise what ends them.

    Returns:
        The content, and what is told beside it: its `media` type and `notes`.

    Raises:
        ImageError: The picture cannot be read, see `dsunet.data.images.decode`.
    """
    ask, options = job.ask, segmenter.filled(job.ask.options)
    read = read_to_segment(Bytes(job.content), segmenter, options)
    go_on()
    [probability] = segmenter.probabilities([read.prepared])
    result = segmenter.segmentation(read.taken, probability)
    score = result.score if ask.output == "json" else None
    if options.abstain:
        result = result.abstaining(options.image_threshold)
    go_on()
    if options.refines(options.save[0]):
        result = result.refined()
        go_on()
    box = result.box(options.object_from) if options.crop_to_object else None
    file = made(options.save[0], result, options, box, read.kept)
    notes = _notes(read, whole=options.crop_to_object and box is None)
    if options.abstain and not result.probability.any():
        notes.append("it is taken for a picture without an object, so its mask is empty")
    if ask.output != "json":
        return file, {"media": MEDIA[options.format], "notes": notes}
    told = described(result, options.object_from)
    told["image_score"] = None if score is None else round(score, 6)
    told["image_threshold"] = segmenter.image_threshold
    told["map"] = {
        "media_type": MEDIA[options.format],
        "base64": base64.b64encode(file).decode(),
        "box": list(box) if box else None,
    }
    told["notes"] = notes
    return json.dumps(told).encode(), {"media": "application/json", "notes": notes}


def _notes(read: ToSegment, whole: bool) -> list[str]:
    notes = []
    if read.frames:
        notes.append("it has several pages or frames, of which the first was taken")
    if read.profile_trouble:
        notes.append(f"it was taken as sRGB, because it has {read.profile_trouble}")
    if whole:
        notes.append("nothing reaches the threshold, so it is not cropped")
    return notes


def described(result: Segmentation, threshold: float) -> dict[str, Any]:
    """A result in numbers.

    Args:
        result: What was found.
        threshold: From which probability on a pixel belongs to the object.

    Returns:
        `width` and `height` in pixels; `score`, the mean probability of the object's pixels, 0
        without any; `area`, their number, and `share`, of all pixels; `box` around all of them, and
        `objects`, the 8-connected parts, largest first, each with `box` (left, top, right, bottom
        in pixels, the last two exclusive) and `area`, 100 at most of `object_count`.
    """
    import cv2

    object_ = result.binary(threshold)
    height, width = object_.shape
    area = int(object_.sum())
    count, _, stats, _ = cv2.connectedComponentsWithStats(object_.view(np.uint8), connectivity=8)
    order = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:BOXES] + 1
    objects = []
    for left, top, across, down, size in stats[order].tolist():
        objects.append({"box": [left, top, left + across, top + down], "area": size})
    box = result.box(threshold)
    return {
        "width": width,
        "height": height,
        "threshold": threshold,
        "score": round(float(result.probability[object_].mean()), 6) if area else 0.0,
        "area": area,
        "share": round(area / (width * height), 6),
        "box": list(box) if box else None,
        "object_count": count - 1,
        "objects": objects,
    }
