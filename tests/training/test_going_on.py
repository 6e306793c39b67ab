"""Going on with a run elsewhere, for longer, or from its weights in another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

import dsunet
from dsunet.cli import main
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import OutputError
from dsunet.weights.checkpoint import read_metadata
from runs import run, states_equal
from weightfiles import dinov2_file

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_synthetic(folder, 4, 72)
    return folder


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, which nobody may change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsunet.training.callbacks.plot_curves", lambda metrics, file: file.touch())
        folder = tmp_path_factory.mktemp("runs") / "begun"
        run(folder, data, epochs=1)
    return folder


@pytest.mark.slow
def test_the_data_may_move_but_not_change(data: Path, begun: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(begun, tmp_path / "run")
    moved = shutil.copytree(data, tmp_path / "elsewhere", copy_function=shutil.copy)
    assert run(folder, moved, epochs=1, resume=True).epochs == 1
    spelled = tmp_path / "run" / ".." / "elsewhere"
    assert run(folder, spelled, epochs=1, resume=True).epochs == 1
    mask = min((moved / "masks").iterdir())
    shutil.copy(max((moved / "masks").iterdir()), mask)
    with pytest.raises(OutputError, match=r"hold something else; .*`weights` .*another `output`"):
        run(folder, moved, epochs=1, resume=True)


def test_a_run_that_noted_no_content_stays_where_it_is(
    data: Path, begun: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(begun, tmp_path / "run")
    text = (folder / "data.json").read_text().replace('"content"', '"nothing"')
    (folder / "data.json").write_text(text)
    assert run(folder, data, epochs=1, resume=True).epochs == 1
    moved = shutil.copytree(data, tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="started with data"):
        run(folder, moved, epochs=1, resume=True)


@pytest.mark.slow
def test_more_epochs_are_those_of_a_run_that_was_cut(
    data: Path, begun: Path, tmp_path: Path
) -> None:
    """The rate is a function of the epoch: with a constant one, longer equals long from the start.

    Its schedule is said, and the settings are those that go on.
    """
    lines: list[str] = []
    folder = tmp_path / "run"
    constant = {"lr": 1e-3, "min_lr": 1e-3}
    run(folder, data, epochs=1, **constant)
    dsunet.train(
        folder,
        **_arguments(data, epochs=2, **constant),
        resume=True,
        on_line=lines.append,
    )
    whole = run(tmp_path / "whole", data, epochs=2, **constant)
    assert states_equal(folder / "last.safetensors", whole.folder / "last.safetensors")
    assert [line for line in lines if line.startswith("2 epochs instead of 1: from epoch 2 on")]
    assert yaml.safe_load((folder / "config.yaml").read_text())["epochs"] == 2
    with pytest.raises(OutputError, match=r"epochs = 2, not 1; .*`weights`"):
        run(folder, data, epochs=1, resume=True, **constant)


def _arguments(data: Path, **recipe: object) -> dict[str, object]:
    from dsunet.config import DataConfig, TrainConfig
    from runs import MODEL

    return {
        "model": MODEL,
        "data": DataConfig(str(data), workers=0),
        "recipe": TrainConfig(**{"batch_size": 4, "device": "cpu", **recipe}),
    }


def test_other_settings_name_the_way(data: Path, begun: Path) -> None:
    with pytest.raises(OutputError, match=r"lr = 0.001, not 0.5.*`weights` .*another `output`"):
        run(begun, data, epochs=1, lr=0.5, resume=True)


def test_all_other_settings_are_named(data: Path, begun: Path) -> None:
    with pytest.raises(OutputError, match=r"lr = 0.001, not 0.5, weight_decay = .*, not 0.25; "):
        run(begun, data, epochs=1, lr=0.5, weight_decay=0.25, resume=True)


@pytest.mark.slow
def test_weights_may_be_written_otherwise(
    data: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = shutil.copytree(begun, tmp_path / "start")
    run(tmp_path / "run", data, epochs=1, weights=str(start))
    monkeypatch.chdir(tmp_path)
    spelled = "./run/../start"
    assert run(tmp_path / "run", data, epochs=1, weights=spelled, resume=True).epochs == 1
    with pytest.raises(OutputError, match="started with weights"):
        run(tmp_path / "run", data, epochs=1, weights=str(begun), resume=True)


class TestFromARun:
    @pytest.mark.slow
    def test_its_weights_bring_the_model_and_the_views(
        self, data: Path, begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["train", "--data", str(data), "--weights", str(begun), "--epochs", "1"]
        flags += ["--workers", "0", "--device", "cpu"]
        assert main([*flags, "--output", str(tmp_path / "next")]) == 0
        assert "dsunet-nano with views of 128 and 112 px" in capsys.readouterr().out
        own, before = (
            read_metadata(folder / "last.safetensors")["model"]
            for folder in (tmp_path / "next", begun)
        )
        assert own == before
        # going on with it, nobody has to say either
        flags = ["train", "--data", str(data), "--epochs", "1", "--workers", "0", "--resume"]
        flags += ["--weights", str(begun), "--device", "cpu", "--output", str(tmp_path / "next")]
        assert main(flags) == 0

    def test_encoders_alone_are_no_model(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["train", "--data", str(data), "--output", "never", "--weights"]
        assert main([*flags, str(tmp_path / "nothing.safetensors")]) == 1
        assert "nothing.safetensors" in capsys.readouterr().err
        alone = dinov2_file(tmp_path / "dinov2.pth")
        assert main([*flags, str(alone)]) == 1
        error = capsys.readouterr().err.strip()
        assert "alone, not a whole model; give it as --semantic-weights" in error
        assert "\n" not in error


def test_without_a_gpu_the_small_model_is_trained_and_said(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def train(output: str, model: object, *_: object, **options: object) -> None:
        asked.append(model.name)  # type: ignore[attr-defined]
        options["on_line"]("found the data")  # type: ignore[operator]
        raise KeyboardInterrupt

    monkeypatch.setattr(dsunet, "train", train)
    flags = ["train", "--data", str(data), "--output", str(tmp_path / "run")]
    main(flags)
    assert "no GPU and no --model: dsunet-lite" in capsys.readouterr().out
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    main(flags)
    main([*flags, "--model", "dsunet-nano"])
    assert asked == ["dsunet-lite", "dsunet-large", "dsunet-nano"]
