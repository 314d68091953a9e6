"""The engine's process: the batcher and the engine of a service in one process, with workers in the place of HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from functools import partial

from app.processes.channel import LOST, Channel
from app.processes.loop import loop_factory
from app.serving.backend import LocalBackend
from app.serving.registry import Registry, Served
from app.serving.remote.server import EngineServer
from app.serving.runtimes.choice import choose_runtime
from app.settings import Settings
from app.telemetry import merging
from app.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0  # that the engine gets for the batches that it has


def run_engine(settings: Settings, end: socket.socket, listener: socket.socket) -> int:
    """Load the bundles, then run what workers bring until told to stop; the exit code."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(settings, end, listener))


async def _run(settings: Settings, end: socket.socket, listener: socket.socket) -> int:
    channel = await Channel.open(end)
    metrics = Metrics()
    backend = LocalBackend(settings.serving(), metrics, partial(choose_runtime, **settings.runtime_choice()))
    metrics.watch(in_flight=lambda: 0, bytes_in_flight=lambda: 0, queue=lambda: backend.waiting, state=lambda: "ready")
    loading = asyncio.create_task(_load(settings, backend))
    commands = asyncio.create_task(_obey(channel, metrics))
    await asyncio.wait((loading, commands), return_when=asyncio.FIRST_COMPLETED)
    if commands.done():
        return 0
    if (error := loading.exception()) is not None:
        log.error("the engine cannot start: %s", error)
        channel.send("failed", reason=str(error))
        await channel.finish()
        return 1
    server = EngineServer(listener, backend, loading.result())
    channel.send("up")
    lost = asyncio.create_task(backend.lost())
    await asyncio.wait((lost, commands), return_when=asyncio.FIRST_COMPLETED)
    if not commands.done():
        # The workers bring what is not answered to the next engine.
        return LOST
    # When the service is stopped, the workers have left by now. When the supervisor has died, they are finishing.
    await server.wait_left(settings.drain_timeout + _STOP_SECONDS)
    server.close()
    await backend.stop(_STOP_SECONDS)
    return 0


async def _load(settings: Settings, backend: LocalBackend) -> list[Served]:
    registry = Registry()
    for path in settings.bundles:
        started = time.monotonic()
        served = await backend.load(path)
        registry.add([served])
        log.info(
            "the engine has bundle %s %s after %.1f s: %s, %s, %s",
            served.bundle.name, served.bundle.version, time.monotonic() - started,
            served.runtime, served.device, served.precision,
        )  # fmt: skip
    return [registry.get(name) for name in registry.names()]


async def _obey(channel: Channel, metrics: Metrics) -> None:
    """Do what the supervisor says until it says stop, or is no more."""
    while (message := await channel.receive()) is not None and message["kind"] != "stop":
        if message["kind"] == "snapshot":
            channel.send("snapshot", id=message["id"], families=merging.snapshot(metrics.registry, "engine"))
        elif message["kind"] == "ping":
            channel.send("pong")
