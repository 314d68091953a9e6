"""Augmentation: what is moved stays what it is, and words are lost as often as the config says."""

from __future__ import annotations

import numpy as np

from model.config import ImageModality, TextModality
from model.training.augment import drop_words, vary_pictures

BACKGROUND = (10, 200, 30)


def moved(flip: bool, count: int = 200) -> np.ndarray:
    modality = ImageModality(kind="image", height=20, width=20, background=BACKGROUND, flip=flip)
    images = np.full((count, 20, 20, 3), 255, dtype=np.uint8)
    images[:, 10, 5] = (255, 0, 0)
    images[:, 10, 14] = (0, 0, 255)
    return vary_pictures(images, modality, np.random.default_rng(0))


def spots(images: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Row and column of the one pixel of a colour in each picture: [B, 2]."""
    found = np.argwhere((images == colour).all(axis=3))
    assert found[:, 0].tolist() == list(range(len(images))), "one in each picture"
    return found[:, 1:]


def test_pictures_move_a_little_and_are_filled_with_the_background() -> None:
    images = moved(flip=False)
    at = spots(images, (255, 0, 0))
    assert set(at[:, 0]) == {9, 10, 11}
    assert set(at[:, 1]) == {4, 5, 6}
    for image, (row, column) in zip(images, at, strict=True):
        empty = (image == BACKGROUND).all(axis=2)
        assert empty.sum() == 20 * (abs(row - 10) + abs(column - 5)) - abs(row - 10) * abs(column - 5)


def test_half_are_mirrored_only_where_the_config_allows_it() -> None:
    def mirrored(images: np.ndarray) -> float:
        return float((spots(images, (255, 0, 0))[:, 1] > spots(images, (0, 0, 255))[:, 1]).mean())

    assert mirrored(moved(flip=False)) == 0
    assert 0.35 < mirrored(moved(flip=True)) < 0.65


def varied(**changes: float) -> np.ndarray:
    """A hundred pictures of a dark square of 20 on a light ground of 40, varied."""
    modality = ImageModality(kind="image", height=40, width=40, background=BACKGROUND, flip=False, **changes)
    images = np.full((100, 40, 40, 3), 255, dtype=np.uint8)
    images[:, 10:30, 10:30] = 0
    return vary_pictures(images, modality, np.random.default_rng(0))


def test_pictures_are_seen_from_nearer_and_from_farther_off() -> None:
    images = varied(zoom=0.25)
    dark = np.sqrt((images.max(axis=3) < 128).sum(axis=(1, 2)))
    assert 20 / 1.25 - 1 <= dark.min() < 17
    assert 25 < dark.max() <= 20 / 0.75 + 1
    assert np.sqrt((varied().max(axis=3) < 128).sum(axis=(1, 2))).tolist() == [20] * 100
    # From farther off, the background is what stands around the picture.
    corners = images[dark < 17][:, 0, 0]
    assert (corners == BACKGROUND).all()


def test_a_share_of_the_pictures_loses_a_rectangle() -> None:
    same, erased = varied(), varied(erase=0.25)
    lost = (erased != same).any(axis=3)
    shares = lost.mean(axis=(1, 2))
    assert 0.15 < (shares > 0).mean() < 0.35
    assert shares.max() <= 0.3 + 0.02
    for image in lost[shares > 0]:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.98, "one rectangle, all of it"


def dropped(**shares: float) -> list[str]:
    modality = TextModality(kind="text", columns=("title",), **shares)
    generator = np.random.default_rng(0)
    return [drop_words("red cotton shirt for men", modality, frozenset({"red", "shirt", "men"}), generator)] + [
        drop_words("red cotton shirt for men", modality, frozenset({"red", "shirt", "men"}), generator)
        for _ in range(999)
    ]


def test_label_words_are_lost_as_often_as_the_config_says() -> None:
    texts = dropped(label_word_dropout=0.25, word_dropout=0.0)
    assert set(texts) == {"red cotton shirt for men", "cotton for"}
    assert 0.2 < texts.count("cotton for") / 1000 < 0.3


def test_words_are_lost_at_random_in_order() -> None:
    texts = dropped(label_word_dropout=0.0, word_dropout=1.0)
    whole = "red cotton shirt for men".split()
    for text in texts:
        words = text.split()
        assert words == [word for word in whole if word in words]
    kept = np.mean([len(text.split()) / 5 for text in texts])
    assert 0.65 < kept < 0.75, "30 % are lost in the mean"
    assert set(dropped(label_word_dropout=0.0, word_dropout=0.0)) == {"red cotton shirt for men"}
