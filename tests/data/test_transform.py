"""A user's own change of training pairs: what it is given, what it may give, and its randomness."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.config import DataConfig, TrainConfig
from dsunet.data import find_pairs
from dsunet.data.dataset import PairDataset
from dsunet.data.synthetic import write_synthetic
from dsunet.data.transform import Transform
from dsunet.errors import CustomModelError, DataError

CODE = """
import random
import numpy as np, torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

rotate = v2.Compose([v2.RandomRotation(90), v2.ToDtype(torch.float32, scale=True)])

def draws(image, mask):
    value = int(torch.randint(256, ())) ^ np.random.randint(256) ^ random.randrange(256)
    return torch.full_like(image, value), mask

def turned(image, mask):
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
    layers = mask.permute(1, 2, 0).numpy()
    return np.rot90(image.permute(1, 2, 0).numpy()), np.rot90(layers)

def smaller(image, mask):
    return v2.functional.resize(image, [20, 30]), v2.functional.resize(mask, [20, 30])

def pictures(image, mask):
    return Image.new("RGB", (9, 8)), np.ones((8, 9), bool)

def apart(image, mask):
    return image[:, 1:], mask

def alone(image, mask):
    return image

def grey(image, mask):
    return image[:1], mask

def numbers(image, mask):
    return image.float(), mask

def fails(image, mask):
    raise KeyError("nothing there")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "ownchange.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield "ownchange"
    sys.modules.pop("ownchange", None)


def plain_pair() -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    return values, np.where(values[..., 0] > 90, 255, 0).astype(np.uint8)


def changed(name: str, ignored: bool = False, seed: int = 0) -> tuple[np.ndarray, ...]:
    layers = [Image.fromarray(each) for each in plain_pair()]
    apart = Image.fromarray(np.full((12, 10), 255, np.uint8)) if ignored else None
    rng = np.random.default_rng(seed)
    made = Transform(f"ownchange:{name}")(layers[0], layers[1], apart, rng, "a")
    return tuple(np.asarray(each) for each in made if each is not None)


def test_arrays_tensors_and_pictures(own: str) -> None:
    image, mask = changed("turned")
    plain, truth = plain_pair()
    np.testing.assert_array_equal(image, np.rot90(plain))
    np.testing.assert_array_equal(mask, np.rot90(truth))
    assert [each.shape for each in changed("smaller")] == [(20, 30, 3), (20, 30)]
    image, mask = changed("pictures")
    assert image.shape == (8, 9, 3)
    assert (mask == 255).all()
    three = changed("turned", ignored=True)
    assert [each.shape for each in three] == [(10, 12, 3), (10, 12), (10, 12)]
    assert (three[2] == 255).all()


def test_random_numbers_are_those_of_the_seed_and_leave_no_trace(own: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = float(torch.rand(1)), np.random.random(), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    first = changed("draws", seed=5)[0]
    assert (float(torch.rand(1)), np.random.random(), random.random()) == expected
    np.testing.assert_array_equal(changed("draws", seed=5)[0], first)
    assert any((changed("draws", seed=s)[0] != first).any() for s in (6, 7))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "apart",
            r"ownchange:apart \(`transform`\) gives an image of 11×10 with a mask of 12",
        ),
        ("alone", r"gives 3×12×10 uint8; a pair \(image, mask\) is needed; on a"),
        ("grey", "gives 1×12×10 uint8 as image; 3×H×W uint8 is needed"),
        ("numbers", "gives 3×12×10 float32 as image"),
        ("fails", r"failed: KeyError: 'nothing there' \(.*ownchange.py, line .*; on a"),
    ],
)
def test_what_is_no_pair(own: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        changed(name)


def test_a_data_set_changes_the_same_way_in_every_process(own: str) -> None:
    write_synthetic(Path("data"), 3, 48)
    pairs = find_pairs("data")
    sets = [
        PairDataset(pairs, (64, 64), None, draft=True, transform=transform)
        for transform in (None, Transform("ownchange:rotate"))
    ]
    assert sets[1].preview is None
    copy = pickle.loads(pickle.dumps(sets[1]))
    plain, own_, again = sets[0][0, 1], sets[1][0, 1], copy[0, 1]
    assert torch.equal(own_.sam, again.sam)
    assert torch.equal(own_.mask, again.mask)
    assert not torch.equal(own_.mask, plain.mask)
    assert not torch.equal(own_.mask, sets[1][1, 1].mask)  # of another epoch


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_a_training_with_it_and_one_that_fails_before_it_starts(own: str) -> None:
    write_synthetic(Path("data"), 6, 64)
    recipe = TrainConfig(epochs=1, batch_size=2, device="cpu")
    small = dsunet.config.model_config("dsunet-lite", sam_size=64)
    for workers in (0, 1):
        data = DataConfig("data", transform="ownchange:rotate", workers=workers)
        dsunet.train(f"run{workers}", small, data, recipe, weights=None)
    states = [dsunet.load(f"run{n}").state_dict() for n in (0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for name, error in (("fails", DataError), ("absent", CustomModelError)):
        data = DataConfig("data", transform=f"ownchange:{name}", workers=0)
        with pytest.raises(error):
            dsunet.train("other", small, data, recipe, weights=None)
        assert not Path("other", "config.yaml").exists()
