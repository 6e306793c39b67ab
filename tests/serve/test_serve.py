"""What the service answers: the very bytes that `dsunet predict` writes, numbers, and errors."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.predict import KINDS
from served import Served, wait_for

PATHS = ("/v1/segment", "/v1/segment/batch")


def predicted(photo: bytes, folder: Path, kind: str, *flags: str, form: str = "png") -> bytes:
    """What `dsunet predict` writes of a picture."""
    (folder / "photo.jpg").write_bytes(photo)
    output = folder / f"{kind}.{form}"
    call = ["predict", str(folder / "photo.jpg"), "--save", kind, "--output", str(output)]
    assert main([*call, "--engine", "onnx", *flags]) == 0
    return output.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_as_the_command_line(
    kind: str, service: Served, photo: bytes, tmp_path: Path
) -> None:
    expected = predicted(photo, tmp_path, kind)
    raw = service.client.post("/v1/segment", params={"output": kind}, content=photo)
    assert raw.status_code == 200, raw.text
    assert raw.headers["content-type"] == "image/png"
    assert raw.content == expected
    form = service.client.post(
        "/v1/segment", data={"output": kind}, files={"file": ("p.jpg", photo, "image/jpeg")}
    )
    assert form.content == expected
    with Image.open(io.BytesIO(expected)) as picture:
        assert picture.size == (160, 120)  # upright


@pytest.mark.parametrize(
    ("kind", "fields", "flags"),
    [
        ("binary", {"threshold": "0.3"}, ["--threshold", "0.3"]),
        ("binary", {"refine": "true"}, ["--refine", "true"]),
        (
            "binary",
            {"abstain": "true", "image_threshold": "1"},
            ["--abstain", "--image-threshold", "1"],
        ),
        ("overlay", {"threshold": "0.3", "format": "jpg"}, ["--threshold", "0.3"]),
        ("cutout", {"background": "#00ff00", "crop": "1"}, ["--crop-to-object"]),
        ("cutout", {"refine": "false", "format": "webp"}, ["--refine", "false"]),
        ("probability", {"format": "webp"}, []),
    ],
)
def test_fields_are_the_flags(
    kind: str,
    fields: dict[str, str],
    flags: list[str],
    service: Served,
    photo: bytes,
    tmp_path: Path,
) -> None:
    form = fields.get("format", "png")
    if "background" in fields:
        flags = [*flags, "--background", fields["background"]]
    got = service.client.post("/v1/segment", params={"output": kind, **fields}, content=photo)
    assert got.status_code == 200, got.text
    assert got.content == predicted(photo, tmp_path, kind, *flags, form=form)


def test_numbers(service: Served, photo: bytes) -> None:
    got = service.client.post(
        "/v1/segment", params={"output": "json", "threshold": 0.4}, content=photo
    ).json()
    result = dsunet.Segmenter(engine="onnx")(photo)
    found = result.binary(0.4)
    assert (got["width"], got["height"], got["threshold"]) == (160, 120, 0.4)
    assert got["area"] == found.sum() > 0
    assert got["share"] == pytest.approx(found.mean(), abs=1e-6)
    assert got["score"] == pytest.approx(result.probability[found].mean(), abs=1e-5)
    assert got["box"] == list(result.box(0.4) or ())
    assert got["object_count"] == len(got["objects"]) >= 1
    assert sum(each["area"] for each in got["objects"]) == got["area"]
    left, top, right, bottom = got["objects"][0]["box"]
    assert found[top:bottom, left:right].sum() >= got["objects"][0]["area"]
    shown = Image.open(io.BytesIO(base64.b64decode(got["map"]["base64"])))
    np.testing.assert_array_equal(np.asarray(shown), result.map())
    assert got["map"]["media_type"] == "image/png"
    nothing = service.client.post(
        "/v1/segment", params={"output": "json", "threshold": "1"}, content=photo
    ).json()
    if nothing["area"] == 0:
        assert (nothing["score"], nothing["box"], nothing["objects"]) == (0.0, None, [])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"output": "mask"}, "`output` is 'mask', but needs one of probability, binary"),
        ({"output": "cutuot"}, "did you mean cutout?"),
        ({"threshold": "half", "output": "binary"}, "`threshold` is 'half', but needs a number"),
        ({"threshold": "1.5", "output": "json"}, "`threshold` is 1.5, but needs 0 to 1"),
        ({"threshold": "nan", "output": "binary"}, "`threshold` is nan, but needs 0 to 1"),
        ({"threshold": "0.4"}, "does nothing for probability maps"),
        ({"image_threshold": "0.4"}, "`image_threshold` is for `abstain`"),
        ({"abstain": "true"}, "`abstain` needs the score below which there is no object"),
        ({"background": "white"}, "`output` cutout, or leave it out"),
        ({"background": "mauvish", "output": "cutout"}, "`background` is 'mauvish'"),
        ({"format": "jpg"}, "`format` is jpg, which changes values"),
        ({"format": "gif"}, "needs one of png, webp, jpg"),
        ({"refine": "yes"}, "needs true or false"),
        ({"treshold": "0.4"}, "there is no field 'treshold'; known: output"),
        ({"url": "http://127.0.0.1/secret"}, "there is no field 'url'"),
        ({"output": ["binary", "cutout"]}, "`output` is given 2 times"),
    ],
)
def test_fields_that_make_no_sense(
    fields: dict[str, Any], said: str, service: Served, photo: bytes
) -> None:
    got = service.client.post("/v1/segment", params=fields, content=photo)
    assert got.status_code == 422
    assert said in got.json()["error"]
    assert "\n" not in got.json()["error"]
    assert got.json()["request_id"] == got.headers["x-request-id"]
    form = service.client.post("/v1/segment", data=fields, files={"file": photo})
    assert form.status_code == 422


def test_a_field_in_both_places(service: Served, photo: bytes) -> None:
    got = service.client.post(
        "/v1/segment",
        params={"output": "binary"},
        data={"output": "binary"},
        files={"file": photo},
    )
    assert got.status_code == 422
    assert "given 2 times" in got.json()["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"", "image/png", 422, "the picture's file is empty"),
        (b"%PDF-1.7 ...", "application/octet-stream", 415, "are a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/x-eps", 415, "are a PostScript document"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 415, "an SVG drawing"),
        (b"no picture at all", "image/jpeg", 415, "its content is of no known format"),
        (b'{"url": "http://127.0.0.1/"}', "application/json", 415, "the body is application/json"),
        (b"x", "multipart/form-data", 422, "the form cannot be read: Missing boundary"),
    ],
)
def test_no_pictures(content: bytes, kind: str, status: int, said: str, service: Served) -> None:
    got = service.client.post("/v1/segment", content=content, headers={"Content-Type": kind})
    assert got.status_code == status
    assert said in got.json()["error"]


def test_broken_pictures(service: Served, photo: bytes) -> None:
    got = service.client.post("/v1/segment", content=photo[: len(photo) // 2])
    assert got.status_code == 422
    assert "not" in got.json()["error"] or "no readable" in got.json()["error"]
    for form in (
        {"files": {"upload": photo}},
        {"files": [("file", photo), ("file", photo)]},
        {"files": {"file": ("empty.png", b"")}},
    ):
        assert service.client.post("/v1/segment", **form).status_code == 422


def test_several_pictures(service: Served, photo: bytes) -> None:
    files = [
        ("file", ("one.jpg", photo)),
        ("file", ("../../broken.jpg", photo[:2000])),
        ("file", ("ünlogisch.jpg", photo)),
        ("file", ("empty.png", b"")),
    ]
    alone = service.client.post("/v1/segment", params={"output": "cutout"}, content=photo).content
    got = service.client.post("/v1/segment/batch", data={"output": "cutout"}, files=files).json()
    results = got["results"]
    assert [each["index"] for each in results] == [0, 1, 2, 3]
    assert [each["status"] for each in results] == [200, 422, 200, 422]
    assert results[1]["name"] == "../../broken.jpg"
    assert "error" in results[1]
    assert base64.b64decode(results[0]["base64"]) == alone
    assert results[0]["base64"] == results[2]["base64"]

    packed = service.client.post(
        "/v1/segment/batch", params={"answer": "zip"}, data={"output": "cutout"}, files=files
    )
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["results.json", "000-one.png", "002-ünlogisch.png"]
        assert archive.read("000-one.png") == alone
        told = json.loads(archive.read("results.json"))["results"]
    assert [each["status"] for each in told] == [200, 422, 200, 422]
    assert told[0]["file"] == "000-one.png"

    numbers = service.client.post(
        "/v1/segment/batch", data={"output": "json"}, files=files[:1]
    ).json()["results"]
    assert numbers[0]["result"]["width"] == 160


def test_health_ready_models(service: Served) -> None:
    assert service.client.get("/health").json() == {"status": "ok"}
    ready = service.client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    told = service.client.get("/v1/models").json()
    [model] = told["models"]
    assert (model["name"], model["runtime"]) == ("dsunet-lite", "onnxruntime")
    assert model["view"] == [352, 352]
    assert told["limits"]["max_bytes"] == 20_000_000
    assert set(told["outputs"]) == {*KINDS, "json"}


def test_no_torch_is_needed(service: Served) -> None:
    for pid in (service.process.pid, *service.workers()):
        libraries = Path("/proc", str(pid), "maps").read_text()
        assert "torch" not in libraries
        assert ("onnxruntime" in libraries) == (pid != service.process.pid)


def test_measures(service: Served, photo: bytes) -> None:
    before = service.measure("dsunet_pictures_total")
    service.client.post("/v1/segment", content=photo)
    assert service.measure("dsunet_pictures_total") == before + 1
    assert service.measure("dsunet_workers_ready") == 1
    assert service.measure("dsunet_queue_length") == 0
    assert service.measure("dsunet_upload_bytes") == 0
    text = service.client.get("/metrics").text
    assert 'dsunet_requests_total{method="POST",route="/v1/segment",status="200"}' in text
    assert "dsunet_model_seconds_bucket" in text
    assert "dsunet_queue_seconds_bucket" in text


def test_pages_of_other_sites_make_no_work(service: Served, photo: bytes) -> None:
    for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
        got = service.client.post("/v1/segment", content=photo, headers={"Sec-Fetch-Site": site})
        assert got.status_code == status, site
    assert service.client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_what_is_not_there(service: Served) -> None:
    got = service.client.get("/v1/nothing")
    assert got.status_code == 404
    assert "no such path" in got.json()["error"]
    for path in PATHS:
        got = service.client.get(path)
        assert got.status_code == 405
        assert got.headers["allow"] == "POST"
    assert service.client.get("/page/../app.py").status_code == 404
    assert service.client.get("/docs/..%2f..%2fapp.py").status_code == 404


def test_the_reference_needs_nothing_from_elsewhere(service: Served) -> None:
    page = service.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"docs/reference.js", "docs/reference.css"} <= set(names)
    whole = page.text
    for name in names:
        assert "://" not in name
        assert not name.startswith("//")
        whole += service.client.get(f"/{name}").raise_for_status().text
    assert not re.search(r"(?:src|href|url|import|fetch)\W{1,3}https?://", whole)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    again = service.client.get("/docs", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304


def test_the_page_is_served(service: Served) -> None:
    page = service.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_every_request_is_told_once(service: Served, photo: bytes) -> None:
    got = service.client.post("/v1/segment", content=photo, headers={"X-Request-Id": "my-own.id_1"})
    assert got.headers["x-request-id"] == "my-own.id_1"
    bad = service.client.get("/health", headers={"X-Request-Id": 'x"}\t{"'})
    assert re.fullmatch("[0-9a-f]{32}", bad.headers["x-request-id"])
    wait_for(lambda: [line for line in service.log() if line["id"] == "my-own.id_1"])
    [line] = [line for line in service.log() if line["id"] == "my-own.id_1"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/segment", 200)
    assert line["bytes_in"] == len(photo)
    assert line["bytes_out"] == len(got.content)
    assert line["client"] == "127.0.0.1"
    assert line["seconds"] >= line["model_seconds"] > 0
    assert service.errors == []
    assert "access-control-allow-origin" not in got.headers
    assert got.headers["cache-control"] == "no-store"
