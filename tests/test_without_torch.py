"""What works where torch is not installed, and what the rest says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair

# Runs the command line as it is where no package of the extra `train` can be found.
ALONE = """
import importlib.util, sys

ABSENT = {"torch", "torchvision", "timm", "lightning", "safetensors", "huggingface_hub", "rich"}
real = importlib.util.find_spec

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT - set(sys.argv[1].split(",")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def find_spec(name, package=None):
    return None if name in ABSENT else real(name, package)

sys.meta_path.insert(0, Absent())
importlib.util.find_spec = find_spec
from dsunet.cli import main
status = main(sys.argv[2:])
assert not ABSENT - {"rich"} & {name for name in sys.modules if sys.modules[name]}
sys.exit(status)
"""


def alone(*arguments: object, there: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `dsunet` without torch; `there`: packages that are there all the same."""
    return subprocess.run(
        [sys.executable, "-c", ALONE, there, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for number in range(3):
        image, mask = synthetic_pair(number, 120)
        image.save(root / "images" / f"{number}.png")
        mask.save(root / "masks" / f"{number}.png")
    return root


def test_pictures_are_predicted_as_with_torch(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = alone(
        "predict", folder / "images", "--output", out, "--save", "probability,cutout,overlay"
    )
    assert done.returncode == 0, done.stderr
    assert "on cpu, float32, by onnxruntime" in done.stdout
    network = dsunet.Segmenter(device="cpu", precision="float32")
    file = dsunet.Segmenter(engine="onnx")
    for image in sorted((folder / "images").iterdir()):
        found = np.asarray(Image.open(out / "probability" / image.name))
        expected, same = (np.round(each(image).probability * 255) for each in (network, file))
        np.testing.assert_array_equal(found, same)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (out / "cutout" / image.name).is_file()


@pytest.mark.slow
def test_measures_and_checks(folder: Path, tmp_path: Path) -> None:
    maps, masks = tmp_path / "maps", folder / "masks"
    assert alone("predict", folder / "images", "--output", maps).returncode == 0
    record = tmp_path / "scores.json"
    done = alone(
        "evaluate", "--predictions", maps, "--masks", masks, "--json", record, there="rich"
    )
    assert done.returncode == 0, done.stderr
    assert 0 <= json.loads(record.read_text())["S"] <= 1
    done = alone("compare", f"lite={maps}", "--masks", masks, there="rich")
    assert done.returncode == 0, done.stderr
    done = alone("data", "check", folder)
    assert done.returncode == 0, done.stderr


def test_what_is_in_the_weights_that_come_with_it() -> None:
    done = alone("info", "dsunet-lite")
    assert done.returncode == 0, done.stderr
    assert "3,704,227" in done.stdout
    assert "Apache-2.0" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "--data", "x", "--output", "y"],
            "dsunet train needs the package torch; pip install 'dsunet[train]'",
        ),
        (["models"], "dsunet models needs the package torch; pip install 'dsunet[train]'"),
        (
            ["info", "model.safetensors"],
            "dsunet info needs the package torch; pip install 'dsunet[train]'",
        ),
        (
            ["export", "dsunet-lite", "--output", "x.onnx"],
            "export_model needs the package torch; pip install 'dsunet[train]'",
        ),
        (
            ["predict", "x.png", "--weights", "model.safetensors", "--output", "y.png"],
            "model.safetensors needs the package torch; pip install 'dsunet[torch]', or give a "
            "file that `dsunet export` has written elsewhere",
        ),
        (
            ["predict", "x.png", "--engine", "torch", "--output", "y.png"],
            "dsunet-lite needs the package torch; pip install 'dsunet[torch]', or",
        ),
    ],
)
def test_what_needs_torch_says_so_in_one_line(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    given = [str(tmp_path / a) if a == "x.png" else a for a in arguments]
    done = alone(*given)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr


def test_names_of_the_package_say_it_too() -> None:
    code = ALONE.replace("from dsunet.cli import main", "import dsunet").replace(
        "status = main(sys.argv[2:])", "dsunet.load"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ""], capture_output=True, text=True, timeout=60
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("dsunet.load needs the package torch; pip install 'dsunet[train]'")
