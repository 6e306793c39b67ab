"""Pictures that are larger than memory, with small ones in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.data import strips
from dsunet.data.limits import pixels_allowed
from dsunet.data.remote import Remote
from dsunet.errors import CustomModelError
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.predict.files import Report
from dsunet.predict.huge import Huge
from dsunet.predict.working import Outcome, Working

pytest.importorskip("pyvips", reason="pyvips is not installed (the extra huge)")

BOTH = ("probability", "binary")


@pytest.fixture(autouse=True)
def _small_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIPS_FROM", 1000)


def brightness(image: np.ndarray) -> np.ndarray:
    return image.mean(axis=2).astype(np.float32) / 255


def edges(image: np.ndarray) -> np.ndarray:
    """Not the same for tiles that are cut or turned in another way."""
    rows = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None]
    return (brightness(image) * rows).astype(np.float32)


def picture(width: int = 200, height: int = 150, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def predicted(folder: Path, out: Path, options: Options | None = None, **more: object) -> Report:
    segmenter = dsunet.Segmenter(more.pop("model", edges), "cpu", tile=64)  # type: ignore[arg-type]
    options = options or Options(BOTH)
    jobs = plan_outputs([str(folder)], out, options.save)
    return predict_files(segmenter, jobs, out, options, **more)  # type: ignore[arg-type]


def maps(out: Path, kind: str) -> dict[str, np.ndarray]:
    return {p.stem: np.asarray(Image.open(p), int) for p in sorted((out / kind).glob("*.png"))}


def as_without_strips(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **more: object
) -> None:
    monkeypatch.setattr(strips, "STRIPS_FROM", 10**9)
    predicted(folder, out, **more)  # type: ignore[arg-type]
    monkeypatch.setattr(strips, "STRIPS_FROM", 1000)


@pytest.mark.parametrize("upright", [True, False])
def test_whatever_way_it_is_turned_its_outputs_are_those_of_the_plain_way(
    upright: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        suffix = ("jpg", "png", "tif")[orientation % 3]
        picture(seed=orientation).save(folder / f"{orientation}.{suffix}", exif=exif)
    options = Options(BOTH, ignore_orientation=not upright)
    done: list[Huge] = []
    write = Huge.write

    def counted(huge: Huge, *arguments: object) -> object:
        done.append(huge)
        return write(huge, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Huge, "write", counted)
    report = predicted(folder, tmp_path / "out", options)
    assert (report.written, report.failures, report.read_whole) == (8, [], [])
    as_without_strips(folder, tmp_path / "plain", monkeypatch, options=options)
    assert len(done) == 8  # in no other way, and the plain one in none of these
    for kind in BOTH:
        found, expected = maps(tmp_path / "out", kind), maps(tmp_path / "plain", kind)
        assert len(found) == len(expected) == 8
        for name, map_ in found.items():
            assert map_.shape == expected[name].shape
            apart = np.abs(map_ - expected[name])
            # sums in another order may fall on the other side of a half, or of the threshold
            assert apart.max() <= 1 or (kind == "binary" and (apart > 0).mean() < 1e-3), name
    turned = maps(tmp_path / "out", "probability")
    assert (turned["6"].shape == (200, 150)) == upright
    assert np.ptp(turned["6"]) > 100


def test_a_network_in_batches_gives_what_the_plain_way_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.manual_seed(0)
    model = dsunet.create_model("dsunet-lite", weights=None, sam_size=64).eval()
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / "a.png", dpi=(300, 150))
    picture(60, 50).save(tmp_path / "in" / "fits.png")
    report = predicted(tmp_path / "in", tmp_path / "out", model=model, batch_size=3)
    assert report.written == 2
    as_without_strips(tmp_path / "in", tmp_path / "plain", monkeypatch, model=model, batch_size=3)
    found, expected = (maps(tmp_path / each, "probability") for each in ("out", "plain"))
    assert set(found) == {"a", "fits"}
    assert np.abs(found["a"] - expected["a"]).max() <= 1
    np.testing.assert_array_equal(found["fits"], expected["fits"])
    with Image.open(tmp_path / "out" / "probability" / "a.png") as written:
        assert written.mode == "L"
        assert written.info["dpi"] == pytest.approx((300, 150), abs=0.1)
    assert not list((tmp_path / "out").rglob(".dsunet*"))


def test_broken_ones_are_one_line_each_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "b.png", "c.tif", "d.jpg"):
        picture().save(folder / name)
    for name in ("a.jpg", "b.png", "c.tif"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * 0.7)])
    report = predicted(folder, tmp_path / "out", workers=1)
    assert report.written == 1
    assert [Path(str(image)).name for image, _ in report.failures] == ["a.jpg", "b.png", "c.tif"]
    for _, reason in report.failures:
        assert "not a readable image" in reason
        assert "\n" not in reason
    assert set(maps(tmp_path / "out", "probability")) == {"d"}
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.startswith(".dsunet")]
    assert (tmp_path / "out" / "failures.csv").read_text().count("\n") == 4


def test_the_pixel_limit_holds_until_the_user_raises_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / "a.png")
    with pixels_allowed(10_000):
        report = predicted(tmp_path / "in", tmp_path / "out")
    assert "more than the 10,000 that are decoded" in report.failures[0][1]
    assert "`max_pixels`" in report.failures[0][1]
    with pixels_allowed(30_000):
        assert predicted(tmp_path / "in", tmp_path / "out").written == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(("overlay", "binary")), "overlay show it with all its pixels"),
        (Options(BOTH, crop_to_object=True), "`crop_to_object` is not done band by band"),
        (Options(BOTH, keep_exif=True), "`keep_exif` is not done band by band"),
        (Options(BOTH, refine=True), "edges follow all its pixels"),
        (Options(BOTH, format="webp"), "webp is encoded as a whole"),
    ],
)
def test_what_takes_the_whole_says_so(options: Options, why: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / "a.png")
    picture(60, 50).save(tmp_path / "in" / "small.png")
    report = predicted(tmp_path / "in", tmp_path / "out", options)
    assert report.written == 2
    [(image, reason)] = report.read_whole
    assert Path(str(image)).name == "a.png"
    assert why in reason


def test_an_image_without_an_object_is_empty_if_it_is_to_abstain(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, value in (("dark", 40), ("light", 200)):
        Image.new("RGB", (200, 150), (value,) * 3).save(tmp_path / "in" / f"{name}.png")
    options = Options(BOTH, abstain=True, image_threshold=0.5, threshold=0.1)
    report = predicted(tmp_path / "in", tmp_path / "out", options, model=brightness)
    assert [Path(str(image)).stem for image in report.abstained] == ["dark"]
    for kind, light in (("probability", 200), ("binary", 255)):
        found = maps(tmp_path / "out", kind)
        assert found["dark"].max() == 0
        assert found["light"].min() == light


def test_scores_are_those_of_the_whole_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.png")
    jobs = plan_outputs([str(tmp_path / "a.png")], tmp_path / "out", ("probability",))
    found: list[Outcome] = []
    segmenter = dsunet.Segmenter(brightness, "cpu", tile=64)
    for number in (1000, 10**9):
        monkeypatch.setattr(strips, "STRIPS_FROM", number)
        working = Working(segmenter, tmp_path / "out", Options(), found.append, scores=True)
        working.segment_all(jobs, 1, 0, 0)
    first, second = found
    assert first.score == pytest.approx(second.score, abs=1e-5)
    assert first.score is not None
    assert 0.5 < first.score < 1
    assert first.size == second.size == (200, 150)


def test_a_function_that_fails_loses_its_image_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / "a.png")
    picture(60, 50).save(tmp_path / "in" / "b.png")

    def fails(image: np.ndarray) -> np.ndarray:
        if image.shape[:2] == (64, 64):
            raise CustomModelError("no map of this one")
        return brightness(image)

    report = predicted(tmp_path / "in", tmp_path / "out", model=fails)
    assert (report.written, len(report.failures)) == (1, 1)


def test_resume_skips_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        picture(seed=number).save(tmp_path / "in" / f"{number}.png")
    predicted(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "binary" / "1.png").unlink()
    report = predicted(tmp_path / "in", tmp_path / "out", resume=True)
    assert (report.skipped, report.written) == (1, 1)


def test_an_address_is_read_by_strips_too(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    segmenter = dsunet.Segmenter(edges, "cpu", tile=64)
    jobs = plan_outputs([(tmp_path / "a.jpg").as_uri()], tmp_path / "out", ("probability",))
    assert isinstance(jobs[0].image, Path | Remote)
    assert predict_files(segmenter, jobs, tmp_path / "out").written == 1


def test_one_file_is_written_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture().save(tmp_path / "a.png")
    command = ["predict", str(tmp_path / "a.png"), "--tile", "100", "--device", "cpu"]
    assert main([*command, "--output", str(tmp_path / "sub" / "mask.png")]) == 0
    with Image.open(tmp_path / "sub" / "mask.png") as written:
        assert written.size == (200, 150)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["mask.png"]
    said = capsys.readouterr()
    assert "images larger than a tile in tiles of 100 px" in said.err
    assert "read as a whole" not in said.out + said.err
    save = ["--save", "overlay"]
    assert main([*command, *save, "--output", str(tmp_path / "sub" / "over.png")]) == 0
    assert "was read as a whole, which takes memory" in capsys.readouterr().out
    assert main([*command, *save, "--output", str(tmp_path / "folder")]) == 0
    said = capsys.readouterr()
    assert "1 huge images were read as a whole" in said.out
