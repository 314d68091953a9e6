"""A bounded pool of threads for work on the CPU that must not hold up the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from app.errors import QueueFull
from app.threads import usable_cores

T = TypeVar("T")


class IntakePool:
    """Runs functions on `threads` threads; at most `max_waiting` more may wait for one.

    Pillow and the tokeniser release the interpreter lock in their own loops, so threads run side by side.
    """

    def __init__(self, threads: int | None = None, max_waiting: int = 1024) -> None:
        """Make the threads' places; `threads` is one a usable core when None."""
        self.threads = threads or usable_cores()
        self._places = threading.BoundedSemaphore(self.threads + max_waiting)
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="intake")

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """What `function(*args)` returns or raises, computed on a thread.

        Cancelling the caller drops a call that has not begun. Raises QueueFull when too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise QueueFull("Too many uploads wait to be decoded; try again shortly.", retry_after=1.0)
        call = self._executor.submit(function, *args)
        # The place is held until the thread is done, not until the caller gives up: a cancelled call may still run.
        call.add_done_callback(self._leave)
        return await asyncio.wrap_future(call)

    def _leave(self, _: Future[T]) -> None:
        self._places.release()

    def close(self) -> None:
        """Drop what waits and wait for what runs."""
        self._executor.shutdown(wait=True, cancel_futures=True)
