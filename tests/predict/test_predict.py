"""Prediction: sizes, kinds of output, and what happens to broken images."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, DeviceError, OutputError
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.predict.files import spare_cores
from dsunet.running.maps import quantise
from dsunet.running.place import choose_device, choose_precision
from dsunet.support.files import lock_folder
from helpers import nano
from predict_folder import resident_mib


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(nano(), device="cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number, size in enumerate((50, 81, 200)):
        synthetic_pair(number, size)[0].resize((size, 64)).save(folder / f"{number}.png")
    synthetic_pair(3, 40)[0].save(folder / "deep" / "0.jpg")
    return folder


def test_masks_have_the_images_own_size(segmenter: dsunet.Segmenter, images: Path) -> None:
    for path in sorted(images.glob("*.png")):
        result = segmenter(path)
        with Image.open(path) as image:
            height, width = image.height, image.width
        assert result.probability.shape == (height, width)
        assert result.probability.dtype == np.float32
        assert 0 <= result.probability.min() <= result.probability.max() <= 1
        assert result.binary(0.3).shape == (height, width)
        assert result.overlay().size == (width, height)
        assert result.cutout().mode == "RGBA"


def test_path_picture_and_array_agree(segmenter: dsunet.Segmenter, images: Path) -> None:
    path = images / "1.png"
    with Image.open(path) as image:
        picture = image.convert("RGB")
    expected = segmenter(path).probability
    for given in (str(path), picture, np.asarray(picture)):
        np.testing.assert_array_equal(segmenter(given).probability, expected)


def test_a_picture_is_treated_like_its_file(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    """EXIF orientation, transparency and 16 bits, which Pillow leaves to the caller."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture, mask = synthetic_pair(0, 60)
    picture.crop((0, 0, 60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    clear = picture.copy()
    clear.putalpha(mask)
    clear.save(tmp_path / "clear.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for file in sorted(tmp_path.iterdir()):
        with Image.open(file) as image:
            given = segmenter(image)
        expected = segmenter(file)
        assert given.image.size == expected.image.size
        np.testing.assert_array_equal(given.probability, expected.probability, file.name)


def test_probability_is_the_resized_fine_output(segmenter: dsunet.Segmenter) -> None:
    image, _ = synthetic_pair(0, 70)
    sam = dsunet.data.image_view(image, (128, 128))[None]
    dino = dsunet.data.image_view(image, (112, 112))[None]
    with torch.no_grad():
        logits = segmenter.model(sam, dino).fine
    resized = torch.nn.functional.interpolate(logits, (70, 70), mode="bilinear")
    expected = torch.sigmoid(resized)[0, 0].numpy()
    np.testing.assert_allclose(segmenter(image).probability, expected, atol=1e-6)


def test_quantise_by_hand() -> None:
    map_ = np.array([[0.2, 0.4], [0.4, 0.7]], np.float32)
    np.testing.assert_array_equal(quantise(map_), [[51, 102], [102, 178]])
    # stretched: 0, 0.4, 0.4, 1 - ε; times 255: 0, 102, 102, 254.99…: cut off, not rounded
    stretched = quantise(map_, benchmark_normalization=True)
    np.testing.assert_array_equal(stretched[0], [0, 102])
    assert stretched[1, 1] in (254, 255)
    flat = np.full((2, 2), 0.3, np.float32)
    np.testing.assert_array_equal(quantise(flat, benchmark_normalization=True), 0)


def test_binary_threshold() -> None:
    result = dsunet.Segmentation(Image.new("RGB", (2, 1)), np.array([[0.5, 0.49]], np.float32))
    assert result.binary().tolist() == [[True, False]]
    assert result.binary(0.4).all()


def test_overlay_marks_the_object_and_leaves_the_rest() -> None:
    probability = np.zeros((40, 40), np.float32)
    probability[15:25, 15:25] = 1
    result = dsunet.Segmentation(Image.new("RGB", (40, 40), (0, 0, 200)), probability)
    drawn = np.asarray(result.overlay())
    assert (drawn[20, 20] != (0, 0, 200)).any()
    assert (drawn[14, 20] == (255, 64, 32)).all()
    assert (drawn[0, 0] == (0, 0, 200)).all()
    assert np.asarray(result.cutout())[20, 20].tolist() == [0, 0, 200, 255]
    assert np.asarray(result.cutout())[0, 0, 3] == 0


def test_folder_keeps_its_tree(segmenter: dsunet.Segmenter, images: Path, tmp_path: Path) -> None:
    jobs = plan_outputs([images], tmp_path / "out")
    assert [str(job.name) for job in jobs] == ["0.png", "1.png", "2.png", "deep/0.png"]
    seen: list[tuple[int, int]] = []
    report = predict_files(
        segmenter, jobs, tmp_path / "out", progress=lambda done, total: seen.append((done, total))
    )
    assert report == dsunet.predict.Report(written=4)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for job in jobs:
        with Image.open(tmp_path / "out" / job.name) as map_, Image.open(job.image) as image:
            assert map_.mode == "L"
            assert map_.size == image.size
            expected = quantise(segmenter(job.image).probability)
            np.testing.assert_array_equal(np.asarray(map_), expected)


def test_several_kinds_get_a_folder_each(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([images / "0.png"], tmp_path / "o", dsunet.predict.KINDS)
    predict_files(segmenter, jobs, tmp_path / "o", Options(dsunet.predict.KINDS, threshold=0.4))
    modes = {"probability": "L", "binary": "L", "overlay": "RGB", "cutout": "RGBA"}
    for kind, mode in modes.items():
        with Image.open(tmp_path / "o" / kind / "0.png") as image:
            assert image.mode == mode
    with Image.open(tmp_path / "o" / "binary" / "0.png") as image:
        expected = segmenter(images / "0.png").binary(0.4)
        np.testing.assert_array_equal(np.asarray(image) == 255, expected)


def test_a_broken_image_does_not_stop_the_others(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    (images / "1.png").write_bytes(b"broken")
    report = predict_files(
        segmenter, plan_outputs([images], tmp_path / "out"), tmp_path / "out", batch_size=4
    )
    assert report.written == 3
    assert [path.name for path, _ in report.failures] == ["1.png"]
    assert "not a readable image" in report.failures[0][1]
    with open(tmp_path / "out" / "failures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(images / "1.png")]
    assert rows[0]["reason"].startswith("not a readable image")
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert written == {"0.png", "2.png", "deep/0.png"}


def test_outputs_never_replace_inputs(images: Path) -> None:
    with pytest.raises(OutputError, match=r"0\.png would be overwritten by a probability"):
        plan_outputs([images / "0.png"], images)
    with pytest.raises(OutputError, match="folder of the images itself"):
        plan_outputs([images], images, ["binary", "overlay"])


def test_earlier_outputs_are_not_segmented(images: Path) -> None:
    (images / "out").mkdir()
    Image.new("L", (4, 4)).save(images / "out" / "0.png")
    names = [str(job.name) for job in plan_outputs([images], images / "out")]
    assert names == ["0.png", "1.png", "2.png", "deep/0.png"]


def test_a_list_of_names(images: Path) -> None:
    jobs = plan_outputs([images], "out", names=["1", "2"])
    assert [str(job.name) for job in jobs] == ["1.png", "2.png"]
    with pytest.raises(DataError, match=r"1 of the 2 names .*\(nobody\)"):
        plan_outputs([images], "out", names=["1", "nobody"])


def test_plans_that_cannot_work(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        plan_outputs([tmp_path / "absent"], "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        plan_outputs([tmp_path / "empty"], "out")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so cuda is no error")
def test_no_silent_fallback_to_the_cpu() -> None:
    with pytest.raises(DeviceError, match="no usable NVIDIA GPU"):
        dsunet.Segmenter(nano(), device="cuda")


def test_devices_and_precisions() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(DeviceError, match="'abacus' is unknown"):
        choose_device("abacus")
    with pytest.raises(DeviceError, match="not supported"):
        choose_device("meta")
    with pytest.raises(DeviceError, match="needs a GPU"):
        choose_precision("float16", torch.device("cpu"))


def names_of(jobs: list[dsunet.predict.Job]) -> list[str]:
    return [str(job.name) for job in jobs]


def test_patterns_keep_the_tree(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images / "notes.txt").write_text("")
    (images / ".hidden").mkdir()
    (images / ".hidden" / "9.png").write_bytes((images / "0.png").read_bytes())
    everything = ["0.png", "1.png", "2.png", "deep/0.png"]
    assert names_of(plan_outputs([f"{images}/**/*"], "out")) == everything
    assert names_of(plan_outputs([images], "out")) == everything
    assert names_of(plan_outputs([f"{images}/[01].*"], "out")) == ["0.png", "1.png"]
    assert names_of(plan_outputs([f"{images.parent}/im*/deep/*.jpg"], "out")) == [
        "images/deep/0.png"
    ]
    monkeypatch.chdir(images)
    assert names_of(plan_outputs(["**/*.jpg"], "out")) == ["deep/0.png"]
    assert names_of(plan_outputs(["*.png", "2.png"], "out")) == ["0.png", "1.png", "2.png"]
    with pytest.raises(DataError, match=r"the pattern \*\.xyz finds no images"):
        plan_outputs(["*.xyz"], "out")
    # a file whose name looks like a pattern is that file
    (images / "1.png").rename(images / "[1].png")
    assert names_of(plan_outputs(["[1].png"], "out")) == ["[1].png"]


def test_lists_of_files(segmenter: dsunet.Segmenter, images: Path, tmp_path: Path) -> None:
    """One that is missing is a failure like a broken one; the others are segmented."""
    listed = [images / "0.png", images / "deep" / "0.jpg", images / "gone.png"]
    (tmp_path / "list.txt").write_text("\r\n".join(map(str, listed)) + "\n\n")
    jobs = plan_outputs([], tmp_path / "out", files_from=tmp_path / "list.txt")
    assert names_of(jobs) == ["0.png", "deep/0.png", "gone.png"]
    report = predict_files(segmenter, jobs, tmp_path / "out")
    assert report.written == 2
    assert [path.name for path, _ in report.failures] == ["gone.png"]
    assert "no such file" in report.failures[0][1]
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty; write the path of one image a line"):
        plan_outputs([], "out", files_from=tmp_path / "list.txt")
    with pytest.raises(DataError, match="no images are given"):
        plan_outputs([], "out")


def interrupt(segmenter: dsunet.Segmenter, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass of this number is interrupted before it starts."""
    probabilities, calls = segmenter.probabilities, []

    def interrupted(views: object) -> list[np.ndarray]:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return probabilities(views)

    monkeypatch.setattr(segmenter, "probabilities", interrupted)


def test_going_on_skips_what_is_done(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after two; then only the other two are segmented, with the same result."""
    jobs = plan_outputs([images], tmp_path / "out")
    predict_files(segmenter, jobs, tmp_path / "whole")
    interrupt(segmenter, 3, monkeypatch)
    report = dsunet.predict.Report()
    with pytest.raises(KeyboardInterrupt):
        predict_files(segmenter, jobs, tmp_path / "out", report=report)
    written = list((tmp_path / "out").rglob("*.png"))
    assert report.written == len(written) == 2
    before = {file: file.stat().st_mtime_ns for file in written}
    seen: list[tuple[int, int]] = []
    again = predict_files(
        segmenter, jobs, tmp_path / "out", resume=True, progress=lambda *n: seen.append(n)
    )
    assert (again.written, again.skipped) == (2, 2)
    assert seen == [(3, 4), (4, 4)]
    assert {file: file.stat().st_mtime_ns for file in written} == before
    for job in jobs:
        ours, theirs = (tmp_path / folder / job.name for folder in ("out", "whole"))
        assert ours.read_bytes() == theirs.read_bytes()
    # without resume all are made again
    assert predict_files(segmenter, jobs, tmp_path / "out").written == 4


def test_going_on_with_other_options_is_refused(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([images / "0.png"], tmp_path / "out")
    predict_files(segmenter, jobs, tmp_path / "out")
    for options, changed in (
        (Options(("binary",)), "save"),
        (Options(("probability", "binary"), 0.3), "save, threshold"),
        (Options(ignore_orientation=True), "ignore_orientation"),
    ):
        with pytest.raises(OutputError, match=rf"made in another way \({changed}\)"):
            predict_files(segmenter, jobs, tmp_path / "out", options, resume=True)
    dsunet.save(nano(seed=1), tmp_path / "other.safetensors")
    other = dsunet.Segmenter(tmp_path / "other.safetensors", device="cpu")
    with pytest.raises(OutputError, match=r"made in another way \(sha256\)"):
        predict_files(other, jobs, tmp_path / "out", resume=True)
    (tmp_path / "out" / "prediction.json").write_text("[]")
    with pytest.raises(OutputError, match="another version"):
        predict_files(segmenter, jobs, tmp_path / "out", resume=True)


def test_failures_are_tried_again(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    good = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(b"broken")
    jobs = plan_outputs([images], tmp_path / "out")
    assert len(predict_files(segmenter, jobs, tmp_path / "out").failures) == 1
    assert (tmp_path / "out" / "failures.csv").is_file()
    (images / "1.png").write_bytes(good)
    report = predict_files(segmenter, jobs, tmp_path / "out", resume=True)
    assert (report.written, report.skipped, report.failures) == (1, 3, [])
    assert not (tmp_path / "out" / "failures.csv").exists()


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (3, 1), (2, 3)])
def test_threads_change_nothing(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path, workers: int, batch_size: int
) -> None:
    (images / "1.png").write_bytes(b"broken")
    jobs = plan_outputs([images], tmp_path / "out")
    report = predict_files(
        segmenter, jobs, tmp_path / "out", workers=workers, batch_size=batch_size
    )
    assert report.written == 3
    assert len(report.failures) == 1
    for job in jobs:
        if job.image.name != "1.png":
            with Image.open(tmp_path / "out" / job.name) as map_:
                expected = segmenter(job.image).map().astype(int)
                assert np.abs(np.asarray(map_).astype(int) - expected).max() <= batch_size // 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_stops_with_one_line(
    segmenter: dsunet.Segmenter,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    jobs = plan_outputs([images], tmp_path / "out")
    write, calls = dsunet.support.files.write_atomically, []

    def full(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    monkeypatch.setattr("dsunet.predict.working.write_atomically", full)
    report = dsunet.predict.Report()
    with pytest.raises(OutputError, match=r"0\.png|1\.png .*\(No space left .*with `resume`"):
        predict_files(segmenter, jobs, tmp_path / "out", workers=workers, report=report)
    assert report.written == 1


def test_ignoring_the_orientation(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    synthetic_pair(0, 60)[0].crop((0, 0, 60, 40)).save(tmp_path / "a.jpg", exif=exif)
    jobs = plan_outputs([tmp_path / "a.jpg"], tmp_path / "o")
    for ignore, size in ((False, (40, 60)), (True, (60, 40))):
        predict_files(segmenter, jobs, tmp_path / "o", Options(ignore_orientation=ignore))
        with Image.open(tmp_path / "o" / "a.png") as map_:
            assert map_.size == size


def test_first_pages_are_told_of(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    pages = [Image.new("RGB", (20, 30), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    jobs = plan_outputs([tmp_path / "pages.tif"], tmp_path / "o")
    assert predict_files(segmenter, jobs, tmp_path / "o").first_frames == [tmp_path / "pages.tif"]


@pytest.mark.slow
def test_a_killed_prediction_goes_on(tmp_path: Path) -> None:
    """A real process, killed by SIGKILL while it writes: whole files only, and no output lost."""
    dsunet.save(nano(), tmp_path / "w.safetensors")
    (tmp_path / "in").mkdir()
    for number in range(40):
        synthetic_pair(number, 120)[0].save(tmp_path / "in" / f"{number}.png")
    command = [
        *(sys.executable, "-m", "dsunet.cli", "predict", "in", "--weights", "w.safetensors"),
        *("--output", "out", "--save", "probability,cutout", "--device", "cpu", "--resume"),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while len(list(tmp_path.glob("out/cutout/*.png"))) < 5:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = {file: file.read_bytes() for file in tmp_path.glob("out/*/*.png")}
    assert len(done) < 80
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "of 40 images written to out; " in again.stdout
    for kind in ("probability", "cutout"):
        for number in range(40):
            with Image.open(tmp_path / "out" / kind / f"{number}.png") as image:
                image.load()
    assert {file: file.read_bytes() for file in done} == done
    assert not list(tmp_path.glob("out/**/.dsunet*"))


def test_outputs_of_other_weights_are_never_taken_for_done(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A's outputs; B starts over, is interrupted, and goes on: all are B's."""
    jobs = plan_outputs([images], tmp_path / "out")
    predict_files(segmenter, jobs, tmp_path / "out")
    other = dsunet.Segmenter(nano(seed=1), device="cpu")
    with pytest.raises(OutputError, match=r"made in another way \(sha256\)"):
        predict_files(other, jobs, tmp_path / "out", resume=True)
    interrupt(other, 2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict_files(other, jobs, tmp_path / "out", workers=0)
    report = predict_files(other, jobs, tmp_path / "out", resume=True)
    assert (report.written, report.skipped) == (3, 1)
    for job in jobs:
        with Image.open(tmp_path / "out" / job.name) as map_:
            np.testing.assert_array_equal(np.asarray(map_), other(job.image).map())


def test_files_that_are_no_outputs_are_not_overwritten(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    """A mask, say, that lies beside its photo."""
    photo = images / "deep" / "0.jpg"
    Image.new("L", (4, 4)).save(photo.with_suffix(".png"))
    before = photo.with_suffix(".png").read_bytes()
    jobs = plan_outputs([photo], photo.parent)
    with pytest.raises(OutputError, match=r"0\.png is there and no output of dsunet predict"):
        predict_files(segmenter, jobs, photo.parent)
    assert photo.with_suffix(".png").read_bytes() == before
    photo.with_suffix(".png").unlink()
    (photo.parent / "failures.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"failures\.csv is there"):
        predict_files(segmenter, jobs, photo.parent)
    assert (photo.parent / "failures.csv").read_text() == "mine"


def test_one_prediction_at_a_time(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([images], tmp_path / "out")
    (tmp_path / "out").mkdir()
    with lock_folder(tmp_path / "out"), pytest.raises(OutputError, match="another process is"):
        predict_files(segmenter, jobs, tmp_path / "out")


def test_pipes_loops_and_linked_folders(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    os.mkfifo(images / "pipe.png")
    (images / "self.png").symlink_to("self.png")
    (tmp_path / "elsewhere").mkdir()
    synthetic_pair(0, 40)[0].save(tmp_path / "elsewhere" / "7.png")
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(images)
    jobs = plan_outputs([images], tmp_path / "out")
    assert "linked/7.png" in names_of(jobs)
    assert len(jobs) == 7
    report = predict_files(segmenter, jobs, tmp_path / "out")
    assert report.written == 5
    reasons = {path.name: reason for path, reason in report.failures}
    assert "not a regular file" in reasons["pipe.png"]
    assert "too many levels of symbolic links" in reasons["self.png"]


def test_reading_goes_on_beside_the_model(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the model has the first image, the second is read; without threads it is not."""
    read, second = dsunet.predict.working._read, threading.Event()
    probabilities, met = segmenter.probabilities, []

    def reading(job: dsunet.predict.Job, *rest: object) -> object:
        if job.name == Path("1.png"):
            second.set()
        return read(job, *rest)

    def computing(views: object) -> list[np.ndarray]:
        met.append(second.wait(timeout=5 if workers else 0.01))
        return probabilities(views)

    monkeypatch.setattr("dsunet.predict.working._read", reading)
    monkeypatch.setattr(segmenter, "probabilities", computing)
    jobs = plan_outputs([images], tmp_path / "out")
    for workers, expected in ((1, True), (0, False)):
        second.clear()
        met.clear()
        predict_files(segmenter, jobs, tmp_path / "out", workers=workers)
        assert met[0] is expected


def test_threads_only_on_idle_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = dsunet.Segmenter(device="cpu").engine
    monkeypatch.setattr("dsunet.predict.files.available_cores", lambda: 4)
    torch.set_num_threads(3)
    assert (engine.threads, spare_cores(3)) == (3, 1)
    engine.device = torch.device("cuda")
    assert (engine.threads, spare_cores(1)) == (1, 3)
    torch.set_num_threads(1)
    monkeypatch.setattr("dsunet.predict.files.available_cores", lambda: 1)
    assert spare_cores(1) == 0


@pytest.mark.slow
def test_memory_stays_flat(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    """Over images of mixed sizes; benchmarks/ records ten thousand."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(600):
        side = int(rng.integers(50, 700))
        synthetic_pair(number % 8, 64)[0].resize((side, 400)).save(tmp_path / f"in/{number}.jpg")
    memory = []
    predict_files(
        segmenter,
        plan_outputs([tmp_path / "in"], tmp_path / "out"),
        tmp_path / "out",
        workers=2,
        progress=lambda done, total: memory.append(resident_mib()),
    )
    assert np.median(memory[-150:]) - np.median(memory[150:300]) < 40
