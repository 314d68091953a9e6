"""A worker's process: HTTP, admission and intake, with the engine in the place of a network."""

from __future__ import annotations

import asyncio
import itertools
import socket

from fastapi import FastAPI
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.access.usage import Usage
from app.main import create_app
from app.processes.channel import Channel, Message
from app.processes.kept import KeptServer
from app.processes.loop import loop_factory
from app.serving.remote.client import RemoteBackend
from app.settings import Settings
from app.telemetry import merging
from app.telemetry.merging import Snapshot

_COLLECT_SECONDS = 3.0  # that the supervisor gets to ask everyone for metrics


class WorkerServer(KeptServer):
    """A server of sockets that other workers hold as well; it is told which to take connections from."""

    def __init__(self, app: FastAPI, settings: Settings, channel: Channel, patient: bool) -> None:
        """It says that it is up when it may be told to listen: at once, or once requests can be answered.

        `patient`: the latter, because other workers take connections meanwhile.
        """
        super().__init__(app, settings, channel)
        if patient:
            app.state.on_ready = lambda: channel.send("up")
        self._patient = patient

    def _begin(self) -> None:
        if not self._patient:
            self._channel.send("up")


class Worker:
    """One worker, between its supervisor and its clients."""

    def __init__(self, settings: Settings, channel: Channel, start: Message) -> None:
        """`start`: the supervisor's first message."""
        address = "\0" + start["address"]
        self._app = create_app(
            settings,
            make_backend=lambda config, _: RemoteBackend(config, address),
            usage=Usage(**start["usage"]),
        )
        self._app.state.scrape = self._scrape
        self._server = WorkerServer(self._app, settings, channel, start["patient"])
        self._channel = channel
        self._name: str = start["name"]
        self._listeners = {fd: socket.socket(fileno=fd) for fd in start["listeners"]}
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[str]] = {}

    async def run(self) -> str | None:
        """Serve until told to stop; None after an orderly end, else why the service could not be served."""
        obeying = asyncio.create_task(self._obey())
        await self._server.serve(list(self._listeners.values()))
        obeying.cancel()
        return self._server.failure

    async def _obey(self) -> None:
        """Do what the supervisor says; when it is no more, finish and end."""
        while (message := await self._channel.receive()) is not None:
            self._hear(message)
        self._server.abandon()

    def _hear(self, message: Message) -> None:
        match message["kind"]:
            case "listen":
                self._server.listen(self._listeners[fd] for fd in message["listeners"])
            case "snapshot":
                self._channel.send("snapshot", id=message["id"], families=self._own())
            case "collected" if (asked := self._asked.get(message["id"])) is not None and not asked.done():
                asked.set_result(message["text"])
            case _:
                self._server.hear(message)

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
