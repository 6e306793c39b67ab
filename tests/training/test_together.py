"""What processes tell each other, and who speaks when several fail; here they are threads."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from dsunet.errors import AbandonedError, DataError, TrainingError
from dsunet.support.ranks import Ranks
from dsunet.training import together
from dsunet.training.building import synchronised
from dsunet.training.together import Together, lost_contact
from helpers import nano

GONE = RuntimeError(
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
)


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> list[Together]:
    """Three processes of a training, with a store of their own."""
    monkeypatch.setattr(together, "_stores", {})
    monkeypatch.setattr(together, "_numbers", itertools.repeat(7))
    monkeypatch.setattr(together.atexit, "register", lambda *_: None)
    monkeypatch.setenv(together.STORE, "")  # so that it is gone afterwards
    first = Together(Ranks(0, 3, 0, 3))
    return [first, *(Together(Ranks(rank, 3, rank, 3, "dsunet")) for rank in (1, 2))]


def in_all(several: list[Together], function: Callable[[Together], object]) -> list[object]:
    """What comes of it in each, be it an error."""

    def tried(one: Together) -> object:
        try:
            with one.one_voice():
                return function(one)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(several)) as pool:
        return list(pool.map(tried, several))


def test_the_first_one_decides(several: list[Together]) -> None:
    order = []

    def decide(one: Together) -> object:
        with one.first_alone("work"):
            order.append(one.ranks.rank)
        return one.tell("batch", {"size": one.ranks.rank + 4}), one.tell("none", None)

    assert in_all(several, decide) == [({"size": 4}, None)] * 3
    assert order[0] == 0


def test_alone_there_is_nobody_to_tell() -> None:
    alone = Together(Ranks())
    with alone.one_voice(), alone.first_alone("work"):
        assert alone.tell("batch", 4) == 4


@pytest.mark.parametrize("failing", [{0}, {1}, {1, 2}, {0, 1, 2}])
def test_one_speaks_for_all(several: list[Together], failing: set[int]) -> None:
    """Of those that fail at once as well; the others wait for something that never comes."""

    def fail(one: Together) -> None:
        if one.ranks.rank in failing:
            raise DataError("a broken image")
        one._wait(lambda: False)

    errors = in_all(several, fail)
    assert sorted(type(error).__name__ for error in errors) == [
        "AbandonedError",
        "AbandonedError",
        "DataError",
    ]
    speaker = next(n for n, error in enumerate(errors) if type(error) is DataError)
    assert speaker in failing


def test_somebody_speaks_for_the_dead(
    several: list[Together], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_SAY", 0.3)
    spoken = threading.Event()

    def lose(one: Together) -> None:
        if one.ranks.rank == 2:  # killed
            spoken.wait(10)
            return
        raise GONE

    survivors = in_all(several[:2], lose)
    spoken.set()
    kinds = {type(error) for error in survivors}
    assert kinds == {TrainingError, AbandonedError}
    told = next(error for error in survivors if type(error) is TrainingError)
    assert "ended without a word" in str(told)


def test_the_cause_goes_before_what_follows_from_it(several: list[Together]) -> None:
    """One that notices first that another has gone leaves the word to it."""

    def fail(one: Together) -> None:
        if one.ranks.rank == 0:
            raise GONE
        if one.ranks.rank == 1:
            threading.Event().wait(0.3)
            raise DataError("a broken image")

    errors = in_all(several, fail)
    assert [type(error) for error in errors[:2]] == [AbandonedError, DataError]


def test_a_child_that_is_lost_is_noticed(several: list[Together]) -> None:
    first = several[0]
    assert first._is_alone() is None
    children = [subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(3)"])]
    children[0].wait()
    first.adopt(children)
    assert children == []  # Lightning's list: it looks at none any more
    assert first._is_alone() is True
    assert several[1]._is_alone() is None
    several[2]._count("failed")
    assert first._is_alone() is False  # somebody speaks of it


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (GONE, True),
        (dist.DistNetworkError("Broken pipe"), True),
        (dist.DistBackendError("NCCL error: remote process exited"), True),
        (RuntimeError("shapes differ"), False),
        (DataError("Connection closed by peer"), False),
    ],
)
def test_what_says_that_another_has_gone(error: Exception, lost: bool) -> None:
    assert lost_contact(error) is lost


class TestSynchronised:
    def test_every_batchnorm_is(self) -> None:
        model = nano().eval()
        views = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 112, 112)
        with torch.no_grad():
            before = model(*views).fine
        names = list(model.state_dict())
        count = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        model = synchronised(model)
        assert count == sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) > 0
        assert list(model.state_dict()) == names
        with torch.no_grad():
            assert torch.equal(model(*views).fine, before)

    def test_activations_inside_it_stay(self) -> None:
        """As timm's networks have them, such as the lite model's."""
        block = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4)).eval()
        image = torch.randn(2, 3, 5, 5)
        before = block(image)
        assert before.min() == 0
        assert torch.equal(synchronised(block)(image), before)  # type: ignore[type-var]
