"""Plain JPEG files have the pixels that Pillow finds in them, bit for bit; every other file is left to Pillow."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import ServiceError
from app.intake import image as intake
from app.intake.image import decode
from app.intake.jpeg import Frame, decode_scaled, read_frame, read_orientation, reduction
from app.intake.limits import Limits
from model.config import ImageModality
from model.preprocess import pixels
from tests.app.intake.pictures import MODALITY, corners, detailed, file

ORIENTATION = 0x0112
PHOTO = file(detailed(160, 200), "JPEG", quality=80, subsampling=2)


def outcome(data: bytes, modality: ImageModality = MODALITY) -> np.ndarray | type[ServiceError]:
    try:
        return decode(data, "photo", modality, Limits())
    except ServiceError as error:
        return type(error)


def by_pillow(data: bytes, modality: ImageModality = MODALITY) -> np.ndarray | type[ServiceError]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "read_frame", lambda data: None)
        return outcome(data, modality)


def turned(orientation: int, order: str = "<") -> bytes:
    """A small picture whose EXIF segment asks for this orientation."""
    tiff = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    tiff += struct.pack(order + "HHHIHH", 1, ORIENTATION, 3, 1, orientation, 0) + bytes(4)
    return file(detailed(170, 130), "JPEG", exif=b"Exif\0\0" + tiff)


KINDS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2, "quality": 60},
    "progressive": {"progressive": True, "subsampling": 2},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "icc": {"icc_profile": b"\1" * 70000},
    "comment": {"comment": b"a comment"},
    "as RGB": {"keep_rgb": True},
}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(803, 1001), (97, 131), (24, 32), (17, 16)])
def test_plain_files_have_pillows_pixels(kind: str, mode: str, size: tuple[int, int]) -> None:
    data = file(detailed(*size).convert(mode), "JPEG", **{"quality": 85, **KINDS[kind]})
    frame = read_frame(data)
    assert frame == Frame(*size, 1)
    assert decode_scaled(data, frame, 1) is not None
    assert np.array_equal(outcome(data), by_pillow(data))


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_turned_files_have_pillows_pixels(orientation: int, order: str, fit: str) -> None:
    modality = MODALITY.model_copy(update={"fit": fit})
    data = turned(orientation, order)
    frame = read_frame(data)
    assert frame is not None
    assert frame.orientation == orientation
    assert np.array_equal(outcome(data, modality), by_pillow(data, modality))


def with_frame(marker: int = 0xC0, precision: int = 8) -> bytes:
    at = PHOTO.index(b"\xff\xc0")
    return PHOTO[:at] + bytes([0xFF, marker]) + PHOTO[at + 2 : at + 4] + bytes([precision]) + PHOTO[at + 5 :]


XMP = b"\xff\xe1\x00\x4chttp://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"
OTHERS = {
    "four colours": file(corners().convert("CMYK"), "JPEG"),
    "arithmetic coding": with_frame(0xC9),
    "lossless": with_frame(0xC3),
    "12 bits": with_frame(precision=12),
    "orientation in XMP": PHOTO[:2] + XMP.ljust(78, b" ") + PHOTO[2:],
    "orientation beyond 8": turned(9),
    "no scan": PHOTO[: PHOTO.index(b"\xff\xda")],
    "no frame": PHOTO[: PHOTO.index(b"\xff\xc0")] + PHOTO[PHOTO.index(b"\xff\xc4") :],
    "a segment beyond the end": PHOTO[:2] + b"\xff\xe0\xff\xff" + PHOTO[6:300],
    "nothing": b"\xff\xd8\xff",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_left_to_pillow(name: str) -> None:
    assert read_frame(OTHERS[name]) is None


def test_a_file_that_is_cut_off_is_left_to_pillow() -> None:
    data = PHOTO[: len(PHOTO) // 2]
    frame = read_frame(data)
    assert frame is not None
    assert decode_scaled(data, frame, 2) is None


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from([PHOTO, turned(6), file(detailed(90, 70), "JPEG", progressive=True, quality=70)]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    head=st.lists(st.tuples(st.integers(2, 700), st.integers(0, 255)), max_size=2),
    cut=st.floats(0.9, 1) | st.just(1.0),
)
def test_whatever_is_wrong_with_a_file_the_outcome_is_pillows(
    data: bytes, flips: list[tuple[float, int]], head: list[tuple[int, int]], cut: float
) -> None:
    broken = bytearray(data[: int(cut * len(data))])
    for where, mask in flips:
        broken[int(where * len(broken))] ^= mask
    for at, value in head:
        broken[at] = value
    found, expected = outcome(bytes(broken)), by_pillow(bytes(broken))
    assert np.array_equal(found, expected) if isinstance(found, np.ndarray) else found is expected


@given(st.binary(max_size=60), st.sampled_from([b"II*\0", b"MM\0*", b""]))
def test_any_exif_segment_gives_an_orientation_or_none(rest: bytes, start: bytes) -> None:
    assert read_orientation(start + rest) in (None, *range(1, 9))


def test_exif_that_says_nothing_of_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    data = file(corners(), "JPEG", exif=exif)
    assert read_frame(data) == Frame(48, 64, 1)
    assert Image.open(BytesIO(data)).getexif().get(ORIENTATION) is None


@pytest.mark.parametrize(
    ("size", "fit", "factor"),
    [
        ((800, 1000), "pad", 8),
        ((200, 240), "pad", 4),
        ((90, 60), "pad", 2),
        ((60, 60), "pad", 1),
        ((4000, 64), "pad", 8),
        ((4000, 64), "crop", 1),
        ((4000, 64), "stretch", 1),
        ((4000, 15), "pad", 1),
    ],
)
def test_a_picture_is_scaled_as_far_as_leaves_enough_to_resize(size: tuple[int, int], fit: str, factor: int) -> None:
    modality = MODALITY.model_copy(update={"fit": fit})  # 24×32
    assert reduction(size, modality) == factor
    assert reduction((size[0] + 8000, size[1] + 8000), modality) == 8


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(803, 1001), (407, 513), (1337, 211)])
def test_a_scaled_picture_lies_where_the_whole_one_does(size: tuple[int, int], orientation: int, fit: str) -> None:
    """Sizes that no factor divides: without the box, padding and edges would be off by a row."""
    modality = MODALITY.model_copy(update={"fit": fit})
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    smooth = np.stack([x * 255 // size[0], y * 255 // size[1], (x + y) * 255 // sum(size)], axis=2)
    data = file(Image.fromarray(smooth.astype(np.uint8)), "JPEG", exif=exif)
    whole = pixels(Image.open(BytesIO(data)), modality)
    scaled = outcome(data, modality)
    assert isinstance(scaled, np.ndarray)
    assert np.abs(scaled.astype(int) - whole).max() <= 6
    assert np.array_equal(scaled, by_pillow(data, modality))


def test_pixels_are_written_where_they_are_wanted() -> None:
    for data in (PHOTO, file(corners(), "PNG")):
        out = np.full((32, 24, 3), 7, dtype=np.uint8)
        assert decode(data, "photo", MODALITY, Limits(), out) is out
        assert np.array_equal(out, decode(data, "photo", MODALITY, Limits()))
