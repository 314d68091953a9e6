"""Augmentation: pictures shifted and mirrored, texts that lose words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.config import ImageModality, TextModality
from model.preprocess import mask_words

_SHIFT = 0.06


def shift_and_mirror(
    images: NDArray[np.uint8], modality: ImageModality, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Move each picture by up to 6 % of its size and mirror half of them; uint8 [B, H, W, 3] in and out."""
    count, height, width, _ = images.shape
    dy, dx = max(1, round(_SHIFT * height)), max(1, round(_SHIFT * width))
    padded = np.empty((count, height + 2 * dy, width + 2 * dx, 3), dtype=np.uint8)
    padded[:] = np.array(modality.background, dtype=np.uint8)
    padded[:, dy : dy + height, dx : dx + width] = images
    tops = generator.integers(0, 2 * dy + 1, count)
    lefts = generator.integers(0, 2 * dx + 1, count)
    mirror = np.asarray(generator.random(count)) < (0.5 if modality.flip else 0.0)
    result = np.empty_like(images)
    for row in range(count):
        window = padded[row, tops[row] : tops[row] + height, lefts[row] : lefts[row] + width]
        result[row] = window[:, ::-1] if mirror[row] else window
    return result


def drop_words(text: str, modality: TextModality, label_words: frozenset[str], generator: np.random.Generator) -> str:
    """A text as a less careful person would have written it; it may come back empty.

    Some texts lose every word that names a label, so that the network learns to read the others; some lose words at
    random, at a rate that is itself random.
    """
    chance = generator.random()
    if chance < modality.label_word_dropout:
        return mask_words(text, label_words)
    if chance < modality.label_word_dropout + modality.word_dropout * (1 - modality.label_word_dropout):
        rate = generator.uniform(0.0, 0.6)
        words = text.split()
        kept = [word for word, roll in zip(words, generator.random(len(words)), strict=True) if roll >= rate]
        return " ".join(kept)
    return text
