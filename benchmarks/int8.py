"""What folded BatchNorm and 8-bit encoders change in speed, memory and maps, on a CPU.

    python benchmarks/int8.py --kernels --model dsunet-nano --model dsunet-large \
        --trained steel=RUN=DATA --trained polyps=RUN=DATA --output benchmarks/int8.json

`--kernels` times linear layers of ViT-L's sizes: float32, torch.ao's dynamic int8, and torchao and
onnxruntime where they are installed. `--model` times predictions of one image, all ways in turns in
one process; weights are random, with layer scales of 1 and BatchNorm statistics that are not those
of a new layer. Beside the medians of wall time stand those of the process's CPU time, which other
work on the machine changes less. Memory is the peak of a process that loads a self-contained file
and predicts once. `--trained NAME=RUN=DATA` predicts the validation images of a run and measures
the maps.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.data.pairs import read_names
from dsunet.data.synthetic import synthetic_pair
from dsunet.predict import plan_outputs, predict_files
from dsunet.support.files import write_json
from measuring import circumstances

SCRIPT = Path(__file__).resolve()
WAYS: dict[str, dict[str, bool]] = {
    "float32": {},
    "fold_batchnorm": {"fold_batchnorm": True},
    "int8": {"int8": True},
    "fold_batchnorm and int8": {"fold_batchnorm": True, "int8": True},
}
LAYERS = ((1370, 1024, 4096), (1370, 4096, 1024), (1370, 1024, 3072), (484, 576, 2304))


def in_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of each call, and how many times quicker it is than the first."""
    for call in calls.values():
        call()
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start, used = time.perf_counter(), time.process_time()
            call()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    first = next(iter(calls))
    wall_medians = {name: statistics.median(each) for name, each in wall.items()}
    cpu_medians = {name: statistics.median(each) for name, each in cpu.items()}
    return {
        name: {
            "seconds": round(wall_medians[name], 4),
            "cpu_seconds": round(cpu_medians[name], 4),
            "times_quicker": round(wall_medians[first] / wall_medians[name], 3),
            "times_less_cpu": round(cpu_medians[first] / cpu_medians[name], 3),
        }
        for name in calls
    }


def onnx_layer(layer: nn.Linear, x: torch.Tensor, folder: Path) -> Callable[[], np.ndarray]:
    """The layer as onnxruntime runs it in dynamic int8."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    weight = onnx.numpy_helper.from_array(layer.weight.detach().numpy().T.copy(), "w")
    shapes = [("x", tuple(x.shape)), ("y", (len(x), layer.out_features))]
    given, made = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes
    )
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "layer", [given], [made], [weight])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "f.onnx")
    quantize_dynamic(folder / "f.onnx", folder / "q.onnx", weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(folder / "q.onnx"), options)
    return lambda: session.run(None, {"x": x.numpy()})[0] + layer.bias.detach().numpy()


def time_kernels(repeats: int) -> list[dict[str, object]]:
    """Linear layers of ViT-L's and Hiera-L's sizes in every library that is installed."""
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    rows: list[dict[str, object]] = []
    for tokens, inside, outside in LAYERS:
        layer = nn.Sequential(nn.Linear(inside, outside)).eval()
        x = torch.randn(tokens, inside)
        how = {"0": per_channel_dynamic_qconfig}
        quantised = quantize_dynamic(copy.deepcopy(layer), how)
        calls: dict[str, Callable[[], object]] = {
            "float32": lambda layer=layer, x=x: layer(x),
            "torch.ao": lambda quantised=quantised, x=x: quantised(x),
        }
        try:
            from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
        except ImportError:
            print("torchao is not installed")
        else:
            ao = copy.deepcopy(layer)
            quantize_(ao, Int8DynamicActivationInt8WeightConfig())
            code = torch.compile(ao)
            calls["torchao"] = lambda ao=ao, x=x: ao(x)
            calls["torchao, compiled"] = lambda code=code, x=x: code(x)
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            try:
                calls["onnxruntime"] = onnx_layer(layer[0], x, Path(folder))
            except ImportError:
                print("onnxruntime is not installed")
            exact = layer(x).numpy()
            for name, measured in in_turns(calls, repeats).items():
                error = np.linalg.norm(np.asarray(calls[name]()) - exact) / np.linalg.norm(exact)
                rows.append(
                    {
                        "layer": f"{tokens}×{inside}→{outside}",
                        "library": name,
                        **measured,
                        "relative_error": round(float(error), 4),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def random_model(name: str) -> dsunet.DSUNet:
    """Random weights, but nothing that is close to the identity."""
    torch.manual_seed(0)
    model = dsunet.create_model(name, None).eval()
    for part, tensor in model.state_dict().items():
        if part.endswith("gamma"):
            tensor.fill_(1.0)
        elif part.endswith("running_mean"):
            tensor.uniform_(-0.2, 0.2)
        elif part.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return model


def time_model(name: str, repeats: int) -> dict[str, object]:
    """Predictions of one image in every way, and how far their logits are from float32's."""
    model = random_model(name)
    segmenters = {way: dsunet.Segmenter(model, "cpu", **how) for way, how in WAYS.items()}
    prepared = segmenters["float32"].prepare(synthetic_pair(0, 400)[0])
    times = in_turns(
        {way: lambda s=s: s.probabilities([prepared]) for way, s in segmenters.items()}, repeats
    )
    logits = {}
    with torch.inference_mode():
        for way, segmenter in segmenters.items():
            views = [view[None] for view in prepared[:2] if view is not None]
            logits[way] = segmenter.model(*views, outputs="fine").fine
    exact = logits["float32"]
    return {
        way: {**times[way], "relative_error_of_logits": float(f"{error:.3g}")}
        for way, each in logits.items()
        for error in [((each - exact).norm() / (exact - exact.mean()).norm()).item()]
    }


def peak_memory(path: str, way: str) -> dict[str, int]:
    """In this process: the peak after the imports and after one prediction, in MB."""

    def status(key: str) -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split(f"{key}:")[1].split()[0]) * 1024 // 10**6

    _ = dsunet.create_model, torch.inference_mode  # everything is imported now
    imported = status("VmHWM")
    segmenter = dsunet.Segmenter(path, "cpu", **WAYS[way])
    built = status("VmHWM")
    segmenter(synthetic_pair(0, 400)[0])
    names = {"peak_MB": "VmHWM", "anonymous_MB": "RssAnon", "of_files_MB": "RssFile"}
    after = {name: status(key) for name, key in names.items()}
    return {"imports_MB": imported, "loaded_MB": built, **after}


def measure_memory(name: str) -> dict[str, object]:
    """The peak of a process of its own for every way."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.safetensors"
        dsunet.save(random_model(name), path, include_encoders=True)
        for way in WAYS:
            call = [sys.executable, str(SCRIPT), "--memory", str(path), way]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            results[way] = json.loads(done.stdout)
            print(name, way, results[way], flush=True)
    return results


def compare_maps(run: Path, data: Path) -> dict[str, object]:
    """Measures of the maps of a run's validation images, and how far they are from float32's."""
    results: dict[str, object] = {}
    names = read_names(run / "val.txt")
    with tempfile.TemporaryDirectory() as folder:
        for way, how in WAYS.items():
            output = Path(folder) / way
            jobs = plan_outputs([data / "images"], output, names=names)
            predict_files(dsunet.Segmenter(run, "cpu", **how), jobs, output)
            scores = dsunet.evaluate(output, data / "masks", names, protocol="benchmark")
            far = [
                np.abs(read(output / job.name) - read(Path(folder) / "float32" / job.name))
                for job in jobs
            ]
            results[way] = {
                **{key: round(float(scores[key]), 4) for key in ("S", "F", "E", "MAE")},
                "images": len(jobs),
                "mean_difference": round(float(np.mean([d.mean() for d in far])), 3),
                "mean_of_largest_differences": round(float(np.mean([d.max() for d in far])), 1),
                "largest_difference": int(max(d.max() for d in far)),
                "pixels_that_change_sides_percent": round(
                    100 * float(np.mean([changed(output, folder, job.name) for job in jobs])), 3
                ),
            }
            print(way, results[way], flush=True)
    return results


def read(path: Path) -> np.ndarray:
    """A map's grey values, 0 to 255."""
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def changed(output: Path, folder: str, name: Path) -> float:
    """The share of pixels that are object in one map and not in float32's."""
    one, other = read(output / name), read(Path(folder) / "float32" / name)
    return float(np.mean((one >= 128) != (other >= 128)))


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--trained", action="append", default=[], metavar="NAME=RUN=DATA")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", r"torch\.(ao\.quantization|quantize_per_tensor)")
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        print(json.dumps(peak_memory(*arguments.memory)))
        return
    record: dict[str, object] = {
        **circumstances(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
    }
    if arguments.output and arguments.output.exists():  # parts can be measured one by one
        record = {**json.loads(arguments.output.read_text()), **record}
    parts: list[tuple[str, Callable[[], object]]] = []
    if arguments.kernels:
        parts.append(("kernels", lambda: time_kernels(arguments.repeats)))
    for name in arguments.model:
        parts.append((f"{name}, time", lambda name=name: time_model(name, arguments.repeats)))
        parts.append((f"{name}, memory", lambda name=name: measure_memory(name)))
    for name, run, data in (each.split("=") for each in arguments.trained):
        parts.append(
            (f"maps of {name}", lambda run=run, data=data: compare_maps(Path(run), Path(data)))
        )
    for name, measure in parts:
        record[name] = measure()
        print(name, json.dumps(record[name], indent=1, ensure_ascii=False), flush=True)
        if arguments.output:
            write_json(arguments.output, record)


if __name__ == "__main__":
    main()
