"""A file that anybody may have made becomes a picture's pixels, or a clear refusal, in bounded time and memory."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import TooLarge, UndecodableImage, UnsupportedFormat
from app.intake.limits import Limits
from model.config import ImageModality
from model.preprocess import pixels

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_NAMES = "JPEG, PNG, WebP, GIF or BMP"
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height

# Pixels are counted here, against our own limit; Pillow's warning would only repeat it to nobody.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def sniff(data: bytes) -> str | None:
    """The accepted format whose signature the content bears, whatever the file is called; None for any other."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return "BMP" if data.startswith(b"BM") else None


def decode(data: bytes, name: str, modality: ImageModality, limits: Limits) -> NDArray[np.uint8]:
    """The pixels of the picture in part `name`, uint8 [height, width, 3], as the network reads them.

    Raises TooLarge, UnsupportedFormat or UndecodableImage.
    """
    if not data:
        raise UndecodableImage(f"The file in part {name!r} is empty.")
    if len(data) > limits.max_image_bytes:
        raise TooLarge(f"Part {name!r} has {len(data)} bytes; at most {limits.max_image_bytes} are taken.")
    kind = sniff(data)
    if kind is None:
        raise UnsupportedFormat(f"Part {name!r} is not a picture in a format that is taken; send {_NAMES}.")
    if kind == "WEBP":
        _check_pixels(_webp_size(data), name, limits)
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            _check_pixels(image.size, name, limits)
            if kind == "JPEG":
                _draft(image, modality)
            image.load()
            return pixels(image, modality)
    except Image.DecompressionBombError:
        raise TooLarge(_too_many_pixels(name, limits)) from None
    except TooLarge:
        raise
    # A decoder given hostile bytes fails in ways that no list of types covers (struct.error, IndexError, SyntaxError,
    # zlib.error, ...). Each means the same: this file cannot be read.
    except Exception as error:
        raise UndecodableImage(f"Part {name!r} begins as {kind} but cannot be decoded; it may be cut off.") from error


def _check_pixels(size: tuple[int, int], name: str, limits: Limits) -> None:
    if size[0] * size[1] > limits.max_pixels:
        raise TooLarge(_too_many_pixels(name, limits))


def _too_many_pixels(name: str, limits: Limits) -> str:
    return f"The picture in part {name!r} has more pixels than the {limits.max_pixels} that are taken; scale it down."


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first chunk: Pillow sets up its decoder for the whole canvas as soon as it opens one.

    (0, 0) where the header cannot be read; the decoder then says so.
    """
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _draft(image: Image.Image, modality: ImageModality) -> None:
    """Let the JPEG decoder scale by 1/2, 1/4 or 1/8 in the DCT domain, which skips most of the work.

    What comes out is at least twice the modality's size, so the final resize still decides how the picture looks.
    """
    width, height = 2 * modality.width, 2 * modality.height
    if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    image.draft(None, (width, height))  # None keeps the mode
