"""Restarts under load lose nothing: whoever was connected gets an answer, or is told to ask again.

A request is lost when it was sent on a connection that was established, and no whole response came back. Where another
service takes over at the same port, a connection that is refused is a loss, too.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.listening import listen, turn_away
from tests.app.api.harness import running
from tests.app.processes.service import PATIENCE, ROOT, Clients, until
from tests.app.serving.bench import png
from tests.faults.wire import Reply, body, head, read_reply, request

CLIENTS = 8


class Askers(Clients):
    """On connections that are kept for as long as the service wants; each asks in a way of its own."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(CLIENTS)
        self._address = address
        self.lost: list[str] = []
        self.refused = 0  # connections

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        while not self._ended.is_set():
            try:
                connection = socket.create_connection(self._address, PATIENCE)
            except ConnectionRefusedError:
                self.refused += 1
                time.sleep(0.02)
                continue
            with connection:
                self._talk(connection, number, chance)

    def _talk(self, connection: socket.socket, number: int, chance: random.Random) -> None:
        asked = 0
        while not self._ended.is_set():
            try:
                reply = self._ask(connection, number, chance)
            except OSError as error:
                self.lost.append(f"client {number}, request {asked} of its connection: {error!r}")
                return
            asked += 1
            self.outcomes[reply.status] += 1
            self.without_retry += reply.status in (429, 503) and "retry-after" not in reply.headers
            if reply.closes or (number == 0):  # one client never keeps a connection
                return
            if number % 2:
                time.sleep(chance.uniform(0.0, 0.3))  # the connection is idle for a while

    def _ask(self, connection: socket.socket, number: int, chance: random.Random) -> Reply:
        whole = body(f"red {chance.random()}", png(number) + bytes(chance.randrange(200_000)))
        if number in (2, 3):  # an upload that is under way for a while
            cut = chance.randrange(len(whole))
            connection.sendall(head(len(whole)) + whole[:cut])
            time.sleep(chance.uniform(0.0, 0.2))
            connection.sendall(whole[cut:])
        else:
            connection.sendall(head(len(whole)) + whole)
        return read_reply(connection)


class Process:
    """`trunkline serve` at a given port."""

    def __init__(self, bundle: Path, port: int, workers: int, *more: str) -> None:
        flags = ("--port", port, "--workers", workers, "--bundles", bundle, "--torch-threads", 1, "--cache-size", 0)
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", *map(str, flags), *more],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.log: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    def wait_complete(self) -> None:
        """Return when its log says that every process of the service is up."""
        until(lambda: any("every process is up" in line for line in self.log) or self.process.poll() is not None)
        assert self.process.poll() is None, "".join(self.log)

    def stop(self) -> None:
        """SIGTERM, and in the end exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, "".join(self.log)

    def end(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reading.join(PATIENCE)


@pytest.fixture
def start(tiny: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def one(port: int, workers: int, *more: str) -> Process:
        started.append(Process(tiny, port, workers, *more))
        return started[-1]

    yield one
    for process in started:
        process.end()


def free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port


def judge(askers: Askers, record: Callable[[str, object], None], restarts: int) -> None:
    record("restarts", restarts)
    record("answers", sum(askers.outcomes.values()))
    record("of these 503", askers.outcomes[503])
    record("lost", len(askers.lost))
    assert askers.lost == []
    assert set(askers.outcomes) <= {200, 429, 503}
    assert not askers.without_retry


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_twenty_restarts_under_load_lose_nothing(
    start: Callable[..., Process],
    workers: int,
    full_length: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """One service after the other at one port: between them connections are refused, and no request is lost."""
    restarts, port = 20 if full_length else 3, free_port()
    with Askers(("127.0.0.1", port)) as askers:
        for _ in range(restarts):
            service = start(port, workers)
            service.wait_complete()
            askers.wait(60)
            service.stop()
    judge(askers, record_property, restarts)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_twenty_rolling_restarts_behind_one_port_refuse_nobody(
    start: Callable[..., Process],
    workers: int,
    full_length: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """The next service is ready before the one before it is stopped: there is always somebody to connect to."""
    restarts, port = 20 if full_length else 3, free_port()
    before = start(port, workers, "--reuse-port")
    before.wait_complete()
    with Askers(("127.0.0.1", port)) as askers:
        for _ in range(restarts):
            askers.wait(40)
            after = start(port, workers, "--reuse-port")
            after.wait_complete()
            before.stop()
            before = after
        askers.wait(40)
    before.stop()
    judge(askers, record_property, restarts)
    assert askers.refused == 0


def test_sigterm_is_told_at_once_and_new_requests_go_elsewhere(tiny: Path) -> None:
    with running(tiny) as service, service.connect() as accepted, service.connect() as uploading:
        service.runtime.shut()
        accepted.sendall(request("red"))
        service.wait_forward()
        whole = body("blue")
        uploading.sendall(head(len(whole)) + whole[:10])
        service.wait_value(2, "requests_in_flight")
        service.drain()
        service.wait("/health/ready", 503)
        with service.connect() as late:
            late.sendall(request("green"))
            reply = read_reply(late)
            assert (reply.status, reply.closes) == (503, True)
            assert int(reply.headers["retry-after"]) >= 1
        uploading.sendall(whole[10:])
        service.runtime.gate.set()
        assert read_reply(accepted).status == read_reply(uploading).status == 200


def test_a_drain_ends_in_the_time_that_it_is_given(tiny: Path) -> None:
    with running(tiny, drain_timeout=0.3) as service, service.connect() as accepted, service.connect() as uploading:
        service.runtime.shut()
        accepted.sendall(request("red"))
        service.wait_forward()
        uploading.sendall(head(100) + b"--b")
        service.wait_value(2, "requests_in_flight")
        service.drain()
        for one in (accepted, uploading):
            reply = read_reply(one)
            assert (reply.status, reply.closes) == (503, True)
            assert b"urn:trunkline:problem:draining" in reply.body
            one.close()
        service.runtime.gate.set()
        service.thread.join(PATIENCE)
        assert not service.thread.is_alive()


def test_connections_that_wait_to_be_taken_are_answered_before_the_port_is_closed(tiny: Path) -> None:
    """The kernel has accepted them and their requests; the service looks at neither until it leaves."""
    with running(tiny) as service, ExitStack() as stack:
        looked_away = threading.Event()

        def look_away() -> None:
            for acceptor in service.server._acceptors.values():
                acceptor._pause()
            looked_away.set()

        assert service.server._loop is not None
        service.server._loop.call_soon_threadsafe(look_away)
        assert looked_away.wait(PATIENCE)
        waiting = [stack.enter_context(service.connect()) for _ in range(20)]
        for connection in waiting:
            connection.sendall(request("red"))
        service.drain()
        assert [read_reply(connection).status for connection in waiting] == [503] * 20


def test_an_idle_connection_is_told_that_it_ends_where_its_client_asks_again_at_once(tiny: Path) -> None:
    with running(tiny) as service, ExitStack() as stack:
        idle = [stack.enter_context(service.connect()) for _ in range(8)]
        for connection in idle:
            connection.sendall(request("red"))
            assert read_reply(connection).status == 200
        service.drain()
        service.wait("/health/ready", 503)
        for connection in idle:
            time.sleep(0.05)
            connection.sendall(request("red"))
            reply = read_reply(connection)
            assert (reply.status, reply.closes) == (503, True)


def test_where_no_connection_may_begin_those_that_have_are_still_served() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), PATIENCE) as before:
        turn_away(listener)
        with socket.socket() as late:
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.connect(listener.getsockname())
        before.sendall(b"hello")
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(10) == b"hello"
