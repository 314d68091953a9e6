"""Augmentation: pictures taken a little otherwise, texts that lose words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import ImageModality, TextModality
from model.preprocess import mask_words

_SHIFT = 0.06
# What is erased: its share of the picture, and how many times longer one side may be than the other.
_ERASED, _LONGEST = (0.02, 0.3), 3.0


def vary_pictures(
    images: NDArray[np.uint8], modality: ImageModality, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Each picture a little otherwise, as another photographer might have taken it; uint8 [B, H, W, 3] in and out.

    It is moved by up to 6 % of its size, with the background where nothing is left; as the config says, it is mirrored,
    shown larger or smaller, and loses a rectangle (Zhong et al., "Random Erasing Data Augmentation", 2017).
    """
    count, height, width, _ = images.shape
    dy, dx = max(1, round(_SHIFT * height)), max(1, round(_SHIFT * width))
    padded = np.empty((count, height + 2 * dy, width + 2 * dx, 3), dtype=np.uint8)
    padded[:] = np.array(modality.background, dtype=np.uint8)
    tops = generator.integers(0, 2 * dy + 1, count)
    lefts = generator.integers(0, 2 * dx + 1, count)
    mirror = np.asarray(generator.random(count)) < (0.5 if modality.flip else 0.0)
    if modality.zoom:
        images = _zoomed(images, modality, generator)
    padded[:, dy : dy + height, dx : dx + width] = images
    result = np.empty_like(images)
    for row in range(count):
        window = padded[row, tops[row] : tops[row] + height, lefts[row] : lefts[row] + width]
        result[row] = window[:, ::-1] if mirror[row] else window
    if modality.erase:
        _erase(result, modality.erase, generator)
    return result


def _zoomed(images: NDArray[np.uint8], modality: ImageModality, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Each picture as if from nearer, less its edges, or from farther away, on the background."""
    count, height, width, _ = images.shape
    result = np.empty_like(images)
    for row, side in enumerate(np.asarray(generator.uniform(1 - modality.zoom, 1 + modality.zoom, count))):
        # What is seen is `side` times as wide and high as the picture, about its middle.
        seen = Image.fromarray(images[row]).transform(
            (width, height),
            Image.Transform.AFFINE,
            (side, 0, width * (1 - side) / 2, 0, side, height * (1 - side) / 2),
            Image.Resampling.BILINEAR,
            fillcolor=modality.background,
        )
        result[row] = np.asarray(seen)
    return result


def _erase(images: NDArray[np.uint8], share: float, generator: np.random.Generator) -> None:
    """Fill a rectangle with noise in a share of the pictures."""
    _, height, width, _ = images.shape
    for row in np.flatnonzero(generator.random(len(images)) < share):
        area = generator.uniform(*_ERASED) * height * width
        ratio = np.exp(generator.uniform(-np.log(_LONGEST), np.log(_LONGEST)))
        h = int(np.clip(round(np.sqrt(area * ratio)), 1, height))
        w = int(np.clip(round(area / h), 1, width))
        top, left = generator.integers(0, height - h + 1), generator.integers(0, width - w + 1)
        images[row, top : top + h, left : left + w] = generator.integers(0, 256, (h, w, 3), dtype=np.uint8)


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
