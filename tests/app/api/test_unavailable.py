"""When the service cannot answer, whatever the request: full, too late, starting, failed, draining, broken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.api.harness import PATIENCE, Service, is_problem, running
from tests.app.api.test_refusals import END, MULTIPART, PHOTO, part


def test_queue_full(tiny: Path) -> None:
    with running(tiny, max_in_flight=2) as service, ThreadPoolExecutor(2) as others:
        service.runtime.shut()
        held = [others.submit(service.client.post, "/predict", json={"text": "red"}) for _ in range(2)]
        service.wait_value(2, "requests_in_flight")
        assert is_problem(service.client.post("/predict", json={"text": "red"}), 429, "queue-full")
        service.runtime.gate.set()
        assert [one.result().status_code for one in held] == [200, 200]
        assert service.value("requests_in_flight") == 0
        assert service.client.post("/predict", json={"text": "red"}).status_code == 200


def test_too_many_bytes_in_flight(tiny: Path) -> None:
    """Announced or in chunks, an upload that does not fit beside the others is refused and counted once."""

    def upload(chunked: bool) -> httpx.Response:
        body = part("image", PHOTO + bytes(600 << 10)) + END
        content = iter([body[: len(body) // 2], body[len(body) // 2 :]]) if chunked else body
        return service.client.post("/predict", content=content, headers=MULTIPART)

    with running(tiny, max_bytes_in_flight=1 << 20) as service, ThreadPoolExecutor(1) as others:
        service.runtime.shut()
        held = others.submit(upload, True)
        service.wait_forward()
        for refused, chunked in enumerate((False, True), start=1):
            assert is_problem(upload(chunked), 429, "queue-full")
            assert service.value("requests_total", outcome="queue-full") == refused
        service.runtime.gate.set()
        assert held.result().status_code == 200
        assert service.value("bytes_in_flight") == 0
        assert upload(True).status_code == 200


def test_past_deadline(tiny: Path) -> None:
    with running(tiny) as service:
        service.runtime.shut()
        response = service.client.post("/predict", json={"text": "red"}, headers={"X-Deadline-Ms": "200"})
        assert is_problem(response, 504, "deadline-exceeded")
        service.runtime.gate.set()
        assert service.client.post("/predict", json={"text": "red"}).status_code == 200


def test_a_client_cannot_ask_for_more_time_than_the_service_grants(tiny: Path) -> None:
    with running(tiny, deadline=0.3) as service:
        service.runtime.shut()
        response = service.client.post("/predict", json={"text": "red"}, headers={"X-Deadline-Ms": "60000"})
        assert is_problem(response, 504, "deadline-exceeded")


def test_an_upload_that_does_not_end_is_past_its_deadline(tiny: Path) -> None:
    with running(tiny, deadline=0.3) as service, service.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 504 ")
        assert service.value("requests_in_flight") == 0


def test_before_it_is_ready(tiny: Path) -> None:
    with running(tiny, wait=False) as service:
        service.wait("/health/live")
        for path in ("/health/startup", "/health/ready", "/models"):
            assert is_problem(service.client.get(path), 503, "engine-unavailable")
        assert is_problem(service.client.post("/predict", json={"text": "red"}), 503, "engine-unavailable")
        service.may_load.set()
        service.wait()
        assert service.client.post("/predict", json={"text": "red"}).status_code == 200


def test_models_that_cannot_be_loaded(tmp_path: Path) -> None:
    with running(tmp_path / "nope", wait=False) as service:
        service.wait("/health/live")
        service.wait_value(1, "engine_state", state="failed")
        for path in ("/health/startup", "/health/ready", "/models"):
            assert is_problem(service.client.get(path), 503, "engine-unavailable")
        assert is_problem(service.client.post("/predict", json={"text": "red"}), 503, "engine-unavailable")


def test_while_it_drains(tiny: Path) -> None:
    """What was accepted is answered, what comes later is sent elsewhere, and then the process ends."""
    with running(tiny) as service, ThreadPoolExecutor(1) as others:
        service.runtime.shut()
        held = others.submit(service.client.post, "/predict", json={"text": "red"})
        service.wait_value(1, "requests_in_flight")
        service.drain()
        assert is_problem(service.wait("/health/ready", 503), 503, "draining")
        refused = service.client.post("/predict", json={"text": "red"})
        assert is_problem(refused, 503, "draining")
        assert refused.headers["connection"] == "close"
        assert service.client.get("/health/live").status_code == 200
        assert service.client.get("/health/startup").status_code == 200
        service.runtime.gate.set()
        assert held.result().status_code == 200
        service.thread.join(PATIENCE)
        assert not service.thread.is_alive()


def test_draining_ends_in_time(tiny: Path) -> None:
    """A request that the network does not finish in time is told so, and the process ends all the same."""
    with running(tiny, drain_timeout=0.2) as service, ThreadPoolExecutor(1) as others:
        service.runtime.shut()
        held = others.submit(service.client.post, "/predict", json={"text": "red"})
        service.wait_value(1, "requests_in_flight")
        service.drain()
        assert is_problem(held.result(PATIENCE), 503, "draining")
        service.runtime.gate.set()
        service.thread.join(PATIENCE)
        assert not service.thread.is_alive()


def test_inference_failed_gives_nothing_away(tiny: Path) -> None:
    with running(tiny) as service:
        # An input that lacks the picture; one that has all is still answered, so it is the input's fault.
        service.runtime.poisoned = lambda item: None if "image" in item else RuntimeError("secret path /srv/x")
        response = service.client.post("/predict", json={"text": "red"})
        assert is_problem(response, 500, "inference-failed")
        assert "secret" not in response.text
        service.runtime.poisoned = lambda item: None
        assert service.client.post("/predict", json={"text": "red"}).status_code == 200


def test_an_unexpected_fault_gives_nothing_away(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(service.pipeline, "predict", broken)
        response = service.client.post("/predict", json={"text": "red"}, headers={"X-Request-Id": "find-me"})
    assert is_problem(response, 500, "internal-error")
    assert response.json()["request_id"] == "find-me"
    assert "secret" not in response.text
    assert service.client.post("/predict", json={"text": "red"}).status_code == 200
