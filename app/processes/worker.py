"""A worker's process: HTTP, admission and intake, with the engine in the place of a network."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Mapping

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
    """A server of sockets that other processes hold as well; it is told which to take connections from."""

    def __init__(self, app: FastAPI, settings: Settings, patient: bool, on_up: Callable[[], None]) -> None:
        """`on_up` is called when the server may be told to listen: at once, or once requests can be answered.

        `patient`: the latter, because other workers take connections meanwhile.
        """
        super().__init__(app, settings)
        self._on_up = on_up
        self._acceptors: dict[int, Acceptor] = {}
        if patient:
            app.state.on_ready = on_up
        self._patient = patient

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application."""
        await super().startup(sockets=[])
        if not self._patient:
            self._on_up()

    def listen(self, listeners: Mapping[int, socket.socket]) -> None:
        """Take connections from these sockets, by their descriptors, and from no other."""
        if self.should_exit:
            return
        for fd in self._acceptors.keys() - listeners.keys():
            self._acceptors.pop(fd).close()
        for fd in listeners.keys() - self._acceptors.keys():
            self._acceptors[fd] = Acceptor(listeners[fd], self._protocol)
        self.servers = list(self._acceptors.values())  # type: ignore[arg-type]  # closed as servers are

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=self._loop
        )
        return made


class Worker:
    """One worker, between its supervisor and its clients."""

    def __init__(self, settings: Settings, channel: Channel, start: Message) -> None:
        """`start`: the supervisor's first message."""
        address = "\0" + start["address"]
        self._app = create_app(settings, make_backend=lambda config, _: RemoteBackend(config, address))
        self._app.state.scrape = self._scrape
        self._server = WorkerServer(self._app, settings, start["patient"], lambda: channel.send("up"))
        self._channel = channel
        self._name: str = start["name"]
        self._listeners = {fd: socket.socket(fileno=fd) for fd in start["listeners"]}
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[str]] = {}

    async def run(self) -> str | None:
        """Serve until told to stop; None after an orderly end, else why the service could not be served."""
        obeying = asyncio.create_task(self._obey())
        await self._server.serve([])
        obeying.cancel()
        return self._server.failure

    async def _obey(self) -> None:
        """Do what the supervisor says; when it is no more, finish and end."""
        while (message := await self._channel.receive()) is not None:
            self._hear(message)
        self._server.drain()

    def _hear(self, message: Message) -> None:
        match message["kind"]:
            case "listen":
                self._server.listen({fd: self._listeners[fd] for fd in message["listeners"]})
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


def run_worker(settings: Settings, end: socket.socket, start: Message) -> int:
    """Serve until told to stop; the exit code. `start`: the supervisor's first message."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(settings, end, start))


async def _run(settings: Settings, end: socket.socket, start: Message) -> int:
    channel = await Channel.open(end)
    failure = await Worker(settings, channel, start).run()
    if failure is not None:
        channel.send("failed", reason=failure)
    await channel.finish()
    return 0 if failure is None else 1
