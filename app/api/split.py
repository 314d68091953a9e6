"""A multipart body of the plain shape that clients send, taken apart at once.

The full parser, `app.api.body`, calls back for every piece of every header, which for a small upload costs more than
copying it. A body is split here where it has nothing but what browsers, curl and HTTP libraries write; for any other,
however slightly it differs, the answer is None and the full parser decides. So this may be narrow, but never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_CONTENT_TYPE = re.compile(r"multipart/form-data; ?boundary=([0-9A-Za-z'()+_./:=?-]{1,70})")
_HEAD = re.compile(
    rb'Content-Disposition: form-data; name="([^\x00-\x1f\x7f"\\;%]+)"(?:; filename="([^\x00-\x1f\x7f"\\;%]*)")?\r\n'
    rb"(?:Content-Type: [\x20-\x7e]+\r\n)?\r\n",
    re.IGNORECASE,
)


class Part(NamedTuple):
    """One part of a multipart body. `filename` is None for a plain field."""

    name: str
    filename: str | None
    data: bytes


def plain_boundary(content_type: str) -> bytes | None:
    """The boundary, where the content type holds nothing besides."""
    found = _CONTENT_TYPE.fullmatch(content_type)
    return found[1].encode() if found else None


def split(body: bytes, boundary: bytes, sizes: Mapping[str, int], other: int, most: int) -> list[Part] | None:
    """The parts of a complete body in order, or None where the full parser has to look.

    `sizes`: bytes that a part of this name may have, `other` those of any other; `most`: the number of parts. A body
    beyond one of these gives None.
    """
    opening = b"--" + boundary
    delimiter = b"\r\n" + opening
    if not body.startswith(opening):
        return None
    parts: list[Part] = []
    at = len(opening)
    while body.startswith(b"\r\n", at):
        head = _HEAD.match(body, at + 2)
        if head is None or len(parts) == most:
            return None
        start = head.end()
        end = body.find(delimiter, start)
        name = head[1].decode("utf-8", "replace")
        if end < 0 or end - start > sizes.get(name, other):
            return None
        filename = head[2]
        parts.append(Part(name, None if filename is None else filename.decode("utf-8", "replace"), body[start:end]))
        at = end + len(delimiter)
    return parts if body[at:] in (b"--\r\n", b"--") else None
