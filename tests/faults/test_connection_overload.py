"""Ten times as much as it can do, in uploads of 20 MB: memory stays under its ceiling, and soon after all is well."""

from __future__ import annotations

import io
import re
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.memory import ceiling
from app.settings import Settings
from app.threads import plan_threads
from tests.app.processes.service import PATIENCE
from tests.faults.surrounded import Surrounded, surrounded
from tests.faults.wire import Reply, body, head, read_reply, request

BURST_SECONDS = 15.0
CLIENTS = 80
RECOVERY_SECONDS = 2.0
BOUNDS = {"max_bytes_in_flight": 256 << 20, "max_pixels": 8_000_000, "max_connections": 200, "max_in_flight": 128}


def photo(nbytes: int) -> bytes:
    """A PNG file of about so many bytes that cannot be compressed."""
    height = nbytes // (3 * 2500)
    noise = np.random.default_rng(0).integers(0, 256, (height, 2500, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def memory(service: Surrounded, field: str) -> int:
    """Bytes of the service's processes together: VmRSS now, VmHWM at most since they were asked to forget."""
    return sum(
        int(re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]
        for pid in family(service.process.pid)
    )


def family(pid: int) -> list[int]:
    children = [int(c) for f in Path(f"/proc/{pid}/task").glob("*/children") for c in f.read_text().split()]
    return [pid, *(grandchild for child in children for grandchild in family(child))]


class Burst:
    """Clients that send one large picture after the other, as fast as they can."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._whole = body("red", photo(19_500_000))
        self._over = threading.Event()
        self.answers: Counter[int | str] = Counter()
        self.retries: set[int] = set()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def run(self, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        time.sleep(seconds)
        self._over.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client hangs"

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as connection:
                    reply = self._ask(connection)
            except OSError as error:
                self.answers[type(error).__name__] += 1
                continue
            self.answers[reply.status] += 1
            if reply.status == 429:
                self.retries.add(int(reply.headers["retry-after"]))
                time.sleep(0.1)  # far less than it was told

    def _ask(self, connection: socket.socket) -> Reply:
        connection.sendall(head(len(self._whole)))
        sender = threading.Thread(target=self._send, args=(connection,))
        sender.start()  # so that a refusal is read while the upload still goes on
        try:
            return read_reply(connection)
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            sender.join()

    def _send(self, connection: socket.socket) -> None:
        try:
            connection.sendall(self._whole)
        except OSError:
            pass


def latency(port: int) -> float:
    """Seconds of one ordinary request on a connection of its own; endless where it is refused."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        began = time.monotonic()
        connection.sendall(request("blue"))
        good = read_reply(connection).status == 200
        return time.monotonic() - began if good else float("inf")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_memory_stays_under_the_ceiling_and_latency_recovers(
    tiny: Path, workers: int, record_property: Callable[[str, object], None]
) -> None:
    flags = [word for name, value in BOUNDS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    bound = ceiling(
        Settings(_env_file=None, cache_size=0, **BOUNDS),
        plan_threads(cores=2, gpu=False, workers=workers, intake=2, forward=1),
    )
    more = ("--workers", str(workers), "--intake-threads", "2", "--cache-size", "0")
    with surrounded(tiny, *flags, *more) as service:
        service.wait_ready()
        for _ in range(20):
            latency(service.port)
        usual = statistics.median(latency(service.port) for _ in range(30))
        before = memory(service, "VmRSS")
        for pid in family(service.process.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        burst = Burst(service.port)
        burst.run(BURST_SECONDS)
        burst.join()
        ended = time.monotonic()
        recovered = None
        while recovered is None and time.monotonic() - ended < PATIENCE:
            began = time.monotonic()
            if statistics.median(latency(service.port) for _ in range(5)) <= 2 * usual + 0.05:
                recovered = began - ended
        grown = memory(service, "VmHWM") - before
        service.stop()
    record_property("answers", dict(burst.answers))
    record_property("ceiling in MiB", bound.total >> 20)
    record_property("memory in MiB", grown >> 20)
    record_property("recovered after seconds", round(recovered or 0.0, 2))
    assert set(burst.answers) <= {200, 429}, burst.answers
    assert burst.answers[200]
    assert burst.answers[429]
    assert burst.retries
    assert min(burst.retries) >= 1
    assert grown < bound.total
    assert recovered is not None
    assert recovered <= RECOVERY_SECONDS
    assert f"requests take at most {bound.total / (1 << 30):.2f} GiB" in "".join(service.log)
