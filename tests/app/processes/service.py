"""`trunkline serve --workers N` as somebody runs it, and ways to hurt it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from tests.app.serving.bench import parts

PATIENCE = 120.0  # processes import libraries, on a machine that may be busy
REFUSED = 0.2  # seconds until a client asks again; those who heed Retry-After leave more time
ROOT = Path(__file__).parents[3]


class Service:
    """The processes of a service, and a client."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", "0", *arguments],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        found = re.search(r"http://[0-9.]+:\d+", self.process.stdout.readline())
        assert found, self.process.communicate()[1]
        self.url = found[0]
        self.log: list[str] = []
        self._reading = threading.Thread(target=self.log.extend, args=(self.process.stderr,))
        self._reading.start()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)

    def pids(self) -> dict[str, int]:
        """The supervisor's processes by their names."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = {}
        for pid in [int(pid) for file in children for pid in file.read_text().split()]:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if "app.processes.entry" in words:
                found[words[-2]] = pid
        return found

    def kill(self, name: str) -> int:
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_ready(self) -> None:
        until(lambda: status(self.url) == 200)

    def metrics(self) -> dict[str, float]:
        """Every sample as `/metrics` shows it."""
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def connect(self) -> socket.socket:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return socket.create_connection((host, int(port)), PATIENCE)

    def end(self) -> None:
        """Leave nothing behind, whatever a test did."""
        pids = self.pids().values() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for pid in pids:
            with_suppressed(os.kill, pid, signal.SIGKILL)
        self._reading.join(PATIENCE)


def with_suppressed(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except ProcessLookupError:
        pass


def status(url: str, timeout: float = PATIENCE) -> int:
    """Of /health/ready; 0 where nobody answers."""
    try:
        return httpx.get(f"{url}/health/ready", timeout=timeout, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@contextmanager
def serving(bundle: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    common = ("--workers", "2", "--log-level", "warning", "--torch-threads", "1", "--cache-size", "0")
    service = Service("--bundles", str(bundle), *common, *arguments, environment=environment)
    try:
        service.wait_ready()
        yield service
    finally:
        service.end()


class Clients:
    """Threads that ask until they are told to stop."""

    def __init__(self, count: int) -> None:
        self._ended = threading.Event()
        self.outcomes: Counter[int | str] = Counter()  # an answer's status, or the name of an error
        self.without_retry = 0
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client hangs"

    def wait(self, count: int) -> None:
        """Return after so many more good answers."""
        goal = self.outcomes[200] + count
        until(lambda: self.outcomes[200] >= goal)

    def _run(self, number: int) -> None:
        raise NotImplementedError


class Load(Clients):
    """Each on a connection of its own."""

    def __init__(self, service: Service) -> None:
        super().__init__(6)
        self._service = service

    def _run(self, number: int) -> None:
        form = as_form(parts(number))
        while not self._ended.is_set():
            with self._service.client() as client:
                try:
                    while not self._ended.is_set():
                        answer = client.post("/predict", files=form)
                        self.outcomes[answer.status_code] += 1
                        self.without_retry += answer.status_code == 503 and "retry-after" not in answer.headers
                        if answer.status_code == 503:
                            self._ended.wait(REFUSED)
                except httpx.TransportError as error:
                    self.outcomes[type(error).__name__] += 1


def as_form(given: dict[str, bytes | str]) -> dict[str, tuple[str | None, bytes | str]]:
    """A request's parts as httpx takes them."""
    return {name: ("photo.png" if name == "image" else None, value) for name, value in given.items()}


def as_request(given: dict[str, bytes | str]) -> bytes:
    """The same as bytes on the wire."""
    request = httpx.Request("POST", "http://service/predict", files=as_form(given))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /predict HTTP/1.1\r\n{head}\r\n".encode() + request.read()
