"""Which model is meant, and which engine runs it; torch is imported for networks alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dsunet.config import Precision
from dsunet.errors import ConfigError, perhaps
from dsunet.predict.engines.base import Engine
from dsunet.predict.engines.exported import ExportedFile, FileEngine
from dsunet.predict.engines.models import Given, Looks, Opened
from dsunet.predict.engines.onnx import OnnxFile
from dsunet.predict.engines.openvino import OpenvinoFile
from dsunet.support.packages import needing
from dsunet.weights import shipped
from dsunet.weights.exported import is_exported

__all__ = [
    "ENGINES",
    "check_engine",
    "choose_engine",
    "exported_file",
    "open_exported",
    "open_model",
]

ENGINES = ("auto", "torch", "onnx", "openvino")
"""What `dsunet.Segmenter` takes as engine; `auto` is one that fits the model and is installed."""

_FILES = ("onnx", "openvino")  # engines that run exported files


def open_model(
    model: Given,
    weights: str | Path | None,
    encoders: Mapping[str, str | Path | None],
    engine: str = "auto",
    device: str = "auto",
) -> Opened:
    """The model that is meant, see `dsunet.Segmenter`.

    Args:
        model: A model, a weights file, or what makes a model of the user's own.
        weights: Weights of a network of the user's own.
        encoders: `pyramid_weights` and `semantic_weights`, which go with a weights file alone.
        engine: What is to run it, one of `ENGINES`.
        device: Where, as of `dsunet.Segmenter`.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        CustomModelError: A model of the user's own cannot be made.
        ConfigError: Files are given that do not go with the model.
        DeviceError: A network cannot run there.
        MissingPackageError: What the model or the engine needs is not installed.
    """
    if isinstance(model, str | Path):
        if weights is not None:
            raise ConfigError(
                f"weights is {weights}, but goes with a network of your own; of dsunet's models "
                "give the file itself as model"
            )
        file = exported_file(model, engine)
        if file is not None:
            given = [name for name, path in encoders.items() if path is not None]
            if given:
                raise ConfigError(
                    f"`{given[0]}` goes with a weights file; {file} has all of its weights"
                )
            opened = open_exported(file, engine)
            return Opened(
                opened,
                exported=True,
                weights=opened.path,
                intensity=opened.facts.intensity,
                training=opened.facts.training,
            )
    if engine in _FILES:
        runtime = {"onnx": "onnxruntime", "openvino": "OpenVINO"}[engine]
        raise ConfigError(
            f"`engine` is {engine}, but {runtime} runs exported files; make one by "
            "`dsunet export`, or leave it out"
        )
    what = str(model) if isinstance(model, str | Path) else "a model that is no exported file"
    with needing(what, "give a file that `dsunet export` has written elsewhere", extra="torch"):
        from dsunet.predict.engines.networks import open_network
    return open_network(model, weights, encoders, device)


def exported_file(model: str | Path, engine: str = "auto") -> Path | None:
    """The exported file that is meant; `None` if torch is to run what is meant.

    Weights that come with the package are there in both forms.

    Args:
        model: A path, or the name of weights that come with the package.
        engine: What is to run it, one of `ENGINES`.
    """
    if is_exported(model):
        return Path(model)
    if engine in _FILES or (engine == "auto" and find_spec("torch") is None):
        return shipped.exported_of(str(model)) if shipped.meant(model) is not None else None
    return None


def open_exported(path: Path, engine: str = "auto") -> ExportedFile:
    """The file, opened by the runtime of an engine, or by the one that its format is of.

    Raises:
        ConfigError: The engine does not run such files.
        CheckpointError, MissingPackageError: As `ExportedFile`.
    """
    is_xml = path.suffix.lower() == ".xml"
    if engine == "onnx" and is_xml:
        raise ConfigError(
            f"`engine` is onnx, but {path} is of OpenVINO's format; leave it out, or export to a "
            "file that ends in .onnx, which both run"
        )
    if engine == "torch":
        raise ConfigError(
            f"`engine` is torch, but {path} is an exported file; leave it out, or give the weights "
            "that it was made of"
        )
    return OpenvinoFile(path) if is_xml or engine == "openvino" else OnnxFile(path)


def check_engine(name: str) -> None:
    """Raises `ConfigError` unless there is an engine of this name."""
    if name not in ENGINES:
        hint = perhaps(name, ENGINES)
        raise ConfigError(f"`engine` is {name!r}, but needs one of {', '.join(ENGINES)}{hint}")


def choose_engine(
    name: str,
    opened: Opened,
    device: str,
    precision: Precision,
    settings: Mapping[str, bool],
    looks: Looks,
) -> Engine[Any]:
    """The engine of a name for a model.

    Args:
        name: One of `ENGINES`.
        opened: The model, opened for that engine.
        device: As of `dsunet.Segmenter`.
        precision: As there.
        settings: Whether `fold_batchnorm`, `int8` and `compile` are asked for.
        looks: How often and how closely pictures are looked at.

    Raises:
        ConfigError: There is none of this name, it does not run this model, or settings do not go
            together.
        DeviceError: The device is not usable with the settings.
        CustomModelError: A network of the user's own cannot be copied, as settings need.
    """
    check_engine(name)
    if opened.exported:
        if name == "torch":
            raise ConfigError(
                f"`engine` is torch, but {opened.weights} is an exported file; leave it out, or "
                "give the weights that it was made of"
            )
        return looks.closer(
            FileEngine(
                opened.model, device, precision, settings, view=looks.view, flips=looks.flips
            )
        )
    from dsunet.predict.engines.networks import network_engine

    return network_engine(name, opened, device, precision, settings, looks)
