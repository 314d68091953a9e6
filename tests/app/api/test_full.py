"""A full service refuses at once, before the upload has come, and a connection outlives the refusal where it can."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.api.harness import PATIENCE, Service, running
from tests.app.api.test_refusals import END, part

BODY = part("image", bytes(200_000)) + END


@pytest.fixture(scope="module")
def full(tiny: Path) -> Iterator[Service]:
    """A service with no place left."""
    with running(tiny, max_in_flight=1) as service, ThreadPoolExecutor(1) as others:
        service.runtime.shut()
        held = others.submit(service.client.post, "/predict", json={"text": "red"})
        service.wait_value(1, "requests_in_flight")
        yield service
        service.runtime.gate.set()
        assert held.result(PATIENCE).status_code == 200


def head(more: str, length: int = len(BODY)) -> bytes:
    size = "" if "chunked" in more else f"Content-Length: {length}\r\n"
    return (
        f"POST /predict HTTP/1.1\r\nHost: x\r\n{size}{more}Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()


def answer(connection: socket.socket) -> bytes:
    """One response, body and all."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    start = received.index(b"\r\n\r\n") + 4
    length = int(received.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(received) < start + length:
        received += connection.recv(65536)
    return received.lower()


def test_a_refused_upload_leaves_its_connection_for_the_next_request(full: Service) -> None:
    refused = full.value("requests_total", outcome="queue-full")
    with full.connect() as connection:
        for sent in (0, 10, 100_000, len(BODY)):
            connection.sendall(head("") + BODY[:sent])
            told = answer(connection)
            assert told.startswith(b"http/1.1 429 ")
            assert b"retry-after: " in told
            assert b"connection: close" not in told
            connection.sendall(BODY[sent:])
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection).startswith(b"http/1.1 200 ")
    assert full.value("requests_total", outcome="queue-full") == refused + 4
    assert full.value("bytes_in_flight") == len(b'{"text":"red"}')


@pytest.mark.parametrize(
    ("more", "length"),
    [("", 3 << 20), ("Transfer-Encoding: chunked\r\n", 0), ("Expect: 100-continue\r\n", len(BODY))],
    ids=["large", "in chunks", "on condition"],
)
def test_where_the_rest_of_an_upload_is_long_or_uncertain_the_connection_ends(
    full: Service, more: str, length: int
) -> None:
    with full.connect() as connection:
        connection.sendall(head(more, length))
        told = answer(connection)
        assert told.startswith(b"http/1.1 429 ")
        assert b"connection: close" in told


def taken_apart(told: bytes) -> tuple[bytes, dict[bytes, bytes], dict[str, object]]:
    """The status line, the headers and the document of a response; what differs each time is left out."""
    start, _, body = told.partition(b"\r\n\r\n")
    status, *lines = start.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    assert len(headers) == len(lines)
    headers.pop(b"date")
    return status, headers, json.loads(body)


def test_it_is_told_the_same_by_the_short_way_and_by_the_usual_one(full: Service, tiny: Path) -> None:
    told = {}
    with running(tiny, max_in_flight=1) as usual, ThreadPoolExecutor(1) as others:
        usual.server.config.turn_away = None  # every request goes through the application
        usual.runtime.shut()
        held = others.submit(usual.client.post, "/predict", json={"text": "red"})
        usual.wait_value(1, "requests_in_flight")
        for name, service in (("usual", usual), ("short", full)):
            with service.connect() as connection:
                connection.sendall(head("X-Request-Id: abc\r\n") + BODY)
                told[name] = taken_apart(answer(connection))
        usual.runtime.gate.set()
        assert held.result(PATIENCE).status_code == 200
    assert told["short"] == told["usual"]
    assert told["short"][2]["request_id"] == "abc"


def test_where_other_sites_may_ask_every_request_goes_the_usual_way(full: Service) -> None:
    assert full.app.state.full is not None
    assert create_app(Settings(_env_file=None, cors_origins=["https://shop.example"])).state.full is None


def test_a_refusal_waits_for_the_answers_before_it(full: Service) -> None:
    live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with full.connect() as connection:
        connection.sendall(live + head("") + BODY + live + head("") + BODY + live)
        received = b""
        while received.count(b"HTTP/1.1 ") < 5:
            received += connection.recv(65536)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"429", b"200", b"429", b"200"]


def test_a_full_service_still_answers_no_other_sites_page(full: Service) -> None:
    with full.connect() as connection:
        connection.sendall(head("").replace(b"Host: x", b"Host: attacker.example") + BODY)
        assert answer(connection).startswith(b"http/1.1 403 ")
