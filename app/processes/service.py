"""The whole service in one process, between its supervisor and its clients."""

from __future__ import annotations

import asyncio
import socket

from app.main import create_app
from app.processes.channel import LOST, Channel, Message
from app.processes.kept import KeptServer
from app.processes.loop import loop_factory
from app.settings import Settings

_LAST_ANSWERS = 1.0  # seconds that requests get to hear that the engine is lost


class ServiceServer(KeptServer):
    """A server whose process is replaced when the engine in it is lost: the port stays, for its successor."""

    def _fail(self, reason: str) -> None:
        if self._pipeline.ended:
            self._draining = asyncio.ensure_future(self._give_way(reason))
        else:
            super()._fail(reason)

    async def _give_way(self, reason: str) -> None:
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_ANSWERS)
        self.failure = reason
        self.force_exit = self.should_exit = True


def run_service(settings: Settings, end: socket.socket, start: Message) -> int:
    """Serve until told to stop; the exit code. `start`: the supervisor's first message."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(settings, end, start))


async def _run(settings: Settings, end: socket.socket, start: Message) -> int:
    channel = await Channel.open(end)
    app = create_app(settings)
    server = ServiceServer(app, settings, channel)

    def ready() -> None:
        server.ready()
        channel.send("up")

    # Probes are answered while the bundles load, so it listens at once; it is up when requests are answered.
    app.state.on_ready = ready
    obeying = asyncio.create_task(_obey(channel, server))
    await server.serve([socket.socket(fileno=start["listener"])])
    obeying.cancel()
    lost = app.state.pipeline.ended
    if server.failure is not None and not lost:
        channel.send("failed", reason=server.failure)
    await channel.finish()
    if lost:
        return LOST
    return 0 if server.failure is None else 1


async def _obey(channel: Channel, server: KeptServer) -> None:
    """Do what the supervisor says; when it is no more, finish and end."""
    while (message := await channel.receive()) is not None:
        server.hear(message)
    server.abandon()
