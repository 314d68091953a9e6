"""The engine's end: workers connect, their requests run on this process's backend, answers go back as they come."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from app.serving.backend import Backend
from app.serving.registry import Served
from app.serving.remote import wire
from app.serving.remote.peer import Peer
from app.serving.remote.slots import SlotReader
from app.serving.remote.wire import Kind, ProtocolError

log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("3i")  # of the process at the other end: process, user, group
_GREETING_BYTES = 1 << 16


class EngineServer:
    """Takes requests from every worker that connects. Lives in one event loop."""

    def __init__(self, listener: socket.socket, backend: Backend, served: Sequence[Served]) -> None:
        """Take connections from `listener` from now on, and run what they bring on `backend`."""
        self._listener = listener
        self._backend = backend
        self._served = served
        self._loop = asyncio.get_running_loop()
        self._greeting: set[socket.socket] = set()  # connected, and not yet said who they are
        self._peers: set[Peer] = set()
        self._left = asyncio.Event()  # set while no worker is connected
        self._left.set()
        self._connecting: set[asyncio.Task[Any]] = set()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    @property
    def workers(self) -> int:
        """How many are connected."""
        return len(self._peers)

    async def wait_left(self, timeout: float) -> None:
        """Return when no worker is connected, or after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._left.wait()

    def close(self) -> None:
        """Take no connection any more and hang up on all there are."""
        self._loop.remove_reader(self._listener)
        for connection in list(self._greeting):
            self._hang_up(connection)
        for peer in list(self._peers):
            peer.close()

    def _join(self, peer: Peer) -> None:
        self._peers.add(peer)
        self._left.clear()

    def _leave(self, peer: Peer) -> None:
        self._peers.discard(peer)
        if not self._peers:
            self._left.set()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:  # out of descriptors, say; whoever knocked can try again
            log.error("a worker's connection could not be taken: %s", error.strerror)
            return
        connection.setblocking(False)
        self._greeting.add(connection)
        if _user_of(connection) != os.getuid():
            log.error("a process of another user tried to reach the engine")
            self._hang_up(connection)
            return
        self._loop.add_reader(connection, self._greet, connection)

    def _greet(self, connection: socket.socket) -> None:
        """HELLO has come, and with it the descriptor of the worker's memory."""
        fds: list[int] = []
        try:
            data, fds, _, _ = socket.recv_fds(connection, _GREETING_BYTES, 1)
            slots = self._meet(data, fds)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError, ProtocolError) as error:
            if str(error):
                log.error("a worker is refused: %s", error)
                with suppress(OSError):
                    connection.send(wire.pack_document(Kind.REFUSED, {"version": wire.VERSION, "reason": str(error)}))
            self._hang_up(connection)
            return
        finally:
            for fd in fds:
                os.close(fd)
        self._loop.remove_reader(connection)
        self._greeting.discard(connection)
        peer = Peer(self._backend, self._served, slots, self._join, self._leave)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: peer, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _meet(self, data: bytes, fds: list[int]) -> SlotReader:
        """The worker's memory, once its bundles are those that run here. Raises OSError, ValueError, ProtocolError."""
        if not data:
            raise ProtocolError  # it hung up; there is nobody to tell
        messages = list(wire.Splitter().feed(data))
        if len(messages) != 1 or messages[0][0] != Kind.HELLO or len(fds) != 1:
            raise ProtocolError("it does not introduce itself")
        hello = wire.unpack_document(messages[0][1])
        running = [one.bundle.digest for one in self._served]
        if hello.get("bundles") != running:
            raise ProtocolError("its bundles are not those that run; bundles that were replaced need a restart of both")
        return SlotReader(fds[0], hello["slots"], hello["slot_bytes"])

    def _hang_up(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection)
        self._greeting.discard(connection)
        connection.close()


def _user_of(connection: socket.socket) -> int:
    """Who is at the other end. The listener's name can be found by every user of the machine."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
