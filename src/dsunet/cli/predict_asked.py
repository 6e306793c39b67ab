"""What `dsunet predict` is asked for: its flags, and what they come to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import FOLDS
from dsunet.cli.parser import (
    GIVEN,
    LIST_HELP,
    PRECISIONS,
    Parser,
    add_blocks_argument,
    add_encoder_arguments,
    add_intensity,
    add_max_pixels,
    add_model_argument,
    model_of,
    words_of,
)
from dsunet.config import ModelConfig
from dsunet.errors import ConfigError, perhaps
from dsunet.weights import shipped

if TYPE_CHECKING:
    from dsunet.network.source import CustomSource
    from dsunet.predict import Options, Segmenter
    from dsunet.predict.members import Member

__all__ = [
    "add_predict_arguments",
    "as_usual",
    "check_cluster",
    "model_asked",
    "options_of",
    "segmenter_of",
    "sort_out",
]


def add_predict_arguments(parser: Parser) -> None:
    """The flags."""
    parser.add_argument(
        "paths",
        nargs="*",
        type=str,
        help="Images, folders of images (searched recursively), and patterns such as "
        "'photos/**/*.jpg'; addresses (https://…, s3://…, gs://…, abfs://…) of images, and of "
        "folders in object stores; - is one image from standard input.",
    )
    parser.add_argument(
        "--files_from", type=str, help="Text file with the path or address of one image a line."
    )
    parser.add_argument(
        "--from_parquet",
        type=str,
        help="Parquet file, or folder of such files, with the path or address of one image a row.",
    )
    parser.add_argument(
        "--column",
        type=str,
        help="Of --from-parquet: the column with the images, if several hold texts.",
    )
    parser.add_argument(
        "--weights",
        type=str,
        nargs="+",
        action="append",
        help="A weights file, a run's folder, or a file that dsunet export has written; several, "
        "given one after the other or by a pattern such as 'RUN/fold*', make an ensemble, whose "
        "map is the mean of theirs. Without it, and without --model, the small model that comes "
        f"with dsunet ({shipped.DEFAULT}) segments what stands out.",
    )
    add_model_argument(
        parser,
        "What predicts, where no weights file of dsunet's says which",
        "it goes with --weights, or without them is a function that takes an image and gives its "
        f"map, or a network that brings its own weights; of the presets {shipped.DEFAULT} has "
        "weights that come with dsunet, of others the weights file says which",
        default=None,
    )
    add_encoder_arguments(parser, "that the weights file refers to")
    add_blocks_argument(parser)
    parser.add_argument(
        "--output",
        type=str,
        help="Folder to write to, by default predictions; or, for one image, a file that ends in "
        ".png, .webp or .jpg, or - for standard output, which an image from standard input goes to "
        "by default.",
    )
    parser.add_argument(
        "--save",
        default="probability",
        help="What to write, separated by commas: probability (grey map), binary, overlay, cutout. "
        "One goes straight into --output, several into a subfolder each. Of a model of several "
        "classes labels (their numbers, with a palette), which is its default, overlay, and "
        "probability, in a subfolder for each class.",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="Object from this probability on, for binary, overlay and --crop-to-object; by "
        "default what the weights were calibrated to (dsunet calibrate), or 0.5. A cut-out, whose "
        "edges are soft without it, keeps nothing of what is below. "
        "Of probability alone it is refused.",
    )
    parser.add_argument(
        "--abstain",
        action="store_true",
        help="Write an empty mask for an image whose score (the mean of its map's highest 0.1 %) "
        "is below the one that the weights were calibrated to, or below --image-threshold.",
    )
    parser.add_argument(
        "--image_threshold", type=float, help="That score, 0 to 1, where it is to be another one."
    )
    parser.add_argument(
        "--format",
        help="Of the files: png, webp (without loss) or jpg (overlays, and cut-outs with a "
        "--background); by default png, or what the name of --output says.",
    )
    parser.add_argument(
        "--background",
        type=str,
        help="What cut-outs are put on: a colour such as white or '#00ff00', or transparent.",
    )
    parser.add_argument(
        "--refine",
        type=bool | None,
        help="Let edges follow the image's, fill what is half-hearted in the middle of an object, "
        "and leave crumbs out; maps are no probabilities then. By default cut-outs alone.",
    )
    parser.add_argument(
        "--view",
        type=int | tuple[int, int] | None,
        help="Side of the network's view in pixels, or [HEIGHT,WIDTH]; by default as it was "
        "trained. A larger one may show finer outlines, and takes longer.",
    )
    parser.add_argument(
        "--flips",
        action="store_true",
        help="Segment every image mirrored, too, and take the mean: twice the time.",
    )
    parser.add_argument(
        "--zoom",
        action="store_true",
        help="Segment the part around the object again, and take the mean there: finer outlines of "
        "small objects, for up to twice the time.",
    )
    parser.add_argument(
        "--tile",
        type=int,
        help="Cut images that are larger into tiles of so many pixels a side, segment each of them "
        "by itself, and blend the maps: for small objects in large images. By default as the "
        "weights were trained; 0 takes every image as a whole.",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        help="What neighbouring tiles share at least, of a tile's side, 0 to 0.75; by default as "
        "the weights say, or 0.25.",
    )
    parser.add_argument(
        "--crop_to_object",
        action="store_true",
        help="Crop every output to the box of the object.",
    )
    parser.add_argument(
        "--keep_exif",
        action="store_true",
        help="Put the image's EXIF (date, camera, author) into the outputs, but not the place.",
    )
    parser.add_argument(
        "--keep_gps",
        action="store_true",
        help="With --keep-exif: the place where it was taken, too.",
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
    add_intensity(parser, ", where it is not as the weights say")
    add_max_pixels(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="Skip images whose outputs are there already, made by the same weights and options.",
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument(
        "--batch_size", type=int, default=1, help="Images, or tiles of one, per pass."
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="Threads that read images beside the model, and as many that write; by default as "
        "many as there are cores that the model leaves idle.",
    )
    parser.add_argument(
        "--cluster",
        type=str,
        help="Share the images out on a Ray cluster, and write a manifest: local starts one on "
        "this machine, auto takes the one that it belongs to, HOST:PORT that of this head.",
    )
    parser.add_argument(
        "--actors",
        type=int,
        help="With --cluster: how many processes have the model at most; by default as many as "
        "there are processors or GPUs for.",
    )
    parser.add_argument(
        "--actor_cpus",
        type=int,
        default=1,
        help="With --cluster: processors of each, and threads that compute in it.",
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help="What computes: torch; onnx (onnxruntime) or openvino, which run exported files and "
        f"{shipped.DEFAULT}; auto is what fits the model and is installed, torch first.",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="Number type.")
    parser.add_argument(
        "--fold_batchnorm",
        action="store_true",
        help="Put BatchNorms into the convolutions before them: quicker, and the same but for the "
        "last digits.",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="Compute the encoders' linear layers in 8 bits, on CPUs: quicker, and maps change a "
        "little.",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="Let torch.compile make code for this machine first, which takes a minute or so and "
        "needs a C++ compiler; the same but for the last digits.",
    )
    parser.add_argument(
        "--draft",
        action="store_true",
        help="Decode large JPEGs at a fraction of their size that still has the pixels of the "
        "model's views: quicker, and maps change a little. Not with overlay and cutout.",
    )


def options_of(arguments: Namespace) -> Options:
    """What to write; raises `ConfigError` for numbers that make no sense, those of passes too."""
    from dsunet.predict import Options
    from dsunet.predict.outputs import OUTPUTS, check_options

    kinds = tuple(words_of(arguments.save))
    unknown = [kind for kind in kinds if kind not in OUTPUTS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        raise ConfigError(
            f"--save is {arguments.save!r}, but needs some of {', '.join(OUTPUTS)}, each once"
            + perhaps(unknown[0] if unknown else "", OUTPUTS)
        )
    if arguments.batch_size < 1:
        raise ConfigError(f"--batch-size is {arguments.batch_size}, but needs at least 1")
    if (arguments.workers or 0) < 0:
        raise ConfigError(f"--workers is {arguments.workers}, but needs at least 0")
    options = Options(
        kinds,
        arguments.threshold,
        arguments.benchmark_normalization,
        arguments.ignore_orientation,
        arguments.draft,
        arguments.format or "png",
        arguments.background,
        arguments.crop_to_object,
        arguments.keep_exif,
        arguments.keep_gps,
        arguments.refine,
        arguments.abstain,
        arguments.image_threshold,
    )
    # of one file the name may say another format, which is looked at there
    check_options(options)
    return options


def as_usual(arguments: Namespace, options: Options, segmenter: Segmenter) -> Options:
    """Options with what a model of several classes writes where nobody says."""
    usual = segmenter.classes and "save" not in arguments[GIVEN]
    return dataclasses.replace(options, save=("labels",)) if usual else options


def sort_out(arguments: Namespace) -> None:
    """Tells weights from images in what follows `--weights`, and finds what patterns mean.

    Of a pattern without quotes the shell makes many words; what lies beside the runs of a training
    in folds is none of them. The first word is of weights, whatever it looks like.
    """
    if arguments.weights is None:
        return
    from dsunet.predict.members import find_members, is_meant_as_weights

    weights = []
    for first, *others in arguments.weights:
        weights += [first, *(word for word in others if is_meant_as_weights(word))]
        arguments.paths += [
            word
            for word in others
            if not is_meant_as_weights(word) and Path(word) != Path(first).parent / FOLDS
        ]
    arguments.weights = find_members(weights)


def check_cluster(arguments: Namespace) -> None:
    """Raises `ConfigError` for flags that would do nothing."""
    from dsunet.predict.single import is_single

    if arguments.column is not None and arguments.from_parquet is None:
        raise ConfigError("--column is a column of --from-parquet; give that, too")
    if arguments.cluster is None:
        if arguments.actors is not None or arguments.actor_cpus != 1:
            flag = "--actors" if arguments.actors is not None else "--actor-cpus"
            raise ConfigError(f"{flag} is for a cluster; give --cluster local, auto or HOST:PORT")
    elif is_single(arguments.output):
        raise ConfigError("--cluster is for many images; name a folder as --output")


def model_asked(arguments: Namespace) -> CustomSource | str | list[Member]:
    """What `Segmenter` is to take as model: weights, a network of the user's own, or a preset's."""
    weights: list[str] = arguments.weights or []
    if arguments.model is None:
        if len(weights) > 1:
            return list(weights)
        return weights[0] if weights else shipped.DEFAULT
    model = model_of(arguments)
    if not isinstance(model, ModelConfig):
        return [_of_own(model, file) for file in weights] if len(weights) > 1 else model
    if not weights and model.name in shipped.SHIPPED:
        return model.name
    raise ConfigError(
        f"--model {model.name} is one of dsunet's own models, of which the weights file says "
        f"which: give --weights alone (--weights {shipped.DEFAULT}, say)"
    )


def _of_own(model: CustomSource, file: str) -> Member:
    """A member of an ensemble: one of dsunet's models, if its file says so, or the user's own."""
    from dsunet.weights.exported import is_exported
    from dsunet.weights.opened import open_weights

    if is_exported(file):
        return file
    state = open_weights(file).state
    is_ours = state.about is not None and "custom" not in state.about["model"]
    return file if is_ours else (model, file)


def segmenter_of(arguments: Namespace, model: CustomSource | str | list[Member]) -> Segmenter:
    """What segments, as of `model_asked`, as the flags want it."""
    from dsunet.predict import Segmenter

    own = not isinstance(model, str | list) and arguments.weights
    return Segmenter(
        model,
        arguments.device,
        arguments.precision,
        weights=arguments.weights[0] if own else None,
        pyramid_weights=arguments.pyramid_weights,
        semantic_weights=arguments.semantic_weights,
        fold_batchnorm=arguments.fold_batchnorm,
        int8=arguments.int8,
        compile=arguments.compile,
        engine=arguments.engine,
        intensity=arguments.intensity,
        view=arguments.view,
        flips=arguments.flips,
        zoom=arguments.zoom,
        tile=arguments.tile,
        overlap=arguments.overlap,
        blocks=arguments.blocks or (),
    )
