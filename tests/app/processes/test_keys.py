"""API keys with several workers: the limits of a key are those of the service, whichever worker is asked."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.access.file import add_key, revoke_key
from app.access.keys import Scope, make_key
from tests.app.processes.service import Service, serving, until
from tests.support.tiny import make_tiny_bundle


class Guarded:
    def __init__(self, service: Service, keys: Path) -> None:
        self.service, self.keys = service, keys

    def add(self, name: str, *scopes: Scope, rate: float | None = None, concurrent: int | None = None) -> str:
        """A key, as a header's value, once every worker has looked."""
        taken = {f"{place:03x}" for place in range(4096)} - {f"{len(name):03x}"}  # names of different lengths
        text, key = make_key(name, taken, scopes, rate, concurrent)
        add_key(self.keys, key)
        return f"Bearer {text}"

    def statuses(self, key: str, count: int, path: str = "/models") -> Counter[int]:
        """Of requests, each on a connection of its own, so that the kernel spreads them over the workers."""
        return Counter(
            httpx.get(self.service.url + path, headers={"Authorization": key}, trust_env=False).status_code
            for _ in range(count)
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    with serving(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"), "--keys", str(keys)) as service:
        yield Guarded(service, keys)


def test_a_key_counts_and_stops_counting_at_every_worker(guarded: Guarded) -> None:
    key = guarded.add("a", "predict")
    until(lambda: guarded.statuses(key, 12) == {200: 12})
    revoke_key(guarded.keys, "a")
    until(lambda: guarded.statuses(key, 12) == {401: 12})
    assert guarded.statuses(guarded.add("bb", "admin"), 1, "/health/ready") == {200: 1}


def test_the_rate_of_a_key_is_that_of_all_workers(guarded: Guarded) -> None:
    rate = 8.0
    key = guarded.add("ccc", "predict", rate=rate)
    until(lambda: 401 not in guarded.statuses(key, 6))  # every worker knows it; asking takes from what it may
    began = time.monotonic()
    seen = guarded.statuses(key, 60)
    took = time.monotonic() - began
    assert set(seen) == {200, 429}
    assert seen[200] <= math.floor(took * rate + rate) + 1
    assert seen[200] >= math.floor((took - 0.5) * rate), "what nobody used is not lost"


def test_the_requests_in_flight_of_a_key_are_those_of_all_workers(guarded: Guarded) -> None:
    key = guarded.add("dddd", "predict", concurrent=3)
    until(lambda: guarded.statuses(key, 6) == {200: 6})
    upload = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
        "Content-Length: 20\r\n\r\n{"
    )
    with ExitStack() as stack:
        connections = [stack.enter_context(guarded.service.connect()) for _ in range(8)]
        for connection in connections:
            connection.sendall(upload.encode())
            connection.settimeout(1.0)
        refused = 0
        for connection in connections:
            try:
                refused += b" 429 " in connection.recv(64)
            except TimeoutError:
                continue  # it is in flight, and the rest of its upload is waited for
        assert refused == 5
    until(lambda: guarded.statuses(key, 6) == {200: 6})


def test_a_worker_that_was_killed_leaves_no_request_counted(guarded: Guarded) -> None:
    key = guarded.add("eeeee", "predict", concurrent=1)
    until(lambda: guarded.statuses(key, 6) == {200: 6})
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
    with guarded.service.connect() as connection:
        connection.sendall((head + "Content-Length: 20\r\n\r\n{").encode())
        until(lambda: guarded.statuses(key, 1) == {429: 1})
        for name in ("worker 1", "worker 2"):
            guarded.service.kill(name)
        until(lambda: set(guarded.service.pids()) == {"engine", "worker 1", "worker 2"})
        guarded.service.wait_ready()
        until(lambda: guarded.statuses(key, 6) == {200: 6})
