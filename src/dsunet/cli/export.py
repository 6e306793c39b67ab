"""`dsunet export`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from dsunet.cli.output import print_line, visible
from dsunet.cli.parser import Command, Parser, add_blocks_argument, add_encoder_arguments
from dsunet.export.limits import MAX_DROP, ExportFormat, ExportPrecision

__all__ = ["EXPORT"]


def _export_arguments(parser: Parser) -> None:
    parser.add_argument(
        "model",
        type=str,
        help="A weights file, a run, the name of a model whose weights come with dsunet, or "
        "PACKAGE.MODULE:NAME of a network of your own.",
    )
    parser.add_argument(
        "--output",
        type=str,
        required=True,
        help="The file to write: NAME.onnx, or NAME.xml in OpenVINO's format, with its weights in "
        "NAME.bin; a report comes beside it, NAME.json.",
    )
    parser.add_argument("--weights", type=str, help="Weights of a network of your own.")
    parser.add_argument(
        "--view",
        type=int | tuple[int, int] | None,
        help="Side of the (first) view in pixels, or height and width as `[192,256]`; by default "
        "as the model has it.",
    )
    parser.add_argument(
        "--dynamic_size",
        action="store_true",
        help="Let the view have any size; only some networks allow that, dsunet-lite among them.",
    )
    parser.add_argument(
        "--format",
        type=ExportFormat | None,
        help="onnx or openvino; by default what the ending of --output says.",
    )
    parser.add_argument(
        "--precision",
        type=ExportPrecision,
        default="float32",
        help="Numbers inside the file: float32, float16 (half the size), or int8 (a third of it, "
        "and quicker on CPUs that have instructions for it).",
    )
    parser.add_argument(
        "--verify_data",
        type=str,
        help="Folder of images, or with `images/` in it, to compare the file and the model on; "
        "with `masks/` beside that, S is measured on up to 200 pairs. By default pictures are "
        "made.",
    )
    parser.add_argument(
        "--calibration_data",
        type=str,
        help="Folder of images, or with `images/` in it, to find the ranges of an int8 file's "
        "numbers on, 48 at most; by default the pictures that it is compared on.",
    )
    parser.add_argument(
        "--max_drop",
        type=float,
        default=MAX_DROP,
        help="The most that S may drop in a float16 or int8 file, on pictures with masks.",
    )
    add_encoder_arguments(parser, "that a weights file refers to")
    add_blocks_argument(parser)


def _export(arguments: Namespace) -> int:
    from dsunet.export import export_model
    from dsunet.network.source import CustomSource
    from dsunet.support.imports import is_import_path, resolve

    model = arguments.model
    if is_import_path(model):
        model = CustomSource(model, resolve(model))
    done = export_model(
        model,
        arguments.output,
        weights=arguments.weights,
        pyramid_weights=arguments.pyramid_weights,
        semantic_weights=arguments.semantic_weights,
        view=arguments.view,
        dynamic_size=arguments.dynamic_size,
        format=arguments.format,
        precision=arguments.precision,
        pictures=arguments.verify_data,
        calibration=arguments.calibration_data,
        max_drop=arguments.max_drop,
        on_line=print_line,
    )
    print(
        visible(
            f"{done.path}: {done.report['bytes'] / 1e6:.1f} MB, {done.report['precision']}, "
            f"{_found(done.report['compared'])}; report: {done.path.with_suffix('.json')}"
        )
    )
    return 0


def _found(compared: Mapping[str, Any]) -> str:
    apart, structure = compared["largest_difference"], compared["S"]
    far = (
        f"at most {apart['largest']:.1g} of probability from the model, at any pixel, and "
        f"{apart['largest_mean']:.1g} in a picture's mean"
    )
    if structure is None:
        return far
    return (
        f"S {structure['file']:.4f} on {structure['pairs']} pairs (the model: "
        f"{structure['model']:.4f}), {far}"
    )


EXPORT = Command(
    "Write a model as an ONNX file, held against the model before it is there.",
    "  dsunet export dsunet-lite --output lite.onnx\n"
    "  dsunet export RUN --output mine.onnx --verify-data DIR\n"
    "  dsunet export dsunet-lite --output half.onnx --precision float16 --verify-data DIR\n"
    "  dsunet predict photo.jpg --weights mine.onnx --output masks\n",
    _export_arguments,
    _export,
)
