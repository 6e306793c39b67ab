"""Measuring speed and memory: what is counted, what is compared, and what goes wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils import flop_counter

import dsunet
import gpu_speed
from dsunet.benchmarking import (
    Failure,
    LoaderSpeed,
    MatrixRate,
    Measured,
    Variant,
    circumstances,
    comparisons,
    loader_table,
    measure,
    measure_loader,
    ratios,
    record,
    table_of,
)
from dsunet.benchmarking.children import Child, ChildError, Matrices, _explained
from dsunet.benchmarking.flops import count_flops
from dsunet.benchmarking.memory import peak_bytes
from dsunet.benchmarking.networks import network_of, use_full_attention
from dsunet.benchmarking.steps import (
    FeatureFile,
    example_batch,
    example_views,
    seconds_of,
    training_step,
)
from dsunet.cli import main
from dsunet.config import ModelConfig, model_config
from dsunet.data import find_pairs
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import ImageError
from dsunet.network.build import build_model
from dsunet.running.place import Place
from helpers import TESTS, nano

CPU = torch.device("cpu")
SMALL = {"sam_size": 128, "dino_size": 112, "train_semantic": False}


def small(**overrides: object) -> ModelConfig:
    return model_config("dsunet-nano", **{**SMALL, **overrides})


def variant(name: str = "ours", **overrides: object) -> Variant:
    settings: dict[str, object] = {"task": "train", "model": small(), "batch_size": 2}
    return Variant(name, **{**settings, "device": "cpu", **overrides})  # type: ignore[arg-type]


# --- floating-point operations


def test_flops_of_a_linear_layer() -> None:
    layer, x = torch.nn.Linear(5, 7), torch.randn(3, 5)
    assert count_flops(lambda: layer(x)) == 2 * 3 * 5 * 7
    # on the way back the gradient of the weights, and of the input if it is wanted
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * (2 * 3 * 5 * 7)
    x.requires_grad_()
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * (2 * 3 * 5 * 7)


def test_flops_of_a_convolution() -> None:
    convolution = torch.nn.Conv2d(4, 6, 3, padding=1, groups=2)
    x = torch.randn(2, 4, 8, 10)
    forward = 2 * (2 * 8 * 10) * 6 * (4 // 2) * 9
    assert count_flops(lambda: convolution(x)) == forward
    assert count_flops(lambda: convolution(x).sum().backward()) == 2 * forward
    transposed = torch.nn.ConvTranspose2d(4, 6, 3, groups=2)
    there = count_flops(lambda: transposed(x))
    assert there == 2 * (2 * 8 * 10) * 4 * (6 // 2) * 9
    assert count_flops(lambda: transposed(x).sum().backward()) == 2 * there
    x.requires_grad_()
    assert count_flops(lambda: convolution(x).sum().backward()) == 3 * forward
    with torch.inference_mode():
        assert count_flops(lambda: convolution(x.detach())) == forward


@pytest.mark.parametrize("known", [True, False])
def test_flops_of_attention(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether torch's counter knows the CPU's fused attention, or ours has to."""
    if not known:
        registry = {
            op: count
            for op, count in flop_counter.flop_registry.items()
            if "flash_attention_for_cpu" not in str(op)
        }
        monkeypatch.setattr(flop_counter, "flop_registry", registry)
    query, key, value = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (20, 30, 30))
    product = 2 * (2 * 3) * 20 * 30 * 8
    forward = lambda: F.scaled_dot_product_attention(query, key, value)  # noqa: E731
    assert count_flops(forward) == 2 * product
    assert count_flops(lambda: forward().sum().backward()) == 7 * product
    with torch.inference_mode():
        assert count_flops(forward) == 2 * product


# --- networks and steps


def test_full_attention_gives_the_same() -> None:
    ours = nano(train_semantic=False).eval()
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    before = ours(sam, dino)
    largest = max(
        m.weight.shape[0] for m in ours.decoder.modules() if isinstance(m, torch.nn.Conv2d)
    )
    assert largest < 32 * 32  # the map below is not one of these
    use_full_attention(ours)
    seen: list[tuple[int, ...]] = []
    softmax = torch.softmax

    def spy(x: torch.Tensor, dim: int) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return softmax(x, dim)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "softmax", spy)
        after = ours(sam, dino)
    assert seen == [(1, n, n) for n in (8 * 8, 16 * 16, 32 * 32)]
    assert ours.semantic is not None
    fused = [m.fused_attn for m in ours.semantic.modules() if hasattr(m, "fused_attn")]
    assert fused
    assert not any(fused)
    assert all(m.fused_attn for m in ours.pyramid.modules() if hasattr(m, "fused_attn"))
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_cached_network_has_no_dinov2() -> None:
    with_it, without = network_of(variant()), network_of(variant(feature_cache=True))
    assert with_it.semantic is not None
    assert without.semantic is not None
    assert list(without.semantic.parameters()) == []
    assert without.semantic.absent_parameters == sum(
        p.numel() for p in with_it.semantic.parameters()
    )
    file = FeatureFile(without.semantic_shapes(), 2, CPU)
    maps = file.read()
    assert [tuple(each.shape) for each in maps] == [(2, *s) for s in without.semantic_shapes()]
    assert maps[0].dtype == torch.float32
    rounds = [maps[0], *(file.read()[0] for _ in range(4))]
    assert not torch.equal(rounds[0], rounds[1])  # another batch
    assert torch.equal(rounds[0], rounds[4])  # the first again
    out = without(torch.randn(2, 3, 128, 128), dino_features=maps).fine
    assert torch.isfinite(out).all()


def test_networks_are_filled_with_usual_values() -> None:
    model = network_of(variant())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not [n for n, p in model.named_parameters() if p.is_meta or (0 in p.stride() and p.ndim)]
    reference = dsunet.create_model("dsunet-nano", weights=None, **SMALL)
    shapes = {name: tensor.shape for name, tensor in reference.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    trained = {name for name, p in reference.named_parameters() if p.requires_grad}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained


def test_flops_of_the_large_network() -> None:
    """As measured with the authors' code: 1300.9 GFLOP an image, 1013.6 of them in DINOv2."""
    with torch.device("meta"):
        model = build_model(model_config("dsunet-large")).eval()
        sam, dino = torch.randn(1, 3, 352, 352), torch.randn(1, 3, 518, 518)
    assert model.semantic is not None
    assert count_flops(lambda: model.extract_semantics(dino)) / 1e9 == pytest.approx(
        1013.6, abs=0.05
    )
    assert count_flops(lambda: model(sam, dino)) / 1e9 == pytest.approx(1300.9, abs=0.05)


def test_a_step_trains_what_is_trained() -> None:
    model = network_of(variant()).train()
    batch = example_batch(model.view_sizes, 2, CPU)
    assert batch.sam.shape == (2, 3, 128, 128)
    assert batch.mask.min() >= 0
    assert 0 < batch.mask.mean() < 1
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step = training_step(model, batch, Place(CPU))
    step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad, name


def test_pictures_repeat_after_four() -> None:
    views = example_views(((32, 64), (28, 42)), 6)
    assert {each.sam.shape for each in views} == {(3, 32, 64)}
    assert not torch.equal(views[0].sam, views[1].sam)
    assert torch.equal(views[0].sam, views[4].sam)


def test_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0

    def work() -> None:
        nonlocal now
        now += 2.5

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    assert seconds_of(work, CPU) == 2.5


def test_memory_is_measured() -> None:
    before = peak_bytes(CPU)
    taken = torch.ones(1 << 26)  # 256 MB
    after = peak_bytes(CPU)
    assert before is not None
    assert after is not None
    assert after - before <= 1.1 * taken.nbytes
    del taken
    later = peak_bytes(CPU)
    assert later is not None
    assert later > after - 10**7  # the most, not what is left; Linux counts roughly


# --- what is said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, but needs at least 1"),
        ({"feature_cache": True, "model": small(injection="none")}, "has no DINOv2"),
        ({"feature_cache": True, "model": small(train_semantic=True)}, "`train_semantic` false"),
    ],
)
def test_settings_that_exclude_each_other(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variant(**overrides)


def test_the_baseline_is_naive() -> None:
    ours = variant(feature_cache=True, precision="bfloat16", checkpointing=True, compile=True)
    naive = ours.baseline()
    assert naive.naive
    assert naive.precision == "float32"
    assert naive.channels_last is False
    assert [naive.feature_cache, naive.checkpointing, naive.compile] == [False] * 3
    assert (naive.model, naive.batch_size, naive.task) == (ours.model, ours.batch_size, ours.task)


def made_up(who: Variant, seconds: tuple[float, ...], peak: int | None = 10**9) -> Measured:
    # 2·1000³ FLOPs in 0.02 s: 100 GFLOP/s
    rate = MatrixRate(1000, "float32", (0.01, 0.02, 0.5))
    return Measured(who, "cpu", "float32", seconds, 30 * 10**9, peak, rate)


def test_ratios_say_who_is_quicker() -> None:
    ours = made_up(variant(), (1.0, 2.0, 9.0), 4 * 10**9)
    naive = made_up(variant().baseline(), (6.0, 5.0, 7.0), 8 * 10**9)
    assert ratios(naive, ours) == {"speedup": 3.0, "memory": 0.5}
    assert ratios(ours, naive) == {"speedup": round(1 / 3, 4), "memory": 2.0}
    assert ratios(made_up(variant(), (6.0,), None), ours)["memory"] is None
    assert comparisons([ours, naive]) == [
        {"variant": "ours", "batch_size": 2, "speedup": 3.0, "memory": 0.5}
    ]
    assert comparisons([ours]) == []


def test_table() -> None:
    ours = made_up(variant(feature_cache=True), (1.0, 2.0, 9.0), 4 * 10**9)
    naive = made_up(variant().baseline(), (6.0, 5.0, 7.0), 8 * 10**9)
    table = table_of([ours, naive, Failure(variant("third"), "no")], "title")
    assert [c.title for c in table.columns][:4] == ["s/step", "min", "max", "img/s"]
    assert [cell and cell.value for cell in table.rows[0].cells] == [
        2.0,
        1.0,
        9.0,
        1.0,  # two images in two seconds
        4.0,
        15.0,  # 30 GFLOP a step of two images
        15.0,  # 15 of 100 GFLOP/s
    ]
    assert [row.name for row in table.rows] == ["ours", "naive"]
    notes = " ".join(table.notes)
    assert "ours: float32, features from a file." in notes
    assert "naive: float32, whole attention matrices, all outputs, NCHW, no feature cache" in notes
    assert "100 GFLOP/s (float32)" in notes
    assert "3.00 times as quick as the naive way, with 0.50 of its memory" in notes


def test_table_of_predictions_is_per_image() -> None:
    results = [
        made_up(variant(task="predict", batch_size=size), (seconds,))
        for size, seconds in ((1, 0.2), (4, 0.4))
    ]
    table = table_of(results, "")
    assert table.columns[0].title == "ms/image"
    assert [row.group for row in table.rows] == ["batch 1", "batch 4"]
    values = [row.cells[0].value for row in table.rows if row.cells[0]]
    assert values == pytest.approx([200.0, 100.0])
    with pytest.raises(ValueError, match="nothing could be measured"):
        table_of([Failure(variant(), "no")], "")


def test_record() -> None:
    written = json.loads(json.dumps(record("dsunet benchmark train", [made_up(variant(), (2.0,))])))
    assert written["command"] == "dsunet benchmark train"
    assert written["weights"] == "random"
    (result,) = written["results"]
    assert result["median_seconds"] == 2.0
    assert result["images_per_second"] == 1.0
    assert result["share_of_matrix_product"] == 0.15
    assert result["matrix_product"]["flops_per_second"] == 100 * 10**9
    assert ModelConfig(**result["variant"]["model"]) == small()
    about = written["circumstances"]
    assert about["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert about["cores"] >= 1
    assert len(about["date"]) == 10


def test_the_commit_is_that_of_the_checkout() -> None:
    call = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, cwd=TESTS)
    except OSError:
        pytest.skip("git is not there")
    head = done.stdout.strip() or None
    commit = circumstances()["commit"]
    if head is None:
        assert commit is None
    elif commit is not None:  # None while the package's files are not committed
        assert commit.removesuffix("+") == head


# --- processes


@pytest.mark.slow
def test_a_failing_child_says_why_and_leaves_the_others(tmp_path: Path) -> None:
    odd = variant("odd", model=small(dino_size=100))
    good = variant("good", task="predict", batch_size=1).baseline()
    rounds: list[tuple[int, int]] = []
    bad, result = measure(
        [odd, good],
        repeats=2,
        matrix_side=64,
        progress=lambda done, of: rounds.append((done, of)),
    )
    assert isinstance(bad, Failure)
    assert "dino_size is 100, but sides need to be multiples of 14" in bad.reason
    assert "\n" not in bad.reason
    assert isinstance(result, Measured)
    assert result.variant is good
    assert len(result.seconds) == len(result.rate.seconds) == 2
    assert rounds == [(0, 3), (1, 3), (2, 3), (3, 3)]
    # two products and sums for each multiplication; Hiera and DINOv2 and the decoder
    assert 10**8 < result.flops < 10**10
    assert result.peak_bytes is not None
    assert result.peak_bytes > 10**8


@pytest.mark.slow
def test_a_killed_child_is_noticed() -> None:
    child = Child(Matrices(64, ("float32",), "cpu"))
    try:
        child.answer()
        assert child.ask("float32") > 0
        assert child.process.pid is not None
        os.kill(child.process.pid, signal.SIGKILL)
        with pytest.raises(ChildError, match="killed, most likely because memory ran out"):
            child.ask("float32")
    finally:
        child.close()


def test_a_child_out_of_time_is_given_up() -> None:
    child = Child(Matrices(64, ("float32",), "cpu"), deadline=time.monotonic())
    try:
        with pytest.raises(ChildError, match="out of time"):
            child.answer()
    finally:
        child.close()
    assert not child.process.is_alive()


CHILD = """
import sys, time
from dsunet.benchmarking.children import Child, Matrices
if __name__ == "__main__":
    child = Child(Matrices(64, ("float32",), "cpu"))
    child.answer()
    print(child.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(CHILD)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not running(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child outlived its parent")


def running(pid: int) -> bool:
    """Not gone, nor a zombie that nobody asks about."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_errors_become_one_line() -> None:
    cpu = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nto")
    assert _explained(cpu) == "out of memory; try a smaller `batch_size`"
    assert _explained(torch.OutOfMemoryError("CUDA")) == _explained(MemoryError())
    assert _explained(ValueError("needs\n more")) == "needs more"
    assert _explained(KeyError("x")) == "KeyError: 'x'"


# --- the data loader


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "data", 4, 64)
    return tmp_path / "data"


def test_the_loader_is_measured(pairs: Path) -> None:
    found = find_pairs(pairs)
    speeds = measure_loader(found, ((64, 64), (56, 56)), batch_size=2, workers=[0, 1], repeats=2)
    assert [each.workers for each in speeds] == [0, 1]
    assert all(len(each.seconds) == 2 and each.images == 4 for each in speeds)
    assert speeds[0].images_per_second == pytest.approx(4 / (sum(speeds[0].seconds) / 2))
    with pytest.raises(ValueError, match="workers is \\[-1\\]"):
        measure_loader(found, ((64, 64), None), batch_size=2, workers=[-1])
    with pytest.raises(ValueError, match="batch_size is 0"):
        measure_loader(found, ((64, 64), None), batch_size=0)
    next((pairs / "images").iterdir()).write_bytes(b"broken")
    with pytest.raises(ImageError, match="not a readable image"):
        measure_loader(found, ((64, 64), None), batch_size=2, workers=[0])


def test_whether_a_step_is_fed() -> None:
    step = made_up(variant(), (0.1,))  # 20 images/s
    speeds = [LoaderSpeed(0, 10, (1.0, 1.0, 9.0)), LoaderSpeed(1, 10, (0.4,))]
    speeds.append(LoaderSpeed(2, 10, (0.8,)))
    table = loader_table(speeds, [step], "dsunet-nano")
    start, adds = "a step of dsunet-nano takes 20.0", "reading adds 200 % to every step"
    assert f"0 workers: 10.0 images/s; {start}: {adds}." in table.notes
    assert f"1 worker: 25.0 images/s; {start}: fed." in table.notes
    assert f"2 workers: 12.5 images/s; {start}: NOT fed." in table.notes
    assert "fed" not in " ".join(loader_table(speeds, [], "dsunet-nano").notes)


# --- the commands

QUICK = "--model dsunet-nano --device cpu --sam-size 128 --dino-size 112 --repeats 1".split()


def test_benchmark_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "t.json"
    flags = (
        "--train-semantic false --feature-cache on --batch-size 2 --baseline --repeats 3".split()
    )
    assert main(["benchmark", "train", *QUICK, *flags, "--json", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "dsunet-nano: training steps of 2 images" in shown
    assert max(map(len, shown.splitlines()[:8])) <= 80
    written = json.loads(target.read_text())
    ours, naive = written["results"]
    assert ours["variant"]["feature_cache"] is True
    assert naive["variant"]["naive"] is True
    assert len(ours["seconds"]) == len(naive["seconds"]) == 3
    assert naive["flops"] > ours["flops"]  # DINOv2
    assert naive["peak_bytes"] > 10**8
    (comparison,) = written["comparisons"]
    expected = naive["median_seconds"] / ours["median_seconds"]
    assert math.isclose(comparison["speedup"], expected, rel_tol=1e-3)
    assert f"{comparison['speedup']:.2f} times as quick as the naive way" in shown


def test_benchmark_data(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "d.json"
    flags = ["--data", str(pairs), "--images", "3", "--workers", "0", "--batch-size", "1"]
    assert main(["benchmark", "data", *QUICK, *flags, "--json", str(target)]) == 0
    assert "1 passes over 3 pairs" in capsys.readouterr().out
    written = json.loads(target.read_text())
    assert written["loader"][0]["images"] == 3
    assert written["sizes"] == [[128, 128], [112, 112]]
    assert written["results"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --repeats 0", "repeats is 0, but needs at least 1"),
        ("train --warmup 0", "warmup is 0, but needs at least 1"),
        ("train --batch-size 0", "batch_size is 0, but needs at least 1"),
        ("train --feature-cache on", "or freeze DINOv2 (--train-semantic false)"),
        ("train --model dsunet-huge", "model 'dsunet-huge' is unknown"),
        ("predict --batch-size 1,x", "--batch-size is '1,x', but needs numbers such as 1,8,32"),
        ("data --images 0", "--images is 0, but needs at least 1"),
        ("data --data absent", "there is no folder absent"),
        ("data --workers a", "--workers is 'a', but needs numbers such as 1,8,32"),
        ("train --device cuda", "no usable NVIDIA GPU"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command, *rest = arguments.split()
    assert main(["benchmark", command, *QUICK, *rest]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_failure_is_one_line_and_status_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dsunet import benchmarking

    def fake(variants: list[Variant], **_: object) -> list[Measured | Failure]:
        naive = Failure(variants[1], "out of memory; try a smaller `batch_size`")
        return [made_up(variants[0], (1.0,)), naive]

    monkeypatch.setattr(benchmarking, "measure", fake)
    target = tmp_path / "f.json"
    flags = ["--batch-size", "4", "--baseline", "--json", str(target)]
    assert main(["benchmark", "train", *QUICK, *flags]) == 1
    shown = capsys.readouterr()
    assert "ours" in shown.out
    expected = "naive, batch 4: out of memory; try a smaller --batch-size"
    assert shown.err == f"dsunet benchmark train: error: {expected}\n"
    written = json.loads(target.read_text())["results"]
    assert written[1]["failure"] == "out of memory; try a smaller `batch_size`"


# --- the script for GPUs


def run_script(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu_speed.py", *flags])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return gpu_speed.main()


def test_the_gpu_script_says_that_there_is_no_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_script(monkeypatch) == 1
    shown = capsys.readouterr()
    assert shown.err == "torch finds no NVIDIA GPU here; --rehearse runs on the CPU\n"
    assert shown.out == ""


def test_the_gpu_script_leaves_out_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "r.json"
    flags = ("--rehearse", "--budget", "0", "--output", str(target))
    assert run_script(monkeypatch, *flags) == 1  # nothing was measured
    assert "train, bfloat16: left out, only 0 s were left" in capsys.readouterr().out
    left_out = json.loads(target.read_text())["left_out"]
    assert len(left_out) == 8


def test_the_gpu_scripts_goals() -> None:
    naive = replace(made_up(variant().baseline(), (6.0,)), peak_bytes=30 * 10**9)
    ours = replace(made_up(variant(), (1.0,)), peak_bytes=9 * 10**9)
    light = replace(made_up(variant(checkpointing=True), (1.5,)), peak_bytes=8_100_000_000)
    predicted = made_up(variant(task="predict"), (0.001,))
    groups = [("train, x", [naive, ours, light]), ("predict, x", [naive, predicted])]
    answers = [(each["reached"], each["value"]) for each in gpu_speed.goals(groups)]
    assert answers == [(True, 6.0), (True, 9.0), (False, 8.1)]
    assert gpu_speed.goals([])[0]["reached"] is None


def test_measuring_needs_few_packages() -> None:
    lacking = ["jsonargparse", "rich", "lightning", "cv2", "scipy", "matplotlib"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({lacking!r})); import dsunet.benchmarking; "
        "dsunet.benchmarking.table_of"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_gpu_script_rehearses(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    flags = ["--rehearse", "--output", str(target), "--repeats", "1", "--budget", "1800"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, gpu_speed.__file__, *flags], env=environment)
    assert done.returncode == 0
    written = json.loads(target.read_text())
    assert written["left_out"] == []
    assert len(written["groups"]) == 8
    for group in written["groups"]:
        assert all("failure" not in result for result in group["results"]), group
        assert len(group["comparisons"]) == len(group["results"]) - 1
