"""The threads that run forwards.

Batches go in through a queue and come back through the event loop that made them; nothing is shared besides. Each
thread starts a batch and waits for its outputs, so that with a second one the next batch is collated and handed to
the device while it works on the first. A batch that fails is split and run again (`app.serving.splitting`); whatever a
forward raises, the threads go on. What does not come back at all, the event loop notices: the engine is lost then, and
with it the process, because no thread can be ended from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.errors import EngineUnavailable, ServiceError
from app.serving.splitting import Batch, Row, Run

log = logging.getLogger(__name__)

T = TypeVar("T")

# A forward may take so many times as long as the longest of late: other programs may have the cores meanwhile.
_PATIENCE = 5
_FORGETTING = 0.99  # what the longest of late counts for after another batch
_LATE = 1.0  # seconds that the event loop's own clock may be late: more, and this process had been stopped


@dataclass(frozen=True)
class Finished:
    """A batch's results in the order of its items, and when the engine had it."""

    results: list[Row | ServiceError]
    started: float  # time.monotonic()
    ended: float
    short_of_memory: int | None = None  # the smallest part of the batch that there was no memory for


class Engine:
    """Threads for one device. Made and fed by one event loop."""

    def __init__(self, hang_timeout: float = 0.0, on_lost: Callable[[str], None] = lambda reason: None) -> None:
        """Start the first thread, which builds networks; `widen` adds more.

        `hang_timeout`: seconds that a forward may take at least, before it counts as hung; 0: for ever. `on_lost` is
        called in the event loop, once, when no batch can be run any more, with the reason.
        """
        self._hang_timeout = hang_timeout
        self._on_lost = on_lost
        self._longest = 0.0  # seconds that a forward took, of late
        self._lost = False
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.widen(1)

    @property
    def alive(self) -> bool:
        """Whether batches come back."""
        return not self._lost and all(thread.is_alive() for thread in self._threads)

    @property
    def bound(self) -> float:
        """Seconds after which a forward counts as hung: by measurement, and at least those of the setting."""
        return max(self._hang_timeout, _PATIENCE * self._longest)

    def expect(self, seconds: float) -> None:
        """A forward may well take so long, as one did while warming up."""
        self._longest = max(self._longest, seconds)

    def widen(self, in_flight: int) -> None:
        """Run so many batches at a time, at least: `Runtime.in_flight`."""
        while len(self._threads) < in_flight:
            thread = threading.Thread(target=self._work, name="engine", daemon=True)
            self._threads.append(thread)
            thread.start()

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function on an engine thread, after what is waiting already, and give its result.

        Networks are built this way: libraries keep state by thread, so they meet the thread that will run them.
        Raises what the function raises, and EngineUnavailable once `stop` was called.
        """
        if self._stopping:
            raise EngineUnavailable("The engine is stopping.")
        future: asyncio.Future[T] = self._loop.create_future()

        def job() -> None:
            try:
                result = function()
            except BaseException as error:
                failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
                self._tell(lambda: None if future.done() else future.set_exception(failure))
            else:
                self._tell(lambda: None if future.done() else future.set_result(result))

        self._jobs.put(job)
        return await future

    def submit(self, batch: Batch, deliver: Callable[[Finished], None]) -> None:
        """Run a batch; `deliver` is called in the event loop, once, unless the engine is lost. Never blocks.

        Raises EngineUnavailable once `stop` was called, or when the engine is lost.
        """
        if self._stopping or self._lost:
            raise EngineUnavailable("The engine is stopping." if self._stopping else "The engine has ended.")
        run = Run(batch, self._starting)
        watch = _Watch(self, run) if self._hang_timeout else None

        def job() -> None:
            started = time.monotonic()
            results = run.results()
            finished = Finished(results, started, time.monotonic(), run.short_of_memory)
            self._tell(lambda: self._deliver(finished, run, watch, deliver))

        self._jobs.put(job)

    async def stop(self, timeout: float) -> bool:
        """End the threads after what is waiting. False when one is still busy after `timeout` seconds."""
        if not self._stopping:
            self._stopping = True
            for _ in self._threads:
                self._jobs.put(None)
        if self._lost:
            return False
        ends = time.monotonic() + timeout
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, ends - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def lose(self, reason: str) -> None:
        """No batch can be run any more; those that are here do not come back. In the event loop."""
        if self._lost:
            return
        self._lost = True
        log.critical("the engine is lost: %s", reason)
        for thread in self._threads:
            # Where it stands, for whoever has to find out why.
            if (frame := sys._current_frames().get(thread.ident or 0)) is not None:
                log.critical("its thread is in:\n%s", "".join(traceback.format_stack(frame, limit=-12)))
        self._on_lost(reason)

    def _deliver(self, finished: Finished, run: Run, watch: _Watch | None, deliver: Callable[[Finished], None]) -> None:
        if watch is not None:
            watch.end()
        if self._lost:
            return  # whoever waited has been told otherwise
        self._longest = max(run.longest, _FORGETTING * self._longest)
        deliver(finished)
        if run.nothing_works:
            self.lose("the network fails on every input, also on one that it had answered before")

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                job()
                del job  # what a batch refers to is let go of when it ends, not when the next one comes
        except BaseException as error:
            log.exception("an engine thread has ended")
            self._tell(lambda error=error: self.lose(f"its thread ended by {type(error).__name__}"))  # type: ignore[misc]

    def _tell(self, callback: Callable[[], object]) -> None:
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


class _Watch:
    """Sees to it that each forward of one batch ends. Lives in the event loop."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._arm(engine.bound)

    def end(self) -> None:
        """The batch has come back."""
        self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        bound = self._engine.bound
        elapsed = time.monotonic() - self._run.since
        if elapsed < bound:
            self._arm(bound - elapsed)  # one part of a split batch had ended, and the next one has begun
        elif self._loop.time() - self._due > _LATE:
            self._arm(bound)  # this whole process had been stopped, and the forward with it
        else:
            size = len(self._run.batch.items)
            self._engine.lose(f"a forward of a batch of {size} has not ended after {elapsed:.1f} s")
