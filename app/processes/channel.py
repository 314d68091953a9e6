"""The line between the supervisor and each of its processes: one JSON object a line, both ways."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import orjson

_LONGEST_LINE = 1 << 24  # bytes; the longest are the metrics of every process
Message = dict[str, Any]
LOST = 70  # exit code of a process that gave itself up because its engine was lost; EX_SOFTWARE


class Channel:
    """One end of the line. It closes when the process at the other end has ended, however it ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Made by `open`."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST_LINE))

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message; what is sent to a process that has ended is lost."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps({"kind": kind, **fields}) + b"\n")

    async def receive(self) -> Message | None:
        """The next message; None when the other end is closed."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return parse(line) if line.endswith(b"\n") else None

    async def finish(self) -> None:
        """Close this end once everything that was sent is on its way."""
        with suppress(ConnectionError):
            self._writer.close()
            await self._writer.wait_closed()

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


def parse(line: bytes) -> Message:
    """A line as the message that it is."""
    message: Message = orjson.loads(line)
    return message
