"""Plans as they are made, written, read and obeyed; steps are made up but for the slow test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dsunet.cli import main
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.errors import ConfigError, DataError, WeightsError
from dsunet.planning import Plan, Wishes, as_yaml, make_plan, read_plan, told
from dsunet.planning import machine as machines
from dsunet.planning.machine import Machine
from dsunet.planning.trial import Mark, Task, Trial, costs_of, run_trial
from trials import trial_of

CPU = Machine("cpu", "float32", 2, 1, 8e9)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsunet.planning.plan.look_at_machine", lambda recipe: CPU)


def planned(pictures: Path, minutes: float = 1.0, **wishes: object) -> Plan:
    tasks: list[Task] = []

    def attempt(task: Task) -> Trial:
        tasks.append(task)
        return trial_of(task)

    data = wishes.pop("data", DataConfig(str(pictures)))
    given = frozenset({"data", *wishes.pop("given", ())})
    plan = make_plan(Wishes(data, given=given, minutes=minutes, **wishes), attempt=attempt)
    assert 1 <= len(tasks) <= 4
    last = tasks[-1].request
    assert last.model.sam_size == plan.settings.get("sam_size", last.model.sam_size)
    return plan


def test_a_plan_of_ten_pictures(pictures: Path, cpu: None) -> None:
    plan = planned(pictures)
    assert plan.settings == {
        "model": "dsunet-lite",
        "weights": "full",
        "sam_size": 128,  # more than the pictures' 72 px
        "data": str(pictures),
        "val_fraction": 0.2,
        "horizontal_flip": 0.5,
        "vertical_flip": 0.0,
        "crop": 0.7,
        "colour": 0.3,
        "workers": 1,
        "epochs": 750,  # 8 images of 0.01 s each; what is kept and validated takes nothing
        "batch_size": 8,
        "accumulate": 1,
        "lr": 5e-4,
        "encoder_lr": 2e-4,
        "clip_grad_norm": 2.0,
        "warmup_epochs": 3,
        "average": 0.973,  # 750 steps, of which a twentieth is 37
        "val_every": 1,
    }
    assert (plan.training, plan.validation) == (8, 2)
    assert plan.seconds == pytest.approx(60)
    assert all(choice.reason for choice in plan.choices)
    assert any("too few to tell" in choice.reason for choice in plan.choices)


def test_what_is_given_stands(pictures: Path, cpu: None) -> None:
    recipe = TrainConfig(batch_size=2, lr=7e-4, epochs=5)
    data = DataConfig(str(pictures), fold="1/5", vertical_flip=0.5)
    model = model_config("dsunet-lite", sam_size=160)
    plan = planned(
        pictures,
        data=data,
        recipe=recipe,
        model=model,
        given={"batch_size", "lr", "epochs", "fold", "vertical_flip", "sam_size", "model"},
    )
    for name, value in (
        ("batch_size", 2),
        ("lr", 7e-4),
        ("epochs", 5),
        ("fold", "1/5"),
        ("vertical_flip", 0.5),
        ("sam_size", 160),
    ):
        assert plan.settings[name] == value
        assert next(c.reason for c in plan.choices if c.name == name) == "given by hand"
    assert "val_fraction" not in plan.settings
    assert not any("vertical_flip" in finding for finding in plan.findings)
    assert plan.seconds == pytest.approx(5 * 8 * 0.01 * (160 / 128) ** 2)


def test_a_model_that_cannot_be_had_is_told_of(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = replace(CPU, device="cuda", memory=24e9)
    monkeypatch.setattr("dsunet.planning.plan.look_at_machine", lambda recipe: gpu)
    asked = []

    def attempt(task: Task) -> Trial:
        asked.append(task.request.model.name)
        if task.request.model.name == "dsunet-large":
            raise WeightsError("they were not fetched")
        if task.request.model.name == "dsunet-small":
            trial = trial_of(task)
            slow = tuple(Mark(1e4 * end.wall, 1e4 * end.processor) for end in trial.epochs)
            return replace(trial, epochs=slow, seconds=tuple(1e4 * s for s in trial.seconds))
        return trial_of(task)

    plan = make_plan(
        Wishes(DataConfig(str(pictures)), given=frozenset({"data"}), minutes=1), attempt=attempt
    )
    assert plan.settings["model"] == "dsunet-lite"
    assert list(dict.fromkeys(asked)) == ["dsunet-large", "dsunet-small", "dsunet-lite"]
    assert any("dsunet-large was wanted, but they were not fetched" in f for f in plan.findings)
    assert any("dsunet-small was tried, but 1 minutes" in f for f in plan.findings)


def test_too_little_time_is_told_of(pictures: Path, cpu: None) -> None:
    plan = planned(pictures, minutes=0.0005)
    assert plan.settings["epochs"] == 1
    assert any("more than 0.0005" in finding for finding in plan.findings)
    with pytest.raises(ConfigError, match=r"`minutes` is 0, but needs to be above 0"):
        Wishes(DataConfig(str(pictures)), minutes=0)


def test_too_few_pairs_to_hold_any_out(pairs: Path, cpu: None) -> None:
    plan = planned(pairs)
    assert plan.validation == 0
    assert "val_every" not in plan.settings
    assert any("too few to hold any out" in finding for finding in plan.findings)


def test_text_and_yaml_say_the_same(pictures: Path, cpu: None, tmp_path: Path) -> None:
    plan = planned(pictures)
    file = tmp_path / "plan.yaml"
    file.write_text(as_yaml(plan), encoding="utf-8")
    assert read_plan(file) == yaml.safe_load(file.read_text()) == plan.settings
    text = "\n".join(told(plan))
    for choice in plan.choices:
        assert f"--{choice.name.replace('_', '-')}" in text
        assert choice.reason in as_yaml(plan)
    assert "expected: 1.0 minutes, 2.00 GB in the training's process" in text
    assert all(f"# note: {finding}" in as_yaml(plan) for finding in plan.findings)
    assert max(map(len, text.splitlines()[3:-4])) <= 110


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    for content, said in (("- 1\n", "holds no settings"), ("a: [", "is no YAML")):
        (tmp_path / "plan.yaml").write_text(content)
        with pytest.raises(ConfigError, match=said):
            read_plan(tmp_path / "plan.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


def test_the_machine() -> None:
    found = machines.look_at_machine(TrainConfig(device="cpu", precision="float32"))
    assert (found.device, found.precision) == ("cpu", "float32")
    assert found.memory is None or found.memory > 1e8
    assert "1.5 GB free" in replace(found, memory=1.5e9).described()
    assert "unknown memory" in replace(found, memory=None).described()


# -- the commands

QUICK = "--workers 0 --device cpu --sam-size 128 --val-pictures 0".split()


@pytest.fixture
def steps(cpu: None, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Steps that are made up, and each time that some were asked for."""
    asked: list[Task] = []

    def attempt(task: Task) -> Trial:
        asked.append(task)
        return trial_of(task)

    monkeypatch.setattr("dsunet.planning.plan.run_trial", attempt)
    return asked


@pytest.mark.slow
def test_the_command_writes_what_train_takes(
    pairs: Path, tmp_path: Path, steps: list[Task], plain: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = tmp_path / "plan.yaml", tmp_path / "run"
    assert main(["plan", str(pairs), "--minutes", "1", "--output", str(file), *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "--weights" in shown
    assert "given by hand" in shown
    assert f"--config {file} --output RUN" in shown
    settings = read_plan(file)
    assert settings["device"] == "cpu"
    file.write_text(file.read_text().replace(f"epochs: {settings['epochs']} ", "epochs: 1 ", 1))
    fewer = ["--warmup-epochs", "0"]
    assert main(["train", "--config", str(file), "--output", str(run), *fewer]) == 0
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert {name: kept[name] for name in settings} == settings | {"epochs": 1, "warmup_epochs": 0}


@pytest.mark.slow
def test_train_plans_once(
    pairs: Path, tmp_path: Path, steps: list[Task], plain: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", "--data", str(pairs), "--plan", "auto", "--output", str(run), *QUICK]
    by_hand = ["--epochs", "1", "--warmup-epochs", "0", "--lr", "0.0007"]
    assert main([*command, *by_hand, "--minutes", "1"]) == 0
    asked = len(steps)
    assert asked >= 1
    assert "expected:" in capsys.readouterr().out
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert (kept["epochs"], kept["lr"], kept["workers"]) == (1, 7e-4, 0)
    assert kept["average"] == read_plan(run / "plan.yaml")["average"] != 0
    # going on takes the plan in the folder, and flags go before it
    assert main([*command, *by_hand, "--epochs", "2", "--resume"]) == 0
    assert len(steps) == asked
    assert "epoch 2/2" in capsys.readouterr().out
    # another run into the same folder is refused before anything is tried
    assert main([*command, "--minutes", "1"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert len(steps) == asked


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--plan", "plan.yaml"], "a plan in a file goes by --config"),
        (["--minutes", "5"], "add --plan auto"),
        (["--plan", "auto", "--minutes", "0"], "--minutes is 0, but needs to be above 0"),
    ],
)
def test_misunderstandings(
    pairs: Path, tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(pairs), "--output", str(tmp_path / "run"), *flags]) == 1
    assert said in capsys.readouterr().err


def test_no_data_to_plan_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


# -- steps that are taken


@pytest.mark.slow
def test_real_steps_in_a_process(pictures: Path) -> None:
    """They are measured, and what they cost adds up to what they took."""
    tasks: list[Task] = []
    trials: list[Trial] = []

    def attempt(task: Task) -> Trial:
        tasks.append(task)
        trials.append(run_trial(task))
        return trials[-1]

    recipe = TrainConfig(device="cpu")
    wishes = Wishes(
        DataConfig(str(pictures), workers=0),
        recipe,
        given=frozenset({"data", "workers", "device"}),
        minutes=0.5,
    )
    plan = make_plan(wishes, attempt=attempt)
    trial = trials[-1]
    assert (trial.images, trial.validated) == (8, 2)
    assert 0.2e9 < trial.memory < 5e9
    costs = costs_of(trial)
    assert costs.image > 0
    assert costs.start > 0.1
    told_of = any("would take about" in finding for finding in plan.findings)
    assert plan.seconds <= 1.05 * 30 or told_of
    with pytest.raises(DataError):
        run_trial(replace(tasks[0], split=replace(tasks[0].split, training=[])))
