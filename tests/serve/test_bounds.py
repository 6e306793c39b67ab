"""Every bound of the service: its status, and a line that says it."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.config import ServeConfig
from dsunet.errors import ConfigError
from serve_pictures import TOKEN
from served import Served, answer_of, served, wait_for

HEAD = f"POST /v1/segment HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"


def bomb(width: int, height: int) -> bytes:
    """A PNG that says to be large, and has next to nothing in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 1000)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def assert_refused(got: httpx.Response, status: int, limit: str, allowed: float) -> None:
    assert got.status_code == status, got.text
    told = got.json()
    assert (told["status"], told["limit"], told["allowed"]) == (status, limit, allowed)
    assert "\n" not in told["error"]


def test_bytes(tight: Served) -> None:
    """Those that are declared, and those that come without being declared."""
    large = b"\xff\xd8\xff" + bytes(120_000)
    assert_refused(tight.client.post("/v1/segment", content=large), 413, "max_bytes", 100_000)

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(4000)

    got = tight.client.post("/v1/segment", content=pieces())
    assert_refused(got, 413, "max_bytes", 100_000)
    assert "100,000" in got.json()["error"]
    got = tight.client.post("/v1/segment", files={"file": large})
    assert_refused(got, 413, "max_bytes", 100_000)
    assert tight.client.get("/health").status_code == 200


@pytest.mark.slow
def test_an_endless_upload_is_cut(tight: Served) -> None:
    """However much a client sends, no more than the bound is kept, and the answer arrives."""
    with tight.connect() as connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        connection.setblocking(True)
        for _ in range(30):
            connection.sendall(piece)
        status, body = answer_of(connection)
    assert status == 413
    assert json.loads(body)["limit"] == "max_bytes"


@pytest.mark.parametrize("size", [(1001, 1000), (30_000, 30_000), (2_000_000, 2_000_000)])
def test_pixels_before_they_are_decoded(size: tuple[int, int], tight: Served) -> None:
    got = tight.client.post("/v1/segment", content=bomb(*size))
    assert_refused(got, 413, "max_pixels", 1_000_000)
    assert "more than 1,000,000 pixels" in got.json()["error"]


def test_a_picture_at_the_bound(tight: Served) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1000, 1000), "red").save(file, "PNG")
    assert tight.client.post("/v1/segment", content=file.getvalue()).status_code == 200


def test_numbers_and_bytes_of_a_batch(tight: Served, photo: bytes) -> None:
    four = [("file", photo)] * 4
    got = tight.client.post("/v1/segment/batch", files=four)
    assert_refused(got, 422, "max_batch", 3)
    got = tight.client.post("/v1/segment/batch", files=[("file", bytes(90_000))] * 3)
    assert_refused(got, 413, "max_batch_bytes", 150_000)
    got = tight.client.post("/v1/segment/batch", files=[("file", bytes(110_000)), ("file", photo)])
    assert [each["status"] for each in got.json()["results"]] == [413, 200]
    assert got.json()["results"][0]["limit"] == "max_bytes"
    got = tight.client.post("/v1/segment/batch", content=photo)
    assert got.status_code == 415


def test_fields_of_a_form(tight: Served, photo: bytes) -> None:
    many = {f"field{number}": "x" for number in range(30)}
    assert tight.client.post("/v1/segment", data=many, files={"file": photo}).status_code == 422
    long = {"output": "x" * 10_000}
    assert tight.client.post("/v1/segment", data=long, files={"file": photo}).status_code == 422


def test_memory_of_all_uploads(tight: Served, photo: bytes) -> None:
    """Two uploads on their way take what is left; what they had is free again afterwards."""
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(tight.connect())
            connection.sendall(f"{HEAD}Content-Length: 99000\r\n\r\n".encode() + bytes(88_000))
        authorised = {"Authorization": f"Bearer {TOKEN}"}
        wait_for(lambda: tight.measure("dsunet_upload_bytes", **authorised) >= 176_000)
        got = tight.client.post("/v1/segment", content=photo)
        assert_refused(got, 503, "max_upload_memory", 180_000)
        assert int(got.headers["retry-after"]) >= 1
    wait_for(lambda: tight.measure("dsunet_upload_bytes", **authorised) == 0)
    assert tight.client.post("/v1/segment", content=photo).status_code == 200


@pytest.mark.slow
def test_slow_uploads_are_cut(tight: Served) -> None:
    with tight.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 50000\r\n\r\nsome".encode())
        start = time.monotonic()
        status, body = answer_of(connection)
    assert status == 408
    assert json.loads(body)["limit"] == "upload_timeout"
    assert time.monotonic() - start < 40


@pytest.mark.slow
def test_slow_heads_and_silent_clients_are_cut(tight: Served) -> None:
    with tight.connect() as silent, tight.connect() as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nX: ")
        start = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(100):
                slow.sendall(b"x")
                time.sleep(0.1)
        assert answer_of(silent) == (0, b"")
        assert 1 < time.monotonic() - start < 40


def test_large_heads_are_refused(tight: Served) -> None:
    with tight.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 200_000)
        assert answer_of(connection)[0] in (0, 400)  # 0: the answer was lost in the noise
    assert tight.client.get("/health").status_code == 200


def test_connections(tight: Served) -> None:
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(tight.connect()) for _ in range(30)]
        refused = [answer_of(each) for each in several[-8:]]
    for status, body in refused:
        assert status == 503
        assert json.loads(body)["limit"] == "max_connections"
    wait_for(lambda: _answers(tight))


def _answers(service: Served) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return service.client.get("/health").status_code == 200
    return False


def test_tokens(tight: Served, photo: bytes) -> None:
    for token in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        headers = {"Authorization": token.encode()}
        got = tight.client.post("/v1/segment", content=photo, headers=headers)
        assert got.status_code == 401, token
        assert got.headers["www-authenticate"] == "Bearer"
        assert tight.client.get("/metrics", headers=headers).status_code == 401
        assert tight.client.get("/v1/models", headers=headers).status_code == 401
    for path in ("/health", "/ready", "/docs", "/openapi.json", "/"):
        assert tight.client.get(path, headers={"Authorization": ""}).status_code == 200
    assert tight.client.post("/v1/segment", content=photo).status_code == 200
    assert "securitySchemes" in tight.client.get("/openapi.json").json()["components"]
    assert all(TOKEN not in line for line in tight.lines)


def test_pages_of_other_origins(tight: Served, photo: bytes) -> None:
    """Only the one that is allowed gets to read what is answered; it may ask with a token."""
    asked = {"Access-Control-Request-Method": "POST", "Authorization": ""}
    for origin, status in (("https://example.org", 200), ("https://evil.example", 400)):
        got = tight.client.options("/v1/segment", headers={**asked, "Origin": origin})
        assert got.status_code == status
        allowed = origin if status == 200 else None
        assert got.headers.get("access-control-allow-origin") == allowed
        for given in (tight.client.headers["Authorization"], ""):
            headers = {"Origin": origin, "Authorization": given}
            got = tight.client.post("/v1/segment", content=photo, headers=headers)
            assert got.headers.get("access-control-allow-origin") == allowed
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        got = tight.client.post("/v1/segment", content=photo, headers=headers)
        assert got.status_code == (200 if allowed else 403)


@pytest.mark.slow
def test_nothing_of_a_picture_goes_to_the_disk(tmp_path: Path) -> None:
    """Not even while a form of some megabytes is read: there is no place for it."""
    nowhere = tmp_path / "temporary"
    nowhere.mkdir(mode=0o500)
    large = io.BytesIO()
    Image.effect_noise((1500, 1200), 80).save(large, "PNG")
    assert len(large.getvalue()) > 1_200_000
    # where temporary files would go, and what is written anywhere
    with served("--workers", 1, TMPDIR=str(nowhere)) as service:
        before, there = _written(service), sorted(nowhere.iterdir())  # onnxruntime leaves one
        for path in ("/v1/segment", "/v1/segment/batch"):
            got = service.client.post(path, files={"file": large.getvalue()})
            assert got.status_code == 200
        assert sorted(nowhere.iterdir()) == there
        assert _written(service) - before < 100_000


def _written(service: Served) -> int:
    """Bytes that the processes of a service have had written to disks."""
    total = 0
    for pid in (service.process.pid, *service.workers()):
        told = Path("/proc", str(pid), "io").read_text()
        total += int(told.split("write_bytes: ")[1].split()[0])
    return total


def test_forms_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What forms are read into never becomes a temporary file, however large."""
    from dsunet.serve.bodies import _InMemory

    def rollover(self: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    with tempfile.SpooledTemporaryFile(max_size=_InMemory.spool_max_size) as file:
        file.write(bytes(5_000_000))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 70000}, "`port` is 70000, but needs 0 to 65535"),
        ({"workers": 0}, "`workers` is 0, but needs at least 1"),
        ({"max_queue": -1}, "`max_queue` is -1"),
        ({"max_bytes": 0}, "`max_bytes` is 0"),
        ({"timeout": 0.0}, "`timeout` is 0.0, but needs more than 0 seconds"),
        ({"timeout": float("inf")}, "`timeout` is inf"),
        ({"cors_origin": "example.org"}, "needs an origin such as https://example.org"),
        ({"cors_origin": "https://a.org,https://b.org/x"}, "without a path"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServeConfig(**settings)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_what_the_command_says(
    tmp_path: Path, service: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for flags, said in (
        (["--port", str(service.port)], "cannot be listened at (address already in use)"),
        (["--host", "no.such.host.invalid", "--port", "0"], "is no address to listen at"),
        (["--port", "0", "--token-file", str(tmp_path / "none")], "cannot be read (no such file"),
        (["--port", "0", "--token-file", str(tmp_path / "empty.txt")], "is empty; put a token"),
        (["--max-queue", "-1"], "--max-queue is -1, but needs at least 0"),
    ):
        assert main(["serve", *flags]) == 1
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.startswith("dsunet serve: error: ")
        assert shown.count("\n") == 1


def test_answers_are_sent_at_once() -> None:
    """asyncio turns Nagle's algorithm, which costs 40 ms, off for what is TCP by number."""
    from dsunet.serve.server import listen

    with listen("127.0.0.1", 0) as place:
        assert place.proto == socket.IPPROTO_TCP


def test_a_service_that_is_open_to_all_says_so() -> None:
    with served("--workers", 1, "--host", "0.0.0.0") as service:
        wait_for(lambda: len(service.lines) > 1)
        assert service.lines[1].startswith("note: whoever reaches this machine may use it")
        assert service.client.get("/health").status_code == 200


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        Served("--weights", tmp_path / "none.onnx")
    assert "dsunet serve: error: there is no file" in str(caught.value)
