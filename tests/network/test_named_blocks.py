"""Blocks of the user's own in place of the paper's: contract, files, and what is never run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dsunet
from dsunet.cli import main
from dsunet.config import model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import CheckpointError, ConfigError, CustomModelError
from dsunet.network import blocks
from dsunet.network.blocks import name_blocks
from dsunet.network.build import build_model
from dsunet.weights.checkpoint import read_checkpoint

CODE = '''
import torch
from torch import nn
from torch.nn import functional as F


class Field(nn.Module):
    """A 1x1 convolution and dropout."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return F.dropout(F.relu(self.bn(self.conv(x))), 0.1, self.training)


class Meeting(nn.Module):
    def __init__(self, channels, semantic_channels):
        super().__init__()
        self.conv = nn.Conv2d(semantic_channels, channels, 1)

    def forward(self, level, semantics):
        return level + F.interpolate(self.conv(semantics), level.shape[-2:], mode="bilinear")


class Merge(nn.Module):
    def __init__(self, channels, coarse_channels):
        super().__init__()
        self.conv = nn.Conv2d(channels + coarse_channels, channels, 1)

    def forward(self, coarse, fine):
        coarse = F.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        return self.conv(torch.cat([coarse, fine], 1))


def head(channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1))


class Whole(nn.Module):
    """A decoder that gives the fine logits alone."""

    def __init__(self, in_channels):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in in_channels)

    def forward(self, levels):
        maps = [conv(level) for conv, level in zip(self.convs, levels)]
        size = levels[0].shape[-2:]
        return sum(F.interpolate(x, size, mode="bilinear") for x in maps)


class Three(Whole):
    def forward(self, levels):
        return [conv(level) for conv, level in zip(self.convs[2::-1], levels[2::-1])]


class Same(Field):
    pass


class Narrow(Field):
    def forward(self, x):
        return super().forward(x)[:, 1:]


class Half(Merge):
    def forward(self, coarse, fine):
        return super().forward(coarse, fine)[..., ::2, ::2]


class Two(Whole):
    def forward(self, levels):
        return [super().forward(levels)] * 2


class Broken(Field):
    def forward(self, x):
        raise KeyError("no such thing")


def nothing(*arguments, **options):
    return len(arguments)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's own in the working directory; nobody has named anything of it yet."""
    (tmp_path / "ownblocks.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blocks, "_named", {})
    yield "ownblocks"
    sys.modules.pop("ownblocks", None)


def lite(**settings: Any) -> dsunet.DSUNet:
    torch.manual_seed(0)
    return dsunet.create_model("dsunet-lite", weights=None, sam_size=64, **settings)


def logits_of(model: dsunet.DSUNet, outputs: Any = "all") -> dsunet.SegmentationLogits:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, 64, 64, generator=generator), outputs=outputs)


def test_blocks_are_where_the_papers_were(own: str) -> None:
    model = lite(
        receptive_field="ownblocks:Field", decoder_fusion="ownblocks:Merge", head="ownblocks:head"
    )
    module = sys.modules[own]
    assert all(type(part) is module.Field for part in model.decoder.reduce)
    assert [part.conv.out_channels for part in model.decoder.reduce] == [16, 32, 48, 48]
    assert all(type(part) is module.Merge for part in model.decoder.fuse)
    assert all(len(part) == 3 for part in model.decoder.heads)
    coarse, _, fine = logits_of(model)
    assert coarse is not None
    assert coarse.shape == fine.shape == (2, 1, 64, 64)
    model.train()
    model(torch.randn(2, 3, 64, 64)).fine.mean().backward()
    assert model.decoder.reduce[0].conv.weight.grad is not None
    assert not model.every_part_runs  # for all that anybody knows
    assert not model.decoder.reduce[0].bn.running_mean.eq(0).all()


def test_trying_them_leaves_no_trace(own: str) -> None:
    """Statistics, modes and random numbers are those of a model whose blocks were not tried."""
    model = lite(receptive_field="ownblocks:Field")
    assert model.decoder.reduce[0].training
    assert model.decoder.reduce[0].bn.num_batches_tracked == 0
    after = torch.rand(1)
    torch.manual_seed(0)
    patch = pytest.MonkeyPatch()
    patch.setattr("dsunet.network.build.check_blocks", lambda *_: None)
    build_model(model.config)
    patch.undo()
    assert torch.equal(torch.rand(1), after)


def test_a_fusion_of_ones_own(own: str) -> None:
    torch.manual_seed(0)
    size = {"sam_size": 128, "dino_size": 112}
    model = dsunet.create_model("dsunet-nano", None, fusion="ownblocks:Meeting", **size)
    usual = dsunet.create_model("dsunet-nano", None, **size)
    assert type(model.fusion.blocks[0]) is sys.modules[own].Meeting
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        assert model.eval()(sam, dino).fine.shape == (1, 1, 128, 128)
        maps = model.reduced_semantics(dino)
        assert torch.equal(model(sam, dino_features=maps).fine, model(sam, dino).fine)
    assert maps[0].shape[-2:] == (8, 8)  # whatever it makes of them, all of them are there
    assert usual.reduced_semantics(dino)[0].shape[-2:] == (4, 4)


@pytest.mark.parametrize(("name", "whole"), [("Whole", False), ("Three", True)])
def test_a_whole_decoder(own: str, name: str, whole: bool) -> None:
    model = lite(decoder=f"ownblocks:{name}")
    coarse, middle, fine = logits_of(model)
    assert fine.shape == (2, 1, 64, 64)
    assert (coarse is not None) == (middle is not None) == whole
    assert logits_of(model, "fine").coarse is None
    assert torch.equal(logits_of(model, "fine").fine, fine)
    assert "decoder.block.convs.0.weight" in model.state_dict()


def test_classes_themselves_and_the_papers_own_block(own: str) -> None:
    """What is named is what is made: the paper's block by its path changes nothing."""
    usual = lite()
    named = lite(receptive_field=dsunet.network.layers.ReceptiveFieldBlock)
    path = "dsunet.network.layers.receptive_field:ReceptiveFieldBlock"
    assert named.config is not None
    assert named.config.receptive_field == path
    assert torch.equal(logits_of(named).fine, logits_of(usual).fine)
    assert usual.config is not None
    assert "receptive_field" not in usual.config.to_dict()  # files are as they were
    assert usual.config.to_dict()["decoder"] == "sff"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"receptive_field": "ownblocks:Narrow"},
            r"gives 2×15×16×16 for 2×24×16×16; 2×16×16×16 is",
        ),
        (
            {"decoder_fusion": "ownblocks:Half"},
            r"\(`decoder_fusion`\) gives 2×48×2×2 for 2×48×2×2 ",
        ),
        ({"head": "ownblocks:Narrow"}, r"\(`head`\) failed: TypeError: .*out_channels"),
        ({"head": "torch.nn:Identity"}, r"gives 2×48×4×4 for 2×48×4×4; 2×1×any×any is needed"),
        ({"decoder": "ownblocks:Two"}, r"\(`decoder`\) gives 2 outputs; logits, or three"),
        ({"decoder": "torch.nn:Identity"}, "gives 4 outputs"),
        ({"receptive_field": "ownblocks:Broken"}, r"for 2×24×16×16 failed: KeyError: 'no such thi"),
        ({"receptive_field": "ownblocks:nothing"}, "gives an object of type int; a torch.nn.Modu"),
        ({"receptive_field": "ownblocks:Absent"}, "there is no 'Absent' in"),
        ({"receptive_field": "nowhere:Block"}, "there is no module 'nowhere'"),
    ],
)
def test_the_contract_is_checked_when_it_is_built(
    own: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(CustomModelError, match=message):
        lite(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"receptive_field": "Block"}, "receptive_field is 'Block', but needs PACKAGE.MODULE:NAME"),
        ({"decoder": "sfff"}, "decoder is 'sfff', but needs sff, unet or PACKAGE.MODULE:NAME; did"),
        ({"decoder": "a:B", "head": "a:C"}, "head is 'a:C', but is part of the decoder that"),
        ({"injection": "none", "fusion": "a:B"}, "fusion is 'a:B', but the network has no DINOv2"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_config("dsunet-nano", **settings)


def test_a_configuration_alone_runs_nothing(own: str) -> None:
    """As it may be from a file, whoever read that."""
    config = model_config("dsunet-lite", receptive_field="ownblocks:Field")
    with pytest.raises(CustomModelError, match="it names ownblocks:Field, and no code that a file"):
        build_model(config)
    assert own not in sys.modules
    name_blocks(["ownblocks:Field"])
    assert build_model(config).config == config


def test_files_name_their_blocks_and_do_not_run_them(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lite(receptive_field="ownblocks:Field", head="ownblocks:head")
    dsunet.save(model, "w.safetensors")
    about = read_checkpoint(Path("w.safetensors"))[0]
    assert about["model"]["receptive_field"] == "ownblocks:Field"
    expected = logits_of(model).fine
    blocks._named.clear()
    del sys.modules[own]
    for load in (dsunet.load, dsunet.Segmenter):
        with pytest.raises(
            CustomModelError, match=r"names ownblocks:Field, ownblocks:head, and no"
        ):
            load("w.safetensors")
    write_synthetic(Path("data"), 2, 64)
    predict = ["predict", "data/images", "--weights", "w.safetensors", "--device", "cpu"]
    assert main([*predict, "--output", "o"]) == 1
    assert "if you trust it, give --blocks ownblocks:Field, ownb" in capsys.readouterr().err
    train = ["train", "--data", "data", "--weights", "w.safetensors", "--output", "run"]
    assert main(train) == 1
    assert "if you trust it, give --blocks ownblocks:Field" in capsys.readouterr().err
    assert main(["info", "w.safetensors"]) == 0
    assert "somebody's own: ownblocks:Field as receptive_field, own" in capsys.readouterr().out
    assert main(["weights", "verify", "w.safetensors"]) == 0
    assert "which the code of its blocks knows alone" in capsys.readouterr().out
    assert main(["convert", "w.safetensors", "w.pth"]) == 1
    capsys.readouterr()
    assert own not in sys.modules

    flags = ["--blocks", "ownblocks:Field", "--blocks", "ownblocks:head"]
    assert main([*predict, *flags, "--output", "o"]) == 0
    again = dsunet.load("w.safetensors", blocks=["ownblocks:Field", sys.modules[own].head])
    assert torch.equal(logits_of(again).fine, expected)
    other = lite(receptive_field="ownblocks:Same", head="ownblocks:head")
    with pytest.raises(CheckpointError, match="was trained with receptive_field = 'ownblocks:Fi"):
        dsunet.load_weights(other, "w.safetensors")


def test_going_on_with_a_prediction_looks_at_the_code(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dsunet.save(lite(receptive_field="ownblocks:Field"), "w.safetensors")
    write_synthetic(Path("data"), 1, 64)
    predict = ["predict", "data/images", "--weights", "w.safetensors", "--device", "cpu"]
    predict += ["--blocks", "ownblocks:Field", "--output", "o"]
    assert main(predict) == 0
    assert main([*predict, "--resume"]) == 0
    Path("ownblocks.py").write_text(CODE + "\n# another\n")
    assert main([*predict, "--resume"]) == 1
    assert "made in another way (code)" in capsys.readouterr().err


@pytest.mark.slow
def test_from_training_to_an_exported_file(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, cut, gone on with to the same weights, reported, predicted with and exported."""
    write_synthetic(Path("data"), 8, 64)
    train = "train --data data --val-fraction 0.25 --model dsunet-lite --weights none --sam-size 64"
    train += " --receptive-field ownblocks:Field --decoder-fusion ownblocks:Merge --epochs 2"
    command = [*train.split(), *"--batch-size 2 --workers 0 --device cpu --output".split()]
    assert main([*command, "run"]) == 0
    assert "report: run/report.html" in capsys.readouterr().out
    short = [
        word if word != "2" or before != "--epochs" else "1"
        for before, word in zip(["", *command], command, strict=False)
    ]
    assert main([*short, "cut"]) == 0
    assert main(["train", "--config", "cut/config.yaml", "--output", "cut", "--resume"]) == 0
    whole = read_checkpoint(Path("run/last.safetensors"))[1]
    assert whole.keys() == read_checkpoint(Path("cut/last.safetensors"))[1].keys()
    flags = ["--blocks", "ownblocks:Field", "--blocks", "ownblocks:Merge"]
    words = ["predict", "data/images", "--weights", "run", "--device", "cpu", "--output", "maps"]
    assert main([*words, *flags]) == 0
    assert main(["export", "run", "--output", "run.onnx", *flags]) == 0
    picture = next(Path("data/images").iterdir())
    exported = dsunet.Segmenter("run.onnx", "cpu")(picture).probability  # which needs no code
    segmenter = dsunet.Segmenter("run", "cpu", "float32", blocks=flags[1::2])
    np.testing.assert_allclose(exported, segmenter(picture).probability, atol=2e-3)
    assert segmenter.recipe.blocks == ("ownblocks:Field", "ownblocks:Merge")
    assert main(["prune", "run", "--output", "pruned", "--data", "data"]) == 1
    assert "whose channels nobody but its author can tie" in capsys.readouterr().err
