"""A body that is split at once has the parts that the full parser finds in it, and the same faults."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.api.body import MAX_PARTS, PartLimits, read_multipart
from app.api.split import Part, plain_boundary, split
from app.errors import ServiceError

LIMITS = PartLimits({"image": 1000, "text": 100})
CONTENT_TYPE = "multipart/form-data; boundary=xYz"


def outcome(body: bytes, announced: int | None, content_type: str = CONTENT_TYPE) -> list[Part] | tuple[type, str]:
    """What comes of a body; without an announced size, the full parser reads it."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    reading = read_multipart(stream(), content_type, LIMITS, lambda size: None, announced)
    try:
        reading.send(None)  # it waits for nothing but the stream, so it needs no event loop
    except StopIteration as done:
        parts: list[Part] = done.value
        return parts
    except ServiceError as error:
        return type(error), error.detail
    raise AssertionError("a body that is there was waited for")


def split_alone(body: bytes) -> list[Part] | None:
    return split(body, b"xYz", LIMITS.by_name, LIMITS.other, MAX_PARTS)


def curl(name: str, data: bytes, filename: str | None = None) -> bytes:
    head = f'--xYz\r\nContent-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"\r\nContent-Type: image/jpeg'
    return head.encode() + b"\r\n\r\n" + data + b"\r\n"


def test_what_clients_write_is_split() -> None:
    body = curl("image", b"\xff\xd8\r\n--xY", "Schuh größe.jpg") + curl("text", b"") + b"--xYz--\r\n"
    assert split_alone(body) == [("image", "Schuh größe.jpg", b"\xff\xd8\r\n--xY"), ("text", None, b"")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        curl("text", b"red"),
        b"\r\n" + curl("text", b"red") + b"--xYz--",
        curl("text", b"red") + b"--xYz--\r\nmore",
        curl("text", b"red\r\n--xYz!") + b"--xYz--",
        curl("text", b"a" * 101) + b"--xYz--",
        curl("te\\xt", b"red") + b"--xYz--",
        curl("text", b"red").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + b"--xYz--",
        curl("tasks", b"year") * (MAX_PARTS + 1) + b"--xYz--",
    ],
)
def test_anything_else_is_left_to_the_full_parser(body: bytes) -> None:
    assert split_alone(body) is None
    assert outcome(body, len(body)) == outcome(body, None)


names = st.sampled_from(["image", "text", "tasks", "größe", 'qu"ote', "a;b", "a\\b", "%22", "\x01", ""])
pieces = st.one_of(
    st.builds(curl, names, st.binary(max_size=40) | st.just(b"a" * 101), st.none() | names),
    st.sampled_from([
        b"--xYz--\r\n", b"--xYz--", b"--xYz\r\n", b"\r\n", b"--", b"xYz", b"--xYz ", b"\r\n--xYz-", b": ",
        b"Content-Disposition: form-data; name=text\r\n\r\n", b"content-disposition: FORM-data; NAME=\"text\"\r\n\r\n",
        b'Content-Type: \x00\r\n\r\n', b'; filename="C:\\a.jpg"',
    ]),
    st.binary(max_size=4),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(body=st.lists(pieces, max_size=6).map(b"".join), closed=st.booleans(), flip=st.none() | st.integers(0, 400))
@example(body=curl("text", b"red").replace(b"Content", b"content").replace(b"form", b"FORM"), closed=True, flip=None)
def test_split_or_not_the_outcome_is_the_full_parsers(body: bytes, closed: bool, flip: int | None) -> None:
    body += b"--xYz--\r\n" if closed else b""
    if flip is not None and flip < len(body):
        body = body[:flip] + bytes([body[flip] ^ 0x20]) + body[flip + 1 :]
    assert outcome(body, len(body)) == outcome(body, None)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (CONTENT_TYPE, b"xYz"),
        ("multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxk", b"----WebKitFormBoundary7MA4YWxk"),
        ('multipart/form-data; boundary="xYz"', None),
        ("multipart/form-data; boundary=xYz; charset=utf-8", None),
        ("multipart/form-data; boundary=" + "b" * 71, None),
        ("multipart/form-data", None),
    ],
)
def test_plain_boundaries(content_type: str, boundary: bytes | None) -> None:
    assert plain_boundary(content_type) == boundary


@given(st.text(st.characters(codec="ascii"), max_size=75))
def test_a_plain_boundary_is_one_that_the_full_parser_reads(boundary: str) -> None:
    content_type = f"multipart/form-data; boundary={boundary}"
    found = plain_boundary(content_type)
    if found is not None:
        body = curl("text", b"red").replace(b"xYz", found) + b"--" + found + b"--\r\n"
        assert outcome(body, len(body), content_type) == outcome(body, None, content_type) == [("text", None, b"red")]
