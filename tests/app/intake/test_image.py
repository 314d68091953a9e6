"""Every format and variant looks as a person expects; whatever else comes is refused in bounded time and memory."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import ServiceError, TooLarge, UndecodableImage, UnsupportedFormat
from app.intake.image import FORMATS, decode, sniff
from app.intake.limits import Limits
from model.config import ImageModality
from model.preprocess import fit, pixels
from tests.app.intake.pictures import MODALITY, corners, detailed, difference, file, png

ORIENTATION = 0x0112
# How a camera that was turned would have stored an upright picture.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def read(data: bytes, limits: Limits | None = None) -> np.ndarray:
    return decode(data, "photo", MODALITY, limits or Limits())


def expected(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((MODALITY.width, MODALITY.height), Image.Resampling.BICUBIC))


def half_clear(mode: str) -> Image.Image:
    """The corners, with the lower half fully transparent."""
    image = corners().convert(mode)
    alpha = np.full((64, 48), 255, dtype=np.uint8)
    alpha[32:] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def white_below(image: Image.Image) -> Image.Image:
    image = image.convert("RGB")
    image.paste((255, 255, 255), (0, 32, 48, 64))
    return image


@pytest.mark.parametrize("kind", FORMATS)
def test_colours_arrive(kind: str) -> None:
    assert difference(read(file(corners(), kind)), expected(corners())) < 3
    assert sniff(file(corners(), kind)) == kind


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(48, 64), (480, 640)], ids=["small", "scaled"])
def test_orientation_is_applied(kind: str, orientation: int, size: tuple[int, int]) -> None:
    upright = corners(*size)
    transpose = STORED_AS[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = file(upright if transpose is None else upright.transpose(transpose), kind, exif=exif)
    assert difference(read(stored), expected(upright)) < 3


@pytest.mark.parametrize("kind", FORMATS)
def test_greyscale(kind: str) -> None:
    grey = corners().convert("L")
    assert difference(read(file(grey, kind)), expected(grey)) < 3


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_palette(kind: str) -> None:
    image = corners().quantize(16)
    assert difference(read(file(image, kind)), expected(corners())) < 3


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_one_bit(kind: str) -> None:
    image = corners().convert("1", dither=Image.Dither.NONE)
    assert difference(read(file(image, kind)), expected(image)) < 3


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("WEBP", "RGB"), ("PNG", "L")])
def test_transparent_is_shown_on_the_background(kind: str, mode: str) -> None:
    seen = white_below(corners().convert(mode))
    assert difference(read(file(half_clear(mode), kind)), expected(seen)) < 3


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry_is_shown_on_the_background(kind: str) -> None:
    image = corners().quantize(4)
    blue = image.getpixel((4, 60))
    seen = corners()
    seen.paste((255, 255, 255), (0, 32, 24, 64))
    assert difference(read(file(image, kind, transparency=blue)), expected(seen)) < 4


def test_half_transparent_mixes_with_the_background() -> None:
    veiled = Image.new("RGBA", (24, 32), (0, 0, 0, 128))
    assert abs(int(read(file(veiled, "PNG")).mean()) - 127) <= 1


def test_cmyk_keeps_its_colours() -> None:
    assert difference(read(file(corners().convert("CMYK"), "JPEG")), expected(corners())) < 4


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    ramp = np.linspace(0, 65535, 48)[None].repeat(64, axis=0).astype(np.uint16)
    grey = Image.fromarray((ramp // 257).astype(np.uint8))
    assert difference(read(file(Image.fromarray(ramp), "PNG")), expected(grey)) < 2


def test_sixteen_bit_colour_keeps_its_shades() -> None:
    samples = np.asarray(corners()).astype(">u2") * 257
    assert difference(read(png(48, 64, samples.tobytes(), depth=16)), expected(corners())) < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [corners(), Image.new("RGB", (48, 64), (0, 0, 0))]
    data = file(frames[0], kind, save_all=True, append_images=frames[1:])
    assert difference(read(data), expected(corners())) < 3


@pytest.mark.parametrize("size", [(800, 1000), (1000, 800), (3000, 60), (50, 70)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_scaled_jpeg_decoding_looks_like_full_decoding(size: tuple[int, int], fit: str) -> None:
    modality = MODALITY.model_copy(update={"fit": fit})
    data = file(detailed(*size), "JPEG", quality=85, subsampling=2)
    full = Image.open(BytesIO(data))
    assert difference(decode(data, "photo", modality, Limits()), pixels(full, modality)) < 1.5


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_of_a_large_jpeg_only_what_is_needed_is_decoded(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    decoded = []

    def spy(image: Image.Image, modality: ImageModality, out: None, box: tuple[float, ...]) -> np.ndarray:
        decoded.append((image.size, box))
        return fit(image, modality, out, box)

    monkeypatch.setattr("app.intake.image.fit", spy)
    read(file(Image.new(mode, (3000, 2002)), "JPEG"))
    assert decoded == [((375, 251), (0.0, 0.0, 375.0, 250.25))]


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"II*\0" + bytes(64), b"x"]
)
def test_other_content_is_no_accepted_format(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="JPEG, PNG, WebP, GIF or BMP"):
        read(data)


def test_empty_file() -> None:
    with pytest.raises(UndecodableImage, match="empty"):
        read(b"")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_cut_off_file_is_refused(kind: str, share: float) -> None:
    data = file(detailed(120, 160), kind)
    with pytest.raises(UndecodableImage, match=f"begins as {kind}"):
        read(data[: max(16, int(len(data) * share))])


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_bytes(kind: str) -> None:
    data = file(corners(), kind)
    read(data, Limits(max_image_bytes=len(data)))
    with pytest.raises(TooLarge, match=f"{len(data)} bytes"):
        read(data, Limits(max_image_bytes=len(data) - 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_pixels(kind: str) -> None:
    data = file(corners(), kind)
    read(data, Limits(max_pixels=48 * 64))
    with pytest.raises(TooLarge, match="pixels"):
        read(data, Limits(max_pixels=48 * 64 - 1))


def bombs() -> dict[str, bytes]:
    """Small files that announce a huge picture."""
    jpeg = bytearray(file(corners(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    gif = bytearray(file(corners(), "GIF"))
    gif[6:10] = struct.pack("<HH", 65000, 65000)
    bmp = bytearray(file(corners(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 65000, 65000)
    lossless = bytearray(file(corners(), "WEBP"))
    lossless[21:25] = struct.pack("<I", 16383 | 16383 << 14)
    lossy = bytearray(file(corners(), "WEBP", lossless=False))
    lossy[26:30] = struct.pack("<HH", 16383, 16383)
    animated = bytearray(file(corners(), "WEBP", save_all=True, append_images=[Image.new("RGB", (48, 64))]))
    animated[24:30] = (16382).to_bytes(3, "little") * 2
    return {
        "PNG": png(65000, 65000, b""),
        "JPEG": bytes(jpeg),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "WEBP lossless": bytes(lossless),
        "WEBP lossy": bytes(lossy),
        "WEBP animated": bytes(animated),
    }


@pytest.mark.parametrize(("name", "data"), bombs().items(), ids=bombs())
def test_announced_pixels_are_counted_before_decoding(name: str, data: bytes) -> None:
    with pytest.raises(TooLarge, match="pixels"):
        read(data)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_flipped_bits_end_in_a_picture_or_a_refusal(kind: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray(file(detailed(40, 50), kind))
    for where, mask in flips:
        data[int(where * len(data))] ^= mask
    try:
        found = read(bytes(data))
    except ServiceError:
        return
    assert found.shape == (32, 24, 3)
