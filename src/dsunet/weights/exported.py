"""What an exported file says about itself, so that it alone is enough."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD
from dsunet.config.classes import leave_out_unused
from dsunet.errors import CheckpointError

__all__ = [
    "INPUTS",
    "KEY",
    "OPENVINO_SUFFIX",
    "OUTPUTS",
    "SUFFIX",
    "FileFacts",
    "is_exported",
    "read_facts",
]

SUFFIX = ".onnx"
"""How names of exported files end."""

OPENVINO_SUFFIX = ".xml"
"""How names of those end that are of OpenVINO's format."""

KEY = "dsunet"
"""Under which key of a file's metadata they stand, as JSON."""

INPUTS = ("sam_image", "dino_image")
"""Names of a file's inputs: the view, and the second one of models that take two."""

OUTPUTS = ("probability", "logits")
"""Names of its outputs, both B×1×H×W at the first view's size."""

FORM = 1

PREPROCESSING = {
    "colours": "RGB",
    "resize": "the whole picture to the input's height and width, bilinear with antialiasing "
    "(Pillow's BILINEAR)",
    "scale": "value / 255",
    "mean": list(IMAGENET_MEAN),
    "std": list(IMAGENET_STD),
    "layout": "B×3×H×W, float32",
    "afterwards": "logits resized bilinearly (half-pixel centres) to the picture's own size, then "
    "the sigmoid; or probability, resized",
}


@dataclass(frozen=True)
class FileFacts:
    """What stands in an exported file's metadata."""

    name: str
    """The model's."""
    views: tuple[tuple[int, int], tuple[int, int] | None]
    """Height and width of the inputs."""
    precision: str
    dynamic_size: bool = False
    """Whether the first input takes other sizes, too."""
    multiple: int = 1
    """What its sides are multiples of then."""
    intensity: str = "full"
    """Which stored values of pictures are black and white, see `ModelConfig`."""
    parameters: int = 0
    weights_sha256: str | None = None
    """Of the weights file that it was made of."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What that file says of its training: data, terms, measures."""
    license: str | None = None
    """Of the weights, where it is known."""
    card: str | None = None
    """The page about weights that come with dsunet, in Markdown."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Versions of what made the file."""
    classes: tuple[str, ...] = ()
    """Names of the model's classes, one for each channel; none of a model of one map."""
    exclusive: bool = False
    """Whether a pixel has one of these at most, by a softmax in which background's logit is 0."""

    def to_json(self) -> str:
        """As it stands in a file."""
        facts = asdict(self)
        leave_out_unused(facts)
        return json.dumps(
            {"form": FORM, **facts, "preprocessing": PREPROCESSING}, ensure_ascii=False
        )


def is_exported(file: object) -> bool:
    """Whether a name is that of an exported file."""
    return str(file).lower().endswith((SUFFIX, OPENVINO_SUFFIX))


def read_facts(metadata: Mapping[str, str], file: object) -> FileFacts:
    """What a file says about itself.

    Args:
        metadata: The file's own.
        file: What to call it in messages.

    Raises:
        CheckpointError: It says nothing, or nothing that this version understands.
    """
    if KEY not in metadata:
        raise CheckpointError(
            f"{file} is an ONNX file, but none of dsunet's (it lacks the metadata {KEY!r}); give "
            "one that `dsunet export` has made"
        )
    try:
        given = json.loads(metadata[KEY])
        form = given.pop("form")
        if form == FORM:
            given.pop("preprocessing")
            first, second = given.pop("views")
            views = (_size(first), None if second is None else _size(second))
            classes = tuple(map(str, given.pop("classes", ())))
            return FileFacts(views=views, classes=classes, **given)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"what {file} says about itself cannot be read ({error}); export the model again"
        ) from error
    raise CheckpointError(
        f"{file} was made by a dsunet that writes form {form}, and this one reads form {FORM}; "
        "export the model again, or update dsunet"
    )


def _size(given: Any) -> tuple[int, int]:
    height, width = given
    return int(height), int(width)
