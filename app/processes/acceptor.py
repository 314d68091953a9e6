"""Connections from a listening socket that several processes share, so that each process gets its share of them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


class Acceptor:
    """Takes one connection a turn of the event loop.

    Event loops by themselves take all that are there: of clients that come at once and stay, the process that wakes
    first would have most. With one a turn, a process that is busy takes fewer than one that idles.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Take connections from now on, each for a `protocol` of its own."""
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[Any]] = set()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Take no more; those that are taken stay."""
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Return when every connection that was taken is in the hands of its protocol."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client has gone
        except OSError as error:
            log.error("a connection could not be taken: %s", error.strerror)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
