"""A small HTTP server that answers as a test wants, and uploads that cost nothing to make."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.uploads import Upload


@dataclass
class Asked:
    """One request as the server saw it."""

    title: str
    body: bytes
    connection: int


@dataclass
class TinyServer:
    """What a server heard. `port` is where it listens."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    under_way: int = 0
    most_under_way: int = 0


Answer = Callable[[Asked], Awaitable[bytes | None]]  # a whole response; None closes the connection


def response(status: int = 200, body: bytes = b"{}", headers: bytes = b"") -> bytes:
    """An HTTP response's bytes."""
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


def small_uploads(count: int) -> list[Upload]:
    """Uploads with the first bytes of a JPEG file and a title of their own."""
    return [Upload(b"\xff\xd8" + bytes([number]) * (50 + number), f"title {number}") for number in range(count)]


@contextmanager
def serving(answer: Answer, before_body: bytes | None = None) -> Iterator[TinyServer]:
    """Serve on loopback. `before_body` is sent when a request's head is there, and its body is not read."""
    server = TinyServer()
    loop = asyncio.new_event_loop()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        number = server.connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if before_body is not None:
                    writer.write(before_body)
                    await writer.drain()
                    await asyncio.sleep(0.05)  # the client sees the answer before the end of the connection
                    return
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                body = await reader.readexactly(length)
                asked = Asked(re.search(rb'name="text"\r\n\r\n(.*)\r\n--', body)[1].decode(), body, number)
                server.asked.append(asked)
                server.under_way += 1
                server.most_under_way = max(server.most_under_way, server.under_way)
                try:
                    reply = await answer(asked)
                finally:
                    server.under_way -= 1
                if reply is None:
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as listener:
            server.port = listener.sockets[0].getsockname()[1]
            listening.set()
            await stop.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert listening.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
