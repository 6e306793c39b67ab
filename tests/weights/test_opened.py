"""A path is resolved once and a file is read once, whatever loads it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.config import PruneConfig
from dsunet.network.source import CustomSource
from dsunet.research.pruning.run import prune
from dsunet.weights import opened
from dsunet.weights.custom import create_custom
from dsunet.weights.opened import Weights, find_weights, open_weights
from dsunet.weights.shipped import weights_of
from helpers import nano
from weightfiles import sam2_file

BEST, OWN, REFERS = "best.safetensors", "own.safetensors", "refers.safetensors"
SAM2 = "sam2.1_hiera_tiny.pt"


class Net(nn.Module):
    """The smallest network of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 1, 1)

    def forward(self, image):
        return self.last(image)


@pytest.fixture(autouse=True)
def _own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of nano, a file that refers to an encoder, and a network of one's own."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "run").mkdir()
    dsunet.save(nano(), folder / "run" / BEST)
    dsunet.save(dsunet.CustomModel(Net(), 32, name="my:Net"), folder / OWN)
    settings = {"train_pyramid": False, "sam_size": 128, "injection": "none"}
    sam2 = sam2_file(folder / SAM2)
    tiny = dsunet.create_model("dsunet-tiny", None, pyramid_weights=sam2, **settings)
    dsunet.save(tiny, folder / REFERS)
    nano().save_pretrained(folder / "hub")
    return folder


@pytest.fixture
def work(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(prepared)
    return prepared


@pytest.fixture
def seen(work: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], Counter[str]]:
    """Paths that were resolved, and files that were read, how often each."""
    resolved: Counter[str] = Counter()
    read: Counter[str] = Counter()

    def resolve(path: str | Path) -> Path:
        resolved[str(path)] += 1
        return find_weights(path)

    read_file = opened.read_file

    def count(path: Path) -> object:
        read[path.name] += 1
        return read_file(path)

    monkeypatch.setattr(opened, "find_weights", resolve)
    monkeypatch.setattr(opened, "read_file", count)
    return resolved, read


def own() -> CustomSource:
    return CustomSource("my:Net", Net, 32)


@pytest.mark.parametrize(
    ("load", "path", "files"),
    [
        (lambda: dsunet.load("run"), "run", [BEST]),
        (lambda: dsunet.load(), "dsunet-lite", ["dsunet-lite-v3.safetensors"]),
        (lambda: dsunet.load(REFERS), REFERS, [REFERS, SAM2]),
        (lambda: dsunet.load(REFERS, pyramid_weights=SAM2), REFERS, [REFERS, SAM2]),
        (lambda: dsunet.Segmenter("run", "cpu"), "run", [BEST]),
        (lambda: dsunet.Segmenter(REFERS, "cpu"), REFERS, [REFERS, SAM2]),
        (lambda: dsunet.Segmenter(own(), "cpu", weights=OWN), OWN, [OWN]),
        (lambda: dsunet.load(OWN, model=Net), OWN, [OWN]),
        (lambda: create_custom(own(), OWN), OWN, [OWN]),
        (
            lambda: dsunet.create_model("dsunet-nano", weights="run", sam_size=128, dino_size=112),
            "run",
            [BEST],
        ),
        (
            lambda: dsunet.create_model("dsunet-tiny", None, pyramid_weights=SAM2),
            SAM2,
            [SAM2],
        ),
        (lambda: dsunet.load_weights(nano(), "run"), "run", [BEST]),
        (lambda: dsunet.DSUNet.from_pretrained("hub"), None, ["model.safetensors"]),
        (lambda: dsunet.convert("run", "out.safetensors"), "run", [BEST]),
        (lambda: main(["info", "run"]), "run", [BEST]),
        (lambda: main(["info", REFERS]), REFERS, [REFERS, SAM2]),
        (lambda: main(["info", OWN]), OWN, [OWN]),
        (lambda: main(["weights", "verify", "run"]), "run", [BEST]),
        (lambda: prune("run", "small", PruneConfig(), fine_tune=False), "run", [BEST]),
    ],
)
@pytest.mark.slow
def test_a_path_is_resolved_once_and_a_file_is_read_once(
    seen: tuple[Counter[str], Counter[str]],
    load: Callable[[], object],
    path: str | None,
    files: list[str],
) -> None:
    load()
    resolved, read = seen
    assert read == dict.fromkeys(files, 1)
    assert set(resolved.values()) == {1}
    assert path is None or resolved[path] == 1


def test_features_read_once(seen: tuple[Counter[str], Counter[str]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from dsunet.data.synthetic import write_synthetic

    write_synthetic(tmp_path / "data", 1, 64)
    images = str(tmp_path / "data" / "images")
    options = ["--maps", "mean", "--formats", "png", "--device", "cpu", "--output", "drawn"]
    assert main(["features", images, "--weights", "run", *options]) == 0
    assert seen == ({"run": 1}, {BEST: 1})


def test_what_is_open_is_taken_as_it_is(work: Path) -> None:
    weights = open_weights("run")
    assert isinstance(weights, Weights)
    assert open_weights(weights) is weights
    assert weights.path == Path("run", BEST)
    assert weights.file is weights.file
    assert weights.custom is None
    assert dsunet.load(weights).config == dsunet.load("run").config  # type: ignore[call-overload]
    custom = open_weights(OWN).custom
    assert custom is not None
    assert custom.name == "my:Net"
    assert open_weights("dsunet-lite").path == weights_of("dsunet-lite")


def test_a_report_of_what_was_read(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command says is of the file that the folder means."""
    assert main(["info", "run", "--json", "about.json"]) == 0
    assert json.loads(Path("about.json").read_text())["file"] == str(Path("run", BEST))
