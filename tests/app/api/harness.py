"""The service around a tiny bundle, in a thread of its own, reached over a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.listening import listen, url
from app.main import create_app
from app.server import Server
from app.settings import Settings
from model.bundle import Bundle
from tests.app.serving.bench import PATIENCE, GatedRuntime


class Service:
    """A running service and what a test needs to look into it."""

    def __init__(self, bundles: tuple[Path, ...], **settings: Any) -> None:
        self.settings = Settings(_env_file=None, bundles=bundles, port=0, torch_threads=1, intake_threads=2, **settings)
        self.runtimes: list[GatedRuntime] = []
        self.may_load = threading.Event()
        self.app = create_app(self.settings, make_runtime=self._make_runtime)
        self.metrics = self.app.state.metrics
        self.pipeline = self.app.state.pipeline
        listener = listen("127.0.0.1", 0)
        self.url = url(listener)
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self.server = Server(self.app, self.settings)
        self.app.state.on_failure = None  # a test wants to see what a failed start looks like
        self.thread = threading.Thread(target=self.server.run, args=([listener],), name="service")
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)

    def _make_runtime(self, bundle: Bundle) -> GatedRuntime:
        assert self.may_load.wait(PATIENCE)
        self.runtimes.append(GatedRuntime(bundle))
        return self.runtimes[-1]

    @property
    def runtime(self) -> GatedRuntime:
        return self.runtimes[0]

    def wait(self, path: str = "/health/startup", status: int = 200) -> httpx.Response:
        """Ask until the answer has this status."""
        ends = time.monotonic() + PATIENCE
        while (response := self.client.get(path)).status_code != status:
            assert time.monotonic() < ends, response.text
            time.sleep(0.01)
        return response

    def value(self, name: str, /, **labels: str) -> float:
        """A metric, as `/metrics` shows it."""
        wanted = "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}" if labels else ""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"trunkline_{name}{wanted} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_value(self, expected: float, name: str, /, **labels: str) -> None:
        """Ask `/metrics` until it shows this value."""
        ends = time.monotonic() + PATIENCE
        while (found := self.value(name, **labels)) != expected:
            assert time.monotonic() < ends, f"{name} is {found}, not {expected}"
            time.sleep(0.01)

    def wait_forward(self) -> None:
        """Wait until the engine has taken a batch."""
        ends = time.monotonic() + PATIENCE
        while not self.runtime.calls:
            assert time.monotonic() < ends, "no forward began"
            time.sleep(0.005)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENCE)

    def drain(self) -> None:
        """What SIGTERM does."""
        self.server.handle_exit(15, None)


@contextmanager
def running(
    *bundles: Path, wait: bool = True, make: Callable[..., Service] = Service, **settings: Any
) -> Iterator[Service]:
    """A service, ready unless `wait` is false: then it loads once `may_load` is set. It is stopped at the end."""
    service = make(bundles, **settings)
    service.thread.start()
    try:
        if wait:
            service.may_load.set()
            service.wait()
        yield service
    finally:
        service.may_load.set()
        for runtime in service.runtimes:
            runtime.gate.set()
        service.client.close()
        service.server.should_exit = True
        service.thread.join(PATIENCE)
        assert not service.thread.is_alive(), "the service did not stop"


def is_problem(response: httpx.Response, status: int, code: str) -> bool:
    """Whether a response is a complete problem document; fails with what is wrong where it is not."""
    body = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["type"] == f"urn:trunkline:problem:{code}", body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    if status in (429, 503):
        assert int(response.headers["retry-after"]) >= 1
    return True
