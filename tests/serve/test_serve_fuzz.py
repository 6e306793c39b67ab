"""Mutated bodies, heads and requests by the schema: never a 500, never a crash."""

from __future__ import annotations

import contextlib
import random
import socket
from collections import Counter

import httpx
import pytest

from serve_pictures import encoded
from served import WAIT, Served, answer_of

FORMS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
EXPECTED = {200, 400, 404, 405, 408, 413, 415, 422}
BOUNDARY = "edge"


def bodies() -> list[bytes]:
    """Pictures and forms to be mutated."""
    pictures = [encoded(form, (90, 60)) for form in FORMS]
    part = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    field = (
        f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="output"\r\n\r\nbinary'
        f"\r\n--{BOUNDARY}--\r\n"
    ).encode()
    return pictures + [part + picture + field for picture in pictures[:3]]


def mutated(content: bytes, draws: random.Random) -> bytes:
    """A few bytes changed, cut off, doubled or taken out; near the start as often as anywhere."""
    changed = bytearray(content)
    for _ in range(draws.randint(1, 6)):
        reach = draws.choice((64, 400, len(changed)))
        place = draws.randrange(max(1, min(reach, len(changed))))
        kind = draws.randrange(5)
        if kind == 0:
            changed[place : place + 1] = bytes([draws.randrange(256)])
        elif kind == 1:
            changed[place : place + 4] = draws.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            del changed[place : place + draws.randint(1, 40)]
        else:
            changed[place:place] = changed[place : place + draws.randint(1, 200)]
    return bytes(changed)


def post_mutated(service: Served, count: int, seed: int) -> Counter[int]:
    """Sends mutated bodies; gives how often which status came."""
    draws, given, statuses = random.Random(seed), bodies(), Counter[int]()
    for number in range(count):
        content = mutated(draws.choice(given), draws)
        form = content.lstrip().startswith(b"--")
        kind = f"multipart/form-data; boundary={BOUNDARY}" if form else "image/jpeg"
        path = "/v1/segment/batch" if form and number % 2 else "/v1/segment"
        output = draws.choice(("probability", "binary", "cutout", "json", "overlay"))
        got = service.client.post(
            path,
            content=content,
            params={} if form else {"output": output},
            headers={"Content-Type": kind},
        )
        statuses[got.status_code] += 1
        assert got.status_code in EXPECTED, (seed, number, got.text)
        if got.status_code != 200:
            assert got.json()["error"]
    return statuses


def send_mutated_heads(service: Served, count: int, seed: int) -> None:
    """Sends requests whose very bytes are mutated."""
    draws = random.Random(seed)
    photo = encoded("JPEG", (40, 30))
    head = (
        "POST /v1/segment?output=binary&threshold=0.5 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\nX-Request-Id: a\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode()
    for number in range(count):
        changed = mutated(head, draws) + photo
        with service.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(changed)
                connection.shutdown(socket.SHUT_WR)
            status, body = answer_of(connection)
        assert status in {0, 401, 499} | EXPECTED, (seed, number, body)


def assert_whole(service: Served, photo: bytes) -> None:
    """It serves as before, no worker has died, and nothing went wrong inside."""
    assert service.client.post("/v1/segment", content=photo).status_code == 200
    assert service.measure("dsunet_workers_restarts") == 0
    assert [line for line in service.errors if "Traceback" in line] == []
    assert service.process.poll() is None


def test_some_mutations(service: Served, photo: bytes) -> None:
    statuses = post_mutated(service, 60, seed=1)
    assert len(statuses) >= 2
    send_mutated_heads(service, 40, seed=1)
    assert_whole(service, photo)


@pytest.mark.slow
def test_two_thousand_mutations(service: Served, photo: bytes) -> None:
    statuses = post_mutated(service, 1400, seed=2)
    assert {200, 415, 422} <= set(statuses)
    send_mutated_heads(service, 600, seed=2)
    assert_whole(service, photo)


@pytest.mark.slow
def test_requests_by_the_schema(service: Served, photo: bytes) -> None:
    """What schemathesis makes of openapi.json: statuses and answers are as it says."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    # no schema says which bytes are a picture
    schemathesis.checks.load_all_checks()
    accepts = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
    schema = schemathesis.openapi.from_dict(service.client.get("/openapi.json").json())
    schema.config.update(base_url=service.url)
    modes = list(schemathesis.GenerationMode)
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=150,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
        def call(case: object) -> None:
            nonlocal count
            count += 1
            answer = case.call(timeout=WAIT)  # type: ignore[attr-defined]
            assert answer.status_code < 500, answer.text
            case.validate_response(answer, excluded_checks=[accepts])  # type: ignore[attr-defined]

        call()
    assert count >= 100
    assert_whole(service, photo)


def test_slashes_and_methods(service: Served) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"):
        got = service.client.request(method, "/v1/segment")
        assert got.status_code in (400, 405)
    for path in ("/v1//segment", "/%00", "/%2e%2e/app.py", "/v1/segment/", "/*"):
        assert service.client.get(path).status_code in (404, 405), path
    assert httpx.head(f"{service.url}/health").content == b""
