"""Requests as bytes that are made once and sent often, each time with an id of its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import orjson

from tests.faults.known import Wish

ID_LENGTH = 12
_ID = b"@" * ID_LENGTH  # stands where the id goes
_BOUNDARY = b"trunkline-faults"
ID_TEXT = _ID.decode()  # in a text, so that no two requests have the same one

Template = tuple[bytes, ...]  # a request, cut where its id goes


def fill(template: Template, request_id: bytes) -> bytes:
    """The request with its id in it."""
    return request_id.join(template)


def get(path: str) -> Template:
    return _template(b"GET %b HTTP/1.1\r\nHost: x\r\nX-Request-Id: %b\r\n\r\n" % (path.encode(), _ID))


def post(body: bytes, media_type: str) -> Template:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Id: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return _template(head % (_ID, media_type.encode(), len(body)) + body)


def multipart(parts: Mapping[str, bytes | str], wish: Wish | None = None) -> Template:
    """The parts, and the options of a wish, as a form. Bytes are a file."""
    body = b""
    for name, value in {**parts, **_options(wish)}.items():
        file = b'; filename="photo"' if isinstance(value, bytes) else b""
        data = value if isinstance(value, bytes) else value.encode()
        disposition = b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n'
        body += disposition % (_BOUNDARY, name.encode(), file) + data + b"\r\n"
    return post(body + b"--%b--\r\n" % _BOUNDARY, f"multipart/form-data; boundary={_BOUNDARY.decode()}")


def json(parts: Mapping[str, bytes | str], wish: Wish | None = None) -> Template:
    """The same as JSON. Bytes are base64."""
    members = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in {**parts, **_options(wish)}.items()
    }
    return post(orjson.dumps(members), "application/json")


def _options(wish: Wish | None) -> dict[str, str]:
    options = {}
    if wish is not None:
        if wish.tasks:
            options["tasks"] = ",".join(wish.tasks)
        if wish.top_k != Wish.top_k:
            options["top_k"] = str(wish.top_k)
        if wish.explain:
            options["explain"] = "true"
    return options


def _template(request: bytes) -> Template:
    return tuple(request.split(_ID))
