"""From a model to a verified file, and a report beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import dsunet
from dsunet.config import as_size
from dsunet.data.views import image_view
from dsunet.errors import ConfigError, ExportError, OutputError
from dsunet.export.gate import Gate, LayerError, refusal
from dsunet.export.graph import OPSET, require_packages, write_onnx
from dsunet.export.limits import MAX_DROP, ExportFormat, ExportPrecision, check_precision
from dsunet.export.material import Case, Material
from dsunet.export.openvino import to_openvino
from dsunet.export.structure import compare_structure
from dsunet.export.verify import BATCHES, check_file, compare
from dsunet.export.working import working_folder
from dsunet.network.base import SegmentationModel
from dsunet.predict.engines.choose import open_model
from dsunet.predict.engines.models import Given
from dsunet.predict.engines.onnx import OnnxFile
from dsunet.predict.engines.openvino import OpenvinoFile
from dsunet.support.files import check_writable, replace_durably, sha256_of, write_json
from dsunet.weights import shipped
from dsunet.weights.exported import INPUTS, OPENVINO_SUFFIX, SUFFIX, FileFacts

__all__ = ["Exported", "export_model", "facts_of"]


@dataclass(frozen=True)
class Exported:
    """A file that has been held against its network."""

    path: Path
    report: dict[str, Any]
    """What was compared and found; it stands beside the file as JSON."""


def export_model(
    model: Given,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
    view: int | tuple[int, int] | None = None,
    dynamic_size: bool = False,
    format: ExportFormat | None = None,  # noqa: A002 -- as the flag
    precision: ExportPrecision = "float32",
    pictures: str | Path | None = None,
    calibration: str | Path | None = None,
    max_drop: float = MAX_DROP,
    on_line: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Writes a model as a file that needs no torch, if the file says the same as the model.

    Inputs are `sam_image`, B×3×H×W, and of models with two views `dino_image`; outputs are
    `probability` and `logits`, B×1×H×W. B may be any number. How pictures become inputs, the
    model's name, its weights' terms, card and measures stand in the file's metadata.

    Whatever the numbers inside are, inputs and outputs are float32. A float32 file may differ from
    the model by `TOLERANCE` at any pixel; of `float16` and `int8` ones S may drop by `max_drop` on
    pictures with masks, or a picture's mean may differ by `MEAN_LIMITS` (both in
    `dsunet.export.limits`).

    Args:
        model: As of `dsunet.Segmenter`, but for functions of an image.
        output: The file, which ends in `.onnx`, or in `.xml` for OpenVINO's format, which has its
            weights beside it (`.bin`); the report is `output` with `.json` in its place.
        weights: Weights of a network of the user's own.
        pyramid_weights: File with the Hiera weights that a weights file refers to.
        semantic_weights: File with the DINOv2 weights that it refers to.
        view: Side of the (first) view, or height and width; by default as the model has it.
        dynamic_size: Let the view have any size; only some networks allow that.
        format: `onnx` or `openvino`; by default what the ending of `output` says.
        precision: Numbers inside: `float32`, `float16` (half the size), or `int8` (a third of it,
            and quicker on CPUs that have instructions for it).
        pictures: Folder of images to compare file and network on, or one with `images/` and
            `masks/` as of `dsunet.data.find_pairs`; by default pictures are made.
        calibration: Folder of images to find the ranges of an `int8` file's numbers on; by default
            `pictures`.
        max_drop: The most that S may drop, in 0..1.
        on_line: Is told what goes on.

    Raises:
        ConfigError: Settings do not go with the model, or not together.
        CustomModelError: The model cannot be followed by torch's exporter.
        DataError: There is no image, or pictures and masks do not go together.
        ExportError: The file is not what the model is; there is none then.
        OutputError: The file cannot be written.
        MissingPackageError: What exporting needs is not installed.
    """
    path = Path(output)
    format = _format_of(path, format)  # noqa: A001
    require_packages(format)
    check_precision(precision)
    if calibration is not None and precision != "int8":
        raise ConfigError(
            f"`calibration_data` is {calibration}, but only int8 files are calibrated; leave it "
            "out, or set `precision` to int8"
        )
    if not 0 <= max_drop <= 1:
        raise ConfigError(f"`max_drop` is {max_drop}, but needs a number in 0..1")
    if path.is_dir():
        raise OutputError(f"`output` {output} is a folder; name a file")
    _keep_others_report(path.with_suffix(".json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path.parent)
    opened = open_model(
        model, weights, {"pyramid_weights": pyramid_weights, "semantic_weights": semantic_weights}
    )
    network = opened.model
    if opened.exported:
        raise ConfigError(f"{opened.weights} is exported already; give what it was made of")
    if not isinstance(network, SegmentationModel):
        raise ConfigError(
            f"{network.name} is a function of an image; only networks of torch can be exported"
        )
    material = Material.of(pictures, network.intensity, on_line)
    network = network.float().cpu().eval()
    facts = facts_of(network, opened.weights, view, dynamic_size, precision)
    calibrating = None
    if precision == "int8" and _mostly_linear(network):
        _check_dynamic(facts.name, path, calibration)
    elif precision == "int8":
        calibrating = material.calibration(calibration, on_line)
    started = time.perf_counter()
    on_line(f"exporting {facts.name} (view {_shown(facts.views[0])}) by torch {torch.__version__}")
    with working_folder(path.parent) as folder:
        made = folder / path.name
        onnx_file = made if format == "onnx" else folder / "onnx" / f"{path.stem}{SUFFIX}"
        source = onnx_file if precision == "float32" else folder / "float32" / onnx_file.name
        for each in (onnx_file, source):
            each.parent.mkdir(exist_ok=True)
        write_onnx(network, facts, source)
        calibrated = _made_smaller(source, onnx_file, facts, calibrating, on_line)
        check_file(onnx_file)
        if format == "openvino":
            to_openvino(source if precision == "float16" else onnx_file, made, facts)
        exported = time.perf_counter()
        file = OnnxFile(made) if format == "onnx" else OpenvinoFile(made)
        cases = material.cases
        on_line(f"comparing on {len(cases)} pictures in batches of {', '.join(map(str, BATCHES))}")
        apart = compare(network, lambda *views: file(*views)[0], facts, cases)
        structure = None
        if material.pairs and facts.classes:
            on_line("S is for models of one map: pictures alone are compared")
        elif material.pairs:
            on_line(f"measuring S on {len(material.pairs)} pairs")
            structure = compare_structure(
                network, lambda *views: file(*views)[1], facts, material.pairs, on_line
            )
        gate = Gate.of_file(precision, apart, structure, max_drop)
        if not gate.passed:
            layer = _layer(source, onnx_file, facts, material.picture(gate.picture))
            raise ExportError(refusal(gate, facts, apart, structure, layer))
        report = {
            "file": path.name,
            "date": datetime.date.today().isoformat(),
            "bytes": sum(each.stat().st_size for each in _files(folder)),
            "sha256": sha256_of(made),
            "model": facts.name,
            "weights_sha256": facts.weights_sha256,
            "format": format,
            "precision": facts.precision,
            "views": facts.views,
            "dynamic_size": facts.dynamic_size,
            "opset": OPSET,
            "compared": {
                "gate": asdict(gate),
                "pictures": [case.name for case in cases],
                "batches": BATCHES,
                "largest_difference": asdict(apart),
                "S": None if structure is None else asdict(structure),
            },
            "calibration": calibrated,
            "seconds": {
                "exporting": round(exported - started, 1),
                "all": round(time.perf_counter() - started, 1),
            },
            "made_by": facts.made_by,
        }
        for each in sorted(_files(folder), key=lambda each: each.name == path.name):  # last
            replace_durably(each, path.parent / each.name)
    write_json(path.with_suffix(".json"), report)
    return Exported(path, report)


def _format_of(path: Path, given: ExportFormat | None) -> ExportFormat:
    """What is to be written; raises `OutputError` if the name says something else."""
    endings: dict[str, ExportFormat] = {SUFFIX: "onnx", OPENVINO_SUFFIX: "openvino"}
    if given is not None and given not in endings.values():
        raise ConfigError(f"`format` is {given!r}, but needs one of {', '.join(endings.values())}")
    own = endings.get(path.suffix)
    if own is None or given not in (None, own):
        wanted = [ending for ending, name in endings.items() if given in (None, name)]
        raise OutputError(f"`output` is {path}, but needs the ending {' or '.join(wanted)}")
    return own


def _keep_others_report(path: Path) -> None:
    """Raises `OutputError` if there is a file in the report's place that is no report."""
    if not path.exists():
        return
    try:
        ours = "compared" in json.loads(path.read_bytes())
    except (OSError, TypeError, ValueError):
        ours = False
    if not ours:
        raise OutputError(
            f"{path} is there already and no report of an export, which would take its place; "
            "choose another name for `output`"
        )


def facts_of(
    network: SegmentationModel,
    weights: Path | None,
    view: int | tuple[int, int] | None,
    dynamic_size: bool,
    precision: ExportPrecision,
) -> FileFacts:
    """What the file of a network says about itself.

    Raises:
        ConfigError: The network does not take such a view, or none of any size.
    """
    views = network.view_sizes if view is None else network.views_with(as_size(view))
    if dynamic_size and views[1] is not None:
        raise ConfigError(
            "`dynamic_size` is for networks with one view; this one has two, whose sizes belong "
            "together: leave it out"
        )
    ours = weights if weights is not None and shipped.is_shipped(weights) else None
    config = network.config
    return FileFacts(
        name=config.name if config is not None else type(network).__name__,
        views=views,
        precision=precision,
        dynamic_size=dynamic_size,
        multiple=getattr(next(iter(network.encoders.values()), None), "multiple", 32),
        intensity=network.intensity,
        classes=network.classes,
        exclusive=network.exclusive,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights_sha256=None if weights is None else sha256_of(weights),
        training=network.training_facts,
        license="Apache-2.0" if ours else None,
        card=ours.with_suffix(".md").read_text(encoding="utf-8") if ours else None,
        made_by={
            "dsunet": dsunet.__version__,
            **{name: importlib.metadata.version(name) for name in ("torch", "onnxscript", "onnx")},
        },
    )


def _mostly_linear(network: SegmentationModel) -> bool:
    """Whether most weights are those of linear layers, as in transformers.

    Their activations have few values that are far larger than all others, and the scale that suits
    one picture does not suit the next.
    """
    linear = sum(m.weight.numel() for m in network.modules() if isinstance(m, torch.nn.Linear))
    return 2 * linear > sum(parameter.numel() for parameter in network.parameters())


def _check_dynamic(name: str, path: Path, calibration: str | Path | None) -> None:
    """Raises `ConfigError` if an int8 file whose ranges are dynamic does not go with these."""
    if calibration is not None:
        raise ConfigError(
            f"`calibration_data` is {calibration}, but {name} is made of linear layers, "
            "whose ranges are found while the file computes; leave it out"
        )
    if path.suffix.lower() == OPENVINO_SUFFIX:
        raise ConfigError(
            f"`precision` is int8, but {name} is made of linear layers, which OpenVINO's "
            "format would not make smaller; choose onnx, or float16"
        )


def _made_smaller(
    source: Path,
    target: Path,
    facts: FileFacts,
    calibrating: tuple[Sequence[Case], str] | None,
    on_line: Callable[[str], None],
) -> dict[str, Any] | None:
    """Writes the file with smaller numbers, if those are wanted; what its ranges are from."""
    if facts.precision == "float32":
        return None
    from dsunet.export.precision import (
        INT8_TYPES,
        LINEAR,
        to_dynamic_int8,
        to_float16,
        to_static_int8,
    )

    if facts.precision == "float16":
        to_float16(source, target, facts)
        return None
    if calibrating is None:
        on_line("no calibration: ranges are found while the file computes")
        to_dynamic_int8(source, target, facts)
        return {"from": "each batch", "pictures": [], "method": "dynamic", "operators": [LINEAR]}
    cases, origin = calibrating
    on_line(f"calibrating on {len(cases)} pictures ({origin})")
    to_static_int8(source, target, facts, [_views_of(case, facts) for case in cases])
    return {
        "from": origin,
        "pictures": [case.name for case in cases],
        "method": "least and largest value",
        "operators": INT8_TYPES,
    }


def _layer(source: Path, made: Path, facts: FileFacts, picture: Case) -> LayerError | None:
    if facts.precision == "float32":
        return None
    from dsunet.export.layers import furthest_off

    return furthest_off(source, made, _views_of(picture, facts))


def _views_of(case: Case, facts: FileFacts) -> dict[str, Any]:
    """A picture as a file takes it: inputs by name, each 1×3×H×W float32."""
    return {
        name: image_view(case.picture, size).numpy()[None]
        for name, size in zip(INPUTS, facts.views, strict=True)
        if size is not None
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
