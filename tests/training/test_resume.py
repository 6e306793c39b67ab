"""A run that goes on comes to what an uninterrupted one comes to, bit for bit."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

import dsunet
from dsunet.config import DataConfig, TrainConfig
from dsunet.training.callbacks import DurableCheckpoints, RunFolder
from runs import MODEL, run, states_equal

pytestmark = pytest.mark.usefixtures("plain")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_run_equals_uninterrupted(
    pictures: Path, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    """Whatever the number of processes that read: the uninterrupted run had none."""
    data = {"data": str(pictures), "workers": workers}

    class Killed(Exception):
        pass

    def stop_after_first_epoch(line: str) -> None:
        if line.startswith("epoch 1"):
            raise Killed

    recipe = TrainConfig(epochs=3, batch_size=4, device="cpu")
    with pytest.raises(Killed):
        dsunet.train(
            tmp_path / "cut", MODEL, DataConfig(**data), recipe, on_line=stop_after_first_epoch
        )
    resumed = run(tmp_path / "cut", pictures, data=data, epochs=3, resume=True)
    assert resumed.epochs == 3
    assert states_equal(uninterrupted / "last.safetensors", resumed.weights)
    assert same_metrics(uninterrupted, tmp_path / "cut")


def same_metrics(first: Path, second: Path) -> bool:
    """All but the seconds, which are in the last column."""
    rows = [(folder / "metrics.csv").read_text().splitlines() for folder in (first, second)]
    return [r.rsplit(",", 1)[0] for r in rows[0]] == [r.rsplit(",", 1)[0] for r in rows[1]]


@pytest.mark.parametrize(
    ("accumulate", "average", "workers"),
    [
        (2, 0.8, 0),
        *((accumulate, average, 2) for accumulate in (1, 2) for average in (0.0, 0.8)),
    ],
)
@pytest.mark.slow
def test_a_run_goes_on_inside_an_epoch(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accumulate: int,
    average: float,
    workers: int,
) -> None:
    """With validation, and a state saved after every step; killed after every other."""
    data = {"data": str(pictures), "val_fraction": 0.2, "workers": workers}
    recipe = {"epochs": 2, "batch_size": 2, "accumulate": accumulate, "save_every": 0}
    recipe |= {"average": average, "cosine_by": "step"}
    whole = run(tmp_path / "whole", pictures, data=data, **recipe)

    class Killed(Exception):
        pass

    save_state, positions = RunFolder._save_state, []

    def save_and_die(self: RunFolder, trainer: object) -> None:
        save_state(self, trainer)
        positions.append(self._position)
        if len(positions) % 2 == 0:
            raise Killed

    monkeypatch.setattr(RunFolder, "_save_state", save_and_die)
    for _ in range(10):
        with contextlib.suppress(Killed):
            cut = run(tmp_path / "cut", pictures, data=data, resume=True, **recipe)
            break
    inside = [(e, b) for e in range(2) for b in range(accumulate, 4, accumulate)]
    assert positions == sorted([*inside, (1, 0), (2, 0)])
    assert cut.epochs == whole.epochs == 2
    for name in ("last.safetensors", "best.safetensors"):
        assert states_equal(tmp_path / "whole" / name, tmp_path / "cut" / name)
    assert same_metrics(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_the_resume_state_takes_no_detour(pictures: Path, tmp_path: Path) -> None:
    """Lightning's own way goes through the folder for temporary files, which may be small."""
    saved = []
    save = DurableCheckpoints.save_checkpoint

    def watched(self: DurableCheckpoints, checkpoint: object, path: Path, **kwargs: object) -> None:
        saved.append(Path(path).name)
        save(self, checkpoint, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DurableCheckpoints, "save_checkpoint", watched)
        patch.setattr("tempfile.mkstemp", None)
        run(tmp_path / "run", pictures, epochs=1)
    assert saved == ["resume.ckpt"]
