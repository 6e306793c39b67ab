"""Measured objects of real pictures, beside public implementations.

    dsunet predict DIR/images --output MAPS
    python benchmarks/objects.py --maps MAPS --masks DIR/masks --output benchmarks/objects.json

The objects of maps and masks are measured as `dsunet measure` does and written as COCO's JSON. The
record holds how many there are and how long it took; their areas beside the pixels of the maps;
found and missed objects beside those of pycocotools' evaluation of the two JSON files, which has
nothing of ours in it; and PRO beside MVTec's own code, as the package pyaupro has it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pyaupro._reference import compute_pro
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from skimage.measure import label, regionprops

from dsunet.config.objects import ObjectOptions
from dsunet.data.images import read_map, read_mask
from dsunet.metrics import evaluate_folders
from dsunet.metrics.instances import PRO_LIMIT
from dsunet.objects import measure_objects
from dsunet.support.files import write_json
from measuring import circumstances


def by_coco(maps: Path, masks: Path, least: int) -> dict[str, int]:
    """Found, missed and invented objects at an IoU of 0.5, by pycocotools, from JSON files."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        files = [Path(folder, f"{name}.json") for name in ("found", "true")]
        for source, file, area in zip((maps, masks), files, (least, 0), strict=True):
            options = ObjectOptions(min_area=str(area))
            measure_objects([source], file.with_suffix(".csv"), options, coco=file)
        truth = COCO(str(files[1]))
        own = truth.loadRes(json.loads(files[0].read_text())["annotations"])
        judged = COCOeval(truth, own, "segm")
        judged.params.iouThrs = np.array([0.5])
        judged.params.areaRng, judged.params.areaRngLbl = [[0, 1e10]], ["all"]
        judged.params.maxDets = [100_000]
        judged.evaluate()
    found = [each for each in judged.evalImgs if each is not None]
    hits = sum(int((each["dtMatches"][0] > 0).sum()) for each in found)
    true, all_ = (sum(len(each[key]) for each in found) for key in ("gtIds", "dtIds"))
    return {"found": hits, "missed": true - hits, "invented": all_ - hits}


def by_mvtec(levels: list[np.ndarray], masks: list[np.ndarray]) -> float:
    """PRO up to `PRO_LIMIT`; their curve, and the area below it."""
    rates, overlaps = compute_pro(levels, [(mask >= 128).astype(np.uint8) for mask in masks])
    x = np.linspace(0, PRO_LIMIT, 1_000_001)
    return float(np.trapezoid(np.interp(x, rates, overlaps), x) / PRO_LIMIT)


def difference_to_regionprops(maps: Path, levels: list[np.ndarray]) -> dict[str, float]:
    """The largest difference of any object's values to those of scikit-image's `regionprops`."""
    with tempfile.TemporaryDirectory() as folder:
        report = measure_objects([maps], Path(folder, "objects.csv"))
    worst = dict.fromkeys(("area", "perimeter", "mean_score", "longest_axis"), 0.0)
    for image, map_ in zip(report.images, levels, strict=True):
        theirs = regionprops(label(map_ >= 128, connectivity=2), map_.astype(np.float64) / 255)
        for each, other in zip(image.objects, theirs, strict=True):
            own = each.region
            for name, value in (
                ("area", own.area - other.area),
                ("perimeter", (own.perimeter or 0.0) - other.perimeter),
                ("mean_score", (own.mean_score or 0.0) - other.intensity_mean),
                ("longest_axis", own.longest_axis - other.feret_diameter_max),
            ):
                worst[name] = max(worst[name], abs(float(value)))
    return worst


def main() -> None:
    """Measures, compares and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--min-area", type=int, default=20)
    parser.add_argument("--note", help="What else the machine did, say.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    maps, masks, least = arguments.maps, arguments.masks, arguments.min_area
    record: dict[str, Any] = {"circumstances": circumstances(), "note": arguments.note}
    for name, folder in (("maps", maps), ("masks", masks)):
        with tempfile.TemporaryDirectory() as temporary:
            start = time.process_time()
            report = measure_objects([folder], Path(temporary, "objects.csv"))
            seconds = time.process_time() - start
        record[name] = {
            "pictures": len(report.images),
            "objects": len(report.regions),
            "pixels": sum(each.pixels for each in report.regions),
            "process_seconds": round(seconds, 2),
        }
    files = sorted(file for file in maps.iterdir() if file.suffix == ".png")
    levels = [read_map(file) for file in files]
    truths = []
    for file in files:
        (mask,) = masks.glob(f"{file.stem}.*")
        truths.append(np.asarray(read_mask(mask)))
    record["maps"]["pixels_of_the_files"] = sum(int((each >= 128).sum()) for each in levels)
    record["largest_difference_to_regionprops"] = difference_to_regionprops(maps, levels)
    ours = evaluate_folders(maps, masks, objects=True, min_area=least).objects
    assert ours is not None
    record["evaluate"] = ours.to_dict()
    record["pycocotools"] = by_coco(maps, masks, least)
    record["mvtec_pro"] = by_mvtec(levels, truths)
    write_json(arguments.output, record)


if __name__ == "__main__":
    main()
