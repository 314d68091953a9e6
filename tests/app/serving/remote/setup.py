"""An engine's end and workers' ends over real sockets and shared memory, all in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.intake.limits import Limits
from app.intake.pool import IntakePool
from app.intake.prepare import prepare
from app.serving.backend import LocalBackend
from app.serving.pipeline import Pipeline
from app.serving.remote.client import RemoteBackend
from app.serving.remote.server import EngineServer
from app.serving.types import ServingConfig
from app.telemetry.metrics import Metrics
from model.bundle import Bundle
from model.preprocess import Item
from tests.app.serving.bench import PATIENCE, GatedRuntime, InlinePool


class House:
    """One engine, which a test can end and start, and the workers that it makes."""

    def __init__(self, bundle: Path, **config: Any) -> None:
        plain = ServingConfig(bundles=(bundle,), batch_sizes=(1, 2, 4), max_queue=8, cache_bytes=0)
        self.config = replace(plain, **config)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("")  # the kernel chooses an abstract name
        self.listener.listen()
        self.address = "\0" + self.listener.getsockname()[1:].decode()
        self.runtimes: list[GatedRuntime] = []
        self.shuts_at: Callable[[Sequence[Item]], bool] = lambda items: False  # of engines that are started later
        self.pipelines: list[Pipeline] = []
        self.backends: list[RemoteBackend] = []
        self.local: LocalBackend | None = None
        self.server: EngineServer | None = None

    @property
    def runtime(self) -> GatedRuntime:
        return self.runtimes[-1]

    def _make_runtime(self, bundle: Bundle) -> GatedRuntime:
        self.runtimes.append(GatedRuntime(bundle))
        return self.runtimes[-1]

    async def start_engine(self) -> None:
        self.local = LocalBackend(self.config, Metrics(), self._make_runtime)
        served = [await self.local.load(path) for path in self.config.bundles]
        self.runtime.shuts_at = self.shuts_at
        self.server = EngineServer(self.listener, self.local, served)

    async def end_engine(self) -> None:
        """What its process's end looks like from outside: it says no more, whatever it was at."""
        if self.server is None or self.local is None:
            return
        self.server.close()
        await self.until(lambda: not any(backend.alive for backend in self.backends))
        for runtime in self.runtimes:
            runtime.gate.set()
        assert await self.local.stop(PATIENCE)

    def worker(self, pool: IntakePool | None = None, **config: Any) -> Pipeline:
        """A worker's pipeline, not started."""

        def backend(config: ServingConfig, metrics: Metrics) -> RemoteBackend:
            self.backends.append(RemoteBackend(config, self.address))
            return self.backends[-1]

        made = Pipeline(
            replace(self.config, **config),
            pool or InlinePool(),
            partial(prepare, limits=Limits()),
            Metrics(),
            backend,
        )
        self.pipelines.append(made)
        return made

    async def until(self, condition: Any) -> None:
        """Let the loop turn until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
                await asyncio.sleep(0.002)


@asynccontextmanager
async def house(bundle: Path, workers: int = 1, **config: Any) -> AsyncIterator[House]:
    """An engine and ready workers; all are stopped at the end, and every slot must be free then."""
    made = House(bundle, **config)
    try:
        await made.start_engine()
        for _ in range(workers):
            await made.worker().start()
        yield made
    finally:
        for runtime in made.runtimes:
            runtime.gate.set()
        for pipeline in made.pipelines:
            await pipeline.drain(PATIENCE)
        await made.end_engine()
        made.listener.close()
