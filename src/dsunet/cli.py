"""The command line: the only place that parses arguments, prints and decides the exit status.

Only the parser of the chosen command is built, and what the command needs is imported when it runs,
so that help comes at once. Flags, config files and dataclass fields share their names; flags are
written with hyphens.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
import itertools
import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

import dsunet
from dsunet.config import (
    MODEL_PRESETS,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    model_config,
)
from dsunet.errors import DsunetError
from dsunet.files import check_writable, write_png

if TYPE_CHECKING:
    from dsunet.data import Pair

__all__ = ["main"]

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
        text = _with_hyphens(text).replace(", default: null)", ")")
        return f"{text}\nexamples:\n{self.examples}"

    def parse(self, argv: list[str]) -> Namespace:
        """Parses the arguments; raises `ArgumentError` with one clear line."""
        arguments = [_with_underscores(argument) for argument in argv]
        # flags beat the config file wherever they stand
        for i, argument in enumerate(arguments):
            name, equals, value = argument.partition("=")
            if name == "--config":
                given = arguments[i : i + (1 if equals else 2)]
                _refuse_aliases(Path(value if equals else given[-1]))
                arguments = [*given, *arguments[:i], *arguments[i + len(given) :]]
        return self.parse_args(arguments)


def _refuse_aliases(config: Path) -> None:
    """A few lines of YAML whose aliases name each other can fill the memory when they are read.

    Raises:
        ArgumentError: The config file has aliases, or is no YAML.
    """
    if not config.is_file():
        return
    try:
        aliases = any(isinstance(t, yaml.AliasToken) for t in yaml.scan(config.read_bytes()))
    except (yaml.YAMLError, UnicodeError) as error:
        raise ArgumentError(None, f"{config} is no YAML ({error})") from error
    if aliases:
        raise ArgumentError(None, f"{config} has aliases (*name), which settings do not need")


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _with_hyphens(text: str) -> str:
    return re.sub(r"--[a-z]\w*", lambda match: match[0].replace("_", "-"), text)


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does, how it is used, its arguments, and what runs it."""

    summary: str
    examples: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[Namespace], int]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done; 1: an error, or some of many images failed; 2: wrong usage; 130: interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    # Pillow's remarks on odd files; what matters of them is reported as an error or a note
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no valid text
            stream.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(f"dsunet {dsunet.__version__}")
        return 0
    words = 2 if " ".join(argv[:2]) in COMMANDS else 1
    name, rest = " ".join(argv[:words]), argv[words:]
    if name not in COMMANDS:
        if any(known.startswith(f"{name} ") for known in COMMANDS):
            name = " ".join(argv[:2])  # the first word alone is no command
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
        return _fail("dsunet", f"there is no command {name!r}; {hint}", 2)
    command = COMMANDS[name]
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(name, command.summary, command.examples)
    command.add_arguments(parser)
    prog = f"dsunet {name}"
    try:
        arguments = parser.parse(rest)
    except (ArgumentError, TypeError) as error:
        return _fail(prog, f"{_one_line(error)}; see {prog} --help", 2)
    try:
        return command.run(arguments)
    except (DsunetError, ValueError) as error:
        if os.environ.get("DSUNET_DEBUG"):
            raise
        return _fail(prog, _one_line(error), 1)
    except BrokenPipeError:
        # whoever read our output went away; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if os.environ.get("DSUNET_DEBUG"):
            raise
        return _fail(prog, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", 130)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dsunet COMMAND [options]",
            "",
            "DSU-Net: object segmentation with frozen SAM2 and DINOv2 encoders.",
            "",
            "commands:",
            *lines,
            "",
            "dsunet COMMAND --help explains a command with examples; dsunet --version.",
            "Set DSUNET_DEBUG=1 to see where an error came from.",
        ]
    )


def _fail(prog: str, message: str, status: int) -> int:
    print(f"{prog}: error: {_visible(message)}", file=sys.stderr)
    return status


def _visible(text: str) -> str:
    """Text with control characters, as names of files may have them, made visible."""
    return "".join(
        c if c.isprintable() or 0xD800 <= ord(c) < 0xE000 else repr(c)[1:-1] for c in text
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(part.strip() for part in str(error).splitlines() if part.strip())
    return _with_hyphens(text)


# -- train


def _train_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--config", action="config", help="YAML file with any of these settings; flags beat it."
    )
    parser.add_argument("--output", type=str, required=True, help="The run's folder.")
    parser.add_argument(
        "--model",
        type=str,
        default="dsunet-large",
        help=f"Preset to start from: {', '.join(MODEL_PRESETS)}.",
    )
    parser.add_argument(
        "--weights",
        default="default",
        help="What to start from: default (encoders; none for nano), encoders (SAM2's and DINOv2's "
        "public weights), none (random), or a weights file.",
    )
    parser.add_argument("--resume", action="store_true", help="Go on with the run in --output.")
    parser.add_class_arguments(DataConfig)
    parser.add_class_arguments(TrainConfig)
    parser.add_class_arguments(LossConfig)
    parser.add_class_arguments(ModelConfig, skip={"name"})
    # not given means: as the preset has it
    parser.set_defaults(dict.fromkeys(_fields(ModelConfig)))


def _fields(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.name != "name"]


def _pick(cls: Any, arguments: Namespace) -> Any:
    return cls(**{name: arguments[name] for name in _fields(cls)})


def _train(arguments: Namespace) -> int:
    model = model_config(arguments.model, **{n: arguments[n] for n in _fields(ModelConfig)})
    data, recipe = _pick(DataConfig, arguments), _pick(TrainConfig, arguments)
    loss = _pick(LossConfig, arguments)
    try:
        result = dsunet.train(
            arguments.output,
            model,
            data,
            recipe,
            loss,
            weights=None if arguments.weights == "none" else arguments.weights,
            resume=arguments.resume,
            on_line=_print_line,
            progress_bar=sys.stderr.isatty() and sys.stdout.isatty(),
        )
    except KeyboardInterrupt:
        folder = arguments.output
        if not Path(folder, "config.yaml").exists():
            return _fail("dsunet train", "interrupted before the start", 130)
        go_on = f"dsunet train --config {folder}/config.yaml --output {folder} --resume"
        return _fail("dsunet train", f"interrupted; go on with: {go_on}", 130)
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # the first process speaks for all
        return 0
    if result.measures:
        print(f"best epoch {result.best_epoch}: {_scores(result.measures)}")
    print(f"weights: {result.weights}")
    return 0


def _print_line(line: str) -> None:
    """Prints at once; whoever reads our output may go away, and training goes on."""
    try:
        print(_visible(line), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _scores(measures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items())


def _few(names: Collection[object], limit: int = 5) -> str:
    shown = ", ".join(str(name) for name in itertools.islice(names, limit))
    return shown + (", …" if len(names) > limit else "")


def _check_outputs(*files: str | None) -> None:
    """Finds out early whether the files that are asked for can be written."""
    for file in files:
        if file:
            check_writable(Path(file).parent)


def _print_failures(prog: str, reasons: Collection[str], outcome: str) -> None:
    """The first few reasons, and what became of all these images; nothing if there are none."""
    for reason in itertools.islice(reasons, 10):
        print(f"{prog}: failed: {_visible(reason)}", file=sys.stderr)
    if reasons:
        print(f"{prog}: {len(reasons)} images {outcome}", file=sys.stderr)


# -- data check


def _data_check_arguments(parser: Parser) -> None:
    parser.add_argument(
        "data",
        nargs="?",
        type=str,
        help="Folder, or .tar file, that holds images/ and masks/.",
    )
    parser.add_class_arguments(DataConfig, skip={"data"})
    parser.add_argument("--seed", type=int, default=0, help="Seed of the split and the flips.")
    parser.add_argument("--json", type=str, help="Write all findings here.")
    parser.add_argument(
        "--sheet", type=str, help="Draw random pairs, as files and as the model sees them, here."
    )
    parser.add_argument("--rows", type=int, default=8, help="Pairs on the sheet.")
    parser.add_argument(
        "--model",
        type=str,
        default="dsunet-large",
        help=f"Whose views to draw: {', '.join(MODEL_PRESETS)}.",
    )


def _data_check(arguments: Namespace) -> int:
    from dsunet.data.check import check_split
    from dsunet.data.split import split_data

    _check_outputs(arguments.json, arguments.sheet)
    if arguments.sheet and Path(arguments.sheet).suffix.lower() != ".png":
        raise ValueError(f"--sheet is {arguments.sheet!r}, but needs a name that ends with .png")
    if arguments.rows < 1:
        raise ValueError(f"--rows is {arguments.rows}, but needs at least 1")
    model, config = model_config(arguments.model), _pick(DataConfig, arguments)
    split = split_data(config, arguments.seed)
    with _progress("checking") as progress:
        report = check_split(split, full=config.check == "full", progress=progress)
    for line in report.lines(limit=10):
        print(_visible(line))
    if arguments.json:
        report.write_json(Path(arguments.json))
    if arguments.sheet:
        _draw_sheet(split.training, model, config, arguments)
    errors, warnings = len(report.of("error")), len(report.of("warning"))
    print(
        f"{report.training:,} training and {report.validation:,} validation pairs checked in "
        f"{report.seconds:.1f} s: {errors} errors, {warnings} warnings"
    )
    return 1 if errors else 0


def _draw_sheet(
    pairs: Sequence[Pair], model: ModelConfig, config: DataConfig, arguments: Namespace
) -> None:
    from dsunet.config import as_size
    from dsunet.data import PairDataset
    from dsunet.visualize import data_sheet

    flips = (config.horizontal_flip, config.vertical_flip)
    dataset = PairDataset(pairs, as_size(model.sam_size), None, flips=flips, seed=arguments.seed)
    order = list(range(len(pairs)))
    random.Random(arguments.seed).shuffle(order)
    write_png(Path(arguments.sheet), data_sheet(dataset, order, arguments.rows))
    print(f"sheet: {arguments.sheet}")


# -- predict


def _predict_arguments(parser: Parser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        type=str,
        help="Images, folders of images (searched recursively), and patterns such as "
        "'photos/**/*.jpg'.",
    )
    parser.add_argument(
        "--files_from", type=str, help="Text file with the path of one image a line."
    )
    parser.add_argument(
        "--weights", required=True, type=str, help="A weights file, or a run's folder."
    )
    parser.add_argument("--output", required=True, type=str, help="Folder to write to.")
    parser.add_argument(
        "--save",
        default="probability",
        help="What to write, separated by commas: probability (grey map), binary, overlay, cutout. "
        "One goes straight into --output, several into a subfolder each.",
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="Object from this probability on."
    )
    parser.add_argument(
        "--benchmark_normalization",
        action="store_true",
        help="Stretch every map to its full range, as the paper's benchmark protocol does; it "
        "invents an object where there is none.",
    )
    parser.add_argument(
        "--ignore_orientation",
        action="store_true",
        help="Take images as they are stored, whatever their EXIF orientation says.",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="Skip images whose outputs are there already, made by the same weights and options.",
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument("--batch_size", type=int, default=1, help="Images per pass.")
    parser.add_argument(
        "--workers",
        type=int,
        help="Threads that read images beside the model, and as many that write; by default as "
        "many as there are cores that the model leaves idle.",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="Number type.")


def _predict(arguments: Namespace) -> int:
    from dsunet.data.pairs import read_names
    from dsunet.predict import KINDS, Options, Report, Segmenter, plan_outputs, predict_files

    kinds = tuple(kind.strip() for kind in arguments.save.split(",") if kind.strip())
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        raise ValueError(
            f"--save is {arguments.save!r}, but needs some of {', '.join(KINDS)}, each once"
        )
    if not 0 <= arguments.threshold <= 1:
        raise ValueError(f"--threshold is {arguments.threshold}, but needs 0 to 1")
    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size is {arguments.batch_size}, but needs at least 1")
    if (arguments.workers or 0) < 0:
        raise ValueError(f"--workers is {arguments.workers}, but needs at least 0")
    names = read_names(arguments.list) if arguments.list else None
    jobs = plan_outputs(arguments.paths, arguments.output, kinds, names, arguments.files_from)
    segmenter = Segmenter(arguments.weights, arguments.device, arguments.precision)
    options = Options(
        kinds,
        arguments.threshold,
        arguments.benchmark_normalization,
        arguments.ignore_orientation,
    )
    report = Report()
    try:
        with _progress("predicting") as progress:
            predict_files(
                segmenter,
                jobs,
                arguments.output,
                options,
                resume=arguments.resume,
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                progress=progress,
                report=report,
            )
    except KeyboardInterrupt:
        done = f"{report.written + report.skipped} of {len(jobs)} images are done"
        message = f"interrupted; {done}: the same command with --resume goes on"
        return _fail("dsunet predict", message, 130)
    _print_failures(
        "dsunet predict",
        [reason for _, reason in report.failures],
        f"failed; all are listed in {Path(arguments.output, 'failures.csv')}",
    )
    if report.first_frames:
        print(
            f"{len(report.first_frames)} files have several pages or frames, of which the first "
            f"was taken ({_few(report.first_frames)})"
        )
    skipped = f"; {report.skipped} were there already" if report.skipped else ""
    print(f"{report.written} of {len(jobs)} images written to {arguments.output}{skipped}")
    return 1 if report.failures else 0


# -- evaluate


def _evaluate_arguments(parser: Parser) -> None:
    parser.add_argument("--predictions", required=True, type=str, help="Folder of grey maps.")
    parser.add_argument(
        "--masks", required=True, type=str, help="Folder of masks with the same stems."
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument("--json", type=str, help="Write means and every image's values here.")
    parser.add_argument("--csv", type=str, help="Write a row per image here.")
    parser.add_argument(
        "--workers", type=int, default=0, help="Processes to share the work; 0 for one per core."
    )


def _evaluate(arguments: Namespace) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.data.pairs import read_names
    from dsunet.metrics import MEASURES, evaluate_folders
    from dsunet.processes import available_cores

    names = read_names(arguments.list) if arguments.list else None
    if arguments.workers < 0:
        raise ValueError(f"--workers is {arguments.workers}, but needs at least 0")
    workers = arguments.workers or available_cores()
    _check_outputs(arguments.json, arguments.csv)
    with _progress("evaluating") as progress:
        result = evaluate_folders(arguments.predictions, arguments.masks, names, progress, workers)
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("images", "S ↑", "F ↑", "E ↑", "MAE ↓"):
        table.add_column(title, justify="right")
    values = [f"{result.scores[name]:.4f}" for name in MEASURES]
    table.add_row(str(len(result.per_image)), *values)
    Console().print(table)
    if arguments.json:
        result.write_json(Path(arguments.json))
    if arguments.csv:
        result.write_csv(Path(arguments.csv))
    if result.resized:
        print(f"{len(result.resized)} maps had another size than their mask and were resized to it")
    if result.empty:
        print(f"{len(result.empty)} masks are empty; F is 0 for them, whatever the map")
    if result.turned:
        print(
            f"{len(result.turned)} maps lie across their mask ({_few(result.turned)}): the images "
            "have an EXIF orientation that their masks ignore; predict them with "
            "--ignore-orientation"
        )
    _print_failures(
        "dsunet evaluate",
        result.failures.values(),
        f"could not be measured and do not count ({_few(result.failures)})",
    )
    return 1 if result.failures else 0


# -- models


def _models(arguments: Namespace) -> int:
    import torch
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.model import build_model, parameter_counts

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("model", "Hiera", "DINOv2", "sizes"):
        table.add_column(title)
    for title in ("parameters", "trained", "share"):
        table.add_column(title, justify="right")
    for name, config in MODEL_PRESETS.items():
        with torch.device("meta"):
            counts = parameter_counts(build_model(config))
        table.add_row(
            name,
            config.hiera,
            config.dinov2,
            f"{config.sam_size}, {config.dino_size}",
            f"{counts['total']:,}",
            f"{counts['trainable']:,}",
            f"{100 * counts['trainable'] / counts['total']:.2f} %",
        )
    Console(width=max(Console().width, 120)).print(table)
    return 0


# -- generate


def _generate_arguments(parser: Parser) -> None:
    parser.add_argument("--output", required=True, type=str, help="A new or empty folder.")
    parser.add_argument("--count", type=int, default=200, help="Number of pairs.")
    parser.add_argument("--size", type=int, default=224, help="Side of every image in pixels.")
    parser.add_argument("--seed", type=int, default=0, help="The same seed gives the same set.")


def _generate(arguments: Namespace) -> int:
    from dsunet.data.synthetic import write_synthetic

    write_synthetic(arguments.output, arguments.count, arguments.size, arguments.seed)
    print(f"{arguments.count} pairs written to {arguments.output}/images and masks")
    return 0


class _progress:  # noqa: N801 -- used as a function
    """A progress bar on a terminal, nothing elsewhere; gives a callback (done, all)."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None

    def __enter__(self) -> Callable[[int, int], None] | None:
        if not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.bar.start()
        task = self.bar.add_task(self.title, total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()


COMMANDS: dict[str, Command] = {
    "train": Command(
        "Train a network on a folder of images and masks.",
        "  dsunet train --data DIR --model dsunet-nano --val-fraction 0.2 --output RUN\n"
        "  dsunet train --config RUN/config.yaml --output RUN --resume\n",
        _train_arguments,
        _train,
    ),
    "data check": Command(
        "Look for trouble in a folder of images and masks before training on it.",
        "  dsunet data check DIR\n"
        "  dsunet data check DIR --val-fraction 0.2 --sheet sheet.png --json findings.json\n",
        _data_check_arguments,
        _data_check,
    ),
    "predict": Command(
        "Segment images and folders of images with trained weights.",
        "  dsunet predict photo.jpg --weights RUN --output OUT\n"
        "  dsunet predict DIR/images --list RUN/val.txt --weights RUN/best.safetensors "
        "--output MAPS\n",
        _predict_arguments,
        _predict,
    ),
    "evaluate": Command(
        "Measure a folder of maps against a folder of masks: S, F, E, MAE.",
        "  dsunet evaluate --predictions MAPS --masks DIR/masks --list RUN/val.txt\n",
        _evaluate_arguments,
        _evaluate,
    ),
    "models": Command(
        "List the models with their encoders and parameters.",
        "  dsunet models\n",
        lambda parser: None,
        _models,
    ),
    "generate": Command(
        "Make a set of textured objects on textured backgrounds, to try things out.",
        "  dsunet generate --output NEW --count 200\n",
        _generate_arguments,
        _generate,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
