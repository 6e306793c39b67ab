"""From the arguments to a command and its exit status.

Only the parser of the chosen command is built, and what the command needs is imported when it runs,
so that help comes at once. Flags, config files and dataclass fields share their names; flags are
written with hyphens.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext

from jsonargparse import ArgumentError, set_parsing_settings

import dsunet
from dsunet.cli.benchmark import BENCHMARK_DATA, BENCHMARK_PREDICT, BENCHMARK_TRAIN
from dsunet.cli.cache import CACHE_BUILD, CACHE_INFO, CACHE_VERIFY
from dsunet.cli.calibrate import CALIBRATE
from dsunet.cli.compare import COMPARE
from dsunet.cli.data import DATA_CHECK, GENERATE
from dsunet.cli.distill import DISTILL
from dsunet.cli.evaluate import EVALUATE
from dsunet.cli.export import EXPORT
from dsunet.cli.features import FEATURES
from dsunet.cli.importing import DATA_IMPORT
from dsunet.cli.measure import MEASURE
from dsunet.cli.output import fail, one_line
from dsunet.cli.parser import Command, Parser, in_plain_words, with_hyphens
from dsunet.cli.plan import PLAN
from dsunet.cli.predict import PREDICT
from dsunet.cli.prune import PRUNE
from dsunet.cli.report import REPORT
from dsunet.cli.reproduce import REPRODUCE
from dsunet.cli.serve import SERVE
from dsunet.cli.train import TRAIN
from dsunet.cli.weights import (
    CONVERT,
    INFO,
    MODELS,
    WEIGHTS_DOWNLOAD,
    WEIGHTS_INFO,
    WEIGHTS_LIST,
    WEIGHTS_VERIFY,
)
from dsunet.errors import AbandonedError, ConfigError, DsunetError, did_you_mean
from dsunet.support.packages import needing
from dsunet.support.ranks import Ranks

__all__ = ["COMMANDS", "main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done; 1: an error, or some of many images failed; 2: wrong usage; 130: interrupted.
    """
    try:
        try:
            return _main(sys.argv[1:] if argv is None else argv)
        finally:  # help ends by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output went away, as `head` does; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # as rich takes it
            return 0
        raise


def _main(argv: list[str]) -> int:
    # Pillow's remarks on odd files; what matters of them is reported as an error or a note
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no valid text
            stream.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help", "--help-all", "help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(f"dsunet {dsunet.__version__}")
        return 0
    if (group := _group(argv)) is not None:
        print(group)
        return 0
    words = 2 if " ".join(argv[:2]) in COMMANDS else 1
    name, rest = " ".join(argv[:words]), argv[words:]
    if name not in COMMANDS:
        if any(known.startswith(f"{name} ") for known in COMMANDS):
            name = " ".join(argv[:2])  # the first word alone is no command
        hint = did_you_mean(name, COMMANDS) or f"known: {', '.join(COMMANDS)}"
        return fail("dsunet", f"there is no command {name!r}; {hint}", 2)
    command = COMMANDS[name]
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(name, command.summary, command.examples)
    command.add_arguments(parser)
    prog = f"dsunet {name}"
    try:
        arguments = parser.parse(rest)
    except (ArgumentError, TypeError, DsunetError) as error:
        hint = parser.meant(str(error))
        text = with_hyphens(in_plain_words(one_line(error)))
        return fail(prog, f"{text}{hint}; see {prog} --help", 2) if _speaks() else 2
    if parser.renamed:
        said = "; ".join(f"{old} is called {new} now" for old, new in parser.renamed.items())
        print(f"{prog}: note: {with_hyphens(said)}", file=sys.stderr)
    try:
        with _pixels_allowed(arguments.get("max_pixels")), needing(prog):
            _name_blocks(arguments.get("blocks"))
            return command.run(arguments)
    except AbandonedError:  # whoever has failed says why
        return 1
    except DsunetError as error:
        if os.environ.get("DSUNET_DEBUG"):
            raise
        return fail(prog, one_line(error), 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        if os.environ.get("DSUNET_DEBUG"):
            raise
        return fail(prog, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    except KeyboardInterrupt:
        return fail(prog, "interrupted", 130)


def _speaks() -> bool:
    """Whether this process says what is wrong with arguments that several have."""
    try:
        return Ranks.found().is_first
    except ConfigError:
        return True


def _pixels_allowed(most: int | None) -> AbstractContextManager[None]:
    """Lets a command decode larger pictures, if it is asked to."""
    if most is None:
        return nullcontext()
    if most < 1:
        raise ConfigError(f"--max-pixels is {most}, but needs at least 1")
    from dsunet.data.limits import pixels_allowed

    return pixels_allowed(most)


def _name_blocks(names: list[str] | None) -> None:
    """Lets models be made of the user's own blocks, which the user has named."""
    if names:
        from dsunet.network.blocks import name_blocks

        name_blocks(names)


def _group(argv: list[str]) -> str | None:
    """What commands there are that begin with a word, if it is asked for with nothing but that."""
    first, rest = argv[0], argv[1:]
    names = [name for name in COMMANDS if name.startswith(f"{first} ")]
    if not names or rest not in ([], ["-h"], ["--help"], ["--help-all"], ["help"]):
        return None
    usage = f"usage: dsunet {first} COMMAND [options]"
    end = f"dsunet {first} COMMAND --help explains a command with examples."
    return "\n".join([usage, "", "commands:", *_listed(names), "", end])


def _listed(names: list[str]) -> list[str]:
    """A line for each command."""
    width = max(map(len, names))
    return [f"  {name:<{width}}  {COMMANDS[name].summary}" for name in names]


def _overview() -> str:
    lines = _listed(list(COMMANDS))
    return "\n".join(
        [
            "usage: dsunet COMMAND [options]",
            "",
            "DSU-Net: object segmentation with frozen SAM2 and DINOv2 encoders.",
            "",
            "commands:",
            *lines,
            "",
            "dsunet COMMAND --help explains a command with examples, --help-all with every flag of",
            "the long ones; dsunet --version.",
            "Set DSUNET_DEBUG=1 to see where an error came from.",
        ]
    )


COMMANDS: dict[str, Command] = {
    "train": TRAIN,
    "plan": PLAN,
    "distill": DISTILL,
    "data check": DATA_CHECK,
    "data import": DATA_IMPORT,
    "report": REPORT,
    "calibrate": CALIBRATE,
    "predict": PREDICT,
    "measure": MEASURE,
    "evaluate": EVALUATE,
    "compare": COMPARE,
    "reproduce": REPRODUCE,
    "prune": PRUNE,
    "features": FEATURES,
    "cache build": CACHE_BUILD,
    "cache info": CACHE_INFO,
    "cache verify": CACHE_VERIFY,
    "benchmark train": BENCHMARK_TRAIN,
    "benchmark predict": BENCHMARK_PREDICT,
    "benchmark data": BENCHMARK_DATA,
    "models": MODELS,
    "info": INFO,
    "convert": CONVERT,
    "export": EXPORT,
    "serve": SERVE,
    "weights list": WEIGHTS_LIST,
    "weights info": WEIGHTS_INFO,
    "weights verify": WEIGHTS_VERIFY,
    "weights download": WEIGHTS_DOWNLOAD,
    "generate": GENERATE,
}
