"""Requests are forms that any server reads; responses are read however they are cut into pieces."""

from __future__ import annotations

import asyncio
from io import BytesIO

import pytest
from PIL import Image

from app.api.body import PartLimits, read_multipart
from benchmarks.http_client import Reader, Requests
from benchmarks.uploads import Upload

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n'


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 8), (200, 30, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_request_holds_the_picture_and_the_title_and_its_picture_still_decodes() -> None:
    requests = Requests([Upload(jpeg(), "Größe 38, red")], "127.0.0.1", 80)
    bodies = []
    for _ in range(2):
        upload, pieces = requests.next()
        head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
        headers = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
        assert upload == 0
        assert int(headers[b"Content-Length"]) == len(body)

        async def stream(body: bytes = body):
            yield body

        limits = PartLimits({"image": 1 << 20, "text": 1 << 20})
        parts = asyncio.run(read_multipart(stream(), headers[b"Content-Type"].decode(), limits, lambda size: None))
        assert [part.name for part in parts] == ["image", "text"]
        assert parts[1].data.decode() == "Größe 38, red"
        bodies.append(bytes(parts[0].data))
    assert bodies[0] != bodies[1]
    pixels = [Image.open(BytesIO(body)).convert("RGB").tobytes() for body in (jpeg(), *bodies)]
    assert pixels[0] == pixels[1] == pixels[2]


def test_what_is_no_jpeg_is_refused() -> None:
    with pytest.raises(ValueError, match="JPEG"):
        Requests([Upload(b"GIF89a", "title")], "127.0.0.1", 80)


@pytest.mark.parametrize(
    ("raw", "status", "body", "keep_alive"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}', 200, b'{"a":1}', True),
        (b"HTTP/1.1 429 Full\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n", 429, b"", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", True),
        (CHUNKED, 200, b'{"a":1}', True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
    ],
)
def test_a_response_is_whole_with_its_last_byte_wherever_it_is_cut(
    raw: bytes, status: int, body: bytes, keep_alive: bool
) -> None:
    for cut in range(1, len(raw)):
        reader = Reader()
        assert not reader.feed(raw[:cut])
        assert reader.feed(raw[cut:])
        assert (reader.status, reader.body, reader.keep_alive) == (status, body, keep_alive)


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    reader = Reader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\n{}")
    assert reader.ended()
    assert (reader.body, reader.keep_alive) == (b"{}", False)
    reader.reset()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}")
    assert not reader.ended()


def test_what_is_not_http_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a response"):
        Reader().feed(b"220 mail\r\n\r\n")
