"""Forms and JSON documents put together by hypothesis, over a real socket: each is answered, or refused as promised."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.processes.service import Service
from tests.hostile import pictures
from tests.hostile.test_corpus import address, explained
from tests.hostile.wire import JSON, ask, chunked, part, post, text

SHORT, FULL = 60, 600  # examples; seconds
EXPECTED = {200, 400, 404, 413, 415, 422}

names = st.sampled_from(["image", "text", "tasks", "top_k", "coverage", "explain", "model"]) | st.text(max_size=20)
texts = st.text(st.characters(codec=None), max_size=60)
files = st.sampled_from([pictures.good(kind) for kind in pictures.KINDS]) | st.binary(max_size=200)
options = st.sampled_from(["3", "0.9", "true", "colour", "colour,year", "tiny", "", " ", "-1", "1e999", "101", "nope"])
data = files | texts.map(lambda value: value.encode("utf-8", "surrogatepass")) | options.map(str.encode)
headers = st.sampled_from(
    ["", '; filename="x"', "; filename=x", '; filename*=utf-8\'\'x', "\r\nContent-Type: text/plain", "\r\nContent-Type",
     "\r\nContent-Transfer-Encoding: base64", '; name="image"', '\r\ncontent-disposition: form-data; name="text"']
)  # fmt: skip
between = st.sampled_from([b"", b"\r\n", b"--b", b"--b\r\n", b"--bb\r\n", b"--b--\r\n", b" \t", b"\0", b"\n"])
ends = st.sampled_from([b"--b--\r\n", b"--b--", b"", b"--b", b"--b\r\n", b"--b--\r\nepilogue", b"--b-\r\n"])
forms = st.tuples(between, st.lists(st.tuples(names, data, headers, between), max_size=5), ends)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | options
encoded = files.map(lambda value: base64.b64encode(value).decode())
values = st.recursive(
    scalars | encoded, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3)
)
members = st.lists(st.tuples(names | texts, values), max_size=6)


def written(parts: tuple[bytes, list[tuple[str, bytes, str, bytes]], bytes]) -> bytes:
    before, middle, end = parts
    pieces = []
    for name, value, more, behind in middle:
        head = part("", b"", more).replace(b'""', b'"%s"' % name.encode("utf-8", "replace"), 1)
        pieces.append(head[:-2] + value + b"\r\n" + behind)
    return b"".join([before, *pieces, end])


def dumped(pairs: list[tuple[str, object]], spoil: bytes) -> bytes:
    """An object whose members may be there twice, with lone surrogates and NaN as Python writes them."""
    return b"{" + b",".join(f"{json.dumps(name)}:{json.dumps(value)}".encode() for name, value in pairs) + b"}" + spoil


@pytest.mark.parametrize("way", ["form", "form in chunks", "JSON"])
@pytest.mark.parametrize("length", ["example", pytest.param("full", marks=pytest.mark.slow)])
def test_anything_put_together_is_answered_or_refused_as_promised(
    service: Service, way: str, length: str, full_length: bool, record_property: Callable[[str, object], None]
) -> None:
    count = 0

    def judge(request: bytes) -> None:
        nonlocal count
        count += 1
        answer = ask(address(service), request)
        assert answer.status in EXPECTED, answer.body
        if answer.status != 200:
            assert explained(answer)

    common = settings(
        max_examples=SHORT,
        deadline=None,
        database=None,
        derandomize=length == "example",
        suppress_health_check=list(HealthCheck),
    )

    @common
    @given(forms, st.integers(1, 400))
    def send_form(parts: tuple[bytes, list[tuple[str, bytes, str, bytes]], bytes], size: int) -> None:
        body = written(parts)
        judge(chunked(body, size=size) if way == "form in chunks" else post(body))

    @common
    @given(members, st.sampled_from([b"", b" ", b",", b"}", b"\0", b"{}"]))
    def send_json(pairs: list[tuple[str, object]], spoil: bytes) -> None:
        judge(post(dumped(pairs, spoil), JSON))

    run = send_json if way == "JSON" else send_form
    ends_at = time.monotonic() + (FULL / 3 if full_length and length == "full" else 0)
    run()
    while time.monotonic() < ends_at:
        run()
    assert ask(address(service), text("red shirt")).status == 200
    record_property("requests", count)
