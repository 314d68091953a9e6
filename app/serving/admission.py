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
_SMALL = 1 << 20  # bytes; a smaller upload holds what has come of it, a larger one at once what it is going to be
_PROMISED = 0.75  # of all bytes may be held in advance: smaller uploads always find some
_SWIFT = 1.0  # seconds; an upload that takes longer is not counted on, and holds what has come of it alone


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
    """A request in flight, until its `with` block ends: first its upload, which holds bytes, then work, a place."""

    def __init__(self, admission: Admission, deadline: float) -> None:
        """Made by `Admission.enter`. `deadline`: a time.monotonic() value."""
        self.deadline = deadline
        self.since = admission.now()
        self._admission = admission
        self._bytes = 0  # held
        self._arrived = 0  # of the upload
        self._in_flight = True
        self._began = 0.0
        self._found = 0  # requests in work, itself included
        self._working = False

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative behind it."""
        return self.deadline - self._admission.now()

    def promise(self, nbytes: int) -> None:
        """Hold what the upload is going to be. Raises QueueFull or TooLarge, and then holds nothing."""
        self._admission.hold(nbytes, self._admission.promised)
        self._bytes = nbytes

    def arrived(self, nbytes: int) -> None:
        """So much of the upload has come, in all. Raises QueueFull or TooLarge, and then holds what it held."""
        if nbytes > self._bytes:
            self._admission.hold(nbytes - self._bytes)
            self._bytes = nbytes
        self._arrived = nbytes

    def begin(self) -> None:
        """The request is complete, and work on it begins: the pace does not depend on how fast a client uploads.

        Raises QueueFull when all places are taken.
        """
        self._admission.begin(self)
        self._working = True
        self._began, self._found = self._admission.now(), self._admission.working

    def answered(self) -> None:
        """The whole way of a request was gone since `begin`: the pace is learned from it."""
        self._admission.pace.observe(self._admission.now() - self._began, self._found)

    def give_way(self) -> int:
        """Hold no more than what has come; the bytes that are free now."""
        freed = self._bytes - self._arrived
        self._bytes = self._arrived
        return freed

    def __enter__(self) -> Ticket:
        """Nothing: it is in flight already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place and the bytes back."""
        if self._in_flight:
            self._in_flight = False
            self._admission.leave(self, self._bytes, self._working)


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
        """`max_requests`: in work; those that are uploaded are bounded by their bytes, and by the connections.

        `max_wait`: seconds that a request may have to wait; a quarter of it beyond four batches of `max_batch`.

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
        self._swift: dict[Ticket, None] = {}  # uploads that have not taken long yet, the oldest first
        self.requests = 0  # in flight, those that are uploaded included
        self.working = 0  # those that are complete
        self.bytes = 0

    @property
    def expected_wait(self) -> float:
        """Seconds until a request that comes now would be answered, by the measured pace."""
        return self.pace.wait(self._ahead())

    def _ahead(self) -> int:
        # Of uploads, two batches' worth: there may be any number of them that end late or never.
        return self.working + min(len(self._swift), self._few * 2 // _BATCHES)

    def enter(self, nbytes: int, deadline: float) -> Ticket:
        """Let in a request whose upload is going to have `nbytes`, 0 where nobody knows.

        Raises TooLarge for what never fits, and QueueFull: also for a request that would wait longer than it may, or
        until behind its own deadline.
        """
        if nbytes > self._max_bytes:
            raise self._never_fits()
        if refusal := self.refusal():
            raise refusal
        wait = self.expected_wait
        self._on_wait(wait)
        if wait and self.now() + wait > deadline:
            raise self._full(
                "deadline", "The answer would come behind its deadline; allow more time or try again later."
            )
        ticket = Ticket(self, deadline)
        if nbytes > _SMALL:
            ticket.promise(nbytes)
        self._swift[ticket] = None
        self.requests += 1
        self._idle.clear()
        return ticket

    def full(self) -> Literal["requests", "wait"] | None:
        """What keeps everything out now, whatever it is; None where something may be let in."""
        self._pass_by()
        ahead = self._ahead()
        if ahead >= self._max_requests:
            return "requests"
        most = self._max_wait if ahead < self._few else self._max_wait / _BEYOND
        return "wait" if self.pace.wait(ahead) > most else None

    def refusal(self) -> QueueFull | None:
        """Why nothing is let in now, counted as a request's refusal; None where something may be."""
        bound = self.full()
        if bound == "requests":
            return self._all_taken()
        if bound == "wait":
            self._on_wait(self.expected_wait)
            return self._too_long()
        return None

    def begin(self, ticket: Ticket) -> None:
        """Give a place to a request whose upload is complete. For tickets alone."""
        self._swift.pop(ticket, None)
        if self.working >= self._max_requests:
            raise self._all_taken()
        if self.pace.wait(self.working) > self._max_wait:
            raise self._too_long()
        self.working += 1

    def hold(self, nbytes: int, most: int | None = None) -> None:
        """Count bytes in, as long as they are `most` in all. For tickets alone."""
        if nbytes > self._max_bytes:
            raise self._never_fits()
        most = self._max_bytes if most is None else most
        if self.bytes + nbytes > most:
            self._pass_by()
            if self.bytes + nbytes > most:
                raise self._full("bytes", "Too many bytes are in flight; try again later.")
        self.bytes += nbytes

    @property
    def promised(self) -> int:
        """Bytes up to which they are held in advance."""
        return int(self._max_bytes * _PROMISED) if self.bytes else self._max_bytes

    def leave(self, ticket: Ticket, nbytes: int, working: bool) -> None:
        """Give everything back. For tickets alone."""
        self._swift.pop(ticket, None)
        self.bytes -= nbytes
        self.working -= working
        self.requests -= 1
        if not self.requests:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return when nothing is in flight."""
        await self._idle.wait()

    def _pass_by(self) -> None:
        """Uploads that take their time are no longer waited for, and hold what has come of them and no more."""
        latest = self.now() - _SWIFT
        while self._swift and (first := next(iter(self._swift))).since <= latest:
            del self._swift[first]
            self.bytes -= first.give_way()

    def _never_fits(self) -> TooLarge:
        return TooLarge(f"A request may hold {self._max_bytes} bytes at most.")

    def _all_taken(self) -> QueueFull:
        return self._full("requests", "Too many requests are in flight; try again later.")

    def _too_long(self) -> QueueFull:
        return self._full("wait", "The answer would take too long, with all that is in flight; try again later.")

    def _full(self, bound: Bound, detail: str) -> QueueFull:
        self._on_refusal(bound)
        retry_after = min(max(_SHORTEST_RETRY, self.expected_wait), _LONGEST_RETRY)
        return QueueFull(detail, retry_after=retry_after)
