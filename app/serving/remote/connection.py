"""A worker's connection to the engine: made again whenever it is lost, until it is closed."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from app.serving.remote import wire
from app.serving.remote.wire import Kind, Outbox, ProtocolError, Splitter

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds before another try, doubled each time


class Connection:
    """Connects, introduces this worker, and hands on what comes. Lives in one event loop.

    The listener outlives the engines behind it: a connection made between two engines waits for the second.
    """

    def __init__(
        self,
        address: str,
        greeting: Callable[[], tuple[bytes, int]],
        welcome: Callable[[Sequence[dict[str, str]]], None],
        receive: Callable[[Kind, bytes], None],
        lost: Callable[[], None],
    ) -> None:
        """`greeting` gives HELLO and its descriptor; the others hear of WELCOME, of later messages, and of the end."""
        self.welcomed = False
        self._address = address
        self._greeting = greeting
        self._welcome = welcome
        self._receive = receive
        self._lost = lost
        self._keeping: asyncio.Task[None] | None = None
        self._outbox: Outbox | None = None

    async def open(self) -> None:
        """Connect from now on."""
        self._keeping = asyncio.create_task(self._keep())

    def send(self, message: bytes) -> bool:
        """Send a message; false, and nothing sent, while there is no engine."""
        if not self.welcomed or self._outbox is None:
            return False
        self._outbox.send(message)
        return True

    async def close(self) -> None:
        """Hang up for good."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                if await self._talk():
                    pause = _FIRST_PAUSE
            except OSError as error:
                log.warning("the engine cannot be reached: %s", error.strerror)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _talk(self) -> bool:
        """One connection from start to end; whether an engine welcomed this worker on it. Raises OSError."""
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, self._address)
            hello, fd = self._greeting()
            socket.send_fds(connection, [hello], [fd])
        except BaseException:
            connection.close()
            raise
        talk = _Talk(self)
        transport, _ = await loop.create_unix_connection(lambda: talk, sock=connection)
        try:
            await talk.ended
        finally:
            welcomed, self.welcomed, self._outbox = self.welcomed, False, None
            transport.abort()
        if welcomed:
            log.warning("the engine has hung up")
            self._lost()
        return welcomed

    def _begin(self, outbox: Outbox, document: dict[str, object]) -> None:
        bundles = document["bundles"]
        assert isinstance(bundles, list)
        self._outbox = outbox
        self.welcomed = True
        self._welcome(bundles)


class _Talk(asyncio.Protocol):
    """One connection's messages."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        self._splitter = Splitter()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._outbox = Outbox(self._transport)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._splitter.feed(data):
                if kind == Kind.WELCOME:
                    self._owner._begin(self._outbox, wire.unpack_document(payload))
                elif kind == Kind.REFUSED:
                    log.error("the engine refuses this worker: %s", wire.unpack_document(payload).get("reason"))
                else:
                    self._owner._receive(kind, payload)
        except ProtocolError as error:
            log.error("the engine sent what cannot be right, and is hung up on: %s", error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
