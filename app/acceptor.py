"""Connections from listening sockets, which other processes may hold as well, as many as there is room for."""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
import socket
from collections.abc import Callable, Collection
from typing import Any, Protocol

from app.listening import BACKLOG

log = logging.getLogger(__name__)

_SETTLED = 1.0  # seconds after which a connection that is idle has no request on its way, as far as one can tell
_RETRY = 1.0  # seconds until it is tried again to take connections, where nothing says sooner that there is room
_MADE_ROOM = 8  # a part of all connections, which is freed at once where it is idle, so that the search for it is rare
_FULL = 0.9  # of the places taken: below, there is room again, as far as the log is concerned
_AT_ONCE = 8  # connections that are taken from a socket in one turn of the event loop
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Client(Protocol):
    """What is asked of a connection: `app.connection.Connection` is one."""

    idle_since: float  # of the loop's clock

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        ...

    def make_room(self) -> None:
        """Close, unless something has just come."""
        ...


class Room:
    """How many connections there may be. Where it is full, those make room that have been idle for longest."""

    def __init__(self, most: int, clients: Collection[Client]) -> None:
        """`clients`: those that there are, kept by somebody else."""
        self._most = most
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._full = False
        self._connecting: set[asyncio.Task[Any]] = set()
        self.waiting: set[Acceptor] = set()  # for room

    def has_place(self) -> bool:
        """Whether another connection can be taken."""
        there = len(self._clients) + len(self._connecting)
        if there < self._most:
            self._full = self._full and there > _FULL * self._most
            return True
        if not self._full:
            self._full = True
            log.warning("%d connections are open, which is all there is room for; idle ones make room", there)
        settled = self._loop.time() - _SETTLED
        idle = (client for client in self._clients if client.idle and client.idle_since <= settled)
        for client in heapq.nsmallest(-(-self._most // _MADE_ROOM), idle, key=lambda client: client.idle_since):
            client.make_room()
        return False

    def connect(self, connection: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Give a connection that was taken to a protocol of its own."""
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(protocol, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[Any]) -> None:
        self._connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection could not be taken: %s", error)

    async def connected(self) -> None:
        """Return when every connection that was taken is in the hands of its protocol."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def left(self) -> None:
        """A connection has ended."""
        for acceptor in self.waiting:
            acceptor.resume()
        self.waiting.clear()


class Acceptor:
    """Takes connections until it is closed; the socket stays open, and what waits on it is the next process's.

    A few a turn of the event loop: where two processes share a socket for a while, a busy one takes fewer. Where there
    is no room, they wait in the kernel.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], room: Room) -> None:
        """Take connections from now on, each for a `protocol` of its own."""
        self._listener = listener
        self._protocol = protocol
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._retrying: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        listener.listen(BACKLOG)  # most listen already, and just go on
        self.resume()

    def resume(self) -> None:
        """Take connections: there may be room."""
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Take no more; those that are taken stay. Once is enough: the socket may be closed behind it."""
        if self._closed:
            return
        self._closed = True
        self._room.waiting.discard(self)
        if self._retrying is not None:
            self._retrying.cancel()
        self._loop.remove_reader(self._listener)

    def finish(self) -> None:
        """Take all that wait, and then no more."""
        while not self._closed and self._take():
            pass
        self.close()

    async def wait_closed(self) -> None:
        """Return when every connection that was taken is in the hands of its protocol."""
        await self._room.connected()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._room.has_place():
                self._pause()
                return
            if not self._take():
                return

    def _take(self) -> bool:
        """Take one; false when none waits, or none can be taken."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return False  # another process was faster
        except ConnectionAbortedError:
            return True  # the client has gone
        except OSError as error:
            log.error("a connection could not be taken: %s", error.strerror)
            if error.errno in _NO_ROOM:
                self._pause()
            return False
        self._room.connect(connection, self._protocol)
        return True

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        self._room.waiting.add(self)
        self._retrying = self._loop.call_later(_RETRY, self.resume)
