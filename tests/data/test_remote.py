"""Addresses: what they mean, what is fetched, and what is refused."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dsunet
from dsunet.data import remote
from dsunet.data.remote import Remote, fetch, is_address, place_of
from dsunet.data.synthetic import synthetic_pair
from dsunet.data.uris import read_column
from dsunet.errors import ConfigError, DataError, ImageError
from dsunet.predict import plan_outputs, predict_files


def test_what_an_address_means() -> None:
    assert not is_address("C:\\photo.jpg")
    assert not is_address("photos/a.jpg")
    assert place_of("photos/a.jpg") == Path("photos/a.jpg")
    assert place_of("file:///photos/a%20b.jpg") == Path("/photos/a b.jpg")
    assert place_of("s3://bucket/deep/a.jpg") == Remote("s3://bucket/deep/a.jpg")
    assert Remote("s3://bucket/../a/./b.jpg?c").parts == ("bucket", "a", "b.jpg?c")
    web = Remote("https://host/a/b.jpg?size=1#top")
    assert (web.parts, web.query) == (("host", "a", "b.jpg"), "size=1")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://host/a.jpg", "begins with ftp://.*http, https, s3"),
        ("htps://host/a.jpg", "did you mean https"),
        ("simplecache::s3://bucket/a.jpg", "begins with simplecache::s3://"),
        ("memory://a.jpg", "begins with memory://"),
        ("file://host/a.jpg", "names a host"),
        ("https://me:secret@host/a.jpg", "holds a name and a password"),
        ("https://host", "names no file"),
    ],
)
def test_addresses_that_are_not_followed(address: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        place_of(address)
    assert "secret" not in str(error.value)


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; /busy is busy twice."""

    busy = 2

    def do_GET(self) -> None:
        if self.path == "/busy.jpg" and Server.busy:
            Server.busy -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server on loopback with three pictures."""
    folder = tmp_path / "web"
    (folder / "deep").mkdir(parents=True)
    synthetic_pair(0, 40)[0].save(folder / "a b.jpg")
    synthetic_pair(1, 40)[0].save(folder / "deep" / "c.png")
    synthetic_pair(2, 40)[0].save(folder / "busy.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8")
    handler = functools.partial(Server, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_files_on_the_web_are_images_like_others(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    addresses = [f"{web}/{n}" for n in ("a%20b.jpg", "deep/c.png", "busy.jpg", "broken.jpg")]
    table = pa.table({"address": [*addresses, f"{web}/gone.jpg", "ftp://host/d.jpg", None]})
    pq.write_table(table, tmp_path / "images.parquet")
    out = tmp_path / "out"
    jobs = plan_outputs([], out, from_parquet=tmp_path / "images.parquet")
    segmenter = dsunet.Segmenter(lambda image: image.mean(axis=2, dtype=np.float32) / 255)
    report = predict_files(segmenter, jobs, out)
    assert {file.relative_to(out).as_posix() for file in out.rglob("*.png")} == {
        "a%20b.png",
        "busy.png",
        "deep/c.png",
    }
    reasons = {str(image): reason for image, reason in report.failures}
    assert "it is not there" in reasons[f"{web}/gone.jpg"]
    assert "begins with ftp://" in reasons["ftp://host/d.jpg"]
    assert "no path or address" in reasons["an empty row"]
    assert "not a readable image" in reasons[f"{web}/broken.jpg"]
    assert len(reasons) == 4


def test_what_is_not_an_end_is_tried_again(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    file = tmp_path / "web" / "busy.jpg"
    Server.busy = 2
    assert fetch(Remote(f"{web}/busy.jpg")).content == file.read_bytes()
    Server.busy = 3
    with pytest.raises(ImageError, match="503"):
        fetch(Remote(f"{web}/busy.jpg"))
    Server.busy = 0
    monkeypatch.setattr(remote, "LARGEST", 100)
    with pytest.raises(ImageError, match="which are not fetched"):
        fetch(Remote(f"{web}/busy.jpg"))


def names(tmp_path: Path, *lines: str) -> list[tuple[str, str]]:
    (tmp_path / "list.txt").write_text("\n".join(lines))
    jobs = plan_outputs([], tmp_path / "out", files_from=tmp_path / "list.txt")
    return sorted((job.name.as_posix(), job.trouble) for job in jobs)


def test_no_two_addresses_write_to_one_file(tmp_path: Path) -> None:
    assert names(tmp_path, "https://h/a/x.jpg", "https://h/b/x.jpg") == [
        ("a/x.png", ""),
        ("b/x.png", ""),
    ]
    queries = names(tmp_path, "https://h/x.jpg?size=1", "https://h/x.jpg?size=2")
    assert len(dict(queries)) == 2
    assert all(name.startswith("x-") and not trouble for name, trouble in queries)
    assert names(tmp_path, "https://h/x.jpg", "https://h/x.png", "/nowhere/y.jpg") == [
        ("x.jpg.png", ""),
        ("x.png.png", ""),
        ("y.png", ""),
    ]
    [(long, _), (odd, _)] = names(tmp_path, f"https://h/{'a' * 300}.jpg", "https://h/../../b:c.jpg")
    assert len(long) < 150
    assert odd == "b_c.png"


def test_a_column_is_asked_for_where_several_might_be_meant(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"uri": ["a.jpg"], "label": ["cat"], "size": [3]}), table)
    assert read_column(table, "uri") == ["a.jpg"]
    with pytest.raises(ConfigError, match=r"uri, label; say by `column`"):
        read_column(table)
    with pytest.raises(DataError, match=r"no column urI .*did you mean uri"):
        read_column(table, "urI")
    with pytest.raises(DataError, match="no column size"):
        read_column(table, "size")
    (tmp_path / "odd.parquet").write_bytes(b"text")
    for missing in ("odd.parquet", "gone.parquet"):
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            read_column(tmp_path / missing, "uri")


@pytest.mark.slow
def test_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for S3 on loopback, through s3fs."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        remote.file_system.cache_clear()
        store = remote.file_system("s3")
        store.mkdir("bucket")
        for number in range(3):
            synthetic_pair(number, 40)[0].save(tmp_path / "one.jpg")
            place = f"bucket/photos/{number // 2}/{number}.jpg"
            store.pipe_file(place, (tmp_path / "one.jpg").read_bytes())
        store.pipe_file("bucket/photos/notes.txt", b"none")
        out = tmp_path / "out"
        jobs = plan_outputs(["s3://bucket/photos", "s3://bucket/gone.jpg"], out)
        segmenter = dsunet.Segmenter(lambda image: image.mean(axis=2, dtype=np.float32) / 255)
        report = predict_files(segmenter, jobs, out)
        found = {file.relative_to(out).as_posix() for file in out.rglob("*.png")}
        assert found == {"0/0.png", "0/1.png", "1/2.png"}
        [(image, reason)] = report.failures
        assert str(image) == "s3://bucket/gone.jpg"
        assert "it is not there" in reason
        pattern = plan_outputs(["s3://bucket/photos/*/1.jpg"], out)
        assert [job.name.as_posix() for job in pattern] == ["0/1.png"]
        with pytest.raises(DataError, match="holds no images"):
            plan_outputs(["s3://bucket/nothing/"], out)
    finally:
        server.stop()
        remote.file_system.cache_clear()
