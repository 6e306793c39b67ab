"""Choices by facts that are made up, so that each rule has its answer."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dsunet.planning import rules, steps
from dsunet.planning.costs import Costs, Length
from dsunet.planning.facts import DataFacts, Lean
from dsunet.planning.machine import Machine

EVEN = Lean(200, 100)
FACTS = DataFacts(
    pairs=240,
    validation=0,
    looked_at=200,
    broken=(),
    height=300,
    width=400,
    longest_side=400,
    grey=0.0,
    deep=0.0,
    camera=0.0,
    empty=0.0,
    share=0.1,
    per_picture=1.0,
    objects=tuple(0.04 + 0.01 * i for i in range(100)),
    light=(EVEN, EVEN),
    place=(EVEN, EVEN),
)
CPU = Machine("cpu", "float32", 2, 2, 8e9)


def values(choices: list[rules.Choice]) -> dict[str, object]:
    assert all(choice.reason for choice in choices)
    return {choice.name: choice.value for choice in choices}


def test_models() -> None:
    def names(machine: Machine) -> list[str]:
        return [choice.value for choice in rules.models_for(machine)]

    assert names(CPU) == ["dsunet-lite"]
    gpu = replace(CPU, device="cuda", memory=24e9)
    assert names(gpu) == ["dsunet-large", "dsunet-small", "dsunet-lite"]
    assert names(replace(gpu, memory=8e9)) == ["dsunet-small", "dsunet-lite"]
    assert names(replace(gpu, memory=2e9)) == ["dsunet-lite"]


def test_views_that_suit() -> None:
    # five of a hundred are shorter than 16/192, and six than 16/160
    assert rules.views_for(FACTS) == [192, 224, 256, 288, 320, 352, 384]  # 12.5 · 32 is rounded
    assert rules.views_for(replace(FACTS, longest_side=200)) == [192]
    small = replace(FACTS, objects=tuple(side / 4 for side in FACTS.objects))
    # 25 of a hundred are shorter than 16/224, and 30 than 16/192
    assert rules.views_for(small)[0] == 224
    hopeless = replace(FACTS, objects=(0.01,))
    assert rules.views_for(hopeless) == [384]
    assert rules.views_for(replace(FACTS, longest_side=20)) == [128]
    assert rules.views_for(replace(FACTS, longest_side=6000))[-1] == 1024


def test_the_largest_view_that_there_is_time_for() -> None:
    sides = [128, 192, 256, 320]

    def choose(at_128: float) -> rules.Choice:
        return rules.choose_view(FACTS, sides, lambda side: at_128 * (128 / side) ** 2)

    assert choose(1e6).value == 320
    assert "nine in ten pictures" in choose(1e6).reason
    assert choose(45_000).value == 256  # 11,250 images there and 7,200 at 320 px
    assert "fewer than 10,000 images" in choose(45_000).reason
    assert choose(7_000).value == 192  # 3,111 images there: not 10,000 anywhere, but 2,500
    assert choose(1_000).value == 128
    assert "only 1,000 images" in choose(1_000).reason


def test_tiles_where_no_view_of_the_whole_shows_the_objects() -> None:
    assert rules.choose_tile(FACTS, 352) is None
    large = replace(FACTS, longest_side=2000, objects=(0.006,) * 100)  # of 12 px
    tile = rules.choose_tile(large, 352)
    assert tile is not None
    assert (tile.name, tile.value) == ("tile", 256)  # 352 · 12 / 16 = 264
    assert "100 % of the objects are under 16 px even in a view of 1024 px" in tile.reason
    assert tile.reason.endswith("of tiles of 256 px it is 0 %")
    tiny = rules.choose_tile(replace(large, objects=(0.0015,)), 352)  # of 3 px: 66 px would do
    assert tiny is not None
    assert tiny.value == 160  # but no more than twice their size
    assert rules.choose_tile(replace(FACTS, longest_side=150, objects=(0.01,)), 352) is None
    quarter = replace(large, objects=(0.006,) * 25 + (0.1,) * 75)
    assert rules.choose_tile(quarter, 352) is None


def test_tiny_objects_are_told_of() -> None:
    assert rules.tiny_finding(FACTS, 384) is None  # 0.0417 · 384 = 16: two of a hundred
    finding = rules.tiny_finding(FACTS, 128)  # those below 0.125
    assert finding is not None
    assert finding.startswith("9 % of 100 objects are under 16 px long in a view of 128 px")
    side = int(re.findall(r"`sam_size` (\d+)", finding)[0])
    assert FACTS.tiny(side, 16) <= 0.05 < FACTS.tiny(side - 32, 16)
    hopeless = rules.tiny_finding(replace(FACTS, objects=(0.001,)), 192)
    assert hopeless is not None
    assert "even with `sam_size` 1024 it would be 100 %" in hopeless


@pytest.mark.parametrize(
    ("changes", "vertical", "reason", "unsure"),
    [
        ({}, 0.5, "no up or down", ""),
        ({"camera": 0.6}, 0.0, "60 % name a camera", ""),
        ({"light": (Lean(200, 130), EVEN)}, 0.0, "lighter one in 130 of 200", ""),
        ({"place": (Lean(200, 125), EVEN)}, 0.0, "3.5 standard deviations", ""),
        ({"place": (Lean(200, 115), EVEN)}, 0.5, "as chance has it", ""),
        ({"looked_at": 60}, 0.0, "too few to tell", "cannot be told from 60"),
        ({"light": (Lean(200, 40), Lean(200, 60))}, 0.0, "differ", "it may not be gravity"),
    ],
)
def test_flips(changes: dict[str, object], vertical: float, reason: str, unsure: str) -> None:
    choices, finding = rules.choose_flips(replace(FACTS, **changes))
    assert values(choices) == {"horizontal_flip": 0.5, "vertical_flip": vertical}
    assert reason in choices[1].reason
    assert (finding is None) == (unsure == "")
    assert unsure in (finding or "")


def test_crops_and_colours() -> None:
    assert values(rules.choose_changes(FACTS)) == {"crop": 0.7, "colour": 0.3}
    assert values(rules.choose_changes(replace(FACTS, grey=1.0)))["colour"] == 0
    assert values(rules.choose_changes(replace(FACTS, pairs=5000)))["colour"] == 0
    assert values(rules.choose_changes(replace(FACTS, share=0.6)))["crop"] == 0.3


def test_validation() -> None:
    choices, finding = rules.choose_validation(FACTS)
    assert values(choices) == {"val_fraction": 0.2}
    assert "`group_by`" in str(finding)
    choices, finding = rules.choose_validation(replace(FACTS, pairs=5000, empty=0.3, running=True))
    assert values(choices) == {
        "val_fraction": 0.1,
        "group_by": r"^(.*?)[-_. ]*\d+$",
        "stratify": "empty",
    }
    assert finding is None
    assert rules.choose_validation(replace(FACTS, pairs=4))[0] == []


def test_batches_and_rates() -> None:
    assert values(steps.choose_batch(8, 1e4, "it fits")) == {"batch_size": 8, "accumulate": 1}
    assert values(steps.choose_batch(2, 1e4, "it fits")) == {"batch_size": 2, "accumulate": 4}
    assert values(steps.choose_batch(8, 3999, "it fits")) == {"batch_size": 4, "accumulate": 1}
    assert values(steps.choose_batch(8, 4000, "it fits")) == {"batch_size": 8, "accumulate": 1}


@pytest.mark.parametrize(
    ("start", "batch", "images", "expected"),
    [
        ("trained", 8, 1e4, (5e-4, 2e-4)),
        ("trained", 4, 1e4, (3.5e-4, 1.4e-4)),  # times √½
        ("trained", 4, 1200, (1e-3, 5e-4)),  # few steps, so large ones
        ("trained", 8, 4000, (5e-4, 2e-4)),
        ("encoders", 4, 1200, (1e-3, 3e-4)),
        ("none", 8, 1e4, (1e-3, 1e-3)),
    ],
)
def test_rates(start: str, batch: int, images: float, expected: tuple[float, float]) -> None:
    rates = values(steps.choose_rates("dsunet-lite", start, batch, images))
    assert (rates["lr"], rates["encoder_lr"]) == expected


def test_the_encoder_of_nano_learns_slowly() -> None:
    assert values(steps.choose_rates("dsunet-nano", "none", 8, 1e4))["encoder_lr"] == 2e-4


def test_averages() -> None:
    assert values(steps.choose_smoothing(1, 10)) == {"warmup_epochs": 0, "average": 0.9}
    assert values(steps.choose_smoothing(12, 360)) == {"warmup_epochs": 1, "average": 0.944}
    assert values(steps.choose_smoothing(60, 10**5)) == {"warmup_epochs": 3, "average": 0.998}


def test_what_does_not_fit() -> None:
    costs = Costs(1, 0, 0, 1, 0, 0, 0, 0, 9e9)
    found = rules.misfits(FACTS, 384, CPU, costs, Length(1, 1, 241), 60)
    assert len(found) == 2
    assert "1 epoch would take about 4.0 minutes, more than 1" in found[0]
    assert "9.0 GB, and 8.0 GB are free" in found[1]
    least = steps.choose_epochs(Length(1, 1, 241), 1, 240, True)
    assert "not even one fits into 1 minutes" in least[0].reason
    assert steps.choose_epochs(Length(250, 9, 10), 60, 240, False)[0].reason.endswith(
        "more would repeat what is known"
    )
    assert rules.misfits(FACTS, 0, CPU, replace(costs, memory=1e9), Length(1, 1, 9), 60) == []
