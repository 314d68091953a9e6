"""The load generator: a process of its own that sends uploads and times the answers.

    python -m benchmarks.load --port 8000 --clients 32 --seconds 5
    python -m benchmarks.load --port 8000 --rate 200 --seconds 5

`--clients` is a closed loop: each client sends its next request when it has the answer to its last. `--rate` is an
open loop: requests come when they come, by a Poisson process drawn from a seed, whether or not earlier ones have been
answered, and latency counts from the moment at which a request was to be sent, so that falling behind is seen.

Prints one JSON object. `--jobs` reads jobs from standard input instead, a JSON object a line with the fields of `Job`,
and writes for each three lines: {"event": "begun"} and {"event": "ended"} around the time that counts, and the result.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.http_client import Connection, Requests
from benchmarks.uploads import Upload, load

_PAUSE = 0.05  # seconds before a server that takes no connections is tried again
REFUSALS = (429, 503)
UNANSWERED = -1  # in the place of a status: neither answered nor closed when the generator stopped waiting


@dataclass(frozen=True)
class Job:
    """One level of load. Either `clients` or `rate` is set."""

    port: int
    host: str = "127.0.0.1"
    path: str = "/predict"
    clients: int = 0  # closed loop
    rate: float = 0.0  # open loop, requests a second
    warm: float = 0.5  # seconds of load before the time that counts
    seconds: float = 5.0
    drain: float = 2.0  # seconds that requests under way get at the end
    seed: int = 0  # of the arrivals
    requests: int = 0  # a closed loop without a warm time also ends after so many; 0: without a bound
    bodies: bool = False  # return the answers


@dataclass
class Record:
    """What happened, a row a request: when it was to be sent, when it was, when it ended, how."""

    begun: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)

    def add(self, begun: float, sent: float, ended: float, status: int) -> None:
        """A request that has ended."""
        self.begun.append(begun)
        self.sent.append(sent)
        self.ended.append(ended)
        self.status.append(status)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds from the start at which requests come: a Poisson process of `rate` a second."""
    generator = np.random.default_rng(seed)
    gaps = generator.exponential(1 / rate, int(rate * seconds * 1.5) + 50)
    times = np.cumsum(gaps)
    return [float(value) for value in times[times < seconds]]


def percentiles(seconds: np.ndarray) -> dict[str, float] | None:
    """p50, p95, p99 and the largest in milliseconds; None of nothing."""
    if not len(seconds):
        return None
    values = np.percentile(1000 * seconds, (50, 95, 99, 100))
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99", "max"), values, strict=True)}


def summarise(record: Record, start: float, end: float) -> dict[str, Any]:
    """What counts of a run: rates from what ended between `start` and `end`, latency of what was to be sent then."""
    begun, sent, ended = np.array(record.begun), np.array(record.sent), np.array(record.ended)
    status = np.array(record.status, dtype=int)
    counts = (begun >= start) & (begun < end)
    answered = counts & (status == 200)
    refused = counts & np.isin(status, REFUSALS)
    failed = Counter(status[counts & ~answered & ~refused].tolist())
    names = {0: "closed", UNANSWERED: "unanswered"}
    finished = int(((ended >= start) & (ended < end) & (status == 200)).sum())
    return {
        "sent": int(counts.sum()),
        "answered": finished,
        "answered_per_second": round(finished / (end - start), 3),
        "latency_ms": percentiles((ended - begun)[answered]),
        "refused": int(refused.sum()),
        "refused_ms": percentiles((ended - begun)[refused]),
        "errors": sum(failed.values()),
        "errors_by_kind": {names.get(kind, str(kind)): count for kind, count in sorted(failed.items())},
        "late_ms": percentiles((sent - begun)[counts]),
    }


class Generator:
    """One job's run on the event loop."""

    def __init__(self, job: Job, uploads: Sequence[Upload], on_event: Callable[[str], None]) -> None:
        if (job.clients > 0) == (job.rate > 0):
            raise ValueError("give either clients or rate")
        if job.requests and (job.rate or job.warm):
            raise ValueError("requests needs clients, and no warm time")
        self._job = job
        self._requests = Requests(uploads, job.host, job.port, job.path)
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._fail)
        self._failure: BaseException | None = None
        self._record = Record()
        self._bodies: list[tuple[int, int, str]] = []
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening: dict[asyncio.Task[None], float] = {}  # to when their requests were to be sent
        self._under_way = 0
        self._left = job.requests or math.inf
        self._cpu = {"begun": 0.0, "ended": 0.0}
        self._stopping = False
        self._all_ended = asyncio.Event()
        self._opened = 0
        self._times: list[float] = []  # of the open loop's requests, the next one last

    async def run(self) -> dict[str, Any]:
        """Send, wait, and say what happened."""
        job = self._job
        self._start = time.monotonic()
        self._begin = self._start + job.warm
        self._end = self._begin + job.seconds
        self._loop.call_later(job.warm, self._mark, "begun")
        ending = self._loop.call_later(job.warm + job.seconds, self._stop)
        if job.clients:
            for _ in range(job.clients):
                self._send_next()
        else:
            times = arrivals(job.rate, job.warm + job.seconds, job.seed)
            self._times = [self._start + at for at in reversed(times)]
            self._tick()
        try:
            await asyncio.wait_for(self._all_ended.wait(), job.warm + job.seconds + job.drain)
        except TimeoutError:
            pass
        ending.cancel()
        self._give_up()
        if self._failure is not None:
            raise self._failure
        end = min(self._end, time.monotonic())
        summary = summarise(self._record, self._begin, end)
        summary["seconds"] = round(end - self._begin, 3)
        summary["generator_cpu_seconds"] = round(self._cpu["ended"] - self._cpu["begun"], 4)
        summary["connections"] = self._opened
        if job.bodies:
            summary["answers"] = self._bodies
        return summary

    def _mark(self, event: str) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu[event] = usage.ru_utime + usage.ru_stime
        self._on_event(event)

    def _stop(self) -> None:
        if not self._stopping:
            self._tick()  # what was to be sent by now and is late
            self._mark("ended")
            self._stopping = True
        if not self._under_way:
            self._all_ended.set()

    def _finish(self, begun: float, sent: float, ended: float, status: int) -> None:
        self._record.add(begun, sent, ended, status)
        self._under_way -= 1
        if self._stopping and not self._under_way:
            self._all_ended.set()

    def _tick(self) -> None:
        """Send what is due, then sleep until the next; timers count whole milliseconds."""
        now = time.monotonic()
        while self._times and self._times[-1] <= now:
            begun = self._times.pop()
            self._send(begun)
        if self._times:
            self._loop.call_later(math.ceil(1000 * (self._times[-1] - time.monotonic())) / 1000, self._tick)

    def _send_next(self) -> None:
        """A client of the closed loop sends its next request."""
        if not self._stopping and self._left > 0:
            self._left -= 1
            self._send(time.monotonic())
        elif self._left <= 0:
            self._stop()

    def _send(self, begun: float) -> None:
        self._under_way += 1
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._send_on(connection, begun)
                return
            self._connections.discard(connection)
        opening = self._loop.create_task(self._open(begun))
        self._opening[opening] = begun
        opening.add_done_callback(self._opening.pop)

    async def _open(self, begun: float) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._on_answer), self._job.host, self._job.port
            )
        except OSError:
            now = time.monotonic()
            self._finish(begun, now, now, 0)
            if self._job.clients:
                self._loop.call_later(_PAUSE, self._send_next)
            return
        self._opened += 1
        self._connections.add(connection)
        self._send_on(connection, begun)

    def _send_on(self, connection: Connection, begun: float) -> None:
        upload, pieces = self._requests.next()
        connection.send(pieces, upload, begun)

    def _on_answer(self, connection: Connection, status: int, body: bytes) -> None:
        ended, begun, sent = time.monotonic(), connection.begun, connection.sent
        if self._job.bodies:
            self._bodies.append((connection.upload, status, body.decode("utf-8", "replace")))
        if connection.usable:
            self._idle.append(connection)
        else:
            self._connections.discard(connection)
        # The next request first: while clients are at it, the run has not ended.
        if self._job.clients:
            self._send_next()
        self._finish(begun, sent, ended, status)

    def _fail(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A fault of this generator: a run that went on without what failed would tell nothing."""
        self._failure = context.get("exception") or RuntimeError(context["message"])
        self._all_ended.set()

    def _give_up(self) -> None:
        """Count what is still under way as unanswered and close everything."""
        self._stopping = True
        now = time.monotonic()
        for opening, begun in self._opening.items():
            self._record.add(begun, now, now, UNANSWERED)
            opening.cancel()
        for connection in self._connections:
            if connection.busy:
                self._record.add(connection.begun, connection.sent, now, UNANSWERED)
                connection.busy = False
            connection.abort()


def run(job: Job, uploads: Sequence[Upload], on_event: Callable[[str], None] = lambda event: None) -> dict[str, Any]:
    """Put one level of load on a server and return what happened."""

    async def main() -> dict[str, Any]:
        return await Generator(job, uploads, on_event).run()

    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would make requests late
    try:
        return uvloop.run(main())
    finally:
        gc.enable()
        gc.unfreeze()


def main() -> None:
    """Run one job of the command line, or many of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", action="store_true", help="read jobs from standard input, a JSON object a line")
    parser.add_argument("--uploads", type=int, default=256, help="how many different pictures")
    parser.add_argument("--uploads-seed", type=int, default=0)
    parser.add_argument("--images", type=Path, help="a folder or a zip file of photos to enlarge instead of drawings")
    for item in fields(Job):
        if item.name != "bodies":
            parser.add_argument(f"--{item.name}", type=type(item.default) if item.name != "port" else int)
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if soft != hard else (soft, hard))
    uploads = load(arguments.uploads, arguments.uploads_seed, arguments.images)
    if arguments.jobs:
        _announce("ready")
        for line in sys.stdin:
            job = Job(**json.loads(line))
            print(json.dumps(asdict(job) | run(job, uploads, _announce)), flush=True)
    else:
        given = {item.name: getattr(arguments, item.name, None) for item in fields(Job)}
        job = Job(**{name: value for name, value in given.items() if value is not None})
        print(json.dumps(asdict(job) | run(job, uploads), indent=1))


def _announce(event: str) -> None:
    print(json.dumps({"event": event}), flush=True)


if __name__ == "__main__":
    main()
