"""A worker's process: HTTP, admission and intake, with the engine in the place of a network."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.main import create_app
from app.processes.acceptor import Acceptor
from app.processes.channel import Channel, Message
from app.processes.loop import loop_factory
from app.server import Server
from app.serving.remote.client import RemoteBackend
from app.settings import Settings
from app.telemetry import merging
from app.telemetry.merging import Snapshot

_COLLECT_SECONDS = 3.0  # that the supervisor gets to ask everyone for metrics


class WorkerServer(Server):
    """A server of a socket that it shares with other processes."""

    def __init__(self, app: FastAPI, settings: Settings, patient: bool, on_started: Callable[[], None]) -> None:
        """`patient`: take no connection before requests can be answered, because others take them meanwhile.

        `on_started` is called when connections are taken.
        """
        super().__init__(app, settings)
        self._patient = patient
        self._on_started = on_started
        self._app_state = app.state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets=[])
        open = partial(self._open, sockets or [])
        if self._patient:
            self._app_state.on_ready = open
        else:
            open()

    def _open(self, sockets: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )
            return made

        self.servers = [Acceptor(listener, protocol) for listener in sockets]  # type: ignore[misc]
        self._on_started()


class Worker:
    """One worker, between its supervisor and its clients."""

    def __init__(self, settings: Settings, channel: Channel, name: str, address: str, patient: bool) -> None:
        """`name`: among the service's processes. `address`: of the engine. `patient`: see WorkerServer."""
        self._app = create_app(settings, make_backend=lambda config, _: RemoteBackend(config, address))
        self._app.state.scrape = self._scrape
        self._server = WorkerServer(self._app, settings, patient, lambda: channel.send("up"))
        self._channel = channel
        self._name = name
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[str]] = {}

    async def run(self, listener: socket.socket) -> str | None:
        """Serve until told to stop; None after an orderly end, else why the service could not be served."""
        obeying = asyncio.create_task(self._obey())
        await self._server.serve([listener])
        obeying.cancel()
        return self._server.failure

    async def _obey(self) -> None:
        """Do what the supervisor says; when it is no more, finish and end."""
        while (message := await self._channel.receive()) is not None:
            self._hear(message)
        self._server.drain()

    def _hear(self, message: Message) -> None:
        match message["kind"]:
            case "stop":
                self._server.drain(message["timeout"])
            case "snapshot":
                self._channel.send("snapshot", id=message["id"], families=self._own())
            case "collected" if (asked := self._asked.get(message["id"])) is not None and not asked.done():
                asked.set_result(message["text"])

    async def _scrape(self) -> tuple[bytes, str]:
        """The whole service's metrics and their content type; this worker's own where nobody knows the others'."""
        id = next(self._ids)
        asked = self._asked[id] = asyncio.get_running_loop().create_future()
        self._channel.send("collect", id=id, families=self._own())
        try:
            async with asyncio.timeout(_COLLECT_SECONDS):
                return (await asked).encode(), CONTENT_TYPE_LATEST
        except TimeoutError:
            return merging.render(self._own()), CONTENT_TYPE_LATEST
        finally:
            del self._asked[id]

    def _own(self) -> Snapshot:
        return merging.snapshot(self._app.state.metrics.registry, self._name)


def run_worker(settings: Settings, end: socket.socket, listener: socket.socket, start: Message) -> int:
    """Serve on `listener` until told to stop; the exit code. `start`: the supervisor's first message."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(settings, end, listener, start))


async def _run(settings: Settings, end: socket.socket, listener: socket.socket, start: Message) -> int:
    channel = await Channel.open(end)
    worker = Worker(settings, channel, start["name"], "\0" + start["address"], start["patient"])
    failure = await worker.run(listener)
    if failure is not None:
        channel.send("failed", reason=failure)
    await channel.finish()
    return 0 if failure is None else 1
