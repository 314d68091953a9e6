"""Strange inputs: of every kind, as many as asked for, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from model.config import ImageModality, parse_config
from model.unfamiliar.pictures import unfamiliar_pictures
from model.unfamiliar.texts import unfamiliar_texts
from tests.support.tiny import tiny_config, tiny_document


@pytest.fixture(scope="module")
def modality() -> ImageModality:
    found = tiny_config().modalities["image"]
    assert isinstance(found, ImageModality)
    return found


def test_pictures_come_in_the_modalitys_size_and_again_the_same(modality: ImageModality) -> None:
    pictures = unfamiliar_pictures(modality, 5)
    assert list(pictures) == ["noise", "blank", "gradient", "document", "street", "photo"]
    for kind, values in pictures.items():
        assert (values.shape, values.dtype) == ((5, 16, 12, 3), np.uint8), kind
        assert np.array_equal(values, unfamiliar_pictures(modality, 5)[kind]), kind
        assert not np.array_equal(values, unfamiliar_pictures(modality, 5, seed=1)[kind]), kind
        assert len({picture.tobytes() for picture in values}) > 2, kind


def test_pictures_are_what_their_kinds_say() -> None:
    document = tiny_document()
    document["modalities"]["image"] |= {"height": 80, "width": 60}
    modality = parse_config(document).modalities["image"]
    assert isinstance(modality, ImageModality)
    pictures = unfamiliar_pictures(modality, 12)
    contrast = {kind: values.std(axis=(1, 2)).mean() for kind, values in pictures.items()}
    assert contrast["blank"] < 3 < contrast["document"]
    assert np.median(pictures["document"]) > 215, "paper"
    neighbours = np.abs(np.diff(pictures["gradient"].astype(int), axis=1))
    assert neighbours.max() < 20, "a gradient has no edge"


def test_texts_have_the_length_of_those_that_they_are_compared_with() -> None:
    texts = unfamiliar_texts(["red cotton shirt"], 20)
    assert list(texts) == ["prose", "languages", "code", "letters", "shuffled"]
    for kind, made in texts.items():
        assert [len(text.split()) for text in made] == [3] * 20, kind
        assert made == unfamiliar_texts(["red cotton shirt"], 20)[kind]
    assert all(sorted(text) == sorted("red cotton shirt") for text in texts["shuffled"])
    assert any(not text.isascii() for text in texts["languages"])
