"""Of what surrounds a picture in its file, the one thing that matters: which way it was held.

Everything else is left out before anything reads it. An EXIF directory of a megabyte can name a gigabyte of values, and
a library that reads them all, to find one, takes the memory for it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from app.errors import UndecodableImage

MAX_SCANS = (
    32  # of a JPEG file: each costs a pass over the whole picture, however few bytes it has; encoders write 1 to 20
)
_MAX_SEGMENTS = 4096
_MAX_JUNK = 4096  # bytes between segments
_ORIENTATION = 0x0112
_VALUES = {1: "B", 3: "H", 4: "I"}  # TIFF types in which programs write it
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_EXIF = b"Exif\0\0"
_SOI, _SOS, _APP0, _APP1, _APP14, _APP15, _COM = 0xD8, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE


class Bare(NamedTuple):
    """A JPEG file with nothing but its picture, and the orientation that it had said, 1 where it had said nothing."""

    data: bytes
    orientation: int


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Which way a picture was held, 1 to 8, by its EXIF, or by XMP where that says nothing; 1 where none does."""
    found = _in_exif(exif.removeprefix(_EXIF).removeprefix(_EXIF))
    if found is None and (said := _IN_XMP.search(xmp)):
        found = int(said[1])
    return found if found is not None and 1 <= found <= 8 else 1


def orientation_in(info: Mapping[str | tuple[int, int], object]) -> int:
    """The same by what Pillow tells of a file that is not JPEG."""
    exif, profile = info.get("exif"), info.get("Raw profile type exif")
    if not isinstance(exif, bytes):
        exif = b""
        if isinstance(profile, str):  # as ImageMagick writes it: name, length, then hexadecimal digits
            try:
                exif = bytes.fromhex("".join(profile.split("\n")[3:]))
            except ValueError:
                pass
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    return orientation(exif, xmp if isinstance(xmp, bytes) else b"")


def bare(data: bytes, name: str) -> Bare:
    """A JPEG file without comments, thumbnails and the like; what tells colours apart stays.

    Raises UndecodableImage where the file in part `name` has too many segments or scans, or no scan.
    """
    kept = [data[:2]]
    exif = xmp = b""
    at, junk = 2, 0
    for _ in range(_MAX_SEGMENTS):
        found = data.find(b"\xff", at)
        if found < 0:
            raise UndecodableImage(f"Part {name!r} begins as JPEG but has no picture in it; it may be cut off.")
        start = found
        while data[start + 1 : start + 2] == b"\xff":  # filled up
            start += 1
            junk += 1
            if junk > _MAX_JUNK:
                break
        junk += found - at
        if junk > _MAX_JUNK:
            break
        marker = data[start + 1] if start + 1 < len(data) else 0
        at = start + 2
        if marker in (0, 1) or 0xD0 <= marker <= 0xD9:  # no segment
            continue
        if marker == _SOS:
            if data.count(b"\xff\xda", start) > MAX_SCANS:
                break
            return Bare(b"".join([*kept, data[start:]]), orientation(exif, xmp))
        end = at + int.from_bytes(data[at : at + 2], "big")
        if marker == _APP1:
            body = data[at + 2 : end]
            if body.startswith(_EXIF):
                exif = exif or body
            elif body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                xmp = body
        elif marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COM):
            kept.append(data[start:end])
        at = max(end, at + 2)
    raise UndecodableImage(f"The JPEG file in part {name!r} is made of too many pieces; save the picture anew.")


def _in_exif(tiff: bytes) -> int | None:
    """What a TIFF directory says, as far as it can be read; None where it says nothing."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    found = None
    if order is not None:
        try:
            (at,) = struct.unpack_from(order + "I", tiff, 4)
            (entries,) = struct.unpack_from(order + "H", tiff, at)
            for entry in range(at + 2, at + 2 + 12 * entries, 12):
                tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
                if tag == _ORIENTATION and kind in _VALUES and count == 1:
                    (found,) = struct.unpack_from(order + _VALUES[kind], tiff, entry + 8)
        except struct.error:
            pass  # cut off
    return found
