"""Whatever a client sends, and however it goes wrong, no log line holds it: at debug level, in both set-ups."""

from __future__ import annotations

import base64
import io
import socket
from pathlib import Path

import httpx
import pytest
from PIL import Image, PngImagePlugin

from app.access.file import add_key
from app.access.keys import make_key
from tests.app.processes.service import Service, serving
from tests.support.tiny import make_tiny_bundle

MARK = "Zebrafinken-7391"  # in everything that is sent
FORMS = ["plain", "json"]


def picture() -> bytes:
    """A good picture that has the mark among its pixels, in a text chunk and behind its end."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", MARK)
    buffer = io.BytesIO()
    Image.frombytes("L", (16, 16), (MARK * 16).encode()[:256]).save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue() + MARK.encode()


def ask_everything(client: httpx.Client) -> set[int]:
    """Requests to every endpoint, good ones and bad ones, with the mark in every place that there is."""
    good, whole = picture(), MARK.encode()
    cut = good[: len(good) // 2] + whole
    jpeg = b"\xff\xd8\xff\xfe\x00\x20" + whole
    posts = [
        {"json": {"text": MARK, "image": base64.b64encode(good).decode()}},
        {"json": {"text": MARK * 100_000}},
        {"json": {"text": MARK, "tasks": [MARK]}},
        {"json": {"text": MARK, "model": MARK}},
        {"json": {"text": MARK, "top_k": MARK}},
        {"json": {"text": MARK, "coverage": MARK, "explain": MARK}},
        {"json": {MARK: MARK}},
        {"json": {"image": MARK}},
        {"json": {"image": f"http://{MARK}/"}},
        {"json": [MARK]},
        {"content": b'{"text": "' + whole, "headers": {"Content-Type": "application/json"}},
        {"content": b"\xff" + whole, "headers": {"Content-Type": "application/json"}},
        {"content": whole, "headers": {"Content-Type": f"text/{MARK}"}},
        {"content": whole, "headers": {"Content-Type": f"multipart/form-data; boundary={MARK}"}},
        {"content": f"--b\r\n{MARK}: {MARK}\r\n\r\n{MARK}".encode(),
         "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"files": {"image": (MARK, good), "text": (None, MARK)}},
        {"files": {"image": (MARK, cut)}},
        {"files": {"image": (MARK, jpeg)}},
        {"files": {"image": (MARK, whole, f"image/{MARK}")}},
        {"files": {"text": (None, b"\xff\xfe" + whole)}},
        {"files": {MARK: (MARK, whole)}},
        {"params": {"text": MARK}, "json": {"text": MARK}},
        {"json": {"text": MARK}, "headers": {"X-Deadline-Ms": MARK}},
        {"json": {"text": MARK}, "headers": {"X-Deadline-Ms": "1"}},
        {"json": {"text": MARK}, "headers": {"X-Request-Id": f"{MARK} {MARK}", "X-Other": MARK, "Cookie": MARK}},
        {"json": {"text": MARK}, "headers": {"Authorization": f"Bearer tl_001_{MARK}"}},
        {"json": {"text": MARK}, "headers": {"Authorization": f"Basic {MARK}"}},
        {"json": {"text": MARK}, "headers": {"Host": f"{MARK}.example"}},
    ]  # fmt: skip
    seen = {client.post("/predict", **post).status_code for post in posts}  # type: ignore[arg-type]
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/models", f"/models/{MARK}", "/health/live", f"/{MARK}"):
        for method in ("GET", "PUT", "HEAD"):
            answer = client.request(method, path, params={"q": MARK}, headers={"X-Other": MARK})
            seen.add(answer.status_code)
    return seen


def break_off(service: Service) -> None:
    """What is no request, and an upload that does not end."""
    head = f"POST /predict?{MARK} HTTP/1.1\r\nHost: {MARK}\r\nContent-Type: application/json\r\n"
    for sent in (f"{MARK} {MARK}\r\n\r\n", f"GET / HTTP/{MARK}\r\n\r\n", f"{head}Content-Length: 99\r\n\r\n{MARK}",
                 f"{head}Transfer-Encoding: chunked\r\n\r\n{MARK}\r\n{MARK}"):  # fmt: skip
        with service.connect() as connection:
            connection.sendall(sent.encode())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_line_of_the_log_holds_what_was_sent(tiny: Path, tmp_path: Path, workers: str) -> None:
    file = tmp_path / "keys.json"
    key, record = make_key("silent", (), ["predict", "admin"], None, None)
    add_key(file, record)
    form = FORMS[int(workers) - 1]
    options = ("--workers", workers, "--log-level", "debug", "--log-format", form, "--keys", str(file))
    with serving(tiny, *options) as service:
        with service.client() as client:
            strangers = ask_everything(client)
            client.headers["Authorization"] = f"Bearer {key}"
            seen = ask_everything(client)
        break_off(service)
        service.process.terminate()
        assert service.process.wait(60) == 0
    log = "".join(service.log)
    assert 401 in strangers
    assert {200, 400, 401, 404, 405, 415, 422} <= seen
    assert "ready" in log, "something is logged at all"
    held = [line for line in service.log if MARK.lower() in line.lower() or key in line or key[7:] in line]
    assert held == []
    assert base64.b64encode(MARK.encode())[:-4].decode() not in log
