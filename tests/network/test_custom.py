"""Models of the user's own, from Python and by the commands."""

from __future__ import annotations

import csv
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.config import CustomConfig, DataConfig, TrainConfig
from dsunet.data import PairDataset, find_pairs
from dsunet.data.synthetic import synthetic_pair, write_synthetic
from dsunet.errors import CheckpointError, CustomModelError, InputSizeError
from dsunet.network.function import ImageFunction
from dsunet.network.source import CustomSource
from dsunet.weights.checkpoint import read_checkpoint, read_metadata
from helpers import nano


@pytest.fixture(autouse=True)
def ctrl_c():  # type: ignore[no-untyped-def]
    """Ctrl-C counts, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CODE = """
import functools
import signal

import numpy as np
import torch
from torch import nn

import dsunet


class Net(nn.Module):
    calls = 0
    stop_at = None

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, image):
        if self.training:
            Net.calls += 1
            if Net.calls == Net.stop_at:
                signal.raise_signal(signal.SIGINT)
        return self.last(self.drop(self.norm(self.first(image)).relu()))


def tiny():
    return Net()


def with_frozen():
    net = Net()
    net.first.requires_grad_(False)
    nn.init.constant_(net.first.weight, VALUE)
    nn.init.zeros_(net.first.bias)
    return net


@functools.cache
def cached():
    return with_random_frozen()


def with_random_frozen():
    net = Net()
    net.first.requires_grad_(False)
    return net


class Averaged(Net):
    # a running average that the network keeps by itself, beside a frozen part that stays
    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)
        nn.init.constant_(self.first.weight, VALUE)
        nn.init.zeros_(self.first.bias)
        self.average = nn.Parameter(torch.zeros_like(self.last.weight), requires_grad=False)

    def forward(self, image):
        if self.training:
            self.average.data.lerp_(self.last.weight.detach(), 0.5)
        return super().forward(image) + self.average.mean()


def all_frozen():
    return Net().requires_grad_(False)


def brightness(image):
    return image.mean(axis=2) / 255


VALUE = 0.1
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `mynet.py` and a small data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    Path("mynet.py").write_text(CODE)
    write_synthetic("data", 9, 64)
    return tmp_path


def train_command(output: str, model: str = "mynet:tiny", *more: str) -> list[str]:
    settings = "--data data --sam-size 48 --epochs 2 --batch-size 2 --device cpu --workers 0"
    return ["train", "--model", model, "--output", output, *settings.split(), *more]


@pytest.mark.slow
def test_train_stop_resume_predict_evaluate(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ("--val-fraction", "0.25")  # seven pairs to train on: four steps an epoch
    assert main(train_command("whole", "mynet:tiny", *extra)) == 0
    lines = capsys.readouterr().out.splitlines()
    headline = next(line for line in lines if line.startswith("mynet:tiny: "))
    assert headline.startswith("mynet:tiny: 249 of 249 parameters trained (100.00 %); 7 training")

    net = sys.modules["mynet"].Net
    net.calls, net.stop_at = 0, 6
    assert main(train_command("cut", "mynet:tiny", *extra)) == 130
    assert "--config cut/config.yaml --output cut --resume" in capsys.readouterr().err
    net.stop_at = None
    assert main(["train", "--config", "cut/config.yaml", "--output", "cut", "--resume"]) == 0
    assert net.calls == 8  # the stopped step was finished, and no step repeated
    for name in ("best", "last"):
        expected, actual = (read_checkpoint(f"{r}/{name}.safetensors")[1] for r in ("whole", "cut"))
        assert expected.keys() == actual.keys()
        for key in expected:
            assert torch.equal(expected[key], actual[key]), key

    predict = (
        "predict data/images --list cut/val.txt --model mynet:tiny --weights cut --output maps"
    )
    assert main([*predict.split(), "--device", "cpu"]) == 0
    scores = dsunet.evaluate("maps", "data/masks", names=Path("cut/val.txt").read_text().split())
    measures = read_metadata("cut/best.safetensors")["training"]["measures"]
    assert scores == {**measures, "images": 2, "without_object": 0, "false_alarms": 0}
    note = json.loads(Path("maps/prediction.json").read_text())
    assert note["weights"] == "cut/best.safetensors"
    assert note["model"] == "mynet:tiny"
    # also from the resume state, and from Python
    resumed = dsunet.load("cut/resume.ckpt", model="mynet:tiny")
    last = dsunet.load("cut/last.safetensors", model=sys.modules["mynet"].tiny)
    assert torch.equal(resumed.network.last.weight, last.network.last.weight)
    assert last.config == CustomConfig("mynet:tiny", 48)
    assert not last.training


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loss_of_one_or_three_outputs(work: Path, outputs: int) -> None:
    """One step on all images: its loss worked out from the untrained network."""

    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Conv2d(3, 1, 3, padding=1) for _ in range(outputs))

        def forward(self, image: torch.Tensor) -> object:
            logits = [head(image) for head in self.heads]
            return logits[0] if outputs == 1 else dsunet.SegmentationLogits(*logits)

    torch.manual_seed(3)
    network = Outputs()
    samples = [PairDataset(find_pairs("data"), (48, 48), None)[0, i] for i in range(9)]
    image = torch.stack([s.sam for s in samples])
    mask = torch.stack([s.mask for s in samples])
    with torch.no_grad():
        losses = [float(dsunet.structure_loss(head(image), mask)) for head in network.heads]
    weights = [1.0] if outputs == 1 else [0.25, 0.5, 1.0]
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=True))
    data = DataConfig("data", horizontal_flip=0, vertical_flip=0, workers=0)
    recipe = TrainConfig(epochs=1, batch_size=9, device="cpu")
    dsunet.train("run", dsunet.CustomModel(network, 48), data, recipe)
    with open("run/metrics.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["loss"]) == pytest.approx(expected, rel=1e-5)


def test_frozen_tensors_are_left_out_where_they_are_made_alike(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_command("run", "mynet:with_frozen", "--epochs", "1")) == 0
    assert "25 of 249 parameters trained" in capsys.readouterr().out
    about, tensors = read_checkpoint("run/last.safetensors")
    assert not any("first" in name for name in tensors)
    assert "network.norm.running_mean" in tensors
    assert about["encoders"]["frozen"]["name"] == "mynet:with_frozen"
    model = dsunet.load("run", model="mynet:with_frozen")
    assert float(model.network.first.weight.detach().mean()) == pytest.approx(0.1)
    dsunet.save(model, "again.safetensors")
    assert read_checkpoint("again.safetensors")[1].keys() == tensors.keys()
    dsunet.save(model, "whole.safetensors", include_encoders=True)
    assert "network.first.weight" in read_checkpoint("whole.safetensors")[1]

    assert main(["info", "run"]) == 0
    assert "made by mynet:with_frozen" in capsys.readouterr().out
    sys.modules["mynet"].VALUE = 0.2  # the whole file does not care
    whole = dsunet.load("whole.safetensors", model="mynet:with_frozen")
    assert float(whole.network.first.weight.detach().mean()) == pytest.approx(0.1)
    with pytest.raises(CheckpointError, match="other frozen tensors than mynet:with_frozen makes"):
        dsunet.load("run", model="mynet:with_frozen")
    resume = train_command("run", "mynet:with_frozen", "--epochs", "1", "--resume")
    assert main(resume) == 1
    assert "started with other frozen tensors than mynet:with_frozen" in capsys.readouterr().err


@pytest.mark.slow
def test_frozen_tensors_that_the_network_changes_are_saved(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_command("whole", "mynet:Averaged")) == 0
    about, tensors = read_checkpoint("whole/last.safetensors")
    assert tensors["network.average"].any()
    assert "network.first.weight" not in tensors
    assert about["encoders"]["frozen"]["name"] == "mynet:Averaged"
    for name in ("last.safetensors", "resume.ckpt"):
        model = dsunet.load(f"whole/{name}", model="mynet:Averaged")
        assert torch.equal(model.network.average, tensors["network.average"])
        assert model.left_out == {"network.first.weight", "network.first.bias"}

    net = sys.modules["mynet"].Net
    net.calls, net.stop_at = 0, 7
    assert main(train_command("cut", "mynet:Averaged")) == 130
    net.stop_at = None
    assert main(train_command("cut", "mynet:Averaged", "--resume")) == 0
    resumed = read_checkpoint("cut/last.safetensors")[1]
    assert resumed.keys() == tensors.keys()
    for key in tensors:
        assert torch.equal(resumed[key], tensors[key]), key
    sys.modules["mynet"].VALUE = 0.2
    capsys.readouterr()
    assert main(train_command("cut", "mynet:Averaged", "--resume")) == 1
    assert "started with other frozen tensors than mynet:Averaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["with_random_frozen", "cached"])
def test_frozen_tensors_that_differ_each_time_are_saved(work: Path, name: str) -> None:
    assert main(train_command("run", f"mynet:{name}", "--epochs", "1")) == 0
    about, tensors = read_checkpoint("run/last.safetensors")
    assert about["encoders"] == {}
    if name == "cached":
        sys.modules["mynet"].cached.cache_clear()
    model = dsunet.load("run", model=f"mynet:{name}")
    assert torch.equal(model.network.first.weight, tensors["network.first.weight"])


def test_weights_from_elsewhere(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = CustomSource.of("mynet:tiny").network().network
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, "its.pth")
    model = dsunet.load("its.pth", model="mynet:tiny")
    assert torch.equal(model.network.last.weight, net.last.weight)
    assert main(train_command("run", "mynet:tiny", "--weights", "its.pth", "--epochs", "1")) == 0
    torch.save({"last.weight": torch.zeros(1, 8, 1, 1)}, "part.pth")
    with pytest.raises(CheckpointError, match="does not fit the model: .*missing"):
        dsunet.load("part.pth", model="mynet:tiny")


def test_files_name_their_code_and_do_not_run_it(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsunet.save(dsunet.CustomModel(nn.Conv2d(3, 1, 1), 64, name="mynet:tiny"), "w.safetensors")
    expected = "it names mynet:tiny, and no code that a file names is run.*give `model` mynet:tiny"
    for load in (dsunet.load, dsunet.Segmenter):
        with pytest.raises(CheckpointError, match=expected):
            load("w.safetensors")
    assert main(["predict", "data/images", "--weights", "w.safetensors", "--output", "o"]) == 1
    assert "give --model mynet:tiny" in capsys.readouterr().err
    assert main(["convert", "w.safetensors", "w.pth"]) == 1
    assert "none of dsunet's, mynet:tiny" in capsys.readouterr().err
    assert main(["info", "w.safetensors"]) == 0
    assert "mynet:tiny (none of dsunet's; view of 64 px)" in capsys.readouterr().out
    assert main(["weights", "verify", "w.safetensors"]) == 0
    assert "whole: values are as they should be" in capsys.readouterr().out
    assert "mynet" not in sys.modules
    with pytest.raises(CheckpointError, match="does not fit the model"):
        dsunet.load("w.safetensors", model="mynet:tiny")
    dsunet.save(nano(), "ours.safetensors")
    with pytest.raises(CheckpointError, match="is of dsunet-nano, .*leave `model` out"):
        dsunet.load("ours.safetensors", model="mynet:tiny")


def test_a_network_without_a_weights_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict = ["predict", "data/images", "--device", "cpu", "--model"]
    note = "mynet:tiny has no --weights: its maps are those of the weights that it makes itself"
    assert main([*predict, "mynet:tiny", "--output", "network"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == note
    torch.save(sys.modules["mynet"].tiny().state_dict(), "w.pth")
    assert main([*predict, "mynet:tiny", "--weights", "w.pth", "--output", "trained"]) == 0
    assert main([*predict, "mynet:brightness", "--output", "function"]) == 0
    assert "--weights" not in capsys.readouterr().out


# -- functions of an image


def test_a_function_of_an_image(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict = ["predict", "data/images", "--model", "mynet:brightness", "--output", "maps"]
    Path("data/images/broken.png").write_bytes(b"no image")
    assert main(predict) == 1
    assert "9 of 10 images written" in capsys.readouterr().out
    Path("data/images/broken.png").unlink()
    for file in sorted(Path("data/images").iterdir()):
        with Image.open(file) as image, Image.open(f"maps/{file.stem}.png") as map_:
            grey = np.asarray(image.convert("RGB")).mean(axis=2)
            np.testing.assert_allclose(np.asarray(map_), grey, atol=0.51)
    assert main([*predict, "--resume"]) == 0
    assert "9 were there already" in capsys.readouterr().out
    Path("mynet.py").write_text(CODE + "\nVALUE = 0.3\n")
    assert main([*predict, "--resume"]) == 1
    assert "were made in another way (code)" in capsys.readouterr().err


def test_a_function_that_fails_on_one_image(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (30, 20)).save("data/images/black.png")
    Image.new("RGB", (30, 20), "white").save("data/images/white.png")
    Path("mynet.py").write_text(
        "import sys\n"
        "def stretched(image):\n"
        "    if not image.any():\n"
        "        raise ValueError('all is black')\n"
        "    if image.min() == 255:\n"
        "        sys.exit('all is white')\n"
        "    return image[..., 0] / image.max()\n"
    )
    predict = ["predict", "data/images", "--model", "mynet:stretched", "--output", "maps"]
    assert main([*predict, "--batch-size", "4"]) == 1
    shown = capsys.readouterr()
    assert "9 of 11 images written" in shown.out
    assert "white.png: mynet:stretched failed: SystemExit: all is white" in shown.err
    reason = "mynet:stretched failed: ValueError: all is black"
    assert f"data/images/black.png: {reason}" in shown.err
    with open("maps/failures.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "reason"]
    assert rows[1][0] == "data/images/black.png"
    assert rows[1][1].startswith(reason)
    assert "mynet.py, line 4" in rows[1][1]


def test_maps_of_other_sizes_and_kinds() -> None:
    picture = synthetic_pair(0, 40)[0].crop((0, 0, 40, 20))
    half = np.zeros((10, 20), np.float64)
    half[:, 10:] = 1
    result = dsunet.Segmenter(lambda image: half)(picture).probability
    assert result.shape == (20, 40)
    assert result.dtype == np.float32
    assert result[:, :19].max() == 0
    assert result[:, 21:].min() == 1
    tensor = dsunet.Segmenter(lambda image: torch.full((20, 40), 0.25, requires_grad=True))
    np.testing.assert_array_equal(tensor(picture).probability, 0.25)
    mask = dsunet.Segmenter(lambda image: image[..., 0] >= 0)
    assert mask(picture).binary().all()
    assert dsunet.Segmenter(lambda image: image.fill(0) or image[..., 0] * 0.0)(picture)
    assert picture.getextrema()[0][1] > 0  # a function has pixels of its own


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((20, 40, 1)), r"float64 of shape \(20, 40, 1\) for an image of 20×40"),
        (np.zeros((20, 40), np.uint8), r"uint8 of shape \(20, 40\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.full((20, 40), np.nan), "values from nan to nan"),
        (np.full((20, 40), 255.0), "values from 255 to 255 .*floats in 0..1"),
        (None, r"object of shape \(\)"),
        (
            np.zeros((40, 20)),
            r"width×height, \(40, 20\), which is transposed, for an image of 20×40",
        ),
    ],
)
def test_what_is_no_map(given: object, message: str) -> None:
    with pytest.raises(CustomModelError, match=message):
        ImageFunction(lambda image: given, "mymaps:odd")(Image.new("RGB", (40, 20)))


# -- what is meant


def test_the_rule() -> None:
    class Net(nn.Conv2d):
        def __init__(self, channels: int = 1) -> None:
            super().__init__(3, channels, 1)

    for target in (Net, Net(), lambda: Net(), lambda: dsunet.CustomModel(Net(), 64)):
        made = CustomSource("x:y", target, sam_size=96).make()
        assert isinstance(made, dsunet.CustomModel)
        assert made.config == CustomConfig("x:y", 96)
    assert CustomSource("x:y", lambda: dsunet.CustomModel(Net(), 64)).make().config.sam_size == 64
    assert CustomSource.of(Net).make().config.sam_size == 352
    for target in (lambda image: 0.0, lambda: lambda image: 0.0, np.negative, abs):
        assert isinstance(CustomSource.of(target).make(), ImageFunction)


@pytest.mark.parametrize(
    ("name", "file", "matters"),
    [
        ("part", "theirs.py", True),  # functools.partial
        ("part", "names.py", True),
        ("cached", "theirs.py", True),  # __wrapped__
        ("network", "names.py", True),  # a torch.nn.Sequential
        ("imported", "theirs.py", True),  # an instance of a class of another module
        ("imported", "names.py", True),
        ("factory", "theirs.py", True),
        ("factory", "unused.py", False),
    ],
)
def test_the_identity_is_of_all_files_that_define_a_model(
    name: str, file: str, matters: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("theirs", "names", "unused"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    Path("theirs.py").write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n    pass\n\n\n"
        "def factory(width=1):\n    return nn.Conv2d(3, width, 1)\n"
    )
    Path("names.py").write_text(
        "import functools\n\nfrom torch import nn\n\nimport unused\n"
        "from theirs import Net, factory\n\n"
        "part = functools.partial(factory, 1)\ncached = functools.cache(factory)\n"
        "network = nn.Sequential(nn.Conv2d(3, 1, 1))\nimported = Net()\n"
    )
    Path("unused.py").write_text("")
    before = CustomSource.of(f"names:{name}").identity()
    assert before == CustomSource.of(f"names:{name}").identity()
    with open(file, "a") as stream:
        stream.write("# changed\n")
    assert (CustomSource.of(f"names:{name}").identity() != before) is matters


def fails() -> None:
    raise ZeroDivisionError("of no use")


def ends() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (nn.Conv2d, "torch.nn.modules.conv:Conv2d needs the arguments in_channels, out_ch"),
        (lambda image, mask: 0, "needs the arguments image, mask"),
        (lambda: 3, "makes an object of type int; a torch.nn.Module"),
        (fails, r"test_custom:fails failed: ZeroDivisionError: of no use \(.*test_custom.py, line"),
        (ends, r"test_custom:ends failed: SystemExit: 3 \(.*test_custom.py, line"),
        (3, "an object of type int is no model"),
    ],
)
def test_what_is_no_model(target: Callable[..., object], message: str) -> None:
    with pytest.raises(CustomModelError, match=message):
        CustomSource.of(target).make()


# -- what a network gives


def outputs_of(give: Callable[[torch.Tensor], object], **options: object) -> object:
    class Gives(nn.Module):
        def forward(self, image: torch.Tensor) -> object:
            return give(image[:, :1])

    with torch.no_grad():
        return dsunet.CustomModel(Gives(), 32, name="mynet:odd", **options)(
            torch.ones(2, 3, 32, 32)
        )


def test_outputs() -> None:
    for give in (
        lambda x: x[..., ::4, ::4],
        lambda x: {"aux": x - 1, "out": x},
        lambda x: [x],
        lambda x: dsunet.SegmentationLogits(None, None, x),
    ):
        logits = outputs_of(give)
        assert (logits.coarse, logits.middle) == (None, None)
        assert torch.equal(logits.fine, torch.ones(2, 1, 32, 32))
    assert float(outputs_of(lambda x: (x, 2 * x), prediction=1).fine.mean()) == 2
    assert float(outputs_of(lambda x: {"a": x, "b": 3 * x}, prediction="b").fine.mean()) == 3
    three = outputs_of(lambda x: dsunet.SegmentationLogits(x[..., ::8, ::8], 2 * x, 3 * x))
    assert [float(x.mean()) for x in three] == [1, 2, 3]
    assert all(x.shape == (2, 1, 32, 32) for x in three)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: (x, x), r"several outputs \(0 to 1\), and which of them is the prediction"),
        (lambda x: {"a": x, "b": x}, r"several outputs \('a', 'b'\)"),
        (lambda x: x.expand(2, 21, 32, 32), r"float32 of shape \(2, 21, 32, 32\) for 2 images"),
        (lambda x: x[:, 0], r"shape \(2, 32, 32\)"),
        (lambda x: x > 0, "gives bool of shape"),
        (lambda x: "map", "gives an object of type str for 2 images"),
    ],
)
def test_what_are_no_logits(give: Callable[[torch.Tensor], object], message: str) -> None:
    with pytest.raises(CustomModelError, match=message):
        outputs_of(give)


def test_dsunet_with_other_parts_has_two_views(tmp_path: Path) -> None:
    picture = synthetic_pair(0, 50)[0]
    segmenter = dsunet.Segmenter(lambda: nano(seed=4), device="cpu")
    assert (segmenter.sam_size, segmenter.dino_size) == ((128, 128), (112, 112))
    expected = dsunet.Segmenter(nano(seed=4), device="cpu")(picture).probability
    np.testing.assert_allclose(segmenter(picture).probability, expected, atol=1e-5)
    with pytest.raises(InputSizeError, match="takes two views"):
        segmenter.model(torch.zeros(1, 3, 128, 128))
    dsunet.save(segmenter.model, tmp_path / "w.safetensors")
    again = dsunet.load(tmp_path / "w.safetensors", model=lambda: nano(seed=5))
    assert again.config.dino_size == (112, 112)
    np.testing.assert_allclose(dsunet.Segmenter(again)(picture).probability, expected, atol=1e-5)


# -- one clear line


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("train --injection none --model mynet:tiny", 1, "--injection is a setting of dsunet's"),
        ("train --sam-size 0 --model mynet:tiny", 1, "sam_size is 0, but needs one or two"),
        ("train --dino-size 56 --model mynet:tiny", 1, "takes one view, so it has no dino_size"),
        ("train --weights encoders --model mynet:tiny", 1, "--weights encoders is for dsunet's"),
        ("train --pyramid-weights w --model mynet:tiny", 1, "are for dsunet's models"),
        ("train --model mynet:brightness", 1, "is a function of an image: it can predict, but"),
        ("train --model mynet:all_frozen", 1, "mynet:all_frozen has no parameters that are"),
        ("train --model mynet", 1, "one of your own is named by its import path"),
        ("train --model mynet.py", 1, "'mynet.py' is no import path; it needs the form"),
        ("predict data/images --model dsunet-nano", 1, "the weights file says which"),
        ("predict data/images --model mynet:tini", 1, "did you mean tiny?"),
        ("predict data/images --model mynet:brightness --weights w.pth", 1, "has no weights"),
        ("predict data/images --model mynet:tiny --semantic-weights w", 1, "a weights file alone"),
    ],
)
def test_bad_usage_is_one_clear_line(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: str, status: int, message: str
) -> None:
    torch.save({"a": torch.zeros(1)}, "w.pth")
    data = ["--data", "data", "--workers", "0"] if arguments.startswith("train") else []
    assert main([*arguments.split(), *data, "--output", "o"]) == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not Path("o").exists()
