"""A bounded pool of threads for work on the CPU that must not hold up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.errors import QueueFull
from app.threads import usable_cores

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Call:
    """One call on its way. Whoever takes `claim` first, a thread to run it or its caller to drop it, decides."""

    function: Callable[..., Any]
    args: tuple[object, ...]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    claim: threading.Lock = field(default_factory=threading.Lock)


class IntakePool:
    """Runs functions on `threads` threads; at most `max_waiting` more may wait for one. Used by one event loop.

    Pillow, libjpeg-turbo and the tokeniser release the interpreter lock in their own loops, so threads run side by
    side. Unlike an executor of the standard library, a call costs one queue and one wake-up of the event loop, and no
    second future: a fifth of the time, which at catalogue sizes is worth having.
    """

    def __init__(self, threads: int | None = None, max_waiting: int = 1024) -> None:
        """Nothing is started before the first call. `threads` is one a usable core when None."""
        self.threads = threads or usable_cores()
        self._places = self.threads + max_waiting
        self._taken = 0  # the event loop's alone
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._closed = False

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """What `function(*args)` returns or raises, computed on a thread.

        Cancelling the caller drops a call that has not begun. Raises QueueFull when too many wait already, and
        RuntimeError once the pool is closed.
        """
        if self._closed:
            raise RuntimeError("the intake pool is closed")
        if self._taken == self._places:
            raise QueueFull("Too many uploads wait to be decoded; try again shortly.", retry_after=1.0)
        if not self._workers:
            self._start()
        loop = asyncio.get_running_loop()
        call = _Call(function, args, loop, loop.create_future())
        self._taken += 1
        self._calls.put(call)
        try:
            result: T = await call.future
            return result
        except asyncio.CancelledError:
            # The place of a call that has begun is held until its thread is done, whoever still waits for it.
            if call.claim.acquire(blocking=False):
                self._taken -= 1
            raise

    def _start(self) -> None:
        for number in range(self.threads):
            worker = threading.Thread(target=self._work, name=f"intake_{number}", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if call.claim.acquire(blocking=False):
                self._call(call)
            # What waits for the next call must not keep the last one's upload.
            del call

    def _call(self, call: _Call) -> None:
        result: object = None
        error: Exception | None = None
        try:
            result = call.function(*call.args)
        except Exception as raised:
            # A future takes every exception but this one.
            error = RuntimeError(repr(raised)) if isinstance(raised, StopIteration) else raised
        except BaseException as raised:  # the thread outlives even SystemExit
            error = RuntimeError(repr(raised))
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            call.loop.call_soon_threadsafe(self._deliver, call.future, result, error)

    def _deliver(self, future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
        self._taken -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def close(self) -> None:
        """Cancel what waits and wait for what runs."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None and call.claim.acquire(blocking=False):
                    with contextlib.suppress(RuntimeError):
                        call.loop.call_soon_threadsafe(call.future.cancel)
        for _ in self._workers:
            self._calls.put(None)
        for worker in self._workers:
            worker.join()
        self._workers.clear()
