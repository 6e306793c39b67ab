"""The speed of reading data."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsunet.benchmarking import LoaderSpeed, loader_table, measure_loader
from dsunet.data import find_pairs
from dsunet.errors import ImageError
from measured import made_up, variant


def test_the_loader_is_measured(pairs: Path) -> None:
    found = find_pairs(pairs)
    speeds = measure_loader(found, ((64, 64), (56, 56)), batch_size=2, workers=[0, 1], repeats=2)
    assert [each.workers for each in speeds] == [0, 1]
    assert all(len(each.seconds) == 2 and each.images == 4 for each in speeds)
    assert speeds[0].images_per_second == pytest.approx(4 / (sum(speeds[0].seconds) / 2))
    with pytest.raises(ValueError, match="workers is \\[-1\\]"):
        measure_loader(found, ((64, 64), None), batch_size=2, workers=[-1])
    with pytest.raises(ValueError, match="batch_size is 0"):
        measure_loader(found, ((64, 64), None), batch_size=0)
    next((pairs / "images").iterdir()).write_bytes(b"broken")
    with pytest.raises(ImageError, match="not a readable image"):
        measure_loader(found, ((64, 64), None), batch_size=2, workers=[0])


def test_whether_a_step_is_fed() -> None:
    step = made_up(variant(), (0.1,))  # 20 images/s
    speeds = [LoaderSpeed(0, 10, (1.0, 1.0, 9.0)), LoaderSpeed(1, 10, (0.4,))]
    speeds.append(LoaderSpeed(2, 10, (0.8,)))
    table = loader_table(speeds, [step], "dsunet-nano")
    start, adds = "a step of dsunet-nano takes 20.0", "reading adds 200 % to every step"
    assert f"0 workers: 10.0 images/s; {start}: {adds}." in table.notes
    assert f"1 worker: 25.0 images/s; {start}: fed." in table.notes
    assert f"2 workers: 12.5 images/s; {start}: NOT fed." in table.notes
    assert "fed" not in " ".join(loader_table(speeds, [], "dsunet-nano").notes)
