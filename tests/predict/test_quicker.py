"""Prediction with folded BatchNorm, 8-bit encoders, compiled code and draft decoding."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.data.images import decode
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import CheckpointError, DeviceError, OutputError, TrainingError
from dsunet.network.fusion import ChannelModulation
from dsunet.network.layers import ConvBN
from dsunet.network.model import DSUNet
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.predict.engines.quicker import fold_batchnorm, shared_copy
from helpers import SHARED, nano


def shaken(**overrides: object) -> DSUNet:
    """The nano model whose BatchNorms do something: their defaults are close to the identity."""
    model = nano(**overrides).eval()
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
                (module.weight.data, 0.5),
                (module.bias.data, -0.5),
            ):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return model


def picture(seed: int = 0) -> np.ndarray:
    return np.asarray(synthetic_pair(seed, 90)[0])


def norms_of(model: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"channel_modulation": "resize_last"},
        {"injection": "hierarchical"},
        {"injection": "none", "decoder": "unet"},
        {"decoder_merge": "add"},
    ],
    ids=str,
)
def test_folding_takes_every_batchnorm_and_leaves_the_maps(overrides: dict[str, object]) -> None:
    model = shaken(**overrides)
    plain = dsunet.Segmenter(model, "cpu")(picture()).probability
    folded = dsunet.Segmenter(model, "cpu", fold_batchnorm=True)
    assert norms_of(model) > 20
    assert norms_of(folded.model) == 0  # type: ignore[arg-type]
    assert plain.std() > 1e-3
    np.testing.assert_allclose(folded(picture()).probability, plain, atol=2e-5)


def test_folding_by_hand() -> None:
    """y = 3·(2x − 1)/√(4 + ε) + 5, so the weight is 3 and the bias 3.5."""
    layer = ConvBN(1, 1, 1).eval()
    layer.bn.eps = 0.0
    with torch.no_grad():
        layer.conv.weight.fill_(2.0)
        layer.bn.running_mean.fill_(1.0)  # type: ignore[union-attr]
        layer.bn.running_var.fill_(4.0)  # type: ignore[union-attr]
        layer.bn.weight.fill_(3.0)
        layer.bn.bias.fill_(5.0)
    assert fold_batchnorm(layer) == 1
    assert layer.conv.weight.item() == 3.0
    assert layer.conv.bias is not None
    assert layer.conv.bias.item() == 3.5
    assert layer(torch.ones(1, 1, 1, 1)).item() == 6.5


def test_a_resize_in_between_changes_nothing() -> None:
    torch.manual_seed(3)
    module = ChannelModulation(4, 6, "resize_last").eval()
    module.bn.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
    x = torch.randn(2, 4, 9, 7)
    expected = module(x, (4, 12))
    assert fold_batchnorm(module) == 1
    torch.testing.assert_close(module(x, (4, 12)), expected)


def test_only_plain_sequences_are_folded() -> None:
    class Crossed(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](self[1](x))  # type: ignore[no-any-return]

    def pair() -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        return nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    hooked = nn.Sequential(*pair())
    hooked[0].register_forward_hook(lambda module, given, out: out * 2)
    apart = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2))
    without_statistics = nn.Sequential(
        nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)
    )
    relu = nn.ReLU()
    shared = nn.Sequential(relu, nn.Conv2d(2, 2, 1), relu, nn.BatchNorm2d(2))
    for network in (Crossed(*pair()), hooked, apart, without_statistics, shared):
        assert fold_batchnorm(nn.Sequential(network.eval())) == 0
    learning = nn.Sequential(*pair()).eval()
    learning[1].train()
    assert fold_batchnorm(learning) == 0
    assert fold_batchnorm(nn.Sequential(*pair(), nn.ReLU(), *pair()).eval()) == 2


@pytest.mark.parametrize("setting", ["fold_batchnorm", "int8"])
def test_the_given_model_stays_as_it_is(setting: str) -> None:
    model = shaken()
    before = copy.deepcopy(model.state_dict())
    names = [(name, type(module)) for name, module in model.named_modules()]
    segmenter = dsunet.Segmenter(model, "cpu", **{setting: True})  # type: ignore[arg-type]
    segmenter(picture())
    assert segmenter.model is not model
    assert segmenter.original is model
    assert [(name, type(module)) for name, module in model.named_modules()] == names
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model.train()
    assert any(p.requires_grad for p in model.parameters())


def test_copies_share_memory() -> None:
    model = shaken()
    twin = shared_copy(model, "trying")
    own = {p.data_ptr() for p in model.parameters()}
    assert [p.data_ptr() for p in twin.parameters()] == [p.data_ptr() for p in model.parameters()]
    fold_batchnorm(twin)
    foreign = sum(p.numel() for p in twin.parameters() if p.data_ptr() not in own)
    convs = sum(m.conv.weight.numel() for m in model.modules() if isinstance(m, ConvBN))
    assert foreign < convs + sum(p.numel() for p in model.fusion.parameters())  # type: ignore[union-attr]
    encoders = {p.data_ptr() for e in twin.encoders.values() for p in e.parameters()}
    assert encoders <= own


def test_copies_can_neither_be_trained_nor_saved(tmp_path: Path) -> None:
    segmenter = dsunet.Segmenter(shaken(), "cpu", fold_batchnorm=True)
    twin = segmenter.model
    assert isinstance(twin, DSUNet)
    with pytest.raises(TrainingError, match="copy for prediction .fold_batchnorm.*train the model"):
        twin.train()
    assert not twin.eval().training
    with pytest.raises(CheckpointError, match="fold_batchnorm.*save the model"):
        dsunet.save(twin, tmp_path / "folded.safetensors")
    with pytest.raises(CheckpointError, match="fold_batchnorm"):
        twin.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_int8_replaces_the_encoders_linear_layers() -> None:
    model = shaken(adapter_channels=8)
    plain = dsunet.Segmenter(model, "cpu")(picture()).probability
    segmenter = dsunet.Segmenter(model, "cpu", int8=True)
    assert isinstance(segmenter.model, DSUNet)
    for name, encoder in segmenter.model.encoders.items():
        left = [n for n, m in encoder.named_modules() if type(m) is nn.Linear]
        assert all(".adapter." in n for n in left)
        assert bool(left) is (name == "pyramid")
    given = segmenter(picture()).probability
    assert 0 < np.abs(given - plain).mean() < 0.02


def test_where_int8_is_refused() -> None:
    with pytest.raises(DeviceError, match="int8 is for float32 on a CPU.*bfloat16"):
        dsunet.Segmenter(shaken(), "cpu", "bfloat16", int8=True)
    small = dsunet.CustomModel(nn.Conv2d(3, 1, 3, padding=1), 64)
    with pytest.raises(ValueError, match="networks with dsunet's encoders"):
        dsunet.Segmenter(small, "cpu", int8=True)
    with pytest.raises(ValueError, match="no BatchNorm follows"):
        dsunet.Segmenter(small, "cpu", fold_batchnorm=True)


def bright(image: np.ndarray) -> np.ndarray:
    return image.mean(2) / 255


def test_functions_of_an_image_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fold_batchnorm, int8: that is for networks"):
        dsunet.Segmenter(bright, "cpu", fold_batchnorm=True, int8=True)
    Image.fromarray(picture()).save(tmp_path / "a.jpg")
    jobs = plan_outputs([tmp_path / "a.jpg"], tmp_path / "out")
    with pytest.raises(ValueError, match="`draft` is for networks"):
        predict_files(dsunet.Segmenter(bright, "cpu"), jobs, tmp_path / "out", Options(draft=True))
    assert not (tmp_path / "out").exists()


def test_networks_of_the_users_own() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.BatchNorm2d(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)  # type: ignore[no-any-return]

        def __deepcopy__(self, memo: dict[int, object]) -> Closed:
            raise TypeError("cannot copy a handle")

    network = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.BatchNorm2d(1)).eval()
    network[1].running_mean.fill_(0.3)
    model = dsunet.CustomModel(network, 64)
    plain = dsunet.Segmenter(model, "cpu")(picture()).probability
    folded = dsunet.Segmenter(model, "cpu", fold_batchnorm=True)
    assert norms_of(folded.model) == 0  # type: ignore[arg-type]
    assert norms_of(model) == 1
    np.testing.assert_allclose(folded(picture()).probability, plain, atol=1e-6)
    with pytest.raises(dsunet.DsunetError, match="cannot be copied, as fold_batchnorm needs"):
        dsunet.Segmenter(dsunet.CustomModel(Closed(), 64), "cpu", fold_batchnorm=True)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Something that looks like a C++ compiler; the real one takes a minute."""
    program = tmp_path / "compiler"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))


@pytest.mark.usefixtures("compiler")
def test_the_copy_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def compile_(function: Callable[..., object], **settings: object) -> object:
        made.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    model = shaken()
    plain = dsunet.Segmenter(model, "cpu")(picture()).probability
    assert not made
    segmenter = dsunet.Segmenter(model, "cpu", compile=True)
    assert made == [segmenter.model._call_impl]  # type: ignore[union-attr]
    assert model._compiled_call_impl is None
    np.testing.assert_array_equal(segmenter(picture()).probability, plain)


@pytest.mark.usefixtures("compiler")
def test_what_fails_while_compiling_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import Unsupported

    def fail(*arguments: object, **keywords: object) -> object:
        raise Unsupported("no such instruction\nand much more", "case")

    monkeypatch.setattr(torch, "compile", lambda function, **settings: fail)
    segmenter = dsunet.Segmenter(shaken(), "cpu", compile=True)
    with pytest.raises(DeviceError, match=r"does not work here .*no such instruction\); set that"):
        segmenter(picture())


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_really_compiled() -> None:
    model = shaken()
    segmenter = dsunet.Segmenter(model, "cpu", compile=True, fold_batchnorm=True)
    plain = dsunet.Segmenter(model, "cpu")(picture()).probability
    np.testing.assert_allclose(segmenter(picture()).probability, plain, atol=1e-4)


def test_no_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DeviceError, match=r"no C\+\+ compiler: g\+\+ or .*leave `compile` out"):
        dsunet.Segmenter(shaken(), "cpu", compile=True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DeviceError, match="compiler: no-such-compiler"):
        dsunet.Segmenter(shaken(), "cpu", compile=True)


@pytest.fixture(scope="module")
def large_photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "large.jpg"
    image, _ = synthetic_pair(4, 128)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.resize((1200, 700), Image.Resampling.BICUBIC).save(path, exif=exif, quality=92)
    return path


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (80, (150, 88)),
        (88, (300, 175)),
        (175, (300, 175)),
        (176, (600, 350)),
        (351, (1200, 700)),
    ],
)
def test_drafts_have_the_pixels_that_are_asked_for_on_both_axes(
    large_photograph: Path, side: int, expected: tuple[int, int]
) -> None:
    assert decode(large_photograph, preview=side).pixels.size == expected


def test_draft_maps_have_the_images_own_size(large_photograph: Path, tmp_path: Path) -> None:
    segmenter = dsunet.Segmenter(shaken(), "cpu")
    assert segmenter.largest_side == 128
    Image.fromarray(picture()).save(tmp_path / "small.jpg")
    maps = {}
    for draft in (False, True):
        out = tmp_path / f"out{draft}"
        jobs = plan_outputs([large_photograph, tmp_path / "small.jpg"], out)
        predict_files(segmenter, jobs, out, Options(draft=draft))
        for name in ("large", "small"):
            with Image.open(out / f"{name}.png") as image:
                maps[name, draft] = np.asarray(image).astype(int)
    assert maps["large", True].shape == maps["large", False].shape == (1200, 700)
    np.testing.assert_array_equal(maps["small", True], maps["small", False])
    assert 0 < np.abs(maps["large", True] - maps["large", False]).max() < 30


def test_draft_keeps_the_stored_orientation_if_asked(
    large_photograph: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([large_photograph], tmp_path)
    options = Options(draft=True, ignore_orientation=True)
    predict_files(dsunet.Segmenter(shaken(), "cpu"), jobs, tmp_path, options)
    with Image.open(tmp_path / "large.png") as image:
        assert image.size == (1200, 700)


def test_draft_of_real_photographs(tmp_path: Path) -> None:
    folder = SHARED / "data/duts-te-200/images"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    files = sorted(folder.iterdir())[:3]
    segmenter = dsunet.Segmenter(shaken(), "cpu")
    for draft in (False, True):
        out = tmp_path / str(draft)
        predict_files(segmenter, plan_outputs(files, out), out, Options(draft=draft))
    for file in files:
        with Image.open(tmp_path / f"False/{file.stem}.png") as one:
            plain = np.asarray(one).astype(int)
        with Image.open(tmp_path / f"True/{file.stem}.png") as one:
            draft_map = np.asarray(one).astype(int)
        assert plain.shape == draft_map.shape
        assert np.abs(plain - draft_map).mean() < 5


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    dsunet.save(shaken(), path)
    return path


@pytest.mark.slow
def test_command(
    weights: Path, large_photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["predict", str(large_photograph), "--weights", str(weights), "--output"]
    assert main([*call, str(tmp_path / "plain"), "--device", "cpu"]) == 0
    made = [*call, str(tmp_path / "quick"), "--device", "cpu"]
    assert main([*made, "--fold-batchnorm", "--int8", "--draft"]) == 0
    note = json.loads((tmp_path / "quick/prediction.json").read_text())
    assert [note[k] for k in ("fold_batchnorm", "int8", "compile", "draft")] == [
        True,
        True,
        False,
        True,
    ]
    for name in ("plain", "quick"):
        with Image.open(tmp_path / name / "large.png") as image:
            assert image.size == (700, 1200)
    capsys.readouterr()
    assert main([*made, "--int8", "--resume"]) == 1
    assert "(fold_batchnorm, draft)" in capsys.readouterr().err
    assert main([*made, "--fold-batchnorm", "--int8", "--draft", "--resume"]) == 0
    assert "1 were there already" in capsys.readouterr().out
    for kinds in ("overlay", "probability,cutout"):
        out = str(tmp_path / "kinds")
        assert main([*call, out, "--save", kinds, "--draft"]) == 1
        error = capsys.readouterr().err
        assert f"--draft leaves out pixels that {kinds.split(',')[-1]} would show" in error
        assert not Path(out).exists()


def test_outputs_of_earlier_versions_are_gone_on_with(
    weights: Path, large_photograph: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([large_photograph], tmp_path)
    predict_files(dsunet.Segmenter(weights, "cpu"), jobs, tmp_path)
    note = tmp_path / "prediction.json"
    old = json.loads(note.read_text())
    times = note.stat()
    for key in ("fold_batchnorm", "int8", "compile", "draft"):
        assert old.pop(key) is False
    note.write_text(json.dumps(old))
    os.utime(note, ns=(times.st_atime_ns, times.st_mtime_ns))
    report = predict_files(dsunet.Segmenter(weights, "cpu"), jobs, tmp_path, resume=True)
    assert report.skipped == 1
    quick = dsunet.Segmenter(weights, "cpu", fold_batchnorm=True)
    with pytest.raises(OutputError, match="fold_batchnorm"):
        predict_files(quick, jobs, tmp_path, resume=True)


def test_models_without_a_file_are_told_apart_by_their_original(
    large_photograph: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([large_photograph], tmp_path)
    model = shaken()
    notes = []
    for settings in ({}, {"int8": True}):
        predict_files(dsunet.Segmenter(model, "cpu", **settings), jobs, tmp_path)  # type: ignore[arg-type]
        notes.append(json.loads((tmp_path / "prediction.json").read_text()))
    assert notes[0]["sha256"] == notes[1]["sha256"]
