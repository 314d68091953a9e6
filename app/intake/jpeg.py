"""JPEG files of the plain kind, decoded at a fraction of their size with one reading of the file.

A file is plain where its header has nothing that needs judgement. Of such a file libjpeg-turbo gives, through
simplejpeg, the very samples that it gives through Pillow, in less time: it sees the whole file at once. For any other
file, and for one that it as much as warns about, the answer is None, and Pillow decides what the picture is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.intake.metadata import MAX_SCANS
from model.config import ImageModality

_STANDALONE = frozenset((0x01, *range(0xD0, 0xDA)))  # markers without a length: none belongs in front of a scan
_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended and progressive, all of them Huffman coded
_PROGRESSIVE = 0xC2
_TABLES = 0xC4  # inside the range of frames, but none
_SCAN, _APP1 = 0xDA, 0xE1
_SHORT = 3  # the TIFF type of an orientation
_ORIENTATION = 0x0112
ENOUGH = 1.5  # how many times as large as the network reads a scaled picture is; docs/decisions/0012-jpeg-decoding.md
_MAX_SEGMENTS = 1024  # in front of the picture; a file of 20 MB in full segments has 320
_SMALLEST = 16  # of a side: below, one size is that of several factors, and decoders choose differently


@dataclass(frozen=True)
class Frame:
    """What a plain file's header says. `orientation` is that of EXIF, 1 where it says nothing."""

    width: int
    height: int
    orientation: int

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as a person sees them."""
        return (self.height, self.width) if self.orientation in (5, 6, 7, 8) else (self.width, self.height)


def read_frame(data: bytes) -> Frame | None:
    """Walk the segments up to the first scan; None for a file that is not plain."""
    size: tuple[int, int] | None = None
    orientation: int | None = None
    at, end = 2, len(data)
    at_once = 0  # components that one scan holds entirely, where the file is not progressive
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > end or data[at] != 0xFF:
            return None
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        body = at + 4
        at += 2 + length
        if marker in _STANDALONE or marker == 0xFF or length < 2 or at > end:
            return None
        if marker == _SCAN:
            if size is None or (data[body] != at_once and data.count(b"\xff\xda", at) >= MAX_SCANS):
                return None
            return Frame(*size, 1 if orientation is None else orientation)
        if marker in _FRAMES:
            if size is not None or length < 8:
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", data, body)
            if precision != 8 or components not in (1, 3) or not width or not height:
                return None
            size = width, height
            at_once = 0 if marker == _PROGRESSIVE else components
        elif 0xC3 <= marker <= 0xCF and marker != _TABLES:
            return None
        elif marker == _APP1 and data.startswith(b"Exif\0\0", body):
            if orientation is not None:
                return None
            orientation = read_orientation(data[body + 6 : at])
            if orientation is None:
                return None
        elif marker == _APP1 and data.find(b"Orientation", body, at) >= 0:
            return None  # XMP says it, too
    return None


def read_orientation(exif: bytes) -> int | None:
    """The orientation that the TIFF structure in an EXIF segment gives, 1 for none; None where it cannot be told."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    found = 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == _ORIENTATION:
                if kind != _SHORT or count != 1 or not 1 <= value <= 8:
                    return None
                found = value
    except struct.error:
        return None
    return found


def reduction(size: tuple[int, int], modality: ImageModality, enough: float = ENOUGH) -> int:
    """By how much a picture of this width and height may be scaled in the DCT domain: 8, 4, 2 or 1.

    What is left is at least `enough` times what the network reads, so that the resize still decides how it looks.
    """
    if min(size) < _SMALLEST:
        return 1
    across, down = size[0] / modality.width, size[1] / modality.height
    # A picture that is padded is resized by the side that fills its place, any other by the side that is scarcer.
    times = max(across, down) if modality.fit == "pad" else min(across, down)
    return next((factor for factor in (8, 4, 2) if times >= enough * factor), 1)


def scaled_box(
    size: tuple[int, int], scaled: tuple[int, int], factor: int, orientation: int
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the picture in its scaled and upright form of `scaled` width and height.

    `size`: width and height before scaling, upright. Decoders round up to whole samples and repeat the edge in what
    they add, at the right and at the bottom of the picture as it is stored.
    """
    width, height = size[0] / factor, size[1] / factor
    left = scaled[0] - width if orientation in (2, 3, 6, 7) else 0.0
    top = scaled[1] - height if orientation in (3, 4, 7, 8) else 0.0
    return left, top, left + width, top + height


def decode_scaled(data: bytes, frame: Frame, factor: int) -> NDArray[np.uint8] | None:
    """The file's samples at 1/`factor` of its size, uint8 [height, width, 3], as they are stored, not turned.

    None for a file with any fault.
    """
    if min(frame.width, frame.height) < _SMALLEST:
        return None
    height, width = -(-frame.height // factor), -(-frame.width // factor)
    try:
        samples: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except ValueError:
        return None
    return samples if samples.shape == (height, width, 3) else None
