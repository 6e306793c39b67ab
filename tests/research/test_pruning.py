"""Pruning: which channels go together, that what stays computes the same, and the command."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dsunet
from dsunet.benchmarking.flops import count_flops
from dsunet.cli import main
from dsunet.config import ModelConfig, PruneConfig, model_config
from dsunet.data import PairDataset, collate, find_pairs
from dsunet.data.dataset import Batch
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import CheckpointError, MissingPackageError
from dsunet.network.build import build_model
from dsunet.network.counting import parameter_counts
from dsunet.network.encoders import AdaptedBlock
from dsunet.network.losses import deep_supervision_loss
from dsunet.network.model import DSUNet
from dsunet.research.pruning import (
    BlockEffect,
    calibrate_batchnorm,
    choose_blocks,
    drop_blocks,
    effects_of_blocks,
    evaluate_network,
    flops_of,
    loss_gradients,
    prune,
    prune_channels,
    pruned_config,
    seconds_in_turns,
)
from dsunet.running.place import Place
from dsunet.weights.checkpoint import read_checkpoint, write_checkpoint
from dsunet.weights.models import create_from_config
from helpers import nano

pytestmark = pytest.mark.usefixtures("plain")

HALF = PruneConfig(ratio=0.5)
CPU = Place(torch.device("cpu"))
FROZEN = {"train_pyramid": False, "adapter_channels": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "lite": {"name": "dsunet-lite"},
    "nano": {},
    "adapters, sum in the decoder": {"decoder_merge": "add", **FROZEN},
    "four depths": {"injection": "hierarchical"},
    "every level": {"injection": "broadcast", "decoder_channels": (8, 16, 24, 32)},
    "sam2unet": {"name": "sam2unet-nano"},
}


def trained(name: str = "dsunet-nano", **settings: Any) -> DSUNet:
    """A small model whose BatchNorms are not as they are made."""
    torch.manual_seed(0)
    model = dsunet.create_model(name, None, sam_size=128, dino_size=112, **settings).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 1.5, 2.5)
            for values in (norm.bias, norm.running_mean):
                nn.init.uniform_(values, -0.2, 0.2)
            nn.init.uniform_(norm.running_var, 0.8, 1.2)
    return model


@torch.no_grad()
def outputs(model: DSUNet) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [size for size in model.view_sizes if size is not None]
    return list(model(*(torch.randn(1, 3, *size, generator=generator) for size in sizes)))


@torch.no_grad()
def kill(*parts: Any) -> list[int]:
    """Makes the same half of the channels of some layers zero, whatever goes in."""
    width = len(parts[0].conv.weight) if hasattr(parts[0], "conv") else len(parts[0].weight)
    dead = sorted(torch.randperm(width)[: width - max(4, 4 * round(width / 8))].tolist())
    for part in parts:
        tensors = (
            (part.conv.weight, part.bn.weight, part.bn.bias)
            if hasattr(part, "conv")
            else (part.weight, part.bias)
        )
        for tensor in tensors:
            tensor[dead] = 0
    return dead


def kill_half(model: DSUNet) -> None:
    """Half of all channels that can be pruned; which ones are tied is written out here."""
    decoder = model.decoder
    config = model.config
    assert config is not None
    for i, block in enumerate(decoder.reduce):
        for branch in block.branches:
            for layer in branch:
                kill(layer)
        ends = [block.merge, block.shortcut]
        # three fusions, from coarse to fine: that of level 0 comes last
        if config.decoder == "sff" and config.decoder_merge == "add" and i < 3:
            ends.append(decoder.fuse[2 - i].attention.out)
        kill(*ends)
    for fuse in decoder.fuse[:3]:
        if config.decoder == "unet":
            kill(fuse[0])
            kill(fuse[1])
            continue
        kill(fuse.coarse, fuse.fine)
        attention = fuse.attention
        kill(attention.query[0])
        kill(attention.key[0])
        kill(attention.query[1], attention.key[1])
        kill(attention.value)
        if config.decoder_merge == "concat":
            kill(attention.out)
            kill(fuse.conv)
        else:
            kill(fuse.conv[0])
            kill(fuse.conv[1])
    for part in model.pyramid.modules():
        if isinstance(part, AdaptedBlock):
            part.adapter.down.weight.data.mul_(10)  # beside it, nothing of the others counts
            kill(part.adapter.down)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_ratio_of_0_changes_no_bit(shape: str) -> None:
    model = trained(**SHAPES[shape])
    same = prune_channels(model, PruneConfig(ratio=0))
    assert same.config == model.config
    assert same is not model
    for ours, theirs in zip(outputs(same), outputs(model), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_channels_of_zeros_go_without_a_trace(shape: str) -> None:
    model = trained(**SHAPES[shape])
    kill_half(model)
    before = outputs(model)
    smaller = prune_channels(model, HALF)
    for ours, theirs in zip(outputs(smaller), before, strict=True):
        assert theirs.std() > 0.01
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    assert parameter_counts(smaller)["decoder"] < 0.4 * parameter_counts(model)["decoder"]
    for ours, theirs in zip(outputs(model), before, strict=True):  # the original is as it was
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", ["lite", "adapters, sum in the decoder", "sam2unet"])
def test_a_pruned_model_is_a_model_like_any_other(shape: str, tmp_path: Path) -> None:
    smaller = prune_channels(trained(**SHAPES[shape]), HALF)
    assert smaller.config is not None
    dsunet.save(smaller, tmp_path / "small.safetensors")
    again = dsunet.load(tmp_path / "small.safetensors")
    assert again.config == smaller.config
    for ours, theirs in zip(outputs(again), outputs(smaller), strict=True):
        assert torch.equal(ours, theirs)
    made = create_from_config(again.config, tmp_path / "small.safetensors")  # as training does
    assert {n: p.requires_grad for n, p in made.named_parameters()} == {
        n: p.requires_grad for n, p in smaller.named_parameters()
    }


def test_widths() -> None:
    config = ModelConfig(decoder_channels=(16, 32, 48, 50), attention_channels=16)
    half = pruned_config(config, HALF)
    assert half.decoder_channels == (8, 16, 24, 24)
    assert half.attention_channels == 8
    assert half.adapter_channels == 16
    kept = pruned_config(config, PruneConfig(ratio=0, decoder_ratio=0.9, multiple=1))
    assert kept == dataclasses.replace(config, decoder_channels=(2, 3, 5, 5))
    third = pruned_config(model_config("dsunet-large"), PruneConfig(ratio=0.34, multiple=8))
    assert (third.decoder_channels, third.attention_channels) == (40, 24)
    assert pruned_config(config, PruneConfig(ratio=0.99)).decoder_channels == (4, 4, 4, 4)
    narrow = ModelConfig(decoder_channels=3)
    assert pruned_config(narrow, HALF).decoder_channels == 3  # never wider


def test_ratios_for_parts_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"`adapter_ratio` is given, .* it has no adapters"):
        pruned_config(model_config("dsunet-nano"), PruneConfig(adapter_ratio=0.5))
    with pytest.raises(ValueError, match=r"`attention_ratio` is given, .* has no attention"):
        pruned_config(model_config("sam2unet-large"), PruneConfig(attention_ratio=0.5))
    assert pruned_config(model_config("sam2unet-large"), HALF).attention_channels == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 1.0}, r"ratio is 1.0, but needs \[0, 1\)"),
        ({"decoder_ratio": -0.1}, "decoder_ratio is -0.1"),
        ({"multiple": 0}, "multiple is 0"),
        ({"calibration": -1}, "calibration is -1"),
        ({"importance": "taylor", "calibration": 0}, "importance taylor needs some images"),
        ({"importance": "size"}, "importance is 'size', but needs one of auto, taylor"),
        ({"drop_semantic_blocks": -1}, "drop_semantic_blocks is -1, but needs auto, or a number"),
        ({"drop_semantic_blocks": "some"}, "drop_semantic_blocks is 'some'"),
        ({"tolerance": 1.0}, "tolerance is 1.0"),
    ],
    ids=str,
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneConfig(**settings)


@pytest.mark.slow
def test_large_in_the_pruned_shapes() -> None:
    """The encoders, which pruning leaves alone, have no memory here."""
    with torch.device("meta"):
        model = build_model(model_config("dsunet-large"))
    model.decoder.to_empty(device="cpu")
    for part in (model.decoder, *(b.adapter for b in model.pyramid.trunk.blocks)):
        part.to_empty(device="cpu")
        for tensor in part.state_dict().values():
            tensor.fill_(0.1)
    smaller = prune_channels(model, PruneConfig(ratio=0.5))
    config = smaller.config
    assert config is not None
    assert (config.decoder_channels, config.attention_channels) == (32, 16)
    with torch.device("meta"):
        wanted = build_model(config).state_dict()
    assert {n: t.shape for n, t in smaller.state_dict().items()} == {
        n: t.shape for n, t in wanted.items()
    }
    # of C channels: down 16·C + 16, up 16·C + C; Hiera-L has 2, 6, 36 and 4 blocks; the first of
    # every stage but the first still has the channels of the stage before
    widths = [144] * 2 + [144] + [288] * 5 + [288] + [576] * 35 + [576] + [1152] * 3
    counts = parameter_counts(smaller)
    assert counts["adapters"] == sum(33 * c + 16 for c in widths)
    assert counts["fusion"] == 1_775_475 + 1_234_176
    assert counts["pyramid"] == counts["semantic"] == 0
    frozen = dict(model.named_parameters())["dinov2.trunk.blocks.0.attn.qkv.weight"]
    assert dict(smaller.named_parameters())["dinov2.trunk.blocks.0.attn.qkv.weight"] is frozen


def test_gradients_choose_otherwise_than_sizes() -> None:
    model = trained("dsunet-lite")
    head = model.decoder.heads[2].weight
    gradients = {n: torch.ones_like(p) for n, p in model.named_parameters()}
    weights = model.state_dict()
    for name in ("decoder.fuse.2.conv.conv.weight", "decoder.fuse.2.conv.bn.weight"):
        weights[name][:8] *= 10  # the largest, but nothing depends on them
        gradients[name][:8] = 0
    gradients["decoder.heads.2.weight"][:, :8] = 0
    by_size = prune_channels(model, HALF).decoder.heads[2].weight
    by_loss = prune_channels(model, HALF, gradients).decoder.heads[2].weight
    assert torch.equal(by_size, head[:, :8])
    assert torch.equal(by_loss, head[:, 8:])
    assert by_loss.grad is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_synthetic(folder, 8, 64)
    return folder


def batches_of(model: DSUNet, folder: Path, sizes: tuple[int, ...] = (2, 2)) -> list[Batch]:
    data = PairDataset(find_pairs(folder), *model.view_sizes)
    starts = np.cumsum([0, *sizes])
    return [
        collate([data[0, i] for i in range(start, start + size)])
        for start, size in zip(starts, sizes, strict=False)
    ]


def test_gradients_are_sizes_summed_over_batches(folder: Path) -> None:
    model = trained(**FROZEN, train_semantic=False)
    batches = batches_of(model, folder)
    found = loss_gradients(model, batches)
    name = "hiera.trunk.blocks.1.adapter.down.weight"
    sums = torch.zeros_like(found[name])
    for batch in batches:
        model.zero_grad()
        deep_supervision_loss(model(batch.sam, batch.dino), batch.mask).backward()
        sums += model.get_parameter(name).grad.abs()
    torch.testing.assert_close(found[name], sums)
    assert sums.max() > 0
    assert {n.split(".")[0] for n in found} == {"hiera", "decoder"}
    assert all(n.startswith("decoder.") or ".adapter." in n for n in found)


def test_statistics_are_means_over_batches(folder: Path) -> None:
    model = trained("dsunet-lite")
    batches = batches_of(model, folder, (3, 1))
    norm = model.decoder.reduce[0].shortcut.bn
    with torch.no_grad():
        levels = [model.pyramid(batch.sam)[0] for batch in batches]
        seen = [model.decoder.reduce[0].shortcut.conv(level) for level in levels]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert calibrate_batchnorm(model, batches) is model
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[1] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert all(name.startswith("decoder.") for name in changed)
    assert norm.momentum == 0.1
    assert not model.training
    assert not norm.training


def test_without_images_statistics_stay(folder: Path) -> None:
    model = trained()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    calibrate_batchnorm(model, [])
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    calibrate_batchnorm(model, batches_of(model, folder), fusion=True)
    mean = "fusion.modulate.0.bn.running_mean"
    assert not torch.equal(before[mean], model.state_dict()[mean])


# -- blocks of DINOv2


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
def test_dropped_blocks_are_gone(frozen: bool, tmp_path: Path) -> None:
    model = trained(train_semantic=not frozen)
    shallow = drop_blocks(model, 3)
    assert shallow.config is not None
    assert shallow.config.semantic_depth == 1
    view = torch.randn(1, 3, 112, 112)
    assert model.semantic is not None
    assert shallow.semantic is not None
    (early,) = model.semantic.after_blocks(view, [1], norm=True)
    assert torch.equal(shallow.extract_semantics(view)[0], early)
    block = sum(p.numel() for p in model.semantic.trunk.blocks[0].parameters())
    assert parameter_counts(model)["total"] - parameter_counts(shallow)["total"] == 3 * block
    assert model.semantic.block_count == 4  # the original keeps them
    dsunet.save(shallow, tmp_path / "shallow.safetensors")
    _, tensors = read_checkpoint(tmp_path / "shallow.safetensors")
    assert {n.split(".")[3] for n in tensors if n.startswith("dinov2.trunk.blocks.")} == {"0"}
    again = dsunet.load(tmp_path / "shallow.safetensors")
    for ours, theirs in zip(outputs(again), outputs(shallow), strict=True):
        assert torch.equal(ours, theirs)
    deeper = drop_blocks(drop_blocks(model, 1), 2)
    assert deeper.config == shallow.config


def test_blocks_that_cannot_be_dropped() -> None:
    with pytest.raises(ValueError, match="no blocks of DINOv2 to drop"):
        drop_blocks(trained("sam2unet-nano"), 1)
    with pytest.raises(ValueError, match="injection is hierarchical, which takes maps of several"):
        drop_blocks(trained(injection="hierarchical"), 1)
    with pytest.raises(ValueError, match=r"drop_semantic_blocks is 4, but needs 0 to 3"):
        drop_blocks(trained(), 4)
    with pytest.raises(ValueError, match="semantic_depth is 0, but needs at least 1"):
        model_config("dsunet-nano", semantic_depth=0)
    with pytest.raises(ValueError, match="semantic_depth is 5, but vit_nano_patch14 has 4 blocks"):
        nano(semantic_depth=5)


@pytest.mark.slow
def test_effects_are_those_of_dropping(folder: Path) -> None:
    model = trained(injection="broadcast")
    pairs = find_pairs(folder)[:2]
    seen: list[tuple[int, int]] = []
    effects = effects_of_blocks(model, pairs, CPU, lambda done, all_: seen.append((done, all_)))
    assert [effect.dropped for effect in effects] == [0, 1, 2, 3]
    assert seen == [(1, 2), (2, 2)]
    assert len({effect.measures["MAE"] for effect in effects}) == 4
    for effect in effects:
        shallow = drop_blocks(model, effect.dropped)
        assert effect.measures == evaluate_network(shallow, pairs, CPU)
        assert effect.parameters == parameter_counts(shallow)["total"]
        assert shallow.config is not None
        assert effect.flops == flops_of(shallow.config)


def test_effects_are_measured_by_the_recipes_protocol(folder: Path) -> None:
    model, pairs = trained(injection="broadcast"), find_pairs(folder)[:2]
    stretched = evaluate_network(model, pairs, CPU)
    raw = evaluate_network(model, pairs, CPU, protocol="raw")
    assert raw["S"] != stretched["S"]
    assert raw["Dice"] == stretched["Dice"]
    for protocol, expected in (("raw", raw), ("benchmark", stretched)):
        effects = effects_of_blocks(model, pairs, CPU, protocol=protocol)  # type: ignore[arg-type]
        assert effects[0].measures == expected


def test_the_most_blocks_within_the_tolerance() -> None:
    scores = [0.9, 0.88, 0.896, 0.7, 0.89]
    effects = [BlockEffect(i, 0, 0, {"S": s}) for i, s in enumerate(scores)]
    assert choose_blocks(effects, 0.005) == 2
    assert choose_blocks(effects, 0.0) == 0
    assert choose_blocks(effects, 0.011) == 4
    with pytest.raises(ValueError, match="goes by the S-measure, but no validation mask has an"):
        choose_blocks([BlockEffect(0, 0, 0, {"MAE_without_object": 0.1})], 0.1)


def vit_file(path: Path, model: DSUNet) -> Path:
    """All blocks of a model's DINOv2 as a file of timm has them."""
    assert model.semantic is not None
    torch.save(model.semantic.trunk.state_dict(), path)
    return path


def test_whole_dinov2_files_fill_the_blocks_that_are_kept(tmp_path: Path) -> None:
    whole = trained(train_semantic=False)
    file = vit_file(tmp_path / "vit.pth", whole)
    report = dsunet.load_weights(empty := nano(1, semantic_depth=2, train_semantic=False), file)
    assert not report.missing
    assert not report.unexpected
    made = dsunet.create_model(
        "dsunet-nano",
        None,
        sam_size=128,
        dino_size=112,
        semantic_depth=2,
        train_semantic=False,
        semantic_weights=file,
    )
    view = torch.randn(1, 3, 112, 112)
    assert whole.semantic is not None
    (wanted,) = whole.semantic.after_blocks(view, [2], norm=True)
    for model in (empty, made):
        assert model.semantic is not None
        assert model.semantic.block_count == 2
        assert torch.equal(model.extract_semantics(view)[0], wanted)
    # the file of the model refers to the whole encoder, and reads as much of it as it needs
    dsunet.save(made, tmp_path / "small.safetensors")
    about, tensors = read_checkpoint(tmp_path / "small.safetensors")
    assert about["encoders"]["semantic"]["fingerprint"].startswith("sha256:")
    assert not any(name.startswith("dinov2.") for name in tensors)
    again = dsunet.load(tmp_path / "small.safetensors")
    assert torch.equal(again.extract_semantics(view)[0], wanted)
    # a whole encoder cannot come from a file with fewer blocks
    vit_file(tmp_path / "short.pth", made)
    with pytest.raises(CheckpointError, match="2 blocks, the model has 4"):
        dsunet.load_weights(nano(train_semantic=False), tmp_path / "short.pth")
    # converting puts the kept blocks into the file
    dsunet.convert(
        tmp_path / "small.safetensors", tmp_path / "all.safetensors", include_encoders=True
    )
    _, tensors = read_checkpoint(tmp_path / "all.safetensors")
    assert {n.split(".")[3] for n in tensors if n.startswith("dinov2.trunk.blocks.")} == {"0", "1"}
    assert torch.equal(dsunet.load(tmp_path / "all.safetensors").extract_semantics(view)[0], wanted)
    with pytest.raises(CheckpointError, match="trained with 2 blocks of DINOv2.* has all blocks"):
        dsunet.load_weights(
            dsunet.create_model(
                "dsunet-nano",
                None,
                sam_size=128,
                dino_size=112,
                train_semantic=False,
                semantic_weights=file,
            ),
            tmp_path / "small.safetensors",
        )


def test_files_from_before_there_was_a_depth(tmp_path: Path) -> None:
    model = nano()
    dsunet.save(model, tmp_path / "new.safetensors")
    about, tensors = read_checkpoint(tmp_path / "new.safetensors")
    del about["model"]["semantic_depth"]
    write_checkpoint(tmp_path / "old.safetensors", tensors, about)
    again = dsunet.load(tmp_path / "old.safetensors")
    assert again.config == model.config
    dsunet.load_weights(model, tmp_path / "old.safetensors")


# -- measuring


@pytest.mark.parametrize("shape", ["lite", "nano"])
def test_operations_are_counted_without_values(shape: str) -> None:
    model = trained(**SHAPES[shape])
    sizes = [size for size in model.view_sizes if size is not None]
    views = [torch.zeros(1, 3, *size) for size in sizes]
    assert model.config is not None
    with torch.no_grad():
        assert flops_of(model.config) == count_flops(lambda: model(*views, outputs="fine"))


def test_models_take_turns() -> None:
    order: list[int] = []
    models = [trained("sam2unet-nano") for _ in range(2)]
    for number, model in enumerate(models):
        model.register_forward_pre_hook(lambda *_, number=number: order.append(number))
    seconds = seconds_in_turns(models, CPU, rounds=4)
    assert [len(each) for each in seconds] == [4, 4]
    assert order == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    seconds = seconds_in_turns(models, CPU, rounds=9, budget=0)
    assert [len(each) for each in seconds] == [3, 3]


# -- the whole of it

QUICK = "--workers 0 --device cpu --batch-size 2".split()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A run with a nano model as it would be after training; 5 pairs trained, 3 held out."""
    run = tmp_path_factory.mktemp("run")
    model = trained()
    facts = {"seed": 0, "measures": {"S": 0.99}, "epoch": 7}
    dsunet.save(model, run / "best.safetensors", training=facts)
    names = [pair.name for pair in find_pairs(folder)]
    (run / "val.txt").write_text("".join(f"{name}\n" for name in names[:3]))
    return run


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = functools.partial(seconds_in_turns, rounds=2)
    monkeypatch.setattr("dsunet.research.pruning.run.seconds_in_turns", quick)


@pytest.mark.slow
def test_the_command(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    command = ["prune", str(run), "--data", str(folder), "--val-list", str(run / "val.txt")]
    command += ["--drop-semantic-blocks", "1", "--calibration", "4", *QUICK]
    assert main([*command, "--epochs", "1", "--output", str(out)]) == 0
    shown = capsys.readouterr().out
    for name in ("before", "1 block dropped", "pruned", "fine-tuned"):
        assert name in shown
    assert f"weights: {out / 'best.safetensors'}" in shown
    report = json.loads((out / "report.json").read_text())
    before, dropped, pruned, tuned = report["stages"]
    assert before["measures"] == evaluate_network(dsunet.load(run), find_pairs(folder)[:3], CPU)
    assert before["parameters"] > dropped["parameters"] > pruned["parameters"]
    assert before["flops"] > dropped["flops"] > pruned["flops"]
    assert len(before["seconds"]) == len(pruned["seconds"]) == 2
    assert pruned["model"]["decoder_channels"] == 16
    assert pruned["model"]["semantic_depth"] == 3
    assert {**tuned, "name": "pruned", "measures": 0} == {**pruned, "measures": 0}
    assert report["source"] == "best.safetensors"
    assert report["training_pairs"] == 5
    assert report["fine_tuning"]["lr"] == 3e-4
    assert "| fine-tuned |" in (out / "report.md").read_text()
    model, middle = dsunet.load(out), dsunet.load(out / "pruned.safetensors")
    assert model.training_facts["measures"] == tuned["measures"]
    assert middle.training_facts["measures"] == pruned["measures"] != before["measures"]
    assert middle.training_facts["pruned_from"] == "best.safetensors"
    assert "epoch" not in middle.training_facts
    assert parameter_counts(model)["total"] == pruned["parameters"]
    assert evaluate_network(model, find_pairs(folder)[:3], CPU) == tuned["measures"]
    # once more: refused, then gone on with
    assert main([*command, "--epochs", "1", "--output", str(out)]) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert main([*command, "--epochs", "1", "--output", str(out), "--resume"]) == 0
    again = json.loads((out / "report.json").read_text())
    assert [s["measures"] for s in again["stages"]] == [s["measures"] for s in report["stages"]]
    kept = (out / "pruned.safetensors").read_bytes()
    command += ["--epochs", "1", "--output", str(out), "--resume", "--ratio", "0.25"]
    assert main(command) == 1
    assert "was pruned with ratio = 0.5, not 0.25; resume it as" in capsys.readouterr().err
    assert (out / "pruned.safetensors").read_bytes() == kept


@pytest.mark.slow
def test_without_data(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "narrow"
    command = ["prune", str(run / "best.safetensors"), "--output", str(out), "--device", "cpu"]
    assert main(command) == 1
    assert "fine-tuning needs training images: give --data; --epochs 0" in capsys.readouterr().err
    assert main([*command, "--epochs", "0", "--ratio", "0.25"]) == 0
    assert "No S, F, E, MAE" in capsys.readouterr().out.replace("\n", " ")
    report = json.loads((out / "report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["before", "pruned"]
    assert report["stages"][1]["measures"] == {}
    wanted = prune_channels(dsunet.load(run), PruneConfig(ratio=0.25))
    for ours, theirs in zip(outputs(dsunet.load(out)), outputs(wanted), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_blocks_chosen_by_their_effect(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shallow"
    command = ["prune", str(run), "--data", str(folder), "--epochs", "0", "--ratio", "0", *QUICK]
    command += ["--drop-semantic-blocks", "auto", "--calibration", "0"]
    assert main([*command, "--output", str(out)]) == 1
    assert "--drop-semantic-blocks auto measures on validation pairs" in capsys.readouterr().err
    assert not out.exists()
    command += ["--val-list", str(run / "val.txt"), "--output", str(out)]
    assert main([*command, "--tolerance", "0.9"]) == 0
    assert "3 of DINOv2's blocks can go for at most 0.9 of S" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert [effect["dropped"] for effect in report["dino_blocks"]] == [0, 1, 2, 3]
    assert [stage["name"] for stage in report["stages"]] == ["before", "3 blocks dropped"]
    for effect, stage in zip(report["dino_blocks"][::3], report["stages"], strict=True):
        assert effect["measures"] == stage["measures"]
        assert effect["flops"] == stage["flops"]
    assert dsunet.load(out).config.semantic_depth == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ratio", "0"], "there is nothing to take away"),
        (["--ratio", "0.01"], "there is nothing to take away"),
        (["--ratio", "2"], r"ratio is 2.0, but needs \[0, 1\)"),
        (["--drop-semantic-blocks", "9"], "drop_semantic_blocks is 9, but needs 0 to 3"),
        (["--adapter-ratio", "0.5"], "--adapter-ratio is given"),
        (["--devices", "2"], "devices is 2, but pruning and its fine-tuning run on one"),
        (["--importance", "taylor"], "--importance taylor needs training images"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str],
    message: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert main(["prune", str(run), "--epochs", "0", "--output", str(out), *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not out.exists()


def test_models_of_somebodys_own_are_refused(tmp_path: Path) -> None:
    about = {"model": {"custom": "mine:Net", "sam_size": 64}, "encoders": {}, "training": {}}
    write_checkpoint(tmp_path / "own.safetensors", {"weight": torch.zeros(1)}, about)
    with pytest.raises(CheckpointError, match=r"holds mine:Net, a model of somebody's own; only"):
        prune(tmp_path / "own.safetensors", tmp_path / "out", fine_tune=False)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'dsunet\[prune\]'"):
        prune_channels(trained("dsunet-lite"))


def test_a_model_without_config() -> None:
    model = trained("dsunet-lite")
    model.config = None
    with pytest.raises(ValueError, match="the model has no config"):
        prune_channels(model)
