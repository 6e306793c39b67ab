"""Groups stay whole, parts look alike, folds are what they were."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig, MaskReading
from dsunet.data.checks.look import check_data
from dsunet.data.grouping import (
    RUNNING_NUMBERS,
    folds,
    groups_of,
    held_out,
    running,
    strata_of,
)
from dsunet.data.pairing import find_pairs
from dsunet.data.split import split_data
from dsunet.errors import ConfigError, DataError
from helpers import SHARED

FRAMES = [f"p{patient:02}_{frame:02}" for patient in range(1, 12) for frame in range(1, 7)]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Six frames of each of eleven patients; of odd patients all masks are empty."""
    rng = np.random.default_rng(0)
    for name in FRAMES:
        for folder in ("images", "masks"):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "set" / "images" / f"{name}.png")
        mask = np.zeros((16, 16), np.uint8)
        if int(name[1:3]) % 2 == 0:
            mask[: int(name[4:])] = 255
        Image.fromarray(mask).save(tmp_path / "set" / "masks" / f"{name}.png")
    return tmp_path / "set"


class TestGroups:
    def test_by_expression(self) -> None:
        names = ["p02_01", "p02_02", "p03_01"]
        expected = {"p02_01": "p02", "p02_02": "p02", "p03_01": "p03"}
        for pattern in ("^[^_]+", r"^(p\d+)_", RUNNING_NUMBERS, r"(?P<patient>p\d+)"):
            assert groups_of(names, pattern) == expected
        two = groups_of(["a/1_x", "a/2_x", "b/1_x"], r"^(\w+)/(\d)")
        assert two == {"a/1_x": "a/1", "a/2_x": "a/2", "b/1_x": "b/1"}

    def test_by_table(self, tmp_path: Path) -> None:
        file = tmp_path / "groups.csv"
        file.write_text('\ufefffile,patient\na.jpg,"Doe, J"\ncat/b,2\n\nother,3\n', "utf-8")
        assert groups_of(["a", "cat/b"], str(file)) == {"a": "Doe, J", "cat/b": "2"}

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("^x", r"'\^x' gives 3 of 3 pairs no group \(p02_01, p02_02, p03_01\)"),
            ("^p", r"puts all 3 pairs into one group \('p'\)"),
            ("^p02_01|^p03", "gives 1 of 3 pairs no group"),
            ("absent.csv", r"absent\.csv cannot be read"),
        ],
    )
    def test_what_is_no_grouping(self, pattern: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            groups_of(["p02_01", "p02_02", "p03_01"], pattern)

    def test_errors_of_tables_and_expressions(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"group_by is '\(', but needs a regular expression"):
            groups_of(["a"], "(")
        file = tmp_path / "x.csv"
        file.write_text("a,1\nb\n")
        with pytest.raises(DataError, match="line 2 is 'b', but needs a name and its group"):
            groups_of(["a", "b"], str(file))
        file.write_text("a,1\na.png,2\n")
        with pytest.raises(DataError, match="line 2 puts a into '2', but it is in '1'"):
            groups_of(["a", "b"], str(file))


class TestParts:
    @settings(deadline=None)
    @given(
        st.dictionaries(st.text("abc123_", min_size=1), st.integers(0, 9), min_size=2),
        st.integers(2, 6),
        st.integers(0, 99),
        st.booleans(),
    )
    def test_every_pair_is_in_one_fold_and_groups_stay_whole(
        self, of: dict[str, int], count: int, seed: int, stratify: bool
    ) -> None:
        groups = {name: str(group) for name, group in of.items()}
        strata = {name: str(len(name) % 2) for name in of} if stratify else None
        if len(set(groups.values())) < count:
            with pytest.raises(DataError, match=f"groups cannot be divided into {count} folds"):
                folds(of, count, seed, groups, strata)
            return
        parts = folds(of, count, seed, groups, strata)
        assert sorted(name for part in parts for name in part) == sorted(of)
        of_part = [{groups[name] for name in part} for part in parts]
        assert sum(map(len, of_part)) == len(set(groups.values()))
        assert all(parts)
        assert folds(reversed(list(of)), count, seed, groups, strata) == parts

    @settings(deadline=None)
    @given(
        st.dictionaries(st.text("abc123_", min_size=1), st.integers(0, 9), min_size=2),
        st.floats(0.01, 0.99),
        st.integers(0, 99),
    )
    @pytest.mark.slow
    def test_held_out_groups_stay_whole(
        self, of: dict[str, int], fraction: float, seed: int
    ) -> None:
        groups = {name: str(group) for name, group in of.items()}
        if len(set(groups.values())) < 2:
            with pytest.raises(DataError, match="1 groups cannot be split"):
                held_out(of, fraction, seed, groups)
            return
        out = held_out(of, fraction, seed, groups)
        assert 0 < len(out) < len(of)
        assert not {groups[n] for n in out} & {groups[n] for n in of if n not in out}
        assert held_out(reversed(list(of)), fraction, seed, groups) == out

    def test_even_folds(self) -> None:
        names = [f"{i:03}" for i in range(103)]
        parts = folds(names, 5, 0)
        assert sorted(map(len, parts)) == [20, 20, 21, 21, 21]
        assert folds(names, 5, 1) != parts
        # 7, 5, 4, 3, 1: the largest first, each to the emptiest
        groups = {
            f"{g}{i}": g for g, n in zip("abcde", (7, 5, 4, 3, 1), strict=True) for i in range(n)
        }
        parts = folds(groups, 2, 0, groups)
        assert sorted({groups[name] for name in part} for part in parts) in (
            [{"a", "d"}, {"b", "c", "e"}],
            [{"b", "c", "e"}, {"a", "d"}],
        )

    def test_strata(self) -> None:
        names = [f"{i:03}" for i in range(100)]
        strata = {name: "empty" if int(name) < 20 else "object" for name in names}
        for part in folds(names, 5, 3, None, strata):
            assert Counter(strata[name] for name in part) == {"empty": 4, "object": 16}
        out = held_out(names, 0.25, 3, None, strata)
        assert Counter(strata[name] for name in out) == {"empty": 5, "object": 20}

    def test_strata_of_masks(self, patients: Path) -> None:
        """5 patients of 6 frames: 1 to 6 of 16 rows are object."""
        pairs = find_pairs(patients)
        assert Counter(strata_of(pairs, "empty", MaskReading()).values()) == {
            "empty": 36,
            "object": 30,
        }
        sizes = strata_of(pairs, "size", MaskReading())
        assert [sizes[f"p02_{i:02}"] for i in range(1, 7)] == [
            f"size {third}" for third in (0, 0, 1, 1, 2, 2)
        ]
        (patients / "masks" / "p02_01.png").write_bytes(b"")
        assert strata_of(pairs, "size", MaskReading())["p02_01"] == "unknown"


class TestSplit:
    def test_groups_and_folds_of_a_set(self, patients: Path) -> None:
        split = split_data(DataConfig(str(patients), val_fraction=0.2, group_by="^[^_]+"), 0)
        of = [{pair.name[:3] for pair in side} for side in (split.training, split.validation)]
        assert not of[0] & of[1]
        assert len(split.validation) == 12  # two patients of 66 frames
        assert split.grouped
        (line,) = [line for each in split.pairings for line in each.said]
        assert line.startswith("by `group_by`, 2 of 11 groups are held out (p")
        seen: list[str] = []
        for number in range(1, 6):
            fold = DataConfig(
                str(patients), fold=f"{number}/5", group_by="^[^_]+", stratify="empty"
            )
            split = split_data(fold, 0)
            assert len(split.training) + len(split.validation) == 66
            names = [pair.name for pair in split.validation]
            assert len({name[:3] for name in names}) in (2, 3)
            assert {int(name[1:3]) % 2 for name in names} == {0, 1}
            seen += names
        assert sorted(seen) == FRAMES

    def test_folds_instead_of_parts(self, patients: Path) -> None:
        for folder in ("images", "masks"):
            (patients / folder).rename(patients / "train-")
            (patients / folder / "train").mkdir(parents=True)
            (patients / folder / "val").mkdir()
            for i, file in enumerate(sorted((patients / "train-").iterdir())):
                file.rename(patients / folder / ("val" if i < 6 else "train") / file.name)
            (patients / "train-").rmdir()
        split = split_data(DataConfig(str(patients)), 0)
        assert (len(split.training), len(split.validation)) == (60, 6)
        split = split_data(DataConfig(str(patients), fold="1/3"), 0)
        assert (len(split.training), len(split.validation)) == (40, 20)
        said = [line for each in split.pairings for line in each.said]
        assert any("val is not used (`fold` is given)" in line for line in said)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"fold": "0/5"}, "fold is '0/5', but needs NUMBER/COUNT"),
            ({"fold": "6/5"}, "needs NUMBER/COUNT"),
            ({"fold": "1/1"}, "needs NUMBER/COUNT"),
            ({"fold": "2"}, "needs NUMBER/COUNT"),
            ({"fold": "1/5", "val_fraction": 0.2}, "exclude each other"),
            ({"group_by": "x"}, "`group_by` is about pairs that are held out by"),
            ({"stratify": "empty", "val": "x"}, "`stratify` is about pairs"),
            ({"stratify": "sizes", "fold": "1/5"}, "needs empty or size"),
        ],
    )
    def test_settings(self, given: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            DataConfig("data", **given)  # type: ignore[arg-type]

    def test_more_folds_than_groups(self, patients: Path) -> None:
        with pytest.raises(DataError, match="11 groups cannot be divided into 20 folds"):
            split_data(DataConfig(str(patients), fold="1/20", group_by="^[^_]+"), 0)


class TestRunning:
    def test_by_hand(self) -> None:
        training = ["p01_1", "p01_2", "p02_1", "p02_3", "p03_1", "p03_2"]
        (found,) = running(training, ["p02_2", "p04_1", "p04_2"])
        assert found == ("p02", ["p02_1", "p02_3"], ["p02_2"])

    @pytest.mark.parametrize(
        ("training", "validation"),
        [
            (["1", "2", "3"], ["4"]),  # numbers alone
            (["In_1", "In_2", "Pa_1", "Pa_2"], ["In_3", "Pa_3"]),  # kinds
            (["photo9_1", "photo9_2"], ["photo9_3"]),  # all begin alike
            (["p1_1", "p1_2", "p2_1"], ["p3_1", "p3_2"]),  # whole runs
            (["a1_9", "a1_999", "a2_9", "a2_999"], ["a1_500", "a2_500"]),  # drawn from many
            (["p1_1", "a", "b", "c", "d", "e"], ["p1_2", "p2_1", "p2_2"]),  # few of many
        ],
    )
    def test_what_says_nothing(self, training: list[str], validation: list[str]) -> None:
        assert running(training, validation) == []

    def test_the_check_names_the_option(
        self, patients: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["data", "check", str(patients), "--val-fraction", "0.2"]) == 0
        said = capsys.readouterr().out
        assert "runs of numbered names are in both training and validation" in said
        (pattern,) = re.findall(r"hold them out whole by --group-by '(.*)'\)", said)
        flags = ["--val-fraction", "0.2", "--group-by", pattern]
        assert main(["data", "check", str(patients), *flags]) == 0
        said = capsys.readouterr().out
        assert "numbered names" not in said
        assert "by --group-by, 2 of 11 groups are held out" in said

    def test_real_sets(self) -> None:
        """Kinds of defects, and pictures drawn from large collections, are no runs."""
        for name in ("sd-saliency-300", "magnetic-tile-160", "duts-te-200"):
            folder = SHARED / "data" / name
            if not folder.is_dir():
                pytest.skip("the real data are not beside the repository")
            report = check_data(DataConfig(str(folder), val_fraction=0.2, check="headers"))
            assert not [each for each in report.findings if each.kind == "running"], name
