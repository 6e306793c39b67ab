"""`dsunet export`."""

from __future__ import annotations

from jsonargparse import Namespace

from dsunet.cli.output import print_line, visible
from dsunet.cli.parser import Command, Parser, add_encoder_arguments

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
        help="The file to write, NAME.onnx; a report comes beside it, NAME.json.",
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
        "--verify_data",
        type=str,
        help="Folder of images, or with `images/` in it, to compare the file and the model on; by "
        "default pictures are made.",
    )
    add_encoder_arguments(parser, "that a weights file refers to")


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
        pictures=arguments.verify_data,
        on_line=print_line,
    )
    found = done.report["compared"]["largest_difference"]
    print(
        visible(
            f"{done.path}: {done.report['bytes'] / 1e6:.1f} MB, at most {found['largest']:.1g} of "
            f"probability from the model, at any pixel; report: {done.path.with_suffix('.json')}"
        )
    )
    return 0


EXPORT = Command(
    "Write a model as an ONNX file, held against the model before it is there.",
    "  dsunet export dsunet-lite --output lite.onnx\n"
    "  dsunet export RUN --output mine.onnx --verify-data DIR\n"
    "  dsunet predict photo.jpg --weights mine.onnx --output masks\n",
    _export_arguments,
    _export,
)
