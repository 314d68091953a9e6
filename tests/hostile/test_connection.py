"""What a connection can be made to hold is bounded, and what is refused disturbs nothing that was asked before it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.protocol import MAX_AHEAD, MAX_HEAD_BYTES, MAX_HEADERS
from tests.app.api.harness import PATIENCE, Service, running
from tests.hostile.wire import chunked, form, get, part, post

RED = form(part("text", b"red"))


@pytest.fixture(scope="module")
def service(tiny: Path) -> Iterator[Service]:
    with running(tiny) as service:
        yield service


def answers(service: Service, *pieces: bytes) -> list[tuple[int, bytes]]:
    """Status and body of every response until the server closes the connection."""
    with service.connect() as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        received = b""
        while chunk := connection.recv(1 << 16):
            received += chunk
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append((int(head.split()[1]), rest[:length]))
        received = rest[length:]
    return found


def test_as_many_headers_as_are_taken(service: Service) -> None:
    close = "Connection: close\r\n"  # and Host make two
    assert [status for status, _ in answers(service, get(headers=close + "a: b\r\n" * (MAX_HEADERS - 2)))] == [200]
    assert [status for status, _ in answers(service, get(headers=close + "a: b\r\n" * (MAX_HEADERS - 1)))] == [413]


def test_a_head_as_large_as_is_taken(service: Service) -> None:
    frame = len("/health/live") + len("hostlocalhost") + len("connectionclose") + len("a")
    for size, status in ((MAX_HEAD_BYTES - frame, 200), (MAX_HEAD_BYTES - frame + 1, 413)):
        request = get(headers=f"Connection: close\r\na: {'b' * size}\r\n")
        assert [found for found, _ in answers(service, request)] == [status]


def test_a_head_that_comes_piece_by_piece_is_bounded_too(service: Service) -> None:
    assert [status for status, _ in answers(service, get()[:-2], *[b"a: " + b"b" * 9000 + b"\r\n"] * 20)] == [413]
    assert [status for status, _ in answers(service, get()[:-2] + b"a: ", *[b"b" * 9000] * 20)] == [413]


def test_requests_ahead_of_their_answers_get_these_in_order(service: Service) -> None:
    paths = ["/health/live", "/nope", "/health/ready"] * 5
    found = answers(service, b"".join(map(get, paths)) + get(headers="Connection: close\r\n"))
    assert [status for status, _ in found] == [200, 404, 200] * 5 + [200]


def test_too_many_requests_ahead_are_refused_behind_the_answers_of_the_others(service: Service) -> None:
    found = [status for status, _ in answers(service, get() * 5000)]
    assert found[-1] == 429
    assert set(found[:-1]) == {200}
    assert len(found) <= MAX_AHEAD + 2


def test_what_is_no_request_ends_the_connection_behind_good_answers(service: Service) -> None:
    assert [status for status, _ in answers(service, post(RED) + b"\0\0\0\r\n\r\n")] == [200]
    assert [status for status, _ in answers(service, get() + post(RED) + b"GET / nonsense\r\n\r\n")] == [200, 200]
    assert [status for status, _ in answers(service, get() + chunked(RED, end=b"zz\r\n"))] == [200, 400]


def test_trailers_are_no_headers(service: Service) -> None:
    request = chunked(RED, end=b"0\r\nX-Request-Id: trailer\r\nX-Deadline-Ms: 0\r\n\r\n")
    with service.connect() as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        assert response.headers["x-request-id"] != "trailer"


def test_an_upgrade_is_not_made_and_the_request_is_answered(service: Service) -> None:
    found = answers(service, get(headers="Connection: Upgrade\r\nUpgrade: h2c\r\n"))
    assert [status for status, _ in found] == [200]


def test_a_client_that_reads_only_after_it_has_sent_everything_gets_the_refusal(service: Service) -> None:
    with service.connect() as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(get(headers="a: b\r\n" * 400_000))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_nothing_is_left_of_what_was_refused(service: Service) -> None:
    answers(service, post(RED, length=5000)[:-1] + b"\0" * 5000)
    service.wait_value(0, "requests_in_flight")
    assert service.value("bytes_in_flight") == 0
