"""What a check of data finds: kinds of findings, and the report of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dsunet.data.grouping import RUNNING_NUMBERS
from dsunet.data.sources import Source
from dsunet.data.survey import Survey
from dsunet.errors import DataError
from dsunet.support.files import write_json

__all__ = ["KINDS", "DataReport", "Finding", "finding", "lines_of"]

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """A kind of finding: how bad it is, what it is of one or many files, and what to do."""

    severity: Severity
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    "unreadable": Kind("error", "files that cannot be read", "replace or remove them"),
    "orphan_image": Kind(
        "error",
        "images without a mask",
        "add masks of the same stem, or give `missing_masks` empty if they show no object",
    ),
    "orphan_mask": Kind("error", "masks without an image", "add images of the same stem"),
    "own_mask": Kind(
        "error", "images that are their own mask", "give the masks' folder, or put masks there"
    ),
    "duplicate": Kind("error", "stems that occur twice", "rename or remove one of each"),
    "size": Kind("error", "masks of another size than their image", "make the sizes equal"),
    "mask_values": Kind(
        "error",
        "masks whose values do not say what is object",
        "tell `object_values` or `ignore_value`, use 0 and 255, or name `classes`",
    ),
    "mask_reading": Kind("error", "the masks of the set do not say alike what is object", ""),
    "name": Kind("error", "names with line breaks", "rename them"),
    "near_duplicate": Kind(
        "warning",
        "validation images that are nearly in the training set",
        "measures will flatter; hold whole groups of alike images out, by `group_by`, `val` or "
        "`val_list`",
    ),
    "running": Kind(
        "warning",
        "runs of numbered names are in both training and validation",
        "if they are frames of a video, or of one patient, measures will flatter: hold them out "
        f"whole by `group_by` '{RUNNING_NUMBERS}'",
    ),
    "leak": Kind(
        "warning",
        "test images that are nearly in a training set",
        "published results include them; to do without, leave their training images out by "
        "`train_list`",
    ),
    "count": Kind(
        "warning", "another number of pairs than published", "a part, or another version?"
    ),
    "empty_mask": Kind("warning", "masks without any object", "fine if that is so"),
    "ignored_mask": Kind("warning", "masks that are ignored all over", "they teach nothing"),
    "mostly_object": Kind(
        "warning",
        "most of nearly every picture is object",
        "`invert` exchanges object and background if black is object",
    ),
    "absent_class": Kind(
        "warning", "classes that no mask holds", "they are learned from background alone"
    ),
    "overlap": Kind(
        "note",
        "classes over each other, of which the smaller is on top",
        "`exclusive` false learns both",
    ),
    "full_mask": Kind("warning", "masks that are all object", "fine if that is so"),
    "grey_mask": Kind(
        "warning", "masks with much grey between black and white", "is grey a third class?"
    ),
    "few_levels": Kind(
        "warning",
        "pictures that use few of their levels, so that nearly all is one grey",
        "`intensity` percentile, or LOW,HIGH, stretches them",
    ),
    "colour_profile": Kind(
        "warning", "colour profiles that cannot be used", "the pictures are taken as sRGB"
    ),
    "tiny_object": Kind("warning", "objects are too small for the network's view", ""),
    "square_turned": Kind(
        "warning",
        "turned by EXIF, with a mask that fits either way",
        "look at `sheet` whether masks lie on their objects",
    ),
    "raw_orientation": Kind(
        "note",
        "images used as they are stored, against their EXIF orientation",
        "because their mask fits only so",
    ),
    "pairing": Kind("note", "how images and masks were found", ""),
    "no_mask": Kind(
        "note", "images without a mask count as having no object", "as `missing_masks` says"
    ),
    "frames": Kind("note", "files with several pages or frames", "only the first is used"),
    "mislabelled": Kind(
        "note", "files with the content of another format than their name", "the content counts"
    ),
    "unused": Kind(
        "note", "other files and folders in images/ and masks/", "they are not looked into"
    ),
    "shared": Kind("note", "test images that are nearly in another test set", ""),
    "several": Kind("note", "found in several places", "the first is used"),
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

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "files": list(self.files),
            "detail": self.detail,
        }


def finding(kind: str, sources: Sequence[Source], detail: str | None = None) -> Finding:
    """A finding about some files; told by the first one's name unless `detail` is given."""
    files = tuple(str(source) for source in sources)
    return Finding(kind, files, detail or files[0])


def lines_of(findings: Sequence[Finding], limit: int = 5) -> list[str]:
    """A line per kind of finding, the worst first, with the first few files below it."""
    lines = []
    for kind, (severity, title, advice) in KINDS.items():
        found = [each for each in findings if each.kind == kind]
        if not found:
            continue
        count = f"{len(found)} {title}" if found[0].files else title
        lines.append(f"{severity}: {count}" + (f" ({advice})" if advice else ""))
        lines += [f"    {each.detail}" for each in found[:limit]]
        if len(found) > limit:
            lines.append(f"    … and {len(found) - limit} more")
    return lines


@dataclass
class DataReport:
    """What a check came to."""

    training: int = 0
    """Pairs to train on."""
    validation: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    survey: Survey | None = None
    """The values of the masks."""

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [each for each in self.findings if each.severity == severity]

    def lines(self, limit: int = 5) -> list[str]:
        """For people: the masks' values, see `Survey.lines`, and the findings, see `lines_of`."""
        values = self.survey.lines() if self.survey is not None else []
        return [*lines_of(self.findings, limit), *values]

    def raise_for_errors(self) -> None:
        """Raises `DataError` if there is an error: the counts, and the first of each kind."""
        errors = self.of("error")
        if not errors:
            return
        parts = []
        for kind in dict.fromkeys(each.kind for each in errors):
            found = [each for each in errors if each.kind == kind]
            count = f"{len(found)} " if found[0].files else ""
            parts.append(f"{count}{KINDS[kind].title} (first: {found[0].detail})")
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
            "mask_values": None if self.survey is None else self.survey.to_dict(),
            "findings": [each.to_dict() for each in self.findings],
        }

    def write_json(self, path: Path) -> None:
        """Writes `to_dict`."""
        write_json(path, self.to_dict())
