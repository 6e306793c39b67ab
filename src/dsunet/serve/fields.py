"""What a request asks for: fields as texts → options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dsunet.config import Options
from dsunet.errors import ConfigError, perhaps
from dsunet.predict.encoding import FORMATS
from dsunet.predict.outputs import KINDS, check_options
from dsunet.serve.refusals import Refusal

__all__ = ["ANSWERS", "FIELDS", "OUTPUTS", "Ask", "parse"]

OUTPUTS = (*KINDS, "json")
"""What a request can ask for."""

FIELDS = (
    "output",
    "threshold",
    "background",
    "refine",
    "crop",
    "format",
    "abstain",
    "image_threshold",
)
"""What a request can say, in its form or behind the `?` of its address."""

ANSWERS = ("json", "zip")
"""How several pictures are answered (field `answer`)."""


@dataclass(frozen=True)
class Ask:
    """What is asked for of a picture."""

    output: str
    """Of `OUTPUTS`."""
    options: Options
    """As of `dsunet predict`, with one kind in `save`; of `json`, the map that goes along."""


def parse(given: Mapping[str, Sequence[str]], known: Sequence[str] = FIELDS) -> Ask:
    """The options of a request.

    Args:
        given: Fields with all of their values.
        known: The fields that the request may have.

    Raises:
        Refusal: 422; a field is unknown, given twice, or has no value that makes sense.
    """
    texts: dict[str, str] = {}
    for name, values in given.items():
        if name not in known:
            raise Refusal(
                422,
                f"there is no field {name[:60]!r}; known: {', '.join(known)}{perhaps(name, known)}",
            )
        if len(values) != 1:
            raise Refusal(422, f"`{name}` is given {len(values)} times; give it once")
        texts[name] = values[0]
    output = one_of(texts, "output", OUTPUTS, "probability")
    options = Options(
        save=("probability" if output == "json" else output,),
        threshold=_number(texts, "threshold"),
        background=texts.get("background") or None,
        refine=_truth(texts, "refine"),
        crop_to_object=_truth(texts, "crop") or False,
        format=one_of(texts, "format", FORMATS, "png"),
        abstain=_truth(texts, "abstain") or False,
        image_threshold=_number(texts, "image_threshold"),
    )
    try:
        # where boxes come along, the threshold of a map means something
        whole = output == "json" and not options.crop_to_object
        check_options(_without_threshold(options) if whole else options)
    except ConfigError as error:
        said = str(error).replace("`save`", "`output`").replace("`crop_to_object`", "`crop`")
        raise Refusal(422, said) from error
    return Ask(output, options)


def _without_threshold(options: Options) -> Options:
    """The same, if the threshold is one."""
    threshold = options.threshold
    if threshold is not None and not 0 <= threshold <= 1:
        return options
    return replace(options, threshold=None)


def one_of(texts: Mapping[str, str], name: str, known: Sequence[str], default: str) -> str:
    """A field's value, which has to be one of some.

    Raises:
        Refusal: 422; it is none of them.
    """
    value = texts.get(name, default)
    if value not in known:
        raise Refusal(
            422,
            f"`{name}` is {value[:60]!r}, but needs one of {', '.join(known)}"
            f"{perhaps(value, known)}",
        )
    return value


def _number(texts: Mapping[str, str], name: str) -> float | None:
    if (text := texts.get(name, "")) == "":
        return None
    try:
        return float(text)
    except ValueError:
        raise Refusal(422, f"`{name}` is {text[:60]!r}, but needs a number such as 0.5") from None


def _truth(texts: Mapping[str, str], name: str) -> bool | None:
    text = texts.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise Refusal(422, f"`{name}` is {text[:60]!r}, but needs true or false")
    return None if text == "" else text in ("true", "1")
