"""What is late is answered with 504 as soon as it is late, and neither decoded nor run after that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.api.harness import Service, running
from tests.faults.decoding import Decoding
from tests.faults.wire import body, head, read_reply, request

SOON = "X-Deadline-Ms: 300"


@pytest.fixture
def service(tiny: Path) -> Iterator[Service]:
    with running(tiny, cache_size=0) as service:
        yield service
        service.wait_value(0, "requests_in_flight")
        assert service.value("bytes_in_flight") == service.value("queue_length") == 0


def test_in_upload(service: Service) -> None:
    whole = body("green")
    with service.connect() as connection:
        connection.sendall(head(len(whole), SOON) + whole[:20])
        reply = read_reply(connection)
        assert (reply.status, reply.closes) == (504, True)


def test_the_servers_own_deadline(tiny: Path) -> None:
    with running(tiny, deadline=0.3) as service, service.connect() as connection:
        service.runtime.shut()
        connection.sendall(request("green"))
        assert read_reply(connection).status == 504
        service.runtime.gate.set()
        connection.sendall(request("red"))
        assert read_reply(connection).status == 200


def test_before_decode(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = Decoding(service, monkeypatch)
    with service.connect() as one, service.connect() as two, service.connect() as late:
        for number, connection in enumerate((one, two)):
            connection.sendall(request(f"red {number}"))
            decoding.wait_begun()
        late.sendall(request("green", None, SOON))
        reply = read_reply(late)
        assert (reply.status, reply.closes) == (504, False)
        decoding.may_go.set()
        assert read_reply(one).status == read_reply(two).status == 200
    assert decoding.texts == ["red 0", "red 1"]


def test_before_the_batch(service: Service) -> None:
    service.runtime.shut()
    with service.connect() as first, service.connect() as late, service.connect() as patient:
        first.sendall(request("red"))
        service.wait_forward()
        late.sendall(request("green", None, SOON))
        patient.sendall(request("blue"))
        assert read_reply(late).status == 504
        service.runtime.gate.set()
        assert read_reply(first).status == read_reply(patient).status == 200
    assert [size for size, _ in service.runtime.calls] == [1, 1]
    assert service.value("requests_total", outcome="deadline-exceeded") == 1
