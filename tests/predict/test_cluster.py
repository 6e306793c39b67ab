"""What runs on a cluster, without one: plan, parts, journals, manifest."""

from __future__ import annotations

import csv
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as pad
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import ConfigError, DeviceError, DsunetError, OutputError
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.predict.cluster import run
from dsunet.predict.cluster.actor import PartActor, Setup, journal_of
from dsunet.predict.cluster.journal import Journal
from dsunet.predict.cluster.manifest import SCHEMA, failures_in, settle, write_part
from dsunet.predict.cluster.parts import size_of_parts
from dsunet.predict.cluster.run import ClusterReport, predict_on_cluster
from dsunet.predict.plan import plan
from dsunet.predict.record import MANIFEST, way_of


def bright(image: np.ndarray) -> np.ndarray:
    """A model that takes no time."""
    return image.mean(axis=2, dtype=np.float32) / 255


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(bright)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Seven, of which one is broken and one has a name that is no text."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        synthetic_pair(number, 40)[0].save(folder / f"{number}.jpg")
    synthetic_pair(5, 40)[0].save(folder / "deep" / "0.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are done one after the other in this process, in place of Ray's actors."""

    def summaries(setup: Setup, parts: int, needs: object) -> object:
        def run() -> object:
            actor = PartActor(pickle.loads(pickle.dumps(setup)))
            for number in range(parts):
                yield json.loads(actor({"part": [number]})["summary"][0])

        return run

    monkeypatch.setattr(run, "_summaries", summaries)
    monkeypatch.setattr(run._Needs, "of", lambda *given: None)
    monkeypatch.setattr("ray.is_initialized", lambda: True)


def rows(folder: Path) -> list[dict[str, object]]:
    table = pad.dataset(folder / MANIFEST, format="parquet").to_table()
    assert table.schema == SCHEMA
    return sorted(table.to_pylist(), key=lambda row: str(row["output"]))


def test_a_row_for_every_image_and_the_plain_commands_maps(
    here: None, segmenter: dsunet.Segmenter, pictures: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(pictures) + b"/\xff.jpg")
    Path(odd).write_bytes((pictures / "0.jpg").read_bytes())
    plain, out = tmp_path / "plain", tmp_path / "out"
    predict_files(segmenter, plan_outputs([pictures], plain), plain)
    report = predict_on_cluster(segmenter, plan([pictures], out), out)
    assert (report.written, report.failed, report.skipped) == (7, 1, 0)
    for file in plain.rglob("*.png"):
        assert (out / file.relative_to(plain)).read_bytes() == file.read_bytes()
    found = rows(out)
    assert [row["output"] for row in found] == [
        *(f"{number}.png" for number in range(5)),
        "\\xff.png",
        "broken.png",
        "deep/0.png",
    ]
    assert found[0]["input"] == str(pictures / "0.jpg")
    assert {(row["width"], row["height"]) for row in found if row["status"] == "ok"} == {(40, 40)}
    assert all(0 <= row["score"] <= 1 and row["seconds"] > 0 for row in found if not row["error"])  # type: ignore[operator]
    assert [row["status"] for row in found].count("failed") == 1
    with open(out / "failures.csv", newline="") as file:
        [failure] = csv.DictReader(file)
    assert failure["image"] == str(pictures / "broken.jpg")
    assert failure["reason"] == next(row["error"] for row in found if row["error"])
    assert not list(out.rglob(".work"))


def test_resume_does_what_is_not_done(
    here: None,
    segmenter: dsunet.Segmenter,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    predict_on_cluster(segmenter, plan([pictures], out), out)
    before = {row["output"]: row for row in rows(out)}
    (out / "3.png").unlink()
    synthetic_pair(6, 40)[0].save(pictures / "broken.jpg")
    synthetic_pair(7, 40)[0].save(pictures / "new.jpg")
    decoded: list[object] = []
    decode = dsunet.predict.working.decode  # type: ignore[attr-defined]

    def counted(image: object, **how: object) -> object:
        decoded.append(image)
        return decode(image, **how)

    monkeypatch.setattr("dsunet.predict.working.decode", counted)
    report = predict_on_cluster(segmenter, plan([pictures], out), out, resume=True)
    assert (report.written, report.failed, report.skipped) == (3, 0, 5)
    assert {Path(str(image)).name for image in decoded} == {"3.jpg", "broken.jpg", "new.jpg"}
    after = {row["output"]: row for row in rows(out)}
    assert set(after) == {*before, "new.png"}
    assert after["0.png"] == before["0.png"]
    assert not (out / "failures.csv").exists()
    with pytest.raises(OutputError, match="another way"):
        predict_on_cluster(segmenter, plan([pictures], out), out, Options(("binary",)), resume=True)
    predict_on_cluster(segmenter, plan([pictures / "0.jpg"], out), out)
    assert len(rows(out)) == 1  # all anew: the manifest tells of these outputs alone


def setup_of(segmenter: dsunet.Segmenter, pictures: Path, out: Path, **changed: object) -> Setup:
    """An actor's, with the plan of all pictures as one part on disk."""
    from dsunet.predict.cluster.parts import table_of, write_plan

    setup = Setup(
        segmenter.recipe,
        way_of(segmenter, Options()),
        dsunet.__version__,
        out,
        Options(),
        "token",
        16,
        1,
        None,
        1,
        Image.MAX_IMAGE_PIXELS,
    )
    setup.work.mkdir(parents=True)
    table, _ = table_of(plan([pictures], out), "png")
    assert write_plan(setup.work, "token", table, 16) == 1
    return replace(setup, **changed)  # type: ignore[arg-type]


def test_who_takes_a_part_over_goes_on_with_it(
    segmenter: dsunet.Segmenter, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setup_of(segmenter, pictures, tmp_path / "out")
    actor = PartActor(setup)
    begin, count = Journal.add, iter(range(100))

    def dies(journal: Journal, row: dict[str, object]) -> None:
        begin(journal, row)
        if next(count) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        actor({"part": [0]})
    monkeypatch.undo()
    path = journal_of(setup, 0)
    with open(path, "ab") as file:
        file.write(b'{"row": {"inp')  # torn as a process is killed
    outputs = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.png")}
    assert len(outputs) == 4
    summary = json.loads(actor({"part": [0]})["summary"][0])
    assert (summary["written"], summary["failed"]) == (6, 1)
    assert all(file.stat().st_mtime_ns == time for file, time in outputs.items())
    assert len(rows(tmp_path / "out")) == 7
    assert not path.exists()
    assert json.loads(actor({"part": [0]})["summary"][0]) == summary  # asked twice, done once


def test_an_image_that_processes_die_over_gets_a_row(
    segmenter: dsunet.Segmenter, pictures: Path, tmp_path: Path
) -> None:
    setup = setup_of(segmenter, pictures, tmp_path / "out")
    source, output = str(pictures / "2.jpg"), "2.png"
    for _ in range(2):
        with Journal(journal_of(setup, 0)) as journal:
            journal.begin(f"{source}\0{output}")
    summary = json.loads(PartActor(setup)({"part": [0]})["summary"][0])
    assert (summary["written"], summary["failed"]) == (5, 2)
    [row] = [row for row in rows(tmp_path / "out") if row["output"] == output]
    assert "the process died 2 times over it" in str(row["error"])
    assert not (tmp_path / "out" / output).exists()


def test_an_actor_with_another_model_or_version_stops_the_run(
    segmenter: dsunet.Segmenter, pictures: Path, tmp_path: Path
) -> None:
    setup = setup_of(segmenter, pictures, tmp_path / "out", version="0.0")
    assert "install one version" in PartActor(setup)({"part": [0]})["summary"][0]
    other = replace(setup, version=dsunet.__version__, made={**setup.made, "code": "other"})
    summary = json.loads(PartActor(other)({"part": [0]})["summary"][0])
    assert "the model is another one" in summary["stop"]
    with pytest.raises(DsunetError, match="another one.*go on with `resume`"):
        run._add(summary, ClusterReport())
    gone = replace(setup.recipe, model=tmp_path / "gone.onnx")
    lost = replace(setup, version=dsunet.__version__, recipe=gone)
    assert "there is no file" in PartActor(lost)({"part": [0]})["summary"][0]


def row(output: str, status: str = "ok", source: str = "/a") -> dict[str, object]:
    values = {"input": source, "output": output, "status": status, "error": "", "note": ""}
    return {**dict.fromkeys(SCHEMA.names), **values}


def test_a_manifest_is_settled(tmp_path: Path) -> None:
    write_part(tmp_path / "one.parquet", [row("a"), row("b", "failed"), row("c", source="/late")])
    os.utime(tmp_path / "one.parquet", ns=(1, 1))
    write_part(tmp_path / "two.parquet", [row("c", source="/early"), row("d")])
    write_part(tmp_path / "three.parquet", [row("d", "failed", "/twin")])
    assert settle(tmp_path) == 5
    [file] = tmp_path.glob("*.parquet")
    found = pq.read_table(file).to_pylist()
    assert sorted((each["output"], each["input"]) for each in found) == [
        ("a", "/a"),
        ("b", "/a"),
        ("c", "/early"),
        ("d", "/a"),
        ("d", "/twin"),
    ]
    assert sorted(failures_in(tmp_path)) == [("/a", ""), ("/twin", "")]
    assert settle(tmp_path, lambda output, status: status == "ok" and output != "a") == 2
    (tmp_path / "odd.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"odd\.parquet is no part of a manifest"):
        settle(tmp_path)


def test_nothing_for_too_long_ends_a_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr(run, "PATIENCE", 0.05)
    forever = threading.Event()

    def hangs() -> object:
        yield 1
        forever.wait()

    watched = run._watched(hangs, tmp_path)  # type: ignore[arg-type]
    assert next(watched) == 1
    with pytest.raises(DsunetError, match="nothing has come from the cluster"):
        next(watched)
    forever.set()

    def fails() -> object:
        yield 1
        raise OSError("gone")

    watched = run._watched(fails, tmp_path)  # type: ignore[arg-type]
    assert next(watched) == 1
    with pytest.raises(OSError, match="gone"):
        next(watched)


def test_a_cluster_that_is_not_there_is_told_in_one_line(
    segmenter: dsunet.Segmenter,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[object] = []

    def fails(**how: object) -> None:
        tries.append(how["address"])
        raise Exception("it\ntimed out")

    monkeypatch.setattr("ray.init", fails)
    out = tmp_path / "out"
    with pytest.raises(DeviceError, match=r"reached at h:1 \(it timed out\); name its head"):
        predict_on_cluster(segmenter, plan([pictures], out), out, cluster="h:1")
    with pytest.raises(DeviceError, match="started here"):
        predict_on_cluster(segmenter, plan([pictures], out), out, resume=True)
    assert tries == ["h:1", "local", "local", "local"]


def test_parts_are_neither_many_nor_large() -> None:
    sizes = [size_of_parts(images) for images in (1, 20_000, 1_000_000, 100_000_000)]
    assert sizes == [16, 16, 250, 512]


def test_what_cannot_run_on_a_cluster_is_refused(
    segmenter: dsunet.Segmenter, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="`actors` and `actor_cpus` need at least 1"):
        predict_on_cluster(segmenter, plan([pictures], out), out, actors=0)
    own = dsunet.Segmenter(lambda image: image[..., 0] / 255)
    with pytest.raises(ConfigError, match="no other process"):
        predict_on_cluster(own, plan([pictures], out), out)
    assert not out.exists()
