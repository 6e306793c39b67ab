"""A plan for people, and as the YAML that `dsunet train --config` takes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import yaml

from dsunet.errors import ConfigError
from dsunet.planning.rules import TINY
from dsunet.planning.wishes import Plan
from dsunet.support.files import decode_text

__all__ = ["as_yaml", "read_plan", "told"]

_WIDTH = 100  # of lines for people
_LONG = 14  # values of more letters, such as paths, reach beyond their column


def told(plan: Plan) -> list[str]:
    """For people: what the data and the machine are like, every choice, what to expect."""
    lines = [*_data(plan), f"machine: {plan.machine.described()}", ""]
    names = max(len(choice.name) for choice in plan.choices)
    values = max(len(text) for each in plan.choices if len(text := _shown(each.value)) <= _LONG)
    for choice in plan.choices:
        name = f"--{choice.name.replace('_', '-'):<{names}}"
        lines += _folded(f"  {name}  {_shown(choice.value):<{values}}  ", choice.reason)
    return [*lines, "", expected(plan), *_findings(plan)]


def expected(plan: Plan) -> str:
    """What the training will take, in one line."""
    where = "of the GPU" if plan.machine.device == "cuda" else "in the training's process"
    memory = f"{plan.costs.memory / 1e9:.2f} GB {where}" if plan.costs.memory else "unknown memory"
    return (
        f"expected: {plan.seconds / 60:.1f} minutes, {memory} "
        f"({1000 * plan.costs.image:.0f} ms an image)"
    )


def as_yaml(plan: Plan) -> str:
    """The settings as YAML, each with its reason beside it as a comment."""
    lines = [f"# dsunet plan: {plan.training} training and {plan.validation} validation pairs"]
    lines += [f"# {line}" for line in (f"machine: {plan.machine.described()}", expected(plan))]
    lines += [f"# {line}" for line in _findings(plan)]
    for choice in plan.choices:
        value = yaml.safe_dump(choice.value, default_flow_style=True, width=10_000)
        value = value.removesuffix("\n").removesuffix("\n...")  # which ends a plain value
        lines.append(f"{choice.name}: {value}  # {' '.join(choice.reason.split())}")
    return "\n".join(lines) + "\n"


def read_plan(path: Path) -> dict[str, Any]:
    """The settings in a file that `as_yaml` has made, whoever has edited it since.

    Raises:
        ConfigError: There is none, or it holds no settings.
    """
    try:
        settings = yaml.safe_load(decode_text(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"the plan {path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no settings, but a plan has some")
    return settings


def _data(plan: Plan) -> list[str]:
    facts = plan.facts
    looked = "all" if facts.looked_at == facts.pairs else f"{facts.looked_at} of them"
    kinds = [
        f"{100 * share:.0f} % {what}"
        for share, what in (
            (facts.grey, "grey"),
            (facts.deep, "of 16 bits"),
            (facts.camera, "by a camera"),
            (facts.empty, "without an object"),
        )
        if share > 0
    ]
    lines = [
        f"data: {facts.pairs:,} pairs to train on ({looked} looked at), {plan.validation:,} held "
        f"out" + (" of them" if facts.validation == 0 and plan.validation else ""),
        f"  pictures: {facts.width:.0f}×{facts.height:.0f} px (median)"
        + (f"; {', '.join(kinds)}" if kinds else ""),
    ]
    if facts.objects:
        side = plan.settings.get("sam_size")
        view = (
            f"; {100 * facts.tiny(side, TINY):.0f} % under {TINY} px in the view"
            if isinstance(side, int)
            else ""
        )
        lines.append(
            f"  objects: {facts.per_picture:.1f} a picture, {100 * facts.share:.1f} % of it "
            f"(median){view}"
        )
    return lines


def _findings(plan: Plan) -> list[str]:
    return [f"note: {finding}" for finding in plan.findings]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _folded(start: str, text: str) -> list[str]:
    """Text behind a start, in lines whose text stands below each other."""
    width = max(30, _WIDTH - len(start))
    first, *others = textwrap.wrap(text, width) or [""]
    return [start + first, *(" " * len(start) + other for other in others)]
