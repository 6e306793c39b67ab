"""What every command's arguments have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from dsunet.cli.layers import basics_only
from dsunet.config import MODEL_PRESETS, DistillConfig, MaskReading, ModelConfig, model_config
from dsunet.config.recipes import find_recipe
from dsunet.config.renamed import RENAMED, RENAMED_FLAGS, todays
from dsunet.errors import ConfigError, closest, did_you_mean, few, perhaps
from dsunet.support.imports import is_import_path, resolve

if TYPE_CHECKING:
    from dsunet.network.source import CustomSource

__all__ = [
    "GIVEN",
    "LIST_HELP",
    "PRECISIONS",
    "Command",
    "Parser",
    "add_blocks_argument",
    "add_classes_argument",
    "add_encoder_arguments",
    "add_intensity",
    "add_max_pixels",
    "add_model_argument",
    "add_reading_arguments",
    "add_sharing_workers",
    "fields_of",
    "in_plain_words",
    "model_of",
    "pick",
    "preset_of",
    "reading_of",
    "sharing_workers",
    "with_hyphens",
    "words_of",
]

GIVEN = "given_by_hand"
"""Under this name a command's arguments hold the names of those that were given, by a flag or in
the file of `--config`."""

LIST_HELP = "Text file with one stem per line, such as RUN/val.txt: take these only."
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class Parser(ArgumentParser):
    """A parser whose flags are written with hyphens and whose help ends with examples."""

    def __init__(self, command: str, summary: str, examples: str) -> None:
        super().__init__(
            prog=f"dsunet {command}",
            description=summary,
            exit_on_error=False,
            default_env=False,
            allow_abbrev=False,  # --epoch could mean --epochs, or be a slip
        )
        self.examples = examples
        self.old_names = {**RENAMED, **RENAMED_FLAGS.get(command, {})}
        self.renamed: dict[str, str] = {}
        """What was given by its old name, each with today's."""
        self.all_flags = False
        self.in_config: set[str] = set()
        """The settings that the file of `--config` has."""

    def format_help(self, formatter: Any = None) -> str:
        """The help of the flags that most runs need; of all after `--help-all`."""
        with contextlib.nullcontext(0) if self.all_flags else basics_only(self._actions) as hidden:
            text = super().format_help() if formatter is None else super().format_help(formatter)
        text = re.sub(r"`([a-z]\w*)`", self._as_flag, text)
        text = re.sub(r",\s+default:\s+null\)", ")", with_hyphens(text))
        more = f"\n{hidden} more flags: {self.prog} --help-all\n" if hidden else ""
        return f"{text}\nexamples:\n{self.examples}{more}"

    def parse(self, argv: list[str]) -> Namespace:
        """Parses the arguments; raises `ArgumentError` with one clear line."""
        written = self._with_negative([_with_underscores(argument) for argument in argv])
        if "--help_all" in written:
            self.all_flags = True
            written = ["--help"]
        arguments = self._with_values([self._todays(argument) for argument in written])
        flags = {argument.partition("=")[0] for argument in written}
        for old, new in self.renamed.items():
            if new in flags:
                raise ArgumentError(
                    None, f"{old} is the old name of {new}, and both are given: leave it out"
                )
        # flags beat the config file wherever they stand
        for i, argument in enumerate(arguments):
            name, equals, value = argument.partition("=")
            if name == "--config":
                given = arguments[i : i + (1 if equals else 2)]
                file = find_recipe(value if equals else given[-1])
                settings = self._check_config(file)
                rest = arguments[i + len(given) :]
                given = [f"--config={file}"]
                # the settings themselves, if the file has some by their old names
                given = given if settings is None else [f"--config={yaml.safe_dump(settings)}"]
                arguments = [*given, *arguments[:i], *rest]
        parsed = self.parse_args(arguments)
        flags = {argument.partition("=")[0] for argument in arguments}
        by_flag = {each.dest for each in self._actions if flags & set(each.option_strings)}
        parsed[GIVEN] = frozenset(by_flag | self.in_config)
        for dest, text in self._hashes(arguments):
            parsed[dest] = text
        return parsed

    def _with_negative(self, arguments: list[str]) -> list[str]:
        """A value that begins with a negative number, as -1000,400, is no flag."""
        joined: list[str] = []
        for argument in arguments:
            before = joined[-1] if joined else ""
            if re.match(r"-[\d.]+,", argument) and before in self._flags:
                joined[-1] = f"{before}={argument}"
            else:
                joined.append(argument)
        return joined

    def _hashes(self, arguments: list[str]) -> Iterator[tuple[str, str]]:
        """Texts that begin with #, such as colours, of optional settings.

        jsonargparse reads them as YAML, where they are comments, and so nothing.
        """
        texts = {
            option: action.dest
            for action in self._actions
            for option in action.option_strings
            if str in get_args(getattr(action, "_typehint", None))
        }
        for argument, after in zip(arguments, [*arguments, ""][1:], strict=False):
            flag, equals, value = argument.partition("=")
            text = value if equals else after
            if flag in texts and text.startswith("#"):
                yield texts[flag], text

    def meant(self, error: str) -> str:
        """What a flag or setting that is not known may mean, to end the error that names it."""
        found = re.search(r"[Uu]nrecognized arguments: (--[\w-]+)", error)
        hint = did_you_mean(_with_underscores(found[1]), self._flags) if found else ""
        return f"; {with_hyphens(hint)}" if hint else ""

    def _as_flag(self, name: re.Match[str]) -> str:
        """What the settings' documentation calls `so_written` as a flag, if it is one."""
        return f"`--{name[1]}`" if f"--{name[1]}" in self._flags else name[0]

    def _todays(self, argument: str) -> str:
        """A flag by today's name."""
        name, equals, value = argument.partition("=")
        old = name.removeprefix("--")
        new = self.old_names.get(old)
        if old == name or new is None or f"--{new}" not in self._flags:
            return argument
        self.renamed[f"--{old}"] = f"--{new}"
        return f"--{new}{equals}{value}"

    @property
    def _flags(self) -> set[str]:
        return {option for action in self._actions for option in action.option_strings}

    def _with_values(self, arguments: list[str]) -> list[str]:
        """Settings that are true or false, given without a value, are meant to be true."""
        flags = {
            option
            for action in self._actions
            for option in action.option_strings
            if getattr(action, "_typehint", None) in (bool, bool | None)
        }
        following = [*arguments, ""][1:]
        return [
            f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
            for argument, after in zip(arguments, following, strict=True)
        ]

    def _check_config(self, config: Path) -> dict[str, Any] | None:
        """Refuses a file whose settings are not this command's, and one that cannot be read.

        A few lines of YAML whose aliases name each other can fill the memory when they are read,
        so that none may have any.

        Returns:
            The settings by today's names, if some have their old ones.

        Raises:
            ArgumentError: The file is no YAML, has aliases, or a setting that is not known.
        """
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
        if not isinstance(settings, dict):
            return None
        known = {action.dest for action in self._actions}
        self.in_config = {RENAMED.get(str(name), str(name)) for name in settings}
        old = {f"{n}": RENAMED[n] for n in settings if n in RENAMED and RENAMED[n] in known}
        settings = todays(settings) if old else settings
        unknown = sorted(map(str, set(settings) - known))
        if unknown:
            theirs = set(unknown) <= set(fields_of(DistillConfig))
            hint = " (of dsunet distill)" if theirs else ""
            meant = [close for name in unknown if (close := closest(name, known))]
            if meant and not hint:
                hint = f"; did you mean {few(meant)}?"
            raise ArgumentError(
                None, f"{config} has settings that {self.prog} does not know: {few(unknown)}{hint}"
            )
        self.renamed |= old
        return settings if old else None


def in_plain_words(error: str) -> str:
    """An error about a flag's value as what was given, what is needed, what to do."""
    text = " ".join(error.split())
    found = re.match(r'Parser key "(\w+)": (.*?)(?:Got value|Given value): ?(.*)$', text)
    if not found:
        return error
    key, about, value = found.groups()
    kinds = {"float": "a number", "int": "a whole number", "bool": "true or false"}
    needed = [
        kinds[kind] for kind in re.findall(r"Expected a <class '(\w+)'>", about) if kind in kinds
    ]
    for literal in re.findall(r"Literal\[([^\]]*)\]", about):
        needed += [word.strip(" '\"") for word in literal.split(",")]
    if not needed:
        return error
    message = f"--{key} is {value or 'empty'}, but needs {' or '.join(dict.fromkeys(needed))}"
    if re.fullmatch(r"[+-]?\d+,\d+", value) and "a number" in needed:
        return f"{message}; write {value.replace(',', '.')}"
    return message + perhaps(value, needed)


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


def add_blocks_argument(parser: Parser) -> None:
    """`--blocks`, which `dsunet.cli.entry` obeys for every command that has it."""
    parser.add_argument(
        "--blocks",
        type=str,
        action="append",
        help="PACKAGE.MODULE:NAME of a block of your own that a model was trained with; weights "
        "files name it, but no code that a file names is run unless you name it, too.",
    )


def add_model_argument(
    parser: Parser,
    what: str,
    own: str,
    *aliases: str,
    default: str | None = "dsunet-large",
) -> None:
    """`--model`: a preset's name, or PACKAGE.MODULE:NAME of what makes a network of the user's own.

    Args:
        parser: The command's parser.
        what: What is done with the model; begins the help.
        own: What holds for a network of the user's own, or why the command takes none.
        *aliases: Further names of the flag.
        default: Where it is not given.
    """
    parser.add_argument(
        "--model",
        *aliases,
        type=str,
        default=default,
        help=f"{what}: a preset ({', '.join(MODEL_PRESETS)}), or a network of your own, as "
        f"PACKAGE.MODULE:NAME of what makes it; {own}.",
    )


def add_max_pixels(parser: Parser) -> None:
    """`--max-pixels`, which `dsunet.cli.entry` obeys for every command that has it."""
    parser.add_argument(
        "--max_pixels",
        type=int,
        help="Decode pictures of up to so many pixels; by default 89,478,485, for fear of files "
        "made to fill the memory.",
    )


def add_sharing_workers(parser: Parser) -> None:
    """`--workers` of a command whose work processes share."""
    parser.add_argument(
        "--workers",
        type=int,
        help="Processes that share the work; 0 for none but this one. By default one per core.",
    )


def sharing_workers(arguments: Namespace) -> int:
    """How many processes share the work, by the flag of `add_sharing_workers`.

    Raises:
        ConfigError: It is negative.
    """
    from dsunet.support.processes import available_cores

    workers: int | None = arguments.workers
    if workers is not None and workers < 0:
        raise ConfigError(f"--workers is {workers}, but needs at least 0")
    return available_cores() if workers is None else workers


def add_intensity(parser: Parser, where: str = "") -> None:
    """`--intensity`; `where` says when it is needed."""
    parser.add_argument(
        "--intensity",
        help=f"Which stored values of images are black and white{where}: full (the range of 8 or "
        "16 bits), percentile (of each image, so that 1 % of it is cut), or two numbers, as "
        "0,4095.",
    )


def words_of(text: str) -> list[str]:
    """What stands between the commas of a text, but for nothing."""
    return [word.strip() for word in text.split(",") if word.strip()]


def add_classes_argument(parser: Parser, about: str) -> None:
    """`--classes`, as a text with commas or, in YAML, a list; `about` is its help."""
    parser.add_argument("--classes", type=tuple[str, ...] | str | None, help=f"{about}.")


def add_reading_arguments(parser: Parser) -> None:
    """`--object-values`, `--ignore-value` and `--invert`: what the values of masks mean."""
    parser.add_class_arguments(MaskReading)


def reading_of(arguments: Namespace) -> MaskReading:
    """What the flags of `add_reading_arguments` say."""
    reading: MaskReading = pick(MaskReading, arguments)
    return reading


def model_of(arguments: Namespace, settings: Sequence[str] = ()) -> ModelConfig | CustomSource:
    """What `--model` names: a preset, or what makes a network of the user's own.

    Args:
        arguments: The command's.
        settings: Those of them that change the preset; sizes and intensity are a network's, too.

    Raises:
        ConfigError: There is no such preset, or a setting is none of the model's.
        CustomModelError: Nothing that could make a network is found.
    """
    name, given = arguments.model, {setting: arguments[setting] for setting in settings}
    if not is_import_path(name):
        return model_config(name, **given)
    from dsunet.network.source import CustomSource

    own = {name: given.pop(name, None) for name in ("sam_size", "dino_size", "intensity")}
    others = [f"--{setting}" for setting, value in given.items() if value is not None]
    if others:
        raise ConfigError(f"{others[0]} is a setting of dsunet's models, not of {name}")
    return CustomSource(name, resolve(name), **own)


def preset_of(arguments: Namespace, why: str, settings: Sequence[str] = ()) -> ModelConfig:
    """The preset that `--model` names, where the command takes no network of the user's own.

    Raises:
        ConfigError: It names such a network, which cannot be taken for the reason `why`; or there
            is no such preset.
    """
    if is_import_path(arguments.model):
        raise ConfigError(f"--model {arguments.model} is a network of your own; {why}")
    return model_config(arguments.model, **{name: arguments[name] for name in settings})
