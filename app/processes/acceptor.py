"""Connections from a listening socket that other processes hold as well."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


class Acceptor:
    """Takes connections until it is closed; the socket stays open, and what waits on it is the next process's.

    One a turn of the event loop: where two processes share a socket for a while, a busy one takes fewer.
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
