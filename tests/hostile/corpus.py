"""Every hostile request that is known, and how it must end: with a status of the design's list, told as a problem.

What can be made is made here and in `pictures`; what fuzzers found lies in the folder `corpus`, one file a finding, and
is sent in every way that a file of such a name can be sent.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.hostile import pictures
from tests.hostile.wire import FORM, chunked, document, form, get, part, picture, post, text

FOLDER = Path(__file__).parent / "corpus"
# Where bits were turned over, what is left may be a good picture, a broken one, a huge one or none at all.
ANY_PICTURE = (200, 413, 415, 422)
RED = part("text", b"red shirt")
MARKS = "\u0301\u0316\u0344\u0f73\u0f71\uff9e"


@dataclass(frozen=True)
class Case:
    """One request. `make` gives its bytes; `half`: the client then says that it will send no more."""

    make: Callable[[], bytes]
    statuses: tuple[int, ...]
    says: str = ""  # words that the detail of a refusal has
    half: bool = False


def cases() -> dict[str, Case]:
    """Each by its name."""
    found: dict[str, Case] = {}
    for group in (_files, _forms, _documents, _texts, _connections, _findings):
        for name, case in group():
            assert name not in found
            found[name] = case
    return found


def _files() -> Iterator[tuple[str, Case]]:
    from tests.app.intake.test_image import bombs  # here, for pytest is to collect its tests only there

    def each(files: Mapping[str, bytes], statuses: tuple[int, ...], says: str) -> Iterator[tuple[str, Case]]:
        for name, data in files.items():
            yield name, Case(lambda data=data: picture(data), statuses, says)

    yield from each({f"{name} of 65000 × 65000": data for name, data in bombs().items()}, (413,), "scale it down")
    yield from each(pictures.announced(), (413, 422), "image")
    yield from each(pictures.floods(), (422,), "save")
    yield from each(pictures.unpacking(), (200, 413, 422), "image")
    yield from each(pictures.other_formats(), (415,), "send JPEG, PNG, WebP, GIF or BMP")
    yield from each(pictures.polyglots(), (200,), "")
    yield from each(pictures.pretenders(), (422,), "cut off")
    for kind in pictures.KINDS:
        yield from each(dict(pictures.cut(kind)), (422,), "cut off")
        yield from each(dict(pictures.flipped(kind)), ANY_PICTURE, "image")
    yield "URL as picture", Case(lambda: picture(b"http://127.0.0.1:9/x.png"), (422,), "send the picture itself")
    yield "file URL as picture", Case(lambda: picture(b"file:///etc/passwd"), (422,), "send the picture itself")
    yield "path as picture", Case(lambda: picture(b"/etc/passwd"), (415,), "send JPEG")
    yield "picture of 21 MB", Case(lambda: picture(bytes(21 << 20)), (413,), "'image' is larger")


def _forms() -> Iterator[tuple[str, Case]]:
    nested = b"--c\r\nContent-Disposition: form-data; name=x\r\n\r\n"
    inner = b'Content-Disposition: form-data; name="text"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n'
    yield "form without boundary", Case(lambda: post(form(RED), "multipart/form-data"), (400,), "boundary")
    yield "form with an empty boundary", Case(lambda: post(form(RED), FORM[:-1]), (400,), "boundary")
    yield "boundary of 60 KB", Case(lambda: post(form(RED), FORM + "b" * 60_000), (400,), "boundary")
    yield "content type of 60 KB", Case(lambda: post(form(RED), FORM + ';a="' * 15_000), (400,), "Content-Type")
    yield "boundary that never comes", Case(lambda: post(b"x" * 100_000), (400,), "parsed")
    yield "form without an end", Case(lambda: post(RED), (400,), "closing boundary")
    yield "1000 parts", Case(lambda: post(form(*[part("tasks", b"year")] * 1000)), (413,), "one for each input")
    yield "100000 parts", Case(lambda: post(form(*[part("tasks", b"")] * 100_000)), (413,), "one for each input")
    yield "1000 parts of other names", Case(lambda: post(form(*[part("x", b"")] * 1000)), (413,), "one for each input")
    yield (
        "delimiters that end no part",
        Case(
            lambda: post(part("image", b"\r\n--bX" * 1_000_000, '; filename="x"') + form()),
            (413,),
            "one for each input",
        ),
    )
    yield "form in forms", Case(lambda: post(b"--b\r\n" + inner + nested * 1000 + b"\r\n--b--\r\n"), (200, 400, 413))
    yield (
        "part with 1000 headers",
        Case(lambda: post(b"--b\r\n" + b"a: b\r\n" * 1000 + b"\r\n"), (400,), "header count"),
    )
    yield "part with a header of 1 MB", Case(lambda: post(b"--b\r\na: " + b"b" * 1_000_000), (400,), "header size")
    yield "part without a name", Case(lambda: post(b"--b\r\na: b\r\n\r\nred\r\n--b--\r\n"), (400,), "name=")
    yield "name with NUL", Case(lambda: post(form(RED, part("te\0xt", b"x"))), (422,), "the inputs are")
    yield "name with control characters", Case(lambda: post(form(part("a\x1b[2J\x07", b"x"))), (422,), "the inputs are")
    yield "name that turns text around", Case(lambda: post(form(part("\u202etxet", b"x"))), (422,), "the inputs are")
    yield "name that looks the same", Case(lambda: post(form(part("\u0442ext", b"x"))), (422,), "the inputs are")
    yield "name in another form", Case(lambda: post(form(part("te\u0301xt", b"x"))), (422,), "the inputs are")
    yield "name of 3 KB", Case(lambda: post(form(part("x" * 3000, b"x"))), (422,), "the inputs are")
    yield (
        "name not UTF-8",
        Case(
            lambda: post(b'--b\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\nx\r\n--b--\r\n'),
            (422,),
            "inputs",
        ),
    )
    yield (
        "file name with a path",
        Case(
            lambda: post(form(part("image", pictures.good("PNG"), '; filename="../../../../etc/passwd\0.png"'))), (200,)
        ),
    )
    yield "option of 100 KB", Case(lambda: post(form(RED, part("tasks", b"x" * 100_000))), (413,), "'tasks'")
    yield "10000 task names", Case(lambda: post(form(RED, part("tasks", b"x," * 10_000))), (422,), "the tasks are")
    yield "model as a path", Case(lambda: post(form(RED, part("model", b"../../etc"))), (404,), "the models are")
    yield "input twice", Case(lambda: post(form(RED, RED)), (400,), "one part a modality")
    yield "form in gzip", Case(lambda: post(form(RED), more="Content-Encoding: gzip\r\n"), (415,), "Content-Encoding")


def _documents() -> Iterator[tuple[str, Case]]:
    photo = base64.b64encode(pictures.good("JPEG")).decode()
    yield "JSON of open brackets", Case(lambda: document(b"[" * 1_000_000), (400,), "nested too deeply")
    yield "JSON of nested lists", Case(lambda: document(b"[" * 30_000 + b"]" * 30_000), (400,), "nested too deeply")
    yield "JSON of nested objects", Case(lambda: document(b'{"text":' * 3000 + b"1" + b"}" * 3000), (400,), "nested")
    yield "JSON of empty lists", Case(lambda: document(b"[" + b"[]," * 9_000_000 + b"0]"), (400,), "too many pieces")
    yield (
        "JSON of empty objects",
        Case(lambda: document(b'{"tasks":[' + b"{}," * 9_000_000 + b"0]}"), (400,), "too many pieces"),
    )
    yield (
        "JSON of empty strings",
        Case(lambda: document(b'{"tasks":[' + b'"",' * 9_000_000 + b"0]}"), (400,), "too many pieces"),
    )
    yield (
        "JSON of members",
        Case(lambda: document({str(number): 1 for number in range(100_000)}), (400,), "too many pieces"),
    )
    yield "JSON of escaped quotes", Case(lambda: document(b'{"text":"' + b'\\"' * 3_000_000 + b'"}'), (200,))
    yield "JSON with a member twice", Case(lambda: document(b'{"text":"red","text":"blue"}'), (400,), "twice")
    yield (
        "JSON with a member twice in disguise",
        Case(lambda: document(b'{"text":"red","te\\u0078t":"blue"}'), (400,), "twice"),
    )
    yield "JSON with NaN", Case(lambda: document(b'{"text":"red","coverage":NaN}'), (400,), "NaN")
    yield "JSON with -Infinity", Case(lambda: document(b'{"text":"red","coverage":-Infinity}'), (400,), "not JSON")
    yield "JSON with 1e999", Case(lambda: document(b'{"text":"red","coverage":1e999}'), (422,), "between 0 and 1")
    yield "JSON number of 50000 digits", Case(lambda: document(b'{"top_k":' + b"9" * 50_000 + b"}"), (400,), "digits")
    yield (
        "JSON number of 40 digits",
        Case(lambda: document(b'{"text":"red","top_k":' + b"9" * 40 + b"}"), (422,), "top_k"),
    )
    yield "JSON with a mark in front", Case(lambda: document(b"\xef\xbb\xbf{}"), (400,), "not JSON")
    yield "JSON in UTF-16", Case(lambda: document('{"text":"red"}'.encode("utf-16")), (400,), "UTF-8")
    yield "JSON with NUL", Case(lambda: document(b'{"text":"red"}\0'), (400,), "not JSON")
    yield "JSON cut off", Case(lambda: document(b'{"text":"red'), (400,), "not JSON")
    yield "JSON twice", Case(lambda: document(b'{"text":"red"}{"text":"red"}'), (400,), "not JSON")
    yield "JSON with lone surrogates", Case(lambda: document(b'{"text":"red \\ud800\\udfff\\udc00 shirt"}'), (200,))
    yield "JSON name with a lone surrogate", Case(lambda: document(b'{"te\\ud800xt":"red"}'), (422,), "the inputs are")
    yield (
        "JSON task with a lone surrogate",
        Case(lambda: document(b'{"text":"red","tasks":["\\udfff"]}'), (422,), "the tasks are"),
    )
    yield (
        "JSON model with a lone surrogate",
        Case(lambda: document(b'{"text":"red","model":"\\udfff"}'), (404,), "the models are"),
    )
    yield "JSON with __proto__", Case(lambda: document({"text": "red", "__proto__": {"a": 1}}), (422,), "inputs are")
    yield "JSON with an object for a text", Case(lambda: document({"text": {"$ref": "file:///"}}), (400,), "a string")
    yield "JSON of 40 MB", Case(lambda: document(b" " * (40 << 20)), (413,), "larger")
    yield "base64 of nothing", Case(lambda: document({"image": "===="}), (422,), "base64")
    yield "base64 with letters of another alphabet", Case(lambda: document({"image": photo + "é"}), (422,), "base64")
    yield "base64 for URLs", Case(lambda: document({"image": "_-" * 1000}), (422,), "base64")
    yield "base64 without its padding", Case(lambda: document({"image": "YWJjZA"}), (422,), "base64")
    yield "base64 in pieces", Case(lambda: document({"image": "YQ == " * 1_000_000}), (422,), "base64")
    yield (
        "base64 twice",
        Case(lambda: document({"image": base64.b64encode(photo.encode()).decode()}), (415,), "send JPEG"),
    )
    yield "data URL without base64", Case(lambda: document({"image": "data:image/svg+xml,<svg/>"}), (422,), "base64")
    yield (
        "data URL of SVG",
        Case(
            lambda: document({"image": "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()}),
            (415,),
            "JPEG",
        ),
    )
    yield (
        "URL in JSON",
        Case(lambda: document({"image": "http://127.0.0.1:9/x.png"}), (422,), "send the picture itself"),
    )


def _texts() -> Iterator[tuple[str, Case]]:
    yield "text of 10 MB", Case(lambda: text(b"red " * (10 << 18)), (413,), "'text' is larger")
    yield "text of 10 MB in JSON", Case(lambda: document({"text": "red " * (10 << 18)}), (413,), "'text' is larger")
    yield "text of 8 MB", Case(lambda: text(b"red " * (8 << 18)), (200,))
    yield "text of one word of 8 MB", Case(lambda: text(b"r" * (8 << 20)), (200,))
    yield "text of NUL", Case(lambda: text(b"\0" * 1000), (422,), "not empty")
    yield "text of control characters", Case(lambda: text(bytes(range(1, 32)) * 100), (422,), "not empty")
    yield "text of nothing to see", Case(lambda: text("\u200b\u200d\u2060\ufeff\u00ad" * 20_000), (422,), "not empty")
    yield "text of marks of direction", Case(lambda: text("\u202e\u2066\u200f" * 30_000), (422,), "not empty")
    yield "text that turns around", Case(lambda: text("\u202ered\u202c shirt \u05d0\u05d1"), (200,))
    yield "text of marks", Case(lambda: text("a" + "\u0301\u0316" * 500_000), (200,))
    yield "text of marks of all kinds", Case(lambda: text("a" + MARKS * 100_000), (200,))
    yield "text of letters that unfold", Case(lambda: text("\ufdfa" * 300_000), (200,))
    yield "text of joined families", Case(lambda: text("👩\u200d👩\u200d👧\u200d👦" * 30_000), (200,))
    yield "text of private and unassigned", Case(lambda: text("\ue000\U0010ffff\ufffe" * 10_000), (200,))
    yield "text not UTF-8", Case(lambda: text(b"red \xff shirt"), (400,), "not UTF-8")
    yield "text in overlong UTF-8", Case(lambda: text(b"\xc0\xaf\xe0\x80\xaf"), (400,), "not UTF-8")
    yield "text with surrogates in UTF-8", Case(lambda: text(b"\xed\xa0\x80"), (400,), "not UTF-8")
    yield "text in UTF-16", Case(lambda: text("red".encode("utf-16")), (400,), "not UTF-8")
    yield "text that names special tokens", Case(lambda: text("[PAD][CLS][UNK]" * 1000), (200,))


def _connections() -> Iterator[tuple[str, Case]]:
    good = form(RED)
    flood = b"a: b\r\n"
    yield "101 headers", Case(lambda: get(headers="a: b\r\n" * 100), (413,), "send fewer")
    yield "100000 headers", Case(lambda: get(headers="a: b\r\n" * 100_000), (413,), "send")
    yield "header of 100 KB", Case(lambda: get(headers=f"a: {'b' * 100_000}\r\n"), (413,), "send less")
    yield "header without an end", Case(lambda: get(headers=f"a: {'b' * 5_000_000}")[:-2], (413,), "send less")
    yield "target of 100 KB", Case(lambda: get("/" + "a" * 100_000), (413,), "send less")
    yield "query of 60 KB", Case(lambda: get("/nope?" + "a=b&" * 15_000), (404,), "GET /docs")
    yield "empty lines without end", Case(lambda: b"\r\n" * 100_000, (413,), "send less")
    yield "header with NUL", Case(lambda: get(headers="a: b\0c\r\n"), (400,), "HTTP client")
    yield "header without a name", Case(lambda: get(headers=": b\r\n"), (400,), "HTTP client")
    yield "header over two lines", Case(lambda: get(headers="a: b\r\n c\r\n"), (400,), "HTTP client")
    yield "lines that end in LF", Case(lambda: get().replace(b"\r\n", b"\n"), (400,), "HTTP client")
    yield "TLS", Case(lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), (400,), "HTTP client")
    yield "HTTP/2", Case(lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,), "HTTP client")
    yield "CONNECT", Case(lambda: b"CONNECT a:443 HTTP/1.1\r\nHost: x\r\n\r\n", (400,), "no path")
    yield "target with raw bytes", Case(lambda: b"GET /\xff\0 HTTP/1.1\r\nHost: x\r\n\r\n", (400,), "HTTP client")
    yield "target out of the folder", Case(lambda: get("/static/../../settings.py"), (404,), "GET /docs")
    yield "target out of the folder in disguise", Case(lambda: get("/static/%2e%2e/%2e%2e/settings.py"), (404,), "docs")
    yield "model with NUL", Case(lambda: get("/models/a%00b%ff"), (404,), "the models are")
    yield "half a head", Case(lambda: b"POST /predict HT", (400,), "complete", half=True)
    yield "more announced than sent", Case(lambda: post(good, length=5000), (400,), "complete", half=True)
    yield "less announced than sent", Case(lambda: post(good, length=20), (400,), "closing boundary")
    yield "nothing announced", Case(lambda: post(good, length=0), (400,), "closing boundary")
    yield "announced 100 GB", Case(lambda: post(b"", length=100 << 30), (413,), "at most")
    yield "announced too much for a number", Case(lambda: post(good, length=10**30), (400,), "HTTP client")
    yield "announced less than nothing", Case(lambda: post(good, length=-5), (400,), "HTTP client")
    yield "announced twice", Case(lambda: post(good, more="Content-Length: 5\r\n"), (400,), "HTTP client")
    yield "announced and in chunks", Case(lambda: post(good, more="Transfer-Encoding: chunked\r\n"), (400,), "client")
    yield "chunks of a byte", Case(lambda: chunked(good, size=1), (200,))
    yield "chunks without an end", Case(lambda: chunked(good, end=b""), (400,), "complete", half=True)
    yield "chunks of no size", Case(lambda: chunked(b"", end=b"zz\r\n\r\n"), (400,), "HTTP client")
    yield "chunk of 10 EB", Case(lambda: chunked(b"", end=b"fffffffffffffffff\r\n"), (400,), "HTTP client")
    yield "chunk with a huge extension", Case(lambda: chunked(b"", end=b"5;" + b"a" * 1_000_000), (413,), "send less")
    yield "trailers without end", Case(lambda: chunked(good, end=b"0\r\n" + flood * 100_000), (413,), "send less")
    yield "form without end", Case(lambda: chunked(part("image", bytes(40 << 20), '; filename="x"')), (413,), "larger")
    yield "empty lines in the place of a form", Case(lambda: chunked(b"\r\n" * (20 << 20)), (413,), "larger")
    yield "body of an unknown type", Case(lambda: post(good, "text/plain"), (415,), "multipart/form-data")
    yield "deadline that is no number", Case(lambda: post(good, more="X-Deadline-Ms: 1e9\r\n"), (422,), "whole number")


def _findings() -> Iterator[tuple[str, Case]]:
    """`corpus/<way>-<what>`: a picture, a form or a JSON body that once did harm."""
    ways: dict[str, tuple[Callable[[bytes], bytes], tuple[int, ...]]] = {
        "picture": (picture, ANY_PICTURE),
        "form": (post, (200, 400, 404, 413, 415, 422)),
        "json": (document, (200, 400, 404, 413, 415, 422)),
        "text": (text, (200, 400, 422)),
    }
    for path in sorted(FOLDER.glob("*-*")):
        send, statuses = ways[path.name.partition("-")[0]]
        yield path.name, Case(lambda send=send, path=path: send(path.read_bytes()), statuses)
