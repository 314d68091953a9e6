"""A body means the same however it is cut into chunks, and nothing gets past its limits."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.body import PartLimits, from_base64, read_json, read_multipart
from app.errors import ServiceError, TooLarge

LIMITS = PartLimits({"image": 1000, "text": 100})
BOUNDARY = "multipart/form-data; boundary=xYz"
names = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"\\\0'), min_size=1, max_size=20)


async def chunks(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        yield body[start:end]


def multipart(body: bytes, cuts: list[int], sizes: list[int] | None = None) -> list[tuple[str, str | None, bytes]]:
    heard = [] if sizes is None else sizes
    parts = asyncio.run(read_multipart(chunks(body, cuts), BOUNDARY, LIMITS, heard.append))
    return [(part.name, part.filename, part.data) for part in parts]


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(st.tuples(names, st.none() | names, st.binary(max_size=60)), max_size=5),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
)
def test_parts_come_out_as_they_went_in(parts: list[tuple[str, str | None, bytes]], cuts: list[int]) -> None:
    body = b""
    for name, filename, data in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        body += f'--xYz\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
    sizes: list[int] = []
    assert multipart(body + b"--xYz--\r\n", cuts, sizes) == parts
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(body) + 9


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4), open=st.booleans())
def test_any_other_body_is_refused_or_read(body: bytes, cuts: list[int], open: bool) -> None:
    if open:
        body = b'--xYz\r\nContent-Disposition: form-data; name="text"' + body
    try:
        multipart(body, cuts)
    except ServiceError:
        pass


def test_limits_hold_to_the_byte() -> None:
    def body(name: str, size: int) -> bytes:
        head = f'--xYz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        return head + bytes(size) + b"\r\n--xYz--\r\n"

    for name, limit in (("image", 1000), ("text", 100), ("tasks", 64 << 10)):
        assert len(multipart(body(name, limit), [500])[0][2]) == limit
        with pytest.raises(TooLarge, match=name):
            multipart(body(name, limit + 1), [500])


def test_nothing_is_read_beyond_the_limit() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    with pytest.raises(TooLarge):
        asyncio.run(read_json(endless(), LIMITS, lambda size: None))

    async def endless_form() -> AsyncIterator[bytes]:
        yield b"\r\n"
        while True:
            yield b"\r\n" * 500

    with pytest.raises(TooLarge):
        asyncio.run(read_multipart(endless_form(), BOUNDARY, LIMITS, lambda size: None))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(document=st.dictionaries(st.text(max_size=8), json_values, max_size=5), cuts=st.lists(st.integers(0, 999)))
def test_any_json_object_comes_out_as_it_went_in(document: dict[str, Any], cuts: list[int]) -> None:
    body = json.dumps(document).encode()
    assert asyncio.run(read_json(chunks(body, cuts), PartLimits({"image": 1 << 16}), lambda size: None)) == document


@given(st.binary(max_size=100))
def test_base64_both_ways(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert from_base64(text) == from_base64(f"data:image/png;base64,{text}") == data


@pytest.mark.parametrize("text", ["@", "YQ", "YQ==YQ==", "é", "data:,YQ==", "data:image/png;base64"])
def test_what_is_not_base64(text: str) -> None:
    assert from_base64(text) is None
