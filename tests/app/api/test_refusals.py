"""Each row of the list of errors, over a real socket; a bad request harms nothing after it."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from tests.app.api.harness import Service, is_problem
from tests.app.intake.pictures import corners, file, png

PHOTO = file(corners(), "JPEG")
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
JSON = {"Content-Type": "application/json"}
BOMB = png(60000, 60000, b"")


def part(name: str, body: bytes, more: str = "") -> bytes:
    return b"--b\r\nContent-Disposition: form-data; name=" + f'"{name}"{more}\r\n\r\n'.encode() + body + b"\r\n"


TEXT = part("text", b"red")
END = b"--b--\r\n"

# What is sent: headers and body. What comes: status and code, and words that its detail has.
BODIES: dict[str, tuple[dict[str, str], bytes, int, str, str]] = {
    "no boundary": ({"Content-Type": "multipart/form-data"}, TEXT + END, 400, "malformed-request", "boundary"),
    "boundary too long": (
        {"Content-Type": f"multipart/form-data; boundary={'b' * 1000}"},
        TEXT + END, 400, "malformed-request", "boundary",
    ),
    "another boundary": (MULTIPART, b"--c\r\n" + TEXT, 400, "malformed-request", "parsed"),
    "no closing boundary": (MULTIPART, TEXT, 400, "malformed-request", "closing boundary"),
    "empty multipart": (MULTIPART, b"", 400, "malformed-request", "closing boundary"),
    "part without a name": (
        MULTIPART, b"--b\r\nContent-Type: text/plain\r\n\r\nred\r\n" + END,
        400, "malformed-request", "Content-Disposition",
    ),
    "part in base64": (
        MULTIPART,
        part("text", b"cmVk").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + END,
        400, "malformed-request", "Content-Transfer-Encoding",
    ),
    "broken part header": (MULTIPART, b"--b\r\nno colon here\r\n\r\nred\r\n" + END, 400, "malformed-request", "parsed"),
    "text not UTF-8": (MULTIPART, part("text", b"\xff\xfe") + END, 400, "malformed-request", "'text' is not UTF-8"),
    "option not UTF-8": (MULTIPART, TEXT + part("tasks", b"\xff") + END, 400, "malformed-request", "'tasks'"),
    "text twice": (MULTIPART, TEXT + TEXT + END, 400, "malformed-request", "twice"),
    "not JSON": (JSON, b'{"text": "red"', 400, "malformed-request", "not JSON"),
    "empty JSON": (JSON, b"", 400, "malformed-request", "not JSON"),
    "JSON not UTF-8": (JSON, b'{"text": "\xff"}', 400, "malformed-request", "UTF-8"),
    "JSON of another shape": (JSON, b'["red"]', 400, "malformed-request", "object"),
    "JSON with NaN": (JSON, b'{"text": "red", "coverage": NaN}', 400, "malformed-request", "NaN"),
    "JSON nested deeply": (JSON, b"[" * 100_000, 400, "malformed-request", "nested"),
    "JSON number for a text": (JSON, b'{"text": 7}', 400, "malformed-request", "'text' must be a string"),
    "unknown model": (JSON, b'{"text": "red", "model": "shoes"}', 404, "unknown-model", "'shoes'; the models are tiny"),
    "too many bytes in a picture": (MULTIPART, part("image", bytes(2 << 20)) + END, 413, "too-large", "'image'"),
    "too many bytes in a text": (MULTIPART, part("text", b"a" * (2 << 20)) + END, 413, "too-large", "'text'"),
    "too many bytes in an option": (MULTIPART, TEXT + part("tasks", b"a" * 100_000) + END, 413, "too-large", "'tasks'"),
    "too many bytes in a JSON text": (JSON, b'{"text": "' + b"a" * (2 << 20) + b'"}', 413, "too-large", "'text'"),
    "too many bytes": (JSON, bytes(8 << 20), 413, "too-large", "body"),
    "too many parts": (MULTIPART, part("tasks", b"year") * 200 + END, 413, "too-large", "parts"),
    "too many pixels": (MULTIPART, part("image", BOMB) + END, 413, "too-large", "pixels"),
    "no content type": ({}, b"red", 415, "unsupported-media-type", "multipart/form-data or application/json"),
    "form without parts": (
        {"Content-Type": "application/x-www-form-urlencoded"}, b"text=red", 415, "unsupported-media-type", "x-www-form",
    ),
    "no picture": (MULTIPART, part("image", b"%PDF-1.7 ...") + END, 415, "unsupported-format", "JPEG, PNG, WebP, GIF"),
    "SVG": (MULTIPART, part("image", b"<svg onload='x'/>") + END, 415, "unsupported-format", "JPEG, PNG, WebP, GIF"),
    "no input": (MULTIPART, END, 422, "nothing-to-predict", "image, text"),
    "blank input": (MULTIPART, part("text", b" \n") + END, 422, "nothing-to-predict", "image, text"),
    "no input in JSON": (JSON, b"{}", 422, "nothing-to-predict", "image, text"),
    "unknown part": (MULTIPART, part("photo", b"x") + END, 422, "unknown-part", "'photo'; the inputs are image, text"),
    "unknown member": (JSON, b'{"text": "red", "Text": "red"}', 422, "unknown-part", "'Text'"),
    "unknown task": (MULTIPART, TEXT + part("tasks", b"year,size") + END, 422, "unknown-task", "'size'; the tasks are"),
    "undecodable picture": (
        MULTIPART, part("image", PHOTO[:300]) + TEXT + END, 422, "undecodable-image", "begins as JPEG",
    ),
    "chosen file is empty": (
        MULTIPART, part("image", b"", '; filename="a.jpg"') + TEXT + END, 422, "undecodable-image", "empty",
    ),
    "not base64": (JSON, b'{"image": "@@@"}', 422, "undecodable-image", "base64"),
    "URL": (JSON, b'{"image": "https://shop.example/a.jpg"}', 422, "undecodable-image", "URLs are not fetched"),
    "URL in a part": (MULTIPART, part("image", b"file:///etc/passwd") + END, 422, "undecodable-image", "not fetched"),
    "data URL not in base64": (JSON, b'{"image": "data:image/svg+xml,<svg/>"}', 422, "undecodable-image", "base64"),
    "top_k not a number": (MULTIPART, TEXT + part("top_k", b"many") + END, 422, "invalid-option", "top_k"),
    "top_k too small": (MULTIPART, TEXT + part("top_k", b"0") + END, 422, "invalid-option", "from 1 to 100"),
    "top_k not whole": (JSON, b'{"text": "red", "top_k": 2.5}', 422, "invalid-option", "whole number"),
    "top_k a truth value": (JSON, b'{"text": "red", "top_k": true}', 422, "invalid-option", "whole number"),
    "top_k twice": (MULTIPART, TEXT + part("top_k", b"2") * 2 + END, 422, "invalid-option", "twice"),
    "coverage of all": (MULTIPART, TEXT + part("coverage", b"1") + END, 422, "invalid-option", "between 0 and 1"),
    "coverage infinite": (MULTIPART, TEXT + part("coverage", b"inf") + END, 422, "invalid-option", "between 0 and 1"),
    "coverage huge": (JSON, b'{"coverage": 1' + b"0" * 400 + b"}", 422, "invalid-option", "between 0 and 1"),
    "explain perhaps": (MULTIPART, TEXT + part("explain", b"perhaps") + END, 422, "invalid-option", "or full"),
    "no tasks": (JSON, b'{"text": "red", "tasks": []}', 422, "invalid-option", "tasks is empty"),
    "tasks of another type": (JSON, b'{"text": "red", "tasks": [1]}', 422, "invalid-option", "task names"),
    "deadline not a number": (JSON | {"X-Deadline-Ms": "soon"}, b"{}", 422, "invalid-option", "X-Deadline-Ms"),
    "deadline of nothing": (JSON | {"X-Deadline-Ms": "0"}, b"{}", 422, "invalid-option", "X-Deadline-Ms"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bad_request_is_told_what_is_wrong_and_counted(service: Service, name: str) -> None:
    headers, body, status, code, words = BODIES[name]
    before = service.value("requests_total", outcome=code)
    response = service.client.post("/predict", content=body, headers=headers)
    assert is_problem(response, status, code)
    assert words in response.json()["detail"]
    assert service.value("requests_total", outcome=code) == before + 1
    assert service.client.post("/predict", json={"text": "red"}).status_code == 200


def test_options_in_the_query_are_not_silently_ignored(client: httpx.Client) -> None:
    response = client.post("/predict?tasks=year", json={"text": "red"})
    assert is_problem(response, 422, "invalid-option")
    assert "body" in response.json()["detail"]


def test_a_body_in_chunks_is_cut_off_while_it_comes(service: Service) -> None:
    """The refusal comes long before the body would have ended, and the connection closes."""
    with service.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        start = part("image", b"")[:-2]
        connection.sendall(f"{len(start):x}\r\n".encode() + start + b"\r\n")
        for _ in range(17):  # 64 KiB each, and 1 MiB is the limit
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        connection.sendall(b"0\r\n\r\n")
        while connection.recv(65536):
            pass


def test_an_announced_size_is_refused_before_the_body_comes(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_sends_all_before_it_reads_gets_the_refusal(service: Service) -> None:
    body = part("image", bytes(30 << 20)) + END
    with service.connect() as connection:
        connection.sendall(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
            + body
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_refused_client_that_goes_on_sending_is_left_after_a_while(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.envelope.LINGER_SECONDS", 0.1)
    with service.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nthe rest never comes")
        answer = b""
        while received := connection.recv(65536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 415 ")


@pytest.mark.parametrize("path", ["/nope", "/predict/x", "/docs/assets/../../main.py", "/docs/assets/nope.js"])
def test_unknown_path(client: httpx.Client, path: str) -> None:
    assert is_problem(client.get(path), 404, "not-found")


def test_unknown_model(client: httpx.Client) -> None:
    assert is_problem(client.get("/models/nope"), 404, "unknown-model")


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/predict", "POST"), ("POST", "/models", "GET")])
def test_wrong_method(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    assert is_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


def test_details_never_repeat_an_upload(client: httpx.Client) -> None:
    secret = "hunter2-hunter2"
    for body in ({"image": secret}, {"text": 7, "top_k": secret}, {"text": "red", "coverage": secret}):
        assert secret not in client.post("/predict", json=body).text
    long = client.post("/predict", json={"x" * 5000: 1})
    assert len(long.content) < 1000


def test_json_photo_that_is_cut_off(client: httpx.Client) -> None:
    body = {"image": base64.b64encode(PHOTO[:300]).decode(), "text": "red"}
    assert is_problem(client.post("/predict", content=json.dumps(body), headers=JSON), 422, "undecodable-image")
