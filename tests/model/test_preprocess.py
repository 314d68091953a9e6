"""Preprocessing: pictures as a person sees them, text of any kind, items side by side."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from model.config import ImageModality, TextModality
from model.preprocess import (
    PAD_ID,
    TextTokenizer,
    collate,
    flatten,
    label_words,
    mask_words,
    normalise_text,
    pad_tokens,
    pixels,
)
from tests.support.tiny import WORDS, tiny_config

MAX_TOKENS = 6


def reopened(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


def colour_at(image: Image.Image, x: int = 0, y: int = 0) -> tuple[int, ...]:
    assert image.mode == "RGB"
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8))
    # What a camera stores is the inverse of what the tag asks the viewer to do.
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = flatten(reopened(stored, exif=exif))
    assert np.array_equal(np.asarray(seen), np.asarray(upright))


def test_alpha_is_laid_over_the_background() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 128))
    seen = flatten(reopened(image), (0, 0, 255))
    assert colour_at(seen) == (0, 0, 255)
    assert colour_at(seen, 1) == pytest.approx((128, 0, 127), abs=1)


def test_grey_with_alpha() -> None:
    image = Image.new("LA", (2, 1), (0, 0))
    image.putpixel((1, 0), (90, 255))
    seen = flatten(reopened(image))
    assert [colour_at(seen, x) for x in range(2)] == [(255, 255, 255), (90, 90, 90)]


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([200, 10, 20, 0, 120, 250])
    image.putpixel((1, 0), 1)
    assert [colour_at(flatten(reopened(image)), x) for x in range(2)] == [(200, 10, 20), (0, 120, 250)]
    clear = flatten(reopened(image, transparency=0))
    assert [colour_at(clear, x) for x in range(2)] == [(255, 255, 255), (0, 120, 250)]


def test_transparent_colour_of_an_rgb_picture() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    seen = flatten(reopened(image, transparency=(1, 2, 3)))
    assert [colour_at(seen, x) for x in range(2)] == [(255, 255, 255), (9, 9, 9)]


def test_cmyk() -> None:
    assert colour_at(flatten(Image.new("CMYK", (1, 1), (0, 255, 255, 0)))) == (255, 0, 0)
    shown = colour_at(flatten(reopened(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)))
    assert shown == pytest.approx((255, 0, 0), abs=6)


@pytest.mark.parametrize("value", [0, 255 * 257, 128 * 257])
def test_16_bit_grey_is_scaled_not_clipped(value: int) -> None:
    samples = np.full((2, 2), value, dtype=np.uint16)
    samples[1, 1] = 65535
    seen = flatten(reopened(Image.fromarray(samples)))
    assert colour_at(seen) == (value // 257,) * 3
    assert colour_at(seen, 1, 1) == (255,) * 3


def test_one_bit_and_grey() -> None:
    bits = Image.new("1", (2, 1), 0)
    bits.putpixel((1, 0), 1)
    assert [colour_at(flatten(reopened(bits)), x) for x in range(2)] == [(0, 0, 0), (255, 255, 255)]
    assert colour_at(flatten(reopened(Image.new("L", (1, 1), 77)))) == (77, 77, 77)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (12, 16), (37, 5)])
@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_any_picture_gets_the_modalitys_size(fit: str, size: tuple[int, int]) -> None:
    modality = ImageModality(kind="image", height=16, width=12, fit=fit)
    array = pixels(Image.new("RGB", size, (10, 20, 30)), modality)
    assert array.shape == (16, 12, 3)
    assert array.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)) | st.just((12, 16)),
    fit=st.sampled_from(["pad", "crop", "stretch"]),
)
def test_fitting_is_pillows_own_arithmetic(size: tuple[int, int], fit: str) -> None:
    """Bundles were trained on it, so not a pixel may change."""
    array = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image, target, background = Image.fromarray(array), (12, 16), (9, 99, 199)
    modality = ImageModality(kind="image", height=16, width=12, fit=fit, background=background)
    expected = {
        "pad": lambda: ImageOps.pad(image, target, Image.Resampling.BICUBIC, color=background),
        "crop": lambda: ImageOps.fit(image, target, Image.Resampling.BICUBIC),
        "stretch": lambda: image.resize(target, Image.Resampling.BICUBIC),
    }[fit]()
    assert np.array_equal(pixels(image, modality), np.asarray(expected))
    out = np.full((16, 12, 3), 7, dtype=np.uint8)
    assert pixels(image, modality, out) is out
    assert np.array_equal(out, np.asarray(expected))


def test_what_each_fit_does() -> None:
    """A wide picture, red on its left half and blue on its right: where do the colours come out?"""
    image = Image.new("RGB", (80, 20), (255, 0, 0))
    image.paste((0, 0, 255), (40, 0, 80, 20))

    def fitted(fit: str) -> np.ndarray:
        modality = ImageModality(kind="image", height=20, width=40, fit=fit, background=(0, 255, 0))
        return pixels(image, modality)

    padded, stretched, cropped = fitted("pad"), fitted("stretch"), fitted("crop")
    green, red, blue = [0, 255, 0], [255, 0, 0], [0, 0, 255]
    assert padded[:4].reshape(-1, 3).tolist() == padded[-4:].reshape(-1, 3).tolist() == [green] * 160
    assert padded[10, 0].tolist() == red
    assert padded[10, -1].tolist() == blue
    assert stretched[0, 0].tolist() == red
    assert stretched[-1, -1].tolist() == blue
    assert not (stretched == green).all(axis=2).any()
    # Cropped to its middle at full height: the edge between the colours keeps its place, and is as sharp as it was.
    assert cropped[0, 18].tolist() == red
    assert cropped[0, 21].tolist() == blue


@pytest.mark.parametrize(
    ("raw", "folded"),
    [
        ("  Blue\t\n shirt ", "Blue shirt"),
        ("a\x00b\x1fc", "a b c"),
        ("\x00", ""),
        ("  　  ", ""),
        ("\u200b\ufeff \u200e\U000e0041", ""),
        ("\u200bblue", "\u200bblue"),
        ("ﬁne Ｓｈｏｅ", "fine Shoe"),
        ("e\u0301", "é"),
        ("line\u2028break\u0085x", "line break x"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("👟 кеды 运动鞋", "👟 кеды 运动鞋"),
    ],
)
def test_normalise_text(raw: str, folded: str) -> None:
    assert normalise_text(raw) == folded


ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


def by_character(text: str) -> str:
    """What normalising means, one character at a time."""
    text = unicodedata.normalize("NFKC", text.encode("utf-8", "replace").decode("utf-8"))
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    return "" if all(c == " " or unicodedata.category(c) == "Cf" for c in text) else " ".join(text.split())


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(codec=None)) | st.text(st.characters(codec="ascii")) | st.text("a \t\x1c\x7f\x85\u2028\u200d")
)
def test_texts_of_any_kind_are_normalised_character_by_character(text: str) -> None:
    assert normalise_text(text) == by_character(text)


def test_every_single_character_is_normalised_alike() -> None:
    for code in (*range(0x3000), 0xFEFF, 0xFFFD, 0xD800, 0xE0001, 0x1D400, 0x10FFFF):
        for text in (chr(code), f"a{chr(code)}b"):
            assert normalise_text(text) == by_character(text), hex(code)


@given(ANY_TEXT)
def test_normalised_text_is_settled(text: str) -> None:
    folded = normalise_text(text)
    assert folded == folded.strip()
    assert "  " not in folded
    assert normalise_text(folded) == folded
    folded.encode()


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    modality = TextModality(kind="text", columns=("title",), max_tokens=MAX_TOKENS, vocab_size=200)
    return TextTokenizer.train([word for word in WORDS for _ in range(3)], modality)


@settings(deadline=None)
@given(text=ANY_TEXT)
def test_any_text_has_tokens(tokenizer: TextTokenizer, text: str) -> None:
    tokens = tokenizer(text)
    assert tokens.ids.dtype == np.int64
    assert 1 <= len(tokens.ids) <= MAX_TOKENS
    assert PAD_ID not in tokens.ids
    assert int(tokens.ids.max()) < tokenizer.vocab_size


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        ("red " * (MAX_TOKENS - 1), False),  # behind the start token, exactly full
        ("red " * MAX_TOKENS, True),
        ("red " * 100_000, True),
        ("red" + " " * 100_000, False),
        ("red" + " " * 100_000 + "blue", True),
        ("", False),
        ("x" * 100, False),
        ("x" * 100_000, True),
        # A word that is too long is one unknown token, however long, and must not hide what comes behind it.
        ("x" * 650 + " red", True),
        (("x" * 99 + " ") * (MAX_TOKENS - 1), False),
    ],
)
def test_truncation_is_told_exactly(tokenizer: TextTokenizer, text: str, truncated: bool) -> None:
    assert tokenizer(text).truncated is truncated


def test_truncated_tokens_are_those_of_the_beginning(tokenizer: TextTokenizer) -> None:
    words = " ".join(WORDS[:10])
    assert tokenizer(words).ids.tolist() == tokenizer(" ".join(WORDS[: MAX_TOKENS - 1])).ids.tolist()


def test_case_is_folded_when_the_modality_says_so(tokenizer: TextTokenizer) -> None:
    assert tokenizer("RED Shirt").ids.tolist() == tokenizer("red shirt").ids.tolist()
    modality = TextModality(kind="text", columns=("title",), lowercase=False)
    keeps = TextTokenizer.train(["Red red"] * 9, modality)
    assert keeps("Red").ids.tolist() != keeps("red").ids.tolist()


def test_the_same_texts_teach_the_same_vocabulary() -> None:
    """A resumed run learns it anew, and its weights know the tokens by number."""
    modality = TextModality(kind="text", columns=("title",), vocab_size=120)
    texts = [f"{a}{b[1:]} {b}-{a[::-1]}" for a in WORDS for b in WORDS]
    assert len({TextTokenizer.train(texts, modality).to_json() for _ in range(4)}) == 1


def test_a_text_cannot_spell_a_special_token(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    modality = TextModality(kind="text", columns=("title",), max_tokens=MAX_TOKENS)
    tokenizer.save(tmp_path / "tokenizer.json")
    for each in (tokenizer, TextTokenizer.load(tmp_path / "tokenizer.json", modality)):
        start = each("red").ids[0]
        for special in ("[PAD]", "[CLS]", "[UNK]"):
            ids = each(f"red {special}").ids
            assert PAD_ID not in ids
            assert start not in ids[1:]
            assert len(ids) > 3, "brackets and letters"


def test_tokenizer_round_trip(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    modality = TextModality(kind="text", columns=("title",), max_tokens=MAX_TOKENS)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = TextTokenizer.load(tmp_path / "tokenizer.json", modality)
    for text in ("red cotton shirt", "unheard-of Ωμέγα"):
        assert again(text).ids.tolist() == tokenizer(text).ids.tolist()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer"):
        TextTokenizer.load(tmp_path / "tokenizer.json", modality)


def test_collate_pads_and_marks_what_is_missing() -> None:
    config = tiny_config()
    picture = np.full((16, 12, 3), 7, dtype=np.uint8)
    items = [{"image": picture}, {"text": np.array([2, 5, 6])}, {"image": picture + 1, "text": np.array([2])}]
    batch = collate(items, config)
    assert len(batch) == 3
    assert batch.present.tolist() == [[True, False], [False, True], [True, True]]
    assert batch.inputs["text"].tolist() == [[0, 0, 0], [2, 5, 6], [2, 0, 0]]
    assert [int(row.max()) for row in batch.inputs["image"]] == [7, 0, 8]
    assert set(collate(items[:1], config).inputs) == {"image"}
    assert pad_tokens([None, None]).tolist() == [[PAD_ID], [PAD_ID]]


def test_collate_writes_to_the_arrays_that_it_is_given() -> None:
    items = [{"text": np.array([2, 5, 6])}, {"image": np.full((16, 12, 3), 7, dtype=np.uint8)}]
    into = {"image": np.full((2, 16, 12, 3), 9, dtype=np.uint8), "text": np.full((2, 8), 9)}
    batch = collate(items, tiny_config(), into)
    assert all(batch.inputs[name] is array for name, array in into.items())
    assert into["text"].tolist() == [[2, 5, 6, 0, 0, 0, 0, 0], [0] * 8]
    assert [set(row.ravel().tolist()) for row in into["image"]] == [{0}, {7}]


def test_label_words_have_singular_and_plural() -> None:
    tasks = {
        "kind": {"kind": "multiclass", "labels": ["Shirts", "Track Suit", "Accessories", "Schuhgröße"]},
        "year": {"kind": "ordinal", "labels": ["2010", "2011"]},
        "audience": {"kind": "multilabel", "map": {"Unisex": ["men", "women"]}, "labels": ["men", "women"]},
    }
    words = label_words(tiny_config(tasks=tasks), ["tee"])
    for word in ("shirt", "shirts", "track", "suits", "accessory", "unisex", "men", "tee", "schuhgröße"):
        assert word in words
    assert not {"2010", "2011", "tees"} & words


def test_mask_words() -> None:
    words = frozenset({"shirt", "t-shirt", "men's", "кеды"})
    assert mask_words("Men's Blue T-Shirt, 2012 (shirt)!", words) == "blue 2012"
    assert mask_words("Красные кеды Größe_42", words) == "красные größe 42"
    assert mask_words("SHIRT", words) == ""
