"""Hostile picture files, made here: each cheap to send and dear to read, or not what it looks like."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache

from PIL import Image

from tests.app.intake.pictures import corners, detailed, file

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


def chunk(name: bytes, body: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*before: bytes, between: bytes = b"") -> bytes:
    """A good PNG file with chunks in front of its data."""
    data = file(corners(), "PNG")
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(before) + between + data[at:]


def gif(before: bytes) -> bytes:
    """A good GIF file with blocks in front of its picture."""
    data = file(corners(), "GIF")
    at = data.index(b",", 13 + (3 << (data[10] & 7) + 1))
    return data[:at] + before + data[at:]


def jpeg(before: bytes, mode: str = "RGB") -> bytes:
    """A good JPEG file with segments at its beginning."""
    data = file(corners().convert(mode), "JPEG")
    return data[:2] + before + data[2:]


def scans(size: int, count: int, mode: str = "RGB") -> bytes:
    """A progressive JPEG file that refines its last bits `count` times more."""
    data = file(Image.new(mode, (size, size), 128), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def rle_bmp(width: int, height: int, runs: bytes) -> bytes:
    """A BMP file whose 8-bit pixels are run-length encoded."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = b"".join(bytes((shade, 0, shade, 0)) for shade in range(256))
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + palette + runs


def exif(entries: int, size: int) -> bytes:
    """An EXIF directory, each entry of which names the same `size` bytes."""
    named = b"".join(struct.pack("<HHII", tag + 1, 7, size, 8) for tag in range(entries))
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", entries) + named


def riff(kind: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A RIFF file, such as WebP."""
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + kind + body


@cache
def good(kind: str) -> bytes:
    """A file to be hurt."""
    return file(detailed(60, 80), kind)


def cut(kind: str) -> Iterator[tuple[str, bytes]]:
    """A file of each tenth of its length, and without its last bytes."""
    data = good(kind)
    for tenths in range(1, 10):
        yield f"{kind} cut at {tenths}/10", data[: max(16, len(data) * tenths // 10)]


def flipped(kind: str, count: int = 24) -> Iterator[tuple[str, bytes]]:
    """Files with some bits turned over, mostly in their headers."""
    for seed in range(count):
        chance = random.Random(f"{kind} {seed}")
        data = bytearray(good(kind))
        for _ in range(chance.randint(1, 12)):
            at = chance.randrange(min(len(data), 64) if chance.random() < 0.6 else len(data))
            data[at] ^= 1 << chance.randrange(8)
        yield f"{kind} flipped {seed}", bytes(data)


def floods() -> dict[str, bytes]:
    """Files of a megabyte or two, made of as many pieces as they have room for."""
    return {
        "PNG of private chunks": png(chunk(b"abCd", b"") * 100_000),
        "PNG of empty data chunks": png(chunk(b"IDAT", b"") * 100_000),
        "GIF of comments": gif(b"!\xfe\x01a\x00" * 250_000),
        "GIF of extension blocks": gif(b"!\xff\x01a" + b"\x01a" * 500_000 + b"\0"),
        "GIF of blocks behind an empty one": gif(b"!\xf9\x00,xx" + b"\x01a" * 500_000 + b"\0"),
        "JPEG of comments": jpeg(b"\xff\xfe\x00\x02" * 300_000),
        "JPEG of application segments": jpeg(b"\xff\xe5\x00\x02" * 300_000),
        "CMYK JPEG of comments": jpeg(b"\xff\xfe\x00\x02" * 300_000, "CMYK"),
        "JPEG of fill bytes": jpeg(b"\xff" * 1_000_000),
        "JPEG of bytes between segments": jpeg(b"\xff\xfe\0\2" + b"\0" * 1_000_000),
        "JPEG of scans": scans(1024, 2000),
        "CMYK JPEG of scans": scans(1024, 500, "CMYK"),
    }


def unpacking() -> dict[str, bytes]:
    """Files whose headers are honest and whose contents unpack to far more than they are."""
    megabyte = zlib.compress(bytes(1 << 20), 9)
    return {
        "PNG of compressed texts": png(*(chunk(b"zTXt", b"k%d\0\0" % n + megabyte) for n in range(60))),
        "PNG with a large text": png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50 << 20), 9))),
        "PNG with a large profile": png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(50 << 20), 9))),
        "BMP of line ends": rle_bmp(7000, 7000, b"\x01\x01\0\0" * 7000 + b"\0\1"),
        "BMP of runs": rle_bmp(6000, 8000, b"\x01\x05" * 1_000_000),
    }


def announced() -> dict[str, bytes]:
    """Further files that announce a size that nobody has, in the less usual ways."""
    turned = struct.pack("<IiiHHIIiiII", 40, -60_000, -60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    frame = bytearray(file(corners(), "GIF"))
    at = frame.index(b",", 13 + (3 << (frame[10] & 7) + 1))
    frame[at + 5 : at + 9] = struct.pack("<HH", 65535, 65535)
    extended = struct.pack("<I", 0) + (16_383).to_bytes(3, "little") * 2
    return {
        "BMP upside down": b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + turned + bytes(900),
        "GIF with a larger frame": bytes(frame),
        "WebP with a large canvas": riff(b"WEBP", (b"VP8X", extended), (b"VP8 ", bytes(64))),
        "WebP that hides its size": riff(
            b"WEBP", (b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383) + bytes(64))
        ),
    }


def other_formats() -> dict[str, bytes]:
    """What programs, networks and interpreters would read, and no picture of the accepted formats."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(_Opener()))
        packed.writestr("zeros", bytes(4 << 20))
    picture = file(corners(), "JPEG")
    return {
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x.png"/></svg>',
        "SVG with entities": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "SVG in gzip": b"\x1f\x8b" + bytes(64),
        "pickle": pickle.dumps(_Opener()),
        "zip with a pickle": archive.getvalue(),
        "TIFF": file(corners(), "TIFF"),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "PDF with a JPEG in it": b"%PDF-1.4\n1 0 obj\nstream\n" + picture,
        "ICO": b"\0\0\1\0\1\0" + bytes(64),
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(64),
        "WAV": riff(b"WAVE", (b"fmt ", bytes(16))),
        "zip in front of a JPEG": b"PK\3\4" + picture,
        "HTML": b"<html><script>alert(1)</script></html>",
    }


def polyglots() -> dict[str, bytes]:
    """Good pictures that are something else as well; only the picture is looked at."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x.html", "<script>alert(1)</script>")
    return {
        "PNG and zip": file(corners(), "PNG") + archive.getvalue(),
        "JPEG and PHP": jpeg(b"\xff\xfe\x00\x1a" + b"<?php system('id'); ?>  "),
        "GIF and JavaScript": file(corners(), "GIF") + b"*/=1;alert(1)//",
        "WebP and HTML": file(corners(), "WEBP") + b"<script>alert(1)</script>",
        "BMP and HTML": file(corners(), "BMP") + b"<script>alert(1)</script>",
        "PNG with EXIF that names much": png(chunk(b"eXIf", exif(3000, 300_000))),
    }


def pretenders() -> dict[str, bytes]:
    """Signatures with something else behind them."""
    script = b"<script>alert(document.domain)</script>" * 4
    return {
        "JPEG of script": b"\xff\xd8\xff\xe0" + script,
        "PNG of script": b"\x89PNG\r\n\x1a\n" + script,
        "GIF of script": b"GIF89a/*" + script,
        "WebP of script": b"RIFF\xff\0\0\0WEBP" + script,
        "BMP of script": b"BM" + script,
        "JPEG in PNG": b"\x89PNG\r\n\x1a\n" + file(corners(), "JPEG"),
        "PNG without data": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)),
        "PNG of no width": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 9, 8, 2, 0, 0, 0)),
        "BMP with JPEG inside": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 9, 9, 1, 24, 4) + bytes(64),
        "GIF of nothing": b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";",
        "WebP in a wrong order": riff(b"WEBP", (b"JUNK", bytes(64)), (b"VP8X", bytes(10))),
    }


class _Opener:
    """Unpickled, it would make itself heard."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("/nonexistent/loaded", "rb")
