"""Clients that keep a service waiting are cut off, and however many there are, the others are served."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.app.api.harness import PATIENCE, Service, running
from tests.app.serving.bench import png
from tests.faults.wire import body, head, part, read_reply, request

TIMEOUT = 0.6  # seconds; `client_timeout` of the service that is hurt


@pytest.fixture(scope="module")
def service(tiny: Path) -> Iterator[Service]:
    with running(tiny, client_timeout=TIMEOUT, max_bytes_in_flight=64 << 20, cache_size=0) as service:
        yield service


def ready(connection: socket.socket, seconds: float = 0.0) -> bool:
    """Whether something can be read."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def closed(connection: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece
    return received


def refused(received: bytes) -> dict[str, object]:
    """The problem that a client is told before its connection ends."""
    start, _, rest = received.partition(b"\r\n\r\n")
    lines = start.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 408 request timeout"
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    told: dict[str, object] = json.loads(rest)
    assert told["type"] == "urn:trunkline:problem:request-timeout"
    assert f"x-request-id: {told['request_id']}".encode() in lines
    return told


@pytest.mark.parametrize("sent", [b"P", b"GET /health/live HTTP/1.1\r\nHos", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_end_is_cut_off(service: Service, sent: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(sent)
        refused(closed(connection))


def test_a_head_that_trickles_is_cut_off_all_the_same(service: Service) -> None:
    with service.connect() as connection:
        began = time.monotonic()
        for byte in b"GET /health/live HTTP/1.1\r\nX-Slow: " + b"x" * 1000:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            if ready(connection, TIMEOUT / 20):
                break
        refused(closed(connection))
        assert time.monotonic() - began < PATIENCE / 2


def test_the_second_head_on_a_connection_is_waited_for_no_longer(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_reply(connection).status == 200
        connection.sendall(b"GET /heal")
        refused(closed(connection))


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_a_connection_that_brings_no_request_ends_without_a_word(service: Service, sent: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(sent)
        assert closed(connection) == b""


def test_an_empty_line_after_a_request_does_not_keep_the_connection_for_ever(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_reply(connection).status == 200
        connection.sendall(b"\r\n")
        assert closed(connection) == b""


def test_between_requests_the_keep_alive_time_counts(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(request())
        assert read_reply(connection).status == 200
        assert not ready(connection, 2 * TIMEOUT)
        connection.sendall(request())
        assert read_reply(connection).status == 200


@pytest.mark.parametrize("announced", [200, 20 << 20])
def test_an_upload_that_trickles_is_cut_off_and_leaves_nothing_behind(service: Service, announced: int) -> None:
    before = service.value("requests_total", outcome="request-timeout")
    with service.connect() as connection:
        connection.sendall(head(announced) + part("image", b""))
        while not ready(connection, TIMEOUT / 10):
            connection.sendall(b"x")
        reply = read_reply(connection)
        assert reply.status == 408
        assert reply.closes
        assert json.loads(reply.body)["type"] == "urn:trunkline:problem:request-timeout"
    assert service.value("requests_total", outcome="request-timeout") == before + 1
    assert service.value("requests_in_flight") == service.value("bytes_in_flight") == 0


def test_an_upload_in_many_pieces_that_goes_on_is_not_cut_off(service: Service) -> None:
    whole = body(image=png(1) + bytes(60_000))
    with service.connect() as connection:
        connection.sendall(head(len(whole)))
        began = time.monotonic()
        sent = 0
        while time.monotonic() - began < 2 * TIMEOUT:
            connection.sendall(whole[sent : sent + 2000])
            sent += 2000
            assert not ready(connection, TIMEOUT / 10)
        connection.sendall(whole[sent:])
        assert read_reply(connection).status == 200


def ask_for_ever(connection: socket.socket, asked: bytes) -> None:
    while True:
        connection.sendall(asked)


def test_a_client_that_takes_no_answer_is_cut_off(service: Service) -> None:
    """It asks for one answer after the other and reads none, until nothing more can be sent."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect(service.address)
        many = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50
        with pytest.raises(ConnectionError):
            ask_for_ever(connection, many)


@pytest.mark.slow
def test_a_thousand_slow_clients_do_not_stop_the_others(tiny: Path) -> None:
    """Half of them trickle heads, half announce 20 MB and send hardly any of it: 10 GB, of which 64 MiB may be held."""
    most = {"max_bytes_in_flight": 64 << 20, "max_in_flight": 64}
    with running(tiny, cache_size=0, client_timeout=60.0, **most) as service, ExitStack() as stack:
        slow = [stack.enter_context(service.connect()) for _ in range(1000)]
        for number, connection in enumerate(slow):
            connection.sendall(head(20 << 20) + part("image", b"") if number % 2 else b"POST /predict HTTP/1.1\r\nHo")
        picture = png(2) + bytes(200_000)
        # In the first second, too, when nobody knows yet that they are slow.
        for number in range(100):
            with service.connect() as connection:
                for _ in range(2):
                    connection.sendall(request(f"red {number}", picture))
                    assert read_reply(connection).status == 200
            slow[2 * number].sendall(b"s")
        told = [read_reply(connection).status for connection in slow if ready(connection)]
        assert set(told) <= {429}, "who announced too much was refused; nobody else was told anything yet"
        assert len(told) < 500
        time.sleep(1.0)
        large = body(image=png(3) + bytes(15 << 20))
        with service.connect() as connection:
            connection.sendall(head(len(large)) + large)
            assert read_reply(connection).status == 200, "what a slow upload announced is not kept for it"


def test_where_there_is_no_room_idle_connections_make_some(tiny: Path) -> None:
    with running(tiny, max_connections=40, client_timeout=60.0) as service, ExitStack() as stack:
        service.client.close()
        busy = stack.enter_context(service.connect())
        service.runtime.shut()
        busy.sendall(request())
        service.wait_forward()
        idle = [stack.enter_context(service.connect()) for _ in range(100)]
        for connection in idle[:60:2]:
            connection.sendall(b"GET /health/li")  # slow ones are idle, too
        with service.connect() as connection:
            connection.sendall(request("red"))
            service.runtime.gate.set()
            assert read_reply(connection).status == 200
        assert read_reply(busy).status == 200, "one that waits for its answer is not idle"
