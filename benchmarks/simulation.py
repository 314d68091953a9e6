"""The service as a discrete-event simulation: its own batcher and its own estimate of waits, under a simulated clock.

A request passes the load generator, the event loop, a decode thread, the batcher, the engine and the event loop again.
What runs on the host shares its cores evenly, as the operating system would have it; a device runs beside them. What
a step costs is given, by `Machine`; what follows from it is not: where queues form, how large batches are, who is
refused.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from app.errors import QueueFull
from app.serving.admission import Admission, Ticket
from app.serving.batcher import Batcher, Step

_SWITCH = 2e-5  # seconds for a callback on the event loop
_DEADLINE = 30.0
_SIZES = (1, 2, 4, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Machine:
    """What each step of a request costs, in core-seconds, and what runs it."""

    forward: dict[int, float]  # batch size -> seconds, texts of `tokens`; linear between sizes
    intake: float  # decode and tokenise
    parse: float = 0.0  # event loop: head and body
    answer: float = 0.0  # event loop: labels, JSON, sending
    refuse: float = 0.0  # event loop: a 429
    client: float = 0.0  # load generator, where it runs on the same cores
    cores: float = 2
    intake_threads: int = 2
    forward_cores: float = 1  # that a forward keeps busy; 0 where a device runs it
    token: float = 0.0  # seconds that one token more, of one item, adds to a forward
    tokens: int = 16
    staging: float = 0.0  # host seconds before a batch runs on a device
    slots: int = 1
    workers: int = 1  # event loops

    def seconds(self, size: int, length: int) -> float:
        """A forward of `size` items whose texts are padded to `length` tokens."""
        below = max((known for known in self.forward if known <= size), default=min(self.forward))
        above = min((known for known in self.forward if known >= size), default=below)
        base = self.forward[below]
        if above > below:
            base += (size - below) / (above - below) * (self.forward[above] - base)
        elif size > below:
            base *= size / below
        return base + self.token * size * (length - self.tokens)


@dataclass(frozen=True)
class Policy:
    """How the service is set."""

    sizes: Sequence[int] = _SIZES
    padded: Sequence[int] = ()  # sizes that the runtime pads rows up to; none: it runs batches as they are
    max_queue: int = 512
    max_in_flight: int = 512
    max_wait: float = 1.0
    max_padding: float = 0.05
    item_length: float = 150
    batch_length: float = 300


@dataclass
class Result:
    """What clients met, and what the engine did, after the time to warm up."""

    seconds: float
    times: list[float]  # of answered requests, sorted
    refusals: list[float]  # of refused ones, sorted
    batches: list[int] = field(default_factory=list)  # sizes
    tokens: int = 0  # read
    run_tokens: int = 0  # run, padding included

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds

    @property
    def refused(self) -> float:
        """Share of the requests that ended."""
        return len(self.refusals) / max(1, len(self.refusals) + len(self.times))

    @property
    def batch(self) -> float:
        """Mean batch size."""
        return sum(self.batches) / max(1, len(self.batches))

    @property
    def padding(self) -> float:
        """Share of the text tokens that were run for nothing."""
        return 1 - self.tokens / max(1, self.run_tokens)

    def percentile(self, share: float, times: list[float] | None = None) -> float:
        """Seconds within which such a share was answered; nan of none."""
        times = self.times if times is None else times
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")


@dataclass
class _Job:
    left: float  # seconds, alone on the machine
    width: float  # cores
    done: Callable[[], None]


@dataclass
class _Request:
    length: int
    born: float = 0.0
    began: float = 0.0
    ticket: Ticket | None = None
    in_flight: int = 0


class _Station:
    """A line before so many servers."""

    def __init__(self, jobs: list[_Job], servers: int) -> None:
        self._jobs, self._free = jobs, servers
        self._line: deque[_Job] = deque()

    def put(self, seconds: float, width: float, done: Callable[[], None]) -> None:
        self._line.append(_Job(seconds, width, partial(self._end, done)))
        self._begin()

    def _begin(self) -> None:
        while self._free and self._line:
            self._free -= 1
            self._jobs.append(self._line.popleft())

    def _end(self, done: Callable[[], None]) -> None:
        self._free += 1
        done()
        self._begin()


class Simulation:
    """One run. Deterministic: the same from the same seed."""

    def __init__(
        self, machine: Machine, policy: Policy, lengths: Sequence[int] = (16,), seed: int = 0, again: bool = False
    ) -> None:
        """`lengths`: of texts, as the runtime pads them. `again`: an ended request is followed by another one."""
        self.now = 0.0
        self._machine, self._policy, self._again = machine, policy, again
        self._random, self._lengths = random.Random(seed), lengths
        self._jobs: list[_Job] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ids: Iterator[int] = itertools.count()
        self._generator, self._loop = _Station(self._jobs, 1), _Station(self._jobs, machine.workers)
        self._intake = _Station(self._jobs, machine.intake_threads)
        self._feeder, self._device = _Station(self._jobs, 1), _Station(self._jobs, 1)
        self._batcher: Batcher[int] = Batcher(
            sizes=policy.sizes, max_queue=policy.max_queue, slots=machine.slots, max_padding=policy.max_padding,
            item_length=policy.item_length, batch_length=policy.batch_length,
        )  # fmt: skip
        self._admission = Admission(
            policy.max_in_flight, 1 << 62, max_wait=policy.max_wait, max_batch=policy.sizes[-1], now=lambda: self.now
        )
        self._waiting: dict[int, _Request] = {}
        self._answered: list[tuple[float, float]] = []  # when, and after how long
        self._refused: list[tuple[float, float]] = []
        self._batches: list[tuple[float, int, int, int]] = []  # when, size, tokens read, tokens run

    def run(self, until: float) -> None:
        """Let time pass."""
        while True:
            width = sum(job.width for job in self._jobs)
            rate = min(1.0, self._machine.cores / width) if width else 1.0
            next_job = min(self._jobs, key=lambda job: job.left / (rate if job.width else 1.0), default=None)
            ends = self.now + next_job.left / (rate if next_job.width else 1.0) if next_job else float("inf")
            timed = self._events[0][0] if self._events else float("inf")
            then = min(ends, timed, until)
            for job in self._jobs:
                job.left -= (then - self.now) * (rate if job.width else 1.0)
            self.now = then
            if until < min(ends, timed):
                return
            if timed <= ends:
                heapq.heappop(self._events)[2]()
            elif next_job:
                self._jobs.remove(next_job)
                next_job.done()

    def client(self) -> None:
        """A client sends a request."""
        self._generator.put(self._machine.client, 1, self._arrive)

    def poisson(self, rate: float) -> None:
        """From now on requests come by chance, so many a second."""
        self._arrive()
        if self._machine.client:
            self._generator.put(self._machine.client, 1, lambda: None)
        when = self.now + self._random.expovariate(rate)
        heapq.heappush(self._events, (when, next(self._ids), partial(self.poisson, rate)))

    def result(self, since: float) -> Result:
        """What was met after `since`."""
        result = Result(
            self.now - since,
            sorted(took for when, took in self._answered if when > since),
            sorted(took for when, took in self._refused if when > since),
        )
        for when, size, tokens, run_tokens in self._batches:
            if when > since:
                result.batches.append(size)
                result.tokens += tokens
                result.run_tokens += run_tokens
        return result

    def _arrive(self) -> None:
        request = _Request(self._random.choice(self._lengths), born=self.now)
        self._loop.put(_SWITCH, 1, partial(self._admit, request))

    def _admit(self, request: _Request) -> None:
        try:
            request.ticket = self._admission.enter(0, self.now + _DEADLINE)
        except QueueFull:
            self._loop.put(self._machine.refuse, 1, partial(self._end, request, self._refused))
        else:
            self._loop.put(self._machine.parse, 1, partial(self._parsed, request))

    def _parsed(self, request: _Request) -> None:
        assert request.ticket is not None
        try:
            request.ticket.begin()
        except QueueFull:
            self._loop.put(self._machine.refuse, 1, partial(self._leave, request, self._refused))
            return
        self._intake.put(
            self._machine.intake, 1, lambda: self._loop.put(_SWITCH, 1, partial(self._prepared, request))
        )  # fmt: skip

    def _prepared(self, request: _Request) -> None:
        id = next(self._ids)
        self._waiting[id] = request
        self._take(self._batcher.add(id, self.now, request.length))

    def _take(self, step: Step[int]) -> None:
        for id in step.refused:
            request = self._waiting.pop(id)
            self._loop.put(self._machine.refuse, 1, partial(self._leave, request, self._refused))
        for run in step.runs:
            batch = [self._waiting.pop(id) for id in run]
            self._feeder.put(self._machine.staging, 1, partial(self._staged, batch))

    def _staged(self, batch: list[_Request]) -> None:
        longest = max(request.length for request in batch)
        rows = next((size for size in self._policy.padded if size >= len(batch)), len(batch))
        tokens = sum(request.length for request in batch)
        self._batches.append((self.now, len(batch), tokens, rows * longest))
        seconds = self._machine.seconds(rows, longest)
        self._device.put(
            seconds, self._machine.forward_cores, lambda: self._loop.put(_SWITCH, 1, partial(self._ran, batch))
        )  # fmt: skip

    def _ran(self, batch: list[_Request]) -> None:
        self._take(self._batcher.engine_free(self.now))
        for request in batch:
            self._loop.put(self._machine.answer, 1, partial(self._answer, request))

    def _answer(self, request: _Request) -> None:
        assert request.ticket is not None
        request.ticket.answered()
        self._leave(request, self._answered)

    def _leave(self, request: _Request, ends: list[tuple[float, float]]) -> None:
        assert request.ticket is not None
        with request.ticket:
            pass
        self._end(request, ends)

    def _end(self, request: _Request, ends: list[tuple[float, float]]) -> None:
        ends.append((self.now, self.now - request.born))
        if self._again:
            self.client()


def closed(
    machine: Machine,
    policy: Policy,
    clients: int,
    *,
    lengths: Sequence[int] = (16,),
    seconds: float = 10.0,
    warm: float = 2.0,
    seed: int = 0,
) -> Result:
    """So many clients, each of which sends its next request when the last one has ended."""
    simulation = Simulation(machine, policy, lengths, seed, again=True)
    for _ in range(clients):
        simulation.client()
    simulation.run(warm + seconds)
    return simulation.result(warm)


def opened(
    machine: Machine,
    policy: Policy,
    rate: float,
    *,
    lengths: Sequence[int] = (16,),
    seconds: float = 20.0,
    warm: float = 2.0,
    seed: int = 0,
) -> Result:
    """Requests that come by chance, so many a second, whatever becomes of them."""
    simulation = Simulation(machine, policy, lengths, seed)
    simulation.poisson(rate)
    simulation.run(warm + seconds)
    return simulation.result(warm)
