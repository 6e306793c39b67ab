"""Checking public data sets: whether they are whole, can be read, and overlap."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dsunet.data.catalogue.find import FoundSet
from dsunet.data.catalogue.sets import PUBLIC_SETS, TASKS
from dsunet.data.checks.duplicates import Signature, describe, near_duplicates
from dsunet.data.checks.findings import Finding, Severity, finding
from dsunet.data.checks.look import (
    NOT_COMPARED,
    can_compare,
    look_at,
    pairing_findings,
    survey_findings,
)
from dsunet.data.survey import Survey

__all__ = ["CatalogueReport", "SetReport", "check_sets"]


@dataclass(frozen=True)
class SetReport:
    """What a check of one set came to."""

    found: FoundSet
    findings: list[Finding]

    def count(self, severity: Severity) -> int:
        """How many findings there are of one severity."""
        return sum(each.severity == severity for each in self.findings)

    @property
    def state(self) -> str:
        """In a few words."""
        if errors := self.count("error"):
            return f"{errors} error{'s' if errors > 1 else ''}"
        if self.found.complete:
            return "complete"
        return "a part" if len(self.found.pairs) < self.found.published.count else "too many"


@dataclass
class CatalogueReport:
    """What a check of several sets came to."""

    sets: dict[str, SetReport] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Sets of the same tasks that were not found."""
    overlaps: list[Finding] = field(default_factory=list)
    """Findings that concern two sets: `leak` and `shared`; the test image's file comes first."""
    seconds: float = 0.0

    @property
    def pairs(self) -> int:
        """How many pairs were looked at."""
        return sum(len(each.found.pairs) for each in self.sets.values())

    def count(self, severity: Severity) -> int:
        """How many findings there are of one severity."""
        overlaps = sum(each.severity == severity for each in self.overlaps)
        return overlaps + sum(each.count(severity) for each in self.sets.values())

    def table(self) -> list[str]:
        """A line for each set: task, name, role, pairs found and expected, state, place."""
        rows = [("task", "set", "role", "pairs", "of", "state", "images")]
        for name, published in PUBLIC_SETS.items():
            if name in self.sets:
                found, state = self.sets[name].found, self.sets[name].state
                pairs, place = f"{len(found.pairs):,}", str(found.images)
            elif name in self.missing:
                pairs, state, place = "", "not found", ""
            else:
                continue
            count = f"{published.count:,}"
            rows.append((published.task, name, published.role, pairs, count, state, place))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(
                f"{cell:{'>' if column in (3, 4) else '<'}{width}}"
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "sets": {
                name: {
                    "task": each.found.published.task,
                    "role": each.found.published.role,
                    "pairs": len(each.found.pairs),
                    "expected": each.found.published.count,
                    "complete": each.found.complete,
                    "images": str(each.found.images),
                    "masks": str(each.found.masks),
                    "layout": each.found.layout,
                    "findings": [one.to_dict() for one in each.findings],
                }
                for name, each in self.sets.items()
            },
            "missing": self.missing,
            "overlaps": [each.to_dict() for each in self.overlaps],
            "errors": self.count("error"),
            "warnings": self.count("warning"),
        }


def check_sets(
    found: Mapping[str, FoundSet],
    *,
    full: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> CatalogueReport:
    """Looks at every file of public sets, and for test images that are nearly training images.

    Every test set is compared with all training sets of its task (a `leak`), and with the task's
    other test sets (`shared`).

    Args:
        found: What `find_sets` gives.
        full: Read every file; otherwise headers alone, which finds no cut-off files, no odd masks
            and no overlaps.
        progress: Called with the number of pairs done and the number of all.
    """
    started = time.monotonic()
    tasks = list(dict.fromkeys(each.published.task for each in found.values()))
    names = [name for task in tasks for name in TASKS[task].names]
    report = CatalogueReport(missing=[name for name in names if name not in found])
    total = sum(len(each.pairs) for each in found.values())
    compare = full and can_compare()
    signatures: dict[str, list[Signature]] = {}
    done = 0
    for name, each in found.items():
        findings = [*_set_findings(each), *pairing_findings(each.pairing)]
        signatures[name] = []
        values = Survey()
        for look in look_at(each.pairs, full=full, compare=compare):
            findings += look.findings
            if look.signature is not None:
                signatures[name].append(look.signature)
            if look.mask is not None:
                values.add(look.mask)
            done += 1
            if progress:
                progress(done, total)
        findings += survey_findings(values)
        report.sets[name] = SetReport(each, findings)
    if compare:
        report.overlaps = [each for task in tasks for each in _overlaps(task, signatures)]
    elif full:
        report.overlaps = [NOT_COMPARED]
    report.seconds = time.monotonic() - started
    return report


def _set_findings(found: FoundSet) -> list[Finding]:
    findings = []
    if found.broken:
        return [Finding("unreadable", (str(found.images),), found.broken)]
    if len(found.pairs) != found.published.count:
        detail = f"{len(found.pairs):,}, not {found.published.count:,}"
        findings.append(Finding("count", (), detail))
    if found.others:
        places = map(str, (found.images, *found.others))
        findings.append(Finding("several", (), ", ".join(places)))
    return findings


def _overlaps(task: str, signatures: Mapping[str, list[Signature]]) -> list[Finding]:
    trained = {name: signatures[name] for name in TASKS[task].train if name in signatures}
    known = [signature for each in trained.values() for signature in each]
    others: list[Signature] = []
    overlaps = []
    for name in TASKS[task].test:
        asked = signatures.get(name, [])
        for kind, against in (("leak", known), ("shared", others)):
            overlaps += [
                finding(kind, alike, f"{name}: {describe(alike)}")
                for alike in near_duplicates(against, asked)
            ]
        others += asked
    return overlaps
