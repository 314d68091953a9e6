"""The messages between a worker and the engine: a length, a kind, and fields of fixed places.

Both ends are of one release and run on one machine, so the fields are the processor's own. Deadlines are values of
the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app import errors
from app.errors import ServiceError
from app.serving.splitting import Row

VERSION = 3
_LARGEST = 1 << 24  # bytes of a message; the largest real one, an answer, is far below it
_HEAD = struct.Struct("=IB")
_REQUEST = struct.Struct("=QHIdh??H")
_ANSWER = struct.Struct("=QddII")
_ERROR = struct.Struct("=Qd")
_ID = struct.Struct("=Q")
_NO_RETRY = math.nan
_ERRORS: dict[str, type[ServiceError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)
}


class ProtocolError(Exception):
    """The other end sent what no release of this one sends."""


class Kind(IntEnum):
    """What a message is."""

    HELLO = 1  # worker: how many slots of what size, and the bundles that it knows; the memory comes with it
    WELCOME = 2  # engine: the bundles that it runs, and on what
    REFUSED = 3  # engine: why the two cannot work together; the connection ends
    REQUEST = 4  # worker
    CANCEL = 5  # worker: nobody waits for this one any more
    ANSWER = 6  # engine; a request gets one of these three, and its slot is read no more
    ERROR = 7
    CANCELLED = 8


@dataclass(frozen=True)
class Request:
    """One prepared item to run."""

    id: int
    bundle: int  # its place in the engine's WELCOME
    slot: int
    deadline: float
    priority: int
    alone: bool  # nothing else is to run with it
    lengths: tuple[int, ...]  # of each modality, see `slots.write_item`
    tasks: tuple[int, ...]  # their places in the bundle; empty for all
    explained: bool = False  # with the answers to the coalitions of its modalities


@dataclass(frozen=True)
class Answer:
    """One request's outputs."""

    id: int
    queued: float  # seconds
    ran: float  # seconds
    batch_size: int
    waiting: int  # requests that wait for the engine now, from all workers
    values: NDArray[np.float32]  # outputs of the asked tasks in the order asked for, then alpha; see `outputs`


def pack(kind: Kind, payload: bytes) -> bytes:
    """A message."""
    return _HEAD.pack(len(payload), kind) + payload


def pack_document(kind: Kind, document: Any) -> bytes:
    """A message of JSON, for what is said once a connection."""
    return pack(kind, orjson.dumps(document))


def pack_id(kind: Kind, id: int) -> bytes:
    """CANCEL or CANCELLED."""
    return pack(kind, _ID.pack(id))


def pack_request(request: Request) -> bytes:
    """REQUEST."""
    head = _REQUEST.pack(
        request.id, request.bundle, request.slot, request.deadline, request.priority, request.alone,
        request.explained, len(request.lengths),
    )  # fmt: skip
    numbers = (*request.lengths, *request.tasks)
    return pack(Kind.REQUEST, head + struct.pack(f"={len(numbers)}H", *numbers))


def pack_answer(answer: Answer) -> bytes:
    """ANSWER."""
    head = _ANSWER.pack(answer.id, answer.queued, answer.ran, answer.batch_size, answer.waiting)
    return pack(Kind.ANSWER, head + answer.values.tobytes())


def pack_error(id: int, error: ServiceError) -> bytes:
    """ERROR."""
    retry_after = _NO_RETRY if error.retry_after is None else error.retry_after
    return pack(Kind.ERROR, _ERROR.pack(id, retry_after) + f"{error.code}\n{error.detail}".encode())


def unpack_document(payload: bytes) -> dict[str, Any]:
    """HELLO, WELCOME or REFUSED. Raises ProtocolError."""
    try:
        document = orjson.loads(payload)
    except ValueError as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ProtocolError("the other process is of another release")
    return document


def unpack_id(payload: bytes) -> int:
    """CANCEL or CANCELLED. Raises ProtocolError."""
    try:
        id: int = _ID.unpack(payload)[0]
    except struct.error as error:
        raise ProtocolError("a broken id") from error
    return id


def unpack_request(payload: bytes) -> Request:
    """REQUEST. Raises ProtocolError."""
    try:
        id, bundle, slot, deadline, priority, alone, explained, modalities = _REQUEST.unpack_from(payload)
        numbers = struct.unpack(f"={(len(payload) - _REQUEST.size) // 2}H", payload[_REQUEST.size :])
    except struct.error as error:
        raise ProtocolError("a broken request") from error
    return Request(id, bundle, slot, deadline, priority, alone, numbers[:modalities], numbers[modalities:], explained)


def unpack_answer(payload: bytes) -> Answer:
    """ANSWER; its values are a view of the payload. Raises ProtocolError."""
    try:
        id, queued, ran, batch_size, waiting = _ANSWER.unpack_from(payload)
        values = np.frombuffer(payload, np.float32, offset=_ANSWER.size)
    except (struct.error, ValueError) as error:
        raise ProtocolError("a broken answer") from error
    return Answer(id, queued, ran, batch_size, waiting, values)


def unpack_error(payload: bytes) -> tuple[int, ServiceError]:
    """ERROR. Raises ProtocolError."""
    try:
        id, retry_after = _ERROR.unpack_from(payload)
        code, _, detail = payload[_ERROR.size :].decode().partition("\n")
        kind = _ERRORS[code]
    except (struct.error, UnicodeDecodeError, KeyError) as error:
        raise ProtocolError("a broken error") from error
    return id, kind(detail, retry_after=None if math.isnan(retry_after) else retry_after)


class Splitter:
    """Bytes as they come become messages."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The messages that `data` completes. Raises ProtocolError for an unknown kind or an impossible length."""
        data = self._rest + data if self._rest else data
        start = 0
        while len(data) - start >= _HEAD.size:
            length, number = _HEAD.unpack_from(data, start)
            if length > _LARGEST or number not in Kind._value2member_map_:
                raise ProtocolError("a broken message")
            begin = start + _HEAD.size
            if len(data) - begin < length:
                break
            start = begin + length
            yield Kind(number), data[begin:start]
        self._rest = data[start:]


class Outbox:
    """Messages of one turn of the event loop leave in one write."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        """Write to `transport`."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._messages: list[bytes] = []

    def send(self, message: bytes) -> None:
        """Send a message once the loop has done what is ready now."""
        if not self._messages:
            self._loop.call_soon(self._flush)
        self._messages.append(message)

    def _flush(self) -> None:
        messages, self._messages = self._messages, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(messages))


def outputs(tasks: Sequence[str], row: Row) -> Any:
    """`Answer.values` of one item's outputs.

    Behind the answers alpha, distances if there are any, and, coalition by coalition, the answers to the coalitions.
    """
    rest = [row.alpha] if row.distance is None else [row.alpha, row.distance]
    if row.coalitions:
        rest.append(np.concatenate([row.coalitions[task] for task in tasks], axis=1).ravel())
    return np.concatenate([*(row.probabilities[task].ravel() for task in tasks), *rest])
