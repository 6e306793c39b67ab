"""Generated pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsunet.data.synthetic import scattered_pair, synthetic_pair, write_synthetic
from dsunet.errors import ConfigError, OutputError


class TestSynthetic:
    def test_seeded(self) -> None:
        image, mask = synthetic_pair(4, 64, seed=1)
        assert image.tobytes() == synthetic_pair(4, 64, seed=1)[0].tobytes()
        assert image.tobytes() != synthetic_pair(4, 64, seed=2)[0].tobytes()
        assert image.tobytes() != synthetic_pair(6, 64, seed=1)[0].tobytes()
        assert set(np.unique(mask)) == {0, 255}

    def test_objects_have_a_sensible_size(self) -> None:
        shares = [(np.asarray(synthetic_pair(n, 64)[1]) > 0).mean() for n in range(30)]
        assert min(shares) > 0.02
        assert max(shares) < 0.7

    def test_camouflage_is_harder_to_tell_by_colour(self) -> None:
        def contrast(number: int) -> float:
            image, mask = (np.asarray(x, np.float32) for x in synthetic_pair(number, 64))
            inside = mask > 0
            return float(np.abs(image[inside].mean(0) - image[~inside].mean(0)).max())

        salient = np.median([contrast(n) for n in range(0, 40, 2)])
        camouflaged = np.median([contrast(n) for n in range(1, 40, 2)])
        assert salient > 2 * camouflaged

    def test_folder_must_be_empty(self, folder: Path) -> None:
        with pytest.raises(OutputError, match="not empty"):
            write_synthetic(folder, 2)
        with pytest.raises(ValueError, match="at least 1 and 32"):
            write_synthetic(folder.parent / "new", 2, size=8)


def test_small_objects_are_scattered_and_of_their_size() -> None:
    from scipy import ndimage

    counts, sides = [], []
    for number in range(16):
        image, mask = scattered_pair(number, 300, seed=3, object_size=12, objects=3)
        assert image.size == mask.size == (300, 300)
        labels, count = ndimage.label(np.asarray(mask))
        counts.append(count)
        for rows, columns in ndimage.find_objects(labels):
            sides += [rows.stop - rows.start, columns.stop - columns.start]
    assert min(counts) == 0
    assert max(counts) == 3
    assert min(sides) >= 9
    assert max(sides) <= 19
    again, other = (scattered_pair(1, 300, seed, 12, 3)[0].tobytes() for seed in (3, 4))
    assert again == scattered_pair(1, 300, 3, 12, 3)[0].tobytes() != other


def test_a_set_of_small_objects_is_written_or_refused(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 2, 64, object_size=8)
    assert len(list((tmp_path / "set" / "masks").iterdir())) == 2
    for settings, said in (
        ({"object_size": 17}, "object_size is 17, but needs 4 to 16, a quarter of `size`"),
        ({"object_size": 3}, "object_size is 3"),
        ({"object_size": 8, "objects": 0}, "objects is 0, but needs at least 1"),
        ({"objects": 2}, "objects is 2, but is of small ones: give `object_size`"),
    ):
        with pytest.raises(ConfigError, match=said):
            write_synthetic(tmp_path / "no", 2, 64, **settings)
        assert not (tmp_path / "no").exists()
