"""The thread that runs forwards.

Batches go in through a queue and come back through the event loop that made them; nothing is shared besides. A batch
that fails is split and run again, so that an item which breaks the network fails alone; whatever a forward raises,
the thread goes on.
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
from model.predictor import Outputs
from model.preprocess import Item

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One item's share of a batch's outputs."""

    probabilities: dict[str, np.ndarray]  # task -> [C], see model.predictor.Outputs
    alpha: np.ndarray  # [M]
    relation: dict[str, dict[str, float]]


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
    """One thread for one device. Made and fed by one event loop."""

    def __init__(self) -> None:
        """Start the thread."""
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still takes jobs."""
        return self._thread.is_alive()

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function on the engine's thread, after what it already has, and give its result.

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
            results = run_apart(batch)
            finished = Finished(results, started, time.monotonic())
            self._tell(lambda: deliver(finished))

        self._jobs.put(job)

    async def stop(self, timeout: float) -> bool:
        """End the thread after what it already has. False when it is still busy after `timeout` seconds."""
        if not self._stopping:
            self._stopping = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout)
        return not self.alive

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _tell(self, callback: Callable[[], object]) -> None:
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


def run_apart(batch: Batch) -> list[Row | InferenceFailed]:
    """Run a batch; where it fails, run its halves, down to single items. Raises nothing."""
    try:
        outputs = batch.runtime(batch.items, batch.tasks)
        return _rows(outputs, len(batch.items))
    except BaseException as error:  # the thread outlives even SystemExit in a forward
        if len(batch.items) == 1:
            log.exception("the network failed on one item")
            return [InferenceFailed("The network failed on this input; the same input is likely to fail again.")]
        log.warning("a batch of %d failed (%s); trying its halves", len(batch.items), type(error).__name__)
    middle = len(batch.items) // 2
    return [
        result
        for items in (batch.items[:middle], batch.items[middle:])
        for result in run_apart(Batch(batch.runtime, items, batch.tasks))
    ]


def _rows(outputs: Outputs, count: int) -> list[Row | InferenceFailed]:
    rows: list[Row | InferenceFailed] = []
    for index in range(count):
        probabilities = {task: values[index] for task, values in outputs.probabilities.items()}
        if all(np.isfinite(values).all() for values in probabilities.values()):
            rows.append(Row(probabilities, outputs.alpha[index], outputs.relation))
        else:
            rows.append(InferenceFailed("The network gave no finite answer for this input."))
    return rows
