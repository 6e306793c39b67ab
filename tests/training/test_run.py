"""Training from end to end on small generated pictures."""

from __future__ import annotations

import csv
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig, model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import DataError, DeviceError, OutputError, WeightsError
from dsunet.network.model import DSUNet
from dsunet.weights.checkpoint import read_checkpoint
from runs import MODEL, run

pytestmark = pytest.mark.usefixtures("plain")


@pytest.mark.slow
def test_prediction_gives_the_very_measures_of_validation(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    names = (trained / "val.txt").read_text().split()
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / folder).mkdir()
        for name in names:
            source = pictures / folder / f"{name}.{suffix}"
            (tmp_path / folder / source.name).write_bytes(source.read_bytes())
    for weights in ("best", "last"):
        about, _ = read_checkpoint(trained / f"{weights}.safetensors")
        segmenter = dsunet.Segmenter(trained / f"{weights}.safetensors", device="cpu")
        jobs = dsunet.predict.plan_outputs([tmp_path / "images"], tmp_path / weights)
        dsunet.predict.predict_files(segmenter, jobs, tmp_path / weights)
        scores = dsunet.evaluate(tmp_path / weights, tmp_path / "masks")
        counts = {"images": 3, "without_object": 0, "false_alarms": 0}
        assert scores == {**about["training"]["measures"], **counts}


def test_every_step_trains_batchnorm(trained: Path) -> None:
    """Validation and pictures in between leave the model in training mode."""
    steps = 2 * 2  # seven pairs in batches of four, the last one short
    for name, value in read_checkpoint(trained / "last.safetensors")[1].items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == steps, name


@pytest.mark.slow
def test_training_learns(pictures: Path, tmp_path: Path) -> None:
    """Twelve steps on four pictures bring the loss down by a third."""
    names = tmp_path / "few.txt"
    names.write_text("salient_00000\nsalient_00002\nsalient_00004\nsalient_00006\n")
    data = {
        "data": str(pictures),
        "train_list": str(names),
        "workers": 0,
        "horizontal_flip": 0,
        "vertical_flip": 0,
    }
    run(tmp_path / "run", pictures, data=data, epochs=12, encoder_lr=2e-4, clip_grad_norm=1)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] * 2 / 3


def test_a_run_that_came_first_is_left_alone(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has made a whole run in the folder while this one built its model."""
    build = dsunet.training.building.create_from_config

    def slowly(*arguments: object, **options: object) -> DSUNet:
        monkeypatch.setattr("dsunet.training.building.create_from_config", build)
        run(tmp_path / "run", pictures, epochs=1, seed=7)
        return build(*arguments, **options)

    monkeypatch.setattr("dsunet.training.building.create_from_config", slowly)
    with pytest.raises(OutputError, match="exists and is not empty"):
        run(tmp_path / "run", pictures, epochs=1)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == 7


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs Linux, where /sys is not writable")
def test_a_read_only_place_is_found_before_the_start(pictures: Path) -> None:
    with pytest.raises(OutputError, match=r"/sys/run cannot be written to"):
        run(Path("/sys/run"), pictures)


def test_a_set_smaller_than_a_batch_trains(pictures: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "run", pictures, epochs=1, batch_size=64).epochs == 1


def test_training_from_another_thread(pictures: Path, tmp_path: Path) -> None:
    """As notebooks and servers do; only the main thread may handle signals."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run, tmp_path / "run", pictures, epochs=1).result()
    assert result.weights.is_file()


def test_same_seed_same_weights(pictures: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "a", pictures, epochs=1)
    second = run(tmp_path / "b", pictures, epochs=1)
    other = run(tmp_path / "c", pictures, epochs=1, seed=1)
    states = [read_checkpoint(result.weights)[1] for result in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.slow
def test_frozen_encoders_are_left_alone(pictures: Path, tmp_path: Path) -> None:
    model = dataclasses.replace(
        MODEL, train_pyramid=False, train_semantic=False, adapter_channels=8
    )
    torch.manual_seed(0)
    result = run(tmp_path / "run", pictures, model, epochs=1, seed=3, weights=None)
    import lightning as L

    L.seed_everything(3, verbose=False)
    fresh = dsunet.network.build.build_model(model).state_dict()
    for name, value in read_checkpoint(result.weights)[1].items():
        frozen = name.startswith(("hiera.trunk", "dinov2.trunk")) and ".adapter." not in name
        assert torch.equal(value, fresh[name]) == frozen, name
    resume = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)
    assert not [n for n in resume["state_dict"] if ".trunk." in n and ".adapter." not in n], (
        "the resume state holds frozen encoders"
    )


@pytest.mark.slow
def test_ablation_without_dinov2_trains(pictures: Path, tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, injection="none")
    result = run(tmp_path / "run", pictures, model, epochs=1)
    assert dsunet.load(result.weights).semantic is None


@pytest.mark.slow
def test_accumulation_loss_and_other_options(pictures: Path, tmp_path: Path) -> None:
    result = dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(images=f"{pictures}/images", masks=f"{pictures}/masks", workers=0),
        TrainConfig(
            epochs=1, batch_size=2, accumulate=2, device="cpu", deterministic=True, weight_decay=0
        ),
        LossConfig("boundary_weighted", (0, 0, 1)),
    )
    assert result.weights.name == "last.safetensors"
    assert result.measures == {}
    assert result.best_epoch == 0


@pytest.mark.slow
def test_early_stop(pictures: Path, tmp_path: Path) -> None:
    """With a learning rate of nothing, S moves by BatchNorm's statistics alone and soon stops."""
    data = {"data": str(pictures), "val_fraction": 0.5, "workers": 0}
    options = {"epochs": 40, "lr": 1e-12, "min_lr": 0.0, "early_stop": 2}
    result = run(tmp_path / "run", pictures, data=data, **options)
    assert result.epochs == result.best_epoch + 2
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    again = run(tmp_path / "run", pictures, data=data, resume=True, **options)
    assert again.epochs == result.epochs
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


@pytest.mark.slow
def test_the_last_epoch_is_always_validated(pictures: Path, tmp_path: Path) -> None:
    data = {"data": str(pictures), "val_fraction": 0.5, "workers": 0}
    run(tmp_path / "run", pictures, data=data, epochs=3, val_every=2)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert [bool(row["S"]) for row in csv.DictReader(file)] == [False, True, True]


@pytest.mark.slow
def test_starting_from_a_run(trained: Path, pictures: Path, tmp_path: Path) -> None:
    result = dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(pictures, workers=0),
        TrainConfig(epochs=1, batch_size=4, lr=1e-12, min_lr=0, device="cpu"),
        weights=trained,
    )
    before = read_checkpoint(trained / "best.safetensors")[1]
    after = read_checkpoint(result.weights)[1]
    name = "decoder.heads.2.weight"
    torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)


def test_lists_and_fractions_go_together(pictures: Path, tmp_path: Path) -> None:
    names = [f"salient_{n:05d}" for n in (0, 2, 4, 6, 8)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    data = {
        "data": str(pictures),
        "train_list": str(tmp_path / "list.txt"),
        "val_fraction": 0.4,
        "workers": 0,
    }
    run(tmp_path / "run", pictures, data=data, epochs=1, batch_size=2)
    lists = [(tmp_path / "run" / n).read_text().split() for n in ("train.txt", "val.txt")]
    assert [len(each) for each in lists] == [3, 2]
    assert sorted(lists[0] + lists[1]) == names


def test_bad_starts(pictures: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists and is not empty"):
        run(trained, pictures)
    with pytest.raises(OutputError, match=r"was started with val_fraction = 0\.3, not 0\.0"):
        run(trained, pictures, resume=True)
    with pytest.raises(ValueError, match="early_stop needs a validation set"):
        run(tmp_path / "new", pictures, early_stop=1)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no usable NVIDIA GPU"):
            run(tmp_path / "new", pictures, device="cuda")
    with pytest.raises(DeviceError, match="names one, but devices is 2"):
        run(tmp_path / "new", pictures, device="cpu:0", devices=2)
    with pytest.raises(WeightsError, match="were not fetched"):
        run(tmp_path / "new", pictures, model_config("dsunet-tiny"))
    assert not (tmp_path / "new").exists()


def test_broken_headers_and_sizes_are_found_before_training(pictures: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 6, 64)
    (tmp_path / "set" / "images" / "salient_00000.jpg").write_bytes(b"broken")
    Image.new("L", (9, 9)).save(tmp_path / "set" / "masks" / "salient_00002.png")
    with pytest.raises(DataError, match="the data set has 2 errors") as caught:
        run(tmp_path / "run", pictures, data={"data": str(tmp_path / "set"), "workers": 0})
    assert "salient_00000.jpg: not a readable image" in str(caught.value)
    assert "is 9×9" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_clear_line(pictures: Path, tmp_path: Path, workers: int) -> None:
    """Its header is whole, so it is found only when it is read."""
    write_synthetic(tmp_path / "set", 4, 64)
    broken = tmp_path / "set" / "images" / "salient_00000.jpg"
    data = broken.read_bytes()
    broken.write_bytes(data[: data.index(b"\xff\xda") + 20])
    with pytest.raises(DataError) as caught:
        run(
            tmp_path / "run",
            pictures,
            data={"data": str(tmp_path / "set"), "workers": workers},
        )
    assert "salient_00000.jpg: not a readable image" in str(caught.value)
    assert "\n" not in str(caught.value)
