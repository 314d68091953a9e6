"""Who goes away costs no more than was already under way, and who stays notices nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.api.harness import Service, running
from tests.app.serving.bench import png
from tests.faults.decoding import Decoding
from tests.faults.wire import body, head, read_reply, request


@pytest.fixture
def service(tiny: Path) -> Iterator[Service]:
    with running(tiny, cache_size=0) as service:
        yield service
        assert service.value("requests_in_flight") == service.value("bytes_in_flight") == 0
        assert service.value("queue_length") == 0


def forwards(service: Service) -> int:
    """Items that forwards have run since `shut`."""
    return sum(size for size, _ in service.runtime.calls)


def gone(service: Service) -> float:
    return service.value("requests_total", outcome="cancelled")


def test_in_upload(service: Service) -> None:
    service.runtime.shut()
    whole = body(image=png(1) + bytes(3 << 20))
    with service.connect() as connection:
        connection.sendall(head(len(whole)) + whole[: 2 << 20])
        service.wait_value(1, "requests_in_flight")
    service.wait_value(1, "requests_total", outcome="cancelled")
    service.wait_value(0, "bytes_in_flight")
    assert forwards(service) == 0


def test_before_decode(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both threads are busy, so the request waits for one; it is never decoded."""
    decoding = Decoding(service, monkeypatch)
    with service.connect() as one, service.connect() as two:
        for number, connection in enumerate((one, two)):
            connection.sendall(request(f"red {number}"))
            decoding.wait_begun()
        with service.connect() as leaving:
            leaving.sendall(request("blue"))
            service.wait_value(3, "requests_in_flight")
        service.wait_value(2, "requests_in_flight")
        decoding.may_go.set()
        assert read_reply(one).status == read_reply(two).status == 200
    assert decoding.texts == ["red 0", "red 1"]
    assert gone(service) == 1


def test_in_the_queue_and_in_flight(service: Service) -> None:
    """One that is being run leaves, one that waits behind it leaves, one that waits stays."""
    service.runtime.shut()
    with service.connect() as staying:
        with service.connect() as running_now, service.connect() as waiting:
            running_now.sendall(request("red"))
            service.wait_forward()
            waiting.sendall(request("green"))
            service.wait_value(1, "queue_length")
            staying.sendall(request("blue"))
            service.wait_value(2, "queue_length")
        service.wait_value(1, "queue_length")
        service.runtime.gate.set()
        assert read_reply(staying).status == 200
    assert forwards(service) == 2, "the one that ran already, and the one that stayed"
    assert gone(service) == 2


def test_a_batchmate_that_leaves_in_the_forward_takes_nobody_with_it(service: Service) -> None:
    service.runtime.shut()
    with service.connect() as first, service.connect() as staying:
        first.sendall(request("red"))
        service.wait_forward()
        leaving = service.connect()
        leaving.sendall(request("green"))
        staying.sendall(request("blue"))
        service.wait_value(2, "queue_length")
        service.runtime.poisoned = lambda item: leaving.close() if len(service.runtime.calls) == 2 else None
        service.runtime.gate.set()
        assert read_reply(first).status == read_reply(staying).status == 200
    assert [size for size, _ in service.runtime.calls] == [1, 2]
    service.wait_value(0, "requests_in_flight")
