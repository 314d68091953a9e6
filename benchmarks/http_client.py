"""HTTP/1.1 from the client's side at the least cost a request: prebuilt bytes out, a small reader of responses in."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.uploads import Upload

_BOUNDARY = b"trunkline-benchmark"
_SEND_BUFFER = 512 << 10  # a whole upload, so that most are handed to the kernel in one call


class Requests:
    """Endless different multipart requests from a set of uploads, without copying a picture.

    Each picture gets a JPEG comment with a number of its own, so no two bodies are the same bytes and a server that
    keeps answers has none to repeat.
    """

    def __init__(self, uploads: Sequence[Upload], host: str, port: int, path: str = "/predict") -> None:
        self._run = os.urandom(4).hex().encode()
        self._number = 0
        self._parts = [_split(upload, f"{host}:{port}".encode(), path.encode()) for upload in uploads]

    def next(self) -> tuple[int, tuple[bytes, bytes, bytes]]:
        """The upload's index and the request's bytes in three pieces."""
        index = self._number % len(self._parts)
        head, tail = self._parts[index]
        self._number += 1
        return index, (head, b"%b%08x" % (self._run, self._number), tail)


def _split(upload: Upload, host: bytes, path: bytes) -> tuple[bytes, bytes]:
    """The request's bytes before and behind the number in the picture's comment, which has 16 characters."""
    if upload.image[:2] != b"\xff\xd8":
        raise ValueError("an upload is not a JPEG file")
    opening = (
        b'--%b\r\nContent-Disposition: form-data; name="image"; filename="upload.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n\xff\xd8\xff\xfe\x00\x12" % _BOUNDARY
    )
    closing = b'%b\r\n--%b\r\nContent-Disposition: form-data; name="text"\r\n\r\n%b\r\n--%b--\r\n' % (
        upload.image[2:], _BOUNDARY, upload.title.encode(), _BOUNDARY,
    )  # fmt: skip
    head = (
        b"POST %b HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\nContent-Length: %d\r\n\r\n"
        % (path, host, _BOUNDARY, len(opening) + 16 + len(closing))
    )
    return head + opening, closing


class Reader:
    """Reads one response at a time; `feed` tells when it is whole."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Expect the next response."""
        self.status = 0
        self.keep_alive = True
        self._buffer = b""
        self._start = 0  # of the body, 0 while the head is not whole
        self._length: int | None = None  # of the body; None: in chunks, or until the connection closes
        self._chunked = False

    @property
    def body(self) -> bytes:
        """The body of a whole response that did not come in chunks."""
        return self._buffer[self._start :]

    def feed(self, data: bytes) -> bool:
        """Take bytes; True when the response is whole. Raises ValueError on what is not HTTP/1.1."""
        self._buffer = self._buffer + data if self._buffer else data
        while not self._start:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._read_head(self._buffer[:end])
            if self.status >= 200:
                self._start = end + 4
            else:  # an interim answer, such as 100
                self._buffer = self._buffer[end + 4 :]
        if self._length is not None:
            return len(self._buffer) - self._start >= self._length
        return self._chunked and self._join_chunks()

    def ended(self) -> bool:
        """Whether the response is whole now that the connection is closed."""
        return bool(self._start) and self._length is None and not self._chunked

    def _read_head(self, head: bytes) -> None:
        first, _, lines = head.partition(b"\r\n")
        if not first.startswith(b"HTTP/1."):
            raise ValueError(f"not a response: {first[:40]!r}")
        self.status = int(first[9:12])
        headers = {}
        for line in lines.lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            headers[name] = value.strip()
        self.keep_alive = headers.get(b"connection", b"close" if first[7:8] == b"0" else b"") != b"close"
        self._chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
        if self.status in (204, 304):
            self._length = 0
        elif not self._chunked and b"content-length" in headers:
            self._length = int(headers[b"content-length"])
        if self._length is None and not self._chunked:
            self.keep_alive = False

    def _join_chunks(self) -> bool:
        at, pieces = self._start, []
        while (line := self._buffer.find(b"\r\n", at)) >= 0:
            size = int(self._buffer[at:line].partition(b";")[0], 16)
            if size == 0:
                if self._buffer.find(b"\r\n\r\n", line) < 0:
                    return False
                self._buffer = self._buffer[: self._start] + b"".join(pieces)
                return True
            at = line + 2 + size + 2
            if at > len(self._buffer):
                return False
            pieces.append(self._buffer[line + 2 : at - 2])
        return False


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at a time.

    `on_end(connection, status, body)` hears how each request ended; status 0 means without a whole response. When it is
    called, `usable` tells whether the connection takes another request.
    """

    def __init__(self, on_end: Callable[[Connection, int, bytes], None]) -> None:
        self.usable = False
        self.busy = False
        self.begun = self.sent = 0.0  # when the request was to be sent and when it was, on the monotonic clock
        self.upload = 0
        self._on_end = on_end
        self._reader = Reader()
        self._transport: Any = None  # uvloop's transports are no subclasses of asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = transport
        self.usable = True
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def send(self, pieces: tuple[bytes, bytes, bytes], upload: int, begun: float) -> None:
        """Send a request that was to be sent at `begun`."""
        self.busy, self.upload, self.begun = True, upload, begun
        self.sent = time.monotonic()
        self._transport.writelines(pieces)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if not self.busy:  # nobody asked
            self.abort()
            return
        try:
            whole = self._reader.feed(data)
        except ValueError:
            self._end(0, b"")
            return
        if whole:
            self._end(self._reader.status, self._reader.body)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self.usable = False
        if self.busy:
            whole = error is None and self._reader.ended()
            self._end(self._reader.status if whole else 0, self._reader.body)

    def abort(self) -> None:
        """Close at once; a request under way ends with status 0."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _end(self, status: int, body: bytes) -> None:
        # A server may answer before it has the whole body. What is left of it would be read as the next request.
        if not status or not self._reader.keep_alive or self._transport.get_write_buffer_size():
            self.abort()
        self.busy = False
        self._reader.reset()
        self._on_end(self, status, body)
