"""What outputs are called, and folders that cannot be read: the rest is done."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

import dsunet
from dsunet.cli import main
from dsunet.data.synthetic import synthetic_pair
from dsunet.predict import plan_outputs, predict_files
from dsunet.predict.plan import Job
from helpers import nano

Drawn = Callable[..., Path]


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(nano(), device="cpu")


@pytest.fixture
def draw(tmp_path: Path) -> Drawn:
    """Small pictures of the given names in a folder, which is made."""

    def drawn(*names: str, folder: str = "in") -> Path:
        for number, name in enumerate(names):
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            kind = {".HEIC": "PNG"}.get(file.suffix)
            synthetic_pair(number, 40)[0].save(file, kind)
        return tmp_path / folder

    return drawn


def named(jobs: list[Job], folder: Path) -> dict[str, str]:
    return {str(job.image.relative_to(folder)): job.name.as_posix() for job in jobs}


class TestTwins:
    def test_they_keep_their_ending(self, draw: Drawn) -> None:
        folder = draw("a.jpg", "a.png", "b.jpg", "c.png", "deep/a.jpg", "deep/x.jpg", "deep/x.webp")
        jobs = plan_outputs([folder], "out")
        assert named(jobs, folder) == {
            "a.jpg": "a.jpg.png",
            "a.png": "a.png.png",
            "b.jpg": "b.png",
            "c.png": "c.png",
            "deep/a.jpg": "deep/a.png",
            "deep/x.jpg": "deep/x.jpg.png",
            "deep/x.webp": "deep/x.webp.png",
        }
        assert [job.told_apart for job in jobs].count(True) == 4
        assert not any(job.trouble for job in jobs)

    def test_three_of_a_kind_and_a_name_that_looks_like_an_output(self, draw: Drawn) -> None:
        folder = draw("a.jpg", "a.png", "a.webp", "a.jpg.bmp")
        jobs = plan_outputs([folder], folder.parent / "out")
        assert len({job.name for job in jobs if not job.trouble}) == 4

    def test_of_several_folders(self, draw: Drawn) -> None:
        first, second = draw("x.jpg", "y.jpg", folder="one"), draw("x.jpg", folder="two")
        jobs = plan_outputs([first, second], "out")
        assert named(jobs, first.parent) == {
            "one/x.jpg": "one/x.jpg.png",
            "two/x.jpg": "two/x.jpg.png",
            "one/y.jpg": "y.png",
        }
        files = plan_outputs([first / "x.jpg", second / "x.jpg"], "out")
        assert named(files, first.parent) == {
            "one/x.jpg": "one/x.jpg.png",
            "two/x.jpg": "two/x.jpg.png",
        }

    def test_what_cannot_be_told_apart_fails_alone(
        self, draw: Drawn, segmenter: dsunet.Segmenter, tmp_path: Path
    ) -> None:
        first = draw("x.jpg", "y.jpg", folder="one/same")
        second = draw("x.jpg", "z.jpg", folder="two/same")
        jobs = plan_outputs([first, second], tmp_path / "out")
        report = predict_files(segmenter, jobs, tmp_path / "out")
        assert report.written == 3
        assert [(path, "is that of" in why) for path, why in report.failures] == [
            (second / "x.jpg", True)
        ]

    def test_a_file_that_is_meant_twice_is_done_once(self, draw: Drawn) -> None:
        folder = draw("a.jpg", "b.jpg")
        jobs = plan_outputs([folder, folder / "a.jpg", f"{folder}/*.jpg"], "out")
        assert named(jobs, folder) == {"a.jpg": "a.png", "b.jpg": "b.png"}

    def test_it_is_said_once_and_found_again(
        self, draw: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: Path
    ) -> None:
        folder = draw("IMG_1.HEIC", "IMG_1.jpg", "IMG_2.jpg")
        out = tmp_path / "out"
        arguments = ["predict", str(folder), "--weights", str(trained), "--output", str(out)]
        assert main(arguments) == 0
        said = capsys.readouterr().out
        assert said.count("2 images share their stem with another") == 1
        assert "IMG_1.HEIC: IMG_1.HEIC.png)" in said
        images = {file.name for file in out.glob("*.png")}
        assert images == {"IMG_1.HEIC.png", "IMG_1.jpg.png", "IMG_2.png"}
        assert main([*arguments, "--resume"]) == 0
        assert "0 of 3 images written" in capsys.readouterr().out

    def test_a_list_of_names_means_all_of_a_stem(self, draw: Drawn) -> None:
        folder = draw("a.jpg", "a.png", "b.jpg", "cat/c.jpg", "dog/c.jpg")
        by_stem = plan_outputs([folder], "out", names=["a"])
        assert named(by_stem, folder) == {"a.jpg": "a.jpg.png", "a.png": "a.png.png"}
        by_path = plan_outputs([folder], "out", names=["cat/c"])
        assert named(by_path, folder) == {"cat/c.jpg": "cat/c.png"}
        accented = draw("e\u0301/f.jpg", folder="accents")
        name = unicodedata.normalize("NFC", "e\u0301/f")
        assert len(plan_outputs([accented], "out", names=[name])) == 1


class TestUnreadableFolders:
    @pytest.mark.parametrize(
        "error",
        [
            PermissionError(13, "Permission denied"),
            OSError(5, "Input/output error"),
            OSError(116, "Stale file handle"),
        ],
    )
    def test_the_rest_is_done(
        self,
        draw: Drawn,
        tmp_path: Path,
        error: OSError,
        trained: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        folder, scan = draw("a.jpg", "locked/b.jpg", "open/c.jpg"), os.scandir

        def scandir(place: str) -> object:
            if str(place).endswith("locked"):
                raise type(error)(error.errno, error.strerror, str(place))
            return scan(place)

        monkeypatch.setattr("os.scandir", scandir)
        out = tmp_path / "out"
        arguments = ["predict", str(folder), "--weights", str(trained), "--output", str(out)]
        assert main(arguments) == 1
        said = capsys.readouterr()
        reason = f"the folder cannot be read ({error.strerror.lower()})"
        assert f"{folder}/locked: {reason}" in said.err
        assert "2 of 3 images written" in said.out
        with open(out / "failures.csv") as file:
            assert list(csv.reader(file)) == [["image", "reason"], [f"{folder}/locked", reason]]
        assert {str(f.relative_to(out)) for f in out.rglob("*.png")} == {"a.png", "open/c.png"}
        assert main([*arguments, "--resume"]) == 1
        assert "0 of 3 images written" in capsys.readouterr().out
        monkeypatch.undo()
        assert main([*arguments, "--resume"]) == 0
        assert (out / "locked" / "b.png").is_file()

    def test_links_that_lead_nowhere(
        self, draw: Drawn, segmenter: dsunet.Segmenter, tmp_path: Path
    ) -> None:
        folder = draw("a.jpg", "sub/b.jpg")
        (folder / "gone").symlink_to(tmp_path / "absent")
        (folder / "self").symlink_to("self")
        (folder / "sub" / "back").symlink_to(folder)  # each folder is looked into once
        (folder / "notes.txt").symlink_to(tmp_path / "absent.txt")  # no folder, no image
        (folder / ".hidden").symlink_to(tmp_path / "absent")
        jobs = plan_outputs([folder], tmp_path / "out")
        assert [job.image.name for job in jobs if job.trouble] == ["gone", "self"]
        report = predict_files(segmenter, jobs, tmp_path / "out")
        assert report.written == 2
        assert all("leads nowhere" in reason for _, reason in report.failures)

    def test_an_earlier_output_does_not_stand_for_a_folder(
        self, draw: Drawn, segmenter: dsunet.Segmenter, tmp_path: Path
    ) -> None:
        folder, out = draw("sub.jpg", "a.jpg"), tmp_path / "out"
        (folder / "sub").symlink_to(tmp_path / "absent")
        for resume in (False, True):
            jobs = plan_outputs([folder], out)
            report = predict_files(segmenter, jobs, out, resume=resume)
            assert [path.name for path, _ in report.failures] == ["sub"]
        assert report.skipped == 2

    def test_nothing_can_be_read(self, draw: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = draw("a.jpg")

        def refuse(place: str) -> object:
            raise PermissionError(13, "Permission denied", str(place))

        monkeypatch.setattr("os.scandir", refuse)
        (job,) = plan_outputs([folder], "out")
        assert job.image == folder
        assert "cannot be read" in job.trouble
