"""`dsunet benchmark train`, `benchmark predict` and `benchmark data`."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, fail, print_line, print_table
from dsunet.cli.parser import (
    PRECISIONS,
    Command,
    Parser,
    add_model_argument,
    fields_of,
    preset_of,
)
from dsunet.config import ModelConfig, as_size
from dsunet.errors import ConfigError
from dsunet.support.files import write_json

if TYPE_CHECKING:
    from dsunet.benchmarking import Failure, Measured, Variant
    from dsunet.data import Pair

__all__ = ["BENCHMARK_DATA", "BENCHMARK_PREDICT", "BENCHMARK_TRAIN"]

# Arguments of `Segmenter` that are flags of `benchmark predict`, and their help.
_PREDICT_OPTIONS = {
    "fold_batchnorm": "Put BatchNorms into the convolutions before them.",
    "int8": "Compute the encoders' linear layers in 8 bits, on CPUs.",
}

_NO_OWN = "the variants that are timed are settings of dsunet's models; name one of them"


_NO_SPEED = ("classes", "exclusive")  # a few channels of the last convolutions
_SETTINGS = [name for name in fields_of(ModelConfig) if name not in _NO_SPEED]


def _shared_arguments(parser: Parser, what: str) -> None:
    add_model_argument(
        parser,
        "What to measure, with random weights, as speed does not depend on them, and changed by "
        "the settings below",
        f"but here only a preset: {_NO_OWN}",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="Number type.")
    parser.add_argument("--repeats", type=int, default=5, help=f"{what} that are timed.")
    parser.add_argument("--warmup", type=int, default=1, help=f"{what} before them.")
    parser.add_argument("--json", type=str, help="Write all figures, date and machine here.")


def _model_arguments(parser: Parser) -> None:
    parser.add_class_arguments(ModelConfig, skip={"name", *_NO_SPEED})
    # not given means: as the preset has it
    parser.set_defaults(dict.fromkeys(_SETTINGS))


def _step_arguments(parser: Parser) -> None:
    parser.add_argument("--batch_size", type=int, default=8, help="Images of a step.")
    parser.add_argument(
        "--feature_cache",
        default="off",
        choices=("off", "on"),
        help="on: DINOv2's maps are read from a file, as a feature cache keeps them, and DINOv2 "
        "takes neither time nor memory.",
    )
    parser.add_argument(
        "--activation_checkpointing",
        action="store_true",
        help="Compute Hiera's activations again on the way back instead of keeping them.",
    )
    parser.add_argument(
        "--keep_memory",
        action="store_true",
        help="Keep freed memory for the next tensors; on CPUs under Linux.",
    )
    parser.add_argument("--compile", action="store_true", help="Run through torch.compile.")


def _add_baseline(parser: Parser) -> None:
    parser.add_argument(
        "--baseline",
        action="store_true",
        help="Measure the naive way in the same run, in turns: float32, whole attention matrices "
        "in DINOv2 and the decoder, no feature cache, all outputs, NCHW.",
    )


def _train_arguments(parser: Parser) -> None:
    _shared_arguments(parser, "Steps")
    _step_arguments(parser)
    _add_baseline(parser)
    _model_arguments(parser)


def _predict_arguments(parser: Parser) -> None:
    _shared_arguments(parser, "Predictions")
    parser.add_argument(
        "--batch_size", default="1", help="Images that are predicted at once, such as 1 or 1,8,32."
    )
    parser.add_argument("--compile", action="store_true", help="Run through torch.compile.")
    for option, text in _PREDICT_OPTIONS.items():
        parser.add_argument(f"--{option}", action="store_true", help=text)
    _add_baseline(parser)
    _model_arguments(parser)


def _data_arguments(parser: Parser) -> None:
    _shared_arguments(parser, "Passes over the images, and steps,")
    parser.add_argument(
        "--data",
        type=str,
        help="Folder, or .tar file, that holds images/ and masks/; generated pairs if not given.",
    )
    parser.add_argument("--images", type=int, default=64, help="How many pairs to read in a pass.")
    parser.add_argument(
        "--workers", default="0,1,2", help="Processes that read, one number or several."
    )
    parser.add_argument(
        "--step", action="store_true", help="Time a training step too, and say if it is kept fed."
    )
    _step_arguments(parser)
    _model_arguments(parser)


def _config(arguments: Namespace) -> ModelConfig:
    return preset_of(arguments, _NO_OWN, _SETTINGS)


def _numbers(flag: str, text: Any) -> list[int]:
    try:
        return [int(part) for part in str(text).split(",")]
    except ValueError:
        raise ConfigError(f"--{flag} is {text!r}, but needs numbers such as 1,8,32") from None


def _step(arguments: Namespace, config: ModelConfig) -> Variant:
    from dsunet.benchmarking import Variant

    return Variant(
        "ours",
        "train",
        config,
        arguments.batch_size,
        arguments.device,
        arguments.precision,
        feature_cache=arguments.feature_cache == "on",
        checkpointing=arguments.activation_checkpointing,
        keep_memory=arguments.keep_memory,
        compile=arguments.compile,
    )


def _measured(
    arguments: Namespace, variants: Sequence[Variant], title: str
) -> list[Measured | Failure]:
    from dsunet.benchmarking import measure

    with Progress(title) as progress:
        return measure(
            variants, repeats=arguments.repeats, warmup=arguments.warmup, progress=progress
        )


def _report(
    arguments: Namespace, command: str, results: Sequence[Measured | Failure], title: str
) -> int:
    """Prints and writes what was measured; returns the exit status."""
    from dsunet.benchmarking import Failure, record, table_of

    failures = [each for each in results if isinstance(each, Failure)]
    if len(failures) < len(results):
        print_table(table_of(results, title))
    if arguments.json:
        write_json(Path(arguments.json), record(_command(), results))
    for each in failures:
        where = f"{each.variant.name}, batch {each.variant.batch_size}"
        fail(f"dsunet {command}", f"{where}: {each.reason}", 1)
    return 1 if failures else 0


def _train(arguments: Namespace) -> int:
    check_outputs(arguments.json)
    ours = _step(arguments, _config(arguments))
    variants = [ours, ours.baseline()] if arguments.baseline else [ours]
    results = _measured(arguments, variants, "training")
    title = f"{arguments.model}: training steps of {_count(arguments.batch_size)}"
    return _report(arguments, "benchmark train", results, title)


def _predict(arguments: Namespace) -> int:
    from dsunet.benchmarking import Variant

    check_outputs(arguments.json)
    config = _config(arguments)
    options = tuple(option for option in _PREDICT_OPTIONS if arguments[option])
    variants = [
        Variant(
            "ours",
            "predict",
            config,
            size,
            arguments.device,
            arguments.precision,
            compile=arguments.compile,
            options=options,
        )
        for size in _numbers("batch_size", arguments.batch_size)
    ]
    results = []
    for ours in variants:
        both = [ours, ours.baseline()] if arguments.baseline else [ours]
        results += _measured(arguments, both, f"predicting {_count(ours.batch_size)} at once")
    title = f"{arguments.model}: prediction, from prepared views to probability maps"
    return _report(arguments, "benchmark predict", results, title)


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"


def _data(arguments: Namespace) -> int:
    from dsunet.benchmarking import Failure, loader_table, measure_loader, record

    check_outputs(arguments.json)
    names = ("compile", "activation_checkpointing", "keep_memory")
    given = [name for name in names if arguments[name]]
    if given and not arguments.step:
        raise ConfigError(f"--{given[0]} is about the training step: give --step, too")
    config = _config(arguments)
    step = _step(arguments, config)
    workers = _numbers("workers", arguments.workers)
    # with the feature cache, DINOv2's view is not made
    second = config.uses_semantic and not step.feature_cache
    sizes = as_size(config.sam_size), as_size(config.dino_size) if second else None
    with tempfile.TemporaryDirectory() as folder, Progress("reading") as progress:
        loaders = measure_loader(
            _pairs(arguments, folder),
            sizes,
            batch_size=arguments.batch_size,
            workers=workers,
            repeats=arguments.repeats,
            warmup=arguments.warmup,
            progress=progress,
        )
    results = _measured(arguments, [step], "training") if arguments.step else []
    print_table(loader_table(loaders, results, arguments.model))
    if arguments.json:
        about = {"data": arguments.data or "generated", "sizes": sizes}
        readers = [each.to_dict() for each in loaders]
        written = record(_command(), results, loader=readers, **about)
        write_json(Path(arguments.json), written)
    for each in results:
        if isinstance(each, Failure):
            return fail("dsunet benchmark data", f"the training step: {each.reason}", 1)
    return 0


def _command() -> str:
    """The command line, for records."""
    return shlex.join(["dsunet", *sys.argv[1:]])


def _pairs(arguments: Namespace, folder: str) -> list[Pair]:
    """Some pairs of a data set, evenly spread, or generated ones."""
    from dsunet.data import find_pairs
    from dsunet.data.synthetic import write_synthetic

    if arguments.images < 1:
        raise ConfigError(f"--images is {arguments.images}, but needs at least 1")
    if arguments.data is None:
        print_line(f"generating {arguments.images} pairs of 400×400 pixels …")
        write_synthetic(Path(folder, "pairs"), arguments.images, 400)
        return find_pairs(Path(folder, "pairs"))
    pairs = find_pairs(arguments.data)
    count = min(arguments.images, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


BENCHMARK_TRAIN = Command(
    "Measure a training step: time, memory, share of what the machine can do.",
    "  dsunet benchmark train --model dsunet-large --batch-size 2 --feature-cache on --baseline\n"
    "  dsunet benchmark train --model dsunet-base --sam-size 512 --json step.json\n",
    _train_arguments,
    _train,
)

BENCHMARK_PREDICT = Command(
    "Measure prediction: time per image, memory, share of what the machine can do.",
    "  dsunet benchmark predict --model dsunet-large --baseline\n"
    "  dsunet benchmark predict --model dsunet-tiny --batch-size 1,8 --json predict.json\n",
    _predict_arguments,
    _predict,
)

BENCHMARK_DATA = Command(
    "Measure how quickly the data loader reads pairs, and whether a step is kept fed.",
    "  dsunet benchmark data --data DIR --workers 0,1,2\n"
    "  dsunet benchmark data --data DIR --model dsunet-nano --step\n",
    _data_arguments,
    _data,
)
