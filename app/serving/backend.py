"""Where prepared items are run: in this process, or, behind the same interface, in the engine's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import ServiceError
from app.serving.batcher import Batcher
from app.serving.ceiling import Ceiling
from app.serving.dispatcher import Dispatcher, Ran
from app.serving.engine import Engine
from app.serving.loading import Loaded, load
from app.serving.registry import Served
from app.serving.runtime import MakeRuntime
from app.serving.types import ServingConfig
from app.telemetry.metrics import Metrics
from model.cost import item_tokens
from model.preprocess import Item


@dataclass(frozen=True)
class Slot:
    """A request's place at the backend.

    `buffers`: image modality -> uint8 [H, W, 3] to decode into, where the engine reads it; without one, intake makes
    an array of its own.
    """

    buffers: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    alone: bool = False  # nothing else is to run with the request
    mark: Callable[[bool], None] | None = None  # hears when the engine takes the item, and when it is done with it

    def held(self) -> AbstractContextManager[None]:
        """Keep the buffers from being another request's, even if this one is given up: for who writes in a thread.

        Raises RuntimeError where that has happened already.
        """
        return nullcontext()


class Backend(Protocol):
    """Runs prepared items. Made and used in one event loop."""

    @property
    def alive(self) -> bool:
        """Whether batches can run."""
        ...

    @property
    def waiting(self) -> int:
        """Prepared requests that wait for the engine."""
        ...

    async def lost(self) -> str:
        """Return when nothing will ever run here again, with the reason: only another process helps then.

        Requests that are here are not ended by it: what becomes of them depends on where they came from.
        """
        ...

    async def load(self, path: Path) -> Served:
        """Make a bundle ready to be run. Raises BundleError, RuntimeUnavailable, EngineUnavailable."""
        ...

    def slot(self, served: Served) -> AbstractContextManager[Slot]:
        """A place for one request's pixels until its run has ended. Raises QueueFull when all are taken."""
        ...

    async def run(
        self,
        served: Served,
        slot: Slot,
        item: Item,
        tasks: tuple[str, ...],
        deadline: float,
        priority: int = 0,
        explained: bool = False,
    ) -> Ran:
        """Wait for a place in a batch and for its outputs; see Dispatcher.run."""
        ...

    def close(self, error: Callable[[], ServiceError]) -> None:
        """End every request that waits or runs, and each that comes later, with an error of its own."""
        ...

    async def stop(self, timeout: float) -> bool:
        """Stop the engine after what it has. False when it is still busy after `timeout` seconds."""
        ...


MakeBackend = Callable[[ServingConfig, Metrics], Backend]


class LocalBackend:
    """The batcher and the engine in this process."""

    def __init__(self, config: ServingConfig, metrics: Metrics, make_runtime: MakeRuntime) -> None:
        """Start the engine; there is nothing to run before `load`."""
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._engine = Engine(config.hang_timeout, self._lost.set_result)
        self._batcher: Batcher[int] = Batcher(sizes=config.batch_sizes, max_queue=config.max_queue)
        self._dispatcher = Dispatcher(self._engine, self._batcher, Ceiling(config.batch_sizes), metrics)
        metrics.watch_batches(lambda: self._batcher.largest)
        self._loaded: dict[str, Loaded] = {}
        self._load = partial(load, make_runtime=make_runtime, batch_sizes=config.batch_sizes)

    @property
    def alive(self) -> bool:
        """Whether every thread of the engine takes batches."""
        return self._engine.alive

    @property
    def waiting(self) -> int:
        """Prepared requests that wait for the engine."""
        return self._dispatcher.waiting

    async def lost(self) -> str:
        """See Backend."""
        return await asyncio.shield(self._lost)

    async def load(self, path: Path) -> Served:
        """Read, check and warm a bundle on the engine's thread."""
        loaded = await self._engine.call(partial(self._load, path))
        in_flight = loaded.runtime.in_flight
        self._engine.widen(in_flight)
        self._engine.expect(loaded.longest)
        self._batcher.widen(in_flight)
        if loaded.runtime.device == "cuda":
            # A GPU's time goes by arithmetic. For the CPU, the batcher's own figures were measured.
            self._batcher.weigh(loaded.bundle.name, item_tokens(loaded.bundle.config), batch_length=0)
        self._loaded[loaded.bundle.name] = loaded
        return loaded.served

    def slot(self, served: Served) -> AbstractContextManager[Slot]:
        """Intake's own arrays do: the engine reads them where they are."""
        return nullcontext(Slot())

    async def run(
        self,
        served: Served,
        slot: Slot,
        item: Item,
        tasks: tuple[str, ...],
        deadline: float,
        priority: int = 0,
        explained: bool = False,
    ) -> Ran:
        """See Dispatcher.run."""
        loaded = self._loaded[served.bundle.name]
        return await self._dispatcher.run(
            loaded, item, tasks, deadline, priority, alone=slot.alone, mark=slot.mark, explained=explained
        )

    def close(self, error: Callable[[], ServiceError]) -> None:
        """See Dispatcher.close."""
        self._dispatcher.close(error)

    async def stop(self, timeout: float) -> bool:
        """See Engine.stop."""
        return await self._engine.stop(timeout)
