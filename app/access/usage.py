"""What each key has used, in memory that the workers of a service share: its rate and its requests in flight.

The limits hold for the service, whichever worker a request reaches. Two numbers are kept for a key:

- the time at which its token bucket will be full again, which is the bucket in one number (the generic cell rate
  algorithm, ITU-T I.371). It is read and written under a lock of the key's own, so that no request is counted twice or
  missed. The clock is the machine's, the same for all processes.
- for each worker, its requests in flight. Only that worker writes there, so what it leaves behind when it is killed is
  known, and is cleared by the one that takes its place.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Callable

from app.access.keys import PLACES, Key
from app.errors import ConcurrencyExceeded, RateExceeded

_TIMES = 8 * PLACES  # bytes
_COUNTS = 4 * PLACES  # bytes a worker


class Usage:
    """One worker's view of the table."""

    def __init__(
        self,
        fd: int | None = None,
        *,
        workers: int = 1,
        worker: int = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fd`: the table from `share`, for the `worker`-th of so many; None for a process that is alone."""
        self._fd = fd
        self._now = now
        size = _TIMES + _COUNTS * workers
        memory = memoryview(mmap.mmap(-1, size) if fd is None else mmap.mmap(fd, size))
        self._full_at = memory[:_TIMES].cast("d")
        self._counts = memory[_TIMES:].cast("I")
        self._own = memory[_TIMES + _COUNTS * worker : _TIMES + _COUNTS * (worker + 1)].cast("I")
        self._own[:] = memoryview(bytes(_COUNTS)).cast("I")

    def enter(self, key: Key) -> None:
        """Count a request in. Raises ConcurrencyExceeded or RateExceeded, and then nothing was counted."""
        place = key.place
        if key.rate is None and key.concurrent is None:
            self._own[place] += 1
            return
        if self._fd is not None:
            # The kernel gives it back when a process is killed with it. It is held for microseconds.
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, place)
        try:
            if key.concurrent is not None and sum(self._counts[place::PLACES]) >= key.concurrent:
                raise ConcurrencyExceeded(
                    f"This key may have {key.concurrent} requests in flight at a time; wait for one to end.",
                    retry_after=1.0,
                )
            if key.rate is not None:
                self._take(place, key.rate)
            self._own[place] += 1
        finally:
            if self._fd is not None:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, place)

    def leave(self, key: Key) -> None:
        """Count a request out that `enter` counted in."""
        self._own[key.place] -= 1

    def in_flight(self, key: Key) -> int:
        """Requests of the key between `enter` and `leave`, in all workers."""
        return sum(self._counts[key.place :: PLACES])

    def _take(self, place: int, rate: float) -> None:
        """A token of a bucket that holds those of one second, and always one."""
        now, interval = self._now(), 1 / rate
        full_at = max(self._full_at[place], now)
        wait = full_at - now - (max(1.0, rate) - 1.0) * interval
        if wait > 1e-9:  # what is left of the rounding of the sums before
            raise RateExceeded(f"This key may ask {rate:g} times a second; slow down.", retry_after=wait)
        self._full_at[place] = full_at + interval


def share(workers: int) -> int:
    """The descriptor of a new table for so many workers; it is nowhere in the file system. Linux only."""
    fd = os.memfd_create("trunkline-usage")
    os.ftruncate(fd, _TIMES + _COUNTS * workers)
    return fd
