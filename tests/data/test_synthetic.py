"""Generated pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsunet.data.synthetic import synthetic_pair, write_synthetic
from dsunet.errors import OutputError


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
