"""A file that anybody may have made becomes a picture's pixels, or a clear refusal, in bounded time and memory."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from app.errors import ServiceError, TooLarge, UndecodableImage, UnsupportedFormat
from app.intake.jpeg import decode_scaled, read_frame, reduction, scaled_box
from app.intake.limits import Limits
from app.intake.metadata import bare, orientation_in
from app.intake.pieces import Pieces
from model.config import ImageModality
from model.preprocess import TRANSPOSE, fit, flatten

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_NAMES = "JPEG, PNG, WebP, GIF or BMP"

# Pixels are counted here, against our own limit; Pillow's warning would only repeat it to nobody.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Of texts in PNG files, a few of which unpack to a megabyte from a thousand bytes each.
PngImagePlugin.MAX_TEXT_MEMORY = 8 << 20
# Pillow unpacks run-length encoded BMP files byte by byte, in Python.
_BMP_RLE = (1, 2)
_MAX_RLE_PIXELS = 1_000_000


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


def decode(
    data: bytes, name: str, modality: ImageModality, limits: Limits, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The pixels of the picture in part `name`, uint8 [height, width, 3], as the network reads them.

    `out`: an array of that shape to hold them. Raises TooLarge, UnsupportedFormat or UndecodableImage.
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
    if kind == "JPEG":
        found = _plain_jpeg(data, name, modality, limits, out)
        if found is not None:
            return found
    try:
        return _by_pillow(data, kind, name, modality, limits, out)
    except Image.DecompressionBombError:
        raise TooLarge(_too_many_pixels(name, limits)) from None
    except ServiceError:
        raise
    # A decoder given hostile bytes fails in ways that no list of types covers (struct.error, IndexError, SyntaxError,
    # zlib.error, ...). Each means the same: this file cannot be read.
    except Exception as error:
        raise UndecodableImage(f"Part {name!r} begins as {kind} but cannot be decoded; it may be cut off.") from error


def _by_pillow(
    data: bytes, kind: str, name: str, modality: ImageModality, limits: Limits, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """The pixels of a file of any kind. Raises what Pillow raises, too."""
    box = held = None
    if kind == "JPEG":
        data, held = bare(data, name)
    with Image.open(Pieces(data, name, _MAX_RLE_PIXELS if kind == "BMP" else None), formats=[kind]) as image:
        _check_pixels(image.size, name, limits)
        if image.info.get("compression") in _BMP_RLE and image.width * image.height > _MAX_RLE_PIXELS:
            raise TooLarge(f"The compressed BMP file in part {name!r} is too large to be unpacked; save it as PNG.")
        if held is not None:
            box = _draft(image, modality, held)
        image.load()
        if held is None:  # what tells of it may come last
            held = orientation_in(image.info)
        return fit(flatten(image, modality.background, held), modality, out, box)


def _plain_jpeg(
    data: bytes, name: str, modality: ImageModality, limits: Limits, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8] | None:
    """The pixels of a plain JPEG file; None for any other file."""
    frame = read_frame(data)
    if frame is None:
        return None
    _check_pixels((frame.width, frame.height), name, limits)
    factor = reduction(frame.shown, modality)
    samples = decode_scaled(data, frame, factor)
    if samples is None:
        return None
    image = Image.fromarray(samples)
    if frame.orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[frame.orientation])
    return fit(image, modality, out, scaled_box(frame.shown, image.size, factor, frame.orientation))


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
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return 0, 0


def _draft(image: Image.Image, modality: ImageModality, orientation: int) -> tuple[float, float, float, float]:
    """Let Pillow's JPEG decoder scale, too; where the picture will be in what it gives, once upright."""
    stored = image.size
    turned = orientation in (5, 6, 7, 8)
    shown = stored[::-1] if turned else stored
    factor = reduction(shown, modality)
    image.draft(None, (stored[0] // factor, stored[1] // factor))  # None keeps the mode
    return scaled_box(shown, image.size[::-1] if turned else image.size, factor, orientation)
