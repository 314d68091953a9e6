"""Messages come out as they went in, however the bytes are cut; what cannot be is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.serving.remote import wire
from app.serving.remote.wire import Answer, Kind, ProtocolError, Request, Splitter

ids = st.integers(0, 2**64 - 1)
shorts = st.lists(st.integers(0, 2**16 - 1), max_size=40).map(tuple)
times = st.floats(allow_nan=False)


@given(
    st.builds(
        Request,
        id=ids,
        bundle=st.integers(0, 2**16 - 1),
        slot=st.integers(0, 2**32 - 1),
        deadline=times,
        priority=st.integers(-(2**15), 2**15 - 1),
        alone=st.booleans(),
        lengths=shorts,
        tasks=shorts,
    )
)
def test_requests(request: Request) -> None:
    ((kind, payload),) = Splitter().feed(wire.pack_request(request))
    assert kind == Kind.REQUEST
    assert wire.unpack_request(payload) == request


@given(ids, times, times, st.lists(st.floats(width=32), max_size=50))
def test_answers_bit_for_bit(id: int, queued: float, ran: float, values: list[float]) -> None:
    sent = Answer(id, queued, ran, 32, 7, np.array(values, np.float32))
    ((kind, payload),) = Splitter().feed(wire.pack_answer(sent))
    found = wire.unpack_answer(payload)
    assert kind == Kind.ANSWER
    assert (found.id, found.queued, found.ran, found.batch_size, found.waiting) == (id, queued, ran, 32, 7)
    assert found.values.tobytes() == sent.values.tobytes()


@pytest.mark.parametrize("code", sorted(wire._ERRORS))
@pytest.mark.parametrize("retry_after", [None, 2.5])
def test_every_error_of_the_service(code: str, retry_after: float | None) -> None:
    sent = wire._ERRORS[code]("Größe × 2\nand more", retry_after=retry_after)
    ((kind, payload),) = Splitter().feed(wire.pack_error(9, sent))
    id, found = wire.unpack_error(payload)
    assert (kind, id) == (Kind.ERROR, 9)
    assert type(found) is type(sent)
    assert (found.detail, found.retry_after) == (sent.detail, sent.retry_after)


def test_no_error_is_forgotten() -> None:
    assert wire._ERRORS["queue-full"] is errors.QueueFull
    assert wire._ERRORS["engine-unavailable"] is errors.EngineUnavailable


@given(st.lists(st.binary(max_size=60), max_size=8), st.data())
def test_messages_survive_any_cut(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wire.pack(Kind.ANSWER, payload) for payload in payloads)
    splitter, found = Splitter(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:cut])
        stream = stream[cut:]
    assert found == [(Kind.ANSWER, payload) for payload in payloads]


@pytest.mark.parametrize("data", [b"\x01\0\0\0\xffx", b"\xff\xff\xff\xff\x01", b"\x01\0\0\0\0x"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Splitter().feed(data))


@given(st.binary(max_size=80))
def test_broken_payloads_are_refused_in_one_way(payload: bytes) -> None:
    unpackers = (wire.unpack_request, wire.unpack_answer, wire.unpack_error, wire.unpack_id, wire.unpack_document)
    for unpack in unpackers:
        try:
            unpack(payload)  # type: ignore[operator]
        except ProtocolError:
            pass


def test_another_release_is_told_apart() -> None:
    ((_, payload),) = Splitter().feed(wire.pack_document(Kind.HELLO, {"version": wire.VERSION + 1}))
    with pytest.raises(ProtocolError, match="release"):
        wire.unpack_document(payload)
    assert math.isnan(wire._NO_RETRY)
