"""`dsunet features`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jsonargparse import Namespace

from dsunet.cli.output import Progress, print_failures
from dsunet.cli.parser import (
    Command,
    Parser,
    add_blocks_argument,
    add_encoder_arguments,
    add_max_pixels,
    add_model_argument,
    preset_of,
    words_of,
)
from dsunet.config import MODEL_PRESETS
from dsunet.errors import ConfigError

if TYPE_CHECKING:
    from dsunet.network.model import DSUNet
    from dsunet.predict import Job

__all__ = ["FEATURES"]

FORMATS = ("png", "pdf")
NO_FILES = ("default", "encoders", "none")
OURS = (
    "features are of dsunet's models only, as they are those of Hiera, DINOv2 and the fusion: name "
    "a preset, or the weights of one"
)


def _features_arguments(parser: Parser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=str,
        help="Images, folders of images (searched recursively), and patterns such as "
        "'photos/**/*.jpg'.",
    )
    parser.add_argument(
        "--weights",
        type=str,
        help="A weights file, or a run's folder, of one of dsunet's models; with --model "
        "also default (encoders; none for nano), encoders (their public weights) or "
        "none (random, by seed 0).",
    )
    add_model_argument(
        parser,
        "What to look at without trained weights",
        f"but here only a preset: {OURS}",
        default=None,
    )
    add_encoder_arguments(parser, "that the weights file refers to, or --model is to take")
    add_blocks_argument(parser)
    parser.add_argument(
        "--output",
        required=True,
        type=str,
        help="Folder to write to; the figures go to hiera/, dinov2/ and fusion/ in it.",
    )
    parser.add_argument(
        "--maps",
        default="mean,pca,tsne",
        help="What to show, separated by commas: mean (over channels), pca (first principal "
        "component), rgb (first three), tsne (as colours on the grid), scatter (its plane).",
    )
    parser.add_argument(
        "--depths",
        type=str,
        help="DINOv2's blocks to look at; by default 2,8,18,24 of 24, scaled for other depths.",
    )
    parser.add_argument(
        "--centre_crop",
        type=bool,
        default=True,
        help="Resize images on their short side and crop them from the middle, as the paper's "
        "figures do; false resizes them as a whole, as prediction does.",
    )
    parser.add_argument(
        "--sam_size", type=int, help="Side of Hiera's view in pixels; by default the model's."
    )
    parser.add_argument(
        "--dino_size", type=int, help="Side of DINOv2's view in pixels; by default the model's."
    )
    parser.add_argument(
        "--tsne_positions",
        type=int,
        default=1400,
        help="Larger grids are averaged down for t-SNE, which takes longer the more there are.",
    )
    parser.add_argument(
        "--formats", default="png,pdf", help="File formats, separated by commas: png, pdf."
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace figures that are there already."
    )
    add_max_pixels(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")


def _features(arguments: Namespace) -> int:
    from dsunet.predict.plan import output_path, plan_outputs
    from dsunet.running.place import choose_device
    from dsunet.visualize.features import FIGURES, need_packages

    settings = _checked(arguments)
    need_packages()
    device, folder = choose_device(arguments.device), Path(arguments.output)
    jobs = plan_outputs(arguments.paths, folder, FIGURES)
    bases = {
        (job, figure): output_path(folder, figure, FIGURES, job.name).with_suffix("")
        for job in jobs
        for figure in FIGURES
    }
    files = [
        base.with_name(f"{base.name}.{ending}")
        for base in bases.values()
        for ending in settings.formats
    ]
    _check_free(folder, files, arguments)
    model, title = _model(arguments)
    failures = _draw(model.to(device), title, bases, settings, arguments)
    print_failures("dsunet features", failures, "failed")
    if not model.pyramid.has_adapters:
        print("the model has no adapters, so there are no columns with and without them")
    if model.semantic is None:
        print("the model has no DINOv2, so there are no figures of its blocks and of the fusion")
    print(f"figures of {len(jobs) - len(failures)} of {len(jobs)} images written to {folder}")
    return 1 if failures else 0


def _draw(
    model: DSUNet,
    title: str,
    bases: Mapping[tuple[Job, str], Path],
    settings: _Settings,
    arguments: Namespace,
) -> list[str]:
    """Draws every image's figures; returns why some are not drawn.

    Args:
        model: On its device.
        title: What to call it in the figures.
        bases: Where each image's figure of a name goes, without the ending.
        settings: Which maps, blocks and formats.
        arguments: The command's.
    """
    import torch

    from dsunet.data import read_image
    from dsunet.data.remote import at_hand
    from dsunet.errors import DeviceError, ImageError
    from dsunet.visualize.extraction import extract_features
    from dsunet.visualize.features import draw_features
    from dsunet.visualize.figures import save_figure

    failures = []
    jobs = list(dict.fromkeys(job for job, _ in bases))
    with Progress("drawing") as progress:
        for done, job in enumerate(jobs):
            progress(done, len(jobs))
            try:
                features = extract_features(
                    model,
                    read_image(at_hand(job.image), intensity=model.intensity),
                    depths=settings.depths,
                    crop=arguments.centre_crop,
                    sam_size=arguments.sam_size,
                    dino_size=arguments.dino_size,
                )
            except ImageError as error:
                failures.append(str(error))
                continue
            except torch.OutOfMemoryError as error:
                raise DeviceError(
                    "the device is out of memory; use a smaller --sam-size, or --device cpu"
                ) from error
            figures = draw_features(
                features, settings.kinds, title, positions=arguments.tsne_positions
            )
            for figure, drawing in figures.items():
                save_figure(drawing, bases[job, figure], settings.formats)
    return failures


class _Settings(NamedTuple):
    """What is drawn of each image."""

    kinds: list[str]
    """Kinds of maps."""
    formats: list[str]
    depths: list[int] | None
    """After which blocks of DINOv2."""


def _checked(arguments: Namespace) -> _Settings:
    """What to draw; raises `ConfigError` if that makes no sense."""
    from dsunet.visualize.cells import check_kinds

    kinds, formats = words_of(arguments.maps), words_of(arguments.formats)
    check_kinds(kinds)
    if not formats or len(set(formats)) != len(formats) or set(formats) - set(FORMATS):
        raise ConfigError(f"--formats is {arguments.formats!r}, but needs png, pdf or png,pdf")
    if arguments.model is not None:
        preset_of(arguments, OURS)
    for flag, least in (("sam_size", 1), ("dino_size", 1), ("tsne_positions", 30)):
        if arguments[flag] is not None and arguments[flag] < least:
            raise ConfigError(f"--{flag} is {arguments[flag]}, but needs at least {least}")
    if arguments.depths is None:
        return _Settings(kinds, formats, None)
    try:
        return _Settings(kinds, formats, [int(word) for word in words_of(arguments.depths)])
    except ValueError as error:
        raise ConfigError(
            f"--depths is {arguments.depths!r}, but needs numbers of blocks, such as 2,8,18,24"
        ) from error


def _check_free(folder: Path, files: Sequence[Path], arguments: Namespace) -> None:
    from dsunet.errors import OutputError
    from dsunet.support.files import check_writable

    check_writable(folder)
    there = [file for file in files if file.exists()]
    if there and not arguments.overwrite:
        raise OutputError(
            f"{there[0]} is there already; choose another --output, or replace figures by "
            "--overwrite"
        )


def _model(arguments: Namespace) -> tuple[DSUNet, str]:
    """The model, and what to call it in the figures."""
    import torch

    from dsunet.weights.models import create_model, load
    from dsunet.weights.opened import open_weights

    encoders = {
        "pyramid_weights": arguments.pyramid_weights,
        "semantic_weights": arguments.semantic_weights,
    }
    if arguments.model is None:
        if arguments.weights in (None, *NO_FILES):
            raise ConfigError(
                "no model is given: name a weights file or a run's folder with --weights, or a "
                f"preset with --model ({', '.join(MODEL_PRESETS)})"
            )
        opened = open_weights(arguments.weights)
        if (custom := opened.custom) is not None:
            raise ConfigError(f"--weights is a file of {custom.name}; {OURS}")
        model, state = load(opened, **encoders), ""
    else:
        torch.manual_seed(0)
        weights = arguments.weights or "default"
        model = create_model(arguments.model, None if weights == "none" else weights, **encoders)
        pretrained = any(encoder.source for encoder in model.encoders.values())
        state = "" if weights not in NO_FILES else ", untrained"
        if state and not pretrained:
            state = ", random weights"
    name = model.config.name if model.config else ""
    return model, (name if name in MODEL_PRESETS else "another model") + state


FEATURES = Command(
    "Draw what the encoders and the fusion make of images: mean, PCA and t-SNE maps.",
    "  dsunet features photo.jpg --weights RUN --output FIGURES\n"
    "  dsunet features DIR/images --model dsunet-small --weights encoders --maps mean,pca "
    "--output PUBLIC\n",
    _features_arguments,
    _features,
)
