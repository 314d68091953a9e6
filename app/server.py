"""The HTTP server, with bounds on its clients and an end at which nothing accepted is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from app.acceptor import Acceptor, Room
from app.api.predict import Endpoint
from app.connection import Config, Connection
from app.files import TooFewFiles, connections
from app.listening import turn_away
from app.serving.pipeline import Pipeline
from app.settings import Settings

# Once every accepted request has its answer:
_HANDSHAKE_SECONDS = 0.3  # for connections whose handshake has begun
_CROSSING_SECONDS = 1.0  # that a connection has had to send a request, since its last answer, before it is closed
_PATIENCE_SECONDS = 2.0  # with connections of which some is always younger than that
_CLOSING_SECONDS = 5  # for connections to take their last answer


class Server(uvicorn.Server):
    """Uvicorn, but the first signal drains: new requests get 503 until the accepted ones have their answers.

    Uvicorn alone closes its socket first, so clients would be refused connections without being told why, and those
    whose connection waits or whose request is on its way would find it reset.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Serve `app` as `settings` say."""
        super().__init__(
            Config(
                app,
                client_timeout=settings.client_timeout,
                on_lost=self._lost,
                turn_away=app.state.full,
                loop="auto",  # uvloop where it is installed
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # Behind a proxy, its word about the client changes nothing here; from anyone else it is a lie.
                proxy_headers=False,
                timeout_keep_alive=settings.keep_alive,
                timeout_graceful_shutdown=_CLOSING_SECONDS,
            )
        )
        self.failure: str | None = None
        app.state.on_failure = self._fail
        self._pipeline: Pipeline = app.state.pipeline
        self._endpoint: Endpoint = app.state.predict
        self._drain_timeout = settings.drain_timeout
        self._most_connections = settings.max_connections
        self._hand_over = settings.reuse_port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._room: Room | None = None
        self._acceptors: dict[int, Acceptor] = {}
        self._listeners: list[socket.socket] = []
        self._left = False
        self._seeing_off: asyncio.Event | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from these sockets until told to stop; they are closed then."""
        self._loop = asyncio.get_running_loop()
        self._listeners = sockets or []
        try:
            self._room = Room(connections(self._most_connections), self._clients)
        except TooFewFiles as error:
            self.failure = str(error)
            return
        await super().serve([])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets=[])
        self._begin()

    def _begin(self) -> None:
        if not self._hand_over:
            self.listen(self._listeners)

    def ready(self) -> None:
        """Requests can be answered. Where another service has the port so far, connections come here from now on."""
        if self._hand_over:
            self.listen(self._listeners)

    def listen(self, listeners: Iterable[socket.socket]) -> None:
        """Take connections from these sockets, and from no other."""
        if self.should_exit or self._left:
            return
        assert self._room is not None
        wanted = {listener.fileno(): listener for listener in listeners}
        for fd in self._acceptors.keys() - wanted.keys():
            self._acceptors.pop(fd).close()
        for fd in wanted.keys() - self._acceptors.keys():
            self._acceptors[fd] = Acceptor(wanted[fd], self._protocol, self._room)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=self._loop
        )
        return made

    @property
    def _clients(self) -> set[Connection]:
        return cast("set[Connection]", self.server_state.connections)

    def _lost(self) -> None:
        if self._room is not None:
            self._room.left()
        if self._seeing_off is not None:
            self._seeing_off.set()

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at once at the second."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    def drain(self, timeout: float | None = None) -> None:
        """Finish what was accepted, within `timeout` seconds or those of the settings, then end. In the event loop."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain(self._drain_timeout if timeout is None else timeout))

    def _stop(self) -> None:
        if self._draining is not None:
            self.force_exit = self.should_exit = True
        self.drain()

    async def _drain(self, timeout: float) -> None:
        finishing = asyncio.ensure_future(self._pipeline.drain(timeout))
        if self._hand_over:
            # Another service may listen here: connections are its from now on.
            await self._leave()
        await finishing
        self._endpoint.end_uploads()
        await self._drained()
        self.should_exit = True

    async def _drained(self) -> None:
        """Every accepted request has its answer."""

    async def _leave(self) -> None:
        """Give the port up: no connection begins any more, and those that had begun are taken."""
        if self._left:
            return
        self._left = True
        for listener in self._listeners:
            turn_away(listener)
        await asyncio.sleep(_HANDSHAKE_SECONDS)
        for acceptor in self._acceptors.values():
            acceptor.finish()
        if self._room is not None:
            await self._room.connected()
        for listener in self._listeners:
            listener.close()

    async def _see_off(self) -> None:
        """Return when no connection is left that may have a request on its way, or patience is over.

        A client that was answered just now, or has just connected, may be sending already; it hears in the answer that
        the connection ends. Closed before, it would not know what became of its request.
        """
        self._seeing_off = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends = loop.time() + _PATIENCE_SECONDS
        while (latest := max((one.idle_since for one in self._clients if one.idle), default=None)) is not None:
            until = min(latest + _CROSSING_SECONDS, ends)
            if loop.time() >= until:
                return
            self._seeing_off.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._seeing_off.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give up the port and the connections, then end the application."""
        # Where it fails, another process may take its place at the port, with the connections that wait there.
        if self._draining is not None and not self.force_exit:
            await self._leave()
            await self._see_off()
        self.servers = list(self._acceptors.values())  # type: ignore[arg-type]  # closed as servers are
        await super().shutdown(sockets)
