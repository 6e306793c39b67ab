"""What every command's arguments have in common."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from dsunet.config import DistillConfig
from dsunet.errors import few

__all__ = [
    "LIST_HELP",
    "PRECISIONS",
    "Command",
    "Parser",
    "add_encoder_arguments",
    "fields_of",
    "pick",
    "with_hyphens",
]

LIST_HELP = "Text file with one stem per line, such as RUN/val.txt: take these only."
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class Parser(ArgumentParser):
    """A parser whose flags are written with hyphens and whose help ends with examples."""

    def __init__(self, command: str, summary: str, examples: str) -> None:
        super().__init__(
            prog=f"dsunet {command}", description=summary, exit_on_error=False, default_env=False
        )
        self.examples = examples

    def format_help(self, formatter: Any = None) -> str:
        text = super().format_help() if formatter is None else super().format_help(formatter)
        text = with_hyphens(text).replace(", default: null)", ")")
        return f"{text}\nexamples:\n{self.examples}"

    def parse(self, argv: list[str]) -> Namespace:
        """Parses the arguments; raises `ArgumentError` with one clear line."""
        arguments = [_with_underscores(argument) for argument in argv]
        arguments = self._with_values(arguments)
        # flags beat the config file wherever they stand
        for i, argument in enumerate(arguments):
            name, equals, value = argument.partition("=")
            if name == "--config":
                given = arguments[i : i + (1 if equals else 2)]
                self._check_config(Path(value if equals else given[-1]))
                arguments = [*given, *arguments[:i], *arguments[i + len(given) :]]
        return self.parse_args(arguments)

    def _with_values(self, arguments: list[str]) -> list[str]:
        """Settings that are true or false, given without a value, are meant to be true."""
        flags = {
            option
            for action in self._actions
            for option in action.option_strings
            if getattr(action, "_typehint", None) is bool
        }
        following = [*arguments, ""][1:]
        return [
            f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
            for argument, after in zip(arguments, following, strict=True)
        ]

    def _check_config(self, config: Path) -> None:
        """Refuses a file whose settings are not this command's, and one that cannot be read.

        A few lines of YAML whose aliases name each other can fill the memory when they are read,
        so that none may have any.

        Raises:
            ArgumentError: The file is no YAML, has aliases, or a setting that is not known.
        """
        if not config.is_file():
            return
        try:
            content = config.read_bytes()
            if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
                raise ArgumentError(
                    None, f"{config} has aliases (*name), which settings do not need"
                )
            settings = yaml.safe_load(content)
        except (yaml.YAMLError, UnicodeError) as error:
            raise ArgumentError(None, f"{config} is no YAML ({error})") from error
        except RecursionError:
            raise ArgumentError(
                None, f"{config} nests deeper than any settings do; give one level of them"
            ) from None
        known = {action.dest for action in self._actions}
        unknown = sorted(map(str, set(settings) - known)) if isinstance(settings, dict) else []
        if unknown:
            theirs = set(unknown) <= set(fields_of(DistillConfig))
            hint = " (of dsunet distill)" if theirs else ""
            raise ArgumentError(
                None, f"{config} has settings that {self.prog} does not know: {few(unknown)}{hint}"
            )


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def with_hyphens(text: str) -> str:
    """Text whose flags are written with hyphens."""
    return re.sub(r"--[a-z]\w*", lambda match: match[0].replace("_", "-"), text)


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does, how it is used, its arguments, and what runs it."""

    summary: str
    examples: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[Namespace], int]


def fields_of(cls: Any) -> list[str]:
    """The fields of a dataclass of settings that are flags."""
    return [field.name for field in dataclasses.fields(cls) if field.name != "name"]


def pick(cls: Any, arguments: Namespace) -> Any:
    """A dataclass of settings from the arguments."""
    return cls(**{name: arguments[name] for name in fields_of(cls)})


def add_encoder_arguments(parser: Parser, which: str) -> None:
    """Flags for files with the encoders' weights; `which` ends the sentence about them."""
    for role, label, example in (
        ("pyramid", "Hiera's", "sam2.1_hiera_large.pt"),
        ("semantic", "DINOv2's", "dinov2_vitl14_pretrain.pth"),
    ):
        parser.add_argument(
            f"--{role}_weights",
            type=str,
            help=f"File with {label} weights {which}: {example}, say.",
        )
