"""A file for a decoder to read, piece by piece, but not without end.

Decoders unpack pixels in C and read what surrounds them in Python. So a file may be small, announce few pixels, and
still hold a decoder up for minutes: with millions of empty chunks, comments or runs.
"""

from __future__ import annotations

from io import BytesIO

from app.errors import UndecodableImage

# Programs write pieces of kilobytes: libpng 8 KiB, a GIF's comments 255 bytes at a time.
_ALWAYS = 10_000
_BYTES_A_PIECE = 256


class Pieces(BytesIO):
    """The bytes of a file, which may be read in so many pieces."""

    def __init__(self, data: bytes, name: str, allowed: int | None = None) -> None:
        """`name`: the part that the file came in. `allowed`: reads; by the file's size when None."""
        super().__init__(data)
        self._name = name
        self._left = _ALWAYS + len(data) // _BYTES_A_PIECE if allowed is None else allowed

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file. Raises UndecodableImage once there have been too many."""
        self._left -= 1
        if self._left < 0:
            raise UndecodableImage(f"The picture in part {self._name!r} is made of too many pieces; save it anew.")
        return super().read(size)
