"""How a picture was held is found wherever programs write it, and nothing else in a file is read or counts."""

from __future__ import annotations

import struct
import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import UndecodableImage
from app.intake.image import decode
from app.intake.limits import Limits
from app.intake.metadata import MAX_SCANS, bare, orientation
from app.intake.pieces import Pieces
from tests.app.intake.pictures import MODALITY, corners, detailed, file
from tests.hostile import pictures

ORIENTATION = 0x0112


def exif(value: int, kind: int = 3, order: str = "<", count: int = 1) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    held = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I"}[kind], value)
    return mark + struct.pack(order + "IHHHI", 8, 1, ORIENTATION, kind, count) + held


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("order", "<>")
def test_any_type_and_order_of_bytes(value: int, kind: int, order: str) -> None:
    data = exif(value, kind, order)
    assert orientation(data) == orientation(b"Exif\0\0" + data) == orientation(b"Exif\0\0Exif\0\0" + data) == value


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_value_without_meaning_is_upright(value: int) -> None:
    assert orientation(exif(value)) == 1


def test_xmp_counts_where_exif_says_nothing() -> None:
    assert orientation(b"", b'<x tiff:Orientation="6"/>') == 6
    assert orientation(b"", b"<tiff:Orientation>8</tiff:Orientation>") == 8
    assert orientation(exif(3), b'<x tiff:Orientation="6"/>') == 3


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", b"II*\0", b"MM\0*", b"Exif\0\0MM\0*\0\0\0\x08"]), st.binary(max_size=120))
def test_any_bytes_are_upright_or_turned(start: bytes, rest: bytes) -> None:
    assert orientation(start + rest) in range(1, 9)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": exif(6)}, {"comment": b"x" * 9000}])
def test_a_bare_file_is_the_same_picture(mode: str, options: dict[str, Any]) -> None:
    data = file(detailed(60, 80).convert(mode), "JPEG", **options)
    stripped = bare(data, "image")
    with Image.open(BytesIO(data)) as whole, Image.open(BytesIO(stripped.data)) as part:
        assert np.array_equal(np.asarray(whole), np.asarray(part))
        assert stripped.orientation == whole.getexif().get(ORIENTATION, 1)
        assert not part.info.get("exif")
        assert not part.info.get("comment")


def test_a_file_of_too_many_scans_is_refused_and_one_of_enough_is_not() -> None:
    few = pictures.scans(64, 5, "CMYK")
    assert few.count(b"\xff\xda") <= MAX_SCANS
    assert bare(few, "image").data.count(b"\xff\xda") == few.count(b"\xff\xda")
    for mode in ("RGB", "CMYK"):
        with pytest.raises(UndecodableImage, match="pieces"):
            decode(pictures.scans(64, MAX_SCANS, mode), "image", MODALITY, Limits())


def test_reads_are_counted() -> None:
    data = Pieces(b"x" * 100, "image", allowed=3)
    assert [data.read(10) for _ in range(3)] == [b"x" * 10] * 3
    with pytest.raises(UndecodableImage, match="pieces"):
        data.read(10)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP"])
def test_a_good_file_is_far_from_made_of_too_many_pieces(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file(detailed(900, 1200), kind)
    monkeypatch.setattr("app.intake.pieces._ALWAYS", 100)
    assert decode(data, "image", MODALITY, Limits()).any()


def test_what_a_directory_names_is_not_taken_into_memory() -> None:
    data = pictures.png(pictures.chunk(b"eXIf", pictures.exif(3000, 300_000)))  # 900 MB
    tracemalloc.start()
    try:
        decode(data, "image", MODALITY, Limits())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * len(data)


def test_orientation_in_a_chunk_of_text_is_found() -> None:
    digits = (b"Exif\0\0" + exif(6)).hex()
    text = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(digits) // 2, digits.encode())
    turned = decode(pictures.png(pictures.chunk(b"tEXt", text)), "image", MODALITY, Limits())
    upright = decode(file(corners().transpose(Image.Transpose.ROTATE_270), "PNG"), "image", MODALITY, Limits())
    assert np.abs(turned.astype(int) - upright).mean() < 3
