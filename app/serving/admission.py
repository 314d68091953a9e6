"""Who gets in: bounds on the requests in flight, on the bytes that they hold and on the wait that is to be expected.

Also the deadline that each request carries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal

from app.errors import QueueFull, TooLarge

Bound = Literal["requests", "bytes", "wait", "deadline"]  # what a request was refused for

_SHORTEST_RETRY, _LONGEST_RETRY = 1.0, 60.0  # seconds
# One batch runs, one is ready behind it, two are being prepared: more in flight makes no batch fuller, only later.
_BATCHES = 4
_BEYOND = 4  # a request beyond those batches may wait for this part of the time that others may


class Pace:
    """How long a request waits for those before it, learned from the requests that were answered.

    By Little's law, one that found n in flight and took t seconds says that each takes t / n of the whole service's
    time: whatever binds, decode, network or event loop, and however many processes share it. With few in flight it says
    nothing of the kind, because then most of t is the request's own way; so only those that found CROWD or more count,
    and up to CROWD no wait is expected. A service that has not been crowded yet expects none at all.
    """

    CROWD = 16
    _MEMORY = 64  # requests that the running mean goes back

    def __init__(self) -> None:
        """Nothing is known."""
        self._seconds = 0.0  # for each request in flight
        self._count = 0

    def observe(self, seconds: float, in_flight: int) -> None:
        """A request was answered after `seconds`, and found so many in flight, itself included."""
        if in_flight >= self.CROWD:
            self._count = min(self._count + 1, self._MEMORY)
            self._seconds += (seconds / in_flight - self._seconds) / self._count

    def wait(self, in_flight: int) -> float:
        """Seconds until a request that comes now would be answered; 0 where little is in flight or known."""
        # The first few may have met first-time work: no verdict by them.
        return in_flight * self._seconds if in_flight >= self.CROWD <= self._count else 0.0


class Ticket:
    """A request's place in flight, given back when its `with` block ends."""

    def __init__(self, admission: Admission, deadline: float) -> None:
        """Made by `Admission.enter`. `deadline`: a time.monotonic() value."""
        self.deadline = deadline
        self._admission = admission
        self._bytes = 0
        self._held = True
        self._began = 0.0
        self._in_flight = 0

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative behind it."""
        return self.deadline - self._admission.now()

    def resize(self, nbytes: int) -> None:
        """Hold this many bytes from now on, in all. Raises QueueFull or TooLarge, and then holds what it held."""
        self._admission.hold(nbytes - self._bytes)
        self._bytes = nbytes

    def begin(self) -> None:
        """The request is complete, and work on it begins: the pace does not depend on how fast a client uploads."""
        self._began, self._in_flight = self._admission.now(), self._admission.requests

    def answered(self) -> None:
        """The whole way of a request was gone since `begin`: the pace is learned from it."""
        self._admission.pace.observe(self._admission.now() - self._began, self._in_flight)

    def __enter__(self) -> Ticket:
        """Nothing: the place is held already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place and the bytes back."""
        if self._held:
            self._held = False
            self._admission.leave(self._bytes)


class Admission:
    """Counts what is in flight. Owned by the event loop.

    The bound on the wait keeps latency under overload bounded whatever a machine's speed is, and lets no request in
    that could only be late: docs/decisions/0009-admission.md.
    """

    def __init__(
        self,
        max_requests: int,
        max_bytes: int,
        *,
        max_wait: float,
        max_batch: int,
        on_refusal: Callable[[Bound], None] = lambda bound: None,
        on_wait: Callable[[float], None] = lambda seconds: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_wait`: seconds that a request may have to wait; a quarter of it beyond four batches of `max_batch`.

        `on_refusal` hears what a request was refused for, `on_wait` what each had to expect. `now`: the clock of the
        deadlines.
        """
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_wait = max_wait
        self._few = _BATCHES * max_batch
        self._on_refusal = on_refusal
        self._on_wait = on_wait
        self.now = now
        self._idle = asyncio.Event()
        self._idle.set()
        self.pace = Pace()
        self.requests = 0
        self.bytes = 0

    @property
    def expected_wait(self) -> float:
        """Seconds until a request that comes now would be answered, by the measured pace."""
        return self.pace.wait(self.requests)

    def enter(self, nbytes: int, deadline: float) -> Ticket:
        """Take a place for a request that holds `nbytes`.

        Raises TooLarge for what never fits, and QueueFull: also for a request that would wait longer than it may, or
        until behind its own deadline.
        """
        if self.requests >= self._max_requests:
            raise self._full("requests", "Too many requests are in flight; try again later.")
        wait = self.expected_wait
        self._on_wait(wait)
        if wait > (self._max_wait if self.requests < self._few else self._max_wait / _BEYOND):
            raise self._full("wait", "The answer would take too long, with all that is in flight; try again later.")
        if wait and self.now() + wait > deadline:
            raise self._full(
                "deadline", "The answer would come behind its deadline; allow more time or try again later."
            )
        ticket = Ticket(self, deadline)
        ticket.resize(nbytes)
        self.requests += 1
        self._idle.clear()
        return ticket

    def hold(self, nbytes: int) -> None:
        """Count bytes in (or, when negative, out). For tickets alone."""
        if nbytes > self._max_bytes:
            raise TooLarge(f"A request may hold {self._max_bytes} bytes at most.")
        if nbytes > 0 and self.bytes + nbytes > self._max_bytes:
            raise self._full("bytes", "Too many bytes are in flight; try again later.")
        self.bytes += nbytes

    def leave(self, nbytes: int) -> None:
        """Give a place back. For tickets alone."""
        self.bytes -= nbytes
        self.requests -= 1
        if not self.requests:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return when nothing is in flight."""
        await self._idle.wait()

    def _full(self, bound: Bound, detail: str) -> QueueFull:
        self._on_refusal(bound)
        retry_after = min(max(_SHORTEST_RETRY, self.expected_wait), _LONGEST_RETRY)
        return QueueFull(detail, retry_after=retry_after)
