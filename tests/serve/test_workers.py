"""Workers that are busy, hang or die, clients that leave, and the end of the service."""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from dsunet.cli import main
from dsunet.data.synthetic import synthetic_pair
from served import WAIT, Served, answer_of, served, wait_for

pytestmark = pytest.mark.slow


def post(service: Served, content: bytes, **params: str) -> httpx.Response:
    """Sends a picture, by a connection of its own."""
    return httpx.post(f"{service.url}/v1/segment", content=content, params=params, timeout=WAIT)


def posts(
    pool: ThreadPoolExecutor, service: Served, content: bytes, count: int
) -> list[Future[httpx.Response]]:
    return [pool.submit(post, service, content) for _ in range(count)]


@pytest.fixture(scope="module")
def small() -> Served:
    """One worker, a queue of two, and short times; its worker may be stopped and killed."""
    with served(
        *("--workers", 1, "--max-queue", 2, "--queue-timeout", 5, "--timeout", 15)
    ) as service:
        yield service


def test_a_full_queue_and_the_time_in_it(small: Served, photo: bytes) -> None:
    """While the worker hangs, two wait, a third is sent away, and the two are given up."""
    [worker] = small.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(3) as pool:
            first = posts(pool, small, photo, 1)[0]
            wait_for(lambda: small.measure("dsunet_workers_busy") == 1)
            waiting = posts(pool, small, photo, 2)
            wait_for(lambda: small.measure("dsunet_queue_length") == 2)
            full = post(small, photo)
            assert (full.status_code, full.json()["limit"]) == (503, "max_queue")
            assert full.json()["allowed"] == 2
            assert int(full.headers["retry-after"]) >= 1
            for each in waiting:
                got = each.result()
                assert (got.status_code, got.json()["limit"]) == (504, "queue_timeout")
            assert small.measure("dsunet_queue_length") == 0
            os.kill(worker, signal.SIGCONT)
            assert first.result().status_code == 200
    finally:
        os.kill(worker, signal.SIGCONT)
    assert post(small, photo).status_code == 200


def test_the_time_in_the_model(small: Served, photo: bytes) -> None:
    """A worker that takes too long is replaced, and those who wait meanwhile are served."""
    [worker] = small.workers()
    os.kill(worker, signal.SIGSTOP)
    got = post(small, photo)
    assert (got.status_code, got.json()["limit"], got.json()["allowed"]) == (504, "timeout", 15)
    wait_for(lambda: small.measure("dsunet_workers_ready") == 1)
    assert small.workers() != [worker]
    assert post(small, photo).status_code == 200


def test_a_client_that_left_costs_nothing_more(small: Served, photo: bytes) -> None:
    """What it sent leaves the queue; what is with the worker is left at the next step."""
    [worker] = small.workers()
    done = small.measure("dsunet_pictures_total")
    os.kill(worker, signal.SIGSTOP)
    try:
        several = [small.connect() for _ in range(3)]
        for number, connection in enumerate(several, 1):
            head = f"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}\r\n\r\n"
            connection.sendall(head.encode() + photo)
            wait_for(
                lambda n=number: (
                    small.measure("dsunet_queue_length") + small.measure("dsunet_workers_busy") == n
                )
            )
        for connection in several:
            connection.close()
        wait_for(lambda: small.measure("dsunet_queue_length") == 0)
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_for(lambda: small.measure("dsunet_workers_busy") == 0)
    assert small.measure("dsunet_pictures_total") == done
    assert small.workers() == [worker]
    assert [line["status"] for line in small.log() if line["path"] == "/v1/segment"][-3:] == [
        499
    ] * 3
    assert post(small, photo).status_code == 200


def test_a_killed_worker_loses_its_own_request_alone(photo: bytes) -> None:
    slow = large()
    with served("--workers", 2) as service, ThreadPoolExecutor(8) as pool:
        wait_for(lambda: service.measure("dsunet_workers_ready") == 2)
        first, second = service.workers()
        os.kill(second, signal.SIGSTOP)
        asked = [pool.submit(post, service, slow, output="cutout") for _ in range(2)]
        wait_for(lambda: service.measure("dsunet_workers_busy") == 2)
        asked += posts(pool, service, photo, 6)
        wait_for(lambda: service.measure("dsunet_queue_length") == 6)
        time.sleep(0.3)  # the first is at its picture by now, and stays there for a second
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGCONT)
        statuses = sorted(each.result().status_code for each in asked)
        assert statuses == [200] * 7 + [503]
        wait_for(lambda: service.measure("dsunet_workers_ready") == 2)
        assert service.measure("dsunet_workers_restarts") == 1


def test_a_worker_that_dies_idle_loses_nothing(photo: bytes) -> None:
    with served("--workers", 2) as service, ThreadPoolExecutor(8) as pool:
        wait_for(lambda: service.measure("dsunet_workers_ready") == 2)
        for _ in range(3):
            os.kill(service.workers()[0], signal.SIGKILL)
            asked = posts(pool, service, photo, 8)
            assert {each.result().status_code for each in asked} == {200}
            wait_for(lambda: service.measure("dsunet_workers_ready") == 2)
        assert service.measure("dsunet_workers_restarts") == 3


def large() -> bytes:
    """A picture that takes a second or more to be cut out."""
    file = io.BytesIO()
    synthetic_pair(1, 256)[0].resize((5000, 4000)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_finishes_what_runs_and_refuses_what_comes(
    number: signal.Signals, photo: bytes
) -> None:
    service = Served("--workers", 1)
    [worker] = service.workers()
    with ThreadPoolExecutor(2) as pool:
        os.kill(worker, signal.SIGSTOP)
        asked = posts(pool, service, photo, 2)
        wait_for(lambda: service.measure("dsunet_queue_length") == 1)
        service.client.close()  # idle connections end at once
        service.process.send_signal(number)
        wait_for(lambda: not _listens(service))
        os.kill(worker, signal.SIGCONT)
        assert [each.result().status_code for each in asked] == [200, 200]
    assert service.stop() == 0
    assert not Path("/proc", str(worker)).exists()
    assert service.errors == []
    assert [line["status"] for line in service.log() if line["method"] == "POST"] == [200, 200]


def _listens(service: Served) -> bool:
    try:
        service.connect().close()
    except OSError:
        return False
    return True


def test_a_signal_to_all_processes_finishes_what_runs_too(photo: bytes) -> None:
    """As systemd, terminals and `timeout` send it."""
    service = Served("--workers", 1)
    [worker] = service.workers()
    with ThreadPoolExecutor(1) as pool:
        os.kill(worker, signal.SIGSTOP)
        [asked] = posts(pool, service, photo, 1)
        wait_for(lambda: service.measure("dsunet_workers_busy") == 1)
        service.client.close()
        for pid in (worker, service.process.pid):
            os.kill(pid, signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        assert asked.result().status_code == 200
    assert service.stop() == 0


def test_workers_end_with_a_killed_service() -> None:
    service = Served("--workers", 2)
    workers = service.workers()
    service.stop(signal.SIGKILL)
    wait_for(lambda: not any(Path("/proc", str(worker)).exists() for worker in workers))


def test_health_answers_while_all_workers_are_busy(small: Served, photo: bytes) -> None:
    [worker] = small.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=post, args=(small, photo))
        thread.start()
        wait_for(lambda: small.measure("dsunet_workers_busy") == 1)
        assert small.client.get("/health").status_code == 200
        assert small.client.get("/ready").status_code == 200
    finally:
        os.kill(worker, signal.SIGCONT)
    thread.join(WAIT)


def test_what_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import builtins
    import sys

    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.startswith("dsunet.serve.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["serve", "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert "dsunet serve needs the package uvicorn; pip install 'dsunet[serve]'" in said
    assert said.count("\n") == 1


def test_a_client_that_does_not_read_is_cut() -> None:
    """Its answer does not wait in the memory for ever."""
    with served("--workers", 1, "--upload-timeout", 2) as service:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", service.port))
        with connection:
            connection.settimeout(0.2)
            wait_for(lambda: _is_cut(connection))
        assert answer_of_health(service) == 200


def _is_cut(connection: socket.socket) -> bool:
    """Whether a connection has ended, to which requests are sent whose answers nobody reads."""
    try:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    except TimeoutError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def answer_of_health(service: Served) -> int:
    with service.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return answer_of(connection)[0]
