"""Who gets in: bounds on the requests in flight and on the bytes that they hold, and the deadline that each carries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from app.errors import QueueFull, TooLarge


class Ticket:
    """A request's place in flight, given back when its `with` block ends."""

    def __init__(self, admission: Admission, deadline: float) -> None:
        """Made by `Admission.enter`. `deadline`: a time.monotonic() value."""
        self.deadline = deadline
        self._admission = admission
        self._bytes = 0
        self._held = True

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative behind it."""
        return self.deadline - time.monotonic()

    def resize(self, nbytes: int) -> None:
        """Hold this many bytes from now on, in all. Raises QueueFull or TooLarge, and then holds what it held."""
        self._admission.hold(nbytes - self._bytes)
        self._bytes = nbytes

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
    """Counts what is in flight. Owned by the event loop."""

    def __init__(self, max_requests: int, max_bytes: int, retry_after: Callable[[], float]) -> None:
        """`retry_after` estimates, in seconds, when there may be room again."""
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._retry_after = retry_after
        self._idle = asyncio.Event()
        self._idle.set()
        self.requests = 0
        self.bytes = 0

    def enter(self, nbytes: int, deadline: float) -> Ticket:
        """Take a place for a request that holds `nbytes`. Raises QueueFull, or TooLarge for what never fits."""
        if self.requests >= self._max_requests:
            raise QueueFull("Too many requests are in flight; try again later.", retry_after=self._retry_after())
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
            raise QueueFull("Too many bytes are in flight; try again later.", retry_after=self._retry_after())
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
