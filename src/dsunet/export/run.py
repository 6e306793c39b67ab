"""From a model to a verified file, and a report beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import dsunet
from dsunet.config import as_size
from dsunet.errors import ConfigError, DataError, ExportError, OutputError
from dsunet.export.graph import OPSET, require_packages, write_onnx
from dsunet.export.verify import BATCHES, Case, check_file, compare, made_pictures
from dsunet.network.base import SegmentationModel
from dsunet.predict.engines.choose import open_model
from dsunet.predict.engines.models import Given
from dsunet.predict.engines.onnx import OnnxFile
from dsunet.support.files import check_writable, replace_durably, sha256_of, write_json
from dsunet.weights import shipped
from dsunet.weights.exported import SUFFIX, FileFacts

__all__ = ["TOLERANCE", "Exported", "export_model", "facts_of"]

TOLERANCE = 1e-4
"""The most that a float32 file's probability may differ from the network's, at any pixel."""

PICTURES = 16
"""The most pictures of the user's that are compared."""


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
    pictures: str | Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Writes a model as an ONNX file, if the file says the same as the model.

    Inputs are `sam_image`, B×3×H×W, and of models with two views `dino_image`; outputs are
    `probability` and `logits`, B×1×H×W. B may be any number. How pictures become inputs, the
    model's name, its weights' terms, card and measures stand in the file's metadata.

    Args:
        model: As of `dsunet.Segmenter`, but for functions of an image.
        output: The file, which ends in `.onnx`; the report is `output` with `.json` in its place.
        weights: Weights of a network of the user's own.
        pyramid_weights: File with the Hiera weights that a weights file refers to.
        semantic_weights: File with the DINOv2 weights that it refers to.
        view: Side of the (first) view, or height and width; by default as the model has it.
        dynamic_size: Let the view have any size; only some networks allow that.
        pictures: Folder of images to compare file and network on; by default pictures are made.
        on_line: Is told what goes on.

    Raises:
        ConfigError: Settings do not go with the model.
        CustomModelError: The model cannot be followed by torch's exporter.
        ExportError: The file is not what the model is; there is none then.
        OutputError: The file cannot be written.
        MissingPackageError: What exporting needs is not installed.
    """
    require_packages()
    path = Path(output)
    if path.suffix != SUFFIX:
        raise OutputError(f"`output` is {output}, but needs the ending {SUFFIX}")
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
    cases = made_pictures() if pictures is None else _pictures_in(Path(pictures), on_line)
    network = network.float().cpu().eval()
    facts = facts_of(network, opened.weights, view, dynamic_size)
    started = time.perf_counter()
    on_line(f"exporting {facts.name} (view {_shown(facts.views[0])}) by torch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix=".dsunet-export-", dir=path.parent) as folder:
        made = Path(folder, path.name)
        write_onnx(network, facts, made)
        exported = time.perf_counter()
        check_file(made)
        file = OnnxFile(made)
        on_line(f"comparing on {len(cases)} pictures in batches of {', '.join(map(str, BATCHES))}")
        found = compare(network, lambda *views: file(*views)[0], facts, cases)
        if not found.largest <= TOLERANCE:
            raise ExportError(
                f"the exported {facts.name} is not what it was made of: at one pixel of "
                f"{found.picture} (in a batch of {found.batch}, view {_shown(found.size)}) the "
                f"probability differs by {found.largest:.2g}, and at most {TOLERANCE:g} is let "
                "through; no file is written. Try another version of torch or onnxscript"
            )
        report = {
            "file": path.name,
            "date": datetime.date.today().isoformat(),
            "bytes": sum(each.stat().st_size for each in Path(folder).iterdir()),
            "sha256": sha256_of(made),
            "model": facts.name,
            "weights_sha256": facts.weights_sha256,
            "precision": facts.precision,
            "views": facts.views,
            "dynamic_size": facts.dynamic_size,
            "opset": OPSET,
            "compared": {
                "pictures": [case.name for case in cases],
                "batches": BATCHES,
                "tolerance": TOLERANCE,
                "largest_difference": asdict(found),
            },
            "seconds": {
                "exporting": round(exported - started, 1),
                "all": round(time.perf_counter() - started, 1),
            },
            "made_by": facts.made_by,
        }
        for each in sorted(Path(folder).iterdir(), reverse=True):  # FILE.onnx.data before FILE.onnx
            replace_durably(each, path.parent / each.name)
    write_json(path.with_suffix(".json"), report)
    return Exported(path, report)


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
        precision="float32",
        dynamic_size=dynamic_size,
        multiple=getattr(next(iter(network.encoders.values()), None), "multiple", 32),
        intensity=network.intensity,
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


def _pictures_in(folder: Path, on_line: Callable[[str], None]) -> list[Case]:
    """Some of a folder's images, evenly drawn; those that cannot be read are told of.

    Raises:
        DataError: There is none.
    """
    from dsunet.data.folders import list_images
    from dsunet.data.images import read_image
    from dsunet.errors import ImageError

    inside = folder / "images" if (folder / "images").is_dir() else folder
    if not inside.is_dir():
        raise DataError(f"there is no folder {inside}; give a folder of images")
    files = list_images(inside)
    step = max(1, len(files) // PICTURES)
    cases: list[Case] = []
    for file in files[::step][:PICTURES]:
        try:
            picture: Image.Image = read_image(file)
        except ImageError as error:
            on_line(f"not compared: {error}")
            continue
        cases.append(Case(file.name, picture))
    if not cases:
        raise DataError(f"there is no image that can be read in {inside}; give a folder of images")
    return cases


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
