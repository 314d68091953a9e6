"""Between the event loop and the engine: prepared requests in, each one's own share of a batch out."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.errors import DeadlineExceeded, QueueFull, ServiceError
from app.serving.batcher import Batcher, Step
from app.serving.ceiling import Ceiling
from app.serving.engine import Engine, Finished
from app.serving.loading import Loaded
from app.serving.runtime import item_length, padded_length
from app.serving.splitting import Batch, Row
from app.telemetry.metrics import Metrics
from model.preprocess import Item

log = logging.getLogger(__name__)

_SMOOTHING = 0.1  # share of the newest batch in the running mean of the service time
_LONGEST_RETRY = 60.0


@dataclass(frozen=True)
class Ran:
    """One request's outputs, and what its way through queue and engine was like."""

    row: Row
    queued: float  # seconds
    ran: float  # seconds
    batch_size: int


@dataclass
class _Request:
    loaded: Loaded
    item: Item
    tasks: tuple[str, ...]
    added: float
    future: asyncio.Future[Ran]
    mark: Callable[[bool], None] | None
    explained: bool


class Dispatcher:
    """Owns the batcher and feeds the engine. Lives in the event loop alone, so it needs no lock."""

    def __init__(self, engine: Engine, batcher: Batcher[int], ceiling: Ceiling, metrics: Metrics) -> None:
        """Feed `engine` with what `batcher` decides, below what `ceiling` has learned."""
        self._engine = engine
        self._batcher = batcher
        self._ceiling = ceiling
        self._metrics = metrics
        self._requests: dict[int, _Request] = {}
        self._ids = itertools.count()
        self._seconds_per_item = 0.0
        self._closed: Callable[[], ServiceError] | None = None

    @property
    def waiting(self) -> int:
        """Prepared requests that wait for the engine."""
        return len(self._batcher)

    def seconds_for(self, requests: int) -> float:
        """How long so many requests take, by the measured pace: between 1 and 60 seconds."""
        return min(max(1.0, requests * self._seconds_per_item), _LONGEST_RETRY)

    async def run(
        self,
        loaded: Loaded,
        item: Item,
        tasks: tuple[str, ...],
        deadline: float,
        priority: int = 0,
        *,
        alone: bool = False,
        mark: Callable[[bool], None] | None = None,
        explained: bool = False,
    ) -> Ran:
        """Wait for a place in a batch and for its outputs. Cancelling the caller drops a request that still waits.

        `alone`: nothing else is to run meanwhile. `mark` hears when the engine takes the item, and when it is done with
        it. `explained`: with the answers to the coalitions of the item's modalities. Raises QueueFull,
        DeadlineExceeded, InferenceFailed, EngineUnavailable, and whatever `close` was given.
        """
        if self._closed is not None:
            raise self._closed()
        now = time.monotonic()
        id = next(self._ids)
        request = _Request(loaded, item, tasks, now, asyncio.get_running_loop().create_future(), mark, explained)
        self._requests[id] = request
        try:
            # To the batcher, lengths that are padded to the same are the same.
            length = padded_length(item_length(item), loaded.runtime.lengths)
            self._take(self._batcher.add(id, now, length, deadline, priority, loaded.bundle.name, alone))
            return await request.future
        finally:
            self._batcher.cancel(id)
            del self._requests[id]

    def close(self, error: Callable[[], ServiceError]) -> None:
        """End every request that waits or runs with an error of its own, and each that comes later."""
        self._closed = error
        for id, request in self._requests.items():
            self._batcher.cancel(id)
            _fail(request, error())

    def _take(self, step: Step[int]) -> None:
        for id in step.expired:
            _fail(self._requests[id], DeadlineExceeded("The deadline passed while the request waited for the engine."))
        for id in step.refused:
            retry_after = self.seconds_for(self.waiting)
            _fail(self._requests[id], QueueFull("The queue is full; try again later.", retry_after=retry_after))
        for run in step.runs:
            requests = [self._requests[id] for id in run]
            first = requests[0].loaded
            batch = Batch(
                first.runtime,
                [request.item for request in requests],
                _needed(requests),
                first.probe,
                first.bundle.hierarchies,
                tuple(first.bundle.config.modalities),
                [request.explained for request in requests],
            )
            _mark(requests, True)
            try:
                self._engine.submit(batch, partial(self._deliver, requests))
            except ServiceError as error:
                for request in requests:
                    _fail(request, copy.copy(error))

    def _deliver(self, requests: list[_Request], finished: Finished) -> None:
        now = time.monotonic()
        if finished.short_of_memory is not None:
            self._metrics.out_of_memory()
            self._ceiling.fell_short(finished.short_of_memory, now)
        else:
            self._ceiling.fitted(now)
        if self._ceiling.size != self._batcher.largest:
            log.warning("batches are of %d requests at most from now on", self._ceiling.size)
            self._batcher.limit(self._ceiling.size)
        # The next batch first: the engine idles until then.
        self._take(self._batcher.engine_free(now))
        _mark(requests, False)
        ran = finished.ended - finished.started
        size = len(requests)
        self._seconds_per_item += _SMOOTHING * (ran / size - self._seconds_per_item)
        self._metrics.batch(size)
        lengths = [item_length(request.item) for request in requests]
        self._metrics.tokens(sum(lengths), size * padded_length(max(lengths), requests[0].loaded.runtime.lengths))
        for request, result in zip(requests, finished.results, strict=True):
            if isinstance(result, ServiceError):
                _fail(request, result)
            elif not request.future.done():
                request.future.set_result(Ran(result, finished.started - request.added, ran, size))


def _mark(requests: list[_Request], taken: bool) -> None:
    for request in requests:
        if request.mark is not None:
            request.mark(taken)


def _fail(request: _Request, error: ServiceError) -> None:
    if not request.future.done():
        request.future.set_exception(error)


def _needed(requests: list[_Request]) -> tuple[str, ...] | None:
    """The heads that the answers to these requests need, in the bundle's order; None for all of them."""
    bundle = requests[0].loaded.bundle
    needed = bundle.hierarchies.needed(task for request in requests for task in request.tasks)
    return None if len(needed) == len(bundle.config.tasks) else needed
