"""Requests as bytes on a socket: whatever a client could send, and what comes back."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import NamedTuple

PATIENCE = 60.0  # seconds after which a test that waits for an answer has failed
BOUNDARY = "b"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"


class Answer(NamedTuple):
    """The first response on a connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(address: tuple[str, int], request: bytes, half: bool = False) -> Answer:
    """Send a request; `half`: then say that nothing else will come. Raises OSError where there is no answer."""
    with socket.create_connection(address, PATIENCE) as connection:
        try:
            connection.sendall(request)
            if half:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused meanwhile; the answer may have come
        response = http.client.HTTPResponse(connection, method=request[:5].split(b" ")[0].decode("latin-1"))
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def post(body: bytes, content_type: str = FORM, *, length: int | None = None, more: str = "") -> bytes:
    """POST /predict. `length`: what Content-Length says, the truth when None. `more`: further headers."""
    return (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n{more}\r\n"
    ).encode("latin-1") + body


def chunked(body: bytes, content_type: str = FORM, *, size: int = 65536, end: bytes = b"0\r\n\r\n") -> bytes:
    """The same in chunks of `size` bytes."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return (
        (
            f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()
        + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        + end
    )


def get(path: str = "/health/live", headers: str = "") -> bytes:
    """GET, of a path that answers."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode("latin-1")


def part(name: str, data: bytes, more: str = "") -> bytes:
    """One part of a form."""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A form of such parts."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def picture(data: bytes) -> bytes:
    """A request with a picture."""
    return post(form(part("image", data, '; filename="picture"')))


def text(data: bytes | str) -> bytes:
    """A request with a text."""
    return post(form(part("text", data.encode() if isinstance(data, str) else data)))


def document(body: object) -> bytes:
    """A request in JSON; bytes go as they are."""
    return post(body if isinstance(body, bytes) else json.dumps(body).encode(), JSON)
