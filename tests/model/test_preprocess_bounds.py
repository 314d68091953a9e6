"""Preprocessing takes memory and time by what an input is, not by what somebody makes of it."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from PIL import Image

from model import preprocess
from model.preprocess import flatten, normalise_text


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "I", "F"])
def test_a_picture_converted_in_bands_is_the_same(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (50, 30, 4), dtype=np.uint8)
    picture = Image.fromarray(samples)
    if mode in ("I;16", "I", "F"):
        wide = samples[..., 0].astype(np.uint16) * 257
        picture = Image.fromarray(wide) if mode == "I;16" else Image.fromarray(wide).convert(mode)
    elif mode == "P":
        picture = picture.convert("RGB").quantize(16)
        picture.info["transparency"] = 3
    else:
        picture = picture.convert(mode)
    whole = flatten(picture)
    monkeypatch.setattr(preprocess, "_BAND_PIXELS", 7 * 30)
    assert np.array_equal(np.asarray(flatten(picture)), np.asarray(whole))


def test_every_mark_that_unicode_reorders_is_counted() -> None:
    def is_mark(character: str) -> bool:
        unfolded = unicodedata.normalize("NFKD", character)
        return bool(unicodedata.combining(character) or unicodedata.combining(unfolded[0]))

    characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert {c for c in characters if is_mark(c)} <= set(preprocess._MARKS)


def test_thirty_marks_of_a_letter_are_kept_and_no_more() -> None:
    for mark in ("\u0316", "\u0f71", "\uff9e"):
        assert normalise_text("x" + mark * 30) == unicodedata.normalize("NFKC", "x" + mark * 30)
        assert normalise_text("x" + mark * 5000 + "y") == normalise_text("x" + mark * 30 + "y")


@pytest.mark.parametrize("text", ["Tiếng Việt", "שָׁלוֹם עֲלֵיכֶם", "नमस्ते", "ﾊﾟﾊﾟ", "e\u0301\u0323 o\u0308\u0304"])
def test_text_of_the_world_is_folded_as_before(text: str) -> None:
    assert normalise_text(text) == unicodedata.normalize("NFKC", text)
