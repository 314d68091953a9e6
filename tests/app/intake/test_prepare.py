"""The parts of a request become an item: what is present, what was cut, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import NothingToPredict, UndecodableImage
from app.intake import Limits, prepare
from model.preprocess import TextTokenizer
from tests.app.intake.pictures import corners, file
from tests.support.tiny import WORDS, tiny_config, tiny_document

CONFIG = tiny_config()
TOKENIZER = TextTokenizer.train([word for word in WORDS for _ in range(3)], CONFIG.modalities["text"])
PHOTO = file(corners(), "PNG")


def take(limits: Limits | None = None, **parts: bytes | str):
    return prepare(parts, CONFIG, {"text": TOKENIZER}, limits or Limits())


def test_both() -> None:
    prepared = take(text="red shirt", image=PHOTO)
    assert list(prepared.item) == ["image", "text"]  # the order of the config
    assert prepared.item["image"].shape == (16, 12, 3)
    assert prepared.item["image"].dtype == np.uint8
    assert prepared.item["text"].dtype == np.int64
    assert prepared.truncated == ()


@pytest.mark.parametrize(("parts", "present"), [({"image": PHOTO}, ["image"]), ({"text": "red"}, ["text"])])
def test_one_alone(parts: dict[str, bytes | str], present: list[str]) -> None:
    assert list(take(**parts).item) == present


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\0\x01", "\u2028\u00a0"])
def test_a_text_without_anything_to_see_is_missing(text: str) -> None:
    assert list(take(text=text, image=PHOTO).item) == ["image"]
    with pytest.raises(NothingToPredict, match="image, text"):
        take(text=text)


def test_nothing() -> None:
    with pytest.raises(NothingToPredict, match="image, text"):
        take()


def test_a_bad_picture_is_refused_even_beside_a_good_text() -> None:
    with pytest.raises(UndecodableImage):
        take(text="red", image=PHOTO[:60])


def test_more_tokens_than_the_model_takes_are_cut_and_told() -> None:
    prepared = take(text="red shirt " * 50)
    assert len(prepared.item["text"]) == 12
    assert prepared.truncated == ("text",)


def test_more_characters_than_the_limit_are_cut_and_told() -> None:
    prepared = take(Limits(max_text_chars=3), text="red shirt")
    assert prepared.truncated == ("text",)
    assert prepared.item["text"].tolist() == take(text="red").item["text"].tolist()
    assert take(Limits(max_text_chars=9), text="red shirt").truncated == ()


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None), max_size=400))
def test_any_text_is_taken(text: str) -> None:
    """Lone surrogates, NULs, combining marks, right-to-left, unassigned code points."""
    try:
        prepared = take(text=text)
    except NothingToPredict:
        return
    ids = prepared.item["text"]
    assert 1 <= len(ids) <= 12
    assert ids.max() < TOKENIZER.vocab_size


def test_names_and_number_of_modalities_are_the_configs() -> None:
    document = tiny_document()
    image, text = document["modalities"]["image"], document["modalities"]["text"]
    config = tiny_config(modalities={"front": image, "back": image, "title": text, "review": text})
    tokenizers = {"title": TOKENIZER, "review": TOKENIZER}
    prepared = prepare({"review": "red " * 40, "title": "red", "back": PHOTO}, config, tokenizers, Limits())
    assert list(prepared.item) == ["back", "title", "review"]
    assert prepared.truncated == ("review",)
