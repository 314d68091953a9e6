"""The threads that run forwards.

Batches go in through a queue and come back through the event loop that made them; nothing is shared besides. Each
thread starts a batch and waits for its outputs, so that with a second one the next batch is collated and handed to
the device while it works on the first. A batch that fails is split and run again, so that an item which breaks the
network fails alone; whatever a forward raises, the threads go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from app.errors import EngineUnavailable, InferenceFailed
from app.serving.runtime import Runtime
from model.outputs import Outputs
from model.preprocess import Item

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One item's share of a batch's outputs."""

    probabilities: dict[str, np.ndarray]  # task -> [C], see model.outputs.Outputs
    alpha: np.ndarray  # [M]


@dataclass(frozen=True)
class Batch:
    """What runs together: items of one bundle, and the heads that any of them asks for (None: all)."""

    runtime: Runtime
    items: Sequence[Item]
    tasks: tuple[str, ...] | None


@dataclass(frozen=True)
class Finished:
    """A batch's results in the order of its items, and when the engine had it."""

    results: list[Row | InferenceFailed]
    started: float  # time.monotonic()
    ended: float


class Engine:
    """Threads for one device. Made and fed by one event loop."""

    def __init__(self) -> None:
        """Start the first thread, which builds networks; `widen` adds more."""
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.widen(1)

    @property
    def alive(self) -> bool:
        """Whether every thread still takes jobs."""
        return all(thread.is_alive() for thread in self._threads)

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
        """Run a batch; `deliver` is called in the event loop, once, whatever happens. Never blocks.

        Raises EngineUnavailable once `stop` was called.
        """
        if self._stopping:
            raise EngineUnavailable("The engine is stopping.")

        def job() -> None:
            started = time.monotonic()
            results = run_apart(batch, self._starting)
            finished = Finished(results, started, time.monotonic())
            self._tell(lambda: deliver(finished))

        self._jobs.put(job)

    async def stop(self, timeout: float) -> bool:
        """End the threads after what is waiting. False when one is still busy after `timeout` seconds."""
        if not self._stopping:
            self._stopping = True
            for _ in self._threads:
                self._jobs.put(None)
        ends = time.monotonic() + timeout
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, ends - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # what a batch refers to is let go of when it ends, not when the next one comes

    def _tell(self, callback: Callable[[], object]) -> None:
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


def run_apart(batch: Batch, starting: contextlib.AbstractContextManager[object]) -> list[Row | InferenceFailed]:
    """Run a batch; where it fails, run its halves, down to single items. Raises nothing.

    `starting` is held while the runtime starts a batch, not while it runs.
    """
    try:
        with starting:
            pending = batch.runtime.start(batch.items, batch.tasks)
        return _rows(pending.result(), len(batch.items))
    except BaseException as error:  # the thread outlives even SystemExit in a forward
        if len(batch.items) == 1:
            log.exception("the network failed on one item")
            return [InferenceFailed("The network failed on this input; the same input is likely to fail again.")]
        log.warning("a batch of %d failed (%s); trying its halves", len(batch.items), type(error).__name__)
    middle = len(batch.items) // 2
    return [
        result
        for items in (batch.items[:middle], batch.items[middle:])
        for result in run_apart(Batch(batch.runtime, items, batch.tasks), starting)
    ]


def _rows(outputs: Outputs, count: int) -> list[Row | InferenceFailed]:
    finite = np.ones(count, dtype=np.bool_)
    for values in outputs.probabilities.values():
        finite &= np.isfinite(values).reshape(count, -1).all(axis=1)
    return [
        Row({task: values[index] for task, values in outputs.probabilities.items()}, outputs.alpha[index])
        if good
        else InferenceFailed("The network gave no finite answer for this input.")
        for index, good in enumerate(finite.tolist())
    ]
