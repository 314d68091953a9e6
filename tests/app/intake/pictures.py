"""Pictures whose every corner has a colour of its own, as files of every kind."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from model.config import ImageModality

MODALITY = ImageModality(kind="image", height=32, width=24, fit="stretch")
CORNERS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 200), "yellow": (230, 220, 40)}


def corners(width: int = 48, height: int = 64) -> Image.Image:
    """Red and green above blue and yellow."""
    array = np.empty((height, width, 3), dtype=np.uint8)
    red, green, blue, yellow = CORNERS.values()
    array[: height // 2, : width // 2], array[: height // 2, width // 2 :] = red, green
    array[height // 2 :, : width // 2], array[height // 2 :, width // 2 :] = blue, yellow
    return Image.fromarray(array)


def detailed(width: int, height: int) -> Image.Image:
    """Smooth shapes and fine texture, as a photo has."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    waves = np.stack([np.sin(7 * x + 3 * y), np.cos(5 * y), np.sin(11 * x * y)], axis=-1)
    return Image.fromarray(np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8))


def file(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file."""
    buffer = BytesIO()
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0, **options}
    if kind == "WEBP":
        options = {"lossless": True, **options}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance of two pictures in grey levels."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).mean())


def png(width: int, height: int, samples: bytes, depth: int = 8) -> bytes:
    """An RGB file put together by hand: Pillow writes no 16-bit colour, and no lies."""
    row = len(samples) // height
    rows = b"".join(b"\0" + samples[y * row : (y + 1) * row] for y in range(height)) if samples else b""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
