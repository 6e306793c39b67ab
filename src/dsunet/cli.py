"""The command line: the only place that parses arguments, prints and decides the exit status.

Only the parser of the chosen command is built, and what the command needs is imported when it runs,
so that help comes at once. Flags, config files and dataclass fields share their names; flags are
written with hyphens.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
            if argument == "--config":
                pair = arguments[i : i + 2]
                arguments = [*pair, *arguments[:i], *arguments[i + 2 :]]
            elif argument.startswith("--config="):
                arguments = [argument, *arguments[:i], *arguments[i + 1 :]]
        return self.parse_args(arguments)


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
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(f"dsunet {dsunet.__version__}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
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
    print(f"{prog}: error: {message}", file=sys.stderr)
    return status


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
            on_line=lambda line: print(line, flush=True),
            progress_bar=sys.stderr.isatty() and sys.stdout.isatty(),
        )
    except KeyboardInterrupt:
        folder = arguments.output
        if not Path(folder, "resume.ckpt").exists():
            return _fail("dsunet train", "interrupted before the first epoch was done", 130)
        go_on = f"dsunet train --config {folder}/config.yaml --output {folder} --resume"
        return _fail("dsunet train", f"interrupted; go on with: {go_on}", 130)
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # the first process speaks for all
        return 0
    if result.measures:
        print(f"best epoch {result.best_epoch}: {_scores(result.measures)}")
    print(f"weights: {result.weights}")
    return 0


def _scores(measures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items())


# -- predict


def _predict_arguments(parser: Parser) -> None:
    parser.add_argument("paths", nargs="+", type=str, help="Images and folders of images.")
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
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument("--batch_size", type=int, default=1, help="Images per pass.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="Number type.")


def _predict(arguments: Namespace) -> int:
    from dsunet.data.pairs import read_names
    from dsunet.predict import KINDS, Segmenter, plan_outputs, predict_files

    kinds = [kind.strip() for kind in arguments.save.split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        raise ValueError(
            f"--save is {arguments.save!r}, but needs some of {', '.join(KINDS)}, each once"
        )
    if not 0 <= arguments.threshold <= 1:
        raise ValueError(f"--threshold is {arguments.threshold}, but needs 0 to 1")
    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size is {arguments.batch_size}, but needs at least 1")
    names = read_names(arguments.list) if arguments.list else None
    jobs = plan_outputs(arguments.paths, arguments.output, kinds, names)
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(arguments.weights, arguments.device, arguments.precision)
    with _progress("predicting") as progress:
        failures = predict_files(
            segmenter,
            jobs,
            arguments.output,
            save=kinds,
            threshold=arguments.threshold,
            benchmark_normalization=arguments.benchmark_normalization,
            batch_size=arguments.batch_size,
            progress=progress,
        )
    for _, reason in failures:
        print(f"dsunet predict: failed: {reason}", file=sys.stderr)
    print(f"{len(jobs) - len(failures)} of {len(jobs)} images written to {arguments.output}")
    return 1 if failures else 0


# -- evaluate


def _evaluate_arguments(parser: Parser) -> None:
    parser.add_argument("--predictions", required=True, type=str, help="Folder of grey maps.")
    parser.add_argument(
        "--masks", required=True, type=str, help="Folder of masks with the same stems."
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument("--json", type=str, help="Write means and every image's values here.")
    parser.add_argument("--csv", type=str, help="Write a row per image here.")


def _evaluate(arguments: Namespace) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.data.pairs import read_names
    from dsunet.metrics import MEASURES, evaluate_folders

    names = read_names(arguments.list) if arguments.list else None
    with _progress("evaluating") as progress:
        result = evaluate_folders(arguments.predictions, arguments.masks, names, progress)
    if arguments.json:
        result.write_json(Path(arguments.json))
    if arguments.csv:
        result.write_csv(Path(arguments.csv))
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("images", "S ↑", "F ↑", "E ↑", "MAE ↓"):
        table.add_column(title, justify="right")
    values = [f"{result.scores[name]:.4f}" for name in MEASURES]
    table.add_row(str(len(result.per_image)), *values)
    Console().print(table)
    if result.resized:
        print(f"{len(result.resized)} maps had another size than their mask and were resized to it")
    if result.empty:
        print(f"{len(result.empty)} masks are empty; F is 0 for them, whatever the map")
    return 0


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
