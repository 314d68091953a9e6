"""A request's body, read as it arrives and cut off at its limits: multipart or JSON."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.api.json_body import parse
from app.api.problems import Malformed
from app.api.split import Part, plain_boundary, split
from app.errors import TooLarge

MAX_PARTS = 128
OPTION_BYTES = 64 << 10  # of one option
_OVERHEAD = 256 << 10  # boundaries, part headers and options of one body
LARGE_JSON = 1 << 20  # bytes of a JSON body that is worked on beside the event loop
_LONGEST_TYPE = 1024  # characters of a Content-Type; a boundary has 70 at most, and browsers' have some 40
_BREAK = re.compile(rb"[ \t\r\n]")
_WHOLE = 1 << 20  # a multipart body up to here may be held whole before it is parsed


@dataclass(frozen=True)
class PartLimits:
    """Largest number of bytes by part name, and of names that are not among them."""

    by_name: Mapping[str, int]
    other: int = OPTION_BYTES

    def of(self, name: str) -> int:
        """Bytes that part `name` may have."""
        return self.by_name.get(name, self.other)

    @cached_property
    def total(self) -> int:
        """Bytes that a multipart body may have."""
        return sum(self.by_name.values()) + _OVERHEAD

    @cached_property
    def total_json(self) -> int:
        """Bytes that a JSON body may have: base64 needs four characters for three bytes."""
        return self.total * 4 // 3 + 4


def shown(name: str) -> str:
    """A name that a client made up, fit to be told back: quoted and short."""
    return repr(name if len(name) <= 64 else name[:64] + "…")


async def read_multipart(
    stream: AsyncIterator[bytes],
    content_type: str,
    limits: PartLimits,
    on_size: Callable[[int], None],
    announced: int | None = None,
) -> list[Part]:
    """Every part of a multipart body in order; `on_size` hears how many bytes have come so far.

    `announced`: the size that the body was said to have, None where nobody said. Raises Malformed, or TooLarge as soon
    as a limit is passed.
    """
    bounded = _bounded(stream, limits.total, on_size)
    boundary = plain_boundary(content_type)
    if boundary is None or announced is None or announced > _WHOLE:
        collector = _Collector(content_type, limits)
        async for chunk in bounded:
            collector.feed(chunk)
        return collector.finish()
    body = b"".join([chunk async for chunk in bounded])
    parts = split(body, boundary, limits.by_name, limits.other, MAX_PARTS)
    if parts is None:
        collector = _Collector(content_type, limits)
        collector.feed(body)
        return collector.finish()
    return parts


async def _bounded(stream: AsyncIterator[bytes], total: int, on_size: Callable[[int], None]) -> AsyncIterator[bytes]:
    """The stream's chunks, each counted before it is passed on. Raises TooLarge with the first one past `total`."""
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > total:
            raise TooLarge(f"The body is larger than the {total} bytes that are taken.")
        on_size(size)
        yield chunk


class _Collector:
    """Callbacks of the multipart parser: puts parts together and minds their limits."""

    def __init__(self, content_type: str, limits: PartLimits) -> None:
        if len(content_type) > _LONGEST_TYPE:
            raise Malformed("The Content-Type is too long, or its boundary is; let the HTTP client set it.")
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise Malformed("The Content-Type of a multipart body needs a boundary; let the HTTP client set it.")
        self._limits = limits
        self._delimiter = b"\r\n--" + boundary
        self._delimiters = 0
        self._parts: list[Part] = []
        self._ended = False
        self._begin()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._all,
                },
            )
        except FormParserError as error:
            raise Malformed(f"The boundary of the multipart body cannot be used: {error}.") from None

    def feed(self, chunk: bytes) -> None:
        # A delimiter that ends no part is data to the parser, but costs it as much as a part does.
        self._delimiters += chunk.count(self._delimiter)
        if self._delimiters > 2 * MAX_PARTS:
            raise _too_many_parts()
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise Malformed(f"The multipart body cannot be parsed: {error}.") from None

    def finish(self) -> list[Part]:
        if not self._ended:
            raise Malformed("The multipart body ends before its closing boundary.")
        return self._parts

    def _begin(self) -> None:
        if len(self._parts) == MAX_PARTS:
            raise _too_many_parts()
        self._headers: dict[bytes, bytes] = {}
        self._field = b""
        self._value = b""
        self._chunks: list[bytes] = []
        self._size = 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise Malformed('Each part needs the header Content-Disposition: form-data; name="...".')
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise Malformed("A part's Content-Transfer-Encoding must be binary, 8bit or 7bit.")
        self._name = options[b"name"].decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._filename = None if filename is None else filename.decode("utf-8", "replace")
        self._limit = self._limits.of(self._name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._limit:
            raise TooLarge(f"Part {shown(self._name)} is larger than the {self._limit} bytes that are taken.")
        self._chunks.append(data[start:end])

    def _end(self) -> None:
        self._parts.append(Part(self._name, self._filename, b"".join(self._chunks)))
        self._chunks = []  # not twice, however long the rest of the body takes

    def _all(self) -> None:
        self._ended = True


def _too_many_parts() -> TooLarge:
    return TooLarge(f"The body has more than {MAX_PARTS} parts; send one for each input and option.")


async def read_json(stream: AsyncIterator[bytes], limits: PartLimits, on_size: Callable[[int], None]) -> dict[str, Any]:
    """The object that a JSON body holds. Raises Malformed, or TooLarge as soon as the limit is passed."""
    body = b"".join([chunk async for chunk in _bounded(stream, limits.total_json, on_size)])
    return await asyncio.to_thread(parse, body) if len(body) >= LARGE_JSON else parse(body)


def from_base64(value: str) -> bytes | None:
    """The bytes behind base64, line breaks and a `data:` prefix allowed; None when it is not base64."""
    if value.startswith("data:"):
        head, separator, value = value.partition(",")
        if not separator or not head.endswith(";base64"):
            return None
    try:
        data = value.encode("ascii")
        if _BREAK.search(data):
            data = data.translate(None, b" \t\r\n")
        return base64.b64decode(data, validate=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are such
        return None
