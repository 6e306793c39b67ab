"""What a training takes, by a short one: worked out by hand."""

from __future__ import annotations

import pytest

from dsunet.planning.costs import Costs, Length, length_within, validations
from dsunet.planning.trial import Mark, Trial, costs_of

COSTS = Costs(
    start=10,
    check=0.01,
    first=2,
    image=0.1,
    keeping=1,
    validation=0.05,
    best=0.5,
    report=3,
    memory=1e9,
)


def test_seconds_by_hand() -> None:
    # 10 + 0.01·120 + 2 + 3, epochs of 0.1·100 + 1, validations of 0.05·20 + 0.5, a report of 1
    assert COSTS.seconds(10, 3, 100, 20) == pytest.approx(16.2 + 10 * 11 + 4 * 1.5 + 1)
    assert COSTS.seconds(10, 3, 100, 0) == pytest.approx(10 + 1 + 2 + 3 + 110)
    assert [validations(10, n) for n in (1, 3, 5, 10, 11)] == [10, 4, 2, 1, 1]


def test_the_most_epochs_that_fit() -> None:
    found = length_within(COSTS, 200, 100, 20, most=99)
    assert found == Length(15, 2, pytest.approx(17.2 + 15 * 11 + 8 * 1.5))
    assert COSTS.seconds(16, 2, 100, 20) > 200
    assert length_within(COSTS, 200, 100, 20, most=7).epochs == 7
    assert length_within(COSTS, 1, 100, 20, most=99).epochs == 1


def test_seldom_validation_where_it_takes_long() -> None:
    # a validation is 50.5 s and an epoch 11: 46 epochs for a tenth of the time
    assert length_within(COSTS, 1e4, 100, 1000, most=600).val_every == 46
    assert length_within(COSTS, 1000, 100, 1000, most=20).val_every == 4  # but five times
    assert length_within(COSTS, 1000, 100, 1000, most=7).val_every == 4  # but twice
    assert length_within(COSTS, 1000, 100, 1000, most=20, val_every=1).val_every == 1
    assert length_within(COSTS, 1, 100, 20, most=99, epochs=30).epochs == 30


def test_costs_of_a_trial_by_hand() -> None:
    trial = Trial(
        images=20,
        validated=5,
        batch_size=4,
        accumulate=2,
        ready=Mark(6, 3),
        checked=Mark(8.5, 4),
        begun=Mark(10, 5),
        epochs=(Mark(17, 8), Mark(22, 10), Mark(33, 15), Mark(41, 19)),
        seconds=(6.0, 4.0, 8.8, 6.0),
        ended=Mark(47, 23),
        memory=2e9,
    )
    wall = costs_of(trial)
    assert wall.start == pytest.approx(6 + 1.5)
    assert wall.check == pytest.approx(2.5 / 25)
    # 2 s for the first epoch, and 2.8 for the first validation (8.8 s; 6 for the second)
    assert wall.first == pytest.approx(7 - 5 + 2.8)
    assert wall.image == pytest.approx(4 / 20)  # the second epoch but for what it wrote
    assert wall.keeping == pytest.approx(1)
    assert wall.validation == pytest.approx(2 / 5)  # 6 s instead of 4
    assert wall.best == pytest.approx((2.2 + 2.0) / 2 - 1)  # writing took 2.2 and 2 s, not 1
    assert wall.report == pytest.approx(6 - 2)
    assert wall.memory == 2e9
    processor = costs_of(trial, "processor")
    assert processor.image == pytest.approx(2 * 0.8 / 20)
    assert processor.start == pytest.approx(3 + 1)
    assert processor.validation == pytest.approx((4 * 0.75 - 1.6) / 5)
    assert processor.first == pytest.approx(3 - 2 + 5 * 0.8 - 3)
    assert processor.best == pytest.approx((1 + 1) / 2 - 0.4)
    # what was measured comes out again for a training like the trial
    assert wall.seconds(4, 3, 20, 5) == pytest.approx(trial.ended.wall)
    assert processor.seconds(4, 3, 20, 5) == pytest.approx(trial.ended.processor)
