"""Requests as bytes, for clients that send them in a way that no library would."""

from __future__ import annotations

import socket
from collections.abc import Iterator

BOUNDARY = b"b"
END = b"\r\n--b--\r\n"


def part(name: str, data: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + data


def body(text: str = "red shirt", image: bytes | None = None) -> bytes:
    """A multipart body."""
    parts = [part("text", text.encode())] + ([] if image is None else [part("image", image)])
    return b"\r\n".join(parts) + END


def head(length: int, *more: str) -> bytes:
    """The head of POST /predict for a multipart body of so many bytes."""
    lines = [
        "POST /predict HTTP/1.1", "Host: x", "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {length}", *more,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def request(text: str = "red shirt", image: bytes | None = None, *more: str) -> bytes:
    whole = body(text, image)
    return head(len(whole), *more) + whole


class Reply:
    """One response."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body = body

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


def read_reply(connection: socket.socket) -> Reply:
    """The next response, whole. Raises ConnectionError where it does not come or ends early."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection, "before the answer")
    start, _, rest = received.partition(b"\r\n\r\n")
    reply = Reply(start, rest)
    length = int(reply.headers["content-length"])
    while len(reply.body) < length:
        reply.body += _some(connection, "within the answer")
    return reply


def _some(connection: socket.socket, where: str) -> bytes:
    piece = connection.recv(1 << 16)
    if not piece:
        raise ConnectionResetError(f"the connection ended {where}")
    return piece


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
